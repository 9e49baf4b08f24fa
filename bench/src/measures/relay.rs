//! The relay beside rdkafka's own producer.

use super::Measure;
use crate::report::{Aim, Figure};
use crate::world::World;
use domain::group::{Group, GroupCommand};
use eventstore::sealing::SubjectKeys;
use eventstore::{Decided, Loaded, Metadata, News, append, feed, ids};
use futures::FutureExt;
use kafka::envelope::Outgoing;
use kafka::{KafkaConfig, Relay, Topics};
use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use sqlx::PgPool;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

const EVENTS: usize = 300_000;
const BATCH: usize = 1_000;
/// Both send to the same topic in turn, so often, a few seconds each, in which a shared machine may do anything: the medians are
/// compared.
const ROUNDS: usize = 7;
const PARTITIONS: i32 = 8;
/// As long as a new subscriber's sealed fields.
const DESCRIPTION_BYTES: usize = 400;
const FLUSH: Duration = Duration::from_secs(60);

pub const MEASURE: Measure = Measure {
    name: "relay",
    what: "From the log to Kafka's acknowledgement, beside rdkafka's producer with the same records ready in memory (Apache Kafka, one node).",
    limited_by: "Kafka, Postgres and the relay share two cores: the relay reads each event and makes its JSON while the raw producer has nothing to do but send.",
    take: || take().boxed_local(),
};

async fn take() -> Vec<Figure> {
    let Ok(brokers) = std::env::var("POSTLEDGER_TEST_KAFKA") else {
        println!("  NOT MEASURED: there is no Kafka (POSTLEDGER_TEST_KAFKA)");
        return Vec::new();
    };
    let world = World::start().await;
    fill(&world).await;
    let pool = world.pool().clone();
    let topics = topics(brokers);
    let epoch = feed::head(&pool).await.unwrap().epoch;
    topics.ensure(&topics.name(epoch, "group")).await.unwrap();
    let records = Records::load(&pool, &topics).await;
    let (mut raw, mut relayed) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        raw.push(records.send(&topics.config().brokers));
        relayed.push(relay(&pool, &topics).await);
    }
    raw.sort_unstable();
    relayed.sort_unstable();
    let rate = |times: &[Duration]| EVENTS as f64 / times[ROUNDS / 2].as_secs_f64();
    let what = format!("relay, {} bytes of JSON an event", records.bytes / EVENTS);
    vec![Figure::new(what, rate(&relayed), "events/s", Aim::Ratio(0.5)).beside("raw producer", rate(&raw))]
}

/// A log, numbered, and nothing at work beside.
async fn fill(world: &World) {
    let metadata = Metadata::from([("actor".to_owned(), "system:bench".to_owned())]);
    for _ in 0..EVENTS / BATCH {
        let mut appends = Vec::with_capacity(BATCH);
        for _ in 0..BATCH {
            let description = "x".repeat(DESCRIPTION_BYTES);
            let create = GroupCommand::Create { name: "Readers".into(), description };
            let decided = Decided::<Group>::decide(ids::new_id(), Loaded::default(), create).await.unwrap();
            appends.push(decided.into_append(&SubjectKeys::new()).unwrap());
        }
        let mut tx = world.pool().begin().await.unwrap();
        append(&mut tx, appends, &metadata).await.unwrap();
        tx.commit().await.unwrap();
    }
    let all = i64::try_from(EVENTS).unwrap();
    while feed::head(world.pool()).await.unwrap().position < all {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    sqlx::raw_sql("VACUUM ANALYZE").execute(world.pool()).await.unwrap();
}

fn topics(brokers: String) -> Topics {
    let config = KafkaConfig {
        brokers,
        prefix: "bench".into(),
        partitions: PARTITIONS,
        replication_factor: 1,
        tls: false,
        ca_file: None,
        sasl_mechanism: None,
        username: None,
        password: None,
        password_file: None,
    };
    Topics::new(config).unwrap()
}

async fn relay(pool: &PgPool, topics: &Topics) -> Duration {
    sqlx::query("UPDATE relay SET position = 0").execute(pool).await.unwrap();
    let head = feed::head(pool).await.unwrap().position;
    let stop = CancellationToken::new();
    let start = Instant::now();
    let relay = Relay { pool: pool.clone(), topics: topics.clone(), news: News::default() };
    let running = tokio::spawn(relay.run(stop.clone()));
    while feed::relayed(pool).await.unwrap().is_none_or(|relayed| relayed.position < head) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let took = start.elapsed();
    stop.cancel();
    running.await.unwrap();
    took
}

/// What the relay sends, ready in memory.
struct Records {
    topic: String,
    records: Vec<(i32, String, String, OwnedHeaders)>,
    bytes: usize,
}

impl Records {
    async fn load(pool: &PgPool, topics: &Topics) -> Self {
        let epoch = feed::head(pool).await.unwrap().epoch;
        let entries: Vec<Outgoing> = sqlx::query_as(
            "SELECT l.position, l.aggregate_type, l.slot, e.aggregate_id, e.sequence, e.event_type, e.event_version,
                    e.payload::text AS payload, e.metadata::text AS metadata, e.recorded_at
             FROM log l JOIN events e USING (append_id) ORDER BY l.position",
        )
        .fetch_all(pool)
        .await
        .unwrap();
        let (mut previous, epoch_text) = (HashMap::new(), epoch.to_string());
        let record = |entry: Outgoing| {
            let before = previous.insert(entry.slot, entry.position).unwrap_or(0);
            let headers = entry.headers(&epoch_text, before);
            (i32::from(entry.slot) % PARTITIONS, entry.value(), entry.aggregate_id, headers)
        };
        let records: Vec<_> = entries.into_iter().map(record).collect();
        let bytes = records.iter().map(|(_, value, ..)| value.len()).sum();
        Self { topic: topics.name(epoch, "group"), records, bytes }
    }

    fn send(&self, brokers: &str) -> Duration {
        let copies: Vec<OwnedHeaders> = self.records.iter().map(|(.., headers)| headers.clone()).collect();
        let start = Instant::now();
        let delivered = Arc::new(AtomicUsize::new(0));
        let producer: ThreadedProducer<Count> =
            settings(brokers).create_with_context(Count(delivered.clone())).unwrap();
        for ((partition, value, key, _), headers) in self.records.iter().zip(copies) {
            let record = BaseRecord::to(&self.topic).partition(*partition).key(key).payload(value);
            let mut record = record.headers(headers);
            while let Err((error, back)) = producer.send(record) {
                assert_eq!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull));
                std::thread::sleep(Duration::from_millis(1));
                record = back;
            }
        }
        producer.flush(FLUSH).unwrap();
        assert_eq!(delivered.load(Ordering::SeqCst), self.records.len());
        start.elapsed()
    }
}

/// As the relay's.
fn settings(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", brokers)
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("queue.buffering.max.messages", "100000")
        .set("queue.buffering.max.kbytes", "65536")
        .set("linger.ms", "5")
        .set("compression.type", "lz4");
    config
}

struct Count(Arc<AtomicUsize>);

impl ClientContext for Count {}

impl ProducerContext for Count {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        assert!(result.is_ok(), "a record was not delivered");
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}
