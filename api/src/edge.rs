//! What every request and every answer goes through: the request id, the log line, the headers, problems.

use crate::problem::{self, ApiError};
use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use eventstore::ids;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use std::any::Any;
use std::net::SocketAddr;
use std::time::Instant;
use tracing::{Instrument, Span, field};
use uuid::Uuid;

pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

#[derive(Debug, Clone, Copy)]
pub(crate) struct RequestId(pub Uuid);

/// Who is at the other end of the connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub SocketAddr);

/// The outermost layer.
pub(crate) async fn edge(mut request: Request, next: Next) -> Response {
    let id = request_id(request.headers());
    request.extensions_mut().insert(RequestId(id));
    let span = span(&request, id);
    let started = Instant::now();
    async {
        let mut response = problem::complete(next.run(request).await, id);
        set_headers(response.headers_mut(), id);
        log(&response, started);
        response
    }
    .instrument(span)
    .await
}

/// The client's own id, if it is a UUID; else a new one.
fn request_id(headers: &HeaderMap) -> Uuid {
    let given = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok());
    given.and_then(|value| Uuid::try_parse(value).ok()).unwrap_or_else(ids::new_id)
}

/// Names the route and not the path, and never the query: tokens are in it.
fn span(request: &Request, id: Uuid) -> Span {
    let route = request.extensions().get::<MatchedPath>().map_or("-", MatchedPath::as_str);
    tracing::info_span!(
        "request",
        request.id = %id,
        http.method = %request.method(),
        http.route = route,
        http.status = field::Empty,
        latency_ms = field::Empty,
    )
}

fn log(response: &Response, started: Instant) {
    let latency_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    let status = response.status().as_u16();
    Span::current().record("http.status", status).record("latency_ms", latency_ms);
    match status {
        500.. => tracing::warn!("answered"),
        _ => tracing::info!("answered"),
    }
}

/// Headers that an answer did not set itself.
const DEFAULTS: [(HeaderName, HeaderValue); 5] = [
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::REFERRER_POLICY, HeaderValue::from_static("same-origin")),
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'")),
];

fn set_headers(headers: &mut HeaderMap, id: Uuid) {
    for (name, value) in DEFAULTS {
        headers.entry(name).or_insert(value);
    }
    if let Ok(value) = HeaderValue::from_str(&id.to_string()) {
        headers.insert(REQUEST_ID, value);
    }
}

/// The answer to a handler that panicked. Its message may hold anything and is not logged here; the panic hook has
/// the place.
pub(crate) fn panicked(_: Box<dyn Any + Send>) -> Response {
    tracing::error!("a handler panicked");
    ApiError::Internal.into_response()
}

pub(crate) async fn no_route() -> ApiError {
    ApiError::NotFound("path")
}

pub(crate) async fn no_method() -> ApiError {
    ApiError::MethodNotAllowed
}
