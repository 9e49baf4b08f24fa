//! `pg_dump`, read so slowly that it is under way half of the time: its snapshot and its locks are held as on a large database.

use super::tally::Tally;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

const EVERY: Duration = Duration::from_secs(600);
const LASTS: Duration = Duration::from_secs(300);
const CHUNK_BYTES: usize = 64 * 1024;

pub async fn run(url: String, tally: Arc<Tally>, stop: CancellationToken) {
    let mut next = Instant::now() + Duration::from_secs(30);
    loop {
        tokio::select! {
            () = sleep_until(next) => {}
            () = stop.cancelled() => return,
        }
        next += EVERY;
        match dump(&url, &stop).await {
            Ok(()) => tally.dumped(),
            Err(error) => tally.fault(format!("pg_dump: {error}")),
        }
    }
}

async fn dump(url: &str, stop: &CancellationToken) -> std::io::Result<()> {
    let mut process = Command::new("pg_dump").arg(url).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
    let mut output = process.stdout.take().ok_or_else(|| std::io::Error::other("no output"))?;
    let (until, mut chunk) = (Instant::now() + LASTS, vec![0; CHUNK_BYTES]);
    // The first bytes come once it has its snapshot and its locks. The rest waits in the pipe.
    let mut read = output.read(&mut chunk).await?;
    tokio::select! {
        () = sleep_until(until) => {}
        () = stop.cancelled() => {}
    }
    while read > 0 {
        read = output.read(&mut chunk).await?;
    }
    let status = process.wait().await?;
    if status.success() { Ok(()) } else { Err(std::io::Error::other(status.to_string())) }
}
