//! Erasing people from what imports could not take. Their rows stay listed with line and reason, without the cell.

use super::addresses::{candidates, in_host, in_local};
use super::rejected::place;
use super::{REJECTED_PAGE_MAX, REJECTED_VALUE_MAX_BYTES, spool};
use crate::CommandError;
use domain::{AddressHash, ImportId};
use eventstore::byte_key::ByteKey;
use eventstore::{Store, StoreError, keys::MasterKey};
use std::collections::HashSet;

/// Empties the cells of all imports in which one of these addresses stands, however it is dressed up.
pub(crate) async fn erase_rejected(
    store: &Store,
    addresses: &HashSet<AddressHash>,
) -> Result<(), CommandError> {
    let imports: Vec<(ImportId, String, Vec<u8>)> = sqlx::query_as(
        "SELECT import_id, master_key_id, wrapped_key FROM imports WHERE rejected > 0 ORDER BY import_id",
    )
    .fetch_all(&store.pool)
    .await?;
    for (id, master_key_id, wrapped_key) in imports {
        match spool::open_key(&store.master, id, &master_key_id, &wrapped_key) {
            Ok(key) => erase_from(store, id, &key, addresses).await?,
            // Nobody reads these cells any more.
            Err(error) => tracing::error!(import.id = %id, %error, "the key of an import does not open"),
        }
    }
    Ok(())
}

async fn erase_from(
    store: &Store,
    id: ImportId,
    key: &ByteKey,
    addresses: &HashSet<AddressHash>,
) -> Result<(), CommandError> {
    let mut after = 0;
    loop {
        let rows: Vec<(i64, Vec<u8>)> = sqlx::query_as(
            "SELECT line, value FROM import_rejected WHERE import_id = $1 AND line > $2 ORDER BY line LIMIT $3",
        )
        .bind(id)
        .bind(after)
        .bind(REJECTED_PAGE_MAX)
        .fetch_all(&store.pool)
        .await?;
        let Some((last, _)) = rows.last() else { return Ok(()) };
        after = *last;
        let mut lines = Vec::new();
        for (line, sealed) in rows {
            // What nobody can read may be anybody's.
            let names =
                |cell: Vec<u8>| names_one_of(&String::from_utf8_lossy(&cell), addresses, &store.master);
            if key.open(place(line).as_bytes(), &sealed).map_or(true, names) {
                lines.push(line);
            }
        }
        empty(store, id, key, &lines).await?;
    }
}

async fn empty(store: &Store, id: ImportId, key: &ByteKey, lines: &[i64]) -> Result<(), CommandError> {
    let sealed: Result<Vec<Vec<u8>>, _> =
        lines.iter().map(|line| key.seal(place(*line).as_bytes(), b"")).collect();
    sqlx::query(
        "UPDATE import_rejected r SET value = e.value FROM unnest($2::bigint[], $3::bytea[]) e (line, value)
         WHERE r.import_id = $1 AND r.line = e.line",
    )
    .bind(id)
    .bind(lines)
    .bind(sealed.map_err(StoreError::from)?)
    .execute(&store.pool)
    .await?;
    Ok(())
}

fn names_one_of(cell: &str, addresses: &HashSet<AddressHash>, master: &MasterKey) -> bool {
    may_be_cut(cell) || candidates(cell).any(|address| addresses.contains(&master.address_hash(&address)))
}

/// Earlier releases cut cells within an address, too: what is left of it can be compared with nothing.
fn may_be_cut(cell: &str) -> bool {
    let is_long = cell.len() + char::MAX_LEN_UTF8 > REJECTED_VALUE_MAX_BYTES;
    is_long && cell.ends_with(|c| in_local(c) || in_host(c) || c == '@')
}
