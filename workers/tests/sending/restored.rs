//! A database that is not where, or what, it was: nothing is handed over from it until an operator has said what it is.

use crate::support::*;
use domain::campaign::OnUnknown;
use eventstore::keys::MasterKey;
use eventstore::memory::Durable;
use eventstore::restore::{self, Marked, Seen};
use eventstore::sending::{self, LOG_WENT_BACK, RESTORED, Resumed};
use eventstore::{Store, feed};
use sqlx::PgPool;
use std::path::PathBuf;
use std::sync::Arc;
use uuid::Uuid;
use workers::memory::Remembering;

const ROUNDS: usize = 50;

async fn reason(pool: &PgPool) -> Option<String> {
    sending::stopped_by(pool).await.unwrap().map(|stop| stop.reason)
}

async fn nothing_goes(world: &World, mailer: &Arc<Scripted>) {
    let sender = world.sender(mailer.clone()).await;
    for _ in 0..3 {
        sender.step(&world.stop).await.unwrap();
    }
    assert!(mailer.taken().is_empty());
}

async fn remember(world: &World, seen: Seen) {
    // Whatever was known is as old as the world.
    let memory = &world.commands.store.memory;
    let forgotten = Seen { epoch: Uuid::nil(), ..seen.clone() };
    memory.remember(forgotten, Durable::No).await.unwrap();
    memory.remember(seen, Durable::No).await.unwrap();
}

/// Deleted with its value.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("postledger-memory-{}", eventstore::ids::new_id()));
        std::fs::create_dir(&folder).unwrap();
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The memory survives its process: what one has seen binds the next.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_log_without_what_was_seen_of_it_sends_nothing(pool: PgPool) {
    let world = World::new(&pool).await;
    world.readers(3).await;
    let campaign = world.frozen_campaign(OnUnknown::Hold).await;
    let folder = Folder::new();
    let mut memory = Remembering::begin(world.commands.store.clone(), &folder.0);
    world.until(async || restore::last(&pool).await.unwrap().is_some()).await;
    assert_eq!(memory.step().await.unwrap(), None);
    let seen = world.commands.store.memory.seen().expect("it remembers");

    let store = Store::new(pool.clone(), Arc::new(MasterKey::from_hex(&"5a".repeat(32)).unwrap()));
    let _next = Remembering::begin(store.clone(), &folder.0);
    assert_eq!(store.memory.seen(), Some(seen.clone()));

    let mailer = Scripted::accepting();
    let earlier = seen.recorded_at - chrono::TimeDelta::microseconds(1);
    for lost in [
        Seen { sequence: seen.sequence + 1_000, ..seen.clone() },
        Seen { recorded_at: earlier, ..seen.clone() },
        Seen { aggregate_id: eventstore::ids::new_id().to_string(), ..seen.clone() },
        Seen { epoch: eventstore::ids::new_id(), ..seen.clone() },
    ] {
        remember(&world, lost.clone()).await;
        nothing_goes(&world, &mailer).await;
        assert_eq!(reason(&pool).await.as_deref(), Some(LOG_WENT_BACK), "{lost:?}");
        assert!(matches!(sending::resume(&pool).await.unwrap(), Resumed::Refused(_)));
        assert!(!restore::confirm_failover(&pool).await.unwrap(), "something was lost");
        sqlx::query("UPDATE sending SET reason = NULL, paused_at = NULL").execute(&pool).await.unwrap();
        assert_eq!(memory.step().await.unwrap().unwrap().reason, LOG_WENT_BACK, "by itself as well");
        sqlx::query("UPDATE sending SET reason = NULL, paused_at = NULL").execute(&pool).await.unwrap();
    }

    // What was seen before a restore that was marked binds nobody any more.
    remember(&world, Seen { sequence: seen.sequence + 1_000, ..seen }).await;
    nothing_goes(&world, &mailer).await;
    restore::mark_as_restored(&pool, false).await.unwrap();
    assert_eq!(memory.step().await.unwrap().unwrap().reason, RESTORED);
    nothing_goes(&world, &mailer).await;
    assert_eq!(sending::resume(&pool).await.unwrap(), Resumed::Now);
    world.send_until(&world.sender(mailer.clone()).await, campaign, "completed").await;
    assert_eq!(mailer.taken().len(), 3);
}

