//! One watch over the log's end for all loops of a process, so that idling costs one small query in 20 ms.

use crate::Backoff;
use eventstore::{Head, feed};
use sqlx::PgPool;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const POLL: Duration = Duration::from_millis(20);

/// Follows the log's end until `stop`; `None` before it was first read. `wake`, if given, is watched for changes: a
/// sequencer in this process tells when there is something new.
pub fn watch_head(
    pool: PgPool,
    wake: Option<watch::Receiver<i64>>,
    stop: CancellationToken,
) -> watch::Receiver<Option<Head>> {
    let (sender, receiver) = watch::channel(None);
    tokio::spawn(follow(pool, wake, stop, sender));
    receiver
}

async fn follow(
    pool: PgPool,
    mut wake: Option<watch::Receiver<i64>>,
    stop: CancellationToken,
    sender: watch::Sender<Option<Head>>,
) {
    let mut backoff = Backoff::default();
    while !stop.is_cancelled() {
        let pause = match feed::head(&pool).await {
            Ok(head) => {
                backoff.reset();
                sender.send_if_modified(|known| known.replace(head) != Some(head));
                POLL
            }
            Err(error) => {
                tracing::warn!(%error, "the log's end cannot be read and is tried again");
                backoff.pause()
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = woken(&mut wake) => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

async fn woken(wake: &mut Option<watch::Receiver<i64>>) {
    if let Some(receiver) = wake
        && receiver.changed().await.is_ok()
    {
        return;
    }
    // Nobody wakes us (any more): the poll goes on alone.
    *wake = None;
    std::future::pending().await
}
