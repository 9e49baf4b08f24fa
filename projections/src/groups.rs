//! Read model `groups`: those that are not deleted.

use crate::streams::{self, Entries, Span};
use crate::{ApplyError, Page, Projection, Slice};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use domain::GroupId;
use domain::group::{Group as State, GroupEvent};
use eventstore::{LogEvent, StoreError};
use sqlx::{PgConnection, PgExecutor};
use std::collections::BTreeMap;

pub struct Groups;

#[async_trait]
impl Projection for Groups {
    fn name(&self) -> &'static str {
        "groups"
    }

    fn types(&self) -> &'static [&'static str] {
        &["group"]
    }

    fn tables(&self) -> &'static [&'static str] {
        &["groups"]
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
        sqlx::query("DELETE FROM groups WHERE id = ANY($1)").bind(deleted).execute(&mut *tx).await?;
        Ok(store(tx, &rows).await?)
    }
}

#[derive(sqlx::FromRow)]
struct Row {
    id: GroupId,
    version: i64,
    name: String,
    description: String,
    #[sqlx(flatten)]
    span: Span,
}

async fn load(tx: &mut PgConnection, ids: &[GroupId]) -> Result<BTreeMap<GroupId, Row>, sqlx::Error> {
    let rows: Vec<Row> =
        sqlx::query_as("SELECT * FROM groups WHERE id = ANY($1)").bind(ids).fetch_all(tx).await?;
    Ok(rows.into_iter().map(|row| (row.id, row)).collect())
}

fn fold(known: Option<Row>, entries: Entries<'_, GroupEvent>) -> Result<(State, Span), ApplyError> {
    let span = Span::after(known.as_ref().map(|row| row.span), &entries);
    let restored = |row: Row| State {
        version: row.version.cast_unsigned(),
        name: row.name,
        description: row.description,
        deleted: false,
    };
    let mut state = known.map(restored).unwrap_or_default();
    for (event, decoded) in entries.events {
        streams::check_follows(state.version, event)?;
        state.apply(decoded);
    }
    Ok((state, span))
}

async fn store(tx: &mut PgConnection, rows: &[(GroupId, State, Span)]) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO groups (id, version, name, description, created_position, created_at, changed_at)
         SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::text[], $5::bigint[], $6::timestamptz[],
             $7::timestamptz[])
         ON CONFLICT (id) DO UPDATE SET
             version = excluded.version, name = excluded.name, description = excluded.description,
             changed_at = excluded.changed_at",
    )
    .bind(rows.iter().map(|(id, ..)| *id).collect::<Vec<_>>())
    .bind(rows.iter().map(|(_, state, _)| state.version.cast_signed()).collect::<Vec<_>>())
    .bind(rows.iter().map(|(_, state, _)| &state.name).collect::<Vec<_>>())
    .bind(rows.iter().map(|(_, state, _)| &state.description).collect::<Vec<_>>())
    .bind(rows.iter().map(|(.., span)| span.created_position).collect::<Vec<_>>())
    .bind(rows.iter().map(|(.., span)| span.created_at).collect::<Vec<_>>())
    .bind(rows.iter().map(|(.., span)| span.changed_at).collect::<Vec<_>>())
    .execute(tx)
    .await
    .map(drop)
}

#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct Group {
    pub id: GroupId,
    /// Sequence of the last event.
    pub version: i64,
    pub name: String,
    pub description: String,
    /// Whom the group may write to now, by the read model `group_members`.
    pub members: i64,
    pub created_position: i64,
    pub created_at: DateTime<Utc>,
    pub changed_at: DateTime<Utc>,
}

const SELECT: &str = "
    SELECT g.id, g.version, g.name, g.description, coalesce(c.members, 0) AS members, g.created_position,
        g.created_at, g.changed_at
    FROM groups g LEFT JOIN group_members_counts c ON c.group_id = g.id";

pub async fn get(db: impl PgExecutor<'_>, id: GroupId) -> Result<Option<Group>, StoreError> {
    Ok(sqlx::query_as(&format!("{SELECT} WHERE g.id = $1")).bind(id).fetch_optional(db).await?)
}

/// Newest first.
pub async fn list(db: impl PgExecutor<'_>, slice: Slice) -> Result<Page<Group>, StoreError> {
    let newest = format!("{SELECT} WHERE g.created_position < $1 ORDER BY g.created_position DESC LIMIT $2");
    let rows = sqlx::query_as(&newest).bind(slice.below()).bind(slice.fetch()).fetch_all(db).await?;
    Ok(slice.page(rows, |row: &Group| row.created_position))
}
