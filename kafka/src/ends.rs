//! Whether the topics hold what the log does not: then the log lost it, by a restore that nobody marked.

use crate::client::Log;
use crate::envelope::Incoming;
use crate::topics::{RECORD_MAX_BYTES, Topics, blocking};
use eventstore::{LogEvent, StoreError, feed};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use sqlx::PgPool;
use std::fmt;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// For all partitions together.
const READ_WITHIN: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(200);

/// The last record of a partition, which the log does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ahead {
    aggregate_type: String,
    position: i64,
    head: i64,
}

impl fmt::Display for Ahead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { aggregate_type, position, head } = self;
        write!(f, "the topic of {aggregate_type} ends with an event at position {position}, and the log, ")?;
        match position > head {
            true => write!(f, "which ends at {head}, does not have it yet"),
            false => write!(f, "which goes on to {head}, has another one there"),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum EndsError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the ends of the topics can't be read: {0}")]
    Kafka(#[from] KafkaError),
}

/// Compares the last record of each partition with the log; `None`: the log has them all. As no relay publishes where one is
/// missing, what was lost stays at an end.
pub async fn ahead_of_the_log(pool: &PgPool, topics: &Topics) -> Result<Option<Ahead>, EndsError> {
    let epoch = feed::head(pool).await?.epoch;
    let prefix = topics.name(epoch, "");
    let mut wanted = TopicPartitionList::new();
    for topic in
        topics.metadata(None).await?.topics().iter().filter(|topic| topic.name().starts_with(&prefix))
    {
        for partition in topic.partitions() {
            wanted.add_partition_offset(topic.name(), partition.id(), Offset::OffsetTail(1))?;
        }
    }
    if wanted.count() == 0 {
        return Ok(None);
    }
    let topics = topics.clone();
    let last = blocking(move || last_records(&topics, epoch, &wanted)).await?;
    // Read behind the topics: what they hold was in the log before it was in them.
    let unknown = unknown_of(pool, &last).await?;
    let head = feed::head(pool).await?.position;
    Ok(unknown.map(|(aggregate_type, position)| Ahead { aggregate_type, position, head }))
}

fn last_records(topics: &Topics, epoch: Uuid, wanted: &TopicPartitionList) -> KafkaResult<Vec<LogEvent>> {
    let mut config = topics.config().client();
    // A consumer has to name a group. It joins none, and commits nothing.
    let config = config.set("group.id", topics.name(epoch, "ends")).set("enable.auto.commit", "false");
    let config = config.set("enable.partition.eof", "true").set("fetch.message.max.bytes", RECORD_MAX_BYTES);
    let consumer: BaseConsumer<Log> = config.create_with_context(topics.log().clone())?;
    consumer.assign(wanted)?;
    let mut ends_to_come = wanted.count();
    let mut last = Vec::new();
    let deadline = Instant::now() + READ_WITHIN;
    while ends_to_come > 0 {
        match consumer.poll(POLL) {
            Some(Ok(message)) => match Incoming::read(&message, epoch) {
                Ok(record) => last.push(record.event),
                Err(reason) => {
                    tracing::warn!(topic = message.topic(), %reason, "the last record of a partition tells nothing");
                }
            },
            Some(Err(KafkaError::PartitionEOF(_))) => ends_to_come -= 1,
            Some(Err(error)) if Instant::now() >= deadline => return Err(error),
            None if Instant::now() >= deadline => {
                return Err(KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut));
            }
            Some(Err(_)) | None => {}
        }
    }
    Ok(last)
}

/// The first of these events that the log does not have, with its position.
async fn unknown_of(pool: &PgPool, events: &[LogEvent]) -> Result<Option<(String, i64)>, StoreError> {
    let unknown = sqlx::query_as(
        "SELECT aggregate_type, position
         FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[], $5::timestamptz[])
             e (position, aggregate_type, aggregate_id, sequence, recorded_at)
         WHERE NOT log_has(position, aggregate_type, aggregate_id, sequence, recorded_at)
         ORDER BY position LIMIT 1",
    )
    .bind(events.iter().map(|event| event.position).collect::<Vec<_>>())
    .bind(events.iter().map(|event| event.aggregate_type.as_str()).collect::<Vec<_>>())
    .bind(events.iter().map(|event| event.aggregate_id.as_str()).collect::<Vec<_>>())
    .bind(events.iter().map(|event| event.sequence).collect::<Vec<_>>())
    .bind(events.iter().map(|event| event.recorded_at).collect::<Vec<_>>());
    Ok(unknown.fetch_optional(pool).await?)
}
