use super::REASON_CANCELLED;
use super::lease::drop_spool;
use crate::idempotent;
use crate::{CommandError, Commands, Context};
use domain::ImportId;
use eventstore::Done;
use serde_json::json;
use sqlx::PgConnection;

impl Commands {
    /// Ends an import where it is: what was imported stays. Waits for the batch under way, a moment; none follows it.
    pub async fn cancel_import(&self, context: &Context, id: ImportId) -> Result<Done, CommandError> {
        let key = context.idempotency.as_ref();
        let mut tx = self.store.pool.begin().await?;
        if let Some(done) = idempotent::take(&mut tx, key).await? {
            return Ok(done);
        }
        let cancelled = cancel(&mut tx, id).await?;
        let done = idempotent::answer(&mut tx, key, json!({ "import_id": id }), cancelled).await?;
        tx.commit().await?;
        Ok(done)
    }
}

/// False: it was cancelled before.
async fn cancel(tx: &mut PgConnection, id: ImportId) -> Result<bool, CommandError> {
    let found: Option<(String, Option<String>)> = sqlx::query_as(
        "SELECT status, reason FROM imports WHERE import_id = $1 AND status <> 'spooling' FOR NO KEY UPDATE",
    )
    .bind(id)
    .fetch_optional(&mut *tx)
    .await?;
    let (status, reason) = found.ok_or(CommandError::NotFound("import"))?;
    match (status.as_str(), reason.as_deref()) {
        ("queued" | "running", _) => {}
        ("failed", Some(REASON_CANCELLED)) => return Ok(false),
        _ => return Err(CommandError::forbidden(status, "the import has ended")),
    }
    sqlx::query(
        "UPDATE imports SET status = 'failed', reason = $2, finished_at = clock_timestamp(), leased_until = NULL
         WHERE import_id = $1",
    )
    .bind(id)
    .bind(REASON_CANCELLED)
    .execute(&mut *tx)
    .await?;
    drop_spool(tx, id).await?;
    Ok(true)
}
