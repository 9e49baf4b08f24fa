//! How a template would look to a reader, and the check that it would look like anything at all.

use crate::body::{Call, Input};
use crate::input::params::Ids;
use crate::personal::Opener;
use crate::problem::ApiError;
use crate::state::App;
use axum::Json;
use axum::extract::State;
use commands::FieldError;
use commands::attributes::{self, Attributes};
use domain::subscriber::Subscriber;
use domain::template::{Body, Content};
use domain::{SubscriberId, TemplateId};
use eventstore::StoreError;
use mail::links::SAMPLE_TOKEN;
use mail::{Compiled, MediaUrls, MergeData, RenderError, Rendered, TemplateError, TemplateSource};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;
use uuid::Uuid;

/// Stands for the reader where none is named.
const SAMPLE_ADDRESS: &str = "reader@example.com";

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PreviewInput {
    /// Whose fields are filled in.
    subscriber_id: Option<Uuid>,
    /// Fields that take the place of the reader's.
    #[schema(value_type = Option<std::collections::HashMap<String, String>>, example = json!({ "first_name": "O'Brien" }))]
    attributes: Option<Attributes>,
}

impl Input for PreviewInput {}

#[derive(Serialize, ToSchema)]
pub(super) struct Preview {
    subject: String,
    html: String,
    text: String,
    warnings: Vec<WarningView>,
}

/// What is allowed in a template, and yet seldom meant.
#[derive(Serialize, ToSchema)]
pub(super) struct WarningView {
    /// `clipped`: Gmail cuts the mail off; `image_without_alt`; `foreign_image`: loaded from somebody else's host;
    /// `foreign_merge_tag`: a field in another tool's spelling; `two_previews`: `mj-preview` beside the preheader;
    /// `not_inlined`: a selector of `mj-style inline` or `mj-html-attributes` that reaches no element;
    /// `text_as_truth`: `{% if vip %}`, which is true for the text "0" and "no" as well.
    #[schema(example = "image_without_alt")]
    code: &'static str,
    #[schema(example = "html, line 3")]
    place: String,
    text: String,
}

impl From<mail::Warning> for WarningView {
    fn from(mail::Warning { code, place, text }: mail::Warning) -> Self {
        Self { code, place, text }
    }
}

/// Preview a template
///
/// Links to opt out lead nowhere in a preview.
#[utoipa::path(post, path = "/templates/{id}/preview", tag = "templates", request_body = PreviewInput,
    params(("id" = Uuid, Path)),
    responses((status = 200, description = "As the reader would see it.", body = Preview),
        (status = 422, description = "The template has a fault, or a field cannot be taken.",
            body = crate::problem::Problem, content_type = "application/problem+json")))]
pub(super) async fn preview(
    State(app): State<App>,
    Ids(id): Ids<TemplateId>,
    call: Call<PreviewInput>,
) -> Result<Json<Preview>, ApiError> {
    let content = app.commands.template(id).await?.content;
    let PreviewInput { subscriber_id, attributes } = call.body;
    let mut reader = match subscriber_id {
        Some(subscriber) => Reader::load(&app, subscriber).await?,
        None => Reader::sample(),
    };
    reader.take(attributes::check(&attributes.unwrap_or_default())?);
    let compiled = compile(&app, &content).await?;
    let noted = compiled.noted(&reader.attributes);
    let rendered = render(&app, compiled, reader, content.name.clone()).await?;
    let warnings = warnings(&app, &content, noted, &rendered);
    let Rendered { subject, html, text } = rendered;
    Ok(Json(Preview { subject, html, text, warnings }))
}

/// Refuses a template that has a fault; else says what is seldom meant so.
pub(super) async fn check(app: &App, content: &Content) -> Result<Vec<WarningView>, ApiError> {
    let compiled = compile(app, content).await?;
    let reader = Reader::sample();
    let noted = compiled.noted(&reader.attributes);
    let rendered = render(app, compiled, reader, content.name.clone()).await?;
    Ok(warnings(app, content, noted, &rendered))
}

fn warnings(
    app: &App,
    content: &Content,
    noted: Vec<mail::Warning>,
    rendered: &Rendered,
) -> Vec<WarningView> {
    let media = app.media.as_ref().and_then(|files| host(&files.url("")));
    let own: Vec<String> = media.into_iter().chain(host(&app.config.public_url.join(""))).collect();
    let own: Vec<&str> = own.iter().map(String::as_str).collect();
    let found = mail::warnings(&source(content), noted, &rendered.html, &own);
    found.into_iter().map(WarningView::from).collect()
}

/// With its port, if it has one.
fn host(url: &str) -> Option<String> {
    let uri: http::Uri = url.parse().ok()?;
    uri.authority().map(|authority| authority.as_str().to_ascii_lowercase())
}

