//! Users: who may sign in, and what for.

use crate::access::{Access, Routes};
use crate::body::{Bare, Call, Input};
use crate::context::once;
use crate::input::fields::Fields;
use crate::input::params::{Ids, PageParams, Params, before, limit};
use crate::input::position::Position;
use crate::personal::Opener;
use crate::problem::ApiError;
use crate::respond::{self, List};
use crate::state::App;
use axum::Json;
use axum::extract::State;
use axum::response::Response;
use commands::{NewUser, Password, UserPatch, UserRow};
use domain::access::Role;
use domain::{EmailAddress, UserId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;
use uuid::Uuid;

pub(super) fn routes(app: &App) -> Routes {
    Routes::new(app)
        .command(Access::Admin, routes!(create))
        .query(Access::Admin, routes!(list))
        .query(Access::Admin, routes!(get))
        .command(Access::Admin, routes!(change))
        .command(Access::Admin, routes!(invite))
        .command(Access::Admin, routes!(unlink))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewUserBody {
    #[schema(example = "ana@example.com")]
    email: String,
    /// `admin`, `marketer`, `analyst`, `auditor`.
    #[schema(example = json!(["marketer"]))]
    roles: Vec<String>,
    /// At least 12 characters. Without one they get an invitation by mail, good for 7 days.
    #[schema(example = "correct horse battery staple")]
    password: Option<String>,
}

impl Input for NewUserBody {}

impl NewUserBody {
    fn check(self) -> Result<NewUser, ApiError> {
        let mut fields = Fields::default();
        let email = EmailAddress::parse(&self.email);
        let email = email.map_err(|error| fields.fail("email", error.to_string())).ok();
        let roles = roles(&mut fields, &self.roles);
        let password = self.password.map(Password::new).transpose();
        let password = password.map_err(|reason| fields.fail("password", reason)).ok().flatten();
        fields.check()?;
        let email = email.ok_or(ApiError::Internal)?;
        Ok(NewUser { email, roles, password })
    }
}

/// What is absent stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct UserChange {
    /// All of them.
    #[schema(example = json!(["marketer", "analyst"]))]
    roles: Option<Vec<String>>,
    /// Who is disabled is signed out and cannot sign in.
    #[schema(example = false)]
    disabled: Option<bool>,
}

impl Input for UserChange {}

impl UserChange {
    fn check(self) -> Result<UserPatch, ApiError> {
        let mut fields = Fields::default();
        let roles = self.roles.map(|words| roles(&mut fields, &words));
        fields.check()?;
        Ok(UserPatch { roles, disabled: self.disabled })
    }
}

fn roles(fields: &mut Fields, words: &[String]) -> Vec<Role> {
    let roles: Option<Vec<Role>> = words.iter().map(|word| Role::parse(word)).collect();
    match roles {
        Some(roles) if !roles.is_empty() => return roles,
        _ => fields.fail("roles", "takes some of admin, marketer, analyst, auditor"),
    }
    Vec::new()
}

#[derive(ToSchema)]
#[allow(dead_code, reason = "it documents an answer")]
struct UserCreated {
    user_id: Uuid,
}

#[derive(Serialize, ToSchema)]
struct UserView {
    user_id: Uuid,
    /// Null where it cannot be read.
    #[schema(example = "ana@example.com")]
    email: Option<String>,
    #[schema(value_type = Vec<String>, example = json!(["marketer"]))]
    roles: Vec<Role>,
    disabled: bool,
    /// False: they have not accepted their invitation, and sign in at an OpenID provider or not at all.
    has_password: bool,
}

impl UserView {
    fn of(opener: &Opener, row: UserRow) -> Self {
        let email = opener.open(row.user_id, "address", &row.address);
        let UserRow { user_id, roles, disabled, has_password, .. } = row;
        Self { user_id, email, roles, disabled, has_password }
    }
}

/// Create a user
///
/// With a password, or with an invitation to choose one. Who comes from an OpenID provider with the same, verified address is
/// this user, too.
#[utoipa::path(post, path = "/users", tag = "users", request_body = NewUserBody,
    responses((status = 201, description = "They may sign in.", body = UserCreated)))]
