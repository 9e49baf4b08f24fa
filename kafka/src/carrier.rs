//! Read models filled from Kafka: a consumer group for each, on any number of machines.

use crate::applier::{Applier, Goals};
use crate::envelope::Incoming;
use crate::member::{Member, Partition};
use crate::tail::{Surroundings, Tail};
use crate::topics::{Topics, group_id};
use eventstore::{Head, News};
use futures::StreamExt;
use projections::{Backoff, ConsumeError, Projection, watch_head};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use sqlx::PgPool;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How often a member looks for what is missing at the end of its partitions.
const LOOK_FOR_MISSING: Duration = Duration::from_secs(1);

pub struct Carrier {
    pub pool: PgPool,
    pub topics: Topics,
    pub projections: Vec<Arc<dyn Projection>>,
    pub news: News,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum CarryError {
    #[error(transparent)]
    Consume(#[from] ConsumeError),
    #[error("kafka: {0}")]
    Kafka(#[from] KafkaError),
}

impl Carrier {
    /// Fills the read models until `stop`; each finishes its batch first and leaves its group.
    ///
    /// Whatever keeps the brokers or the database from answering is waited out. An error is one that only an operator
    /// can end.
    pub async fn run(self, stop: CancellationToken) -> Result<(), ConsumeError> {
        let stop = stop.child_token();
        let _stops_all_at_the_end = stop.clone().drop_guard();
        let head = watch_head(self.pool.clone(), &self.news, stop.clone());
        let mut loops = JoinSet::new();
        for projection in self.projections {
            let one = Loop {
                pool: self.pool.clone(),
                topics: self.topics.clone(),
                projection,
                head: head.clone(),
                stop: stop.clone(),
            };
            loops.spawn(one.run());
        }
        let mut outcome = Ok(());
        while let Some(ended) = loops.join_next().await {
            let ended = match ended {
                Ok(ended) => ended,
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                // Nobody aborts the loops but a runtime that ends.
                Err(_) => Ok(()),
            };
            if ended.is_err() {
                stop.cancel();
                outcome = outcome.and(ended);
            }
        }
        outcome
    }
}

/// What one read model's loop needs.
struct Loop {
    pool: PgPool,
    topics: Topics,
    projection: Arc<dyn Projection>,
    head: watch::Receiver<Option<Head>>,
    stop: CancellationToken,
}

impl Loop {
    async fn run(self) -> Result<(), ConsumeError> {
        let mut backoff = Backoff::default();
        while !self.stop.is_cancelled() {
            match self.session(&mut backoff).await {
                Ok(()) => {}
                Err(CarryError::Consume(error @ ConsumeError::ForeignEpoch { .. })) => return Err(error),
                Err(error) => {
                    tracing::warn!(projection = self.projection.name(), %error, "read model: will try again");
                }
            }
            self.pause(backoff.pause()).await;
        }
        Ok(())
    }

    async fn pause(&self, time: Duration) {
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = tokio::time::sleep(time) => {}
        }
    }

    /// From joining the group to the first error, the end of the epoch, or the end.
    async fn session(&self, backoff: &mut Backoff) -> Result<(), CarryError> {
        let mut applier = Applier::load(self.pool.clone(), self.projection.clone()).await?;
        let epoch = applier.epoch();
        let mut names = Vec::new();
        for name in self.projection.types() {
            let topic = self.topics.name(epoch, name);
            self.topics.ensure(&topic).await?;
            names.push(topic);
        }
        let group = group_id(&self.topics.config().prefix, epoch, self.projection.name());
        let member = Member::join(&self.topics, &group, &names)?;
        tracing::info!(group, "read model: joins its consumer group");
        let followed = self.follow(&member, &mut applier, backoff).await;
        member.leave().await;
        followed
    }

    async fn follow(
        &self,
        member: &Member,
        applier: &mut Applier,
        backoff: &mut Backoff,
    ) -> Result<(), CarryError> {
        let epoch = applier.epoch();
        let mut head = self.head.clone();
        let mut tail = Tail::default();
        let mut looks = tokio::time::interval(LOOK_FOR_MISSING);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut messages = member.consumer()?.stream().ready_chunks(self.projection.batch_max());
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return Ok(()),
                () = another_epoch(&mut head, epoch) => return Ok(()),
                () = member.assigned() => self.look(&mut tail, member, applier).await?,
                _ = looks.tick() => {
                    if let Some(reason) = why_to_join_anew(member, &tail) {
                        tracing::warn!(projection = self.projection.name(), reason, "read model: joins its group anew");
                        return Ok(());
                    }
                    self.look(&mut tail, member, applier).await?;
                }
                chunk = messages.next() => {
                    let Some(chunk) = chunk else { return Ok(()) };
                    let generation = member.generation();
                    let (records, next) = self.read(chunk, applier)?;
                    if !self.apply(records, applier).await? {
                        return Ok(());
                    }
                    backoff.reset();
                    member.store(&next)?;
                    tail.passed(generation, next);
                }
            }
        }
    }

