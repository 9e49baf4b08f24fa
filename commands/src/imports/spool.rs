//! An import's body in Postgres: pieces of one size, each sealed with its number by the import's own key, so that any
//! machine can read on from any byte.

use super::CHUNK_BYTES;
use super::lease::Halt;
use crate::CommandError;
use domain::ImportId;
use eventstore::StoreError;
use eventstore::byte_key::ByteKey;
use eventstore::keys::{MasterKey, random_secret};
use sqlx::PgPool;
use std::sync::Arc;

/// The key of a new import, wrapped for its row.
pub(super) fn new_key(master: &MasterKey, id: ImportId) -> Result<(ByteKey, Vec<u8>), StoreError> {
    let secret = random_secret()?;
    Ok((ByteKey::new(&secret)?, master.wrap(id.as_bytes(), &secret)?))
}

pub(super) fn open_key(
    master: &MasterKey,
    id: ImportId,
    master_key_id: &str,
    wrapped: &[u8],
) -> Result<ByteKey, StoreError> {
    Ok(ByteKey::new(&master.unwrap(master_key_id, id.as_bytes(), wrapped)?)?)
}

fn place(n: i32) -> String {
    format!("chunk:{n}")
}

/// Writes one chunk, and tells the sweeper that the upload is alive. False: it was swept.
pub(super) async fn write(
    pool: &PgPool,
    id: ImportId,
    key: &ByteKey,
    n: i32,
    plain: &[u8],
) -> Result<bool, StoreError> {
    let written = sqlx::query(
        "WITH alive AS (
             UPDATE imports SET touched_at = clock_timestamp() WHERE import_id = $1 AND status = 'spooling'
             RETURNING import_id)
         INSERT INTO import_chunks (import_id, n, sealed) SELECT import_id, $2, $3 FROM alive",
    )
    .bind(id)
    .bind(n)
    .bind(key.seal(place(n).as_bytes(), plain)?)
    .execute(pool)
    .await?;
    Ok(written.rows_affected() == 1)
}

/// Reads the body from a byte on, a chunk at a time.
pub(super) struct Spool {
    pub pool: PgPool,
    pub id: ImportId,
    pub key: Arc<ByteKey>,
    pub bytes_total: i64,
}

impl Spool {
    /// From `byte` to the end of its chunk; empty at the end of the body.
    pub async fn read_from(&self, byte: i64) -> Result<Vec<u8>, Halt> {
        if byte >= self.bytes_total {
            return Ok(Vec::new());
        }
        let n = i32::try_from(byte / CHUNK_BYTES as i64).map_err(|_| self.missing())?;
        let sealed: Option<Vec<u8>> =
            sqlx::query_scalar("SELECT sealed FROM import_chunks WHERE import_id = $1 AND n = $2")
                .bind(self.id)
                .bind(n)
                .fetch_optional(&self.pool)
                .await
                .map_err(CommandError::from)?;
        let Some(sealed) = sealed else { return Err(self.gone().await?) };
        let plain = self.key.open(place(n).as_bytes(), &sealed).map_err(StoreError::from)?;
        let start = byte as usize % CHUNK_BYTES;
        plain.get(start..).filter(|rest| !rest.is_empty()).map(<[u8]>::to_vec).ok_or_else(|| self.missing())
    }

    /// Chunks go when their import ends, which another may have brought about; else the spool is damaged.
    async fn gone(&self) -> Result<Halt, CommandError> {
        let running = "SELECT EXISTS (SELECT FROM imports WHERE import_id = $1 AND status = 'running')";
        match sqlx::query_scalar(running).bind(self.id).fetch_one(&self.pool).await? {
            true => Ok(self.missing()),
            false => Ok(Halt::Lost),
        }
    }

    fn missing(&self) -> Halt {
        Halt::Error(StoreError::Format("a chunk of an import's spool is missing".into()).into())
    }
}
