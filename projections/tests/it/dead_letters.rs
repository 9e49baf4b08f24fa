//! Listing and replaying dead letters.

use crate::log::{append, count, read_all};
use crate::picky::{Picky, group, kept};
use projections::{Consumer, Projection, dead_letters};
use sqlx::PgPool;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

const A: Uuid = Uuid::from_u128(1);
const B: Uuid = Uuid::from_u128(2);

/// A parked stream of 4 events, of which the second is poison, and one of 2 that begins with another poison.
async fn parked(pool: &PgPool) -> (Arc<Picky>, Vec<Arc<dyn Projection>>) {
    let picky = Picky::create(pool, &["poison", "other"]).await;
    append(pool, &group(A, &["a", "poison", "c", "d"])).await;
    append(pool, &group(B, &["other", "b"])).await;
    let mut consumer = Consumer::load(pool.clone(), picky.clone()).await.unwrap();
    consumer.deliver(read_all(pool, &["group"]).await).await.unwrap();
    (picky.clone(), vec![picky])
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_list_goes_on_page_by_page(pool: PgPool) {
    parked(&pool).await;
    let (mut positions, mut cursor) = (Vec::new(), None);
    loop {
        let page = dead_letters::list(&pool, Some("picky"), cursor, 2).await.unwrap();
        positions.extend(page.items.iter().map(|letter| (letter.position, letter.error.is_some())));
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(positions, [(2, true), (3, false), (4, false), (5, true), (6, false)]);
    assert!(dead_letters::list(&pool, Some("groups"), None, 2).await.unwrap().items.is_empty());
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_replay_drains_in_order_and_unparks(pool: PgPool) {
    let (picky, models) = parked(&pool).await;
    picky.allow_everything();
    let replayed = dead_letters::replay(&pool, &models, None, |refused| panic!("{refused:?}")).await.unwrap();
    assert_eq!((replayed.events, replayed.unparked, replayed.refused), (5, 2, 0));
    assert_eq!((kept(&pool, A).await, kept(&pool, B).await), (vec![1, 2, 3, 4], vec![1, 2]));
    assert_eq!(count(&pool, "dead_letters").await + count(&pool, "parked_streams").await, 0);

    append(&pool, &group(A, &["a", "poison", "c", "d", "e"])[4..]).await;
    let mut consumer = Consumer::load(pool.clone(), picky.clone()).await.unwrap();
    consumer.deliver(read_all(&pool, &["group"]).await).await.unwrap();
    assert_eq!(kept(&pool, A).await, [1, 2, 3, 4, 5]);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_replay_stops_at_what_fails_again_and_says_why(pool: PgPool) {
    let (picky, models) = parked(&pool).await;
    picky.refused.lock().unwrap().remove("poison");
    picky.refused.lock().unwrap().insert("c".into());
    picky.refused.lock().unwrap().remove("other");
    let mut refusals = Vec::new();
    let replayed =
        dead_letters::replay(&pool, &models, Some("picky"), |refused| refusals.push(refused.clone()))
            .await
            .unwrap();
    assert_eq!((replayed.events, replayed.unparked, replayed.refused), (3, 1, 1));
    assert_eq!((refusals[0].position, refusals[0].reason.as_str()), (3, "it is refused"));
    assert_eq!(kept(&pool, A).await, [1, 2]);
    let left: Vec<(i64, bool)> =
        sqlx::query_as("SELECT position, error IS NOT NULL FROM dead_letters ORDER BY 1")
            .fetch_all(&pool)
            .await
            .unwrap();
    assert_eq!(left, [(3, true), (4, false)], "the reason stands with the event that it is about");
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_delivery_waits_for_a_replay_of_its_stream(pool: PgPool) {
    let (picky, models) = parked(&pool).await;
    let mut replay = pool.begin().await.unwrap();
    sqlx::query("SELECT FROM parked_streams FOR UPDATE").execute(&mut *replay).await.unwrap();
    append(&pool, &group(A, &["a", "poison", "c", "d", "e"])[4..]).await;
    let mut consumer = Consumer::load(pool.clone(), picky.clone()).await.unwrap();
    let events = read_all(&pool, &["group"]).await;
    let mut delivery = tokio::spawn(async move { consumer.deliver(events).await });
    assert!(
        tokio::time::timeout(Duration::from_millis(300), &mut delivery).await.is_err(),
        "it did not wait"
    );
    // What a replay does in its last transaction.
    sqlx::query("DELETE FROM dead_letters").execute(&mut *replay).await.unwrap();
    sqlx::query("DELETE FROM parked_streams").execute(&mut *replay).await.unwrap();
    replay.commit().await.unwrap();
    delivery.await.unwrap().unwrap();
    assert_eq!(kept(&pool, A).await, [1, 5], "it saw the stream unparked and applied the event");
    assert!(dead_letters::replay(&pool, &models, None, |_| {}).await.unwrap().events == 0);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn an_unknown_projection_is_refused_by_name(pool: PgPool) {
    let error = dead_letters::replay(&pool, &projections::all(), Some("nothing"), |_| {}).await.unwrap_err();
    assert!(error.to_string().contains("\"nothing\""), "{error}");
}
