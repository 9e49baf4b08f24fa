//! Configuration: `config.default.toml`, then a file, then the environment; then the files that secrets are in.

mod media;
mod secrets;

pub use secrets::Secret;

use anyhow::{Context, anyhow, ensure};
use eventstore::keys::MasterKey;
use figment::Figment;
use figment::error::Kind;
use figment::providers::{Env, Format, Toml};
use ipnet::IpNet;
use kafka::KafkaConfig;
use secrets::is_secret;
use serde::Deserialize;
use sqlx::postgres::PgConnectOptions;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;
use workers::dkim::{Dkim, DkimConfig};
use workers::mailers::{NullConfig, OutboxConfig, SmtpConfig};
use workers::sender::AccountPages;

const DEFAULTS: &str = include_str!("../../config.default.toml");
const PREFIX: &str = "POSTLEDGER_";
/// Set by tests and scripts under the same prefix; no settings.
const NOT_SETTINGS: &[&str] = &[
    "test_postgres",
    "test_python",
    "test_binary",
    "test_openid",
    "test_kafka",
    "test_kafka_node",
    "test_kafka_script",
];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub demonstration: bool,
    pub database: Database,
    pub keys: Keys,
    pub api: Api,
    pub kafka: KafkaConfig,
    pub send: Send,
    pub outbox: OutboxConfig,
    pub smtp: Option<SmtpConfig>,
    pub null: Option<NullConfig>,
    pub media: media::Media,
    #[serde(default)]
    pub dkim: Vec<DkimConfig>,
    pub metrics: Metrics,
    pub log: Log,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Database {
    pub url: Secret,
    pub url_file: Option<PathBuf>,
    pub password: Option<Secret>,
    pub password_file: Option<PathBuf>,
    pub max_connections: u32,
    pub opt_out_connections: u32,
    pub maintenance_every_seconds: u64,
}

