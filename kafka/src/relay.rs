//! From the log into Kafka.

mod publisher;

use crate::lease::Lease;
use crate::topics::Topics;
use eventstore::{Head, StoreError};
use projections::{Backoff, watch_head};
use publisher::Publisher;
use rdkafka::error::KafkaError;
use sqlx::PgPool;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// A relay that finds another one at work looks again after this time.
const STANDBY: Duration = Duration::from_secs(1);
/// The acknowledged position is stored this often while there is work, and at once when there is none.
const STORE_EVERY: Duration = Duration::from_millis(100);
/// How long the end waits for what was sent.
const FLUSH: Duration = Duration::from_secs(5);

pub struct Relay {
    pub pool: PgPool,
    pub topics: Topics,
    /// Changes when there is something new, where a sequencer runs in this process. Else the log is polled.
    pub wake: Option<watch::Receiver<i64>>,
}

#[derive(Debug, thiserror::Error)]
enum RelayError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("kafka: {0}")]
    Kafka(#[from] KafkaError),
    #[error("a record was not delivered: {0}")]
    NotDelivered(String),
    #[error(
        "the log ends at {head}, before position {after}, which was relayed: it was restored without a new epoch"
    )]
    LogWentBack { head: i64, after: i64 },
}

impl Relay {
    /// Publishes until `stop`. After any error it goes back to the last acknowledged position: some is sent twice.
    pub async fn run(self, stop: CancellationToken) {
        let Self { pool, topics, wake } = self;
        let head = watch_head(pool.clone(), wake, stop.clone());
        let mut backoff = Backoff::default();
        while !stop.is_cancelled() {
            let mut session = Session { pool: &pool, topics: &topics, head: head.clone(), stop: &stop };
            let pause = match session.run().await {
                Ok(Ended::Progress) => {
                    backoff.reset();
                    continue;
                }
                Ok(Ended::Standby) => STANDBY,
                Err(error) => {
                    tracing::warn!(%error, "relay: goes back to what was acknowledged");
                    backoff.pause()
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }
}

enum Ended {
    /// At a signal, or with the epoch.
    Progress,
    /// Another relay is at work.
    Standby,
}

/// From taking the lease to the first error.
struct Session<'a> {
    pool: &'a PgPool,
    topics: &'a Topics,
    head: watch::Receiver<Option<Head>>,
    stop: &'a CancellationToken,
}

impl Session<'_> {
    async fn run(&mut self) -> Result<Ended, RelayError> {
        let Some(epoch) = self.epoch().await else { return Ok(Ended::Progress) };
        let Some(mut lease) = Lease::take(self.pool, epoch).await? else { return Ok(Ended::Standby) };
        let after = lease.stored();
        tracing::info!(%epoch, after, "relay: at work");
        let mut publisher = Publisher::start(self.pool, self.topics, epoch, after).await?;
        let relayed = self.relay(epoch, &mut lease, &mut publisher).await;
        if relayed.is_ok() {
            publisher.flush(FLUSH).await;
        }
        // Acknowledged is acknowledged, whatever happened to what came after it.
        let stored = lease.store(publisher.acknowledged()).await;
        relayed?;
        stored?;
        lease.release().await?;
        Ok(Ended::Progress)
    }

    /// The log's epoch once it is known; `None` at the end.
    async fn epoch(&mut self) -> Option<Uuid> {
        let known = self.head.wait_for(Option::is_some);
        tokio::select! {
            () = self.stop.cancelled() => None,
            head = known => head.ok()?.map(|head| head.epoch),
        }
    }

    async fn relay(
        &mut self,
        epoch: Uuid,
        lease: &mut Lease,
        publisher: &mut Publisher,
    ) -> Result<(), RelayError> {
        let mut stored_at = Instant::now();
        while !self.stop.is_cancelled() {
            let Some(head) = *self.head.borrow_and_update() else { break };
            if head.epoch != epoch {
                break;
            }
            if head.position < lease.stored() {
                return Err(RelayError::LogWentBack { head: head.position, after: lease.stored() });
            }
            publisher.check()?;
            let sent = publisher.send_next(head.position).await?;
            if publisher.is_idle() || stored_at.elapsed() >= STORE_EVERY {
                lease.store(publisher.acknowledged()).await?;
                stored_at = Instant::now();
            }
            if !sent {
                self.wait(publisher).await;
            }
        }
        Ok(())
    }

    /// Until something is new, or something more was acknowledged.
    async fn wait(&mut self, publisher: &Publisher) {
        tokio::select! {
            () = self.stop.cancelled() => {}
            changed = self.head.changed() => if changed.is_err() {
                // The watch ends only when everything does.
                self.stop.cancelled().await;
            },
            () = publisher.progress() => {}
            () = tokio::time::sleep(STORE_EVERY), if !publisher.is_idle() => {}
        }
    }
}
