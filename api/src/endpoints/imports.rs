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
use commands::imports::{
    ColumnMapping, DateOrder, DryRun, ImportRequest, ImportStatus, ImportedStatus, MEANINGS, Meaning,
    ReadColumn, RejectedRow, SampleRow, Understood, Warning,
};
use domain::ImportId;
use domain::access::Scope;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
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
    /// `true`: tells how the file is understood, and imports nothing. The whole file is read.
    #[param(value_type = Option<bool>)]
    dry_run: Option<String>,
    /// What columns mean, as a JSON object of their names: `email`, `name`, `first_name`, `last_name`, `consent_date`,
    /// `confirmation_date`, `consent_ip`, `confirmation_ip`, `subscribed`, `not_subscribed`, `status`, `opt_out_date`,
    /// `attribute` or `ignore`. Columns that it does not name are understood by their names.
    #[param(example = "{\"E-mail 1 - Value\": \"email\", \"Segment\": \"ignore\"}")]
    columns: Option<String>,
    /// Of dates such as 05/12/2023: `dmy` or `mdy`. Needed where the file does not tell.
    #[param(example = "dmy")]
    date_order: Option<String>,
    /// `utf-8`, or `windows-1252` for what is not UTF-8. UTF-16 is known by its first bytes.
    #[param(example = "utf-8")]
    encoding: Option<String>,
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
        let columns = given(&self.columns).map(mapping).transpose()?.unwrap_or_default();
        let date_order = word("date_order", &self.date_order, &["dmy", "mdy"])?.and_then(DateOrder::parse);
        let windows_1252 =
            word("encoding", &self.encoding, &["utf-8", "windows-1252"])? == Some("windows-1252");
        Ok(ImportRequest { group, status, consent_source, name, columns, date_order, windows_1252 })
    }
}

fn mapping(columns: &str) -> Result<ColumnMapping, ApiError> {
    let words = MEANINGS.map(|(word, _)| word).join(", ");
    let bad = || {
        ApiError::invalid("columns", format!("is a JSON object of columns' names, each with one of {words}"))
    };
    let columns: BTreeMap<String, String> = serde_json::from_str(columns).map_err(|_| bad())?;
    let given = |(name, word): (String, String)| Some((name, Meaning::parse(&word)?));
    columns.into_iter().map(given).collect::<Option<ColumnMapping>>().ok_or_else(bad)
}

/// How a file is understood.
#[derive(Serialize, ToSchema)]
struct DryRunView {
    columns: Vec<ColumnView>,
    /// The first rows, five at the most.
    sample: Vec<SampleView>,
    warnings: Vec<WarningView>,
    rows: i64,
    /// What it was read as: `utf-8`, `utf-16` or `windows-1252`.
    #[schema(example = "utf-8")]
    encoding: &'static str,
    /// False: the import would be refused for the warnings with the code `stops`.
    can_be_imported: bool,
}

#[derive(Serialize, ToSchema)]
struct ColumnView {
    #[schema(example = "Email Address")]
    name: String,
    /// A word of the parameter `columns`, or `recipient_state` or `not_understood`.
    #[schema(example = "email")]
    meaning: &'static str,
    /// The merge field that its values become.
    key: Option<String>,
    /// `dmy` or `mdy`, where its dates depend on it.
    date_order: Option<&'static str>,
}

#[derive(Serialize, ToSchema)]
struct SampleView {
    line: i64,
    /// In the order of the columns.
    cells: Vec<String>,
}

#[derive(Serialize, ToSchema)]
struct WarningView {
    /// `note`, `not_subscribed`, `date_unreadable`, `date_in_future`, `dates_cut` or `stops`
    #[schema(example = "date_unreadable")]
    code: &'static str,
    column: Option<String>,
    /// The header is line 1.
    line: Option<i64>,
    text: String,
}

impl From<ReadColumn> for ColumnView {
    fn from(column: ReadColumn) -> Self {
        let ReadColumn { name, meaning, key, date_order } = column;
        Self { name, meaning: meaning.as_str(), key, date_order: date_order.map(DateOrder::as_str) }
    }
}