async fn create(State(app): State<App>, call: Call<NewUserBody>) -> Result<Response, ApiError> {
    let new = call.body.check()?;
    let done = once(&app, &call.context, app.commands.add_user(&call.context, new)).await?;
    Ok(respond::created(&app, done, "/users", "user_id"))
}

/// List users
#[utoipa::path(get, path = "/users", tag = "users", params(PageParams),
    responses((status = 200, description = "Newest first.", body = List<UserView>)))]
async fn list(
    State(app): State<App>,
    position: Position,
    Params(page): Params<PageParams>,
) -> Result<Json<List<UserView>>, ApiError> {
    let (limit, before) = (limit(&page.limit)?, before(&page.cursor)?);
    position.wait(&app, &[]).await?;
    let rows = app.commands.users(limit, before).await?;
    let ids: Vec<UserId> = rows.iter().map(|row| row.user_id).collect();
    let opener = Opener::of(&app, &ids).await?;
    let next_cursor = respond::next_cursor(&ids, limit);
    let items = rows.into_iter().map(|row| UserView::of(&opener, row)).collect();
    Ok(Json(List { items, next_cursor }))
}

/// Show a user
#[utoipa::path(get, path = "/users/{id}", tag = "users", params(("id" = Uuid, Path)),
    responses((status = 200, description = "The user.", body = UserView, headers(("ETag" = String)))))]
async fn get(State(app): State<App>, Ids(id): Ids<UserId>, position: Position) -> Result<Response, ApiError> {
    position.wait(&app, &[]).await?;
    let (version, view) = load(&app, id).await?;
    Ok(respond::resource(version, view))
}

/// Change a user
///
/// What is absent stays as it is. Other roles are in the next access token, ten minutes from now at the latest. The last
/// administrator stays one.
#[utoipa::path(patch, path = "/users/{id}", tag = "users", request_body = UserChange,
    params(("id" = Uuid, Path), ("If-Match" = Option<String>, Header, description = "The `ETag` that was seen.")),
    responses((status = 200, description = "The user as they are now.", body = UserView, headers(("ETag" = String)))))]
async fn change(
    State(app): State<App>,
    Ids(id): Ids<UserId>,
    call: Call<UserChange>,
) -> Result<Response, ApiError> {
    let patch = call.body.check()?;
    let done = once(&app, &call.context, app.commands.change_user(&call.context, id, patch)).await?;
    let now = load(&app, id).await?;
    Ok(respond::changed(&done, Some(now), ("user_id", id)))
}

/// Invite a user once more
///
/// Who has not chosen a password yet gets another mail; the link of the one before is over. Three an hour at the most.
#[utoipa::path(post, path = "/users/{id}/invitation", tag = "users", params(("id" = Uuid, Path)),
    responses((status = 202, description = "It will be sent.", body = UserCreated),
        (status = 409, description = "They have a password, are disabled, or were invited often enough.",
            body = crate::problem::Problem, content_type = "application/problem+json")))]
async fn invite(
    State(app): State<App>,
    Ids(id): Ids<UserId>,
    Bare(context): Bare,
) -> Result<Response, ApiError> {
    Ok(respond::accepted(once(&app, &context, app.commands.invite_again(&context, id)).await?))
}

/// Unlink a user's identity
///
/// What they are at an OpenID provider is nobody any more. The next sign-in there links them anew, by their address.
#[utoipa::path(delete, path = "/users/{id}/identities", tag = "users", params(("id" = Uuid, Path)),
    responses((status = 204, description = "They have none.")))]
async fn unlink(
    State(app): State<App>,
    Ids(id): Ids<UserId>,
    Bare(context): Bare,
) -> Result<Response, ApiError> {
    let done = once(&app, &context, app.commands.unlink_identities(&context, id)).await?;
    Ok(respond::no_content(&done))
}

async fn load(app: &App, id: UserId) -> Result<(i64, UserView), ApiError> {
    let row = app.commands.user(id).await?;
    let opener = Opener::of(app, &[id]).await?;
    Ok((row.version, UserView::of(&opener, row)))
}
