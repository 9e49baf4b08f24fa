use crate::{CommandError, Commands, Context};
use domain::template::{Content, Template, TemplateCommand, TemplateError};
use domain::{CampaignId, TemplateId};
use eventstore::{Done, ids, load};
use serde_json::{Value, json};

/// Campaigns that are listed where a template was changed.
const BEHIND_MAX: i64 = 100;

/// A campaign that was frozen with an older version of its template than the newest, and goes on sending that one.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Behind {
    pub campaign_id: CampaignId,
    pub status: String,
    /// What it sends.
    pub template_version: i64,
    /// How many there are.
    pub total: i64,
}

impl From<TemplateError> for CommandError {
    fn from(error: TemplateError) -> Self {
        match error {
            TemplateError::Unknown => Self::NotFound("template"),
            TemplateError::Exists => Self::Conflict,
        }
    }
}

impl Commands {
    /// The content's syntax and names are checked by the caller, who can render it.
    pub async fn create_template(&self, context: &Context, content: Content) -> Result<Done, CommandError> {
        let id = ids::new_id();
        let request = context.request_for_new(json!({ "template_id": id }));
        Ok(self.store.execute::<Template>(id, TemplateCommand::Create(content), request).await?)
    }

    pub async fn change_template(
        &self,
        context: &Context,
        id: TemplateId,
        content: Content,
    ) -> Result<Done, CommandError> {
        let change = TemplateCommand::Change(content);
        Ok(self.store.execute::<Template>(id, change, context.request(Value::Null)).await?)
    }

    /// Refused while a campaign that is under way uses it.
    pub async fn delete_template(&self, context: &Context, id: TemplateId) -> Result<Done, CommandError> {
        let request = context.request(Value::Null);
        Ok(self.store.execute::<Template>(id, TemplateCommand::Delete, request).await?)
    }

    /// Of the campaigns under way, those that send an older version of the template: the newest of them, up to a hundred. What is only
    /// scheduled is none of them, as it will take the newest version.
    pub async fn campaigns_behind(&self, id: TemplateId) -> Result<Vec<Behind>, CommandError> {
        // A row of an earlier release does not name the version, and its campaign took no other than it was frozen with.
        let behind = "
            SELECT campaign_id, status, sent AS template_version, count(*) OVER () AS total
            FROM campaign_gates g CROSS JOIN LATERAL (SELECT coalesce(g.template_version, (
                SELECT (e.payload #>> '{CampaignFreezing,template_version}')::bigint FROM events e
                WHERE e.aggregate_type = 'campaign' AND e.aggregate_id = g.campaign_id::text
                    AND e.event_type = 'CampaignFreezing'))) v (sent)
            WHERE template_id = $1 AND status IN ('freezing', 'sending', 'paused') AND sent < (
                SELECT max(sequence) FROM events WHERE aggregate_type = 'template' AND aggregate_id = $1::text)
            ORDER BY campaign_id DESC LIMIT $2";
        Ok(sqlx::query_as(behind).bind(id).bind(BEHIND_MAX).fetch_all(&self.store.pool).await?)
    }

    /// A template by its stream: what a preview or a campaign shows is never behind.
    pub async fn template(&self, id: TemplateId) -> Result<Template, CommandError> {
        let template = load::<Template>(&self.store.pool, id).await?.aggregate;
        match template.exists() {
            true => Ok(template),
            false => Err(CommandError::NotFound("template")),
        }
    }
}
