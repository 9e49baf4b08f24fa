//! Finds what is missing at the end of a partition, where no later record shows it.
//!
//! First the relay's acknowledged position is read, then the brokers are asked where the partition ends. If we are
//! there, then every record that was acknowledged has come by: what our checkpoints lack up to that position is not in
//! Kafka (the topic was emptied, or shortened, or its records went to another partition), and is read from the log.

use crate::applier::{Applier, Goals};
use crate::carrier::CarryError;
use crate::log::{self, Slot};
use crate::member::{Member, Partition};
use crate::topics::Topics;
use eventstore::feed;
use projections::{Projection, SLOTS};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use sqlx::PgPool;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

/// Records that wait in a partition for so long, of which none comes, are a reason to join the group anew: under a topic
/// that was deleted and made again, librdkafka may go on asking for the old one.
const STALLED: Duration = Duration::from_secs(30);

/// Where one member is in its partitions.
#[derive(Default)]
pub(crate) struct Tail {
    /// The rebalance that the rest is about.
    generation: u64,
    /// Behind the last record of each partition that was applied.
    next: HashMap<Partition, i64>,
    /// Partitions of each type's topic.
    counts: BTreeMap<&'static str, i32>,
    /// Nothing is missing up to this position.
    checked: i64,
    /// Since when something has been waiting in a partition of which nothing came.
    waiting: HashMap<Partition, Instant>,
}

/// What the check looks at.
pub(crate) struct Surroundings<'a> {
    pub pool: &'a PgPool,
    pub topics: &'a Topics,
    pub projection: &'a dyn Projection,
    pub member: &'a Member,
}

impl Tail {
    /// Records up to these offsets were applied.
    pub fn passed(&mut self, generation: u64, next: HashMap<Partition, i64>) {
        self.begin(generation);
        self.waiting.retain(|partition, _| !next.contains_key(partition));
        self.next.extend(next);
    }

    pub fn is_stalled(&self, now: Instant) -> bool {
        self.waiting.values().any(|since| now.duration_since(*since) > STALLED)
    }

    fn begin(&mut self, generation: u64) {
        if self.generation != generation {
            *self = Self { generation, ..Self::default() };
        }
    }

    /// Reads from the log what is missing in the partitions whose end was reached.
    pub async fn check(
        &mut self,
        around: &Surroundings<'_>,
        applier: &mut Applier,
    ) -> Result<(), CarryError> {
        self.begin(around.member.generation());
        let relayed = feed::relayed(around.pool).await.map_err(projections::ConsumeError::from)?;
        let Some(relayed) = relayed.filter(|relayed| relayed.epoch == applier.epoch()) else { return Ok(()) };
        if relayed.position <= self.checked {
            return Ok(());
        }
        applier.reload().await?;
        let behind = self.behind(around, applier, relayed.position).await?;
        let partitions: BTreeSet<&Partition> = behind.values().collect();
        let mut ended = BTreeSet::new();
        for partition in &partitions {
            if self.is_at_end(around, partition).await? {
                ended.insert(*partition);
            }
        }
        let all_ended = ended.len() == partitions.len();
        let waiting = partitions.difference(&ended).map(|partition| (*partition).clone());
        self.wait_for(waiting.collect(), Instant::now());
        let missing = behind.iter().filter(|(_, partition)| ended.contains(partition));
        let goals: Goals = missing.map(|(slot, _)| (slot.clone(), relayed.position)).collect();
        applier.reach(&goals).await?;
        if all_ended {
            self.checked = relayed.position;
        }
        Ok(())
    }

    /// These partitions hold what is still to come, and no others do.
    fn wait_for(&mut self, partitions: BTreeSet<Partition>, now: Instant) {
        self.waiting.retain(|partition, _| partitions.contains(partition));
        for partition in partitions {
            self.waiting.entry(partition).or_insert(now);
        }
    }

    pub fn wait_for_nothing(&mut self) {
        self.waiting.clear();
    }

