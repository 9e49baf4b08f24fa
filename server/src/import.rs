//! `postledger import`: a file into a group, by hand. The server need not run; where it does, both share the work.

use crate::config::Config;
use crate::operate::progress_bar;
use anyhow::{Context, bail, ensure};
use commands::imports::{DateOrder, ImportRequest, ImportStatus, ImportedStatus, MEANINGS, Meaning};
use commands::{Commands, Context as By};
use domain::{GroupId, ImportId};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;
use tokio::fs::File;
use tokio_util::io::ReaderStream;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

mod table;

const POLL: Duration = Duration::from_millis(250);
const READ_BYTES: usize = 256 * 1024;

#[derive(clap::Args)]
pub struct ImportArgs {
    /// A CSV with a header row, as list tools export it.
    file: PathBuf,
    /// The group's name, or its id.
    #[arg(long, value_name = "NAME", required_unless_present = "dry_run")]
    group: Option<String>,
    /// Makes a group of that name where there is none, and does not ask.
    #[arg(long, visible_alias = "yes")]
    create_group: bool,
    /// The file lists people who opted out: nobody in it is written to any more.
    #[arg(long)]
    opted_out: bool,
    /// Where these people gave their consent, for the record.
    #[arg(long, default_value = "import")]
    consent_source: String,
    /// Show how the file is understood, and import nothing.
    #[arg(long)]
    dry_run: bool,
    /// What a column means, such as "E-mail 1 - Value=email" or "Segment=ignore". May be repeated.
    #[arg(long = "column", value_name = "NAME=MEANING", value_parser = column)]
    columns: Vec<(String, Meaning)>,
    /// Of dates such as 05/12/2023: dmy or mdy.
    #[arg(long, value_name = "ORDER", value_parser = date_order)]
    date_order: Option<DateOrder>,
    /// What is not UTF-8 is read as Windows-1252.
    #[arg(long)]
    windows_1252: bool,
}

fn column(written: &str) -> Result<(String, Meaning), String> {
    let words = || MEANINGS.map(|(word, _)| word).join(", ");
    let (name, word) = written.rsplit_once('=').ok_or("a column is NAME=MEANING")?;
    let meaning = Meaning::parse(word).ok_or_else(|| format!("a meaning is one of {}", words()))?;
    Ok((name.to_owned(), meaning))
}

fn date_order(word: &str) -> Result<DateOrder, String> {
    DateOrder::parse(word).ok_or_else(|| "an order is dmy or mdy".to_owned())
}

pub async fn run(config: Config, args: ImportArgs) -> anyhow::Result<()> {
    crate::serve::operate(&config, async |commands| import(commands, args).await).await
}

async fn import(commands: &Commands, args: ImportArgs) -> anyhow::Result<()> {
    if args.dry_run {
        let dry = commands.try_import(request(&args, None), body(&args).await?).await.map_err(explained)?;
        return table::show(&dry);
    }
    let stop = CancellationToken::new();
    let import = start(commands, &args).await?;
    let working = tokio::spawn(work(commands.clone(), stop.clone()));
    let ended = follow(commands, import, stop.clone()).await;
    stop.cancel();
    working.await?;
    report(&ended?)
}

async fn start(commands: &Commands, args: &ImportArgs) -> anyhow::Result<ImportId> {
    let body = body(args).await?;
    let name = args.group.as_deref().context("--group is needed")?;
    let group = group(commands, name, args.create_group).await?;
    let done = commands.start_import(&by(), request(args, Some(group)), body).await.map_err(explained)?;
    let id = done.answer["import_id"].as_str().and_then(|id| Uuid::parse_str(id).ok());
    id.context("the import has no id")
}

async fn body(args: &ImportArgs) -> anyhow::Result<Pin<Box<ReaderStream<File>>>> {
    let file = File::open(&args.file).await;
    let file = file.with_context(|| format!("{} can't be read", args.file.display()))?;
    Ok(Box::pin(ReaderStream::with_capacity(file, READ_BYTES)))
}

