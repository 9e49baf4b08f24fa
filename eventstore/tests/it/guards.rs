//! The order anomaly: without guards before the events, the log could show a send after an opt-out that it preceded.

use crate::support::*;
use domain::consent::{Channel, Origin, Scope};
use domain::subscriber::{Subscriber, SubscriberCommand};
use eventstore::{Request, feed};
use sqlx::{Executor, PgPool};
use std::time::Duration;

/// An authorization holds the gate and draws its append_id; an opt-out that comes meanwhile must draw a later one,
/// since it waits for the gate before it inserts.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn the_log_shows_a_send_before_the_opt_out_that_waited_for_it(pool: PgPool) {
    let store = store(&pool);
    let (group, _) = create_group(&store, "News").await;
    let reader = add_subscriber(&store, "ana@example.com", vec![group]).await;

    let mut authorizing = pool.begin().await.unwrap();
    authorizing.execute("SELECT FROM gates ORDER BY address_hash FOR NO KEY UPDATE").await.unwrap();
    let opting_out = tokio::spawn({
        let store = store.clone();
        async move {
            let (channel, origin) = (Channel::OneClick, Origin::default());
            let opt_out = SubscriberCommand::OptOut { scope: Scope::Global, channel, origin };
            store.execute::<Subscriber>(reader, opt_out, Request::default()).await.unwrap()
        }
    });
    wait_for_a_blocked_backend(&pool).await;
    authorizing
        .execute(
            "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
             VALUES ('dispatch', gen_random_uuid()::text, 1, 'SendAuthorized', '1.0', '{}', '{}')",
        )
        .await
        .unwrap();
    authorizing.commit().await.unwrap();
    opting_out.await.unwrap();

    sequence(&store).await;
    let events = feed::read(&pool, &["subscriber", "dispatch"], 0, i64::MAX, 100).await.unwrap();
    let order: Vec<&str> = events.iter().map(|event| event.event_type.as_str()).collect();
    assert_eq!(order, ["SubscriberAdded", "SendAuthorized", "SubscriberOptedOut"]);
}

async fn wait_for_a_blocked_backend(pool: &PgPool) {
    let blocked = "SELECT EXISTS (SELECT FROM pg_stat_activity
                   WHERE datname = current_database() AND cardinality(pg_blocking_pids(pid)) > 0)";
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while !sqlx::query_scalar::<_, bool>(blocked).fetch_one(pool).await.unwrap() {
        assert!(tokio::time::Instant::now() < deadline, "the opt-out did not wait for the gate");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn the_gate_follows_the_subscriber(pool: PgPool) {
    let store = store(&pool);
    let (group, _) = create_group(&store, "News").await;
    let reader = add_subscriber(&store, "ana@example.com", vec![group]).await;
    let gate = async || -> (bool, Option<i64>, bool) {
        sqlx::query_as("SELECT suppressed, (groups ->> $1)::bigint, groups ? $1 FROM gates")
            .bind(group.to_string())
            .fetch_one(&pool)
            .await
            .unwrap()
    };
    assert_eq!(gate().await, (false, Some(1), true), "open by the consent of event 1");
    let command =
        |scope| SubscriberCommand::OptOut { scope, channel: Channel::Admin, origin: Origin::default() };
    let groups = command(Scope::Groups(vec![group]));
    store.execute::<Subscriber>(reader, groups, Request::default()).await.unwrap();
    assert_eq!(gate().await, (false, None, true), "closed for the group");
    store.execute::<Subscriber>(reader, command(Scope::Global), Request::default()).await.unwrap();
    assert_eq!(gate().await, (true, None, true), "closed for all");
}
