//! Bodies of requests: bounded, read once, and parsed into what a command takes.

use crate::access::Principal;
use crate::config::JSON_MAX_BYTES;
use crate::context;
use crate::input::json;
use crate::problem::ApiError;
use crate::state::App;
use axum::body::Body;
use axum::extract::{FromRequest, Request};
use commands::Context;
use futures::StreamExt;
use http::{HeaderMap, header};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// What forms are sent as by default.
pub(crate) const FORM: &str = "application/x-www-form-urlencoded";
/// What scripts send forms as.
pub(crate) const MULTIPART: &str = "multipart/form-data";

/// A JSON body. Its type refuses fields that it does not know.
pub(crate) trait Input: DeserializeOwned {
    const MAX_BYTES: usize = JSON_MAX_BYTES;
}

/// A command with a JSON body.
pub(crate) struct Call<T> {
    pub context: Context,
    /// The caller may be shown what was changed: no key that may write and not read.
    pub sees: bool,
    pub body: T,
}

impl<T: Input> FromRequest<App> for Call<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let bytes = read_json(app, &parts.headers, body, T::MAX_BYTES).await?;
        let sees = !matches!(parts.extensions.get(), Some(Principal::Key { sees: false, .. }));
        Ok(Self { context: context::of(app, &parts, &[&bytes])?, sees, body: json::parse(&bytes)? })
    }
}

/// A command whose answer is not kept for repeats, since it holds a secret.
pub(crate) struct Unkept<T> {
    pub context: Context,
    pub body: T,
}

impl<T: Input> FromRequest<App> for Unkept<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let bytes = read_json(app, &parts.headers, body, T::MAX_BYTES).await?;
        Ok(Self { context: context::plain(&parts), body: json::parse(&bytes)? })
    }
}

/// A reader's choice. A key only tells a repeat; one that is none is ignored, as nothing that a header says keeps anybody from
/// opting out.
pub(crate) struct Choice<T> {
    pub context: Context,
    pub body: T,
}

impl<T: Input> FromRequest<App> for Choice<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let bytes = read_json(app, &parts.headers, body, T::MAX_BYTES).await?;
        let context = context::of(app, &parts, &[&bytes]).unwrap_or_else(|_| context::plain(&parts));
        Ok(Self { context, body: json::parse(&bytes)? })
    }
}

/// A command whose path says everything. An empty object is as good as no body.
pub(crate) struct Bare(pub Context);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

impl FromRequest<App> for Bare {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        let bytes = read(app, &parts.headers, body, JSON_MAX_BYTES).await?;
        if !bytes.is_empty() {
            json::parse::<Nothing>(&bytes)?;
        }
        Ok(Self(context::of(app, &parts, &[&bytes])?))
    }
}

async fn read_json(
    app: &App,
    headers: &HeaderMap,
    body: Body,
    max_bytes: usize,
) -> Result<Vec<u8>, ApiError> {
    match is_json(headers) {
        true => read(app, headers, body, max_bytes).await,
        false => Err(ApiError::UnsupportedMediaType("send application/json")),
    }
}

/// All of a body, bounded in size and time.
pub(crate) async fn read(
    app: &App,
    headers: &HeaderMap,
    body: Body,
    max_bytes: usize,
) -> Result<Vec<u8>, ApiError> {
    if content_length(headers).is_some_and(|length| length > max_bytes as u64) {
        return Err(ApiError::TooLarge { max_bytes: max_bytes as u64 });
    }
    let read = tokio::time::timeout(app.config.body_time, collect(body, max_bytes)).await;
    read.unwrap_or(Err(ApiError::Stalled))
}

async fn collect(body: Body, max_bytes: usize) -> Result<Vec<u8>, ApiError> {
    let mut bytes = Vec::new();
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| ApiError::Malformed("the body broke off".to_owned()))?;
        if bytes.len() + chunk.len() > max_bytes {
            return Err(ApiError::TooLarge { max_bytes: max_bytes as u64 });
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

pub(crate) fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The media type without its parameters, in lower case.
pub(crate) fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

pub(crate) fn is_json(headers: &HeaderMap) -> bool {
    let media_type = media_type(headers);
    media_type == "application/json"
        || (media_type.starts_with("application/") && media_type.ends_with("+json"))
}
