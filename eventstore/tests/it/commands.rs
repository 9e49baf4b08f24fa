//! Commands through cqrs-es over our store: versions, idempotency, sealing.

use crate::support::*;
use domain::group::{Group, GroupCommand};
use domain::subscriber::Subscriber;
use domain::subscriber::SubscriberCommand;
use eventstore::{ExecuteError, IdempotencyKey, Request, StoreError, ids, load, sealing};
use serde_json::json;
use sqlx::PgPool;

fn rename(name: &str) -> GroupCommand {
    GroupCommand::Change { name: Some(name.into()), description: None }
}

fn keyed(key: &str, body: u8) -> Request {
    Request {
        idempotency: Some(IdempotencyKey {
            actor: "admin".into(),
            route: "POST /groups".into(),
            key: key.into(),
            body_hmac: [body; 32],
        }),
        answer: json!({ "body": body }),
        ..Request::default()
    }
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_stale_version_is_refused(pool: PgPool) {
    let store = store(&pool);
    let (id, _) = create_group(&store, "News").await;
    let request = |expected| Request { expected: Some(expected), ..Request::default() };
    assert!(store.execute::<Group>(id, rename("Letters"), request(1)).await.unwrap().appended);
    let stale = store.execute::<Group>(id, rename("Posts"), request(1)).await;
    assert!(matches!(stale, Err(ExecuteError::Stale)));
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_key_gets_its_first_answer_again(pool: PgPool) {
    let store = store(&pool);
    let create = GroupCommand::Create { name: "News".into(), description: String::new() };
    let first = store.execute::<Group>(ids::new_id(), create.clone(), keyed("k", 1)).await.unwrap();
    let again = store.execute::<Group>(ids::new_id(), create.clone(), keyed("k", 1)).await.unwrap();
    assert!(first.appended && !again.appended);
    assert_eq!((&again.answer, &again.position), (&first.answer, &first.position));
    let other_body = store.execute::<Group>(ids::new_id(), create, keyed("k", 2)).await;
    assert!(matches!(other_body, Err(ExecuteError::KeyReused)));
    let events: i64 = sqlx::query_scalar("SELECT count(*) FROM events").fetch_one(&pool).await.unwrap();
    assert_eq!(events, 1);
}

/// Many at once: one appends, the others are told its answer or that it runs.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_key_races_itself_and_appends_once(pool: PgPool) {
    let store = store(&pool);
    let create = GroupCommand::Create { name: "News".into(), description: String::new() };
    let tries = (0..16).map(|_| store.execute::<Group>(ids::new_id(), create.clone(), keyed("k", 1)));
    let outcomes = futures::future::join_all(tries).await;
    let appended = outcomes.iter().filter(|o| o.as_ref().is_ok_and(|done| done.appended)).count();
    assert_eq!(appended, 1);
    assert!(outcomes.iter().all(|o| matches!(o, Ok(_) | Err(ExecuteError::InProgress))));
    let events: i64 = sqlx::query_scalar("SELECT count(*) FROM events").fetch_one(&pool).await.unwrap();
    assert_eq!(events, 1);
}

/// The loser of a race on one stream loads again and succeeds.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn conflicts_are_tried_again(pool: PgPool) {
    let store = store(&pool);
    let (id, _) = create_group(&store, "News").await;
    let names = ["A", "B", "C"];
    let commands = names.iter().map(|name| store.execute::<Group>(id, rename(name), Request::default()));
    for outcome in futures::future::join_all(commands).await {
        outcome.unwrap();
    }
    assert_eq!(load::<Group>(&pool, id).await.unwrap().version, 4);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn personal_data_is_sealed_in_the_log_and_opens_with_the_key(pool: PgPool) {
    let store = store(&pool);
    let id = add_subscriber(&store, "ana@example.com", vec![]).await;
    let dump: String =
        sqlx::query_scalar("SELECT string_agg(e::text, '') FROM events e").fetch_one(&pool).await.unwrap();
    assert!(!dump.contains("ana@") && !dump.contains("Łukasz") && !dump.contains("Brien"));
    let subscriber = load::<Subscriber>(&pool, id).await.unwrap().aggregate;
    let keys = sealing::fetch(&pool, &store.master, &[id]).await.unwrap();
    assert_eq!(keys[&id].open("name", subscriber.name.as_ref().unwrap()).unwrap(), "Łukasz O'Brien");
}

/// With the events, in one transaction: no key that an erasure destroyed is there before it, and none after it.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn an_erasure_destroys_the_key_and_nobody_elses(pool: PgPool) {
    let store = store(&pool);
    let ana = add_subscriber(&store, "ana@example.com", vec![]).await;
    let ben = add_subscriber(&store, "ben@example.com", vec![]).await;
    let erase = |expected| Request { expected: Some(expected), ..Request::default() };
    let stale = store.execute::<Subscriber>(ana, SubscriberCommand::Erase, erase(9)).await;
    assert!(matches!(stale, Err(ExecuteError::Stale)));
    assert_eq!(sealing::fetch(&pool, &store.master, &[ana, ben]).await.unwrap().len(), 2);

    for appended in [true, false] {
        let done = store.execute::<Subscriber>(ana, SubscriberCommand::Erase, Request::default()).await;
        assert_eq!(done.unwrap().appended, appended);
    }
    let keys = sealing::fetch(&pool, &store.master, &[ana, ben]).await.unwrap();
    assert_eq!(keys.keys().collect::<Vec<_>>(), [&ben]);
    let noted: Vec<uuid::Uuid> =
        sqlx::query_scalar("SELECT subscriber_id FROM erasures").fetch_all(&pool).await.unwrap();
    assert_eq!(noted, [ana]);
    let again = new_subscriber(&store, "ANA@example.com", vec![]);
    let taken = store.execute::<Subscriber>(ids::new_id(), again, Request::default()).await;
    assert!(matches!(taken, Err(ExecuteError::Store(StoreError::AddressTaken))));
}

