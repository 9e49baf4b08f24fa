//! How much may be spooled: a full disk would stop opt-outs. Room is taken before it is written, under one lock, so that
//! uploads that run at once cannot take the same.

use super::lease;
use crate::CommandError;
use domain::ImportId;
use sqlx::{PgConnection, PgPool};

/// Bytes that an upload takes at once, where there is room: so that not every chunk waits for the lock.
const STEP_BYTES: i64 = 8 * 1024 * 1024;

/// Of all uploads and of all imports that have not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    pub spool_max_bytes: i64,
    pub open_max: i64,
}

impl Default for Quota {
    fn default() -> Self {
        Self { spool_max_bytes: 4 << 30, open_max: 50 }
    }
}

/// What an upload does with the room that it gets.
pub(super) enum Take<'a> {
    /// Its row is written by these statements, in the same transaction.
    Begin,
    More(&'a ImportId),
}

impl Quota {
    /// Room for `bytes` at the least, under the lock that ends with the transaction; says how much it got.
    pub(super) async fn take(
        self,
        tx: &mut PgConnection,
        take: Take<'_>,
        bytes: i64,
    ) -> Result<i64, CommandError> {
        sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('postledger: import quota', 0))")
            .execute(&mut *tx)
            .await?;
        let (open, used): (i64, i64) = sqlx::query_as(
            "SELECT count(*), coalesce(sum(CASE status WHEN 'spooling' THEN spool_bytes ELSE bytes_total END), 0)::bigint
             FROM imports WHERE status IN ('spooling', 'queued', 'running')",
        )
        .fetch_one(&mut *tx)
        .await?;
        let room = self.spool_max_bytes - used;
        if matches!(take, Take::Begin) && open >= self.open_max {
            return Err(CommandError::Full("too many imports are under way: wait until one has ended"));
        }
        if bytes > room {
            return Err(CommandError::Full(
                "imports under way fill the room for uploads: wait until one has ended",
            ));
        }
        let taken = if room >= STEP_BYTES { bytes.max(STEP_BYTES) } else { bytes };
        if let Take::More(id) = take {
            sqlx::query("UPDATE imports SET spool_bytes = spool_bytes + $2 WHERE import_id = $1 AND status = 'spooling'")
                .bind(id)
                .bind(taken)
                .execute(&mut *tx)
                .await?;
        }
        Ok(taken)
    }
}

/// What dead uploads hold is given back before somebody is refused for it.
pub(super) async fn make_room(pool: &PgPool, error: CommandError) -> CommandError {
    if matches!(error, CommandError::Full(_)) {
        lease::sweep(pool).await.ok();
    }
    error
}
