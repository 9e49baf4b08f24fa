use crate::support::{ORIGIN, TestApp};
use chrono::{SecondsFormat, TimeDelta};
use eventstore::clock;
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_group_is_made_shown_changed_and_deleted(pool: PgPool) {
    let app = TestApp::new(pool).await;
    let new = json!({ "name": " Readers ", "description": "Monthly,\nsince 2019" });
    let created = app.post("/groups").json(new).send().await.ok(201);
    let id = created.id("group_id");
    assert_eq!(created.header("location"), format!("{ORIGIN}/groups/{id}"));
    assert_eq!(created.json(), json!({ "group_id": id }));

    let path = format!("/groups/{id}");
    let shown = app.get(&path).position(&created.position()).send().await.ok(200);
    let group = shown.json();
    assert_eq!((&group["name"], &group["description"]), (&json!("Readers"), &json!("Monthly,\nsince 2019")));
    assert_eq!((&group["group_id"], &group["members"]), (&json!(id), &json!(0)));
    assert!(group["created_at"].as_str().unwrap().ends_with('Z'));
    assert_eq!(shown.header("etag"), "\"1\"");

    let changed = app.patch(&path).json(json!({ "description": "" })).send().await.ok(200);
    assert_eq!(
        (changed.json()["name"].as_str(), changed.json()["description"].as_str()),
        (Some("Readers"), Some(""))
    );
    assert_eq!(changed.header("etag"), "\"2\"");

    let deleted = app.delete(&path).header("if-match", "\"2\"").send().await.ok(204);
    app.get(&path).position(&deleted.position()).send().await.problem(404);
    assert_eq!(app.get("/groups").position(&deleted.position()).send().await.json()["items"], json!([]));
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_stale_version_is_refused_and_changes_nothing(pool: PgPool) {
    let app = TestApp::new(pool).await;
    let path = format!("/groups/{}", app.group("Readers").await);
    let change =
        |tag: &str, name: &str| app.patch(&path).header("if-match", tag).json(json!({ "name": name })).send();
    assert_eq!(change("\"1\"", "A").await.ok(200).header("etag"), "\"2\"");
    assert_eq!(change("\"1\"", "B").await.problem(412)["type"], "urn:postledger:problem:stale");
    change("\"nonsense\"", "B").await.problem(412);
    for malformed in ["1", "", "\"1\", \"2\"", "\"1"] {
        change(malformed, "B").await.problem(400);
    }
    app.delete(&path).header("if-match", "\"1\"").send().await.problem(412);
    assert_eq!(change("*", "C").await.ok(200).header("etag"), "\"3\"");
    assert_eq!(change("W/\"3\"", "D").await.ok(200).json()["name"], "D");
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn members_join_and_leave(pool: PgPool) {
    let app = TestApp::new(pool).await;
    let (group, ana) = (app.group("Readers").await, app.subscriber("ana@example.com", &[]).await);
    app.settled().await;
    let members = format!("/groups/{group}/members");
    let join = |body| app.post(&members).json(body).send();
    let joined = join(json!({ "subscriber_id": ana })).await.ok(204);
    let listed =
        app.get(&format!("/subscribers?group={group}")).position(&joined.position()).send().await.json();
    assert_eq!(listed["items"][0]["subscriber_id"], json!(ana));
    // Once is enough.
    join(json!({ "subscriber_id": ana, "consent": { "source": "desk", "given_at": "2026-01-01T09:00:00+01:00" } })).await.ok(204);

    let left = app.delete(&format!("{members}/{ana}")).send().await.ok(204);
    let shown = app.get(&format!("/groups/{group}")).position(&left.position()).send().await.json();
    assert_eq!(shown["members"], 0);
    app.delete(&format!("{members}/{ana}")).send().await.ok(204);

    let unknown = Uuid::from_u128(1);
    join(json!({ "subscriber_id": unknown })).await.invalid(&["subscriber_id"]);
    join(json!({ "subscriber_id": "x" })).await.invalid(&["subscriber_id"]);
    join(json!({ "subscriber_id": ana, "consent": { "source": "" } })).await.invalid(&["consent.source"]);
    let nowhere =
        app.post(&format!("/groups/{unknown}/members")).json(json!({ "subscriber_id": ana })).send().await;
    nowhere.problem(404);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn whoever_opted_out_is_not_brought_back_by_the_staff(pool: PgPool) {
    let app = TestApp::new(pool).await;
    let group = app.group("Readers").await;
    let ana = app.subscriber("ana@example.com", &[group]).await;
    let opt_out = app.post("/emails/unsubscribe").bearer(&app.token(ana, Some(group)));
    opt_out.json(json!({ "groups": [group] })).send().await.ok(204);
    let join =
        app.post(&format!("/groups/{group}/members")).json(json!({ "subscriber_id": ana })).send().await;
    let problem = join.problem(409);
    assert_eq!(problem["status"], "opted_out");
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_group_that_is_used_is_not_deleted(pool: PgPool) {
    let app = TestApp::new(pool).await;
    let (template, group) = (app.template().await, app.group("Readers").await);
    let time = (clock::now() + TimeDelta::hours(1)).to_rfc3339_opts(SecondsFormat::Secs, true);
    let new = json!({ "template": template, "group": group, "time": time });
    app.post("/emails").json(new).send().await.ok(201);
    for path in [format!("/groups/{group}"), format!("/templates/{template}")] {
        assert_eq!(app.delete(&path).send().await.problem(409)["status"], "scheduled");
    }
}
