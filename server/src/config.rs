//! Configuration: `config.default.toml`, then a file, then the environment.

use anyhow::{Context, ensure};
use eventstore::keys::MasterKey;
use figment::Figment;
use figment::providers::{Env, Format, Toml};
use ipnet::IpNet;
use kafka::KafkaConfig;
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use workers::mailers::{NullConfig, OutboxConfig, SmtpConfig};

const DEFAULTS: &str = include_str!("../../config.default.toml");
const PREFIX: &str = "POSTLEDGER_";
/// Set by tests and scripts under the same prefix; no settings.
const NOT_SETTINGS: &[&str] =
    &["test_postgres", "test_python", "test_binary", "test_kafka", "test_kafka_node", "test_kafka_script"];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub database: Database,
    pub keys: Keys,
    pub api: Api,
    pub kafka: KafkaConfig,
    pub send: Send,
    pub outbox: OutboxConfig,
    pub smtp: Option<SmtpConfig>,
    pub null: Option<NullConfig>,
    pub log: Log,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Database {
    pub url: DatabaseUrl,
    pub max_connections: u32,
    pub opt_out_connections: u32,
}

/// May hold a password, so it is never printed.
#[derive(Deserialize)]
#[serde(transparent)]
pub struct DatabaseUrl(pub String);

