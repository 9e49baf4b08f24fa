//! What ends its workers again and again is given up, and everything else goes on.

use crate::support::*;
use commands::Context;
use commands::send::OfMailers;
use commands::send::{DEATHS_MAX, Lease};
use domain::DispatchId;
use domain::campaign::OnUnknown;
use domain::dispatch::State;
use domain::transactional::Transactional;
use eventstore::{ids, load};
use sqlx::PgPool;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use uuid::Uuid;
use workers::mailers::{Outcome, Reconciled};

/// A worker takes the dispatch and is never heard of again.
async fn a_worker_dies(world: &World) -> Lease {
    leases_run_out(world).await;
    let claimed = world.commands.claim_dispatch(Duration::from_secs(600), Uuid::nil(), &[]).await.unwrap();
    claimed.expect("a dispatch").lease
}

async fn leases_run_out(world: &World) {
    sqlx::query("UPDATE dispatch_work SET leased_until = NULL, not_before = NULL")
        .execute(&world.pool)
        .await
        .unwrap();
}

async fn deaths(world: &World, dispatch: DispatchId) -> i32 {
    let deaths = sqlx::query_scalar("SELECT deaths FROM dispatch_work WHERE dispatch_id = $1");
    deaths.bind(dispatch).fetch_one(&world.pool).await.unwrap()
}

/// As both read models have it: each follows the log by itself.
async fn reports(world: &World, campaign: Uuid) -> (String, Option<String>, Option<Uuid>) {
    let mut both = None;
    world
        .until(async || {
            let report = projections::campaign_report::get(&world.pool, campaign).await.unwrap().unwrap();
            let shown = projections::campaigns::get(&world.pool, campaign).await.unwrap().unwrap();
            let agree = report.status_dispatch == shown.status_dispatch;
            both = agree.then_some((report.status, report.status_reason, report.status_dispatch));
            agree
        })
        .await;
    both.unwrap()
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_dispatch_that_five_workers_died_with_pauses_its_campaign_alone(pool: PgPool) {
    let world = World::new(&pool).await;
    world.readers(3).await;
    let poisoned = world.frozen_campaign(OnUnknown::Hold).await;
    for died in 0..DEATHS_MAX {
        assert_eq!(a_worker_dies(&world).await.deaths, died);
    }
    let other = world.frozen_campaign(OnUnknown::Hold).await;
    leases_run_out(&world).await;
    let mailer = Scripted::accepting();
    let sender = world.sender(mailer.clone()).await;
    world.send_until(&sender, other, "completed").await;
    assert_eq!(mailer.taken().len(), 3, "of the other one");
    let dispatch = ids::dispatch_id(poisoned, 0);
    let expected = ("paused".to_owned(), Some("worker_died".to_owned()), Some(dispatch));
    world.until(async || reports(&world, poisoned).await == expected).await;
    // Whoever resumes it has it tried again.
    world.commands.resume_campaign(&Context::system("test"), poisoned).await.unwrap();
    world.send_until(&sender, poisoned, "completed").await;
    assert_eq!(world.states(poisoned).await, states([("accepted", 3)]));
    world.until(async || reports(&world, poisoned).await.2.is_none()).await;
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_resume_by_the_staff_counts_anew(pool: PgPool) {
    let world = World::new(&pool).await;
    world.readers(1).await;
    let campaign = world.frozen_campaign(OnUnknown::Hold).await;
    for _ in 1..DEATHS_MAX {
        a_worker_dies(&world).await;
    }
    let by = Context::system("test");
    world.commands.pause_campaign(&by, campaign, None).await.unwrap();
    world.commands.resume_campaign(&by, campaign).await.unwrap();
    assert_eq!(a_worker_dies(&world).await.deaths, 0);
}

/// A mailer that is down, a deferral, and a step that ends well: the worker lived.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn whoever_settles_or_gives_back_has_not_died(pool: PgPool) {
    let world = World::new(&pool).await;
    world.readers(1).await;
    let campaign = world.frozen_campaign(OnUnknown::Hold).await;
    let dispatch = ids::dispatch_id(campaign, 0);
    let mailer = Scripted::answering(|_| Outcome::Deferred { code: Some(451) });
    for is_down in [true, false] {
        // One that knows of no mailer that was down, and lets no campaign rest.
        let sender = world.sender(mailer.clone()).await;
        mailer.down.store(is_down, std::sync::atomic::Ordering::Relaxed);
        for _ in 1..DEATHS_MAX {
            a_worker_dies(&world).await;
        }
        leases_run_out(&world).await;
        assert!(sender.step(&world.stop).await.unwrap());
        assert_eq!(deaths(&world, dispatch).await, 0);
    }
    assert_eq!(world.status(campaign).await, "sending");
}

/// Each death comes after an authorization and is cleared up by the next worker: events, but no worker that lives.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_mail_that_panics_whoever_hands_it_over_stops_its_campaign_alone(pool: PgPool) {
    let world = World::new(&pool).await;
    world.readers(2).await;
    let poison: Arc<OnceLock<Uuid>> = Arc::default();
    let poisons = poison.clone();
    let mut mailer = Scripted::answering(move |mail| match poisons.get() == Some(&mail.dispatch) {
        true => panic!("a mail that nobody survives"),
        false => Outcome::Accepted { provider_id: None, late: false },
    });
    Arc::get_mut(&mut mailer).unwrap().known = Reconciled::NeverHandedOver;
    let poisoned = world.frozen_campaign(OnUnknown::Hold).await;
    poison.set(ids::dispatch_id(poisoned, 0)).unwrap();
    let other = world.frozen_campaign(OnUnknown::Hold).await;
    let sender = world.sender(mailer.clone()).await;
    let running = tokio::spawn(sender.run(world.stop.clone()));
    world.until(async || world.status(other).await == "completed").await;
    world.until(async || world.status(poisoned).await == "paused").await;
    world.until(async || reports(&world, poisoned).await.1.as_deref() == Some("worker_died")).await;
    world.until(async || !world.has_permits().await).await;
    assert_eq!(world.states(poisoned).await, states([("pending", 2)]));
    world.stop.cancel();
    running.await.unwrap();
}

