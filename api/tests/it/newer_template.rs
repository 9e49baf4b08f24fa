//! A template that changes while campaigns send it, and a paused campaign that takes the newer version.

use crate::support::TestApp;
use domain::access::Scope;
use domain::campaign::CampaignCommand;
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

fn changed(word: &str) -> Value {
    json!({ "name": "Letter", "subject": "Hello", "html": format!("<p>{word}</p><img src=\"https://example.org/x.png\">") })
}

async fn campaign_with(app: &TestApp, template: Uuid) -> Uuid {
    let group = app.group("Readers").await;
    let new = json!({ "template": template, "group": group });
    app.post("/emails").json(new).send().await.ok(201).id("campaign_id")
}

async fn frozen_with(app: &TestApp, template: Uuid) -> Uuid {
    let id = campaign_with(app, template).await;
    let reader = app.subscriber(&format!("{id}@example.com"), &[]).await;
    app.freeze(id, vec![reader]).await;
    id
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_change_names_the_campaigns_that_go_on_with_the_older_version(pool: PgPool) {
    let app = TestApp::new(pool).await;
    let template = app.template().await;
    let path = format!("/templates/{template}");
    let sending = frozen_with(&app, template).await;
    let paused = frozen_with(&app, template).await;
    app.post(&format!("/emails/{paused}/pause")).send().await.ok(202);
    let over = frozen_with(&app, template).await;
    app.post(&format!("/emails/{over}/cancel")).send().await.ok(202);
    let other = app.template().await;
    frozen_with(&app, other).await;
    // What is only scheduled takes the newest version.
    let scheduled = campaign_with(&app, template).await;
    let time = json!({ "campaign_id": scheduled, "datetime": "2027-01-02T10:00:00Z" });
    app.post("/schedule").json(time).send().await.ok(202);

    let behind =
        |id: Uuid, status: &str| json!({ "campaign_id": id, "status": status, "template_version": 1 });
    let both = json!({ "total": 2, "campaigns": [behind(paused, "paused"), behind(sending, "sending")] });
    let answer = app.put(&path).json(changed("new")).send().await.ok(200).json();
    assert_eq!(answer["campaigns_behind"], both);
    let writer = app.api_key(&[Scope::TemplatesWrite]).await;
    let blind = app.put(&path).bearer(&writer).json(changed("newer")).send().await.ok(200).json();
    assert_eq!(
        blind,
        json!({ "template_id": template, "campaigns_behind": both }),
        "also to whom it is not shown"
    );

    // Frozen by an earlier release, which wrote no version into the row.
    let forget = "UPDATE campaign_gates SET template_version = NULL";
    sqlx::query(forget).execute(&app.pool).await.unwrap();
    let answer = app.put(&path).json(changed("newest")).send().await.ok(200).json();
    assert_eq!(answer["campaigns_behind"], both);
    app.post(&format!("/emails/{paused}/template")).json(json!({ "version": "latest" })).send().await.ok(202);
    let answer = app.put(&path).json(changed("newest")).send().await.ok(200).json();
    let rest = json!({ "total": 1, "campaigns": [behind(sending, "sending")] });
    assert_eq!(answer["campaigns_behind"], rest, "the other one sends the newest");
    let unused = app.put(&format!("/templates/{}", app.template().await)).json(changed("x")).send().await;
    assert_eq!(unused.ok(200).json()["campaigns_behind"], json!({ "total": 0, "campaigns": [] }));
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn the_campaigns_named_are_bounded_and_counted(pool: PgPool) {
    let app = TestApp::new(pool).await;
    let template = app.template().await;
    let first = frozen_with(&app, template).await;
    let copies = "INSERT INTO campaign_gates (campaign_id, template_id, group_id, status, template_version)
        SELECT gen_random_uuid(), template_id, group_id, 'sending', 1 FROM campaign_gates, generate_series(1, 120)
        WHERE campaign_id = $1";
    sqlx::query(copies).bind(first).execute(&app.pool).await.unwrap();
    let answer = app.put(&format!("/templates/{template}")).json(changed("new")).send().await.ok(200).json();
    let behind = &answer["campaigns_behind"];
    assert_eq!((&behind["total"], behind["campaigns"].as_array().unwrap().len()), (&json!(121), 100));
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_paused_campaign_takes_the_newer_version(pool: PgPool) {
    let app = TestApp::new(pool).await;
    let template = app.template().await;
    let id = frozen_with(&app, template).await;
    app.put(&format!("/templates/{template}")).json(changed("new")).send().await.ok(200);
    let path = format!("/emails/{id}/template");
    let take = |key: &str, version: Value| {
        app.post(&path).header("idempotency-key", key).json(json!({ "version": version })).send()
    };
    assert_eq!(take("early", json!("latest")).await.problem(409)["status"], "sending");
    app.post(&format!("/emails/{id}/pause")).send().await.ok(202);
    for wrong in [json!(3), json!(0), json!(-1), json!(1.5), json!("newest"), json!(null), json!(u64::MAX)] {
        take(&format!("wrong {wrong}"), wrong).await.invalid(&["version"]);
    }
    app.post(&path).json(json!({ "version": 2, "x": 1 })).send().await.invalid(&["x"]);
    app.post(&format!("/emails/{template}/template")).json(json!({ "version": 2 })).send().await.problem(404);

    let events = app.events().await;
    let taken = take("one", json!("latest")).await.ok(202);
    let answer = taken.json();
    assert_eq!((&answer["campaign_id"], &answer["status"]), (&json!(id), &json!("paused")));
    assert_eq!(
        (&answer["template_version"], &answer["warnings"][0]["code"]),
        (&json!(2), &json!("image_without_alt"))
    );
    assert_eq!(app.events().await, events + 1);
    take("one", json!("latest")).await.ok(202);
    take("two", json!(2)).await.ok(202);
    assert_eq!(app.events().await, events + 1, "it sends that version already");
    take("three", json!(1)).await.invalid(&["version"]);
    let shown = app.get(&format!("/emails/{id}")).position(&taken.position()).send().await.ok(200).json();
    assert_eq!((&shown["template_version"], &shown["audience"]["template_version"]), (&json!(2), &json!(1)));
    assert_eq!(shown["status"], "paused");

    app.post(&format!("/emails/{id}/resume")).send().await.ok(202);
    assert_eq!(take("two", json!(2)).await.ok(202).json()["template_version"], 2, "the first answer again");
    app.command_campaign(id, CampaignCommand::Complete).await;
    assert_eq!(take("late", json!(2)).await.problem(409)["status"], "completed");
}

/// A version that was saved under other rules is checked by those of now.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_version_that_does_not_compile_is_not_taken(pool: PgPool) {
    let app = TestApp::new(pool).await;
    let template = app.template().await;
    let id = frozen_with(&app, template).await;
    let broken = domain::template::Content {
        name: "Letter".into(),
        subject: "Hello {{ frist_name }}".into(),
        body: domain::template::Body::Html("<p>Hello</p>".into()),
        ..Default::default()
    };
    app.commands.change_template(&Default::default(), template, broken).await.unwrap();
    app.post(&format!("/emails/{id}/pause")).send().await.ok(202);
    let events = app.events().await;
    app.post(&format!("/emails/{id}/template"))
        .json(json!({ "version": 2 }))
        .send()
        .await
        .invalid(&["subject"]);
    assert_eq!(app.events().await, events);
}
