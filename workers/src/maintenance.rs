//! Housekeeping of the database that any process may do, any number of times: what is over is deleted, as [`crate::retention`] says.

use crate::retention::TABLES;
use sqlx::PgPool;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Rows that one go deletes, by their table's own count at the most.
pub const BATCH_MAX: i64 = 1_000;

/// A go waits for nobody: what it cannot have now, it takes the next time.
const LOCK_MOMENT: &str = "SET LOCAL lock_timeout = '1s'";

/// Deletes what is over, at once and then at each interval, until `stop`.
pub async fn run(pool: PgPool, every: Duration, stop: CancellationToken) {
    loop {
        round(&pool, &stop).await;
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            () = stop.cancelled() => return,
        }
    }
}

/// Deletes what is over by now.
pub async fn round(pool: &PgPool, stop: &CancellationToken) {
    for table in TABLES {
        let Some(forget) = table.deletion() else { continue };
        if let Err(error) = forget_all(pool, forget, stop).await {
            tracing::warn!(%error, table = table.name, "deletion will be tried again");
        }
    }
}

/// In goes of a bounded size, as many as it takes.
async fn forget_all(pool: &PgPool, forget: &str, stop: &CancellationToken) -> Result<(), sqlx::Error> {
    while !stop.is_cancelled() && forget_some(pool, forget).await? > 0 {}
    Ok(())
}

async fn forget_some(pool: &PgPool, forget: &str) -> Result<u64, sqlx::Error> {
    let mut tx = pool.begin().await?;
    sqlx::query(LOCK_MOMENT).execute(&mut *tx).await?;
    let deleted = sqlx::query(forget).bind(BATCH_MAX).execute(&mut *tx).await?.rows_affected();
    tx.commit().await?;
    Ok(deleted)
}
