//! Passwords that are chosen by the link of a mail: a reset, an invitation. The links lead to a configured frontend, or to
//! the pages here. Looking at a page spends nothing: mail programs and scanners open links, too.

use crate::access::{Access, Kind, Routes, query_token};
use crate::body::{self, Input, Unkept, is_json};
use crate::client::{self, Client};
use crate::config::FORM_MAX_BYTES;
use crate::context;
use crate::endpoints::auth::note_network;
use crate::limits;
use crate::pages::account::{self, Form};
use crate::pages::{self, Words};
use crate::personal::Opener;
use crate::problem::{ApiError, Problem};
use crate::state::App;
use crate::visit::{self, Visitor};
use axum::body::Body;
use axum::extract::{FromRequest, Request, State};
use axum::response::{IntoResponse, Response};
use commands::{CommandError, Context, Password};
use domain::EmailAddress;
use domain::transactional::AccountMailKind;
use domain::visit::Visit;
use http::{HeaderMap, StatusCode, Uri};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

pub(super) fn routes(app: &App) -> Routes {
    Routes::new(app)
        .add(Access::Public, Kind::Secret, routes!(request_reset))
        .add(Access::Public, Kind::Secret, routes!(reset_page))
        .add(Access::Public, Kind::Secret, routes!(reset))
        .add(Access::Public, Kind::Secret, routes!(invitation_page))
        .add(Access::Public, Kind::Secret, routes!(accept))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ResetRequest {
    #[schema(example = "ana@example.com")]
    email: String,
}

impl Input for ResetRequest {}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ChosenPassword {
    /// Of the link in the mail.
    #[schema(example = "plp_Jx2p9Wm4")]
    token: String,
    /// At least 12 characters.
    #[schema(example = "another horse battery staple")]
    password: String,
}

impl Input for ChosenPassword {}

/// Our own page's.
#[derive(Deserialize, ToSchema)]
struct ChosenPasswordForm {
    token: String,
    password: String,
    /// The password once more.
    again: String,
}

/// Ask for a link to choose a new password
///
/// If the address has a user, a mail goes there: a link that works once, within 30 minutes. Whether it has is not told. An
/// address gets three such mails an hour at the most.
#[utoipa::path(post, path = "/auth/password-reset", tag = "auth", request_body = ResetRequest,
    responses((status = 202, description = "If there is such a user, a mail is on its way.")))]
async fn request_reset(
    State(app): State<App>,
    visitor: Visitor,
    call: Unkept<ResetRequest>,
) -> Result<StatusCode, ApiError> {
    let email = EmailAddress::parse(&call.body.email);
    let email = email.map_err(|error| ApiError::invalid("email", error.to_string()))?;
    limits::reset(&app, visitor.client)?;
    app.commands.request_password_reset(&call.context, &email, visitor.visit).await?;
    Ok(StatusCode::ACCEPTED)
}

/// Show the page that chooses a new password
///
/// Where a mail's link leads unless `api.password_reset_url` names another page. Changes nothing.
#[utoipa::path(get, path = "/auth/password-reset", tag = "auth",
    params(("token" = Option<String>, Query, description = "Of the link in the mail.")),
    responses((status = 200, description = "The page: a form.", body = String, content_type = "text/html"),
        (status = 401, description = "The link does not work any more: a page that says so.", body = String,
            content_type = "text/html"),
        (status = 503, description = "Not available now: a page that says so.", content(
            (String = "text/html"), (Problem = "application/problem+json")))))]
async fn reset_page(State(app): State<App>, headers: HeaderMap, uri: Uri) -> Response {
    page(&app, Words::of(&headers), &uri, AccountMailKind::PasswordReset).await
}

/// Choose a new password
///
/// By the token of a mail's link, which is spent. All sessions of the user end. As JSON; or as the form of our own page,
/// which is answered by a page.
#[utoipa::path(post, path = "/auth/password-reset/confirm", tag = "auth",
    request_body(content((ChosenPassword = "application/json"), (ChosenPasswordForm = "application/x-www-form-urlencoded"))),
    responses((status = 204, description = "It was changed: sign in."),
        (status = 200, description = "Of the form: it was changed.", body = String, content_type = "text/html"),
        (status = 401, description = "The link is not valid any more: of the form, a page that says so.", content(
            (String = "text/html"), (Problem = "application/problem+json"))),
        (status = 422, description = "The password cannot be taken: of the form, the page once more.", content(
            (String = "text/html"), (Problem = "application/problem+json"))),
        (status = 503, description = "Not available now: of the form, a page that says so.", content(
            (String = "text/html"), (Problem = "application/problem+json")))))]
async fn reset(State(app): State<App>, request: Request) -> Result<Response, ApiError> {
    choose(&app, request, AccountMailKind::PasswordReset).await
}

/// Show the page that accepts an invitation
///
/// Where a mail's link leads unless `api.invitation_url` names another page. Changes nothing.
#[utoipa::path(get, path = "/auth/invitation", tag = "auth",
    params(("token" = Option<String>, Query, description = "Of the link in the mail.")),
    responses((status = 200, description = "The page: a form.", body = String, content_type = "text/html"),
        (status = 401, description = "The link does not work any more: a page that says so.", body = String,
            content_type = "text/html"),
        (status = 503, description = "Not available now: a page that says so.", content(
            (String = "text/html"), (Problem = "application/problem+json")))))]
