//! Streams that a projection cannot follow any more, and their events that wait: the projector's side.
//!
//! All of this happens under the checkpoints of the streams' slots. [`crate::dead_letters`] is the operator's side.

use eventstore::LogEvent;
use sqlx::PgConnection;
use std::collections::HashSet;

/// Streams by type and id.
pub(crate) type Streams = HashSet<(String, String)>;

pub(crate) fn stream_of(event: &LogEvent) -> (String, String) {
    (event.aggregate_type.clone(), event.aggregate_id.clone())
}

/// Which of the batch's streams are parked; they stay so until the transaction ends.
pub(crate) async fn parked(
    tx: &mut PgConnection,
    projection: &str,
    batch: &[LogEvent],
) -> Result<Streams, sqlx::Error> {
    // Only consumers of these slots park their streams, and they wait for our checkpoints: what is not parked now
    // will not be. This keeps the usual case, nothing parked at all, to one small statement.
    let any: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM parked_streams WHERE projection = $1)")
        .bind(projection)
        .fetch_one(&mut *tx)
        .await?;
    if !any {
        return Ok(Streams::new());
    }
    // A replay may be about to end the parking. Its lock is waited for in one statement, and the next one looks,
    // since a statement's snapshot is older than the lock that it waited for.
    let streams: HashSet<_> =
        batch.iter().map(|event| (&event.aggregate_type, &event.aggregate_id)).collect();
    let (types, ids): (Vec<&String>, Vec<&String>) = streams.into_iter().unzip();
    let lock = format!("{LOOK} ORDER BY aggregate_type, aggregate_id FOR SHARE");
    sqlx::query(&lock).bind(projection).bind(&types).bind(&ids).execute(&mut *tx).await?;
    let parked = sqlx::query_as(LOOK).bind(projection).bind(&types).bind(&ids).fetch_all(tx).await?;
    Ok(parked.into_iter().collect())
}

const LOOK: &str = "
    SELECT aggregate_type, aggregate_id FROM parked_streams
    WHERE projection = $1 AND (aggregate_type, aggregate_id) IN (SELECT * FROM unnest($2::text[], $3::text[]))";

/// Parks a stream with the event that it stumbled over.
pub(crate) async fn park(
    tx: &mut PgConnection,
    projection: &str,
    event: &LogEvent,
    reason: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO parked_streams (projection, aggregate_type, aggregate_id) VALUES ($1, $2, $3)
         ON CONFLICT DO NOTHING",
    )
    .bind(projection)
    .bind(&event.aggregate_type)
    .bind(&event.aggregate_id)
    .execute(&mut *tx)
    .await?;
    put_aside(tx, projection, &[event], Some(reason)).await?;
    tracing::error!(
        projection,
        position = event.position,
        aggregate.kind = event.aggregate_type,
        aggregate.id = event.aggregate_id,
        reason,
        "an event cannot be applied: its stream is parked, see `postledger dead-letters list`"
    );
    Ok(())
}

/// Adds events to the dead letters: the one that failed with its reason, those that follow it without.
pub(crate) async fn put_aside(
    tx: &mut PgConnection,
    projection: &str,
    events: &[&LogEvent],
    reason: Option<&str>,
) -> Result<(), sqlx::Error> {
    if events.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO dead_letters (projection, position, aggregate_type, aggregate_id, error)
         SELECT $1, e.position, e.aggregate_type, e.aggregate_id, $2
         FROM unnest($3::bigint[], $4::text[], $5::text[]) e (position, aggregate_type, aggregate_id)",
    )
    .bind(projection)
    .bind(reason)
    .bind(events.iter().map(|event| event.position).collect::<Vec<_>>())
    .bind(events.iter().map(|event| &event.aggregate_type).collect::<Vec<_>>())
    .bind(events.iter().map(|event| &event.aggregate_id).collect::<Vec<_>>())
    .execute(tx)
    .await
    .map(drop)
}
