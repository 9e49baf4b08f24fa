//! Reads the log forward and sends it, from one position on, until the first failure.

use super::RelayError;
use crate::client::Log;
use crate::envelope::Outgoing;
use crate::log::{self, Slot};
use crate::topics::{RECORD_MAX_BYTES, Topics, blocking};
use crate::window::Window;
use eventstore::StoreError;
use projections::SLOTS;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use sqlx::PgPool;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use uuid::Uuid;

/// Entries that one query reads.
const BATCH: i64 = 2_000;
/// Entries sent and not acknowledged. Together with librdkafka's 64 MB this bounds the relay's memory.
const IN_FLIGHT_MAX: i64 = 50_000;
/// A full queue is looked at again after this time at the latest.
const FULL_PAUSE: Duration = Duration::from_millis(50);

/// Where delivery reports go: librdkafka's thread writes, the relay reads.
struct Deliveries {
    window: Mutex<Window>,
    progress: Notify,
}

impl Deliveries {
    /// A panic under the lock is impossible; what the lock guards would be right even then.
    fn window(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check(&self) -> Result<(), RelayError> {
        match self.window().failure() {
            None => Ok(()),
            Some(failure) => Err(RelayError::NotDelivered(failure.to_owned())),
        }
    }
}

struct Reports {
    deliveries: Arc<Deliveries>,
    log: Log,
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.log.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.log.error(error, reason);
    }
}

impl ProducerContext for Reports {
    /// The position.
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, position: usize) {
        // What librdkafka says of an error names no value.
        let outcome = result.as_ref().map(drop).map_err(|(error, _)| error.to_string());
        self.deliveries.window().note(i64::try_from(position).unwrap_or(i64::MAX), outcome);
        self.deliveries.progress.notify_one();
    }
}

pub(super) struct Publisher {
    pool: PgPool,
    topics: Topics,
    epoch: Uuid,
    epoch_text: String,
    deliveries: Arc<Deliveries>,
    /// Taken when the end begins.
    producer: Option<ThreadedProducer<Reports>>,
    /// By type, each met with its first entry.
    lanes: HashMap<String, Lane>,
    /// The last position of each slot before the first that is sent here.
    before: HashMap<Slot, i64>,
    sent: i64,
    /// The next batch, read while this one is sent.
    reading: Option<Reading>,
}

/// Where the entries of one type go.
struct Lane {
    topic: String,
    partitions: i32,
    /// The last position of each slot that was sent.
    previous: HashMap<i16, i64>,
}

