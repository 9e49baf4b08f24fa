//! Who works on an import: a lease that each batch renews, and a fencing number by which a worker that lost it is known.

use super::layout::Layout;
use super::splitter::Cursor;
use super::{ImportedStatus, REASON_INTERNAL, REASON_LIST_CUT, REASON_WAITING, REJECTED_MAX};
use crate::CommandError;
use chrono::{DateTime, Utc};
use domain::{GroupId, ImportId};
use eventstore::{Metadata, StoreError};
use sqlx::types::Json;
use sqlx::{PgConnection, PgPool};

/// Longer than a batch may take, and than W and its margin: whoever takes over a dead worker's import of opt-outs comes
/// after every call that its last batch had to wait for.
const LEASE_SECONDS: f64 = 60.0;
/// Before a batch that failed is tried again by whoever is free.
const DELAY_SECONDS: f64 = 5.0;
/// Failures in a row that are not the database's: then the import fails.
const TRIES_MAX: i32 = 5;
/// An upload that sent nothing for so long is dead.
const SPOOLING_MAX_SECONDS: f64 = 3600.0;
/// A batch waits no longer for a lock before it is tried again.
const LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '10s'";

/// Why work on an import stops before its end.
#[derive(Debug)]
pub(super) enum Halt {
    /// It was cancelled, or another worker has it.
    Lost,
    /// It cannot go on.
    Fail(&'static str),
    /// It goes on later.
    Error(CommandError),
}

impl From<CommandError> for Halt {
    fn from(error: CommandError) -> Self {
        Self::Error(error)
    }
}

impl From<StoreError> for Halt {
    fn from(error: StoreError) -> Self {
        Self::Error(error.into())
    }
}

impl From<sqlx::Error> for Halt {
    fn from(error: sqlx::Error) -> Self {
        Self::Error(error.into())
    }
}

/// An import that this worker may work on, as far as it got.
#[derive(sqlx::FromRow)]
pub(super) struct Claim {
    pub import_id: ImportId,
    pub fence: i64,
    /// Workers before this one, in a row, that took it and neither wrote a batch nor gave it back.
    pub deaths: i32,
    pub group_id: Option<GroupId>,
    pub imported_as: String,
    pub consent_source: String,
    pub metadata: Json<Metadata>,
    pub master_key_id: String,
    pub wrapped_key: Vec<u8>,
    pub bytes_total: i64,
    pub next_byte: i64,
    pub next_line: i64,
    pub created_at: DateTime<Utc>,
    /// None: an earlier release took it.
    pub layout: Option<Json<Layout>>,
}

impl Claim {
    pub fn cursor(&self) -> Cursor {
        Cursor { byte: self.next_byte, line: self.next_line }
    }
}

/// Of the imports that nobody works on, a list of the unsubscribed, as each of its rows may be mailed meanwhile; of those, and
/// then of all others, the one that was worked on, or uploaded, the longest time ago.
pub(super) async fn claim(pool: &PgPool) -> Result<Option<Claim>, CommandError> {
    Ok(sqlx::query_as(
        "UPDATE imports SET status = 'running', fence = fence + 1, deaths = deaths + 1,
             leased_until = clock_timestamp() + make_interval(secs => $1)
         WHERE import_id = (
             SELECT import_id FROM imports
             WHERE status IN ('queued', 'running') AND (leased_until IS NULL OR leased_until < clock_timestamp())
             ORDER BY imported_as = 'opted_out' DESC, touched_at LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED)
         RETURNING import_id, fence, deaths - 1 AS deaths, group_id, imported_as, consent_source, metadata, master_key_id, wrapped_key,
             bytes_total, next_byte, next_line, created_at, layout",
    )
    .bind(LEASE_SECONDS)
    .fetch_optional(pool)
    .await?)
}

/// Locks the import's row for a batch's transaction, before every other lock; it also keeps others from claiming it.
pub(super) async fn hold(tx: &mut PgConnection, id: ImportId, fence: i64) -> Result<(), Halt> {
    sqlx::query(LOCK_TIMEOUT).execute(&mut *tx).await?;
    let held = sqlx::query(
        "SELECT 1 FROM imports WHERE import_id = $1 AND fence = $2 AND status = 'running' FOR NO KEY UPDATE",
    )
    .bind(id)
    .bind(fence)
    .fetch_optional(tx)
    .await?;
    held.map(|_| ()).ok_or(Halt::Lost)
}

/// What became of rows.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tally {
    pub created: i64,
    pub updated: i64,
    pub unchanged: i64,
    pub kept_opted_out: i64,
    pub rejected: i64,
}

/// Counts a batch, moves on behind it and renews the lease. Under [`hold`].
pub(super) async fn advance(
    tx: &mut PgConnection,
    id: ImportId,
    tally: &Tally,
    next: Cursor,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE imports SET rows = rows + $2 + $3 + $4 + $5 + $6, created = created + $2, updated = updated + $3,
             unchanged = unchanged + $4, kept_opted_out = kept_opted_out + $5, rejected = rejected + $6,
             next_byte = $7, next_line = $8, reason = NULL, tries = 0, deaths = 0, touched_at = clock_timestamp(),
             leased_until = clock_timestamp() + make_interval(secs => $9)
         WHERE import_id = $1",
    )
    .bind(id)
    .bind(tally.created)
    .bind(tally.updated)
    .bind(tally.unchanged)
    .bind(tally.kept_opted_out)
    .bind(tally.rejected)
    .bind(next.byte)
    .bind(next.line)
    .bind(LEASE_SECONDS)
    .execute(tx)
    .await?;
    Ok(())
}

