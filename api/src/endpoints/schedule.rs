//! When a campaign goes out, and whether it goes on.

use crate::access::{Access, Routes};
use crate::body::{Bare, Call, Input};
use crate::context::once;
use crate::endpoints::preview::{self, WarningView};
use crate::input::params::Ids;
use crate::input::timestamp::Timestamp;
use crate::problem::ApiError;
use crate::respond;
use crate::state::App;
use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, Utc};
use domain::CampaignId;
use domain::access::Scope;
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;
use utoipa_axum::routes;
use uuid::Uuid;

pub(super) fn routes(app: &App) -> Routes {
    Routes::new(app)
        .command(Access::Scope(Scope::EmailsWrite), routes!(schedule))
        .command(Access::Scope(Scope::EmailsWrite), routes!(unschedule))
        .command(Access::Scope(Scope::EmailsWrite), routes!(pause))
        .command(Access::Scope(Scope::EmailsWrite), routes!(resume))
        .command(Access::Scope(Scope::EmailsWrite), routes!(cancel))
        .command(Access::Scope(Scope::EmailsWrite), routes!(take_template))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Schedule {
    campaign_id: Uuid,
    /// Up to a minute ago is now.
    datetime: Option<Timestamp>,
    /// Instead of a time.
    now: Option<bool>,
}

impl Input for Schedule {}

impl Schedule {
    /// None: now.
    fn time(&self) -> Result<Option<DateTime<Utc>>, ApiError> {
        match (&self.datetime, self.now.unwrap_or_default()) {
            (Some(datetime), false) => Ok(Some(datetime.0)),
            (None, true) => Ok(None),
            (None, false) => Err(ApiError::invalid("datetime", "is missing, and so is \"now\": true")),
            (Some(_), true) => Err(ApiError::invalid("now", "and a datetime are one too many")),
        }
    }
}

#[derive(ToSchema)]
#[allow(dead_code, reason = "it documents an answer")]
struct Scheduled {
    campaign_id: Uuid,
    scheduled_for: DateTime<Utc>,
}

#[derive(ToSchema)]
#[allow(dead_code, reason = "it documents an answer")]
struct StatusAnswer {
    campaign_id: Uuid,
    #[schema(example = "paused")]
    status: String,
}

/// A number, or `latest`.
#[derive(Deserialize, ToSchema)]
#[serde(untagged, expecting = "is neither a version's number nor \"latest\"")]
enum Wanted {
    Number(u64),
    Word(Latest),
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Latest {
    Latest,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct TakeTemplate {
    /// Of the campaign's template.
    #[schema(example = "latest")]
    version: Wanted,
}

impl Input for TakeTemplate {}

#[derive(ToSchema)]
#[allow(dead_code, reason = "it documents an answer")]
struct TemplateTaken {
    campaign_id: Uuid,
    #[schema(example = "paused")]
    status: String,
    #[schema(example = 2)]
    template_version: u64,
    warnings: Vec<WarningView>,
}

/// Schedule a campaign
///
/// Sets or replaces the time of a draft or a scheduled campaign: `datetime`, or `"now": true`. Who is in its group at that time is its audience;
/// an empty one completes it with `planned: 0` and the reason `empty_audience`.
#[utoipa::path(post, path = "/schedule", tag = "emails", request_body = Schedule,
    responses((status = 202, description = "It is scheduled.", body = Scheduled),
        (status = 404, description = "The campaign is not known.", body = crate::problem::Problem,
            content_type = "application/problem+json")))]
async fn schedule(State(app): State<App>, call: Call<Schedule>) -> Result<Response, ApiError> {
    let at = call.body.time()?;
    let scheduled = app.commands.schedule_campaign(&call.context, call.body.campaign_id, at);
    Ok(respond::accepted(once(&app, &call.context, scheduled).await?))
}

/// Unschedule a campaign
#[utoipa::path(post, path = "/emails/{id}/unschedule", tag = "emails", params(("id" = Uuid, Path)),
    responses((status = 202, description = "It is a draft again.", body = StatusAnswer)))]
async fn unschedule(
    State(app): State<App>,
    Ids(id): Ids<CampaignId>,
    Bare(context): Bare,
) -> Result<Response, ApiError> {
    let unscheduled = app.commands.unschedule_campaign(&context, id);
    Ok(respond::accepted(once(&app, &context, unscheduled).await?))
}

/// Pause a campaign
///
/// When this is answered, no mail of it starts on its way any more until it is resumed.
#[utoipa::path(post, path = "/emails/{id}/pause", tag = "emails", params(("id" = Uuid, Path)),
    responses((status = 202, description = "It is paused.", body = StatusAnswer)))]
async fn pause(
    State(app): State<App>,
    Ids(id): Ids<CampaignId>,
    Bare(context): Bare,
) -> Result<Response, ApiError> {
    // Not `once`: a repeat waits as the first call did.
    Ok(respond::accepted(app.commands.pause_campaign(&context, id, None).await?))
}

/// Resume a campaign
///
/// Also one whose freeze was given up, as `status_reason` says: that is tried again.
#[utoipa::path(post, path = "/emails/{id}/resume", tag = "emails", params(("id" = Uuid, Path)),
    responses((status = 202, description = "It goes on.", body = StatusAnswer)))]
async fn resume(
    State(app): State<App>,
    Ids(id): Ids<CampaignId>,
    Bare(context): Bare,
) -> Result<Response, ApiError> {
    let resumed = app.commands.resume_campaign(&context, id);
    Ok(respond::accepted(once(&app, &context, resumed).await?))
}

/// Cancel a campaign
///
/// When this is answered, no mail of it starts on its way any more. Who was pending is closed soon after.
#[utoipa::path(post, path = "/emails/{id}/cancel", tag = "emails", params(("id" = Uuid, Path)),
    responses((status = 202, description = "It is cancelled.", body = StatusAnswer)))]
async fn cancel(
    State(app): State<App>,
    Ids(id): Ids<CampaignId>,
    Bare(context): Bare,
) -> Result<Response, ApiError> {
    // Not `once`: a repeat waits as the first call did.
    Ok(respond::accepted(app.commands.cancel_campaign(&context, id).await?))
}

/// Take a newer version of the template
///
/// For a paused campaign: who has no mail of it yet gets this version once it is resumed. The version is checked as if it were saved now.
/// A recipient whose mail was on its way before keeps the version of that mail; the report and the list of recipients say who got which.
/// The version that it sends already changes nothing, and an older one is refused.
#[utoipa::path(post, path = "/emails/{id}/template", tag = "emails", request_body = TakeTemplate,
    params(("id" = Uuid, Path)),
    responses((status = 202, description = "It sends this version from now on.", body = TemplateTaken)))]
async fn take_template(
    State(app): State<App>,
    Ids(id): Ids<CampaignId>,
    call: Call<TakeTemplate>,
) -> Result<Response, ApiError> {
    let wanted = match call.body.version {
        Wanted::Number(version) => Some(version),
        Wanted::Word(Latest::Latest) => None,
    };
    let mut warnings = Vec::new();
    let taken = async {
        let (version, content) = app.commands.newer_template(id, wanted).await?;
        warnings = preview::check(&app, &content).await?;
        Ok::<_, ApiError>(app.commands.take_template(&call.context, id, version).await?)
    };
    let mut done = once(&app, &call.context, taken).await?;
    done.answer["warnings"] = json!(warnings);
    Ok(respond::accepted(done))
}
