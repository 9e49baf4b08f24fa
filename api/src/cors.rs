//! Calls from pages of other origins (the Fetch standard, section 3.2): of the configured ones, exactly.

use crate::config::Origin;
use http::Method;
use http::header::{self, HeaderName, HeaderValue};
use http::request::Parts;
use std::time::Duration;
use tower_http::cors::{AllowCredentials, AllowOrigin, CorsLayer};

/// A browser asks again after this time.
const MAX_AGE: Duration = Duration::from_secs(600);

const METHODS: [Method; 5] = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];

const POSITION: HeaderName = HeaderName::from_static("postledger-position");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What a page may send beside the headers that every page may.
const ALLOWED: [HeaderName; 6] = [
    header::AUTHORIZATION,
    header::CONTENT_TYPE,
    header::IF_MATCH,
    HeaderName::from_static("idempotency-key"),
    POSITION,
    REQUEST_ID,
];

/// What a page may read.
const EXPOSED: [HeaderName; 8] = [
    header::ETAG,
    header::LOCATION,
    POSITION,
    header::RETRY_AFTER,
    REQUEST_ID,
    HeaderName::from_static("ratelimit-limit"),
    HeaderName::from_static("ratelimit-remaining"),
    HeaderName::from_static("ratelimit-reset"),
];

/// Nothing where no origin is configured: then browsers refuse.
pub(crate) fn layer(origins: &[Origin]) -> Option<CorsLayer> {
    let origins: Vec<HeaderValue> = origins.iter().map(|origin| origin.value().clone()).collect();
    if origins.is_empty() {
        return None;
    }
    let known = origins.clone();
    let with_cookie =
        AllowCredentials::predicate(move |origin, parts| known.contains(origin) && takes_a_cookie(parts));
    let layer = CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins))
        .allow_credentials(with_cookie)
        .allow_methods(METHODS)
        .allow_headers(ALLOWED)
        .expose_headers(EXPOSED)
        .max_age(MAX_AGE);
    Some(layer)
}

/// A sign-in by OAuth is bound to the browser that started it by a cookie. Nothing else is opened by one.
fn takes_a_cookie(parts: &Parts) -> bool {
    let path = parts.uri.path();
    path == "/auth/login" || path.starts_with("/auth/oauth/")
}
