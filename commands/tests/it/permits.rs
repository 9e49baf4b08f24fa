//! Who looks for open permits sees each that may still allow a call, and passes none of the past.

use crate::imports::support::commands;
use sqlx::postgres::PgPoolOptions;
use sqlx::{Connection, PgConnection, PgPool};
use std::time::Duration;
use uuid::Uuid;

const OPEN: &str = "INSERT INTO permits (permit_id, dispatch_id, mailer, readers, expires_at)
    VALUES ($1, gen_random_uuid(), 'test', '{7}', now())";

async fn open(db: &mut PgConnection, id: u128) {
    sqlx::query(OPEN).bind(Uuid::from_u128(id)).execute(db).await.unwrap();
}

async fn close(db: &mut PgConnection, id: u128) {
    let close = "DELETE FROM permits WHERE permit_id = $1";
    assert_eq!(sqlx::query(close).bind(Uuid::from_u128(id)).execute(db).await.unwrap().rows_affected(), 1);
}

async fn seen(db: &mut PgConnection) -> Vec<u128> {
    let look = "SELECT permit_id FROM open_permits() ORDER BY permit_id";
    let seen: Vec<Uuid> = sqlx::query_scalar(look).fetch_all(db).await.unwrap();
    seen.into_iter().map(|id| id.as_u128()).collect()
}

async fn session(pool: &PgPool) -> PgConnection {
    PgConnection::connect_with(&pool.connect_options()).await.unwrap()
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_session_that_looked_before_sees_what_is_committed_late(pool: PgPool) {
    let mut looks = session(&pool).await;
    let (mut slow, mut quick) = (session(&pool).await, session(&pool).await);
    let mut slow = slow.begin().await.unwrap();
    open(&mut slow, 1).await;
    // Others are quicker, and are gone before it commits.
    for id in 2..5 {
        open(&mut quick, id).await;
        assert_eq!(seen(&mut looks).await, [id]);
        close(&mut quick, id).await;
        assert!(seen(&mut looks).await.is_empty());
    }
    slow.commit().await.unwrap();
    assert_eq!(seen(&mut looks).await, [1]);
    open(&mut quick, 9).await;
    assert_eq!(seen(&mut looks).await, [1, 9]);
    // A look in a transaction that is taken back takes its step back.
    close(&mut quick, 1).await;
    let mut undone = looks.begin().await.unwrap();
    assert_eq!(seen(&mut undone).await, [9]);
    undone.rollback().await.unwrap();
    assert_eq!(seen(&mut looks).await, [9]);
    // One of before there was a column stays in sight until it is closed.
    sqlx::query("UPDATE permits SET opened_in = 0").execute(&mut quick).await.unwrap();
    let mut anew = session(&pool).await;
    assert_eq!(seen(&mut anew).await, [9]);
    assert_eq!(seen(&mut anew).await, [9]);
}

/// A binary of the version before says no time: the longest that its settings allow.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_permit_without_a_time_is_waited_for_as_long_as_any(pool: PgPool) {
    open(&mut session(&pool).await, 1).await;
    let within: i32 =
        sqlx::query_scalar("SELECT start_within_ms FROM permits").fetch_one(&pool).await.unwrap();
    let longest = commands::LONGEST.window + commands::LONGEST.margin;
    assert_eq!(Duration::from_millis(within.unsigned_abs().into()), longest);
}

