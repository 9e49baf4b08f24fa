use crate::visit::Visit;
use crate::{Event, Personal, UserId};
use cqrs_es::DomainEvent;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum SessionEvent {
    #[serde(rename = "SessionStarted")]
    Started { user_id: UserId, visit: Visit },
    /// The one event of its stream. The visitor is told nothing of the reason.
    #[serde(rename = "SignInFailed")]
    SignInFailed {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        user_id: Option<UserId>,
        reason: Refusal,
        visit: Visit,
    },
    /// So many more from one network, in about a minute: those are not worth an event each. The one event of its stream.
    #[serde(rename = "SignInsFailed")]
    SignInsFailed { count: u32, visit: Visit },
    /// The one event of its stream. Whether the address is anybody's, the visitor is not told.
    #[serde(rename = "PasswordResetRequested")]
    ResetRequested {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        user_id: Option<UserId>,
        visit: Visit,
    },
    #[serde(rename = "SessionRefreshed")]
    Refreshed { visit: Visit },
    /// A refresh token came back after it was spent: somebody has a copy.
    #[serde(rename = "SessionReuseDetected")]
    ReuseDetected { visit: Visit },
    #[serde(rename = "SessionEnded")]
    Ended { reason: EndReason },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    UnknownUser,
    WrongPassword,
    Disabled,
    /// The link of a mail: unknown, over, or used before.
    WrongToken,
    /// The state of a sign-in at a provider: missing, foreign, over, or used before.
    WrongState,
    /// The provider did not confirm the code, or its ID token is not for this sign-in.
    ProviderRefused,
    /// Of somebody whom the provider knows, and we do not yet.
    UnverifiedAddress,
    /// The user of this address signs in with another identity.
    OtherIdentity,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    SignedOut,
    /// By the user, from another session.
    Revoked,
    TokenReused,
    PasswordChanged,
    UserDisabled,
    /// The user has more sessions than are kept.
    TooMany,
}

impl DomainEvent for SessionEvent {
    fn event_type(&self) -> String {
        match self {
            Self::Started { .. } => "SessionStarted",
            Self::SignInFailed { .. } => "SignInFailed",
            Self::SignInsFailed { .. } => "SignInsFailed",
            Self::ResetRequested { .. } => "PasswordResetRequested",
            Self::Refreshed { .. } => "SessionRefreshed",
            Self::ReuseDetected { .. } => "SessionReuseDetected",
            Self::Ended { .. } => "SessionEnded",
        }
        .into()
    }

    fn event_version(&self) -> String {
        "1.0".into()
    }
}

impl Event for SessionEvent {
    fn personal(&mut self) -> Vec<(&'static str, &mut Personal)> {
        match self {
            Self::Started { visit, .. }
            | Self::SignInFailed { visit, .. }
            | Self::SignInsFailed { visit, .. }
            | Self::ResetRequested { visit, .. }
            | Self::Refreshed { visit }
            | Self::ReuseDetected { visit } => visit.personal(),
            Self::Ended { .. } => Vec::new(),
        }
    }
}
