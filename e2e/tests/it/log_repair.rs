//! A sequence that stands below what is numbered: it is told everywhere, commands go on, and one call mends it.

use e2e::{Settings, Stack, eventually};
use serde_json::{Value, json};
use std::time::Duration;

const WITHIN: Duration = Duration::from_secs(60);

#[tokio::test]
async fn what_was_appended_below_the_mark_is_found_and_repaired() {
    let stack = Stack::start(Settings::new()).await;
    let api = stack.client();
    api.group("Before").await;
    api.caught_up(WITHIN).await;
    assert!(stack.operate(&["log", "check"]).contains("has its position"));

    let raise = "UPDATE log_head SET low_water = low_water + 5000";
    sqlx::query(raise).execute(stack.pool()).await.unwrap();
    // A session of the sequencer compares when it begins.
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
               WHERE application_name = 'postledger sequencer' AND datname = current_database()";
    sqlx::query(end).execute(stack.pool()).await.unwrap();
    let lost = api.post("/groups", &json!({ "name": "Lost" })).await.expect(201).id("group_id");
    let ready: Value = api.anonymous().get("/health/ready").await;
    assert_eq!(ready["log"], json!({ "status": "sequence_behind", "lost_events": 1, "waiting_events": 0 }));
    let check = stack.try_operate(&["log", "check"]);
    let said = String::from_utf8_lossy(&check.stdout);
    assert!(!check.status.success() && said.contains(&format!("group {lost}, sequence 1")), "{said}");

    let said = stack.operate(&["log", "repair"]);
    assert!(said.contains("log's end: 1\n") && !said.contains("rebuild"), "{said}");
    assert!(stack.operate(&["log", "check"]).contains("has its position"));
    api.group("After").await;
    api.caught_up(WITHIN).await;
    eventually("the sequencer works again, and the lost group is there", WITHIN, async || {
        let groups: Value = api.get("/groups").await;
        let names: Vec<&str> =
            groups["items"].as_array()?.iter().filter_map(|group| group["name"].as_str()).collect();
        ["Before", "Lost", "After"].iter().all(|name| names.contains(name)).then_some(())
    })
    .await;
    let ready: Value = api.anonymous().get("/health/ready").await;
    assert_eq!(ready["log"], json!({ "status": "in_order", "lost_events": 0, "waiting_events": 0 }));
}
