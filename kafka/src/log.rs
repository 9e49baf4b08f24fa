//! What this carrier asks the log.

use crate::envelope::Outgoing;
use eventstore::StoreError;
use sqlx::PgPool;
use std::collections::HashMap;

/// An aggregate type and one of its slots.
pub(crate) type Slot = (String, i16);

/// Up to `limit` entries behind `after`, in order; none behind `until`, and none of a log that moved: the pool may have been
/// connected to another database meanwhile. Payload and metadata stay text.
pub(crate) async fn read(
    pool: &PgPool,
    after: i64,
    until: i64,
    limit: i64,
) -> Result<Vec<Outgoing>, StoreError> {
    let entries = sqlx::query_as(
        "SELECT l.position, l.aggregate_type, l.slot, e.aggregate_id, e.sequence, e.event_type, e.event_version,
                e.payload::text AS payload, e.metadata::text AS metadata, e.recorded_at
         FROM log l JOIN events e USING (append_id)
         WHERE l.position > $1 AND l.position <= $2 AND log_moved() IS NULL
         ORDER BY l.position LIMIT $3",
    )
    .bind(after)
    .bind(until)
    .bind(limit)
    .fetch_all(pool)
    .await?;
    Ok(entries)
}

/// The last position of each slot up to `until`.
///
/// The types are found by skipping from one to the next in the index, not by a list that somebody has to keep.
pub(crate) async fn last_positions(pool: &PgPool, until: i64) -> Result<HashMap<Slot, i64>, StoreError> {
    let rows: Vec<(String, i16, i64)> = sqlx::query_as(
        "WITH RECURSIVE types AS (
             (SELECT aggregate_type FROM log ORDER BY aggregate_type LIMIT 1)
             UNION ALL
             SELECT (SELECT aggregate_type FROM log WHERE aggregate_type > t.aggregate_type
                     ORDER BY aggregate_type LIMIT 1)
             FROM types t WHERE t.aggregate_type IS NOT NULL)
         SELECT t.aggregate_type, s.slot::smallint, l.position
         FROM types t CROSS JOIN generate_series(0, $2 - 1) s (slot)
         CROSS JOIN LATERAL (
             SELECT position FROM log
             WHERE aggregate_type = t.aggregate_type AND slot = s.slot AND position <= $1
             ORDER BY position DESC LIMIT 1) l",
    )
    .bind(until)
    .bind(i32::from(projections::SLOTS))
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(|(aggregate_type, slot, position)| ((aggregate_type, slot), position)).collect())
}

/// Every aggregate type that the log holds.
pub(crate) async fn types(pool: &PgPool) -> Result<Vec<String>, StoreError> {
    Ok(sqlx::query_scalar(
        "WITH RECURSIVE types AS (
             (SELECT aggregate_type FROM log ORDER BY aggregate_type LIMIT 1)
             UNION ALL
             SELECT (SELECT aggregate_type FROM log WHERE aggregate_type > t.aggregate_type
                     ORDER BY aggregate_type LIMIT 1)
             FROM types t WHERE t.aggregate_type IS NOT NULL)
         SELECT aggregate_type FROM types WHERE aggregate_type IS NOT NULL",
    )
    .fetch_all(pool)
    .await?)
}

/// Which of these slots, each with its checkpoint, have events up to `until` that are not done.
pub(crate) async fn behind(
    pool: &PgPool,
    slots: &[(&str, i16, i64)],
    until: i64,
) -> Result<Vec<Slot>, StoreError> {
    Ok(sqlx::query_as(
        "SELECT c.aggregate_type, c.slot
         FROM unnest($1::text[], $2::smallint[], $3::bigint[]) c (aggregate_type, slot, position)
         WHERE EXISTS (SELECT FROM log l
                       WHERE l.aggregate_type = c.aggregate_type AND l.slot = c.slot
                         AND l.position > c.position AND l.position <= $4)",
    )
    .bind(slots.iter().map(|(aggregate_type, ..)| *aggregate_type).collect::<Vec<_>>())
    .bind(slots.iter().map(|(_, slot, _)| *slot).collect::<Vec<_>>())
    .bind(slots.iter().map(|(.., checkpoint)| *checkpoint).collect::<Vec<_>>())
    .bind(until)
    .fetch_all(pool)
    .await?)
}