/// One that saw the lost history may say so late: an operator has looked at it by then.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn what_was_seen_before_a_restore_was_marked_contradicts_no_operator(pool: PgPool) {
    let world = World::new(&pool).await;
    world.readers(3).await;
    world.frozen_campaign(OnUnknown::Hold).await;
    let sender = world.sender(Scripted::accepting()).await;
    let folder = Folder::new();
    let mut memory = Remembering::begin(world.commands.store.clone(), &folder.0);
    let lost = restore::last(&pool).await.unwrap().unwrap();
    for round in 0..ROUNDS {
        let epoch = feed::head(&pool).await.unwrap().epoch;
        remember(&world, Seen { epoch, sequence: lost.sequence + 1_000, ..lost.clone() }).await;
        let (seen, sent, marked) =
            tokio::join!(memory.step(), sender.step(&world.stop), restore::mark_as_restored(&pool, true));
        assert!(seen.is_ok() && sent.is_ok() && marked.is_ok());
        assert_eq!(reason(&pool).await.as_deref(), Some(RESTORED), "round {round}");
        sending::log_went_back(&pool, epoch).await.unwrap();
        assert_eq!(reason(&pool).await.as_deref(), Some(RESTORED), "round {round}");
    }
    assert_eq!(sending::resume(&pool).await.unwrap(), Resumed::Now);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn another_cluster_or_timeline_sends_nothing_until_it_is_confirmed(pool: PgPool) {
    let world = World::new(&pool).await;
    world.readers(3).await;
    let campaign = world.frozen_campaign(OnUnknown::Hold).await;
    let mailer = Scripted::accepting();
    for (moves, expected) in [
        ("UPDATE log_epoch SET system_identifier = system_identifier + 1", "another_cluster"),
        ("UPDATE log_epoch SET timeline = timeline + 1", "another_timeline"),
    ] {
        sqlx::query(moves).execute(&pool).await.unwrap();
        nothing_goes(&world, &mailer).await;
        assert_eq!(reason(&pool).await.as_deref(), Some(expected));
        // What was said of the log as it was is not said of this one.
        sending::pause(&pool).await.unwrap();
        assert_eq!(reason(&pool).await.as_deref(), Some(expected));
        assert!(matches!(sending::resume(&pool).await.unwrap(), Resumed::Refused(_)));
        assert!(restore::confirm_failover(&pool).await.unwrap());
        assert_eq!(sending::resume(&pool).await.unwrap(), Resumed::Now);
    }
    world.send_until(&world.sender(mailer.clone()).await, campaign, "completed").await;
    assert_eq!(mailer.taken().len(), 3);
}

/// What it says holds at once for whoever follows the log, and a repeat changes nothing.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_restored_log_is_another_history_and_its_read_models_go_on(pool: PgPool) {
    let world = World::new(&pool).await;
    world.readers(3).await;
    let models = projections::all();
    let is_caught_up = async || {
        let lags = projections::lag(&pool, &models).await.unwrap();
        let head = feed::head(&pool).await.unwrap().position;
        let events: i64 = sqlx::query_scalar("SELECT count(*) FROM events").fetch_one(&pool).await.unwrap();
        head == events && lags.iter().all(|lag| lag.events == 0)
    };
    world.until(is_caught_up).await;
    let before = feed::head(&pool).await.unwrap();
    let Marked::Now(marked) = restore::mark_as_restored(&pool, false).await.unwrap() else {
        panic!("it was not")
    };
    assert_ne!(marked.epoch, before.epoch);
    assert_eq!(restore::mark_as_restored(&pool, false).await.unwrap(), Marked::Before(marked));
    let foreign = "SELECT count(*) FROM checkpoints WHERE epoch <> (SELECT epoch FROM log_epoch)";
    assert_eq!(sqlx::query_scalar::<_, i64>(foreign).fetch_one(&pool).await.unwrap(), 0);
    // Moved once more, or said so: it is restored once more.
    sqlx::query("UPDATE log_epoch SET system_identifier = system_identifier + 1")
        .execute(&pool)
        .await
        .unwrap();
    for again in [false, true] {
        let Marked::Now(next) = restore::mark_as_restored(&pool, again).await.unwrap() else {
            panic!("{again}")
        };
        assert_ne!(next.epoch, marked.epoch);
    }
    // The loops that ran all the while follow, slots that begin now among them.
    world.readers_named("later", 20).await;
    world.until(is_caught_up).await;
    assert_eq!(sqlx::query_scalar::<_, i64>(foreign).fetch_one(&pool).await.unwrap(), 0);
    assert_eq!(reason(&pool).await.as_deref(), Some(RESTORED));
}

/// A mail that went binds whoever sends from that log later, however soon after it the log was put back.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn each_authorization_is_remembered_before_its_mails_go(pool: PgPool) {
    let world = World::new(&pool).await;
    world.readers(3).await;
    world.frozen_campaign(OnUnknown::Hold).await;
    let folder = Folder::new();
    let _memory = Remembering::begin(world.commands.store.clone(), &folder.0);
    let mailer = Scripted::accepting();
    let shut = mailer.door.write().await;
    let (sender, stop) = (world.sender(mailer.clone()).await, world.stop.clone());
    let step = tokio::spawn(async move { sender.step(&stop).await.unwrap() });
    world.until(async || folder.0.join("log-seen.json").exists()).await;
    assert!(mailer.taken().is_empty());
    let seen: Seen = serde_json::from_slice(&std::fs::read(folder.0.join("log-seen.json")).unwrap()).unwrap();
    assert_eq!(seen.aggregate_type, "dispatch");
    assert!(restore::follows(&pool, &seen).await.unwrap());
    drop(shut);
    step.await.unwrap();
}
