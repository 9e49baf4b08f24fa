//! `Postledger-Position`: a query that names a command's position sees what the command did.

use crate::support::TestApp;
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use serde_json::{Value, json};
use sqlx::PgPool;
use std::time::{Duration, Instant};
use uuid::Uuid;

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_query_right_after_its_command_sees_it_a_thousand_times(pool: PgPool) {
    let app = TestApp::new(pool).await;
    for number in 0..1_000 {
        let name = format!("Group {number}");
        let created = app.post("/groups").json(json!({ "name": name })).send().await.ok(201);
        let path = format!("/groups/{}", created.id("group_id"));
        let seen = app.get(&path).position(&created.position()).send().await.ok(200).json();
        assert_eq!(seen["name"], name);
    }
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn each_kind_of_thing_is_seen_at_once(pool: PgPool) {
    let app = TestApp::new(pool).await;
    let group = app.group("Readers").await;
    app.settled().await;
    let new = json!({ "email": "ana@example.com", "groups": [group], "consent": { "source": "test" } });
    let added = app.post("/subscribers").json(new).send().await.ok(201);
    let subscriber = app.get(&format!("/subscribers/{}", added.id("subscriber_id")));
    assert_eq!(
        subscriber.position(&added.position()).send().await.ok(200).json()["email"],
        "ana@example.com"
    );
    let counted =
        app.get(&format!("/groups/{group}")).position(&added.position()).send().await.ok(200).json();
    assert_eq!(counted["members"], 1);

    let id = app.campaign().await;
    let unscheduled = app.post(&format!("/emails/{id}/unschedule")).send().await.ok(202);
    let path = format!("/emails/{id}");
    let campaign = app.get(&path).position(&unscheduled.position()).send().await.ok(200).json();
    assert_eq!(campaign["status"], "draft");
    let deleted = app.delete(&path).send().await.ok(204);
    app.get(&path).position(&deleted.position()).send().await.problem(404);
    app.get(&format!("{path}/report")).position(&deleted.position()).send().await.problem(404);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_read_model_that_is_behind_is_waited_for_and_then_told(pool: PgPool) {
    let app =
        TestApp::without_projectors(pool, |config| config.position_wait = Duration::from_millis(300)).await;
    let created = app.post("/groups").json(json!({ "name": "A" })).send().await.ok(201);
    let started = Instant::now();
    let answer = app.get("/groups").position(&created.position()).send().await;
    answer.problem(503);
    assert!(started.elapsed() >= Duration::from_millis(250), "it did not wait");
    assert_eq!(answer.header("retry-after"), "1");
    // The change is done all the same, and said to be so.
    let path = format!("/groups/{}", created.id("group_id"));
    let changed = app.patch(&path).json(json!({ "name": "B" })).send().await.ok(200);
    assert_eq!(changed.json(), json!({ "group_id": created.id("group_id") }));
}

fn token(position: &str, change: impl FnOnce(&mut Value)) -> String {
    let mut json: Value = serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(position).unwrap()).unwrap();
    change(&mut json);
    BASE64_URL_SAFE_NO_PAD.encode(json.to_string())
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn positions_that_are_none_of_this_log_are_refused(pool: PgPool) {
    let app = TestApp::new(pool).await;
    let position = app.post("/groups").json(json!({ "name": "A" })).send().await.ok(201).position();
    for nonsense in ["", "nonsense", "%%%", &"A".repeat(20_000)] {
        app.get("/groups").position(nonsense).send().await.problem(400);
    }
    let of_nothing = token(&position, |json| json["t"][0]["i"] = json!(i64::MAX));
    app.get("/groups").position(&of_nothing).send().await.problem(400);
    let foreign = token(&position, |json| json["e"] = json!(Uuid::from_u128(3)));
    let problem = app.get("/groups").position(&foreign).send().await.problem(409);
    assert_eq!(problem["type"], "urn:postledger:problem:foreign-position");
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_command_that_changes_nothing_answers_a_position_too(pool: PgPool) {
    let app = TestApp::new(pool).await;
    let created = app.post("/groups").json(json!({ "name": "A" })).send().await.ok(201);
    let path = format!("/groups/{}", created.id("group_id"));
    let same = app.patch(&path).json(json!({ "name": "A" })).send().await.ok(200);
    assert_eq!(app.events().await, 1);
    assert_eq!(app.get(&path).position(&same.position()).send().await.ok(200).json()["name"], "A");
}
