//! Subscribers: readers, their groups and their consent.

use crate::access::{Access, Routes};
use crate::body::{Bare, Call, Input};
use crate::context::once;
use crate::input::fields::Fields;
use crate::input::params::{Ids, Params, given, id, slice, word};
use crate::input::position::{self, Models, Position};
use crate::input::timestamp::Timestamp;
use crate::personal::Opener;
use crate::problem::ApiError;
use crate::respond::{self, List};
use crate::state::App;
use axum::Json;
use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, Utc};
use commands::people::Unreadable;
use commands::{SubscriberPatch, attributes::Attributes};
use domain::access::Scope;
use domain::consent::Consent;
use domain::{EmailAddress, Personal, SubscriberId};
use projections::subscribers::{self, Filter, Membership, Subscriber};
use projections::{Groups, Page, Slice, Subscribers};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;
use uuid::Uuid;

const SOURCE_MAX_BYTES: usize = 200;
const WORDING_MAX_BYTES: usize = 100;
const STATUSES: &[&str] = &["active", "unconfirmed", "opted_out", "bounced", "erased"];
const MODELS: Models = &[&Subscribers, &Groups];

pub(super) fn routes(app: &App) -> Routes {
    Routes::new(app)
        .command(Access::Scope(Scope::SubscribersWrite), routes!(create))
        .query(Access::Scope(Scope::SubscribersRead), routes!(list))
        .query(Access::Scope(Scope::SubscribersRead), routes!(get))
        .command(Access::Scope(Scope::SubscribersWrite), routes!(change))
        .command(Access::Scope(Scope::SubscribersWrite), routes!(erase))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewSubscriber {
    #[schema(example = "ana@example.com")]
    email: String,
    #[schema(example = "Ana O'Brien")]
    name: Option<String>,
    /// Texts by their names, which become snake_case.
    #[schema(value_type = Option<std::collections::HashMap<String, String>>, example = json!({ "city": "Łódź" }))]
    attributes: Option<Attributes>,
    groups: Option<Vec<Uuid>>,
    consent: ConsentInput,
}

impl Input for NewSubscriber {}

/// Why we may write to them.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ConsentInput {
    /// Where it was given.
    #[schema(example = "checkout")]
    source: String,
    /// Which words they agreed to.
    #[schema(example = "2026-03")]
    wording_version: Option<String>,
    /// When they gave it, if not now.
    given_at: Option<Timestamp>,
    /// The network address that they gave it from.
    #[schema(value_type = Option<String>, example = "203.0.113.7")]
    given_from: Option<IpAddr>,
}

impl ConsentInput {
    pub fn check(self) -> Result<Consent, ApiError> {
        let mut fields = Fields::default();
        let wording = |text| fields.line("consent.wording_version", text, WORDING_MAX_BYTES);
        let wording_version = self.wording_version.map(wording);
        let source = fields.line("consent.source", self.source, SOURCE_MAX_BYTES);
        fields.check()?;
        let given_from = self.given_from.map(|address| Personal::plain(address.to_string()));
        Ok(Consent { source, wording_version, given_at: self.given_at.map(|time| time.0), given_from })
    }
}

/// What is absent stays; an empty name is none, and attributes are given whole.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SubscriberChange {
    #[schema(example = "ana@example.org")]
    email: Option<String>,
    #[schema(example = "Ana Bell")]
    name: Option<String>,
    #[schema(value_type = Option<std::collections::HashMap<String, String>>, example = json!({ "city": "Cork" }))]
    attributes: Option<Attributes>,
}

impl Input for SubscriberChange {}

#[derive(ToSchema)]
#[allow(dead_code, reason = "it documents an answer")]
struct SubscriberCreated {
    subscriber_id: Uuid,
}