/// Whoever is first: what the other seals under the key is either destroyed with it or refused.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_change_that_races_an_erasure_leaves_nothing_that_opens(pool: PgPool) {
    let store = store(&pool);
    for n in 0..20 {
        let id = add_subscriber(&store, &format!("reader{n}@example.com"), vec![]).await;
        let change = SubscriberCommand::Change {
            address: None,
            hash_key_id: store.master.id().into(),
            details: Some((Some(domain::Personal::plain("Ana")), None)),
        };
        let (changed, erased) = tokio::join!(
            store.execute::<Subscriber>(id, change, Request::default()),
            store.execute::<Subscriber>(id, SubscriberCommand::Erase, Request::default())
        );
        erased.unwrap();
        assert!(matches!(changed, Ok(_) | Err(ExecuteError::Rejected(_))), "{changed:?}");
        assert!(load::<Subscriber>(&pool, id).await.unwrap().aggregate.is_erased());
        assert!(sealing::fetch(&pool, &store.master, &[id]).await.unwrap().is_empty());
    }
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn an_address_has_one_subscriber(pool: PgPool) {
    let store = store(&pool);
    add_subscriber(&store, "ana@example.com", vec![]).await;
    let again = new_subscriber(&store, " ANA@Example.COM ", vec![]);
    let taken = store.execute::<Subscriber>(ids::new_id(), again, Request::default()).await;
    assert!(matches!(taken, Err(ExecuteError::Store(StoreError::AddressTaken))));
    let keys: i64 = sqlx::query_scalar("SELECT count(*) FROM subject_keys").fetch_one(&pool).await.unwrap();
    assert_eq!(keys, 1, "the refused one left nothing behind");
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn what_was_recorded_is_not_edited(pool: PgPool) {
    create_group(&store(&pool), "News").await;
    for edit in
        ["UPDATE events SET payload = '{}'", "DELETE FROM events", "TRUNCATE events", "DELETE FROM log"]
    {
        assert!(sqlx::query(edit).execute(&pool).await.is_err(), "{edit}");
    }
}
