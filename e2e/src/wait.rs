//! Waiting for conditions, with a deadline and a word on what was missed.

use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(20);

/// Looks until there is an answer; panics at the deadline.
pub async fn eventually<T>(what: &str, within: Duration, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {within:?} in vain: {what}");
        tokio::time::sleep(POLL).await;
    }
}

/// Looks for as long as is said, and panics as soon as it does not hold.
pub async fn stays(what: &str, so_long: Duration, mut holds: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + so_long;
    while Instant::now() < end {
        assert!(holds().await, "no longer holds: {what}");
        tokio::time::sleep(POLL).await;
    }
}
