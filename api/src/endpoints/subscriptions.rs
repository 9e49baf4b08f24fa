//! Double opt-in: anybody asks for a subscription, the owner of the address confirms it by the link in a mail.
//!
//! Every subscription over these routes is confirmed, whatever group it is to: the staff and imports bring a consent that
//! was given elsewhere, a form on a website brings somebody's word. Looking at the page changes nothing: mail programs and
//! scanners open links, too.

use crate::access::{Access, Kind, Routes, query_token};
use crate::body::{self, Call, Input, is_json};
use crate::config::{FORM_MAX_BYTES, JSON_MAX_BYTES};
use crate::context::{self, once};
use crate::endpoints::preference_page::is_from_our_page;
use crate::endpoints::unsubscribe;
use crate::input::json;
use crate::limits;
use crate::pages::subscription::{self, Subscription};
use crate::pages::{self, Words};
use crate::problem::{ApiError, Problem};
use crate::respond;
use crate::state::App;
use crate::visit::{self, Visitor};
use axum::body::Body;
use axum::extract::{FromRequest, Request, State};
use axum::response::{IntoResponse, Redirect, Response};
use commands::{CommandError, Context, NewSubscription, SubscriptionLink};
use domain::group::Group;
use domain::visit::Visit;
use eventstore::{Done, clock};
use http::request::Parts;
use http::{HeaderMap, StatusCode, Uri};
use mail::{PreferenceClaims, mask_address};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::routes;
use uuid::Uuid;

const NO_TOKEN: ApiError = ApiError::Unauthorized("send the token of the link in the mail");

pub(super) fn routes(app: &App) -> Routes {
    Routes::new(app)
        .command(Access::Public, routes!(request))
        .add(Access::Public, Kind::Secret, routes!(page))
        .add(Access::Public, Kind::Command, routes!(confirm))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SubscriptionInput {
    #[schema(example = "ana@example.com")]
    email: String,
    /// At most 20.
    groups: Vec<Uuid>,
    /// Taken over with the confirmation, where they have none.
    #[schema(example = "Ana O'Brien")]
    name: Option<String>,
}

impl Input for SubscriptionInput {}

/// A form on a website: `groups` stands in it once for each group.
#[derive(ToSchema)]
#[allow(dead_code, reason = "it documents a form")]
struct SubscriptionForm {
    #[schema(example = "ana@example.com")]
    email: String,
    groups: Vec<Uuid>,
    name: Option<String>,
}

impl SubscriptionInput {
    /// Other fields are the website's own, such as a button's.
    fn of_form(fields: Vec<(String, String)>) -> Result<Self, ApiError> {
        let (mut email, mut name, mut groups) = (None, None, Vec::new());
        for (field, value) in fields {
            match field.as_str() {
                "email" => email = Some(value),
                "name" => name = Some(value).filter(|name| !name.trim().is_empty()),
                "groups" | "groups[]" => {
                    let group = value.parse().map_err(|_| ApiError::invalid("groups", "is not an id"))?;
                    groups.push(group);
                }
                _ => {}
            }
        }
        let email = email.ok_or_else(|| ApiError::invalid("email", "is missing"))?;
        Ok(Self { email, groups, name })
    }
}

/// Ask for a subscription
///
/// For anybody's address, by anybody: a mail goes there, and who reads it confirms. Until then nothing else is sent. Whether
/// the address is known is not told. An address gets three such mails an hour and five a day at the most. As JSON; or as the
/// form of any website, urlencoded or multipart, which is answered by a page, or by a redirect to the setting `api.subscription_url`.
#[utoipa::path(post, path = "/subscriptions", tag = "subscriptions",
    request_body(content((SubscriptionInput = "application/json"),
        (SubscriptionForm = "application/x-www-form-urlencoded"), (SubscriptionForm = "multipart/form-data"))),
    responses((status = 202, description = "A mail that asks its owner is on its way to the address: of a form, a page that says so."),
        (status = 303, description = "Of a form: to the page that is configured."),
        (status = 422, description = "Some fields cannot be taken: of a form, a page that says so.", content(
            (String = "text/html"), (Problem = "application/problem+json"))),
        (status = 503, description = "Not available now: of a form, a page that says so.", content(
            (String = "text/html"), (Problem = "application/problem+json")))))]
