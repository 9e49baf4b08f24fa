//! `postledger`: one binary, roles by name.

mod accounts;
mod check;
mod config;
mod demo;
mod ending;
mod erase;
mod import;
mod log;
mod media_setup;
mod metrics;
mod operate;
mod restore;
mod sending;
mod serve;
mod telemetry;

use anyhow::Context;
use clap::{Parser, Subcommand};
use config::Config;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio::runtime::Runtime;

/// Blocking calls that are under way when everything else has ended.
const HANGING: Duration = Duration::from_secs(1);

/// An event-sourced backend for e-mail campaigns.
#[derive(Parser)]
#[command(version, about)]
struct Cli {
    /// Settings that override the defaults; of several files the last wins. The environment (POSTLEDGER_…) overrides all.
    #[arg(long, global = true, value_name = "FILE")]
    config: Vec<PathBuf>,
    /// Carry events by the Kafka at these addresses (`kafka.brokers`).
    #[arg(long, global = true, value_name = "HOST:PORT,…")]
    kafka: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the server, or some of its roles.
    Serve(serve::ServeArgs),
    /// Bring the database's schema up to date.
    Migrate,
    /// Import a CSV of subscribers into a group.
    Import(import::ImportArgs),
    /// Erase a subscriber, for ever.
    Erase(erase::EraseArgs),
    /// Fill a read model again from the log.
    Rebuild(operate::RebuildArgs),
    /// Events that a read model could not apply.
    DeadLetters {
        #[command(subcommand)]
        command: operate::DeadLetters,
    },
    /// The log: whether every committed event has its position.
    Log {
        #[command(subcommand)]
        command: log::Command,
    },
    /// The Kafka that carries events.
    Kafka {
        #[command(subcommand)]
        command: operate::Kafka,
    },
    /// Tell that this database was restored or copied: its history becomes another one, and no mail goes until it is resumed.
    Restored(restore::RestoredArgs),
    /// Tell that this database lost nothing when it failed over or moved: it goes on as it was.
    FailoverConfirmed(restore::FailoverArgs),
    /// Whether mails are handed over.
    Sending {
        #[command(subcommand)]
        command: sending::Sending,
    },
    /// The settings.
    Config {
        #[command(subcommand)]
        command: check::Command,
    },
    /// The master key, outside the database, and those that sign access tokens and links.
    Keys {
        #[command(subcommand)]
        command: operate::Keys,
    },
    /// People who sign in.
    User {
        #[command(subcommand)]
        command: accounts::User,
    },
    /// The object store of images and videos.
    Media {
        #[command(subcommand)]
        command: media_setup::Command,
    },
    /// Keys of programs.
    ApiKey {
        #[command(subcommand)]
        command: accounts::ApiKey,
    },
    /// Play the main job on a running stack.
    Demo(demo::DemoArgs),
}

fn main() -> ExitCode {
    match start(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("postledger: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(cli: Cli) -> anyhow::Result<()> {
    // One provider of cryptography for every TLS connection of the process.
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        anyhow::bail!("another TLS provider was installed first");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no runtime")?;
    let outcome = run(cli, &runtime);
    // A call that hangs in a dead file system must not keep the process.
    runtime.shutdown_timeout(HANGING);
    outcome
}

fn run(cli: Cli, runtime: &Runtime) -> anyhow::Result<()> {
    let config = || Config::load(&cli.config, cli.kafka.as_deref());
    match cli.command {
        Command::Demo(args) => runtime.block_on(demo::run(args)),
        Command::Keys { command: operate::Keys::Generate { file, demonstration } } => {
            operate::generate(&file, demonstration)
        }
        Command::Keys { command: operate::Keys::Rotate { links } } => {
            runtime.block_on(accounts::rotate(config()?, links))
        }
        Command::User { command } => runtime.block_on(accounts::user(config()?, command)),
        Command::Media { command } => runtime.block_on(media_setup::run(config()?, command)),
        Command::ApiKey { command } => runtime.block_on(accounts::api_key(config()?, command)),
        Command::Config { command } => {
            runtime.block_on(check::run(&cli.config, cli.kafka.as_deref(), command))
        }
        Command::Serve(args) => {
            let config = config()?;
            telemetry::start(&config.log)?;
            runtime.block_on(serve::run(config, args))
        }
        Command::Migrate => runtime.block_on(operate::migrate(config()?)),
        Command::Import(args) => runtime.block_on(import::run(config()?, args)),
        Command::Erase(args) => runtime.block_on(erase::run(config()?, args)),
        Command::Rebuild(args) => runtime.block_on(operate::rebuild(config()?, args)),
        Command::Log { command } => runtime.block_on(log::run(config()?, command)),
        Command::Kafka { command: operate::Kafka::Check } => {
            runtime.block_on(operate::check_kafka(config()?))
        }
        Command::Restored(args) => runtime.block_on(restore::restored(config()?, args)),
        Command::FailoverConfirmed(args) => runtime.block_on(restore::failover_confirmed(config()?, args)),
        Command::Sending { command } => runtime.block_on(sending::run(config()?, command)),
        Command::DeadLetters { command } => runtime.block_on(operate::dead_letters(config()?, command)),
    }
}
