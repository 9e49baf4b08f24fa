//! Users, API keys, and the keys of access tokens and links, by an operator's hand.

use crate::config::Config;
use crate::serve::{commands, operate};
use anyhow::{Context as _, bail, ensure};
use commands::{Context, NewApiKey, NewUser, Password};
use domain::EmailAddress;
use domain::access::{Role, Scope};
use eventstore::service_keys;
use std::path::PathBuf;

#[derive(clap::Subcommand)]
pub enum User {
    /// Add somebody who may sign in.
    Add(AddUser),
    /// Add somebody who chooses a password by the link of a mail; who has been invited is sent another.
    Invite(InviteUser),
}

#[derive(clap::Args)]
pub struct InviteUser {
    /// The address that they sign in with.
    email: String,
    /// Some of admin, marketer, analyst, auditor, separated by commas.
    #[arg(long, value_delimiter = ',', required = true, value_parser = role)]
    roles: Vec<Role>,
}

#[derive(clap::Args)]
pub struct AddUser {
    /// The address that they sign in with.
    email: String,
    /// Some of admin, marketer, analyst, auditor, separated by commas.
    #[arg(long, value_delimiter = ',', required = true, value_parser = role)]
    roles: Vec<Role>,
    /// Holds the password in its first line; `-` is the standard input.
    #[arg(long, value_name = "FILE")]
    password_file: PathBuf,
    /// Leave a user as they are who exists already.
    #[arg(long)]
    unless_exists: bool,
}

#[derive(clap::Subcommand)]
pub enum ApiKey {
    /// Make a key for a program, and print it, this once.
    Add(AddApiKey),
}

#[derive(clap::Args)]
pub struct AddApiKey {
    /// What you will know it by in a list.
    name: String,
    /// What it may do, such as subscribers:write,groups:read; `all` is everything but users and API keys. A word that is none
    /// is answered with those that are.
    #[arg(long, value_delimiter = ',', required = true)]
    scopes: Vec<String>,
}

fn role(word: &str) -> Result<Role, String> {
    Role::parse(word).ok_or_else(|| format!("is none of {}", Role::ALL.map(Role::as_str).join(", ")))
}

pub async fn user(config: Config, command: User) -> anyhow::Result<()> {
    match command {
        User::Add(args) => add(config, args).await,
        User::Invite(args) => invite(config, args).await,
    }
}

async fn invite(config: Config, args: InviteUser) -> anyhow::Result<()> {
    let email = EmailAddress::parse(&args.email).context("the address")?;
    let operator = Context::system("operator");
    operate(&config, async |commands| {
        let done = match commands.user_by_address(&email).await? {
            Some(user) => commands.invite_again(&operator, user).await?,
            None => {
                commands.add_user(&operator, NewUser { email, roles: args.roles, password: None }).await?
            }
        };
        println!(
            "invited user {}: a sender sends the mail",
            done.answer["user_id"].as_str().unwrap_or_default()
        );
        Ok(())
    })
    .await
}

async fn add(config: Config, args: AddUser) -> anyhow::Result<()> {
    let email = EmailAddress::parse(&args.email).context("the address")?;
    let password = read_password(&args.password_file)?;
    operate(&config, async |commands| {
        if args.unless_exists && commands.user_by_address(&email).await?.is_some() {
            println!("the user exists already");
            return Ok(());
        }
        let new = NewUser { email, roles: args.roles, password: Some(password) };
        let done = commands.add_user(&Context::system("operator"), new).await?;
        println!("added user {}", done.answer["user_id"].as_str().unwrap_or_default());
        Ok(())
    })
    .await
}

/// Not from the command line, where every process of the machine could read it.
fn read_password(file: &PathBuf) -> anyhow::Result<Password> {
    let text = match file.as_os_str() == "-" {
        true => std::io::read_to_string(std::io::stdin()),
        false => std::fs::read_to_string(file),
    };
    let text = text.with_context(|| format!("{} can't be read", file.display()))?;
    let line = text.lines().next().unwrap_or_default();
    Password::new(line.to_owned()).map_err(|reason| anyhow::anyhow!("the password {reason}"))
}

pub async fn api_key(config: Config, command: ApiKey) -> anyhow::Result<()> {
    let ApiKey::Add(AddApiKey { name, scopes }) = command;
    ensure!(!name.trim().is_empty() && !name.contains(char::is_control), "the name is one line of text");
    let new = NewApiKey { name, scopes: parse_scopes(&scopes)?, expires_at: None };
    let operator = Context::system("operator");
    let (_, key) =
        operate(&config, async |commands| Ok(commands.make_api_key(&operator, new).await?)).await?;
    println!("{}", key.text.as_str());
    Ok(())
}

fn parse_scopes(words: &[String]) -> anyhow::Result<Vec<Scope>> {
    if words == ["all"] {
        return Ok(Scope::ALL.to_vec());
    }
    let scopes: Option<Vec<Scope>> = words.iter().map(|word| Scope::parse(word)).collect();
    match scopes {
        Some(scopes) => Ok(scopes),
        None => bail!("--scopes takes all, or some of {}", Scope::ALL.map(Scope::as_str).join(", ")),
    }
}

pub async fn rotate(config: Config, links: bool) -> anyhow::Result<()> {
    let store = commands(&config).await?.store;
    let (purpose, when) = match links {
        true => (api::LINK_KEYS, "once those processes were started anew that send"),
        false => (api::ACCESS_KEYS, "a minute from now"),
    };
    let kid = service_keys::rotate(&store.pool, &store.master, purpose).await?;
    println!("made {kid}; it signs {when}");
    Ok(())
}
