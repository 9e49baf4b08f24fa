//! What of one person cannot be read is that person's own trouble.

use crate::support::*;
use domain::campaign::OnUnknown;
use domain::dispatch::{Dispatch, DispatchEvent};
use domain::subscriber::Subscriber;
use eventstore::{LogEvent, decode, ids, load, sealing};
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

/// A key that does not open.
async fn damage_key(pool: &PgPool, person: Uuid) {
    let damage = "UPDATE subject_keys SET wrapped_key = '\\x00' WHERE subject_id = $1";
    sqlx::query(damage).bind(person).execute(pool).await.unwrap();
}

/// An event behind the last one, as it stands there.
async fn record(pool: &PgPool, person: Uuid, version: &str, payload: Value) {
    sqlx::query(
        "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
         VALUES ('subscriber', $1, 2, 'SubscriberDetailsChanged', $2, $3, '{}')",
    )
    .bind(person.to_string())
    .bind(version)
    .bind(payload)
    .execute(pool)
    .await
    .unwrap();
}

async fn sealed(world: &World, person: Uuid, field: &str, plain: &str) -> String {
    let keys = sealing::fetch(&world.pool, &world.commands.store.master, &[person]).await.unwrap();
    keys[&person].seal(2, field, plain).unwrap()
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn one_damaged_person_withholds_nobody_else_s_mail(pool: PgPool) {
    let world = World::new(&pool).await;
    let readers = world.readers(7).await;
    let campaign = world.frozen_campaign(OnUnknown::Hold).await;
    let changed = |field: &str, value: &str| json!({ "SubscriberDetailsChanged": { field: value } });
    damage_key(&pool, readers[0]).await;
    record(&pool, readers[1], "9.0", changed("name", "1:2:AAAA")).await;
    record(&pool, readers[2], "1.0", json!({ "SubscriberDetailsChanged": 7 })).await;
    record(&pool, readers[3], "1.0", changed("name", "1:2:AAAA")).await;
    let attributes = sealed(&world, readers[4], "attributes", "neither JSON nor nothing").await;
    record(&pool, readers[4], "1.0", changed("attributes", &attributes)).await;

    let mailer = Scripted::accepting();
    world.send_until(&world.sender(mailer.clone()).await, campaign, "completed").await;
    assert_eq!(world.states(campaign).await, states([("accepted", 2), ("rejected", 5)]));
    assert_eq!(mailer.copies(), readers[5..].iter().map(|id| (*id, 1)).collect());
    let dispatch = ids::dispatch_id(campaign, 0);
    let planned = load::<Dispatch>(&pool, dispatch).await.unwrap().aggregate.recipients;
    // The log has it once the sequencer came to it.
    world.until(async || !rejected(&pool, dispatch).await.is_empty()).await;
    let mut rejected = rejected(&pool, dispatch).await;
    rejected.sort();
    let mut expected: Vec<(Uuid, String)> =
        readers[..5].iter().map(|id| (*id, "unreadable".to_owned())).collect();
    expected.sort();
    let named = rejected.into_iter().map(|(i, reason)| (planned[usize::from(i)].subscriber, reason));
    let mut named: Vec<_> = named.collect();
    named.sort();
    assert_eq!(named, expected);
    // Nothing that was written of them says that they were erased.
    assert!(load::<Subscriber>(&pool, readers[0]).await.unwrap().aggregate.address_hash.is_some());
}

async fn rejected(pool: &PgPool, dispatch: Uuid) -> Vec<(u16, String)> {
    let events = eventstore::feed::read(pool, &["dispatch"], 0, i64::MAX, 1000).await.unwrap();
    let of = |event: &LogEvent| event.aggregate_id == dispatch.to_string();
    let mut rejected = Vec::new();
    for event in events.iter().filter(|event| of(event)) {
        if let DispatchEvent::Authorized { rejected: refused, .. } = decode::<Dispatch>(event).unwrap() {
            rejected.extend(refused.into_iter().map(|refusal| (refusal.index, refusal.reason)));
        }
    }
    rejected
}

/// A mail whose own addresses do not open is over at once, and one to somebody who is damaged is theirs alone.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn tests_to_the_damaged_are_over_and_the_others_go(pool: PgPool) {
    let world = World::new(&pool).await;
    let readers = world.readers(2).await;
    let request = async |to: &[&str]| {
        let template = world.commands.template(world.template).await.unwrap();
        let to: Vec<String> = to.iter().map(|address| (*address).to_owned()).collect();
        let by = commands::Context::system("test");
        let done = world
            .commands
            .request_test_mail(&by, world.template, &template, &to, commands::TestFields::Own)
            .await
            .unwrap();
        id_of(&done, "dispatch_id")
    };
    let both = request(&["reader0@example.com", "reader1@example.com"]).await;
    let lost = request(&["editor@example.com"]).await;
    damage_key(&pool, readers[0]).await;
    damage_key(&pool, lost).await;
    let sender = world.sender(Scripted::accepting()).await;
    while sender.step_transactional("scripted").await.unwrap() {}
    let ends = async |id: Uuid| {
        let mail = load::<domain::transactional::Transactional>(&pool, id).await.unwrap().aggregate;
        mail.recipients.into_iter().map(|r| r.reason.unwrap_or_default()).collect::<Vec<_>>()
    };
    assert_eq!(ends(both).await, ["unreadable", ""]);
    assert_eq!(ends(lost).await, ["unreadable"]);
}
