//! What a reader gets, as they see it and decide it.
//!
//! Read from the streams and not from a read model: whoever changes something sees it at once, without a position.

use crate::access::{Access, Routes};
use crate::body::{Choice, Input};
use crate::input::position::Position;
use crate::personal::Opener;
use crate::problem::ApiError;
use crate::reader::Reader;
use crate::respond;
use crate::state::App;
use axum::Json;
use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, TimeDelta, Utc};
use commands::{FieldError, Preferences};
use domain::group::Group;
use domain::subscriber::Subscriber;
use domain::{GroupId, SubscriberId};
use eventstore::clock;
use mail::mask_address;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;
use utoipa_axum::routes;
use uuid::Uuid;

/// An opt-out that was a mistake is taken back so soon.
const UNDONE_WITHIN: TimeDelta = TimeDelta::days(1);
/// Groups that one request may name.
pub(super) const GROUPS_MAX: usize = 100;

pub(super) fn routes(app: &App) -> Routes {
    Routes::new(app)
        .query(Access::PreferenceToken, routes!(get))
        .opt_out(Access::PreferenceToken, routes!(put))
}

#[derive(Serialize, ToSchema)]
struct PreferencesView {
    subscriber: MaskedReader,
    /// Whether they opted out of everything.
    global_opt_out: bool,
    groups: Vec<Preference>,
}

#[derive(Serialize, ToSchema)]
struct MaskedReader {
    #[schema(example = "a•••@example.com")]
    email_masked: String,
}

#[derive(Serialize, ToSchema)]
struct Preference {
    group_id: Uuid,
    name: String,
    /// Whether the group may write to them now.
    subscribed: bool,
}

/// The reader's stream, and the groups in it that still exist.
pub(super) struct Loaded {
    pub subscriber: Subscriber,
    /// When their address changed last.
    address_since: Option<DateTime<Utc>>,
    /// When they were opted out last, of whatever and by whomever.
    left_at: Option<DateTime<Utc>>,
    pub groups: BTreeMap<GroupId, String>,
}

impl Loaded {
    pub async fn of(app: &App, id: SubscriberId) -> Result<Self, ApiError> {
        let subscriber = eventstore::load::<Subscriber>(app.commands.opt_out_pool(), id).await?.aggregate;
        if subscriber.version == 0 {
            return Err(ApiError::NotFound("subscriber"));
        }
        let ids: Vec<GroupId> = subscriber.groups.keys().copied().collect();
        let groups = eventstore::load_each::<Group>(app.commands.opt_out_pool(), &ids).await?.into_iter();
        let groups = groups
            .filter_map(|(id, group)| Some((id, group.ok()?)))
            .filter(|(_, group)| group.aggregate.exists())
            .map(|(id, group)| (id, group.aggregate.name));
        let (address_since, left_at) = turns(app, id).await?;
        Ok(Self { subscriber, address_since, left_at, groups: groups.collect() })
    }

    /// Whether the reader's link may do more than opt out.
    pub fn trusts(&self, reader: &Reader) -> bool {
        reader.is_trusted(self.address_since)
    }

    /// Whether it may opt in again: no old mail brings back who was erased. An opt-out can be taken back for a day by the link that
    /// made it; later whoever has an older mail may be somebody it was forwarded to, and a newer link does it alone, such as that of the
    /// mail which confirms the opt-out.
    pub fn may_return(&self, reader: &Reader) -> bool {
        self.may_look(reader) && !self.is_late(reader)
    }

    fn is_late(&self, reader: &Reader) -> bool {
        self.left_at.is_some_and(|left| {
            reader.claims.issued_at < left.timestamp() && clock::now() - left > UNDONE_WITHIN
        })
    }

    /// Whether the reader's link may show what they get.
    pub fn may_look(&self, reader: &Reader) -> bool {
        self.trusts(reader) && !self.subscriber.is_erased()
    }

    fn opts_in(&self, global_opt_out: bool, groups: &[(GroupId, bool)]) -> bool {
        let is_new = |(group, wanted): &(GroupId, bool)| {
            *wanted && self.subscriber.groups.get(group).is_none_or(Option::is_none)
        };
        self.subscriber.global_opt_out && !global_opt_out || groups.iter().any(is_new)
    }

    /// Empty once the person was erased, and where it cannot be read: whoever opts out does not need it.
    pub async fn email_masked(&self, app: &App, id: SubscriberId) -> Result<String, ApiError> {
        let Some(address) = &self.subscriber.address else { return Ok(String::new()) };
        let opener = Opener::over(app.commands.opt_out_pool(), app, &[id]).await?;
        let address = opener.open(id, "address", address).unwrap_or_default();
        Ok(if address.is_empty() { address } else { mask_address(&address) })
    }
}

