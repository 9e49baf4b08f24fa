//! The public keys of access tokens.

use crate::access::{Access, Kind, Routes};
use crate::problem::ApiError;
use crate::state::App;
use crate::tokens::Jwk;
use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use http::{HeaderValue, header};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

/// Shorter than a new key is published before it signs.
const CACHED: HeaderValue = HeaderValue::from_static("public, max-age=30");

pub(super) fn routes(app: &App) -> Routes {
    Routes::new(app).add(Access::Public, Kind::Plain, routes!(jwks))
}

#[derive(Serialize, ToSchema)]
struct Jwks {
    keys: Vec<Jwk>,
}

/// Get the public keys of access tokens
///
/// A JWK set (RFC 7517). A new key is here a minute before the first token that it signed.
#[utoipa::path(get, path = "/.well-known/jwks.json", tag = "system",
    responses((status = 200, description = "The keys.", body = Jwks)))]
async fn jwks(State(app): State<App>) -> Result<impl IntoResponse, ApiError> {
    let keys = app.access_keys.jwks().await?;
    Ok(([(header::CACHE_CONTROL, CACHED)], Json(Jwks { keys })))
}
