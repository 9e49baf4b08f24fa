//! Lost events get their positions, and no read model takes a stream in the wrong order for it.
//!
//! A late event has a position behind later events of its stream. A read model that has done those without it is wrong, or has
//! parked the stream where it noticed. So the stream is parked in all read models that follow its type, in the transaction that
//! numbers the event: from then on nothing of it is applied by position. `rebuild` parks it from the beginning and replays it in
//! the stream's own order, which the dead letters have.

use crate::{ConsumeError, Projection};
use eventstore::lost::{self, Numbered};
use sqlx::{Connection, PgConnection};
use std::collections::BTreeSet;
use std::sync::Arc;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repaired {
    pub numbered: Numbered,
    /// Read models that have streams out of order, and are to be rebuilt.
    pub models: Vec<&'static str>,
    /// False: there may be more to repair.
    pub is_whole: bool,
}

/// Mends what [`eventstore::lost`] finds.
pub async fn repair(db: &mut PgConnection, models: &[Arc<dyn Projection>]) -> Result<Repaired, ConsumeError> {
    let found = lost::find(&mut *db).await?;
    let mut tx = db.begin().await?;
    let numbered = lost::number(&mut tx, &found).await?;
    let types: BTreeSet<&str> = numbered.late.iter().map(|(kind, _)| kind.as_str()).collect();
    let follows = |model: &&Arc<dyn Projection>| model.types().iter().any(|name| types.contains(name));
    let models: Vec<_> = models.iter().filter(follows).collect();
    for model in &models {
        park_late(&mut tx, model.as_ref()).await?;
    }
    tx.commit().await?;
    let models = models.iter().map(|model| model.name()).collect();
    Ok(Repaired { numbered, models, is_whole: found.is_whole })
}

/// All streams of which the log is out of order. True: there are such.
pub(crate) async fn park_late(
    tx: &mut PgConnection,
    projection: &dyn Projection,
) -> Result<bool, sqlx::Error> {
    let parked = sqlx::query(
        "INSERT INTO parked_streams (projection, aggregate_type, aggregate_id)
         SELECT DISTINCT $1, aggregate_type, aggregate_id FROM log_late WHERE aggregate_type = ANY($2)
         ORDER BY aggregate_type, aggregate_id ON CONFLICT DO NOTHING",
    )
    .bind(projection.name())
    .bind(projection.types())
    .execute(tx)
    .await?;
    Ok(parked.rows_affected() > 0)
}
