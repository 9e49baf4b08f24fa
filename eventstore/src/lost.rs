//! Committed events that have no position and would never get one, since the low-water mark has passed them.
//!
//! The sequencer's rules exclude them. A sequence that something takes back (a replica that was fed without it, `setval`), or a
//! release that kept its mark over a crash of Postgres, brings them about all the same.
//!
//! **What a position at the end means.** [`number`] gives them the next positions, since those that were given never change.
//! Read models, the relay and Kafka take them as any news. An audience frozen at P was frozen without them; whether a mail may go
//! is asked of the gates, rows that were written with the events. Where later events of the same stream have positions already,
//! the log is out of that stream's order. Such events are noted in `log_late`, and their streams are put aside in every read model
//! until it is filled anew (`projections::repair`). A program that reads Kafka meets a lower `sequence` behind a higher one.

use crate::StoreError;
use sqlx::{PgConnection, PgExecutor};
use std::collections::BTreeSet;
use std::time::Duration;

/// Counting stops here.
pub const COUNTED_MAX: i64 = 10_000;
/// Events that one repair numbers, in one transaction.
const REPAIRED_MAX: usize = 10_000;
/// append_ids that one statement compares.
const RANGE: i64 = 100_000;
/// Numbers that one statement draws to bring the sequence forward.
const DRAWN_AT_ONCE: i64 = 1_000_000;
/// For writers that drew ids while the sequence stood too low.
const WRITERS_PAUSE: Duration = Duration::from_millis(100);
const WRITERS_WAIT: Duration = Duration::from_secs(60);

const SEQUENCE: &str = "pg_get_serial_sequence('events', 'append_id')";

/// How the sequence of append_ids stands to what is numbered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::FromRow)]
pub struct Order {
    /// The last id that was drawn.
    pub drawn: i64,
    /// The highest that is numbered, or that the low-water mark has passed.
    pub numbered: i64,
}

impl Order {
    /// What is appended now would never get a position.
    pub fn is_behind(self) -> bool {
        self.drawn < self.numbered
    }
}

/// The sequence is read behind the snapshot of the rest, so it is never below for the time alone.
pub async fn order(db: impl PgExecutor<'_>) -> Result<Order, StoreError> {
    let order = format!(
        "SELECT coalesce(pg_sequence_last_value({SEQUENCE}), 0) AS drawn,
             greatest(low_water, (SELECT append_id FROM log ORDER BY append_id DESC LIMIT 1)) AS numbered
         FROM log_head"
    );
    Ok(sqlx::query_as(&order).fetch_one(db).await?)
}

/// How many lost events are seen without reading the log: those whose note in `pending` is still there, up to
/// [`COUNTED_MAX`]. [`scan`] finds all.
pub async fn count(db: impl PgExecutor<'_>) -> Result<i64, StoreError> {
    let count = "SELECT count(*) FROM (
                     SELECT FROM pending WHERE append_id <= (SELECT low_water FROM log_head) LIMIT $1) lost";
    Ok(sqlx::query_scalar(count).bind(COUNTED_MAX).fetch_one(db).await?)
}

/// How many events wait for their positions, up to [`COUNTED_MAX`].
pub async fn waiting(db: impl PgExecutor<'_>) -> Result<i64, StoreError> {
    let count = "SELECT count(*) FROM (
                     SELECT FROM pending WHERE append_id > (SELECT low_water FROM log_head) LIMIT $1) waiting";
    Ok(sqlx::query_scalar(count).bind(COUNTED_MAX).fetch_one(db).await?)
}

/// The transactions that may insert into `events` now.
pub(crate) async fn writers(db: impl PgExecutor<'_>) -> Result<BTreeSet<String>, StoreError> {
    let writers: Vec<String> = sqlx::query_scalar(
        "SELECT virtualtransaction FROM pg_locks
         WHERE locktype = 'relation' AND relation = 'events'::regclass AND mode = 'RowExclusiveLock'
           AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
    )
    .fetch_all(db)
    .await?;
    Ok(writers.into_iter().collect())
}

#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Lost {
    pub append_id: i64,
    pub aggregate_type: String,
    pub aggregate_id: String,
    pub sequence: i64,
}

/// Compares all events below the mark with the log, range by range. Tells each range's lost events with the last id compared
/// and the mark.
pub async fn scan(db: &mut PgConnection, mut found: impl FnMut(i64, i64, &[Lost])) -> Result<(), StoreError> {
    let mark: i64 = sqlx::query_scalar("SELECT low_water FROM log_head").fetch_one(&mut *db).await?;
    let mut after = 0;
    while after < mark {
        let until = mark.min(after + RANGE);
        found(until, mark, &lost_between(&mut *db, after, until, RANGE).await?);
        after = until;
    }
    Ok(())
}

