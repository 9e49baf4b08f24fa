//! Mails of readers' own decisions: the question of a double opt-in, the confirmation of an opt-out.

use crate::support::*;
use commands::{Context, NewSubscription, OptOut, Preferences};
use domain::SubscriberId;
use domain::consent::{Channel, Origin, Scope};
use domain::dispatch::State;
use domain::transactional::Transactional;
use domain::visit::Visit;
use mail::links::{LinkKey, LinkKeys};
use sqlx::PgPool;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use uuid::Uuid;
use workers::mailers::Outcome;
use workers::sender::Sender;

/// Anybody's request.
async fn ask(world: &World, email: &str) {
    let new = NewSubscription {
        email: email.into(),
        name: Some("Win <b>big</b> at evil.example".into()),
        groups: vec![world.group],
        wording_version: None,
        visit: Visit::default(),
    };
    world.commands.request_subscription(&Context::default(), new).await.unwrap();
}

async fn opt_out(world: &World, subscriber: SubscriberId, scope: Scope, channel: Channel) {
    let opt_out = OptOut { subscriber, scope, channel, origin: Origin::default() };
    world.commands.opt_out(&Context::system("test"), opt_out).await.unwrap();
}

async fn opt_in(world: &World, subscriber: SubscriberId) {
    let wanted = Preferences {
        subscriber,
        global_opt_out: Some(false),
        groups: vec![(world.group, true)],
        origin: Origin::default(),
    };
    world.commands.set_preferences(&Context::system("test"), wanted).await.unwrap();
}

/// Lets the sender work until nothing waits.
async fn send(world: &World, sender: &Sender) {
    world.opt_outs_become_mails().await;
    while sender.step_transactional("scripted").await.unwrap() {}
}

/// What became of the newest mail outside campaigns.
async fn end(world: &World) -> (State, Option<String>) {
    end_of(world, "%").await
}

/// Of the newest of this kind.
async fn end_of(world: &World, event: &str) -> (State, Option<String>) {
    let newest =
        "SELECT aggregate_id::uuid FROM events WHERE aggregate_type = 'transactional' AND sequence = 1
                  AND event_type LIKE $1 ORDER BY append_id DESC LIMIT 1";
    let id: Uuid = sqlx::query_scalar(newest).bind(event).fetch_one(&world.pool).await.unwrap();
    let dispatch: Transactional = eventstore::load(&world.pool, id).await.unwrap().aggregate;
    let [recipient] = &dispatch.recipients[..] else { panic!("{dispatch:?}") };
    (recipient.state, recipient.reason.clone())
}

async fn count(world: &World, event: &str) -> i64 {
    let count = "SELECT count(*) FROM events WHERE event_type = $1";
    sqlx::query_scalar(count).bind(event).fetch_one(&world.pool).await.unwrap()
}

async fn confirm(world: &World, token: &str) {
    world.commands.confirm_subscription(&Context::default(), token, None, Visit::default()).await.unwrap();
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn the_owner_of_the_address_is_asked(pool: PgPool) {
    let world = World::new(&pool).await;
    let mailer = Scripted::accepting();
    let sender = world.sender(mailer.clone()).await;
    ask(&world, "ana@example.com").await;
    send(&world, &sender).await;
    assert_eq!(end(&world).await, (State::Accepted, None));
    let [mail] = &mailer.taken()[..] else { panic!("one mail") };
    let text = text_of(mail);
    assert_eq!(mail.envelope_to, "ana@example.com");
    assert!(text.contains("Subject: Please confirm your subscription at News\r\n"), "{text}");
    assert!(text.contains("To: ana@example.com\r\n"), "{text}");
    assert!(text.contains("https://mail.example.com/subscriptions/confirm?token=plc_"), "{text}");
    assert!(!text.contains("List-Unsubscribe"), "{text}");
    assert!(!text.contains("evil.example") && !text.contains("<b>"), "a stranger's words: {text}");
    confirm(&world, &token_of(mail)).await;
    assert_eq!(count(&world, "SubscriptionConfirmed").await, 1);
    assert!(!world.has_permits().await);
}

/// What goes to whom: the campaign of a moment later finds nobody who did not confirm.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn campaigns_reach_who_confirmed_by_that_consent(pool: PgPool) {
    let world = World::new(&pool).await;
    let mailer = Scripted::accepting();
    let sender = world.sender(mailer.clone()).await;
    ask(&world, "ana@example.com").await;
    ask(&world, "bob@example.com").await;
    send(&world, &sender).await;
    let mails = mailer.taken();
    let to_ana = mails.iter().find(|mail| mail.envelope_to == "ana@example.com").unwrap();
    confirm(&world, &token_of(to_ana)).await;
    mailer.taken.lock().unwrap().clear();
    let campaign = world.frozen_campaign(domain::campaign::OnUnknown::Hold).await;
    world.send_until(&sender, campaign, "completed").await;
    let reached: Vec<String> = mailer.taken().into_iter().map(|mail| mail.envelope_to).collect();
    assert_eq!(reached, ["ana@example.com"]);
    let consents: serde_json::Value = sqlx::query_scalar(
        "SELECT payload #> '{SendAuthorized,consents}' FROM events WHERE event_type = 'SendAuthorized'",
    )
    .fetch_one(&world.pool)
    .await
    .unwrap();
    assert_eq!(consents, serde_json::json!([2]), "the confirmation, behind the request");
}

