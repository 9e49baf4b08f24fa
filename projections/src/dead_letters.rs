//! Dead letters, the operator's side: events that a projection could not apply, and those that wait behind them.

use crate::consumer::apply_one;
use crate::page::Cursor;
use crate::{ApplyError, PAGE_MAX, Page, Projection, UnknownModel, find};
use chrono::{DateTime, Utc};
use eventstore::{LogEvent, StoreError};
use sqlx::{PgConnection, PgExecutor, PgPool};
use std::sync::Arc;

/// Events of one stream that one transaction replays.
const BATCH: i64 = 100;
/// Parked streams that are looked up at once.
const STREAMS: i64 = 1_000;

#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct DeadLetter {
    pub projection: String,
    pub position: i64,
    pub aggregate_type: String,
    pub aggregate_id: String,
    pub event_type: String,
    /// Why it was refused; `None` where it only follows one in its stream.
    pub error: Option<String>,
    pub parked_at: DateTime<Utc>,
}

/// By position, of one projection or of all. A page is longer than `limit` where several projections refused the same
/// event at its end.
pub async fn list(
    db: impl PgExecutor<'_>,
    projection: Option<&str>,
    after: Option<Cursor>,
    limit: i64,
) -> Result<Page<DeadLetter>, StoreError> {
    let limit = limit.clamp(1, PAGE_MAX);
    let items: Vec<DeadLetter> = sqlx::query_as(
        "SELECT d.projection, d.position, d.aggregate_type, d.aggregate_id, e.event_type, d.error, d.parked_at
         FROM (SELECT * FROM dead_letters WHERE position > $1 AND ($2::text IS NULL OR projection = $2)
               ORDER BY position FETCH FIRST ($3) ROWS WITH TIES) d
         JOIN log l ON l.position = d.position JOIN events e ON e.append_id = l.append_id
         ORDER BY d.position, d.projection",
    )
    .bind(after.map_or(0, |cursor| cursor.0))
    .bind(projection)
    .bind(limit)
    .fetch_all(db)
    .await?;
    let full = items.len().cast_signed() as i64 >= limit;
    let next_cursor = items.last().filter(|_| full).map(|last| Cursor(last.position));
    Ok(Page { items, next_cursor })
}

/// A stream that a replay had to leave parked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    pub projection: &'static str,
    pub aggregate_type: String,
    pub aggregate_id: String,
    /// The first event that still cannot be applied, and why.
    pub position: i64,
    pub reason: String,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Events that are in their read models now.
    pub events: u64,
    /// Streams that are followed again.
    pub unparked: u64,
    /// Streams that stay parked.
    pub refused: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error(transparent)]
    Unknown(#[from] UnknownModel),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<sqlx::Error> for ReplayError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

/// Applies dead letters, of the projection called `only` or of all, each stream's in its own order (that of positions, but for
/// what was repaired: [`crate::repair`]). A stream is followed again
/// once none is left of it; at the first event that fails again it stays parked, and `refused` is told. What was
/// applied before an error stays applied.
pub async fn replay(
    pool: &PgPool,
    models: &[Arc<dyn Projection>],
    only: Option<&str>,
    mut refused: impl FnMut(&Refused),
) -> Result<Replayed, ReplayError> {
    let models = match only {
        Some(name) => vec![find(models, name)?],
        None => models.to_vec(),
    };
    let mut total = Replayed::default();
    for model in models {
        let mut after = (String::new(), String::new());
        loop {
            let streams = parked_streams(pool, model.name(), &after).await?;
            for (aggregate_type, aggregate_id) in &streams {
                let stream = Stream { pool, projection: model.as_ref(), aggregate_type, aggregate_id };
                if let Some(refusal) = stream.replay(&mut total).await? {
                    total.refused += 1;
                    refused(&refusal);
                }
            }
            match streams.into_iter().last() {
                Some(last) => after = last,
                None => break,
            }
        }
    }
    Ok(total)
}

async fn parked_streams(
    pool: &PgPool,
    projection: &str,
    (aggregate_type, aggregate_id): &(String, String),
) -> Result<Vec<(String, String)>, sqlx::Error> {
    sqlx::query_as(
        "SELECT aggregate_type, aggregate_id FROM parked_streams
         WHERE projection = $1 AND (aggregate_type, aggregate_id) > ($2, $3)
         ORDER BY aggregate_type, aggregate_id LIMIT $4",
    )
    .bind(projection)
    .bind(aggregate_type)
    .bind(aggregate_id)
    .bind(STREAMS)
    .fetch_all(pool)
    .await
}

/// One parked stream.
struct Stream<'a> {
    pool: &'a PgPool,
    projection: &'a dyn Projection,
    aggregate_type: &'a str,
    aggregate_id: &'a str,
}

