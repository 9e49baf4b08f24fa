//! Keeps the senders' memory of the log fresh, in a file beside the outbox, and compares it with the log. Each authorization writes it
//! too, before a mail goes: a database that lacks one of those is not sent from.

use eventstore::memory::{Durable, MemoryError};
use eventstore::restore::{self, Seen};
use eventstore::sending::{self, Stop};
use eventstore::{Store, StoreError, feed};
use std::path::Path;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const EVERY: Duration = Duration::from_secs(1);
/// Beside the mails, none of which has such a name.
const FILE: &str = "log-seen.json";

pub struct Remembering {
    store: Store,
    /// What was made durable last.
    kept: Option<Seen>,
}

impl Remembering {
    /// Before anything is sent: from here on nothing is authorized on a log that lacks what the file says.
    pub fn begin(store: Store, dir: &Path) -> Self {
        store.memory.keep_in(dir.join(FILE));
        Self { store, kept: None }
    }

    pub async fn run(mut self, stop: CancellationToken) {
        let mut told = None;
        while !stop.is_cancelled() {
            match self.step().await {
                Ok(stopped) => {
                    tell(&told, &stopped);
                    told = stopped;
                }
                Err(error) => tracing::warn!(%error, "the memory of the log is tried again"),
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(EVERY) => {}
            }
        }
    }

    /// Compares, then remembers: on one connection, so that no other database comes in between. Answers why nothing is sent.
    pub async fn step(&mut self) -> Result<Option<Stop>, MemoryError> {
        let mut tx = self.store.pool.begin().await.map_err(StoreError::from)?;
        // Before the comparison: an operator may make the log another history meanwhile.
        let epoch = feed::head(&mut *tx).await?.epoch;
        if let Some(seen) = self.store.memory.seen()
            && !restore::follows(&mut *tx, &seen).await?
        {
            tx.rollback().await.map_err(StoreError::from)?;
            sending::log_went_back(&self.store.pool, epoch).await?;
            return Ok(sending::stopped_by(&self.store.pool).await?);
        }
        let last = restore::last(&mut *tx).await?;
        let stopped = sending::stopped_by(&mut *tx).await?;
        tx.rollback().await.map_err(StoreError::from)?;
        if let Some(last) = last
            && self.kept.as_ref() != Some(&last)
        {
            self.store.memory.remember(last.clone(), Durable::Yes).await?;
            self.kept = Some(last);
        }
        Ok(stopped)
    }
}

fn tell(before: &Option<Stop>, now: &Option<Stop>) {
    match now {
        Some(stop) if before.as_ref() != Some(stop) => {
            tracing::error!(reason = stop.reason, "no mail goes: {}", stop.remedy());
        }
        None if before.is_some() => tracing::info!("mails go again"),
        _ => {}
    }
}
