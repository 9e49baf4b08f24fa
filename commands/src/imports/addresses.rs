//! Addresses within a text, however they are dressed up.

use domain::EmailAddress;

/// Characters of a local part that stands alone.
pub(super) fn in_local(c: char) -> bool {
    c.is_ascii_graphic() && !"\"(),:;<>@[\\]".contains(c)
}

pub(super) fn in_host(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '-' | '.')
}

/// Where an `@` stands, with what may be its local part and its host.
fn places(text: &str) -> impl Iterator<Item = (usize, usize, &str)> {
    text.match_indices('@').map(move |(at, _)| {
        let after = &text[at + 1..];
        let host = &after[..after.find(|c| !in_host(c)).unwrap_or(after.len())];
        let before = &text[..at];
        let start = before.rfind(|c| !in_local(c)).map_or(0, |end| before.ceil_char_boundary(end + 1));
        (start, at, host.trim_end_matches(['-', '.']))
    })
}

/// Every address that may be meant: `<ana@example.com>;` has one, and `to=ana@example.com` has one that begins behind each
/// sign that may stand in an address, too.
pub(super) fn candidates(text: &str) -> impl Iterator<Item = EmailAddress> {
    places(text).flat_map(move |(start, at, host)| {
        let begins = |place: &usize| *place == start || !text.as_bytes()[place - 1].is_ascii_alphanumeric();
        let starts: Vec<usize> = (start..at).filter(begins).collect();
        starts
            .into_iter()
            .filter_map(move |start| EmailAddress::parse(&format!("{}@{host}", &text[start..at])).ok())
    })
}

/// The one address that each `@` most likely makes, without the quotes and dots around it. Where it is not clear whose it
/// is (`Łana@example.com`, `a@b@example.com`), there is none.
pub(super) fn readable(text: &str) -> impl Iterator<Item = EmailAddress> {
    places(text).filter_map(move |(start, at, host)| {
        let before = text[..start].chars().next_back();
        let behind = text[at + 1..].trim_start_matches(in_host).chars().next();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '@') || behind == Some('@') {
            return None;
        }
        let local = text[start..at].trim_start_matches(['\'', '`', '.', '=']);
        EmailAddress::parse(&format!("{local}@{host}")).ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        candidates(text).map(|address| address.canonical()).collect()
    }

    fn read(text: &str) -> Vec<String> {
        readable(text).map(|address| address.canonical()).collect()
    }

    #[test]
    fn an_address_is_found_in_whatever_stands_around_it() {
        let dressed = [
            "ana@example.com",
            " ANA@Example.com ",
            "<ana@example.com>",
            "\"Bell, Ana\" <ana@example.com>;",
            "mailto:ana@example.com?subject=x",
            "'ana@example.com'",
            "to=ana@example.com.",
            "Łana@example.com",
            "x@y ana@example.com, bob@example.com",
            "ana@example.com@example.org",
        ];
        for text in dressed {
            assert!(found(text).contains(&"ana@example.com".to_owned()), "{text}: {:?}", found(text));
        }
        assert!(found("o'brien@bücher.example").contains(&"o'brien@xn--bcher-kva.example".to_owned()));
    }

    #[test]
    fn another_address_is_not_taken_for_it() {
        for text in ["bana@example.com", "ana@example.com.au", "ana@mail.example.com", "ana", "@", ""] {
            assert!(!found(text).contains(&"ana@example.com".to_owned()), "{text}");
        }
    }

    #[test]
    fn one_address_is_read_from_each_place() {
        for text in [
            "Ana Bell <ANA@example.com>",
            "mailto:ana@example.com",
            "'ana@example.com'",
            "`ana@example.com`",
            "ana@example.com.",
            " ana@example.com;\u{200b}",
            "\"ana@example.com\"\"",
            "ana@example.com (old)",
            "<mailto:ana@example.com?subject=unsubscribe>",
        ] {
            assert_eq!(read(text), ["ana@example.com"], "{text}");
        }
        assert_eq!(
            read("ana@example.com; bo@example.org, cem@example.net"),
            ["ana@example.com", "bo@example.org", "cem@example.net"]
        );
        assert_eq!(read("'+1555@example.com"), ["+1555@example.com"]);
        assert_eq!(read("o'brien+news@example.com"), ["o'brien+news@example.com"]);
        assert_eq!(
            read("bounce+ana=example.com@lists.example.org"),
            ["bounce+ana=example.com@lists.example.org"]
        );
    }

    #[test]
    fn whose_address_is_not_clear_is_not_guessed() {
        for text in ["Łana@example.com", "a@b@example.com", "ana@localhost", "ana at example.com", "@", ""] {
            assert!(read(text).is_empty(), "{text}: {:?}", read(text));
        }
    }
}
