use crate::access::Role;
use crate::guard::{Guard, Guarded};
use crate::{AddressHash, Event, Personal, Sequence};
use cqrs_es::event_sink::EventSink;
use cqrs_es::{Aggregate, DomainEvent};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum UserEvent {
    #[serde(rename = "UserAdded")]
    Added { address: Personal, address_hash: AddressHash, hash_key_id: String, roles: Vec<Role> },
    /// Carries all roles as they are now.
    #[serde(rename = "UserRolesChanged")]
    RolesChanged { roles: Vec<Role> },
    #[serde(rename = "UserPasswordSet")]
    PasswordSet {},
    #[serde(rename = "UserDisabled")]
    Disabled {},
    #[serde(rename = "UserEnabled")]
    Enabled {},
}

impl DomainEvent for UserEvent {
    fn event_type(&self) -> String {
        match self {
            Self::Added { .. } => "UserAdded",
            Self::RolesChanged { .. } => "UserRolesChanged",
            Self::PasswordSet {} => "UserPasswordSet",
            Self::Disabled {} => "UserDisabled",
            Self::Enabled {} => "UserEnabled",
        }
        .into()
    }

    fn event_version(&self) -> String {
        "1.0".into()
    }
}

impl Event for UserEvent {
    fn personal(&mut self) -> Vec<(&'static str, &mut Personal)> {
        match self {
            Self::Added { address, .. } => vec![("address", address)],
            Self::RolesChanged { .. } | Self::PasswordSet {} | Self::Disabled {} | Self::Enabled {} => {
                Vec::new()
            }
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub enum UserCommand {
    /// With a password, which is kept elsewhere.
    Add {
        address: Personal,
        address_hash: AddressHash,
        hash_key_id: String,
        roles: Vec<Role>,
    },
    /// What is absent stays.
    Change {
        roles: Option<Vec<Role>>,
        disabled: Option<bool>,
    },
    SetPassword,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UserError {
    #[error("the user is not known")]
    Unknown,
    #[error("the user exists already")]
    Exists,
    #[error("a user needs at least one role")]
    NoRole,
    #[error("the user is disabled")]
    Disabled,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct User {
    /// Sequence of the last event; 0 before the first.
    pub version: Sequence,
    pub roles: Vec<Role>,
    pub disabled: bool,
}

impl User {
    fn decide(&self, command: UserCommand) -> Result<Vec<UserEvent>, UserError> {
        match command {
            UserCommand::Add { .. } if self.version > 0 => Err(UserError::Exists),
            UserCommand::Add { address, address_hash, hash_key_id, roles } => {
                let roles = tidy(roles)?;
                let added = UserEvent::Added { address, address_hash, hash_key_id, roles };
                Ok(vec![added, UserEvent::PasswordSet {}])
            }
            _ if self.version == 0 => Err(UserError::Unknown),
            UserCommand::Change { roles, disabled } => {
                let roles = roles.map(tidy).transpose()?.filter(|roles| *roles != self.roles);
                let roles = roles.map(|roles| UserEvent::RolesChanged { roles });
                Ok(roles.into_iter().chain(disabled.and_then(|disabled| self.switch(disabled))).collect())
            }
            UserCommand::SetPassword if self.disabled => Err(UserError::Disabled),
            UserCommand::SetPassword => Ok(vec![UserEvent::PasswordSet {}]),
        }
    }

    fn switch(&self, disabled: bool) -> Option<UserEvent> {
        match (self.disabled, disabled) {
            (false, true) => Some(UserEvent::Disabled {}),
            (true, false) => Some(UserEvent::Enabled {}),
            (false, false) | (true, true) => None,
        }
    }
}

/// Each role once, in one order.
fn tidy(mut roles: Vec<Role>) -> Result<Vec<Role>, UserError> {
    roles.sort_unstable();
    roles.dedup();
    if roles.is_empty() { Err(UserError::NoRole) } else { Ok(roles) }
}

impl Aggregate for User {
    const TYPE: &'static str = "user";
    type Command = UserCommand;
    type Event = UserEvent;
    type Error = UserError;
    type Services = ();

    async fn handle(
        &mut self,
        command: Self::Command,
        _: &Self::Services,
        sink: &EventSink<Self>,
    ) -> Result<(), Self::Error> {
        for event in self.decide(command)? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: Self::Event) {
        self.version += 1;
        match event {
            UserEvent::Added { roles, .. } | UserEvent::RolesChanged { roles } => self.roles = roles,
            UserEvent::PasswordSet {} => {}
            UserEvent::Disabled {} => self.disabled = true,
            UserEvent::Enabled {} => self.disabled = false,
        }
    }
}

/// That an address has one user is a unique key of the row that is written with the events.
impl Guarded for User {
    fn guards(_: &str, _: &Self, _: &Self) -> Vec<Guard> {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cqrs_es::test::TestFramework;

    type Scenario = TestFramework<User>;

    fn add(roles: Vec<Role>) -> UserCommand {
        let address = Personal::Sealed("1:1:x".into());
        UserCommand::Add { address, address_hash: AddressHash([1; 32]), hash_key_id: "k".into(), roles }
    }

    fn added(roles: Vec<Role>) -> UserEvent {
        let address = Personal::Sealed("1:1:x".into());
        UserEvent::Added { address, address_hash: AddressHash([1; 32]), hash_key_id: "k".into(), roles }
    }

    fn user() -> Vec<UserEvent> {
        vec![added(vec![Role::Marketer]), UserEvent::PasswordSet {}]
    }

    #[test]
    fn a_user_is_added_once_with_each_role_once() {
        let roles = vec![Role::Auditor, Role::Admin, Role::Auditor];
        Scenario::with(())
            .given_no_previous_events()
            .when(add(roles))
            .then_expect_events(vec![added(vec![Role::Admin, Role::Auditor]), UserEvent::PasswordSet {}]);
        Scenario::with(()).given(user()).when(add(vec![Role::Admin])).then_expect_error(UserError::Exists);
    }

    #[test]
    fn nobody_is_without_a_role() {
        let change = UserCommand::Change { roles: Some(vec![]), disabled: None };
        Scenario::with(()).given_no_previous_events().when(add(vec![])).then_expect_error(UserError::NoRole);
        Scenario::with(()).given(user()).when(change).then_expect_error(UserError::NoRole);
    }

    #[test]
    fn only_what_differs_is_appended() {
        let change = |roles, disabled| UserCommand::Change { roles, disabled };
        let same = change(Some(vec![Role::Marketer]), Some(false));
        Scenario::with(()).given(user()).when(same).then_expect_events(vec![]);
        let both = change(Some(vec![Role::Analyst]), Some(true));
        let changed = UserEvent::RolesChanged { roles: vec![Role::Analyst] };
        Scenario::with(()).given(user()).when(both).then_expect_events(vec![changed, UserEvent::Disabled {}]);
        let disabled = [user(), vec![UserEvent::Disabled {}]].concat();
        Scenario::with(())
            .given(disabled)
            .when(change(None, Some(false)))
            .then_expect_events(vec![UserEvent::Enabled {}]);
    }

    #[test]
    fn who_is_disabled_or_unknown_gets_no_password() {
        let disabled = [user(), vec![UserEvent::Disabled {}]].concat();
        Scenario::with(())
            .given(disabled)
            .when(UserCommand::SetPassword)
            .then_expect_error(UserError::Disabled);
        Scenario::with(())
            .given_no_previous_events()
            .when(UserCommand::SetPassword)
            .then_expect_error(UserError::Unknown);
    }
}
