//! Old rows go, however many there are.

use sqlx::PgPool;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use workers::maintenance;

/// More than two goes delete.
const OLD: i64 = 20_001;

async fn rows(pool: &PgPool) -> (i64, i64) {
    sqlx::query_as("SELECT (SELECT count(*) FROM reset_requests), (SELECT count(*) FROM subject_keys)")
        .fetch_one(pool)
        .await
        .unwrap()
}

#[sqlx::test(migrator = "eventstore::MIGRATOR")]
async fn old_rows_go_however_many_there_are(pool: PgPool) {
    // Of the old ones every second was never taken, and has its key still; of the two new ones one.
    for statement in [
        "INSERT INTO reset_requests (attempt_id, address_hash, actor, requested_at, taken)
         SELECT gen_random_uuid(), sha256('somebody'), 'test',
             now() - CASE WHEN n > 2 THEN interval '3 days' ELSE interval '1 day' END, n % 2 = 0
         FROM generate_series(1, $1 + 2) AS n",
        "INSERT INTO subject_keys (subject_id, master_key_id, wrapped_key)
         SELECT attempt_id, 'test', 'x' FROM reset_requests WHERE NOT taken AND $1 > 0",
    ] {
        sqlx::query(statement).bind(OLD).execute(&pool).await.unwrap();
    }
    assert_eq!(rows(&pool).await, (OLD + 2, OLD / 2 + 2));
    let stop = CancellationToken::new();
    let running = tokio::spawn(maintenance::run(pool.clone(), Duration::from_secs(3600), stop.clone()));
    let all_gone = async {
        while rows(&pool).await != (2, 1) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), all_gone).await.expect("old rows are still there");
    stop.cancel();
    running.await.unwrap();
}