/// An opt-out is no reason to keep a person from coming back; a complaint is one not to ask.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn who_left_is_asked_and_who_called_it_spam_is_not(pool: PgPool) {
    let world = World::new(&pool).await;
    let readers = world.readers(3).await;
    let mailer = Scripted::accepting();
    let sender = world.sender(mailer.clone()).await;
    let channels = [Channel::Admin, Channel::Complaint, Channel::HardBounce];
    for ((number, reader), channel) in readers.iter().enumerate().zip(channels) {
        opt_out(&world, *reader, Scope::Global, channel).await;
        ask(&world, &format!("reader{number}@example.com")).await;
        send(&world, &sender).await;
        match channel {
            Channel::Admin => assert_eq!(end(&world).await, (State::Accepted, None)),
            _ => assert_eq!(end(&world).await, (State::Suppressed, Some("unwanted".into()))),
        }
    }
    assert_eq!(mailer.taken().len(), 1);
}

/// A request that waited when its address was erased ends with it; one that comes later is its owner's way back.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn what_was_asked_before_an_erasure_is_not_sent_after_it(pool: PgPool) {
    let world = World::new(&pool).await;
    let reader = world.readers(1).await[0];
    let mailer = Scripted::accepting();
    let sender = world.sender(mailer.clone()).await;
    ask(&world, "reader0@example.com").await;
    world.commands.erase_subscriber(&Context::system("test"), reader).await.unwrap();
    send(&world, &sender).await;
    assert_eq!(end(&world).await, (State::Suppressed, Some("erased".into())));
    assert!(mailer.taken().is_empty());
    ask(&world, "reader0@example.com").await;
    send(&world, &sender).await;
    assert_eq!(mailer.taken().len(), 1);
}

