//! Reads the log forward for one consumer.

use crate::{ConsumeError, Consumer, Delivery, Projection};
use eventstore::{LogEvent, feed};
use sqlx::PgPool;
use std::sync::Arc;

pub(crate) struct Follower {
    pool: PgPool,
    consumer: Consumer,
    /// Everything up to this position was read.
    cursor: i64,
}

impl Follower {
    /// Begins behind what is done already.
    pub async fn start(pool: PgPool, projection: Arc<dyn Projection>) -> Result<Self, ConsumeError> {
        let consumer = Consumer::load(pool.clone(), projection).await?;
        let cursor = consumer.done_up_to().await?;
        Ok(Self { pool, consumer, cursor })
    }

    /// Begins anew, after an error or where another consumer was first.
    pub async fn restart(&mut self) -> Result<(), ConsumeError> {
        self.consumer.reload().await?;
        self.cursor = self.consumer.done_up_to().await?;
        Ok(())
    }

    pub fn consumer(&self) -> &Consumer {
        &self.consumer
    }

    pub fn cursor(&self) -> i64 {
        self.cursor
    }

    /// The next events up to a position that the log has reached; what other consumers did already is left out, so
    /// that none does not mean the end: see [`Self::cursor`].
    pub async fn read(&mut self, until: i64) -> Result<Vec<LogEvent>, ConsumeError> {
        if self.cursor >= until {
            return Ok(Vec::new());
        }
        let projection = self.consumer.projection();
        let limit = projection.batch_max();
        let mut events =
            feed::read(&self.pool, projection.types(), self.cursor, until, limit.try_into().unwrap_or(i64::MAX))
                .await?;
        self.cursor = match events.last() {
            Some(last) if events.len() >= limit => last.position,
            _ => until,
        };
        events.retain(|event| event.position > self.consumer.checkpoint(&event.aggregate_type, event.slot));
        Ok(events)
    }

    pub async fn deliver(&mut self, batch: Vec<LogEvent>) -> Result<Delivery, ConsumeError> {
        let delivery = self.consumer.deliver(batch).await?;
        if delivery == Delivery::Raced {
            self.cursor = self.consumer.done_up_to().await?;
        }
        Ok(delivery)
    }
}
