//! Topics: one for each aggregate type that the log holds, made when they are first needed.

use crate::client::{Log, REQUEST_TIMEOUT};
use crate::config::KafkaConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::metadata::Metadata;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// A dispatch's event names up to 500 readers, and a template is a few hundred kilobytes at the most.
pub(crate) const RECORD_MAX_BYTES: &str = "8388608";

const LOOKS: u32 = 20;
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// `<prefix>.<epoch>.<aggregate type>`
pub fn topic_name(prefix: &str, epoch: Uuid, aggregate_type: &str) -> String {
    format!("{prefix}.{epoch}.{aggregate_type}")
}

/// `<prefix>.<epoch>.<projection>`
pub fn group_id(prefix: &str, epoch: Uuid, projection: &str) -> String {
    format!("{prefix}.{epoch}.{projection}")
}

/// Asks the brokers about topics, and makes them. Cheap to clone.
#[derive(Clone)]
pub struct Topics {
    config: Arc<KafkaConfig>,
    admin: Arc<AdminClient<Log>>,
    log: Log,
}

impl Topics {
    pub fn new(config: KafkaConfig) -> KafkaResult<Self> {
        let log = Log::default();
        let admin = config.client().create_with_context(log.clone())?;
        Ok(Self { config: Arc::new(config), admin: Arc::new(admin), log })
    }

    pub fn config(&self) -> &KafkaConfig {
        &self.config
    }

    /// Of all clients that are made for these topics.
    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    pub fn name(&self, epoch: Uuid, aggregate_type: &str) -> String {
        topic_name(&self.config.prefix, epoch, aggregate_type)
    }

    /// Makes a topic, or gives it more partitions where it has fewer than are configured. Answers how many it has.
    ///
    /// It is looked for in the list of all topics: asking by name for one that is missing may make brokers create it as
    /// they like. Another process may be faster at making it.
    pub async fn ensure(&self, topic: &str) -> KafkaResult<i32> {
        let found = match count(&self.metadata(None).await?, topic) {
            Some(found) => found,
            None => self.make(topic).await?,
        };
        let wanted = self.config.partitions;
        if found < wanted {
            self.enlarge(topic).await?;
        }
        Ok(found.max(wanted))
    }

    /// Not every broker has heard at once of a topic that was made a moment ago.
    async fn make(&self, topic: &str) -> KafkaResult<i32> {
        match self.create(topic).await {
            Ok(()) | Err(KafkaError::AdminOp(RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err(refused) => return Err(refused),
        }
        for _ in 0..LOOKS {
            if let Some(found) = self.partitions(topic).await? {
                return Ok(found);
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Err(KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopicOrPartition))
    }

    async fn create(&self, topic: &str) -> KafkaResult<()> {
        let replication = TopicReplication::Fixed(self.config.replication_factor);
        let new = NewTopic::new(topic, self.config.partitions, replication);
        let new = new.set("max.message.bytes", RECORD_MAX_BYTES);
        first(self.admin.create_topics([&new], &options()).await?)
    }

    async fn enlarge(&self, topic: &str) -> KafkaResult<()> {
        let count = usize::try_from(self.config.partitions).unwrap_or(1);
        tracing::info!(topic, partitions = count, "the topic gets more partitions");
        first(self.admin.create_partitions([&NewPartitions::new(topic, count)], &options()).await?)
    }

    /// How many partitions a topic has; `None` if there is no such topic.
    pub async fn partitions(&self, topic: &str) -> KafkaResult<Option<i32>> {
        Ok(count(&self.metadata(Some(topic.to_owned())).await?, topic))
    }

    /// Of one topic, or of the whole cluster.
    pub(crate) async fn metadata(&self, topic: Option<String>) -> KafkaResult<Metadata> {
        let admin = self.admin.clone();
        blocking(move || admin.inner().fetch_metadata(topic.as_deref(), REQUEST_TIMEOUT)).await
    }

    /// What keeps the brokers from answering, as a client that connects now is told. An admin client is told nothing:
    /// only a consumer's or a producer's events are served.
    pub(crate) async fn trouble(&self) -> Option<String> {
        let (client, log) = (self.config.client(), self.log.clone());
        let ask = move || {
            let consumer: BaseConsumer<Log> = client.create_with_context(log.clone())?;
            for _ in 0..LOOKS {
                consumer.poll(LOOK_AGAIN);
                if log.last().is_some() {
                    break;
                }
            }
            Ok(log.last())
        };
        blocking(ask).await.ok().flatten()
    }

    /// The first offset of a partition, and the one behind its last record.
    pub(crate) async fn watermarks(&self, topic: String, partition: i32) -> KafkaResult<(i64, i64)> {
        let admin = self.admin.clone();
        blocking(move || admin.inner().fetch_watermarks(&topic, partition, REQUEST_TIMEOUT)).await
    }

    /// State and number of members of a consumer group, if the brokers know it.
    pub(crate) async fn group(&self, group: String) -> KafkaResult<Option<(String, usize)>> {
        let admin = self.admin.clone();
        blocking(move || {
            let groups = admin.inner().fetch_group_list(Some(&group), REQUEST_TIMEOUT)?;
            Ok(groups.groups().first().map(|group| (group.state().to_owned(), group.members().len())))
        })
        .await
    }
}

/// Of a topic's partitions; `None` if there is no such topic.
fn count(metadata: &Metadata, topic: &str) -> Option<i32> {
    let found = metadata.topics().iter().find(|found| found.name() == topic)?;
    i32::try_from(found.partitions().len()).ok().filter(|count| *count > 0)
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(REQUEST_TIMEOUT)).operation_timeout(Some(REQUEST_TIMEOUT))
}

fn first(results: Vec<Result<String, (String, RDKafkaErrorCode)>>) -> KafkaResult<()> {
    results.into_iter().try_for_each(|result| result.map(drop).map_err(|(_, code)| KafkaError::AdminOp(code)))
}

/// Runs one of librdkafka's calls that wait.
pub(crate) async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> KafkaResult<T> + Send + 'static,
) -> KafkaResult<T> {
    match tokio::task::spawn_blocking(call).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // Nobody aborts it but a runtime that ends.
        Err(_) => Err(KafkaError::Canceled),
    }
}
