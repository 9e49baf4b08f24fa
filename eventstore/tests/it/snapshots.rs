//! Snapshots of long streams: never the truth, and never another state than the events make.

use crate::support::*;
use domain::Personal;
use domain::consent::{Channel, Origin, Scope};
use domain::subscriber::{Subscriber, SubscriberCommand};
use eventstore::snapshots::EVERY;
use eventstore::{Loaded, Request, Store, load, load_at, load_each};
use sqlx::PgPool;
use uuid::Uuid;

fn rename(n: u64) -> SubscriberCommand {
    let name = Some(Personal::plain(format!("Name {n}")));
    SubscriberCommand::Change { address: None, hash_key_id: "key".into(), details: Some((name, None)) }
}

/// Changes of many kinds, one after the other.
fn change(n: u64) -> SubscriberCommand {
    let origin = Origin::default();
    match n % 5 {
        0 => SubscriberCommand::OptOut { scope: Scope::Global, channel: Channel::OneClick, origin },
        1 => SubscriberCommand::SetPreferences {
            global_opt_out: Some(false),
            groups: vec![(Uuid::from_u128(u128::from(n % 3)), true)],
            origin,
            may_opt_in: true,
        },
        _ => rename(n),
    }
}

async fn run(store: &Store, id: Uuid, command: SubscriberCommand) {
    store.execute::<Subscriber>(id, command, Request::default()).await.unwrap();
}

async fn snapshot(pool: &PgPool, id: Uuid) -> Option<i64> {
    sqlx::query_scalar("SELECT sequence FROM snapshots WHERE aggregate_id = $1")
        .bind(id.to_string())
        .fetch_optional(pool)
        .await
        .unwrap()
}

/// By the events alone.
async fn folded(pool: &PgPool, id: Uuid) -> Loaded<Subscriber> {
    let mut tx = pool.begin().await.unwrap();
    sqlx::query("DELETE FROM snapshots").execute(&mut *tx).await.unwrap();
    eventstore::load_in(&mut tx, id).await.unwrap()
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_state_from_a_snapshot_is_the_folds_at_every_length(pool: PgPool) {
    let store = store(&pool);
    let id = add_subscriber(&store, "ana@example.com", vec![]).await;
    for n in 0..3 * EVERY {
        run(&store, id, change(n)).await;
        if n % 7 == 0 || n % EVERY < 2 {
            let loaded = load::<Subscriber>(&pool, id).await.unwrap();
            let fold = folded(&pool, id).await;
            assert_eq!((&loaded.aggregate, loaded.version), (&fold.aggregate, fold.version));
        }
    }
    let taken = snapshot(&pool, id).await.expect("a snapshot");
    assert!(taken.unsigned_abs() > EVERY, "it moves on: {taken}");
    // An older state is found by the snapshot and without it.
    for version in [1, 50, taken.unsigned_abs(), taken.unsigned_abs() + 1] {
        let at = load_at::<Subscriber>(&pool, id, version).await.unwrap();
        assert_eq!((at.version, at.aggregate.version), (version, version));
    }
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn short_streams_have_none(pool: PgPool) {
    let store = store(&pool);
    let id = add_subscriber(&store, "ana@example.com", vec![]).await;
    for n in 2..EVERY {
        run(&store, id, rename(n)).await;
        assert_eq!(load::<Subscriber>(&pool, id).await.unwrap().version, n);
    }
    assert_eq!(snapshot(&pool, id).await, None);
}

/// Another format, and a state that is none: the events count. Whatever it holds is sealed.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn what_cannot_be_used_is_passed_over(pool: PgPool) {
    let store = store(&pool);
    let id = add_subscriber(&store, "ana@example.com", vec![]).await;
    for n in 0..=EVERY {
        run(&store, id, rename(n)).await;
    }
    load::<Subscriber>(&pool, id).await.unwrap();
    let state: String =
        sqlx::query_scalar("SELECT state::text FROM snapshots").fetch_one(&pool).await.unwrap();
    assert!(!state.contains("ana@") && !state.contains("Name "), "{state}");
    let fold = folded(&pool, id).await;
    let lies = "'{\"version\": 7}'";
    for damage in [
        format!("state = {lies}"),
        "state = 'null'".to_owned(),
        "format = 99, state = jsonb_set(state, '{global_opt_out}', 'true')".to_owned(),
    ] {
        sqlx::query(&format!("UPDATE snapshots SET {damage}")).execute(&pool).await.unwrap();
        let one = load::<Subscriber>(&pool, id).await.unwrap();
        assert_eq!((&one.aggregate, one.version), (&fold.aggregate, fold.version), "{damage}");
        let mut many = load_each::<Subscriber>(&pool, &[id]).await.unwrap();
        assert_eq!(many.remove(&id).unwrap().unwrap().aggregate, fold.aggregate, "{damage}");
    }
    // One of a later release stays, and is of no use to this one.
    assert_eq!(
        sqlx::query_scalar::<_, i32>("SELECT format FROM snapshots").fetch_one(&pool).await.unwrap(),
        99
    );
}

/// Snapshots are taken while others append: none holds what was not committed, or less than it says.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_snapshot_does_not_lie_about_concurrent_appends(pool: PgPool) {
    let store = store(&pool);
    let id = add_subscriber(&store, "ana@example.com", vec![]).await;
    for n in 0..EVERY {
        run(&store, id, rename(n)).await;
    }
    sqlx::query("DELETE FROM snapshots").execute(&pool).await.unwrap();
    let writer = async {
        for n in 0..EVERY {
            run(&store, id, change(n)).await;
        }
    };
    let reader = async {
        for _ in 0..EVERY {
            sqlx::query("DELETE FROM snapshots").execute(&pool).await.unwrap();
            load::<Subscriber>(&pool, id).await.unwrap();
            let (sequence, state): (i64, serde_json::Value) =
                sqlx::query_as("SELECT sequence, state FROM snapshots").fetch_one(&pool).await.unwrap();
            sqlx::query("DELETE FROM snapshots").execute(&pool).await.unwrap();
            let fold = load_at::<Subscriber>(&pool, id, sequence.unsigned_abs()).await.unwrap();
            assert_eq!(serde_json::from_value::<Subscriber>(state).unwrap(), fold.aggregate);
        }
    };
    futures::future::join(writer, reader).await;
    let (loaded, fold) = (load::<Subscriber>(&pool, id).await.unwrap(), folded(&pool, id).await);
    assert_eq!((loaded.aggregate, loaded.version), (fold.aggregate, fold.version));
}
