//! Keys of programs: shown once, for some scopes.

use crate::access::{Access, Kind, Routes};
use crate::body::{Input, Unkept};
use crate::context::Plain;
use crate::input::fields::Fields;
use crate::input::params::{Ids, PageParams, Params, before, limit};
use crate::input::timestamp::Timestamp;
use crate::problem::ApiError;
use crate::respond::{self, List};
use crate::state::App;
use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use commands::{ApiKeyRow, NewApiKey};
use domain::ApiKeyId;
use domain::access::Scope;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;
use uuid::Uuid;

const NAME_MAX_BYTES: usize = 200;

pub(super) fn routes(app: &App) -> Routes {
    Routes::new(app)
        .add(Access::Admin, Kind::Secret, routes!(create))
        .add(Access::Admin, Kind::Plain, routes!(list))
        .add(Access::Admin, Kind::Secret, routes!(revoke))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewApiKeyBody {
    #[schema(example = "The shop's export")]
    name: String,
    /// What it may do, such as `subscribers:write`.
    #[schema(example = json!(["subscribers:write", "groups:read"]))]
    scopes: Vec<String>,
    /// Without it the key is good until it is revoked.
    expires_at: Option<Timestamp>,
}

impl Input for NewApiKeyBody {}

impl NewApiKeyBody {
    fn check(self) -> Result<NewApiKey, ApiError> {
        let mut fields = Fields::default();
        let name = fields.line("name", self.name, NAME_MAX_BYTES);
        let scopes: Option<Vec<Scope>> = self.scopes.iter().map(|word| Scope::parse(word)).collect();
        let scopes = scopes.filter(|scopes| !scopes.is_empty()).unwrap_or_default();
        if scopes.is_empty() {
            fields.fail("scopes", format!("takes some of {}", Scope::ALL.map(Scope::as_str).join(", ")));
        }
        fields.check()?;
        Ok(NewApiKey { name, scopes, expires_at: self.expires_at.map(|at| at.0) })
    }
}

#[derive(Serialize, ToSchema)]
struct ApiKeyMade {
    api_key_id: Uuid,
    /// For `Authorization: Bearer`. It is not shown again.
    #[schema(example = "plk_Jx2p9Wm4")]
    key: String,
}

#[derive(Serialize, ToSchema)]
struct ApiKeyView {
    api_key_id: Uuid,
    #[schema(example = "The shop's export")]
    name: String,
    #[schema(value_type = Vec<String>, example = json!(["subscribers:write"]))]
    scopes: Vec<Scope>,
    made_at: DateTime<Utc>,
    expires_at: Option<DateTime<Utc>>,
    revoked_at: Option<DateTime<Utc>>,
}

impl From<ApiKeyRow> for ApiKeyView {
    fn from(row: ApiKeyRow) -> Self {
        let ApiKeyRow { api_key_id, name, scopes, made_at, expires_at, revoked_at } = row;
        Self { api_key_id, name, scopes, made_at, expires_at, revoked_at }
    }
}

/// Make an API key
#[utoipa::path(post, path = "/api-keys", tag = "users", request_body = NewApiKeyBody,
    responses((status = 201, description = "The key, this once.", body = ApiKeyMade)))]
async fn create(
    State(app): State<App>,
    call: Unkept<NewApiKeyBody>,
) -> Result<(StatusCode, Json<ApiKeyMade>), ApiError> {
    let (api_key_id, key) = app.commands.make_api_key(&call.context, call.body.check()?).await?;
    Ok((StatusCode::CREATED, Json(ApiKeyMade { api_key_id, key: key.text.to_string() })))
}

/// List API keys
#[utoipa::path(get, path = "/api-keys", tag = "users", params(PageParams),
    responses((status = 200, description = "Newest first, revoked ones too, none with the key itself.",
        body = List<ApiKeyView>)))]
async fn list(
    State(app): State<App>,
    Params(page): Params<PageParams>,
) -> Result<Json<List<ApiKeyView>>, ApiError> {
    let (limit, before) = (limit(&page.limit)?, before(&page.cursor)?);
    let rows = app.commands.api_keys(limit, before).await?;
    let ids: Vec<ApiKeyId> = rows.iter().map(|row| row.api_key_id).collect();
    let next_cursor = respond::next_cursor(&ids, limit);
    Ok(Json(List { items: rows.into_iter().map(ApiKeyView::from).collect(), next_cursor }))
}

/// Revoke an API key
///
/// It opens nothing from now on.
#[utoipa::path(delete, path = "/api-keys/{id}", tag = "users", params(("id" = Uuid, Path)),
    responses((status = 204, description = "It is revoked.")))]
async fn revoke(
    State(app): State<App>,
    Ids(id): Ids<ApiKeyId>,
    Plain(context): Plain,
) -> Result<StatusCode, ApiError> {
    app.commands.revoke_api_key(&context, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
