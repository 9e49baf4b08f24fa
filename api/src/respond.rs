//! Answers that are no problems.

use crate::input::etag::etag;
use crate::input::position;
use crate::state::App;
use axum::Json;
use axum::response::{IntoResponse, Response};
use eventstore::{Done, PositionToken};
use http::{HeaderName, HeaderValue, StatusCode, header};
use projections::Page;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

/// A part of a list, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct List<T> {
    pub items: Vec<T>,
    /// Where the list goes on: send it as `cursor`. Null at the end.
    pub next_cursor: Option<String>,
}

pub(crate) fn list<R, T: Serialize>(page: Page<R>, view: impl Fn(R) -> T) -> Json<List<T>> {
    let next_cursor = page.next_cursor.map(|cursor| cursor.to_string());
    Json(List { items: page.items.into_iter().map(view).collect(), next_cursor })
}

/// For lists by falling id. A page that is full may be the last one: then the next is empty.
pub(crate) fn next_cursor(ids: &[Uuid], limit: i64) -> Option<String> {
    let is_full = i64::try_from(ids.len()).is_ok_and(|length| length == limit);
    ids.last().filter(|_| is_full).map(|last| last.simple().to_string())
}

/// 201 with the command's answer; `id` is the member of it that names what was made below `collection`.
pub(crate) fn created(app: &App, done: Done, collection: &str, id: &str) -> Response {
    let id = done.answer.get(id).and_then(Value::as_str).unwrap_or_default();
    let location = HeaderValue::from_str(&app.config.public_url.join(&format!("{collection}/{id}")));
    let mut response = answered(StatusCode::CREATED, done);
    response.headers_mut().extend(location.ok().map(|location| (header::LOCATION, location)));
    response
}

/// 202 with the command's answer.
pub(crate) fn accepted(done: Done) -> Response {
    answered(StatusCode::ACCEPTED, done)
}

/// On the first answer to an idempotency key, given again: a status in it was so then, and may be another by now.
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

fn answered(status: StatusCode, done: Done) -> Response {
    let mut response = with_position((status, Json(done.answer)).into_response(), &done.position);
    if done.repeated {
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    }
    response
}

pub(crate) fn no_content(done: &Done) -> Response {
    with_position(StatusCode::NO_CONTENT.into_response(), &done.position)
}

pub(crate) fn with_position(mut response: Response, position: &PositionToken) -> Response {
    // The token is base64url.
    if let Ok(value) = HeaderValue::from_str(&position.encode()) {
        response.headers_mut().insert(position::HEADER, value);
    }
    response
}

/// 200 with something that can be edited.
pub(crate) fn resource(version: i64, view: impl Serialize) -> Response {
    let mut response = Json(view).into_response();
    response.headers_mut().insert(header::ETAG, etag(version));
    response
}

/// 200 with what was changed as it is now, with its version; without it, only its id: the change is done, and the
/// read model has not got that far, or the caller may not read it.
pub(crate) fn changed<T: Serialize>(
    done: &Done,
    now: Option<(i64, T)>,
    (name, id): (&str, Uuid),
) -> Response {
    let response = match now {
        Some((version, view)) => resource(version, view),
        None => Json(serde_json::json!({ name: id })).into_response(),
    };
    with_position(response, &done.position)
}
