//! What every request and every answer goes through: the request id, the client's address, the log line, the headers,
//! compression, problems.

use crate::client::Client;
use crate::config::ApiConfig;
use crate::metrics::Call;
use crate::problem::{self, ApiError};
use crate::{compression, cors};
use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use eventstore::ids;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;
use std::any::Any;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;
use tower_http::catch_panic::CatchPanicLayer;
use tracing::{Instrument, Span, field};
use uuid::Uuid;

pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

#[derive(Debug, Clone, Copy)]
pub(crate) struct RequestId(pub Uuid);

/// Who is at the other end of the connection; [`serve`](crate::serve) adds it to each request.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// When the request's head was there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrived(pub Instant);

/// What the edge has to be told.
struct Edge {
    proxies: Vec<IpNet>,
    is_https: bool,
}

/// Puts everything of this module around the routes. Public for the bench, which puts it around a route without sign-in.
pub fn around<S: Clone + Send + Sync + 'static>(routes: Router<S>, config: &ApiConfig) -> Router<S> {
    let edge = Edge { proxies: config.trusted_proxies.clone(), is_https: config.public_url.is_https() };
    let routes = routes
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .layer(CatchPanicLayer::custom(panicked))
        .layer(compression::layer());
    let routes = match cors::layer(&config.allowed_origins) {
        Some(cors) => routes.layer(cors),
        None => routes,
    };
    routes.layer(middleware::from_fn_with_state(Arc::new(edge), around_request))
}

async fn around_request(State(edge): State<Arc<Edge>>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id = request_id(request.headers());
    if let Some(Peer(peer)) = request.extensions().get() {
        let client = Client::of(peer.ip(), request.headers(), &edge.proxies);
        request.extensions_mut().insert(client);
    }
    request.extensions_mut().insert(RequestId(id));
    request.extensions_mut().insert(Arrived(started));
    let call = Call::of(&request);
    let span = span(&call, id);
    async {
        let response = next.run(request).await;
        call.count(&response, started.elapsed());
        let mut response = problem::complete(response, id);
        set_headers(response.headers_mut(), id);
        if edge.is_https {
            response.headers_mut().insert(header::STRICT_TRANSPORT_SECURITY, HSTS);
        }
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
fn span(call: &Call, id: Uuid) -> Span {
    tracing::info_span!(
        "request",
        request.id = %id,
        http.method = call.method,
        http.route = call.route,
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

/// A year (RFC 6797). Nothing is said of other hosts below this one: they may not be ours.
const HSTS: HeaderValue = HeaderValue::from_static("max-age=31536000");

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
fn panicked(_: Box<dyn Any + Send>) -> Response {
    tracing::error!("a handler panicked");
    ApiError::Internal.into_response()
}

async fn no_route() -> ApiError {
    ApiError::NotFound("path")
}

async fn no_method() -> ApiError {
    ApiError::MethodNotAllowed
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::{Body, to_bytes};
    use axum::routing::get;
    use http::StatusCode;
    use tower::ServiceExt;

    async fn ask(router: Router) -> (StatusCode, HeaderMap, serde_json::Value) {
        let config = ApiConfig::new("https://mail.example.org".parse().unwrap());
        let request = Request::builder().uri("/").body(Body::empty()).unwrap();
        let (parts, body) = around(router, &config).oneshot(request).await.unwrap().into_parts();
        let body = to_bytes(body, 10_000).await.unwrap();
        (parts.status, parts.headers, serde_json::from_slice(&body).unwrap())
    }

    #[tokio::test]
    async fn a_panic_is_a_problem_that_tells_nothing() {
        async fn boom() -> &'static str {
            panic!("secret")
        }
        let (status, headers, problem) = ask(Router::new().route("/", get(boom))).await;
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(problem["request_id"], headers[REQUEST_ID].to_str().unwrap());
        assert!(!problem.to_string().contains("secret"));
    }

    #[tokio::test]
    async fn a_bare_error_of_a_library_becomes_a_problem() {
        let bare =
            Router::new().route("/", get(|| async { (StatusCode::BAD_REQUEST, "quotes the request") }));
        let (status, headers, problem) = ask(bare).await;
        assert_eq!((status, &problem["status"]), (StatusCode::BAD_REQUEST, &serde_json::json!(400)));
        assert_eq!(headers[header::CONTENT_TYPE], problem::CONTENT_TYPE);
        assert!(!problem.to_string().contains("quotes"));
    }
}
