//! What became of everybody whom a campaign was to reach: as JSON by pages, as CSV in one piece.

use crate::access::{Access, Principal, Routes};
use crate::csv_rows::{self, prefers_csv};
use crate::input::params::{Ids, Params, given, slice, word};
use crate::input::position::{Models, Position};
use crate::personal::Opener;
use crate::problem::ApiError;
use crate::respond::List;
use crate::state::App;
use crate::streams::Stream;
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use commands::UNREADABLE;
use domain::access::Scope;
use domain::{CampaignId, SubscriberId};
use http::HeaderMap;
use projections::recipients::{self, Pages, Recipient, RecipientState};
use projections::{CampaignReport, Campaigns, Recipients, Subscribers, campaign_report};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;
use uuid::Uuid;

const MODELS: Models = &[&Recipients, &Subscribers, &CampaignReport, &Campaigns];
const COLUMNS: [&str; 7] =
    ["subscriber_id", "address", "state", "reason", "dispatch_id", "authorized_by", "template_version"];

pub(super) fn routes(app: &App) -> Routes {
    Routes::new(app).query(Access::Scope(Scope::RecipientsRead), routes!(list))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct RecipientParams {
    /// `pending`, `accepted`, `suppressed`, `rejected`, `unknown` or `cancelled`
    state: Option<String>,
    /// `json` or `csv`; else the header `Accept` decides.
    format: Option<String>,
    /// How many items, 50 by default. A CSV has them all.
    #[param(value_type = Option<u16>, minimum = 1, maximum = 500)]
    limit: Option<String>,
    /// The last page's `next_cursor`.
    cursor: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct RecipientView {
    subscriber_id: Uuid,
    /// Empty once the person was erased; null, and `unreadable` in a CSV, where it cannot be read.
    address: Option<String>,
    #[schema(example = "accepted")]
    state: String,
    reason: Option<String>,
    dispatch_id: Uuid,
    /// The position of the consent that allowed the send; null where there was none yet.
    authorized_by: Option<i64>,
    /// Of the template that their mail was made from; null where there was none yet.
    #[schema(example = 1)]
    template_version: Option<i64>,
}

impl RecipientView {
    fn open(keys: &Opener, row: Recipient) -> Self {
        let open = |sealed| keys.open_sealed(row.subscriber_id, "address", sealed);
        Self {
            subscriber_id: row.subscriber_id,
            address: row.address.map_or(Some(String::new()), open),
            state: row.state,
            reason: row.reason,
            dispatch_id: row.dispatch_id,
            authorized_by: row.authorized_by,
            template_version: row.template_version,
        }
    }

    fn cells(self) -> [String; 7] {
        let number = |number: Option<i64>| number.map(|number| number.to_string()).unwrap_or_default();
        let (authorized_by, version) = (number(self.authorized_by), number(self.template_version));
        let (subscriber, dispatch) = (self.subscriber_id.to_string(), self.dispatch_id.to_string());
        let address = self.address.unwrap_or_else(|| UNREADABLE.into());
        [subscriber, address, self.state, self.reason.unwrap_or_default(), dispatch, authorized_by, version]
    }
}

/// List a campaign's recipients
///
/// As JSON by pages, or all of them as CSV: with `?format=csv` or `Accept: text/csv`. In a CSV, cells that a
/// spreadsheet would take for a formula begin with an apostrophe.
#[utoipa::path(get, path = "/emails/{id}/recipients", tag = "emails",
    params(("id" = Uuid, Path), RecipientParams),
    responses((status = 200, description = "In the order of their ids.", content(
        (List<RecipientView> = "application/json"), (String = "text/csv")))))]
async fn list(
    State(app): State<App>,
    Ids(id): Ids<CampaignId>,
    caller: Principal,
    position: Position,
    Params(params): Params<RecipientParams>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let slice = slice(&params.limit, &params.cursor)?;
    let state: Option<RecipientState> =
        given(&params.state).map(str::parse).transpose().map_err(|_| no_such_state())?;
    let format = word("format", &params.format, &["json", "csv"])?;
    position.wait(&app, MODELS).await?;
    campaign_report::get(&app.pool, id).await?.ok_or(ApiError::NotFound("campaign"))?;
    if format.map_or_else(|| prefers_csv(&headers), |format| format == "csv") {
        return csv(&app, &caller, id, state);
    }
    let page = recipients::page(&app.pool, id, state, slice).await?;
    let next_cursor = page.next_cursor.map(|cursor| cursor.to_string());
    Ok(Json(List { items: open(&app, page.items).await?, next_cursor }).into_response())
}

fn no_such_state() -> ApiError {
    ApiError::invalid("state", "is not one of pending, accepted, suppressed, rejected, unknown, cancelled")
}

async fn open(app: &App, rows: Vec<Recipient>) -> Result<Vec<RecipientView>, ApiError> {
    let ids: Vec<SubscriberId> = rows.iter().map(|row| row.subscriber_id).collect();
    let keys = Opener::of(app, &ids).await?;
    Ok(rows.into_iter().map(|row| RecipientView::open(&keys, row)).collect())
}

fn csv(
    app: &App,
    caller: &Principal,
    campaign: CampaignId,
    state: Option<RecipientState>,
) -> Result<Response, ApiError> {
    let pages = Pages::new(app.pool.clone(), campaign, state);
    let rows = Export { stream: Stream::begin(app, caller)?, pages };
    csv_rows::file(&format!("recipients-{campaign}.csv"), COLUMNS, rows)
}

struct Export {
    stream: Stream,
    pages: Pages,
}

impl csv_rows::Rows for Export {
    async fn next(&mut self) -> Result<Option<Vec<u8>>, ApiError> {
        if self.stream.is_over() {
            return Err(ApiError::Overloaded("the stream took too long"));
        }
        let Some(rows) = self.pages.next().await? else { return Ok(None) };
        let views = open(&self.stream.app, rows).await?;
        csv_rows::rows(views.into_iter().map(RecipientView::cells)).map(Some)
    }
}
