use crate::{CommandError, Commands, Context};
use domain::TemplateId;
use domain::template::{Content, Template, TemplateCommand, TemplateError};
use eventstore::{Done, ids, load};
use serde_json::{Value, json};

fn rejected(error: TemplateError) -> CommandError {
    match error {
        TemplateError::Unknown => CommandError::NotFound("template"),
        TemplateError::Exists => CommandError::Conflict,
    }
}

impl Commands {
    /// The content's syntax and names are checked by the caller, who can render it.
    pub async fn create_template(&self, context: &Context, content: Content) -> Result<Done, CommandError> {
        let id = ids::new_id();
        let request = context.request_for_new(json!({ "template_id": id }));
        let done = self.store.execute::<Template>(id, TemplateCommand::Create(content), request).await;
        done.map_err(|error| CommandError::from_execute(error, rejected))
    }

    pub async fn change_template(
        &self,
        context: &Context,
        id: TemplateId,
        content: Content,
    ) -> Result<Done, CommandError> {
        let change = TemplateCommand::Change(content);
        let done = self.store.execute::<Template>(id, change, context.request(Value::Null)).await;
        done.map_err(|error| CommandError::from_execute(error, rejected))
    }

    /// Refused while a campaign that is under way uses it.
    pub async fn delete_template(&self, context: &Context, id: TemplateId) -> Result<Done, CommandError> {
        self.refuse_if_used("template_id", id).await?;
        let request = context.request(Value::Null);
        let done = self.store.execute::<Template>(id, TemplateCommand::Delete, request).await;
        done.map_err(|error| CommandError::from_execute(error, rejected))
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
