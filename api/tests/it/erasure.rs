//! `POST /subscribers/{id}/erase`, and what is still to be seen of an erased person.

use crate::support::TestApp;
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

const NAME: &str = "Ana O'Brien";

/// Ana, who was sent a mail and left its group by one click.
async fn with_ana(pool: PgPool) -> (TestApp, Uuid, Uuid, Uuid) {
    let app = TestApp::new(pool).await;
    let groups = [app.group("A letter").await, app.group("B letter").await];
    let new = json!({
        "email": "ana@example.com", "name": NAME, "attributes": { "city": "Cork" }, "groups": groups,
        "consent": { "source": "form", "wording_version": "2026-03", "given_from": "203.0.113.7" },
    });
    let ana = app.post("/subscribers").json(new).send().await.id("subscriber_id");
    let campaign = app.campaign().await;
    app.freeze(campaign, vec![ana]).await;
    app.accept(campaign, 1).await;
    let link = format!("/emails/unsubscribe?token={}", app.token(ana, Some(groups[0])));
    let click = app.post(&link).anonymous().header("user-agent", "Mail/1.0");
    click.form("List-Unsubscribe=One-Click").send().await.ok(200);
    (app, ana, groups[1], campaign)
}

async fn erase(app: &TestApp, id: Uuid) -> Value {
    let erased = app.post(&format!("/subscribers/{id}/erase")).send().await.ok(202);
    app.get("/subscribers").position(&erased.position()).send().await.ok(200);
    app.settled().await;
    erased.json()
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn an_erased_subscriber_shows_no_personal_data(pool: PgPool) {
    let (app, ana, group, campaign) = with_ana(pool).await;
    assert_eq!(erase(&app, ana).await, json!({ "subscriber_id": ana, "status": "erased" }));
    let shown = app.get(&format!("/subscribers/{ana}")).send().await.ok(200).json();
    let expected = json!({
        "subscriber_id": ana, "email": "", "name": null, "attributes": {}, "status": "erased", "groups": [],
        "created_at": shown["created_at"], "changed_at": shown["changed_at"],
    });
    assert_eq!(shown, expected);
    for query in ["status=erased", "email=ANA%40example.com", "email=ana%40example.com&status=erased"] {
        let list = app.get(&format!("/subscribers?{query}")).send().await.ok(200).json();
        assert_eq!(list["items"], json!([shown]), "{query}");
    }
    for query in ["status=active", "status=opted_out", &format!("group={group}")] {
        let list = app.get(&format!("/subscribers?{query}")).send().await.ok(200).json();
        assert_eq!(list["items"], json!([]), "{query}");
    }
    let members = app.get(&format!("/groups/{group}")).send().await.ok(200).json();
    assert_eq!(members["members"], json!(0), "{members}");
    let recipients = app.get(&format!("/emails/{campaign}/recipients")).send().await.ok(200).json();
    assert_eq!(
        (&recipients["items"][0]["subscriber_id"], &recipients["items"][0]["address"]),
        (&json!(ana), &json!(""))
    );
    let file = app.get(&format!("/emails/{campaign}/recipients?format=csv")).send().await.ok(200);
    assert_eq!(file.text().lines().count(), 2);
    let report = app.get(&format!("/emails/{campaign}/report")).send().await.ok(200).json();
    assert_eq!((&report["planned"], &report["accepted"]), (&json!(1), &json!(1)));
    let rows: String = sqlx::query_scalar(
        "SELECT coalesce(string_agg(s.address || s.name || s.attributes, ''), '') ||
            (SELECT string_agg(coalesce(o.source_address, '') || coalesce(o.user_agent, ''), '') FROM opt_outs o)
         FROM subscribers s",
    )
    .fetch_one(&app.pool)
    .await
    .unwrap();
    assert_eq!(rows, "", "not even sealed");
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn the_trail_keeps_what_happened_and_by_whom(pool: PgPool) {
    let (app, ana, ..) = with_ana(pool).await;
    let key = app.api_key(&[domain::access::Scope::SubscribersWrite]).await;
    app.post(&format!("/subscribers/{ana}/erase")).bearer(&key).send().await.ok(202);
    app.settled().await;
    let history = app.get(&format!("/audit/subscribers/{ana}")).send().await.ok(200).json();
    let items = history["items"].as_array().unwrap();
    let events: Vec<&str> = items.iter().map(|item| item["event"].as_str().unwrap()).collect();
    let expected = [
        "SubscriberAdded",
        "DispatchPlanned",
        "SendAuthorized",
        "SendSettled",
        "SubscriberOptedOut",
        "SubscriberOptedOut",
        "SubscriberErased",
    ];
    assert_eq!(events, expected);
    assert!(items.iter().all(|item| item["position"].is_i64() && item["time"].is_string()));
    assert_eq!((&items[0]["address"], &items[0]["source_address"]), (&json!(""), &json!("")));
    assert_eq!(
        (&items[0]["consent_source"], &items[0]["wording_version"]),
        (&json!("form"), &json!("2026-03"))
    );
    assert!(items[6]["actor"].as_str().unwrap().starts_with("key:"), "{}", items[6]);
    assert_eq!(items[5]["actor"], items[6]["actor"]);
    let text = history.to_string();
    assert!(!text.contains("ana@") && !text.contains("Brien") && !text.contains("203.0.113.7"), "{text}");

    let opt_outs = app.get("/audit/opt-outs").send().await.ok(200).json();
    let told: Vec<_> = opt_outs["items"].as_array().unwrap().iter().map(|item| &item["channel"]).collect();
    assert_eq!(told, ["admin", "one_click"]);
    assert_eq!(opt_outs["items"][0]["actor"], items[6]["actor"]);
    let clicked = &opt_outs["items"][1];
    assert_eq!((&clicked["source_address"], &clicked["user_agent"]), (&Value::Null, &Value::Null));
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn erasing_again_changes_nothing(pool: PgPool) {
    let (app, ana, ..) = with_ana(pool).await;
    let path = format!("/subscribers/{ana}/erase");
    let first = app.post(&path).key("k-1").send().await.ok(202);
    let events = app.events().await;
    let again = app.post(&path).key("k-1").send().await.ok(202);
    assert_eq!((&again.body, again.position()), (&first.body, first.position()));
    let anew = app.post(&path).json(json!({})).send().await.ok(202);
    assert_eq!(anew.json(), first.json());
    assert_eq!(app.events().await, events);
    app.post(&path).json(json!({ "global": true })).send().await.problem(422);
    app.post(&format!("/subscribers/{}/erase", Uuid::from_u128(1))).send().await.problem(404);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn nothing_can_be_done_to_the_erased(pool: PgPool) {
    let (app, ana, group, _) = with_ana(pool).await;
    erase(&app, ana).await;
    let path = format!("/subscribers/{ana}");
    let refused = |problem: Value| assert_eq!(problem["status"], "erased", "{problem}");
    refused(app.patch(&path).json(json!({ "name": "Eve" })).send().await.problem(409));
    refused(app.patch(&path).json(json!({ "email": "eve@example.com" })).send().await.problem(409));
    let member = json!({ "subscriber_id": ana });
    refused(app.post(&format!("/groups/{group}/members")).json(member).send().await.problem(409));
    let again = json!({ "email": "Ana@example.com", "consent": { "source": "test" } });
    assert_eq!(app.post("/subscribers").json(again).send().await.problem(409)["status"], "taken");
}

/// Links in mails that were sent go on opting out, and do nothing else.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn links_of_the_erased_only_opt_out(pool: PgPool) {
    let (app, ana, group, _) = with_ana(pool).await;
    erase(&app, ana).await;
    let events = app.events().await;
    let token = app.token(ana, Some(group));
    let preferences = app.get("/preferences").bearer(&token).send().await.ok(200).json();
    let nothing = json!({ "subscriber": { "email_masked": "" }, "global_opt_out": true, "groups": [] });
    assert_eq!(preferences, nothing);
    let link = format!("/emails/unsubscribe?token={token}");
    let page = app.get(&link).anonymous().send().await.ok(200);
    assert!(!page.text().contains("value=\"return\"") && !page.text().contains("@example.com"));
    app.post(&link).anonymous().form("List-Unsubscribe=One-Click").send().await.ok(200);
    let own = |form: &str| app.post(&link).anonymous().header("origin", crate::support::ORIGIN).form(form);
    own("action=leave").send().await.ok(303);
    own("action=return").send().await.ok(401);
    for out in [json!({ "global": true }), json!({ "groups": [group] })] {
        app.post("/emails/unsubscribe").bearer(&token).json(out).send().await.ok(204);
    }
    let put = |body: Value| app.put("/preferences").bearer(&token).json(body);
    put(json!({ "global_opt_out": true })).send().await.ok(204);
    assert_eq!(put(json!({ "global_opt_out": false })).send().await.problem(409)["status"], "erased");
    assert_eq!(app.events().await, events);
}

/// A client that names its calls by addresses leaves none here.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn what_clients_call_their_requests_by_is_not_kept(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let new = json!({ "email": "ana@example.com", "consent": { "source": "test" } });
    let add = || app.post("/subscribers").key("add ana@example.com").json(new.clone()).send();
    assert_eq!(add().await.ok(201).body, add().await.ok(201).body);
    let kept: String = sqlx::query_scalar("SELECT string_agg(k::text, '') FROM idempotency_keys k")
        .fetch_one(&app.pool)
        .await
        .unwrap();
    assert!(!kept.is_empty() && !kept.contains("ana"), "{kept}");
}
