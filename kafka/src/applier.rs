//! Records become deliveries: what follows the checkpoint is applied, what was applied before is skipped, and where
//! something is missing it is read from the log.

use crate::envelope::Incoming;
use crate::log::Slot;
use eventstore::{LogEvent, feed};
use projections::{ConsumeError, Consumer, Delivery, Projection};
use sqlx::PgPool;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use uuid::Uuid;

/// For each slot the last position that is to be done.
pub(crate) type Goals = BTreeMap<Slot, i64>;

pub(crate) struct Applier {
    pool: PgPool,
    consumer: Consumer,
}

impl Applier {
    pub async fn load(pool: PgPool, projection: Arc<dyn Projection>) -> Result<Self, ConsumeError> {
        let consumer = Consumer::load(pool.clone(), projection).await?;
        Ok(Self { pool, consumer })
    }

    pub fn epoch(&self) -> Uuid {
        self.consumer.epoch()
    }

    pub fn checkpoint(&self, aggregate_type: &str, slot: i16) -> i64 {
        self.consumer.checkpoint(aggregate_type, slot)
    }

    pub async fn reload(&mut self) -> Result<(), ConsumeError> {
        self.consumer.reload().await
    }

    /// Applies records. Afterwards everything up to the last of them in each slot is done, by us or by another.
    pub async fn apply(&mut self, records: Vec<Incoming>) -> Result<(), ConsumeError> {
        let (batch, goals) =
            arrange(records, |(aggregate_type, slot)| self.checkpoint(aggregate_type, *slot));
        // Where another consumer was first, the checkpoints were read anew: the goals say what is left.
        let _: Delivery = self.consumer.deliver(batch).await?;
        self.reach(&goals).await?;
        self.tell_refused(&goals);
        Ok(())
    }

    /// What the log does not have was not applied: no checkpoint moves onto it.
    fn tell_refused(&self, goals: &Goals) {
        let refused = goals.iter().filter(|((name, slot), until)| self.checkpoint(name, *slot) < **until);
        if let Some(position) = refused.map(|(_, until)| *until).max() {
            let projection = self.consumer.projection().name();
            tracing::error!(
                projection,
                position,
                "records up to this position are not in the log and were refused: they are of a history that was lost"
            );
        }
    }

    /// Reads what is missing up to the goals from the log.
    pub async fn reach(&mut self, goals: &Goals) -> Result<(), ConsumeError> {
        for ((aggregate_type, slot), until) in goals {
            self.reach_one(aggregate_type, *slot, *until).await?;
        }
        Ok(())
    }

    async fn reach_one(&mut self, aggregate_type: &str, slot: i16, until: i64) -> Result<(), ConsumeError> {
        let limit = i64::try_from(self.consumer.projection().batch_max()).unwrap_or(i64::MAX);
        loop {
            let after = self.checkpoint(aggregate_type, slot);
            if after >= until {
                return Ok(());
            }
            let events = feed::read_slot(&self.pool, aggregate_type, slot, after, until, limit).await?;
            if events.is_empty() {
                return Ok(());
            }
            let (projection, count) = (self.consumer.projection().name(), events.len());
            tracing::info!(
                projection,
                aggregate.kind = aggregate_type,
                slot,
                after,
                count,
                "filling a gap from the log"
            );
            self.consumer.deliver(events).await?;
        }
    }
}

/// The events that follow their checkpoints without a gap, and how far each slot is to come.
fn arrange(records: Vec<Incoming>, checkpoint: impl Fn(&Slot) -> i64) -> (Vec<LogEvent>, Goals) {
    // Where each slot is; none behind a gap.
    let mut reached = HashMap::<Slot, Option<i64>>::new();
    let mut goals = Goals::new();
    let mut batch = Vec::with_capacity(records.len());
    for Incoming { previous, event } in records {
        let slot = (event.aggregate_type.clone(), event.slot);
        let goal = goals.entry(slot.clone()).or_default();
        *goal = event.position.max(*goal);
        let at = reached.entry(slot).or_insert_with_key(|slot| Some(checkpoint(slot)));
        match *at {
            Some(done) if event.position <= done => {}
            Some(done) if previous == done => {
                *at = Some(event.position);
                batch.push(event);
            }
            _ => *at = None,
        }
    }
    (batch, goals)
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::DateTime;
    use serde_json::Value;

    fn record(slot: i16, previous: i64, position: i64) -> Incoming {
        let event = LogEvent {
            position,
            aggregate_type: "group".into(),
            slot,
            aggregate_id: String::new(),
            sequence: 1,
            event_type: String::new(),
            event_version: String::new(),
            payload: Value::Null,
            metadata: Value::Null,
            recorded_at: DateTime::UNIX_EPOCH,
        };
        Incoming { previous, event }
    }

    fn arranged(records: &[(i16, i64, i64)], checkpoint: i64) -> (Vec<i64>, Vec<i64>) {
        let records = records.iter().map(|(slot, previous, position)| record(*slot, *previous, *position));
        let (batch, goals) = arrange(records.collect(), |_| checkpoint);
        (batch.iter().map(|event| event.position).collect(), goals.into_values().collect())
    }

    #[test]
    fn what_follows_is_taken_and_duplicates_are_not() {
        assert_eq!(arranged(&[(0, 2, 4), (0, 4, 5), (0, 2, 4), (0, 5, 9)], 2), (vec![4, 5, 9], vec![9]));
        assert_eq!(arranged(&[(0, 2, 4), (0, 4, 5)], 5), (vec![], vec![5]));
    }

    #[test]
    fn nothing_behind_a_gap_is_taken_and_other_slots_go_on() {
        let records = [(0, 3, 5), (1, 2, 4), (0, 5, 6), (1, 4, 7)];
        assert_eq!(arranged(&records, 2), (vec![4, 7], vec![6, 7]));
    }

    #[test]
    fn a_record_that_denies_what_was_applied_is_a_gap() {
        assert_eq!(arranged(&[(0, 1, 4)], 2), (vec![], vec![4]));
    }
}
