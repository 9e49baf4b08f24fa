use crate::support::*;
use commands::Context;
use domain::CampaignId;
use domain::campaign::{Campaign, OnUnknown};
use domain::consent::{Channel, Origin, Scope};
use domain::template::{Body, Content};
use eventstore::load;
use sqlx::PgPool;
use std::sync::atomic::Ordering;
use std::time::Duration;
use workers::freezer::Freezer;
use workers::mailers::{Outcome, UnknownClass};

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn everybody_in_the_group_gets_one_mail(pool: PgPool) {
    let world = World::new(&pool).await;
    let readers = world.readers(25).await;
    let campaign = world.frozen_campaign(OnUnknown::Hold).await;
    let mailer = Scripted::accepting();
    world.send_until(&world.sender(mailer.clone()).await, campaign, "completed").await;
    assert_eq!(world.states(campaign).await, states([("accepted", 25)]));
    assert_eq!(mailer.copies(), readers.iter().map(|id| (*id, 1)).collect());
    let manifest = load::<Campaign>(&pool, campaign).await.unwrap().aggregate.manifest.unwrap();
    assert_eq!((manifest.recipients, manifest.dispatches), (25, 3));
    let permits: i64 = sqlx::query_scalar("SELECT count(*) FROM permits").fetch_one(&pool).await.unwrap();
    assert_eq!(permits, 0);
}

/// A campaign of many dispatches, or one whose every claim fails, keeps no other waiting.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn campaigns_that_send_at_once_take_turns(pool: PgPool) {
    let world = World::new(&pool).await;
    world.readers(25).await;
    let mut campaigns = Vec::new();
    for _ in 0..3 {
        campaigns.push(world.frozen_campaign(OnUnknown::Hold).await);
    }
    campaigns.sort();
    let mut claimed = vec![CampaignId::nil()];
    while let Some(claim) = world
        .commands
        .claim_dispatch(Duration::from_secs(600), claimed[claimed.len() - 1], &[])
        .await
        .unwrap()
    {
        claimed.push(claim.campaign_id);
    }
    assert_eq!(claimed[1..], campaigns.repeat(3));
}

/// The sender takes them in turn, too: a small campaign is done while a large one goes on.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_small_campaign_does_not_wait_for_a_large_one(pool: PgPool) {
    let world = World::new(&pool).await;
    world.readers(60).await;
    let large = world.frozen_campaign(OnUnknown::Hold).await;
    let by = Context::system("test");
    let few = world.commands.create_group(&by, "Few".into(), String::new()).await.unwrap();
    let few = id_of(&few, "group_id");
    let reader = commands::NewSubscriber {
        email: "one@example.com".into(),
        name: None,
        attributes: Default::default(),
        groups: vec![few],
        consent: by_form(),
    };
    world.commands.add_subscriber(&by, reader).await.unwrap();
    let small = world.campaign_to(few, OnUnknown::Hold).await;
    world.freeze(small).await;
    let sender = world.sender(Scripted::accepting()).await;
    for _ in 0..2 {
        sender.step(&world.stop).await.unwrap();
    }
    assert_eq!([world.status(small).await, world.status(large).await], ["completed", "sending"]);
}

/// As many campaigns cannot be begun as one look takes: they keep no other from its second.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn campaigns_that_cannot_be_begun_keep_no_other_waiting(pool: PgPool) {
    let world = World::new(&pool).await;
    for _ in 0..100 {
        world.campaign(OnUnknown::Hold).await;
    }
    let mut damage = pool.begin().await.unwrap();
    sqlx::query("SET LOCAL session_replication_role = replica").execute(&mut *damage).await.unwrap();
    let spoil = "UPDATE events SET event_version = '99' WHERE aggregate_type = 'campaign'";
    sqlx::query(spoil).execute(&mut *damage).await.unwrap();
    damage.commit().await.unwrap();
    let good = world.campaign(OnUnknown::Hold).await;
    world.freeze(good).await;
    assert_eq!(world.status(good).await, "completed");
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn an_empty_group_completes_at_once(pool: PgPool) {
    let world = World::new(&pool).await;
    let campaign = world.frozen_campaign(OnUnknown::Hold).await;
    assert_eq!(world.status(campaign).await, "completed");
}

