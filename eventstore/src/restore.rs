//! Whether this database holds the history that it held, and what makes it another one.
//!
//! A restore, a copy or a failover may take away what was acknowledged, and nothing in the database tells: it was taken
//! away there as well. What tells is outside: the cluster and its timeline, Kafka's topics, and what a sender remembers.

use crate::StoreError;
use crate::feed::{self, Head};
use crate::sending::{self, LOG_WENT_BACK, RESTORED};
use chrono::{DateTime, Utc};
use domain::Sequence;
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, PgExecutor, PgPool};
use uuid::Uuid;

/// An event that somebody outside of the database has seen. No other event is of this stream, sequence and time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, sqlx::FromRow)]
pub struct Seen {
    pub epoch: Uuid,
    pub aggregate_type: String,
    pub aggregate_id: String,
    pub sequence: i64,
    pub recorded_at: DateTime<Utc>,
}

/// How this is not the place where the history was, by its word; `None`: it is.
pub async fn moved(db: impl PgExecutor<'_>) -> Result<Option<String>, StoreError> {
    Ok(sqlx::query_scalar("SELECT log_moved()").fetch_one(db).await?)
}

/// Whether the log goes on from there.
pub async fn follows(db: impl PgExecutor<'_>, seen: &Seen) -> Result<bool, StoreError> {
    let follows = sqlx::query_scalar("SELECT log_follows($1)").bind(sqlx::types::Json(seen));
    Ok(follows.fetch_one(db).await?)
}

/// An event that was appended lately; `None` before the first.
pub async fn last(db: impl PgExecutor<'_>) -> Result<Option<Seen>, StoreError> {
    let last = "SELECT p.epoch, e.aggregate_type, e.aggregate_id, e.sequence, e.recorded_at
         FROM log_epoch p, events e ORDER BY e.append_id DESC LIMIT 1";
    Ok(sqlx::query_as(last).fetch_optional(db).await?)
}

/// One event, as it would be seen.
pub async fn event(
    db: impl PgExecutor<'_>,
    aggregate_type: &str,
    stream: Uuid,
    sequence: Sequence,
) -> Result<Option<Seen>, StoreError> {
    let event = "SELECT p.epoch, e.aggregate_type, e.aggregate_id, e.sequence, e.recorded_at
         FROM log_epoch p, events e WHERE e.aggregate_type = $1 AND e.aggregate_id = $2 AND e.sequence = $3";
    let event = sqlx::query_as(event).bind(aggregate_type).bind(stream.to_string());
    Ok(event.bind(sequence.cast_signed()).fetch_optional(db).await?)
}

#[derive(Debug, PartialEq, Eq)]
pub enum Marked {
    /// With the epoch that it has now.
    Now(Head),
    /// It was marked, and no mail went since.
    Before(Head),
}

/// Makes the history of a restored database another one: nothing that was read of the lost one passes for a part of it.
/// Sending is off from its commit on. What is marked already is left, unless it moved since, or `again`.
pub async fn mark_as_restored(pool: &PgPool, again: bool) -> Result<Marked, StoreError> {
    let mut tx = pool.begin().await?;
    sending::lock(&mut tx).await?;
    // Deliveries begin by writing checkpoints: behind this lock none of the old epoch is under way.
    sqlx::query("LOCK TABLE checkpoints IN SHARE ROW EXCLUSIVE MODE").execute(&mut *tx).await?;
    let is_marked = sending::stopped_by(&mut *tx).await?.is_some_and(|stop| stop.reason == RESTORED);
    if is_marked && !again {
        return Ok(Marked::Before(feed::head(&mut *tx).await?));
    }
    sqlx::query("UPDATE log_epoch SET earlier = earlier || epoch, epoch = gen_random_uuid()")
        .execute(&mut *tx)
        .await?;
    sqlx::query("UPDATE checkpoints SET epoch = (SELECT epoch FROM log_epoch)").execute(&mut *tx).await?;
    stay_here(&mut tx).await?;
    sqlx::query("UPDATE sending SET paused_at = clock_timestamp(), reason = $1")
        .bind(RESTORED)
        .execute(&mut *tx)
        .await?;
    let head = feed::head(&mut *tx).await?;
    tx.commit().await?;
    Ok(Marked::Now(head))
}

/// The history lost nothing on its way here: it goes on as the same one. False where somebody has seen more of it.
pub async fn confirm_failover(pool: &PgPool) -> Result<bool, StoreError> {
    let mut tx = pool.begin().await?;
    sending::lock(&mut tx).await?;
    let went_back: bool = sqlx::query_scalar("SELECT reason IS NOT DISTINCT FROM $1 FROM sending")
        .bind(LOG_WENT_BACK)
        .fetch_one(&mut *tx)
        .await?;
    if !went_back {
        stay_here(&mut tx).await?;
        tx.commit().await?;
    }
    Ok(!went_back)
}

async fn stay_here(tx: &mut PgConnection) -> Result<(), StoreError> {
    let here = "UPDATE log_epoch e SET system_identifier = c.system_identifier, timeline = c.timeline FROM this_cluster() c";
    sqlx::query(here).execute(tx).await?;
    Ok(())
}
