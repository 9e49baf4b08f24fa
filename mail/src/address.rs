//! The addresses of a message: who sends it and who gets it.

use crate::header_text::{named, one_line, phrase};
use domain::EmailAddress;
use domain::address::AddressError;

/// A mailbox with the name that mail programs show.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    pub email: String,
    pub name: Option<String>,
}

/// Redacted: addresses and names do not belong in logs.
impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Address(…)")
    }
}

impl Address {
    /// Parses `name@host`, `Name <name@host>` or `"Name, with specials" <name@host>` (RFC 5322 section 3.4).
    ///
    /// The domain is kept in A-labels (RFC 5891). A local part that isn't ASCII is refused: few servers take it.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let text = text.trim();
        let (name, email) = match text.strip_suffix('>').and_then(|text| text.rsplit_once('<')) {
            Some((name, email)) => (one_line(&unquote(name.trim())), email),
            None => (String::new(), text),
        };
        let email = EmailAddress::parse(email)?.to_string();
        Ok(Self { email, name: Some(name).filter(|name| !name.is_empty()) })
    }

    /// The address as a header has it, checked again: the fields are public.
    pub(crate) fn header(&self) -> Result<Mailbox, AddressError> {
        // `EmailAddress` trims, and what has to be trimmed might be a line break.
        let email = match self.email.trim() == self.email {
            true => EmailAddress::parse(&self.email)?.to_string(),
            false => return Err(AddressError::Local),
        };
        let name = one_line(self.name.as_deref().unwrap_or_default());
        let encoded = if name.is_empty() { email.clone() } else { named(&phrase(&name), &email) };
        Ok(Mailbox { email, encoded })
    }
}

pub(crate) struct Mailbox {
    pub email: String,
    pub encoded: String,
}

fn unquote(name: &str) -> String {
    let Some(quoted) = name.strip_prefix('"').and_then(|name| name.strip_suffix('"')) else {
        return name.to_owned();
    };
    let mut unquoted = String::with_capacity(quoted.len());
    let mut chars = quoted.chars();
    while let Some(c) = chars.next() {
        unquoted.extend(if c == '\\' { chars.next() } else { Some(c) });
    }
    unquoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mailboxes_are_read_as_people_write_them() {
        let cases = [
            ("a@example.com", "a@example.com", None),
            (" <a@example.com> ", "a@example.com", None),
            ("Anna Bell <a@example.com>", "a@example.com", Some("Anna Bell")),
            ("\"Smith, \\\"J\\\"\" <a@example.com>", "a@example.com", Some("Smith, \"J\"")),
            ("Shop < Co <a@Bücher.example>", "a@xn--bcher-kva.example", Some("Shop < Co")),
            ("浩 <a@例え.example>", "a@xn--r8jz45g.example", Some("浩")),
        ];
        for (text, email, name) in cases {
            let address = Address::parse(text).unwrap();
            assert_eq!((address.email.as_str(), address.name.as_deref()), (email, name), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let bad = [
            "",
            "a",
            "Anna <a>",
            "a@example.com\r\nBcc: b@example.com",
            "ł@example.com",
            "<a@example.com",
            "a@example.com>x",
        ];
        for text in bad {
            assert!(Address::parse(text).is_err(), "{text:?} was taken");
        }
        assert_eq!(Address::parse("浩@example.com"), Err(AddressError::LocalNotAscii));
    }

    #[test]
    fn an_address_with_a_line_break_gets_into_no_header() {
        for email in
            ["a@example.com\r\nBcc: b@example.com", "a@example.com\n", "\ra@example.com", "a\0@example.com"]
        {
            assert!(Address { email: email.to_owned(), name: None }.header().is_err(), "{email:?}");
        }
    }
}
