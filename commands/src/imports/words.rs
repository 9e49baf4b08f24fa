//! What a cell says of whether somebody may be written to, in the words of list tools.

use super::columns::key;
use super::dates;
use super::meaning::Meaning;

/// What one cell says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Says {
    Yes,
    No,
    Nothing,
    /// A word that nobody taught us: no guess.
    NotUnderstood,
}

/// Compared as columns are.
const YES: &str = "1 aktiviert ano checked da evet hai igen ja jah j kylla ok on oui prawda si sim t tak true vero \
    verdadeiro verdadero vrai wahr x y yes да ναι так はい 是";
const NO: &str = "0 deaktiviert ei f falsch falsk falso falsz false faux hayir n na nan nao ne nee nej nein nem nie \
    nil no non null off unchecked undefined не нет ні οχι いいえ 否";
/// In a column of standings `none` is who gets no mail; in one that says yes or no it is an empty cell.
const NEVER: &str = "none never";

const WILLING: &str = "subscribed active enabled confirmed optedin optin member owner manager verified valid \
    deliverable express implied confirmedoptin expressconsent doubleoptin singleoptin marketingcontact normal \
    granted given accepted agreed allowed email eachemail allemail single individual digest dailydigest abridged \
    summary allow permitted subscribedtoemail optedintoemail abonniert angemeldet aktiv bestatigt abonne inscrit \
    actif suscrito activo subscribe iscritto inscrito aktywny aktif ingeschreven actief подписан активен";

/// People who must not be written to, also for want of a confirmation.
const UNWILLING: &str = "unsubscribed unsubscribe optedout optout optedoutofemail cleaned bounced bounce bouncing \
    hardbounce hardbounced softbounce softbounced complained complaint spam junk abuse reported blocked blocklisted \
    blacklisted suppressed disabled unreachable unconfirmed nonsubscribed notsubscribed neversubscribed inactive \
    pending unverified notconfirmed invalid undeliverable unmailable deleted removed banned cancelled canceled \
    archived held onhold temphold suspended awaitingconfirmation pendingconfirmation validating needsattention \
    erased overquota nomail noemail gone left expired revoked withdrawn denied declined refused rejected \
    donotcontact donotemail donotmail nonmarketingcontact donotallow disallow disallowed hard soft permanent \
    temporary quarantined invited notamember transactional redacted abgemeldet inaktiv abbestellt gekundigt \
    gesperrt unbestatigt desabonne desinscrit inactif dadodebaja baja inactivo uitgeschreven afgemeld descadastrado \
    desuscrito disiscritto ausstehend noconsent markedasspam nopermissionsset notset odhlasen wypisany отписан";

/// Words that say it wherever they stand: a column that holds one is about consent, whatever its name.
const UNMISTAKABLE: &str = "unsubscribed unsubscribe optedout optout optedoutofemail blocklisted blacklisted \
    donotcontact donotemail donotmail hardbounce hardbounced bounced complained neversubscribed notsubscribed \
    nonsubscribed abgemeldet afgemeld desabonne desinscrit descadastrado desuscrito disiscritto dadodebaja odhlasen \
    wypisany отписан";

/// Longer cells are no such words.
const WORD_MAX_BYTES: usize = 64;

fn is_in(words: &str, word: &str) -> bool {
    !word.is_empty() && words.split(' ').any(|known| known == word)
}

pub(super) fn is_unmistakable(cell: &str) -> bool {
    cell.len() <= WORD_MAX_BYTES && cell.contains(char::is_alphabetic) && is_in(UNMISTAKABLE, &key(cell))
}

/// What a cell of such a column says; of every other column: nothing.
pub(super) fn says(meaning: Meaning, cell: &str) -> Says {
    let cell = if cell.chars().any(char::is_alphanumeric) || "✓✔".contains(cell) { cell } else { "" };
    match meaning {
        Meaning::Subscribed => match (cell.is_empty(), read(cell)) {
            (true, _) => Says::No,
            (false, Cell::Yes | Cell::Willing | Cell::Date) => Says::Yes,
            (false, Cell::No | Cell::Never | Cell::Unwilling) => Says::No,
            (false, Cell::Number | Cell::Other) => Says::NotUnderstood,
        },
        Meaning::NotSubscribed => match (cell.is_empty(), read(cell)) {
            (true, _) | (false, Cell::No | Cell::Never | Cell::Willing) => Says::Nothing,
            (false, Cell::Yes | Cell::Unwilling | Cell::Date | Cell::Number) => Says::No,
            (false, Cell::Other) => Says::NotUnderstood,
        },
        Meaning::Status => match (cell.is_empty(), read(cell)) {
            (true, _) => Says::Nothing,
            (false, Cell::Willing) => Says::Yes,
            (false, Cell::Never | Cell::Unwilling) => Says::No,
            (false, Cell::Yes | Cell::No | Cell::Date | Cell::Number | Cell::Other) => Says::NotUnderstood,
        },
        Meaning::OptOutDate => match (cell.is_empty(), read(cell)) {
            (true, _) | (false, Cell::No | Cell::Never) => Says::Nothing,
            (false, _) => Says::No,
        },
        Meaning::RecipientState => match cell {
            "accepted" | "pending" | "unknown" | "cancelled" => Says::Yes,
            "suppressed" | "rejected" => Says::No,
            "" => Says::Nothing,
            _ => Says::NotUnderstood,
        },
        Meaning::NotUnderstood if !cell.is_empty() => Says::NotUnderstood,
        _ => Says::Nothing,
    }
}

