//! What an operator sets under `[kafka]`.

use serde::Deserialize;
use std::fmt;
use std::path::PathBuf;

/// A slot's records lie in one partition, so that more partitions than slots would stay empty.
const PARTITIONS_MAX: i32 = projections::SLOTS as i32;
const REPLICATION_MAX: i32 = 15;
/// Kafka allows 249 characters in a topic's name; the epoch and the type need the rest.
const PREFIX_MAX_BYTES: usize = 100;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaConfig {
    /// `host:port`, separated by commas. Empty: Kafka is not used.
    pub brokers: String,
    /// What the names of topics and consumer groups begin with.
    pub prefix: String,
    /// Of each topic that is made; a topic that has fewer gets more.
    pub partitions: i32,
    pub replication_factor: i32,
    pub tls: bool,
    /// A PEM file of the only certificate authorities to trust; without it, those of the system.
    pub ca_file: Option<PathBuf>,
    pub sasl_mechanism: Option<SaslMechanism>,
    pub username: Option<Secret>,
    pub password: Option<Secret>,
    /// Holds the password instead.
    pub password_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum SaslMechanism {
    #[serde(rename = "PLAIN")]
    Plain,
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
}

impl SaslMechanism {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

/// A text that is never printed.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What is wrong with the configuration, with the key that is to blame.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum KafkaConfigError {
    #[error("kafka.brokers must be host:port, separated by commas: {0:?} is not")]
    Brokers(String),
    #[error("kafka.prefix must be 1 to {PREFIX_MAX_BYTES} letters, digits, dots, dashes or underscores")]
    Prefix,
    #[error("kafka.partitions must be 1 to {PARTITIONS_MAX}")]
    Partitions,
    #[error("kafka.replication_factor must be 1 to {REPLICATION_MAX}")]
    ReplicationFactor,
    #[error("kafka.ca_file: there is no file {}", .0.display())]
    CaFile(PathBuf),
    #[error("kafka.ca_file is of no use without kafka.tls")]
    CaWithoutTls,
    #[error("kafka.sasl_mechanism, kafka.username and kafka.password must all be set, or none")]
    Sasl,
    #[error("kafka.tls must be on for the mechanism PLAIN, which sends the password as it is")]
    PlainWithoutTls,
}

impl KafkaConfig {
    /// Whether events travel by Kafka.
    pub fn is_used(&self) -> bool {
        !self.brokers.trim().is_empty()
    }

    pub fn check(&self) -> Result<(), KafkaConfigError> {
        let ensure = |holds: bool, error| if holds { Ok(()) } else { Err(error) };
        if self.is_used() {
            self.brokers.split(',').try_for_each(check_broker)?;
        }
        let may_name = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        let prefix = &self.prefix;
        ensure(
            (1..=PREFIX_MAX_BYTES).contains(&prefix.len()) && prefix.bytes().all(may_name),
            KafkaConfigError::Prefix,
        )?;
        ensure((1..=PARTITIONS_MAX).contains(&self.partitions), KafkaConfigError::Partitions)?;
        ensure(
            (1..=REPLICATION_MAX).contains(&self.replication_factor),
            KafkaConfigError::ReplicationFactor,
        )?;
        if let Some(file) = &self.ca_file {
            ensure(self.tls, KafkaConfigError::CaWithoutTls)?;
            ensure(file.is_file(), KafkaConfigError::CaFile(file.clone()))?;
        }
        match (self.sasl_mechanism, &self.username, &self.password) {
            (None, None, None) => Ok(()),
            (Some(SaslMechanism::Plain), Some(_), Some(_)) => {
                ensure(self.tls, KafkaConfigError::PlainWithoutTls)
            }
            (Some(_), Some(_), Some(_)) => Ok(()),
            _ => Err(KafkaConfigError::Sasl),
        }
    }
}

fn check_broker(broker: &str) -> Result<(), KafkaConfigError> {
    let port = broker.trim().rsplit_once(':').filter(|(host, _)| !host.is_empty());
    match port.and_then(|(_, port)| port.parse::<u16>().ok()) {
        Some(port) if port > 0 => Ok(()),
        _ => Err(KafkaConfigError::Brokers(broker.to_owned())),
    }
}