/// A request that waited when the reader left ends with it, also one whose mail was tried before; whoever wants it all the same asks
/// once more.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn what_was_asked_before_an_opt_out_is_not_sent_after_it(pool: PgPool) {
    let world = World::new(&pool).await;
    let reader = world.readers(1).await[0];
    let is_up = Arc::new(AtomicBool::new(false));
    let up = is_up.clone();
    let mailer = Scripted::answering(move |_| match up.load(Ordering::Relaxed) {
        false => Outcome::Deferred { code: Some(451) },
        true => Outcome::Accepted { provider_id: None, late: false },
    });
    let sender = world.sender(mailer.clone()).await;
    ask(&world, "reader0@example.com").await;
    send(&world, &sender).await;
    assert_eq!(count(&world, "SubscriptionRequested").await, 1);
    opt_out(&world, reader, Scope::Global, Channel::Admin).await;
    is_up.store(true, Ordering::Relaxed);
    sqlx::query("UPDATE dispatch_work SET not_before = NULL").execute(&pool).await.unwrap();
    send(&world, &sender).await;
    assert_eq!(end(&world).await, (State::Suppressed, Some("opted_out".into())));
    assert_eq!((mailer.taken().len(), count(&world, "SubscriptionRequested").await), (0, 1));
    ask(&world, "reader0@example.com").await;
    send(&world, &sender).await;
    assert_eq!(mailer.taken().len(), 1);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_mail_that_is_tried_again_asks_once(pool: PgPool) {
    let world = World::new(&pool).await;
    let tries = Arc::new(AtomicU32::new(0));
    let counted = tries.clone();
    let mailer = Scripted::answering(move |_| match counted.fetch_add(1, Ordering::Relaxed) {
        0 => Outcome::Deferred { code: Some(451) },
        _ => Outcome::Accepted { provider_id: None, late: false },
    });
    let sender = world.sender(mailer.clone()).await;
    ask(&world, "ana@example.com").await;
    world
        .until(async || {
            sender.step_transactional("scripted").await.unwrap();
            !mailer.taken().is_empty()
        })
        .await;
    assert_eq!(count(&world, "SubscriptionRequested").await, 1);
    confirm(&world, &token_of(&mailer.taken()[0])).await;
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn who_opts_out_is_told_once(pool: PgPool) {
    let world = World::new(&pool).await;
    let reader = world.readers(1).await[0];
    let mailer = Scripted::accepting();
    let sender = world.sender(mailer.clone()).await;
    let group = || Scope::Groups(vec![world.group]);
    for channel in [Channel::OneClick, Channel::OneClick, Channel::PreferencePage] {
        opt_out(&world, reader, group(), channel).await;
        send(&world, &sender).await;
    }
    let [mail] = &mailer.taken()[..] else { panic!("one mail") };
    let text = text_of(mail);
    assert_eq!(mail.envelope_to, "reader0@example.com");
    assert!(text.contains("Subject: You are unsubscribed at News\r\n"), "{text}");
    assert!(text.contains("News=E2=80=9D from News any more") || text.contains("“News” from News"), "{text}");
    assert!(!text.contains("List-Unsubscribe"), "{text}");
    // The way back: a link to the reader's own preferences.
    let keys = eventstore::service_keys::load(&world.pool, &world.commands.store.master, "preference").await;
    let keys = keys.unwrap().into_iter().map(|key| LinkKey { kid: key.kid, secret: *key.secret }).collect();
    let claims = LinkKeys::new(keys).unwrap().verify_preference(&token_of(mail)).unwrap();
    assert_eq!((claims.subscriber, claims.group), (reader, Some(world.group)));

    opt_in(&world, reader).await;
    opt_out(&world, reader, Scope::Global, Channel::OneClick).await;
    send(&world, &sender).await;
    let news = mailer.taken().into_iter().skip(1).map(|mail| text_of(&mail)).collect::<Vec<_>>();
    let [news] = &news[..] else {
        panic!("a new opt-out, and no word of the opt-in that it ended: {news:?}")
    };
    assert!(news.contains("You will not get any mail from News any more."));
    assert!(!world.has_permits().await);
}

/// By an import, the staff, a complaint or a bounce.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn who_was_opted_out_by_others_gets_no_mail(pool: PgPool) {
    let world = World::new(&pool).await;
    let readers = world.readers(4).await;
    let mailer = Scripted::accepting();
    let sender = world.sender(mailer.clone()).await;
    let channels = [Channel::Import, Channel::Admin, Channel::Complaint, Channel::HardBounce];
    for (reader, channel) in readers.into_iter().zip(channels) {
        opt_out(&world, reader, Scope::Global, channel).await;
    }
    send(&world, &sender).await;
    assert!(mailer.taken().is_empty());
    assert_eq!(count(&world, "OptOutMailRequested").await, 0);
}

