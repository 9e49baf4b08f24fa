use crate::support::TestApp;
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_test_mail_is_queued_once_and_shown(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let path = format!("/templates/{}/test", app.template().await);
    let body = json!({ "to": ["Editor@Example.com", "ana@bücher.example", "editor@example.com"] });
    let send = || app.post(&path).header("idempotency-key", "one").json(body.clone()).send();
    let first = send().await.ok(202);
    let id = first.id("dispatch_id");
    assert_eq!(send().await.ok(202).id("dispatch_id"), id, "a repeat is the same mail");
    let shown = app.get(&format!("/dispatches/{id}")).position(&first.position()).send().await.ok(200).json();
    assert_eq!((&shown["kind"], &shown["template_version"]), (&json!("test"), &json!(1)));
    let recipient = |address| json!({ "address": address, "state": "pending", "reason": null });
    let expected = json!([recipient("Editor@example.com"), recipient("ana@xn--bcher-kva.example")]);
    assert_eq!(shown["recipients"], expected, "each address once");
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn what_cannot_be_tested_is_refused(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let path = format!("/templates/{}/test", app.template().await);
    let events = app.events().await;
    let send = |body| app.post(&path).json(body).send();
    send(json!({ "to": [] })).await.invalid(&["to"]);
    send(json!({ "to": vec!["a@example.com"; 11] })).await.invalid(&["to"]);
    send(json!({ "to": ["a@example.com", "b@", "c"] })).await.invalid(&["to[1]", "to[2]"]);
    send(json!({ "to": "a@example.com" })).await.invalid(&["to"]);
    send(json!({})).await.invalid(&["to"]);
    send(json!({ "to": ["a@example.com"], "subject": "x" })).await.invalid(&["subject"]);
    let unknown = format!("/templates/{}/test", Uuid::from_u128(1));
    app.post(&unknown).json(json!({ "to": ["a@example.com"] })).send().await.problem(404);
    app.get(&format!("/dispatches/{}", Uuid::from_u128(1))).send().await.problem(404);
    assert_eq!(app.events().await, events);
}
