//! Works on imports, a batch of each in turn.

use crate::sender::describe;
use commands::Commands;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const POLL: Duration = Duration::from_millis(200);

pub async fn run(commands: Commands, stop: CancellationToken) {
    while !stop.is_cancelled() {
        match commands.work_on_next_import(&stop).await {
            Ok(Some(import)) => {
                tracing::debug!(import.id = %import, "import worked on");
                continue;
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(error = %describe(&error), "import: will try again"),
        }
        tokio::select! {
            () = tokio::time::sleep(POLL) => {}
            () = stop.cancelled() => {}
        }
    }
}
