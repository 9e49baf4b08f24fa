//! What can go wrong below a command, told apart by what the caller can do about it.

use crate::keys::KeyError;

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another command was first on this stream: load again and retry.
    #[error("another command was first")]
    Conflict,
    /// The address belongs to a subscriber already.
    #[error("the address is taken")]
    AddressTaken,
    /// The database cannot answer now; the same call may succeed later.
    #[error("the database is unavailable: {0}")]
    Unavailable(sqlx::Error),
    #[error("database: {0}")]
    Database(sqlx::Error),
    #[error("an event could not be read or written: {0}")]
    Format(String),
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl StoreError {
    /// Whether the same transaction, started anew, may succeed.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Conflict | Self::Unavailable(_))
    }
}

/// SQLSTATE classes and codes after which a new try may succeed: serialization failure, deadlock, lock not
/// available, a cancelled statement, read-only after a failover, connection exceptions, insufficient resources (a full
/// disk), system errors, shutdown and start of the server.
fn is_passing(code: &str) -> bool {
    matches!(code, "40001" | "40P01" | "55P03" | "25006" | "57014" | "57P01" | "57P02" | "57P03")
        || ["08", "53", "58"].iter().any(|class| code.starts_with(class))
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(db) => match (db.constraint(), db.code()) {
                (Some("events_stream_sequence"), _) => Self::Conflict,
                (Some("gates_address"), _) => Self::AddressTaken,
                (_, Some(code)) if is_passing(&code) => Self::Unavailable(error),
                _ => Self::Database(error),
            },
            sqlx::Error::Io(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::Protocol(_)
            | sqlx::Error::Tls(_) => Self::Unavailable(error),
            _ => Self::Database(error),
        }
    }
}
