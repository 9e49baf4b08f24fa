//! Opting somebody out for them: by a letter, on the phone, on a lawyer's word.

use crate::access::{Access, Routes};
use crate::body::{Call, Input};
use crate::endpoints::unsubscribe::{self, OptOutInput};
use crate::input::fields::Fields;
use crate::input::params::Ids;
use crate::problem::ApiError;
use crate::respond;
use crate::state::App;
use axum::extract::State;
use axum::response::Response;
use commands::{Context, OptOut};
use domain::access::Scope;
use domain::consent::{Channel, Origin};
use domain::{Personal, SubscriberId};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::routes;
use uuid::Uuid;

const REASON_MAX_BYTES: usize = 500;

pub(super) fn routes(app: &App) -> Routes {
    Routes::new(app).command(Access::Scope(Scope::SubscribersWrite), routes!(opt_out))
}

/// `{"global": true}`, or the groups to opt out of; and why.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "global": true, "reason": "asked by letter" }))]
struct StaffOptOut {
    /// Of everything.
    global: Option<bool>,
    groups: Option<Vec<Uuid>>,
    /// Kept with the opt-out, for auditors.
    reason: String,
}

impl Input for StaffOptOut {}

/// Opt a subscriber out
///
/// For somebody who asked for it elsewhere. It is the reader's own opt-out in all but its channel, `admin`: when this is answered, no
/// mail that they were opted out of starts on its way any more, and they alone can opt in again.
#[utoipa::path(post, path = "/subscribers/{id}/opt-out", tag = "subscribers", request_body = StaffOptOut,
    params(("id" = Uuid, Path)),
    responses((status = 204, description = "They are opted out.")))]
async fn opt_out(
    State(app): State<App>,
    Ids(id): Ids<SubscriberId>,
    call: Call<StaffOptOut>,
) -> Result<Response, ApiError> {
    let StaffOptOut { global, groups, reason } = call.body;
    let mut fields = Fields::default();
    let reason = fields.line("reason", reason, REASON_MAX_BYTES);
    fields.check()?;
    let scope = unsubscribe::scope(&app, OptOutInput { global, groups }).await?;
    let origin = Origin { reason: Some(Personal::plain(reason)), ..Origin::default() };
    let opt_out = OptOut { subscriber: id, scope, channel: Channel::Admin, origin };
    // It is the same however often it comes: no key is needed, and none is asked.
    let context = Context { idempotency: None, ..call.context };
    Ok(respond::no_content(&app.commands.opt_out(&context, opt_out).await?))
}