/// Between the opt-out and its mail.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_mail_that_has_no_reason_any_more_does_not_go(pool: PgPool) {
    let world = World::new(&pool).await;
    let readers = world.readers(3).await;
    let mailer = Scripted::accepting();
    let sender = world.sender(mailer.clone()).await;
    let [back, spam, erased] = readers[..] else { panic!("three readers") };
    let reason = |reason: &str| Some(reason.to_owned());

    opt_out(&world, back, Scope::Global, Channel::OneClick).await;
    opt_in(&world, back).await;
    send(&world, &sender).await;
    let of = |event| end_of(&world, event);
    assert_eq!(of("OptOutMailRequested").await, (State::Suppressed, reason("opted_in_again")));
    assert_eq!(of("OptInMailRequested").await, (State::Accepted, None));
    mailer.taken.lock().unwrap().clear();

    opt_out(&world, spam, Scope::Groups(vec![world.group]), Channel::OneClick).await;
    opt_out(&world, spam, Scope::Global, Channel::Complaint).await;
    send(&world, &sender).await;
    assert_eq!(end(&world).await, (State::Suppressed, reason("unwanted")));

    opt_out(&world, erased, Scope::Global, Channel::OneClick).await;
    world.commands.erase_subscriber(&Context::system("test"), erased).await.unwrap();
    send(&world, &sender).await;
    assert_eq!(end(&world).await, (State::Rejected, reason("erased")));
    assert!(mailer.taken().is_empty());
}

/// A group, and everything a moment later: one mail, about everything.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn only_the_last_opt_out_is_told(pool: PgPool) {
    let world = World::new(&pool).await;
    let reader = world.readers(1).await[0];
    let mailer = Scripted::accepting();
    let sender = world.sender(mailer.clone()).await;
    opt_out(&world, reader, Scope::Groups(vec![world.group]), Channel::OneClick).await;
    opt_out(&world, reader, Scope::Global, Channel::PreferencePage).await;
    send(&world, &sender).await;
    let [mail] = &mailer.taken()[..] else { panic!("one mail") };
    assert!(text_of(mail).contains("You will not get any mail from News any more."));
}

/// Whoever has the link of a forwarded mail.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn opting_out_and_in_again_fills_no_mailbox(pool: PgPool) {
    let world = World::new(&pool).await;
    let reader = world.readers(1).await[0];
    let mailer = Scripted::accepting();
    let sender = world.sender(mailer.clone()).await;
    for _ in 0..6 {
        opt_out(&world, reader, Scope::Global, Channel::PreferencePage).await;
        send(&world, &sender).await;
        opt_in(&world, reader).await;
    }
    assert_eq!(mailer.taken().len(), 3, "three an hour");
}

/// Many senders at once, each of which finds the notes.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn many_senders_tell_each_person_once(pool: PgPool) {
    let world = World::new(&pool).await;
    let readers = world.readers(20).await;
    let mailer = Scripted::accepting();
    for reader in &readers {
        opt_out(&world, *reader, Scope::Global, Channel::OneClick).await;
    }
    world.a_moment_passes().await;
    let senders = futures::future::join_all((0..4).map(|_| world.sender(mailer.clone()))).await;
    let steps = senders.iter().map(|sender| async {
        world.commands.queue_opt_out_mails().await.unwrap();
        while sender.step_transactional("scripted").await.unwrap() {}
    });
    futures::future::join_all(steps).await;
    world
        .until(async || {
            senders[0].step_transactional("scripted").await.unwrap();
            mailer.taken().len() >= readers.len()
        })
        .await;
    let mut told: Vec<String> = mailer.taken().into_iter().map(|mail| mail.envelope_to).collect();
    told.sort();
    told.dedup();
    assert_eq!((told.len(), mailer.taken().len()), (20, 20));
}

/// Whose events cannot be read is told nothing; all others are.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_person_that_cannot_be_read_stands_in_nobodys_way(pool: PgPool) {
    let world = World::new(&pool).await;
    let [broken, fine] = world.readers(2).await[..] else { panic!("two readers") };
    for reader in [broken, fine] {
        opt_out(&world, reader, Scope::Global, Channel::OneClick).await;
    }
    let mut damage = pool.begin().await.unwrap();
    sqlx::query("SET LOCAL session_replication_role = replica").execute(&mut *damage).await.unwrap();
    let spoil = "UPDATE events SET event_version = '99' WHERE aggregate_id = $1";
    sqlx::query(spoil).bind(broken.to_string()).execute(&mut *damage).await.unwrap();
    damage.commit().await.unwrap();
    world.a_moment_passes().await;
    world.commands.queue_opt_out_mails().await.unwrap_err();
    let mailer = Scripted::accepting();
    let sender = world.sender(mailer.clone()).await;
    while sender.step_transactional("scripted").await.unwrap() {}
    let told: Vec<String> = mailer.taken().into_iter().map(|mail| mail.envelope_to).collect();
    assert_eq!(told, ["reader1@example.com"]);
}

