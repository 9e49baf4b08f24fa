//! Calls to the object store and to the CDN: each is bounded in time, counted, and told of without what it bore.

use crate::settings::CALL_TIME;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use std::fmt;
use std::time::{Duration, Instant};

/// A call, and what it takes to have credentials for it.
const WAIT_MAX: Duration = CALL_TIME.saturating_add(Duration::from_secs(2));

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Service {
    ObjectStore,
    Cdn,
}

impl Service {
    fn label(self) -> &'static str {
        match self {
            Self::ObjectStore => "object_store",
            Self::Cdn => "cdn",
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ObjectStore => "the object store",
            Self::Cdn => "the CDN",
        })
    }
}

/// The store or the CDN did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{service}: {reason}")]
pub struct Unavailable {
    service: Service,
    /// A code of theirs, or how the call failed; no URL, which might be a signed one.
    reason: String,
}

impl Unavailable {
    pub(crate) fn new(service: Service, reason: impl Into<String>) -> Self {
        metrics::counter!("postledger_media_failures_total", "service" => service.label()).increment(1);
        Self { service, reason: reason.into() }
    }
}

/// Counters begin at zero, so that their first step is seen.
pub(crate) fn register(service: Service) {
    metrics::counter!("postledger_media_failures_total", "service" => service.label()).increment(0);
}

/// The SDK's own limits do not count what it does before and behind a call: credentials, the body.
pub(crate) async fn within<T>(service: Service, call: impl Future<Output = T>) -> Result<T, Unavailable> {
    let start = Instant::now();
    // Boxed: the SDK's are large, and every route would be as large as its largest call.
    let answer = tokio::time::timeout(WAIT_MAX, Box::pin(call)).await;
    metrics::histogram!("postledger_media_call_duration_seconds", "service" => service.label())
        .record(start.elapsed());
    answer.map_err(|_| Unavailable::new(service, "no answer in time"))
}

/// A code, or the kind of failure: the SDK's texts may quote a request.
pub(crate) fn failure<E: ProvideErrorMetadata, R>(service: Service, error: &SdkError<E, R>) -> Unavailable {
    let reason = match error {
        SdkError::ConstructionFailure(_) => "the request could not be made",
        SdkError::TimeoutError(_) => "no answer in time",
        SdkError::DispatchFailure(_) => "not reached",
        SdkError::ResponseError(_) => "the answer could not be read",
        _ => error.code().unwrap_or("an error without a code"),
    };
    Unavailable::new(service, reason)
}
