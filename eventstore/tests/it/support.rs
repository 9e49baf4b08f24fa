use domain::consent::Consent;
use domain::group::{Group, GroupCommand};
use domain::subscriber::{NewSubscriber, Subscriber, SubscriberCommand};
use domain::{EmailAddress, GroupId, Personal};
use eventstore::keys::MasterKey;
use eventstore::sequencer::Sequencer;
use eventstore::{Done, Request, Store, ids};
use sqlx::PgPool;
use std::sync::Arc;
use uuid::Uuid;

/// Of another process, without a word to anybody.
pub const FOREIGN: &str = "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
    VALUES ('group', gen_random_uuid()::text, 1, 'GroupCreated', '1.0', '{\"GroupCreated\": {\"name\": \"x\", \"description\": \"\"}}', '{}')";

pub fn store(pool: &PgPool) -> Store {
    Store::new(pool.clone(), Arc::new(MasterKey::from_hex(&"5a".repeat(32)).unwrap()))
}

pub fn new_subscriber(store: &Store, email: &str, groups: Vec<GroupId>) -> SubscriberCommand {
    let address = EmailAddress::parse(email).unwrap();
    SubscriberCommand::Add(Box::new(NewSubscriber {
        address_hash: store.master.address_hash(&address),
        hash_key_id: store.master.id().into(),
        address: Personal::plain(address.to_string()),
        name: Some(Personal::plain("Łukasz O'Brien")),
        attributes: None,
        groups,
        consent: Consent { source: "form".into(), wording_version: None, given_at: None, given_from: None },
        import_id: None,
    }))
}

pub async fn add_subscriber(store: &Store, email: &str, groups: Vec<GroupId>) -> Uuid {
    let id = ids::new_id();
    store.execute::<Subscriber>(id, new_subscriber(store, email, groups), Request::default()).await.unwrap();
    id
}

pub async fn create_group(store: &Store, name: &str) -> (Uuid, Done) {
    let id = ids::new_id();
    let create = GroupCommand::Create { name: name.into(), description: String::new() };
    let done = store.execute::<Group>(id, create, Request::default()).await.unwrap();
    (id, done)
}

/// Numbers everything that is visible.
pub async fn sequence(store: &Store) -> i64 {
    let mut sequencer = Sequencer::new(store.clone());
    let mut total = 0;
    loop {
        match sequencer.step().await.unwrap() {
            0 => return total,
            numbered => total += numbered,
        }
    }
}

/// (position, append_id) of the whole log.
pub async fn log(pool: &PgPool) -> Vec<(i64, i64)> {
    sqlx::query_as("SELECT position, append_id FROM log ORDER BY position").fetch_all(pool).await.unwrap()
}
