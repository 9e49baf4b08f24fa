//! The rate cap of a mailer: a token bucket. One place, so that a cap over all workers can take its place.

use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Unused tokens pile up to what this part of a second brings: so much more than the cap can start in any one second.
const BURST_FRACTION: f64 = 4.0;

/// Who must wait, waits for what this part of a second brings: else a fast mailer would be fed one message at a time.
const BATCH_FRACTION: f64 = 20.0;

/// Messages per second, or no cap.
#[derive(Debug)]
pub struct RateCap {
    bucket: Option<Mutex<Bucket>>,
}

impl RateCap {
    /// Nobody waits longer than this for a token.
    pub const MAX_WAIT: Duration = Duration::from_secs(10);

    #[must_use]
    pub fn new(messages_per_second: u32) -> Self {
        let cap = NonZeroU32::new(messages_per_second);
        Self { bucket: cap.map(|rate| Mutex::new(Bucket::new(rate, Instant::now()))) }
    }

    /// Takes up to `n` tokens, waiting at most [`Self::MAX_WAIT`] for the first; zero if that was too short or `n` is zero.
    pub async fn take(&self, n: usize) -> usize {
        let Some(bucket) = &self.bucket else { return n };
        let claim = bucket.lock().unwrap_or_else(PoisonError::into_inner).claim(n, Instant::now());
        sleep(claim.wait).await;
        claim.tokens
    }
}

/// Tokens that may be used after a wait.
#[derive(Debug, PartialEq)]
struct Claim {
    tokens: usize,
    wait: Duration,
}

/// Claims may run into debt, and wait until it is paid: so waiting callers are served in turn.
#[derive(Debug)]
struct Bucket {
    per_second: f64,
    tokens: f64,
    filled_at: Instant,
}

impl Bucket {
    fn new(rate: NonZeroU32, now: Instant) -> Self {
        let per_second = f64::from(rate.get());
        Self { per_second, tokens: burst(per_second), filled_at: now }
    }

    fn claim(&mut self, n: usize, now: Instant) -> Claim {
        self.fill(now);
        if n == 0 {
            return Claim { tokens: 0, wait: Duration::ZERO };
        }
        let batch = whole((self.per_second / BATCH_FRACTION).max(1.0)).min(n);
        let tokens = whole(self.tokens).clamp(batch, n);
        self.settle(tokens)
    }

    fn fill(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.filled_at).as_secs_f64();
        self.tokens = (self.tokens + elapsed * self.per_second).min(burst(self.per_second));
        self.filled_at = now;
    }

    fn settle(&mut self, tokens: usize) -> Claim {
        let left = self.tokens - tokens as f64;
        let wait = Duration::from_secs_f64((-left / self.per_second).max(0.0));
        if wait > RateCap::MAX_WAIT {
            return Claim { tokens: 0, wait: RateCap::MAX_WAIT };
        }
        self.tokens = left;
        Claim { tokens, wait }
    }
}

fn burst(per_second: f64) -> f64 {
    (per_second / BURST_FRACTION).max(1.0)
}

/// The whole tokens of a balance; none of a debt.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped: at most a u32's rate")]
fn whole(tokens: f64) -> usize {
    tokens.max(0.0) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX_WAIT: Duration = RateCap::MAX_WAIT;

    fn bucket(rate: u32, now: Instant) -> Bucket {
        Bucket::new(NonZeroU32::new(rate).unwrap(), now)
    }

    #[test]
    fn a_full_bucket_gives_its_burst_at_once() {
        let now = Instant::now();
        assert_eq!(bucket(100, now).claim(500, now), Claim { tokens: 25, wait: Duration::ZERO });
        assert_eq!(bucket(100, now).claim(7, now), Claim { tokens: 7, wait: Duration::ZERO });
    }

    #[test]
    fn an_empty_bucket_gives_a_batch_after_a_wait() {
        let now = Instant::now();
        let mut bucket = bucket(100, now);
        bucket.claim(25, now);
        assert_eq!(bucket.claim(500, now), Claim { tokens: 5, wait: Duration::from_millis(50) });
        assert_eq!(bucket.claim(500, now), Claim { tokens: 5, wait: Duration::from_millis(100) });
    }

    #[test]
    fn the_wait_is_bounded_and_then_takes_nothing() {
        let now = Instant::now();
        let mut bucket = bucket(1, now);
        let waits: Vec<_> = (0..12).map(|_| bucket.claim(1, now)).collect();
        assert_eq!(waits[10], Claim { tokens: 1, wait: MAX_WAIT });
        assert_eq!(waits[11], Claim { tokens: 0, wait: MAX_WAIT });
        assert_eq!(bucket.claim(1, now + MAX_WAIT), Claim { tokens: 1, wait: Duration::from_secs(1) });
    }

    #[test]
    fn no_more_than_the_cap_and_one_burst_start_in_any_second() {
        let start = Instant::now();
        let mut bucket = bucket(40, start);
        let mut starts = Vec::new();
        let mut now = start;
        while now < start + Duration::from_secs(5) {
            let claim = bucket.claim(500, now);
            now += claim.wait;
            starts.extend(std::iter::repeat_n(now, claim.tokens));
            now += Duration::from_millis(7);
        }
        for first in &starts {
            let in_second = starts.iter().filter(|at| *at >= first && **at < *first + Duration::from_secs(1));
            assert!(in_second.count() <= 40 + 10 + 1);
        }
        assert!(starts.len() >= 190, "the cap is reached: {}", starts.len());
    }

    #[tokio::test]
    async fn no_cap_gives_what_was_asked() {
        assert_eq!(RateCap::new(0).take(500).await, 500);
    }
}
