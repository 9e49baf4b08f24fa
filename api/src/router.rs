//! All routes, and the layers around them.

use crate::access::Routes;
use crate::endpoints;
use crate::state::{App, AppState, Deps};
use crate::{edge, limits, openapi};
use axum::Router;
use bytes::Bytes;
use std::sync::Arc;
use utoipa_axum::router::OpenApiRouter;

/// The whole API.
pub fn router(deps: Deps) -> Router {
    let app: App = Arc::new(AppState::from(deps));
    let frame = OpenApiRouter::with_openapi(openapi::frame());
    let all = endpoints::all(&app).into_iter().map(Routes::into_router).fold(frame, OpenApiRouter::merge);
    let (router, document) = all.split_for_parts();
    // Names and texts cannot fail to be serialised.
    let document = serde_json::to_vec(&document).unwrap_or_default();
    // Nobody else sets it.
    let _ = app.openapi.set(Bytes::from(document));
    limits::keep_small(&app);
    edge::around(router, &app.config.clone()).with_state(app)
}
