//! E-mail addresses as readers write them, and the one spelling by which two of them are the same.

mod mailbox;

use crate::hex;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// RFC 5321 section 4.5.3.1: octets in a local part, in a path without its brackets.
const LOCAL_PART_MAX_BYTES: usize = 64;
const ADDRESS_MAX_BYTES: usize = 254;

/// A deliverable address: its local part as written, its domain in A-labels (RFC 5891).
#[derive(Clone, PartialEq, Eq)]
pub struct EmailAddress {
    local: String,
    domain: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    #[error("the address is empty")]
    Empty,
    #[error("the address needs exactly one @")]
    At,
    #[error("the part before the @ is empty or longer than 64 bytes")]
    LocalLength,
    #[error("the part before the @ has a character or a dot where none may stand")]
    Local,
    #[error("the part before the @ is not ASCII, which most mail servers refuse")]
    LocalNotAscii,
    #[error("the domain is not a valid host name with at least two labels")]
    Domain,
    #[error("the address is longer than 254 bytes")]
    Length,
}

impl EmailAddress {
    /// Parses an address as RFC 5321 section 4.1.2 writes it, without quoted local parts and address literals.
    pub fn parse(input: &str) -> Result<Self, AddressError> {
        let input = input.trim();
        if input.is_empty() {
            return Err(AddressError::Empty);
        }
        let (local, domain) = input.split_once('@').ok_or(AddressError::At)?;
        if domain.contains('@') {
            return Err(AddressError::At);
        }
        check_local(local)?;
        let domain = parse_domain(domain)?;
        if local.len() + 1 + domain.len() > ADDRESS_MAX_BYTES {
            return Err(AddressError::Length);
        }
        Ok(Self { local: local.to_owned(), domain })
    }

    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The mailbox that the address most likely leads to: for limits alone, and never for who somebody is.
    pub fn mailbox(&self) -> Self {
        mailbox::of(&self.local, &self.domain)
    }

    /// The spelling by which two addresses are the same: trimmed, lower case, the domain in A-labels.
    pub fn canonical(&self) -> String {
        format!("{}@{}", self.local.to_ascii_lowercase(), self.domain)
    }
}

fn check_local(local: &str) -> Result<(), AddressError> {
    if local.is_empty() || local.len() > LOCAL_PART_MAX_BYTES {
        return Err(AddressError::LocalLength);
    }
    if !local.is_ascii() {
        return Err(AddressError::LocalNotAscii);
    }
    // RFC 5322 section 3.2.3: dot-atom-text.
    let atext = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c);
    match local.split('.').all(|atom| !atom.is_empty() && atom.chars().all(atext)) {
        true => Ok(()),
        false => Err(AddressError::Local),
    }
}

fn parse_domain(domain: &str) -> Result<String, AddressError> {
    let ascii = idna::domain_to_ascii_strict(domain).map_err(|_| AddressError::Domain)?;
    let label = |l: &str| {
        !l.is_empty()
            && l.len() <= 63
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    match ascii.contains('.') && ascii.split('.').all(label) {
        true => Ok(ascii),
        false => Err(AddressError::Domain),
    }
}

impl fmt::Display for EmailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.local, self.domain)
    }
}

/// Redacted: addresses do not belong in logs.
impl fmt::Debug for EmailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EmailAddress(…)")
    }
}

/// The keyed hash (HMAC-SHA-256) of a canonical address: what uniqueness, the gate and the suppression list know of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddressHash(pub [u8; 32]);

impl fmt::Display for AddressHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex::write(&self.0, f)
    }
}

impl fmt::Debug for AddressHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AddressHash({self})")
    }
}

impl Serialize for AddressHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AddressHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        hex::parse(&text)
            .map(Self)
            .ok_or_else(|| serde::de::Error::custom("an address hash is 64 hex digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_no_mail_server_takes_is_refused() {
        let long = format!("{}@example.com", "x".repeat(65));
        let bad = [
            "",
            "no-at-sign",
            "two@@example.com",
            "space in@example.com",
            "trailing.dot.@example.com",
            "@example.com",
            "name@",
            "name@-bad-.example",
            "a@b",
            &long,
            "name@example..com",
            "name@exam ple.com",
            "name@[192.0.2.1]",
            "a\r\nb@example.com",
            "a@example.com\nBcc: x@y.zz",
            "a@b@example.com",
            "łukasz@example.com",
            "a@exa_mple.com",
            "\0@example.com",
        ];
        for address in bad {
            assert!(EmailAddress::parse(address).is_err(), "{address:?} was taken");
        }
    }

    #[test]
    fn spellings_of_one_address_are_the_same() {
        let canonical = |a: &str| EmailAddress::parse(a).unwrap().canonical();
        assert_eq!(canonical("  Reader@EXAMPLE.com "), "reader@example.com");
        assert_eq!(canonical("a@bücher.example"), canonical("A@xn--bcher-kva.example"));
        assert_eq!(canonical("a@例え.example"), "a@xn--r8jz45g.example");
        assert_ne!(canonical("a+b@example.com"), canonical("a@example.com"));
    }

    #[test]
    fn the_local_part_is_kept_as_written() {
        assert_eq!(
            EmailAddress::parse("Ana.O'Brien@Example.COM").unwrap().to_string(),
            "Ana.O'Brien@example.com"
        );
    }

    #[test]
    fn a_hash_round_trips_as_hex() {
        let hash = AddressHash([0xab; 32]);
        let json = serde_json::to_string(&hash).unwrap();
        assert_eq!(serde_json::from_str::<AddressHash>(&json).unwrap(), hash);
        assert!(serde_json::from_str::<AddressHash>("\"zz\"").is_err());
    }

    proptest! {
        #[test]
        fn parsing_is_stable_and_safe_in_headers(input in "\\PC{0,40}@\\PC{0,40}") {
            if let Ok(address) = EmailAddress::parse(&input) {
                let shown = address.to_string();
                prop_assert!(shown.is_ascii() && !shown.contains(char::is_control) && !shown.contains(char::is_whitespace));
                prop_assert_eq!(EmailAddress::parse(&shown).unwrap().canonical(), address.canonical());
            }
        }
    }
}
