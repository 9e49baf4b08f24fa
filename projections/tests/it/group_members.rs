//! Audiences as of a position.

use crate::log::{Stored, append, count, follow, forget, insert, read_all, sequence, stored};
use crate::world::{World, consent, fresh_seed};
use cqrs_es::Aggregate;
use domain::consent::{Channel, Origin, Scope};
use domain::subscriber::{Subscriber, SubscriberEvent};
use domain::{AddressHash, Personal};
use eventstore::feed;
use projections::group_members::{AsOf, page_as_of};
use projections::{Consumer, GroupMembers, Interleaving, Projection, groups};
use sqlx::PgPool;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use uuid::Uuid;

const NEWS: Uuid = Uuid::from_u128(100);

fn models() -> Vec<Arc<dyn Projection>> {
    vec![Arc::new(GroupMembers)]
}

fn added(id: Uuid) -> Stored {
    let event = SubscriberEvent::Added {
        address: Personal::Sealed("1:1:AAAA".into()),
        address_hash: AddressHash([id.as_bytes()[15]; 32]),
        hash_key_id: "k1".into(),
        name: None,
        attributes: None,
        groups: vec![NEWS, NEWS],
        consent: consent(),
        import_id: None,
    };
    stored::<Subscriber>(id, 1, &event)
}

fn opted_out(id: Uuid, sequence: i64) -> Stored {
    let event = SubscriberEvent::OptedOut {
        scope: Scope::Global,
        channel: Channel::OneClick,
        origin: Origin::default(),
    };
    stored::<Subscriber>(id, sequence, &event)
}

async fn page(pool: &PgPool, group: Uuid, position: i64, after: Option<Uuid>, limit: i64) -> AsOf {
    page_as_of(&mut pool.acquire().await.unwrap(), group, position, after, limit).await.unwrap()
}

/// The whole audience, paged in small steps.
async fn audience(pool: &PgPool, group: Uuid, position: i64) -> Vec<Uuid> {
    let mut members = Vec::new();
    loop {
        match page(pool, group, position, members.last().copied(), 3).await {
            AsOf::Ready(next) if next.is_empty() => return members,
            AsOf::Ready(next) => members.extend(next),
            other => panic!("{other:?}"),
        }
    }
}

