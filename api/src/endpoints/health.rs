//! Whether the process lives, and whether it can do its work.

use crate::access::{Access, Kind, Routes};
use crate::problem::ApiError;
use crate::state::App;
use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use eventstore::sending::{self, Stop};
use eventstore::{StoreError, feed, lost};
use projections::Lag;
use serde::Serialize;
use sqlx::PgPool;
use std::collections::BTreeMap;
use std::time::Duration;
use utoipa::ToSchema;
use utoipa_axum::routes;

/// A database that takes longer is not ready.
const CHECK_TIME: Duration = Duration::from_secs(3);
/// Under an old snapshot (a dump) the notes of all that was numbered since are passed over.
const COUNT_TIME: Duration = Duration::from_secs(1);

pub(super) fn routes(app: &App) -> Routes {
    Routes::new(app).add(Access::Public, Kind::Plain, routes!(live)).add(
        Access::Public,
        Kind::Plain,
        routes!(ready),
    )
}

#[derive(Serialize, ToSchema)]
struct Live {
    #[schema(example = "live")]
    status: &'static str,
}

#[derive(Serialize, ToSchema)]
struct Ready {
    #[schema(example = "ready")]
    status: &'static str,
    log: LogView,
    /// How far each read model is behind the log.
    read_models: Vec<LagView>,
    /// How far the log is in Kafka; null where events do not travel by it, or no relay has ever worked.
    relay: Option<RelayView>,
    /// Why nobody hands mails over; null: mails go. Opt-outs, sign-in and reads go on meanwhile.
    sending_stopped: Option<StopView>,
}

#[derive(Serialize, ToSchema)]
struct StopView {
    #[schema(example = "operator")]
    reason: String,
    /// What an operator does about it.
    remedy: &'static str,
    since: Option<DateTime<Utc>>,
}

impl From<Stop> for StopView {
    fn from(stop: Stop) -> Self {
        Self { remedy: stop.remedy(), reason: stop.reason, since: stop.since }
    }
}

/// Whether every committed event gets its position.
#[derive(Serialize, ToSchema)]
struct LogView {
    status: LogStatus,
    /// Events that would never get one, counted up to 10,000; null where counting took too long.
    lost_events: Option<i64>,
    /// Events that have no position yet, counted up to 10,000: no read model knows of them. Null where counting took too long.
    waiting_events: Option<i64>,
}

#[derive(Serialize, ToSchema, PartialEq, Eq, Debug)]
#[serde(rename_all = "snake_case")]
enum LogStatus {
    InOrder,
    /// `postledger log repair` gives them positions.
    EventsLost,
    /// The sequence of append_ids was taken back: no event gets a position before `postledger log repair`.
    SequenceBehind,
}

#[derive(Serialize, ToSchema)]
struct RelayView {
    /// Events of the log that the brokers have not acknowledged.
    lag_events: i64,
    /// When they acknowledged one last.
    acknowledged_at: DateTime<Utc>,
}

#[derive(Serialize, ToSchema)]
struct LagView {
    #[schema(example = "campaigns")]
    name: String,
    /// Events that it has not done yet; at least, where they are very many.
    lag_events: i64,
    /// Since when the oldest of them waits.
    waiting_since: Option<DateTime<Utc>>,
    /// Streams that wait for an operator.
    parked_streams: i64,
}

impl From<Lag> for LagView {
    fn from(lag: Lag) -> Self {
        Self {
            name: lag.projection,
            lag_events: lag.events,
            waiting_since: lag.oldest,
            parked_streams: lag.parked_streams,
        }
    }
}

/// Tell that the process lives
#[utoipa::path(get, path = "/health/live", tag = "system",
    responses((status = 200, description = "It does.", body = Live)))]
async fn live() -> Json<Live> {
    Json(Live { status: "live" })
}

/// Tell whether requests can be served
///
/// The database answers, its schema is the one of this version, and the process was not told to end. How far read models are behind, and
/// whether events were lost, is told and decides nothing: opting out needs neither.
#[utoipa::path(get, path = "/health/ready", tag = "system",
    responses((status = 200, description = "They can.", body = Ready)))]
async fn ready(State(app): State<App>) -> Result<Json<Ready>, ApiError> {
    if app.leaving.is_cancelled() {
        return Err(ApiError::Overloaded("this process is about to end"));
    }
    let check = async {
        if !migrations_are_current(&app.pool).await? {
            return Err(ApiError::Overloaded("the database's schema is not the one of this version"));
        }
        // First: what had its position by then is in what follows.
        let log = log(&app.pool).await?;
        let relay = if app.config.has_kafka { relay(&app.pool).await? } else { None };
        let lags = projections::lag(&app.pool, &projections::all()).await?;
        let read_models = lags.into_iter().map(LagView::from).collect();
        let sending_stopped = sending::stopped_by(&app.pool).await?.map(StopView::from);
        Ok(Ready { status: "ready", log, read_models, relay, sending_stopped })
    };
    let checked = tokio::time::timeout(CHECK_TIME, check).await;
    checked.map_err(|_| ApiError::Overloaded("the database does not answer in time"))?.map(Json)
}

async fn log(pool: &PgPool) -> Result<LogView, ApiError> {
    let order = lost::order(pool).await?;
    let counts = async { Ok::<_, StoreError>((lost::count(pool).await?, lost::waiting(pool).await?)) };
    let (lost_events, waiting_events) =
        tokio::time::timeout(COUNT_TIME, counts).await.ok().transpose()?.unzip();
    let status = match lost_events {
        _ if order.is_behind() => LogStatus::SequenceBehind,
        Some(1..) => LogStatus::EventsLost,
        Some(_) | None => LogStatus::InOrder,
    };
    Ok(LogView { status, lost_events, waiting_events })
}

async fn relay(pool: &PgPool) -> Result<Option<RelayView>, ApiError> {
    let Some(relayed) = feed::relayed(pool).await? else { return Ok(None) };
    let lag_events = feed::head(pool).await?.position - relayed.position;
    Ok(Some(RelayView { lag_events, acknowledged_at: relayed.acknowledged_at }))
}

/// Every migration of ours was applied as it is here. A newer process may have applied more: it knows that old ones
/// still run.
async fn migrations_are_current(pool: &PgPool) -> Result<bool, ApiError> {
    let exists: bool =
        sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL").fetch_one(pool).await?;
    if !exists {
        return Ok(false);
    }
    let applied: Vec<(i64, Vec<u8>)> =
        sqlx::query_as("SELECT version, checksum FROM _sqlx_migrations WHERE success")
            .fetch_all(pool)
            .await?;
    let applied: BTreeMap<i64, Vec<u8>> = applied.into_iter().collect();
    let is_applied =
        |version: &i64, checksum: &[u8]| applied.get(version).is_some_and(|applied| applied == checksum);
    Ok(eventstore::MIGRATOR.iter().all(|migration| is_applied(&migration.version, &migration.checksum)))
}
