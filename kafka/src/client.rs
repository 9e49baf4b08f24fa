//! What every client of librdkafka has in common: where the brokers are, how they are spoken to, where its log goes.

use crate::config::KafkaConfig;
use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::KafkaError;
use std::time::Duration;

/// A broker that takes longer does not answer.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// A new number of partitions, or a new leader, is noticed after this time at the latest.
const METADATA_REFRESH_MS: &str = "10000";

/// Sends librdkafka's log into ours. It holds names of brokers, topics and groups, and no secrets: librdkafka leaves
/// passwords out, and we never turn on its debugging of the protocol.
pub(crate) struct Log;

impl ClientContext for Log {
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(target: "librdkafka", %error, reason, "will try again");
    }
}

impl KafkaConfig {
    pub(crate) fn client(&self) -> ClientConfig {
        let mut client = ClientConfig::new();
        client
            .set("client.id", "postledger")
            .set("bootstrap.servers", &self.brokers)
            .set("socket.timeout.ms", "10000")
            .set("reconnect.backoff.max.ms", "2000")
            .set("topic.metadata.refresh.interval.ms", METADATA_REFRESH_MS)
            // Brokers close idle connections: that is no news.
            .set("log.connection.close", "false");
        let protocol = match (self.tls, self.sasl_mechanism.is_some()) {
            (false, false) => "plaintext",
            (true, false) => "ssl",
            (false, true) => "sasl_plaintext",
            (true, true) => "sasl_ssl",
        };
        client.set("security.protocol", protocol);
        if let Some(file) = &self.ca_file {
            client.set("ssl.ca.location", file.display().to_string());
        }
        if let (Some(mechanism), Some(username), Some(password)) =
            (self.sasl_mechanism, &self.username, &self.password)
        {
            client
                .set("sasl.mechanism", mechanism.name())
                .set("sasl.username", username.expose())
                .set("sasl.password", password.expose());
        }
        client
    }
}