impl Database {
    pub fn options(&self) -> anyhow::Result<PgConnectOptions> {
        let options = PgConnectOptions::from_str(self.url.expose()).context("database.url")?;
        Ok(match &self.password {
            Some(password) => options.password(password.expose()),
            None => options,
        })
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
    pub import_spool_max_bytes: u64,
    pub imports_open_max: u32,
    pub insecure_http: bool,
    pub trusted_proxies: Vec<IpNet>,
    pub allowed_origins: Vec<api::Origin>,
    pub limits: api::Limits,
    pub drain_seconds: u64,
    /// Empty: our own page.
    pub password_reset_url: String,
    pub invitation_url: String,
    /// Empty: our own page.
    pub subscription_url: String,
    /// Empty: not recorded.
    pub consent_wording: String,
    /// OpenID providers by name.
    #[serde(default)]
    pub oauth: BTreeMap<String, OAuth>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OAuth {
    pub issuer: String,
    pub client_id: String,
    pub client_secret: Option<Secret>,
    pub client_secret_file: Option<PathBuf>,
    pub redirect_uris: Vec<String>,
    #[serde(default)]
    pub trusted_domains: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Send {
    pub mailer: String,
    pub from: String,
    pub postal_address: String,
    pub test_recipients: Vec<String>,
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
pub struct Metrics {
    pub listen: String,
}

impl Metrics {
    /// `None`: nothing is measured.
    pub fn listen(&self) -> anyhow::Result<Option<SocketAddr>> {
        let listen = Some(self.listen.trim()).filter(|listen| !listen.is_empty());
        listen
            .map(|listen| listen.parse().context("metrics.listen must be an address with a port"))
            .transpose()
    }
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
        Self::extract(&given(files, brokers)?)
    }

    /// `given`: all but the defaults.
    fn extract(given: &Figment) -> anyhow::Result<Self> {
        let mut config: Self = with_defaults(given).extract().map_err(explain)?;
        config.read_secrets(given.contains("database.url"))?;
        config.check()?;
        Ok(config)
    }

    /// Every setting by its name, as it is in force; of secrets only that they are set.
    pub fn settings(files: &[PathBuf], brokers: Option<&str>) -> anyhow::Result<BTreeMap<String, String>> {
        let values: serde_json::Value = with_defaults(&given(files, brokers)?).extract().map_err(explain)?;
        let mut settings = BTreeMap::new();
        flatten(&mut settings, String::new(), &values);
        Ok(settings)
    }

    /// A secret is in the setting or in the file beside it, never in both.
    fn read_secrets(&mut self, has_url: bool) -> anyhow::Result<()> {
        let database = &mut self.database;
        if let Some(file) = &database.url_file {
            ensure!(!has_url, "database.url and database.url_file are both set: one of them is too many");
            database.url = Secret::read("database.url_file", file)?;
        }
        secrets::instead("database.password", &mut database.password, database.password_file.as_deref())?;
        let kafka = &mut self.kafka;
        secrets::instead("kafka.password", &mut kafka.password, kafka.password_file.as_deref())?;
        if let Some(smtp) = &mut self.smtp {
            secrets::instead("smtp.password", &mut smtp.password, smtp.password_file.as_deref())?;
        }
        let media = &mut self.media;
        secrets::instead(
            "media.secret_access_key",
            &mut media.secret_access_key,
            media.secret_access_key_file.as_deref(),
        )?;
        for (name, oauth) in &mut self.api.oauth {
            let setting = format!("api.oauth.{name}.client_secret");
            secrets::instead(&setting, &mut oauth.client_secret, oauth.client_secret_file.as_deref())?;
        }
        Ok(())
    }

    /// Files of secrets that others than their owner and group can reach, each with its setting.
    pub fn exposed_files(&self) -> Vec<(String, &Path)> {
        let database = &self.database;
        let smtp = self.smtp.as_ref().and_then(|smtp| smtp.password_file.as_ref());
        let files = [
            ("keys.master_key_file", Some(&self.keys.master_key_file)),
            ("database.url_file", database.url_file.as_ref()),
            ("database.password_file", database.password_file.as_ref()),
            ("kafka.password_file", self.kafka.password_file.as_ref()),
            ("smtp.password_file", smtp),
            ("media.secret_access_key_file", self.media.secret_access_key_file.as_ref()),
        ];
        let dkim = self.dkim.iter().map(|dkim| ("dkim.key_file".to_owned(), Some(&dkim.key_file)));
        let oauth = self.api.oauth.iter().map(|(name, oauth)| {
            (format!("api.oauth.{name}.client_secret_file"), oauth.client_secret_file.as_ref())
        });
        let files = files.into_iter().map(|(name, file)| (name.to_owned(), file)).chain(oauth).chain(dkim);
        let named = files.filter_map(|(name, file)| Some((name, file?.as_path())));
        named.filter(|(_, file)| secrets::is_exposed(file)).collect()
    }

    fn check(&self) -> anyhow::Result<()> {
        let send = &self.send;
        ensure!(
            !self.demonstration || self.api.listen.ip().is_loopback(),
            "api.listen must be a loopback address in a demonstration: others know its keys and its users"
        );
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
        for (name, url) in [
            ("password_reset_url", &self.api.password_reset_url),
            ("invitation_url", &self.api.invitation_url),
            ("subscription_url", &self.api.subscription_url),
        ] {
            let is_page = url.starts_with("https://") || url.starts_with("http://");
            ensure!(
                url.is_empty() || is_page && !url.contains(['#', ' ']),
                "api.{name} must begin with https:// or http://, and have no fragment"
            );
        }
        ensure!(
            self.api.consent_wording.len() <= 100 && !self.api.consent_wording.contains(char::is_control),
            "api.consent_wording has at most 100 bytes in one line"
        );
        ensure!(self.api.drain_seconds <= 20, "api.drain_seconds must be 0 to 20");
        ensure!((1..=500).contains(&send.page_size), "send.page_size must be 1 to 500");
        ensure!((1..=500).contains(&send.chunk_max), "send.chunk_max must be 1 to 500");
        ensure!((1..=64).contains(&send.dispatches_at_once), "send.dispatches_at_once must be 1 to 64");
        // An opt-out waits for it and the margin, and has the time of a request.
        ensure!((100..=15_000).contains(&send.window_ms), "send.window_ms must be 100 to 15000");
        ensure!((50..=10_000).contains(&send.margin_ms), "send.margin_ms must be 50 to 10000");
        ensure!(self.database.max_connections >= 4, "database.max_connections must be at least 4");
        ensure!(self.database.opt_out_connections >= 1, "database.opt_out_connections must be at least 1");
        ensure!(
            (10..=86_400).contains(&self.database.maintenance_every_seconds),
            "database.maintenance_every_seconds must be 10 to 86400"
        );
        mail::Address::parse(&send.from).context("send.from")?;
        self.test_recipients()?;
        api::Providers::check(&self.providers()).context("api.oauth")?;
        Dkim::new(&self.dkim)?;
        self.kafka.check()?;
        self.media.check()?;
        self.metrics.listen()?;
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

    pub fn test_recipients(&self) -> anyhow::Result<commands::TestRecipients> {
        commands::TestRecipients::parse(&self.send.test_recipients)
            .map_err(|entry| anyhow!("send.test_recipients: {entry:?} is neither an address nor a domain"))
    }

    pub fn subscription_url(&self) -> Option<String> {
        Some(self.api.subscription_url.clone()).filter(|url| !url.is_empty())
    }

    pub fn consent_wording(&self) -> Option<String> {
        Some(self.api.consent_wording.trim().to_owned()).filter(|version| !version.is_empty())
    }

    pub fn timing(&self) -> commands::Timing {
        commands::Timing {
            window: Duration::from_millis(self.send.window_ms),
            margin: Duration::from_millis(self.send.margin_ms),
        }
    }

    /// Where the links in the mails of accounts lead.
    pub fn account_pages(&self) -> AccountPages {
        let public_url = self.api.public_url.trim_end_matches('/');
        let or_ours = |url: &String, path: &str| match url.is_empty() {
            true => format!("{public_url}{path}"),
            false => url.clone(),
        };
        AccountPages {
            password_reset: or_ours(&self.api.password_reset_url, "/auth/password-reset"),
            invitation: or_ours(&self.api.invitation_url, "/auth/invitation"),
        }
    }

    pub fn providers(&self) -> Vec<api::ProviderConfig> {
        self.api.oauth.iter().map(|(name, oauth)| oauth.provider(name)).collect()
    }

    /// The key of a demonstration opens nothing else, and nothing but that.
    pub fn master_key(&self) -> anyhow::Result<MasterKey> {
        let file = &self.keys.master_key_file;
        let text = std::fs::read_to_string(file).with_context(|| {
            let file = file.display();
            format!("keys.master_key_file: {file} can't be read; `postledger keys generate {file}` makes one")
        })?;
        let key = MasterKey::from_hex(&text);
        let key = key.with_context(|| format!("keys.master_key_file: {}", file.display()))?;
        ensure!(
            self.demonstration || !key.is_demonstration(),
            "keys.master_key_file: {} is the key of a demonstration, whose users and secrets others may know. Make one \
             by `postledger keys generate FILE`, with a database of its own; or, for a demonstration, set demonstration = true",
            file.display()
        );
        Ok(key)
    }
}

impl OAuth {
    fn provider(&self, name: &str) -> api::ProviderConfig {
        api::ProviderConfig {
            name: name.to_owned(),
            issuer: self.issuer.clone(),
            client_id: self.client_id.clone(),
            client_secret: self.client_secret.as_ref().map(|secret| secret.expose().to_owned().into()),
            redirect_uris: self.redirect_uris.clone(),
            trusted_domains: self.trusted_domains.iter().map(|domain| domain.to_lowercase()).collect(),
        }
    }
}

/// Files and environment, the later ones stronger.
fn given(files: &[PathBuf], brokers: Option<&str>) -> anyhow::Result<Figment> {
    let mut given = Figment::new();
    for file in files {
        ensure!(file.is_file(), "there is no configuration file {}", file.display());
        given = given.merge(Toml::file_exact(file));
    }
    let environment = Env::prefixed(PREFIX).ignore(NOT_SETTINGS).split("__");
    given = given.merge(environment.clone());
    // Else `0815` would be the number 815, and `[x]` a list.
    for (key, text) in environment.iter().filter(|(key, _)| is_secret(key.as_str())) {
        given = given.merge((key.as_str(), text));
    }
    Ok(match brokers {
        Some(brokers) => given.merge(("kafka.brokers", brokers)),
        None => given,
    })
}

fn with_defaults(given: &Figment) -> Figment {
    Figment::from(Toml::string(DEFAULTS)).merge(given)
}

/// Figment's error names the key and where it came from. What might show a secret is left out: the value of one, and the
/// part of a file that cannot be read.
fn explain(error: figment::Error) -> anyhow::Error {
    let told = error.into_iter().map(|mut one| {
        let key = one.path.join(".");
        match &one.kind {
            Kind::Message(text) => {
                one.kind = Kind::Message(text.lines().next().unwrap_or_default().to_owned());
                one.to_string()
            }
            _ if is_secret(&key) => format!("{key} must be a text, in quotes"),
            _ => one.to_string(),
        }
    });
    anyhow::anyhow!("configuration: {}", told.collect::<Vec<_>>().join("; "))
}

fn flatten(settings: &mut BTreeMap<String, String>, name: String, value: &serde_json::Value) {
    match value {
        serde_json::Value::Object(members) => {
            for (member, value) in members {
                let name = if name.is_empty() { member.clone() } else { format!("{name}.{member}") };
                flatten(settings, name, value);
            }
        }
        value => {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let shown = match value.as_array() {
                // Addresses of people.
                Some(entries) if name == "send.test_recipients" => format!("{} entries", entries.len()),
                _ if is_secret(&name) => secrets::mask(&name, &text),
                _ => text,
            };
            settings.insert(name, shown);
        }
    }
}

#[cfg(test)]
mod tests;
