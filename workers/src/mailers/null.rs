//! Takes every message and keeps none: for measuring everything but the provider.

use std::time::Duration;

use async_trait::async_trait;
use serde::Deserialize;
use uuid::Uuid;

use super::{Mailer, Outcome, Outgoing, RateCap, Reconciled, Unavailable};
use crate::window::Window;

#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NullConfig {
    /// How long each call pretends to take.
    pub latency_ms: u32,
    /// Calls that may run at once.
    pub concurrency: usize,
    /// 0: no limit.
    pub messages_per_second: u32,
}

impl Default for NullConfig {
    fn default() -> Self {
        Self { latency_ms: 0, concurrency: 64, messages_per_second: 0 }
    }
}

#[derive(Debug)]
pub struct Null {
    latency: Duration,
    concurrency: usize,
    rate: RateCap,
}

impl Null {
    #[must_use]
    pub fn new(config: &NullConfig) -> Self {
        Self {
            latency: Duration::from_millis(config.latency_ms.into()),
            concurrency: config.concurrency.max(1),
            rate: RateCap::new(config.messages_per_second),
        }
    }
}

#[async_trait]
impl Mailer for Null {
    fn name(&self) -> &'static str {
        "null"
    }

    fn concurrency(&self) -> usize {
        self.concurrency
    }

    fn call_timeout(&self) -> Duration {
        self.latency + Duration::from_secs(1)
    }

    async fn prepare(&self, _calls: usize) -> Result<(), Unavailable> {
        Ok(())
    }

    async fn take_tokens(&self, n: usize) -> usize {
        self.rate.take(n).await
    }

    async fn hand_over(&self, _message: &Outgoing, window: &Window) -> Outcome {
        if window.check().is_err() {
            return Outcome::NotStarted;
        }
        let late = window.is_late();
        if !self.latency.is_zero() {
            tokio::time::sleep(self.latency).await;
        }
        Outcome::Accepted { provider_id: None, late }
    }

    async fn reconcile(&self, _dispatch: Uuid, _subscriber: Uuid, _attempt: u32) -> Reconciled {
        Reconciled::Unknown
    }

    async fn settle_barrier(&self) -> Result<(), Unavailable> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::window::scripted::window;

    fn outgoing() -> Outgoing {
        Outgoing {
            dispatch: Uuid::from_u128(1),
            subscriber: Uuid::from_u128(2),
            attempt: 1,
            envelope_from: "news@example.org".into(),
            envelope_to: "ada@example.org".into(),
            message: b"Subject: hello\r\n\r\nhello\r\n".to_vec(),
        }
    }

    #[tokio::test]
    async fn takes_what_starts_in_time() {
        let null = Null::new(&NullConfig::default());
        let accepted = null.hand_over(&outgoing(), &window(&[(10, 10)])).await;
        assert_eq!(accepted, Outcome::Accepted { provider_id: None, late: false });
    }

    #[tokio::test]
    async fn starts_nothing_after_the_window_and_tells_a_late_write() {
        let null = Null::new(&NullConfig::default());
        assert_eq!(null.hand_over(&outgoing(), &window(&[(2_001, 2_001)])).await, Outcome::NotStarted);
        let late = null.hand_over(&outgoing(), &window(&[(1_999, 1_999), (2_001, 2_001)])).await;
        assert_eq!(late, Outcome::Accepted { provider_id: None, late: true });
    }

    #[test]
    fn a_message_is_never_printed() {
        let printed = format!("{:?}", outgoing());
        assert!(!printed.contains("ada") && !printed.contains("hello"), "{printed}");
    }
}