async fn invitation_page(State(app): State<App>, headers: HeaderMap, uri: Uri) -> Response {
    page(&app, Words::of(&headers), &uri, AccountMailKind::Invitation).await
}

/// Accept an invitation
///
/// Chooses the first password, by the token of a mail's link, which is spent. As JSON; or as the form of our own page,
/// which is answered by a page.
#[utoipa::path(post, path = "/auth/invitation/confirm", tag = "auth",
    request_body(content((ChosenPassword = "application/json"), (ChosenPasswordForm = "application/x-www-form-urlencoded"))),
    responses((status = 204, description = "The password is set: sign in."),
        (status = 200, description = "Of the form: the password is set.", body = String, content_type = "text/html"),
        (status = 401, description = "The link is not valid any more: of the form, a page that says so.", content(
            (String = "text/html"), (Problem = "application/problem+json"))),
        (status = 422, description = "The password cannot be taken: of the form, the page once more.", content(
            (String = "text/html"), (Problem = "application/problem+json"))),
        (status = 503, description = "Not available now: of the form, a page that says so.", content(
            (String = "text/html"), (Problem = "application/problem+json")))))]
async fn accept(State(app): State<App>, request: Request) -> Result<Response, ApiError> {
    choose(&app, request, AccountMailKind::Invitation).await
}

async fn page(app: &App, words: &Words, uri: &Uri, kind: AccountMailKind) -> Response {
    let Some(token) = query_token(uri) else { return account::dead_link(words, kind) };
    let shown = show(app, words, kind, &token, None).await;
    shown.unwrap_or_else(|error| pages::failed(words, error))
}

/// The form, with what was wrong with the last try.
async fn show(
    app: &App,
    words: &Words,
    kind: AccountMailKind,
    token: &str,
    problem: Option<&'static str>,
) -> Result<Response, ApiError> {
    let Some(link) = app.commands.account_link(kind, token).await? else {
        return Ok(account::dead_link(words, kind));
    };
    let opener = Opener::of(app, &[link.user_id]).await?;
    let email = opener.open_sealed(link.user_id, "address", link.address).unwrap_or_default();
    let action = app.config.public_url.join(match kind {
        AccountMailKind::PasswordReset => "/auth/password-reset/confirm",
        AccountMailKind::Invitation => "/auth/invitation/confirm",
    });
    Ok(account::choose_password(words, kind, &Form { action: &action, token, email: &email, problem }))
}

async fn choose(app: &App, request: Request, kind: AccountMailKind) -> Result<Response, ApiError> {
    if !is_json(request.headers()) {
        return by_form(app, request, kind).await;
    }
    let (parts, body) = request.into_parts();
    let (context, visit, client) = (context::plain(&parts), visit::of(&parts), client::of(&parts));
    let call = Unkept::<ChosenPassword>::from_request(Request::from_parts(parts, body), app).await?;
    let ChosenPassword { token, password } = call.body;
    let new = Password::new(password).map_err(|reason| ApiError::invalid("password", reason))?;
    choose_by_link(app, &context, kind, &token, new, visit, client).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// A link proves more than a password does: who used one can sign in from there, though others guess at their password.
async fn choose_by_link(
    app: &App,
    context: &Context,
    kind: AccountMailKind,
    token: &str,
    new: Password,
    visit: Visit,
    client: Client,
) -> Result<(), CommandError> {
    let user = app.commands.choose_password(context, kind, token, new, visit).await?;
    note_network(app, user, client).await;
    Ok(())
}

async fn by_form(app: &App, request: Request, kind: AccountMailKind) -> Result<Response, ApiError> {
    if body::media_type(request.headers()) != "application/x-www-form-urlencoded" {
        return Err(ApiError::UnsupportedMediaType("send application/json or our own page's form"));
    }
    let (parts, body) = request.into_parts();
    let (context, visit, client) = (context::plain(&parts), visit::of(&parts), client::of(&parts));
    let words = Words::of(&parts.headers);
    let bytes = body::read(app, &parts.headers, body, FORM_MAX_BYTES).await?;
    let request = Request::from_parts(parts, Body::from(bytes));
    let form = axum::Form::<ChosenPasswordForm>::from_request(request, &()).await;
    let Ok(axum::Form(form)) = form else {
        return Err(ApiError::Malformed("the body is not the form of our page".to_owned()));
    };
    let problem = match Password::new(form.password.clone()) {
        Ok(_) if form.password != form.again => Err("chosen-differs"),
        checked => checked.map_err(|_| "chosen-unfit"),
    };
    let new = match problem {
        Ok(new) => new,
        Err(problem) => return show(app, words, kind, &form.token, Some(problem)).await,
    };
    Ok(match choose_by_link(app, &context, kind, &form.token, new, visit, client).await {
        Ok(()) => account::password_chosen(words),
        Err(CommandError::Unauthorized(_)) => account::dead_link(words, kind),
        Err(error) => pages::failed(words, error.into()),
    })
}
