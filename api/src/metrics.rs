//! What is counted of requests, and named in their log. Labels come from bounded sets: a route is its template, a method one that we know.

use crate::problem;
use axum::extract::{MatchedPath, Request};
use axum::response::Response;
use http::{Method, StatusCode};
use std::time::Duration;

/// A request's labels.
pub(crate) struct Call {
    pub method: &'static str,
    pub route: String,
}

impl Call {
    pub fn of(request: &Request) -> Self {
        let route = request.extensions().get::<MatchedPath>().map_or("-", MatchedPath::as_str);
        Self { method: known_method(request.method()), route: route.to_owned() }
    }

    /// `took`: until the answer's head was there.
    pub fn count(self, response: &Response, took: Duration) {
        let Self { method, route } = self;
        let status = class(response.status());
        metrics::counter!("postledger_http_requests_total",
            "method" => method, "route" => route.clone(), "status" => status)
        .increment(1);
        metrics::histogram!("postledger_http_request_duration_seconds",
            "method" => method, "route" => route.clone())
        .record(took);
        if !matches!(method, "GET" | "HEAD" | "OPTIONS") {
            metrics::counter!("postledger_commands_total",
                "method" => method, "route" => route, "result" => result(response))
            .increment(1);
        }
    }
}

/// A client may send any word as its method.
fn known_method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        _ => "other",
    }
}

fn class(status: StatusCode) -> &'static str {
    match status.as_u16() {
        ..200 => "1xx",
        200..300 => "2xx",
        300..400 => "3xx",
        400..500 => "4xx",
        500.. => "5xx",
    }
}

/// `done`, or the problem's kind by the last word of its type.
fn result(response: &Response) -> &'static str {
    let is_error = response.status().is_client_error() || response.status().is_server_error();
    match problem::kind_of(response) {
        Some(kind) => kind,
        None if is_error => "refused",
        None => "done",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_bounded() {
        let strange = Method::from_bytes(b"ZEISIG").unwrap();
        assert_eq!(known_method(&strange), "other");
        let request = Request::builder().method(strange).uri("/zeisig?token=x").body("".into()).unwrap();
        let call = Call::of(&request);
        assert_eq!((call.method, call.route.as_str()), ("other", "-"));
        assert_eq!(class(StatusCode::from_u16(599).unwrap()), "5xx");
    }
}
