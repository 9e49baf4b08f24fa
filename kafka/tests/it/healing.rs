//! What only Kafka can lose or repeat, and how it is found.

use crate::brokers::{Brokers, PARTITIONS, epoch};
use crate::log::{append, caught_up};
use crate::picky::{Picky, group, kept};
use crate::records::{log_entries, types};
use crate::stage::{assert_equals_the_log, carry, eventually, relay, relayed};
use crate::world::{World, fresh_seed};
use kafka::topic_name;
use projections::{Projection, all, lag};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use sqlx::PgPool;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

const A: Uuid = Uuid::from_u128(1);

/// A delivery that timed out while later ones got through: the next record of the slot shows that one is missing.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_gap_is_filled_from_the_log(pool: PgPool) {
    let brokers = Brokers::start();
    brokers.make_topics(&pool).await;
    let picky = Picky::create(&pool, &[]).await;
    let models: Vec<Arc<dyn Projection>> = vec![picky];
    append(&pool, &group(A, &["a", "b", "c", "d", "e"])).await;
    let mut entries = log_entries(&pool).await;
    entries.remove(2);
    let last = entries.pop().unwrap();
    brokers.publish(&pool, &entries).await;
    let carrying = carry(pool.clone(), brokers.topics(PARTITIONS), models.clone());
    eventually("the gap is filled", async || (kept(&pool, A).await == [1, 2, 3, 4]).then_some(())).await;
    // What the relay sends again after its time-out.
    brokers.publish(&pool, &log_entries(&pool).await).await;
    assert_eq!(last.0.sequence, 5);
    caught_up(&pool, &models).await;
    assert_eq!(kept(&pool, A).await, [1, 2, 3, 4, 5]);
    carrying.stop().await.unwrap();
}

/// Nothing comes after what is missing: only the relay's acknowledged position shows it.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn what_is_missing_at_the_end_is_found_by_the_relays_position(pool: PgPool) {
    let brokers = Brokers::start();
    brokers.make_topics(&pool).await;
    let picky = Picky::create(&pool, &[]).await;
    append(&pool, &group(A, &["a", "b", "c"])).await;
    let entries = log_entries(&pool).await;
    brokers.publish(&pool, &entries[..1]).await;
    let carrying = carry(pool.clone(), brokers.topics(PARTITIONS), vec![picky]);
    eventually("the first is applied", async || (kept(&pool, A).await == [1]).then_some(())).await;
    // Long enough for several looks: what the relay has not acknowledged may still come, and is waited for.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(kept(&pool, A).await, [1], "the log is no way around Kafka");
    let relay = "INSERT INTO relay (epoch, position) SELECT epoch, 2 FROM log_epoch";
    sqlx::query(relay).execute(&pool).await.unwrap();
    eventually("it is filled", async || (kept(&pool, A).await.len() > 1).then_some(())).await;
    assert_eq!(kept(&pool, A).await, [1, 2], "up to the acknowledged position and no further");
    carrying.stop().await.unwrap();
}