struct Reading(JoinHandle<Result<Vec<Outgoing>, StoreError>>);

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Publisher {
    pub async fn start(pool: &PgPool, topics: &Topics, epoch: Uuid, after: i64) -> Result<Self, RelayError> {
        let deliveries =
            Arc::new(Deliveries { window: Mutex::new(Window::new(after)), progress: Notify::new() });
        Ok(Self {
            pool: pool.clone(),
            topics: topics.clone(),
            epoch,
            epoch_text: epoch.to_string(),
            producer: Some(producer(topics, deliveries.clone())?),
            deliveries,
            lanes: HashMap::new(),
            before: log::last_positions(pool, after).await?,
            sent: after,
            reading: None,
        })
    }

    /// Everything up to this position is in Kafka.
    pub fn acknowledged(&self) -> i64 {
        self.deliveries.window().acknowledged()
    }

    /// Whether all that was sent was acknowledged.
    pub fn is_idle(&self) -> bool {
        self.acknowledged() >= self.sent
    }

    /// Fails if any record was not delivered.
    pub fn check(&self) -> Result<(), RelayError> {
        self.deliveries.check()
    }

    /// Until a delivery report came since the last call.
    pub async fn progress(&self) {
        self.deliveries.progress.notified().await;
    }

    /// Reads the next batch up to `until`; empty if there is nothing to send, or too much under way.
    pub async fn next(&mut self, until: i64) -> Result<Vec<Outgoing>, RelayError> {
        if self.sent >= until || self.sent - self.acknowledged() >= IN_FLIGHT_MAX {
            return Ok(Vec::new());
        }
        let mut reading = self.reading.take().unwrap_or_else(|| self.read(self.sent, until));
        let batch = match (&mut reading.0).await {
            Ok(batch) => batch?,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => return Ok(Vec::new()),
        };
        let last = batch.last().map(|entry| entry.position).ok_or(RelayError::NothingToRead)?;
        if last < until {
            self.reading = Some(self.read(last, until));
        }
        Ok(batch)
    }

    pub async fn send_all(&mut self, batch: &[Outgoing]) -> Result<(), RelayError> {
        for entry in batch {
            self.send(entry).await?;
        }
        Ok(())
    }

    fn read(&self, after: i64, until: i64) -> Reading {
        let pool = self.pool.clone();
        Reading(tokio::spawn(async move { log::read(&pool, after, until, BATCH).await }))
    }

    async fn send(&mut self, entry: &Outgoing) -> Result<(), RelayError> {
        if !self.lanes.contains_key(&entry.aggregate_type) {
            let lane = self.open(&entry.aggregate_type).await?;
            self.lanes.insert(entry.aggregate_type.clone(), lane);
        }
        let (Some(lane), Some(producer)) = (self.lanes.get_mut(&entry.aggregate_type), &self.producer) else {
            return Ok(());
        };
        let previous = lane.previous.insert(entry.slot, entry.position).unwrap_or(0);
        let value = entry.value();
        let mut record =
            BaseRecord::with_opaque_to(&lane.topic, usize::try_from(entry.position).unwrap_or(0))
                .partition(i32::from(entry.slot) % lane.partitions)
                .key(entry.aggregate_id.as_str())
                .payload(value.as_str())
                .headers(entry.headers(&self.epoch_text, previous));
        while let Err((error, back)) = producer.send(record) {
            if error != KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) {
                return Err(error.into());
            }
            self.deliveries.check()?;
            let _ = tokio::time::timeout(FULL_PAUSE, self.deliveries.progress.notified()).await;
            record = back;
        }
        self.sent = entry.position;
        Ok(())
    }

    /// For a type that was not sent in this session: its topic is made if it is missing.
    async fn open(&self, aggregate_type: &str) -> Result<Lane, RelayError> {
        let topic = self.topics.name(self.epoch, aggregate_type);
        let partitions = self.topics.ensure(&topic).await?.clamp(1, SLOTS.into());
        let of_type = self.before.iter().filter(|((name, _), _)| name == aggregate_type);
        let previous = of_type.map(|((_, slot), position)| (*slot, *position)).collect();
        Ok(Lane { topic, partitions, previous })
    }

    /// Waits for what was sent, at the end.
    pub async fn flush(&mut self, timeout: Duration) {
        self.reading = None;
        let Some(producer) = self.producer.take() else { return };
        let flushed = blocking(move || producer.flush(timeout)).await;
        if let Err(error) = flushed {
            tracing::warn!(%error, "relay: not all was acknowledged before the end; the next one sends it again");
        }
    }
}

impl Drop for Publisher {
    /// Ending a producer may wait for its brokers: that is not for the threads of the runtime.
    fn drop(&mut self) {
        if let Some(producer) = self.producer.take() {
            std::thread::spawn(move || drop(producer));
        }
    }
}

fn producer(topics: &Topics, deliveries: Arc<Deliveries>) -> KafkaResult<ThreadedProducer<Reports>> {
    topics
        .config()
        .client()
        // Acknowledged by all replicas in sync, in order and once for each partition, within one session.
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("message.timeout.ms", "30000")
        .set("message.max.bytes", RECORD_MAX_BYTES)
        .set("queue.buffering.max.messages", "100000")
        .set("queue.buffering.max.kbytes", "65536")
        .set("linger.ms", "5")
        .set("compression.type", "lz4")
        .create_with_context(Reports { deliveries, log: topics.log().clone() })
}
