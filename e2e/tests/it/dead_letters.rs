//! An event that no read model can apply is parked with its stream, all others go on, and a replay brings both together
//! once the event was mended.

use crate::scene;
use e2e::{Client, Export, Settings, Stack, eventually};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::Executor;
use std::time::Duration;
use uuid::Uuid;

const WITHIN: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_poison_event_parks_its_stream_alone_until_it_is_replayed() {
    let stack = Stack::start(Settings::new()).await;
    let api = stack.client();
    let draft = scene::readers(&api, &Export::clean("reader", 2)).await;
    let [poisoned, healthy] = [find(&api, "reader0").await, find(&api, "reader1").await];

    append(&stack, poisoned, 2, json!({ "SubscriberDetailsChanged": { "name": ["no", "text"] } })).await;
    append(&stack, poisoned, 3, json!({ "SubscriberGroupLeft": { "group_id": draft.group } })).await;
    eventually("the stream is parked with what follows", WITHIN, async || {
        let listed = stack.operate(&["dead-letters", "list"]);
        (listed.contains(&poisoned.to_string()) && waiting(&stack, "subscribers").await == 2).then_some(())
    })
    .await;

    // Others go on, and are read at once: the parked stream's read model is only as old as its stream.
    let path = format!("/subscribers/{healthy}");
    api.command(Method::PATCH, &path, &json!({ "name": "Still here" })).await.expect(200);
    assert_eq!(api.get::<Value>(&path).await["name"], "Still here");
    assert_eq!(subscribed(&api, poisoned).await, Some(true), "what follows the poison waits behind it");

    let _ = stack.try_operate(&["dead-letters", "replay"]);
    assert_eq!(waiting(&stack, "subscribers").await, 2, "a replay of what is still broken changes nothing");

    mend(&stack, poisoned, 2, json!({ "SubscriberDetailsChanged": {} })).await;
    stack.operate(&["dead-letters", "replay"]);
    let left: i64 = sqlx::query_scalar(
        "SELECT (SELECT count(*) FROM dead_letters) + (SELECT count(*) FROM parked_streams)",
    )
    .fetch_one(stack.pool())
    .await
    .unwrap();
    assert_eq!(left, 0, "{}", stack.operate(&["dead-letters", "list"]));
    assert_ne!(
        subscribed(&api, poisoned).await,
        Some(true),
        "the event behind the poison was replayed as well"
    );
    let path = format!("/subscribers/{poisoned}");
    api.command(Method::PATCH, &path, &json!({ "name": "Back again" })).await.expect(200);
    assert_eq!(api.get::<Value>(&path).await["name"], "Back again");
}

async fn find(api: &Client, name: &str) -> Uuid {
    let found: Vec<Value> = api.all(&format!("/subscribers?email={name}@example.com")).await;
    found[0]["subscriber_id"].as_str().unwrap().parse().unwrap()
}

async fn subscribed(api: &Client, reader: Uuid) -> Option<bool> {
    let reader: Value = api.get(&format!("/subscribers/{reader}")).await;
    reader["groups"].as_array().unwrap().first().map(|group| group["subscribed"] == true)
}

/// What waits for a read model.
async fn waiting(stack: &Stack, projection: &str) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM dead_letters WHERE projection = $1")
        .bind(projection)
        .fetch_one(stack.pool())
        .await
        .unwrap()
}

/// As a faulty older version might have written it.
async fn append(stack: &Stack, stream: Uuid, sequence: i64, payload: Value) {
    let event_type = payload.as_object().unwrap().keys().next().unwrap().clone();
    sqlx::query(
        "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
         VALUES ('subscriber', $1, $2, $3, '1.0', $4, '{\"actor\": \"admin\"}')",
    )
    .bind(stream.to_string())
    .bind(sequence)
    .bind(event_type)
    .bind(payload)
    .execute(stack.pool())
    .await
    .unwrap();
}

/// What no role of the product may do.
async fn mend(stack: &Stack, stream: Uuid, sequence: i64, payload: Value) {
    let mut tx = stack.pool().begin().await.unwrap();
    tx.execute("ALTER TABLE events DISABLE TRIGGER events_append_only").await.unwrap();
    sqlx::query("UPDATE events SET payload = $3 WHERE aggregate_id = $1 AND sequence = $2")
        .bind(stream.to_string())
        .bind(sequence)
        .bind(payload)
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.execute("ALTER TABLE events ENABLE TRIGGER events_append_only").await.unwrap();
    tx.commit().await.unwrap();
}
