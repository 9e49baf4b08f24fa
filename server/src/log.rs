//! `postledger log`: whether every committed event has its position, and what mends it.

use crate::config::Config;
use crate::operate::progress_bar;
use crate::serve::pool;
use anyhow::{bail, ensure};
use eventstore::News;
use eventstore::lost::{self, Lost};
use sqlx::PgPool;

const CONNECTIONS: u32 = 2;
/// Lost events that are shown one by one.
const SHOWN: usize = 20;

#[derive(clap::Subcommand)]
pub enum Command {
    /// Compare all events with the log. Fails where one has no position and would never get one.
    Check,
    /// Give lost events positions at the log's end, and say what is to be done then. The server may run meanwhile.
    Repair,
}

pub async fn run(config: Config, command: Command) -> anyhow::Result<()> {
    let pool = pool(&config.database, CONNECTIONS).await?;
    match command {
        Command::Check => check(&pool).await,
        Command::Repair => repair(&pool).await,
    }
}

async fn check(pool: &PgPool) -> anyhow::Result<()> {
    let mut db = eventstore::session(pool, "postledger log check").await?;
    let order = lost::order(&mut db).await?;
    let bar = progress_bar("events")?;
    let (mut lost, mut compared) = (0, 0);
    lost::scan(&mut db, |until, mark, range| {
        bar.set_length(mark.unsigned_abs());
        bar.set_position(until.unsigned_abs());
        bar.suspend(|| range.iter().take(SHOWN.saturating_sub(lost)).for_each(show));
        lost += range.len();
        compared = until;
    })
    .await?;
    bar.finish_and_clear();
    println!(
        "append_ids up to {compared} were compared with the log; the sequence stands at {}",
        order.drawn
    );
    ensure!(
        !order.is_behind(),
        "the sequence stands below {}, which is numbered: what is appended now would never get a position. Run \
         `postledger log repair`",
        order.numbered
    );
    ensure!(
        lost == 0,
        "{lost} committed events have no position and would never get one: run `postledger log repair`"
    );
    println!("every event that was committed has its position, or is about to get it");
    Ok(())
}

fn show(lost: &Lost) {
    println!(
        "no position: append_id {}, {} {}, sequence {}",
        lost.append_id, lost.aggregate_type, lost.aggregate_id, lost.sequence
    );
}

async fn repair(pool: &PgPool) -> anyhow::Result<()> {
    let mut db = eventstore::session(pool, "postledger log repair").await?;
    let repaired = projections::repair(&mut db, &projections::all()).await?;
    News::announce(pool).await?;
    println!("events that got a position at the log's end: {}", repaired.numbered.events);
    for (aggregate_type, aggregate_id) in &repaired.numbered.late {
        println!("out of order, and put aside in its read models: {aggregate_type} {aggregate_id}");
    }
    for model in &repaired.models {
        println!("to be done: postledger rebuild {model}");
    }
    if !repaired.is_whole {
        bail!("there may be more: run `postledger log repair` again");
    }
    Ok(())
}
