//! Read model `templates`: those that are not deleted, each in its last version.

use crate::streams::{self, Entries, Span};
use crate::{ApplyError, Page, Projection, Slice};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use domain::TemplateId;
use domain::template::{Content, Template as State, TemplateEvent};
use eventstore::{LogEvent, StoreError};
use sqlx::types::Json;
use sqlx::{PgConnection, PgExecutor};
use std::collections::BTreeMap;

pub struct Templates;

#[async_trait]
impl Projection for Templates {
    fn name(&self) -> &'static str {
        "templates"
    }

    fn types(&self) -> &'static [&'static str] {
        &["template"]
    }

    fn tables(&self) -> &'static [&'static str] {
        &["templates"]
    }

    /// Each event holds a whole mail.
    fn batch_max(&self) -> usize {
        100
    }

    async fn apply(&self, tx: &mut PgConnection, events: &[LogEvent]) -> Result<(), ApplyError> {
        let streams = streams::decoded::<State>(events)?;
        let mut known = load(tx, &streams::continued(&streams)).await?;
        let (mut rows, mut deleted) = (Vec::new(), Vec::new());
        for (id, entries) in streams {
            let (state, span) = fold(known.remove(&id), entries)?;
            match state.deleted {
                true => deleted.push(id),
                false => rows.push((id, state, span)),
            }
        }
        sqlx::query("DELETE FROM templates WHERE id = ANY($1)").bind(deleted).execute(&mut *tx).await?;
        Ok(store(tx, &rows).await?)
    }
}

/// The version and the times: an event replaces all of the content.
#[derive(sqlx::FromRow)]
struct Known {
    id: TemplateId,
    version: i64,
    #[sqlx(flatten)]
    span: Span,
}

async fn load(tx: &mut PgConnection, ids: &[TemplateId]) -> Result<BTreeMap<TemplateId, Known>, sqlx::Error> {
    let rows: Vec<Known> = sqlx::query_as(
        "SELECT id, version, created_position, created_at, changed_at FROM templates WHERE id = ANY($1)",
    )
    .bind(ids)
    .fetch_all(tx)
    .await?;
    Ok(rows.into_iter().map(|row| (row.id, row)).collect())
}

fn fold(known: Option<Known>, entries: Entries<'_, TemplateEvent>) -> Result<(State, Span), ApplyError> {
    let span = Span::after(known.as_ref().map(|row| row.span), &entries);
    let version = known.map_or(0, |row| row.version.cast_unsigned());
    let mut state = State { version, ..State::default() };
    for (event, decoded) in entries.events {
        streams::check_follows(state.version, event)?;
        state.apply(decoded);
    }
    Ok((state, span))
}

async fn store(tx: &mut PgConnection, rows: &[(TemplateId, State, Span)]) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO templates (id, version, content, created_position, created_at, changed_at)
         SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::jsonb[], $4::bigint[], $5::timestamptz[],
             $6::timestamptz[])
         ON CONFLICT (id) DO UPDATE SET
             version = excluded.version, content = excluded.content, changed_at = excluded.changed_at",
    )
    .bind(rows.iter().map(|(id, ..)| *id).collect::<Vec<_>>())
    .bind(rows.iter().map(|(_, state, _)| state.version.cast_signed()).collect::<Vec<_>>())
    .bind(rows.iter().map(|(_, state, _)| Json(&state.content)).collect::<Vec<_>>())
    .bind(rows.iter().map(|(.., span)| span.created_position).collect::<Vec<_>>())
    .bind(rows.iter().map(|(.., span)| span.created_at).collect::<Vec<_>>())
    .bind(rows.iter().map(|(.., span)| span.changed_at).collect::<Vec<_>>())
    .execute(tx)
    .await
    .map(drop)
}

/// A template in a list: without its content, which may be large.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct TemplateSummary {
    pub id: TemplateId,
    /// Sequence of the last event: the version that a campaign pins.
    pub version: i64,
    pub name: String,
    pub subject: String,
    pub created_position: i64,
    pub created_at: DateTime<Utc>,
    pub changed_at: DateTime<Utc>,
}

#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct Template {
    pub id: TemplateId,
    /// Sequence of the last event: the version that a campaign pins.
    pub version: i64,
    pub content: Json<Content>,
    pub created_position: i64,
    pub created_at: DateTime<Utc>,
    pub changed_at: DateTime<Utc>,
}

pub async fn get(db: impl PgExecutor<'_>, id: TemplateId) -> Result<Option<Template>, StoreError> {
    Ok(sqlx::query_as("SELECT * FROM templates WHERE id = $1").bind(id).fetch_optional(db).await?)
}

/// Newest first.
pub async fn list(db: impl PgExecutor<'_>, slice: Slice) -> Result<Page<TemplateSummary>, StoreError> {
    let rows = sqlx::query_as(
        "SELECT id, version, content ->> 'name' AS name, content ->> 'subject' AS subject, created_position,
             created_at, changed_at
         FROM templates WHERE created_position < $1 ORDER BY created_position DESC LIMIT $2",
    )
    .bind(slice.below())
    .bind(slice.fetch())
    .fetch_all(db)
    .await?;
    Ok(slice.page(rows, |row: &TemplateSummary| row.created_position))
}
