//! Names that speak of consent, word by word. The lists are sorted, and compared with a folded name (`folded`). They hold
//! the words of the usual list tools' exports, such as those of Constant Contact
//! (developer.constantcontact.com/api_guide/export_contacts.html) and MailUp (help.mailup.com, page 37978139), and what other
//! languages say for the same.

use super::{Meaning, folded, key};
use crate::attributes::snake;
use unicode_normalization::UnicodeNormalization;

/// Parts of a name that say who must not be written to.
pub(super) const NEGATIVE: &str = "abbestell abgemeld abmeld afgemeld afmeld ausgetrag avmeld avprenum avregist ayril \
    blacklist blocked blocklist bounc cikti complain desabon descadast desinscri dessuscri desuscri disiscri donot \
    dontcontact dontemail dontmail emaildisabled emailsdisabled gekundigt ineligible leiratkoz mailsperr noemail \
    nomail nomarketing nonewsletter odhlas optedout optout quarantin spam suppress uitgeschrev uitschrijf unsub \
    werbesperr widerruf widerspr wypis отпис";
/// Parts that say who may.
pub(super) const POSITIVE: &str = "aanmeld aangemeld abon anmeld consent einwillig feliratkoz hozzajarul ingeschrev inscri \
    inschrijv iscritt iscrizion optedin optin prenum samtyck samtykke souhlas subscri suostum suscri tilmeld \
    toestemm zgod zustimm подпис согласи";
/// Parts that say what it is about; beside them, [`POSITIVE`] and [`NEGATIVE`] are clear.
pub(super) const TOPICS: &str = "dsgvo gdpr kommunikation lgpd mail marketing newsletter rgpd werbung";
/// Topics that are consent by themselves.
pub(super) const ALONE: &str = "dsgvo gdpr lgpd newsletter rgpd";
/// Of a topic, these ask whether it is wanted.
pub(super) const WANTED: &str = "accept accett acept agree allow autori erlaub permission permit";
/// Words that take a consent back. A compound such as `Newsletterstop` ends in one.
pub(super) const DENIED: &str = "abgelehnt afgewezen annule anulado aterkallat cofnieta cofniete declined denied entzogen \
    exclude excluded former geweigerd iptal ingetrokken objected objection odmowa odwolana opgezegd opposition \
    rechazado recusado refus refuse refused refusee rejected removed resilie retire retiree revocado revocato \
    revoked revoque revoquee rezygnacja rifiutato stop stopped terminated tilbagekaldt withdraw withdrawal \
    withdrawn withdrew wycofana wycofane zuruckgezogen";
pub(super) const NEGATIONS: &str = "brak ei ex geen hayir inte kein keine keinen lapsed left lost never nicht nie niet no non \
    not ohne pas sans sem senza sin without zonder";
pub(super) const OTHER_CHANNELS: &str = "fax phone postal push sendmm sms telefon whatsapp";
pub(super) const CALLS: &str = "call calls";
/// A column that leads somewhere.
pub(super) const LINKS: &str = "hash id link token url";
/// A column that only tells more about a subscription.
pub(super) const DETAILS: &str = "method name plan price referrer source tier title version wording";
/// A column that counts mails.
pub(super) const COUNTS: &str = "amount clicked count delivered number opened rate replied score total";
pub(super) const WHYS: &str =
    "by campaign cause comment grund message method mode motivo note raison reason source via";
pub(super) const DATES: &str = "am at data date datum fecha on since time timestamp";
pub(super) const STANDINGS: &str = "level preference standing state status type";
/// When it was touched last, which is not when somebody consented.
pub(super) const TOUCHED: &str = "changed modified touched updated";
/// Other words that change nothing about what such a name says; one that is not here may turn it round.
pub(super) const FILLERS: &str = "a active ai al alla allgemein an and app are auf aux be bekommen bulk by c checkbox choice \
    client commercial communication communications contact contacts customer d daily das data de del dem den der \
    des di die digest do doi double du e ein eine el email emails en enabled erhalten erteilt et existing explicit \
    express f field first flag for from fur general generale given granted has hat het i il im in info information \
    initial ip is ist kunde la las latest le legal les letter list lists lo los mailing main may me member met \
    monthly my na news nl och of offers ok on op opt opted or our para per person pour privacy promo promotional \
    promotions received s se send sends sign signup single site store subscriber the this to true und up user users \
    valid value van vom von voor w want wants we web website weekly will with y you your z zu zum zur";

/// A name that speaks of consent, as far as it can be read; every other is an attribute's.
pub(super) fn meaning(column: &str, key: &str) -> Meaning {
    let name = Name::of(column, key);
    let topic = name.has(TOPICS);
    let negative = name.has(NEGATIVE) || name.says("dnc dne");
    let consent = name.is_positive() || (topic && name.has(WANTED));
    let denies = name.says(NEGATIONS) && !name.counts();
    let denied = topic && (denies || name.takes_back()) && name.is_clear();
    // HubSpot counts mails by columns such as `Marketing emails bounced`, and calls a stage of sales `Subscriber`.
    let is_hubspots =
        key.starts_with("marketingemails") || key.starts_with("becamea") || key.contains("lifecycle");
    let is_about_it = negative || consent || denied || name.has(ALONE);
    if !is_about_it
        || is_hubspots
        || matches!(key, "subscriber" | "subscribers")
        || is_of_other_channel(column)
    {
        return Meaning::Attribute;
    }
    match negative {
        true => name.of_leaving(consent, denies),
        false => name.of_consent(denies),
    }
}

