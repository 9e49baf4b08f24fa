//! Working imports off, on any number of machines.

use super::ImportedStatus;
use super::batch::Reader;
use super::decide::Plan;
use super::inspect::{Inspector, Wanted};
use super::layout::Layout;
use super::lease::{self, Claim, Halt};
use super::row::Row;
use super::spool::{self, Spool};
use super::{REASON_GROUP_DELETED, REASON_NOT_UNDERSTOOD, REASON_WORKER_DIED};
use crate::deaths::{DEATHS_MAX, given_up};
use crate::permits::{self, LONGEST, OpenPermit};
use crate::{CommandError, Commands, attributes};
use chrono::{DateTime, Utc};
use domain::{ImportId, SubscriberId};
use sqlx::types::Json;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

impl Commands {
    /// Works one import to its end, to `stop`, to the end of a batch where another waits for its turn, or to an error after
    /// which it is laid aside for a moment; returns which one it was, or none if none waits. To be called in a loop by any number of workers. The batch under way when
    /// `stop` comes is finished, and the import then given back for others.
    pub async fn work_on_next_import(
        &self,
        stop: &CancellationToken,
    ) -> Result<Option<ImportId>, CommandError> {
        let pool = &self.store.pool;
        lease::sweep(pool).await?;
        let Some(claim) = lease::claim(pool).await? else { return Ok(None) };
        let (id, fence) = (claim.import_id, claim.fence);
        let halted = match self.work_on(claim, stop).await {
            Err(Halt::Fail(reason)) => {
                tracing::info!(import.id = %id, reason, "import failed");
                lease::end(pool, id, fence, Some(reason)).await
            }
            other => other,
        };
        match halted {
            Ok(()) | Err(Halt::Lost | Halt::Fail(_)) => Ok(Some(id)),
            Err(Halt::Error(error)) => {
                // Where this fails too, the lease runs out.
                lease::delay(pool, id, fence, &error).await.ok();
                Err(error)
            }
        }
    }

    async fn work_on(&self, claim: Claim, stop: &CancellationToken) -> Result<(), Halt> {
        if claim.deaths >= DEATHS_MAX {
            tracing::error!(
                import.id = %claim.import_id, line = claim.next_line,
                "{DEATHS_MAX} workers in a row died with an import: it is given up"
            );
            given_up("import");
            return Err(Halt::Fail(REASON_WORKER_DIED));
        }
        let at = claim.cursor();
        let (plan, spool) = self.open_import(claim).await?;
        let mut reader = Reader::new(spool, &plan, at);
        let mut batch = reader.batch(&plan, &self.store.master).await?;
        while !batch.is_empty() {
            if stop.is_cancelled() {
                return Ok(lease::release(&self.store.pool, plan.id, plan.fence).await?);
            }
            self.check_group_of(&plan).await?;
            // While the database writes this batch, the next one is read.
            let (written, next) =
                tokio::join!(self.import_batch(&plan, &batch), reader.batch(&plan, &self.store.master));
            written?;
            if plan.status == ImportedStatus::OptedOut {
                self.wait_for_permits(&batch.rows).await;
            }
            batch = next?;
            if !batch.is_empty() && lease::must_give_way(&self.store.pool, plan.id, plan.status).await? {
                return Ok(lease::give_way(&self.store.pool, plan.id, plan.fence).await?);
            }
        }
        lease::end(&self.store.pool, plan.id, plan.fence, None).await?;
        tracing::info!(import.id = %plan.id, "import completed");
        Ok(())
    }

    async fn open_import(&self, claim: Claim) -> Result<(Plan, Spool), Halt> {
        let Claim { import_id: id, fence, bytes_total, created_at, .. } = claim;
        let (store, master) = (&self.store, &self.store.master);
        let key = Arc::new(spool::open_key(master, id, &claim.master_key_id, &claim.wrapped_key)?);
        let spool = Spool { pool: store.pool.clone(), id, key: key.clone(), bytes_total };
        let status = ImportedStatus::parse(&claim.imported_as)?;
        let layout = match claim.layout {
            Some(Json(layout)) => layout,
            None => inspected(&spool, status, created_at).await?,
        };
        if status == ImportedStatus::Active {
            attributes::remember(&store.pool, layout.keys()).await?;
        }
        let mut metadata = claim.metadata.0;
        metadata.insert("import_id".into(), id.to_string());
        let plan = Plan {
            id,
            fence,
            key,
            status,
            group: claim.group_id,
            consent_source: claim.consent_source,
            hash_key_id: master.id().into(),
            metadata,
            layout,
            uploaded_at: created_at,
        };
        Ok((plan, spool))
    }

    async fn check_group_of(&self, plan: &Plan) -> Result<(), Halt> {
        let joined = plan.group.filter(|_| plan.status == ImportedStatus::Active);
        let Some(group) = joined else { return Ok(()) };
        match self.require_group(group).await {
            Ok(_) => Ok(()),
            Err(CommandError::NotFound(_)) => Err(Halt::Fail(REASON_GROUP_DELETED)),
            Err(error) => Err(error.into()),
        }
    }

    /// An opt-out's promise, for a batch of them: they are committed, and now the permits that they saw open are waited
    /// out. Neither the next batch nor the end of the import comes before. A worker that dies here is followed by
    /// another after its lease at the earliest, which is longer.
    async fn wait_for_permits(&self, rows: &[Row]) {
        match self.open_permits(rows).await {
            Ok(open) => permits::wait(&self.store.pool, &open).await,
            // Where the database does not answer, the time alone decides.
            Err(_) => tokio::time::sleep(LONGEST.window + LONGEST.margin).await,
        }
    }

    async fn open_permits(&self, rows: &[Row]) -> Result<Vec<OpenPermit>, CommandError> {
        let hashes: Vec<&[u8]> = rows.iter().map(|row| row.hash.0.as_slice()).collect();
        let readers: Vec<SubscriberId> =
            sqlx::query_scalar("SELECT subscriber_id FROM gates WHERE address_hash = ANY($1)")
                .bind(hashes)
                .fetch_all(&self.store.pool)
                .await?;
        permits::open_for_readers(&self.store.pool, &readers).await
    }
}

/// Of an import that an earlier release took: read anew as a whole, and given up where it would be refused today.
async fn inspected(
    spool: &Spool,
    status: ImportedStatus,
    uploaded_at: DateTime<Utc>,
) -> Result<Layout, Halt> {
    let mut inspector = Inspector::new(Wanted { status, ..Wanted::default() }, uploaded_at);
    let mut byte = 0;
    loop {
        let chunk = spool.read_from(byte).await?;
        if chunk.is_empty() {
            break;
        }
        inspector.chunk(&chunk).map_err(|_| Halt::Fail(REASON_NOT_UNDERSTOOD))?;
        byte += chunk.len() as i64;
    }
    let scanned = inspector.end().map_err(|_| Halt::Fail(REASON_NOT_UNDERSTOOD))?.scanned;
    match scanned.faults.is_empty() {
        true => Ok(scanned.layout),
        false => Err(Halt::Fail(REASON_NOT_UNDERSTOOD)),
    }
}