impl From<SampleRow> for SampleView {
    fn from(SampleRow { line, cells }: SampleRow) -> Self {
        Self { line, cells }
    }
}

impl From<Warning> for WarningView {
    fn from(Warning { code, column, line, text }: Warning) -> Self {
        Self { code: code.as_str(), column, line, text }
    }
}

fn views<T, V: From<T>>(items: Vec<T>) -> Vec<V> {
    items.into_iter().map(V::from).collect()
}

impl From<DryRun> for DryRunView {
    fn from(dry: DryRun) -> Self {
        Self {
            columns: views(dry.columns),
            sample: views(dry.sample),
            warnings: views(dry.warnings),
            rows: dry.rows,
            encoding: dry.encoding,
            can_be_imported: dry.can_be_imported,
        }
    }
}

/// An import, and how its file was understood when it was uploaded.
#[derive(Serialize, ToSchema)]
struct ImportDetail {
    #[serde(flatten)]
    import: ImportView,
    columns: Vec<ColumnView>,
    /// Dates that are not recorded are here, each with its line.
    warnings: Vec<WarningView>,
}

impl ImportDetail {
    async fn of(app: &App, id: ImportId) -> Result<Self, ApiError> {
        let import = app.commands.import(id).await?.into();
        let Understood { columns, warnings } = app.commands.import_understood(id).await?;
        Ok(Self { import, columns: views(columns), warnings: views(warnings) })
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
    /// Why it failed (`cancelled`, `group_deleted`, `worker_died`, …), waits, or what it lacks.
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
///
/// A column or a word about consent that is not understood refuses the whole file: nobody becomes active by a guess. Try it by
/// `dry_run=true`, and say what it means by `columns`. Of a list with `status=opted_out` every address is taken that can
/// be read, however broken its row is; `rejected` counts rows without one.
///
/// As `text/csv`; or as the field `file` of a form, as `curl -F file=@readers.csv` sends it.
#[utoipa::path(post, path = "/subscribers/import", tag = "imports", params(ImportParams),
    request_body(content = String, content_type = "text/csv", example = "Email Address,First Name\nana@example.com,Ana\n"),
    responses(
        (status = 200, description = "Of a dry run: how the file is understood.", body = DryRunView),
        (status = 202, description = "It is kept, and will be worked through.", body = ImportStarted)))]
async fn start(State(app): State<App>, request: Request) -> Result<Response, ApiError> {
    let is_form = match media_type(request.headers()).as_str() {
        "text/csv" => false,
        "multipart/form-data" => true,
        _ => return Err(ApiError::UnsupportedMediaType("send text/csv, or a form with a file")),
    };
    let (mut parts, body) = request.into_parts();
    let query = parts.uri.query().unwrap_or_default().to_owned();
    let params = Params::<ImportParams>::from_request_parts(&mut parts, &app).await?.0;
    let is_dry = word("dry_run", &params.dry_run, &["true", "false"])? == Some("true");
    let wanted = params.check()?;
    // The body's own mac is taken as it streams by.
    let context = context::of(&app, &parts, &[query.as_bytes()])?;
    let (mut body, verdict) = upload::stream(&app, &parts.headers, body)?;
    if is_form {
        let file = upload::file_of_form(&parts.headers, body, &verdict).await;
        body = file.map_err(|error| verdict.over(error))?;
    }
    if is_dry {
        let dry = app.commands.try_import(wanted, body).await.map_err(|error| verdict.over(error.into()))?;
        return Ok(Json(DryRunView::from(dry)).into_response());
    }
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
    responses((status = 200, description = "As far as it got.", body = ImportDetail)))]
async fn get(
    State(app): State<App>,
    Ids(id): Ids<ImportId>,
    position: Position,
) -> Result<Json<ImportDetail>, ApiError> {
    position.wait(&app, &[]).await?;
    Ok(Json(ImportDetail::of(&app, id).await?))
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
