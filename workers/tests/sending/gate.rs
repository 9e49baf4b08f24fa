//! What an acknowledgement waits for, and what it does not.

use crate::support::*;
use commands::{Commands, Context, MailerNames, OptOut, Preferences, Timing};
use domain::campaign::OnUnknown;
use domain::consent::{Channel, Origin, Scope};
use domain::{GroupId, SubscriberId};
use sqlx::PgPool;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use workers::sender::Sender;

/// So long that what a test looks at happens before it is over.
const LONG: Timing = Timing { window: Duration::from_secs(20), margin: Duration::from_millis(100) };

fn opt_out(subscriber: SubscriberId) -> OptOut {
    OptOut { subscriber, scope: Scope::Global, channel: Channel::OneClick, origin: Origin::default() }
}

fn opt_out_of(group: GroupId, subscriber: SubscriberId) -> OptOut {
    OptOut { scope: Scope::Groups(vec![group]), ..opt_out(subscriber) }
}

/// One step of a sender, beside the test.
fn step(world: &World, sender: Sender) -> JoinHandle<()> {
    let stop = world.stop.clone();
    tokio::spawn(async move { assert!(sender.step(&stop).await.unwrap(), "there was nothing to do") })
}

/// With a call under way, an opt-out of that reader waits for its settlement or for W and the margin: of everything and of
/// the group, by its button or among all preferences, and whoever repeats it.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn an_opt_out_waits_for_an_open_permit(pool: PgPool) {
    let world = World::new(&pool).await;
    let readers = world.readers(3).await;
    world.frozen_campaign(OnUnknown::Hold).await;
    let mailer = Scripted::accepting();
    let closed = mailer.door.write().await;
    let sending = step(&world, world.sender(mailer.clone()).await);
    world.until(async || world.has_permits().await).await;
    let (commands, group) = (&world.commands, world.group);
    let by = Context::system("test");
    for tries in ["first", "repeat"] {
        waits(commands.opt_out(&by, opt_out(readers[0])), tries).await;
        waits(commands.opt_out(&by, opt_out_of(group, readers[1])), tries).await;
        let groups = vec![(group, false)];
        let origin = Origin::default();
        let chosen = Preferences { subscriber: readers[2], global_opt_out: None, groups, origin };
        waits(commands.set_preferences(&by, chosen), tries).await;
    }
    drop(closed);
    sending.await.unwrap();
    assert!(mailer.copies().is_empty(), "a call started after the opt-out was acknowledged");
}

async fn waits<T>(acknowledged: impl Future<Output = Result<T, commands::CommandError>>, tries: &str) {
    let start = Instant::now();
    acknowledged.await.unwrap();
    assert!(start.elapsed() >= TIMING.window + TIMING.margin, "the {tries} did not wait");
}

/// Processes need no common setting: the permit says how long its worker's calls may start.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn an_opt_out_waits_for_the_window_of_the_permits_own_worker(pool: PgPool) {
    let world = World::new(&pool).await;
    let reader = world.readers(1).await[0];
    world.frozen_campaign(OnUnknown::Hold).await;
    let mailer = Scripted::accepting();
    let closed = mailer.door.write().await;
    let sending = step(&world, world.sender(mailer.clone()).await);
    world.until(async || world.has_permits().await).await;
    let short = Timing { window: Duration::from_millis(1), margin: Duration::from_millis(1) };
    let store = world.commands.store.clone();
    let elsewhere = Commands::new(store, pool.clone(), short, MailerNames::of(["scripted"]));
    waits(elsewhere.opt_out(&Context::system("test"), opt_out(reader)), "process of a short window").await;
    drop(closed);
    sending.await.unwrap();
    assert!(mailer.copies().is_empty(), "a call started after the opt-out was acknowledged");
}

/// Two campaigns to one reader, both under way: the first to be settled is not the last.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn an_opt_out_waits_for_every_call_to_its_reader(pool: PgPool) {
    let world = World::with_timing(&pool, LONG).await;
    let reader = world.readers(1).await[0];
    let mailers = [Scripted::accepting(), Scripted::accepting()];
    let [first, second] = [mailers[0].door.write().await, mailers[1].door.write().await];
    let mut sending = Vec::new();
    for mailer in &mailers {
        world.frozen_campaign(OnUnknown::Hold).await;
        sending.push(step(&world, world.sender(mailer.clone()).await));
        world.until(async || world.permits().await as usize == sending.len()).await;
    }
    let commands = world.commands.clone();
    let leaving =
        tokio::spawn(async move { commands.opt_out(&Context::system("test"), opt_out(reader)).await });
    is_recorded(&world, "SubscriberOptedOut").await;
    drop(first);
    world.until(async || world.permits().await == 1).await;
    assert!(!leaving.is_finished(), "it was acknowledged with a call under way");
    drop(second);
    leaving.await.unwrap().unwrap();
    assert_eq!(world.permits().await, 0, "it waited for both");
    for step in sending {
        step.await.unwrap();
    }
}

