//! The trail for auditors: who opted out, and one person's whole history.

use crate::support::TestApp;
use domain::access::{Role, Scope};
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

async fn opt_outs(app: &TestApp, query: &str) -> Vec<Value> {
    let page = app.get(&format!("/audit/opt-outs{query}")).send().await.ok(200).json();
    page["items"].as_array().unwrap().clone()
}

/// Ana leaves one group by one click, and Ben everything by the page.
async fn two_opt_outs(app: &TestApp) -> ([Uuid; 2], [Uuid; 2]) {
    let groups = [app.group("A letter").await, app.group("B letter").await];
    let ana = app.subscriber("ana@example.com", &groups).await;
    let ben = app.subscriber("ben@example.com", &groups).await;
    let link = format!("/emails/unsubscribe?token={}", app.token(ana, Some(groups[0])));
    let click = app.post(&link).anonymous().header("user-agent", "=Mail/1.0");
    click.form("List-Unsubscribe=One-Click").send().await.ok(200);
    let all = app.post("/emails/unsubscribe").bearer(&app.token(ben, None)).json(json!({ "global": true }));
    let position = all.send().await.ok(204).position();
    app.get("/audit/opt-outs").position(&position).send().await.ok(200);
    ([ana, ben], groups)
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn opt_outs_are_listed_with_all_that_is_known_of_them(pool: PgPool) {
    let app = TestApp::new(pool).await;
    let ([ana, ben], [a, b]) = two_opt_outs(&app).await;
    let items = opt_outs(&app, "").await;
    let [of_ben, of_ana] = items.as_slice() else { panic!("{items:?}") };
    let expected = json!({
        "position": of_ana["position"], "time": of_ana["time"], "request_id": of_ana["request_id"],
        "subscriber_id": ana, "address": "ana@example.com", "scope": "groups", "groups": [a], "channel": "one_click",
        "campaign_id": Uuid::from_u128(77), "dispatch_id": Uuid::from_u128(78), "actor": "reader",
        "source_address": null, "user_agent": "=Mail/1.0",
    });
    assert_eq!(of_ana, &expected);
    assert!(of_ana["request_id"].as_str().unwrap().parse::<Uuid>().is_ok());
    assert!(of_ana["position"].as_i64() < of_ben["position"].as_i64(), "newest first");
    let told = ["subscriber_id", "scope", "groups", "channel"].map(|member| of_ben[member].clone());
    assert_eq!(told, [json!(ben), json!("global"), json!([]), json!("preference_page")]);

    let (time, later) = (of_ben["time"].as_str().unwrap(), "2999-01-01T00:00:00Z");
    let of = [
        (format!("?group={a}"), vec![of_ana]),
        (format!("?group={b}"), vec![]),
        ("?channel=one_click".to_owned(), vec![of_ana]),
        ("?channel=complaint".to_owned(), vec![]),
        (format!("?campaign={}", Uuid::from_u128(77)), vec![of_ben, of_ana]),
        (format!("?campaign={a}"), vec![]),
        (format!("?from={time}&to={later}"), vec![of_ben]),
        (format!("?to={time}"), vec![of_ana]),
        (format!("?from={later}"), vec![]),
    ];
    for (query, expected) in of {
        assert_eq!(opt_outs(&app, &query).await.iter().collect::<Vec<_>>(), expected, "{query}");
    }
    let first = app.get("/audit/opt-outs?limit=1").send().await.ok(200).json();
    let next = format!("?limit=1&cursor={}", first["next_cursor"].as_str().unwrap());
    assert_eq!((&first["items"], opt_outs(&app, &next).await), (&json!([of_ben]), vec![of_ana.clone()]));
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn opt_outs_are_a_file_without_formulas(pool: PgPool) {
    let app = TestApp::new(pool).await;
    let ([ana, _], [a, _]) = two_opt_outs(&app).await;
    let file = app.get("/audit/opt-outs").header("accept", "text/csv").send().await.ok(200);
    assert!(file.header("content-disposition").contains("opt-outs.csv"));
    let lines: Vec<&str> = file.text().lines().collect();
    assert_eq!(lines.len(), 3);
    assert!(lines[0].starts_with("position,time,subscriber_id,address,scope,groups,channel,"));
    assert!(lines[2].contains(&format!(",{ana},ana@example.com,groups,{a},one_click,")), "{}", lines[2]);
    assert!(lines[2].ends_with(",'=Mail/1.0"), "{}", lines[2]);
    let some = app.get("/audit/opt-outs?format=csv&channel=preference_page").send().await.ok(200);
    assert_eq!(some.text().lines().count(), 2);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn filters_that_cannot_be_are_named(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    let of = [
        ("from=2026-01-01T00:00:00", "from"),
        ("to=soon", "to"),
        ("from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", "to"),
        ("group=news", "group"),
        ("campaign=1", "campaign"),
        ("channel=letter", "channel"),
        ("format=xml", "format"),
        ("limit=501", "limit"),
    ];
    for (query, field) in of {
        app.get(&format!("/audit/opt-outs?{query}")).send().await.invalid(&[field]);
    }
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_persons_history_shows_by_which_consent_each_mail_went(pool: PgPool) {
    let app = TestApp::new(pool).await;
    let group = app.group("A letter").await;
    let consent = json!({ "source": "shop checkout", "wording_version": "2026-03" });
    let new = json!({ "email": "ana@example.com", "groups": [group], "consent": consent });
    let ana = app.post("/subscribers").json(new).send().await.id("subscriber_id");
    let campaign = app.campaign().await;
    let other = app.subscriber("ben@example.com", &[group]).await;
    let mut readers = vec![ana, other];
    readers.sort();
    app.freeze(campaign, readers).await;
    app.accept(campaign, 2).await;
    let link = format!("/emails/unsubscribe?token={}", app.token(ana, Some(group)));
    app.post(&link).anonymous().form("List-Unsubscribe=One-Click").send().await.ok(200);
    app.settled().await;

    let path = format!("/audit/subscribers/{ana}");
    let history = app.get(&path).send().await.ok(200).json();
    let items = history["items"].as_array().unwrap();
    let steps: Vec<_> = items.iter().map(|item| (item["event"].as_str().unwrap(), &item["mail"])).collect();
    let expected = [
        ("SubscriberAdded", Value::Null),
        ("DispatchPlanned", json!("planned")),
        ("SendAuthorized", json!("authorized")),
        ("SendSettled", json!("accepted")),
        ("SubscriberOptedOut", Value::Null),
    ];
    assert_eq!(steps, expected.each_ref().map(|(event, mail)| (*event, mail)));
    assert!(items.is_sorted_by_key(|item| item["position"].as_i64()));
    let [added, _, authorized, accepted, opted_out] = items.as_slice() else { panic!("{history}") };
    assert_eq!(added["address"], "ana@example.com");
    let told = ["consent_source", "wording_version", "groups"].map(|member| added[member].clone());
    assert_eq!(told, [json!("shop checkout"), json!("2026-03"), json!([group])]);
    assert_eq!(authorized["authorized_by"], added["position"]);
    assert_eq!(accepted["campaign_id"], json!(campaign));
    assert_eq!((&opted_out["channel"], &opted_out["groups"]), (&json!("one_click"), &json!([group])));

    let (mut paged, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = app.get(&format!("{path}?limit=2&cursor={cursor}")).send().await.ok(200).json();
        paged.extend(page["items"].as_array().unwrap().clone());
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = next.to_owned();
    }
    assert_eq!(&paged, items);
    app.get(&format!("/audit/subscribers/{group}")).send().await.problem(404);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn the_trail_is_for_auditors(pool: PgPool) {
    let app = TestApp::without_projectors(pool, |_| {}).await;
    app.user("ana@example.com", &[Role::Auditor]).await;
    let auditor = app.login("ana@example.com").await.access;
    app.get("/audit/opt-outs").bearer(&auditor).send().await.ok(200);
    let key = app.api_key(&[Scope::SubscribersRead, Scope::RecipientsRead]).await;
    app.get("/audit/opt-outs").bearer(&key).send().await.problem(403);
}