/// What one transaction came to.
enum Turn {
    /// More letters may be left.
    GoOn,
    Ended,
    Refused(Refused),
}

impl Stream<'_> {
    async fn replay(&self, total: &mut Replayed) -> Result<Option<Refused>, StoreError> {
        loop {
            match self.turn(total).await? {
                Turn::GoOn => {}
                Turn::Ended => return Ok(None),
                Turn::Refused(refusal) => return Ok(Some(refusal)),
            }
        }
    }

    async fn turn(&self, total: &mut Replayed) -> Result<Turn, StoreError> {
        let mut tx = self.pool.begin().await?;
        if !self.lock(&mut tx).await? {
            return Ok(Turn::Ended); // by another replay, or a rebuild
        }
        let letters = self.letters(&mut tx).await?;
        let mut applied = Vec::with_capacity(letters.len());
        let mut refusal = None;
        for event in &letters {
            match apply_one(&mut tx, self.projection, event).await {
                Ok(None) => applied.push(event.position),
                Ok(Some(reason)) => {
                    refusal = Some(self.refuse(&mut tx, event.position, reason).await?);
                    break;
                }
                Err(ApplyError::Infrastructure(error)) => return Err(error.into()),
                Err(error @ ApplyError::Event { .. }) => return Err(StoreError::Format(error.to_string())),
            }
        }
        sqlx::query("DELETE FROM dead_letters WHERE projection = $1 AND position = ANY($2)")
            .bind(self.projection.name())
            .bind(&applied)
            .execute(&mut *tx)
            .await?;
        let unparked = self.unpark_if_empty(&mut tx).await?;
        tx.commit().await?;
        total.events += applied.len() as u64;
        total.unparked += u64::from(unparked);
        Ok(match (refusal, unparked) {
            (Some(refusal), _) => Turn::Refused(refusal),
            (None, true) => Turn::Ended,
            (None, false) => Turn::GoOn,
        })
    }

    /// Keeps the projector from adding letters until the transaction ends. False where the stream is not parked.
    async fn lock(&self, tx: &mut PgConnection) -> Result<bool, sqlx::Error> {
        let row = sqlx::query(
            "SELECT FROM parked_streams WHERE projection = $1 AND aggregate_type = $2 AND aggregate_id = $3
             FOR UPDATE",
        )
        .bind(self.projection.name())
        .bind(self.aggregate_type)
        .bind(self.aggregate_id)
        .fetch_optional(tx)
        .await?;
        Ok(row.is_some())
    }

    async fn letters(&self, tx: &mut PgConnection) -> Result<Vec<LogEvent>, sqlx::Error> {
        sqlx::query_as(
            "SELECT l.position, l.aggregate_type, l.slot, e.aggregate_id, e.sequence, e.event_type, e.event_version,
                 e.payload, e.metadata, e.recorded_at
             FROM dead_letters d JOIN log l ON l.position = d.position JOIN events e ON e.append_id = l.append_id
             WHERE d.projection = $1 AND d.aggregate_type = $2 AND d.aggregate_id = $3
             ORDER BY e.sequence LIMIT $4",
        )
        .bind(self.projection.name())
        .bind(self.aggregate_type)
        .bind(self.aggregate_id)
        .bind(BATCH)
        .fetch_all(tx)
        .await
    }

    async fn refuse(
        &self,
        tx: &mut PgConnection,
        position: i64,
        reason: String,
    ) -> Result<Refused, sqlx::Error> {
        sqlx::query("UPDATE dead_letters SET error = $3 WHERE projection = $1 AND position = $2")
            .bind(self.projection.name())
            .bind(position)
            .bind(&reason)
            .execute(tx)
            .await?;
        Ok(Refused {
            projection: self.projection.name(),
            aggregate_type: self.aggregate_type.to_owned(),
            aggregate_id: self.aggregate_id.to_owned(),
            position,
            reason,
        })
    }

    async fn unpark_if_empty(&self, tx: &mut PgConnection) -> Result<bool, sqlx::Error> {
        let done = sqlx::query(
            "DELETE FROM parked_streams p
             WHERE projection = $1 AND aggregate_type = $2 AND aggregate_id = $3
               AND NOT EXISTS (SELECT FROM dead_letters d
                               WHERE d.projection = p.projection AND d.aggregate_type = p.aggregate_type
                                 AND d.aggregate_id = p.aggregate_id)",
        )
        .bind(self.projection.name())
        .bind(self.aggregate_type)
        .bind(self.aggregate_id)
        .execute(tx)
        .await?;
        Ok(done.rows_affected() > 0)
    }
}
