//! What the log holds of users, sessions and API keys, newest first. No read model: the log itself, by an index.

use crate::{Page, Slice};
use eventstore::{LogEvent, StoreError};
use sqlx::PgExecutor;

const NEWEST: &str = "
    SELECT l.position, l.aggregate_type, l.slot, e.aggregate_id, e.sequence, e.event_type, e.event_version,
        e.payload, e.metadata, e.recorded_at
    FROM log l JOIN events e USING (append_id)
    WHERE l.aggregate_type IN ('user', 'session', 'api_key') AND l.position < $1
    ORDER BY l.position DESC LIMIT $2";

pub async fn list(db: impl PgExecutor<'_>, slice: Slice) -> Result<Page<LogEvent>, StoreError> {
    let rows = sqlx::query_as(NEWEST).bind(slice.below()).bind(slice.fetch()).fetch_all(db).await?;
    Ok(slice.page(rows, |row: &LogEvent| row.position))
}
