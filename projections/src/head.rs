//! One watch over the log's end for all loops of a process, so that idling costs one small query a second.

use crate::Backoff;
use eventstore::news::{News, Topic, Waiter};
use eventstore::{Head, feed};
use sqlx::PgPool;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// While other processes are not heard.
const POLL: Duration = Duration::from_millis(20);

/// Follows the log's end until `stop`; `None` before it was first read.
pub fn watch_head(pool: PgPool, news: &News, stop: CancellationToken) -> watch::Receiver<Option<Head>> {
    let (sender, receiver) = watch::channel(None);
    tokio::spawn(follow(pool, news.wait_for(Topic::Moved), stop, sender));
    receiver
}

async fn follow(
    pool: PgPool,
    mut moved: Waiter,
    stop: CancellationToken,
    sender: watch::Sender<Option<Head>>,
) {
    let mut backoff = Backoff::default();
    while !stop.is_cancelled() {
        let pause = match feed::head(&pool).await {
            Ok(head) => {
                backoff.reset();
                sender.send_if_modified(|known| known.replace(head) != Some(head));
                moved.longest(POLL)
            }
            Err(error) => {
                tracing::warn!(%error, "the log's end cannot be read and is tried again");
                backoff.pause()
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = moved.wait(Duration::ZERO, pause) => {}
        }
    }
}
