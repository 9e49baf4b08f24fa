//! The report, and who stands behind its numbers.

use crate::support::TestApp;
use serde_json::{Value, json};
use sqlx::PgPool;
use std::collections::BTreeSet;
use uuid::Uuid;

/// A campaign that was accepted for the first two of three readers.
async fn sent(app: &TestApp) -> (Uuid, Vec<Uuid>) {
    let id = app.campaign().await;
    let mut readers = Vec::new();
    for name in ["ana", "=cmd", "chi"] {
        readers.push(app.subscriber(&format!("{name}@example.com"), &[]).await);
    }
    readers.sort();
    app.freeze(id, readers.clone()).await;
    app.accept(id, 2).await;
    app.settled().await;
    (id, readers)
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_report_adds_up(pool: PgPool) {
    let app = TestApp::new(pool).await;
    let (id, _) = sent(&app).await;
    let report = app.get(&format!("/emails/{id}/report")).send().await.ok(200).json();
    let number = |name: &str| report[name].as_i64().unwrap_or_else(|| panic!("{name}: {report}"));
    let states = ["pending", "accepted", "suppressed", "rejected", "unknown", "cancelled"];
    assert_eq!(states.map(number), [1, 2, 0, 0, 0, 0]);
    assert_eq!(number("planned"), states.map(number).iter().sum::<i64>());
    for name in ["delivered", "bounced", "complained", "opened", "clicked", "unsubscribed"] {
        assert_eq!(number(name), 0, "{name}");
    }
    assert_eq!((&report["campaign_id"], &report["status"]), (&json!(id), &json!("sending")));
    assert_eq!(report["template_versions"], json!([{ "template_version": 1, "accepted": 2, "unknown": 0 }]));
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_drafts_report_is_empty(pool: PgPool) {
    let app = TestApp::new(pool).await;
    let id = app.campaign().await;
    let position = app.post(&format!("/emails/{id}/unschedule")).send().await.position();
    let report = app.get(&format!("/emails/{id}/report")).position(&position).send().await.ok(200).json();
    assert_eq!((&report["planned"], &report["status"]), (&json!(0), &json!("draft")));
    assert_eq!(report["template_versions"], json!([]));
    let recipients =
        app.get(&format!("/emails/{id}/recipients")).position(&position).send().await.ok(200).json();
    assert_eq!(recipients, json!({ "items": [], "next_cursor": null }));
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn recipients_are_listed_with_the_consent_that_allowed_them(pool: PgPool) {
    let app = TestApp::new(pool).await;
    let (id, readers) = sent(&app).await;
    let path = format!("/emails/{id}/recipients");
    let first = app.get(&format!("{path}?limit=2")).send().await.ok(200).json();
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = app.get(&format!("{path}?limit=2&cursor={cursor}")).send().await.ok(200).json();
    assert_eq!(second["next_cursor"], Value::Null);
    let items: Vec<&Value> =
        [&first, &second].iter().flat_map(|page| page["items"].as_array().unwrap()).collect();
    let listed: Vec<Uuid> =
        items.iter().map(|item| item["subscriber_id"].as_str().unwrap().parse().unwrap()).collect();
    assert_eq!(listed, readers);
    let addresses: BTreeSet<&str> = items.iter().map(|item| item["address"].as_str().unwrap()).collect();
    assert_eq!(addresses, ["=cmd@example.com", "ana@example.com", "chi@example.com"].into());
    for (index, item) in items.iter().enumerate() {
        let added: i64 = sqlx::query_scalar(
            "SELECT l.position FROM log l JOIN events e USING (append_id)
             WHERE e.aggregate_type = 'subscriber' AND e.aggregate_id = $1 AND e.sequence = 1",
        )
        .bind(item["subscriber_id"].as_str().unwrap())
        .fetch_one(&app.pool)
        .await
        .unwrap();
        let expected =
            if index < 2 { (json!("accepted"), json!(added)) } else { (json!("pending"), Value::Null) };
        assert_eq!((&item["state"], &item["authorized_by"]), (&expected.0, &expected.1));
        assert_eq!(item["template_version"], if index < 2 { json!(1) } else { Value::Null });
        assert!(item["dispatch_id"].as_str().unwrap().parse::<Uuid>().is_ok());
    }
    let pending = app.get(&format!("{path}?state=pending")).send().await.ok(200).json();
    assert_eq!(pending["items"].as_array().unwrap().len(), 1);
    app.get(&format!("{path}?state=sent")).send().await.invalid(&["state"]);
    app.get(&format!("{path}?format=xml")).send().await.invalid(&["format"]);
    app.get(&format!("{path}?limit=501")).send().await.invalid(&["limit"]);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_csv_has_everybody_and_no_formulas(pool: PgPool) {
    let app = TestApp::new(pool).await;
    let (id, _) = sent(&app).await;
    let path = format!("/emails/{id}/recipients");
    let by_format = app.get(&format!("{path}?format=csv&limit=1")).send().await.ok(200);
    let by_accept = app.get(&path).header("accept", "text/csv, application/json;q=0.5").send().await.ok(200);
    assert_eq!(by_format.body, by_accept.body);
    assert_eq!(by_format.header("content-type"), "text/csv; charset=utf-8");
    assert!(by_format.header("content-disposition").starts_with("attachment"));
    let lines: Vec<&str> = by_format.text().lines().collect();
    assert_eq!(lines[0], "subscriber_id,address,state,reason,dispatch_id,authorized_by,template_version");
    assert_eq!(lines.iter().filter(|line| line.ends_with(",1")).count(), 2, "{lines:?}");
    assert_eq!(lines.len(), 4);
    assert!(lines.iter().any(|line| line.contains(",'=cmd@example.com,")), "{lines:?}");
    let pending = app.get(&format!("{path}?format=csv&state=pending")).send().await.ok(200);
    assert_eq!(pending.text().lines().count(), 2);
    for json in ["application/json", "*/*", "application/json, text/csv", "text/html"] {
        app.get(&path).header("accept", json).send().await.ok(200).json();
    }
    app.get(&format!("{path}?format=json")).header("accept", "text/csv").send().await.ok(200).json();
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn streams_are_bounded_in_number(pool: PgPool) {
    let app = TestApp::with(pool, |config| config.limits.streams = 1).await;
    let (id, _) = sent(&app).await;
    let path = format!("/emails/{id}/recipients?format=csv");
    let held = app.get(&path).open().await;
    let refused = app.get(&path).send().await;
    refused.problem(503);
    assert_eq!(refused.header("retry-after"), "1");
    drop(held);
    app.get(&path).send().await.ok(200);
}
