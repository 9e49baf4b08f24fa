//! Taking an upload: checked, sealed and durable before it is promised anything.
//!
//! An idempotency key's body is known only once it has streamed by, so the key is locked at the end, in the transaction
//! that queues the import. Of two uploads with one key that run at once the first to end is queued; the other gets its
//! answer, or is refused where the bodies differ. No connection and no lock is held while a client sends.

use super::dry_run::{Read, encoding_note};
use super::inspect::{Inspected, Inspector};
use super::lease::drop_upload;
use super::quota::{self, Take};
use super::scan::Scanned;
use super::{BODY_MAX_BYTES, ImportRequest, spool};
use crate::idempotent;
use crate::{CommandError, Commands, Context};
use aws_lc_rs::hmac;
use bytes::Bytes;
use domain::ImportId;
use eventstore::byte_key::ByteKey;
use eventstore::{Done, IdempotencyKey, ids};
use futures::{Stream, StreamExt};
use serde_json::json;
use sqlx::types::Json;

fn bad_body(reason: impl Into<String>) -> CommandError {
    CommandError::invalid("body", reason)
}

impl Commands {
    /// Spools a CSV file to be imported. Answers `{"import_id": …}` once it is durable.
    ///
    /// `context.idempotency` holds the mac of everything but the body, whose own is taken as it streams by.
    pub async fn start_import<S, E>(
        &self,
        context: &Context,
        request: ImportRequest,
        body: S,
    ) -> Result<Done, CommandError>
    where
        S: Stream<Item = Result<Bytes, E>> + Send + Unpin,
        E: std::error::Error + Send + Sync + 'static,
    {
        if let Some(key) = &context.idempotency
            && idempotent::is_known(&self.store.pool, key).await?
        {
            return self.answer_again(key, body).await;
        }
        request.check()?;
        if let Some(group) = request.group {
            let unknown = |error| match error {
                CommandError::NotFound(_) => CommandError::invalid("group", "the group is not known"),
                other => other,
            };
            self.require_group(group).await.map_err(unknown)?;
        }
        let mut upload = Upload::new(self, context, &request)?;
        let done = upload.take(body).await;
        if done.is_err() {
            // What this does not reach is swept later.
            drop_upload(&self.store.pool, upload.id).await.ok();
        }
        done
    }

    /// The key was answered before: nothing is spooled, and only the body decides which answer it gets now.
    async fn answer_again<S, E>(&self, key: &IdempotencyKey, mut body: S) -> Result<Done, CommandError>
    where
        S: Stream<Item = Result<Bytes, E>> + Send + Unpin,
        E: std::error::Error + Send + Sync + 'static,
    {
        let mut mac = Mac::new(self);
        while let Some(bytes) = body.next().await {
            mac.update(&bytes.map_err(broken_off)?)?;
        }
        let mut connection = self.store.pool.acquire().await?;
        // Its 24 hours may just have ended: the client tries again.
        idempotent::earlier(&mut connection, Some(&mac.key(self, key))).await?.ok_or(CommandError::InProgress)
    }
}

/// The text of a transport's error says nothing of the body.
pub(super) fn broken_off<E: std::error::Error>(error: E) -> CommandError {
    bad_body(format!("broke off: {error}"))
}

pub(super) fn check_size(bytes: i64) -> Result<(), CommandError> {
    match bytes > BODY_MAX_BYTES {
        true => Err(bad_body(format!("is larger than {} MiB", BODY_MAX_BYTES >> 20))),
        false => Ok(()),
    }
}

/// The mac of a body that streams by, bounded.
struct Mac {
    context: hmac::Context,
    bytes: i64,
}

impl Mac {
    fn new(commands: &Commands) -> Self {
        Self { context: commands.store.master.body_mac_stream(), bytes: 0 }
    }

    fn update(&mut self, bytes: &[u8]) -> Result<(), CommandError> {
        self.bytes += bytes.len() as i64;
        check_size(self.bytes)?;
        self.context.update(bytes);
        Ok(())
    }

    /// The key with a mac of everything.
    fn key(self, commands: &Commands, key: &IdempotencyKey) -> IdempotencyKey {
        let tag = self.context.sign();
        let body_hmac = commands.store.master.body_mac(&[&key.body_hmac, tag.as_ref()]);
        IdempotencyKey { body_hmac, ..key.clone() }
    }
}

struct Upload<'a> {
    commands: &'a Commands,
    context: &'a Context,
    request: &'a ImportRequest,
    id: ImportId,
    key: ByteKey,
    wrapped_key: Vec<u8>,
    chunks: i32,
    /// Of the chunks, and how many may be written.
    bytes: i64,
    room: i64,
}

impl<'a> Upload<'a> {
    fn new(
        commands: &'a Commands,
        context: &'a Context,
        request: &'a ImportRequest,
    ) -> Result<Self, CommandError> {
        let id = ids::new_id();
        let (key, wrapped_key) = spool::new_key(&commands.store.master, id)?;
        Ok(Self { commands, context, request, id, key, wrapped_key, chunks: 0, bytes: 0, room: 0 })
    }

