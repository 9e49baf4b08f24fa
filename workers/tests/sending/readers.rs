//! Whoever reads for long, as a dump does over midnight, keeps nobody waiting.

use crate::support::*;
use commands::{Context, OptOut, SubscriberPatch};
use domain::SubscriberId;
use domain::consent::{Channel, Origin, Scope};
use eventstore::IdempotencyKey;
use sqlx::{PgPool, Postgres, Transaction};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use workers::maintenance;

/// Much more than anything takes, and no end for what waits for the reader.
const AT_ALL: Duration = Duration::from_secs(60);

/// Holds what `pg_dump` holds: ACCESS SHARE on every table, and one snapshot.
async fn dump(pool: &PgPool) -> Transaction<'static, Postgres> {
    let mut dump = pool.begin().await.unwrap();
    sqlx::query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        .execute(&mut *dump)
        .await
        .unwrap();
    let tables = "SELECT string_agg(format('%I', relname), ', ') FROM pg_class
                  WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')";
    let tables: String = sqlx::query_scalar(tables).fetch_one(&mut *dump).await.unwrap();
    sqlx::query(&format!("LOCK TABLE {tables} IN ACCESS SHARE MODE")).execute(&mut *dump).await.unwrap();
    dump
}

fn keyed(key: String) -> Context {
    let key = IdempotencyKey { actor: "test".into(), route: "PATCH".into(), key, body_hmac: [0; 32] };
    Context { idempotency: Some(key), ..Context::system("test") }
}

async fn name_by_key(world: &World, reader: SubscriberId, n: usize) {
    let named = SubscriberPatch { name: Some(format!("Reader {n}")), ..Default::default() };
    world.commands.change_subscriber(&keyed(format!("k-{n}")), reader, named).await.unwrap();
}

async fn leave(world: &World, subscriber: SubscriberId) {
    let everything =
        OptOut { subscriber, scope: Scope::Global, channel: Channel::OneClick, origin: Origin::default() };
    world.commands.opt_out(&Context::system("test"), everything).await.unwrap();
}

/// While a dump is under way: maintenance, of this version and of the one before, a rebuild, and what people do.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn commands_and_opt_outs_go_on_beside_a_dump_over_midnight(pool: PgPool) {
    let world = World::new(&pool).await;
    let readers = world.readers(6).await;
    name_by_key(&world, readers[5], 0).await;
    let old = "UPDATE idempotency_keys SET created_at = now() - interval '25 hours'";
    assert_eq!(sqlx::query(old).execute(&pool).await.unwrap().rows_affected(), 1);

    let dump = dump(&pool).await;
    let busy = tokio::spawn({
        let pool = pool.clone();
        async move {
            // What the version before calls each hour, and at a start behind midnight.
            sqlx::query("SELECT rotate_idempotency_keys()").execute(&pool).await.unwrap();
            maintenance::round(&pool, &CancellationToken::new()).await;
        }
    });
    let rebuilding = tokio::spawn({
        let pool = pool.clone();
        async move { projections::rebuild(&pool, &projections::all(), "subscribers", |_| {}).await }
    });
    let people = async {
        for (n, reader) in readers[..5].iter().enumerate() {
            name_by_key(&world, *reader, n + 1).await;
            leave(&world, *reader).await;
        }
        busy.await.unwrap();
    };
    tokio::time::timeout(AT_ALL, people).await.expect("somebody waits for who reads");
    let kept: i64 =
        sqlx::query_scalar("SELECT count(*) FROM idempotency_keys").fetch_one(&pool).await.unwrap();
    assert_eq!(kept, 5, "the one that is too old is gone, though somebody reads");
    assert!(!rebuilding.is_finished(), "it tries again until the dump is over");
    dump.rollback().await.unwrap();
    assert_eq!(rebuilding.await.unwrap().unwrap().dead_letters, 0);
}

/// While a rebuild waits for who reads one read model, all others go on.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_rebuild_that_waits_holds_up_no_other_read_model(pool: PgPool) {
    let world = World::new(&pool).await;
    let mut reading = pool.begin().await.unwrap();
    sqlx::query("SELECT FROM templates").execute(&mut *reading).await.unwrap();
    let rebuilding = tokio::spawn({
        let pool = pool.clone();
        async move { projections::rebuild(&pool, &projections::all(), "templates", |_| {}).await }
    });
    world
        .until(async || {
            let waits =
                "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'
                         AND relation = 'templates'::regclass)";
            sqlx::query_scalar::<_, bool>(waits).fetch_one(&pool).await.unwrap()
        })
        .await;
    // The world's projectors write checkpoints for it.
    let projected = async {
        let later = world.readers(3).await;
        world
            .until(async || {
                let known = "SELECT count(*) FROM subscribers WHERE id = ANY($1)";
                sqlx::query_scalar::<_, i64>(known).bind(&later).fetch_one(&pool).await.unwrap() == 3
            })
            .await;
    };
    tokio::time::timeout(AT_ALL, projected).await.expect("other read models wait");
    assert!(!rebuilding.is_finished());
    reading.rollback().await.unwrap();
    rebuilding.await.unwrap().unwrap();
}
