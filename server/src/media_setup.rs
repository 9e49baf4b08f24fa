//! `postledger media setup`: the bucket, and who may upload to it from a browser.

use crate::config::Config;
use crate::serve;
use anyhow::Context;

#[derive(clap::Subcommand)]
pub enum Command {
    /// Make the bucket where there is none, and let pages of `api.allowed_origins` upload to it, and no others.
    Setup,
}

pub async fn run(config: Config, command: Command) -> anyhow::Result<()> {
    let Command::Setup = command;
    let files = serve::media_files(&config).await.context("media.bucket is not set: there are no media")?;
    let origins: Vec<String> = config.api.allowed_origins.iter().map(ToString::to_string).collect();
    let done = files.set_up(&origins).await?;
    println!("{}", if done.made_bucket { "made the bucket" } else { "the bucket is there" });
    match origins.is_empty() {
        true => println!("no page may upload from a browser: api.allowed_origins is empty"),
        false => println!("pages of {} may upload", origins.join(", ")),
    }
    println!("who may read the files is for you to decide: see docs/media.md");
    Ok(())
}