/// Who is subscribed to each group after each position, by the aggregates.
async fn expected(pool: &PgPool) -> BTreeMap<i64, BTreeMap<Uuid, BTreeSet<Uuid>>> {
    let mut subscribers = BTreeMap::<Uuid, Subscriber>::new();
    let mut members = BTreeMap::<Uuid, BTreeSet<Uuid>>::new();
    let mut by_position = BTreeMap::new();
    for event in read_all(pool, &["subscriber"]).await {
        let id = event.stream_id().unwrap();
        let subscriber = subscribers.entry(id).or_default();
        subscriber.apply(eventstore::decode::<Subscriber>(&event).unwrap());
        for group in subscriber.groups.keys() {
            members.entry(*group).or_default();
        }
        for (group, members) in &mut members {
            match subscriber.is_subscribed(*group) {
                true => members.insert(id),
                false => members.remove(&id),
            };
        }
        by_position.insert(event.position, members.clone());
    }
    by_position
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn every_past_audience_is_what_the_aggregates_say(pool: PgPool) {
    let seed = fresh_seed();
    let mut world = World::new(seed);
    append(&pool, &world.history(900).await).await;
    follow(&pool, &models(), Some(Interleaving::new(seed))).await;
    let expected = expected(&pool).await;
    assert!(expected.len() > 100);
    for (position, groups) in expected.iter().step_by(23).chain(expected.last_key_value()) {
        for (group, members) in groups {
            let found = audience(&pool, *group, *position).await;
            assert_eq!(found, members.iter().copied().collect::<Vec<_>>(), "group {group} as of {position}");
        }
    }
    let (_, last) = expected.last_key_value().unwrap();
    let counts: BTreeMap<Uuid, i64> = sqlx::query_as("SELECT group_id, members FROM group_members_counts")
        .fetch_all(&pool)
        .await
        .unwrap()
        .into_iter()
        .collect();
    for (group, members) in last {
        assert_eq!(counts.get(group).copied().unwrap_or(0), members.len() as i64);
    }
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn an_audience_stays_while_later_events_arrive(pool: PgPool) {
    let ids: Vec<Uuid> = (1..=10).map(Uuid::from_u128).collect();
    append(&pool, &ids.iter().map(|id| added(*id)).collect::<Vec<_>>()).await;
    let position = feed::head(&pool).await.unwrap().position;
    follow(&pool, &models(), None).await;
    let before = audience(&pool, NEWS, position).await;
    assert_eq!(before, ids);
    let later: Vec<Stored> = ids[..5]
        .iter()
        .map(|id| opted_out(*id, 2))
        .chain((11..20).map(|n| added(Uuid::from_u128(n))))
        .collect();
    append(&pool, &later).await;
    assert_eq!(audience(&pool, NEWS, position).await, before, "what came later need not be done");
    follow(&pool, &models(), None).await;
    assert_eq!(audience(&pool, NEWS, position).await, before);
    let now = feed::head(&pool).await.unwrap().position;
    assert_eq!(audience(&pool, NEWS, now).await.len(), 5 + 9);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn an_audience_waits_for_each_slot(pool: PgPool) {
    let ids: Vec<Uuid> = (1..=20).map(Uuid::from_u128).collect();
    append(&pool, &ids.iter().map(|id| added(*id)).collect::<Vec<_>>()).await;
    let events = read_all(&pool, &["subscriber"]).await;
    let position = feed::head(&pool).await.unwrap().position;
    let mut consumer = Consumer::load(pool.clone(), Arc::new(GroupMembers)).await.unwrap();
    // The last events first: a checkpoint far ahead in one slot says nothing of another.
    let mut slots: Vec<i16> = events.iter().map(|event| event.slot).collect();
    slots.sort_unstable();
    slots.dedup();
    for slot in slots.into_iter().rev() {
        assert_eq!(page(&pool, NEWS, position, None, 500).await, AsOf::Behind);
        let of_slot = events.iter().filter(|event| event.slot == slot).cloned().collect();
        consumer.deliver(of_slot).await.unwrap();
    }
    assert_eq!(page(&pool, NEWS, position, None, 500).await, AsOf::Ready(ids));
    assert_eq!(page(&pool, Uuid::nil(), position, None, 500).await, AsOf::Ready(vec![]));
}

/// Parks everybody whose stream has an event that can be read, and yet not be applied: the read model's own table refuses it.
async fn follow_with_refusals(pool: &PgPool, refused: &[Uuid]) {
    let ids: Vec<String> = refused.iter().map(|id| format!("'{id}'")).collect();
    let check = format!(
        "ALTER TABLE group_members ADD CONSTRAINT no CHECK (subscriber_id NOT IN ({}))",
        ids.join(",")
    );
    sqlx::query(&check).execute(pool).await.unwrap();
    follow(pool, &models(), None).await;
    assert_eq!(count(pool, "parked_streams").await, refused.len() as i64);
}

/// However many streams are parked, every audience is what the people's own events say.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn who_is_parked_is_folded_from_the_log(pool: PgPool) {
    let mut world = World::new(fresh_seed());
    append(&pool, &world.history(400).await).await;
    let expected = expected(&pool).await;
    let everybody: BTreeSet<Uuid> =
        expected.values().flat_map(|groups| groups.values().flatten().copied()).collect();
    let refused: Vec<Uuid> = everybody.iter().copied().filter(|id| id.as_bytes()[15] % 3 != 0).collect();
    assert!(refused.len() > 5 && refused.len() < everybody.len());
    follow_with_refusals(&pool, &refused).await;
    for (position, groups) in expected.iter().step_by(17).chain(expected.last_key_value()) {
        for (group, members) in groups {
            let found = audience(&pool, *group, *position).await;
            assert_eq!(found, members.iter().copied().collect::<Vec<_>>(), "group {group} as of {position}");
        }
    }
}

/// Pages of parked people alone, of whom none is a member, end nothing.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn parked_people_of_other_groups_hide_nobody_behind_them(pool: PgPool) {
    let ids: Vec<Uuid> = (1..=12).map(Uuid::from_u128).collect();
    let mut events: Vec<Stored> = ids.iter().map(|id| added(*id)).collect();
    events.extend(ids[..10].iter().map(|id| opted_out(*id, 2)));
    append(&pool, &events).await;
    follow_with_refusals(&pool, &ids[..10]).await;
    let now = feed::head(&pool).await.unwrap().position;
    assert_eq!(page(&pool, NEWS, now, None, 3).await, AsOf::Ready(ids[10..].to_vec()));
    assert_eq!(audience(&pool, NEWS, 12).await, ids, "as of when all were in it");
}

/// It cannot be said that they left, so they are told by name: the sender cannot read them either, and rejects them.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn who_cannot_be_read_stays_in_the_audiences_of_their_own_groups(pool: PgPool) {
    let ids = [1, 2, 3].map(Uuid::from_u128);
    append(&pool, &ids.map(added)).await;
    let before = feed::head(&pool).await.unwrap().position;
    let mut unreadable = opted_out(ids[0], 2);
    unreadable.payload = serde_json::json!({"SubscriberOptedOut": {}});
    let mut unknown = opted_out(ids[1], 2);
    unknown.payload = serde_json::json!({"SubscriberMoved": {}});
    append(&pool, &[unreadable, unknown]).await;
    append(&pool, &[opted_out(ids[2], 2)]).await;
    let after = feed::head(&pool).await.unwrap().position;
    follow(&pool, &models(), None).await;
    assert_eq!(count(&pool, "parked_streams").await, 2);
    for position in [before, after - 2, after - 1] {
        assert_eq!(audience(&pool, NEWS, position).await, ids, "as of {position}");
    }
    assert_eq!(audience(&pool, NEWS, after).await, ids[..2]);
    assert!(audience(&pool, Uuid::from_u128(101), after).await.is_empty(), "of another group");
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_rebuild_and_a_foreign_epoch_hold_audiences_back(pool: PgPool) {
    append(&pool, &[added(Uuid::from_u128(1))]).await;
    follow(&pool, &models(), None).await;
    sqlx::query("UPDATE checkpoints SET epoch = gen_random_uuid()").execute(&pool).await.unwrap();
    assert_eq!(page(&pool, NEWS, 1, None, 500).await, AsOf::Behind);
    forget(&pool, &GroupMembers).await;
    assert_eq!(page(&pool, NEWS, 1, None, 500).await, AsOf::Behind);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_consent_under_a_global_opt_out_is_in_force_when_that_ends(pool: PgPool) {
    let id = Uuid::from_u128(1);
    let opted_in = |sequence, ended_global, groups, restored| {
        let event = SubscriberEvent::OptedIn { ended_global, groups, restored, origin: Origin::default() };
        stored::<Subscriber>(id, sequence, &event)
    };
    let other = Uuid::from_u128(101);
    append(&pool, &[added(id), opted_out(id, 2), opted_in(3, false, vec![other], vec![])]).await;
    append(&pool, &[opted_in(4, true, vec![], vec![NEWS, other])]).await;
    follow(&pool, &models(), None).await;
    for (position, news, others) in [(1, 1, 0), (2, 0, 0), (3, 0, 0), (4, 1, 1)] {
        assert_eq!(audience(&pool, NEWS, position).await.len(), news, "as of {position}");
        assert_eq!(audience(&pool, other, position).await.len(), others, "as of {position}");
    }
    assert_eq!(count(&pool, "group_members_suppressed").await, 0);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn members_are_counted_in_the_list_of_groups(pool: PgPool) {
    insert(&mut pool.acquire().await.unwrap(), &crate::picky::group(NEWS, &["News"])).await;
    let ids = [1, 2, 3].map(Uuid::from_u128);
    insert(&mut pool.acquire().await.unwrap(), &ids.map(added)).await;
    insert(&mut pool.acquire().await.unwrap(), &[opted_out(ids[0], 2)]).await;
    sequence(&pool).await;
    follow(&pool, &projections::all(), None).await;
    assert_eq!(groups::get(&pool, NEWS).await.unwrap().unwrap().members, 2);
}
