//! What an acknowledgement waits for.

use crate::support::*;
use commands::{Context, OptOut};
use domain::campaign::OnUnknown;
use domain::consent::{Channel, Origin, Scope};
use sqlx::PgPool;
use std::time::Instant;

fn opt_out(subscriber: uuid::Uuid) -> OptOut {
    OptOut { subscriber, scope: Scope::Global, channel: Channel::OneClick, origin: Origin::default() }
}

/// With a call under way, an opt-out of that reader waits for its settlement or for W and the margin; a repeat too.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn an_opt_out_waits_for_an_open_permit(pool: PgPool) {
    let world = World::new(&pool).await;
    let readers = world.readers(3).await;
    world.frozen_campaign(OnUnknown::Hold).await;
    let mailer = Scripted::accepting();
    let closed = mailer.door.write().await;
    let sender = world.sender(mailer.clone()).await;
    let sending = tokio::spawn({
        let stop = world.stop.clone();
        async move { sender.step(&stop).await }
    });
    world.until(async || world.has_permits().await).await;
    let by = Context::system("test");
    for tries in ["first", "repeat"] {
        let start = Instant::now();
        world.commands.opt_out(&by, opt_out(readers[0])).await.unwrap();
        assert!(start.elapsed() >= TIMING.window + TIMING.margin, "the {tries} did not wait");
    }
    drop(closed);
    sending.await.unwrap().unwrap();
    assert!(!mailer.copies().contains_key(&readers[0]), "a call started after the opt-out was acknowledged");
}

/// The call is for the person, whatever their address is by now.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_changed_address_hides_no_open_permit(pool: PgPool) {
    let world = World::new(&pool).await;
    let readers = world.readers(3).await;
    world.frozen_campaign(OnUnknown::Hold).await;
    let mailer = Scripted::accepting();
    let closed = mailer.door.write().await;
    let sender = world.sender(mailer.clone()).await;
    let stop = world.stop.clone();
    let sending = tokio::spawn(async move { sender.step(&stop).await });
    world.until(async || world.has_permits().await).await;
    let by = Context::system("test");
    let moved = commands::SubscriberPatch { email: Some("moved@example.com".into()), ..Default::default() };
    world.commands.change_subscriber(&by, readers[0], moved).await.unwrap();
    let start = Instant::now();
    world.commands.opt_out(&by, opt_out(readers[0])).await.unwrap();
    assert!(start.elapsed() >= TIMING.window + TIMING.margin, "it did not wait");
    drop(closed);
    sending.await.unwrap().unwrap();
    assert!(!mailer.copies().contains_key(&readers[0]));
}

/// Who moves between the making of the mail and its authorization gets it at the new address.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn an_address_that_was_left_is_not_an_opt_out(pool: PgPool) {
    let world = World::new(&pool).await;
    let readers = world.readers(1).await;
    let campaign = world.frozen_campaign(OnUnknown::Hold).await;
    let mut held = pool.begin().await.unwrap();
    sqlx::query("SELECT FROM gates FOR UPDATE").execute(&mut *held).await.unwrap();
    let mailer = Scripted::accepting();
    let sender = world.sender(mailer.clone()).await;
    let stop = world.stop.clone();
    let sending = tokio::spawn(async move {
        while !stop.is_cancelled() {
            sender.step(&stop).await.unwrap();
        }
    });
    let by = Context::system("test");
    let change = {
        let (commands, reader) = (world.commands.clone(), readers[0]);
        let moved =
            commands::SubscriberPatch { email: Some("moved@example.com".into()), ..Default::default() };
        tokio::spawn(async move { commands.change_subscriber(&by, reader, moved).await })
    };
    world
        .until(async || {
            let blocked = "SELECT count(*) FROM pg_stat_activity
                           WHERE datname = current_database() AND cardinality(pg_blocking_pids(pid)) > 0";
            sqlx::query_scalar::<_, i64>(blocked).fetch_one(&world.pool).await.unwrap() == 2
        })
        .await;
    held.commit().await.unwrap();
    change.await.unwrap().unwrap();
    world.until(async || world.status(campaign).await == "completed").await;
    world.stop.cancel();
    sending.await.unwrap();
    assert_eq!(world.states(campaign).await, states([("accepted", 1)]));
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn an_opt_out_with_no_permit_open_does_not_wait(pool: PgPool) {
    let world = World::new(&pool).await;
    let readers = world.readers(1).await;
    let start = Instant::now();
    world.commands.opt_out(&Context::system("test"), opt_out(readers[0])).await.unwrap();
    assert!(start.elapsed() < TIMING.window, "{:?}", start.elapsed());
}

/// As soon as the calls are settled, it is acknowledged.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_pause_waits_for_the_calls_of_its_campaign(pool: PgPool) {
    let world = World::new(&pool).await;
    world.readers(30).await;
    let campaign = world.frozen_campaign(OnUnknown::Hold).await;
    let mailer = Scripted::accepting();
    let sender = world.sender(mailer.clone()).await;
    let sending = tokio::spawn(sender.run(world.stop.clone()));
    world.until(async || !mailer.copies().is_empty()).await;
    world.commands.pause_campaign(&Context::system("test"), campaign, None).await.unwrap();
    let at_the_pause = mailer.copies().len();
    tokio::time::sleep(TIMING.window + TIMING.margin).await;
    assert_eq!(mailer.copies().len(), at_the_pause, "a call started after the pause was acknowledged");
    world.stop.cancel();
    sending.await.unwrap();
}
