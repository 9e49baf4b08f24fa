//! What is to be seen of imports.

use super::dry_run::{ReadColumn, read_columns};
use super::layout::Layout;
use super::scan::Warning;
use super::{PAGE_MAX, REJECTED_MAX};
use crate::{CommandError, Commands};
use chrono::{DateTime, Utc};
use domain::{GroupId, ImportId};
use serde::Serialize;
use sqlx::types::Json;

/// An import as far as it got. `rows` is the sum of the five counts after it.
#[derive(Debug, Clone, PartialEq, Serialize, sqlx::FromRow)]
pub struct ImportStatus {
    pub import_id: ImportId,
    /// `queued | running | completed | failed`.
    pub status: String,
    /// Why it failed or waits, or what it lacks: one of the `REASON_…` of [`crate::imports`].
    pub reason: Option<String>,
    pub name: Option<String>,
    pub group: Option<GroupId>,
    /// `active | opted_out`.
    pub imported_as: String,
    pub consent_source: String,
    /// Rows done, and rows in all.
    pub rows: i64,
    pub rows_total: i64,
    pub created: i64,
    pub updated: i64,
    pub unchanged: i64,
    /// Opted out before, and so left as they are.
    pub kept_opted_out: i64,
    pub rejected: i64,
    /// Rejected rows that are listed.
    pub rejected_listed: i64,
    pub bytes_read: i64,
    pub bytes_total: i64,
    pub created_at: DateTime<Utc>,
    pub finished_at: Option<DateTime<Utc>>,
}

/// Uploads that have not ended are shown to nobody: they were promised nothing yet.
const COLUMNS: &str = "SELECT import_id, status, reason, name, group_id AS group, imported_as, consent_source, rows,
     rows_total, created, updated, unchanged, kept_opted_out, rejected, least(rejected, $1) AS rejected_listed,
     next_byte AS bytes_read, bytes_total, created_at, finished_at
     FROM imports WHERE status <> 'spooling'";

/// How a file was understood when it was uploaded.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Understood {
    pub columns: Vec<ReadColumn>,
    pub warnings: Vec<Warning>,
}

impl Commands {
    /// Of an import by an earlier release: nothing.
    pub async fn import_understood(&self, id: ImportId) -> Result<Understood, CommandError> {
        type Stored = (Option<Json<Layout>>, Option<Json<Vec<Warning>>>);
        let found: Option<Stored> = sqlx::query_as(
            "SELECT layout, warnings FROM imports WHERE import_id = $1 AND status <> 'spooling'",
        )
        .bind(id)
        .fetch_optional(&self.store.pool)
        .await?;
        let (layout, warnings) = found.ok_or(CommandError::NotFound("import"))?;
        let columns = layout.map(|Json(layout)| read_columns(layout)).unwrap_or_default();
        Ok(Understood { columns, warnings: warnings.map(|Json(warnings)| warnings).unwrap_or_default() })
    }

    pub async fn import(&self, id: ImportId) -> Result<ImportStatus, CommandError> {
        let found = sqlx::query_as(&format!("{COLUMNS} AND import_id = $2"))
            .bind(REJECTED_MAX)
            .bind(id)
            .fetch_optional(&self.store.pool)
            .await?;
        found.ok_or(CommandError::NotFound("import"))
    }

    /// Newest first, those before `before`: `limit` of them, [`PAGE_MAX`] at the most.
    pub async fn imports(
        &self,
        limit: i64,
        before: Option<ImportId>,
    ) -> Result<Vec<ImportStatus>, CommandError> {
        let page =
            format!("{COLUMNS} AND ($2::uuid IS NULL OR import_id < $2) ORDER BY import_id DESC LIMIT $3");
        Ok(sqlx::query_as(&page)
            .bind(REJECTED_MAX)
            .bind(before)
            .bind(limit.clamp(0, PAGE_MAX))
            .fetch_all(&self.store.pool)
            .await?)
    }
}
