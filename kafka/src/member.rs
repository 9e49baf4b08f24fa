//! A member of a projection's consumer group, and which partitions it was given.

use crate::client::{Log, REQUEST_TIMEOUT};
use crate::topics::{RECORD_MAX_BYTES, Topics, blocking};
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, Rebalance, StreamConsumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, oneshot};

/// A topic and one of its partitions.
pub(crate) type Partition = (String, i32);

/// A dead member's partitions go to the others after this time.
const SESSION_TIMEOUT_MS: &str = "10000";
/// How long the end waits for the group to hear of it.
const LEAVE: Duration = Duration::from_secs(5);

/// A member that joined, or lost its partitions, and was assigned nothing for so long, not even an empty list, joins anew: after
/// an outage librdkafka was seen to wait for minutes.
const STRANDED: Duration = Duration::from_secs(30);

/// Follows the group's rebalances.
pub(crate) struct Changes {
    generation: AtomicU64,
    assigned: Notify,
    /// Since when nothing has been assigned.
    without: Mutex<Option<Instant>>,
}

impl Changes {
    fn new() -> Self {
        let without = Mutex::new(Some(Instant::now()));
        Self { generation: AtomicU64::new(0), assigned: Notify::new(), without }
    }

    /// What the lock guards is one value: it is right even after a panic.
    fn without(&self) -> MutexGuard<'_, Option<Instant>> {
        self.without.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) struct Context {
    changes: Arc<Changes>,
    log: Log,
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.log.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.log.error(error, reason);
    }
}

impl ConsumerContext for Context {
    fn post_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        self.changes.generation.fetch_add(1, Ordering::SeqCst);
        match rebalance {
            Rebalance::Assign(_) => {
                *self.changes.without() = None;
                self.changes.assigned.notify_one();
            }
            Rebalance::Revoke(_) | Rebalance::Error(_) => {
                self.changes.without().get_or_insert_with(Instant::now);
            }
        }
    }
}

/// Leaves its group when it is dropped.
pub(crate) struct Member {
    consumer: Option<Arc<StreamConsumer<Context>>>,
    changes: Arc<Changes>,
}

impl Member {
    pub fn join(topics: &Topics, group: &str, names: &[String]) -> KafkaResult<Self> {
        let changes = Arc::new(Changes::new());
        let consumer: StreamConsumer<Context> = topics
            .config()
            .client()
            .set("group.id", group)
            // Kafka's offsets are hints about where to go on; the checkpoints in Postgres are the truth. Only what was
            // committed there is stored, and stored offsets are committed every few seconds and at the end.
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "earliest")
            .set("session.timeout.ms", SESSION_TIMEOUT_MS)
            .set("heartbeat.interval.ms", "3000")
            .set("fetch.message.max.bytes", "1048576")
            .set("receive.message.max.bytes", "104857600")
            .set("message.max.bytes", RECORD_MAX_BYTES)
            // Bounds what is fetched ahead: read models are many, and each has a consumer of its own.
            .set("queued.max.messages.kbytes", "8192")
            .set("queued.min.messages", "10000")
            .create_with_context(Context { changes: changes.clone(), log: topics.log().clone() })?;
        consumer.subscribe(&names.iter().map(String::as_str).collect::<Vec<_>>())?;
        Ok(Self { consumer: Some(Arc::new(consumer)), changes })
    }

    pub fn consumer(&self) -> KafkaResult<&Arc<StreamConsumer<Context>>> {
        self.consumer.as_ref().ok_or(KafkaError::Canceled)
    }

    /// Differs after each rebalance.
    pub fn generation(&self) -> u64 {
        self.changes.generation.load(Ordering::SeqCst)
    }

    pub fn is_stranded(&self) -> bool {
        self.changes.without().is_some_and(|since| since.elapsed() > STRANDED)
    }

    /// Until partitions were assigned since the last call.
    pub async fn assigned(&self) {
        self.changes.assigned.notified().await;
    }

    /// What it was given.
    pub fn partitions(&self) -> KafkaResult<BTreeSet<Partition>> {
        let list = self.consumer()?.assignment()?;
        Ok(list.elements().iter().map(|one| (one.topic().to_owned(), one.partition())).collect())
    }

    /// Notes where to go on, for the next commit. Of a partition that was revoked meanwhile nothing is noted.
    pub fn store(&self, next: &HashMap<Partition, i64>) -> KafkaResult<()> {
        let consumer = self.consumer()?;
        for ((topic, partition), offset) in next {
            let mut list = TopicPartitionList::new();
            list.add_partition_offset(topic, *partition, Offset::Offset(*offset))?;
            if let Err(error) = consumer.store_offsets(&list) {
                tracing::debug!(topic, partition, %error, "the offset is not noted");
            }
        }
        Ok(())
    }

    /// Where the group goes on in a partition, as the brokers know it.
    pub async fn committed(&self, partition: &Partition) -> KafkaResult<Option<i64>> {
        let consumer = self.consumer()?.clone();
        let mut list = TopicPartitionList::new();
        list.add_partition(&partition.0, partition.1);
        let found = blocking(move || consumer.committed_offsets(list, REQUEST_TIMEOUT)).await?;
        Ok(found.elements().first().and_then(|one| match one.offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        }))
    }

    /// Commits what was noted and leaves the group, so that others get its partitions at once.
    pub async fn leave(mut self) {
        if tokio::time::timeout(LEAVE, close(self.consumer.take())).await.is_err() {
            tracing::warn!("the consumer group was not told of the end: it finds out by itself");
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if self.consumer.is_some() {
            drop(close(self.consumer.take()));
        }
    }
}

/// Closing waits for the brokers: it has a thread of its own, which ends with the process at the latest.
fn close(consumer: Option<Arc<StreamConsumer<Context>>>) -> impl Future<Output = ()> {
    let (closed, ended) = oneshot::channel::<()>();
    std::thread::spawn(move || {
        drop(consumer);
        drop(closed);
    });
    async move { drop(ended.await) }
}
