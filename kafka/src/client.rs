//! What every client of librdkafka has in common: where the brokers are, how they are spoken to, where its log goes.

use crate::config::KafkaConfig;
use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A broker that takes longer does not answer.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// A new number of partitions, or a new leader, is noticed after this time at the latest.
const METADATA_REFRESH_MS: &str = "10000";

/// While brokers are away each client meets the same trouble several times a second: it is said this often.
const TELL_EVERY: Duration = Duration::from_secs(30);

/// Sends librdkafka's log into ours, for all clients of a process. It holds names of brokers, topics and groups, and no
/// secrets: librdkafka leaves passwords out, and we never turn on its debugging of the protocol.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Heard>>);

#[derive(Default)]
struct Heard {
    last: Option<String>,
    told_at: Option<Instant>,
    untold: u64,
}

impl Log {
    /// What a client complained about last.
    pub(crate) fn last(&self) -> Option<String> {
        self.heard().last.clone()
    }

    /// What the lock guards is right even after a panic.
    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn complain(&self, reason: &str) {
        tracing::debug!(target: "librdkafka", reason);
        let mut heard = self.heard();
        heard.last = Some(reason.to_owned());
        if heard.told_at.is_some_and(|at| at.elapsed() < TELL_EVERY) {
            heard.untold += 1;
            return;
        }
        let untold = std::mem::take(&mut heard.untold);
        heard.told_at = Some(Instant::now());
        drop(heard);
        tracing::warn!(target: "librdkafka", reason, untold, "will try again");
    }
}

impl ClientContext for Log {
    fn log(&self, level: RDKafkaLogLevel, _: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error
            | RDKafkaLogLevel::Warning => self.complain(message),
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
                tracing::debug!(target: "librdkafka", message);
            }
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // That all are down follows from each one's own reason, which says more.
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AllBrokersDown) => tracing::debug!(target: "librdkafka", reason),
            _ => self.complain(reason),
        }
    }
}

impl ConsumerContext for Log {}

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
