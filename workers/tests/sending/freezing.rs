//! Audiences that freeze beside one another, and beside streams that no read model can follow.

use crate::support::*;
use commands::send::DEATHS_MAX;
use commands::{Context, NewSubscriber};
use domain::campaign::{Campaign, OnUnknown};
use domain::{CampaignId, GroupId, SubscriberId};
use eventstore::load;
use sqlx::PgPool;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use workers::freezer::Freezer;

impl World {
    async fn new_group(&self) -> GroupId {
        let done = self.commands.create_group(&Context::system("test"), "Few".into(), String::new()).await;
        id_of(&done.unwrap(), "group_id")
    }

    async fn reader_of(&self, group: GroupId, email: &str) -> SubscriberId {
        let new = NewSubscriber {
            email: email.into(),
            name: None,
            attributes: Default::default(),
            groups: vec![group],
            consent: by_form(),
        };
        id_of(&self.commands.add_subscriber(&Context::system("test"), new).await.unwrap(), "subscriber_id")
    }

    /// Begins to freeze these, and waits until the read models have done all that their audiences are made of.
    async fn begin(&self, campaigns: &[CampaignId]) {
        self.until(async || {
            self.scheduler.step().await.unwrap();
            let freezing = "SELECT count(*) FROM campaign_gates WHERE status = 'freezing'";
            let freezing: i64 = sqlx::query_scalar(freezing).fetch_one(&self.pool).await.unwrap();
            let pending: i64 = sqlx::query_scalar(
                "SELECT count(*) FROM events WHERE append_id NOT IN (SELECT append_id FROM log)",
            )
            .fetch_one(&self.pool)
            .await
            .unwrap();
            let lag = projections::lag(&self.pool, &projections::all()).await.unwrap();
            freezing == campaigns.len() as i64 && pending == 0 && lag.iter().all(|lag| lag.events == 0)
        })
        .await;
    }

    async fn recipients(&self, id: CampaignId) -> u64 {
        load::<Campaign>(&self.pool, id).await.unwrap().aggregate.manifest.unwrap().recipients
    }
}

/// However large an audience is, another campaign has its next page after one page of it.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_small_audience_does_not_wait_for_a_large_one_to_freeze(pool: PgPool) {
    let world = World::new(&pool).await;
    world.readers(60).await;
    let few = world.new_group().await;
    world.reader_of(few, "one@example.com").await;
    let large = world.campaign(OnUnknown::Hold).await;
    let small = world.campaign_to(few, OnUnknown::Hold).await;
    world.begin(&[large, small]).await;
    let mut freezer = Freezer::new(world.commands.clone(), 10);
    for _ in 0..3 {
        freezer.step(&world.stop).await.unwrap();
    }
    assert_eq!([world.status(small).await, world.status(large).await], ["sending", "freezing"]);
    world.freeze(large).await;
    assert_eq!(world.states(large).await, states([("pending", 60)]));
}

/// Nor for its manifest, which reads everything back.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_small_audience_does_not_wait_for_the_digest_of_a_large_one(pool: PgPool) {
    let world = World::new(&pool).await;
    world.readers(210).await;
    let large = world.campaign(OnUnknown::Hold).await;
    world.begin(&[large]).await;
    let mut freezer = Freezer::new(world.commands.clone(), 1);
    let planned = async || {
        let planned = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM dispatch_work");
        planned.fetch_one(&world.pool).await.unwrap()
    };
    while planned().await < 210 {
        freezer.step(&world.stop).await.unwrap();
    }
    let few = world.new_group().await;
    world.reader_of(few, "one@example.com").await;
    let small = world.campaign_to(few, OnUnknown::Hold).await;
    world.begin(&[large, small]).await;
    for _ in 0..3 {
        freezer.step(&world.stop).await.unwrap();
    }
    assert_eq!([world.status(small).await, world.status(large).await], ["sending", "freezing"]);
    world.freeze(large).await;
    assert_eq!(world.recipients(large).await, 210);
}

/// A campaign that cannot be frozen, as its own events cannot be read, keeps no other waiting, and is left alone for a while.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_freeze_that_fails_rests(pool: PgPool) {
    let world = World::new(&pool).await;
    world.readers(1).await;
    let [bad, good] = [world.campaign(OnUnknown::Hold).await, world.campaign(OnUnknown::Hold).await];
    world.begin(&[bad, good]).await;
    // Events are never changed: whoever owns the table can.
    let mut tx = pool.begin().await.unwrap();
    sqlx::query("SET LOCAL session_replication_role = replica").execute(&mut *tx).await.unwrap();
    let unknown =
        "UPDATE events SET event_version = '9.0' WHERE aggregate_id = $1 AND event_type = 'CampaignFreezing'";
    sqlx::query(unknown).bind(bad.to_string()).execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
    world.freeze(good).await;
    assert_eq!([world.status(bad).await, world.status(good).await], ["freezing", "sending"]);
}