#[derive(Serialize, ToSchema)]
struct SubscriberView {
    subscriber_id: Uuid,
    /// Empty once the person was erased; null where it cannot be read, and then nothing else of them may be.
    #[schema(example = "ana@example.com")]
    email: Option<String>,
    name: Option<String>,
    #[schema(value_type = std::collections::HashMap<String, String>)]
    attributes: Attributes,
    /// `active`, `unconfirmed`, `opted_out` (of everything), `bounced` or `erased`
    #[schema(example = "active")]
    status: String,
    groups: Vec<MembershipView>,
    created_at: DateTime<Utc>,
    changed_at: DateTime<Utc>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct MembershipView {
    pub group_id: Uuid,
    /// Null where the group was deleted.
    pub name: Option<String>,
    /// Whether the group may write to them now.
    pub subscribed: bool,
}

impl From<Membership> for MembershipView {
    fn from(membership: Membership) -> Self {
        Self { group_id: membership.group_id, name: membership.name, subscribed: membership.subscribed }
    }
}

impl SubscriberView {
    fn open(keys: &Opener, row: Subscriber) -> Self {
        let open = |field, sealed: Option<String>| match sealed {
            Some(sealed) => keys.open_sealed(row.id, field, sealed),
            None => Some(String::new()),
        };
        let attributes = open("attributes", row.attributes).filter(|json| !json.is_empty());
        let read = |json: String| {
            let read = serde_json::from_str(&json);
            read.map_err(|_| Unreadable::note(row.id, &"attributes")).ok()
        };
        Self {
            subscriber_id: row.id,
            email: open("address", row.address),
            name: open("name", row.name).filter(|name| !name.is_empty()),
            attributes: attributes.and_then(read).unwrap_or_default(),
            status: row.status,
            groups: row.groups.0.into_iter().map(MembershipView::from).collect(),
            created_at: row.created_at,
            changed_at: row.changed_at,
        }
    }
}

/// Add a subscriber
#[utoipa::path(post, path = "/subscribers", tag = "subscribers", request_body = NewSubscriber,
    responses((status = 201, description = "They were added.", body = SubscriberCreated),
        (status = 409, description = "The address is known: `status` is `taken`, and `subscriber_id` says whose it is.",
            body = crate::problem::Problem, content_type = "application/problem+json")))]
async fn create(State(app): State<App>, call: Call<NewSubscriber>) -> Result<Response, ApiError> {
    let NewSubscriber { email, name, attributes, groups, consent } = call.body;
    let consent = consent.check()?;
    let (attributes, groups) = (attributes.unwrap_or_default(), groups.unwrap_or_default());
    let new = commands::NewSubscriber { email, name, attributes, groups, consent };
    let done = once(&app, &call.context, app.commands.add_subscriber(&call.context, new)).await?;
    Ok(respond::created(&app, done, "/subscribers", "subscriber_id"))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct SubscriberParams {
    /// The whole address.
    email: Option<String>,
    /// The id of a group: those with a consent to it on record.
    group: Option<String>,
    status: Option<String>,
    /// How many items, 50 by default.
    #[param(value_type = Option<u16>, minimum = 1, maximum = 500)]
    limit: Option<String>,
    /// The last page's `next_cursor`.
    cursor: Option<String>,
}

/// List subscribers
///
/// Addresses are sealed, so that they can only be found whole.
#[utoipa::path(get, path = "/subscribers", tag = "subscribers", params(SubscriberParams),
    responses((status = 200, description = "Newest first.", body = List<SubscriberView>)))]
async fn list(
    State(app): State<App>,
    position: Position,
    Params(params): Params<SubscriberParams>,
) -> Result<Json<List<SubscriberView>>, ApiError> {
    let slice = slice(&params.limit, &params.cursor)?;
    let status = word("status", &params.status, STATUSES)?.map(str::to_owned);
    let filter = Filter { group: id("group", &params.group)?, status };
    let email = given(&params.email).map(EmailAddress::parse).transpose();
    let email = email.map_err(|error| ApiError::invalid("email", error.to_string()))?;
    position.wait(&app, MODELS).await?;
    let page = find(&app, email, &filter, slice).await?;
    let ids: Vec<SubscriberId> = page.items.iter().map(|row| row.id).collect();
    let keys = Opener::of(&app, &ids).await?;
    let items = page.items.into_iter().map(|row| SubscriberView::open(&keys, row)).collect();
    Ok(Json(List { items, next_cursor: page.next_cursor.map(|cursor| cursor.to_string()) }))
}

