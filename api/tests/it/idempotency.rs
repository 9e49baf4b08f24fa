//! `Idempotency-Key`: the first answer again, and nothing done twice.

use crate::support::TestApp;
use chrono::{SecondsFormat, TimeDelta};
use eventstore::clock;
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn the_same_key_and_body_get_the_first_answer_again(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let create = || app.post("/groups").key("k-1").json(json!({ "name": "Readers" })).send();
    let (first, second) = (create().await.ok(201), create().await.ok(201));
    assert_eq!(first.body, second.body);
    assert_eq!(first.header("location"), second.header("location"));
    assert_eq!(first.position(), second.position());
    assert_eq!(second.header("idempotent-replayed"), "true");
    assert!(!first.headers.contains_key("idempotent-replayed"));
    assert_eq!(app.events().await, 1);
    // Without a key, every POST creates.
    for _ in 0..2 {
        app.post("/groups").json(json!({ "name": "Readers" })).send().await.ok(201);
    }
    assert_eq!(app.events().await, 3);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_key_with_another_body_is_refused_and_does_nothing(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    app.post("/groups").key("k-1").json(json!({ "name": "A" })).send().await.ok(201);
    let reused = app.post("/groups").key("k-1").json(json!({ "name": "B" })).send().await;
    assert_eq!(reused.problem(422)["type"], "urn:postledger:problem:idempotency-key-reused");
    // The same key on another route is another key.
    let template = json!({ "name": "x", "subject": "x", "html": "x" });
    app.post("/templates").key("k-1").json(template).send().await.ok(201);
    assert_eq!(app.events().await, 2);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn keys_are_short_and_printable(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let create = |key: &str| app.post("/groups").key(key).json(json!({ "name": "A" })).send();
    for key in ["", &"k".repeat(201), "tab\tbed", "ł"] {
        create(key).await.invalid(&["Idempotency-Key"]);
    }
    create(&"k".repeat(200)).await.ok(201);
    create("with spaces !~").await.ok(201);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn many_at_once_create_one(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let creates = (0..12).map(|_| app.post("/groups").key("k-1").json(json!({ "name": "A" })).send());
    let answers = futures::future::join_all(creates).await;
    let created: Vec<_> = answers.iter().filter(|answer| answer.status == 201).collect();
    assert!(!created.is_empty() && created.iter().all(|answer| answer.body == created[0].body));
    for answer in answers.iter().filter(|answer| answer.status != 201) {
        assert_eq!(answer.problem(409)["type"], "urn:postledger:problem:idempotency-key-in-progress");
    }
    assert_eq!(app.events().await, 1);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_repeat_is_answered_though_it_would_be_refused_by_now(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let (template, group) = (app.template().await, app.group("Readers").await);
    // A time that is nearly too long ago: a minute later it would be refused.
    let time = (clock::now() - TimeDelta::milliseconds(59_000)).to_rfc3339_opts(SecondsFormat::Millis, true);
    let new = json!({ "template": template, "group": group, "time": time });
    let create = || app.post("/emails").key("k-1").json(new.clone()).send();
    let first = create().await.ok(201);
    tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
    app.post("/emails").json(new.clone()).send().await.invalid(&["time"]);
    assert_eq!(create().await.ok(201).body, first.body);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_deletion_is_repeated_by_its_key_alone(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let path = format!("/groups/{}", app.group("Readers").await);
    app.delete(&path).key("k-1").send().await.ok(204);
    let repeat = app.delete(&path).key("k-1").send().await.ok(204);
    assert!(repeat.body.is_empty() && !repeat.position().is_empty());
    app.delete(&path).send().await.problem(404);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn readers_keys_are_their_own(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let group = app.group("Readers").await;
    let mut readers = Vec::new();
    for name in ["ana", "ben"] {
        readers.push(app.subscriber(&format!("{name}@example.com"), &[group]).await);
    }
    for reader in &readers {
        let token = app.token(*reader, Some(group));
        let opt_out =
            app.post("/emails/unsubscribe").bearer(&token).key("same").json(json!({ "global": true }));
        opt_out.send().await.ok(204);
    }
    let out: Vec<Uuid> = sqlx::query_scalar("SELECT subscriber_id FROM gates WHERE suppressed ORDER BY 1")
        .fetch_all(&app.pool)
        .await
        .unwrap();
    readers.sort();
    assert_eq!(out, readers);
}

/// Whoever has no name meets nobody's key: another who says something else is not told that it was used, and is not kept waiting.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn strangers_keys_are_their_own(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let group = app.group("Readers").await;
    for name in ["ana", "ben", "ana"] {
        let body = json!({ "email": format!("{name}@example.com"), "groups": [group] });
        app.post("/subscriptions").anonymous().key("same").json(body).send().await.ok(202);
    }
    let asked: i64 =
        sqlx::query_scalar("SELECT count(*) FROM subscription_requests").fetch_one(&app.pool).await.unwrap();
    assert_eq!(asked, 2, "one for each, and none for the repeat");
}
