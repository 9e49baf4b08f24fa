//! The outbox: one file per message, for development and for tests that count every hand-over.
//!
//! The start of a hand-over is `link()`: a message is written below `tmp/`, made durable, and then linked to a name made
//! of dispatch, reader and attempt. A name appears once, whole, and is never removed: so what became of an attempt can
//! always be told, and nothing stays unknown. To give an attempt up the reconciler links a tombstone to that very name:
//! exactly one of both wins. An erasure empties a message's file; the name stays, and so does what it proves.

mod forget;
mod index;
mod page;
mod store;

use std::collections::HashSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::Deserialize;
use tokio::sync::Semaphore;
use tokio::task::{JoinError, spawn_blocking};
use tokio::time::timeout;
use uuid::Uuid;

pub use self::index::OutboxIndex;
pub use self::store::file_name;
use self::store::{Kind, Linked, Store};
use super::{Mailer, Outcome, Outgoing, RateCap, Reconciled, Unavailable, UnknownClass};
use crate::window::Window;

/// How long a call waits for its turn, if its window is that long.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(5);

/// A write and its fsync take milliseconds. A disk that hangs longer leaves the attempt to the reconciler.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

const STOPPED: &str = "the outbox's thread was stopped";

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OutboxConfig {
    /// Made if it is missing. Its file system must know hard links.
    pub dir: PathBuf,
    /// Calls that may run at once, a thread each; at least 1. More help only where many fsyncs share a disk's flush.
    pub concurrency: usize,
    /// 0: no limit.
    pub messages_per_second: u32,
}

impl Default for OutboxConfig {
    fn default() -> Self {
        Self { dir: "outbox".into(), concurrency: 16, messages_per_second: 0 }
    }
}

#[derive(Debug)]
pub struct Outbox {
    store: Arc<Store>,
    concurrency: usize,
    calls: Arc<Semaphore>,
    rate: RateCap,
}

impl Outbox {
    /// Makes the directory, proves that it can be linked in, and removes what dead processes left behind. Blocks.
    pub fn open(config: &OutboxConfig) -> io::Result<Self> {
        let concurrency = config.concurrency.clamp(1, Semaphore::MAX_PERMITS);
        Ok(Self {
            store: Arc::new(Store::open(&config.dir)?),
            concurrency,
            calls: Arc::new(Semaphore::new(concurrency)),
            rate: RateCap::new(config.messages_per_second),
        })
    }

    async fn blocking<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Store) -> T + Send + 'static,
    ) -> Result<T, JoinError> {
        let store = Arc::clone(&self.store);
        spawn_blocking(move || job(&store)).await
    }
}

#[async_trait]
impl Mailer for Outbox {
    fn name(&self) -> &'static str {
        "outbox"
    }

    fn concurrency(&self) -> usize {
        self.concurrency
    }

    fn call_timeout(&self) -> Duration {
        QUEUE_TIMEOUT + WRITE_TIMEOUT
    }

    async fn prepare(&self, _calls: usize) -> Result<(), Unavailable> {
        match self.blocking(Store::probe).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Unavailable::new(format!("the outbox can't be written: {error}"))),
            Err(_stopped) => Err(Unavailable::new(STOPPED)),
        }
    }

    async fn take_tokens(&self, n: usize) -> usize {
        self.rate.take(n).await
    }

    async fn hand_over(&self, message: &Outgoing, window: &Window) -> Outcome {
        let waiting = timeout(window.remaining().min(QUEUE_TIMEOUT), Arc::clone(&self.calls).acquire_owned());
        let Ok(Ok(call)) = waiting.await else { return Outcome::NotStarted };
        if window.check().is_err() {
            return Outcome::NotStarted;
        }
        let name = file_name(message.dispatch, message.subscriber, message.attempt);
        let (content, window) = (message.message.clone(), window.clone());
        let job = self.blocking(move |store| {
            // A thread that hangs keeps its place, so that a dead disk does not gather threads.
            let _call = call;
            store.hand_over(&name, &content, &window)
        });
        match timeout(WRITE_TIMEOUT, job).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_stopped)) => Outcome::Unknown { class: UnknownClass::Storage, late: false },
            Err(_elapsed) => Outcome::Unknown { class: UnknownClass::TimedOut, late: false },
        }
    }

    async fn reconcile(&self, dispatch: Uuid, subscriber: Uuid, attempt: u32) -> Reconciled {
        let name = file_name(dispatch, subscriber, attempt);
        match self.blocking(move |store| store.give_up(&name)).await {
            Ok(Ok(Kind::Mail)) => Reconciled::Accepted,
            Ok(Ok(Kind::Tombstone)) => Reconciled::NeverHandedOver,
            Ok(Err(_)) | Err(_) => Reconciled::Unknown,
        }
    }

    async fn settle_barrier(&self) -> Result<(), Unavailable> {
        match self.blocking(Store::sync_names).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                Err(Unavailable::new(format!("the outbox's directory can't be synced: {error}")))
            }
            Err(_stopped) => Err(Unavailable::new(STOPPED)),
        }
    }

    async fn forget(&self, readers: &HashSet<Uuid>) -> Result<(), Unavailable> {
        let readers = readers.clone();
        match self.blocking(move |store| store.forget(&readers)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Unavailable::new(format!("mails in the outbox can't be emptied: {error}"))),
            Err(_stopped) => Err(Unavailable::new(STOPPED)),
        }
    }
}

