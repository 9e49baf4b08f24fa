//! Answers that go on for a while: bounded in number and in time, and ended when the server shuts down.

use crate::access::Principal;
use crate::context;
use crate::limits::Exceeded;
use crate::problem::ApiError;
use crate::shares::Share;
use crate::state::App;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

/// The leave to stream one answer; dropped with it.
pub(crate) struct Stream {
    pub app: App,
    ends_at: Instant,
    _slot: OwnedSemaphorePermit,
    _share: Share<String>,
}

impl Stream {
    pub fn begin(app: &App, caller: &Principal) -> Result<Self, ApiError> {
        let share = app.streams_each.take(context::caller(caller));
        let share = share.ok_or(Exceeded::AT_ONCE)?;
        let slot = Arc::clone(&app.streams).try_acquire_owned();
        let slot = slot.map_err(|_| ApiError::Overloaded("too many streams at once: ask again"))?;
        let ends_at = Instant::now() + app.config.stream_lifetime;
        Ok(Self { app: app.clone(), ends_at, _slot: slot, _share: share })
    }

    pub fn is_over(&self) -> bool {
        self.app.shutdown.is_cancelled() || Instant::now() >= self.ends_at
    }

    /// Returns early where the stream is over.
    pub async fn pause(&self, time: Duration) {
        tokio::select! {
            () = self.app.shutdown.cancelled() => {}
            () = tokio::time::sleep_until(self.ends_at.min(Instant::now() + time)) => {}
        }
    }
}
