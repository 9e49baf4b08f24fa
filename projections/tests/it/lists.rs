//! Subscribers, groups and templates: what the aggregates say, in lists that go on page by page.

use crate::log::{append, follow};
use crate::world::{World, fresh_seed};
use domain::subscriber::Subscriber;
use projections::subscribers::Filter;
use projections::{Slice, all, groups, media, subscribers, templates};
use sqlx::PgPool;
use std::collections::BTreeSet;
use uuid::Uuid;

async fn world(pool: &PgPool, count: usize) -> World {
    let mut world = World::new(fresh_seed());
    append(pool, &world.history(count).await).await;
    follow(pool, &all(), None).await;
    world
}

async fn every_page(pool: &PgPool, filter: &Filter) -> Vec<Uuid> {
    let (mut rows, mut cursor) = (Vec::new(), None);
    loop {
        let page = subscribers::list(pool, filter, Slice::new(cursor, 5)).await.unwrap();
        rows.extend(page.items);
        cursor = page.next_cursor;
        if cursor.is_none() {
            assert!(rows.is_sorted_by(|a, b| a.created_position > b.created_position), "newest first");
            return rows.into_iter().map(|row| row.id).collect();
        }
    }
}

fn status(subscriber: &Subscriber) -> &'static str {
    match (subscriber.is_erased(), subscriber.global_opt_out, subscriber.unconfirmed) {
        (true, ..) => "erased",
        (_, true, _) => "opted_out",
        (.., true) => "unconfirmed",
        (false, false, false) => "active",
    }
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn subscribers_are_as_the_aggregates_say(pool: PgPool) {
    let world = world(&pool, 900).await;
    assert!(world.subscribers.values().any(|s| s.global_opt_out && !s.is_erased()));
    assert!(world.subscribers.values().any(Subscriber::is_erased));
    assert!(world.subscribers.values().any(|s| s.unconfirmed));
    for (id, aggregate) in &world.subscribers {
        let row = subscribers::get(&pool, *id).await.unwrap().unwrap();
        assert_eq!(row.version, aggregate.version as i64);
        assert_eq!(row.status, status(aggregate));
        assert_eq!(row.address.is_none(), aggregate.is_erased());
        assert_eq!(row.groups.len(), aggregate.groups.len());
        for membership in row.groups.iter() {
            let consent = aggregate.groups[&membership.group_id];
            assert_eq!(membership.consent_sequence, consent.map(u64::cast_signed));
            assert_eq!(membership.subscribed, aggregate.is_subscribed(membership.group_id));
            let group = world.groups.get(&membership.group_id).filter(|group| group.exists());
            assert_eq!(membership.name.as_ref(), group.map(|group| &group.name));
        }
        let by_address = subscribers::by_address(&pool, aggregate.address_hash.unwrap()).await.unwrap();
        assert_eq!(by_address, Some(row));
    }
    assert_eq!(subscribers::get(&pool, Uuid::nil()).await.unwrap(), None);
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_list_of_subscribers_is_narrowed_by_group_and_status(pool: PgPool) {
    let world = world(&pool, 900).await;
    let groups = world.groups.keys().copied().map(Some).chain([None]);
    for group in groups {
        for word in [None, Some("active"), Some("unconfirmed"), Some("opted_out"), Some("erased")] {
            let wanted = |subscriber: &Subscriber| {
                group.is_none_or(|group| subscriber.groups.get(&group).is_some_and(Option::is_some))
                    && word.is_none_or(|word| word == status(subscriber))
            };
            let expected: BTreeSet<Uuid> =
                world.subscribers.iter().filter(|(_, s)| wanted(s)).map(|(id, _)| *id).collect();
            let found = every_page(&pool, &Filter { group, status: word.map(str::to_owned) }).await;
            assert_eq!(found.len(), expected.len(), "no page repeats a row");
            assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), expected);
        }
    }
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn groups_and_templates_are_as_the_aggregates_say(pool: PgPool) {
    let world = world(&pool, 2_000).await;
    for (id, aggregate) in &world.groups {
        let row = groups::get(&pool, *id).await.unwrap();
        assert_eq!(row.map(|row| row.name), aggregate.exists().then(|| aggregate.name.clone()));
    }
    for (id, aggregate) in &world.templates {
        let row = templates::get(&pool, *id).await.unwrap();
        let expected = aggregate.exists().then(|| (aggregate.version as i64, aggregate.content.clone()));
        assert_eq!(row.map(|row| (row.version, row.content.0)), expected);
    }
    let known = world.groups.values().filter(|group| group.exists()).count();
    assert_eq!(groups::list(&pool, Slice::new(None, 500)).await.unwrap().items.len(), known);
    let known = world.templates.values().filter(|template| template.exists()).count();
    let list = templates::list(&pool, Slice::new(None, 500)).await.unwrap();
    assert_eq!(list.items.len(), known);
    assert!(list.items.iter().all(|row| row.subject.starts_with("Subject")));
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn media_are_as_the_aggregates_say(pool: PgPool) {
    let world = world(&pool, 2_000).await;
    for (id, aggregate) in &world.media {
        let row = media::get(&pool, *id).await.unwrap();
        let expected = aggregate.exists().then(|| (aggregate.version as i64, aggregate.phase.clone()));
        assert_eq!(row.map(|row| (row.version, row.phase.0)), expected);
    }
    let listed = async |status: Option<&str>| {
        media::list(&pool, status, Slice::new(None, 500)).await.unwrap().items.len()
    };
    let known = world.media.values().filter(|medium| medium.exists()).count();
    assert_eq!(listed(None).await, known);
    for status in ["requested", "uploaded", "rejected", "expired"] {
        let wanted = world.media.values().filter(|medium| medium.phase.status() == status).count();
        assert_eq!(listed(Some(status)).await, wanted, "{status}");
    }
}
