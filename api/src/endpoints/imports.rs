//! Subscribers from a file.

use crate::access::{Access, Kind, Principal, Routes};
use crate::body::{Bare, media_type};
use crate::context;
use crate::csv_rows;
use crate::input::fields::Fields;
use crate::input::params::{Ids, PageParams, Params, before, given, id, limit, word};
use crate::input::position::Position;
use crate::problem::ApiError;
use crate::respond::{self, List};
use crate::state::App;
use crate::streams::Stream;
use crate::upload;
use axum::Json;
use axum::extract::{FromRequestParts, Request, State};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use commands::imports::{ImportRequest, ImportStatus, ImportedStatus, RejectedRow};
use domain::ImportId;
use domain::access::Scope;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;
use uuid::Uuid;

const LABEL_MAX_BYTES: usize = 200;
const COLUMNS: [&str; 3] = ["line", "value", "reason"];
const ROWS_AT_ONCE: i64 = 1_000;

pub(super) fn routes(app: &App) -> Routes {
    Routes::new(app)
        .add(Access::Scope(Scope::SubscribersWrite), Kind::Upload, routes!(start))
        .query(Access::Scope(Scope::SubscribersRead), routes!(list))
        .query(Access::Scope(Scope::SubscribersRead), routes!(get))
        .command(Access::Scope(Scope::SubscribersWrite), routes!(cancel))
        .query(Access::Scope(Scope::SubscribersRead), routes!(rejected))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ImportParams {
    /// The group that they join.
    #[param(value_type = Option<Uuid>)]
    group: Option<String>,
    /// `active`, or `opted_out` for a list of people who must not be written to: by nobody, whatever group is given.
    #[param(example = "active")]
    status: Option<String>,
    /// Where their consent was given.
    #[param(example = "checkout")]
    consent_source: Option<String>,
    /// A label for the import, such as the file's name.
    name: Option<String>,
}

impl ImportParams {
    fn check(self) -> Result<ImportRequest, ApiError> {
        let status = match word("status", &self.status, &["active", "opted_out"])? {
            Some("opted_out") => ImportedStatus::OptedOut,
            _ => ImportedStatus::Active,
        };
        let group = id("group", &self.group)?;
        let mut fields = Fields::default();
        let mut label = |field, text: &Option<String>| {
            given(text).map(|text| fields.line(field, text.to_owned(), LABEL_MAX_BYTES))
        };
        let (consent_source, name) =
            (label("consent_source", &self.consent_source), label("name", &self.name));
        fields.check()?;
        Ok(ImportRequest { group, status, consent_source, name })
    }
}

#[derive(ToSchema)]
#[allow(dead_code, reason = "it documents an answer")]
struct ImportStarted {
    import_id: Uuid,
}

/// `rows` is the sum of the five counts after it.
#[derive(Serialize, ToSchema)]
struct ImportView {
    import_id: Uuid,
    /// `queued`, `running`, `completed` or `failed`
    #[schema(example = "completed")]
    status: String,
    /// Why it failed (`cancelled`, `group_deleted`, …), waits, or what it lacks.
    reason: Option<String>,
    name: Option<String>,
    group: Option<Uuid>,
    /// `active` or `opted_out`
    imported_as: String,
    consent_source: String,
    /// Rows done so far.
    rows: i64,
    /// Rows in all.
    rows_total: i64,
    created: i64,
    updated: i64,
    unchanged: i64,
    /// Opted out before, and so left as they are.
    kept_opted_out: i64,
    rejected: i64,
    bytes_read: i64,
    bytes_total: i64,
    created_at: DateTime<Utc>,
    finished_at: Option<DateTime<Utc>>,
}

impl From<ImportStatus> for ImportView {
    fn from(import: ImportStatus) -> Self {
        Self {
            import_id: import.import_id,
            status: import.status,
            reason: import.reason,
            name: import.name,
            group: import.group,
            imported_as: import.imported_as,
            consent_source: import.consent_source,
            rows: import.rows,
            rows_total: import.rows_total,
            created: import.created,
            updated: import.updated,
            unchanged: import.unchanged,
            kept_opted_out: import.kept_opted_out,
            rejected: import.rejected,
            bytes_read: import.bytes_read,
            bytes_total: import.bytes_total,
            created_at: import.created_at,
            finished_at: import.finished_at,
        }
    }
}

/// Import subscribers
///
/// From a CSV file with a header row; the usual exports' column names are understood. The file is kept before this
/// is answered, and worked through afterwards. Whoever opted out stays opted out.
#[utoipa::path(post, path = "/subscribers/import", tag = "imports", params(ImportParams),
    request_body(content = String, content_type = "text/csv", example = "Email Address,First Name\nana@example.com,Ana\n"),
    responses((status = 202, description = "It is kept, and will be worked through.", body = ImportStarted)))]
