//! Positions: dense, gapless, in the order of each stream and of each lock, whatever becomes visible when.

use crate::support::*;
use domain::group::{Group, GroupCommand};
use eventstore::sequencer::Sequencer;
use eventstore::{Request, feed};
use sqlx::{Executor, PgPool};

fn assert_dense(log: &[(i64, i64)]) {
    assert!((1..).zip(log).all(|(expected, (position, _))| expected == *position), "{log:?}");
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_rolled_back_append_leaves_no_gap(pool: PgPool) {
    let store = store(&pool);
    let mut tx = pool.begin().await.unwrap();
    tx.execute(FOREIGN).await.unwrap();
    tx.rollback().await.unwrap();
    create_group(&store, "News").await;
    assert_eq!(sequence(&store).await, 1);
    assert_eq!(log(&pool).await, [(1, 2)]);
}

/// A writer that stays open holds nobody up, and is numbered when it commits, although larger ids went before.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_held_foreign_transaction_is_neither_waited_for_nor_lost(pool: PgPool) {
    let store = store(&pool);
    let mut held = pool.begin().await.unwrap();
    held.execute(FOREIGN).await.unwrap();
    let mut sequencer = Sequencer::new(store.clone());
    for n in 0..20 {
        create_group(&store, &format!("group {n}")).await;
        assert_eq!(sequencer.step().await.unwrap(), 1, "the writers beside it are numbered at once");
    }
    let low_water: i64 = sqlx::query_scalar("SELECT low_water FROM log_head").fetch_one(&pool).await.unwrap();
    assert_eq!(low_water, 0, "the mark must not pass an id that may still come");
    held.commit().await.unwrap();
    assert_eq!(sequencer.step().await.unwrap(), 1);
    let log = log(&pool).await;
    assert_dense(&log);
    assert_eq!(log.last(), Some(&(21, 1)), "the first id drawn is the last in the log");
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn the_low_water_mark_follows(pool: PgPool) {
    let store = store(&pool);
    let mut sequencer = Sequencer::new(store.clone());
    for n in 0..10 {
        create_group(&store, &format!("group {n}")).await;
        sequencer.step().await.unwrap();
    }
    let low_water: i64 = sqlx::query_scalar("SELECT low_water FROM log_head").fetch_one(&pool).await.unwrap();
    assert!(low_water >= 8, "{low_water}");
}

/// Two sequencers and eight writers: every event has one position, and each stream's order is kept.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn two_sequencers_take_turns(pool: PgPool) {
    let store = store(&pool);
    let stop = tokio_util::sync::CancellationToken::new();
    let sequencers: Vec<_> =
        (0..2).map(|_| tokio::spawn(Sequencer::new(store.clone()).run(stop.clone()))).collect();
    let writers = (0..8).map(|writer| {
        let store = store.clone();
        tokio::spawn(async move {
            let (id, _) = create_group(&store, "start").await;
            for n in 0..30 {
                let name = GroupCommand::Change { name: Some(format!("{writer}/{n}")), description: None };
                store.execute::<Group>(id, name, Request::default()).await.unwrap();
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
    while feed::head(&pool).await.unwrap().position < 8 * 31 {
        assert!(tokio::time::Instant::now() < deadline, "not everything was numbered");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    stop.cancel();
    for sequencer in sequencers {
        sequencer.await.unwrap();
    }
    assert_dense(&log(&pool).await);
    let events = feed::read(&pool, &["group"], 0, i64::MAX, 1_000).await.unwrap();
    assert_eq!(events.len(), 8 * 31);
    let mut last = std::collections::HashMap::<&str, i64>::new();
    for event in &events {
        let before = last.insert(&event.aggregate_id, event.sequence).unwrap_or(0);
        assert_eq!(event.sequence, before + 1, "a stream's order was broken");
    }
}

/// Reading `append_id > last` as rows become visible loses events: the reason for the sequencer.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn polling_append_ids_would_lose_what_the_log_keeps(pool: PgPool) {
    let store = store(&pool);
    let mut late = pool.begin().await.unwrap();
    late.execute(FOREIGN).await.unwrap();
    create_group(&store, "early").await;
    let seen: i64 = sqlx::query_scalar("SELECT max(append_id) FROM events").fetch_one(&pool).await.unwrap();
    sequence(&store).await;
    late.commit().await.unwrap();
    let polled: i64 = sqlx::query_scalar("SELECT count(*) FROM events WHERE append_id > $1")
        .bind(seen)
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(polled, 0, "the poll misses the late one");
    assert_eq!(sequence(&store).await, 1, "the log does not");
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_command_tells_where_its_events_are(pool: PgPool) {
    let store = store(&pool);
    let (id, done) = create_group(&store, "News").await;
    let [touched] = done.position.touched.as_slice() else { panic!("{done:?}") };
    let unchanged = GroupCommand::Change { name: Some("News".into()), description: None };
    let again = store.execute::<Group>(id, unchanged, Request::default()).await.unwrap();
    assert!(!again.appended);
    assert_eq!(
        again.position.touched,
        std::slice::from_ref(touched),
        "a command that changes nothing answers its stream's last"
    );
}
