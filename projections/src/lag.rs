//! How far each read model is behind the log.

use crate::Projection;
use crate::checkpoints::SLOTS;
use chrono::{DateTime, Utc};
use eventstore::StoreError;
use sqlx::PgPool;
use std::sync::Arc;

/// Counting stops here for each slot: what is far behind need not be known exactly.
const COUNTED_PER_SLOT: i64 = 1_000;

#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct Lag {
    pub projection: String,
    /// Events that it has not done; at least, where a slot is 1,000 or more behind.
    pub events: i64,
    /// When the oldest of them was given its position.
    pub oldest: Option<DateTime<Utc>>,
    pub parked_streams: i64,
    pub dead_letters: i64,
}

/// In the order of the names.
pub async fn lag(pool: &PgPool, models: &[Arc<dyn Projection>]) -> Result<Vec<Lag>, StoreError> {
    let pairs = models.iter().flat_map(|model| model.types().iter().map(|name| (model.name(), *name)));
    let (projections, types): (Vec<&str>, Vec<&str>) = pairs.unzip();
    let lags = sqlx::query_as(
        "SELECT m.projection, coalesce(sum(n.events), 0)::bigint AS events, min(n.oldest) AS oldest,
             (SELECT count(*) FROM parked_streams p WHERE p.projection = m.projection) AS parked_streams,
             (SELECT count(*) FROM dead_letters d WHERE d.projection = m.projection) AS dead_letters
         FROM unnest($1::text[], $2::text[]) m (projection, aggregate_type)
         CROSS JOIN generate_series(0, $3 - 1) s (slot)
         LEFT JOIN checkpoints c
             ON c.projection = m.projection AND c.aggregate_type = m.aggregate_type AND c.slot = s.slot
         CROSS JOIN LATERAL (
             SELECT count(*) AS events, min(sequenced_at) AS oldest
             FROM (SELECT l.sequenced_at FROM log l
                   WHERE l.aggregate_type = m.aggregate_type AND l.slot = s.slot
                     AND l.position > coalesce(c.position, 0)
                   ORDER BY l.position LIMIT $4) next) n
         GROUP BY m.projection ORDER BY m.projection",
    )
    .bind(projections)
    .bind(types)
    .bind(i32::from(SLOTS))
    .bind(COUNTED_PER_SLOT)
    .fetch_all(pool)
    .await?;
    Ok(lags)
}
