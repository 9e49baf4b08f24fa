//! Media: announced here, uploaded to the object store by a signed URL, completed here.

use crate::access::{Access, Routes};
use crate::body::{Bare, Call, Input};
use crate::context::once;
use crate::input::fields::Fields;
use crate::input::params::{self, Ids, Params};
use crate::input::position::{Models, Position};
use crate::problem::ApiError;
use crate::respond::{self, List};
use crate::state::App;
use ::media::{Files, SignedUpload, Unavailable};
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use commands::{CommandError, NewMedium};
use domain::MediaId;
use domain::access::Scope;
use domain::media::{ContentType, Dimensions, Found, Media, Phase, Upload};
use eventstore::{Done, clock};
use projections::media::{self, Medium};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;
use uuid::Uuid;

const FILENAME_MAX_BYTES: usize = 255;
const MODELS: Models = &[&projections::Media];
const STATUSES: &[&str] = &["requested", "uploaded", "rejected", "expired"];

pub(super) fn routes(app: &App) -> Routes {
    Routes::new(app)
        .command(Access::Scope(Scope::MediaWrite), routes!(create))
        .command(Access::Scope(Scope::MediaWrite), routes!(complete))
        .query(Access::Scope(Scope::MediaRead), routes!(list))
        .query(Access::Scope(Scope::MediaRead), routes!(get))
        .command(Access::Scope(Scope::MediaWrite), routes!(delete))
}

/// A file as it is, before it is uploaded.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewMediumInput {
    #[schema(example = "summer.png")]
    filename: String,
    /// image/gif, image/jpeg, image/png, image/webp, video/mp4 or video/webm
    #[schema(example = "image/png")]
    content_type: String,
    #[schema(minimum = 1, example = 48_213)]
    size_bytes: u64,
    /// Of the whole file, in hex.
    #[schema(example = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08")]
    sha256: String,
}

impl Input for NewMediumInput {}

impl NewMediumInput {
    fn check(self, max_bytes: u64) -> Result<NewMedium, ApiError> {
        let mut fields = Fields::default();
        let filename = fields.line("filename", self.filename, FILENAME_MAX_BYTES);
        let content_type = ContentType::parse(&self.content_type);
        if content_type.is_none() {
            let known = ContentType::ALL.map(ContentType::as_str).join(", ");
            fields.fail("content_type", format!("is not one of {known}"));
        }
        if !(1..=max_bytes).contains(&self.size_bytes) {
            fields.fail("size_bytes", format!("is not 1 to {max_bytes}"));
        }
        let sha256 = self.sha256.parse();
        if let Err(error) = sha256 {
            fields.fail("sha256", format!("{error}"));
        }
        fields.check()?;
        match (content_type, sha256) {
            (Some(content_type), Ok(sha256)) => {
                Ok(NewMedium { filename, content_type, size_bytes: self.size_bytes, sha256 })
            }
            // Else the check has failed.
            _ => Err(ApiError::Internal),
        }
    }
}

#[derive(ToSchema)]
#[allow(dead_code, reason = "it documents an answer")]
struct MediumRequested {
    media_id: Uuid,
    upload: UploadView,
}

/// One request to the object store, to be made as it is written here.
#[derive(Serialize, ToSchema)]
struct UploadView {
    #[schema(example = "PUT")]
    method: &'static str,
    url: String,
    /// To be sent as they are, beside a `Content-Length`, which HTTP clients set themselves.
    headers: BTreeMap<String, String>,
    /// It has to begin before.
    expires_at: DateTime<Utc>,
}

#[derive(Serialize, ToSchema)]
struct MediumUploaded {
    media_id: Uuid,
    #[schema(example = "uploaded")]
    status: &'static str,
    /// Where everybody finds it; in templates `{{ media("…") }}` with the id.
    url: String,
    content_type: &'static str,
    size_bytes: u64,
    /// Of images, where they are known.
    width: Option<u32>,
    height: Option<u32>,
}

#[derive(Serialize, ToSchema)]
struct MediumView {
    media_id: Uuid,
    /// requested, uploaded, rejected or expired
    status: &'static str,
    /// Of what was rejected.
    reason: Option<String>,
    filename: String,
    content_type: &'static str,
    size_bytes: u64,
    sha256: String,
    /// Of what was uploaded.
    url: Option<String>,
    width: Option<u32>,
    height: Option<u32>,
    created_at: DateTime<Utc>,
    changed_at: DateTime<Utc>,
}

