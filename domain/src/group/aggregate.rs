use crate::guard::{Guard, Guarded, Removed};
use crate::{Event, Sequence};
use cqrs_es::event_sink::EventSink;
use cqrs_es::{Aggregate, DomainEvent};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum GroupEvent {
    #[serde(rename = "GroupCreated")]
    Created { name: String, description: String },
    #[serde(rename = "GroupChanged")]
    Changed { name: String, description: String },
    #[serde(rename = "GroupDeleted")]
    Deleted {},
}

impl DomainEvent for GroupEvent {
    fn event_type(&self) -> String {
        match self {
            Self::Created { .. } => "GroupCreated",
            Self::Changed { .. } => "GroupChanged",
            Self::Deleted {} => "GroupDeleted",
        }
        .into()
    }

    fn event_version(&self) -> String {
        "1.0".into()
    }
}

impl Event for GroupEvent {}

#[derive(Debug, Clone, PartialEq)]
pub enum GroupCommand {
    Create {
        name: String,
        description: String,
    },
    /// What is absent stays.
    Change {
        name: Option<String>,
        description: Option<String>,
    },
    Delete,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    #[error("the group is not known")]
    Unknown,
    #[error("the group exists already")]
    Exists,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Group {
    pub version: Sequence,
    pub name: String,
    pub description: String,
    pub deleted: bool,
}

impl Group {
    pub fn exists(&self) -> bool {
        self.version > 0 && !self.deleted
    }

    fn decide(&self, command: GroupCommand) -> Result<Option<GroupEvent>, GroupError> {
        match command {
            GroupCommand::Create { name, description } => match self.version {
                0 => Ok(Some(GroupEvent::Created { name, description })),
                _ => Err(GroupError::Exists),
            },
            _ if !self.exists() => Err(GroupError::Unknown),
            GroupCommand::Change { name, description } => {
                let name = name.unwrap_or_else(|| self.name.clone());
                let description = description.unwrap_or_else(|| self.description.clone());
                let same = self.name == name && self.description == description;
                Ok((!same).then_some(GroupEvent::Changed { name, description }))
            }
            GroupCommand::Delete => Ok(Some(GroupEvent::Deleted {})),
        }
    }
}

impl Aggregate for Group {
    const TYPE: &'static str = "group";
    type Command = GroupCommand;
    type Event = GroupEvent;
    type Error = GroupError;
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
            GroupEvent::Created { name, description } | GroupEvent::Changed { name, description } => {
                self.name = name;
                self.description = description;
            }
            GroupEvent::Deleted {} => self.deleted = true,
        }
    }
}

impl Guarded for Group {
    fn guards(id: &str, before: &Self, after: &Self) -> Vec<Guard> {
        let goes = after.deleted && !before.deleted;
        let id = Uuid::parse_str(id).ok().filter(|_| goes);
        id.map(|id| Guard::Remove(Removed::Group(id))).into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cqrs_es::test::TestFramework;

    type Scenario = TestFramework<Group>;

    fn created() -> GroupEvent {
        GroupEvent::Created { name: "News".into(), description: String::new() }
    }

    #[test]
    fn a_group_is_created_once() {
        let create = GroupCommand::Create { name: "News".into(), description: String::new() };
        Scenario::with(())
            .given_no_previous_events()
            .when(create.clone())
            .then_expect_events(vec![created()]);
        Scenario::with(()).given(vec![created()]).when(create).then_expect_error(GroupError::Exists);
    }

    #[test]
    fn a_deleted_group_is_unknown() {
        let scenario = Scenario::with(()).given(vec![created(), GroupEvent::Deleted {}]);
        scenario.when(GroupCommand::Delete).then_expect_error(GroupError::Unknown);
    }

    #[test]
    fn the_same_name_again_appends_nothing() {
        let change = GroupCommand::Change { name: Some("News".into()), description: None };
        Scenario::with(()).given(vec![created()]).when(change).then_expect_events(vec![]);
    }
}
