//! The reference: as a document, and as a page. Both come from this binary alone.

use crate::access::{Access, Kind, Routes};
use crate::problem::ApiError;
use crate::state::App;
use axum::extract::{Path, State};
use axum::response::{Html, IntoResponse, Response};
use http::{HeaderName, HeaderValue, header};
use std::sync::{Arc, LazyLock};
use utoipa_axum::routes;
use utoipa_swagger_ui::Config;

/// Its addresses are relative, so that it works below any path.
const PAGE: &str = r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<title>Postledger: the REST API</title>
<link rel="stylesheet" href="docs/swagger-ui.css">
<link rel="icon" type="image/png" href="docs/favicon-32x32.png">
</head>
<body>
<div id="swagger-ui"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/swagger-ui-standalone-preset.js"></script>
<script src="docs/swagger-initializer.js"></script>
</body>
</html>
"#;

/// The viewer sets styles on its elements and draws with data URLs.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self'; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// No validator: it would send the document to another site.
static CONFIG: LazyLock<Arc<Config<'static>>> =
    LazyLock::new(|| Arc::new(Config::new(["openapi.json"]).validator_url("none").with_credentials(false)));

pub(super) fn routes(app: &App) -> Routes {
    Routes::new(app)
        .add(Access::Public, Kind::Plain, routes!(openapi))
        .add(Access::Public, Kind::Plain, routes!(page))
        .add(Access::Public, Kind::Plain, routes!(file))
}

/// Get this reference as a document
#[utoipa::path(get, path = "/openapi.json", tag = "system",
    responses((status = 200, description = "OpenAPI 3.1.", body = Object)))]
async fn openapi(State(app): State<App>) -> Result<Response, ApiError> {
    let document = app.openapi.get().ok_or(ApiError::Internal)?;
    Ok(([(header::CONTENT_TYPE, "application/json")], document.clone()).into_response())
}

/// Read this reference
#[utoipa::path(get, path = "/docs", tag = "system",
    responses((status = 200, description = "The page.", body = String, content_type = "text/html")))]
async fn page() -> ([(HeaderName, HeaderValue); 1], Html<&'static str>) {
    ([(header::CONTENT_SECURITY_POLICY, POLICY)], Html(PAGE))
}

/// Get a file of the reference's page
#[utoipa::path(get, path = "/docs/{file}", tag = "system", params(("file" = String, Path, example = "swagger-ui.css")),
    responses((status = 200, description = "A style sheet, a script, a picture or a source map.", content(
        (String = "text/css"), (String = "text/javascript"), (String = "text/html"), (String = "image/png"),
        (String = "application/json"), (String = "application/octet-stream")))))]
async fn file(Path(name): Path<String>) -> Result<Response, ApiError> {
    let found = utoipa_swagger_ui::serve(&name, CONFIG.clone()).map_err(|_| ApiError::Internal)?;
    let file = found.ok_or(ApiError::NotFound("file"))?;
    let mut response = file.bytes.into_owned().into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=86400"));
    headers.insert(header::CONTENT_SECURITY_POLICY, POLICY);
    if let Ok(content_type) = HeaderValue::from_str(&file.content_type) {
        headers.insert(header::CONTENT_TYPE, content_type);
    }
    if file.gzpipped {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    Ok(response)
}
