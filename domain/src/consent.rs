//! Consent and its end, as both are recorded for the people whom they concern.

use crate::{GroupId, Personal};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// Why we may write to somebody: GDPR article 7(1) asks that this can be shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Consent {
    /// Where it was given: a form's name, "import", a shop's checkout.
    pub source: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wording_version: Option<String>,
    /// When the person gave it, where that is known and differs from when it was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given_at: Option<DateTime<Utc>>,
    /// The network address it was given from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given_from: Option<Personal>,
}

/// How an opt-out reached us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    OneClick,
    PreferencePage,
    Complaint,
    HardBounce,
    Admin,
    Import,
}

impl Channel {
    pub const ALL: [Self; 6] =
        [Self::OneClick, Self::PreferencePage, Self::Complaint, Self::HardBounce, Self::Admin, Self::Import];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::OneClick => "one_click",
            Self::PreferencePage => "preference_page",
            Self::Complaint => "complaint",
            Self::HardBounce => "hard_bounce",
            Self::Admin => "admin",
            Self::Import => "import",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|channel| channel.as_str() == word)
    }
}

/// What an opt-out covers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    Global,
    Groups(Vec<GroupId>),
}

/// The mail whose link was used, and where the request came from.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Origin {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub campaign_id: Option<crate::CampaignId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dispatch_id: Option<crate::DispatchId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_address: Option<Personal>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<Personal>,
    /// Of an opt-out by the staff: why, in their words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Personal>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channels_word_is_the_stored_one() {
        for channel in Channel::ALL {
            assert_eq!(serde_json::to_value(channel).unwrap(), channel.as_str());
            assert_eq!(Channel::parse(channel.as_str()), Some(channel));
        }
    }
}
