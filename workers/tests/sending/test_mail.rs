//! Mails outside campaigns: a template's test.

use crate::support::*;
use commands::{Context, OptOut};
use domain::Personal;
use domain::consent::{Channel, Origin, Scope};
use domain::dispatch::State;
use domain::transactional::{TestMail, Transactional, TransactionalCommand};
use eventstore::{Request, clock};
use sqlx::PgPool;
use std::sync::Arc;
use std::time::Instant;
use uuid::Uuid;
use workers::mailers::{Outcome, Reconciled};

const STRANGER: &str = "editor@example.com";

async fn request(world: &World, to: &[&str]) -> Uuid {
    let template = world.commands.template(world.template).await.unwrap();
    let to: Vec<String> = to.iter().map(|address| (*address).to_owned()).collect();
    let by = Context::system("test");
    let done = world.commands.request_test_mail(&by, world.template, &template, &to).await.unwrap();
    id_of(&done, "dispatch_id")
}

async fn opt_out(world: &World, subscriber: Uuid) {
    let opt_out =
        OptOut { subscriber, scope: Scope::Global, channel: Channel::OneClick, origin: Origin::default() };
    world.commands.opt_out(&Context::system("test"), opt_out).await.unwrap();
}

async fn load(world: &World, id: Uuid) -> Transactional {
    eventstore::load(&world.pool, id).await.unwrap().aggregate
}

/// Each recipient's state and reason.
async fn ends(world: &World, id: Uuid) -> Vec<(State, Option<String>)> {
    load(world, id).await.recipients.into_iter().map(|r| (r.state, r.reason)).collect()
}

