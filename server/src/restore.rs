//! `postledger restored` and `postledger failover-confirmed`: what an operator says of a database that is not where, or what, it was.

use crate::config::Config;
use crate::operate::confirm;
use crate::serve::{pool, require_schema, topics};
use anyhow::{bail, ensure};
use eventstore::feed;
use eventstore::restore::{self, Marked};
use eventstore::sending;
use sqlx::PgPool;

const CONNECTIONS: u32 = 2;

#[derive(clap::Args)]
pub struct RestoredArgs {
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    /// Also where it was marked already and nothing was sent since: it was restored once more, from a backup made in between.
    #[arg(long)]
    again: bool,
}

#[derive(clap::Args)]
pub struct FailoverArgs {
    /// Do not ask.
    #[arg(long)]
    yes: bool,
}

pub async fn restored(config: Config, args: RestoredArgs) -> anyhow::Result<()> {
    let pool = open(&config).await?;
    tell_where_it_is(&pool).await?;
    println!(
        "Its history becomes another one. Topics and consumer groups of Kafka begin anew, and positions that clients hold are \
         refused. Read models stay as they are in this database. No mail goes until `postledger sending resume`. Opt-outs, \
         sign-in and reads go on."
    );
    confirm(args.yes, "Was this database restored or copied?", "nothing was changed")?;
    match restore::mark_as_restored(&pool, args.again).await? {
        Marked::Now(head) => {
            println!("marked: the epoch is {} from position {} on", head.epoch, head.position)
        }
        Marked::Before(head) => {
            println!("it was marked already, with the epoch {}, and no mail went since", head.epoch);
        }
    }
    println!(
        "Next:\n\
         1. start what is stopped; with Kafka, `postledger kafka check` until nothing is wrong\n\
         2. import who left since the backup: `postledger import --opted-out` (docs/operations.md, Restoring)\n\
         3. cancel campaigns under way whose mails went out since the backup: they would go again\n\
         4. `postledger sending resume`"
    );
    Ok(())
}

pub async fn failover_confirmed(config: Config, args: FailoverArgs) -> anyhow::Result<()> {
    let pool = open(&config).await?;
    tell_where_it_is(&pool).await?;
    if let Some(topics) = topics(&config)?
        && let Some(ahead) = kafka::ahead_of_the_log(&pool, &topics).await?
    {
        bail!("{ahead}, so something was lost: `postledger restored`");
    }
    println!("It goes on as the history that it was.");
    let question =
        "Is every acknowledged commit here (a synchronous standby, or a move with everything stopped)?";
    confirm(args.yes, question, "nothing was changed")?;
    ensure!(
        restore::confirm_failover(&pool).await?,
        "this log lacks what was in it before, so something was lost: `postledger restored`"
    );
    match sending::stopped_by(&pool).await? {
        None => println!("confirmed: mails go"),
        Some(stop) => println!("confirmed; no mail goes yet ({}): {}", stop.reason, stop.remedy()),
    }
    Ok(())
}

async fn open(config: &Config) -> anyhow::Result<PgPool> {
    let pool = pool(&config.database, CONNECTIONS).await?;
    require_schema(&pool).await?;
    Ok(pool)
}

async fn tell_where_it_is(pool: &PgPool) -> anyhow::Result<()> {
    let head = feed::head(pool).await?;
    println!("The log here ends at position {}, and its epoch is {}.", head.position, head.epoch);
    println!(
        "{}",
        match restore::moved(pool).await?.as_deref() {
            None => "It is in the cluster, and on the timeline, where it was.",
            Some("another_cluster") => "It is in another cluster of Postgres than it was.",
            Some(_) => "It is on another timeline of Postgres than it was.",
        }
    );
    Ok(())
}
