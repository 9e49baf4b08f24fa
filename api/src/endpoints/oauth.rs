//! Signing in at an OpenID provider: where it begins, and where the browser comes back.

use crate::access::{Access, Kind, Routes};
use crate::endpoints::auth::{self, Tokens};
use crate::input::params::Params;
use crate::oidc::ProviderError;
use crate::problem::ApiError;
use crate::state::App;
use crate::visit::Visitor;
use axum::Json;
use axum::extract::{Path, State};
use axum::response::{AppendHeaders, IntoResponse, Response};
use commands::{CommandError, Context};
use domain::session::Refusal;
use domain::visit::Visit;
use eventstore::StoreError;
use http::{HeaderMap, header};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

/// Of a code, and of an issuer: those of providers have far fewer.
const ANSWER_MAX_BYTES: usize = 4_096;

pub(super) fn routes(app: &App) -> Routes {
    Routes::new(app).add(Access::Public, Kind::Plain, routes!(start))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct StartParams {
    /// Where the provider sends the browser back to: one of those that are configured, to the letter.
    #[param(example = "https://app.example.com/signed-in/company")]
    redirect_uri: String,
}

#[derive(Serialize, ToSchema)]
struct Started {
    /// Where the browser goes now.
    authorization_url: String,
    /// What the browser has to come back with.
    state: String,
}

#[derive(Debug, ToSchema)]
pub(super) struct ProviderLogin {
    /// By its name in the configuration.
    #[schema(example = "company")]
    pub provider: String,
    /// What the browser came back with.
    #[schema(example = "SplxlOBeZQQYbYS6WxSbIA")]
    pub code: String,
    /// The same.
    #[schema(example = "af0ifjsldkj")]
    pub state: String,
    /// The same, where it came with one (RFC 9207).
    #[schema(example = "https://id.example.com")]
    pub iss: Option<String>,
}

/// Begin a sign-in at an OpenID provider
///
/// Call it from the browser, with credentials: the cookie that it sets is what `POST /auth/login` knows this very browser by.
/// The sign-in has ten minutes.
#[utoipa::path(get, path = "/auth/oauth/{provider}/start", tag = "auth",
    params(("provider" = String, Path, description = "By its name in the configuration."), StartParams),
    responses((status = 200, description = "Send the browser to the address.", body = Started),
        (status = 422, description = "The redirect URI is none of the provider's.", body = crate::problem::Problem,
            content_type = "application/problem+json")))]
async fn start(
    State(app): State<App>,
    Path(provider): Path<String>,
    Params(params): Params<StartParams>,
) -> Result<Response, ApiError> {
    let provider = app.providers.get(&provider).ok_or(ApiError::NotFound("provider"))?;
    if !provider.sends_back_to(&params.redirect_uri) {
        return Err(ApiError::invalid("redirect_uri", "is none of those that are configured"));
    }
    let begun = provider.begin(&params.redirect_uri).await.map_err(|_| UNAVAILABLE)?;
    let cookie = app.providers.jar().set(&begun.pending).map_err(StoreError::from)?;
    let state = begun.pending.state.clone();
    let started = Started { authorization_url: begun.authorization_url, state };
    Ok((AppendHeaders([(header::SET_COOKIE, cookie)]), Json(started)).into_response())
}

const UNAVAILABLE: ApiError = ApiError::Overloaded("the provider does not answer");

/// A new session of whom the provider confirms.
pub(super) async fn login(
    app: &App,
    context: &Context,
    headers: &HeaderMap,
    login: ProviderLogin,
    visitor: Visitor,
) -> Result<Response, ApiError> {
    let Visitor { visit, client, .. } = visitor;
    let ProviderLogin { provider: name, code, state, iss } = login;
    let Some(provider) = app.providers.get(&name) else {
        return Err(ApiError::invalid("provider", "is none of those that are configured"));
    };
    if code.len() > ANSWER_MAX_BYTES {
        return Err(ApiError::invalid("code", format!("has more than {ANSWER_MAX_BYTES} bytes")));
    }
    let pending = app.providers.jar().open(headers).filter(|pending| {
        pending.is_answered_by(&name, &state) && iss.as_deref().is_none_or(|iss| provider.is_issuer(iss))
    });
    let Some(pending) = pending else { return Err(refused(app, context, Refusal::WrongState, visit).await) };
    if !app.commands.spend_state(&pending.state, pending.expires_at).await? {
        return Err(refused(app, context, Refusal::WrongState, visit).await);
    }
    let identity = match provider.confirm(&code, &pending).await {
        Ok(identity) => identity,
        Err(ProviderError::Refused) => {
            return Err(refused(app, context, Refusal::ProviderRefused, visit).await);
        }
        Err(ProviderError::Unavailable) => {
            app.commands.give_back_state(&pending.state).await?;
            return Err(UNAVAILABLE);
        }
    };
    let signed_in = app.commands.sign_in_as(context, &identity, visit).await?;
    auth::note_network(app, signed_in.user_id, client).await;
    let tokens = Tokens::of(app, signed_in).await?;
    let forget = app.providers.jar().clear().map_err(StoreError::from)?;
    Ok((AppendHeaders([(header::SET_COOKIE, forget)]), tokens).into_response())
}

async fn refused(app: &App, context: &Context, reason: Refusal, visit: Visit) -> ApiError {
    tracing::warn!(reason = ?reason, "a sign-in at a provider was refused");
    let error: CommandError = app.commands.refuse_sign_in(context, reason, visit).await;
    error.into()
}
