//! Queries that wait for a command's effect.

use crate::log::{append, follow, insert, sequence, sequencer, start};
use crate::picky::group;
use eventstore::{PositionToken, Touched};
use projections::{Groups, Subscribers, WAIT_MAX, WaitError, Waits, all, groups};
use sqlx::PgPool;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const A: Uuid = Uuid::from_u128(1);
const SOON: Duration = Duration::from_millis(100);

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_query_right_after_its_command_sees_it(pool: PgPool) {
    let stop = CancellationToken::new();
    let numbering = tokio::spawn(sequencer(&pool).run(stop.clone()));
    let carrier = start(&pool, &all(), None);
    let waits = Waits::start(pool.clone());
    for n in 0..200 {
        let id = Uuid::from_u128(n);
        let token = insert(&mut pool.acquire().await.unwrap(), &group(id, &["News"])).await;
        waits.until(&[&Groups], &token, WAIT_MAX).await.unwrap();
        assert!(groups::get(&pool, id).await.unwrap().is_some(), "group {n}");
    }
    carrier.stop().await;
    stop.cancel();
    numbering.await.unwrap();
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn it_waits_for_the_sequencer_and_for_the_projector(pool: PgPool) {
    let token = insert(&mut pool.acquire().await.unwrap(), &group(A, &["a"])).await;
    let waits = Waits::start(pool.clone());
    let wait = |timeout| waits.until(&[&Groups], &token, timeout);
    assert!(matches!(wait(SOON).await, Err(WaitError::TimedOut)), "not sequenced yet");
    sequence(&pool).await;
    assert!(matches!(wait(SOON).await, Err(WaitError::TimedOut)), "not projected yet");
    follow(&pool, &all(), None).await;
    wait(WAIT_MAX).await.unwrap();
    let none = PositionToken { touched: vec![], ..token.clone() };
    waits.until(&[&Groups], &none, WAIT_MAX).await.unwrap();
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn what_a_model_does_not_follow_is_done(pool: PgPool) {
    let token = insert(&mut pool.acquire().await.unwrap(), &group(A, &["a"])).await;
    let waits = Waits::start(pool.clone());
    waits.until(&[&Subscribers], &token, WAIT_MAX).await.unwrap();
    let both = waits.until(&[&Subscribers, &Groups], &token, SOON).await;
    assert!(matches!(both, Err(WaitError::TimedOut)));
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn foreign_and_forged_tokens_are_told_apart_at_once(pool: PgPool) {
    let token = append(&pool, &group(A, &["a"])).await;
    follow(&pool, &all(), None).await;
    let waits = Waits::start(pool.clone());
    let foreign = PositionToken { epoch: Uuid::nil(), ..token.clone() };
    let refused = waits.until(&[&Groups], &foreign, WAIT_MAX).await;
    assert!(matches!(refused, Err(WaitError::ForeignEpoch)));
    for append_id in [-1, 0, 9_999, i64::MAX] {
        let touched = vec![Touched { aggregate_type: "group".into(), slot: 3, append_id }];
        let forged = PositionToken { epoch: token.epoch, touched };
        let refused = waits.until(&[&Groups], &forged, WAIT_MAX).await;
        assert!(matches!(refused, Err(WaitError::Unknown)), "{append_id}");
    }
    // A wrong slot or type changes nothing: the event itself says where it is.
    let touched = vec![Touched { aggregate_type: "nonsense".into(), slot: 99, ..token.touched[0].clone() }];
    waits.until(&[&Groups], &PositionToken { touched, ..token }, WAIT_MAX).await.unwrap();
}
