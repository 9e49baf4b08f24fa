//! Groups: who may be written to together.

use crate::access::{Access, Routes};
use crate::body::{Bare, Call, Input};
use crate::context::once;
use crate::input::fields::Fields;
use crate::input::params::{Ids, PageParams, Params, slice};
use crate::input::position::{self, Models, Position};
use crate::problem::ApiError;
use crate::respond::{self, List};
use crate::state::App;
use axum::Json;
use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, Utc};
use commands::GroupPatch;
use domain::GroupId;
use domain::access::Scope;
use projections::groups::{self, Group};
use projections::{GroupMembers, Groups};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;
use uuid::Uuid;

const NAME_MAX_BYTES: usize = 200;
const DESCRIPTION_MAX_BYTES: usize = 2_000;
const MODELS: Models = &[&Groups, &GroupMembers];

pub(super) fn routes(app: &App) -> Routes {
    Routes::new(app)
        .command(Access::Scope(Scope::GroupsWrite), routes!(create))
        .query(Access::Scope(Scope::GroupsRead), routes!(list))
        .query(Access::Scope(Scope::GroupsRead), routes!(get))
        .command(Access::Scope(Scope::GroupsWrite), routes!(change))
        .command(Access::Scope(Scope::GroupsWrite), routes!(delete))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewGroup {
    #[schema(example = "Newsletter")]
    name: String,
    #[schema(example = "Monthly, since 2019")]
    description: Option<String>,
}

impl Input for NewGroup {}

/// What is absent stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct GroupChange {
    #[schema(example = "Newsletter")]
    name: Option<String>,
    #[schema(example = "Monthly")]
    description: Option<String>,
}

impl Input for GroupChange {}

impl GroupChange {
    fn check(self) -> Result<GroupPatch, ApiError> {
        let mut fields = Fields::default();
        let patch = GroupPatch {
            name: self.name.map(|name| fields.line("name", name, NAME_MAX_BYTES)),
            description: self.description.map(|text| fields.text("description", text, DESCRIPTION_MAX_BYTES)),
        };
        fields.check()?;
        Ok(patch)
    }
}

#[derive(ToSchema)]
#[allow(dead_code, reason = "it documents an answer")]
struct GroupCreated {
    group_id: Uuid,
}

#[derive(Serialize, ToSchema)]
struct GroupView {
    group_id: Uuid,
    #[schema(example = "Newsletter")]
    name: String,
    description: String,
    /// Readers whom the group may write to now.
    members: i64,
    created_at: DateTime<Utc>,
    changed_at: DateTime<Utc>,
}

impl From<Group> for GroupView {
    fn from(group: Group) -> Self {
        Self {
            group_id: group.id,
            name: group.name,
            description: group.description,
            members: group.members,
            created_at: group.created_at,
            changed_at: group.changed_at,
        }
    }
}

/// Create a group
#[utoipa::path(post, path = "/groups", tag = "groups", request_body = NewGroup,
    responses((status = 201, description = "It was created.", body = GroupCreated)))]
async fn create(State(app): State<App>, call: Call<NewGroup>) -> Result<Response, ApiError> {
    let NewGroup { name, description } = call.body;
    let patch = GroupChange { name: Some(name), description }.check()?;
    let (name, description) = (patch.name.unwrap_or_default(), patch.description.unwrap_or_default());
    let created = app.commands.create_group(&call.context, name, description);
    let done = once(&app, &call.context, created).await?;
    Ok(respond::created(&app, done, "/groups", "group_id"))
}

/// List groups
#[utoipa::path(get, path = "/groups", tag = "groups", params(PageParams),
    responses((status = 200, description = "Newest first.", body = List<GroupView>)))]
async fn list(
    State(app): State<App>,
    position: Position,
    Params(page): Params<PageParams>,
) -> Result<Json<List<GroupView>>, ApiError> {
    let slice = slice(&page.limit, &page.cursor)?;
    position.wait(&app, MODELS).await?;
    Ok(respond::list(groups::list(&app.pool, slice).await?, GroupView::from))
}

/// Show a group
#[utoipa::path(get, path = "/groups/{id}", tag = "groups", params(("id" = Uuid, Path)),
    responses((status = 200, description = "The group.", body = GroupView, headers(("ETag" = String)))))]
async fn get(
    State(app): State<App>,
    Ids(id): Ids<GroupId>,
    position: Position,
) -> Result<Response, ApiError> {
    position.wait(&app, MODELS).await?;
    let group = groups::get(&app.pool, id).await?.ok_or(ApiError::NotFound("group"))?;
    Ok(respond::resource(group.version, GroupView::from(group)))
}

/// Change a group
///
/// What is absent stays as it is.
#[utoipa::path(patch, path = "/groups/{id}", tag = "groups", request_body = GroupChange,
    params(("id" = Uuid, Path), ("If-Match" = Option<String>, Header, description = "The `ETag` that was seen.")),
    responses((status = 200, description = "The group as it is now.", body = GroupView, headers(("ETag" = String)))))]
async fn change(
    State(app): State<App>,
    Ids(id): Ids<GroupId>,
    call: Call<GroupChange>,
) -> Result<Response, ApiError> {
    let patch = call.body.check()?;
    let changed = app.commands.change_group(&call.context, id, patch);
    let done = once(&app, &call.context, changed).await?;
    let group = match call.sees && position::reached(&app, &done.position, MODELS).await {
        true => groups::get(&app.pool, id).await?,
        false => None,
    };
    let view = group.map(|group| (group.version, GroupView::from(group)));
    Ok(respond::changed(&done, view, ("group_id", id)))
}

/// Delete a group
///
/// Refused while a campaign that is under way uses it.
#[utoipa::path(delete, path = "/groups/{id}", tag = "groups",
    params(("id" = Uuid, Path), ("If-Match" = Option<String>, Header, description = "The `ETag` that was seen.")),
    responses((status = 204, description = "It was deleted.")))]
async fn delete(
    State(app): State<App>,
    Ids(id): Ids<GroupId>,
    Bare(context): Bare,
) -> Result<Response, ApiError> {
    let done = once(&app, &context, app.commands.delete_group(&context, id)).await?;
    Ok(respond::no_content(&done))
}