impl MediumView {
    fn of(medium: Medium, files: Option<&Files>) -> Self {
        let (upload, phase) = (medium.upload.0, medium.phase.0);
        let dimensions = dimensions(&phase);
        Self {
            media_id: medium.id,
            status: phase.status(),
            reason: match &phase {
                Phase::Rejected(rejection) => Some(rejection.to_string()),
                _ => None,
            },
            url: files.filter(|_| matches!(phase, Phase::Uploaded(_))).map(|files| files.url(&upload.key)),
            filename: upload.filename,
            content_type: upload.content_type.as_str(),
            size_bytes: upload.size_bytes,
            sha256: upload.sha256.to_string(),
            width: dimensions.map(|dimensions| dimensions.width),
            height: dimensions.map(|dimensions| dimensions.height),
            created_at: medium.created_at,
            changed_at: medium.changed_at,
        }
    }
}

fn dimensions(phase: &Phase) -> Option<Dimensions> {
    match phase {
        Phase::Uploaded(dimensions) => *dimensions,
        Phase::None | Phase::Requested | Phase::Rejected(_) | Phase::Expired | Phase::Deleted => None,
    }
}

fn files(app: &App) -> Result<&Files, ApiError> {
    app.media.as_deref().ok_or_else(|| ApiError::WrongState {
        status: "not_configured".to_owned(),
        reason: "there is no object store for media here: media.bucket is not set".to_owned(),
    })
}

impl From<Unavailable> for ApiError {
    fn from(error: Unavailable) -> Self {
        tracing::warn!(%error, "media cannot be worked on");
        Self::Overloaded("the store of media does not answer")
    }
}

/// Announce a file
///
/// The answer says how to upload it: straight to the object store, which takes exactly this file, for 15 minutes.
#[utoipa::path(post, path = "/media", tag = "media", request_body = NewMediumInput,
    responses((status = 201, description = "It can be uploaded.", body = MediumRequested),
        (status = 409, description = "No object store is configured.",
            body = crate::problem::Problem, content_type = "application/problem+json")))]
async fn create(State(app): State<App>, call: Call<NewMediumInput>) -> Result<Response, ApiError> {
    let files = files(&app)?;
    let (id, upload) = call.body.check(files.max_bytes())?.announce();
    let signed = files.sign(&upload).await?;
    let requested = app.commands.request_medium(&call.context, id, upload.clone());
    let mut done = once(&app, &call.context, requested).await?;
    let view = match announced_before(&app, &done, id).await? {
        None => upload_view(upload, signed),
        // What was signed is kept nowhere: the same is signed again.
        Some(upload) => {
            let signed = files.sign(&upload).await?;
            upload_view(upload, signed)
        }
    };
    done.answer["upload"] = json!(view);
    Ok(respond::created(&app, done, "/media", "media_id"))
}

/// What the idempotency key was answered with, if it was; whatever became of it since.
async fn announced_before(app: &App, done: &Done, id: MediaId) -> Result<Option<Upload>, ApiError> {
    let answered = done.answer.get("media_id").and_then(Value::as_str).and_then(|id| id.parse().ok());
    let Some(earlier) = answered.filter(|earlier| *earlier != id) else { return Ok(None) };
    let medium = app.commands.media(&[earlier].into()).await?.remove(&earlier);
    Ok(medium.and_then(|medium| medium.upload))
}

fn upload_view(upload: Upload, signed: SignedUpload) -> UploadView {
    UploadView { method: "PUT", url: signed.url, headers: signed.headers, expires_at: upload.expires_at }
}

/// Complete an upload
///
/// Looks at what arrived. What is not the file that was announced is removed, with the reason here; asking again says
/// the same.
#[utoipa::path(post, path = "/media/{id}/complete", tag = "media",
    params(("id" = Uuid, Path), ("If-Match" = Option<String>, Header, description = "The `ETag` that was seen.")),
    responses((status = 200, description = "It can be used.", body = MediumUploaded),
        (status = 409, description = "Nothing was uploaded yet, or it was not completed in time.",
            body = crate::problem::Problem, content_type = "application/problem+json"),
        (status = 422, description = "It was rejected: what was announced does not hold.",
            body = crate::problem::Problem, content_type = "application/problem+json")))]
