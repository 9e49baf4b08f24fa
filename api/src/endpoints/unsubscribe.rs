//! Opting out: one click in a mail program (RFC 8058), JSON, and the forms of our own page.

use crate::access::{Access, Routes};
use crate::body::{self, Input, is_json};
use crate::config::FORM_MAX_BYTES;
use crate::context;
use crate::endpoints::preference_page;
use crate::endpoints::preferences::GROUPS_MAX;
use crate::input::json;
use crate::problem::{ApiError, Problem};
use crate::reader::Reader;
use crate::respond;
use crate::state::App;
use axum::body::Body;
use axum::extract::{Form, FromRequest, Multipart, Request, State};
use axum::response::{IntoResponse, Response};
use commands::{Context, FieldError, OptOut};
use domain::consent::{Channel, Scope};
use domain::group::Group;
use eventstore::Done;
use http::request::Parts;
use http::{HeaderValue, header};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::routes;
use uuid::Uuid;

pub(super) fn routes(app: &App) -> Routes {
    Routes::new(app).opt_out(Access::PreferenceLink, routes!(post))
}

/// `{"global": true}`, or the groups to opt out of.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "global": true }))]
pub(super) struct OptOutInput {
    /// Of everything.
    pub global: Option<bool>,
    pub groups: Option<Vec<Uuid>>,
}

impl Input for OptOutInput {}

/// What a mail program sends for one click (RFC 8058). Any other form is our own page's.
#[derive(ToSchema)]
#[allow(dead_code, reason = "it documents a form")]
struct OneClickForm {
    #[schema(rename = "List-Unsubscribe", example = "One-Click")]
    list_unsubscribe: String,
}

/// Opt out
///
/// As JSON: of everything or of some groups. As a form with `List-Unsubscribe=One-Click`, urlencoded or multipart,
/// from wherever it comes: of the group that the link is for, or of everything where it is for none; without a body it
/// does the same, whatever its type. Any other form is our own page's, and has to come from there. When this is answered, no
/// mail that they opted out of starts on its way any more. The link works for ever, and as often as it is used.
#[utoipa::path(post, path = "/emails/unsubscribe", tag = "preferences",
    request_body(content((OptOutInput = "application/json"), (OneClickForm = "application/x-www-form-urlencoded"),
        (OneClickForm = "multipart/form-data"))),
    responses((status = 204, description = "Of JSON: they are opted out."),
        (status = 200, description = "Of one click: they are opted out.", body = String, content_type = "text/plain"),
        (status = 303, description = "Of our page's form: back to the page, which shows the result."),
        (status = 401, description = "The link does not work: of a form, a page that says what to do.", content(
            (String = "text/html"), (Problem = "application/problem+json"))),
        (status = 403, description = "A form that is not from our page.", body = String, content_type = "text/html"),
        (status = 404, description = "The reader is not known: of our page's form, the same page.", content(
            (String = "text/html"), (Problem = "application/problem+json"))),
        (status = 503, description = "Not available now: of our page's form, a page that says so.", content(
            (String = "text/html"), (Problem = "application/problem+json")))))]
async fn post(State(app): State<App>, reader: Reader, request: Request) -> Result<Response, ApiError> {
    let is_json = is_json(request.headers());
    let max_bytes = if is_json { OptOutInput::MAX_BYTES } else { FORM_MAX_BYTES };
    let (parts, body) = request.into_parts();
    let bytes = body::read(&app, &parts.headers, body, max_bytes).await?;
    // Some mail programs send nothing at all, whatever they call it: the token is in the address. A program that shows its
    // token in a header has to say what it wants. Our own page's button may be as silent.
    let may_be_silent = !parts.headers.contains_key(header::AUTHORIZATION)
        && !preference_page::is_from_our_page(&app, &parts.headers);
    let is_silent = bytes.is_empty() && may_be_silent;
    match is_json && !is_silent {
        true => by_json(&app, reader, &parts, &bytes).await,
        false => by_form(&app, reader, &parts, bytes, may_be_silent).await,
    }
}

