//! The states of long streams, so that a stream of thousands of events costs no more than one of a hundred.
//!
//! A snapshot is derived and never the truth: it may be deleted at any time, and one that cannot be read, or is of another format,
//! is passed over. Personal data in it is what the events hold, sealed by the person's own key. It is written by whoever has read
//! many events, outside every transaction, so that it holds only what was committed.

use crate::{Loaded, StoreError};
use domain::Guarded;
use serde_json::Value;
use sqlx::{PgConnection, PgExecutor};
use uuid::Uuid;

/// Events behind a snapshot, or behind a stream's start, that are worth one.
pub const EVERY: u64 = 100;
/// No snapshot is of this format.
pub(crate) const NONE: i32 = 0;

/// Writes snapshots of those streams of which many events were read. A failure costs time alone.
pub(crate) async fn keep<'a, A: Guarded + 'a>(
    db: &mut PgConnection,
    read: impl IntoIterator<Item = (Uuid, &'a Loaded<A>)>,
) {
    let mut long: Vec<_> = read.into_iter().filter(|(_, loaded)| loaded.is_long()).collect();
    if long.is_empty() {
        return;
    }
    // In one order, so that two writers cannot deadlock.
    long.sort_unstable_by_key(|(id, _)| *id);
    if let Err(error) = write(db, &long).await {
        tracing::debug!(%error, "snapshots were not written");
    }
}

async fn write<A: Guarded>(db: &mut PgConnection, long: &[(Uuid, &Loaded<A>)]) -> Result<(), StoreError> {
    let states: Result<Vec<Value>, _> =
        long.iter().map(|(_, loaded)| serde_json::to_value(&loaded.aggregate)).collect();
    // One of the same sequence is written anew: it could not be read.
    sqlx::query(
        "INSERT INTO snapshots AS s (aggregate_type, aggregate_id, format, sequence, state)
         SELECT $1, id, $2, sequence, state FROM unnest($3::text[], $4::bigint[], $5::jsonb[]) AS new (id, sequence, state)
         ON CONFLICT (aggregate_type, aggregate_id) DO UPDATE
             SET format = excluded.format, sequence = excluded.sequence, state = excluded.state
             WHERE (s.format, s.sequence) <= (excluded.format, excluded.sequence)",
    )
    .bind(A::TYPE)
    .bind(A::SNAPSHOT_FORMAT)
    .bind(long.iter().map(|(id, _)| id.to_string()).collect::<Vec<_>>())
    .bind(long.iter().map(|(_, loaded)| loaded.version.cast_signed()).collect::<Vec<_>>())
    .bind(states.map_err(|error| StoreError::Format(error.to_string()))?)
    .execute(db)
    .await?;
    Ok(())
}

/// Deletes those of these people.
pub async fn forget(db: impl PgExecutor<'_>, subjects: &[Uuid]) -> Result<(), StoreError> {
    let ids: Vec<String> = subjects.iter().map(Uuid::to_string).collect();
    sqlx::query("DELETE FROM snapshots WHERE aggregate_type = 'subscriber' AND aggregate_id = ANY($1)")
        .bind(ids)
        .execute(db)
        .await?;
    Ok(())
}
