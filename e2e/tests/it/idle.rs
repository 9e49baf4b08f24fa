//! A stack that has nothing to do does next to nothing, and what comes is still done at once, whichever process does it.

use e2e::{Settings, Stack};
use serde_json::json;
use std::time::{Duration, Instant};

/// By polls of every loop it was above 200.
const TRANSACTIONS_PER_SECOND_MAX: f64 = 60.0;
const WATCHED: Duration = Duration::from_secs(8);
const WITHIN: Duration = Duration::from_secs(60);

#[tokio::test]
async fn an_idle_stack_asks_the_database_seldom() {
    let stack = Stack::start(Settings::new()).await;
    stack.client().caught_up(WITHIN).await;
    let mut calmest = f64::INFINITY;
    // A round in which something else happened (the first sample, maintenance) is not the idle one.
    for _ in 0..3 {
        let (before, start) = (transactions(&stack).await, Instant::now());
        tokio::time::sleep(WATCHED).await;
        let count = transactions(&stack).await - before;
        calmest = calmest.min(count as f64 / start.elapsed().as_secs_f64());
        if calmest < TRANSACTIONS_PER_SECOND_MAX {
            return;
        }
    }
    panic!("{calmest} transactions a second");
}

async fn transactions(stack: &Stack) -> i64 {
    let count = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()";
    sqlx::query_scalar(count).fetch_one(stack.pool()).await.unwrap()
}

/// By polls alone, of the sequencer and then of the projector, each of these would take a second.
#[tokio::test]
async fn processes_wake_each_other() {
    let mut stack = Stack::prepare(Settings::new()).await;
    stack.serve("front", "api").await;
    stack.serve("sequencer", "sequencer").await;
    stack.serve("projector", "projector").await;
    stack.ready().await;
    let api = stack.client();
    // Each process says so once it hears the others.
    for name in ["front", "sequencer", "projector"] {
        let log = stack.log_file(name);
        e2e::eventually("it hears the others", WITHIN, async || {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            said.contains("other processes are heard").then_some(())
        })
        .await;
    }
    let mut took = Vec::new();
    for round in 0..21 {
        let group = api.post("/groups", &json!({ "name": format!("Group {round}") })).await.expect(201);
        let start = Instant::now();
        api.query(&format!("/groups/{}", group.id("group_id"))).await.expect(200);
        took.push(start.elapsed());
    }
    took.sort();
    assert!(took[10] < Duration::from_millis(400), "half of them took longer: {took:?}");
}
