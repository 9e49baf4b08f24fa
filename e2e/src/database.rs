//! A database of a stack's own.

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, PgConnection, PgPool};
use std::str::FromStr;
use uuid::Uuid;

/// Tells the tests' own connections from those of the processes under test.
pub const APPLICATION: &str = "e2e";
const CONNECTIONS: u32 = 8;

pub struct Database {
    server: PgConnectOptions,
    name: String,
    pub url: String,
    pub pool: PgPool,
}

impl Database {
    /// On the server that all tests share.
    pub async fn create() -> Self {
        let server_url = std::env::var("POSTLEDGER_TEST_POSTGRES").expect(
            "POSTLEDGER_TEST_POSTGRES is not set: run './run test', or name a Postgres superuser's URL",
        );
        Self::create_on(&server_url).await
    }

    /// By the URL of a superuser.
    pub async fn create_on(server_url: &str) -> Self {
        let server = PgConnectOptions::from_str(server_url).expect("that is no URL of a Postgres");
        let server = server.application_name(APPLICATION);
        let name = format!("e2e_{}", Uuid::new_v4().simple());
        execute(&server, &format!("CREATE DATABASE {name}")).await;
        let pool = PgPoolOptions::new().max_connections(CONNECTIONS);
        let pool = pool.connect_with(server.clone().database(&name)).await.unwrap();
        Self { url: with_database(server_url, &name), server, name, pool }
    }

    /// While it is not allowed to be entered, nobody can connect, not even a superuser.
    pub async fn admit(&self, allowed: bool) {
        execute(&self.server, &format!("ALTER DATABASE {} ALLOW_CONNECTIONS {allowed}", self.name)).await;
    }

    /// Until what killed processes sent has ended: a commit on its way is still done by the server.
    pub async fn without_processes(&self) {
        crate::eventually("the killed processes' database sessions end", std::time::Duration::from_secs(20), async || {
            let others: i64 = sqlx::query_scalar(
                "SELECT count(*) FROM pg_stat_activity
                 WHERE datname = current_database() AND application_name <> $1 AND backend_type = 'client backend'",
            )
            .bind(APPLICATION)
            .fetch_one(&self.pool)
            .await
            .unwrap();
            (others == 0).then_some(())
        })
        .await;
    }
}

async fn execute(server: &PgConnectOptions, sql: &str) {
    let connection = PgConnection::connect_with(server).await;
    let mut connection = connection.expect("the tests' Postgres does not answer");
    sqlx::query(sql).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

/// The URL of another database of the same server.
fn with_database(server_url: &str, name: &str) -> String {
    let (url, parameters) = server_url.split_once('?').unwrap_or((server_url, ""));
    let authority = url.find("://").map_or(0, |scheme| scheme + 3);
    let end = url[authority..].find('/').map_or(url.len(), |slash| authority + slash);
    let separator = if parameters.is_empty() { "" } else { "?" };
    format!("{}/{name}{separator}{parameters}", &url[..end])
}

impl Drop for Database {
    /// On a thread of its own, since a test that panicked can't wait for a future.
    fn drop(&mut self) {
        let (server, sql) =
            (self.server.clone(), format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name));
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(execute(&server, &sql));
        });
        if dropped.join().is_err() {
            eprintln!("the database {} is left behind", self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_database_is_replaced_and_the_rest_stays() {
        for (server, url) in [
            ("postgres://u:p@h:1/postgres", "postgres://u:p@h:1/new"),
            ("postgres://u@h", "postgres://u@h/new"),
            ("postgres://u@h/x?sslmode=disable", "postgres://u@h/new?sslmode=disable"),
        ] {
            assert_eq!(with_database(server, "new"), url);
        }
    }
}
