//! A carrier that runs, of either kind.

use crate::brokers::{Brokers, PARTITIONS};
use crate::log::{NEVER, caught_up, count, dump, follow, forget};
use eventstore::News;
use kafka::{Carrier, Relay, Topics};
use projections::{ConsumeError, Embedded, Projection};
use sqlx::PgPool;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A running part and its stop.
pub struct Running<T> {
    stop: CancellationToken,
    task: JoinHandle<T>,
}

impl<T: Send + 'static> Running<T> {
    pub fn start<F: Future<Output = T> + Send + 'static>(run: impl FnOnce(CancellationToken) -> F) -> Self {
        let stop = CancellationToken::new();
        Self { task: tokio::spawn(run(stop.clone())), stop }
    }

    pub async fn stop(self) -> T {
        self.stop.cancel();
        tokio::time::timeout(Duration::from_secs(20), self.task).await.expect("it does not stop").unwrap()
    }

    /// As a process that dies: nothing is finished.
    pub async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.err().expect("it ended before it was killed").is_cancelled());
    }
}

pub type Carrying = Running<Result<(), ConsumeError>>;

/// What carries events in a test.
pub enum Stage {
    Embedded,
    Kafka(Brokers),
}

impl Stage {
    pub async fn kafka(pool: &PgPool) -> Self {
        let brokers = Brokers::start();
        brokers.make_topics(pool).await;
        Self::Kafka(brokers)
    }

    /// One consumer of each projection.
    pub fn carry(&self, pool: &PgPool, models: &[Arc<dyn Projection>]) -> Carrying {
        let (pool, projections) = (pool.clone(), models.to_vec());
        match self {
            Self::Embedded => Running::start(|stop| {
                Embedded { pool, projections, news: News::default(), interleaving: None }.run(stop)
            }),
            Self::Kafka(brokers) => carry(pool, brokers.topics(PARTITIONS), projections),
        }
    }

    /// What brings the log to the consumers, where something has to.
    pub fn relay(&self, pool: &PgPool) -> Option<Running<()>> {
        match self {
            Self::Embedded => None,
            Self::Kafka(brokers) => Some(relay(pool, brokers.topics(PARTITIONS))),
        }
    }
}

pub fn carry(pool: PgPool, topics: Topics, projections: Vec<Arc<dyn Projection>>) -> Carrying {
    Running::start(|stop| Carrier { pool, topics, projections, news: News::default() }.run(stop))
}

pub fn relay(pool: &PgPool, topics: Topics) -> Running<()> {
    let pool = pool.clone();
    Running::start(|stop| Relay { pool, topics, news: News::default() }.run(stop))
}

pub async fn stop(relay: Option<Running<()>>) {
    if let Some(relay) = relay {
        relay.stop().await;
    }
}

/// Waits until the relay has it all acknowledged.
pub async fn relayed(pool: &PgPool) -> i64 {
    eventually("all is relayed", async || {
        let head = eventstore::feed::head(pool).await.unwrap().position;
        let relayed = eventstore::feed::relayed(pool).await.unwrap().map_or(0, |relayed| relayed.position);
        (relayed == head).then_some(head)
    })
    .await
}

pub async fn eventually<T>(what: &str, look: impl AsyncFn() -> Option<T>) -> T {
    let found = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    };
    tokio::time::timeout(NEVER, found).await.unwrap_or_else(|_| panic!("never: {what}"))
}

/// Nothing was parked, and what was carried is what the log says, row for row.
pub async fn assert_equals_the_log(pool: &PgPool, models: &[Arc<dyn Projection>]) {
    caught_up(pool, models).await;
    assert_eq!(count(pool, "dead_letters").await, 0);
    for model in models {
        let carried = dump(pool, model.as_ref()).await;
        assert!(carried.len() > 1, "{} has no rows to compare", model.name());
        forget(pool, model.as_ref()).await;
        follow(pool, std::slice::from_ref(model), None).await;
        assert_eq!(carried, dump(pool, model.as_ref()).await, "{}", model.name());
    }
}
