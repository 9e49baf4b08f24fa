//! Read model `media`: those that are not deleted, each with what became of its upload.

use crate::streams::{self, Entries, Span};
use crate::{ApplyError, Page, Projection, Slice};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use domain::MediaId;
use domain::media::{Media as State, MediaEvent, Phase, Upload};
use eventstore::{LogEvent, StoreError};
use sqlx::types::Json;
use sqlx::{PgConnection, PgExecutor};
use std::collections::BTreeMap;

pub struct Media;

#[async_trait]
impl Projection for Media {
    fn name(&self) -> &'static str {
        "media"
    }

    fn types(&self) -> &'static [&'static str] {
        &["media"]
    }

    fn tables(&self) -> &'static [&'static str] {
        &["media"]
    }

    async fn apply(&self, tx: &mut PgConnection, events: &[LogEvent]) -> Result<(), ApplyError> {
        let streams = streams::decoded::<State>(events)?;
        let mut known = load(tx, &streams::continued(&streams)).await?;
        let (mut rows, mut deleted) = (Vec::new(), Vec::new());
        for (id, entries) in streams {
            let row = fold(id, known.remove(&id), entries)?;
            match row.phase.0 {
                Phase::Deleted => deleted.push(id),
                _ => rows.push(row),
            }
        }
        sqlx::query("DELETE FROM media WHERE id = ANY($1)").bind(deleted).execute(&mut *tx).await?;
        Ok(store(tx, &rows).await?)
    }
}

#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct Medium {
    pub id: MediaId,
    /// Sequence of the last event.
    pub version: i64,
    pub upload: Json<Upload>,
    pub phase: Json<Phase>,
    pub created_position: i64,
    pub created_at: DateTime<Utc>,
    pub changed_at: DateTime<Utc>,
}

const SELECT: &str = "SELECT id, version, upload, phase, created_position, created_at, changed_at FROM media";

async fn load(tx: &mut PgConnection, ids: &[MediaId]) -> Result<BTreeMap<MediaId, Medium>, sqlx::Error> {
    let rows: Vec<Medium> =
        sqlx::query_as(&format!("{SELECT} WHERE id = ANY($1)")).bind(ids).fetch_all(tx).await?;
    Ok(rows.into_iter().map(|row| (row.id, row)).collect())
}

fn fold(id: MediaId, known: Option<Medium>, entries: Entries<'_, MediaEvent>) -> Result<Medium, ApplyError> {
    let span = known.as_ref().map(|row| Span {
        created_position: row.created_position,
        created_at: row.created_at,
        changed_at: row.changed_at,
    });
    let Span { created_position, created_at, changed_at } = Span::after(span, &entries);
    let restored = |row: Medium| State {
        version: row.version.cast_unsigned(),
        upload: Some(row.upload.0),
        phase: row.phase.0,
    };
    let (mut state, first) = (known.map(restored).unwrap_or_default(), entries.first);
    for (event, decoded) in entries.events {
        streams::check_follows(state.version, event)?;
        state.apply(decoded);
    }
    let upload = state.upload.ok_or_else(|| ApplyError::event(first, "no upload was requested"))?;
    let (version, upload, phase) = (state.version.cast_signed(), Json(upload), Json(state.phase));
    Ok(Medium { id, version, upload, phase, created_position, created_at, changed_at })
}

async fn store(tx: &mut PgConnection, rows: &[Medium]) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO media (id, version, upload, phase, status, created_position, created_at, changed_at)
         SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::jsonb[], $4::jsonb[], $5::text[], $6::bigint[],
             $7::timestamptz[], $8::timestamptz[])
         ON CONFLICT (id) DO UPDATE SET
             version = excluded.version, phase = excluded.phase, status = excluded.status,
             changed_at = excluded.changed_at",
    )
    .bind(rows.iter().map(|row| row.id).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.version).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| &row.upload).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| &row.phase).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.phase.status()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.created_position).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.created_at).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.changed_at).collect::<Vec<_>>())
    .execute(tx)
    .await
    .map(drop)
}

pub async fn get(db: impl PgExecutor<'_>, id: MediaId) -> Result<Option<Medium>, StoreError> {
    Ok(sqlx::query_as(&format!("{SELECT} WHERE id = $1")).bind(id).fetch_optional(db).await?)
}

/// Newest first; with a status, those alone that have it.
pub async fn list(
    db: impl PgExecutor<'_>,
    status: Option<&str>,
    slice: Slice,
) -> Result<Page<Medium>, StoreError> {
    let rows = sqlx::query_as(&format!(
        "{SELECT} WHERE created_position < $1 AND ($2::text IS NULL OR status = $2)
         ORDER BY created_position DESC LIMIT $3"
    ))
    .bind(slice.below())
    .bind(status)
    .bind(slice.fetch())
    .fetch_all(db)
    .await?;
    Ok(slice.page(rows, |row: &Medium| row.created_position))
}
