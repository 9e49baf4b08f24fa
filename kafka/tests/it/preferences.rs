//! What a reader decides reaches the side that sends, and has its effect there once, on either carrier: who is in a group
//! when a campaign is frozen, how many left by it, and what auditors are told.

use crate::log::{Stored, append, caught_up, count, stored};
use crate::stage::{Stage, relayed, stop};
use crate::world::consent;
use domain::consent::{Channel, Origin, Scope};
use domain::subscriber::{Subscriber, SubscriberEvent};
use domain::{AddressHash, Personal};
use projections::all;
use projections::group_members::{AsOf, page_as_of};
use sqlx::PgPool;
use uuid::Uuid;

const NEWS: Uuid = Uuid::from_u128(100);
const OFFERS: Uuid = Uuid::from_u128(101);
const ANA: Uuid = Uuid::from_u128(1);
const BOB: Uuid = Uuid::from_u128(2);

fn added(id: Uuid) -> Stored {
    let event = SubscriberEvent::Added {
        address: Personal::Sealed("1:1:AAAA".into()),
        address_hash: AddressHash([id.as_bytes()[15]; 32]),
        hash_key_id: "k1".into(),
        name: None,
        attributes: None,
        groups: vec![NEWS, OFFERS],
        consent: consent(),
        import_id: None,
    };
    stored::<Subscriber>(id, 1, &event)
}

fn opted_out(id: Uuid, scope: Scope) -> Stored {
    let event =
        SubscriberEvent::OptedOut { scope, channel: Channel::PreferencePage, origin: Origin::default() };
    stored::<Subscriber>(id, 2, &event)
}

fn changed(id: Uuid) -> Stored {
    stored::<Subscriber>(id, 3, &SubscriberEvent::DetailsChanged { name: None, attributes: None })
}

/// The members of a group as a freezer would find them now, and the count of them that is kept.
async fn audience(pool: &PgPool, group: Uuid) -> (Vec<Uuid>, i64) {
    let now = eventstore::feed::head(pool).await.unwrap().position;
    let mut connection = pool.acquire().await.unwrap();
    let AsOf::Ready(members) = page_as_of(&mut connection, group, now, None, 100).await.unwrap() else {
        panic!("the read model is behind")
    };
    let counted = sqlx::query_scalar("SELECT members FROM group_members_counts WHERE group_id = $1");
    (members, counted.bind(group).fetch_one(pool).await.unwrap())
}

async fn updates(pool: PgPool, stage: Stage) {
    let models = all();
    let (carrying, relay) = (stage.carry(&pool, &models), stage.relay(&pool));
    append(&pool, &[added(ANA), added(BOB)]).await;
    caught_up(&pool, &models).await;
    assert_eq!(audience(&pool, NEWS).await, (vec![ANA, BOB], 2));
    append(&pool, &[opted_out(ANA, Scope::Global), opted_out(BOB, Scope::Groups(vec![NEWS]))]).await;
    caught_up(&pool, &models).await;
    let expected = [(vec![], 0), (vec![BOB], 1)];
    assert_eq!([audience(&pool, NEWS).await, audience(&pool, OFFERS).await], expected);

    // All of it once more: a relay that forgot where it was, and consumers that come back.
    carrying.stop().await.unwrap();
    stop(relay).await;
    sqlx::query("UPDATE relay SET position = 0").execute(&pool).await.unwrap();
    let (carrying, relay) = (stage.carry(&pool, &models), stage.relay(&pool));
    if relay.is_some() {
        relayed(&pool).await;
    }
    // Behind the repetition, in the same slots.
    append(&pool, &[changed(ANA), changed(BOB)]).await;
    caught_up(&pool, &models).await;
    assert_eq!([audience(&pool, NEWS).await, audience(&pool, OFFERS).await], expected);
    assert_eq!((count(&pool, "opt_outs").await, count(&pool, "dead_letters").await), (2, 0));
    carrying.stop().await.unwrap();
    stop(relay).await;
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn embedded_preferences_take_effect_once(pool: PgPool) {
    updates(pool, Stage::Embedded).await;
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn kafka_preferences_take_effect_once(pool: PgPool) {
    let stage = Stage::kafka(&pool).await;
    updates(pool, stage).await;
}
