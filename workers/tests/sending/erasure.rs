//! Erasures at every step of a send: before the mail is made, before it may go, while the call is under way, after it.

use crate::support::*;
use commands::{CommandError, Commands, Context};
use domain::SubscriberId;
use domain::campaign::OnUnknown;
use domain::dispatch::{Dispatch, State};
use domain::transactional::Transactional;
use eventstore::{Done, load};
use sqlx::PgPool;
use std::sync::Arc;
use std::time::Instant;
use tokio::task::JoinHandle;
use uuid::Uuid;
use workers::sender::Sender;

async fn erase(commands: &Commands, reader: SubscriberId) -> Result<Done, CommandError> {
    commands.erase_subscriber(&Context::system("test"), reader).await
}

fn erasing(world: &World, reader: SubscriberId) -> JoinHandle<Result<Done, CommandError>> {
    let commands = world.commands.clone();
    tokio::spawn(async move { erase(&commands, reader).await })
}

fn sending(world: &World, sender: Sender) -> JoinHandle<Result<bool, CommandError>> {
    let stop = world.stop.clone();
    tokio::spawn(async move { sender.step(&stop).await })
}

/// Waits until so many sessions wait for a lock.
async fn blocked(world: &World, count: i64) {
    let blocked = "SELECT count(*) FROM pg_stat_activity
                   WHERE datname = current_database() AND cardinality(pg_blocking_pids(pid)) > 0";
    world
        .until(async || sqlx::query_scalar::<_, i64>(blocked).fetch_one(&world.pool).await.unwrap() == count)
        .await;
}

/// Why each of the first dispatch's suppressed recipients was.
async fn reasons(world: &World) -> Vec<String> {
    let refused = "SELECT r ->> 'reason' FROM events,
                       jsonb_array_elements(payload -> 'SendAuthorized' -> 'suppressed') r
                   WHERE event_type = 'SendAuthorized' ORDER BY append_id";
    sqlx::query_scalar(refused).fetch_all(&world.pool).await.unwrap()
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn who_is_erased_before_their_mail_is_made_is_suppressed(pool: PgPool) {
    let world = World::new(&pool).await;
    let readers = world.readers(12).await;
    let campaign = world.frozen_campaign(OnUnknown::Hold).await;
    for reader in &readers[..2] {
        erase(&world.commands, *reader).await.unwrap();
    }
    let mailer = Scripted::accepting();
    let sender = world.sender(mailer.clone()).await;
    world.send_until(&sender, campaign, "completed").await;
    assert_eq!(world.states(campaign).await, states([("accepted", 10), ("suppressed", 2)]));
    assert_eq!(reasons(&world).await, ["erased", "erased"]);
    assert!(readers[..2].iter().all(|reader| !mailer.copies().contains_key(reader)));
}

/// The mail is made, and the erasure is before it in the queue for the gate.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn who_is_erased_before_their_mail_may_go_is_suppressed(pool: PgPool) {
    let world = World::new(&pool).await;
    let readers = world.readers(3).await;
    let campaign = world.frozen_campaign(OnUnknown::Hold).await;
    let mut held = pool.begin().await.unwrap();
    let hold = "SELECT FROM gates WHERE subscriber_id = $1 FOR UPDATE";
    sqlx::query(hold).bind(readers[0]).execute(&mut *held).await.unwrap();
    let erasing = erasing(&world, readers[0]);
    blocked(&world, 1).await;
    let mailer = Scripted::accepting();
    let sender = world.sender(mailer.clone()).await;
    let sending = sending(&world, sender.clone());
    blocked(&world, 2).await;
    held.commit().await.unwrap();
    erasing.await.unwrap().unwrap();
    sending.await.unwrap().unwrap();
    world.send_until(&sender, campaign, "completed").await;
    assert_eq!(world.states(campaign).await, states([("accepted", 2), ("suppressed", 1)]));
    assert_eq!(reasons(&world).await, ["opted_out"]);
}

/// With a call under way it waits as an opt-out does. What was called is settled without the key, and only then is what
/// the mailer keeps looked through.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_call_under_way_is_waited_for_and_settled(pool: PgPool) {
    let world = World::new(&pool).await;
    let readers = world.readers(3).await;
    let campaign = world.frozen_campaign(OnUnknown::Hold).await;
    let mailer = Scripted::accepting();
    let closed = mailer.door.write().await;
    let sender = world.sender(mailer.clone()).await;
    let sending = sending(&world, sender.clone());
    world.until(async || world.has_permits().await).await;
    let start = Instant::now();
    for tries in ["first", "repeat"] {
        let start = Instant::now();
        erase(&world.commands, readers[0]).await.unwrap();
        assert!(start.elapsed() >= TIMING.window + TIMING.margin, "the {tries} did not wait");
    }
    assert!(start.elapsed() >= TIMING.window, "no call may start by now");
    assert!(!sender.step_erasures().await.unwrap(), "the permit is open");
    assert!(world.commands.has_remains(readers[0]).await.unwrap());
    drop(closed);
    sending.await.unwrap().unwrap();
    assert!(sender.step_erasures().await.unwrap());
    assert!(!world.commands.has_remains(readers[0]).await.unwrap());
    world.send_until(&sender, campaign, "completed").await;
    assert_eq!(world.states(campaign).await, states([("accepted", 2), ("suppressed", 1)]));
}