async fn by_json(app: &App, reader: Reader, parts: &Parts, bytes: &[u8]) -> Result<Response, ApiError> {
    let context = context::plain(parts);
    let scope = scope(app, json::parse(bytes)?).await?;
    let done = opt_out(app, &context, reader, scope, Channel::PreferencePage).await?;
    Ok(respond::no_content(&done))
}

pub(super) async fn scope(app: &App, wanted: OptOutInput) -> Result<Scope, ApiError> {
    if wanted.global == Some(true) {
        return Ok(Scope::Global);
    }
    let groups = wanted.groups.unwrap_or_default();
    if groups.is_empty() {
        return Err(ApiError::invalid(
            "groups",
            "is empty, and global is not true: there is nothing to opt out of",
        ));
    }
    if groups.len() > GROUPS_MAX {
        return Err(ApiError::invalid("groups", format!("has more than {GROUPS_MAX} groups")));
    }
    // A group that was deleted can still be opted out of.
    let known = eventstore::load_each::<Group>(app.commands.opt_out_pool(), &groups).await?;
    let unknown = groups.iter().enumerate().filter(|(_, id)| !known.contains_key(id));
    let error =
        |(index, _)| FieldError { field: format!("groups[{index}]"), reason: "is not known".to_owned() };
    let errors: Vec<FieldError> = unknown.map(error).collect();
    match errors.is_empty() {
        true => Ok(Scope::Groups(groups)),
        false => Err(ApiError::Invalid(errors)),
    }
}

async fn by_form(
    app: &App,
    reader: Reader,
    parts: &Parts,
    bytes: Vec<u8>,
    may_be_silent: bool,
) -> Result<Response, ApiError> {
    let fields = fields(parts, bytes).await?;
    if parts.headers.contains_key(header::AUTHORIZATION) && !parts.headers.contains_key(header::CONTENT_TYPE)
    {
        return Err(ApiError::UnsupportedMediaType("send application/json or a form"));
    }
    let says_nothing = fields.is_empty() && may_be_silent;
    if !is_one_click(&fields) && !says_nothing {
        return Ok(preference_page::pressed(app, reader, parts, &fields).await);
    }
    // Nothing that a header says keeps a form from opting out.
    let context = context::plain(parts);
    let scope = reader.scope();
    let done = opt_out(app, &context, reader, scope, Channel::OneClick).await?;
    Ok(respond::with_position("You are unsubscribed.\n".into_response(), &done.position))
}

pub(super) async fn opt_out(
    app: &App,
    context: &Context,
    reader: Reader,
    scope: Scope,
    channel: Channel,
) -> Result<Done, ApiError> {
    let subscriber = reader.claims.subscriber;
    Ok(app.commands.opt_out(context, OptOut { subscriber, scope, channel, origin: reader.origin }).await?)
}

/// Whether the form says `List-Unsubscribe=One-Click` (RFC 8058 section 3.2).
fn is_one_click(fields: &[(String, String)]) -> bool {
    fields.iter().any(|(name, value)| name == "List-Unsubscribe" && value.trim() == "One-Click")
}

/// A form's fields, in either encoding. A body without a type is one that is urlencoded.
pub(super) async fn fields(parts: &Parts, bytes: Vec<u8>) -> Result<Vec<(String, String)>, ApiError> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let malformed = || ApiError::Malformed("the body is not the form that its type says".to_owned());
    let mut request = Request::new(Body::from(bytes));
    *request.method_mut() = parts.method.clone();
    *request.headers_mut() = parts.headers.clone();
    match body::media_type(&parts.headers).as_str() {
        body::MULTIPART => {}
        "" | body::FORM => {
            request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(body::FORM));
            let form = Form::<Vec<(String, String)>>::from_request(request, &()).await;
            return form.map(|Form(fields)| fields).map_err(|_| malformed());
        }
        _ => return Err(ApiError::UnsupportedMediaType("send application/json or a form")),
    }
    let mut form = Multipart::from_request(request, &()).await.map_err(|_| malformed())?;
    let mut fields = Vec::new();
    while let Some(field) = form.next_field().await.map_err(|_| malformed())? {
        let name = field.name().unwrap_or_default().to_owned();
        fields.push((name, field.text().await.map_err(|_| malformed())?));
    }
    Ok(fields)
}
