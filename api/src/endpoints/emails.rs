//! Campaigns: one template, one group, one time.

use crate::access::{Access, Routes};
use crate::body::{Bare, Call, Input};
use crate::context::once;
use crate::input::fields::Fields;
use crate::input::params::{Ids, Params, slice, word};
use crate::input::position::{self, Models, Position};
use crate::input::timestamp::Timestamp;
use crate::problem::ApiError;
use crate::respond::{self, List};
use crate::state::App;
use axum::Json;
use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, Utc};
use commands::{CampaignPatch, NewCampaign};
use domain::CampaignId;
use domain::access::Scope;
use domain::campaign::{Manifest, OnUnknown};
use projections::campaigns::{self, Campaign};
use projections::{CampaignReport, Campaigns};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;
use uuid::Uuid;

const NAME_MAX_BYTES: usize = 200;
/// A name of some length and an address (RFC 5321 allows 254 bytes).
const ADDRESS_MAX_BYTES: usize = 500;
const MAILER_MAX_BYTES: usize = 100;
const STATUSES: &[&str] = &["draft", "scheduled", "freezing", "sending", "paused", "completed", "cancelled"];
const MODELS: Models = &[&Campaigns, &CampaignReport];

pub(super) fn routes(app: &App) -> Routes {
    Routes::new(app)
        .command(Access::Scope(Scope::EmailsWrite), routes!(create))
        .query(Access::Scope(Scope::EmailsRead), routes!(list))
        .query(Access::Scope(Scope::EmailsRead), routes!(get))
        .command(Access::Scope(Scope::EmailsWrite), routes!(change))
        .command(Access::Scope(Scope::EmailsWrite), routes!(delete))
        .command(Access::Scope(Scope::EmailsWrite), routes!(duplicate))
}

/// What becomes of a recipient whose hand-over has no known end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum UnknownPolicy {
    /// A person decides: nobody gets a mail twice.
    Hold,
    /// It is sent again: nobody is left out, and somebody may get two.
    Resend,
}

impl From<UnknownPolicy> for OnUnknown {
    fn from(policy: UnknownPolicy) -> Self {
        match policy {
            UnknownPolicy::Hold => Self::Hold,
            UnknownPolicy::Resend => Self::Resend,
        }
    }
}

