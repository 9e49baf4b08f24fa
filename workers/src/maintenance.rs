//! Housekeeping of the database that any process may do, any number of times.

use sqlx::PgPool;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const INTERVAL: Duration = Duration::from_secs(3600);

/// Rotates the day partitions of idempotency keys, at once and each hour, until `stop`.
pub async fn run(pool: PgPool, stop: CancellationToken) {
    loop {
        if let Err(error) = sqlx::query("SELECT rotate_idempotency_keys()").execute(&pool).await {
            tracing::warn!(%error, "idempotency keys: rotation will be tried again");
        }
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            () = stop.cancelled() => return,
        }
    }
}
