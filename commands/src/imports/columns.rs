//! What a column means, by its name: the usual exports' own spellings first, then families of names that speak of
//! consent. A name of such a family is never taken for a mere attribute in silence.

use super::meaning::Meaning;
use crate::attributes::snake_case;

/// Said to whoever uploads a file without one.
pub(super) const ADDRESS_SPELLINGS: &str = "Email Address, E-mail, email, mail, E-Mail-Adresse";

/// Compared by [`key`]. What a file may well have beside a closer spelling (a contact's address, a display name) is left out.
const SPELLINGS: [(Meaning, &str); 12] = [
    (
        Meaning::Email,
        "email emailaddress mail mailaddress emailaddr emailid emailadresse mailadresse adresseemail adressemail \
         courriel correo correoelectronico correoelectrónico emailadres adresmail эпочта электроннаяпочта почта",
    ),
    (Meaning::Name, "name fullname vollständigername"),
    (
        Meaning::FirstName,
        "firstname fname givenname forename vorname prénom prenom nombre imię imie voornaam",
    ),
    (
        Meaning::LastName,
        "lastname lname surname familyname nachname nomdefamille apellido apellidos nazwisko achternaam",
    ),
    (
        Meaning::ConsentDate,
        "optintime optindate optinat optedinat subscribedat subscribedon subscribedate subscriptiondate signupdate \
         signuptime signedupat optintimestamp subscribetime datesubscribed dateoptedin consentedat consentdate \
         consenttimestamp einwilligungsdatum anmeldedatum datedinscription dateinscription",
    ),
    (
        Meaning::ConfirmationDate,
        "confirmtime confirmdate confirmedat confirmationtime confirmationdate doubleoptindate doubleoptintime",
    ),
    (
        Meaning::ConsentIp,
        "optinip optinipaddress subscribeip subscribedip subscriptionip signupip registrationip consentip",
    ),
    (Meaning::ConfirmationIp, "confirmip confirmipaddress confirmationip confirmedip"),
    (
        Meaning::Subscribed,
        "subscribed issubscribed optin optedin isoptedin accepts consent active isactive enabled isenabled confirmed \
         isconfirmed emailconfirmed verified emailverified isverified newsletter newsletters marketing emailmarketing \
         marketingemail marketingemails gdpr dsgvo mailable emailable contactable abonniert angemeldet abonné inscrit \
         suscrito ingeschreven подписан подписка einwilligung zustimmung consentement consentimiento",
    ),
    (
        Meaning::NotSubscribed,
        "dnc blocked isblocked banned isbanned suspended disabled isdisabled emaildisabled deleted isdeleted archived \
         isarchived invalid invalidemail invalidemailaddress emailinvalid isspam spam gesperrt blockiert baja \
         dadodebaja uitgeschreven globallyineligible isgloballyineligible",
    ),
    (
        Meaning::Status,
        "status emailstatus memberstatus subscriptionstatus subscriberstatus marketingstatus emailmarketingstatus \
         groupstatus globalstatus contactstatus liststatus marketingcontactstatus emailpermissionstatus emailpreference \
         emaildelivery deliverystatus consentstatus optinstatus statut",
    ),
    (
        Meaning::OptOutDate,
        "unsubtime unsubscribetime unsubscribedat unsubscribedon unsubscribedate optouttime optoutdate optedoutat \
         cleantime cleancampaigntitle cleancampaignid unsubreason unsubreasonother unsubcampaigntitle unsubcampaignid \
         deletedat emailhardbouncereason emailhardbouncereasonenum emailbouncedreason emailbounceddate bouncedat \
         emailquarantinedreason emailaddressquarantinereason emailsuppressions abmeldedatum abgemeldetam",
    ),
];