async fn complete(
    State(app): State<App>,
    Ids(id): Ids<MediaId>,
    Bare(context): Bare,
) -> Result<Response, ApiError> {
    let files = files(&app)?;
    let completed = async {
        let medium = app.commands.medium(id).await?;
        let found = arrived(files, &medium).await?;
        Ok::<_, ApiError>(app.commands.complete_medium(&context, id, found).await?)
    };
    let done = once(&app, &context, completed).await?;
    let medium = app.commands.medium(id).await?;
    if let Phase::Rejected(rejection) = &medium.phase {
        if done.appended {
            remove_file(&app, files, id, &medium).await;
        }
        return Err(ApiError::invalid(rejection.field(), rejection.to_string()));
    }
    let upload = medium.upload.ok_or(ApiError::Internal)?;
    let dimensions = dimensions(&medium.phase);
    let view = MediumUploaded {
        media_id: id,
        status: medium.phase.status(),
        url: files.url(&upload.key),
        content_type: upload.content_type.as_str(),
        size_bytes: upload.size_bytes,
        width: dimensions.map(|dimensions| dimensions.width),
        height: dimensions.map(|dimensions| dimensions.height),
    };
    Ok(respond::with_position(Json(view).into_response(), &done.position))
}

/// What is at the key of an upload that is not decided on yet. The CDN forgets what it has there before anybody is sent to it.
async fn arrived(files: &Files, medium: &Media) -> Result<Option<Found>, Unavailable> {
    let (Phase::Requested, Some(upload)) = (&medium.phase, &medium.upload) else { return Ok(None) };
    let found = files.look(&upload.key).await?;
    if found.is_some() {
        files.publish(&upload.key).await?;
    }
    Ok(found)
}

/// At once, as far as it goes: what fails is done by maintenance.
async fn remove_file(app: &App, files: &Files, id: MediaId, medium: &Media) {
    let Some(upload) = &medium.upload else { return };
    let now = clock::now();
    let removed = files.remove(&upload.key, false).await;
    let noted = match removed {
        Ok(()) => app.commands.note_removed(id, now).await.map_err(|error: CommandError| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    if let Err(error) = noted {
        tracing::warn!(media.id = %id, %error, "the file will be removed later");
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct MediaParams {
    /// requested, uploaded, rejected or expired
    status: Option<String>,
    /// How many items, 50 by default.
    #[param(value_type = Option<u16>, minimum = 1, maximum = 500)]
    limit: Option<String>,
    /// The last page's `next_cursor`.
    cursor: Option<String>,
}

/// List media
#[utoipa::path(get, path = "/media", tag = "media", params(MediaParams),
    responses((status = 200, description = "Newest first.", body = List<MediumView>)))]
async fn list(
    State(app): State<App>,
    position: Position,
    Params(wanted): Params<MediaParams>,
) -> Result<Json<List<MediumView>>, ApiError> {
    let status = params::word("status", &wanted.status, STATUSES)?;
    let slice = params::slice(&wanted.limit, &wanted.cursor)?;
    position.wait(&app, MODELS).await?;
    let page = media::list(&app.pool, status, slice).await?;
    Ok(respond::list(page, |medium| MediumView::of(medium, app.media.as_deref())))
}

/// Show a medium
#[utoipa::path(get, path = "/media/{id}", tag = "media", params(("id" = Uuid, Path)),
    responses((status = 200, description = "The medium.", body = MediumView, headers(("ETag" = String)))))]
async fn get(
    State(app): State<App>,
    Ids(id): Ids<MediaId>,
    position: Position,
) -> Result<Response, ApiError> {
    position.wait(&app, MODELS).await?;
    let medium = media::get(&app.pool, id).await?.ok_or(ApiError::NotFound("medium"))?;
    Ok(respond::resource(medium.version, MediumView::of(medium, app.media.as_deref())))
}

/// Delete a medium
///
/// Its file goes with it. Refused while a campaign that is under way uses a template that names it.
#[utoipa::path(delete, path = "/media/{id}", tag = "media",
    params(("id" = Uuid, Path), ("If-Match" = Option<String>, Header, description = "The `ETag` that was seen.")),
    responses((status = 204, description = "It was deleted.")))]
async fn delete(
    State(app): State<App>,
    Ids(id): Ids<MediaId>,
    Bare(context): Bare,
) -> Result<Response, ApiError> {
    let files = files(&app)?;
    let deleted = async {
        let medium = app.commands.medium(id).await?;
        // Who deletes wants the file gone, and is told when that cannot be now.
        files.reach().await?;
        let done = app.commands.delete_medium(&context, id).await?;
        if done.appended {
            remove_file(&app, files, id, &medium).await;
        }
        Ok::<_, ApiError>(done)
    };
    let done = once(&app, &context, deleted).await?;
    Ok(respond::no_content(&done))
}
