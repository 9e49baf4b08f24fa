use crate::access::Scope;
use crate::guard::{Guard, Guarded};
use crate::{Event, Sequence};
use chrono::{DateTime, Utc};
use cqrs_es::event_sink::EventSink;
use cqrs_es::{Aggregate, DomainEvent};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ApiKeyEvent {
    #[serde(rename = "ApiKeyMade")]
    Made {
        name: String,
        scopes: Vec<Scope>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires_at: Option<DateTime<Utc>>,
    },
    #[serde(rename = "ApiKeyRevoked")]
    Revoked {},
}

impl DomainEvent for ApiKeyEvent {
    fn event_type(&self) -> String {
        match self {
            Self::Made { .. } => "ApiKeyMade",
            Self::Revoked {} => "ApiKeyRevoked",
        }
        .into()
    }

    fn event_version(&self) -> String {
        "1.0".into()
    }
}

impl Event for ApiKeyEvent {}

#[derive(Debug, Clone, PartialEq)]
pub enum ApiKeyCommand {
    Make { name: String, scopes: Vec<Scope>, expires_at: Option<DateTime<Utc>> },
    Revoke,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApiKeyError {
    #[error("the API key is not known")]
    Unknown,
    #[error("the API key exists already")]
    Exists,
    #[error("a key needs at least one scope")]
    NoScope,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ApiKey {
    /// Sequence of the last event; 0 before the first.
    pub version: Sequence,
    /// Each once, in one order.
    pub scopes: Vec<Scope>,
    pub revoked: bool,
}

impl ApiKey {
    fn decide(&self, command: ApiKeyCommand) -> Result<Option<ApiKeyEvent>, ApiKeyError> {
        match command {
            ApiKeyCommand::Make { .. } if self.version > 0 => Err(ApiKeyError::Exists),
            ApiKeyCommand::Make { name, mut scopes, expires_at } => {
                scopes.sort_unstable();
                scopes.dedup();
                match scopes.is_empty() {
                    true => Err(ApiKeyError::NoScope),
                    false => Ok(Some(ApiKeyEvent::Made { name, scopes, expires_at })),
                }
            }
            ApiKeyCommand::Revoke if self.version == 0 => Err(ApiKeyError::Unknown),
            ApiKeyCommand::Revoke => Ok((!self.revoked).then_some(ApiKeyEvent::Revoked {})),
        }
    }
}

impl Aggregate for ApiKey {
    const TYPE: &'static str = "api_key";
    type Command = ApiKeyCommand;
    type Event = ApiKeyEvent;
    type Error = ApiKeyError;
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
            ApiKeyEvent::Made { scopes, .. } => self.scopes = scopes,
            ApiKeyEvent::Revoked {} => self.revoked = true,
        }
    }
}

impl Guarded for ApiKey {
    fn guards(_: &str, _: &Self, _: &Self) -> Vec<Guard> {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cqrs_es::test::TestFramework;

    type Scenario = TestFramework<ApiKey>;

    fn make(scopes: Vec<Scope>) -> ApiKeyCommand {
        ApiKeyCommand::Make { name: "shop".into(), scopes, expires_at: None }
    }

    fn made() -> ApiKeyEvent {
        ApiKeyEvent::Made { name: "shop".into(), scopes: vec![Scope::GroupsRead], expires_at: None }
    }

    #[test]
    fn a_key_is_made_once_and_for_something() {
        let scopes = vec![Scope::GroupsRead, Scope::GroupsRead];
        Scenario::with(()).given_no_previous_events().when(make(scopes)).then_expect_events(vec![made()]);
        let again = make(vec![Scope::GroupsRead]);
        Scenario::with(()).given(vec![made()]).when(again).then_expect_error(ApiKeyError::Exists);
        Scenario::with(())
            .given_no_previous_events()
            .when(make(vec![]))
            .then_expect_error(ApiKeyError::NoScope);
    }

    #[test]
    fn a_key_is_revoked_once() {
        let revoked = ApiKeyEvent::Revoked {};
        let revoke = || ApiKeyCommand::Revoke;
        Scenario::with(()).given(vec![made()]).when(revoke()).then_expect_events(vec![revoked.clone()]);
        Scenario::with(()).given(vec![made(), revoked]).when(revoke()).then_expect_events(vec![]);
        Scenario::with(()).given_no_previous_events().when(revoke()).then_expect_error(ApiKeyError::Unknown);
    }
}
