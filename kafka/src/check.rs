//! What an operator asks first: are the brokers there, and does everything move?

use crate::ends::{EndsError, ahead_of_the_log};
use crate::topics::{Topics, group_id};
use crate::{lease, log};
use chrono::{DateTime, Utc};
use eventstore::{Head, StoreError, feed, restore};
use projections::{Lag, Projection};
use rdkafka::error::KafkaResult;
use rdkafka::metadata::{Metadata, MetadataTopic};
use sqlx::PgPool;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// A relay that has something to send and gets no answer for longer than this is stuck.
const STUCK: Duration = Duration::from_secs(30);

/// What was found: lines for people.
#[derive(Debug, Default)]
pub struct Report {
    /// Whether any broker did.
    pub answered: bool,
    pub found: Vec<String>,
    /// Empty: all is well.
    pub wrong: Vec<String>,
}

/// Looks at brokers, topics, the relay and each read model's group. Changes nothing.
pub async fn check(
    pool: &PgPool,
    topics: &Topics,
    models: &[Arc<dyn Projection>],
    now: DateTime<Utc>,
) -> Result<Report, StoreError> {
    let mut report = Report::default();
    let head = feed::head(pool).await?;
    report.relay(pool, head, now).await?;
    let metadata = match topics.metadata(None).await {
        Ok(metadata) => metadata,
        Err(error) => {
            let reason = topics.trouble().await.unwrap_or_else(|| error.to_string());
            report.wrong.push(format!("no broker of {} answers: {reason}", topics.config().brokers));
            return Ok(report);
        }
    };
    report.answered = true;
    report.brokers(&metadata);
    if restore::moved(pool).await?.is_some() {
        let what = "the database is not where its log was: the relay publishes nothing, see `postledger sending status`";
        report.wrong.push(what.to_owned());
    }
    match ahead_of_the_log(pool, topics).await {
        Ok(None) => {}
        Ok(Some(ahead)) => report.wrong.push(format!("{ahead}: it was restored, see `postledger restored`")),
        Err(EndsError::Store(error)) => return Err(error),
        Err(error @ EndsError::Kafka(_)) => report.wrong.push(error.to_string()),
    }
    let types = log::types(pool).await?.into_iter();
    let followed = models.iter().flat_map(|model| model.types().iter().map(|name| (*name).to_owned()));
    for name in types.chain(followed).collect::<BTreeSet<_>>() {
        report.topic(topics, &metadata, &topics.name(head.epoch, &name));
    }
    for lag in projections::lag(pool, models).await? {
        let group = group_id(&topics.config().prefix, head.epoch, &lag.projection);
        let known = topics.group(group.clone()).await;
        report.group(&group, &lag, known);
    }
    Ok(report)
}

impl Report {
    fn brokers(&mut self, metadata: &Metadata) {
        for broker in metadata.brokers() {
            self.found.push(format!("broker {} at {}:{}", broker.id(), broker.host(), broker.port()));
        }
    }

    fn topic(&mut self, topics: &Topics, metadata: &Metadata, name: &str) {
        let config = topics.config();
        let Some(topic) = metadata.topics().iter().find(|topic| topic.name() == name) else {
            self.wrong.push(format!("topic {name} is missing: the relay makes it when it is at work"));
            return;
        };
        let (partitions, replicas) = (topic.partitions().len(), replication(topic));
        self.found.push(format!("topic {name}: {partitions} partitions, {replicas} replicas of each"));
        if i32::try_from(partitions).unwrap_or(i32::MAX) < config.partitions {
            let wanted = config.partitions;
            self.wrong
                .push(format!("topic {name} has {partitions} of {wanted} partitions: restart the relay"));
        }
        if i32::try_from(replicas).unwrap_or(i32::MAX) < config.replication_factor {
            let wanted = config.replication_factor;
            self.wrong.push(format!(
                "topic {name} has {replicas} of {wanted} replicas: kafka-reassign-partitions.sh adds some"
            ));
        }
        let lagging = topic.partitions().iter().filter(|one| one.isr().len() < one.replicas().len()).count();
        if lagging > 0 {
            self.wrong.push(format!("topic {name}: {lagging} partitions have replicas out of sync"));
        }
        let headless = topic.partitions().iter().filter(|one| one.leader() < 0).count();
        if headless > 0 {
            self.wrong.push(format!("topic {name}: {headless} partitions have no leader"));
        }
    }

    async fn relay(&mut self, pool: &PgPool, head: Head, now: DateTime<Utc>) -> Result<(), StoreError> {
        let relayed = feed::relayed(pool).await?;
        let position = relayed.as_ref().map_or(0, |relayed| relayed.position);
        let lag = head.position - position;
        self.found.push(format!("relay: acknowledged up to {position} of {}, {lag} to go", head.position));
        if !lease::is_taken(pool).await? {
            self.wrong.push("no relay is at work: `postledger serve --roles relay` runs one".to_owned());
        }
        let since = relayed.map(|relayed| now.signed_duration_since(relayed.acknowledged_at));
        if lag > 0 && since.is_some_and(|since| since.to_std().is_ok_and(|since| since > STUCK)) {
            self.wrong
                .push(format!("relay: the brokers have acknowledged nothing for {} s", STUCK.as_secs()));
        }
        Ok(())
    }

    fn group(&mut self, group: &str, lag: &Lag, known: KafkaResult<Option<(String, usize)>>) {
        let events = lag.events;
        match known {
            Ok(Some((state, members))) => {
                self.found.push(format!("group {group}: {state}, {members} members, {events} events behind"));
                if members == 0 {
                    self.wrong.push(format!("group {group} has no members: no projector is at work"));
                }
            }
            Ok(None) => {
                self.wrong.push(format!("group {group} is unknown to the brokers, {events} events behind"))
            }
            Err(error) => self.wrong.push(format!("group {group}, {events} events behind: {error}")),
        }
        if lag.parked_streams > 0 {
            let parked = lag.parked_streams;
            self.wrong.push(format!(
                "{}: {parked} streams are parked, see `postledger dead-letters list`",
                lag.projection
            ));
        }
    }
}

fn replication(topic: &MetadataTopic) -> usize {
    topic.partitions().iter().map(|partition| partition.replicas().len()).min().unwrap_or(0)
}
