//! Mails outside campaigns: a template's test.

use crate::support::*;
use commands::send::OfMailers;
use commands::{Context, OptOut, TestFields};
use domain::Personal;
use domain::consent::{Channel, Origin, Scope};
use domain::dispatch::State;
use domain::transactional::{TestMail, Transactional, TransactionalCommand};
use eventstore::{Request, clock, ids};
use sqlx::PgPool;
use std::sync::Arc;
use std::time::{Duration, Instant};
use uuid::Uuid;
use workers::mailers::{Outcome, Reconciled};

const STRANGER: &str = "editor@example.com";

async fn request(world: &World, to: &[&str]) -> Uuid {
    request_with(world, to, TestFields::Own).await
}

async fn request_with(world: &World, to: &[&str], fields: TestFields) -> Uuid {
    let template = world.commands.template(world.template).await.unwrap();
    let to: Vec<String> = to.iter().map(|address| (*address).to_owned()).collect();
    let by = Context::system("test");
    let done = world.commands.request_test_mail(&by, world.template, &template, &to, fields).await.unwrap();
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

/// All recipients are shown the same fields, whoever they are, and the mail is addressed to themselves.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_test_shows_the_fields_that_were_given(pool: PgPool) {
    let world = World::new(&pool).await;
    world.readers(1).await;
    let mailer = Scripted::accepting();
    let sender = world.sender(mailer.clone()).await;
    let given = [("First Name", "Zoë"), ("name", "Zoë Weber")].map(|(key, value)| (key.into(), value.into()));
    let to = ["reader0@example.com", STRANGER];
    let id = request_with(&world, &to, TestFields::Given(given.into())).await;
    assert!(sender.step_transactional("scripted").await.unwrap());
    assert_eq!(ends(&world, id).await, [(State::Accepted, None), (State::Accepted, None)]);
    for to in to {
        let mail = sent_to(&mailer, to);
        assert!(mail.contains("Hello Zo=C3=AB Weber") && !mail.contains("Hello Reader"), "{mail}");
        assert!(mail.contains(&format!("<{to}>")) || mail.contains(&format!("To: {to}\r\n")), "{mail}");
    }
    let stored = "SELECT payload::text || event_version FROM events WHERE event_type = 'TestMailRequested'";
    let stored: String = sqlx::query_scalar(stored).fetch_one(&pool).await.unwrap();
    assert!(!stored.contains("Weber") && stored.ends_with("1.1"), "it is sealed: {stored}");
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_test_shows_the_fields_of_a_subscriber(pool: PgPool) {
    let world = World::new(&pool).await;
    let readers = world.readers(3).await;
    // Whose data are looked at is mailed nothing, so what they opted out of does not matter.
    opt_out(&world, readers[2]).await;
    let mailer = Scripted::accepting();
    let sender = world.sender(mailer.clone()).await;
    let id = request_with(&world, &["reader0@example.com", STRANGER], TestFields::Of(readers[2])).await;
    assert!(sender.step_transactional("scripted").await.unwrap());
    assert_eq!(ends(&world, id).await, [(State::Accepted, None), (State::Accepted, None)]);
    assert!(sent_to(&mailer, "reader0@example.com").contains("Hello Reader 2"));
    assert!(sent_to(&mailer, STRANGER).contains("Hello Reader 2"));
    assert!(
        !sent_to(&mailer, STRANGER).contains("reader2@example.com"),
        "it is addressed to who looks at it"
    );
}

/// Whoever is erased is shown to nobody any more, and the erasure waits for a mail under way.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_test_shows_nobody_who_was_erased(pool: PgPool) {
    let world = World::new(&pool).await;
    let readers = world.readers(2).await;
    let by = Context::system("test");
    let mailer = Scripted::accepting();
    let closed = mailer.door.write().await;
    let under_way = request_with(&world, &[STRANGER], TestFields::Of(readers[0])).await;
    let sender = world.sender(mailer.clone()).await;
    let sending = tokio::spawn(async move { sender.step_transactional("scripted").await });
    world.until(async || world.has_permits().await).await;
    let start = Instant::now();
    world.commands.erase_subscriber(&by, readers[0]).await.unwrap();
    assert!(start.elapsed() >= TIMING.window + TIMING.margin, "it did not wait");
    drop(closed);
    sending.await.unwrap().unwrap();
    assert!(mailer.taken.lock().unwrap().is_empty(), "a call started after the erasure was acknowledged");
    let waiting = request_with(&world, &[STRANGER], TestFields::Of(readers[1])).await;
    world.commands.erase_subscriber(&by, readers[1]).await.unwrap();
    let sender = world.sender(mailer.clone()).await;
    while sender.step_transactional("scripted").await.unwrap() {}
    for id in [under_way, waiting] {
        assert_eq!(ends(&world, id).await, [(State::Rejected, Some("erased".into()))]);
    }
    assert!(mailer.taken.lock().unwrap().is_empty());
    let template = world.commands.template(world.template).await.unwrap();
    let to = [STRANGER.to_owned()];
    let again = world
        .commands
        .request_test_mail(&by, world.template, &template, &to, TestFields::Of(readers[1]))
        .await;
    assert!(again.is_err(), "an erased person is not known");
}

/// What was sent lies in the outbox under the names of its recipients: they are looked for there.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn an_erasure_finds_the_tests_that_showed_its_person(pool: PgPool) {
    let world = World::new(&pool).await;
    let readers = world.readers(2).await;
    let sender = world.sender(Scripted::accepting()).await;
    let to = [STRANGER, "other@example.com"];
    let shown = request_with(&world, &to, TestFields::Of(readers[0])).await;
    let others = request_with(&world, &to, TestFields::Of(readers[1])).await;
    while sender.step_transactional("scripted").await.unwrap() {}
    world.commands.erase_subscriber(&Context::system("test"), readers[0]).await.unwrap();
    let remains = world.commands.remains().await.unwrap().expect("what is left of the person");
    for place in 0..2 {
        assert!(remains.readers.contains(&ids::recipient_id(shown, place)));
        assert!(!remains.readers.contains(&ids::recipient_id(others, place)));
    }
}

/// Between the making of the mail and its authorization.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn an_erasure_is_seen_by_the_authorization(pool: PgPool) {
    let world = World::new(&pool).await;
    let reader = world.readers(1).await[0];
    let id = request_with(&world, &[STRANGER], TestFields::Of(reader)).await;
    let lane = OfMailers::One("scripted".into());
    let lease = world.commands.claim_transactional(Duration::from_secs(60), &lane).await.unwrap();
    let lease = lease.expect("the mail");
    let dispatch = eventstore::load::<Transactional>(&pool, id).await.unwrap();
    world.commands.erase_subscriber(&Context::system("test"), reader).await.unwrap();
    let hold = Duration::from_secs(1);
    world.commands.authorize_test(lease, dispatch, "scripted", &[0], Vec::new(), hold).await.unwrap();
    assert_eq!(ends(&world, id).await, [(State::Rejected, Some("erased".into()))]);
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
        shown: None,
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
