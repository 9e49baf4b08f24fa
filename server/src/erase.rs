//! `postledger erase`: a subscriber, by hand. The server need not run; what lies in its outbox is erased by a sender.

use crate::config::Config;
use anyhow::{Context as _, ensure};
use commands::{Commands, Context};
use domain::{EmailAddress, SubscriberId};
use std::io::{Lines, StdinLock};
use std::time::Duration;
use tokio::time::Instant;

/// While a sender runs, nothing but an import under way makes it longer.
const WAIT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(250);

#[derive(clap::Args)]
pub struct EraseArgs {
    /// The subscriber's id. Without one their address is read from the standard input, so that it is in no shell's history.
    id: Option<SubscriberId>,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
}

pub async fn run(config: Config, args: EraseArgs) -> anyhow::Result<()> {
    crate::serve::operate(&config, async |commands| erase(commands, args).await).await
}

async fn erase(commands: &Commands, args: EraseArgs) -> anyhow::Result<()> {
    let mut input = std::io::stdin().lines();
    let id = match args.id {
        Some(id) => id,
        None => find(commands, &mut input).await?,
    };
    if !args.yes {
        let answer = ask(&mut input, &format!("Erase subscriber {id} for ever? Type yes: "))?;
        ensure!(answer.trim() == "yes", "nobody was erased");
    }
    commands.erase_subscriber(&Context::system("operator"), id).await?;
    println!("erased subscriber {id}");
    match is_finished(commands, id).await? {
        true => println!("their mails in the outbox and their rejected rows are emptied"),
        false => println!(
            "their mails in the outbox and their rejected rows will be emptied by a sender, once earlier imports have ended"
        ),
    }
    Ok(())
}

async fn find(commands: &Commands, input: &mut Lines<StdinLock<'static>>) -> anyhow::Result<SubscriberId> {
    let address = EmailAddress::parse(&ask(input, "Address: ")?).context("the address")?;
    commands.subscriber_at(&address).await?.context("no subscriber has, or had, this address")
}

fn ask(input: &mut Lines<StdinLock<'static>>, question: &str) -> anyhow::Result<String> {
    eprint!("{question}");
    let answer = input.next().context("the standard input ended without an answer")?;
    answer.context("the standard input can't be read")
}

async fn is_finished(commands: &Commands, id: SubscriberId) -> anyhow::Result<bool> {
    let deadline = Instant::now() + WAIT;
    while commands.has_remains(id).await? {
        if Instant::now() >= deadline {
            return Ok(false);
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(true)
}
