//! A campaign's report as it changes (server-sent events, as the HTML standard defines them).

use crate::access::{Access, Principal, Routes};
use crate::endpoints::report::{MODELS, ReportView};
use crate::input::params::Ids;
use crate::input::position::Position;
use crate::problem::ApiError;
use crate::state::App;
use crate::streams::Stream;
use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use domain::CampaignId;
use domain::access::Scope;
use futures::StreamExt;
use std::convert::Infallible;
use utoipa::ToSchema;
use utoipa_axum::routes;
use uuid::Uuid;

pub(super) fn routes(app: &App) -> Routes {
    Routes::new(app).query(Access::Scope(Scope::ReportsRead), routes!(progress))
}

/// One event of the stream.
#[derive(ToSchema)]
#[allow(dead_code, reason = "it documents an answer")]
struct ProgressEvent {
    /// `progress` or `done`
    event: String,
    /// The report, as JSON.
    data: String,
}

/// Follow a campaign's progress
///
/// Each event `progress` carries the report, at the start and whenever it has changed. `done` carries the last one
/// and ends the stream. A comment shows every 15 seconds that the stream lives. A stream that ends without `done`
/// (after ten minutes, or because the server stops) is to be opened again.
#[utoipa::path(get, path = "/emails/{id}/progress", tag = "emails", params(("id" = Uuid, Path)),
    responses((status = 200, description = "The stream.", body = ProgressEvent, content_type = "text/event-stream",
        example = "event: progress\ndata: {\"planned\":2000,\"pending\":1500,\"accepted\":500}\n\n")))]
async fn progress(
    State(app): State<App>,
    Ids(id): Ids<CampaignId>,
    caller: Principal,
    position: Position,
) -> Result<Sse<impl futures::Stream<Item = Result<Event, Infallible>>>, ApiError> {
    position.wait(&app, MODELS).await?;
    let first = ReportView::read(&app.pool, id).await?.ok_or(ApiError::NotFound("campaign"))?;
    let watch = Watch {
        stream: Stream::begin(&app, &caller)?,
        campaign: id,
        next: Some(first),
        sent: None,
        done: false,
    };
    let alive = KeepAlive::new().interval(app.config.heartbeat).text("heartbeat");
    Ok(Sse::new(futures::stream::unfold(watch, Watch::step).fuse()).keep_alive(alive))
}

struct Watch {
    stream: Stream,
    campaign: Uuid,
    /// Read and not sent yet.
    next: Option<ReportView>,
    sent: Option<ReportView>,
    done: bool,
}

impl Watch {
    async fn step(mut self) -> Option<(Result<Event, Infallible>, Self)> {
        while !self.done && !self.stream.is_over() {
            if let Some(report) = self.next.take().filter(|report| self.sent.as_ref() != Some(report)) {
                let event = event("progress", &report);
                self.sent = Some(report);
                return Some((Ok(event), self));
            }
            if let Some(last) = self.sent.as_ref().filter(|report| report.is_final()) {
                let event = event("done", last);
                self.done = true;
                return Some((Ok(event), self));
            }
            self.stream.pause(self.stream.app.config.progress_poll).await;
            self.read().await;
        }
        None
    }

    /// A deleted campaign ends the stream; a database that does not answer is asked again.
    async fn read(&mut self) {
        match ReportView::read(&self.stream.app.pool, self.campaign).await {
            Ok(Some(report)) => self.next = Some(report),
            Ok(None) => self.done = true,
            Err(error) => drop(error),
        }
    }
}

fn event(name: &str, report: &ReportView) -> Event {
    // Numbers and words cannot fail to be serialised, and JSON has no line breaks.
    Event::default().event(name).data(serde_json::to_string(report).unwrap_or_default())
}
