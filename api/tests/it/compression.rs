//! Answers that are compressed, and those that must not be.

use crate::support::{Answer, TestApp, until};
use flate2::read::GzDecoder;
use serde_json::{Value, json};
use sqlx::PgPool;
use std::io::Read;

fn unzipped(answer: &Answer) -> Vec<u8> {
    assert_eq!(answer.header("content-encoding"), "gzip");
    let mut plain = Vec::new();
    GzDecoder::new(&answer.body[..]).read_to_end(&mut plain).unwrap();
    plain
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn long_answers_are_compressed_for_who_asks(pool: PgPool) {
    let app = TestApp::new(pool).await;
    let plain = app.get("/openapi.json").send().await.ok(200);
    assert!(!plain.headers.contains_key("content-encoding"));
    let zipped = app.get("/openapi.json").header("accept-encoding", "br, gzip").send().await.ok(200);
    assert_eq!(unzipped(&zipped), plain.body);
    assert!(zipped.body.len() * 4 < plain.body.len());
    assert!(zipped.header("vary").to_ascii_lowercase().contains("accept-encoding"));
    for number in 0..30 {
        app.group(&format!("Group {number}")).await;
    }
    app.settled().await;
    let list = app.get("/groups").header("accept-encoding", "gzip").send().await.ok(200);
    let list: Value = serde_json::from_slice(&unzipped(&list)).unwrap();
    assert_eq!(list["items"].as_array().unwrap().len(), 30);
}

/// What compresses asks a stream once more after its end.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_file_is_compressed_to_its_end(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let file = |encoding| app.get("/audit/opt-outs?format=csv").header("accept-encoding", encoding).send();
    let (zipped, plain) = (file("gzip").await.ok(200), file("identity").await.ok(200));
    assert_eq!(unzipped(&zipped), plain.body);
    assert!(plain.text().starts_with("position,time,"));
}

/// BREACH: an address in the browser lets their reader in, and any page can make a browser call it.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn what_readers_see_is_never_compressed(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let group = app.group(&"\"".repeat(200)).await;
    let reader = app.subscriber("reader@example.com", &[group]).await;
    let reset =
        app.get("/auth/password-reset?token=x").anonymous().header("accept-encoding", "gzip").send().await;
    assert!(!reset.headers.contains_key("content-encoding"));
    let link = format!("/emails/unsubscribe?token={}", app.token(reader, Some(group)));
    let page = app.get(&link).anonymous().header("accept-encoding", "gzip").send().await.ok(200);
    assert!(!page.headers.contains_key("content-encoding"));
    assert!(page.body.len() > 1_024, "too short to tell");
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn what_a_strong_etag_names_stays_as_it_is(pool: PgPool) {
    let app = TestApp::new(pool).await;
    let template = json!({ "name": "Letter", "subject": "Hello", "html": "<p>Hello</p>".repeat(500) });
    let id = app.post("/templates").json(template).send().await.id("template_id");
    app.settled().await;
    let answer = app.get(&format!("/templates/{id}")).header("accept-encoding", "gzip").send().await.ok(200);
    assert!(answer.headers.contains_key("etag") && !answer.headers.contains_key("content-encoding"));
    assert!(answer.body.len() > 5_000);
}

/// An event has to leave when it happens, not when a block is full.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn streams_of_events_are_never_compressed(pool: PgPool) {
    let app = TestApp::new(pool).await;
    let id = app.campaign().await;
    let path = format!("/emails/{id}/progress");
    until("the report is there", || async {
        app.get(&path).header("accept-encoding", "gzip").open().await.status() == 200
    })
    .await;
    let stream = app.get(&path).header("accept-encoding", "gzip").open().await;
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    assert!(!stream.headers().contains_key("content-encoding"));
}

/// A problem has no body yet when compression looks at it.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn problems_are_readable(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let answer = app.post("/groups").header("accept-encoding", "gzip").json(json!({})).send().await;
    answer.invalid(&["name"]);
}