async fn is_recorded(world: &World, event_type: &str) {
    world
        .until(async || {
            let events = sqlx::query_scalar("SELECT EXISTS (SELECT FROM events WHERE event_type = $1)");
            events.bind(event_type).fetch_one(&world.pool).await.unwrap()
        })
        .await;
}

/// Who leaves a group still gets what they want to read.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn an_opt_out_of_a_group_stops_its_mails_and_no_others(pool: PgPool) {
    let world = World::new(&pool).await;
    let readers = world.readers(2).await;
    let by = Context::system("test");
    let other = world.commands.create_group(&by, "Offers".into(), String::new()).await.unwrap();
    let other = id_of(&other, "group_id");
    for reader in &readers {
        world.commands.join_group(&by, other, *reader, by_form()).await.unwrap();
    }
    let letters = world.frozen_campaign(OnUnknown::Hold).await;
    let offers = world.campaign_to(other, OnUnknown::Hold).await;
    world.freeze(offers).await;
    world.commands.opt_out(&by, opt_out_of(world.group, readers[0])).await.unwrap();
    world.commands.opt_out(&by, opt_out_of(other, readers[1])).await.unwrap();
    let mailer = Scripted::accepting();
    let sender = world.sender(mailer.clone()).await;
    for campaign in [letters, offers] {
        world.send_until(&sender, campaign, "completed").await;
        assert_eq!(world.states(campaign).await, states([("accepted", 1), ("suppressed", 1)]));
    }
    assert_eq!(mailer.copies(), readers.iter().map(|reader| (*reader, 1)).collect());
}

/// Nobody settles it, so an opt-out waits until no call by it can start any more, and no longer; once another worker has
/// cleared up, not even that.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_dead_workers_permit_holds_an_opt_out_up_for_the_window_alone(pool: PgPool) {
    let world = World::new(&pool).await;
    let readers = world.readers(2).await;
    let campaign = world.frozen_campaign(OnUnknown::Hold).await;
    let dying = Scripted::accepting();
    let closed = dying.door.write().await;
    let sending = step(&world, world.sender(dying.clone()).await);
    world.until(async || world.has_permits().await).await;
    sending.abort();
    assert!(sending.await.unwrap_err().is_cancelled());
    let start = Instant::now();
    world.commands.opt_out(&Context::system("test"), opt_out(readers[0])).await.unwrap();
    assert!(start.elapsed() >= TIMING.window + TIMING.margin, "it did not wait");
    assert!(world.has_permits().await, "it waited for nobody");
    drop(closed);
    let other = world.sender(Scripted::accepting()).await;
    world.send_until(&other, campaign, "completed").await;
    assert_eq!(world.states(campaign).await, states([("unknown", 2)]));
    let start = Instant::now();
    world.commands.opt_out(&Context::system("test"), opt_out(readers[1])).await.unwrap();
    assert!(start.elapsed() < TIMING.window, "{:?}", start.elapsed());
}

/// The call began before the opt-out, so it may end behind it: however long that takes, the reader is told in time.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_provider_that_does_not_answer_holds_up_no_opt_out(pool: PgPool) {
    let world = World::new(&pool).await;
    let readers = world.readers(2).await;
    let campaign = world.frozen_campaign(OnUnknown::Hold).await;
    let mailer = Scripted::accepting();
    let silent = mailer.answers.write().await;
    let sending = step(&world, world.sender(mailer.clone()).await);
    world.until(async || mailer.copies().len() == 2).await;
    let by = Context::system("test");
    let acknowledged = world.commands.opt_out(&by, opt_out(readers[0]));
    tokio::time::timeout(Duration::from_secs(10), acknowledged).await.unwrap().unwrap();
    assert!(world.has_permits().await, "the provider has not answered yet");
    drop(silent);
    sending.await.unwrap();
    world.send_until(&world.sender(mailer.clone()).await, campaign, "completed").await;
    assert_eq!(world.states(campaign).await, states([("accepted", 2)]));
    let other = world.frozen_campaign(OnUnknown::Hold).await;
    world.send_until(&world.sender(mailer.clone()).await, other, "completed").await;
    assert_eq!(mailer.copies(), [(readers[0], 1), (readers[1], 2)].into());
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
    let world = World::with_timing(&pool, LONG).await;
    let readers = world.readers(1).await;
    let start = Instant::now();
    world.commands.opt_out(&Context::system("test"), opt_out(readers[0])).await.unwrap();
    assert!(start.elapsed() < LONG.window, "{:?}", start.elapsed());
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