/// Whether a cell is a plain yes or no.
pub(super) fn is_yes_or_no(cell: &str) -> bool {
    matches!(read(cell), Cell::Yes | Cell::No)
}

enum Cell {
    Yes,
    No,
    Never,
    Willing,
    Unwilling,
    Date,
    /// Another than 0 and 1.
    Number,
    Other,
}

fn read(cell: &str) -> Cell {
    if cell.len() > WORD_MAX_BYTES {
        return Cell::Other;
    }
    let word = key(cell);
    let number = || cell.replace(',', ".").parse::<f64>().ok();
    // Databases write `0000-00-00 00:00:00` where there is no time.
    let zeros = || word.chars().all(|c| c == '0') && !word.is_empty();
    match () {
        () if matches!(cell, "✓" | "✔") || is_in(YES, &word) => Cell::Yes,
        () if is_in(NO, &word) || zeros() => Cell::No,
        () if is_in(NEVER, &word) => Cell::Never,
        () if is_in(WILLING, &word) => Cell::Willing,
        () if is_in(UNWILLING, &word) => Cell::Unwilling,
        () if number() == Some(1.0) => Cell::Yes,
        () if number().is_some() => Cell::Number,
        () if dates::is_date(cell) => Cell::Date,
        () => Cell::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_folded_as_cells_are() {
        for word in
            [YES, NO, NEVER, WILLING, UNWILLING, UNMISTAKABLE].into_iter().flat_map(str::split_whitespace)
        {
            assert_eq!(key(word), word);
        }
    }

    #[test]
    fn yes_and_no_are_read_in_other_languages() {
        assert_says(
            Meaning::Subscribed,
            Says::Yes,
            &["oui", "sí", "sì", "tak", "ano", "Evet", "WAHR", "igen", "はい"],
        );
        assert_says(
            Meaning::Subscribed,
            Says::No,
            &["non", "não", "nej", "nie", "ne", "Hayır", "FALSCH", "nem", "いいえ"],
        );
        let left = [
            "De\u{301}sabonne\u{301}",
            "désinscrit",
            "Gekündigt",
            "disiscritto",
            "Marked as spam",
            "withdrawn",
        ];
        assert_says(Meaning::Status, Says::No, &left);
        assert_says(Meaning::NotSubscribed, Says::No, &["1,0", "TRUE()"]);
        assert_says(Meaning::NotSubscribed, Says::Nothing, &["0,0", "FALSE()"]);
    }

    fn assert_says(meaning: Meaning, expected: Says, cells: &[&str]) {
        for cell in cells {
            assert_eq!(says(meaning, cell), expected, "{cell:?} in {meaning:?}");
        }
    }

    #[test]
    fn yes_and_no_are_read_in_both_polarities() {
        let (yes, no) =
            (["1", "TRUE", "Yes", "ja", "x", "✓", "1.0"], ["0", "false", "NO", "nein", "0.0", "null"]);
        assert_says(Meaning::Subscribed, Says::Yes, &yes);
        assert_says(Meaning::Subscribed, Says::No, &no);
        assert_says(Meaning::Subscribed, Says::No, &["", "-", "none", "Unsubscribed", "NEVER_SUBSCRIBED"]);
        assert_says(Meaning::Subscribed, Says::Yes, &["SUBSCRIBED", "2024-01-02 10:00:00", "03/04/2024"]);
        assert_says(Meaning::Subscribed, Says::NotUnderstood, &["2", "maybe", "weekly"]);
        assert_says(Meaning::NotSubscribed, Says::No, &yes);
        assert_says(Meaning::NotSubscribed, Says::Nothing, &no);
        assert_says(Meaning::NotSubscribed, Says::Nothing, &["", "[]", "none", "subscribed"]);
        assert_says(Meaning::NotSubscribed, Says::No, &["2", "3", "2024-02-01", "Unsubscribed", "bounced"]);
        assert_says(Meaning::NotSubscribed, Says::NotUnderstood, &["maybe"]);
    }

    #[test]
    fn a_standing_is_a_known_word_or_not_understood() {
        assert_says(
            Meaning::Status,
            Says::Yes,
            &["subscribed", "Active", "enabled", "member", "Confirmed Opt-In"],
        );
        let left = [
            "Unsubscribed",
            "opted-out",
            "CLEANED",
            "Non-Subscribed",
            "pending",
            "none",
            "No Email",
            "Inactive",
        ];
        assert_says(Meaning::Status, Says::No, &left);
        assert_says(Meaning::Status, Says::Nothing, &["", " ", "-"]);
        assert_says(Meaning::Status, Says::NotUnderstood, &["gold", "1", "yes", "paid"]);
    }

    #[test]
    fn a_filled_date_of_leaving_says_no_whatever_it_says() {
        assert_says(Meaning::OptOutDate, Says::No, &["2024-03-01", "soon", "1", "true", "NORMAL"]);
        assert_says(
            Meaning::OptOutDate,
            Says::Nothing,
            &["", "0000-00-00 00:00:00", "NULL", "never", "-", "[]"],
        );
    }

    #[test]
    fn some_words_are_unmistakable() {
        assert!(is_unmistakable("Unsubscribed") && is_unmistakable("do not contact"));
        assert!(!is_unmistakable("") && !is_unmistakable("pending") && !is_unmistakable("left"));
    }
}