    async fn take<S, E>(&mut self, mut body: S) -> Result<Done, CommandError>
    where
        S: Stream<Item = Result<Bytes, E>> + Send + Unpin,
        E: std::error::Error + Send + Sync + 'static,
    {
        let mut mac = Mac::new(self.commands);
        let mut read = Read::new(self.request);
        while let Some(bytes) = body.next().await {
            let bytes = bytes.map_err(broken_off)?;
            mac.update(&bytes)?;
            read.decoder.decode(&bytes, &mut read.text);
            while let Some(chunk) = read.chunk() {
                read.inspector.chunk(&chunk).map_err(CommandError::Invalid)?;
                self.spool(&read.inspector, &chunk).await?;
            }
            if read.inspector.is_refused() {
                return Err(CommandError::Invalid(read.inspector.refusal()));
            }
        }
        let last = read.end()?;
        if self.chunks == 0 || !last.is_empty() {
            self.spool(&read.inspector, &last).await?;
        }
        let encoding = read.decoder.name();
        let mut inspected = read.inspector.end().map_err(CommandError::Invalid)?;
        if !inspected.scanned.faults.is_empty() {
            return Err(CommandError::Invalid(inspected.scanned.faults));
        }
        inspected.scanned.warnings.extend(encoding_note(encoding));
        self.queue(mac, inspected).await
    }

    async fn spool(&mut self, inspector: &Inspector, chunk: &[u8]) -> Result<(), CommandError> {
        let bytes = chunk.len() as i64;
        if self.chunks == 0 || self.bytes + bytes > self.room {
            let taken = match self.chunks {
                0 => self.insert(inspector, bytes).await,
                _ => self.take_room(bytes).await,
            };
            match taken {
                Ok(taken) => self.room += taken,
                Err(error) => return Err(quota::make_room(&self.commands.store.pool, error).await),
            }
        }
        let pool = &self.commands.store.pool;
        if !spool::write(pool, self.id, &self.key, self.chunks, chunk).await? {
            return Err(bad_body("took too long to arrive"));
        }
        self.chunks += 1;
        self.bytes += bytes;
        Ok(())
    }

    async fn take_room(&self, bytes: i64) -> Result<i64, CommandError> {
        let mut tx = self.commands.store.pool.begin().await?;
        let taken = self.commands.import_quota.take(&mut tx, Take::More(&self.id), bytes).await?;
        tx.commit().await?;
        Ok(taken)
    }

    /// The import's row, once its header was understood, with room for the first chunk.
    async fn insert(&self, inspector: &Inspector, bytes: i64) -> Result<i64, CommandError> {
        let mut tx = self.commands.store.pool.begin().await?;
        let taken = self.commands.import_quota.take(&mut tx, Take::Begin, bytes).await?;
        let start = inspector.start().ok_or_else(|| bad_body("is empty"))?;
        let ImportRequest { group, status, consent_source, name, .. } = self.request;
        sqlx::query(
            "INSERT INTO imports (import_id, status, name, group_id, imported_as, consent_source, metadata,
                 master_key_id, wrapped_key, next_byte, next_line, spool_bytes)
             VALUES ($1, 'spooling', $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        )
        .bind(self.id)
        .bind(name)
        .bind(group)
        .bind(status.as_str())
        .bind(consent_source.as_deref().unwrap_or("import"))
        .bind(Json(self.context.metadata()))
        .bind(self.commands.store.master.id())
        .bind(&self.wrapped_key)
        .bind(start.byte)
        .bind(start.line)
        .bind(taken)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(taken)
    }

    /// Makes it an import, together with the answer that a repeat of the key gets.
    async fn queue(&self, mac: Mac, inspected: Inspected) -> Result<Done, CommandError> {
        let key = self.context.idempotency.as_ref().map(|key| mac.key(self.commands, key));
        let mut tx = self.commands.store.pool.begin().await?;
        if let Some(done) = idempotent::take(&mut tx, key.as_ref()).await? {
            tx.rollback().await?;
            drop_upload(&self.commands.store.pool, self.id).await?;
            return Ok(done);
        }
        let Inspected { rows, scanned: Scanned { layout, warnings, .. } } = inspected;
        let queued = sqlx::query(
            "UPDATE imports SET status = 'queued', bytes_total = $2, rows_total = $3, layout = $4, warnings = $5
             WHERE import_id = $1 AND status = 'spooling'",
        )
        .bind(self.id)
        .bind(self.bytes)
        .bind(rows)
        .bind(Json(layout))
        .bind(Json(warnings))
        .execute(&mut *tx)
        .await?;
        if queued.rows_affected() == 0 {
            return Err(bad_body("took too long to arrive"));
        }
        let answer = json!({ "import_id": self.id });
        let done = idempotent::answer(&mut tx, key.as_ref(), answer, true).await?;
        tx.commit().await?;
        self.commands.store.news.moved();
        Ok(done)
    }
}