async fn start(State(app): State<App>, request: Request) -> Result<Response, ApiError> {
    if media_type(request.headers()) != "text/csv" {
        return Err(ApiError::UnsupportedMediaType("send text/csv"));
    }
    let (mut parts, body) = request.into_parts();
    let query = parts.uri.query().unwrap_or_default().to_owned();
    let wanted = Params::<ImportParams>::from_request_parts(&mut parts, &app).await?.0.check()?;
    // The body's own mac is taken as it streams by.
    let context = context::of(&app, &parts, &[query.as_bytes()])?;
    let (body, verdict) = upload::stream(&app, &parts.headers, body)?;
    let done = app
        .commands
        .start_import(&context, wanted, body)
        .await
        .map_err(|error| verdict.over(error.into()))?;
    let mut response = respond::created(&app, done, "/imports", "import_id");
    *response.status_mut() = http::StatusCode::ACCEPTED;
    Ok(response)
}

/// List imports
#[utoipa::path(get, path = "/imports", tag = "imports", params(PageParams),
    responses((status = 200, description = "Newest first.", body = List<ImportView>)))]
async fn list(
    State(app): State<App>,
    position: Position,
    Params(page): Params<PageParams>,
) -> Result<Json<List<ImportView>>, ApiError> {
    let (limit, before) = (limit(&page.limit)?, before(&page.cursor)?);
    position.wait(&app, &[]).await?;
    let imports = app.commands.imports(limit, before).await?;
    let ids: Vec<ImportId> = imports.iter().map(|import| import.import_id).collect();
    let next_cursor = respond::next_cursor(&ids, limit);
    Ok(Json(List { items: imports.into_iter().map(ImportView::from).collect(), next_cursor }))
}

/// Show an import
#[utoipa::path(get, path = "/imports/{id}", tag = "imports", params(("id" = Uuid, Path)),
    responses((status = 200, description = "As far as it got.", body = ImportView)))]
async fn get(
    State(app): State<App>,
    Ids(id): Ids<ImportId>,
    position: Position,
) -> Result<Json<ImportView>, ApiError> {
    position.wait(&app, &[]).await?;
    Ok(Json(app.commands.import(id).await?.into()))
}

/// Cancel an import
///
/// What was imported stays. It is `failed` then, with the reason `cancelled`.
#[utoipa::path(post, path = "/imports/{id}/cancel", tag = "imports", params(("id" = Uuid, Path)),
    responses((status = 200, description = "The import as it ended.", body = ImportView)))]
async fn cancel(
    State(app): State<App>,
    Ids(id): Ids<ImportId>,
    Bare(context): Bare,
) -> Result<Response, ApiError> {
    let done = app.commands.cancel_import(&context, id).await?;
    let import = ImportView::from(app.commands.import(id).await?);
    Ok(respond::with_position(Json(import).into_response(), &done.position))
}

/// Get the rows that were rejected
///
/// With the line on which each starts, the address as it was written, and why it could not be taken.
#[utoipa::path(get, path = "/imports/{id}/rejected.csv", tag = "imports", params(("id" = Uuid, Path)),
    responses((status = 200, description = "In the order of lines.", body = String, content_type = "text/csv",
        example = "line,value,reason\n7,ana@,the domain is missing\n")))]
async fn rejected(
    State(app): State<App>,
    Ids(id): Ids<ImportId>,
    caller: Principal,
    position: Position,
) -> Result<Response, ApiError> {
    position.wait(&app, &[]).await?;
    app.commands.import(id).await?;
    let rows = Rejected { stream: Stream::begin(&app, &caller)?, import: id, after_line: 0 };
    csv_rows::file(&format!("rejected-{id}.csv"), COLUMNS, rows)
}

struct Rejected {
    stream: Stream,
    import: Uuid,
    after_line: i64,
}

impl csv_rows::Rows for Rejected {
    async fn next(&mut self) -> Result<Option<Vec<u8>>, ApiError> {
        if self.stream.is_over() {
            return Err(ApiError::Overloaded("the stream took too long"));
        }
        let rows = self.stream.app.commands.rejected_rows(self.import, self.after_line, ROWS_AT_ONCE).await?;
        let Some(last) = rows.last() else { return Ok(None) };
        self.after_line = last.line;
        let cells = |row: RejectedRow| [row.line.to_string(), row.value, row.reason];
        csv_rows::rows(rows.into_iter().map(cells)).map(Some)
    }
}
