//! What holds on either carrier.

use crate::brokers::epoch;
use crate::log::{append, caught_up, count};
use crate::picky::{Picky, group, kept};
use crate::stage::{Stage, assert_equals_the_log, eventually, stop};
use crate::world::{World, fresh_seed};
use projections::{Projection, all};
use sqlx::{Connection, PgConnection, PgPool};
use std::sync::Arc;
use uuid::Uuid;

const A: Uuid = Uuid::from_u128(1);
const B: Uuid = Uuid::from_u128(2);

/// Two consumers of everything at once, one of which goes away and comes back, and on Kafka a relay that forgot where
/// it was, so that every record is there twice.
async fn duplicates(pool: PgPool, stage: Stage) {
    let mut world = World::new(fresh_seed());
    let models = all();
    let (first, second) = (stage.carry(&pool, &models), stage.carry(&pool, &models));
    let relay = stage.relay(&pool);
    append(&pool, &world.history(300).await).await;
    caught_up(&pool, &models).await;
    first.stop().await.unwrap();
    stop(relay).await;
    sqlx::query("UPDATE relay SET position = 0").execute(&pool).await.unwrap();
    let relay = stage.relay(&pool);
    append(&pool, &world.history(300).await).await;
    let first = stage.carry(&pool, &models);
    append(&pool, &world.history(300).await).await;
    caught_up(&pool, &models).await;
    first.stop().await.unwrap();
    second.stop().await.unwrap();
    stop(relay).await;
    assert_equals_the_log(&pool, &models).await;
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn embedded_duplicates_have_one_effect(pool: PgPool) {
    duplicates(pool, Stage::Embedded).await;
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn kafka_duplicates_have_one_effect(pool: PgPool) {
    let stage = Stage::kafka(&pool).await;
    duplicates(pool, stage).await;
}

async fn poison(pool: PgPool, stage: Stage) {
    let picky = Picky::create(&pool, &["poison"]).await;
    let models: Vec<Arc<dyn Projection>> = vec![picky];
    let (carrying, relay) = (stage.carry(&pool, &models), stage.relay(&pool));
    append(&pool, &group(A, &["a", "poison", "after"])).await;
    append(&pool, &group(B, &["b", "b", "b"])).await;
    caught_up(&pool, &models).await;
    assert_eq!((kept(&pool, A).await, kept(&pool, B).await), (vec![1], vec![1, 2, 3]));
    let letters: Vec<Option<String>> = sqlx::query_scalar("SELECT error FROM dead_letters ORDER BY position")
        .fetch_all(&pool)
        .await
        .unwrap();
    assert_eq!(letters, [Some("it is refused".to_owned()), None]);
    carrying.stop().await.unwrap();
    stop(relay).await;
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn embedded_poison_parks_its_stream_alone(pool: PgPool) {
    poison(pool, Stage::Embedded).await;
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn kafka_poison_parks_its_stream_alone(pool: PgPool) {
    let stage = Stage::kafka(&pool).await;
    poison(pool, stage).await;
}

/// The table is locked by somebody else, so that the consumer is killed when its checkpoint is written and its effect
/// is not.
async fn killed_in_mid_batch(pool: PgPool, stage: Stage) {
    let picky = Picky::create(&pool, &[]).await;
    let models: Vec<Arc<dyn Projection>> = vec![picky];
    let mut other = PgConnection::connect_with(&pool.connect_options()).await.unwrap();
    let mut held = other.begin().await.unwrap();
    sqlx::query("LOCK TABLE picky IN EXCLUSIVE MODE").execute(&mut *held).await.unwrap();
    let (doomed, relay) = (stage.carry(&pool, &models), stage.relay(&pool));
    append(&pool, &group(A, &["a", "b", "c"])).await;
    append(&pool, &group(B, &["a", "b"])).await;
    eventually("the consumer is in mid-batch", async || {
        let waits = "SELECT EXISTS (SELECT FROM pg_locks WHERE relation = 'picky'::regclass AND NOT granted)";
        sqlx::query_scalar::<_, bool>(waits).fetch_one(&pool).await.unwrap().then_some(())
    })
    .await;
    doomed.kill().await;
    assert_eq!(count(&pool, "checkpoints").await, 0, "what is written before the effect is not committed");
    held.rollback().await.unwrap();
    let carrying = stage.carry(&pool, &models);
    caught_up(&pool, &models).await;
    assert_eq!((kept(&pool, A).await, kept(&pool, B).await), (vec![1, 2, 3], vec![1, 2]));
    assert_eq!(count(&pool, "dead_letters").await, 0);
    carrying.stop().await.unwrap();
    stop(relay).await;
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn embedded_consumer_killed_in_mid_batch(pool: PgPool) {
    killed_in_mid_batch(pool, Stage::Embedded).await;
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn kafka_consumer_killed_in_mid_batch(pool: PgPool) {
    let stage = Stage::kafka(&pool).await;
    killed_in_mid_batch(pool, stage).await;
}

/// As a restore does it: log and checkpoints get the new epoch in one transaction, under running consumers.
async fn epoch_change(pool: PgPool, stage: Stage) {
    let mut world = World::new(fresh_seed());
    let models = all();
    let (carrying, relay) = (stage.carry(&pool, &models), stage.relay(&pool));
    append(&pool, &world.history(200).await).await;
    caught_up(&pool, &models).await;
    let before = epoch(&pool).await;
    let after = Uuid::from_u128(before.as_u128() ^ 1);
    if let Stage::Kafka(brokers) = &stage {
        brokers.make_topics_of(after);
    }
    let mut tx = pool.begin().await.unwrap();
    for table in ["log_epoch", "checkpoints"] {
        let stamp = format!("UPDATE {table} SET epoch = $1");
        sqlx::query(&stamp).bind(after).execute(&mut *tx).await.unwrap();
    }
    tx.commit().await.unwrap();
    append(&pool, &world.history(200).await).await;
    caught_up(&pool, &models).await;
    if let Stage::Kafka(brokers) = &stage {
        crate::stage::relayed(&pool).await;
        let head = eventstore::feed::head(&pool).await.unwrap().position;
        let (old, new) = (brokers.positions(before), brokers.positions(after));
        assert!(old.iter().all(|position| *position < head), "the old topics get nothing more");
        assert_eq!(new, (1..=head).collect(), "the new topics hold the whole log");
    }
    carrying.stop().await.unwrap();
    stop(relay).await;
    assert_equals_the_log(&pool, &models).await;
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn embedded_goes_on_in_a_new_epoch(pool: PgPool) {
    epoch_change(pool, Stage::Embedded).await;
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn kafka_goes_on_in_a_new_epoch(pool: PgPool) {
    let stage = Stage::kafka(&pool).await;
    epoch_change(pool, stage).await;
}
