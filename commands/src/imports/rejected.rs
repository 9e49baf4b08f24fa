//! Rows that could not be taken: kept, sealed, after the import's end.

use super::row::Rejection;
use super::{REJECTED_MAX, REJECTED_PAGE_MAX, spool};
use crate::{CommandError, Commands, UNREADABLE};
use domain::ImportId;
use eventstore::byte_key::ByteKey;
use eventstore::{StoreError, keys::KeyError};
use serde::Serialize;
use sqlx::PgConnection;

/// A row that an import could not take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RejectedRow {
    /// The line where the row starts, as an editor shows it: the header is line 1.
    pub line: i64,
    /// The cell of the address, as it was uploaded, cut to 200 bytes. It may begin with anything, `=` included. [`UNREADABLE`] where it
    /// does not open.
    pub value: String,
    pub reason: String,
}

pub(super) fn place(line: i64) -> String {
    format!("rejected:{line}")
}

/// Lists rejected rows, up to [`REJECTED_MAX`] of an import. In the transaction that counts them, before it does.
pub(super) async fn insert(
    tx: &mut PgConnection,
    id: ImportId,
    key: &ByteKey,
    mut rejected: Vec<&Rejection>,
) -> Result<(), StoreError> {
    if rejected.is_empty() {
        return Ok(());
    }
    let listed: i64 = sqlx::query_scalar("SELECT rejected FROM imports WHERE import_id = $1")
        .bind(id)
        .fetch_one(&mut *tx)
        .await?;
    let room = usize::try_from(REJECTED_MAX - listed).unwrap_or(0);
    rejected.sort_unstable_by_key(|rejection| rejection.line);
    rejected.truncate(room);
    let sealed: Result<Vec<Vec<u8>>, KeyError> = rejected
        .iter()
        .map(|rejection| key.seal(place(rejection.line).as_bytes(), rejection.value.as_bytes()))
        .collect();
    sqlx::query(
        "INSERT INTO import_rejected (import_id, line, value, reason)
         SELECT $1, * FROM unnest($2::bigint[], $3::bytea[], $4::text[])",
    )
    .bind(id)
    .bind(rejected.iter().map(|rejection| rejection.line).collect::<Vec<_>>())
    .bind(sealed?)
    .bind(rejected.iter().map(|rejection| rejection.reason.as_str()).collect::<Vec<_>>())
    .execute(tx)
    .await?;
    Ok(())
}

impl Commands {
    /// Rejected rows behind `after_line`, in order: `limit` of them, [`REJECTED_PAGE_MAX`] at the most.
    pub async fn rejected_rows(
        &self,
        id: ImportId,
        after_line: i64,
        limit: i64,
    ) -> Result<Vec<RejectedRow>, CommandError> {
        let pool = &self.store.pool;
        let key: Option<(String, Vec<u8>)> = sqlx::query_as(
            "SELECT master_key_id, wrapped_key FROM imports WHERE import_id = $1 AND status <> 'spooling'",
        )
        .bind(id)
        .fetch_optional(pool)
        .await?;
        let (master_key_id, wrapped) = key.ok_or(CommandError::NotFound("import"))?;
        let key = spool::open_key(&self.store.master, id, &master_key_id, &wrapped)?;
        let rows: Vec<(i64, Vec<u8>, String)> = sqlx::query_as(
            "SELECT line, value, reason FROM import_rejected WHERE import_id = $1 AND line > $2 ORDER BY line LIMIT $3",
        )
        .bind(id)
        .bind(after_line)
        .bind(limit.clamp(0, REJECTED_PAGE_MAX))
        .fetch_all(pool)
        .await?;
        let open = |(line, sealed, reason): (i64, Vec<u8>, String)| {
            let value =
                key.open(place(line).as_bytes(), &sealed).ok().and_then(|cell| String::from_utf8(cell).ok());
            RejectedRow { line, value: value.unwrap_or_else(|| UNREADABLE.into()), reason }
        };
        Ok(rows.into_iter().map(open).collect())
    }
}