/// Letters and digits alone, in lower case: `E-Mail`, `e_mail` and `"EMAIL"` are one.
pub(super) fn key(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

pub(super) fn meaning(column: &str) -> Meaning {
    let key = key(column);
    let known = SPELLINGS.iter().find(|(_, spellings)| spellings.split(' ').any(|spelling| spelling == key));
    match known {
        Some((meaning, _)) => *meaning,
        None => of_consent(column, &key),
    }
}

/// May hold the address in a file without a better column: what its rows say decides.
pub(super) fn may_be_address(column: &str) -> bool {
    let key = key(column);
    let plain = ["address", "adresse", "recipient", "contact", "subscriber", "username", "user", "login"];
    (key.contains("mail") || plain.contains(&key.as_str())) && meaning(column) == Meaning::Attribute
}

/// Who must not be written to.
const NEGATIVE: [&str; 32] = [
    "unsub",
    "optout",
    "optedout",
    "donot",
    "dontmail",
    "dontemail",
    "dontcontact",
    "blocklist",
    "blacklist",
    "blocked",
    "bounc",
    "complain",
    "spam",
    "suppress",
    "abgemeld",
    "abmeld",
    "abbestell",
    "widerruf",
    "désabon",
    "desabon",
    "désinscri",
    "desinscri",
    "uitgeschrev",
    "отпис",
    "ineligible",
    "noemail",
    "nomail",
    "nonewsletter",
    "nomarketing",
    "quarantin",
    "emaildisabled",
    "gekündigt",
];
/// Who may.
const POSITIVE: [&str; 17] = [
    "subscri",
    "optin",
    "optedin",
    "consent",
    "einwillig",
    "zustimm",
    "anmeld",
    "abonn",
    "inscri",
    "suscri",
    "ingeschrev",
    "подпис",
    "согласи",
    "zgoda",
    "gdpr",
    "dsgvo",
    "newsletter",
];
/// Of marketing, or of mail, these words ask whether it is wanted.
const WANTED: [&str; 5] = ["accept", "permission", "permit", "allow", "agree"];
const OTHER_CHANNELS: [&str; 9] =
    ["sms", "whatsapp", "phone", "call", "fax", "push", "postal", "telefon", "sendmm"];
/// A column that leads somewhere.
const LINKS: [&str; 5] = ["id", "url", "link", "token", "hash"];
/// A column that only tells more about a subscription.
const DETAILS: [&str; 20] = [
    "plan",
    "tier",
    "source",
    "method",
    "referrer",
    "count",
    "number",
    "total",
    "amount",
    "price",
    "opened",
    "clicked",
    "delivered",
    "replied",
    "rate",
    "score",
    "title",
    "name",
    "wording",
    "version",
];
const WHYS: [&str; 7] = ["reason", "campaign", "cause", "message", "comment", "note", "grund"];
const DATES: [&str; 8] = ["at", "on", "date", "time", "timestamp", "datum", "am", "since"];
const STANDINGS: [&str; 6] = ["status", "state", "level", "type", "preference", "standing"];

/// A name that speaks of consent, as far as it can be read; every other is an attribute's.
fn of_consent(column: &str, key: &str) -> Meaning {
    let has = |parts: &[&str]| parts.iter().any(|part| key.contains(part));
    let negative = has(&NEGATIVE);
    let without: String = NEGATIVE.iter().fold(key.to_owned(), |rest, part| rest.replace(part, ""));
    let mail = has(&["mail", "marketing", "newsletter"]);
    let positive = POSITIVE.iter().any(|part| without.contains(part)) || (mail && has(&WANTED));
    // HubSpot counts mails by columns such as `Marketing emails bounced`, and calls a stage of sales `Subscriber`.
    if matches!(key, "subscriber" | "subscribers") {
        return Meaning::Attribute;
    }
    let is_hubspots =
        key.starts_with("marketingemails") || key.starts_with("becamea") || key.contains("lifecycle");
    if !(negative || positive) || is_hubspots {
        return Meaning::Attribute;
    }
    if has(&OTHER_CHANNELS) && !has(&["email"]) {
        return Meaning::Attribute;
    }
    let snake = snake_case(column).unwrap_or_default();
    let words: Vec<&str> = snake.split('_').collect();
    let says = |any: &[&str]| words.iter().any(|word| any.contains(word));
    let (last, before) = words.split_last().map_or(("", &[][..]), |(last, before)| (*last, before));
    // Of a subscription's number.
    if matches!(last, "no" | "nr" | "nummer") {
        return Meaning::Attribute;
    }
    let denies = says(&["not", "non", "never", "nicht", "kein", "pas"]) || before.contains(&"no");
    let denied = denies && !has(&["donot", "noemail", "nomail", "nonewsletter", "nomarketing"]);
    match (negative, positive) {
        // Substack: whether they pay.
        (false, _) if key == "activesubscription" => Meaning::NotUnderstood,
        (true, _) if says(&WHYS) => Meaning::OptOutDate,
        _ if says(&LINKS) => Meaning::Attribute,
        (false, _) if says(&DETAILS) => Meaning::Attribute,
        (true, true) if !denied && !has(&["unsub", "donot"]) => Meaning::Status,
        (true, _) if denied => Meaning::NotUnderstood,
        (true, true) if has(&["donotunsub", "dontunsub"]) => Meaning::NotUnderstood,
        (true, _) if DATES.contains(&last) || says(&["date", "time", "timestamp"]) => Meaning::OptOutDate,
        (true, _) => Meaning::NotSubscribed,
        (false, _) if denied => Meaning::NotSubscribed,
        (false, _) if says(&["ip"]) => Meaning::ConsentIp,
        (false, _) if DATES.contains(&last) || says(&["date", "time", "timestamp"]) => Meaning::ConsentDate,
        (false, _) if says(&STANDINGS) => Meaning::Status,
        (false, _) => Meaning::Subscribed,
    }
}

#[cfg(test)]
mod tests;
