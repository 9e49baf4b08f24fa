//! One database session of a sequencer, and the mark that it remembers.
//!
//! A mark says: the append_ids up to here are drawn, and these writers could still commit one of them. A crash of Postgres makes
//! both false. The WAL of a sequence is not flushed before a commit, so recovery may take the sequence back below the mark; the
//! same ids are drawn again, by writers that are not on the list. So everything that leads to a mark happens on one connection,
//! which no crash survives, and the mark ends with it.

use super::BATCH;
use crate::lost::{self, Order};
use crate::{StoreError, ids, pool};
use sqlx::{Connection, PgConnection, PgPool};
use std::collections::BTreeSet;

/// True on the backend that this session began on, which then has lived since. A pooler of transactions may hand us to another
/// one between two statements, and over a crash.
const IS_OURS: &str = "coalesce(current_setting('postledger.session', true), '') = $1";

/// Where the low-water mark may move to, once the writers that could still fill ids below it are gone.
struct Mark {
    append_id: i64,
    writers: BTreeSet<String>,
}

pub(super) struct Session {
    connection: PgConnection,
    /// Kept by the backend as well, see [`IS_OURS`].
    name: String,
    mark: Option<Mark>,
}

impl Session {
    /// Refuses to work where the sequence stands below what is numbered: ids that it gives would never get a position.
    pub async fn open(pool: &PgPool) -> Result<Self, StoreError> {
        let connection = pool::session(pool, "postledger sequencer").await?;
        let mut session = Self { connection, name: ids::new_id().to_string(), mark: None };
        session.begin().await?;
        Ok(session)
    }

    async fn begin(&mut self) -> Result<(), StoreError> {
        self.mark = None;
        let set = "SELECT set_config('postledger.session', $1, false)";
        sqlx::query(set).bind(&self.name).execute(&mut self.connection).await?;
        match lost::order(&mut self.connection).await? {
            Order { drawn, numbered } if drawn < numbered => {
                Err(StoreError::SequenceBehind { drawn, numbered })
            }
            Order { .. } => Ok(()),
        }
    }

    /// Answers how many events it numbered.
    pub async fn step(&mut self) -> Result<i64, StoreError> {
        // Cheap and without a lock: an idle sequencer must not contend for the head row.
        let waiting: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT FROM pending WHERE append_id > (SELECT low_water FROM log_head))",
        )
        .fetch_one(&mut self.connection)
        .await?;
        if !waiting {
            return Ok(0);
        }
        let settled = self.settled_mark().await?;
        let mut tx = self.connection.begin().await?;
        let head = format!("SELECT low_water, position, {IS_OURS} FROM log_head FOR UPDATE");
        let (low_water, position, is_ours): (i64, i64, bool) =
            sqlx::query_as(&head).bind(&self.name).fetch_one(&mut *tx).await?;
        let numbered = number(&mut tx, low_water, position).await?;
        let mark = match settled {
            Some(mark) if is_ours && mark > low_water && is_empty_up_to(&mut tx, low_water, mark).await? => {
                mark
            }
            _ => low_water,
        };
        sqlx::query("UPDATE log_head SET position = $1, low_water = $2")
            .bind(position + numbered)
            .bind(mark)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        if !is_ours {
            self.begin().await?;
        }
        Ok(numbered)
    }

    /// The mark whose writers are all gone, if any; else begins or goes on waiting for one.
    ///
    /// An append_id is drawn under a lock on `events`, so ids up to the identity's last value belong to writers that
    /// hold that lock now, or are committed or rolled back.
    async fn settled_mark(&mut self) -> Result<Option<i64>, StoreError> {
        let Some(mut mark) = self.mark.take() else {
            // Before the writers: an id that is drawn in between belongs to no mark.
            let append_id = lost::order(&mut self.connection).await?.drawn;
            let writers = lost::writers(&mut self.connection).await?;
            self.mark = Some(Mark { append_id, writers });
            return Ok(None);
        };
        if !mark.writers.is_empty() {
            let now = lost::writers(&mut self.connection).await?;
            mark.writers.retain(|writer| now.contains(writer));
        }
        if mark.writers.is_empty() {
            return Ok(Some(mark.append_id));
        }
        self.mark = Some(mark);
        Ok(None)
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
