//! Works on imports, a batch of each in turn.

use crate::sender::describe;
use commands::Commands;
use eventstore::news::Topic;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Between two looks that find nothing, while other processes are not heard; and never sooner.
const POLL: Duration = Duration::from_millis(200);

pub async fn run(commands: Commands, stop: CancellationToken) {
    let mut moved = commands.store.news.wait_for(Topic::Moved);
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
            () = moved.seldom_news(POLL) => {}
            () = stop.cancelled() => {}
        }
    }
}