async fn request(State(app): State<App>, visitor: Visitor, request: Request) -> Result<Response, ApiError> {
    limits::subscription(&app, visitor.client)?;
    if [body::FORM, body::MULTIPART].contains(&body::media_type(request.headers()).as_str()) {
        return requested_by_form(&app, visitor.visit, request).await;
    }
    let Call { context, body, .. } = Call::<SubscriptionInput>::from_request(request, &app).await?;
    let done = once(&app, &context, request_for(&app, &context, body, visitor.visit)).await?;
    Ok(respond::with_position(StatusCode::ACCEPTED.into_response(), &done.position))
}

async fn request_for(
    app: &App,
    context: &Context,
    wanted: SubscriptionInput,
    visit: Visit,
) -> Result<Done, CommandError> {
    let SubscriptionInput { email, groups, name } = wanted;
    let wording_version = app.config.consent_wording.clone();
    let new = NewSubscription { email, groups, name, wording_version, visit };
    app.commands.request_subscription(context, new).await
}

/// People see what comes of it. A form may come from any site: it does what anybody may do.
async fn requested_by_form(app: &App, visit: Visit, request: Request) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let words = Words::of(&parts.headers);
    let bytes = body::read(app, &parts.headers, body, FORM_MAX_BYTES).await?;
    let fields = unsubscribe::fields(&parts, bytes).await?;
    let requested = async {
        let wanted = SubscriptionInput::of_form(fields)?;
        Ok::<_, ApiError>(request_for(app, &context::plain(&parts), wanted, visit).await?)
    };
    Ok(match (requested.await, &app.config.subscription_url) {
        (Ok(_), Some(url)) => Redirect::to(url).into_response(),
        (Ok(_), None) => subscription::asked(words),
        (Err(error @ ApiError::Invalid(_)), _) => subscription::not_asked(words, error),
        (Err(error), _) => pages::failed(words, error),
    })
}

/// Show the page that confirms a subscription
///
/// Where the link of the mail leads. Changes nothing. In English or German, by `Accept-Language`. Once it is confirmed, the
/// page leads to the reader's preferences.
#[utoipa::path(get, path = "/subscriptions/confirm", tag = "subscriptions",
    params(("token" = Option<String>, Query, description = "Of the link in the mail.")),
    responses((status = 200, description = "The page.", body = String, content_type = "text/html"),
        (status = 401, description = "The link does not work any more: a page that says so.", body = String,
            content_type = "text/html"),
        (status = 503, description = "Not available now: a page that says so.", content(
            (String = "text/html"), (Problem = "application/problem+json")))))]
async fn page(State(app): State<App>, headers: HeaderMap, uri: Uri) -> Response {
    let words = Words::of(&headers);
    let Some(token) = query_token(&uri) else { return subscription::dead_link(words) };
    show(&app, words, &token).await.unwrap_or_else(|error| pages::failed(words, error))
}

async fn show(app: &App, words: &Words, token: &str) -> Result<Response, ApiError> {
    let Some(link) = app.commands.subscription_link(token).await? else {
        return Ok(subscription::dead_link(words));
    };
    let groups = eventstore::load_each::<Group>(&app.pool, &link.groups).await?.into_values().flatten();
    let mut groups: Vec<String> = groups.map(|group| group.aggregate.name).collect();
    groups.sort_unstable();
    let preferences = if link.confirmed { Some(preferences_url(app, &link)?) } else { None };
    let shown = Subscription { reader: mask_address(&link.email), groups, preferences };
    Ok(subscription::ask(words, &shown))
}

fn preferences_url(app: &App, link: &SubscriptionLink) -> Result<String, ApiError> {
    let claims = PreferenceClaims {
        subscriber: link.subscriber,
        campaign: None,
        group: None,
        dispatch: None,
        issued_at: clock::now().timestamp(),
    };
    let token = app.link_keys.sign(&claims).map_err(|_| ApiError::Internal)?;
    Ok(app.links.preferences_url(&token))
}

