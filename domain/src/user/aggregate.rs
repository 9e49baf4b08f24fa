use crate::access::Role;
use crate::guard::{Guard, Guarded};
use crate::visit::Visit;
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
    /// A link to choose the first password is on its way by mail.
    #[serde(rename = "UserInvited")]
    Invited {},
    /// By the link of an invitation. Carries no password, as no event does.
    #[serde(rename = "UserInvitationAccepted")]
    InvitationAccepted { visit: Visit },
    /// By the link of a mail.
    #[serde(rename = "UserPasswordReset")]
    PasswordReset { visit: Visit },
    /// Signs in as this subject of this issuer (OpenID Connect Core section 2) from now on.
    #[serde(rename = "UserIdentityLinked")]
    IdentityLinked { provider: String, issuer: String, subject: Personal },
    /// All of them: the next sign-in at a provider links anew.
    #[serde(rename = "UserIdentitiesUnlinked")]
    IdentitiesUnlinked {},
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
            Self::Invited {} => "UserInvited",
            Self::InvitationAccepted { .. } => "UserInvitationAccepted",
            Self::PasswordReset { .. } => "UserPasswordReset",
            Self::IdentityLinked { .. } => "UserIdentityLinked",
            Self::IdentitiesUnlinked {} => "UserIdentitiesUnlinked",
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
            Self::InvitationAccepted { visit } | Self::PasswordReset { visit } => visit.personal(),
            Self::IdentityLinked { subject, .. } => vec![("subject", subject)],
            Self::RolesChanged { .. }
            | Self::PasswordSet {}
            | Self::Invited {}
            | Self::IdentitiesUnlinked {}
            | Self::Disabled {}
            | Self::Enabled {} => Vec::new(),
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub enum UserCommand {
    Add {
        address: Personal,
        address_hash: AddressHash,
        hash_key_id: String,
        roles: Vec<Role>,
        start: Start,
    },
    /// What is absent stays.
    Change {
        roles: Option<Vec<Role>>,
        disabled: Option<bool>,
    },
    SetPassword,
    /// Sends the invitation of somebody who is there already once more.
    Invite,
    AcceptInvitation {
        visit: Visit,
    },
    ResetPassword {
        visit: Visit,
    },
    LinkIdentity {
        provider: String,
        issuer: String,
        subject: Personal,
    },
    UnlinkIdentities,
}

/// How a new user gets in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// With a password, which is kept elsewhere.
    Password,
    /// By the link of a mail, or by a provider that has verified the address.
    Invitation,
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
    #[error("the user signs in with another identity")]
    HasIdentity,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct User {
    /// Sequence of the last event; 0 before the first.
    pub version: Sequence,
    pub roles: Vec<Role>,
    pub disabled: bool,
    pub has_identity: bool,
}