impl Store {
    /// Writes, makes durable, checks the window, links. What fails before the link was never visible.
    fn hand_over(&self, name: &str, content: &[u8], window: &Window) -> Outcome {
        let Ok(staged) = self.stage(name, content) else { return Outcome::Deferred { code: None } };
        if window.check().is_err() {
            return Outcome::NotStarted;
        }
        let linked = self.link(&staged, name);
        let late = window.is_late();
        let accepted = |late| Outcome::Accepted { provider_id: Some(name.to_owned()), late };
        match linked {
            Ok(Linked::New) => accepted(late),
            // Our own earlier link of this very attempt.
            Ok(Linked::Taken(Kind::Mail)) => accepted(false),
            Ok(Linked::Taken(Kind::Tombstone)) => Outcome::NotStarted,
            Err(_) => match self.kind(name) {
                Ok(None) => Outcome::Deferred { code: None },
                Ok(Some(Kind::Tombstone)) => Outcome::NotStarted,
                Ok(Some(Kind::Mail)) => accepted(late),
                Err(_) => Outcome::Unknown { class: UnknownClass::Storage, late },
            },
        }
    }

    /// Closes an attempt unless its message is there already, and makes the answer durable.
    fn give_up(&self, name: &str) -> io::Result<Kind> {
        let staged = self.stage(name, store::TOMBSTONE)?;
        let kind = match self.link(&staged, name)? {
            Linked::New => Kind::Tombstone,
            Linked::Taken(kind) => kind,
        };
        self.sync_names()?;
        Ok(kind)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::window::scripted::window;

    /// The outcome when the clocks run past the window after that many readings, and how many messages are there.
    async fn outcome(readings_in_time: usize) -> (Outcome, usize) {
        let dir = std::env::temp_dir().join(format!("outbox-{}-{readings_in_time}", std::process::id()));
        let outbox = Outbox::open(&OutboxConfig { dir: dir.clone(), ..OutboxConfig::default() }).unwrap();
        let message = Outgoing {
            dispatch: Uuid::from_u128(1),
            subscriber: Uuid::from_u128(2),
            attempt: 1,
            envelope_from: "news@example.org".into(),
            envelope_to: "ada@example.org".into(),
            message: b"Subject: hello\r\n\r\nhello\r\n".to_vec(),
        };
        let mut readings = vec![(1_000, 1_000); readings_in_time];
        readings.push((2_001, 2_001));
        let outcome = outbox.hand_over(&message, &window(&readings)).await;
        let entries = fs::read_dir(&dir).unwrap().map(Result::unwrap);
        let messages = entries.filter(|entry| entry.path().extension().is_some()).count();
        fs::remove_dir_all(&dir).unwrap();
        (outcome, messages)
    }

    #[tokio::test]
    async fn the_window_is_checked_last_before_the_link_and_read_again_after_it() {
        // Read for the wait, before the work, before the link, after the link.
        for readings_in_time in 0..3 {
            assert_eq!(outcome(readings_in_time).await, (Outcome::NotStarted, 0), "{readings_in_time}");
        }
        let accepted = |late| Outcome::Accepted {
            provider_id: Some(file_name(Uuid::from_u128(1), Uuid::from_u128(2), 1)),
            late,
        };
        assert_eq!(outcome(3).await, (accepted(true), 1));
        assert_eq!(outcome(4).await, (accepted(false), 1));
    }
}
