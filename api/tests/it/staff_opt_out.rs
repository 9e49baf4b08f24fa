//! Opting somebody out for them.

use crate::support::TestApp;
use domain::access::{Role, Scope};
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn the_staff_opts_out_whoever_asked_elsewhere(pool: PgPool) {
    let app = TestApp::new(pool).await;
    let (news, offers) = (app.group("News").await, app.group("Offers").await);
    let ana = app.subscriber("ana@example.com", &[news, offers]).await;
    let path = format!("/subscribers/{ana}/opt-out");
    let send = |body: Value| app.post(&path).json(body).send();
    let letter = json!({ "groups": [news], "reason": "by letter of 3 May, from ana@example.com" });
    let done = send(letter.clone()).await.ok(204);
    send(letter).await.ok(204);
    let shown =
        app.get(&format!("/subscribers/{ana}")).position(&done.position()).send().await.ok(200).json();
    let subscribed = |group: Uuid| {
        let groups = shown["groups"].as_array().unwrap();
        groups.iter().find(|shown| shown["group_id"] == json!(group)).unwrap()["subscribed"].clone()
    };
    assert_eq!((subscribed(news), subscribed(offers)), (json!(false), json!(true)));
    let done = send(json!({ "global": true, "reason": "a lawyer's letter" })).await.ok(204);
    let audit = app.get("/audit/opt-outs").position(&done.position()).send().await.ok(200).json();
    let channels: Vec<&Value> =
        audit["items"].as_array().unwrap().iter().map(|item| &item["channel"]).collect();
    assert_eq!(channels, ["admin", "admin"], "each once, however often it came: {audit}");
    // Why is for auditors, and sealed where it is kept.
    let history = app.get(&format!("/audit/subscribers/{ana}")).send().await.ok(200);
    assert!(history.text().contains("by letter of 3 May"), "{}", history.text());
    let kept = "SELECT string_agg(payload::text, ' ') FROM events WHERE event_type = 'SubscriberOptedOut'";
    let kept: String = sqlx::query_scalar(kept).fetch_one(&app.pool).await.unwrap();
    assert!(!kept.contains("letter"), "{kept}");
    // They alone come back.
    let join = json!({ "subscriber_id": ana });
    app.post(&format!("/groups/{offers}/members")).json(join).send().await.problem(409);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn what_is_no_opt_out_of_somebody_is_named(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let ana = app.subscriber("ana@example.com", &[]).await;
    let path = format!("/subscribers/{ana}/opt-out");
    let send = |body: Value| app.post(&path).json(body).send();
    send(json!({ "global": true })).await.invalid(&["reason"]);
    send(json!({ "global": true, "reason": "  " })).await.invalid(&["reason"]);
    send(json!({ "global": true, "reason": "x".repeat(501) })).await.invalid(&["reason"]);
    send(json!({ "global": false, "reason": "x" })).await.invalid(&["groups"]);
    send(json!({ "groups": [Uuid::from_u128(1)], "reason": "x" })).await.invalid(&["groups[0]"]);
    let unknown = format!("/subscribers/{}/opt-out", Uuid::from_u128(1));
    let body = json!({ "global": true, "reason": "x" });
    app.post(&unknown).json(body.clone()).send().await.problem(404);
    let reads = app.api_key(&[Scope::SubscribersRead]).await;
    app.post(&path).bearer(&reads).json(body.clone()).send().await.problem(403);
    app.user("eve@example.com", &[Role::Analyst]).await;
    let eve = app.login("eve@example.com").await.access;
    app.post(&path).bearer(&eve).json(body).send().await.problem(403);
}
