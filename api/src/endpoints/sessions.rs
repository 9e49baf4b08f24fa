//! A user's own sessions.

use crate::access::{Access, Kind, Routes, User};
use crate::context::Plain;
use crate::input::params::Ids;
use crate::personal::Opener;
use crate::problem::ApiError;
use crate::respond::List;
use crate::state::App;
use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use commands::SessionRow;
use domain::SessionId;
use domain::session::EndReason;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;
use uuid::Uuid;

pub(super) fn routes(app: &App) -> Routes {
    Routes::new(app).add(Access::SignedIn, Kind::Plain, routes!(list)).add(
        Access::SignedIn,
        Kind::Secret,
        routes!(end),
    )
}

#[derive(Serialize, ToSchema)]
struct SessionView {
    session_id: Uuid,
    /// Whether it is the session of this request.
    is_current: bool,
    /// Where it began.
    #[schema(example = "192.0.2.7")]
    source_address: Option<String>,
    #[schema(example = "Mozilla/5.0")]
    user_agent: Option<String>,
    started_at: DateTime<Utc>,
    refreshed_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
}

impl SessionView {
    fn of(opener: &Opener, user: &User, row: SessionRow) -> Self {
        let open = |field, sealed: Option<String>| opener.open_sealed(row.session_id, field, sealed?);
        Self {
            session_id: row.session_id,
            is_current: row.session_id == user.session,
            source_address: open("source_address", row.source_address),
            user_agent: open("user_agent", row.user_agent),
            started_at: row.started_at,
            refreshed_at: row.refreshed_at,
            expires_at: row.expires_at,
        }
    }
}

/// List one's own sessions
#[utoipa::path(get, path = "/auth/sessions", tag = "auth",
    responses((status = 200, description = "Those that stand, newest first; at most 50.", body = List<SessionView>)))]
async fn list(State(app): State<App>, user: User) -> Result<Json<List<SessionView>>, ApiError> {
    let rows = app.commands.sessions(user.id).await?;
    let ids: Vec<SessionId> = rows.iter().map(|row| row.session_id).collect();
    // What a visitor tells of themselves is sealed by their session's key.
    let opener = Opener::of(&app, &ids).await?;
    let items = rows.into_iter().map(|row| SessionView::of(&opener, &user, row)).collect();
    Ok(Json(List { items, next_cursor: None }))
}

/// End one of one's own sessions
#[utoipa::path(delete, path = "/auth/sessions/{id}", tag = "auth", params(("id" = Uuid, Path)),
    responses((status = 204, description = "It is over.")))]
async fn end(
    State(app): State<App>,
    Ids(id): Ids<SessionId>,
    user: User,
    Plain(context): Plain,
) -> Result<StatusCode, ApiError> {
    app.commands.end_session(&context, user.id, id, EndReason::Revoked).await?;
    Ok(StatusCode::NO_CONTENT)
}