/// When their address changed last, and when they were opted out last.
async fn turns(
    app: &App,
    id: SubscriberId,
) -> Result<(Option<DateTime<Utc>>, Option<DateTime<Utc>>), ApiError> {
    let turns = "SELECT max(recorded_at) FILTER (WHERE event_type = 'SubscriberAddressChanged'),
                     max(recorded_at) FILTER (WHERE event_type = 'SubscriberOptedOut')
                 FROM events WHERE aggregate_type = 'subscriber' AND aggregate_id = $1
                     AND event_type IN ('SubscriberAddressChanged', 'SubscriberOptedOut')";
    Ok(sqlx::query_as(turns).bind(id.to_string()).fetch_one(app.commands.opt_out_pool()).await?)
}

/// Show a reader's preferences
///
/// For a year after the mail was sent.
#[utoipa::path(get, path = "/preferences", tag = "preferences",
    responses((status = 200, description = "The preferences.", body = PreferencesView)))]
async fn get(
    State(app): State<App>,
    reader: Reader,
    position: Position,
) -> Result<Json<PreferencesView>, ApiError> {
    position.wait(&app, &[]).await?;
    let _turn = app.look().await?;
    let id = reader.claims.subscriber;
    let loaded = Loaded::of(&app, id).await?;
    if !loaded.trusts(&reader) {
        return Err(too_old());
    }
    let email_masked = loaded.email_masked(&app, id).await?;
    let preference = |(group_id, name)| {
        let subscribed = loaded.subscriber.is_subscribed(group_id);
        Preference { group_id, name, subscribed }
    };
    let mut groups: Vec<Preference> = loaded.groups.into_iter().map(preference).collect();
    groups.sort_by(|a, b| (&a.name, a.group_id).cmp(&(&b.name, b.group_id)));
    let subscriber = MaskedReader { email_masked };
    Ok(Json(PreferencesView { subscriber, global_opt_out: loaded.subscriber.global_opt_out, groups }))
}

fn too_old() -> ApiError {
    ApiError::Unauthorized(
        "the link is older than a year, or went to an earlier address: it can only opt out, by POST /emails/unsubscribe",
    )
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PreferencesInput {
    /// Groups that are not named stay as they are.
    groups: Option<Vec<PreferenceInput>>,
    global_opt_out: bool,
}

impl Input for PreferencesInput {}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PreferenceInput {
    group_id: Uuid,
    subscribed: bool,
}

impl PreferencesInput {
    /// A reader decides on the groups that they are shown, and on no others.
    fn check(self, shown: &BTreeMap<GroupId, String>) -> Result<(bool, Vec<(GroupId, bool)>), ApiError> {
        let groups = self.groups.unwrap_or_default();
        if groups.len() > GROUPS_MAX {
            return Err(ApiError::invalid("groups", format!("has more than {GROUPS_MAX} groups")));
        }
        let is_foreign = |(index, wanted): (usize, &PreferenceInput)| {
            let field = format!("groups[{index}].group_id");
            let reason = "is not one of the reader's groups".to_owned();
            (!shown.contains_key(&wanted.group_id)).then_some(FieldError { field, reason })
        };
        let errors: Vec<FieldError> = groups.iter().enumerate().filter_map(is_foreign).collect();
        match errors.is_empty() {
            true => Ok((self.global_opt_out, groups.iter().map(|g| (g.group_id, g.subscribed)).collect())),
            false => Err(ApiError::Invalid(errors)),
        }
    }
}

/// Set a reader's preferences
///
/// When this is answered, no mail that they opted out of starts on its way any more. A repeat by the same `Idempotency-Key` opts out
/// again, and brings nobody back who left since.
#[utoipa::path(put, path = "/preferences", tag = "preferences", request_body = PreferencesInput,
    responses((status = 204, description = "They are set.")))]
async fn put(
    State(app): State<App>,
    reader: Reader,
    call: Choice<PreferencesInput>,
) -> Result<Response, ApiError> {
    let subscriber = reader.claims.subscriber;
    let loaded = Loaded::of(&app, subscriber).await?;
    if !loaded.trusts(&reader) {
        return Err(too_old());
    }
    let (global_opt_out, groups) = call.body.check(&loaded.groups)?;
    if loaded.opts_in(global_opt_out, &groups) && loaded.is_late(&reader) {
        return Err(ApiError::Unauthorized(
            "the link is older than the opt-out, which is more than a day ago: only a newer mail's link opts in again",
        ));
    }
    let wanted =
        Preferences { subscriber, global_opt_out: Some(global_opt_out), groups, origin: reader.origin };
    Ok(respond::no_content(&app.commands.set_preferences(&call.context, wanted).await?))
}