fn sent_to(mailer: &Scripted, to: &str) -> String {
    let taken = mailer.taken.lock().unwrap();
    let mail = taken.iter().find(|mail| mail.envelope_to == to).expect("a mail");
    String::from_utf8(mail.message.clone()).unwrap()
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_subscriber_gets_their_own_fields_and_a_stranger_none(pool: PgPool) {
    let world = World::new(&pool).await;
    world.readers(1).await;
    let mailer = Scripted::accepting();
    let sender = world.sender(mailer.clone()).await;
    let id = request(&world, &["reader0@example.com", STRANGER, "Editor@EXAMPLE.com"]).await;
    assert!(sender.step_transactional("scripted").await.unwrap());
    assert_eq!(ends(&world, id).await, [(State::Accepted, None), (State::Accepted, None)]);
    let own = sent_to(&mailer, "reader0@example.com");
    assert!(own.contains("Subject: [Test] Hello Reader\r\n") && own.contains("Hello Reader 0"), "{own}");
    let strangers = sent_to(&mailer, STRANGER);
    assert!(strangers.contains("Subject: [Test] Hello\r\n"), "{strangers}");
    let link = "https://mail.example.com/emails/unsubscribe?token=preview";
    assert!(
        own.contains("List-Unsubscribe:") && own.contains(&format!("<{link}>")),
        "as in readers' mails, and nobody's: {own}"
    );
    assert!(!world.has_permits().await);
    assert!(!sender.step_transactional("scripted").await.unwrap(), "nothing is left to do");
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_test_obeys_suppression_and_left_addresses(pool: PgPool) {
    let world = World::new(&pool).await;
    let readers = world.readers(2).await;
    opt_out(&world, readers[0]).await;
    let moved = commands::SubscriberPatch { email: Some("moved@example.com".into()), ..Default::default() };
    world.commands.change_subscriber(&Context::system("test"), readers[1], moved).await.unwrap();
    let mailer = Scripted::accepting();
    let sender = world.sender(mailer.clone()).await;
    let id = request(&world, &["READER0@example.com", "reader1@example.com", "moved@example.com"]).await;
    sender.step_transactional("scripted").await.unwrap();
    let suppressed = |reason: &str| (State::Suppressed, Some(reason.to_owned()));
    let expected = [suppressed("opted_out"), suppressed("address_left"), (State::Accepted, None)];
    assert_eq!(ends(&world, id).await, expected);
    assert_eq!(mailer.taken.lock().unwrap().len(), 1);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn an_opt_out_waits_for_a_test_under_way(pool: PgPool) {
    let world = World::new(&pool).await;
    let readers = world.readers(1).await;
    let mailer = Scripted::accepting();
    let closed = mailer.door.write().await;
    let sender = world.sender(mailer.clone()).await;
    request(&world, &["reader0@example.com"]).await;
    let sending = tokio::spawn(async move { sender.step_transactional("scripted").await });
    world.until(async || world.has_permits().await).await;
    let start = Instant::now();
    opt_out(&world, readers[0]).await;
    assert!(start.elapsed() >= TIMING.window + TIMING.margin, "it did not wait");
    drop(closed);
    sending.await.unwrap().unwrap();
    assert!(mailer.taken.lock().unwrap().is_empty(), "a call started after the opt-out was acknowledged");
}

/// Dies between the authorization and the settlement; another sender clears up.
async fn die_and_go_on(world: &World, known: Reconciled) -> (State, Arc<Scripted>) {
    let dying = Scripted::accepting();
    let closed = dying.door.write().await;
    let sender = world.sender(dying.clone()).await;
    let id = request(world, &[STRANGER]).await;
    let sending = tokio::spawn(async move { sender.step_transactional("scripted").await });
    world.until(async || world.has_permits().await).await;
    sending.abort();
    drop(closed);
    let mut other = Scripted::accepting();
    Arc::get_mut(&mut other).unwrap().known = known;
    let sender = world.sender(other.clone()).await;
    world
        .until(async || {
            sender.step_transactional("scripted").await.unwrap();
            let state = load(world, id).await.recipients[0].state;
            !matches!(state, State::Pending | State::Authorized(_))
        })
        .await;
    (load(world, id).await.recipients[0].state, other)
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn what_a_dead_worker_left_unknown_is_not_sent_again(pool: PgPool) {
    let world = World::new(&pool).await;
    let (state, other) = die_and_go_on(&world, Reconciled::Unknown).await;
    assert!(matches!(state, State::Unknown(_)), "{state:?}");
    assert!(other.taken.lock().unwrap().is_empty());
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn what_a_dead_worker_did_not_start_is_sent(pool: PgPool) {
    let world = World::new(&pool).await;
    let (state, other) = die_and_go_on(&world, Reconciled::NeverHandedOver).await;
    assert_eq!((state, other.taken.lock().unwrap().len()), (State::Accepted, 1));
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_deferral_is_tried_again_and_a_refusal_is_not(pool: PgPool) {
    let world = World::new(&pool).await;
    let mailer = Scripted::answering(|mail| match (mail.envelope_to.as_str(), mail.attempt) {
        (STRANGER, 1..3) => Outcome::Deferred { code: Some(450) },
        (STRANGER, _) => Outcome::Accepted { provider_id: None, late: false },
        _ => Outcome::Rejected { code: Some(550) },
    });
    let sender = world.sender(mailer.clone()).await;
    let id = request(&world, &[STRANGER, "nobody@example.com"]).await;
    world
        .until(async || {
            sender.step_transactional("scripted").await.unwrap();
            load(&world, id).await.recipients[0].state == State::Accepted
        })
        .await;
    assert_eq!(ends(&world, id).await[1], (State::Rejected, Some("550".into())));
    assert_eq!(load(&world, id).await.recipients[0].attempts, 3);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn what_is_not_sent_in_time_is_given_up(pool: PgPool) {
    let world = World::new(&pool).await;
    let id = Uuid::from_u128(1);
    let address = domain::EmailAddress::parse(STRANGER).unwrap();
    let mail = TestMail {
        template_id: world.template,
        template_version: 1,
        mailer: "scripted".into(),
        addresses: Personal::plain("[\"editor@example.com\"]"),
        address_hashes: vec![world.commands.store.master.address_hash(&address)],
        hash_key_id: world.commands.store.master.id().into(),
        expires_at: clock::now(),
    };
    let command = TransactionalCommand::RequestTest(mail);
    world.commands.store.execute::<Transactional>(id, command, Request::default()).await.unwrap();
    let mailer = Scripted::accepting();
    let sender = world.sender(mailer.clone()).await;
    assert!(sender.step_transactional("scripted").await.unwrap());
    assert_eq!(ends(&world, id).await, [(State::Rejected, Some("expired".into()))]);
    assert!(mailer.taken.lock().unwrap().is_empty());
    assert!(!sender.step_transactional("scripted").await.unwrap());
}
