//! The write side in this process, on a database of its own.

use commands::{Commands, MailerNames, Timing};
use e2e::Database;
use eventstore::Store;
use eventstore::keys::MasterKey;
use eventstore::sequencer::Sequencer;
use sqlx::PgPool;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::{CancellationToken, DropGuard};

const CONNECTIONS: u32 = 24;
const TIMING: Timing = Timing { window: Duration::from_secs(2), margin: Duration::from_millis(500) };

/// Fields are dropped in this order: the database last.
pub struct World {
    _stops: DropGuard,
    pub commands: Commands,
    _database: Database,
}

impl World {
    /// With a sequencer at work, as in life.
    pub async fn start() -> Self {
        let database = Database::create().await;
        let pool = eventstore::connect(database.url.parse().unwrap(), CONNECTIONS).await.unwrap();
        eventstore::MIGRATOR.run(&pool).await.unwrap();
        let store = Store::new(pool.clone(), Arc::new(MasterKey::from_hex(&"5a".repeat(32)).unwrap()));
        let commands = Commands::new(store.clone(), pool, TIMING, MailerNames::of(["null"]));
        let stop = CancellationToken::new();
        tokio::spawn(Sequencer::new(store).run(stop.clone()));
        Self { _stops: stop.drop_guard(), commands, _database: database }
    }

    pub fn pool(&self) -> &PgPool {
        &self.commands.store.pool
    }
}

/// With the schema and nothing else: what is raw.
pub async fn bare() -> (Database, PgPool) {
    let database = Database::create().await;
    let pool = eventstore::connect(database.url.parse().unwrap(), CONNECTIONS).await.unwrap();
    eventstore::MIGRATOR.run(&pool).await.unwrap();
    (database, pool)
}
