//! Reading the log in the order of its positions.

use crate::StoreError;
use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgExecutor;
use uuid::Uuid;

/// One event with its place in the log.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct LogEvent {
    /// Dense and gapless over the whole log, from 1.
    pub position: i64,
    pub aggregate_type: String,
    pub slot: i16,
    pub aggregate_id: String,
    pub sequence: i64,
    pub event_type: String,
    pub event_version: String,
    pub payload: Value,
    pub metadata: Value,
    pub recorded_at: DateTime<Utc>,
}

impl LogEvent {
    /// The stream's id. Every stream of ours is named by a UUID.
    pub fn stream_id(&self) -> Result<Uuid, uuid::Error> {
        Uuid::parse_str(&self.aggregate_id)
    }
}

/// The log's epoch and its last position, and of which server: one that was started since may hold another history, where a pool
/// has connected anew without a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::FromRow)]
pub struct Head {
    pub epoch: Uuid,
    pub position: i64,
    pub server_started_at: DateTime<Utc>,
}

impl Head {
    /// Whether what was read of the log before may be gone.
    pub fn may_be_another(&self, before: &Self) -> bool {
        self.epoch != before.epoch || self.server_started_at != before.server_started_at
    }
}

/// The last entry is asked, and not `log_head`: that row is updated for each batch, so that under an old snapshot (a dump)
/// reading it passes all its dead versions.
pub async fn head(db: impl PgExecutor<'_>) -> Result<Head, StoreError> {
    let head =
        "SELECT epoch, coalesce((SELECT position FROM log ORDER BY position DESC LIMIT 1), 0) AS position,
             pg_postmaster_start_time() AS server_started_at
         FROM log_epoch";
    Ok(sqlx::query_as(head).fetch_one(db).await?)
}

/// Which history the log is: a restore alone changes it.
pub async fn epoch(db: impl PgExecutor<'_>) -> Result<Uuid, StoreError> {
    Ok(sqlx::query_scalar("SELECT epoch FROM log_epoch").fetch_one(db).await?)
}

/// How far the log is in Kafka.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Relayed {
    pub epoch: Uuid,
    /// The brokers have acknowledged everything up to here.
    pub position: i64,
    pub acknowledged_at: DateTime<Utc>,
}

/// `None`: no relay has ever worked on this log.
pub async fn relayed(db: impl PgExecutor<'_>) -> Result<Option<Relayed>, StoreError> {
    let relayed = "SELECT r.epoch, r.position, r.acknowledged_at FROM relay r JOIN log_epoch USING (epoch)";
    Ok(sqlx::query_as(relayed).fetch_optional(db).await?)
}

/// Up to `limit` events of `types` after `position`, in order, none behind `until`.
pub async fn read(
    db: impl PgExecutor<'_>,
    types: &[&str],
    after: i64,
    until: i64,
    limit: i64,
) -> Result<Vec<LogEvent>, StoreError> {
    let events = sqlx::query_as(
        "SELECT l.position, l.aggregate_type, l.slot, e.aggregate_id, e.sequence, e.event_type, e.event_version,
                e.payload, e.metadata, e.recorded_at
         FROM log l JOIN events e USING (append_id)
         WHERE l.position > $1 AND l.position <= $2 AND l.aggregate_type = ANY($3)
         ORDER BY l.position LIMIT $4",
    )
    .bind(after)
    .bind(until)
    .bind(types)
    .bind(limit)
    .fetch_all(db)
    .await?;
    Ok(events)
}

/// Events of one slot between two positions: what a consumer reads to close a gap.
pub async fn read_slot(
    db: impl PgExecutor<'_>,
    aggregate_type: &str,
    slot: i16,
    after: i64,
    until: i64,
    limit: i64,
) -> Result<Vec<LogEvent>, StoreError> {
    let events = sqlx::query_as(
        "SELECT l.position, l.aggregate_type, l.slot, e.aggregate_id, e.sequence, e.event_type, e.event_version,
                e.payload, e.metadata, e.recorded_at
         FROM log l JOIN events e USING (append_id)
         WHERE l.aggregate_type = $1 AND l.slot = $2 AND l.position > $3 AND l.position <= $4
         ORDER BY l.position LIMIT $5",
    )
    .bind(aggregate_type)
    .bind(slot)
    .bind(after)
    .bind(until)
    .bind(limit)
    .fetch_all(db)
    .await?;
    Ok(events)
}
