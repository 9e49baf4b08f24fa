//! `media-store`: see the library.

use anyhow::Context;
use clap::Parser;
use media_store::Options;
use std::net::SocketAddr;
use std::path::PathBuf;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The object store of Postledger's development stack.
#[derive(Parser)]
#[command(version, about)]
struct Cli {
    /// With port 0 a free one is taken, and told.
    #[arg(long, default_value = "127.0.0.1:9000")]
    listen: SocketAddr,
    /// Where files are.
    #[arg(long)]
    dir: PathBuf,
    #[arg(long, default_value = "postledger")]
    access_key_id: String,
    /// Holds the secret access key: every process of the machine could read it in the command line.
    #[arg(long, value_name = "FILE")]
    secret_file: PathBuf,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Cli { listen, dir, access_key_id, secret_file } = Cli::parse();
    let secret = std::fs::read_to_string(&secret_file);
    let secret = secret.with_context(|| format!("{} can't be read", secret_file.display()))?;
    let listener = TcpListener::bind(listen).await.with_context(|| format!("{listen} can't be used"))?;
    println!("listening on http://{}", listener.local_addr()?);
    let stop = CancellationToken::new();
    let mut terminated = signal(SignalKind::terminate())?;
    let ended = stop.clone();
    tokio::spawn(async move {
        terminated.recv().await;
        ended.cancel();
    });
    let options = Options { dir, access_key_id, secret_access_key: secret.trim_end().to_owned() };
    media_store::serve(listener, options, stop).await
}