async fn lost_between(
    db: &mut PgConnection,
    after: i64,
    until: i64,
    limit: i64,
) -> Result<Vec<Lost>, StoreError> {
    let lost = "SELECT append_id, aggregate_type, aggregate_id, sequence FROM events e
                WHERE append_id > $1 AND append_id <= $2 AND NOT EXISTS (
                    SELECT FROM log l WHERE l.append_id = e.append_id AND l.append_id > $1 AND l.append_id <= $2)
                ORDER BY append_id LIMIT $3";
    Ok(sqlx::query_as(lost).bind(after).bind(until).bind(limit).fetch_all(db).await?)
}

/// What a repair will number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    append_ids: Vec<i64>,
    /// False: there may be more, or a writer that drew its ids too low is still at work. Repair again.
    pub is_whole: bool,
}

/// Brings the sequence forward where it is behind, and finds the lost events, up to [`REPAIRED_MAX`].
pub async fn find(db: &mut PgConnection) -> Result<Found, StoreError> {
    let are_gone = !bring_forward(&mut *db).await? || writers_have_gone(&mut *db).await?;
    let mut append_ids = Vec::new();
    scan(&mut *db, |_, _, range| {
        let room = REPAIRED_MAX.saturating_sub(append_ids.len());
        append_ids.extend(range.iter().take(room).map(|one| one.append_id));
    })
    .await?;
    let is_whole = are_gone && append_ids.len() < REPAIRED_MAX;
    Ok(Found { append_ids, is_whole })
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Numbered {
    pub events: u64,
    /// Streams of which a later event had its position before, by type and id.
    pub late: BTreeSet<(String, String)>,
}

/// By drawing, which needs no lock: `setval` beside a writer could take the sequence back. True: it was behind.
async fn bring_forward(db: &mut PgConnection) -> Result<bool, StoreError> {
    let mut was_behind = false;
    loop {
        let Order { drawn, numbered } = order(&mut *db).await?;
        if drawn >= numbered {
            return Ok(was_behind);
        }
        was_behind = true;
        let draw = format!("SELECT count(nextval({SEQUENCE})) FROM generate_series(1, $1)");
        sqlx::query(&draw).bind((numbered - drawn).min(DRAWN_AT_ONCE)).execute(&mut *db).await?;
    }
}

/// Those that are at work now may hold ids from below. False: some still are.
async fn writers_have_gone(db: &mut PgConnection) -> Result<bool, StoreError> {
    let mut left = writers(&mut *db).await?;
    let until = tokio::time::Instant::now() + WRITERS_WAIT;
    while !left.is_empty() && tokio::time::Instant::now() < until {
        tokio::time::sleep(WRITERS_PAUSE).await;
        let now = writers(&mut *db).await?;
        left.retain(|writer| now.contains(writer));
    }
    Ok(left.is_empty())
}

/// Gives them positions at the log's end, each stream's in its order, under the head's lock as a sequencer does it.
pub async fn number(tx: &mut PgConnection, found: &Found) -> Result<Numbered, StoreError> {
    let position: i64 =
        sqlx::query_scalar("SELECT position FROM log_head FOR UPDATE").fetch_one(&mut *tx).await?;
    // Another repair may have been first.
    let late: Vec<(String, String)> = sqlx::query_as(
        "INSERT INTO log_late (append_id, aggregate_type, aggregate_id)
         SELECT e.append_id, e.aggregate_type, e.aggregate_id FROM events e
         WHERE e.append_id = ANY($1) AND NOT EXISTS (SELECT FROM log l WHERE l.append_id = e.append_id)
           AND EXISTS (SELECT FROM events later JOIN log l USING (append_id)
                       WHERE later.aggregate_type = e.aggregate_type AND later.aggregate_id = e.aggregate_id
                         AND later.sequence > e.sequence)
         RETURNING aggregate_type, aggregate_id",
    )
    .bind(&found.append_ids)
    .fetch_all(&mut *tx)
    .await?;
    let events = sqlx::query(
        "INSERT INTO log (position, aggregate_type, slot, append_id)
         SELECT $2 + row_number() OVER (ORDER BY aggregate_type, aggregate_id, sequence), aggregate_type,
             stream_slot(aggregate_type, aggregate_id), append_id
         FROM events e
         WHERE append_id = ANY($1) AND NOT EXISTS (SELECT FROM log l WHERE l.append_id = e.append_id)
         ORDER BY aggregate_type, aggregate_id, sequence",
    )
    .bind(&found.append_ids)
    .bind(position)
    .execute(&mut *tx)
    .await?
    .rows_affected();
    sqlx::query("DELETE FROM pending WHERE append_id = ANY($1)")
        .bind(&found.append_ids)
        .execute(&mut *tx)
        .await?;
    sqlx::query("UPDATE log_head SET position = position + $1")
        .bind(events.cast_signed())
        .execute(tx)
        .await?;
    Ok(Numbered { events, late: late.into_iter().collect() })
}