/// The call began before the erasure came, and ends while it waits.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_mail_that_was_handed_over_meanwhile_is_recorded(pool: PgPool) {
    let world = World::new(&pool).await;
    let readers = world.readers(1).await;
    let campaign = world.frozen_campaign(OnUnknown::Hold).await;
    let mailer = Scripted::accepting();
    let closed = mailer.door.write().await;
    let sender = world.sender(mailer.clone()).await;
    let sending = sending(&world, sender.clone());
    world.until(async || world.has_permits().await).await;
    let erasing = erasing(&world, readers[0]);
    world.until(async || world.commands.has_remains(readers[0]).await.unwrap()).await;
    drop(closed);
    sending.await.unwrap().unwrap();
    erasing.await.unwrap().unwrap();
    world.send_until(&sender, campaign, "completed").await;
    let accepted = mailer.copies().len();
    let expected = if accepted == 1 { "accepted" } else { "suppressed" };
    assert_eq!(world.states(campaign).await, states([(expected, 1)]));
    assert!(sender.step_erasures().await.unwrap());
}

/// Whichever step each erasure meets: everybody has an end, and nobody is written to after its acknowledgement.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn erasures_race_a_campaign(pool: PgPool) {
    let world = World::new(&pool).await;
    let readers = world.readers(60).await;
    let campaign = world.frozen_campaign(OnUnknown::Hold).await;
    let mailer = Scripted::accepting();
    let sender = world.sender(mailer.clone()).await;
    let running = tokio::spawn(sender.run(world.stop.clone()));
    let mut seen = Vec::new();
    for reader in readers.iter().rev().step_by(2) {
        erase(&world.commands, *reader).await.unwrap();
        seen.push((*reader, mailer.copies().get(reader).copied()));
    }
    world.until(async || world.status(campaign).await == "completed").await;
    world.until(async || !left(&world).await).await;
    world.stop.cancel();
    running.await.unwrap();
    let copies = mailer.copies();
    for (reader, at_the_acknowledgement) in &seen {
        assert_eq!(copies.get(reader), at_the_acknowledgement.as_ref());
    }
    let states = world.states(campaign).await;
    let suppressed = states.get("suppressed").copied().unwrap_or_default();
    println!("{suppressed} of {} were erased before their mail", seen.len());
    assert_eq!(states.get("accepted"), Some(&copies.len()));
    assert_eq!(copies.len() + suppressed, 60);
    assert!(copies.values().all(|copies| *copies == 1));
}

async fn left(world: &World) -> bool {
    let left = sqlx::query_scalar("SELECT EXISTS (SELECT FROM erasures)");
    left.fetch_one(&world.pool).await.unwrap()
}

/// A worker died between its authorization and its settlement, and the person is erased before anybody clears up.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_dead_workers_permit_is_cleared_up_without_the_key(pool: PgPool) {
    let world = World::new(&pool).await;
    let readers = world.readers(1).await;
    let campaign = world.frozen_campaign(OnUnknown::Hold).await;
    let dying = Scripted::accepting();
    let closed = dying.door.write().await;
    let sending = sending(&world, world.sender(dying.clone()).await);
    world.until(async || world.has_permits().await).await;
    sending.abort();
    drop(closed);
    erase(&world.commands, readers[0]).await.unwrap();
    let sender = world.sender(Scripted::accepting()).await;
    world.send_until(&sender, campaign, "completed").await;
    assert_eq!(world.states(campaign).await, states([("unknown", 1)]));
    assert!(sender.step_erasures().await.unwrap());
}

/// Its addresses are gone for all that it was for; it neither stalls nor is tried for ever.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_test_mail_that_waits_is_given_up(pool: PgPool) {
    let world = World::new(&pool).await;
    let readers = world.readers(1).await;
    let template = world.commands.template(world.template).await.unwrap();
    let to = ["reader0@example.com", "editor@example.com"].map(str::to_owned);
    let by = Context::system("test");
    let done = world
        .commands
        .request_test_mail(&by, world.template, &template, &to, commands::TestFields::Own)
        .await
        .unwrap();
    let id: Uuid = id_of(&done, "dispatch_id");
    erase(&world.commands, readers[0]).await.unwrap();
    let mailer: Arc<Scripted> = Scripted::accepting();
    let sender = world.sender(mailer.clone()).await;
    assert!(!sender.step_erasures().await.unwrap(), "whoever made it before may hand it over");
    assert!(sender.step_transactional("scripted").await.unwrap());
    assert!(sender.step_erasures().await.unwrap());
    let mail = load::<Transactional>(&world.pool, id).await.unwrap().aggregate;
    for recipient in &mail.recipients {
        assert_eq!((recipient.state, recipient.reason.as_deref()), (State::Rejected, Some("erased")));
    }
    assert!(!sender.step_transactional("scripted").await.unwrap(), "nothing is left to do");
    assert!(mailer.taken.lock().unwrap().is_empty());
}

/// An audience that was frozen, paused, and then erased whole.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_paused_campaign_goes_on_without_them(pool: PgPool) {
    let world = World::new(&pool).await;
    let readers = world.readers(12).await;
    let campaign = world.frozen_campaign(OnUnknown::Hold).await;
    let by = Context::system("test");
    world.commands.pause_campaign(&by, campaign, None).await.unwrap();
    for reader in &readers {
        erase(&world.commands, *reader).await.unwrap();
    }
    world.commands.resume_campaign(&by, campaign).await.unwrap();
    let sender = world.sender(Scripted::accepting()).await;
    world.send_until(&sender, campaign, "completed").await;
    assert_eq!(world.states(campaign).await, states([("suppressed", 12)]));
    let dispatch: Uuid = sqlx::query_scalar("SELECT dispatch_id FROM dispatch_work WHERE page = 0")
        .fetch_one(&pool)
        .await
        .unwrap();
    let dispatch = load::<Dispatch>(&pool, dispatch).await.unwrap().aggregate;
    assert_eq!(dispatch.recipients.len(), 10, "who it was for is still known by their ids");
}
