//! A query that waits until its read models have what a command did.

use crate::Projection;
use eventstore::{PositionToken, StoreError};
use sqlx::PgPool;
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

/// How long a query waits at the most.
pub const WAIT_MAX: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

#[derive(Debug, thiserror::Error)]
pub enum WaitError {
    #[error("the position is of another epoch: the log was restored since")]
    ForeignEpoch,
    /// No command answered this token.
    #[error("the position names an event that was never recorded")]
    Unknown,
    #[error("the read model has not caught up in time")]
    TimedOut,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Waits until all of `models` have done what the token names; types that a model does not follow are done. No
/// connection is held between looks.
pub async fn wait_for(
    pool: &PgPool,
    models: &[&dyn Projection],
    token: &PositionToken,
    timeout: Duration,
) -> Result<(), WaitError> {
    let deadline = Instant::now() + timeout;
    let wanted = Wanted::new(models, token);
    let mut pause = FIRST_PAUSE;
    loop {
        let look =
            tokio::time::timeout_at(deadline, wanted.look(pool)).await.map_err(|_| WaitError::TimedOut)??;
        match look {
            Look { epoch, .. } if epoch != token.epoch => return Err(WaitError::ForeignEpoch),
            Look { unknown: true, .. } => return Err(WaitError::Unknown),
            Look { behind: false, .. } => return Ok(()),
            Look { behind: true, .. } if Instant::now() + pause >= deadline => {
                return Err(WaitError::TimedOut);
            }
            Look { behind: true, .. } => tokio::time::sleep(pause).await,
        }
        pause = LONGEST_PAUSE.min(pause * 2);
    }
}

struct Wanted<'a> {
    append_ids: Vec<i64>,
    /// Pairs of a projection and a type that it follows.
    projections: Vec<&'a str>,
    types: Vec<&'a str>,
}

#[derive(sqlx::FromRow)]
struct Look {
    epoch: Uuid,
    unknown: bool,
    behind: bool,
}

impl<'a> Wanted<'a> {
    fn new(models: &[&'a dyn Projection], token: &PositionToken) -> Self {
        let pairs = models.iter().flat_map(|model| model.types().iter().map(|name| (model.name(), *name)));
        let (projections, types) = pairs.unzip();
        Self {
            append_ids: token.touched.iter().map(|touched| touched.append_id).collect(),
            projections,
            types,
        }
    }

    /// Type and slot are taken from what was recorded, never from the token.
    async fn look(&self, pool: &PgPool) -> Result<Look, StoreError> {
        let look = sqlx::query_as(
            "SELECT h.epoch,
                 EXISTS (SELECT FROM unnest($1::bigint[]) t (append_id)
                         WHERE NOT EXISTS (SELECT FROM events e WHERE e.append_id = t.append_id)) AS unknown,
                 EXISTS (SELECT FROM unnest($1::bigint[]) t (append_id)
                         JOIN events e ON e.append_id = t.append_id
                         JOIN unnest($2::text[], $3::text[]) m (projection, aggregate_type)
                             ON m.aggregate_type = e.aggregate_type
                         LEFT JOIN log l ON l.append_id = t.append_id
                         LEFT JOIN checkpoints c
                             ON c.projection = m.projection AND c.aggregate_type = l.aggregate_type
                             AND c.slot = l.slot AND c.epoch = h.epoch
                         WHERE coalesce(c.position < l.position, true)) AS behind
             FROM log_head h",
        )
        .bind(&self.append_ids)
        .bind(&self.projections)
        .bind(&self.types)
        .fetch_one(pool)
        .await?;
        Ok(look)
    }
}
