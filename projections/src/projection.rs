//! What a read model is to whoever carries events to it.

use async_trait::async_trait;
use eventstore::LogEvent;
use sqlx::PgConnection;

/// A read model's projector. It must commute across streams: a carrier keeps order within a slot and nowhere else.
#[async_trait]
pub trait Projection: Send + Sync {
    /// Names the module, the table and the checkpoints, and never changes.
    fn name(&self) -> &'static str;

    /// The aggregate types that it follows.
    fn types(&self) -> &'static [&'static str];

    /// Every table that it writes.
    fn tables(&self) -> &'static [&'static str];

    /// Events that one transaction may apply: fewer where an event stands for many rows.
    fn batch_max(&self) -> usize {
        1_000
    }

    /// Applies events in the caller's transaction, each slot's in order. Never sees an event twice.
    async fn apply(&self, tx: &mut PgConnection, events: &[LogEvent]) -> Result<(), ApplyError>;

    /// Empties its tables, for a rebuild.
    async fn reset(&self, tx: &mut PgConnection) -> Result<(), sqlx::Error> {
        sqlx::query(&format!("TRUNCATE {}", self.tables().join(", "))).execute(tx).await.map(drop)
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The event's own error: it will fail again. The reason holds no personal data.
    #[error("event at position {position}: {reason}")]
    Event { position: i64, reason: String },
    /// Nothing that the event is to blame for.
    #[error(transparent)]
    Infrastructure(#[from] sqlx::Error),
}

impl ApplyError {
    pub fn event(event: &LogEvent, reason: impl Into<String>) -> Self {
        Self::Event { position: event.position, reason: reason.into() }
    }

    /// Why the event cannot be applied, if it is to blame.
    ///
    /// Of a database error only code and constraint are kept: its text may quote values.
    pub(crate) fn events_own(&self) -> Option<String> {
        let error = match self {
            Self::Event { reason, .. } => return Some(reason.clone()),
            Self::Infrastructure(error) => error,
        };
        match error {
            sqlx::Error::Database(error) => {
                // Data exceptions and violated constraints (Postgres manual, appendix A).
                let code = error.code().filter(|code| code.starts_with("22") || code.starts_with("23"))?;
                Some(
                    format!("SQLSTATE {code} {}", error.constraint().unwrap_or_default())
                        .trim_end()
                        .to_owned(),
                )
            }
            // It would fail for this stream for ever, and must not hold up the others.
            sqlx::Error::ColumnDecode { index, .. } => {
                Some(format!("column {index} of its row cannot be read"))
            }
            sqlx::Error::Encode(_) => Some("a value cannot be written".to_owned()),
            _ => None,
        }
    }
}
