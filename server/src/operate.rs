//! What an operator does by hand.

use crate::config::Config;
use crate::serve::pool;
use anyhow::{Context, bail};
use clap::Subcommand;
use clap::builder::PossibleValuesParser;
use eventstore::keys::DEMONSTRATION;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

const CONNECTIONS: u32 = 4;
const LETTERS_AT_ONCE: i64 = 500;

#[derive(clap::Args)]
pub struct RebuildArgs {
    /// Which one.
    #[arg(value_parser = read_models())]
    model: String,
}

#[derive(Subcommand)]
pub enum DeadLetters {
    /// Show what waits, by read model and stream.
    List {
        /// Of this read model alone.
        #[arg(long, value_name = "MODEL", value_parser = read_models())]
        projection: Option<String>,
    },
    /// Apply it again, in order, once the cause is mended.
    Replay {
        /// To this read model alone.
        #[arg(long, value_name = "MODEL", value_parser = read_models())]
        projection: Option<String>,
    },
}

#[derive(Subcommand)]
pub enum Kafka {
    /// Tell what the brokers, the topics, the relay and the consumer groups are like; fails where something is wrong.
    Check,
}

#[derive(Subcommand)]
pub enum Keys {
    /// Make a master key in a new file that only its owner can read.
    Generate {
        /// Where it goes: `keys.master_key_file` names it later.
        file: PathBuf,
        /// For a demonstration: what is made with such a key can be used as one alone.
        #[arg(long)]
        demonstration: bool,
    },
    /// Make a new key for access tokens. It signs a minute from now; the old one verifies until its last token is over.
    Rotate {
        /// For the links of mails instead. Processes that send take it up when they start anew. Links from before work on.
        #[arg(long)]
        links: bool,
    },
}

/// So that help names them, and a name that is none is refused.
fn read_models() -> PossibleValuesParser {
    PossibleValuesParser::new(projections::all().iter().map(|model| model.name()))
}

pub fn generate(file: &Path, demonstration: bool) -> anyhow::Result<()> {
    let secret = eventstore::keys::random_secret()?;
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut new =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file).with_context(
            || format!("{} can't be made (a key that exists is never replaced)", file.display()),
        )?;
    let word = if demonstration { DEMONSTRATION } else { "" };
    writeln!(new, "{word}{hex}")?;
    new.sync_all()?;
    println!("made {}; back it up apart from the database", file.display());
    Ok(())
}

pub async fn migrate(config: Config) -> anyhow::Result<()> {
    // The pool tells why the database can't be reached.
    let options = pool(&config.database, CONNECTIONS).await?.connect_options();
    let done = eventstore::migrate(&options, eventstore::Tries::default()).await;
    if done.as_ref().is_err_and(eventstore::waited_for_a_lock) {
        bail!(
            "somebody has been reading for long (a dump?), and a migration needs a lock: run it again when that is over"
        );
    }
    done.context("a migration failed")?;
    println!("the schema is up to date");
    Ok(())
}

pub async fn rebuild(config: Config, args: RebuildArgs) -> anyhow::Result<()> {
    let pool = pool(&config.database, CONNECTIONS).await?;
    let bar = progress_bar("events")?;
    let models = projections::all();
    let rebuilt = projections::rebuild(&pool, &models, &args.model, |progress| {
        bar.set_length(progress.until.unsigned_abs());
        bar.set_position(progress.position.unsigned_abs());
    });
    let rebuilt = rebuilt.await?;
    bar.finish();
    println!("{} holds everything up to position {}", args.model, rebuilt.until);
    match rebuilt.dead_letters {
        0 => Ok(()),
        letters => bail!("{letters} events could not be applied: see `postledger dead-letters list`"),
    }
}

pub async fn check_kafka(config: Config) -> anyhow::Result<()> {
    anyhow::ensure!(config.kafka.is_used(), "kafka.brokers is not set: events travel by Postgres alone");
    let pool = pool(&config.database, CONNECTIONS).await?;
    let topics = kafka::Topics::new(config.kafka)?;
    let report = kafka::check(&pool, &topics, &projections::all(), eventstore::clock::now()).await?;
    for line in &report.found {
        println!("{line}");
    }
    for line in &report.wrong {
        println!("WRONG: {line}");
    }
    match report.wrong.len() {
        0 => Ok(()),
        wrong => bail!("{wrong} things are wrong with the Kafka at {}", topics.config().brokers),
    }
}

pub async fn dead_letters(config: Config, command: DeadLetters) -> anyhow::Result<()> {
    let pool = pool(&config.database, CONNECTIONS).await?;
    match command {
        DeadLetters::List { projection } => list(&pool, projection.as_deref()).await,
        DeadLetters::Replay { projection } => replay(&pool, projection.as_deref()).await,
    }
}

async fn list(pool: &sqlx::PgPool, projection: Option<&str>) -> anyhow::Result<()> {
    let mut after = None;
    let mut count = 0;
    loop {
        let page = projections::dead_letters::list(pool, projection, after, LETTERS_AT_ONCE).await?;
        for letter in &page.items {
            let why = letter.error.as_deref().unwrap_or("follows one in its stream");
            println!(
                "{} position {} {} {} {}: {why}",
                letter.projection,
                letter.position,
                letter.aggregate_type,
                letter.aggregate_id,
                letter.event_type
            );
        }
        count += page.items.len();
        after = page.next_cursor;
        if after.is_none() {
            println!("dead letters: {count}");
            return Ok(());
        }
    }
}

async fn replay(pool: &sqlx::PgPool, projection: Option<&str>) -> anyhow::Result<()> {
    let models = projections::all();
    let replayed = projections::dead_letters::replay(pool, &models, projection, |refused| {
        println!(
            "{} still refuses position {} of {} {}: {}",
            refused.projection,
            refused.position,
            refused.aggregate_type,
            refused.aggregate_id,
            refused.reason
        );
    });
    let replayed = replayed.await?;
    println!("events applied: {}, streams followed again: {}", replayed.events, replayed.unparked);
    match replayed.refused {
        0 => Ok(()),
        refused => bail!("{refused} streams stay parked"),
    }
}

/// Goes on where `yes` was given or is typed.
pub fn confirm(yes: bool, question: &str, refused: &'static str) -> anyhow::Result<()> {
    if yes {
        return Ok(());
    }
    eprint!("{question} Type yes: ");
    let answer = std::io::stdin().lines().next().transpose().context("the standard input can't be read")?;
    anyhow::ensure!(answer.is_some_and(|answer| answer.trim() == "yes"), refused);
    Ok(())
}

/// Drawn on a terminal alone.
pub fn progress_bar(unit: &str) -> anyhow::Result<ProgressBar> {
    let style = format!("{{bar:40}} {{pos}}/{{len}} {unit} {{per_sec}} {{eta}}");
    Ok(ProgressBar::no_length().with_style(ProgressStyle::with_template(&style)?))
}
