//! While sending is off nothing is handed over, of any kind; what was stays as it is, and goes on afterwards.

use crate::support::*;
use commands::{Context, NewSubscription, NewUser, OptOut};
use domain::EmailAddress;
use domain::access::Role;
use domain::campaign::OnUnknown;
use domain::consent::{Channel, Origin, Scope};
use domain::visit::Visit;
use eventstore::sending::{self, OPERATOR, Resumed};
use sqlx::PgPool;
use std::time::Duration;

/// A mail of each kind that is sent outside campaigns.
async fn ask_for_one_of_each_kind(world: &World, leaves: domain::SubscriberId) {
    let (commands, by) = (&world.commands, Context::system("test"));
    let template = commands.template(world.template).await.unwrap();
    let to = vec!["editor@example.com".to_owned()];
    commands.request_test_mail(&by, world.template, &template, &to, commands::TestFields::Own).await.unwrap();
    let invited = EmailAddress::parse("ana@example.com").unwrap();
    let user = NewUser { email: invited, roles: vec![Role::Analyst], password: None };
    commands.add_user(&by, user).await.unwrap();
    let subscription = NewSubscription {
        email: "new@example.com".into(),
        name: None,
        groups: vec![world.group],
        wording_version: None,
        visit: Visit::default(),
    };
    commands.request_subscription(&Context::default(), subscription).await.unwrap();
    let opt_out = OptOut {
        subscriber: leaves,
        scope: Scope::Global,
        channel: Channel::OneClick,
        origin: Origin::default(),
    };
    commands.opt_out(&by, opt_out).await.unwrap();
    world.opt_outs_become_mails().await;
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn nothing_is_handed_over_until_sending_is_resumed(pool: PgPool) {
    let world = World::new(&pool).await;
    let readers = world.readers(12).await;
    let campaign = world.frozen_campaign(OnUnknown::Hold).await;
    sending::pause(&pool).await.unwrap();
    assert_eq!(sending::stopped_by(&pool).await.unwrap().unwrap().reason, OPERATOR);
    ask_for_one_of_each_kind(&world, readers[0]).await;
    let mailer = Scripted::accepting();
    let sender = world.sender(mailer.clone()).await;
    for _ in 0..3 {
        assert!(!sender.step(&world.stop).await.unwrap());
        assert!(!sender.step_transactional("scripted").await.unwrap());
    }
    assert_eq!((mailer.taken().len(), world.permits().await), (0, 0));

    assert_eq!(sending::resume(&pool).await.unwrap(), Resumed::Now);
    assert_eq!(sending::resume(&pool).await.unwrap(), Resumed::Before);
    world.send_until(&sender, campaign, "completed").await;
    while sender.step_transactional("scripted").await.unwrap() {}
    assert_eq!(world.states(campaign).await, states([("accepted", 11), ("suppressed", 1)]));
    assert_eq!(mailer.taken().len(), 11 + 4, "and one of each kind");
}

/// Whoever has claimed a dispatch and made its mails asks once more, under the lock.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn what_was_claimed_before_is_not_authorized_after(pool: PgPool) {
    let world = World::new(&pool).await;
    world.readers(10).await;
    let campaign = world.frozen_campaign(OnUnknown::Hold).await;
    let mailer = Scripted::accepting();
    let open = mailer.answers.write().await;
    let (sender, stop) = (world.sender(mailer.clone()).await, world.stop.clone());
    let step = tokio::spawn(async move { sender.step(&stop).await.unwrap() });
    world.until(async || !mailer.taken().is_empty()).await;
    sending::pause(&pool).await.unwrap();
    drop(open);
    step.await.unwrap();
    assert_eq!(world.states(campaign).await, states([("accepted", 5), ("pending", 5)]), "a chunk is 5");
}

/// A pause waits for authorizations under way. Those that come behind it hold nothing yet, so no opt-out waits for them.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_pause_that_waits_keeps_no_opt_out_waiting(pool: PgPool) {
    let world = World::new(&pool).await;
    let readers = world.readers(3).await;
    world.frozen_campaign(OnUnknown::Hold).await;
    let mut authorizing = pool.begin().await.unwrap();
    sqlx::query("SELECT pg_advisory_xact_lock_shared(hashtextextended('sending', 0))")
        .execute(&mut *authorizing)
        .await
        .unwrap();
    let pausing = tokio::spawn({
        let pool = pool.clone();
        async move { sending::pause(&pool).await }
    });
    let waiting = async |count: i64| {
        let waiting = "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database
                       WHERE datname = current_database() AND locktype = 'advisory' AND NOT granted";
        sqlx::query_scalar::<_, i64>(waiting).fetch_one(&pool).await.unwrap() == count
    };
    world.until(async || waiting(1).await).await;
    let mailer = Scripted::accepting();
    let (sender, stop) = (world.sender(mailer.clone()).await, world.stop.clone());
    let step = tokio::spawn(async move { sender.step(&stop).await.unwrap() });
    world.until(async || waiting(2).await).await;
    let opt_out = OptOut {
        subscriber: readers[0],
        scope: Scope::Global,
        channel: Channel::OneClick,
        origin: Origin::default(),
    };
    let by = Context::system("test");
    let acknowledged = tokio::time::timeout(Duration::from_secs(20), world.commands.opt_out(&by, opt_out));
    acknowledged.await.expect("it waits for nobody").unwrap();
    authorizing.rollback().await.unwrap();
    pausing.await.unwrap().unwrap();
    step.await.unwrap();
    assert!(mailer.taken().is_empty(), "the pause came first");
}