fn request(args: &ImportArgs, group: Option<GroupId>) -> ImportRequest {
    ImportRequest {
        group,
        status: if args.opted_out { ImportedStatus::OptedOut } else { ImportedStatus::Active },
        consent_source: Some(args.consent_source.clone()),
        name: file_name(&args.file),
        columns: args.columns.iter().cloned().collect(),
        date_order: args.date_order,
        windows_1252: args.windows_1252,
    }
}

fn by() -> By {
    By { actor: "operator".into(), ..By::default() }
}

fn file_name(file: &Path) -> Option<String> {
    file.file_name().map(|name| name.to_string_lossy().into_owned())
}

async fn group(commands: &Commands, name: &str, create: bool) -> anyhow::Result<GroupId> {
    if let Ok(id) = Uuid::parse_str(name) {
        return Ok(id);
    }
    // The read model may be behind; a group of the same name made a moment ago would be missed, not harmed.
    let known: Vec<Uuid> = sqlx::query_scalar("SELECT id FROM groups WHERE name = $1 LIMIT 2")
        .bind(name)
        .fetch_all(&commands.store.pool)
        .await?;
    match known.as_slice() {
        [id] => Ok(*id),
        [] => {
            if !create && !wants_new(name)? {
                bail!("nothing was imported");
            }
            let done = commands.create_group(&by(), name.to_owned(), String::new()).await?;
            eprintln!("made the group {name}");
            done.answer["group_id"]
                .as_str()
                .and_then(|id| Uuid::parse_str(id).ok())
                .context("the group has no id")
        }
        _ => bail!("several groups are called {name}: give the id of one"),
    }
}

/// A name that was mistyped would make a group that nobody looks for. A script is not asked: it says so beforehand.
fn wants_new(name: &str) -> anyhow::Result<bool> {
    let input = std::io::stdin();
    ensure!(
        input.is_terminal(),
        "there is no group called {name}: give the name of one that there is, or make it with --create-group"
    );
    eprint!("There is no group called {name}. Make it? [y/N] ");
    let mut answer = String::new();
    input.read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

async fn work(commands: Commands, stop: CancellationToken) {
    workers::importer::run(commands, stop).await;
}

/// Until the import ends; Ctrl-C cancels it.
async fn follow(
    commands: &Commands,
    import: ImportId,
    stop: CancellationToken,
) -> anyhow::Result<ImportStatus> {
    let bar = progress_bar("bytes")?;
    loop {
        let status = commands.import(import).await?;
        bar.set_length(status.bytes_total.unsigned_abs());
        bar.set_position(status.bytes_read.unsigned_abs());
        if matches!(status.status.as_str(), "completed" | "failed") {
            bar.finish();
            return Ok(status);
        }
        tokio::select! {
            () = tokio::time::sleep(POLL) => {}
            () = stop.cancelled() => {}
            pressed = tokio::signal::ctrl_c() => {
                pressed?;
                commands.cancel_import(&by(), import).await?;
            }
        }
    }
}

fn report(status: &ImportStatus) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string_pretty(status)?);
    if status.rejected > 0 {
        println!("rejected rows with line and reason: GET /imports/{}/rejected.csv", status.import_id);
    }
    match status.status.as_str() {
        "completed" => Ok(()),
        _ => bail!("the import failed: {}", status.reason.as_deref().unwrap_or("no reason was recorded")),
    }
}

/// With what is wrong with which field.
fn explained(error: commands::CommandError) -> anyhow::Error {
    match error {
        commands::CommandError::Invalid(fields) => {
            let lines: Vec<String> = fields.iter().map(|f| format!("{}: {}", f.field, f.reason)).collect();
            anyhow::anyhow!("{}", lines.join("; "))
        }
        other => other.into(),
    }
}