impl User {
    fn decide(&self, command: UserCommand) -> Result<Vec<UserEvent>, UserError> {
        match command {
            UserCommand::Add { .. } if self.version > 0 => Err(UserError::Exists),
            UserCommand::Add { address, address_hash, hash_key_id, roles, start } => {
                let roles = tidy(roles)?;
                let started = match start {
                    Start::Password => UserEvent::PasswordSet {},
                    Start::Invitation => UserEvent::Invited {},
                };
                Ok(vec![UserEvent::Added { address, address_hash, hash_key_id, roles }, started])
            }
            _ if self.version == 0 => Err(UserError::Unknown),
            UserCommand::Change { roles, disabled } => {
                let roles = roles.map(tidy).transpose()?.filter(|roles| *roles != self.roles);
                let roles = roles.map(|roles| UserEvent::RolesChanged { roles });
                Ok(roles.into_iter().chain(disabled.and_then(|disabled| self.switch(disabled))).collect())
            }
            UserCommand::UnlinkIdentities => {
                Ok(self.has_identity.then_some(UserEvent::IdentitiesUnlinked {}).into_iter().collect())
            }
            _ if self.disabled => Err(UserError::Disabled),
            UserCommand::SetPassword => Ok(vec![UserEvent::PasswordSet {}]),
            UserCommand::Invite => Ok(vec![UserEvent::Invited {}]),
            UserCommand::AcceptInvitation { visit } => Ok(vec![UserEvent::InvitationAccepted { visit }]),
            UserCommand::ResetPassword { visit } => Ok(vec![UserEvent::PasswordReset { visit }]),
            // One address, one identity: whoever else a provider calls by it is somebody else.
            UserCommand::LinkIdentity { .. } if self.has_identity => Err(UserError::HasIdentity),
            UserCommand::LinkIdentity { provider, issuer, subject } => {
                Ok(vec![UserEvent::IdentityLinked { provider, issuer, subject }])
            }
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
            UserEvent::PasswordSet {}
            | UserEvent::Invited {}
            | UserEvent::InvitationAccepted { .. }
            | UserEvent::PasswordReset { .. } => {}
            UserEvent::IdentityLinked { .. } => self.has_identity = true,
            UserEvent::IdentitiesUnlinked {} => self.has_identity = false,
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

    fn add_with(roles: Vec<Role>, start: Start) -> UserCommand {
        let address = Personal::Sealed("1:1:x".into());
        let (address_hash, hash_key_id) = (AddressHash([1; 32]), "k".into());
        UserCommand::Add { address, address_hash, hash_key_id, roles, start }
    }

    fn add(roles: Vec<Role>) -> UserCommand {
        add_with(roles, Start::Password)
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
    fn who_is_invited_has_no_password_yet() {
        let invite = add_with(vec![Role::Marketer], Start::Invitation);
        let invited = vec![added(vec![Role::Marketer]), UserEvent::Invited {}];
        Scenario::with(()).given_no_previous_events().when(invite).then_expect_events(invited.clone());
        let accepted = vec![UserEvent::InvitationAccepted { visit: Visit::default() }];
        let accept = UserCommand::AcceptInvitation { visit: Visit::default() };
        Scenario::with(()).given(invited).when(accept).then_expect_events(accepted);
    }

    fn link(subject: &str) -> UserCommand {
        let subject = Personal::Sealed(subject.into());
        UserCommand::LinkIdentity { provider: "p".into(), issuer: "https://p".into(), subject }
    }

    #[test]
    fn a_user_has_one_identity_until_it_is_unlinked() {
        let subject = Personal::Sealed("1:1:s".into());
        let linked = UserEvent::IdentityLinked { provider: "p".into(), issuer: "https://p".into(), subject };
        Scenario::with(()).given(user()).when(link("1:1:s")).then_expect_events(vec![linked.clone()]);
        let mut events = [user(), vec![linked.clone()]].concat();
        Scenario::with(())
            .given(events.clone())
            .when(link("1:1:t"))
            .then_expect_error(UserError::HasIdentity);
        let unlinked = vec![UserEvent::IdentitiesUnlinked {}];
        let unlink = UserCommand::UnlinkIdentities;
        Scenario::with(()).given(events.clone()).when(unlink.clone()).then_expect_events(unlinked.clone());
        events.extend(unlinked);
        Scenario::with(()).given(events.clone()).when(unlink).then_expect_events(vec![]);
        Scenario::with(()).given(events).when(link("1:1:s")).then_expect_events(vec![linked]);
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
    fn who_is_disabled_or_unknown_gets_no_password_and_no_identity() {
        let visit = Visit::default;
        let commands = [
            UserCommand::SetPassword,
            UserCommand::Invite,
            UserCommand::AcceptInvitation { visit: visit() },
            UserCommand::ResetPassword { visit: visit() },
            link("1:1:s"),
        ];
        for command in commands {
            let disabled = [user(), vec![UserEvent::Disabled {}]].concat();
            Scenario::with(()).given(disabled).when(command.clone()).then_expect_error(UserError::Disabled);
            Scenario::with(()).given_no_previous_events().when(command).then_expect_error(UserError::Unknown);
        }
    }
}