    /// Our slots that lack something up to `until`, each with its partition.
    async fn behind(
        &mut self,
        around: &Surroundings<'_>,
        applier: &Applier,
        until: i64,
    ) -> Result<BTreeMap<Slot, Partition>, CarryError> {
        let ours = self.slots(around, applier.epoch()).await?;
        let checkpoints: Vec<(&str, i16, i64)> =
            ours.keys().map(|(name, slot)| (name.as_str(), *slot, applier.checkpoint(name, *slot))).collect();
        let behind = log::behind(around.pool, &checkpoints, until).await;
        let behind = behind.map_err(projections::ConsumeError::from)?;
        Ok(behind
            .into_iter()
            .filter_map(|slot| ours.get_key_value(&slot))
            .map(|(s, p)| (s.clone(), p.clone()))
            .collect())
    }

    /// The slots whose records lie in the partitions that we were given.
    async fn slots(
        &mut self,
        around: &Surroundings<'_>,
        epoch: uuid::Uuid,
    ) -> KafkaResult<BTreeMap<Slot, Partition>> {
        let assigned = around.member.partitions()?;
        let mut slots = BTreeMap::new();
        for name in around.projection.types() {
            let topic = around.topics.name(epoch, name);
            let count = self.count(around.topics, name, &topic).await?;
            for slot in 0..SLOTS {
                let partition = (topic.clone(), i32::from(slot) % count);
                if assigned.contains(&partition) {
                    slots.insert(((*name).to_owned(), slot), partition);
                }
            }
        }
        Ok(slots)
    }

    async fn count(&mut self, topics: &Topics, name: &'static str, topic: &str) -> KafkaResult<i32> {
        if let Some(count) = self.counts.get(name) {
            return Ok(*count);
        }
        // One that is missing is being made again, by whoever notices first.
        let missing = KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopicOrPartition);
        let count = topics.partitions(topic).await?.ok_or(missing)?.clamp(1, SLOTS.into());
        self.counts.insert(name, count);
        Ok(count)
    }

    async fn is_at_end(&self, around: &Surroundings<'_>, partition: &Partition) -> KafkaResult<bool> {
        let (low, high) = around.topics.watermarks(partition.0.clone(), partition.1).await?;
        let next = match self.next.get(partition) {
            Some(next) => Some(*next),
            None => around.member.committed(partition).await?,
        };
        Ok(is_behind_all(next, low, high))
    }
}

/// Whether a reader that goes on at `next` has nothing more to read between `low` and `high`. One that goes on nowhere,
/// or outside of what there is, goes on at `low`.
fn is_behind_all(next: Option<i64>, low: i64, high: i64) -> bool {
    next.filter(|next| (low..=high).contains(next)).unwrap_or(low) >= high
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_where_nothing_is_left_to_read() {
        for (next, low, high, expected) in [
            (None, 0, 0, true),
            (None, 0, 3, false),
            (None, 3, 3, true),
            (Some(2), 0, 3, false),
            (Some(3), 0, 3, true),
            // The topic is another one than the offset was committed for.
            (Some(9), 0, 3, false),
            (Some(9), 0, 0, true),
            // Its first records were deleted.
            (Some(2), 5, 7, false),
        ] {
            assert_eq!(is_behind_all(next, low, high), expected, "{next:?} in {low}..{high}");
        }
    }

    #[test]
    fn a_partition_is_stalled_where_nothing_comes_of_what_waits() {
        let [a, b] = [0, 1].map(|number| ("topic".to_owned(), number));
        let (mut tail, mut now) = (Tail::default(), Instant::now());
        for came in [&[&a, &b][..], &[&a, &b], &[&a, &b], &[&a]] {
            tail.wait_for([a.clone(), b.clone()].into(), now);
            now += STALLED * 2 / 3;
            assert!(!tail.is_stalled(now), "both moved since");
            tail.passed(0, came.iter().map(|partition| ((*partition).clone(), 1)).collect());
        }
        now += STALLED;
        assert!(tail.is_stalled(now), "nothing came of the second");
        tail.wait_for([a.clone()].into(), now);
        assert!(!tail.is_stalled(now), "there is nothing in it any more");
        assert!(tail.is_stalled(now + STALLED * 2));
        tail.wait_for_nothing();
        assert!(!tail.is_stalled(now + STALLED * 2), "nobody knows what waits");
        tail.wait_for([a.clone()].into(), now);
        tail.passed(1, HashMap::new());
        assert!(!tail.is_stalled(now + STALLED * 2), "what is assigned anew is waited for anew");
    }
}
