//! A dispatch with which every sender dies: after five of them its campaign is paused and named, and others are sent.

use crate::scene;
use e2e::{Draft, Export, Metrics, Settings, Stack, eventually};
use serde_json::Value;
use std::time::Duration;
use uuid::Uuid;

const DEATHS: i64 = 5;
const WITHIN: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_dispatch_that_kills_five_senders_pauses_its_campaign_and_no_other() {
    let mut stack = Stack::prepare(Settings::new().set("send.page_size", 20)).await;
    stack.serve("front", "api,sequencer,projector,importer,scheduler").await;
    stack.ready().await;
    let api = stack.client();
    let draft = scene::readers(&api, &Export::clean("reader", 20)).await;
    let draft = Draft { mailer: Some("outbox"), ..draft };
    let poisoned = api.launch(&draft).await;
    api.reaches(poisoned, "sending", WITHIN).await;
    // Whoever authorizes a chunk of it stands still, and is killed.
    let mut trap = stack.pool().acquire().await.unwrap();
    let (high, low) = poisoned.as_u64_pair();
    let lock = (high ^ low).cast_signed();
    sqlx::query("SELECT pg_advisory_lock($1)").bind(lock).execute(&mut *trap).await.unwrap();
    let other = api.launch(&draft).await;
    api.reaches(other, "sending", WITHIN).await;
    for death in 1..=DEATHS {
        stack.serve("sender", "sender").await;
        eventually(&format!("sender {death} has it"), WITHIN, async || {
            (fence(&stack, poisoned).await == death).then_some(())
        })
        .await;
        stack.kill("sender").await;
        its_lease_runs_out(&stack, poisoned).await;
    }
    sqlx::query("SELECT pg_advisory_unlock($1)").bind(lock).execute(&mut *trap).await.unwrap();

    stack.serve("sender", "sender").await;
    let report = api.completes(other, WITHIN * 2).await;
    assert_eq!((report.accepted, report.unknown), (20, 0), "{report:?}");
    api.reaches(poisoned, "paused", WITHIN).await;
    let dispatch = stack.trail().dispatches(poisoned).await[0].id;
    for path in ["", "/report"] {
        let shown: Value = api.get(&format!("/emails/{poisoned}{path}")).await;
        assert_eq!(shown["status_reason"], "worker_died", "{shown}");
        assert_eq!(shown["status_dispatch_id"], dispatch.to_string(), "{shown}");
    }
    let metrics = Metrics::of(&stack, "sender").await;
    assert_eq!(metrics.value("postledger_given_up_total", &[("work", "dispatch")]), Some(1.0));
    let log = std::fs::read_to_string(stack.log_file("sender")).unwrap();
    assert!(log.lines().any(|line| line.contains("it is given up") && line.contains(&dispatch.to_string())));

    api.tell(poisoned, "resume").await.expect(202);
    assert_eq!(api.completes(poisoned, WITHIN).await.accepted, 20);
}

/// How often its one dispatch was taken.
async fn fence(stack: &Stack, campaign: Uuid) -> i64 {
    let fence = sqlx::query_scalar("SELECT fence FROM dispatch_work WHERE campaign_id = $1");
    fence.bind(campaign).fetch_one(stack.pool()).await.unwrap()
}

/// At once: its real end comes after the longest call.
async fn its_lease_runs_out(stack: &Stack, campaign: Uuid) {
    sqlx::query("UPDATE dispatch_work SET leased_until = NULL WHERE campaign_id = $1")
        .bind(campaign)
        .execute(stack.pool())
        .await
        .unwrap();
}