/// As many notes fail as one look takes: they rest, and the next look takes later ones.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn notes_that_fail_keep_no_later_ones_waiting(pool: PgPool) {
    let world = World::new(&pool).await;
    let readers = world.readers(51).await;
    for reader in &readers {
        opt_out(&world, *reader, Scope::Global, Channel::OneClick).await;
    }
    let mut damage = pool.begin().await.unwrap();
    sqlx::query("SET LOCAL session_replication_role = replica").execute(&mut *damage).await.unwrap();
    let spoil = "UPDATE events SET event_version = '99' WHERE aggregate_id = ANY($1)";
    let broken: Vec<String> = readers[..50].iter().map(ToString::to_string).collect();
    sqlx::query(spoil).bind(broken).execute(&mut *damage).await.unwrap();
    damage.commit().await.unwrap();
    world.a_moment_passes().await;
    world.commands.queue_opt_out_mails().await.unwrap_err();
    // On a slow machine the first ones may have rested by now: they come after those that were not tried.
    let _ = world.commands.queue_opt_out_mails().await;
    let done = "SELECT subscriber_id FROM opt_out_mails WHERE done_at IS NOT NULL";
    let done: Vec<SubscriberId> = sqlx::query_scalar(done).fetch_all(&pool).await.unwrap();
    assert_eq!(done, readers[50..]);
}

/// Nothing but Postgres is needed, and nothing is lost: the mail goes when the mailer is back.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn an_opt_out_waits_for_no_mailer(pool: PgPool) {
    let world = World::new(&pool).await;
    let reader = world.readers(1).await[0];
    let mailer = Scripted::accepting();
    mailer.down.store(true, Ordering::Relaxed);
    let sender = world.sender(mailer.clone()).await;
    opt_out(&world, reader, Scope::Global, Channel::OneClick).await;
    send_while_down(&world, &sender).await;
    assert!(mailer.taken().is_empty() && !world.has_permits().await);
    mailer.down.store(false, Ordering::Relaxed);
    sqlx::query("UPDATE dispatch_work SET not_before = NULL").execute(&world.pool).await.unwrap();
    world
        .until(async || {
            send(&world, &sender).await;
            mailer.taken().len() == 1
        })
        .await;
}

async fn send_while_down(world: &World, sender: &Sender) {
    world.opt_outs_become_mails().await;
    sender.step_transactional("scripted").await.unwrap();
}

/// Whoever opts in by a link may have got it with a forwarded mail: the owner of the address is told, and can leave again.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn an_opt_in_by_a_link_is_told_to_the_owner(pool: PgPool) {
    let world = World::new(&pool).await;
    let reader = world.readers(1).await[0];
    let mailer = Scripted::accepting();
    let sender = world.sender(mailer.clone()).await;
    opt_out(&world, reader, Scope::Groups(vec![world.group]), Channel::Admin).await;
    opt_in(&world, reader).await;
    // What holds already is no opt-in.
    opt_in(&world, reader).await;
    send(&world, &sender).await;
    send(&world, &sender).await;
    let [mail] = &mailer.taken()[..] else { panic!("one mail") };
    let text = text_of(mail);
    assert_eq!(mail.envelope_to, "reader0@example.com");
    assert!(text.contains("Subject: You are subscribed at News\r\n"), "{text}");
    assert!(text.contains("X-Postledger-Kind: opt_in\r\n"), "{text}");
    assert!(text.contains("News=E2=80=9D from News") || text.contains("“News” from News"), "{text}");
    let keys = eventstore::service_keys::load(&world.pool, &world.commands.store.master, "preference").await;
    let keys = keys.unwrap().into_iter().map(|key| LinkKey { kid: key.kid, secret: *key.secret }).collect();
    let claims = LinkKeys::new(keys).unwrap().verify_preference(&token_of(mail)).unwrap();
    assert_eq!((claims.subscriber, claims.group), (reader, Some(world.group)), "the way to leave again");
    assert_eq!(count(&world, "OptInMailRequested").await, 1);
    assert!(!world.has_permits().await);
}

