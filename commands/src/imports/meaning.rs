//! What a column may mean to an import, by the words that a mapping and the answers use.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Meaning {
    Email,
    Name,
    FirstName,
    LastName,
    /// When they consented.
    ConsentDate,
    /// When they confirmed: counts where no consent date is filled.
    ConfirmationDate,
    /// The network address from which they consented.
    ConsentIp,
    ConfirmationIp,
    /// Yes: they may be written to. Empty is no.
    Subscribed,
    /// Yes: they must not be written to. Empty is no.
    NotSubscribed,
    /// A word on whether they may be written to. Empty says nothing.
    Status,
    /// Filled: they opted out, whatever stands there.
    OptOutDate,
    /// What became of a mail, in our own list of recipients.
    RecipientState,
    /// A merge field of templates, and no more.
    Attribute,
    Ignore,
    /// It looks as if it said who may be written to, and can be read both ways.
    NotUnderstood,
}

/// What a mapping can give.
pub const MEANINGS: [(&str, Meaning); 14] = [
    ("email", Meaning::Email),
    ("name", Meaning::Name),
    ("first_name", Meaning::FirstName),
    ("last_name", Meaning::LastName),
    ("consent_date", Meaning::ConsentDate),
    ("confirmation_date", Meaning::ConfirmationDate),
    ("consent_ip", Meaning::ConsentIp),
    ("confirmation_ip", Meaning::ConfirmationIp),
    ("subscribed", Meaning::Subscribed),
    ("not_subscribed", Meaning::NotSubscribed),
    ("status", Meaning::Status),
    ("opt_out_date", Meaning::OptOutDate),
    ("attribute", Meaning::Attribute),
    ("ignore", Meaning::Ignore),
];

impl Meaning {
    pub fn parse(word: &str) -> Option<Self> {
        MEANINGS.iter().find(|(known, _)| *known == word).map(|(_, meaning)| *meaning)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::RecipientState => "recipient_state",
            Self::NotUnderstood => "not_understood",
            other => MEANINGS.iter().find(|(_, known)| *known == other).map_or("", |(word, _)| word),
        }
    }

    /// Whether the value is kept as a merge field, too.
    pub(super) fn has_key(self) -> bool {
        match self {
            Self::Email | Self::Name | Self::ConsentIp | Self::ConfirmationIp | Self::Ignore => false,
            Self::FirstName
            | Self::LastName
            | Self::ConsentDate
            | Self::ConfirmationDate
            | Self::Subscribed
            | Self::NotSubscribed
            | Self::Status
            | Self::OptOutDate
            | Self::RecipientState
            | Self::Attribute
            | Self::NotUnderstood => true,
        }
    }

    pub(super) fn is_date(self) -> bool {
        matches!(self, Self::ConsentDate | Self::ConfirmationDate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_those_that_are_stored() {
        for (word, meaning) in MEANINGS {
            assert_eq!((Meaning::parse(word), meaning.as_str()), (Some(meaning), word));
            assert_eq!(serde_json::to_value(meaning).unwrap(), word);
        }
        for meaning in [Meaning::RecipientState, Meaning::NotUnderstood] {
            assert_eq!(serde_json::to_value(meaning).unwrap(), meaning.as_str());
        }
    }
}
