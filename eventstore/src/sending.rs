//! Whether anything may be handed over: a row beside the log, which every authorization asks under its lock.
//!
//! Opt-outs, sign-in and everything that is read know nothing of it.

use crate::StoreError;
use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgExecutor, PgPool};
use uuid::Uuid;

/// By `postledger sending pause`.
pub const OPERATOR: &str = "operator";
/// By `postledger restored`.
pub const RESTORED: &str = "restored";
/// Somebody outside of the database has seen events that it does not have.
pub const LOG_WENT_BACK: &str = "log_went_back";
/// Every reason that this release knows. The last two are not in the row: they hold while the log is where it was not.
pub const REASONS: &[&str] = &[OPERATOR, RESTORED, LOG_WENT_BACK, "another_cluster", "another_timeline"];

/// Why nothing is handed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stop {
    pub reason: String,
    /// Where the row says it.
    pub since: Option<DateTime<Utc>>,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Resumed {
    Now,
    /// It was never off.
    Before,
    /// Something else has to be done first.
    Refused(Stop),
}

impl Stop {
    /// What an operator does about it.
    pub fn remedy(&self) -> &'static str {
        match self.reason.as_str() {
            OPERATOR => "`postledger sending resume` lets mails go again",
            RESTORED => {
                "once opt-outs from elsewhere are imported (docs/operations.md, Restoring), `postledger sending resume` lets \
                 mails go"
            }
            LOG_WENT_BACK => {
                "the log lacks what was in it before, so it was restored: `postledger restored` makes it another history"
            }
            "another_cluster" | "another_timeline" => {
                "the database is not where it was: `postledger restored` after a restore or a copy, `postledger \
                 failover-confirmed` after a failover or a move that lost nothing"
            }
            _ => "this release does not know the reason: update it",
        }
    }

    fn ends_by_resume(&self) -> bool {
        [OPERATOR, RESTORED].contains(&self.reason.as_str())
    }
}

/// `None`: mails go, unless who hands them over knows more of the log.
pub async fn stopped_by(db: impl PgExecutor<'_>) -> Result<Option<Stop>, StoreError> {
    let found: (Option<String>, Option<DateTime<Utc>>) =
        sqlx::query_as("SELECT sending_stopped_by(), (SELECT paused_at FROM sending)").fetch_one(db).await?;
    let (reason, since) = found;
    Ok(reason.map(|reason| Stop { reason, since }))
}

/// Nothing is authorized from here on, as an operator wants it. A reason that stands already stays. Waits for authorizations
/// under way, and not for the calls that they allow.
pub async fn pause(pool: &PgPool) -> Result<(), StoreError> {
    let mut tx = pool.begin().await?;
    lock(&mut tx).await?;
    sqlx::query("UPDATE sending SET paused_at = clock_timestamp(), reason = $1 WHERE reason IS NULL")
        .bind(OPERATOR)
        .execute(&mut *tx)
        .await?;
    Ok(tx.commit().await?)
}

/// As `pause`, because the log lacked events that were seen of it while its epoch was `epoch`. Takes the place of any other
/// reason: no operator has looked at that yet. One who has since, and made the log another history, is not contradicted.
pub async fn log_went_back(pool: &PgPool, epoch: Uuid) -> Result<(), StoreError> {
    let mut tx = pool.begin().await?;
    lock(&mut tx).await?;
    sqlx::query(
        "UPDATE sending SET paused_at = clock_timestamp(), reason = $1
         WHERE reason IS DISTINCT FROM $1 AND (SELECT epoch FROM log_epoch) = $2",
    )
    .bind(LOG_WENT_BACK)
    .bind(epoch)
    .execute(&mut *tx)
    .await?;
    Ok(tx.commit().await?)
}

pub async fn resume(pool: &PgPool) -> Result<Resumed, StoreError> {
    let mut tx = pool.begin().await?;
    lock(&mut tx).await?;
    let resumed = match stopped_by(&mut *tx).await? {
        None => Resumed::Before,
        Some(stop) if !stop.ends_by_resume() => Resumed::Refused(stop),
        Some(_) => {
            sqlx::query("UPDATE sending SET paused_at = NULL, reason = NULL").execute(&mut *tx).await?;
            Resumed::Now
        }
    };
    tx.commit().await?;
    Ok(resumed)
}

/// Authorizations share this lock from their first statement on, so that they wait for it before they hold anything.
pub(crate) async fn lock(tx: &mut PgConnection) -> Result<(), StoreError> {
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('sending', 0))").execute(tx).await?;
    Ok(())
}
