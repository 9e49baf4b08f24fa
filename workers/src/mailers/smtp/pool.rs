//! Open sessions, at most as many as there are slots.
//!
//! Who holds a slot may hold one session: an idle one if there is any, else a new one. So sessions in use and idle ones
//! together are never more than the slots.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::connect::{Connector, NoSession};
use super::session::Session;

pub(super) struct Pool {
    connector: Connector,
    slots: Arc<Semaphore>,
    size: usize,
    /// The most recently used last.
    idle: Mutex<Vec<Session>>,
    messages_max: u32,
}

/// The right to hold one session.
#[derive(Debug)]
pub(super) struct Slot {
    _permit: OwnedSemaphorePermit,
}

impl Slot {
    fn new(permit: OwnedSemaphorePermit) -> Self {
        Self { _permit: permit }
    }
}

impl Pool {
    pub(super) fn new(connector: Connector, size: usize, messages_max: u32) -> Self {
        let slots = Arc::new(Semaphore::new(size));
        Self { connector, slots, size, idle: Mutex::new(Vec::with_capacity(size)), messages_max }
    }

    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// Waits for a slot; `None` if none was free in time.
    pub(super) async fn slot(&self, by: Instant) -> Option<Slot> {
        let permit = timeout_at(by, Arc::clone(&self.slots).acquire_owned()).await.ok()?;
        permit.ok().map(Slot::new)
    }

    /// The session used last, if any is idle; the slot says that the caller may have it.
    pub(super) fn idle(&self, _slot: &Slot) -> Option<Session> {
        self.sessions().pop()
    }

    pub(super) async fn open(&self, _slot: &Slot, limit: Duration) -> Result<Session, NoSession> {
        self.connector.open(limit).await
    }

    /// Keeps a session for the next message, or ends it; the slot is free after that.
    pub(super) fn put_back(&self, slot: Slot, mut session: Session) {
        session.was_idle = true;
        if session.is_usable(self.messages_max) {
            self.sessions().push(session);
        } else {
            tokio::spawn(async move {
                session.close().await;
                drop(slot);
            });
        }
    }

    /// Makes up to `calls` sessions ready, and fails only if there is none.
    pub(super) async fn prepare(
        &self,
        calls: usize,
        connect: Duration,
        command: Duration,
    ) -> Result<(), NoSession> {
        // All slots in use means that sessions work.
        let Some(first) = self.slot(Instant::now() + command).await else { return Ok(()) };
        let more = (1..calls.min(self.size))
            .map_while(|_| Arc::clone(&self.slots).try_acquire_owned().ok().map(Slot::new));
        let tries = std::iter::once(first).chain(more).map(|slot| self.ready(slot, connect, command));
        let mut failure = None;
        let mut ready = 0;
        for result in join_all(tries).await {
            match result {
                Ok((slot, session)) => {
                    self.put_back(slot, session);
                    ready += 1;
                }
                Err(error) => failure = Some(error),
            }
        }
        failure.filter(|_| ready == 0).map_or(Ok(()), Err)
    }

    async fn ready(
        &self,
        slot: Slot,
        connect: Duration,
        command: Duration,
    ) -> Result<(Slot, Session), NoSession> {
        if let Some(mut session) = self.idle(&slot)
            && session.is_alive(command).await
        {
            return Ok((slot, session));
        }
        let session = self.open(&slot, connect).await?;
        Ok((slot, session))
    }

    fn sessions(&self) -> MutexGuard<'_, Vec<Session>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
