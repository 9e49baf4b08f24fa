//! Bringing the schema up to date beside the version that runs, and beside whoever reads.
//!
//! A strong lock waits behind every reader, a dump of hours among them, and everybody else waits behind it. So a migration asks for
//! its locks for a moment only, and is tried again later; what it did until then is undone. `docs/locks.md` lists these locks.

use crate::MIGRATOR;
use sqlx::migrate::{MigrateError, Migration, Migrator};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, Executor, PgConnection};
use std::borrow::Cow;
use std::time::Duration;

/// Others wait so long at the most behind a lock that is asked for.
const LOCK_MOMENT: &str = "SET lock_timeout = '500ms'";
/// A migration without a transaction builds or drops an index CONCURRENTLY: it waits for all who read, and lets everybody by.
const LOCK_PATIENTLY: &str = "SET lock_timeout = 0";

/// How often a lock is asked for, and after which pause.
#[derive(Debug, Clone, Copy)]
pub struct Tries {
    pub max: u32,
    pub pause: Duration,
}

impl Default for Tries {
    fn default() -> Self {
        Self { max: 20, pause: Duration::from_secs(3) }
    }
}

/// Runs the migrations that are missing. Where somebody reads for longer than all tries, the error is the lock's, and those that
/// were done before stay done.
pub async fn migrate(options: &PgConnectOptions, tries: Tries) -> Result<(), MigrateError> {
    let mut done = 1;
    loop {
        // Anew each time: a failed try leaves sqlx's own lock with its session.
        let mut connection = PgConnection::connect_with(options).await?;
        match missing(&mut connection).await {
            Err(error) if waited_for_a_lock(&error) && done < tries.max => {
                connection.close().await.ok();
                tracing::info!(%error, tries = done, "a migration waits for a lock that somebody's reading holds");
                tokio::time::sleep(tries.pause).await;
                done += 1;
            }
            other => return other,
        }
    }
}

async fn missing(connection: &mut PgConnection) -> Result<(), MigrateError> {
    for migration in MIGRATOR.migrations.chunks(1) {
        let is_patient = migration.iter().any(|migration| migration.no_tx);
        connection.execute(if is_patient { LOCK_PATIENTLY } else { LOCK_MOMENT }).await?;
        alone(migration).run_direct(connection).await?;
    }
    // What was applied and is unknown here is noticed by the whole.
    MIGRATOR.run_direct(connection).await
}

fn alone(migration: &'static [Migration]) -> Migrator {
    Migrator { migrations: Cow::Borrowed(migration), ignore_missing: true, ..Migrator::DEFAULT }
}

/// 55P03, lock_not_available.
pub fn waited_for_a_lock(error: &MigrateError) -> bool {
    let (MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _)) = error else {
        return false;
    };
    error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code == "55P03")
}
