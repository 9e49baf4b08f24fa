//! From the log into Kafka.

mod publisher;

use crate::ends::{Ahead, EndsError, ahead_of_the_log};
use crate::lease::Lease;
use crate::topics::Topics;
use eventstore::sending;
use eventstore::{Head, News, StoreError};
use projections::{Backoff, watch_head};
use publisher::Publisher;
use rdkafka::error::KafkaError;
use sqlx::PgPool;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// A relay that finds another one at work looks again after this time.
const STANDBY: Duration = Duration::from_secs(1);
/// The acknowledged position is stored this often while there is work, and at once when there is none.
const STORE_EVERY: Duration = Duration::from_millis(100);
/// How long the end waits for what was sent.
const FLUSH: Duration = Duration::from_secs(5);

pub struct Relay {
    pub pool: PgPool,
    pub topics: Topics,
    pub news: News,
}

#[derive(Debug, thiserror::Error)]
enum RelayError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("kafka: {0}")]
    Kafka(#[from] KafkaError),
    #[error("a record was not delivered: {0}")]
    NotDelivered(String),
    #[error("the log does not hold what its head names")]
    NothingToRead,
    #[error("the log is not where it was ({0}): `postledger sending status` says what to do")]
    Moved(String),
    #[error("{0}: it was restored without a new epoch, see `postledger restored`")]
    TopicsAhead(Ahead),
    #[error(
        "the log ends at {head}, before position {after}, which was relayed: it was restored without a new epoch, see \
         `postledger restored`"
    )]
    LogWentBack { head: i64, after: i64 },
}

impl From<EndsError> for RelayError {
    fn from(error: EndsError) -> Self {
        match error {
            EndsError::Store(error) => Self::Store(error),
            EndsError::Kafka(error) => Self::Kafka(error),
        }
    }
}

impl RelayError {
    /// Whether an operator alone can end it.
    fn stays(&self) -> bool {
        matches!(self, Self::Moved(_) | Self::TopicsAhead(_) | Self::LogWentBack { .. })
    }
}

impl Relay {
    /// Publishes until `stop`. After any error it goes back to the last acknowledged position: some is sent twice.
    pub async fn run(self, stop: CancellationToken) {
        let Self { pool, topics, news } = self;
        let head = watch_head(pool.clone(), &news, stop.clone());
        let mut backoff = Backoff::default();
        while !stop.is_cancelled() {
            let mut session = Session { pool: &pool, topics: &topics, head: head.clone(), stop: &stop };
            let pause = match session.run().await {
                Ok(Ended::Progress) => {
                    backoff.reset();
                    continue;
                }
                Ok(Ended::Standby) => STANDBY,
                Err(error) if error.stays() => {
                    tracing::error!(%error, "relay: publishes nothing");
                    backoff.pause()
                }
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
    /// At a signal, or where the log may be another one.
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
        let Some(begun) = self.known_head().await else { return Ok(Ended::Progress) };
        let epoch = begun.epoch;
        let Some(mut lease) = Lease::take(self.pool, epoch).await? else { return Ok(Ended::Standby) };
        tokio::select! {
            () = self.stop.cancelled() => return Ok(Ended::Progress),
            looked = self.stay_out_of_lost_history(&mut lease) => looked?,
        }
        let after = lease.stored();
        tracing::info!(%epoch, after, "relay: at work");
        let mut publisher = Publisher::start(self.pool, self.topics, epoch, after).await?;
        let relayed = self.relay(&begun, &mut lease, &mut publisher).await;
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

    /// In each session, since Postgres may have been stopped, and another database started in its place, before it.
    async fn stay_out_of_lost_history(&self, lease: &mut Lease) -> Result<(), RelayError> {
        if let Some(moved) = lease.moved().await? {
            return Err(RelayError::Moved(moved));
        }
        let Some(ahead) = ahead_of_the_log(self.pool, self.topics).await? else { return Ok(()) };
        sending::log_went_back(self.pool, lease.epoch()).await?;
        Err(RelayError::TopicsAhead(ahead))
    }

    /// The log's head once it is known; `None` at the end.
    async fn known_head(&mut self) -> Option<Head> {
        let known = self.head.wait_for(Option::is_some);
        tokio::select! {
            () = self.stop.cancelled() => None,
            head = known => *head.ok()?,
        }
    }

    async fn relay(
        &mut self,
        begun: &Head,
        lease: &mut Lease,
        publisher: &mut Publisher,
    ) -> Result<(), RelayError> {
        let mut stored_at = Instant::now();
        while !self.stop.is_cancelled() {
            let Some(head) = *self.head.borrow_and_update() else { break };
            if head.may_be_another(begun) {
                break;
            }
            if head.position < lease.stored() {
                sending::log_went_back(self.pool, lease.epoch()).await?;
                return Err(RelayError::LogWentBack { head: head.position, after: lease.stored() });
            }
            publisher.check()?;
            let batch = publisher.next(head.position).await?;
            if !batch.is_empty() {
                // Behind the reading: what was read of another database was read after this session's end.
                lease.stands().await?;
                publisher.send_all(&batch).await?;
            }
            if publisher.is_idle() || stored_at.elapsed() >= STORE_EVERY {
                lease.store(publisher.acknowledged()).await?;
                stored_at = Instant::now();
            }
            if batch.is_empty() {
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
