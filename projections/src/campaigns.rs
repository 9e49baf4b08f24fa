//! Read model `campaigns`: those that are not deleted.

use crate::campaign_status::status_after;
use crate::streams::{self, Entries, Span};
use crate::{ApplyError, Page, Projection, Slice};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::campaign::{Campaign as State, CampaignEvent, Details, Manifest};
use domain::{CampaignId, DispatchId};
use eventstore::{LogEvent, StoreError};
use sqlx::types::Json;
use sqlx::{PgConnection, PgExecutor, Postgres, QueryBuilder};
use std::collections::BTreeMap;

pub struct Campaigns;

#[async_trait]
impl Projection for Campaigns {
    fn name(&self) -> &'static str {
        "campaigns"
    }

    fn types(&self) -> &'static [&'static str] {
        &["campaign"]
    }

    fn tables(&self) -> &'static [&'static str] {
        &["campaigns"]
    }

    async fn apply(&self, tx: &mut PgConnection, events: &[LogEvent]) -> Result<(), ApplyError> {
        let streams = streams::decoded::<State>(events)?;
        let mut known = load(tx, &streams::continued(&streams)).await?;
        let (mut rows, mut deleted) = (Vec::new(), Vec::new());
        for (id, entries) in streams {
            match fold(id, known.remove(&id), entries)? {
                Some(row) => rows.push(row),
                None => deleted.push(id),
            }
        }
        sqlx::query("DELETE FROM campaigns WHERE id = ANY($1)").bind(deleted).execute(&mut *tx).await?;
        Ok(store(tx, &rows).await?)
    }
}

#[derive(sqlx::FromRow)]
struct Row {
    id: CampaignId,
    version: i64,
    details: Json<Details>,
    status: String,
    status_reason: Option<String>,
    status_dispatch: Option<DispatchId>,
    scheduled_for: Option<DateTime<Utc>>,
    manifest: Option<Json<Manifest>>,
    template_version: Option<i64>,
    #[sqlx(flatten)]
    span: Span,
}

async fn load(tx: &mut PgConnection, ids: &[CampaignId]) -> Result<BTreeMap<CampaignId, Row>, sqlx::Error> {
    let rows: Vec<Row> =
        sqlx::query_as("SELECT * FROM campaigns WHERE id = ANY($1)").bind(ids).fetch_all(tx).await?;
    Ok(rows.into_iter().map(|row| (row.id, row)).collect())
}

/// The row after these events; none after a deletion.
fn fold(
    id: CampaignId,
    mut row: Option<Row>,
    entries: Entries<'_, CampaignEvent>,
) -> Result<Option<Row>, ApplyError> {
    let span = Span::after(row.as_ref().map(|row| row.span), &entries);
    for (event, decoded) in entries.events {
        streams::check_follows(row.as_ref().map_or(0, |row| row.version.cast_unsigned()), event)?;
        row = after(id, row, span, decoded);
        if let Some(row) = &mut row {
            row.version = event.sequence;
        }
    }
    Ok(row.map(|row| Row { span, ..row }))
}

fn after(id: CampaignId, row: Option<Row>, span: Span, event: CampaignEvent) -> Option<Row> {
    let status = status_after(&event);
    let mut row = match (row, &event) {
        (_, CampaignEvent::Created(details)) => Row {
            id,
            version: 0,
            details: Json(details.clone()),
            status: String::new(),
            status_reason: None,
            status_dispatch: None,
            scheduled_for: None,
            manifest: None,
            template_version: None,
            span,
        },
        (row, _) => row?,
    };
    if let Some(status) = status {
        row.status = status.word.to_owned();
        row.status_reason = status.reason;
        row.status_dispatch = status.dispatch;
    }
    match event {
        CampaignEvent::Changed(details) => row.details = Json(details),
        CampaignEvent::Scheduled { at } => row.scheduled_for = Some(at),
        CampaignEvent::Unscheduled {} => row.scheduled_for = None,
        CampaignEvent::Frozen(manifest) => row.manifest = Some(Json(manifest)),
        CampaignEvent::TemplateTaken { template_version } => {
            row.template_version = Some(template_version.cast_signed());
        }
        CampaignEvent::Deleted {} => return None,
        CampaignEvent::Created(_)
        | CampaignEvent::Freezing { .. }
        | CampaignEvent::FreezingHalted { .. }
        | CampaignEvent::Paused { .. }
        | CampaignEvent::Resumed {}
        | CampaignEvent::Cancelled {}
        | CampaignEvent::Completed { .. } => {}
    }
    Some(row)
}