/// Pages that a look reads.
async fn pages(db: &mut PgConnection) -> i64 {
    let look =
        "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT permit_id FROM open_permits() WHERE readers && '{7}'";
    let plan: serde_json::Value = sqlx::query_scalar(look).fetch_one(db).await.unwrap();
    let of = |name: &str| plan[0]["Plan"][name].as_i64().unwrap();
    of("Shared Hit Blocks") + of("Shared Read Blocks")
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_look_passes_no_permits_that_were_closed_before_the_last(pool: PgPool) {
    let mut looks = session(&pool).await;
    let mut dump = pool.begin().await.unwrap();
    sqlx::query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ").execute(&mut *dump).await.unwrap();
    sqlx::query("SELECT FROM permits").execute(&mut *dump).await.unwrap();
    // Under its snapshot each of them stays.
    for _ in 0..60 {
        let many = "WITH new AS (SELECT gen_random_uuid() AS id, n FROM generate_series(1, 1000) n)
                    INSERT INTO permits (permit_id, dispatch_id, mailer, readers, expires_at)
                    SELECT id, id, 'test', array_fill(n, ARRAY[50]), now() FROM new";
        sqlx::query(many).execute(&pool).await.unwrap();
        sqlx::query("DELETE FROM permits").execute(&pool).await.unwrap();
    }
    let first = pages(&mut looks).await;
    assert!(first > 1_000, "{first} pages: the dead rows are there");
    open(&mut session(&pool).await, 1).await;
    // As soon as whoever else wrote in this server meanwhile has ended.
    let few = async { while pages(&mut looks).await > 50 {} };
    tokio::time::timeout(Duration::from_secs(120), few).await.expect("each look passes all of them");
    dump.rollback().await.unwrap();
    assert_eq!(seen(&mut looks).await, [1]);
}

/// What a paused campaign has waiting costs others nothing.
#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn a_claim_passes_a_paused_campaign_at_once(pool: PgPool) {
    // One session, so that what it read is told when it is asked for.
    let one = PgPoolOptions::new().max_connections(1);
    let pool = one.connect_with((*pool.connect_options()).clone()).await.unwrap();
    let commands = commands(&pool);
    for statement in [
        "INSERT INTO campaign_gates (campaign_id, template_id, group_id, status)
         SELECT ('00000000-0000-7000-8000-00000000000' || n)::uuid, gen_random_uuid(), gen_random_uuid(),
             CASE n WHEN 1 THEN 'paused' ELSE 'sending' END FROM generate_series(1, 2) n",
        "INSERT INTO dispatch_work (dispatch_id, campaign_id, page, last_subscriber, recipients, pending)
         SELECT gen_random_uuid(), '00000000-0000-7000-8000-000000000001', n, gen_random_uuid(), 500, 500
         FROM generate_series(1, 10000) n",
        "INSERT INTO dispatch_work (dispatch_id, campaign_id, page, last_subscriber, recipients, pending)
         VALUES (gen_random_uuid(), '00000000-0000-7000-8000-000000000002', 1, gen_random_uuid(), 500, 500)",
        "ANALYZE dispatch_work",
    ] {
        sqlx::query(statement).execute(&pool).await.unwrap();
    }
    let before = rows_read(&pool).await;
    let claim = commands.claim_dispatch(Duration::from_secs(60), Uuid::nil(), &[]).await.unwrap().unwrap();
    assert_eq!(claim.campaign_id, Uuid::from_u128(0x0000_0000_0000_7000_8000_0000_0000_0002));
    assert!(commands.claim_dispatch(Duration::from_secs(60), Uuid::nil(), &[]).await.unwrap().is_none());
    let read = rows_read(&pool).await - before;
    assert!(read < 100, "{read} rows of the list of work were read for two claims");

    // What a dead worker left of the paused one is cleared up nevertheless.
    let left = "INSERT INTO permits (permit_id, campaign_id, dispatch_id, mailer, readers, expires_at)
                SELECT gen_random_uuid(), campaign_id, dispatch_id, 'test', '{}', now() - interval '1 s'
                FROM dispatch_work WHERE page = 7000";
    sqlx::query(left).execute(&pool).await.unwrap();
    let claim = commands.claim_dispatch(Duration::from_secs(60), Uuid::nil(), &[]).await.unwrap().unwrap();
    assert_eq!(claim.status, "paused");
    let (left, _) = commands.left_permits(claim.lease.dispatch_id).await.unwrap();
    assert_eq!(left.len(), 1);
}

/// Of `dispatch_work`, in all.
async fn rows_read(pool: &PgPool) -> i64 {
    sqlx::query("SELECT pg_stat_force_next_flush()").execute(pool).await.unwrap();
    let read = "SELECT coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) FROM pg_stat_user_tables
                WHERE relname = 'dispatch_work'";
    sqlx::query_scalar(read).fetch_one(pool).await.unwrap()
}
