//! Who opted out, when and how: for auditors, as JSON by pages or as CSV in one piece.

use crate::access::{Access, Principal, Routes};
use crate::csv_rows::{self, prefers_csv};
use crate::input::params::{Params, given, id, slice, time, word};
use crate::input::position::{Models, Position};
use crate::personal::Opener;
use crate::problem::ApiError;
use crate::respond::List;
use crate::state::App;
use crate::streams::Stream;
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, SecondsFormat, Utc};
use commands::UNREADABLE;
use domain::SubscriberId;
use domain::access::Scope;
use domain::consent::Channel;
use http::HeaderMap;
use projections::opt_outs::{self, Filter, OptOut, Pages};
use projections::{OptOuts, Subscribers};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;
use uuid::Uuid;

const MODELS: Models = &[&OptOuts, &Subscribers];
const COLUMNS: [&str; 12] = [
    "position",
    "time",
    "subscriber_id",
    "address",
    "scope",
    "groups",
    "channel",
    "campaign_id",
    "dispatch_id",
    "actor",
    "source_address",
    "user_agent",
];

pub(super) fn routes(app: &App) -> Routes {
    Routes::new(app).query(Access::Scope(Scope::AuditRead), routes!(list))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct OptOutParams {
    /// Recorded then or later (RFC 3339 with an offset).
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<String>,
    /// Recorded before.
    #[param(value_type = Option<String>, format = DateTime)]
    to: Option<String>,
    /// Those that name this group; an opt-out of everything names none.
    #[param(value_type = Option<Uuid>)]
    group: Option<String>,
    /// `one_click`, `preference_page`, `complaint`, `hard_bounce`, `admin` or `import`
    channel: Option<String>,
    /// Those by the links of this campaign's mails.
    #[param(value_type = Option<Uuid>)]
    campaign: Option<String>,
    /// `json` or `csv`; else the header `Accept` decides.
    format: Option<String>,
    /// How many items, 50 by default. A CSV has them all.
    #[param(value_type = Option<u16>, minimum = 1, maximum = 500)]
    limit: Option<String>,
    /// The last page's `next_cursor`.
    cursor: Option<String>,
}

impl OptOutParams {
    fn filter(&self) -> Result<Filter, ApiError> {
        let (from, to) = (time("from", &self.from)?, time("to", &self.to)?);
        if from.zip(to).is_some_and(|(from, to)| from > to) {
            return Err(ApiError::invalid("to", "is before from"));
        }
        Ok(Filter {
            from,
            to,
            group: id("group", &self.group)?,
            channel: channel(&self.channel)?,
            campaign: id("campaign", &self.campaign)?,
        })
    }
}

fn channel(channel: &Option<String>) -> Result<Option<Channel>, ApiError> {
    let words = Channel::ALL.map(Channel::as_str);
    Ok(word("channel", channel, &words)?.and_then(Channel::parse))
}

#[derive(Serialize, ToSchema)]
struct OptOutView {
    /// The event's place in the log.
    position: i64,
    time: DateTime<Utc>,
    subscriber_id: Uuid,
    /// Empty once the person was erased; null, and `unreadable` in a CSV, where it cannot be read.
    #[schema(example = "ana@example.com")]
    address: Option<String>,
    /// `global`, or `groups` and then which.
    #[schema(example = "groups")]
    scope: &'static str,
    groups: Vec<Uuid>,
    #[schema(example = "one_click")]
    channel: String,
    /// The mail whose link was used.
    campaign_id: Option<Uuid>,
    dispatch_id: Option<Uuid>,
    /// Who did it; `reader`: the person by a link.
    #[schema(example = "reader")]
    actor: Option<String>,
    request_id: Option<String>,
    /// The network address that it came from. Empty once the person was erased; null where it cannot be read.
    #[schema(example = "192.0.2.7")]
    source_address: Option<String>,
    user_agent: Option<String>,
}

impl OptOutView {
    fn open(keys: &Opener, row: OptOut) -> Self {
        let id = row.subscriber_id;
        let open = |field, sealed: Option<String>| keys.open_sealed(id, field, sealed?);
        Self {
            position: row.position,
            time: row.recorded_at,
            subscriber_id: id,
            address: row
                .address
                .map_or(Some(String::new()), |sealed| keys.open_sealed(id, "address", sealed)),
            scope: if row.groups.is_empty() { "global" } else { "groups" },
            groups: row.groups,
            channel: row.channel,
            campaign_id: row.campaign_id,
            dispatch_id: row.dispatch_id,
            actor: row.actor,
            request_id: row.request_id,
            source_address: open("source_address", row.source_address),
            user_agent: open("user_agent", row.user_agent),
        }
    }

    fn cells(self) -> [String; COLUMNS.len()] {
        let id = |id: Option<Uuid>| id.map(|id| id.to_string()).unwrap_or_default();
        [
            self.position.to_string(),
            self.time.to_rfc3339_opts(SecondsFormat::Micros, true),
            self.subscriber_id.to_string(),
            self.address.unwrap_or_else(|| UNREADABLE.into()),
            self.scope.to_owned(),
            self.groups.iter().map(Uuid::to_string).collect::<Vec<_>>().join(" "),
            self.channel,
            id(self.campaign_id),
            id(self.dispatch_id),
            self.actor.unwrap_or_default(),
            self.source_address.unwrap_or_default(),
            self.user_agent.unwrap_or_default(),
        ]
    }
}

/// List opt-outs
///
/// As JSON by pages, or all of them as CSV: with `?format=csv` or `Accept: text/csv`. In a CSV, cells that a
/// spreadsheet would take for a formula begin with an apostrophe. It can be imported with `status=opted_out`.
#[utoipa::path(get, path = "/audit/opt-outs", tag = "audit", params(OptOutParams),
    responses((status = 200, description = "Newest first.", content(
        (List<OptOutView> = "application/json"), (String = "text/csv")))))]
async fn list(
    State(app): State<App>,
    caller: Principal,
    position: Position,
    Params(params): Params<OptOutParams>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let (filter, slice) = (params.filter()?, slice(&params.limit, &params.cursor)?);
    word("format", &params.format, &["json", "csv"])?;
    position.wait(&app, MODELS).await?;
    if given(&params.format).map_or_else(|| prefers_csv(&headers), |format| format == "csv") {
        let rows =
            Export { stream: Stream::begin(&app, &caller)?, pages: Pages::new(app.pool.clone(), filter) };
        return csv_rows::file("opt-outs.csv", COLUMNS, rows);
    }
    let page = opt_outs::list(&app.pool, &filter, slice).await?;
    let next_cursor = page.next_cursor.map(|cursor| cursor.to_string());
    Ok(Json(List { items: open(&app, page.items).await?, next_cursor }).into_response())
}

async fn open(app: &App, rows: Vec<OptOut>) -> Result<Vec<OptOutView>, ApiError> {
    let ids: Vec<SubscriberId> = rows.iter().map(|row| row.subscriber_id).collect();
    let keys = Opener::of(app, &ids).await?;
    Ok(rows.into_iter().map(|row| OptOutView::open(&keys, row)).collect())
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
        csv_rows::rows(views.into_iter().map(OptOutView::cells)).map(Some)
    }
}
