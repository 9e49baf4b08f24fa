//! Starts the roles of a process.

use crate::config::{Config, Database};
use crate::ending::{Ends, Running};
use crate::metrics::{self, Metrics, Observed};
use anyhow::Context;
use clap::ValueEnum;
use commands::imports::Quota;
use commands::{Commands, MailerNames};
use eventstore::sequencer::Sequencer;
use eventstore::service_keys;
use eventstore::{News, Store};
use kafka::{Carrier, Relay, Topics};
use mail::{LinkKeys, Links};
use media::Files;
use projections::Embedded;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection, PgPool};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use workers::dkim::Dkim;
use workers::freezer::Freezer;
use workers::mailers::{Mailer, Null, Outbox, OutboxIndex, Smtp};
use workers::media::MediaSweeper;
use workers::memory::Remembering;
use workers::scheduler::Scheduler;
use workers::sender::{Mailers, Sender, SenderSettings};

/// Of a process beside its connections to clients: to databases, brokers and mail servers, and mails that are written.
const OTHER_FILES: usize = 1_024;
/// For Postgres to say what is wrong.
const TELLING: Duration = Duration::from_secs(2);

#[derive(clap::Args)]
pub struct ServeArgs {
    /// What this process does; everything by default. Any number of processes may have the same role.
    #[arg(long, value_enum, value_delimiter = ',')]
    roles: Vec<Role>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Role {
    /// Answers REST.
    Api,
    /// Gives events their positions.
    Sequencer,
    /// Takes the log to Kafka, where that carries the events.
    Relay,
    /// Fills the read models.
    Projector,
    /// Freezes campaigns that are due.
    Scheduler,
    /// Hands mails over.
    Sender,
    /// Works on imports.
    Importer,
}

impl Role {
    /// As it is given to `--roles`.
    pub fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

pub async fn pool(database: &Database, max_connections: u32) -> anyhow::Result<PgPool> {
    let options = database.options()?;
    let pool = match eventstore::connect(options.clone(), max_connections).await {
        Err(sqlx::Error::PoolTimedOut) => Err(why(&options).await),
        connected => connected,
    };
    pool.context("the database can't be reached (database.url)")
}

/// A pool that tried for its time does not tell what it met: one more try does.
async fn why(options: &PgConnectOptions) -> sqlx::Error {
    match tokio::time::timeout(TELLING, PgConnection::connect_with(options)).await {
        Ok(Err(error)) => error,
        Ok(Ok(_)) | Err(_) => sqlx::Error::PoolTimedOut,
    }
}

/// The write side over pools of its own.
pub async fn commands(config: &Config) -> anyhow::Result<Commands> {
    let master = Arc::new(config.master_key()?);
    let database = &config.database;
    let store = Store::new(pool(database, database.max_connections).await?, master);
    let opt_outs = pool(database, database.opt_out_connections).await?;
    let mailers = MailerNames { all: config.mailer_names(), default: config.send.mailer.clone() };
    let quota = Quota {
        spool_max_bytes: config.api.import_spool_max_bytes.try_into().unwrap_or(i64::MAX),
        open_max: config.api.imports_open_max.into(),
    };
    let mut commands = Commands::new(store, opt_outs, config.timing(), mailers).with_import_quota(quota);
    commands.test_recipients = Arc::new(config.test_recipients()?);
    Ok(commands)
}

/// The write side for an operator's command. What it does is told to the processes that run, also before its end.
pub async fn operate<T>(
    config: &Config,
    work: impl AsyncFnOnce(&Commands) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let commands = commands(config).await?;
    let stop = CancellationToken::new();
    let Store { news, pool, .. } = commands.store.clone();
    let telling = tokio::spawn(news.run(pool, stop.clone()));
    let done = work(&commands).await;
    stop.cancel();
    telling.await?;
    done
}

pub async fn run(config: Config, args: ServeArgs) -> anyhow::Result<()> {
    let topics = topics(&config)?;
    let roles = chosen_roles(args.roles, topics.is_some())?;
    let commands = commands(&config).await?;
    require_schema(&commands.store.pool).await?;
    let keys = Arc::new(api::load_link_keys(&commands.store.pool, &commands.store.master).await?);
    let mut running = Running::default();
    let Ends { claims, answers, base } = running.ends.clone();
    if let Some(listen) = config.metrics.listen()? {
        let metrics = Metrics::start(listen, &roles, Observed::new(&commands)).await?;
        let database = metrics::sampling_pool(config.database.options()?);
        running.base("metrics", metrics.run(database, topics.is_some(), base.clone()));
    }
    let files = media_files(&config).await;
    let sequencer = Sequencer::new(commands.store.clone());
    let news = commands.store.news.clone();
    running.base("news", infallible(news.clone().run(commands.store.pool.clone(), base.clone())));
    if roles.contains(&Role::Sequencer) {
        running.base("sequencer", infallible(sequencer.run(base.clone())));
        let pool = commands.store.pool.clone();
        let every = Duration::from_secs(config.database.maintenance_every_seconds);
        running.base("maintenance", infallible(workers::maintenance::run(pool, every, base.clone())));
        if let Some(files) = files.clone() {
            let sweeper = MediaSweeper { commands: commands.clone(), files };
            running.base("media", infallible(sweeper.run(base.clone())));
        }
    }
    if roles.contains(&Role::Relay)
        && let Some(topics) = topics.clone()
    {
        let relay = Relay { pool: commands.store.pool.clone(), topics, news: news.clone() };
        running.base("relay", infallible(relay.run(base.clone())));
    }
    if roles.contains(&Role::Projector) {
        running.base("projector", project(commands.store.pool.clone(), topics, news, base.clone()));
    }
    if roles.contains(&Role::Scheduler) {
        let freezer = Freezer::new(commands.clone(), config.send.page_size);
        running.front("freezer", infallible(freezer.run(claims.clone())));
        running.front("scheduler", infallible(Scheduler::new(commands.clone()).run(claims.clone())));
    }
    if roles.contains(&Role::Importer) {
        let importer = workers::importer::run(commands.clone(), claims.clone());
        running.front("importer", infallible(importer));
    }
    if roles.contains(&Role::Sender) {
        let mailers = mailers(&config, &mut running)?;
        let remembering = Remembering::begin(commands.store.clone(), &config.outbox.dir);
        running.base("memory", infallible(remembering.run(base.clone())));
        let links = Links::new(&config.api.public_url);
        let sender = Sender::new(commands.clone(), mailers, keys.clone(), links, sender_settings(&config)?);
        running.front("sender", infallible(sender.run(claims.clone())));
    }
    if roles.contains(&Role::Api) {
        let listener = tokio::net::TcpListener::bind(config.api.listen).await;
        let listener =
            listener.with_context(|| format!("api.listen: {} can't be used", config.api.listen))?;
        let providers = providers(&config, &commands.store).await?;
        let router = router(&config, &commands, keys, providers, files, claims, answers.clone())?;
        running.base("refusals", infallible(commands.clone().record_refusals(base)));
        let connections = connections(&config);
        running.front("api", async move { Ok(api::serve(listener, router, connections, answers).await?) });
    }
    for (name, file) in config.exposed_files() {
        tracing::warn!("{name}: every user of this machine can reach {}", file.display());
    }
    tracing::info!(roles = ?roles, "started");
    let drain = if roles.contains(&Role::Api) { config.api.drain_seconds } else { 0 };
    running.until_the_end(Duration::from_secs(drain)).await
}

/// Where Kafka carries the events.
pub fn topics(config: &Config) -> anyhow::Result<Option<Topics>> {
    let config = Some(&config.kafka).filter(|kafka| kafka.is_used()).cloned();
    config.map(Topics::new).transpose().context("kafka")
}

/// All but the relay where there is no Kafka to relay to, unless some were named.
fn chosen_roles(named: Vec<Role>, has_kafka: bool) -> anyhow::Result<BTreeSet<Role>> {
    anyhow::ensure!(has_kafka || !named.contains(&Role::Relay), "the role relay needs kafka.brokers");
    let chosen = if named.is_empty() { Role::value_variants().to_vec() } else { named };
    Ok(chosen.into_iter().filter(|role| has_kafka || *role != Role::Relay).collect())
}

/// The files of media, where there is a store for them.
pub async fn media_files(config: &Config) -> Option<Arc<Files>> {
    Some(Arc::new(Files::new(&config.media.settings()?).await))
}

/// Fills the read models by whatever carries the events.
async fn project(
    pool: PgPool,
    topics: Option<Topics>,
    news: News,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let projections = projections::all();
    match topics {
        Some(topics) => Carrier { pool, topics, projections, news }.run(stop).await?,
        None => Embedded { pool, projections, news, interleaving: None }.run(stop).await?,
    }
    Ok(())
}

async fn infallible(work: impl Future<Output = ()>) -> anyhow::Result<()> {
    work.await;
    Ok(())
}

/// What the binary needs is there; there may be more.
pub async fn require_schema(pool: &PgPool) -> anyhow::Result<()> {
    let applied: Option<i64> = sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations WHERE success")
        .fetch_one(pool)
        .await
        .ok()
        .flatten();
    let newest = eventstore::MIGRATOR.iter().map(|migration| migration.version).max();
    anyhow::ensure!(
        applied >= newest,
        "the database's schema is older than this binary: run `postledger migrate`"
    );
    Ok(())
}

fn mailers(config: &Config, running: &mut Running) -> anyhow::Result<Mailers> {
    let outbox = Outbox::open(&config.outbox)
        .with_context(|| format!("outbox.dir: {} can't be used", config.outbox.dir.display()))?;
    // It ends behind the sender, with the last mails in it.
    let index = OutboxIndex::spawn(&outbox, running.ends.base.clone());
    running.base("outbox index", async move { Ok(index.await?) });
    let mut mailers: Vec<Arc<dyn Mailer>> = vec![Arc::new(outbox)];
    if let Some(smtp) = &config.smtp {
        mailers.push(Arc::new(Smtp::new(smtp)?));
    }
    if let Some(null) = &config.null {
        mailers.push(Arc::new(Null::new(null)));
    }
    mailers.iter().for_each(|mailer| workers::metrics::register(mailer.name()));
    Ok(mailers.into_iter().map(|mailer| (mailer.name().to_owned(), mailer)).collect())
}

fn sender_settings(config: &Config) -> anyhow::Result<SenderSettings> {
    let send = &config.send;
    let default_from = mail::Address::parse(&send.from).context("send.from")?;
    let host = default_from.email.rsplit_once('@').map(|(_, host)| host.to_owned());
    Ok(SenderSettings {
        chunk_max: send.chunk_max,
        dispatches_at_once: send.dispatches_at_once,
        unavailable_after: Duration::from_secs(send.unavailable_after_seconds),
        deferred_pause: Duration::from_millis(send.deferred_pause_ms),
        default_mailer: send.mailer.clone(),
        mail_host: host.context("send.from has no host")?,
        default_from,
        postal_address: config.postal_address(),
        account_pages: config.account_pages(),
        media_url: config.media.public_url().to_owned(),
        dkim: Dkim::new(&config.dkim)?,
    })
}

/// OpenID providers, with the keys of the cookie that their sign-ins wait in.
async fn providers(config: &Config, store: &Store) -> anyhow::Result<api::Providers> {
    let keys = service_keys::load(&store.pool, &store.master, api::OAUTH_STATE_KEYS).await?;
    api::Providers::new(config.providers(), keys, &config.api.public_url).context("api.oauth")
}

/// Each connection is an open file, and the usual limit on those is 1,024.
fn connections(config: &Config) -> api::Connections {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let limits = &config.api.limits;
    let needed = (limits.connections + OTHER_FILES) as u64;
    let mut files = getrlimit(Resource::Nofile);
    if files.current.is_some_and(|current| current < needed) {
        files.current = Some(files.maximum.map_or(needed, |maximum| maximum.min(needed)));
        if let Err(error) = setrlimit(Resource::Nofile, files) {
            tracing::warn!(%error, "the limit on open files stays as it is");
        }
    }
    if files.current.is_some_and(|current| current < needed) {
        let most = files.current;
        tracing::warn!(?most, needed, "api.limits.connections is more than the limit on open files allows");
    }
    api::Connections {
        max: limits.connections,
        per_network_max: limits.connections_per_address,
        trusted_proxies: config.api.trusted_proxies.clone(),
    }
}

fn router(
    config: &Config,
    commands: &Commands,
    link_keys: Arc<LinkKeys>,
    providers: api::Providers,
    media: Option<Arc<Files>>,
    leaving: CancellationToken,
    shutdown: CancellationToken,
) -> anyhow::Result<axum::Router> {
    let public_url: api::PublicUrl = config.api.public_url.parse().context("api.public_url")?;
    let (pool, master) = (commands.store.pool.clone(), commands.store.master.clone());
    let access_keys = Arc::new(api::AccessKeys::new(pool, master, public_url.as_str()));
    Ok(api::router(api::Deps {
        pool: commands.store.pool.clone(),
        commands: commands.clone(),
        link_keys,
        access_keys,
        providers: Arc::new(providers),
        media,
        config: api::ApiConfig {
            postal_address: config.postal_address(),
            consent_wording: config.consent_wording(),
            subscription_url: config.subscription_url(),
            has_kafka: config.kafka.is_used(),
            import_max_bytes: config.api.import_max_bytes,
            trusted_proxies: config.api.trusted_proxies.clone(),
            allowed_origins: config.api.allowed_origins.clone(),
            limits: config.api.limits.clone(),
            ..api::ApiConfig::new(public_url)
        },
        leaving,
        shutdown,
    }))
}
