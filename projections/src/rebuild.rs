//! Filling a read model anew from the log.

use crate::dead_letters::{self, ReplayError};
use crate::follower::Follower;
use crate::repair::park_late;
use crate::{ConsumeError, Projection, UnknownModel, find};
use eventstore::{StoreError, feed};
use sqlx::PgPool;
use std::sync::Arc;
use std::time::Duration;

/// How far a rebuild is: both are positions of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    pub position: i64,
    /// The log's end when the rebuild began.
    pub until: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rebuilt {
    /// The read model holds everything up to this position.
    pub until: i64,
    /// Events that could not be applied, or that follow one in their stream.
    pub dead_letters: i64,
}

#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    #[error(transparent)]
    Unknown(#[from] UnknownModel),
    #[error(transparent)]
    Consume(#[from] ConsumeError),
    #[error("somebody has been reading {0} for long (a dump?): rebuild it when that is over")]
    Read(&'static str),
}

impl From<ReplayError> for RebuildError {
    fn from(error: ReplayError) -> Self {
        match error {
            ReplayError::Unknown(error) => error.into(),
            ReplayError::Store(error) => error.into(),
        }
    }
}

impl From<sqlx::Error> for RebuildError {
    fn from(error: sqlx::Error) -> Self {
        Self::Consume(error.into())
    }
}

impl From<StoreError> for RebuildError {
    fn from(error: StoreError) -> Self {
        Self::Consume(error.into())
    }
}

/// Empties the read model called `name` and fills it up to the log's present end.
///
/// Its projector may run meanwhile: whoever is first with a slot's next events applies them. Until the end, queries
/// see a part. After an error the read model is filled as far as it got, and its projector or another call goes on.
pub async fn rebuild(
    pool: &PgPool,
    models: &[Arc<dyn Projection>],
    name: &str,
    mut progress: impl FnMut(Progress),
) -> Result<Rebuilt, RebuildError> {
    let projection = find(models, name)?;
    let until = feed::head(pool).await?.position;
    let are_late = reset(pool, projection.as_ref()).await?;
    let mut follower = Follower::start(pool.clone(), projection.clone()).await?;
    let mut batch = Vec::new();
    while !batch.is_empty() || follower.cursor() < until {
        let done = follower.cursor();
        batch = follower.deliver_and_read(batch, until).await?;
        progress(Progress { position: done.min(until), until });
    }
    if are_late {
        dead_letters::replay(pool, models, Some(name), |_| {}).await?;
    }
    progress(Progress { position: until, until });
    let dead_letters = sqlx::query_scalar("SELECT count(*) FROM dead_letters WHERE projection = $1")
        .bind(name)
        .fetch_one(pool)
        .await?;
    Ok(Rebuilt { until, dead_letters })
}

/// Emptying a table waits behind who reads it, queries wait behind that, and other read models behind the checkpoints: so long at the
/// most, and then once more.
const LOCK_MOMENT: &str = "SET LOCAL lock_timeout = '500ms'";
const RESET_TRIES_MAX: u32 = 20;
const RESET_PAUSE: Duration = Duration::from_secs(1);

async fn reset(pool: &PgPool, projection: &dyn Projection) -> Result<bool, RebuildError> {
    let mut tries = 1;
    loop {
        match reset_once(pool, projection).await {
            Err(error) if is_lock_timeout(&error) && tries < RESET_TRIES_MAX => tries += 1,
            Err(error) if is_lock_timeout(&error) => return Err(RebuildError::Read(projection.name())),
            done => return Ok(done?),
        }
        tokio::time::sleep(RESET_PAUSE).await;
    }
}

/// Forgets what the projection has done, in one transaction. True: it has put streams aside that the log is out of order of.
async fn reset_once(pool: &PgPool, projection: &dyn Projection) -> Result<bool, sqlx::Error> {
    let mut tx = pool.begin().await?;
    sqlx::query(LOCK_MOMENT).execute(&mut *tx).await?;
    // Deliveries begin by writing checkpoints: none is under way behind this lock, not even one that makes its first
    // row, which no row lock would meet.
    sqlx::query("LOCK TABLE checkpoints IN SHARE ROW EXCLUSIVE MODE").execute(&mut *tx).await?;
    for table in ["checkpoints", "parked_streams", "dead_letters"] {
        let delete = format!("DELETE FROM {table} WHERE projection = $1");
        sqlx::query(&delete).bind(projection.name()).execute(&mut *tx).await?;
    }
    projection.reset(&mut tx).await?;
    let are_late = park_late(&mut tx, projection).await?;
    tx.commit().await?;
    Ok(are_late)
}

/// 55P03, lock_not_available.
fn is_lock_timeout(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code == "55P03")
}
