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
    /// A campaign that is under way uses what was to go: its status.
    #[error("a campaign that is {0} uses it")]
    InUse(String),
    /// A campaign was to come under way with something that is no more.
    #[error("the {0} is not there any more")]
    Gone(&'static str),
    /// The database cannot answer now; the same call may succeed later.
    #[error("the database is unavailable: {}", without_values(.0))]
    Unavailable(sqlx::Error),
    /// The sequence was taken back: see [`crate::lost`].
    #[error(
        "the sequence of append_ids stands at {drawn}, and {numbered} is numbered already: what is appended now would never \
         get a position. See `postledger log check`, and mend it by `postledger log repair`"
    )]
    SequenceBehind { drawn: i64, numbered: i64 },
    #[error("database: {}", without_values(.0))]
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

/// For logs. Data exceptions and violated constraints (Postgres manual, appendix A) quote values, as errors of reading and
/// writing one may: of those the code and the place are told.
fn without_values(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(error) => {
            let code = error.code().unwrap_or_default();
            let constraint = error.constraint().unwrap_or_default();
            match code.get(..2) {
                Some("22" | "23") => format!("SQLSTATE {code} {constraint}").trim_end().to_owned(),
                _ => format!("SQLSTATE {code}: {}", error.message()),
            }
        }
        sqlx::Error::ColumnDecode { index, .. } => format!("column {index} of a row cannot be read"),
        sqlx::Error::Decode(_) => "a row cannot be read".to_owned(),
        sqlx::Error::Encode(_) => "a value cannot be written".to_owned(),
        other => other.to_string(),
    }
}

/// The error's own text quotes a panic's message, and that may quote anything.
impl From<tokio::task::JoinError> for StoreError {
    fn from(error: tokio::task::JoinError) -> Self {
        let end = if error.is_panic() { "panicked" } else { "was cancelled" };
        Self::Format(format!("a task {end}"))
    }
}

/// SQLSTATE classes and codes after which a new try may succeed: serialization failure, deadlock, lock not
/// available, a cancelled statement, read-only after a failover, a transaction that stood still, a database that admits nobody
/// (55000), connection exceptions, insufficient resources (a full disk), system errors, shutdown and start of the server.
fn is_passing(code: &str) -> bool {
    let codes = ["40001", "40P01", "55000", "55P03", "25006", "25P03", "57014", "57P01", "57P02", "57P03"];
    codes.contains(&code) || ["08", "53", "58"].iter().any(|class| code.starts_with(class))
}

/// Of what another command has written for a place in the same stream: its event, and what its guards wrote before the event. The
/// key of a stream's person is made with its first event.
const PLACES: [&str; 3] = ["events_stream_sequence", "opt_out_mails_pkey", "subject_keys_pkey"];

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(db) => match (db.constraint(), db.code()) {
                (Some(taken), _) if PLACES.contains(&taken) => Self::Conflict,
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