/// By the staff, by a form, or whoever was added: nobody used a link.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn who_was_subscribed_by_others_is_not_told(pool: PgPool) {
    let world = World::new(&pool).await;
    let reader = world.readers(1).await[0];
    let by = Context::system("test");
    let other = world.commands.create_group(&by, "Offers".into(), String::new()).await.unwrap();
    world.commands.join_group(&by, id_of(&other, "group_id"), reader, by_form()).await.unwrap();
    send(&world, &world.sender(Scripted::accepting()).await).await;
    assert_eq!(count(&world, "OptInMailRequested").await, 0);
}

/// Between the opt-in and its mail, and after the mail was made.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn an_opt_in_that_does_not_hold_any_more_is_not_told(pool: PgPool) {
    let world = World::new(&pool).await;
    let readers = world.readers(4).await;
    let mailer = Scripted::accepting();
    let sender = world.sender(mailer.clone()).await;
    let by = Context::system("test");
    let group = Scope::Groups(vec![world.group]);
    for reader in &readers {
        opt_out(&world, *reader, group.clone(), Channel::Admin).await;
    }
    let told = async || end_of(&world, "OptInMailRequested").await;
    let reason = |reason: &str| Some(reason.to_owned());
    for (reader, scope, channel, why) in [
        (readers[0], Scope::Global, Channel::Admin, "opted_out_again"),
        (readers[1], group.clone(), Channel::OneClick, "opted_out_again"),
        (readers[2], Scope::Global, Channel::HardBounce, "unwanted"),
    ] {
        opt_in(&world, reader).await;
        opt_out(&world, reader, scope, channel).await;
        send(&world, &sender).await;
        assert_eq!(told().await, (State::Suppressed, reason(why)));
    }
    opt_in(&world, readers[3]).await;
    world.commands.erase_subscriber(&by, readers[3]).await.unwrap();
    send(&world, &sender).await;
    assert_eq!(told().await, (State::Rejected, reason("erased")));
    let told: Vec<String> = mailer.taken().iter().map(text_of).collect();
    assert!(told.iter().all(|mail| !mail.contains("You are subscribed")), "{told:?}");
}

/// An opt-in beside a mail about it that is under way: leaving waits for it.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn an_opt_out_waits_for_the_word_of_an_opt_in(pool: PgPool) {
    let world = World::new(&pool).await;
    let reader = world.readers(1).await[0];
    opt_out(&world, reader, Scope::Global, Channel::Admin).await;
    opt_in(&world, reader).await;
    world.opt_outs_become_mails().await;
    let mailer = Scripted::accepting();
    let closed = mailer.door.write().await;
    let sender = world.sender(mailer.clone()).await;
    let sending = tokio::spawn(async move { sender.step_transactional("scripted").await });
    world.until(async || world.has_permits().await).await;
    opt_out(&world, reader, Scope::Global, Channel::Admin).await;
    drop(closed);
    sending.await.unwrap().unwrap();
    assert!(mailer.taken().is_empty(), "a call started after the opt-out was acknowledged");
}

/// Three an hour of each kind, whoever toggles a forwarded link.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn the_word_of_opt_ins_fills_no_mailbox(pool: PgPool) {
    let world = World::new(&pool).await;
    let reader = world.readers(1).await[0];
    let mailer = Scripted::accepting();
    let sender = world.sender(mailer.clone()).await;
    for _ in 0..6 {
        opt_out(&world, reader, Scope::Global, Channel::Admin).await;
        opt_in(&world, reader).await;
        send(&world, &sender).await;
    }
    assert_eq!(mailer.taken().len(), 3);
    assert_eq!(count(&world, "SubscriberOptedIn").await, 6);
}
