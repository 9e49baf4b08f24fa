//! Mails of accounts: a link that lets somebody choose a password.

use crate::support::*;
use commands::{Context, NewUser, OptOut, Password};
use domain::EmailAddress;
use domain::access::Role;
use domain::consent::{Channel, Origin, Scope};
use domain::dispatch::State;
use domain::transactional::{AccountMailKind, Transactional};
use domain::visit::Visit;
use sqlx::PgPool;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use uuid::Uuid;
use workers::mailers::Outcome;

const RESET: AccountMailKind = AccountMailKind::PasswordReset;

async fn user(world: &World, email: &str, password: Option<&str>) -> Uuid {
    let password = password.map(|password| Password::new(password.into()).unwrap());
    let new = NewUser { email: EmailAddress::parse(email).unwrap(), roles: vec![Role::Analyst], password };
    id_of(&world.commands.add_user(&Context::system("test"), new).await.unwrap(), "user_id")
}

async fn ask(world: &World, email: &str) {
    let email = EmailAddress::parse(email).unwrap();
    let nobody = Context::default();
    world.commands.request_password_reset(&nobody, &email, Visit::default()).await.unwrap();
    assert_eq!(world.commands.take_reset_requests().await.unwrap(), 1);
}

/// The one recipient of the newest mail.
async fn end(world: &World) -> (State, Option<String>) {
    let newest = "SELECT dispatch_id FROM account_mails ORDER BY requested_at DESC LIMIT 1";
    let id: Uuid = sqlx::query_scalar(newest).fetch_one(&world.pool).await.unwrap();
    let dispatch: Transactional = eventstore::load(&world.pool, id).await.unwrap().aggregate;
    let [recipient] = &dispatch.recipients[..] else { panic!("{dispatch:?}") };
    (recipient.state, recipient.reason.clone())
}

async fn is_good(world: &World, kind: AccountMailKind, token: &str) -> bool {
    world.commands.account_link(kind, token).await.unwrap().is_some()
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn who_asked_gets_a_link_that_works(pool: PgPool) {
    let world = World::new(&pool).await;
    user(&world, "ana@example.com", Some("correct horse battery staple")).await;
    let mailer = Scripted::accepting();
    let sender = world.sender(mailer.clone()).await;
    ask(&world, "ana@example.com").await;
    assert!(sender.step_transactional("scripted").await.unwrap());
    assert_eq!(end(&world).await, (State::Accepted, None));
    let [mail] = &mailer.taken()[..] else { panic!("one mail") };
    let text = text_of(mail);
    assert_eq!(mail.envelope_to, "ana@example.com");
    assert!(text.contains("Subject: Choose a new password for News\r\n"), "{text}");
    assert!(text.contains("https://app.example.com/reset?token=plp_"), "{text}");
    assert!(!text.contains("List-Unsubscribe"), "{text}");
    assert!(is_good(&world, RESET, &token_of(mail)).await);
    assert!(!is_good(&world, AccountMailKind::Invitation, &token_of(mail)).await);
    assert!(!world.has_permits().await);
    assert!(!sender.step_transactional("scripted").await.unwrap(), "nothing is left to do");
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn who_is_invited_gets_a_link_that_works(pool: PgPool) {
    let world = World::new(&pool).await;
    user(&world, "ana@example.com", None).await;
    let mailer = Scripted::accepting();
    world.sender(mailer.clone()).await.step_transactional("scripted").await.unwrap();
    let [mail] = &mailer.taken()[..] else { panic!("one mail") };
    let text = text_of(mail);
    assert!(text.contains("Subject: You are invited to News\r\n"), "{text}");
    assert!(text.contains("https://app.example.com/join?token=pli_"), "{text}");
    assert!(is_good(&world, AccountMailKind::Invitation, &token_of(mail)).await);
}

/// What a request could leave.
async fn left(world: &World) -> (i64, i64, i64) {
    let counts = "SELECT (SELECT count(*) FROM events), (SELECT count(*) FROM subject_keys), (SELECT count(*) FROM account_mails)";
    sqlx::query_as(counts).fetch_one(&world.pool).await.unwrap()
}

/// Nobody's request waits as anybody's does, and comes to nothing here.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn nobody_gets_nothing(pool: PgPool) {
    let world = World::new(&pool).await;
    let mailer = Scripted::accepting();
    let sender = world.sender(mailer.clone()).await;
    let before = left(&world).await;
    ask(&world, "nobody@example.com").await;
    assert!(!sender.step_transactional("scripted").await.unwrap());
    assert!(mailer.taken().is_empty() && !world.has_permits().await);
    assert_eq!(left(&world).await, before);
}

/// Its key does not open: it is nobody else's trouble, and is told of again and again until it is too old.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_request_that_cannot_be_taken_stands_in_nobodys_way(pool: PgPool) {
    let world = World::new(&pool).await;
    for email in ["ana@example.com", "bob@example.com"] {
        user(&world, email, Some("correct horse battery staple")).await;
        let email = EmailAddress::parse(email).unwrap();
        world.commands.request_password_reset(&Context::default(), &email, Visit::default()).await.unwrap();
    }
    let spoilt = sqlx::query(
        "UPDATE subject_keys SET wrapped_key = '\\x00'
         WHERE subject_id = (SELECT attempt_id FROM reset_requests ORDER BY requested_at LIMIT 1)",
    );
    assert_eq!(spoilt.execute(&pool).await.unwrap().rows_affected(), 1);
    let mails = async || {
        let mails = "SELECT count(*) FROM account_mails WHERE kind = 'password_reset'";
        sqlx::query_scalar::<_, i64>(mails).fetch_one(&pool).await.unwrap()
    };
    world.commands.take_reset_requests().await.unwrap_err();
    assert_eq!(mails().await, 1);
    // As many as one look takes: they rest, and later ones are looked at.
    let copy = "WITH spoilt AS (SELECT r.*, gen_random_uuid() AS copy_id
                     FROM reset_requests r, generate_series(1, 120) WHERE NOT taken),
                     keyed AS (INSERT INTO subject_keys (subject_id, master_key_id, wrapped_key)
                         SELECT copy_id, k.master_key_id, k.wrapped_key
                         FROM spoilt s JOIN subject_keys k ON k.subject_id = s.attempt_id)
                INSERT INTO reset_requests (attempt_id, address_hash, actor, source_address, user_agent, requested_at)
                SELECT copy_id, address_hash, actor, source_address, user_agent, requested_at FROM spoilt";
    assert_eq!(sqlx::query(copy).execute(&pool).await.unwrap().rows_affected(), 120);
    let email = EmailAddress::parse("bob@example.com").unwrap();
    world.commands.request_password_reset(&Context::default(), &email, Visit::default()).await.unwrap();
    for _ in 0..2 {
        world.commands.take_reset_requests().await.unwrap_err();
    }
    assert_eq!(mails().await, 2);
}

