use crate::support::{ORIGIN, TestApp};
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use domain::campaign::CampaignCommand;
use eventstore::clock;
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

fn text(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

fn in_an_hour() -> String {
    text(clock::now() + TimeDelta::hours(1))
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_campaign_is_drafted_shown_and_changed(pool: PgPool) {
    let app = TestApp::new(pool).await;
    let (template, group) = (app.template().await, app.group("Readers").await);
    let new = json!({ "template": template, "group": group, "mailer": "outbox", "from": "The Library <a@example.org>",
        "reply_to": "desk@example.org", "on_unknown": "resend" });
    let created = app.post("/emails").json(new).send().await.ok(201);
    let id = created.id("campaign_id");
    assert_eq!(created.json(), json!({ "campaign_id": id, "status": "draft" }));
    assert_eq!(created.header("location"), format!("{ORIGIN}/emails/{id}"));

    let path = format!("/emails/{id}");
    let shown = app.get(&path).position(&created.position()).send().await.ok(200);
    let campaign = shown.json();
    let expected = [
        ("campaign_id", json!(id)),
        ("status", json!("draft")),
        ("scheduled_for", Value::Null),
        ("name", json!("Letter")),
        ("template", json!(template)),
        ("group", json!(group)),
        ("mailer", json!("outbox")),
        ("from", json!("The Library <a@example.org>")),
        ("reply_to", json!("desk@example.org")),
        ("on_unknown", json!("resend")),
        ("audience", Value::Null),
    ];
    for (field, value) in expected {
        assert_eq!(campaign[field], value, "{field}");
    }
    assert_eq!(shown.header("etag"), "\"1\"");

    let change = json!({ "name": "December", "on_unknown": "hold" });
    let changed = app.patch(&path).header("if-match", "\"1\"").json(change).send().await.ok(200);
    assert_eq!(
        (&changed.json()["name"], &changed.json()["on_unknown"]),
        (&json!("December"), &json!("hold"))
    );
    assert_eq!(changed.header("etag"), "\"2\"");
    app.patch(&path).header("if-match", "\"1\"").json(json!({ "name": "x" })).send().await.problem(412);

    for (filter, count) in [("status=draft", 1), ("status=sending", 0), ("status=completed", 0), ("", 1)] {
        let listed = app.get(&format!("/emails?{filter}")).send().await.ok(200).json();
        assert_eq!(listed["items"].as_array().unwrap().len(), count, "{filter}");
    }
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn with_a_time_it_is_scheduled_as_well(pool: PgPool) {
    let app = TestApp::new(pool).await;
    let (template, group) = (app.template().await, app.group("Readers").await);
    let time = "2027-01-02T10:00:00+02:00";
    let new = json!({ "template": template, "group": group, "name": "New year", "time": time });
    let created = app.post("/emails").json(new).send().await.ok(201);
    assert_eq!(created.json()["status"], "scheduled");
    assert_eq!(created.json()["scheduled_for"], "2027-01-02T08:00:00Z");
    let shown =
        app.get(&format!("/emails/{}", created.id("campaign_id"))).position(&created.position()).send().await;
    let shown = shown.ok(200).json();
    assert_eq!(shown["scheduled_for"], "2027-01-02T08:00:00Z");
    assert_eq!(shown["mailer"], "outbox", "the default of now, whatever it will be when it goes out");
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn bad_campaigns_are_refused_and_leave_nothing(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let (template, group) = (app.template().await, app.group("Readers").await);
    let (events, unknown) = (app.events().await, Uuid::from_u128(1));
    let with = |field: &str, value: Value| {
        let mut new = json!({ "template": template, "group": group });
        new[field] = value;
        app.post("/emails").json(new).send()
    };
    let cases = [
        ("template", json!(unknown)),
        ("template", json!("x")),
        ("template", json!(null)),
        ("group", json!(unknown)),
        ("group", json!(5)),
        ("time", json!(text(clock::now() - TimeDelta::seconds(70)))),
        ("time", json!("2027-01-02T10:00:00")),
        ("time", json!("2027-01-02")),
        ("time", json!(1_798_135_200)),
        ("time", json!("2099-01-02T10:00:00Z")),
        ("name", json!("")),
        ("name", json!("two\r\nlines")),
        ("mailer", json!("pigeon")),
        ("from", json!("nobody")),
        ("from", json!("a@example.org\r\nBcc: b@example.org")),
        ("reply_to", json!("")),
        ("on_unknown", json!("guess")),
        ("datetime", json!(in_an_hour())),
        ("status", json!("scheduled")),
    ];
    for (field, value) in cases {
        with(field, value).await.invalid(&[field]);
    }
    assert_eq!(app.events().await, events);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_schedule_is_set_replaced_and_taken_back(pool: PgPool) {
    let app = TestApp::new(pool).await;
    let id = app.campaign().await;
    let schedule =
        |time: &str| app.post("/schedule").json(json!({ "campaign_id": id, "datetime": time })).send();
    let time = in_an_hour();
    let scheduled = schedule(&time).await.ok(202);
    assert_eq!(scheduled.json(), json!({ "campaign_id": id, "scheduled_for": time }));
    let events = app.events().await;
    assert_eq!(schedule(&time).await.ok(202).json(), scheduled.json());
    assert_eq!(app.events().await, events, "the same time appends nothing");
    let later = schedule("2027-01-02T10:00:00+02:00").await.ok(202);
    assert_eq!(later.json()["scheduled_for"], "2027-01-02T08:00:00Z");

    let path = format!("/emails/{id}");
    let shown = app.get(&path).position(&later.position()).send().await.ok(200).json();
    assert_eq!(
        (shown["status"].as_str(), shown["scheduled_for"].as_str()),
        (Some("scheduled"), Some("2027-01-02T08:00:00Z"))
    );
    app.delete(&path).send().await.problem(409);

    let unschedule = || app.post(&format!("{path}/unschedule")).send();
    assert_eq!(unschedule().await.ok(202).json(), json!({ "campaign_id": id, "status": "draft" }));
    let events = app.events().await;
    unschedule().await.ok(202);
    assert_eq!(app.events().await, events);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_campaign_is_scheduled_for_now(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let id = app.campaign().await;
    let before = clock::now();
    let body = json!({ "campaign_id": id, "now": true });
    let scheduled = app.post("/schedule").key("now").json(body.clone()).send().await.ok(202).json();
    let time: DateTime<Utc> = scheduled["scheduled_for"].as_str().unwrap().parse().unwrap();
    assert!((before..=clock::now()).contains(&time), "{time}");
    assert_eq!(app.commands.due_campaigns(10, &[]).await.unwrap(), [id]);
    let again = app.post("/schedule").key("now").json(body).send().await.ok(202).json();
    assert_eq!(again, scheduled, "a repeat of the key is the first answer");
    // A later time takes the place of now while nothing has begun, and the other way round.
    app.post("/schedule").json(json!({ "campaign_id": id, "datetime": in_an_hour() })).send().await.ok(202);
    assert!(app.commands.due_campaigns(10, &[]).await.unwrap().is_empty());
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn bad_schedules_are_refused(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let id = app.campaign().await;
    let events = app.events().await;
    let schedule = |body: Value| app.post("/schedule").json(body).send();
    for bad in ["2027-01-02T10:00:00", "yesterday", "", "2027-01-02 10:00", "2020-01-02T10:00:00Z"] {
        schedule(json!({ "campaign_id": id, "datetime": bad })).await.invalid(&["datetime"]);
    }
    let past = text(clock::now() - TimeDelta::seconds(65));
    schedule(json!({ "campaign_id": id, "datetime": past })).await.invalid(&["datetime"]);
    schedule(json!({ "campaign_id": id })).await.invalid(&["datetime"]);
    schedule(json!({ "campaign_id": id, "now": false })).await.invalid(&["datetime"]);
    schedule(json!({ "campaign_id": id, "now": "yes" })).await.invalid(&["now"]);
    schedule(json!({ "campaign_id": id, "now": true, "datetime": in_an_hour() })).await.invalid(&["now"]);
    schedule(json!({ "campaign_id": Uuid::from_u128(1), "now": true })).await.problem(404);
    schedule(json!({ "campaign_id": "x", "datetime": in_an_hour() })).await.invalid(&["campaign_id"]);
    schedule(json!({ "campaign_id": Uuid::from_u128(1), "datetime": in_an_hour() })).await.problem(404);
    assert_eq!(app.events().await, events);
    // Up to a minute ago is now.
    let just_now = text(clock::now() - TimeDelta::seconds(50));
    schedule(json!({ "campaign_id": id, "datetime": just_now })).await.ok(202);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_sending_campaign_is_paused_resumed_and_cancelled(pool: PgPool) {
    let app = TestApp::new(pool).await;
    let (id, ana) = (app.campaign().await, app.subscriber("ana@example.com", &[]).await);
    app.freeze(id, vec![ana]).await;
    for (step, status) in
        [("pause", "paused"), ("resume", "sending"), ("pause", "paused"), ("cancel", "cancelled")]
    {
        let path = format!("/emails/{id}/{step}");
        let done = app.post(&path).send().await.ok(202);
        assert_eq!(done.json(), json!({ "campaign_id": id, "status": status }));
        let shown = app.get(&format!("/emails/{id}")).position(&done.position()).send().await.ok(200).json();
        assert_eq!(shown["status"], status);
        let events = app.events().await;
        app.post(&path).send().await.ok(202);
        assert_eq!(app.events().await, events, "{step}: where it already holds, nothing is appended");
    }
    // A state that forbids it.
    for step in ["pause", "resume", "unschedule"] {
        let problem = app.post(&format!("/emails/{id}/{step}")).send().await.problem(409);
        assert_eq!(problem["status"], "cancelled", "{step}");
    }
    let schedule =
        app.post("/schedule").json(json!({ "campaign_id": id, "datetime": in_an_hour() })).send().await;
    assert_eq!(schedule.problem(409)["status"], "cancelled");
    let patch = app.patch(&format!("/emails/{id}")).json(json!({ "name": "x" })).send().await;
    assert_eq!(patch.problem(409)["status"], "cancelled");
    assert_eq!(app.delete(&format!("/emails/{id}")).send().await.problem(409)["status"], "cancelled");
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_draft_is_neither_paused_nor_cancelled(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let id = app.campaign().await;
    for step in ["pause", "resume", "cancel"] {
        let problem = app.post(&format!("/emails/{id}/{step}")).send().await.problem(409);
        assert_eq!(problem["status"], "draft", "{step}");
    }
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn an_empty_audience_completes_with_its_reason(pool: PgPool) {
    let app = TestApp::new(pool).await;
    let id = app.campaign().await;
    app.freeze(id, Vec::new()).await;
    app.settled().await;
    let shown = app.get(&format!("/emails/{id}")).send().await.ok(200).json();
    assert_eq!((&shown["status"], &shown["status_reason"]), (&json!("completed"), &json!("empty_audience")));
    assert_eq!(shown["audience"]["recipients"], 0);
    let report = app.get(&format!("/emails/{id}/report")).send().await.ok(200).json();
    assert_eq!((&report["planned"], &report["status_reason"]), (&json!(0), &json!("empty_audience")));
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_copy_is_a_draft_of_its_own(pool: PgPool) {
    let app = TestApp::new(pool).await;
    let id = app.campaign().await;
    app.command_campaign(id, CampaignCommand::Schedule { at: clock::now() + TimeDelta::hours(1) }).await;
    let copied = app.post(&format!("/emails/{id}/duplicate")).key("copy").send().await.ok(201);
    let copy = copied.id("campaign_id");
    assert!(copy != id && copied.json()["status"] == "draft");
    let again = app.post(&format!("/emails/{id}/duplicate")).key("copy").send().await.ok(201);
    assert_eq!(again.id("campaign_id"), copy);
    let shown = app.get(&format!("/emails/{copy}")).position(&copied.position()).send().await.ok(200).json();
    assert_eq!(shown["name"], "Letter (copy)");
}
