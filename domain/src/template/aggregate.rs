use crate::guard::{Guard, Guarded, Removed};
use crate::{Event, Sequence};
use cqrs_es::event_sink::EventSink;
use cqrs_es::{Aggregate, DomainEvent};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Body {
    Html(String),
    Mjml(String),
}

impl Default for Body {
    fn default() -> Self {
        Self::Html(String::new())
    }
}

/// Everything that the staff wrote; checked for syntax and known names before it gets here.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Content {
    pub name: String,
    pub subject: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preheader: Option<String>,
    pub body: Body,
    /// The written text part; derived from the HTML where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Attribute names that readers may have, beyond those ever imported.
    #[serde(default)]
    pub attributes: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum TemplateEvent {
    #[serde(rename = "TemplateCreated")]
    Created(Content),
    #[serde(rename = "TemplateChanged")]
    Changed(Content),
    #[serde(rename = "TemplateDeleted")]
    Deleted {},
}

impl DomainEvent for TemplateEvent {
    fn event_type(&self) -> String {
        match self {
            Self::Created(_) => "TemplateCreated",
            Self::Changed(_) => "TemplateChanged",
            Self::Deleted {} => "TemplateDeleted",
        }
        .into()
    }

    fn event_version(&self) -> String {
        "1.0".into()
    }
}

impl Event for TemplateEvent {}

#[derive(Debug, Clone, PartialEq)]
pub enum TemplateCommand {
    Create(Content),
    Change(Content),
    Delete,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    #[error("the template is not known")]
    Unknown,
    #[error("the template exists already")]
    Exists,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Template {
    pub version: Sequence,
    pub content: Content,
    pub deleted: bool,
}

impl Template {
    pub fn exists(&self) -> bool {
        self.version > 0 && !self.deleted
    }

    fn decide(&self, command: TemplateCommand) -> Result<Option<TemplateEvent>, TemplateError> {
        match command {
            TemplateCommand::Create(content) => match self.version {
                0 => Ok(Some(TemplateEvent::Created(content))),
                _ => Err(TemplateError::Exists),
            },
            _ if !self.exists() => Err(TemplateError::Unknown),
            TemplateCommand::Change(content) => {
                Ok((self.content != content).then_some(TemplateEvent::Changed(content)))
            }
            TemplateCommand::Delete => Ok(Some(TemplateEvent::Deleted {})),
        }
    }
}

impl Aggregate for Template {
    const TYPE: &'static str = "template";
    type Command = TemplateCommand;
    type Event = TemplateEvent;
    type Error = TemplateError;
    type Services = ();

    async fn handle(
        &mut self,
        command: Self::Command,
        _: &Self::Services,
        sink: &EventSink<Self>,
    ) -> Result<(), Self::Error> {
        if let Some(event) = self.decide(command)? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: Self::Event) {
        self.version += 1;
        match event {
            TemplateEvent::Created(content) | TemplateEvent::Changed(content) => self.content = content,
            TemplateEvent::Deleted {} => self.deleted = true,
        }
    }
}

impl Guarded for Template {
    fn guards(id: &str, before: &Self, after: &Self) -> Vec<Guard> {
        let goes = after.deleted && !before.deleted;
        let id = Uuid::parse_str(id).ok().filter(|_| goes);
        let is_changed = before.version > 0 && !after.deleted && before.content != after.content;
        let text = serde_json::to_string(&after.content).ok().filter(|_| is_changed);
        id.map(|id| Guard::Remove(Removed::Template(id))).into_iter().chain(text.map(Guard::Show)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cqrs_es::test::TestFramework;

    type Scenario = TestFramework<Template>;

    fn content(subject: &str) -> Content {
        Content { name: "News".into(), subject: subject.into(), ..Content::default() }
    }

    fn created() -> TemplateEvent {
        TemplateEvent::Created(content("Hello"))
    }

    #[test]
    fn a_template_is_created_once() {
        let create = TemplateCommand::Create(content("Hello"));
        Scenario::with(())
            .given_no_previous_events()
            .when(create.clone())
            .then_expect_events(vec![created()]);
        Scenario::with(()).given(vec![created()]).when(create).then_expect_error(TemplateError::Exists);
    }

    #[test]
    fn a_change_is_a_new_version_and_no_change_is_none() {
        let change = |subject| TemplateCommand::Change(content(subject));
        let changed = TemplateEvent::Changed(content("Hi"));
        Scenario::with(()).given(vec![created()]).when(change("Hi")).then_expect_events(vec![changed]);
        Scenario::with(()).given(vec![created()]).when(change("Hello")).then_expect_events(vec![]);
    }

    #[test]
    fn a_deleted_template_is_unknown() {
        let scenario = Scenario::with(()).given(vec![created(), TemplateEvent::Deleted {}]);
        scenario.when(TemplateCommand::Change(content("Hi"))).then_expect_error(TemplateError::Unknown);
    }
}
