//! One effect for each event, whatever happens on its way.

use crate::log::{append, count, dump, read_all};
use crate::picky::{Picky, group, kept};
use crate::world::{World, fresh_seed};
use projections::{ConsumeError, Consumer, Delivery, all};
use sqlx::PgPool;
use std::sync::atomic::Ordering;
use uuid::Uuid;

const A: Uuid = Uuid::from_u128(1);
const B: Uuid = Uuid::from_u128(2);

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn an_event_delivered_twice_has_one_effect(pool: PgPool) {
    let mut world = World::new(fresh_seed());
    append(&pool, &world.history(500).await).await;
    for model in all() {
        let events = read_all(&pool, model.types()).await;
        let mut consumer = Consumer::load(pool.clone(), model.clone()).await.unwrap();
        for batch in events.chunks(7) {
            let twice = [batch, batch].concat();
            assert_eq!(consumer.deliver(twice).await.unwrap(), Delivery::Done);
            let once = dump(&pool, model.as_ref()).await;
            consumer.deliver(batch.to_vec()).await.unwrap();
            // Another process, which has just read the checkpoints.
            let mut other = Consumer::load(pool.clone(), model.clone()).await.unwrap();
            other.deliver(batch.to_vec()).await.unwrap();
            assert_eq!(dump(&pool, model.as_ref()).await, once);
        }
    }
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn of_two_consumers_one_is_first(pool: PgPool) {
    let picky = Picky::create(&pool, &[]).await;
    append(&pool, &group(A, &["a", "b", "c"])).await;
    let events = read_all(&pool, &["group"]).await;
    let mut first = Consumer::load(pool.clone(), picky.clone()).await.unwrap();
    let mut second = Consumer::load(pool.clone(), picky.clone()).await.unwrap();
    assert_eq!(first.deliver(events[..2].to_vec()).await.unwrap(), Delivery::Done);
    // It believes that there is no checkpoint yet.
    assert_eq!(second.deliver(events[..1].to_vec()).await.unwrap(), Delivery::Raced);
    assert_eq!(second.checkpoint("group", events[0].slot), events[1].position);
    assert_eq!(second.deliver(events.clone()).await.unwrap(), Delivery::Done);
    // It believes in a checkpoint that was moved.
    assert_eq!(first.deliver(events.clone()).await.unwrap(), Delivery::Raced);
    assert_eq!(kept(&pool, A).await, [1, 2, 3]);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_checkpoint_that_a_rebuild_took_away_is_not_made_anew(pool: PgPool) {
    let picky = Picky::create(&pool, &[]).await;
    append(&pool, &group(A, &["a", "b"])).await;
    let events = read_all(&pool, &["group"]).await;
    let mut consumer = Consumer::load(pool.clone(), picky.clone()).await.unwrap();
    consumer.deliver(events[..1].to_vec()).await.unwrap();
    crate::log::forget(&pool, picky.as_ref()).await;
    assert_eq!(consumer.deliver(events[1..].to_vec()).await.unwrap(), Delivery::Raced);
    assert_eq!(count(&pool, "checkpoints").await, 0);
    consumer.deliver(events).await.unwrap();
    assert_eq!(kept(&pool, A).await, [1, 2]);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_poison_event_parks_its_stream_and_no_other(pool: PgPool) {
    let picky = Picky::create(&pool, &["poison"]).await;
    append(&pool, &group(A, &["a", "poison", "after", "after"])[..3]).await;
    append(&pool, &group(B, &["b", "b"])).await;
    let mut consumer = Consumer::load(pool.clone(), picky.clone()).await.unwrap();
    assert_eq!(consumer.deliver(read_all(&pool, &["group"]).await).await.unwrap(), Delivery::Done);
    assert_eq!((kept(&pool, A).await, kept(&pool, B).await), (vec![1], vec![1, 2]));
    // The whole batch once, each event alone, and the poison three times.
    assert_eq!(picky.calls.load(Ordering::SeqCst), 1 + 1 + 3 + 2);

    append(&pool, &group(A, &["a", "poison", "after", "after"])[3..]).await;
    append(&pool, &group(B, &["b", "b", "b"])[2..]).await;
    consumer.deliver(read_all(&pool, &["group"]).await).await.unwrap();
    assert_eq!((kept(&pool, A).await, kept(&pool, B).await), (vec![1], vec![1, 2, 3]));
    let letters: Vec<(i64, Option<String>)> =
        sqlx::query_as("SELECT position, error FROM dead_letters ORDER BY position")
            .fetch_all(&pool)
            .await
            .unwrap();
    assert_eq!(letters, [(2, Some("it is refused".to_owned())), (3, None), (6, None)]);
    assert_eq!(count(&pool, "parked_streams").await, 1);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn what_the_database_refuses_is_the_events_own_error(pool: PgPool) {
    let picky = Picky::create(&pool, &[]).await;
    append(&pool, &group(A, &["a", "forbidden"])).await;
    append(&pool, &group(B, &["b"])).await;
    let mut consumer = Consumer::load(pool.clone(), picky.clone()).await.unwrap();
    consumer.deliver(read_all(&pool, &["group"]).await).await.unwrap();
    assert_eq!((kept(&pool, A).await, kept(&pool, B).await), (vec![1], vec![1]));
    let error: String = sqlx::query_scalar("SELECT error FROM dead_letters").fetch_one(&pool).await.unwrap();
    assert_eq!(error, "SQLSTATE 23514 allowed_name", "no value of the row is told");
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn an_unreadable_event_parks_its_stream_without_telling_what_it_held(pool: PgPool) {
    let mut events = group(A, &["a", "b"]);
    events[1].payload = serde_json::json!({"GroupChanged": {"name": ["secret@example.com"]}});
    append(&pool, &events).await;
    append(&pool, &group(B, &["b"])).await;
    for model in all().into_iter().filter(|model| model.types().contains(&"group")) {
        let mut consumer = Consumer::load(pool.clone(), model.clone()).await.unwrap();
        consumer.deliver(read_all(&pool, model.types()).await).await.unwrap();
    }
    assert_eq!(count(&pool, "groups").await, 2);
    let error: String = sqlx::query_scalar("SELECT error FROM dead_letters").fetch_one(&pool).await.unwrap();
    assert_eq!(error, "GroupChanged 1.0 cannot be read");
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_database_that_went_away_parks_nothing(pool: PgPool) {
    let picky = Picky::create(&pool, &[]).await;
    picky.failures.store(2, Ordering::SeqCst);
    append(&pool, &group(A, &["a"])).await;
    let mut consumer = Consumer::load(pool.clone(), picky.clone()).await.unwrap();
    for _ in 0..2 {
        let error = consumer.deliver(read_all(&pool, &["group"]).await).await.unwrap_err();
        assert!(matches!(error, ConsumeError::Store(_)), "{error}");
    }
    assert_eq!(count(&pool, "dead_letters").await + count(&pool, "picky").await, 0);
    consumer.deliver(read_all(&pool, &["group"]).await).await.unwrap();
    assert_eq!(kept(&pool, A).await, [1]);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_database_that_goes_away_in_the_search_for_poison_parks_nothing(pool: PgPool) {
    let picky = Picky::create(&pool, &["poison"]).await;
    append(&pool, &group(A, &["a", "poison"])).await;
    picky.failures.store(1, Ordering::SeqCst);
    let mut consumer = Consumer::load(pool.clone(), picky.clone()).await.unwrap();
    let error = consumer.deliver(read_all(&pool, &["group"]).await).await.unwrap_err();
    assert!(matches!(error, ConsumeError::Store(_)), "{error}");
    assert_eq!(count(&pool, "dead_letters").await + count(&pool, "picky").await, 0);
    consumer.deliver(read_all(&pool, &["group"]).await).await.unwrap();
    assert_eq!((kept(&pool, A).await, count(&pool, "dead_letters").await), (vec![1], 1));
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn checkpoints_of_another_epoch_are_refused_with_the_way_out(pool: PgPool) {
    let picky = Picky::create(&pool, &[]).await;
    append(&pool, &group(A, &["a", "b"])).await;
    let events = read_all(&pool, &["group"]).await;
    let mut consumer = Consumer::load(pool.clone(), picky.clone()).await.unwrap();
    consumer.deliver(events[..1].to_vec()).await.unwrap();
    sqlx::query("UPDATE checkpoints SET epoch = gen_random_uuid()").execute(&pool).await.unwrap();
    let error = consumer.deliver(events).await.unwrap_err();
    assert!(matches!(error, ConsumeError::ForeignEpoch { .. }), "{error}");
    assert!(error.to_string().contains("postledger rebuild picky"), "{error}");
    assert_eq!(kept(&pool, A).await, [1]);
}
