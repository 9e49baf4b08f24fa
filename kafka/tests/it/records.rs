//! Reading topics from outside, and writing to them as a relay that is not right would.

use crate::brokers::{Brokers, PARTITIONS, epoch};
use kafka::envelope::{Incoming, Outgoing};
use kafka::topic_name;
use projections::all;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use sqlx::PgPool;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use uuid::Uuid;

const WITHIN: Duration = Duration::from_secs(10);

/// Every type that a read model follows.
pub fn types() -> BTreeSet<&'static str> {
    all().iter().flat_map(|model| model.types().iter().copied()).collect()
}

/// The whole log, each entry with the position before it of its type and slot.
pub async fn log_entries(pool: &PgPool) -> Vec<(Outgoing, i64)> {
    let entries: Vec<Outgoing> = sqlx::query_as(
        "SELECT l.position, l.aggregate_type, l.slot, e.aggregate_id, e.sequence, e.event_type, e.event_version,
                e.payload::text AS payload, e.metadata::text AS metadata, e.recorded_at
         FROM log l JOIN events e USING (append_id) ORDER BY l.position",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    let mut last = BTreeMap::new();
    let mut with_previous = |entry: Outgoing| {
        let previous = last.insert((entry.aggregate_type.clone(), entry.slot), entry.position).unwrap_or(0);
        (entry, previous)
    };
    entries.into_iter().map(&mut with_previous).collect()
}

impl Brokers {
    /// Sends entries of the log, in this order, as they are; returns once they are acknowledged.
    pub async fn publish(&self, pool: &PgPool, entries: &[(Outgoing, i64)]) {
        let epoch = epoch(pool).await;
        let producer: BaseProducer = self.client().set("acks", "all").create().unwrap();
        let topics = self.topics(PARTITIONS);
        let mut known = BTreeMap::new();
        for (entry, previous) in entries {
            let topic = topics.name(epoch, &entry.aggregate_type);
            if !known.contains_key(&topic) {
                known.insert(topic.clone(), topics.ensure(&topic).await.unwrap());
            }
            let partitions = known[&topic];
            let (value, headers) = (entry.value(), entry.headers(&epoch.to_string(), *previous));
            let record = BaseRecord::to(&topic)
                .partition(i32::from(entry.slot) % partitions)
                .key(entry.aggregate_id.as_str())
                .payload(value.as_str())
                .headers(headers);
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(WITHIN).unwrap();
    }

    fn client(&self) -> ClientConfig {
        ClientConfig::new().set("bootstrap.servers", &self.address).clone()
    }

    /// The positions that the topics of an epoch hold.
    pub fn positions(&self, epoch: Uuid) -> BTreeSet<i64> {
        self.records(epoch).into_iter().collect()
    }

    /// The positions of every record in the topics of an epoch, duplicates too, read as any client would.
    pub fn records(&self, epoch: Uuid) -> Vec<i64> {
        let consumer: BaseConsumer = self.client().set("group.id", "looker").create().unwrap();
        let mut list = TopicPartitionList::new();
        let mut expected = 0;
        for name in types() {
            let topic = topic_name(&self.config(1).prefix, epoch, name);
            let metadata = consumer.fetch_metadata(Some(&topic), WITHIN).unwrap();
            for partition in metadata.topics()[0].partitions() {
                let (low, high) = consumer.fetch_watermarks(&topic, partition.id(), WITHIN).unwrap();
                expected += usize::try_from(high - low).unwrap();
                list.add_partition_offset(&topic, partition.id(), Offset::Beginning).unwrap();
            }
        }
        consumer.assign(&list).unwrap();
        let mut positions = Vec::new();
        while positions.len() < expected {
            let message = consumer.poll(WITHIN).expect("the topics hold more").unwrap();
            let record = Incoming::read(&message, epoch).unwrap();
            assert_eq!(
                message.key(),
                Some(record.event.aggregate_id.as_bytes()),
                "the key is the stream's id"
            );
            positions.push(record.event.position);
        }
        positions
    }
}
