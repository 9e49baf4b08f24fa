//! Members of groups, put in and taken out by the staff.

use crate::access::{Access, Routes};
use crate::body::{Bare, Call, Input};
use crate::context::once;
use crate::endpoints::subscribers::ConsentInput;
use crate::input::params::Ids;
use crate::problem::ApiError;
use crate::respond;
use crate::state::App;
use axum::extract::State;
use axum::response::Response;
use commands::CommandError;
use domain::access::Scope;
use domain::consent::Consent;
use domain::{GroupId, SubscriberId};
use futures::TryFutureExt;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::routes;
use uuid::Uuid;

/// Where a consent comes from that the staff vouches for without saying more.
const STAFF: &str = "staff";

pub(super) fn routes(app: &App) -> Routes {
    Routes::new(app)
        .command(Access::Scope(Scope::SubscribersWrite), routes!(join))
        .command(Access::Scope(Scope::SubscribersWrite), routes!(leave))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewMember {
    subscriber_id: Uuid,
    /// Why the group may write to them; `staff` where it is absent.
    consent: Option<ConsentInput>,
}

impl Input for NewMember {}

/// Add a subscriber to a group
///
/// Whoever opted out of the group, or of everything, can only be brought back by themselves.
#[utoipa::path(post, path = "/groups/{id}/members", tag = "groups", request_body = NewMember,
    params(("id" = Uuid, Path)), responses((status = 204, description = "They are a member.")))]
async fn join(
    State(app): State<App>,
    Ids(group): Ids<GroupId>,
    call: Call<NewMember>,
) -> Result<Response, ApiError> {
    let NewMember { subscriber_id, consent } = call.body;
    let staff = Consent { source: STAFF.to_owned(), wording_version: None, given_at: None, given_from: None };
    let consent = consent.map(ConsentInput::check).transpose()?.unwrap_or(staff);
    let joined =
        app.commands.join_group(&call.context, group, subscriber_id, consent).map_err(|error| match error {
            // Not of the path, as the group is, but of the body.
            CommandError::NotFound("subscriber") => {
                ApiError::invalid("subscriber_id", "the subscriber is not known")
            }
            other => other.into(),
        });
    Ok(respond::no_content(&once(&app, &call.context, joined).await?))
}

/// Take a subscriber out of a group
///
/// This is no opt-out: they can be added again.
#[utoipa::path(delete, path = "/groups/{id}/members/{subscriber_id}", tag = "groups",
    params(("id" = Uuid, Path), ("subscriber_id" = Uuid, Path)),
    responses((status = 204, description = "They are no member.")))]
async fn leave(
    State(app): State<App>,
    Ids((group, subscriber)): Ids<(GroupId, SubscriberId)>,
    Bare(context): Bare,
) -> Result<Response, ApiError> {
    let left = app.commands.leave_group(&context, group, subscriber);
    Ok(respond::no_content(&once(&app, &context, left).await?))
}