impl From<OnUnknown> for UnknownPolicy {
    fn from(policy: OnUnknown) -> Self {
        match policy {
            OnUnknown::Hold => Self::Hold,
            OnUnknown::Resend => Self::Resend,
        }
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CampaignInput {
    template: Uuid,
    group: Uuid,
    /// With a time it is scheduled as well.
    time: Option<Timestamp>,
    /// The template's, where it is absent.
    #[schema(example = "December letter")]
    name: Option<String>,
    /// A configured mailer.
    #[schema(example = "outbox")]
    mailer: Option<String>,
    #[schema(example = "The Library <letters@example.org>")]
    from: Option<String>,
    #[schema(example = "desk@example.org")]
    reply_to: Option<String>,
    on_unknown: Option<UnknownPolicy>,
}

impl Input for CampaignInput {}

impl CampaignInput {
    fn check(self) -> Result<NewCampaign, ApiError> {
        let mut fields = Fields::default();
        let new = NewCampaign {
            name: self.name.map(|name| fields.line("name", name, NAME_MAX_BYTES)),
            template: self.template,
            group: self.group,
            schedule_at: self.time.map(|time| time.0),
            mailer: self.mailer.map(|mailer| fields.line("mailer", mailer, MAILER_MAX_BYTES)),
            from: self.from.map(|from| address(&mut fields, "from", from)),
            reply_to: self.reply_to.map(|reply_to| address(&mut fields, "reply_to", reply_to)),
            on_unknown: self.on_unknown.map(OnUnknown::from).unwrap_or_default(),
        };
        fields.check()?;
        Ok(new)
    }
}

/// `Name <address>` or an address alone.
fn address(fields: &mut Fields, field: &str, text: String) -> String {
    let text = fields.line(field, text, ADDRESS_MAX_BYTES);
    if let (false, Err(error)) = (text.is_empty(), mail::Address::parse(&text)) {
        fields.fail(field, error.to_string());
    }
    text
}

/// What is absent stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CampaignChange {
    template: Option<Uuid>,
    group: Option<Uuid>,
    #[schema(example = "January letter")]
    name: Option<String>,
    mailer: Option<String>,
    from: Option<String>,
    reply_to: Option<String>,
    on_unknown: Option<UnknownPolicy>,
}

impl Input for CampaignChange {}

impl CampaignChange {
    fn check(self) -> Result<CampaignPatch, ApiError> {
        let mut fields = Fields::default();
        let patch = CampaignPatch {
            name: self.name.map(|name| fields.line("name", name, NAME_MAX_BYTES)),
            template: self.template,
            group: self.group,
            mailer: self.mailer.map(|mailer| fields.line("mailer", mailer, MAILER_MAX_BYTES)),
            from: self.from.map(|from| address(&mut fields, "from", from)),
            reply_to: self.reply_to.map(|reply_to| address(&mut fields, "reply_to", reply_to)),
            on_unknown: self.on_unknown.map(OnUnknown::from),
        };
        fields.check()?;
        Ok(patch)
    }
}

#[derive(ToSchema)]
#[allow(dead_code, reason = "it documents an answer")]
struct CampaignCreated {
    campaign_id: Uuid,
    /// `draft`, or `scheduled` where a time was given.
    #[schema(example = "draft")]
    status: String,
    /// Where a time was given.
    scheduled_for: Option<DateTime<Utc>>,
}

#[derive(Serialize, ToSchema)]
struct CampaignView {
    campaign_id: Uuid,
    #[schema(example = "December letter")]
    name: String,
    /// `draft`, `scheduled`, `freezing`, `sending`, `paused`, `completed` or `cancelled`
    #[schema(example = "scheduled")]
    status: String,
    /// Why, where there is a reason: `empty_audience`, `mailer_unavailable`, `worker_died`, …
    status_reason: Option<String>,
    /// The dispatch that is the reason, where one is: `worker_died`.
    status_dispatch_id: Option<Uuid>,
    scheduled_for: Option<DateTime<Utc>>,
    template: Uuid,
    group: Uuid,
    mailer: Option<String>,
    from: Option<String>,
    reply_to: Option<String>,
    on_unknown: UnknownPolicy,
    /// Whom it was frozen to; null before.
    audience: Option<Audience>,
    /// The version of the template that is sent; null before it is frozen.
    template_version: Option<u64>,
    created_at: DateTime<Utc>,
    changed_at: DateTime<Utc>,
}

/// The audience as it was frozen.
#[derive(Serialize, ToSchema)]
struct Audience {
    recipients: u64,
    /// Membership as of this position of the log.
    position: i64,
    /// The template's version then.
    template_version: u64,
    /// SHA-256 over the recipients' ids in ascending order.
    digest: String,
}

impl From<Manifest> for Audience {
    fn from(manifest: Manifest) -> Self {
        Self {
            recipients: manifest.recipients,
            position: manifest.position,
            template_version: manifest.template_version,
            digest: manifest.digest,
        }
    }
}

impl From<Campaign> for CampaignView {
    fn from(campaign: Campaign) -> Self {
        let details = campaign.details.0;
        let frozen = campaign.manifest.as_ref().map(|manifest| manifest.template_version);
        Self {
            campaign_id: campaign.id,
            name: details.name,
            status: campaign.status,
            status_reason: campaign.status_reason,
            status_dispatch_id: campaign.status_dispatch,
            scheduled_for: campaign.scheduled_for,
            template: details.template_id,
            group: details.group_id,
            mailer: details.mailer,
            from: details.from,
            reply_to: details.reply_to,
            on_unknown: details.on_unknown.into(),
            audience: campaign.manifest.map(|manifest| Audience::from(manifest.0)),
            template_version: campaign.template_version.map(i64::cast_unsigned).or(frozen),
            created_at: campaign.created_at,
            changed_at: campaign.changed_at,
        }
    }
}

/// Create a campaign
///
/// A draft; with a time, scheduled as well: both or neither.
#[utoipa::path(post, path = "/emails", tag = "emails", request_body = CampaignInput,
    responses((status = 201, description = "It was created.", body = CampaignCreated)))]
