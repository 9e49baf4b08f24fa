//! Templates: what a mail says. Checked for syntax and names before they are kept.

use crate::access::{Access, Kind, Routes};
use crate::body::{Bare, Call, Input};
use crate::config::TEMPLATE_MAX_BYTES;
use crate::context::once;
use crate::endpoints::preview::{self, WarningView};
use crate::input::fields::Fields;
use crate::input::params::{Ids, PageParams, Params, slice};
use crate::input::position::{self, Models, Position};
use crate::problem::ApiError;
use crate::respond::{self, List};
use crate::state::App;
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use commands::Behind;
use domain::TemplateId;
use domain::access::Scope;
use domain::template::{Body, Content};
use projections::Templates;
use projections::templates::{self, Template, TemplateSummary};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;
use utoipa_axum::routes;
use uuid::Uuid;

const NAME_MAX_BYTES: usize = 200;
const MODELS: Models = &[&Templates];

pub(super) fn routes(app: &App) -> Routes {
    Routes::new(app)
        .command(Access::Scope(Scope::TemplatesWrite), routes!(create))
        .query(Access::Scope(Scope::TemplatesRead), routes!(list))
        .query(Access::Scope(Scope::TemplatesRead), routes!(get))
        .command(Access::Scope(Scope::TemplatesWrite), routes!(replace))
        .command(Access::Scope(Scope::TemplatesWrite), routes!(delete))
        .add(Access::Scope(Scope::SubscribersRead), Kind::Plain, routes!(preview::preview))
}

/// A template, whole. Exactly one of `html` and `mjml` is given.
///
/// Merge fields are written as `{{ first_name }}`, in Jinja's syntax: `email`, `name`, `first_name`, `last_name`,
/// `unsubscribe_url`, `preferences_url`, `campaign.name`, `group.name`, `postal_address`, and each attribute by its name.
///
/// A footer with the link to unsubscribe and the postal address is added wherever a reader would see no such link. It is
/// decided for each reader, in HTML and text apart: a link by `unsubscribe_url` or `preferences_url` in a comment, in a hidden
/// element or in an `if` that does not hold counts as none. A part with a link of its own shows `postal_address` itself.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct TemplateInput {
    #[schema(example = "Monthly letter")]
    name: String,
    #[schema(example = "Hello {{ first_name }}")]
    subject: String,
    /// Shown beside the subject in a mailbox.
    preheader: Option<String>,
    #[schema(example = "<p>Hello {{ first_name }}, what is new in {{ city }}?</p>")]
    html: Option<String>,
    /// <https://documentation.mjml.io/>
    mjml: Option<String>,
    /// The text part. Derived from the body where it is absent.
    text: Option<String>,
    /// Attributes that readers will have, beyond those ever imported.
    #[schema(example = json!(["city"]))]
    attributes: Option<Vec<String>>,
}

impl Input for TemplateInput {
    const MAX_BYTES: usize = TEMPLATE_MAX_BYTES;
}

impl TemplateInput {
    fn check(self) -> Result<Content, ApiError> {
        let mut fields = Fields::default();
        let name = fields.line("name", self.name, NAME_MAX_BYTES);
        let subject = fields.line("subject", self.subject, mail::template::MAX_LINE_BYTES);
        let preheader = self
            .preheader
            .map(|line| fields.optional_line("preheader", line, mail::template::MAX_LINE_BYTES));
        for (field, text) in [("html", &self.html), ("mjml", &self.mjml), ("text", &self.text)] {
            if text.as_ref().is_some_and(|text| text.contains('\0')) {
                fields.fail(field, "has control characters");
            }
        }
        let body = match (self.html, self.mjml) {
            (Some(html), None) => Body::Html(html),
            (None, Some(mjml)) => Body::Mjml(mjml),
            (None, None) => {
                fields.fail("html", "is missing, and so is mjml: one of them is needed");
                Body::default()
            }
            (Some(_), Some(_)) => {
                fields.fail("mjml", "is given beside html: only one of them can be the body");
                Body::default()
            }
        };
        fields.check()?;
        let preheader = preheader.filter(|line| !line.is_empty());
        Ok(Content {
            name,
            subject,
            preheader,
            body,
            text: self.text,
            attributes: self.attributes.unwrap_or_default(),
        })
    }
}

#[derive(ToSchema)]
#[allow(dead_code, reason = "it documents an answer")]
struct TemplateCreated {
    template_id: Uuid,
    warnings: Vec<WarningView>,
}

/// A template in a list: without its content.
#[derive(Serialize, ToSchema)]
struct TemplateSummaryView {
    template_id: Uuid,
    name: String,
    subject: String,
    /// Campaigns pin the version that they send.
    version: i64,
    created_at: DateTime<Utc>,
    changed_at: DateTime<Utc>,
}

impl From<TemplateSummary> for TemplateSummaryView {
    fn from(template: TemplateSummary) -> Self {
        Self {
            template_id: template.id,
            name: template.name,
            subject: template.subject,
            version: template.version,
            created_at: template.created_at,
            changed_at: template.changed_at,
        }
    }
}

#[derive(Serialize, ToSchema)]
struct TemplateView {
    template_id: Uuid,
    name: String,
    subject: String,
    preheader: Option<String>,
    html: Option<String>,
    mjml: Option<String>,
    text: Option<String>,
    attributes: Vec<String>,
    /// Campaigns pin the version that they send.
    version: i64,
    created_at: DateTime<Utc>,
    changed_at: DateTime<Utc>,
}

#[derive(Serialize, ToSchema)]
struct TemplateReplaced {
    #[serde(flatten)]
    template: TemplateView,
    warnings: Vec<WarningView>,
    campaigns_behind: BehindView,
}

