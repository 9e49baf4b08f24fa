//! Attempts at work that has no row of its own to count deaths in. One at a time: of two workers the second leaves it alone, so
//! that a death is told from company.

use crate::{CommandError, Commands};
use std::time::Duration;
use uuid::Uuid;

/// Longer than an attempt takes, with the ten seconds that it may wait for a lock: whoever is not back by then has died.
const LEASE: Duration = Duration::from_secs(15);

/// The work of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// One page of a campaign's audience, or of its manifest.
    Freeze,
}

impl Work {
    /// In the table and in metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Freeze => "freeze",
        }
    }
}

impl Commands {
    /// How many workers died with it before this one, in a row. None: another one is at it, or it was given up.
    pub async fn begin_attempt(&self, work: Work, id: Uuid) -> Result<Option<i32>, CommandError> {
        Ok(sqlx::query_scalar(
            "INSERT INTO attempts AS a (work, id, leased_until)
             VALUES ($1, $2, clock_timestamp() + make_interval(secs => $3))
             ON CONFLICT (work, id) DO UPDATE SET deaths = a.deaths + 1, leased_until = excluded.leased_until
             WHERE a.leased_until < clock_timestamp()
             RETURNING deaths",
        )
        .bind(work.word())
        .bind(id)
        .bind(LEASE.as_secs_f64())
        .fetch_optional(&self.store.pool)
        .await?)
    }

    /// The worker lived, whatever came of it.
    pub async fn end_attempt(&self, work: Work, id: Uuid) -> Result<(), CommandError> {
        sqlx::query("DELETE FROM attempts WHERE work = $1 AND id = $2")
            .bind(work.word())
            .bind(id)
            .execute(&self.store.pool)
            .await?;
        Ok(())
    }

    /// Nobody begins it any more, until somebody has it tried again.
    pub async fn end_attempts(&self, work: Work, id: Uuid) -> Result<(), CommandError> {
        sqlx::query("UPDATE attempts SET leased_until = 'infinity' WHERE work = $1 AND id = $2")
            .bind(work.word())
            .bind(id)
            .execute(&self.store.pool)
            .await?;
        Ok(())
    }

    /// What was given up may be begun again.
    pub(crate) async fn allow_attempts(&self, work: Work, id: Uuid) -> Result<(), CommandError> {
        sqlx::query("DELETE FROM attempts WHERE work = $1 AND id = $2 AND leased_until = 'infinity'")
            .bind(work.word())
            .bind(id)
            .execute(&self.store.pool)
            .await?;
        Ok(())
    }
}
