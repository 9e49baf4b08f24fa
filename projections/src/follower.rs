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

    /// Everything up to this position was read.
    pub fn cursor(&self) -> i64 {
        self.cursor
    }

    /// The next events up to a position that the log has reached. None does not mean the end: see [`Self::cursor`].
    pub async fn read(&mut self, until: i64) -> Result<Vec<LogEvent>, ConsumeError> {
        let read = read(&self.pool, self.consumer.projection().as_ref(), self.cursor, until).await?;
        self.cursor = read.up_to;
        Ok(read.events)
    }

    pub async fn deliver(&mut self, batch: Vec<LogEvent>) -> Result<Delivery, ConsumeError> {
        let delivery = self.consumer.deliver(batch).await?;
        if delivery == Delivery::Raced {
            self.cursor = self.consumer.done_up_to().await?;
        }
        Ok(delivery)
    }

    /// Delivers a batch while it reads the next one.
    pub async fn deliver_and_read(
        &mut self,
        batch: Vec<LogEvent>,
        until: i64,
    ) -> Result<Vec<LogEvent>, ConsumeError> {
        let projection = self.consumer.projection().clone();
        let reading = read(&self.pool, projection.as_ref(), self.cursor, until);
        let (delivery, next) = tokio::join!(self.consumer.deliver(batch), reading);
        let (delivery, next) = (delivery?, next?);
        match delivery {
            Delivery::Done => {
                self.cursor = next.up_to;
                Ok(next.events)
            }
            Delivery::Raced => {
                self.cursor = self.consumer.done_up_to().await?;
                Ok(Vec::new())
            }
        }
    }
}

struct Read {
    events: Vec<LogEvent>,
    up_to: i64,
}

async fn read(
    pool: &PgPool,
    projection: &dyn Projection,
    after: i64,
    until: i64,
) -> Result<Read, ConsumeError> {
    if after >= until {
        return Ok(Read { events: Vec::new(), up_to: after });
    }
    let limit = projection.batch_max();
    let events =
        feed::read(pool, projection.types(), after, until, limit.try_into().unwrap_or(i64::MAX)).await?;
    let up_to = match events.last() {
        Some(last) if events.len() >= limit => last.position,
        _ => until,
    };
    Ok(Read { events, up_to })
}