/// The read model refuses one person of this group, though their events can be read, one whose events cannot, and one
/// of another group: no campaign waits, and each audience is whole.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_campaign_freezes_beside_parked_streams(pool: PgPool) {
    let world = World::new(&pool).await;
    let readers = world.readers(12).await;
    let few = world.new_group().await;
    let stranger = world.reader_of(few, "stranger@example.com").await;
    let refuse = format!(
        "ALTER TABLE group_members ADD CONSTRAINT refused CHECK (left_position IS NULL
             OR subscriber_id NOT IN ('{}', '{}', '{stranger}'))",
        readers[3], readers[4]
    );
    sqlx::query(&refuse).execute(&pool).await.unwrap();
    let by = Context::system("test");
    for (group, reader) in [(world.group, readers[3]), (few, stranger)] {
        world.commands.leave_group(&by, group, reader).await.unwrap();
    }
    // Leaves, and comes back.
    world.commands.leave_group(&by, world.group, readers[4]).await.unwrap();
    world.commands.join_group(&by, world.group, readers[4], by_form()).await.unwrap();
    let parked = async || {
        let parked = "SELECT count(*) FROM parked_streams WHERE projection = 'group_members'";
        sqlx::query_scalar::<_, i64>(parked).fetch_one(&world.pool).await.unwrap()
    };
    world.until(async || parked().await == 3).await;
    let whole = world.frozen_campaign(OnUnknown::Hold).await;
    assert_eq!((world.status(whole).await.as_str(), world.recipients(whole).await), ("sending", 11));
    let nobody = world.campaign_to(few, OnUnknown::Hold).await;
    world.freeze(nobody).await;
    assert_eq!((world.status(nobody).await.as_str(), world.recipients(nobody).await), ("completed", 0));
    let mailer = Scripted::accepting();
    world.send_until(&world.sender(mailer.clone()).await, whole, "completed").await;
    let expected: Vec<_> = readers.iter().filter(|id| **id != readers[3]).map(|id| (*id, 1)).collect();
    assert_eq!(mailer.copies(), expected.into_iter().collect());
}

/// A freezer begins a turn of this campaign, and is never heard of again.
async fn a_freezer_dies(world: &World, campaign: CampaignId) {
    leases_run_out(world).await;
    let before = deaths(world, campaign).await;
    let mut freezer = Freezer::new(world.commands.clone(), 10);
    let mut step = pin!(freezer.step(&world.stop));
    while before == deaths(world, campaign).await {
        let is_over = poll_fn(|context| Poll::Ready(step.as_mut().poll(context).is_ready())).await;
        assert!(!is_over, "it lived");
    }
}

async fn leases_run_out(world: &World) {
    let over = "UPDATE attempts SET leased_until = clock_timestamp() - interval '1 s' WHERE leased_until < 'infinity'";
    sqlx::query(over).execute(&world.pool).await.unwrap();
}

/// None: nobody is at it.
async fn deaths(world: &World, campaign: CampaignId) -> Option<i32> {
    let deaths = sqlx::query_scalar("SELECT deaths FROM attempts WHERE work = 'freeze' AND id = $1");
    deaths.bind(campaign).fetch_optional(&world.pool).await.unwrap()
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_freeze_that_five_workers_died_with_halts_and_holds_up_no_other(pool: PgPool) {
    let world = World::new(&pool).await;
    world.readers(3).await;
    let poisoned = world.campaign(OnUnknown::Hold).await;
    world.begin(&[poisoned]).await;
    for died in 0..DEATHS_MAX {
        a_freezer_dies(&world, poisoned).await;
        assert_eq!(deaths(&world, poisoned).await, Some(died));
    }
    leases_run_out(&world).await;
    let other = world.frozen_campaign(OnUnknown::Hold).await;
    assert_eq!([world.status(poisoned).await, world.status(other).await], ["freezing", "sending"]);
    let shown = async || projections::campaigns::get(&pool, poisoned).await.unwrap().unwrap();
    world.until(async || shown().await.status_reason.as_deref() == Some("worker_died")).await;
    assert_eq!(shown().await.status, "freezing");
    // However long it is left alone.
    leases_run_out(&world).await;
    for _ in 0..3 {
        world.freezer.lock().await.step(&world.stop).await.unwrap();
    }
    assert_eq!(world.status(poisoned).await, "freezing");
    let resumed = world.commands.resume_campaign(&Context::system("test"), poisoned).await.unwrap();
    assert_eq!(resumed.answer["status"], "freezing");
    world.freeze(poisoned).await;
    assert_eq!(world.states(poisoned).await, states([("pending", 3)]));
    assert_eq!(deaths(&world, poisoned).await, None);
}

/// After four deaths a whole turn, and four more.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_page_forgets_the_deaths_before_it(pool: PgPool) {
    let world = World::new(&pool).await;
    world.readers(15).await;
    let campaign = world.campaign(OnUnknown::Hold).await;
    world.begin(&[campaign]).await;
    for _ in 0..2 {
        for _ in 1..DEATHS_MAX {
            a_freezer_dies(&world, campaign).await;
        }
        leases_run_out(&world).await;
        Freezer::new(world.commands.clone(), 10).step(&world.stop).await.unwrap();
        assert_eq!(deaths(&world, campaign).await, None);
    }
    world.freeze(campaign).await;
    assert_eq!(world.states(campaign).await, states([("pending", 15)]));
}
