//! Signing in, staying so, and signing out.

use crate::access::{Access, Kind, Routes, User};
use crate::body::{Input, Unkept};
use crate::client::Client;
use crate::context::Plain;
use crate::endpoints::oauth::{self, ProviderLogin};
use crate::input::fields::Fields;
use crate::limits::{self, Account};
use crate::personal::Opener;
use crate::problem::ApiError;
use crate::state::App;
use crate::tokens::{AccessClaims, LIFE_SECONDS};
use crate::visit::Visitor;
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use commands::{Context, Password, SignedIn};
use domain::access::Role;
use domain::session::EndReason;
use domain::{EmailAddress, UserId};
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;
use uuid::Uuid;

pub(super) fn routes(app: &App) -> Routes {
    Routes::new(app)
        .add(Access::Public, Kind::Secret, routes!(login))
        .add(Access::Public, Kind::Secret, routes!(refresh))
        .add(Access::SignedIn, Kind::Secret, routes!(logout))
        .add(Access::SignedIn, Kind::Plain, routes!(me))
        .add(Access::SignedIn, Kind::Secret, routes!(password))
}

/// With a password, or with what an OpenID provider sent the browser back with.
#[derive(ToSchema)]
#[serde(untagged)]
#[allow(dead_code, reason = "it documents a body")]
enum Login {
    Password(PasswordLogin),
    Provider(ProviderLogin),
}

#[derive(Debug, ToSchema)]
struct PasswordLogin {
    #[schema(example = "ana@example.com")]
    email: String,
    #[schema(example = "correct horse battery staple")]
    password: String,
}

/// As it is read: which of the two it is meant to be is seen by its fields, so that an answer can name what is missing.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LoginFields {
    email: Option<String>,
    password: Option<String>,
    provider: Option<String>,
    code: Option<String>,
    state: Option<String>,
    iss: Option<String>,
}

impl Input for LoginFields {}

impl LoginFields {
    fn check(self) -> Result<Login, ApiError> {
        let Self { email, password, provider, code, state, iss } = self;
        let mut fields = Fields::default();
        let is_provider = provider.is_some() || code.is_some() || state.is_some() || iss.is_some();
        let login = if is_provider {
            for (field, value) in [("email", email), ("password", password)] {
                if value.is_some() {
                    fields.fail(field, "does not go with provider, code and state");
                }
            }
            Login::Provider(ProviderLogin {
                provider: fields.needed("provider", provider),
                code: fields.needed("code", code),
                state: fields.needed("state", state),
                iss,
            })
        } else {
            Login::Password(PasswordLogin {
                email: fields.needed("email", email),
                password: fields.needed("password", password),
            })
        };
        fields.check()?;
        Ok(login)
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Refresh {
    #[schema(example = "plr_Jx2p9Wm4")]
    refresh_token: String,
}

impl Input for Refresh {}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewPassword {
    current_password: String,
    /// At least 12 characters.
    #[schema(example = "another horse battery staple")]
    new_password: String,
}

impl Input for NewPassword {}

#[derive(Serialize, ToSchema)]
pub(super) struct Tokens {
    /// A JWT for `Authorization: Bearer`.
    access_token: String,
    /// Good once, for the next pair. Keep it where no script reads it.
    #[schema(example = "plr_Jx2p9Wm4")]
    refresh_token: String,
    #[schema(example = "Bearer")]
    token_type: &'static str,
    /// Seconds that the access token is good for.
    #[schema(example = 600)]
    expires_in: i64,
}

impl Tokens {
    pub(super) async fn of(app: &App, signed_in: SignedIn) -> Result<Json<Self>, ApiError> {
        let SignedIn { user_id, session_id, roles, refresh_token } = signed_in;
        let claims = AccessClaims { user: user_id, session: session_id, roles };
        Ok(Json(Self {
            access_token: app.access_keys.sign(&claims).await?,
            refresh_token: refresh_token.text.to_string(),
            token_type: "Bearer",
            expires_in: LIFE_SECONDS,
        }))
    }
}

#[derive(Serialize, ToSchema)]
struct Me {
    user_id: Uuid,
    email: String,
    #[schema(value_type = Vec<String>, example = json!(["marketer"]))]
    roles: Vec<Role>,
    /// The session of this access token.
    session_id: Uuid,
}

/// Sign in
///
/// With a password: an unknown address and a wrong password are one answer. Or with the code and the state that an OpenID
/// provider sent the browser back with, from the browser that began (`GET /auth/oauth/{provider}/start`): its cookie
/// has to come along. Whatever the reason, a sign-in that is refused is one answer there, too.
#[utoipa::path(post, path = "/auth/login", tag = "auth", request_body = Login, responses(
    (status = 200, description = "Signed in.", body = Tokens),
    (status = 401, description = "The address or the password is wrong; the sign-in at the provider is refused.",
        body = crate::problem::Problem, content_type = "application/problem+json")))]