/// Whoever comes after the freeze is not in the audience; whoever left before it is not either.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn the_audience_is_the_group_as_it_was_when_due(pool: PgPool) {
    let world = World::new(&pool).await;
    let readers = world.readers(3).await;
    world.commands.leave_group(&Context::system("test"), world.group, readers[0]).await.unwrap();
    let campaign = world.frozen_campaign(OnUnknown::Hold).await;
    let late = commands::NewSubscriber {
        email: "late@example.com".into(),
        name: None,
        attributes: Default::default(),
        groups: vec![world.group],
        consent: domain::consent::Consent {
            source: "form".into(),
            wording_version: None,
            given_at: None,
            given_from: None,
        },
    };
    world.commands.add_subscriber(&Context::system("test"), late).await.unwrap();
    let mailer = Scripted::accepting();
    world.send_until(&world.sender(mailer.clone()).await, campaign, "completed").await;
    assert_eq!(mailer.copies(), [(readers[1], 1), (readers[2], 1)].into());
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn answers_become_states(pool: PgPool) {
    let world = World::new(&pool).await;
    world.readers(12).await;
    let campaign = world.frozen_campaign(OnUnknown::Hold).await;
    let mailer = Scripted::answering(|mail| match mail.envelope_to.as_str() {
        "reader1@example.com" => Outcome::Rejected { code: Some(550) },
        "reader2@example.com" => Outcome::Unknown { class: UnknownClass::ConnectionLost, late: false },
        "reader3@example.com" if mail.attempt < 3 => Outcome::Deferred { code: Some(451) },
        "reader4@example.com" if mail.attempt == 1 => Outcome::NotStarted,
        "reader5@example.com" => Outcome::Deferred { code: Some(452) },
        _ => Outcome::Accepted { provider_id: None, late: false },
    });
    world.send_until(&world.sender(mailer.clone()).await, campaign, "completed").await;
    assert_eq!(world.states(campaign).await, states([("accepted", 9), ("rejected", 2), ("unknown", 1)]));
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn with_the_policy_resend_an_unknown_end_is_tried_again(pool: PgPool) {
    let world = World::new(&pool).await;
    world.readers(2).await;
    let campaign = world.frozen_campaign(OnUnknown::Resend).await;
    let mailer = Scripted::answering(|mail| match mail.attempt {
        1 => Outcome::Unknown { class: UnknownClass::TimedOut, late: false },
        _ => Outcome::Accepted { provider_id: None, late: false },
    });
    world.send_until(&world.sender(mailer.clone()).await, campaign, "completed").await;
    assert_eq!(world.states(campaign).await, states([("accepted", 2)]));
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_dead_mailer_pauses_the_campaign_and_loses_nobody(pool: PgPool) {
    let world = World::new(&pool).await;
    world.readers(7).await;
    let campaign = world.frozen_campaign(OnUnknown::Hold).await;
    let mailer = Scripted::accepting();
    mailer.down.store(true, Ordering::Relaxed);
    let sender = world.sender(mailer.clone()).await;
    world.send_until(&sender, campaign, "paused").await;
    assert_eq!(world.states(campaign).await, states([("pending", 7)]));
    mailer.down.store(false, Ordering::Relaxed);
    world.commands.resume_campaign(&Context::system("test"), campaign).await.unwrap();
    world.send_until(&sender, campaign, "completed").await;
    assert_eq!(world.states(campaign).await, states([("accepted", 7)]));
}

/// A server that takes connections and refuses the sender uses up nobody's tries.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_mailer_that_refuses_us_rejects_nobody(pool: PgPool) {
    let world = World::new(&pool).await;
    world.readers(5).await;
    let campaign = world.frozen_campaign(OnUnknown::Hold).await;
    let mailer = Scripted::answering(|_| Outcome::Deferred { code: Some(550) });
    let sender = world.sender(mailer).await;
    for _ in 0..4 {
        world.send_until(&sender, campaign, "paused").await;
        world.commands.resume_campaign(&Context::system("test"), campaign).await.unwrap();
    }
    assert_eq!(world.states(campaign).await, states([("pending", 5)]));
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_cancel_closes_the_rest(pool: PgPool) {
    let world = World::new(&pool).await;
    world.readers(25).await;
    let campaign = world.frozen_campaign(OnUnknown::Hold).await;
    let mailer = Scripted::accepting();
    let sender = world.sender(mailer.clone()).await;
    sender.step(&world.stop).await.unwrap();
    world.commands.cancel_campaign(&Context::system("test"), campaign).await.unwrap();
    world
        .until(async || {
            sender.step(&world.stop).await.unwrap();
            !world.states(campaign).await.contains_key("pending")
        })
        .await;
    assert_eq!(world.states(campaign).await, states([("accepted", 10), ("cancelled", 15)]));
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn two_schedulers_freeze_once(pool: PgPool) {
    let world = World::new(&pool).await;
    world.readers(35).await;
    let campaign = world.campaign(OnUnknown::Hold).await;
    let other = workers::scheduler::Scheduler::new(world.commands.clone());
    let mut freezers = [(); 2].map(|()| Freezer::new(world.commands.clone(), 10));
    world
        .until(async || {
            let (a, b) = tokio::join!(world.scheduler.step(), other.step());
            a.unwrap();
            b.unwrap();
            let [a, b] = &mut freezers;
            let (a, b) = tokio::join!(a.step(&world.stop), b.step(&world.stop));
            a.unwrap();
            b.unwrap();
            world.status(campaign).await == "sending"
        })
        .await;
    assert_eq!(world.states(campaign).await, states([("pending", 35)]));
    let events: Vec<String> = sqlx::query_scalar(
        "SELECT event_type FROM events WHERE aggregate_type = 'campaign' ORDER BY sequence",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    assert_eq!(events, ["CampaignCreated", "CampaignScheduled", "CampaignFreezing", "CampaignFrozen"]);
}

/// An opt-out between freezing and sending is seen although every read model is as it was.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn an_opt_out_after_the_freeze_is_honoured(pool: PgPool) {
    let world = World::new(&pool).await;
    let readers = world.readers(4).await;
    let campaign = world.frozen_campaign(OnUnknown::Hold).await;
    for (reader, scope) in [(readers[0], Scope::Global), (readers[1], Scope::Groups(vec![world.group]))] {
        let (channel, origin) = (Channel::OneClick, Origin::default());
        let opt_out = commands::OptOut { subscriber: reader, scope, channel, origin };
        world.commands.opt_out(&Context::system("test"), opt_out).await.unwrap();
    }
    let mailer = Scripted::accepting();
    world.send_until(&world.sender(mailer.clone()).await, campaign, "completed").await;
    assert_eq!(world.states(campaign).await, states([("accepted", 2), ("suppressed", 2)]));
    assert_eq!(mailer.copies(), [(readers[2], 1), (readers[3], 1)].into());
}

/// What an earlier release let through: the dispatch ends, and so does a campaign beside it.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_saved_template_that_is_hostile_rejects_its_recipients_and_stops_nothing(pool: PgPool) {
    let mut world = World::new(&pool).await;
    world.readers(12).await;
    let healthy = world.frozen_campaign(OnUnknown::Hold).await;
    let sender = world.sender(Scripted::accepting()).await;
    let grown = format!(
        "{{% set a = [1] %}}{}{{% if name %}}{{{{ a }}}}{{% endif %}}",
        "{% set a = [a] %}".repeat(2_400)
    );
    let itself = "{% set ns = namespace() %}{% set ns.x = ns %}{% if name %}{{ ns }}{% endif %}".to_owned();
    for source in [grown, itself] {
        let content = Content {
            name: "Hostile".into(),
            subject: "x".into(),
            body: Body::Html(source),
            ..Content::default()
        };
        let made = world.commands.create_template(&Context::system("test"), content).await.unwrap();
        world.template = id_of(&made, "template_id");
        let hostile = world.frozen_campaign(OnUnknown::Hold).await;
        world.send_until(&sender, hostile, "completed").await;
        assert_eq!(world.states(hostile).await, states([("rejected", 12)]));
    }
    world.send_until(&sender, healthy, "completed").await;
    assert_eq!(world.states(healthy).await, states([("accepted", 12)]));
}