/// Compiles a template, or says all that is wrong with it, line by line.
pub(super) async fn compile(app: &App, content: &Content) -> Result<Compiled, ApiError> {
    let known = attributes::known(&app.pool).await?;
    let source = source(content);
    let media = media_urls(app, &source).await?;
    let compiled = blocking(app, move || Compiled::compile(&source, &known, &media)).await?;
    compiled.map_err(|errors| ApiError::Invalid(errors.into_iter().map(field_error).collect()))
}

/// Of what a template shows, those that can be shown.
async fn media_urls(app: &App, source: &TemplateSource) -> Result<MediaUrls, ApiError> {
    let (ids, Some(files)) = (source.media(), &app.media) else { return Ok(MediaUrls::new()) };
    let media = app.commands.media(&ids).await?.into_iter().filter(|(_, medium)| medium.is_uploaded());
    Ok(media.filter_map(|(id, medium)| Some((id, files.url(&medium.upload?.key)))).collect())
}

fn source(content: &Content) -> TemplateSource {
    TemplateSource {
        subject: content.subject.clone(),
        preheader: content.preheader.clone(),
        body: match &content.body {
            Body::Html(html) => mail::Body::Html(html.clone()),
            Body::Mjml(mjml) => mail::Body::Mjml(mjml.clone()),
        },
        text: content.text.clone(),
        attributes: content.attributes.clone(),
    }
}

fn field_error(error: TemplateError) -> FieldError {
    let reason = match error.line {
        Some(line) => format!("line {line}: {}", error.reason),
        None => error.reason,
    };
    FieldError { field: error.field.to_owned(), reason }
}

/// Work for the processor, a few at once, beside the threads that answer.
async fn blocking<T: Send + 'static>(
    app: &App,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ApiError> {
    let slot = Arc::clone(&app.renders).acquire_owned().await;
    let done = tokio::task::spawn_blocking(move || {
        let _slot = slot;
        work()
    });
    done.await.map_err(|_| StoreError::Format("a template could not be compiled".into()).into())
}

async fn render(app: &App, compiled: Compiled, reader: Reader, name: String) -> Result<Rendered, ApiError> {
    let (unsubscribe_url, preferences_url) =
        (app.links.unsubscribe_url(SAMPLE_TOKEN), app.links.preferences_url(SAMPLE_TOKEN));
    let postal_address = app.config.postal_address.clone();
    let rendered = blocking(app, move || {
        compiled.render(&MergeData {
            email: &reader.email,
            name: &reader.name,
            attributes: &reader.attributes,
            unsubscribe_url: &unsubscribe_url,
            preferences_url: &preferences_url,
            campaign_name: &name,
            group_name: "Preview",
            postal_address: postal_address.as_deref(),
        })
    });
    rendered.await?.map_err(|error| match error {
        RenderError::OutOfFuel { part }
        | RenderError::TooLarge { part, .. }
        | RenderError::Failed { part, .. } => ApiError::invalid(part, error.to_string()),
    })
}

fn unreadable() -> ApiError {
    ApiError::invalid("subscriber_id", "what is stored of the subscriber cannot be read")
}

/// Whose fields are filled in.
struct Reader {
    email: String,
    name: String,
    attributes: Attributes,
}

impl Reader {
    fn sample() -> Self {
        Self { email: SAMPLE_ADDRESS.to_owned(), name: String::new(), attributes: Attributes::new() }
    }

    /// By their stream: a preview is never behind.
    async fn load(app: &App, id: SubscriberId) -> Result<Self, ApiError> {
        let subscriber = eventstore::load::<Subscriber>(&app.pool, id).await?.aggregate;
        if subscriber.version == 0 {
            return Err(ApiError::invalid("subscriber_id", "the subscriber is not known"));
        }
        let keys = Opener::of(app, &[id]).await?;
        let open = |field, value: &Option<_>| match value {
            Some(value) => keys.open(id, field, value).ok_or_else(unreadable),
            None => Ok(String::new()),
        };
        Ok(Self {
            email: open("address", &subscriber.address)?,
            name: open("name", &subscriber.name)?,
            attributes: serde_json::from_str(&open("attributes", &subscriber.attributes)?)
                .unwrap_or_default(),
        })
    }

    /// `email` and `name` are fields as others are.
    fn take(&mut self, mut fields: Attributes) {
        self.email = fields.remove("email").unwrap_or_else(|| std::mem::take(&mut self.email));
        self.name = fields.remove("name").unwrap_or_else(|| std::mem::take(&mut self.name));
        self.attributes.append(&mut fields);
    }
}
