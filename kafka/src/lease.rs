//! One relay at work: who holds an advisory lock, on a session of its own, over which alone the acknowledged position
//! is written. When the session ends, however it ends, the lock is free and its former holder can write no more.

use eventstore::StoreError;
use eventstore::restore;
use sqlx::{Connection, Executor, PgConnection, PgPool};
use uuid::Uuid;

/// A session whose other end vanished without a word is noticed after about 20 s.
const KEEPALIVE: &str = "SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 3; SET tcp_keepalives_count = 3; \
     SET application_name = 'postledger relay'";
const LOCK: &str = "SELECT pg_try_advisory_lock(hashtextextended('relay', 0))";
const TRANSACTION_LOCK: &str = "SELECT pg_try_advisory_xact_lock(hashtextextended('relay', 0))";

pub(crate) struct Lease {
    session: PgConnection,
    epoch: Uuid,
    stored: i64,
}

impl Lease {
    /// `None`: another relay is at work.
    pub async fn take(pool: &PgPool, epoch: Uuid) -> Result<Option<Self>, StoreError> {
        let mut session = PgConnection::connect_with(&pool.connect_options()).await?;
        if !sqlx::query_scalar::<_, bool>(LOCK).fetch_one(&mut session).await? {
            session.close().await?;
            return Ok(None);
        }
        session.execute(KEEPALIVE).await?;
        let begin = "INSERT INTO relay AS r (epoch) VALUES ($1)
             ON CONFLICT (single) DO UPDATE SET epoch = excluded.epoch, position = 0, acknowledged_at = clock_timestamp()
             WHERE r.epoch <> excluded.epoch";
        sqlx::query(begin).bind(epoch).execute(&mut session).await?;
        let stored = sqlx::query_scalar("SELECT position FROM relay").fetch_one(&mut session).await?;
        Ok(Some(Self { session, epoch, stored }))
    }

    /// How the log is not where it was, if it is not.
    pub async fn moved(&mut self) -> Result<Option<String>, StoreError> {
        restore::moved(&mut self.session).await
    }

    /// Fails where the session has ended: Postgres was stopped, and what is read now may be of another one in its place.
    pub async fn stands(&mut self) -> Result<(), StoreError> {
        Ok(self.session.ping().await?)
    }

    /// Under which it was taken.
    pub fn epoch(&self) -> Uuid {
        self.epoch
    }

    /// The last acknowledged position that was stored.
    pub fn stored(&self) -> i64 {
        self.stored
    }

    /// Stores how far the brokers have acknowledged. An error is the end of this lease.
    pub async fn store(&mut self, acknowledged: i64) -> Result<(), StoreError> {
        if acknowledged <= self.stored {
            return Ok(());
        }
        let store = "UPDATE relay SET position = $2, acknowledged_at = clock_timestamp() WHERE epoch = $1 AND position = $3";
        let stored = sqlx::query(store)
            .bind(self.epoch)
            .bind(acknowledged)
            .bind(self.stored)
            .execute(&mut self.session)
            .await?;
        if stored.rows_affected() == 0 {
            return Err(StoreError::Conflict);
        }
        self.stored = acknowledged;
        Ok(())
    }

    /// Frees the lock at once.
    pub async fn release(self) -> Result<(), StoreError> {
        Ok(self.session.close().await?)
    }
}

/// Whether a relay is at work anywhere.
pub(crate) async fn is_taken(pool: &PgPool) -> Result<bool, StoreError> {
    let mut tx = pool.begin().await?;
    let is_free: bool = sqlx::query_scalar(TRANSACTION_LOCK).fetch_one(&mut *tx).await?;
    tx.rollback().await?;
    Ok(!is_free)
}