#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ConfirmationInput {
    /// Of the link in the mail, where it is not in the address.
    #[schema(example = "plc_Jx2p9Wm4")]
    token: Option<String>,
}

/// Our own page's, which has nothing to fill in.
#[derive(ToSchema)]
#[allow(dead_code, reason = "it documents a form")]
struct ConfirmationForm {}

/// Confirm a subscription
///
/// By the token of the mail's link, in the address or in the body: from now on these groups may write to the reader, and an
/// opt-out that they chose earlier ends for them. As often as it is sent, within seven days; not any more once the reader
/// opted out. As JSON, or without a body; or as the form of our own page, which has to come from there.
#[utoipa::path(post, path = "/subscriptions/confirm", tag = "subscriptions",
    params(("token" = Option<String>, Query, description = "Of the link in the mail.")),
    request_body(content((ConfirmationInput = "application/json"), (ConfirmationForm = "application/x-www-form-urlencoded"))),
    responses((status = 204, description = "It is confirmed."),
        (status = 303, description = "Of the form: back to the page, which shows the result."),
        (status = 401, description = "The link does not work any more: of the form, a page that says so.", content(
            (String = "text/html"), (Problem = "application/problem+json"))),
        (status = 403, description = "A form that is not from our page.", body = String, content_type = "text/html"),
        (status = 503, description = "Not available now: of the form, a page that says so.", content(
            (String = "text/html"), (Problem = "application/problem+json")))))]
async fn confirm(State(app): State<App>, request: Request) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    match body::media_type(&parts.headers).as_str() {
        "" => by_json(&app, &parts, body).await,
        _ if is_json(&parts.headers) => by_json(&app, &parts, body).await,
        "application/x-www-form-urlencoded" => by_form(&app, &parts, body).await,
        _ => Err(ApiError::UnsupportedMediaType("send application/json or our own page's form")),
    }
}

/// The words that the reader saw are a frontend's: of the forms and pages that the setting is for.
async fn by_json(app: &App, parts: &Parts, body: Body) -> Result<Response, ApiError> {
    let bytes = body::read(app, &parts.headers, body, JSON_MAX_BYTES).await?;
    let input: ConfirmationInput =
        if bytes.is_empty() { ConfirmationInput::default() } else { json::parse(&bytes)? };
    let given = input.token.map(|token| token.trim().to_owned());
    let token = given.or_else(|| query_token(&parts.uri)).ok_or(NO_TOKEN)?;
    // A key is of this link's: the route does not name it.
    let context = context::of(app, parts, &[token.as_bytes(), &bytes])?;
    let wording = app.config.consent_wording.clone();
    let confirmed = app.commands.confirm_subscription(&context, &token, wording, visit::of(parts));
    Ok(respond::no_content(&once(app, &context, confirmed).await?))
}

async fn by_form(app: &App, parts: &Parts, body: Body) -> Result<Response, ApiError> {
    let words = Words::of(&parts.headers);
    if !is_from_our_page(app, &parts.headers) {
        return Ok(pages::foreign_form(words));
    }
    body::read(app, &parts.headers, body, FORM_MAX_BYTES).await?;
    let Some(token) = query_token(&parts.uri) else { return Ok(subscription::dead_link(words)) };
    let (context, wording) = (context::plain(parts), Some(subscription::wording_version(words)));
    let confirmed = app.commands.confirm_subscription(&context, &token, wording, visit::of(parts));
    Ok(match confirmed.await.map_err(ApiError::from) {
        // A token that opened something is ours: base64url, and nothing that a header could not hold.
        Ok(done) => {
            let back = Redirect::to(&app.links.subscription_url(&token)).into_response();
            respond::with_position(back, &done.position)
        }
        Err(ApiError::Unauthorized(_)) => subscription::dead_link(words),
        Err(error) => pages::failed(words, error),
    })
}
