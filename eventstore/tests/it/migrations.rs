//! Migrations beside who reads, and beside the version before.

use eventstore::{MIGRATOR, Tries, migrate, waited_for_a_lock};
use sqlx::migrate::Migrator;
use sqlx::{Connection, PgConnection, PgPool};
use std::borrow::Cow;
use std::time::Duration;

const ONE_TABLE: i64 = 20261201110000;
const QUICKLY: Tries = Tries { max: 2, pause: Duration::from_millis(1) };

/// What the version before runs.
const REMEMBER_BEFORE: &str = "INSERT INTO idempotency_keys (day, actor, route, key, body_hmac, answer)
    VALUES ((now() AT TIME ZONE 'UTC')::date, $1, $2, $3, $4, $5)
    ON CONFLICT (day, actor, route, key) DO UPDATE
        SET body_hmac = excluded.body_hmac, answer = excluded.answer, created_at = excluded.created_at";
const LOOK_UP_BEFORE: &str = "SELECT body_hmac, answer FROM idempotency_keys
    WHERE day IN ((now() AT TIME ZONE 'UTC')::date, (now() AT TIME ZONE 'UTC')::date - 1)
      AND actor = $1 AND route = $2 AND key = $3
      AND created_at > now() - interval '24 hours'";

async fn before(pool: &PgPool, version: i64) {
    let count = MIGRATOR.iter().take_while(|migration| migration.version < version).count();
    let first = Migrator { migrations: Cow::Borrowed(&MIGRATOR.migrations[..count]), ..Migrator::DEFAULT };
    first.run(pool).await.unwrap();
}

async fn remember(connection: &mut PgConnection, key: &str) {
    sqlx::query(REMEMBER_BEFORE)
        .bind("a")
        .bind("r")
        .bind(key)
        .bind(&b"mac"[..])
        .bind(serde_json::json!({ "key": key }))
        .execute(connection)
        .await
        .unwrap();
}

async fn is_known(connection: &mut PgConnection, key: &str) -> bool {
    let row = sqlx::query(LOOK_UP_BEFORE).bind("a").bind("r").bind(key).fetch_optional(connection).await;
    row.unwrap().is_some()
}

#[sqlx::test(migrations = false)]
async fn a_migration_gives_way_to_commands_and_comes_when_nobody_reads(pool: PgPool) {
    before(&pool, ONE_TABLE).await;
    let options = pool.connect_options();
    let mut old = PgConnection::connect_with(&options).await.unwrap();
    remember(&mut old, "first").await;

    let mut dump = pool.begin().await.unwrap();
    sqlx::query("SELECT count(*) FROM idempotency_keys").execute(&mut *dump).await.unwrap();
    let patient = Tries { max: 1_000, pause: Duration::from_millis(1) };
    let migrating = tokio::spawn({
        let options = options.clone();
        async move { migrate(&options, patient).await }
    });
    // It asks for the lock again and again, and lets commands by.
    for n in 0..3 {
        let waits = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock')";
        while !sqlx::query_scalar::<_, bool>(waits).fetch_one(&pool).await.unwrap() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let key = format!("meanwhile {n}");
        let written = remember(&mut old, &key);
        tokio::time::timeout(Duration::from_secs(60), written).await.expect("a command waits for who reads");
    }
    let refused = migrate(&options, QUICKLY).await.unwrap_err();
    assert!(waited_for_a_lock(&refused), "{refused}");
    dump.rollback().await.unwrap();
    migrating.await.unwrap().unwrap();

    // The version before goes on, over its old connection, and knows what it knew.
    for key in ["first", "meanwhile 0", "meanwhile 1", "meanwhile 2"] {
        assert!(is_known(&mut old, key).await, "{key}");
    }
    sqlx::query("SELECT rotate_idempotency_keys()").execute(&mut old).await.unwrap();
    remember(&mut old, "later").await;
    remember(&mut old, "later").await;
    assert!(is_known(&mut old, "later").await);
    let plain = "SELECT relkind = 'r' FROM pg_class WHERE oid = 'idempotency_keys'::regclass";
    assert!(sqlx::query_scalar::<_, bool>(plain).fetch_one(&pool).await.unwrap());
}
