//! Housekeeping of the database that any process may do, any number of times.

use sqlx::PgPool;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const INTERVAL: Duration = Duration::from_secs(3600);

/// Sessions that are over are kept this much longer, so that their refresh tokens are known when they come back; in one go
/// so many are deleted.
const FORGET_SESSIONS: &str = "DELETE FROM sessions WHERE session_id IN (
    SELECT session_id FROM sessions WHERE expires_at < now() - interval '7 days' LIMIT 10000)";

/// Rotates the day partitions of idempotency keys and deletes old sessions, at once and each hour, until `stop`.
pub async fn run(pool: PgPool, stop: CancellationToken) {
    loop {
        if let Err(error) = sqlx::query("SELECT rotate_idempotency_keys()").execute(&pool).await {
            tracing::warn!(%error, "idempotency keys: rotation will be tried again");
        }
        if let Err(error) = sqlx::query(FORGET_SESSIONS).execute(&pool).await {
            tracing::warn!(%error, "old sessions: deletion will be tried again");
        }
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            () = stop.cancelled() => return,
        }
    }
}
