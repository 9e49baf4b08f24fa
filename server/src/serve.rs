//! Starts the roles of a process, and ends them in order: no new work, what is in flight ends, at most 30 s.

use crate::config::Config;
use anyhow::Context;
use clap::ValueEnum;
use commands::{Commands, MailerNames};
use eventstore::Store;
use eventstore::sequencer::Sequencer;
use eventstore::service_keys::{self, ServiceKey};
use kafka::{Carrier, Relay, Topics};
use mail::{LinkKey, LinkKeys, Links};
use projections::Embedded;
use sqlx::PgPool;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use workers::freezer::Freezer;
use workers::mailers::{Mailer, Null, Outbox, OutboxIndex, Smtp};
use workers::scheduler::Scheduler;
use workers::sender::{Mailers, Sender, SenderSettings};

const SHUTDOWN: Duration = Duration::from_secs(30);
/// Of a process beside its connections to clients: to databases, brokers and mail servers, and mails that are written.
const OTHER_FILES: usize = 1_024;
const LINK_KEYS: &str = "preference";

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

pub async fn pool(url: &str, max_connections: u32) -> anyhow::Result<PgPool> {
    eventstore::connect(url, max_connections).await.context("the database can't be reached (database.url)")
}

/// The write side over pools of its own.
pub async fn commands(config: &Config) -> anyhow::Result<Commands> {
    let master = Arc::new(config.master_key()?);
    let url = &config.database.url.0;
    let store = Store::new(pool(url, config.database.max_connections).await?, master);
    let opt_outs = pool(url, config.database.opt_out_connections).await?;
    let mailers = MailerNames { all: config.mailer_names(), default: config.send.mailer.clone() };
    Ok(Commands::new(store, opt_outs, config.timing(), mailers))
}

pub async fn run(config: Config, args: ServeArgs) -> anyhow::Result<()> {
    let topics = topics(&config)?;
    let roles = chosen_roles(args.roles, topics.is_some())?;
    let commands = commands(&config).await?;
    require_schema(&commands.store.pool).await?;
    let keys = Arc::new(link_keys(&commands.store).await?);
    let stop = CancellationToken::new();
    let mut running = JoinSet::new();
    let sequencer = Sequencer::new(commands.store.clone());
    let wake = roles.contains(&Role::Sequencer).then(|| sequencer.head());
    if roles.contains(&Role::Sequencer) {
        running.spawn(named("sequencer", infallible(sequencer.run(stop.clone()))));
        let pool = commands.store.pool.clone();
        running.spawn(named("maintenance", infallible(workers::maintenance::run(pool, stop.clone()))));
    }
    if roles.contains(&Role::Relay)
        && let Some(topics) = topics.clone()
    {
        let relay = Relay { pool: commands.store.pool.clone(), topics, wake: wake.clone() };
        running.spawn(named("relay", infallible(relay.run(stop.clone()))));
    }
    if roles.contains(&Role::Projector) {
        let projector = project(commands.store.pool.clone(), topics, wake, stop.clone());
        running.spawn(named("projector", projector));
    }
    if roles.contains(&Role::Scheduler) {
        let freezer = Freezer::new(commands.clone(), config.send.page_size);
        running.spawn(named("freezer", infallible(freezer.run(stop.clone()))));
        let scheduler = Scheduler::new(commands.clone());
        running.spawn(named("scheduler", infallible(scheduler.run(stop.clone()))));
    }
    if roles.contains(&Role::Importer) {
        let importer = workers::importer::run(commands.clone(), stop.clone());
        running.spawn(named("importer", infallible(importer)));
    }
    if roles.contains(&Role::Sender) {
        let mailers = mailers(&config, &stop, &mut running)?;
        let links = Links::new(&config.api.public_url);
        let sender = Sender::new(commands.clone(), mailers, keys.clone(), links, sender_settings(&config)?);
        running.spawn(named("sender", infallible(sender.run(stop.clone()))));
    }
    if roles.contains(&Role::Api) {
        let listener = tokio::net::TcpListener::bind(config.api.listen).await;
        let listener =
            listener.with_context(|| format!("api.listen: {} can't be used", config.api.listen))?;
        let router = router(&config, &commands, keys, stop.clone())?;
        let connections = connections(&config);
        running.spawn(named("refusals", infallible(commands.clone().record_refusals(stop.clone()))));
        let stop = stop.clone();
        running
            .spawn(named("api", async move { Ok(api::serve(listener, router, connections, stop).await?) }));
    }
    tracing::info!(roles = ?roles, "started");
    until_the_end(running, stop).await
}

