//! What became of a campaign, in numbers.

use crate::access::{Access, Routes};
use crate::input::params::Ids;
use crate::input::position::{Models, Position};
use crate::problem::ApiError;
use crate::state::App;
use axum::Json;
use axum::extract::State;
use domain::CampaignId;
use domain::access::Scope;
use eventstore::sending;
use projections::campaign_report::{self, Report, VersionCount};
use projections::{CampaignReport, Campaigns};
use serde::Serialize;
use sqlx::PgPool;
use utoipa::ToSchema;
use utoipa_axum::routes;
use uuid::Uuid;

pub(super) const MODELS: Models = &[&CampaignReport, &Campaigns];

pub(super) fn routes(app: &App) -> Routes {
    Routes::new(app).query(Access::Scope(Scope::ReportsRead), routes!(get))
}

/// Always `planned` is the sum of `pending`, `accepted`, `suppressed`, `rejected`, `unknown` and `cancelled`; of a
/// completed campaign, none is pending.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(super) struct ReportView {
    campaign_id: Uuid,
    #[schema(example = "completed")]
    status: String,
    status_reason: Option<String>,
    /// The dispatch that is the reason, where one is: `worker_died`.
    status_dispatch_id: Option<Uuid>,
    #[schema(example = 2000)]
    planned: i64,
    #[schema(example = 0)]
    pending: i64,
    /// The mail server took it.
    #[schema(example = 1990)]
    accepted: i64,
    /// Opted out since the audience was frozen.
    #[schema(example = 7)]
    suppressed: i64,
    /// The mail server refused it for good.
    #[schema(example = 3)]
    rejected: i64,
    /// Handed over, and nobody knows whether it was taken.
    unknown: i64,
    cancelled: i64,
    delivered: i64,
    bounced: i64,
    complained: i64,
    opened: i64,
    clicked: i64,
    /// Readers who opted out by this campaign's mail.
    unsubscribed: i64,
    /// Mails that were found to have started later than their permission allowed.
    late_handovers: i64,
    /// Who got which version of the template, oldest first: the one that was frozen, and those that the campaign took since. Empty
    /// before it is frozen.
    template_versions: Vec<VersionView>,
    /// Why nobody hands mails over, of this campaign or another, while this one sends: see `/health/ready`.
    #[schema(example = json!(null))]
    sending_stopped: Option<String>,
}

/// Whose mail was made from one version of the template: the sums are the report's.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
struct VersionView {
    #[schema(example = 1)]
    template_version: i64,
    #[schema(example = 1990)]
    accepted: i64,
    unknown: i64,
}

impl From<VersionCount> for VersionView {
    fn from(VersionCount { template_version, accepted, unknown }: VersionCount) -> Self {
        Self { template_version, accepted, unknown }
    }
}

impl ReportView {
    /// `None`: there is no such campaign.
    pub async fn read(pool: &PgPool, id: CampaignId) -> Result<Option<Self>, ApiError> {
        let Some(report) = campaign_report::get(pool, id).await? else { return Ok(None) };
        let mut view = Self::from(report);
        if view.status == "sending" {
            view.sending_stopped = sending::stopped_by(pool).await?.map(|stop| stop.reason);
        }
        Ok(Some(view))
    }

    /// Nothing of it will change any more.
    pub fn is_final(&self) -> bool {
        matches!(self.status.as_str(), "completed" | "cancelled") && self.pending == 0
    }
}

impl From<Report> for ReportView {
    fn from(report: Report) -> Self {
        Self {
            campaign_id: report.campaign_id,
            status: report.status,
            status_reason: report.status_reason,
            status_dispatch_id: report.status_dispatch,
            planned: report.planned,
            pending: report.pending,
            accepted: report.accepted,
            suppressed: report.suppressed,
            rejected: report.rejected,
            unknown: report.unknown,
            cancelled: report.cancelled,
            delivered: report.delivered,
            bounced: report.bounced,
            complained: report.complained,
            opened: report.opened,
            clicked: report.clicked,
            unsubscribed: report.unsubscribed,
            late_handovers: report.late_handovers,
            template_versions: report.versions.0.into_iter().map(VersionView::from).collect(),
            sending_stopped: None,
        }
    }
}

/// Show a campaign's report
#[utoipa::path(get, path = "/emails/{id}/report", tag = "emails", params(("id" = Uuid, Path)),
    responses((status = 200, description = "The report.", body = ReportView)))]
async fn get(
    State(app): State<App>,
    Ids(id): Ids<CampaignId>,
    position: Position,
) -> Result<Json<ReportView>, ApiError> {
    position.wait(&app, MODELS).await?;
    Ok(Json(ReportView::read(&app.pool, id).await?.ok_or(ApiError::NotFound("campaign"))?))
}