/// Records that are none of ours do no harm, and hide nothing.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn foreign_and_damaged_records_are_passed_over(pool: PgPool) {
    let brokers = Brokers::start();
    brokers.make_topics(&pool).await;
    let picky = Picky::create(&pool, &[]).await;
    append(&pool, &group(A, &["a", "b", "c", "d"])).await;
    let mut entries = log_entries(&pool).await;
    entries[1].0.payload = "not JSON".into();
    entries[2].0.position = 1_000;
    brokers.publish(&pool, &entries).await;
    let carrying = carry(pool.clone(), brokers.topics(PARTITIONS), vec![picky]);
    eventually("all are applied", async || (kept(&pool, A).await == [1, 2, 3, 4]).then_some(())).await;
    carrying.stop().await.unwrap();
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_zombie_relay_beside_a_new_one_does_no_harm(pool: PgPool) {
    let brokers = Brokers::start();
    brokers.make_topics(&pool).await;
    let mut world = World::new(fresh_seed());
    let models = all();
    let carrying = carry(pool.clone(), brokers.topics(PARTITIONS), models.clone());
    let relaying = relay(&pool, brokers.topics(PARTITIONS));
    for _ in 0..4 {
        append(&pool, &world.history(100).await).await;
        // It has lost its lease, and still sends what it had read.
        brokers.publish(&pool, &log_entries(&pool).await).await;
    }
    caught_up(&pool, &models).await;
    let sent = brokers.records(epoch(&pool).await).len();
    assert!(sent > 400 * 2, "both sent: {sent}");
    carrying.stop().await.unwrap();
    relaying.stop().await;
    assert_equals_the_log(&pool, &models).await;
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_wiped_topic_is_made_again_and_what_it_held_is_read_from_the_log(pool: PgPool) {
    let Some(brokers) = Brokers::real() else { return };
    let mut world = World::new(fresh_seed());
    let models = all();
    let relaying = relay(&pool, brokers.topics(PARTITIONS));
    let carrying = carry(pool.clone(), brokers.topics(PARTITIONS), models.clone());
    append(&pool, &world.history(200).await).await;
    caught_up(&pool, &models).await;
    carrying.stop().await.unwrap();
    append(&pool, &world.history(200).await).await;
    relayed(&pool).await;
    wipe(&brokers, &pool).await;
    let carrying = carry(pool.clone(), brokers.topics(PARTITIONS), models.clone());
    caught_up(&pool, &models).await;
    // Under running consumers and a running relay as well.
    wipe(&brokers, &pool).await;
    append(&pool, &world.history(200).await).await;
    caught_up(&pool, &models).await;
    carrying.stop().await.unwrap();
    relaying.stop().await;
    assert_equals_the_log(&pool, &models).await;
}

async fn wipe(brokers: &Brokers, pool: &PgPool) {
    let epoch = epoch(pool).await;
    let mut config = ClientConfig::new();
    let admin: AdminClient<DefaultClientContext> =
        config.set("bootstrap.servers", &brokers.address).create().unwrap();
    let names: Vec<String> =
        types().iter().map(|name| topic_name(&brokers.config(1).prefix, epoch, name)).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(10)));
    for deleted in admin.delete_topics(&names, &options).await.unwrap() {
        deleted.unwrap();
    }
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn more_partitions_move_slots_and_lose_nothing(pool: PgPool) {
    let Some(brokers) = Brokers::real() else { return };
    let mut world = World::new(fresh_seed());
    let models = all();
    let relaying = relay(&pool, brokers.topics(2));
    let carrying = carry(pool.clone(), brokers.topics(2), models.clone());
    append(&pool, &world.history(200).await).await;
    relayed(&pool).await;
    relaying.stop().await;
    let relaying = relay(&pool, brokers.topics(5));
    append(&pool, &world.history(400).await).await;
    caught_up(&pool, &models).await;
    relayed(&pool).await;
    let topic = topic_name(&brokers.config(1).prefix, epoch(&pool).await, "subscriber");
    assert_eq!(brokers.topics(2).partitions(&topic).await.unwrap(), Some(5));
    carrying.stop().await.unwrap();
    relaying.stop().await;
    assert_equals_the_log(&pool, &models).await;
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn without_a_relay_no_read_model_moves(pool: PgPool) {
    let brokers = Brokers::start();
    brokers.make_topics(&pool).await;
    let mut world = World::new(fresh_seed());
    let models = all();
    let relaying = relay(&pool, brokers.topics(PARTITIONS));
    let carrying = carry(pool.clone(), brokers.topics(PARTITIONS), models.clone());
    append(&pool, &world.history(100).await).await;
    caught_up(&pool, &models).await;
    relaying.stop().await;
    append(&pool, &world.history(100).await).await;
    let behind = lag(&pool, &models).await.unwrap();
    assert!(behind.iter().map(|lag| lag.events).sum::<i64>() >= 100);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let later = lag(&pool, &models).await.unwrap();
    assert_eq!(behind, later, "something went around Kafka");
    let relaying = relay(&pool, brokers.topics(PARTITIONS));
    caught_up(&pool, &models).await;
    carrying.stop().await.unwrap();
    relaying.stop().await;
    assert_equals_the_log(&pool, &models).await;
}
