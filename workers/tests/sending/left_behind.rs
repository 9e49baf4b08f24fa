//! A worker that dies with a permit open.

use crate::support::*;
use domain::campaign::OnUnknown;
use sqlx::PgPool;
use std::sync::Arc;
use workers::mailers::Reconciled;

/// Drops a sender in the middle of its calls, as a kill would, and lets another finish.
async fn die_and_go_on(
    world: &World,
    on_unknown: OnUnknown,
    known: Reconciled,
) -> (uuid::Uuid, Arc<Scripted>) {
    let campaign = world.frozen_campaign(on_unknown).await;
    let dying = Scripted::accepting();
    let closed = dying.door.write().await;
    let sender = world.sender(dying.clone()).await;
    let stop = world.stop.clone();
    let sending = tokio::spawn(async move { sender.step(&stop).await });
    world.until(async || world.has_permits().await).await;
    sending.abort();
    drop(closed);
    let mut other = Scripted::accepting();
    Arc::get_mut(&mut other).unwrap().known = known;
    world.send_until(&world.sender(other.clone()).await, campaign, "completed").await;
    (campaign, other)
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn what_is_not_known_is_held(pool: PgPool) {
    let world = World::new(&pool).await;
    world.readers(12).await;
    let (campaign, other) = die_and_go_on(&world, OnUnknown::Hold, Reconciled::Unknown).await;
    assert_eq!(world.states(campaign).await, states([("accepted", 7), ("unknown", 5)]));
    assert_eq!(other.copies().len(), 7, "nobody of the unknown ones was written to again");
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn what_is_not_known_is_sent_again_by_the_policy(pool: PgPool) {
    let world = World::new(&pool).await;
    world.readers(12).await;
    let (campaign, _) = die_and_go_on(&world, OnUnknown::Resend, Reconciled::Unknown).await;
    assert_eq!(world.states(campaign).await, states([("accepted", 12)]));
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_mailer_that_knows_leaves_nothing_unknown(pool: PgPool) {
    let world = World::new(&pool).await;
    world.readers(12).await;
    let (campaign, other) = die_and_go_on(&world, OnUnknown::Hold, Reconciled::NeverHandedOver).await;
    assert_eq!(world.states(campaign).await, states([("accepted", 12)]));
    assert!(other.copies().values().all(|copies| *copies == 1));
}
