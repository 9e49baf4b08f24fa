use crate::{CommandError, Commands, Context};
use domain::TemplateId;
use domain::template::{Content, Template, TemplateCommand, TemplateError};
use eventstore::{Done, ids, load};
use serde_json::{Value, json};

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

    /// A template by its stream: what a preview or a campaign shows is never behind.
    pub async fn template(&self, id: TemplateId) -> Result<Template, CommandError> {
        let template = load::<Template>(&self.store.pool, id).await?.aggregate;
        match template.exists() {
            true => Ok(template),
            false => Err(CommandError::NotFound("template")),
        }
    }
}