    /// The records of a chunk, and where to go on behind them.
    fn read(
        &self,
        chunk: Vec<KafkaResult<BorrowedMessage<'_>>>,
        applier: &Applier,
    ) -> KafkaResult<(Vec<Incoming>, HashMap<Partition, i64>)> {
        let mut records = Vec::with_capacity(chunk.len());
        let mut next = HashMap::new();
        for message in chunk {
            let message = match message {
                Ok(message) => message,
                Err(error) if is_passing(&error) => continue,
                Err(error) => return Err(error),
            };
            let (topic, partition, offset) = (message.topic(), message.partition(), message.offset());
            match Incoming::read(&message, applier.epoch()) {
                Ok(record) if self.projection.types().contains(&record.event.aggregate_type.as_str()) => {
                    records.push(record);
                }
                Ok(_) => tracing::warn!(topic, partition, offset, "a record of another type is passed over"),
                Err(reason) => tracing::warn!(topic, partition, offset, %reason, "a record is passed over"),
            }
            next.insert((topic.to_owned(), partition), offset + 1);
        }
        Ok((records, next))
    }

    /// Applies records, however long Postgres is away; false at the end, with some perhaps not applied.
    async fn apply(&self, records: Vec<Incoming>, applier: &mut Applier) -> Result<bool, CarryError> {
        let goals = goals(&records);
        let mut applied = applier.apply(records).await;
        let mut backoff = Backoff::default();
        loop {
            match applied {
                Ok(()) => return Ok(true),
                Err(ConsumeError::Store(error)) => {
                    tracing::warn!(projection = self.projection.name(), %error, "read model: will try again");
                }
                Err(error) => return Err(error.into()),
            }
            self.pause(backoff.pause()).await;
            if self.stop.is_cancelled() {
                return Ok(false);
            }
            applied = match applier.reload().await {
                Ok(()) => applier.reach(&goals).await,
                Err(error) => Err(error),
            };
        }
    }

    async fn look(&self, tail: &mut Tail, member: &Member, applier: &mut Applier) -> Result<(), CarryError> {
        let projection = self.projection.as_ref();
        let around = Surroundings { pool: &self.pool, topics: &self.topics, projection, member };
        match tail.check(&around, applier).await {
            // Brokers that do not answer are asked again at the next look: nothing is read from the log meanwhile, and
            // that no record comes is their fault, not the member's.
            Err(CarryError::Kafka(error)) => {
                tail.wait_for_nothing();
                tracing::debug!(projection = projection.name(), %error, "the end of a partition is not known");
                Ok(())
            }
            other => other,
        }
    }
}

fn why_to_join_anew(member: &Member, tail: &Tail) -> Option<&'static str> {
    let stalled = || tail.is_stalled(Instant::now()).then_some("records wait and none of them comes");
    member.is_stranded().then_some("it was given no partition").or_else(stalled)
}

/// Until the log's epoch is not this one.
async fn another_epoch(head: &mut watch::Receiver<Option<Head>>, epoch: Uuid) {
    drop(head.wait_for(|head| head.is_some_and(|head| head.epoch != epoch)).await);
}

fn goals(records: &[Incoming]) -> Goals {
    let mut goals = Goals::new();
    for Incoming { event, .. } in records {
        let goal = goals.entry((event.aggregate_type.clone(), event.slot)).or_default();
        *goal = event.position.max(*goal);
    }
    goals
}

/// What librdkafka mends by itself. After anything else the member joins its group anew.
fn is_passing(error: &KafkaError) -> bool {
    let KafkaError::MessageConsumption(code) = error else { return false };
    matches!(
        code,
        RDKafkaErrorCode::AllBrokersDown
            | RDKafkaErrorCode::BrokerTransportFailure
            | RDKafkaErrorCode::Resolve
            | RDKafkaErrorCode::OperationTimedOut
            | RDKafkaErrorCode::PollExceeded
    )
}