/// Where Kafka carries the events.
fn topics(config: &Config) -> anyhow::Result<Option<Topics>> {
    let config = Some(&config.kafka).filter(|kafka| kafka.is_used()).cloned();
    config.map(Topics::new).transpose().context("kafka")
}

/// All but the relay where there is no Kafka to relay to, unless some were named.
fn chosen_roles(named: Vec<Role>, has_kafka: bool) -> anyhow::Result<BTreeSet<Role>> {
    anyhow::ensure!(has_kafka || !named.contains(&Role::Relay), "the role relay needs kafka.brokers");
    let chosen = if named.is_empty() { Role::value_variants().to_vec() } else { named };
    Ok(chosen.into_iter().filter(|role| has_kafka || *role != Role::Relay).collect())
}

/// Fills the read models by whatever carries the events.
async fn project(
    pool: PgPool,
    topics: Option<Topics>,
    wake: Option<watch::Receiver<i64>>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let projections = projections::all();
    match topics {
        Some(topics) => Carrier { pool, topics, projections }.run(stop).await?,
        None => Embedded { pool, projections, wake, interleaving: None }.run(stop).await?,
    }
    Ok(())
}

/// Ends with the first role that fails, or at a signal; then with all of them, or after 30 s.
async fn until_the_end(
    mut running: JoinSet<(&'static str, anyhow::Result<()>)>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut outcome = Ok(());
    tokio::select! {
        signal = signal() => {
            signal?;
            tracing::info!("stopping: what is in flight ends first");
        }
        ended = running.join_next() => outcome = ended_early(ended),
    }
    stop.cancel();
    let drained = async { while running.join_next().await.is_some() {} };
    if tokio::time::timeout(SHUTDOWN, drained).await.is_err() {
        tracing::warn!("stopped with work in flight: it goes on where it was recorded at the next start");
    }
    outcome
}

type Ended = Result<(&'static str, anyhow::Result<()>), tokio::task::JoinError>;

fn ended_early(ended: Option<Ended>) -> anyhow::Result<()> {
    match ended {
        None => Ok(()),
        Some(Ok((role, outcome))) => outcome.with_context(|| format!("{role} ended")),
        Some(Err(error)) => Err(error).context("a role died"),
    }
}

async fn named(
    role: &'static str,
    work: impl Future<Output = anyhow::Result<()>>,
) -> (&'static str, anyhow::Result<()>) {
    (role, work.await)
}

async fn infallible(work: impl Future<Output = ()>) -> anyhow::Result<()> {
    work.await;
    Ok(())
}

async fn signal() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

async fn require_schema(pool: &PgPool) -> anyhow::Result<()> {
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

async fn link_keys(store: &Store) -> anyhow::Result<LinkKeys> {
    let keys = service_keys::load(&store.pool, &store.master, LINK_KEYS).await?;
    let key = |key: ServiceKey| LinkKey { kid: key.kid, secret: *key.secret };
    Ok(LinkKeys::new(keys.into_iter().map(key).collect())?)
}

fn mailers(
    config: &Config,
    stop: &CancellationToken,
    running: &mut JoinSet<(&'static str, anyhow::Result<()>)>,
) -> anyhow::Result<Mailers> {
    let outbox = Outbox::open(&config.outbox)
        .with_context(|| format!("outbox.dir: {} can't be used", config.outbox.dir.display()))?;
    let index = OutboxIndex::spawn(&outbox, stop.clone());
    running.spawn(named("outbox index", async move { Ok(index.await?) }));
    let mut mailers: Vec<Arc<dyn Mailer>> = vec![Arc::new(outbox)];
    if let Some(smtp) = &config.smtp {
        mailers.push(Arc::new(Smtp::new(smtp)?));
    }
    if let Some(null) = &config.null {
        mailers.push(Arc::new(Null::new(null)));
    }
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
    })
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
        config: api::ApiConfig {
            postal_address: config.postal_address(),
            has_kafka: config.kafka.is_used(),
            import_max_bytes: config.api.import_max_bytes,
            trusted_proxies: config.api.trusted_proxies.clone(),
            allowed_origins: config.api.allowed_origins.clone(),
            limits: config.api.limits.clone(),
            ..api::ApiConfig::new(public_url)
        },
        shutdown,
    }))
}
