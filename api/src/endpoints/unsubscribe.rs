//! Opting out: the link's page, its button, one click in a mail program (RFC 8058), and JSON.

use crate::access::{Access, Kind, Routes};
use crate::body::{self, Input, is_json};
use crate::config::FORM_MAX_BYTES;
use crate::context;
use crate::endpoints::preferences::{GROUPS_MAX, Loaded};
use crate::input::json;
use crate::pages::{self, Choice};
use crate::problem::{ApiError, Problem};
use crate::reader::Reader;
use crate::respond;
use crate::state::App;
use axum::body::Body;
use axum::extract::{Form, FromRequest, Multipart, Request, State};
use axum::response::{IntoResponse, Redirect, Response};
use commands::{Context, FieldError, OptOut};
use domain::consent::{Channel, Scope};
use domain::group::Group;
use eventstore::Done;
use http::request::Parts;
use http::{HeaderMap, header};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::routes;
use uuid::Uuid;

pub(super) fn routes(app: &App) -> Routes {
    Routes::new(app)
        .add(Access::PreferenceLink, Kind::Plain, routes!(page))
        .command(Access::PreferenceLink, routes!(post))
}

/// `{"global": true}`, or the groups to opt out of.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "global": true }))]
struct OptOutInput {
    /// Of everything.
    global: Option<bool>,
    groups: Option<Vec<Uuid>>,
}

impl Input for OptOutInput {}

/// What a mail program sends for one click (RFC 8058). Any other form is our own page's.
#[derive(ToSchema)]
#[allow(dead_code, reason = "it documents a form")]
struct OneClickForm {
    #[schema(rename = "List-Unsubscribe", example = "One-Click")]
    list_unsubscribe: String,
}

/// Show the unsubscribe page
///
/// Changes nothing.
#[utoipa::path(get, path = "/emails/unsubscribe", tag = "preferences",
    responses((status = 200, description = "The page: one button.", body = String, content_type = "text/html"),
        (status = 401, description = "The link does not work: a page that says what to do.", content(
            (String = "text/html"), (Problem = "application/problem+json"))),
        (status = 404, description = "The reader is not known: the same page.", content(
            (String = "text/html"), (Problem = "application/problem+json"))),
        (status = 503, description = "Not available now: a page that says so.", content(
            (String = "text/html"), (Problem = "application/problem+json")))))]
async fn page(State(app): State<App>, reader: Reader) -> Response {
    let shown = async {
        let loaded = Loaded::of(&app, reader.claims.subscriber).await?;
        let choice = choice(&app, &reader, &loaded).await?;
        let subscriber = &loaded.subscriber;
        let is_out = |group| subscriber.groups.get(&group) == Some(&None);
        Ok(match subscriber.global_opt_out || reader.claims.group.is_some_and(is_out) {
            true => pages::unsubscribed(&choice),
            false => pages::unsubscribe(&choice),
        })
    };
    shown.await.unwrap_or_else(as_page)
}

/// What the page shows. An old link shows nobody's address.
async fn choice(app: &App, reader: &Reader, loaded: &Loaded) -> Result<Choice, ApiError> {
    let masked = match reader.is_trusted() {
        true => Some(loaded.email_masked(app, reader.claims.subscriber).await?),
        false => None,
    };
    let group = match reader.claims.group {
        None => None,
        Some(id) => Some(match loaded.groups.get(&id) {
            Some(name) => name.clone(),
            None => eventstore::load::<Group>(app.commands.opt_out_pool(), id).await?.aggregate.name,
        }),
    };
    Ok(Choice { reader: masked.filter(|masked| !masked.is_empty()), group })
}

fn as_page(error: ApiError) -> Response {
    match error {
        ApiError::NotFound(_) => pages::bad_link(error),
        other => pages::failed(other),
    }
}

/// Opt out
///
/// As JSON: of everything or of some groups. As a form with `List-Unsubscribe=One-Click`, urlencoded or multipart,
/// from wherever it comes: of the group that the link is for, or of everything where it is for none. Any other form
/// is our own page's, and has to come from there. When this is answered, no mail that they opted out of starts on
/// its way any more. The link works for ever, and as often as it is used.
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
    match body::media_type(request.headers()).as_str() {
        _ if is_json(request.headers()) => by_json(&app, reader, request).await,
        "application/x-www-form-urlencoded" | "multipart/form-data" => by_form(&app, reader, request).await,
        _ => Err(ApiError::UnsupportedMediaType("send application/json or a form")),
    }
}