/// Of text messages, calls or letters, which say nothing of mail.
pub(in crate::imports) fn is_of_other_channel(column: &str) -> bool {
    let key = key(column);
    let name = Name::of(column, &key);
    (name.has(OTHER_CHANNELS) || name.says(CALLS) || key == "donotcall") && !key.contains("email")
}

/// Whether a column in which everybody has a yes or a no may well ask about mail.
pub(in crate::imports) fn is_about_mail(column: &str) -> bool {
    let key = key(column);
    let name = Name::of(column, &key);
    // Substack's: whether they pay, where another column says who wants no mail.
    let is_else = name.says(COUNTS)
        || name.says(LINKS)
        || name.counts()
        || key.starts_with("marketingemails")
        || matches!(key.as_str(), "activesubscription" | "htmlemail");
    (name.has(TOPICS) || name.is_positive()) && !is_else && !is_of_other_channel(column)
}

/// A column's name, folded.
struct Name<'a> {
    key: &'a str,
    words: Vec<String>,
}

impl<'a> Name<'a> {
    fn of(column: &str, key: &'a str) -> Self {
        let composed: String = column.nfkc().collect();
        Self { key, words: folded(&snake(&composed)).split('_').map(str::to_owned).collect() }
    }

    fn has(&self, parts: &str) -> bool {
        parts.split_whitespace().any(|part| self.key.contains(part))
    }

    fn says(&self, words: &str) -> bool {
        self.words.iter().any(|word| is_one(words, word))
    }

    /// Beside what it says against it: `désabonné` holds `abonné`.
    fn is_positive(&self) -> bool {
        let rest = NEGATIVE.split_whitespace().fold(self.key.to_owned(), |rest, part| rest.replace(part, ""));
        POSITIVE.split_whitespace().any(|part| rest.contains(part))
    }

    /// `Subscription No.`, `No. of mails`.
    fn counts(&self) -> bool {
        let words: Vec<&str> = self.words.iter().map(String::as_str).collect();
        matches!(words.as_slice(), [.., "no" | "nr" | "nummer"] | ["no", "of", ..])
    }

    fn is_date(&self) -> bool {
        self.words.last().is_some_and(|last| is_one(DATES, last)) || self.says("date time timestamp")
    }

    fn of_leaving(&self, consent: bool, denies: bool) -> Meaning {
        let donot = self.has("donot nomail noemail nonewsletter nomarketing");
        let denied = denies && !donot;
        match () {
            () if self.says(WHYS) => Meaning::OptOutDate,
            () if self.says(LINKS) => Meaning::Attribute,
            () if self.has("donotunsub dontunsub") || denied => Meaning::NotUnderstood,
            () if consent && !self.has("unsub donot") => Meaning::Status,
            () if self.is_date() => Meaning::OptOutDate,
            () => Meaning::NotSubscribed,
        }
    }

    fn of_consent(&self, denies: bool) -> Meaning {
        let takes_back = self.takes_back();
        match () {
            // Substack: whether they pay.
            () if self.key == "activesubscription" => Meaning::NotUnderstood,
            () if self.says(LINKS) || self.counts() => Meaning::Attribute,
            () if takes_back && denies => Meaning::NotUnderstood,
            () if takes_back && (self.is_date() || self.says(WHYS)) => Meaning::OptOutDate,
            () if self.says(DETAILS) || self.says(COUNTS) => Meaning::Attribute,
            () if self.says(TOUCHED) && self.is_date() => Meaning::Attribute,
            () if !self.is_clear() => Meaning::NotUnderstood,
            () if takes_back || denies => Meaning::NotSubscribed,
            () if self.says("ip") => Meaning::ConsentIp,
            () if self.is_date() => Meaning::ConsentDate,
            () if self.says(STANDINGS) => Meaning::Status,
            () => Meaning::Subscribed,
        }
    }

    fn takes_back(&self) -> bool {
        let is_end = |word: &String| DENIED.split_whitespace().any(|denied| word.ends_with(denied));
        self.says(DENIED) || self.words.iter().any(|word| first_part(word).is_some() && is_end(word))
    }

    /// Whether no word of it is one that might turn round what the others say.
    fn is_clear(&self) -> bool {
        let is_known = |word: &String| {
            [DATES, DENIED, FILLERS, NEGATIONS, STANDINGS].iter().any(|words| is_one(words, word))
                || word.bytes().all(|byte| byte.is_ascii_digit())
                || is_clear_word(word)
        };
        self.words.iter().all(is_known)
    }
}

/// Parts that are understood wherever they stand in a word.
fn parts() -> impl Iterator<Item = &'static str> {
    [POSITIVE, TOPICS, WANTED].into_iter().flat_map(str::split_whitespace)
}

/// Where the first such part begins.
fn first_part(word: &str) -> Option<usize> {
    parts().filter_map(|part| word.find(part)).min()
}

/// `subscribed` and `newsletteranmeldung` are; `unconsented` is not.
fn is_clear_word(word: &str) -> bool {
    const BEGINNINGS: &str = "e has hs is re";
    const INFLECTION_MAX_BYTES: usize = 8;
    let Some(first) = first_part(word) else { return false };
    let rest = parts().fold(word.to_owned(), |rest, part| rest.replace(part, ""));
    (first == 0 || is_one(BEGINNINGS, &word[..first])) && rest.len() <= INFLECTION_MAX_BYTES
}

fn is_one(words: &str, word: &str) -> bool {
    words.split_whitespace().any(|known| known == word)
}