/// Ends an import: with a reason it failed. Its spool goes with it, its rejected rows and their key stay.
pub(super) async fn end(
    pool: &PgPool,
    id: ImportId,
    fence: i64,
    failed: Option<&'static str>,
) -> Result<(), Halt> {
    let mut tx = pool.begin().await?;
    hold(&mut tx, id, fence).await?;
    sqlx::query(
        "UPDATE imports SET status = CASE WHEN $2::text IS NULL THEN 'completed' ELSE 'failed' END,
             reason = coalesce($2, CASE WHEN rejected > $3 THEN $4 END),
             -- A row of a list of opt-outs may name several people.
             rows_total = CASE WHEN $2::text IS NULL THEN rows ELSE rows_total END,
             finished_at = clock_timestamp(), leased_until = NULL
         WHERE import_id = $1",
    )
    .bind(id)
    .bind(failed)
    .bind(REJECTED_MAX)
    .bind(REASON_LIST_CUT)
    .execute(&mut *tx)
    .await?;
    drop_spool(&mut tx, id).await?;
    Ok(tx.commit().await?)
}

pub(super) async fn drop_spool(tx: &mut PgConnection, id: ImportId) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM import_chunks WHERE import_id = $1").bind(id).execute(tx).await?;
    Ok(())
}

/// Gives an import back unfinished: whoever is free goes on at once.
pub(super) async fn release(pool: &PgPool, id: ImportId, fence: i64) -> Result<(), CommandError> {
    sqlx::query(
        "UPDATE imports SET status = 'queued', leased_until = NULL, deaths = 0
         WHERE import_id = $1 AND fence = $2 AND status = 'running'",
    )
    .bind(id)
    .bind(fence)
    .execute(pool)
    .await?;
    Ok(())
}

/// Whether another import waits that has its turn before the next batch of this one: of two kinds alike they alternate, and a
/// list of the unsubscribed waits for no other kind.
pub(super) async fn must_give_way(
    pool: &PgPool,
    id: ImportId,
    status: ImportedStatus,
) -> Result<bool, CommandError> {
    Ok(sqlx::query_scalar(
        "SELECT EXISTS (
             SELECT FROM imports
             WHERE import_id <> $1 AND status IN ('queued', 'running')
               AND (leased_until IS NULL OR leased_until < clock_timestamp())
               AND (imported_as = 'opted_out' OR $2))",
    )
    .bind(id)
    .bind(status == ImportedStatus::Active)
    .fetch_one(pool)
    .await?)
}

/// Lets another import go on: this one has its next turn after it.
pub(super) async fn give_way(pool: &PgPool, id: ImportId, fence: i64) -> Result<(), CommandError> {
    sqlx::query(
        "UPDATE imports SET leased_until = NULL, deaths = 0
         WHERE import_id = $1 AND fence = $2 AND status = 'running'",
    )
    .bind(id)
    .bind(fence)
    .execute(pool)
    .await?;
    Ok(())
}

/// Lays an import aside after an error: whoever is free then goes on, for ever where the database is to blame.
pub(super) async fn delay(pool: &PgPool, id: ImportId, fence: i64, error: &CommandError) -> Result<(), Halt> {
    let counts = i32::from(!error.is_passing());
    let tries: Option<i32> = sqlx::query_scalar(
        "UPDATE imports SET tries = tries + $3, deaths = 0, reason = CASE WHEN $3 = 0 THEN $4 ELSE $5 END,
             leased_until = clock_timestamp() + make_interval(secs => $6)
         WHERE import_id = $1 AND fence = $2 AND status = 'running' RETURNING tries",
    )
    .bind(id)
    .bind(fence)
    .bind(counts)
    .bind(REASON_WAITING)
    .bind(REASON_INTERNAL)
    .bind(DELAY_SECONDS)
    .fetch_optional(pool)
    .await?;
    match tries {
        Some(tries) if tries >= TRIES_MAX => end(pool, id, fence, Some(REASON_INTERNAL)).await,
        _ => Ok(()),
    }
}

/// Removes an upload that was promised nothing.
pub(super) async fn drop_upload(pool: &PgPool, id: ImportId) -> Result<(), CommandError> {
    sqlx::query("DELETE FROM imports WHERE import_id = $1 AND status = 'spooling'")
        .bind(id)
        .execute(pool)
        .await?;
    Ok(())
}

/// Removes what uploads left that died on their way.
pub(super) async fn sweep(pool: &PgPool) -> Result<(), CommandError> {
    let swept = sqlx::query(
        "DELETE FROM imports
         WHERE status = 'spooling' AND touched_at < clock_timestamp() - make_interval(secs => $1)",
    )
    .bind(SPOOLING_MAX_SECONDS)
    .execute(pool)
    .await?;
    if swept.rows_affected() > 0 {
        tracing::info!(uploads = swept.rows_affected(), "uploads that never ended were removed");
    }
    Ok(())
}
