//! What happens to events on their way into a read model, whatever carried them.
//!
//! A delivery is one transaction: it moves the checkpoints by compare-and-set, puts events of parked streams aside,
//! and applies the rest. So each event has one effect however often and by however many consumers it is delivered.

use crate::checkpoints::{Advance, Checkpoints};
use crate::parking::{self, Streams, stream_of};
use crate::{ApplyError, Projection};
use eventstore::{LogEvent, StoreError};
use sqlx::{Connection, PgConnection, PgPool};
use std::borrow::Cow;
use std::sync::Arc;
use uuid::Uuid;

/// Tries of an event that fails by its own fault, before its stream is parked.
const TRIES: u32 = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// Every event of the batch is in the read model, or waits among the dead letters.
    Done,
    /// Another consumer of the projection was first. Nothing was applied, and the checkpoints were read anew: go on
    /// from them.
    Raced,
}

#[derive(Debug, thiserror::Error)]
pub enum ConsumeError {
    #[error(
        "the checkpoints of {projection} are of epoch {theirs} and the log is of epoch {log}: it is another log, or \
         was restored without its checkpoints. `postledger rebuild {projection}` fills the read model from this log"
    )]
    ForeignEpoch { projection: &'static str, theirs: Uuid, log: Uuid },
    /// Not the events' fault: deliver again after a while ([`crate::Backoff`]).
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<sqlx::Error> for ConsumeError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

/// How carefully a batch is applied.
#[derive(Debug, Clone, Copy)]
enum Care {
    /// All at once.
    Whole,
    /// Event by event, each behind a savepoint, to find those that are to blame.
    Single,
}

/// Takes a projection's events from a carrier. Several may serve one projection at once, in any processes.
pub struct Consumer {
    pool: PgPool,
    projection: Arc<dyn Projection>,
    checkpoints: Checkpoints,
}

impl Consumer {
    pub async fn load(pool: PgPool, projection: Arc<dyn Projection>) -> Result<Self, ConsumeError> {
        let checkpoints = Checkpoints::load(&pool, projection.as_ref()).await?;
        Ok(Self { pool, projection, checkpoints })
    }

    pub fn projection(&self) -> &Arc<dyn Projection> {
        &self.projection
    }

    /// The log's epoch when the checkpoints were read.
    pub fn epoch(&self) -> Uuid {
        self.checkpoints.epoch()
    }

    /// The position up to which this consumer believes the slot to be done; 0 before its first event.
    pub fn checkpoint(&self, aggregate_type: &str, slot: i16) -> i64 {
        self.checkpoints.get(aggregate_type, slot)
    }

    /// Reads the checkpoints anew, as is right after any error: a commit may have succeeded unheard.
    pub async fn reload(&mut self) -> Result<(), ConsumeError> {
        self.checkpoints = Checkpoints::load(&self.pool, self.projection.as_ref()).await?;
        Ok(())
    }

    /// The position before the first event of the log that is not done by these checkpoints, or the log's last.
    pub async fn done_up_to(&self) -> Result<i64, ConsumeError> {
        Ok(self.checkpoints.done_up_to(&self.pool).await?)
    }

    /// Delivers events of any number of slots, which must hold each slot's without a gap behind its checkpoint. What
    /// was delivered before is skipped.
    pub async fn deliver(&mut self, mut batch: Vec<LogEvent>) -> Result<Delivery, ConsumeError> {
        let steps = self.checkpoints.take_new(&mut batch);
        if steps.is_empty() {
            return Ok(Delivery::Done);
        }
        let attempt = match self.attempt(&batch, &steps, Care::Whole).await {
            Err(error) if error.events_own().is_some() => self.attempt(&batch, &steps, Care::Single).await,
            other => other,
        };
        let delivery = attempt.map_err(|error| match error {
            ApplyError::Infrastructure(error) => ConsumeError::from(error),
            ApplyError::Event { .. } => StoreError::Format(error.to_string()).into(),
        })?;
        match delivery {
            Delivery::Done => self.checkpoints.accept(&steps),
            Delivery::Raced => self.reload().await?,
        }
        Ok(delivery)
    }

    async fn attempt(
        &self,
        batch: &[LogEvent],
        steps: &[Advance],
        care: Care,
    ) -> Result<Delivery, ApplyError> {
        let name = self.projection.name();
        let mut tx = self.pool.begin().await?;
        if !self.checkpoints.advance(&mut tx, name, steps).await? {
            tx.rollback().await?;
            return Ok(Delivery::Raced);
        }
        let parked = parking::parked(&mut tx, name, batch).await?;
        let (open, waiting) = divide(batch, &parked);
        parking::put_aside(&mut tx, name, &waiting, None).await?;
        match care {
            Care::Whole if open.is_empty() => {}
            Care::Whole => self.projection.apply(&mut tx, &open).await?,
            Care::Single => self.apply_singly(&mut tx, &open).await?,
        }
        tx.commit().await?;
        Ok(Delivery::Done)
    }

    async fn apply_singly(&self, tx: &mut PgConnection, events: &[LogEvent]) -> Result<(), ApplyError> {
        let mut parked = Streams::new();
        for event in events {
            if parked.contains(&stream_of(event)) {
                parking::put_aside(tx, self.projection.name(), &[event], None).await?;
            } else if let Some(reason) = apply_one(tx, self.projection.as_ref(), event).await? {
                parking::park(tx, self.projection.name(), event, &reason).await?;
                parked.insert(stream_of(event));
            }
        }
        Ok(())
    }
}

/// Separates the events to apply from those whose stream is parked.
fn divide<'a>(batch: &'a [LogEvent], parked: &Streams) -> (Cow<'a, [LogEvent]>, Vec<&'a LogEvent>) {
    if parked.is_empty() {
        return (Cow::Borrowed(batch), Vec::new());
    }
    let (waiting, open): (Vec<&LogEvent>, Vec<&LogEvent>) =
        batch.iter().partition(|event| parked.contains(&stream_of(event)));
    (Cow::Owned(open.into_iter().cloned().collect()), waiting)
}

/// Applies one event behind a savepoint, a few times if need be. Answers why, if it is itself to blame.
pub(crate) async fn apply_one(
    tx: &mut PgConnection,
    projection: &dyn Projection,
    event: &LogEvent,
) -> Result<Option<String>, ApplyError> {
    let mut reason = None;
    for _ in 0..TRIES {
        let mut savepoint = tx.begin().await?;
        let Err(error) = projection.apply(&mut savepoint, std::slice::from_ref(event)).await else {
            savepoint.commit().await?;
            return Ok(None);
        };
        reason = Some(error.events_own().ok_or(error)?);
        savepoint.rollback().await?;
    }
    Ok(reason)
}
