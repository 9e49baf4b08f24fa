//! Erasing people from what imports could not take. Their rows stay listed with line and reason, without the cell.

use super::rejected::place;
use super::{REJECTED_PAGE_MAX, spool};
use crate::CommandError;
use domain::{AddressHash, EmailAddress, ImportId};
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
        let key = spool::open_key(&store.master, id, &master_key_id, &wrapped_key)?;
        erase_from(store, id, &key, addresses).await?;
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
            let cell = key.open(place(line).as_bytes(), &sealed).map_err(StoreError::from)?;
            if names_one_of(&String::from_utf8_lossy(&cell), addresses, &store.master) {
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
    addresses_in(cell).any(|address| addresses.contains(&master.address_hash(&address)))
}

/// Every address that stands in a text around an `@`: `<ana@example.com>;` has one, and `to=ana@example.com` has one that
/// begins behind each sign that may stand in an address, too.
fn addresses_in(text: &str) -> impl Iterator<Item = EmailAddress> {
    text.match_indices('@').flat_map(move |(at, _)| {
        let (before, after) = (&text[..at], &text[at + 1..]);
        let in_host = |c: char| c.is_alphanumeric() || matches!(c, '-' | '.');
        let host = &after[..after.find(|c| !in_host(c)).unwrap_or(after.len())];
        let host = host.trim_end_matches(['-', '.']);
        let in_local = |c: char| c.is_ascii_graphic() && !"\"(),:;<>@[\\]".contains(c);
        let start = before.rfind(|c| !in_local(c)).map_or(0, |end| before.ceil_char_boundary(end + 1));
        let begins = |place: &usize| *place == start || !before.as_bytes()[place - 1].is_ascii_alphanumeric();
        let starts: Vec<usize> = (start..at).filter(begins).collect();
        starts
            .into_iter()
            .filter_map(move |start| EmailAddress::parse(&format!("{}@{host}", &before[start..])).ok())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        addresses_in(text).map(|address| address.canonical()).collect()
    }

    #[test]
    fn an_address_is_found_in_whatever_stands_around_it() {
        let dressed = [
            "ana@example.com",
            " ANA@Example.com ",
            "<ana@example.com>",
            "\"Bell, Ana\" <ana@example.com>;",
            "mailto:ana@example.com?subject=x",
            "'ana@example.com'",
            "to=ana@example.com.",
            "Łana@example.com",
            "x@y ana@example.com, bob@example.com",
            "ana@example.com@example.org",
        ];
        for text in dressed {
            assert!(found(text).contains(&"ana@example.com".to_owned()), "{text}: {:?}", found(text));
        }
        assert!(found("o'brien@bücher.example").contains(&"o'brien@xn--bcher-kva.example".to_owned()));
    }

    #[test]
    fn another_address_is_not_taken_for_it() {
        for text in ["bana@example.com", "ana@example.com.au", "ana@mail.example.com", "ana", "@", ""] {
            assert!(!found(text).contains(&"ana@example.com".to_owned()), "{text}");
        }
    }
}
