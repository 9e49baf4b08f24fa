//! The columns of usual exports, in the spellings of the list tools that write them.

/// What a column means to an import. A rank orders columns that say the same: the first that a row fills counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    Address,
    Name,
    FirstName,
    LastName,
    ConsentTime(u8),
    ConsentAddress(u8),
    /// A word on whether they may be written to: an attribute as well.
    Standing,
    /// When they opted out, if they did: an attribute as well.
    OptOutTime,
    /// An attribute under its own name.
    Attribute,
}

/// Said to whoever uploads a file without one.
pub(super) const ADDRESS_SPELLINGS: &str = "Email Address, E-mail, email, mail, E-Mail-Adresse";

/// Compared without case, white space, underscores, hyphens, quotes and the like. What a file may well have beside a
/// closer spelling (a contact's address, a display name) is left out.
const SPELLINGS: [(Meaning, &str); 10] = [
    (
        Meaning::Address,
        "email emailaddress mail mailaddress emailaddr emailid emailadresse mailadresse adresseemail adressemail \
         courriel correo correoelectronico correoelectrónico",
    ),
    (Meaning::Name, "name fullname vollständigername"),
    (Meaning::FirstName, "firstname fname givenname forename vorname prénom prenom nombre imię imie"),
    (
        Meaning::LastName,
        "lastname lname surname familyname nachname nomdefamille apellido apellidos nazwisko",
    ),
    (
        Meaning::ConsentTime(0),
        "optintime optindate optinat optedinat subscribedat subscribedon subscribedate subscriptiondate signupdate \
         signuptime signedupat",
    ),
    (Meaning::ConsentTime(1), "confirmtime confirmdate confirmedat confirmationtime confirmationdate"),
    (Meaning::ConsentAddress(0), "optinip optinipaddress subscribeip subscriptionip signupip registrationip"),
    (Meaning::ConsentAddress(1), "confirmip confirmipaddress confirmationip"),
    (
        Meaning::Standing,
        "status emailstatus memberstatus subscriptionstatus subscriberstatus marketingstatus emailmarketingstatus",
    ),
    (
        Meaning::OptOutTime,
        "unsubtime unsubscribetime unsubscribedat unsubscribedon unsubscribedate optouttime optoutdate optedoutat",
    ),
];

/// Words of list tools for people who must not be written to, also for want of a confirmation, compared as columns are.
const UNWILLING: &str = "unsubscribed unsubscribe optedout optout optedoutofemail cleaned bounced complained complaint \
     spam junk blocked blocklisted blacklisted suppressed disabled unreachable unconfirmed nonsubscribed abgemeldet \
     désabonné";

pub(super) fn is_unwilling(standing: &str) -> bool {
    let key = key(standing);
    UNWILLING.split(' ').any(|word| word == key)
}

fn key(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

pub(super) fn meaning(column: &str) -> Meaning {
    let key = key(column);
    let known = SPELLINGS.iter().find(|(_, spellings)| spellings.split(' ').any(|spelling| spelling == key));
    known.map_or(Meaning::Attribute, |(meaning, _)| *meaning)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_spellings_are_understood() {
        let address = [
            "Email Address",
            "E-mail",
            "email",
            "E-Mail-Adresse",
            "mail",
            "email_address",
            "EMAIL",
            "\"Email\"",
        ];
        for column in address {
            assert_eq!(meaning(column), Meaning::Address, "{column}");
        }
        for column in ["First Name", "FNAME", "Vorname", "given_name", "firstName"] {
            assert_eq!(meaning(column), Meaning::FirstName, "{column}");
        }
        assert_eq!(meaning("Full Name"), Meaning::Name);
        assert_eq!(meaning("OPTIN_TIME"), Meaning::ConsentTime(0));
        assert_eq!(meaning("CONFIRM_TIME"), Meaning::ConsentTime(1));
        assert_eq!(meaning("OPTIN_IP"), Meaning::ConsentAddress(0));
    }

    #[test]
    fn other_columns_are_attributes() {
        // Mailchimp's `Address` is the postal one.
        for column in ["Address", "Birthday", "TAGS", "e", "浩"] {
            assert_eq!(meaning(column), Meaning::Attribute, "{column}");
        }
    }

    #[test]
    fn a_spelling_has_one_meaning() {
        let all = || SPELLINGS.iter().flat_map(|(_, spellings)| spellings.split(' '));
        let distinct: std::collections::BTreeSet<_> = all().collect();
        assert_eq!(all().count(), distinct.len());
        assert_eq!(meaning(""), Meaning::Attribute);
    }
}