async fn login(
    State(app): State<App>,
    visitor: Visitor,
    headers: HeaderMap,
    call: Unkept<LoginFields>,
) -> Result<Response, ApiError> {
    match call.body.check()? {
        Login::Password(login) => {
            let tokens = by_password(&app, &call.context, login, visitor).await?;
            Ok(tokens.into_response())
        }
        Login::Provider(login) => {
            limits::provider(&app, visitor.client)?;
            oauth::login(&app, &call.context, &headers, login, visitor).await
        }
    }
}

async fn by_password(
    app: &App,
    context: &Context,
    login: PasswordLogin,
    visitor: Visitor,
) -> Result<Json<Tokens>, ApiError> {
    let PasswordLogin { email, password } = login;
    let email = EmailAddress::parse(&email).map_err(|error| ApiError::invalid("email", error.to_string()))?;
    let password = Password::given(password).map_err(|reason| ApiError::invalid("password", reason))?;
    let held = limits::password(app, visitor.client, Account::Address(&email)).await?;
    let signed_in = app.commands.sign_in(context, &email, password, visitor.visit).await?;
    drop(held);
    note_network(app, signed_in.user_id, visitor.client).await;
    Tokens::of(app, signed_in).await
}

/// Whoever has proved to be a user is known where they did.
pub(super) async fn note_network(app: &App, user: UserId, client: Client) {
    if let Err(error) = app.commands.remember_network(user, client.network()).await {
        // What they did stands.
        tracing::warn!(%error, "where a user signed in was not noted");
    }
}

/// Get the next pair of tokens
///
/// The refresh token is spent. Of several requests with one token that are under way at once one wins; the others get the
/// problem `refresh-raced`, and nothing is revoked. A spent token that comes back later revokes the session.
#[utoipa::path(post, path = "/auth/refresh", tag = "auth", request_body = Refresh, responses(
    (status = 200, description = "The next pair.", body = Tokens),
    (status = 401, description = "The token is not valid, or another request was first.",
        body = crate::problem::Problem, content_type = "application/problem+json")))]
async fn refresh(
    State(app): State<App>,
    visitor: Visitor,
    call: Unkept<Refresh>,
) -> Result<Json<Tokens>, ApiError> {
    let Visitor { visit, arrived, .. } = visitor;
    let signed_in = app.commands.refresh(&call.context, &call.body.refresh_token, visit, arrived).await?;
    Tokens::of(&app, signed_in).await
}

/// Sign out
///
/// The session's refresh token opens nothing any more; an access token ends by itself within ten minutes.
#[utoipa::path(post, path = "/auth/logout", tag = "auth",
    responses((status = 204, description = "The session is over.")))]
async fn logout(State(app): State<App>, user: User, Plain(context): Plain) -> Result<StatusCode, ApiError> {
    app.commands.end_session(&context, user.id, user.session, EndReason::SignedOut).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Show who is signed in
#[utoipa::path(get, path = "/auth/me", tag = "auth",
    responses((status = 200, description = "The user, with the present roles.", body = Me)))]
async fn me(State(app): State<App>, user: User) -> Result<Json<Me>, ApiError> {
    let row = app.commands.user(user.id).await?;
    let email = Opener::of(&app, &[user.id]).await?.open(user.id, "address", &row.address);
    let email = email.unwrap_or_default();
    Ok(Json(Me { user_id: user.id, email, roles: row.roles, session_id: user.session }))
}

/// Change the password
///
/// All sessions of the user end, this one too: sign in again.
#[utoipa::path(post, path = "/auth/password", tag = "auth", request_body = NewPassword,
    responses((status = 204, description = "It was changed.")))]
async fn password(
    State(app): State<App>,
    user: User,
    visitor: Visitor,
    call: Unkept<NewPassword>,
) -> Result<StatusCode, ApiError> {
    let NewPassword { current_password, new_password } = call.body;
    let present = Password::given(current_password);
    let present = present.map_err(|reason| ApiError::invalid("current_password", reason))?;
    let new = Password::new(new_password).map_err(|reason| ApiError::invalid("new_password", reason))?;
    let _held = limits::password(&app, visitor.client, Account::User(user.id)).await?;
    app.commands.change_password(&call.context, user.id, present, new, visitor.visit).await?;
    Ok(StatusCode::NO_CONTENT)
}
