//! What a column means, by its name: the usual exports' own spellings first, then families of names that speak of
//! consent. A name of such a family is never taken for a mere attribute in silence.

mod consent;

use super::meaning::Meaning;
pub(super) use consent::{is_about_mail, is_of_other_channel};
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// Said to whoever uploads a file without one.
pub(super) const ADDRESS_SPELLINGS: &str = "Email Address, E-mail, email, mail, E-Mail-Adresse";

/// Compared by [`key`]. What a file may well have beside a closer spelling (a contact's address, a display name) is left out.
const SPELLINGS: [(Meaning, &str); 12] = [
    (
        Meaning::Email,
        "email emailaddress mail mailaddress emailaddr emailid emailadresse mailadresse adresseemail adressemail \
         courriel correo correoelectronico emailadres adresmail eposta epostaadresi epostadress epostadresse epost \
         sahkoposti sahkopostiosoite emailcim эпочта электроннаяпочта почта",
    ),
    (Meaning::Name, "name fullname vollstandigername"),
    (Meaning::FirstName, "firstname fname givenname forename vorname prenom nombre imie voornaam"),
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
        "subscribed issubscribed optin optedin isoptedin accept accepts accepted consent active isactive enabled \
         isenabled confirmed isconfirmed emailconfirmed verified emailverified isverified newsletter newsletters marketing emailmarketing \
         marketingemail marketingemails gdpr dsgvo mailable emailable contactable abonniert angemeldet abonne inscrit \
         suscrito iscritto inscrito ingeschreven подписан подписка einwilligung zustimmung consentement consentimiento",
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
         deactivated deactivatedat deactivationdate austragungsdatum austragedatum ausgetragenam deletedat \
         emailhardbouncereason emailhardbouncereasonenum emailbouncedreason emailbounceddate bouncedat \
         emailquarantinedreason emailaddressquarantinereason emailsuppressions abmeldedatum abgemeldetam",
    ),
];

/// Letters and digits alone, in lower case and without accents, however they are composed: `E-Mail`, `e_mail` and `"EMAIL"`
/// are one.
pub(super) fn key(text: &str) -> String {
    let mut key = folded(text);
    key.retain(char::is_alphanumeric);
    key
}

/// In lower case and without accents.
fn folded(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    let plain = |c: char| match c {
        'ł' => 'l',
        'ø' => 'o',
        'ı' => 'i',
        'đ' => 'd',
        _ => c,
    };
    text.nfkd().flat_map(char::to_lowercase).filter(|c| !is_combining_mark(*c)).map(plain).collect()
}

pub(super) fn meaning(column: &str) -> Meaning {
    let key = key(column);
    let known = SPELLINGS.iter().find(|(_, spellings)| spellings.split(' ').any(|spelling| spelling == key));
    match known {
        Some((meaning, _)) => *meaning,
        None => consent::meaning(column, &key),
    }
}

/// May hold the address in a file without a better column: what its rows say decides.
pub(super) fn may_be_address(column: &str) -> bool {
    let key = key(column);
    let plain = ["address", "adresse", "recipient", "contact", "subscriber", "username", "user", "login"];
    (key.contains("mail") || plain.contains(&key.as_str())) && meaning(column) == Meaning::Attribute
}

/// Behind the column of the address: another one of the same person's.
pub(super) fn is_other_address(column: &str) -> bool {
    const OTHERS: &str = "additional alternat alternative autre backup home otr other personal privat second weiter work zweit";
    let key = key(column);
    let numbered = key.contains(|c: char| c.is_ascii_digit());
    may_be_address(column) && (numbered || OTHERS.split(' ').any(|part| key.contains(part)))
}

#[cfg(test)]
mod tests;