async fn store(tx: &mut PgConnection, rows: &[Row]) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO campaigns (id, version, details, status, status_reason, scheduled_for, manifest,
             created_position, created_at, changed_at, status_dispatch, template_version)
         SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::jsonb[], $4::text[], $5::text[], $6::timestamptz[],
             $7::jsonb[], $8::bigint[], $9::timestamptz[], $10::timestamptz[], $11::uuid[], $12::bigint[])
         ON CONFLICT (id) DO UPDATE SET
             version = excluded.version, details = excluded.details, status = excluded.status,
             status_reason = excluded.status_reason, scheduled_for = excluded.scheduled_for,
             status_dispatch = excluded.status_dispatch, manifest = excluded.manifest, changed_at = excluded.changed_at,
             template_version = excluded.template_version",
    )
    .bind(rows.iter().map(|row| row.id).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.version).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| &row.details).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| &row.status).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.status_reason.as_deref()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.scheduled_for).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.manifest.as_ref()).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.span.created_position).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.span.created_at).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.span.changed_at).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.status_dispatch).collect::<Vec<_>>())
    .bind(rows.iter().map(|row| row.template_version).collect::<Vec<_>>())
    .execute(tx)
    .await
    .map(drop)
}

#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct Campaign {
    pub id: CampaignId,
    /// Sequence of the last event.
    pub version: i64,
    /// Name, template, group, mailer, sender and policy.
    pub details: Json<Details>,
    /// `completed` only once the report, too, has everybody's end: see [`crate::campaign_report`].
    pub status: String,
    pub status_reason: Option<String>,
    /// The dispatch that is the reason, where one is.
    pub status_dispatch: Option<DispatchId>,
    /// When it is or was due.
    pub scheduled_for: Option<DateTime<Utc>>,
    /// What the audience was frozen to.
    pub manifest: Option<Json<Manifest>>,
    /// What it sends of its template, where that is not what it was frozen with.
    pub template_version: Option<i64>,
    pub created_position: i64,
    pub created_at: DateTime<Utc>,
    pub changed_at: DateTime<Utc>,
}

/// The report counts from other streams; until it is complete, a campaign that ended counts as sending.
const SELECT: &str = "
    SELECT * FROM (
        SELECT c.id, c.version, c.details, c.scheduled_for, c.manifest, c.template_version, c.created_position,
            c.created_at, c.changed_at,
            CASE WHEN x.counting THEN 'sending' ELSE c.status END AS status,
            CASE WHEN x.counting THEN NULL ELSE c.status_reason END AS status_reason, c.status_dispatch
        FROM campaigns c
        LEFT JOIN campaign_report r ON r.campaign_id = c.id
        CROSS JOIN LATERAL (SELECT c.status = 'completed' AND NOT coalesce(r.complete, false)) x (counting)
    ) c";

/// Reads `campaign_report` as well.
pub async fn get(db: impl PgExecutor<'_>, id: CampaignId) -> Result<Option<Campaign>, StoreError> {
    Ok(sqlx::query_as(&format!("{SELECT} WHERE c.id = $1")).bind(id).fetch_optional(db).await?)
}

/// Newest first; `status` narrows it. Reads `campaign_report` as well.
pub async fn list(
    db: impl PgExecutor<'_>,
    status: Option<&str>,
    slice: Slice,
) -> Result<Page<Campaign>, StoreError> {
    let mut query = QueryBuilder::<Postgres>::new(SELECT);
    query.push(" WHERE c.created_position < ").push_bind(slice.below());
    if let Some(status) = status {
        query.push(" AND c.status = ").push_bind(status);
    }
    query.push(" ORDER BY c.created_position DESC LIMIT ").push_bind(slice.fetch());
    let rows = query.build_query_as().fetch_all(db).await?;
    Ok(slice.page(rows, |row: &Campaign| row.created_position))
}
