//! `postledger sending`: whether anything may be handed over.

use crate::config::Config;
use crate::serve::{pool, require_schema};
use anyhow::bail;
use clap::Subcommand;
use eventstore::News;
use eventstore::sending::{self, Resumed};

const CONNECTIONS: u32 = 2;

#[derive(Subcommand)]
pub enum Sending {
    /// Tell whether mails go, and else why not; fails where they don't.
    Status,
    /// Let no mail go: of no campaign, and none outside campaigns. Opt-outs, sign-in and reads go on.
    Pause,
    /// Let mails go again.
    Resume,
}

pub async fn run(config: Config, command: Sending) -> anyhow::Result<()> {
    let pool = pool(&config.database, CONNECTIONS).await?;
    require_schema(&pool).await?;
    match command {
        Sending::Status => {}
        Sending::Pause => {
            sending::pause(&pool).await?;
            println!("nothing is authorized any more; calls that were authorized before end by themselves");
            return Ok(());
        }
        Sending::Resume => match sending::resume(&pool).await? {
            Resumed::Now | Resumed::Before => News::announce(&pool).await?,
            Resumed::Refused(stop) => bail!("sending stays off ({}): {}", stop.reason, stop.remedy()),
        },
    }
    match sending::stopped_by(&pool).await? {
        None => println!("mails go"),
        Some(stop) => bail!("no mail goes ({}): {}", stop.reason, stop.remedy()),
    }
    Ok(())
}