async fn by_json(app: &App, reader: Reader, request: Request) -> Result<Response, ApiError> {
    let (parts, bytes) = whole(app, request, OptOutInput::MAX_BYTES).await?;
    let context = context::of(app, &parts, &[&bytes])?;
    let scope = scope(app, json::parse(&bytes)?).await?;
    let done = opt_out(app, &context, reader, scope, Channel::PreferencePage).await?;
    Ok(respond::no_content(&done))
}

async fn scope(app: &App, wanted: OptOutInput) -> Result<Scope, ApiError> {
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
    let known = eventstore::load_many::<Group>(app.commands.opt_out_pool(), &groups).await?;
    let unknown = groups.iter().enumerate().filter(|(_, id)| !known.contains_key(id));
    let error =
        |(index, _)| FieldError { field: format!("groups[{index}]"), reason: "is not known".to_owned() };
    let errors: Vec<FieldError> = unknown.map(error).collect();
    match errors.is_empty() {
        true => Ok(Scope::Groups(groups)),
        false => Err(ApiError::Invalid(errors)),
    }
}

async fn by_form(app: &App, reader: Reader, request: Request) -> Result<Response, ApiError> {
    let (parts, bytes) = whole(app, request, FORM_MAX_BYTES).await?;
    // Nothing that a header says keeps a form from opting out.
    let context = context::plain(&parts);
    let scope = reader.claims.group.map_or(Scope::Global, |group| Scope::Groups(vec![group]));
    if is_one_click(&parts, bytes).await? {
        let done = opt_out(app, &context, reader, scope, Channel::OneClick).await?;
        return Ok(respond::with_position("You are unsubscribed.\n".into_response(), &done.position));
    }
    if !is_from_our_page(app, &parts.headers) {
        return Ok(pages::foreign_form());
    }
    // The token of the link, which the page's own address has.
    let back = crate::access::query_token(&parts.uri).map(|token| app.links.unsubscribe_url(&token));
    let back = back.unwrap_or_else(|| app.config.public_url.join("/emails/unsubscribe"));
    Ok(match opt_out(app, &context, reader, scope, Channel::PreferencePage).await {
        Ok(done) => respond::with_position(Redirect::to(&back).into_response(), &done.position),
        Err(error) => as_page(error),
    })
}

async fn opt_out(
    app: &App,
    context: &Context,
    reader: Reader,
    scope: Scope,
    channel: Channel,
) -> Result<Done, ApiError> {
    let subscriber = reader.claims.subscriber;
    // Not `once`: a repeat waits as the first call did.
    Ok(app.commands.opt_out(context, OptOut { subscriber, scope, channel, origin: reader.origin }).await?)
}

async fn whole(app: &App, request: Request, max_bytes: usize) -> Result<(Parts, Vec<u8>), ApiError> {
    let (parts, body) = request.into_parts();
    let bytes = body::read(app, &parts.headers, body, max_bytes).await?;
    Ok((parts, bytes))
}

/// Whether the form says `List-Unsubscribe=One-Click` (RFC 8058 section 3.2).
async fn is_one_click(parts: &Parts, bytes: Vec<u8>) -> Result<bool, ApiError> {
    let is = |name: &str, value: &str| name == "List-Unsubscribe" && value.trim() == "One-Click";
    let malformed = || ApiError::Malformed("the body is not the form that its type says".to_owned());
    let mut request = Request::new(Body::from(bytes));
    *request.method_mut() = parts.method.clone();
    *request.headers_mut() = parts.headers.clone();
    if body::media_type(&parts.headers) != "multipart/form-data" {
        let Form(fields) =
            Form::<Vec<(String, String)>>::from_request(request, &()).await.map_err(|_| malformed())?;
        return Ok(fields.iter().any(|(name, value)| is(name, value)));
    }
    let mut form = Multipart::from_request(request, &()).await.map_err(|_| malformed())?;
    while let Some(field) = form.next_field().await.map_err(|_| malformed())? {
        let name = field.name().unwrap_or_default().to_owned();
        if is(&name, &field.text().await.map_err(|_| malformed())?) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// By `Origin`, which browsers send with every form; by `Referer` where there is none.
fn is_from_our_page(app: &App, headers: &HeaderMap) -> bool {
    let source = headers.get(header::ORIGIN).or_else(|| headers.get(header::REFERER));
    source.and_then(|value| value.to_str().ok()).is_some_and(|url| app.config.public_url.is_same_origin(url))
}
