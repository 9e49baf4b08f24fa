//! Recipients, one by one.

use crate::log::{append, follow};
use crate::world::{World, fresh_seed};
use domain::dispatch::State;
use projections::recipients::{Pages, Recipient, RecipientState, page};
use projections::{Interleaving, Slice, all};
use sqlx::PgPool;
use std::collections::BTreeMap;
use uuid::Uuid;

fn word(state: State) -> &'static str {
    match state {
        State::Pending | State::Authorized(_) => "pending",
        State::Accepted => "accepted",
        State::Suppressed => "suppressed",
        State::Rejected => "rejected",
        State::Unknown(_) => "unknown",
        State::Cancelled => "cancelled",
    }
}

async fn every_page(pool: &PgPool, campaign: Uuid, state: Option<RecipientState>) -> Vec<Recipient> {
    let (mut rows, mut cursor) = (Vec::new(), None);
    loop {
        let page = page(pool, campaign, state, Slice::new(cursor, 7)).await.unwrap();
        rows.extend(page.items);
        cursor = page.next_cursor;
        if cursor.is_none() {
            return rows;
        }
    }
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn recipients_are_as_the_aggregates_say(pool: PgPool) {
    let seed = fresh_seed();
    let mut world = World::new(seed);
    append(&pool, &world.history(1_200).await).await;
    follow(&pool, &all(), Some(Interleaving::new(seed))).await;
    let mut campaigns = BTreeMap::<Uuid, usize>::new();
    for dispatch in world.dispatches.values() {
        *campaigns.entry(dispatch.campaign_id).or_default() += dispatch.recipients.len();
    }
    assert!(campaigns.values().any(|count| *count > 30), "there is something to page through");
    for (campaign, count) in campaigns {
        let rows = every_page(&pool, campaign, None).await;
        assert_eq!(rows.len(), count);
        assert!(rows.is_sorted_by_key(|row| (row.page, row.idx)));
        for row in &rows {
            let expected = &world.dispatches[&row.dispatch_id].recipients[row.idx as usize];
            assert_eq!(row.subscriber_id, expected.subscriber);
            assert_eq!((row.state.as_str(), row.attempts as u16), (word(expected.state), expected.attempts));
            let permit = match expected.state {
                State::Authorized(permit) | State::Unknown(permit) => Some(permit),
                State::Pending | State::Cancelled => None,
                State::Accepted | State::Suppressed | State::Rejected => row.permit_id,
            };
            assert_eq!(row.permit_id, permit);
            let frozen = world.campaigns.get(&campaign).and_then(|campaign| campaign.manifest.as_ref());
            let version = expected.template_version.or(frozen.map(|manifest| manifest.template_version));
            let version = version.filter(|_| row.permit_id.is_some());
            assert_eq!(row.template_version.map(i64::cast_unsigned), version);
            assert!(row.state != "accepted" || row.authorized_by.is_some(), "each mail has its consent");
            let subscriber = world.subscribers.get(&row.subscriber_id);
            assert_eq!(row.address.is_some(), subscriber.is_some_and(|subscriber| !subscriber.is_erased()));
        }
        for state in ["pending", "accepted", "suppressed", "rejected", "unknown", "cancelled"] {
            let expected: Vec<&Recipient> = rows.iter().filter(|row| row.state == state).collect();
            let found = every_page(&pool, campaign, Some(state.parse().unwrap())).await;
            assert_eq!(found.iter().collect::<Vec<_>>(), expected);
        }
        let (mut pages, mut streamed) = (Pages::new(pool.clone(), campaign, None), Vec::new());
        while let Some(rows) = pages.next().await.unwrap() {
            streamed.extend(rows);
        }
        assert_eq!(streamed, rows);
    }
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_consent_is_named_by_its_position(pool: PgPool) {
    let mut world = World::new(fresh_seed());
    append(&pool, &world.history(600).await).await;
    follow(&pool, &all(), None).await;
    let rows: Vec<(i64, Uuid)> = sqlx::query_as(
        "SELECT consent_sequence, subscriber_id FROM recipients WHERE consent_sequence IS NOT NULL",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    assert!(!rows.is_empty());
    for dispatch in world.dispatches.values() {
        for row in every_page(&pool, dispatch.campaign_id, None).await {
            let Some(position) = row.authorized_by else { continue };
            let named: (String, i64) = sqlx::query_as(
                "SELECT aggregate_id, sequence FROM log JOIN events USING (append_id) WHERE position = $1",
            )
            .bind(position)
            .fetch_one(&pool)
            .await
            .unwrap();
            assert_eq!(named, (row.subscriber_id.to_string(), 1), "the generator names the first event");
        }
    }
}
