//! One batch: read from the spool, decided, and written in one transaction.

use super::decide::{Decisions, Plan};
use super::inspect::splitter;
use super::lease::{self, Halt};
use super::people::{Gates, People};
use super::rejected;
use super::row::{Rejection, Row};
use super::splitter::{Cursor, Splitter, Step};
use super::spool::Spool;
use super::{BATCH_BYTES, BATCH_ROWS, ImportedStatus};
use crate::Commands;
use domain::subscriber::Subscriber;
use eventstore::keys::MasterKey;
use eventstore::{StoreError, append, load_each, sealing};
use std::time::Duration;

/// Tries of one batch that meets conflicts or a database that goes away, before the import waits.
const TRIES_MAX: u32 = 5;
const RETRY_DELAY: Duration = Duration::from_millis(50);

/// Rows of the file that follow each other.
pub(super) struct Batch {
    pub rows: Vec<Row>,
    rejected: Vec<Rejection>,
    next: Cursor,
}

impl Batch {
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.rejected.is_empty()
    }
}

/// The rest of an import's body.
pub(super) struct Reader {
    spool: Spool,
    splitter: Splitter,
    /// The rest of the present chunk.
    chunk: Vec<u8>,
    used: usize,
}

impl Reader {
    pub fn new(spool: Spool, plan: &Plan, at: Cursor) -> Self {
        Self { spool, splitter: splitter(plan.status, &plan.layout, at), chunk: Vec::new(), used: 0 }
    }

    /// The next rows; none at the end of the body. It ends where the next row starts, so that reading can begin there.
    pub async fn batch(&mut self, plan: &Plan, master: &MasterKey) -> Result<Batch, Halt> {
        let start = self.splitter.cursor();
        let mut batch = Batch { rows: Vec::new(), rejected: Vec::new(), next: start };
        while batch.rows.len() + batch.rejected.len() < BATCH_ROWS
            && self.splitter.cursor().byte - start.byte < BATCH_BYTES
            && self.record().await?
        {
            let record = self.splitter.record().map_err(malformed)?;
            let read = match plan.status {
                ImportedStatus::Active => {
                    Row::read(record, &plan.layout, plan.uploaded_at, master).map(|row| vec![row])
                }
                ImportedStatus::OptedOut => Row::read_opted_out(record, &plan.layout, master),
            };
            match read {
                Ok(rows) => batch.rows.extend(rows),
                Err(rejection) => batch.rejected.push(rejection),
            }
        }
        batch.next = self.next_start().await?;
        Ok(batch)
    }

    /// False at the end of the body.
    async fn record(&mut self) -> Result<bool, Halt> {
        loop {
            self.fill().await?;
            let (taken, step) = self.splitter.step(&self.chunk[self.used..]).map_err(malformed)?;
            self.used += taken;
            match step {
                Step::Record => return Ok(true),
                Step::End => return Ok(false),
                Step::More => {}
            }
        }
    }

    async fn next_start(&mut self) -> Result<Cursor, Halt> {
        loop {
            self.fill().await?;
            self.used += self.splitter.skip_breaks(&self.chunk[self.used..]);
            if self.used < self.chunk.len() || self.chunk.is_empty() {
                return Ok(self.splitter.cursor());
            }
        }
    }

    async fn fill(&mut self) -> Result<(), Halt> {
        if self.used == self.chunk.len() {
            self.chunk = self.spool.read_from(self.splitter.cursor().byte).await?;
            self.used = 0;
        }
        Ok(())
    }
}

/// Not to be met: the body was looked at as a whole while it was uploaded.
fn malformed(error: super::splitter::Malformed) -> Halt {
    StoreError::Format(error.to_string()).into()
}

impl Commands {
    /// Decides and writes a batch. One that met a conflict is decided anew with the gates locked, so that even a storm of
    /// opt-outs delays it once.
    pub(super) async fn import_batch(&self, plan: &Plan, batch: &Batch) -> Result<(), Halt> {
        let mut tries = 1;
        loop {
            let gates = if tries == 1 { Gates::Read } else { Gates::Lock };
            match self.try_batch(plan, batch, gates).await {
                Err(Halt::Error(error)) if error.is_passing() && tries < TRIES_MAX => {
                    tracing::debug!(%error, tries, import.id = %plan.id, "a batch is tried again");
                    tokio::time::sleep(RETRY_DELAY * tries).await;
                    tries += 1;
                }
                other => return other,
            }
        }
    }

    async fn try_batch(&self, plan: &Plan, batch: &Batch, gates: Gates) -> Result<(), Halt> {
        let master = &self.store.master;
        let mut tx = self.store.pool.begin().await?;
        lease::hold(&mut tx, plan.id, plan.fence).await?;
        let people = People::look_up(&mut tx, master, &batch.rows, gates).await?;
        let Decisions { people, mut tally, rejected } = Decisions::make(plan, people, &batch.rows).await?;
        let long = people.long.clone();
        let (decided, new, mut keys) = people.into_decided();
        if !new.is_empty() {
            keys.extend(sealing::create(&mut tx, master, &new).await?);
        }
        let appends: Result<Vec<_>, _> =
            decided.into_iter().map(|decided| decided.into_append(&keys)).collect();
        let appended = append(&mut tx, appends?, &plan.metadata).await?;
        if !appended.lost.is_empty() {
            // Somebody else added these addresses meanwhile: decide over what they are now.
            return Err(StoreError::Conflict.into());
        }
        let rejections = batch.rejected.iter().chain(&rejected).collect();
        rejected::insert(&mut tx, plan.id, &plan.key, rejections).await?;
        tally.rejected += batch.rejected.len() as i64;
        lease::advance(&mut tx, plan.id, &tally, batch.next).await?;
        tx.commit().await?;
        if !appended.touched.is_empty() {
            self.store.news.appended();
        }
        if !long.is_empty() {
            // Outside the transaction, for snapshots.
            load_each::<Subscriber>(&self.store.pool, &long).await?;
        }
        Ok(())
    }
}
