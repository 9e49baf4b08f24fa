//! The brokers that tests use: real ones, or the mock cluster.

use kafka::{KafkaConfig, Topics, topic_name};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use sqlx::PgPool;
use std::io::Write;
use uuid::Uuid;

pub const PARTITIONS: i32 = 3;
const PREFIX: &str = "postledger-test";

pub struct Brokers {
    pub address: String,
    pub mock: Option<MockCluster<'static, DefaultProducerContext>>,
}

impl Brokers {
    pub fn start() -> Self {
        match std::env::var("POSTLEDGER_TEST_KAFKA") {
            Ok(address) if !address.is_empty() => Self { address, mock: None },
            _ => {
                assert!(
                    std::env::var("CI").is_err(),
                    "CI needs a real Kafka: POSTLEDGER_TEST_KAFKA is not set"
                );
                eprintln!(
                    "*** NOT ON APACHE KAFKA: POSTLEDGER_TEST_KAFKA is not set, librdkafka's mock is used ***"
                );
                Self::mock()
            }
        }
    }

    pub fn mock() -> Self {
        let mock = MockCluster::new(1).unwrap();
        Self { address: mock.bootstrap_servers(), mock: Some(mock) }
    }

    /// For tests that make, delete or enlarge topics: `None` on the mock, which cannot.
    pub fn real() -> Option<Self> {
        let brokers = Self::start();
        if brokers.mock.is_some() {
            say("NOT RUN: a test that needs a real Kafka");
            return None;
        }
        Some(brokers)
    }

    /// What a real Kafka does by itself when the relay asks.
    pub async fn make_topics(&self, pool: &PgPool) {
        self.make_topics_of(epoch(pool).await);
    }

    pub fn make_topics_of(&self, epoch: Uuid) {
        let Some(mock) = &self.mock else { return };
        for name in crate::records::types() {
            mock.create_topic(&topic_name(PREFIX, epoch, name), PARTITIONS, 1).unwrap();
        }
    }

    pub fn config(&self, partitions: i32) -> KafkaConfig {
        KafkaConfig {
            brokers: self.address.clone(),
            prefix: PREFIX.into(),
            partitions,
            replication_factor: 1,
            tls: false,
            ca_file: None,
            sasl_mechanism: None,
            username: None,
            password: None,
            password_file: None,
        }
    }

    pub fn topics(&self, partitions: i32) -> Topics {
        Topics::new(self.config(partitions)).unwrap()
    }
}

/// Past the harness, which shows what a test prints only where it fails.
fn say(what: &str) {
    let _ = writeln!(std::io::stderr(), "*** {what} ***");
}

pub async fn epoch(pool: &PgPool) -> Uuid {
    eventstore::feed::head(pool).await.unwrap().epoch
}