async fn find(
    app: &App,
    email: Option<EmailAddress>,
    filter: &Filter,
    slice: Slice,
) -> Result<Page<Subscriber>, ApiError> {
    let Some(email) = email else { return Ok(subscribers::list(&app.pool, filter, slice).await?) };
    let found = subscribers::by_address(&app.pool, app.commands.store.master.address_hash(&email)).await?;
    let fits = |row: &Subscriber| {
        let has_group =
            |group| row.groups.0.iter().any(|m| m.group_id == group && m.consent_sequence.is_some());
        filter.status.as_ref().is_none_or(|status| *status == row.status)
            && filter.group.is_none_or(has_group)
    };
    Ok(Page { items: found.into_iter().filter(fits).collect(), next_cursor: None })
}

/// Show a subscriber
#[utoipa::path(get, path = "/subscribers/{id}", tag = "subscribers", params(("id" = Uuid, Path)),
    responses((status = 200, description = "The subscriber.", body = SubscriberView, headers(("ETag" = String)))))]
async fn get(
    State(app): State<App>,
    Ids(id): Ids<SubscriberId>,
    position: Position,
) -> Result<Response, ApiError> {
    position.wait(&app, MODELS).await?;
    let (version, view) = load(&app, id).await?.ok_or(ApiError::NotFound("subscriber"))?;
    Ok(respond::resource(version, view))
}

async fn load(app: &App, id: SubscriberId) -> Result<Option<(i64, SubscriberView)>, ApiError> {
    let Some(row) = subscribers::get(&app.pool, id).await? else { return Ok(None) };
    let (version, keys) = (row.version, Opener::of(app, &[id]).await?);
    Ok(Some((version, SubscriberView::open(&keys, row))))
}

/// Change a subscriber
///
/// A new address keeps the opt-outs of the old one, which stays suppressed.
#[utoipa::path(patch, path = "/subscribers/{id}", tag = "subscribers", request_body = SubscriberChange,
    params(("id" = Uuid, Path), ("If-Match" = Option<String>, Header, description = "The `ETag` that was seen.")),
    responses((status = 200, description = "The subscriber as they are now.", body = SubscriberView,
        headers(("ETag" = String)))))]
async fn change(
    State(app): State<App>,
    Ids(id): Ids<SubscriberId>,
    call: Call<SubscriberChange>,
) -> Result<Response, ApiError> {
    let SubscriberChange { email, name, attributes } = call.body;
    let patch = SubscriberPatch { email, name, attributes };
    let changed = app.commands.change_subscriber(&call.context, id, patch);
    let done = once(&app, &call.context, changed).await?;
    let now = match call.sees && position::reached(&app, &done.position, MODELS).await {
        true => load(&app, id).await?,
        false => None,
    };
    Ok(respond::changed(&done, now, ("subscriber_id", id)))
}

#[derive(ToSchema)]
#[allow(dead_code, reason = "it documents an answer")]
struct SubscriberErased {
    subscriber_id: Uuid,
    #[schema(example = "erased")]
    status: String,
}

/// Erase a subscriber
///
/// For ever. They are opted out of everything, so that when this is answered no mail to them starts on its way any more,
/// and the key of their personal data is destroyed. Mails in the outbox and cells of rejected rows are emptied right
/// after, by a sender. Their addresses stay suppressed: whoever imports one finds it `kept_opted_out`. Of what happened to
/// them times, kinds and actors stay. Erasing them again changes nothing.
#[utoipa::path(post, path = "/subscribers/{id}/erase", tag = "subscribers", params(("id" = Uuid, Path)),
    responses((status = 202, description = "They are erased.", body = SubscriberErased)))]
async fn erase(
    State(app): State<App>,
    Ids(id): Ids<SubscriberId>,
    Bare(context): Bare,
) -> Result<Response, ApiError> {
    // Not `once`: a repeat waits as the first call did.
    Ok(respond::accepted(app.commands.erase_subscriber(&context, id).await?))
}
