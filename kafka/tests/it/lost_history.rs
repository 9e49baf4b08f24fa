//! A database that was restored, and topics that were not: they hold a history that the log lost.

use crate::brokers::{Brokers, PARTITIONS, epoch};
use crate::log::{append, caught_up};
use crate::picky::{Picky, group, kept};
use crate::records::log_entries;
use crate::stage::{carry, eventually, relay, relayed};
use kafka::envelope::Outgoing;
use projections::{Projection, all};
use sqlx::PgPool;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

use eventstore::restore::{self, Marked};
use eventstore::sending;

const A: Uuid = Uuid::from_u128(1);
/// For several looks of every loop.
const A_WHILE: Duration = Duration::from_secs(3);

/// What stood at this place before the restore: in the same stream, and later.
fn lost(entry: &(Outgoing, i64)) -> (Outgoing, i64) {
    let (mut event, previous) = entry.clone();
    event.recorded_at += chrono::TimeDelta::microseconds(1);
    event.payload = event.payload.replace("\"d\"", "\"lost\"");
    (event, previous)
}

async fn names(pool: &PgPool) -> Vec<String> {
    sqlx::query_scalar("SELECT name FROM picky ORDER BY seen").fetch_all(pool).await.unwrap()
}

/// They fit the checkpoints, by slot and previous position. What the log has at their places is applied instead, and nothing
/// where it has nothing.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn records_that_fit_and_are_not_in_the_log_are_refused(pool: PgPool) {
    let brokers = Brokers::start();
    brokers.make_topics(&pool).await;
    let picky = Picky::create(&pool, &[]).await;
    let models: Vec<Arc<dyn Projection>> = vec![picky];
    append(&pool, &group(A, &["a", "b", "c", "d"])).await;
    let entries = log_entries(&pool).await;
    let mut above = lost(&entries[3]);
    (above.0.position, above.0.sequence, above.1) = (5, 5, 4);
    brokers.publish(&pool, &[entries[..3].to_vec(), vec![lost(&entries[3]), above]].concat()).await;
    let carrying = carry(pool.clone(), brokers.topics(PARTITIONS), models.clone());
    caught_up(&pool, &models).await;
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(names(&pool).await, ["a", "b", "c", "d"]);
    // The log goes on over the places of what was lost.
    append(&pool, &group(A, &["a", "b", "c", "d", "e"])[4..]).await;
    brokers.publish(&pool, &log_entries(&pool).await).await;
    caught_up(&pool, &models).await;
    assert_eq!((names(&pool).await.concat(), kept(&pool, A).await.len()), ("abcde".to_owned(), 5));
    carrying.stop().await.unwrap();
}

/// The first record of a slot has no checkpoint to fit.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_slot_does_not_begin_with_what_the_log_lacks(pool: PgPool) {
    let brokers = Brokers::start();
    brokers.make_topics(&pool).await;
    let picky = Picky::create(&pool, &[]).await;
    append(&pool, &group(A, &["d"])).await;
    let entries = log_entries(&pool).await;
    let mut elsewhere = lost(&entries[0]);
    elsewhere.0.slot = (elsewhere.0.slot + 1) % 64;
    brokers.publish(&pool, &[elsewhere, lost(&entries[0])]).await;
    let models: Vec<Arc<dyn Projection>> = vec![picky];
    let carrying = carry(pool.clone(), brokers.topics(PARTITIONS), models.clone());
    caught_up(&pool, &models).await;
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(names(&pool).await, ["d"]);
    carrying.stop().await.unwrap();
}

/// Topics that are ahead of the log, and topics that the log has overtaken since.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn the_relay_publishes_nothing_behind_what_the_log_lost(pool: PgPool) {
    let Some(brokers) = Brokers::real() else { return };
    append(&pool, &group(A, &["a", "b", "c", "d"])).await;
    let relaying = relay(&pool, brokers.topics(PARTITIONS));
    relayed(&pool).await;
    relaying.stop().await;
    let before = log_entries(&pool).await;
    let mut ahead = lost(&before[3]);
    (ahead.0.position, ahead.0.sequence, ahead.1) = (5, 5, 4);
    brokers.publish(&pool, &[ahead]).await;
    for overtaken in [false, true] {
        sending::pause(&pool).await.unwrap();
        sending::resume(&pool).await.unwrap();
        if overtaken {
            append(&pool, &group(Uuid::from_u128(2), &["x", "y"])).await;
        }
        let records = brokers.records(epoch(&pool).await).len();
        let relaying = relay(&pool, brokers.topics(PARTITIONS));
        eventually("sending is stopped", async || {
            let stop = sending::stopped_by(&pool).await.unwrap()?;
            (stop.reason == sending::LOG_WENT_BACK).then_some(())
        })
        .await;
        tokio::time::sleep(A_WHILE).await;
        assert_eq!(brokers.records(epoch(&pool).await).len(), records, "overtaken: {overtaken}");
        let (topics, models) = (brokers.topics(PARTITIONS), all());
        let report = kafka::check(&pool, &topics, &models, eventstore::clock::now()).await.unwrap();
        let wrong = report.wrong.join("\n");
        assert!(
            wrong.contains("ends with an event at position 5") && wrong.contains("postledger restored"),
            "{wrong}"
        );
        relaying.stop().await;
    }
    let lost_epoch = epoch(&pool).await;
    let relaying = relay(&pool, brokers.topics(PARTITIONS));
    let Marked::Now(head) = restore::mark_as_restored(&pool, false).await.unwrap() else {
        panic!("it was not")
    };
    assert_ne!(head.epoch, lost_epoch);
    assert_eq!(relayed(&pool).await, 6, "a running relay goes on in the new epoch, from its beginning");
    relaying.stop().await;
    let mut records = brokers.records(head.epoch);
    records.sort_unstable();
    assert_eq!(records, [1, 2, 3, 4, 5, 6]);
}

/// Another cluster, and another timeline.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn the_relay_publishes_nothing_where_the_log_moved(pool: PgPool) {
    let Some(brokers) = Brokers::real() else { return };
    append(&pool, &group(A, &["a"])).await;
    for (moves, reason) in [
        ("UPDATE log_epoch SET system_identifier = system_identifier + 1", "another_cluster"),
        ("UPDATE log_epoch SET timeline = timeline + 1", "another_timeline"),
    ] {
        let relaying = relay(&pool, brokers.topics(PARTITIONS));
        let before = relayed(&pool).await;
        sqlx::query(moves).execute(&pool).await.unwrap();
        append(&pool, &group(eventstore::ids::new_id(), &["b"])).await;
        tokio::time::sleep(A_WHILE).await;
        let now = eventstore::feed::relayed(&pool).await.unwrap().unwrap().position;
        assert_eq!(now, before, "{reason}: a relay at work notices");
        assert_eq!(sending::stopped_by(&pool).await.unwrap().unwrap().reason, reason);
        relaying.stop().await;
        let relaying = relay(&pool, brokers.topics(PARTITIONS));
        tokio::time::sleep(A_WHILE).await;
        assert_eq!(brokers.records(epoch(&pool).await).len(), usize::try_from(before).unwrap());
        assert!(restore::confirm_failover(&pool).await.unwrap());
        assert_eq!(relayed(&pool).await, before + 1, "confirmed, it goes on as the same history");
        assert_eq!(sending::stopped_by(&pool).await.unwrap(), None);
        relaying.stop().await;
    }
}