async fn test_mail(world: &World, to: &str) -> DispatchId {
    let template = world.commands.template(world.template).await.unwrap();
    let by = Context::system("test");
    let done = world
        .commands
        .request_test_mail(&by, world.template, &template, &[to.to_owned()], commands::TestFields::Own)
        .await
        .unwrap();
    id_of(&done, "dispatch_id")
}

async fn end_of(world: &World, mail: DispatchId) -> (State, Option<String>) {
    let mail = load::<Transactional>(&world.pool, mail).await.unwrap().aggregate;
    (mail.recipients[0].state, mail.recipients[0].reason.clone())
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_mail_that_five_workers_died_with_is_given_up_and_holds_up_no_other(pool: PgPool) {
    let world = World::new(&pool).await;
    let poisoned = test_mail(&world, "poison@example.com").await;
    for died in 0..DEATHS_MAX {
        leases_run_out(&world).await;
        let lease = world
            .commands
            .claim_transactional(Duration::from_secs(600), &OfMailers::AllBut(vec![]))
            .await
            .unwrap()
            .unwrap();
        assert_eq!((lease.dispatch_id, lease.deaths), (poisoned, died));
    }
    leases_run_out(&world).await;
    let other = test_mail(&world, "other@example.com").await;
    let sender = world.sender(Scripted::accepting()).await;
    while sender.step_transactional("scripted").await.unwrap() {}
    assert_eq!(end_of(&world, poisoned).await, (State::Rejected, Some("worker_died".into())));
    assert_eq!(end_of(&world, other).await, (State::Accepted, None));
}

/// One that can be neither read nor given up rests for an hour, again and again.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_mail_that_cannot_be_read_holds_up_no_other(pool: PgPool) {
    let world = World::new(&pool).await;
    let damaged = test_mail(&world, "damaged@example.com").await;
    let later = "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
                 VALUES ('transactional', $1, 2, 'TransactionalExpired', '9.0', '{\"TransactionalExpired\": {}}', '{}')";
    sqlx::query(later).bind(damaged.to_string()).execute(&pool).await.unwrap();
    let sender = world.sender(Scripted::accepting()).await;
    for _ in 0..=DEATHS_MAX {
        let other = test_mail(&world, "other@example.com").await;
        leases_run_out(&world).await;
        while sender.step_transactional("scripted").await.unwrap() {}
        assert_eq!(end_of(&world, other).await, (State::Accepted, None));
    }
    let rests: bool = sqlx::query_scalar(
        "SELECT leased_until > clock_timestamp() + interval '30 min' FROM dispatch_work WHERE dispatch_id = $1",
    )
    .bind(damaged)
    .fetch_one(&pool)
    .await
    .unwrap();
    assert!(rests);
}
