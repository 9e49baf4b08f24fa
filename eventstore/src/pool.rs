//! Connections.

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, Executor, PgConnection, PgPool};
use std::time::Duration;

pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection that was used a moment ago is not asked whether it lives: that would be a round trip for each command.
const TRUSTED: Duration = Duration::from_secs(1);
/// A process that stands still in the midst of a transaction (stopped, paused, swapped out) goes on answering for its connection,
/// and would hold its locks for ever: those of gates, which opt-outs wait for, and that of the log's head. It does nothing between
/// two statements that takes this long.
///
/// Nobody waits for a lock for ever either: longer than for a process that stands still, and less than a request has.
///
/// Statements of ours are short: compiling one takes longer than running it, and estimates of large arrays ask for it.
const SETTINGS: &str =
    "SET idle_in_transaction_session_timeout = '5s'; SET lock_timeout = '10s'; SET jit = off";

/// Connects to Postgres. A connection that died meanwhile is noticed when it was idle for a second, else by the
/// command that meets it, which is tried again.
pub async fn connect(options: PgConnectOptions, max_connections: u32) -> Result<PgPool, sqlx::Error> {
    PgPoolOptions::new()
        .max_connections(max_connections)
        .acquire_timeout(CONNECT_TIMEOUT)
        .test_before_acquire(false)
        .after_connect(|connection, _| Box::pin(async move { connection.execute(SETTINGS).await.map(drop) }))
        .before_acquire(|connection, used| {
            Box::pin(async move {
                if used.idle_for > TRUSTED {
                    connection.ping().await?;
                }
                Ok(true)
            })
        })
        .connect_with(options)
        .await
}

/// A connection to the same database, beside the pool: what its session holds (a lock, a mark, a wish to be notified) ends with
/// it, and nobody else's work is in it.
pub async fn session(pool: &PgPool, name: &str) -> Result<PgConnection, sqlx::Error> {
    let options = pool.connect_options().as_ref().clone().application_name(name);
    let connecting = async {
        let mut connection = PgConnection::connect_with(&options).await?;
        connection.execute(SETTINGS).await?;
        Ok(connection)
    };
    tokio::time::timeout(CONNECT_TIMEOUT, connecting).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
}
