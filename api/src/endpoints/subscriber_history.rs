//! One person's history, for auditors: each consent, opt-out, authorization and mail, in the order of the log.

use crate::access::{Access, Routes};
use crate::input::params::{Ids, PageParams, Params, cursor, given, limit};
use crate::input::position::{Models, Position};
use crate::personal::Opener;
use crate::problem::ApiError;
use crate::respond::List;
use crate::state::App;
use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use domain::access;
use domain::consent::{Channel, Consent, Origin, Scope};
use domain::subscriber::{SubscriberEvent, SubscriptionRequest};
use domain::visit::Visit;
use domain::{Personal, SubscriberId};
use projections::subscriber_history::{self, Entry, Mail, Said, Step};
use projections::{Recipients, Slice};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;
use uuid::Uuid;

const MODELS: Models = &[&Recipients];
/// Most people's whole history is one page.
const LIMIT: i64 = 500;

pub(super) fn routes(app: &App) -> Routes {
    Routes::new(app).query(Access::Scope(access::Scope::AuditRead), routes!(list))
}

/// One event, and what it says of this person. What does not belong to it is left out.
#[derive(Default, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
struct HistoryItem {
    /// Its place in the log.
    position: i64,
    time: DateTime<Utc>,
    #[schema(example = "SendSettled")]
    event: String,
    /// Who did it.
    #[serde(skip_serializing_if = "Option::is_none")]
    actor: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
    /// The mail address from here on. Empty once the person was erased.
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    /// The groups that a consent or an opt-out names.
    #[serde(skip_serializing_if = "Option::is_none")]
    groups: Option<Vec<Uuid>>,
    /// Of an opt-out: `global` or `groups`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "groups")]
    scope: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "one_click")]
    channel: Option<Channel>,
    /// Where a consent was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    consent_source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    wording_version: Option<String>,
    /// When a consent was given, or asked for, where that is not when it was recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    given_at: Option<DateTime<Utc>>,
    /// The network address that a consent or a choice came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    source_address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    import_id: Option<Uuid>,
    /// Of a mail: its campaign.
    #[serde(skip_serializing_if = "Option::is_none")]
    campaign_id: Option<Uuid>,
    /// Of a double opt-in: the mail that asks, in the request and in its confirmation.
    #[serde(skip_serializing_if = "Option::is_none")]
    dispatch_id: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    permit_id: Option<Uuid>,
    /// What became of it: `planned`, `authorized`, `suppressed`, `rejected`, `accepted`, `unknown`, `returned`,
    /// `deferred`, `late` or `cancelled`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "authorized")]
    mail: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// The position of the consent that allows the mail; mails outside campaigns need none.
    #[serde(skip_serializing_if = "Option::is_none")]
    authorized_by: Option<i64>,
}

/// Opens what was sealed for one person.
struct Reveal<'a> {
    keys: &'a Opener,
    person: SubscriberId,
}

impl Reveal<'_> {
    fn open(&self, field: &str, value: Option<Personal>) -> Option<String> {
        self.keys.open(self.person, field, &value?)
    }
}

impl HistoryItem {
    fn of(reveal: &Reveal<'_>, entry: Entry) -> Self {
        let kept = |name: &str| entry.event.metadata[name].as_str().map(str::to_owned);
        let mut item = Self {
            position: entry.event.position,
            time: entry.event.recorded_at,
            actor: kept("actor"),
            request_id: kept("request_id"),
            event: entry.event.event_type,
            ..Self::default()
        };
        match entry.said {
            Said::Of(event) => item.tell(reveal, *event),
            Said::Mail(mail) => item.tell_of_mail(mail),
        }
        item
    }

