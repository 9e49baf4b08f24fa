//! Gives each event its dense global position.
//!
//! Rows become visible out of the order of their append_ids, so a reader that polls for larger ids loses some. The
//! sequencer takes what is visible in `pending` and numbers it under the lock of `log_head`, so that any number of
//! sequencers take turns. Order within a stream and under a gate's lock is kept: whoever appends second does so
//! after the first committed, with a larger append_id, and a snapshot that shows the second shows the first.

use crate::{Store, StoreError};
use sqlx::{PgConnection, PgPool};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Events numbered in one transaction. Under a flood, whoever comes next waits for such a batch.
pub const BATCH: i64 = 2_000;
/// Without a wake-up (another process appended), new events are noticed after this time.
const POLL: Duration = Duration::from_millis(20);
/// Between two batches, so that a stream of small commits is numbered in groups and not one by one. The first event
/// after a silence does not wait.
const GATHER: Duration = Duration::from_millis(2);
const RETRY: Duration = Duration::from_millis(200);

/// Where the low-water mark may move to, once the writers that could still fill ids below it are gone.
struct Candidate {
    append_id: i64,
    writers: BTreeSet<String>,
}

pub struct Sequencer {
    store: Store,
    candidate: Option<Candidate>,
    head: watch::Sender<i64>,
}

impl Sequencer {
    pub fn new(store: Store) -> Self {
        Self { store, candidate: None, head: watch::Sender::new(0) }
    }

    /// The last position that this sequencer gave: wakes consumers in the same process.
    pub fn head(&self) -> watch::Receiver<i64> {
        self.head.subscribe()
    }

    /// Numbers events until `stop`; failures are logged and tried again.
    pub async fn run(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let pause = match self.step().await {
                Ok(BATCH) => continue,
                Ok(0) => POLL,
                Ok(_) => {
                    tokio::time::sleep(GATHER).await;
                    continue;
                }
                Err(error) => {
                    tracing::warn!(%error, "sequencer: will try again");
                    RETRY
                }
            };
            tokio::select! {
                () = self.store.appended.notified() => {}
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    /// Numbers one batch; returns its size.
    pub async fn step(&mut self) -> Result<i64, StoreError> {
        // Cheap and without a lock: an idle sequencer must not contend for the head row.
        let waiting: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT FROM pending WHERE append_id > (SELECT low_water FROM log_head))",
        )
        .fetch_one(&self.store.pool)
        .await?;
        if !waiting {
            return Ok(0);
        }
        let known_gone = self.settled_candidate().await?;
        let mut tx = self.store.pool.begin().await?;
        let (low_water, position): (i64, i64) =
            sqlx::query_as("SELECT low_water, position FROM log_head FOR UPDATE").fetch_one(&mut *tx).await?;
        let numbered = number(&mut tx, low_water, position).await?;
        let mark = match known_gone {
            Some(mark) if mark > low_water && is_empty_up_to(&mut tx, low_water, mark).await? => mark,
            _ => low_water,
        };
        sqlx::query("UPDATE log_head SET position = $1, low_water = $2")
            .bind(position + numbered)
            .bind(mark)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        if numbered > 0 {
            self.head.send_replace(position + numbered);
        }
        Ok(numbered)
    }

    /// The candidate mark whose writers are all gone, if any; else begins or goes on waiting for one.
    ///
    /// An append_id is drawn under a lock on `events`, so ids up to the identity's last value belong to writers that
    /// hold that lock now, or are committed or rolled back.
    async fn settled_candidate(&mut self) -> Result<Option<i64>, StoreError> {
        let Some(candidate) = &mut self.candidate else {
            let append_id = last_append_id(&self.store.pool).await?;
            let writers = writers(&self.store.pool).await?;
            self.candidate = Some(Candidate { append_id, writers });
            return Ok(None);
        };
        if !candidate.writers.is_empty() {
            let now = writers(&self.store.pool).await?;
            candidate.writers.retain(|writer| now.contains(writer));
        }
        match candidate.writers.is_empty() {
            true => Ok(self.candidate.take().map(|candidate| candidate.append_id)),
            false => Ok(None),
        }
    }
}

/// Takes a range, not a list of ids: joined to one, after statistics of an empty table, the same rows took minutes.
async fn number(tx: &mut PgConnection, low_water: i64, position: i64) -> Result<i64, StoreError> {
    let done = sqlx::query(
        "WITH batch AS (
             DELETE FROM pending WHERE append_id > $1 AND append_id <= (
                 SELECT max(append_id) FROM (
                     SELECT append_id FROM pending WHERE append_id > $1 ORDER BY append_id LIMIT $2) first)
             RETURNING append_id, aggregate_type, slot)
         INSERT INTO log (position, aggregate_type, slot, append_id)
         SELECT $3 + row_number() OVER (ORDER BY append_id), aggregate_type, slot, append_id FROM batch
         ORDER BY append_id",
    )
    .bind(low_water)
    .bind(BATCH)
    .bind(position)
    .execute(tx)
    .await?;
    Ok(done.rows_affected().cast_signed())
}

async fn is_empty_up_to(tx: &mut PgConnection, low_water: i64, mark: i64) -> Result<bool, StoreError> {
    let left = "SELECT NOT EXISTS (SELECT FROM pending WHERE append_id > $1 AND append_id <= $2)";
    Ok(sqlx::query_scalar(left).bind(low_water).bind(mark).fetch_one(tx).await?)
}

async fn last_append_id(pool: &PgPool) -> Result<i64, StoreError> {
    Ok(sqlx::query_scalar(
        "SELECT coalesce(pg_sequence_last_value(pg_get_serial_sequence('events', 'append_id')), 0)",
    )
    .fetch_one(pool)
    .await?)
}

/// The transactions that may insert into `events` now.
async fn writers(pool: &PgPool) -> Result<BTreeSet<String>, StoreError> {
    let writers: Vec<String> = sqlx::query_scalar(
        "SELECT virtualtransaction FROM pg_locks
         WHERE locktype = 'relation' AND relation = 'events'::regclass AND mode = 'RowExclusiveLock'
           AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
    )
    .fetch_all(pool)
    .await?;
    Ok(writers.into_iter().collect())
}