/// Campaigns that were frozen with an older version, and go on sending that one. A paused one can take the newer version by
/// `POST /emails/{id}/template`.
#[derive(Serialize, ToSchema)]
struct BehindView {
    #[schema(example = 1)]
    total: i64,
    /// The newest, up to 100.
    campaigns: Vec<CampaignBehind>,
}

#[derive(Serialize, ToSchema)]
struct CampaignBehind {
    campaign_id: Uuid,
    /// `freezing`, `sending` or `paused`
    #[schema(example = "sending")]
    status: String,
    /// What it sends.
    #[schema(example = 1)]
    template_version: i64,
}

impl From<Vec<Behind>> for BehindView {
    fn from(behind: Vec<Behind>) -> Self {
        let total = behind.first().map_or(0, |first| first.total);
        let view = |Behind { campaign_id, status, template_version, total: _ }| CampaignBehind {
            campaign_id,
            status,
            template_version,
        };
        Self { total, campaigns: behind.into_iter().map(view).collect() }
    }
}

impl From<Template> for TemplateView {
    fn from(template: Template) -> Self {
        let content = template.content.0;
        let (html, mjml) = match content.body {
            Body::Html(html) => (Some(html), None),
            Body::Mjml(mjml) => (None, Some(mjml)),
        };
        Self {
            template_id: template.id,
            name: content.name,
            subject: content.subject,
            preheader: content.preheader,
            html,
            mjml,
            text: content.text,
            attributes: content.attributes,
            version: template.version,
            created_at: template.created_at,
            changed_at: template.changed_at,
        }
    }
}

/// Create a template
#[utoipa::path(post, path = "/templates", tag = "templates", request_body = TemplateInput,
    responses((status = 201, description = "It was created.", body = TemplateCreated)))]
async fn create(State(app): State<App>, call: Call<TemplateInput>) -> Result<Response, ApiError> {
    let content = call.body.check()?;
    let mut warnings = Vec::new();
    let created = async {
        warnings = preview::check(&app, &content).await?;
        Ok::<_, ApiError>(app.commands.create_template(&call.context, content).await?)
    };
    let mut done = once(&app, &call.context, created).await?;
    done.answer["warnings"] = json!(warnings);
    Ok(respond::created(&app, done, "/templates", "template_id"))
}

/// List templates
#[utoipa::path(get, path = "/templates", tag = "templates", params(PageParams),
    responses((status = 200, description = "Newest first.", body = List<TemplateSummaryView>)))]
async fn list(
    State(app): State<App>,
    position: Position,
    Params(page): Params<PageParams>,
) -> Result<Json<List<TemplateSummaryView>>, ApiError> {
    let slice = slice(&page.limit, &page.cursor)?;
    position.wait(&app, MODELS).await?;
    Ok(respond::list(templates::list(&app.pool, slice).await?, TemplateSummaryView::from))
}

/// Show a template
#[utoipa::path(get, path = "/templates/{id}", tag = "templates", params(("id" = Uuid, Path)),
    responses((status = 200, description = "The template.", body = TemplateView, headers(("ETag" = String)))))]
async fn get(
    State(app): State<App>,
    Ids(id): Ids<TemplateId>,
    position: Position,
) -> Result<Response, ApiError> {
    position.wait(&app, MODELS).await?;
    let template = templates::get(&app.pool, id).await?.ok_or(ApiError::NotFound("template"))?;
    Ok(respond::resource(template.version, TemplateView::from(template)))
}

/// Replace a template
///
/// Campaigns that are frozen already send the version that they froze: `campaigns_behind` names them.
#[utoipa::path(put, path = "/templates/{id}", tag = "templates", request_body = TemplateInput,
    params(("id" = Uuid, Path), ("If-Match" = Option<String>, Header, description = "The `ETag` that was seen.")),
    responses((status = 200, description = "The template as it is now.", body = TemplateReplaced,
        headers(("ETag" = String)))))]
async fn replace(
    State(app): State<App>,
    Ids(id): Ids<TemplateId>,
    call: Call<TemplateInput>,
) -> Result<Response, ApiError> {
    let content = call.body.check()?;
    let mut warnings = Vec::new();
    let replaced = async {
        warnings = preview::check(&app, &content).await?;
        Ok::<_, ApiError>(app.commands.change_template(&call.context, id, content).await?)
    };
    let done = once(&app, &call.context, replaced).await?;
    let template = match call.sees && position::reached(&app, &done.position, MODELS).await {
        true => templates::get(&app.pool, id).await?,
        false => None,
    };
    let now = template.map(|template| (template.version, TemplateView::from(template)));
    let campaigns_behind = BehindView::from(app.commands.campaigns_behind(id).await?);
    let Some((version, template)) = now else {
        let answer = json!({ "template_id": id, "campaigns_behind": campaigns_behind });
        return Ok(respond::with_position(Json(answer).into_response(), &done.position));
    };
    let replaced = TemplateReplaced { template, warnings, campaigns_behind };
    Ok(respond::changed(&done, Some((version, replaced)), ("template_id", id)))
}

/// Delete a template
///
/// Refused while a campaign that is under way uses it.
#[utoipa::path(delete, path = "/templates/{id}", tag = "templates",
    params(("id" = Uuid, Path), ("If-Match" = Option<String>, Header, description = "The `ETag` that was seen.")),
    responses((status = 204, description = "It was deleted.")))]
async fn delete(
    State(app): State<App>,
    Ids(id): Ids<TemplateId>,
    Bare(context): Bare,
) -> Result<Response, ApiError> {
    let done = once(&app, &context, app.commands.delete_template(&context, id)).await?;
    Ok(respond::no_content(&done))
}
