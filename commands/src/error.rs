//! What a caller can act on.

use crate::passwords::PasswordError;
use domain::SubscriberId;
use eventstore::{ExecuteError, StoreError};

/// One field that cannot be taken, by its name in the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    pub field: String,
    pub reason: String,
}

#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    #[error("the {0} is not known")]
    NotFound(&'static str),
    #[error("some fields cannot be taken")]
    Invalid(Vec<FieldError>),
    /// A state that forbids it.
    #[error("{reason}")]
    Forbidden { status: String, reason: String },
    /// Somebody has the address already; who, where they are to be found by it.
    #[error("a subscriber with this address exists already")]
    Known(Option<SubscriberId>),
    /// Who asks is not who they would have to be.
    #[error("{0}")]
    Unauthorized(&'static str),
    /// The refresh token was spent by another request while this one was under way.
    #[error("another request was first with this refresh token")]
    RefreshRaced,
    /// More at once than is worked on.
    #[error("{0}")]
    Busy(&'static str),
    /// There is no room for more until something ends that takes minutes.
    #[error("{0}")]
    Full(&'static str),
    /// Too often in a time; what is too often now is not in an hour.
    #[error("too often lately")]
    TooMany,
    /// The version that the client saw is not the present one.
    #[error("it was changed meanwhile: load it again")]
    Stale,
    #[error("the idempotency key was used with another body")]
    KeyReused,
    #[error("a command with the same idempotency key is running")]
    InProgress,
    /// Others changed the same thing again and again.
    #[error("too many commands on the same thing at once")]
    Conflict,
    #[error("the database is unavailable")]
    Unavailable(#[source] StoreError),
    #[error("the command failed")]
    Failed(#[source] StoreError),
}

impl CommandError {
    pub fn invalid(field: &str, reason: impl Into<String>) -> Self {
        Self::Invalid(vec![FieldError { field: field.into(), reason: reason.into() }])
    }

    /// Whether the same call may succeed later: others were in its way, or the database.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Conflict | Self::InProgress | Self::Busy(_) | Self::Unavailable(_))
    }

    /// Whether what was stored cannot be read, now or later.
    pub fn is_unreadable(&self) -> bool {
        matches!(self, Self::Failed(StoreError::Format(_) | StoreError::Key(_)))
    }

    /// With its cause, for the log.
    pub fn described(&self) -> String {
        match std::error::Error::source(self) {
            Some(source) => format!("{self}: {source}"),
            None => self.to_string(),
        }
    }

    pub fn forbidden(status: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Forbidden { status: status.into(), reason: reason.into() }
    }
}

/// The aggregate's own refusals turn into the caller's by their `From`.
impl<E: std::error::Error + Into<CommandError>> From<ExecuteError<E>> for CommandError {
    fn from(error: ExecuteError<E>) -> Self {
        match error {
            ExecuteError::Rejected(error) => error.into(),
            ExecuteError::Stale => Self::Stale,
            ExecuteError::KeyReused => Self::KeyReused,
            ExecuteError::InProgress => Self::InProgress,
            ExecuteError::Store(error) => error.into(),
        }
    }
}

impl From<StoreError> for CommandError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::AddressTaken => Self::Known(None),
            StoreError::InUse(status) => Self::forbidden(status, "a campaign that is under way uses it"),
            StoreError::Gone("medium") => Self::invalid("template", "it shows a medium that was deleted"),
            StoreError::Gone(thing) => Self::invalid(thing, format!("the {thing} is not known")),
            StoreError::Conflict => Self::Conflict,
            StoreError::Unavailable(_) => Self::Unavailable(error),
            StoreError::Database(_)
            | StoreError::SequenceBehind { .. }
            | StoreError::Format(_)
            | StoreError::Key(_) => Self::Failed(error),
        }
    }
}

impl From<PasswordError> for CommandError {
    fn from(error: PasswordError) -> Self {
        match error {
            PasswordError::Busy => Self::Busy("too many sign-ins at once"),
            PasswordError::Failed(reason) => Self::Failed(StoreError::Format(reason)),
        }
    }
}

impl From<sqlx::Error> for CommandError {
    fn from(error: sqlx::Error) -> Self {
        StoreError::from(error).into()
    }
}