impl std::fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keys {
    pub master_key_file: PathBuf,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Api {
    pub listen: SocketAddr,
    pub public_url: String,
    pub import_max_bytes: u64,
    pub insecure_http: bool,
    pub trusted_proxies: Vec<IpNet>,
    pub allowed_origins: Vec<api::Origin>,
    pub limits: api::Limits,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Send {
    pub mailer: String,
    pub from: String,
    pub postal_address: String,
    pub window_ms: u64,
    pub margin_ms: u64,
    pub page_size: usize,
    pub chunk_max: usize,
    pub dispatches_at_once: usize,
    pub unavailable_after_seconds: u64,
    pub deferred_pause_ms: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    pub format: LogFormat,
    pub filter: String,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    Text,
    Json,
}

impl Config {
    /// `brokers`, if given, is stronger than what file and environment say.
    pub fn load(files: &[PathBuf], brokers: Option<&str>) -> anyhow::Result<Self> {
        let mut figment = Figment::from(Toml::string(DEFAULTS));
        for file in files {
            ensure!(file.is_file(), "there is no configuration file {}", file.display());
            figment = figment.merge(Toml::file_exact(file));
        }
        let settings = Env::prefixed(PREFIX).ignore(NOT_SETTINGS).split("__");
        let mut figment = figment.merge(settings);
        if let Some(brokers) = brokers {
            figment = figment.merge(("kafka.brokers", brokers));
        }
        let config: Self = figment.extract().map_err(explain)?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> anyhow::Result<()> {
        let send = &self.send;
        ensure!(
            self.api.public_url.starts_with("https://") || self.api.public_url.starts_with("http://"),
            "api.public_url must begin with https:// or http://"
        );
        ensure!(
            self.api.listen.ip().is_loopback()
                || self.api.public_url.starts_with("https://")
                || self.api.insecure_http,
            "api.listen is no loopback address and api.public_url no https: passwords and tokens would cross the network \
             in plain; put a proxy that ends TLS before it, or set api.insecure_http"
        );
        self.check_limits()?;
        ensure!((1..=500).contains(&send.page_size), "send.page_size must be 1 to 500");
        ensure!((1..=500).contains(&send.chunk_max), "send.chunk_max must be 1 to 500");
        ensure!((1..=64).contains(&send.dispatches_at_once), "send.dispatches_at_once must be 1 to 64");
        ensure!((100..=60_000).contains(&send.window_ms), "send.window_ms must be 100 to 60000");
        ensure!((50..=10_000).contains(&send.margin_ms), "send.margin_ms must be 50 to 10000");
        ensure!(self.database.max_connections >= 4, "database.max_connections must be at least 4");
        ensure!(self.database.opt_out_connections >= 1, "database.opt_out_connections must be at least 1");
        mail::Address::parse(&send.from).context("send.from")?;
        self.kafka.check()?;
        let mailers = self.mailer_names();
        ensure!(
            mailers.contains(&send.mailer),
            "send.mailer: {:?} is not configured; these are: {}",
            send.mailer,
            mailers.join(", ")
        );
        let delivers = self.smtp.is_some();
        ensure!(
            !delivers || self.postal_address().is_some(),
            "send.postal_address must be set for mailers that deliver: readers have to see who writes to them"
        );
        Ok(())
    }

    fn check_limits(&self) -> anyhow::Result<()> {
        let limits = &self.api.limits;
        let counts = [
            ("passwords_per_address_at_once", limits.passwords_per_address_at_once),
            ("streams", limits.streams),
            ("streams_per_client", limits.streams_per_client),
            ("connections", limits.connections),
            ("connections_per_address", limits.connections_per_address),
        ];
        for (name, count) in counts {
            ensure!((1..=1_000_000).contains(&count), "api.limits.{name} must be 1 to 1000000");
        }
        Ok(())
    }

    pub fn mailer_names(&self) -> Vec<String> {
        let smtp = self.smtp.as_ref().map(|_| "smtp");
        let null = self.null.as_ref().map(|_| "null");
        ["outbox"].into_iter().chain(smtp).chain(null).map(str::to_owned).collect()
    }

    pub fn postal_address(&self) -> Option<String> {
        Some(self.send.postal_address.trim().to_owned()).filter(|address| !address.is_empty())
    }

    pub fn timing(&self) -> commands::Timing {
        commands::Timing {
            window: Duration::from_millis(self.send.window_ms),
            margin: Duration::from_millis(self.send.margin_ms),
        }
    }

    pub fn master_key(&self) -> anyhow::Result<MasterKey> {
        let file = &self.keys.master_key_file;
        let hex = std::fs::read_to_string(file).with_context(|| {
            let file = file.display();
            format!("keys.master_key_file: {file} can't be read; `postledger keys generate {file}` makes one")
        })?;
        MasterKey::from_hex(&hex).with_context(|| format!("keys.master_key_file: {}", file.display()))
    }
}

/// Figment's error names the key and where it came from; the values it quotes are not secrets' (those are strings,
/// which cannot be of a wrong type).
fn explain(error: figment::Error) -> anyhow::Error {
    let lines: Vec<String> = error.into_iter().map(|one| one.to_string()).collect();
    anyhow::anyhow!("configuration: {}", lines.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(toml: &str) -> Result<Config, String> {
        let figment = Figment::from(Toml::string(DEFAULTS)).merge(Toml::string(toml));
        let config: Config = figment.extract().map_err(|error| explain(error).to_string())?;
        config.check().map_err(|error| error.to_string())?;
        Ok(config)
    }

    #[test]
    fn the_defaults_hold() {
        assert_eq!(load("").unwrap().mailer_names(), ["outbox"]);
    }

    #[test]
    fn what_cannot_be_taken_is_named() {
        let table = [
            ("[send]\nwindow = 3", "window"),
            ("[sned]\nwindow_ms = 3", "sned"),
            ("[send]\nwindow_ms = \"soon\"", "window_ms"),
            ("[send]\nwindow_ms = 5", "send.window_ms"),
            ("[send]\npage_size = 501", "send.page_size"),
            ("[send]\nmailer = \"smtp\"", "send.mailer"),
            ("[api]\nlisten = \"0.0.0.0:80\"", "api.insecure_http"),
            ("[api]\nlisten = \"[::]:80\"\npublic_url = \"http://mail.example.org\"", "api.insecure_http"),
            ("[api]\ntrusted_proxies = [\"10.0.0.0/33\"]", "trusted_proxies"),
            ("[api]\nallowed_origins = [\"*\"]", "allowed_origins"),
            ("[api]\nallowed_origins = [\"https://app.example.org/\"]", "allowed_origins"),
            ("[api.limits]\nuser_per_minute = 0", "user_per_minute"),
            ("[api.limits]\nusers_per_minute = 1", "users_per_minute"),
            ("[api.limits]\nconnections = 0", "api.limits.connections"),
            ("[api.limits]\npasswords_per_address_at_once = 0", "api.limits.passwords_per_address_at_once"),
            ("[api]\nlisten = \"here\"", "listen"),
            ("[smtp]\nhost = \"mx\"", "send.postal_address"),
            ("[smtp]\nhots = \"mx\"", "hots"),
            ("[log]\nformat = \"xml\"", "format"),
            ("[kafka]\nbroker = \"mq:9092\"", "broker"),
            ("[kafka]\nbrokers = \"mq\"", "kafka.brokers"),
            ("[kafka]\nprefix = \"a b\"", "kafka.prefix"),
            ("[kafka]\npartitions = 65", "kafka.partitions"),
            ("[kafka]\nreplication_factor = 0", "kafka.replication_factor"),
            ("[kafka]\nca_file = \"/etc/hostname\"", "kafka.ca_file"),
            ("[kafka]\ntls = true\nca_file = \"/none\"", "kafka.ca_file"),
            ("[kafka]\nusername = \"x\"", "kafka.sasl_mechanism"),
            ("[kafka]\nsasl_mechanism = \"GSSAPI\"", "sasl_mechanism"),
            ("[kafka]\nsasl_mechanism = \"PLAIN\"\nusername = \"x\"\npassword = \"y\"", "kafka.tls"),
        ];
        for (toml, name) in table {
            let error = load(toml).map(|_| ()).unwrap_err();
            assert!(error.contains(name), "{toml}: {error}");
        }
    }

    #[test]
    fn beyond_loopback_the_public_url_is_https_unless_it_is_said_that_it_need_not_be() {
        for fine in ["public_url = \"https://mail.example.org\"", "insecure_http = true"] {
            load(&format!("[api]\nlisten = \"0.0.0.0:8080\"\n{fine}")).unwrap();
        }
        load("[api]\nlisten = \"[::1]:8080\"").unwrap();
    }

    #[test]
    fn the_defaults_of_the_limits_are_the_codes() {
        assert_eq!(load("").unwrap().api.limits, api::Limits::default());
    }

    #[test]
    fn the_database_url_is_not_printed() {
        let config = load("[database]\nurl = \"postgres://u:hunter2@db/x\"").unwrap();
        assert!(!format!("{config:?}").contains("hunter2"));
    }

    #[test]
    fn the_brokers_password_is_not_printed() {
        let sasl = "sasl_mechanism = \"SCRAM-SHA-512\"\nusername = \"u\"\npassword = \"hunter2\"";
        let config = load(&format!("[kafka]\nbrokers = \"mq:9093\"\ntls = true\n{sasl}")).unwrap();
        assert!(config.kafka.is_used());
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}