/// A reader who opted out of everything and signs in as well: the link is no newsletter.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn no_opt_out_keeps_anybody_from_their_account(pool: PgPool) {
    let world = World::new(&pool).await;
    let reader = world.readers(1).await[0];
    user(&world, "reader0@example.com", None).await;
    let opt_out = OptOut {
        subscriber: reader,
        scope: Scope::Global,
        channel: Channel::OneClick,
        origin: Origin::default(),
    };
    world.commands.opt_out(&Context::system("test"), opt_out).await.unwrap();
    let mailer = Scripted::accepting();
    world.sender(mailer.clone()).await.step_transactional("scripted").await.unwrap();
    assert_eq!(mailer.taken().len(), 1);
}

/// The first try is refused for now, the second is taken: each has a secret of its own, and only the last one's counts.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn each_try_has_a_link_of_its_own(pool: PgPool) {
    let world = World::new(&pool).await;
    user(&world, "ana@example.com", Some("correct horse battery staple")).await;
    let tries = Arc::new(AtomicU32::new(0));
    let counted = tries.clone();
    let refused = Arc::new(std::sync::Mutex::new(None));
    let kept = refused.clone();
    let mailer = Scripted::answering(move |mail| match counted.fetch_add(1, Ordering::Relaxed) {
        0 => {
            *kept.lock().unwrap() = Some(mail.clone());
            Outcome::Deferred { code: Some(451) }
        }
        _ => Outcome::Accepted { provider_id: None, late: false },
    });
    let sender = world.sender(mailer.clone()).await;
    ask(&world, "ana@example.com").await;
    sender.step_transactional("scripted").await.unwrap();
    assert_eq!(end(&world).await, (State::Pending, None));
    let first = token_of(refused.lock().unwrap().as_ref().unwrap());
    assert!(is_good(&world, RESET, &first).await);
    for _ in 0..200 {
        if sender.step_transactional("scripted").await.unwrap() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let [mail] = &mailer.taken()[..] else { panic!("one mail") };
    let second = token_of(mail);
    assert!(first != second && is_good(&world, RESET, &second).await);
    assert!(!is_good(&world, RESET, &first).await);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_mail_that_does_not_go_leaves_nothing_that_opens_anything(pool: PgPool) {
    let world = World::new(&pool).await;
    user(&world, "ana@example.com", Some("correct horse battery staple")).await;
    let mailer = Scripted::accepting();
    mailer.down.store(true, Ordering::Relaxed);
    let sender = world.sender(mailer.clone()).await;
    ask(&world, "ana@example.com").await;
    sender.step_transactional("scripted").await.unwrap();
    assert_eq!(end(&world).await, (State::Pending, None));
    assert!(mailer.taken().is_empty());
    let links: i64 = sqlx::query_scalar("SELECT count(*) FROM account_mails WHERE token_hash IS NOT NULL")
        .fetch_one(&world.pool)
        .await
        .unwrap();
    assert_eq!(links, 0);
}
