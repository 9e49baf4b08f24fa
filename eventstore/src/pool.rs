//! Connections.

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Executor, PgPool};
use std::time::Duration;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection that was used a moment ago is not asked whether it lives: that would be a round trip for each command.
const TRUSTED: Duration = Duration::from_secs(1);
/// A process that stands still in the midst of a transaction (stopped, paused, swapped out) goes on answering for its connection,
/// and would hold its locks for ever: those of gates, which opt-outs wait for, and that of the log's head. It does nothing between
/// two statements that takes this long.
const STANDS_STILL: &str = "SET idle_in_transaction_session_timeout = '5s'";

/// Connects to Postgres. A connection that died meanwhile is noticed when it was idle for a second, else by the
/// command that meets it, which is tried again.
pub async fn connect(options: PgConnectOptions, max_connections: u32) -> Result<PgPool, sqlx::Error> {
    PgPoolOptions::new()
        .max_connections(max_connections)
        .acquire_timeout(CONNECT_TIMEOUT)
        .test_before_acquire(false)
        .after_connect(|connection, _| {
            Box::pin(async move { connection.execute(STANDS_STILL).await.map(drop) })
        })
        .before_acquire(|connection, used| {
            Box::pin(async move {
                if used.idle_for > TRUSTED {
                    sqlx::Connection::ping(connection).await?;
                }
                Ok(true)
            })
        })
        .connect_with(options)
        .await
}