    fn tell(&mut self, reveal: &Reveal<'_>, event: SubscriberEvent) {
        match event {
            SubscriberEvent::Added { address, groups, consent, import_id, .. } => {
                (self.groups, self.import_id) = (Some(groups), import_id);
                self.address = reveal.open("address", Some(address));
                self.tell_of_consent(reveal, consent)
            }
            SubscriberEvent::DetailsChanged { .. } | SubscriberEvent::Erased {} => {}
            SubscriberEvent::AddressChanged { address, .. } => {
                self.address = reveal.open("address", Some(address));
            }
            SubscriberEvent::GroupJoined { group_id, consent } => {
                self.groups = Some(vec![group_id]);
                self.tell_of_consent(reveal, consent)
            }
            SubscriberEvent::GroupLeft { group_id } => {
                self.groups = Some(vec![group_id]);
            }
            SubscriberEvent::OptedOut { scope, channel, origin } => {
                self.channel = Some(channel);
                (self.scope, self.groups) = match scope {
                    Scope::Global => (Some("global"), None),
                    Scope::Groups(groups) => (Some("groups"), Some(groups)),
                };
                self.tell_of_origin(reveal, origin)
            }
            SubscriberEvent::OptedIn { groups, restored, origin, .. } => {
                self.groups = Some(groups.into_iter().chain(restored).collect());
                self.tell_of_origin(reveal, origin)
            }
            SubscriberEvent::SubscriptionRequested(request) => self.tell_of_request(reveal, request),
            SubscriberEvent::SubscriptionConfirmed { request, groups, wording_version, visit, .. } => {
                (self.dispatch_id, self.groups) = (Some(request), Some(groups));
                self.wording_version = wording_version;
                self.tell_of_visit(reveal, visit)
            }
        }
    }

    fn tell_of_request(&mut self, reveal: &Reveal<'_>, request: SubscriptionRequest) {
        (self.dispatch_id, self.groups) = (Some(request.request), Some(request.groups));
        self.address = reveal.open("address", Some(request.address));
        self.consent_source = Some(request.source);
        self.wording_version = request.wording_version;
        self.given_at = Some(request.requested_at);
        self.tell_of_visit(reveal, request.visit)
    }

    fn tell_of_visit(&mut self, reveal: &Reveal<'_>, visit: Visit) {
        self.source_address = reveal.open("source_address", visit.source_address);
        self.user_agent = reveal.open("user_agent", visit.user_agent);
    }

    fn tell_of_consent(&mut self, reveal: &Reveal<'_>, consent: Consent) {
        self.consent_source = Some(consent.source);
        self.wording_version = consent.wording_version;
        self.given_at = consent.given_at;
        self.source_address = reveal.open("given_from", consent.given_from);
    }

    fn tell_of_origin(&mut self, reveal: &Reveal<'_>, origin: Origin) {
        self.reason = reveal.open("reason", origin.reason);
        (self.campaign_id, self.dispatch_id) = (origin.campaign_id, origin.dispatch_id);
        self.tell_of_visit(
            reveal,
            Visit { source_address: origin.source_address, user_agent: origin.user_agent },
        )
    }

    fn tell_of_mail(&mut self, mail: Mail) {
        self.campaign_id = mail.campaign_id;
        self.dispatch_id = Some(mail.dispatch_id);
        self.permit_id = mail.permit_id;
        let word = match mail.step {
            Step::Planned => "planned",
            Step::Authorized(consent) => {
                self.authorized_by = consent;
                "authorized"
            }
            Step::Suppressed(reason) => {
                self.reason = Some(reason);
                "suppressed"
            }
            Step::Rejected(reason) => {
                self.reason = Some(reason);
                "rejected"
            }
            Step::Accepted => "accepted",
            Step::Unknown => "unknown",
            Step::Returned => "returned",
            Step::Deferred => "deferred",
            Step::Late => "late",
            Step::Cancelled => "cancelled",
        };
        self.mail = Some(word);
    }
}

/// Show one person's history
///
/// Every consent and its end, and every step of every mail to them: of campaigns, of a double opt-in, and of the confirmation
/// of an opt-out. Test mails go to addresses and not to people, and are not among them. 500 events a page where no limit is given.
#[utoipa::path(get, path = "/audit/subscribers/{id}", tag = "audit", params(("id" = Uuid, Path), PageParams),
    responses((status = 200, description = "Oldest first.", body = List<HistoryItem>)))]
async fn list(
    State(app): State<App>,
    Ids(id): Ids<SubscriberId>,
    position: Position,
    Params(page): Params<PageParams>,
) -> Result<Json<List<HistoryItem>>, ApiError> {
    let limit = given(&page.limit).map_or(Ok(LIMIT), |_| limit(&page.limit))?;
    let slice = Slice::new(cursor(&page.cursor)?, limit);
    position.wait(&app, MODELS).await?;
    let page = subscriber_history::list(&app.pool, id, slice).await?;
    if page.items.is_empty() && slice.is_first() {
        return Err(ApiError::NotFound("subscriber"));
    }
    let keys = Opener::of(&app, &[id]).await?;
    let reveal = Reveal { keys: &keys, person: id };
    let items = page.items.into_iter().map(|entry| HistoryItem::of(&reveal, entry)).collect();
    Ok(Json(List { items, next_cursor: page.next_cursor.map(|cursor| cursor.to_string()) }))
}
