//! Server-sent events, read as a browser's parser would.

use crate::support::TestApp;
use axum::body::{Body, BodyDataStream};
use axum::response::Response;
use domain::campaign::CampaignCommand;
use futures::StreamExt;
use serde_json::Value;
use sqlx::PgPool;
use std::time::Duration;

struct Events {
    body: BodyDataStream,
    buffer: String,
}

impl Events {
    fn new(response: Response<Body>) -> Self {
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { body: response.into_body().into_data_stream(), buffer: String::new() }
    }

    /// The next block, without its empty line; none at the end.
    async fn block(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.buffer.split_once("\n\n") {
                let block = block.to_owned();
                self.buffer = rest.to_owned();
                return Some(block);
            }
            let chunk =
                tokio::time::timeout(Duration::from_secs(10), self.body.next()).await.expect("nothing came");
            self.buffer.push_str(std::str::from_utf8(&chunk?.unwrap()).unwrap());
        }
    }

    /// The next event that is no comment.
    async fn event(&mut self) -> Option<(String, Value)> {
        loop {
            let block = self.block().await?;
            let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
            if let (Some(name), Some(data)) = (field("event:"), field("data:")) {
                return Some((name.to_owned(), serde_json::from_str(data).unwrap()));
            }
        }
    }
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn progress_follows_a_campaign_to_its_end(pool: PgPool) {
    let app = TestApp::with(pool, |config| config.progress_poll = Duration::from_millis(20)).await;
    let (id, ana) = (app.campaign().await, app.subscriber("ana@example.com", &[]).await);
    let position = app.post(&format!("/emails/{id}/unschedule")).send().await.position();
    let path = format!("/emails/{id}/progress");
    let mut events = Events::new(app.get(&path).position(&position).open().await);
    let (name, report) = events.event().await.unwrap();
    assert_eq!((name.as_str(), report["status"].as_str()), ("progress", Some("draft")));

    app.freeze(id, vec![ana]).await;
    app.accept(id, 1).await;
    app.command_campaign(id, CampaignCommand::Complete).await;
    let mut last = report;
    let done = loop {
        let (name, report) = events.event().await.expect("the stream ended without done");
        if name == "done" {
            break report;
        }
        assert_eq!(name, "progress");
        assert_ne!(report, last, "it came without a change");
        last = report;
    };
    assert_eq!(
        (done["status"].as_str(), done["planned"].as_i64(), done["accepted"].as_i64()),
        (Some("completed"), Some(1), Some(1))
    );
    assert_eq!(done, last);
    assert!(events.event().await.is_none(), "done ends it");
    // Who comes late gets both at once.
    let mut late = Events::new(app.get(&path).open().await);
    assert_eq!(late.event().await.unwrap().0, "progress");
    assert_eq!(late.event().await.unwrap().0, "done");
    assert!(late.event().await.is_none());
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_stream_shows_that_it_lives_and_ends_with_the_server(pool: PgPool) {
    let app = TestApp::with(pool, |config| config.heartbeat = Duration::from_millis(50)).await;
    let id = app.campaign().await;
    let position = app.post(&format!("/emails/{id}/unschedule")).send().await.position();
    let mut events = Events::new(app.get(&format!("/emails/{id}/progress")).position(&position).open().await);
    events.event().await.unwrap();
    assert_eq!(events.block().await.as_deref(), Some(": heartbeat"));
    app.shutdown.cancel();
    while let Some(block) = events.block().await {
        assert_eq!(block, ": heartbeat");
    }
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_stream_ends_after_its_time_and_with_its_campaign(pool: PgPool) {
    let app = TestApp::with(pool, |config| config.stream_lifetime = Duration::from_secs(2)).await;
    let id = app.campaign().await;
    let position = app.post(&format!("/emails/{id}/unschedule")).send().await.position();
    let path = format!("/emails/{id}/progress");
    let mut events = Events::new(app.get(&path).position(&position).open().await);
    events.event().await.unwrap();
    assert!(events.event().await.is_none());
    let mut events = Events::new(app.get(&path).open().await);
    events.event().await.unwrap();
    app.delete(&format!("/emails/{id}")).send().await.ok(204);
    assert!(events.event().await.is_none());
}
