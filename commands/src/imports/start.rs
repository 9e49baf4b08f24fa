//! Taking an upload: checked, sealed and durable before it is promised anything.
//!
//! An idempotency key's body is known only once it has streamed by, so the key is locked at the end, in the transaction
//! that queues the import. Of two uploads with one key that run at once the first to end is queued; the other gets its
//! answer, or is refused where the bodies differ. No connection and no lock is held while a client sends.

use super::inspect::Inspector;
use super::lease::drop_upload;
use super::{BODY_MAX_BYTES, CHUNK_BYTES, CONSENT_SOURCE_MAX_BYTES, NAME_MAX_BYTES, spool};
use crate::idempotent;
use crate::{CommandError, Commands, Context};
use aws_lc_rs::hmac;
use bytes::Bytes;
use domain::{GroupId, ImportId};
use eventstore::byte_key::ByteKey;
use eventstore::{Done, IdempotencyKey, StoreError, ids};
use futures::{Stream, StreamExt};
use serde_json::json;
use sqlx::types::Json;

/// What the people of a file become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImportedStatus {
    /// New people are added to the group, known ones join it, unless they opted out.
    Active,
    /// Everybody is opted out of everything; new people are added to no group.
    OptedOut,
}

impl ImportedStatus {
    fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::OptedOut => "opted_out",
        }
    }

    pub(super) fn parse(stored: &str) -> Result<Self, StoreError> {
        [Self::Active, Self::OptedOut]
            .into_iter()
            .find(|status| status.as_str() == stored)
            .ok_or_else(|| StoreError::Format(format!("an import of {stored:?}")))
    }
}

#[derive(Debug, Clone)]
pub struct ImportRequest {
    /// Whom an import of active people puts where; of opt-outs it is a note alone.
    pub group: Option<GroupId>,
    pub status: ImportedStatus,
    /// `import` where it is absent.
    pub consent_source: Option<String>,
    /// A label for the import itself, such as a file's name.
    pub name: Option<String>,
}

impl ImportRequest {
    fn check(&self) -> Result<(), CommandError> {
        check_text("name", self.name.as_deref(), NAME_MAX_BYTES)?;
        check_text("consent_source", self.consent_source.as_deref(), CONSENT_SOURCE_MAX_BYTES)
    }
}

fn check_text(field: &str, text: Option<&str>, max_bytes: usize) -> Result<(), CommandError> {
    match text.is_some_and(|text| text.len() > max_bytes || text.contains(char::is_control)) {
        true => {
            Err(CommandError::invalid(field, format!("at most {max_bytes} bytes, and no control characters")))
        }
        false => Ok(()),
    }
}

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
fn broken_off<E: std::error::Error>(error: E) -> CommandError {
    bad_body(format!("broke off: {error}"))
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
        if self.bytes > BODY_MAX_BYTES {
            return Err(bad_body(format!("is larger than {} MiB", BODY_MAX_BYTES >> 20)));
        }
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
    inspector: Inspector,
    /// The chunk that is being filled.
    chunk: Vec<u8>,
    chunks: i32,
}

impl<'a> Upload<'a> {
    fn new(
        commands: &'a Commands,
        context: &'a Context,
        request: &'a ImportRequest,
    ) -> Result<Self, CommandError> {
        let id = ids::new_id();
        let (key, wrapped_key) = spool::new_key(&commands.store.master, id)?;
        let inspector = Inspector::default();
        let chunk = Vec::with_capacity(CHUNK_BYTES);
        Ok(Self { commands, context, request, id, key, wrapped_key, inspector, chunk, chunks: 0 })
    }

    async fn take<S, E>(&mut self, mut body: S) -> Result<Done, CommandError>
    where
        S: Stream<Item = Result<Bytes, E>> + Send + Unpin,
        E: std::error::Error + Send + Sync + 'static,
    {
        let mut mac = Mac::new(self.commands);
        while let Some(bytes) = body.next().await {
            let bytes = bytes.map_err(broken_off)?;
            mac.update(&bytes)?;
            self.push(&bytes).await?;
        }
        if self.chunks == 0 || !self.chunk.is_empty() {
            self.flush().await?;
        }
        let rows = self.inspector.end().map_err(bad_body)?;
        self.queue(mac, rows).await
    }

    async fn push(&mut self, mut bytes: &[u8]) -> Result<(), CommandError> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(CHUNK_BYTES - self.chunk.len()));
            self.chunk.extend_from_slice(now);
            bytes = later;
            if self.chunk.len() == CHUNK_BYTES {
                self.flush().await?;
            }
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), CommandError> {
        self.inspector.chunk(&self.chunk).map_err(bad_body)?;
        if self.chunks == 0 {
            self.insert().await?;
        }
        let pool = &self.commands.store.pool;
        if !spool::write(pool, self.id, &self.key, self.chunks, &self.chunk).await? {
            return Err(bad_body("took too long to arrive"));
        }
        self.chunks += 1;
        self.chunk.clear();
        Ok(())
    }

    /// The import's row, once its header was understood.
    async fn insert(&self) -> Result<(), CommandError> {
        let start = self.inspector.start().ok_or_else(|| bad_body("is empty"))?;
        let ImportRequest { group, status, consent_source, name } = self.request;
        sqlx::query(
            "INSERT INTO imports (import_id, status, name, group_id, imported_as, consent_source, metadata,
                 master_key_id, wrapped_key, next_byte, next_line)
             VALUES ($1, 'spooling', $2, $3, $4, $5, $6, $7, $8, $9, $10)",
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
        .execute(&self.commands.store.pool)
        .await?;
        Ok(())
    }

    /// Makes it an import, together with the answer that a repeat of the key gets.
    async fn queue(&self, mac: Mac, rows: i64) -> Result<Done, CommandError> {
        let bytes = mac.bytes;
        let key = self.context.idempotency.as_ref().map(|key| mac.key(self.commands, key));
        let mut tx = self.commands.store.pool.begin().await?;
        if let Some(done) = idempotent::take(&mut tx, key.as_ref()).await? {
            tx.rollback().await?;
            drop_upload(&self.commands.store.pool, self.id).await?;
            return Ok(done);
        }
        let queued = sqlx::query(
            "UPDATE imports SET status = 'queued', bytes_total = $2, rows_total = $3
             WHERE import_id = $1 AND status = 'spooling'",
        )
        .bind(self.id)
        .bind(bytes)
        .bind(rows)
        .execute(&mut *tx)
        .await?;
        if queued.rows_affected() == 0 {
            return Err(bad_body("took too long to arrive"));
        }
        let answer = json!({ "import_id": self.id });
        let done = idempotent::answer(&mut tx, key.as_ref(), answer, true).await?;
        tx.commit().await?;
        Ok(done)
    }
}
