//! What happened to users, sessions and API keys, for auditors.

use crate::access::{Access, Kind, Routes};
use crate::input::params::{PageParams, Params, slice};
use crate::personal::Opener;
use crate::problem::ApiError;
use crate::respond::List;
use crate::state::App;
use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use commands::people::Unreadable;
use domain::Personal;
use domain::access::{Role, Scope};
use domain::api_key::{ApiKey, ApiKeyEvent};
use domain::session::{EndReason, Refusal, Session, SessionEvent};
use domain::user::{User, UserEvent};
use domain::visit::Visit;
use eventstore::{LogEvent, StoreError, decode};
use projections::security_events;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;
use uuid::Uuid;

pub(super) fn routes(app: &App) -> Routes {
    Routes::new(app).add(Access::Scope(Scope::SecurityRead), Kind::Plain, routes!(list))
}

/// One event. What does not belong to it is null.
#[derive(Debug, Default, Serialize, ToSchema)]
struct SecurityEvent {
    /// Its place in the log.
    position: i64,
    time: DateTime<Utc>,
    #[schema(example = "SessionStarted")]
    event: String,
    /// The id of the user, the session or the key that it is about; of a failed sign-in its own.
    subject: String,
    /// Who did it.
    #[schema(example = "user:01a2051d-0f6e-7a01-9d0c-5b8c2f3e4a71")]
    actor: Option<String>,
    request_id: Option<String>,
    user_id: Option<Uuid>,
    #[schema(value_type = Option<Vec<String>>)]
    roles: Option<Vec<Role>>,
    #[schema(value_type = Option<Vec<String>>)]
    scopes: Option<Vec<Scope>>,
    /// Of a key.
    name: Option<String>,
    /// Of an identity that was linked: the OpenID provider, by its name here.
    #[schema(example = "company")]
    provider: Option<String>,
    #[schema(value_type = Option<String>, example = "wrong_password")]
    refusal: Option<Refusal>,
    /// How many failed sign-ins of one network a `SignInsFailed` stands for, beside those that have events of their own.
    count: Option<u32>,
    #[schema(value_type = Option<String>, example = "signed_out")]
    end_reason: Option<EndReason>,
    #[schema(example = "192.0.2.7")]
    source_address: Option<String>,
    user_agent: Option<String>,
}

impl SecurityEvent {
    /// Of one that cannot be read, what stands beside it.
    fn of(opener: &Opener, event: &LogEvent) -> Self {
        let kept = |name: &str| event.metadata[name].as_str().map(str::to_owned);
        let mut view = Self {
            position: event.position,
            time: event.recorded_at,
            event: event.event_type.clone(),
            subject: event.aggregate_id.clone(),
            actor: kept("actor"),
            request_id: kept("request_id"),
            ..Self::default()
        };
        let visit = match event.aggregate_type.as_str() {
            "user" => decode::<User>(event).map(|event| view.tell_of_user(event)),
            "session" => decode::<Session>(event).map(|event| view.tell_of_session(event)),
            _ => decode::<ApiKey>(event).map(|event| view.tell_of_key(event)),
        };
        match (subject(event), visit) {
            (Ok(subject), Ok(visit)) => view.tell_of_visit(opener, subject, visit),
            (Ok(subject), Err(error)) => drop(Unreadable::note(subject, &error)),
            (Err(_), _) => {}
        }
        view
    }

    fn tell_of_user(&mut self, event: UserEvent) -> Visit {
        match event {
            UserEvent::Added { roles, .. } | UserEvent::RolesChanged { roles } => self.roles = Some(roles),
            UserEvent::IdentityLinked { provider, .. } => self.provider = Some(provider),
            UserEvent::InvitationAccepted { visit } | UserEvent::PasswordReset { visit } => return visit,
            UserEvent::PasswordSet {}
            | UserEvent::Invited {}
            | UserEvent::IdentitiesUnlinked {}
            | UserEvent::Disabled {}
            | UserEvent::Enabled {} => {}
        }
        Visit::default()
    }

    fn tell_of_session(&mut self, event: SessionEvent) -> Visit {
        match event {
            SessionEvent::Started { user_id, visit } => {
                self.user_id = Some(user_id);
                visit
            }
            SessionEvent::SignInFailed { user_id, reason, visit } => {
                (self.user_id, self.refusal) = (user_id, Some(reason));
                visit
            }
            SessionEvent::SignInsFailed { count, visit } => {
                self.count = Some(count);
                visit
            }
            SessionEvent::ResetRequested { user_id, visit } => {
                self.user_id = user_id;
                visit
            }
            SessionEvent::Refreshed { visit } | SessionEvent::ReuseDetected { visit } => visit,
            SessionEvent::Ended { reason } => {
                self.end_reason = Some(reason);
                Visit::default()
            }
        }
    }

    fn tell_of_visit(&mut self, opener: &Opener, subject: Uuid, visit: Visit) {
        let open = |field, value: Option<Personal>| opener.open(subject, field, &value?);
        self.source_address = open("source_address", visit.source_address);
        self.user_agent = open("user_agent", visit.user_agent);
    }

    fn tell_of_key(&mut self, event: ApiKeyEvent) -> Visit {
        match event {
            ApiKeyEvent::Made { name, scopes, .. } => (self.name, self.scopes) = (Some(name), Some(scopes)),
            ApiKeyEvent::Revoked {} => {}
        }
        Visit::default()
    }
}

fn subject(event: &LogEvent) -> Result<Uuid, ApiError> {
    let id = event.stream_id();
    id.map_err(|error| StoreError::Format(error.to_string()).into())
}

/// List security events
///
/// Sign-ins and their failures, refreshes, reuse of spent tokens, changed roles and passwords, invitations, links to reset a
/// password, identities at OpenID providers, keys made and revoked. An event is here once it has its position in the log, a moment after it happened.
#[utoipa::path(get, path = "/audit/security-events", tag = "audit", params(PageParams),
    responses((status = 200, description = "Newest first.", body = List<SecurityEvent>)))]
async fn list(
    State(app): State<App>,
    Params(page): Params<PageParams>,
) -> Result<Json<List<SecurityEvent>>, ApiError> {
    let page = security_events::list(&app.pool, slice(&page.limit, &page.cursor)?).await?;
    let subjects = page.items.iter().filter_map(|event| subject(event).ok()).collect::<Vec<_>>();
    let opener = Opener::of(&app, &subjects).await?;
    let items = page.items.iter().map(|event| SecurityEvent::of(&opener, event)).collect();
    Ok(Json(List { items, next_cursor: page.next_cursor.map(|cursor| cursor.to_string()) }))
}
