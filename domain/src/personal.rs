//! Personal data inside events: plain on its way into the log, ciphertext once it is there.

use serde::{Deserialize, Deserializer, Serialize, Serializer, ser::Error};
use std::fmt;

/// One personal value (an address, a name, a set of attributes, a reader's network address).
///
/// A plain value refuses to be serialised: what was not sealed cannot reach the log, a read model or Kafka by
/// mistake. The sealed form is `1:<sequence>:<base64url of nonce and ciphertext>`; the event store makes and opens it.
#[derive(Clone, PartialEq, Eq)]
pub enum Personal {
    Plain(String),
    Sealed(String),
}

impl Personal {
    pub fn plain(value: impl Into<String>) -> Self {
        Self::Plain(value.into())
    }
}

impl fmt::Debug for Personal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain(_) => "Personal(plain)",
            Self::Sealed(_) => "Personal(sealed)",
        })
    }
}

impl Serialize for Personal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Plain(_) => Err(S::Error::custom("personal data must be sealed before it is stored")),
            Self::Sealed(sealed) => serializer.serialize_str(sealed),
        }
    }
}

impl<'de> Deserialize<'de> for Personal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::Sealed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_value_is_neither_stored_nor_shown() {
        let name = Personal::plain("Łukasz");
        assert!(serde_json::to_string(&name).is_err());
        assert!(!format!("{name:?}").contains("Łukasz"));
    }

    #[test]
    fn a_sealed_value_round_trips() {
        let json = serde_json::to_string(&Personal::Sealed("1:1:AAAA".into())).unwrap();
        assert_eq!(serde_json::from_str::<Personal>(&json).unwrap(), Personal::Sealed("1:1:AAAA".into()));
    }
}
