//! One person who cannot be read fails no page of others: their row is there, and what does not open is null.

use crate::support::{PASSWORD, TestApp};
use domain::access::Role;
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

async fn damage(app: &TestApp, person: Uuid) {
    let damage = "UPDATE subject_keys SET wrapped_key = '\\x00' WHERE subject_id = $1";
    sqlx::query(damage).bind(person).execute(&app.pool).await.unwrap();
}

/// The fields of the item that is about this id, and how many items there are.
async fn item(app: &TestApp, path: &str, name: &str, id: Uuid) -> (Value, usize) {
    let page = app.get(path).send().await.ok(200).json();
    let items = page["items"].as_array().unwrap();
    let item = items.iter().find(|item| item[name] == json!(id)).unwrap_or_else(|| panic!("{id}: {page}"));
    (item.clone(), items.len())
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn lists_show_the_damaged_among_the_others(pool: PgPool) {
    let app = TestApp::new(pool).await;
    let campaign = app.campaign().await;
    let mut readers = Vec::new();
    for name in ["ana", "ben", "chi"] {
        readers.push(app.subscriber(&format!("{name}@example.com"), &[]).await);
    }
    app.freeze(campaign, readers.clone()).await;
    for reader in &readers {
        let path = format!("/emails/unsubscribe?token={}", app.token(*reader, None));
        app.post(&path).anonymous().form("List-Unsubscribe=One-Click").send().await.ok(200);
    }
    app.settled().await;
    let ben = readers[1];
    damage(&app, ben).await;

    let (item_, count) = item(&app, "/subscribers", "subscriber_id", ben).await;
    assert_eq!((&item_["email"], &item_["name"], count), (&Value::Null, &Value::Null, 3));
    let recipients = format!("/emails/{campaign}/recipients");
    let (item_, count) = item(&app, &recipients, "subscriber_id", ben).await;
    assert_eq!((&item_["address"], count), (&Value::Null, 3));
    let csv = app.get(&format!("{recipients}?format=csv")).send().await.ok(200);
    assert!(csv.text().contains(&format!("{ben},unreadable,")), "{}", csv.text());
    assert!(csv.text().contains("ana@example.com") && csv.text().contains("chi@example.com"));
    let (item_, count) = item(&app, "/audit/opt-outs", "subscriber_id", ben).await;
    assert_eq!((&item_["address"], count), (&Value::Null, 3));
    app.get(&format!("/subscribers/{ben}")).send().await.ok(200);
    app.get(&format!("/audit/subscribers/{ben}")).send().await.ok(200);
    // And they can still leave: nothing of theirs has to be opened for it.
    app.get(&format!("/preferences?token={}", app.token(ben, None))).anonymous().send().await.ok(200);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn users_and_their_events_are_listed_with_the_damaged(pool: PgPool) {
    let mut app = TestApp::new(pool).await;
    app.user("boss@example.com", &[Role::Admin]).await;
    app.admin = app.login("boss@example.com").await.access;
    let mut users = Vec::new();
    for name in ["ana", "ben", "chi"] {
        users.push(app.user(&format!("{name}@example.com"), &[Role::Auditor]).await);
    }
    app.try_login("ana@example.com", PASSWORD).await;
    let session: Uuid = sqlx::query_scalar("SELECT session_id FROM sessions WHERE user_id = $1")
        .bind(users[0])
        .fetch_one(&app.pool)
        .await
        .unwrap();
    app.settled().await;
    damage(&app, users[1]).await;
    damage(&app, session).await;
    let (user, _) = item(&app, "/users", "user_id", users[1]).await;
    assert_eq!(user["email"], Value::Null);
    let strange = "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
                   VALUES ('user', $1, 99, 'UserDisabled', '9.0', '{}', '{}')";
    sqlx::query(strange).bind(users[2].to_string()).execute(&app.pool).await.unwrap();
    app.settled().await;
    let events = app.get("/audit/security-events").send().await.ok(200).json();
    let events = events["items"].as_array().unwrap();
    let of = |id: Uuid| events.iter().filter(|event| event["subject"] == id.to_string()).count();
    assert!(of(users[0]) > 0 && of(session) > 0, "{events:?}");
    let strange =
        |event: &&Value| event["subject"] == users[2].to_string() && event["event"] == "UserDisabled";
    assert!(events.iter().any(|event| strange(&event)), "{events:?}");
}
