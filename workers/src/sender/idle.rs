//! Lanes that found nothing to do wait here.

use super::{Rest, Sender};
use crate::rests::locked;
use commands::CommandError;
use commands::send::Lease;
use eventstore::news::{Topic, Waiter};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// A lane looks no more often, and this often while other processes are not heard or something rests.
const POLL: Duration = Duration::from_millis(100);
/// The same for all lanes of campaigns together.
const TOGETHER: Duration = Duration::from_millis(20);

/// Until when something rests that this process gave back: that ends without a word.
#[derive(Default)]
pub(super) struct Resting(Mutex<Option<Instant>>);

impl Resting {
    fn note(&self, rest: Rest) {
        if !rest.is_zero() {
            let end = Instant::now().checked_add(rest + POLL);
            let mut until = locked(&self.0);
            *until = end.max(*until);
        }
    }

    fn is_anything(&self) -> bool {
        locked(&self.0).is_some_and(|until| Instant::now() < until)
    }
}

/// Lanes that do the same wait together: one of them looks, and calls the next one when it found something.
#[derive(Clone)]
pub(super) struct Idle {
    moved: Arc<tokio::sync::Mutex<Waiter>>,
    found: Arc<Notify>,
    poll: Duration,
    resting: Arc<Resting>,
}

impl Idle {
    /// Until there may be something to do.
    pub async fn wait(&self) {
        let mut moved = self.moved.lock().await;
        let most = if self.resting.is_anything() { self.poll } else { moved.longest(self.poll) };
        tokio::select! {
            () = moved.wait(self.poll, most) => {}
            () = self.found.notified() => {}
        }
    }
}

impl Sender {
    pub(super) fn idle(&self) -> Idle {
        let moved = self.commands.store.news.wait_for(Topic::Moved);
        let (found, resting) = (Arc::default(), self.resting.clone());
        Idle { moved: Arc::new(moved.into()), found, poll: POLL, resting }
    }

    pub(super) fn idle_together(&self) -> Idle {
        Idle { found: self.found.clone(), poll: TOGETHER, ..self.idle() }
    }

    /// Gives a dispatch back, to be claimed again after `rest`.
    pub(super) async fn release(&self, lease: Lease, rest: Rest) -> Result<(), CommandError> {
        self.resting.note(rest);
        self.commands.release_dispatch(lease, rest).await
    }
}