async fn create(State(app): State<App>, call: Call<CampaignInput>) -> Result<Response, ApiError> {
    let new = call.body.check()?;
    let done = once(&app, &call.context, app.commands.create_campaign(&call.context, new)).await?;
    Ok(respond::created(&app, done, "/emails", "campaign_id"))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct CampaignParams {
    status: Option<String>,
    /// How many items, 50 by default.
    #[param(value_type = Option<u16>, minimum = 1, maximum = 500)]
    limit: Option<String>,
    /// The last page's `next_cursor`.
    cursor: Option<String>,
}

/// List campaigns
#[utoipa::path(get, path = "/emails", tag = "emails", params(CampaignParams),
    responses((status = 200, description = "Newest first.", body = List<CampaignView>)))]
async fn list(
    State(app): State<App>,
    position: Position,
    Params(params): Params<CampaignParams>,
) -> Result<Json<List<CampaignView>>, ApiError> {
    let slice = slice(&params.limit, &params.cursor)?;
    let status = word("status", &params.status, STATUSES)?;
    position.wait(&app, MODELS).await?;
    Ok(respond::list(campaigns::list(&app.pool, status, slice).await?, CampaignView::from))
}

/// Show a campaign
#[utoipa::path(get, path = "/emails/{id}", tag = "emails", params(("id" = Uuid, Path)),
    responses((status = 200, description = "The campaign.", body = CampaignView, headers(("ETag" = String)))))]
async fn get(
    State(app): State<App>,
    Ids(id): Ids<CampaignId>,
    position: Position,
) -> Result<Response, ApiError> {
    position.wait(&app, MODELS).await?;
    let campaign = campaigns::get(&app.pool, id).await?.ok_or(ApiError::NotFound("campaign"))?;
    Ok(respond::resource(campaign.version, CampaignView::from(campaign)))
}

/// Change a campaign
///
/// While it is a draft or scheduled. Its time is set by `POST /schedule`.
#[utoipa::path(patch, path = "/emails/{id}", tag = "emails", request_body = CampaignChange,
    params(("id" = Uuid, Path), ("If-Match" = Option<String>, Header, description = "The `ETag` that was seen.")),
    responses((status = 200, description = "The campaign as it is now.", body = CampaignView,
        headers(("ETag" = String)))))]
async fn change(
    State(app): State<App>,
    Ids(id): Ids<CampaignId>,
    call: Call<CampaignChange>,
) -> Result<Response, ApiError> {
    let patch = call.body.check()?;
    let changed = app.commands.change_campaign(&call.context, id, patch);
    let done = once(&app, &call.context, changed).await?;
    let campaign = match call.sees && position::reached(&app, &done.position, MODELS).await {
        true => campaigns::get(&app.pool, id).await?,
        false => None,
    };
    let now = campaign.map(|campaign| (campaign.version, CampaignView::from(campaign)));
    Ok(respond::changed(&done, now, ("campaign_id", id)))
}

/// Delete a draft
#[utoipa::path(delete, path = "/emails/{id}", tag = "emails",
    params(("id" = Uuid, Path), ("If-Match" = Option<String>, Header, description = "The `ETag` that was seen.")),
    responses((status = 204, description = "It was deleted.")))]
async fn delete(
    State(app): State<App>,
    Ids(id): Ids<CampaignId>,
    Bare(context): Bare,
) -> Result<Response, ApiError> {
    let done = once(&app, &context, app.commands.delete_campaign(&context, id)).await?;
    Ok(respond::no_content(&done))
}

/// Duplicate a campaign
///
/// The copy is a draft, whatever became of the original.
#[utoipa::path(post, path = "/emails/{id}/duplicate", tag = "emails", params(("id" = Uuid, Path)),
    responses((status = 201, description = "The copy.", body = CampaignCreated)))]
async fn duplicate(
    State(app): State<App>,
    Ids(id): Ids<CampaignId>,
    Bare(context): Bare,
) -> Result<Response, ApiError> {
    let done = once(&app, &context, app.commands.duplicate_campaign(&context, id)).await?;
    Ok(respond::created(&app, done, "/emails", "campaign_id"))
}
