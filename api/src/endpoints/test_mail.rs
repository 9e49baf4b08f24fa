//! Test mails: a template as readers would get it, sent to a few colleagues.

use crate::access::{Access, Principal, Routes};
use crate::body::{Call, Input};
use crate::context::once;
use crate::endpoints::preview;
use crate::input::params::Ids;
use crate::input::position::{Models, Position};
use crate::personal::Opener;
use crate::problem::ApiError;
use crate::respond;
use crate::state::App;
use axum::Json;
use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, Utc};
use commands::TestFields;
use commands::attributes::Attributes;
use domain::access::Scope;
use domain::dispatch::State as RecipientState;
use domain::transactional::{Mail, TestMail, Transactional};
use domain::{DispatchId, TemplateId};
use eventstore::load;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;
use uuid::Uuid;

/// It is read from its own stream: never behind.
const MODELS: Models = &[];

pub(super) fn routes(app: &App) -> Routes {
    Routes::new(app)
        .command(Access::Scope(Scope::EmailsWrite), routes!(send))
        .query(Access::Scope(Scope::SubscribersRead), routes!(get))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct TestInput {
    /// 1 to 10 addresses: of users, or as `send.test_recipients` allows.
    #[schema(example = json!(["editor@example.com"]))]
    to: Vec<String>,
    /// Whose fields all recipients are shown. It takes the scope `subscribers:read`.
    subscriber: Option<Uuid>,
    /// Instead: fields that all recipients are shown, as a subscriber's attributes are bounded; `email` and `name` among them.
    #[schema(value_type = Option<std::collections::HashMap<String, String>>, example = json!({ "first_name": "O'Brien" }))]
    attributes: Option<Attributes>,
}

impl Input for TestInput {}

impl TestInput {
    fn fields(&mut self, caller: &Principal) -> Result<TestFields, ApiError> {
        match (self.subscriber, self.attributes.take()) {
            (None, None) => Ok(TestFields::Own),
            (None, Some(given)) => Ok(TestFields::Given(given)),
            (Some(_), Some(_)) => Err(ApiError::invalid("attributes", "and a subscriber are one too many")),
            (Some(_), None) if matches!(caller, Principal::Key { reads_people: false, .. }) => {
                let scope = Scope::SubscribersRead.as_str();
                Err(ApiError::Forbidden(format!(
                    "the key lacks the scope {scope}, to show a subscriber's fields"
                )))
            }
            (Some(subscriber), None) => Ok(TestFields::Of(subscriber)),
        }
    }
}

#[derive(ToSchema)]
#[allow(dead_code, reason = "it documents an answer")]
struct TestAccepted {
    dispatch_id: Uuid,
}

/// A mail outside campaigns, and what became of it.
#[derive(Serialize, ToSchema)]
struct DispatchView {
    dispatch_id: Uuid,
    #[schema(example = "test")]
    kind: &'static str,
    template_id: Uuid,
    template_version: u64,
    /// Whose fields all recipients are shown, where it is somebody's.
    subscriber: Option<Uuid>,
    /// What was not sent by then is given up.
    expires_at: DateTime<Utc>,
    recipients: Vec<DispatchRecipient>,
}

#[derive(Serialize, ToSchema)]
struct DispatchRecipient {
    /// Empty once one of the test's recipients was erased.
    address: String,
    /// `pending`, `accepted`, `suppressed`, `rejected` or `unknown`
    #[schema(example = "accepted")]
    state: &'static str,
    /// Why it was suppressed or rejected.
    reason: Option<String>,
}

/// Send a test mail
///
/// The template in its present version, by the default mailer, with `[Test]` before its subject. All recipients are shown the fields of
/// `subscriber`, or those of `attributes`; without both, a subscriber's address gets the subscriber's own, and any other has none. Whoever opted out of everything gets none. It goes to
/// users of this installation, and to the addresses and domains of the setting `send.test_recipients`; 30 an hour and 100 a day to one
/// mailbox, 60 and 300 for one user or key. Its links, and a mail program's button to unsubscribe, lead to a page that
/// says what a reader's would do, and change nothing. What became of it: `GET /dispatches/{id}`.
#[utoipa::path(post, path = "/templates/{id}/test", tag = "templates", request_body = TestInput,
    params(("id" = Uuid, Path)),
    responses((status = 202, description = "It will be sent.", body = TestAccepted)))]
async fn send(
    State(app): State<App>,
    Ids(id): Ids<TemplateId>,
    caller: Principal,
    mut call: Call<TestInput>,
) -> Result<Response, ApiError> {
    let fields = call.body.fields(&caller)?;
    let requested = async {
        let template = app.commands.template(id).await?;
        preview::compile(&app, &template.content).await?;
        let requested = app.commands.request_test_mail(&call.context, id, &template, &call.body.to, fields);
        Ok::<_, ApiError>(requested.await?)
    };
    Ok(respond::accepted(once(&app, &call.context, requested).await?))
}

/// Show a mail outside campaigns
///
/// A test: whom it is for, and what became of each.
#[utoipa::path(get, path = "/dispatches/{id}", tag = "templates", params(("id" = Uuid, Path)),
    responses((status = 200, description = "The mail.", body = DispatchView)))]
async fn get(
    State(app): State<App>,
    Ids(id): Ids<DispatchId>,
    position: Position,
) -> Result<Json<DispatchView>, ApiError> {
    position.wait(&app, MODELS).await?;
    let dispatch = load::<Transactional>(&app.pool, id).await?.aggregate;
    // Mails of accounts are nobody's here: who asked for a password is no marketer's business.
    let Some(Mail::Test(mail)) = &dispatch.mail else { return Err(ApiError::NotFound("dispatch")) };
    let addresses = addresses(&app, id, mail).await?;
    let recipients = addresses.into_iter().zip(&dispatch.recipients).map(|(address, recipient)| {
        DispatchRecipient { address, state: word(recipient.state), reason: recipient.reason.clone() }
    });
    Ok(Json(DispatchView {
        dispatch_id: id,
        kind: "test",
        template_id: mail.template_id,
        template_version: mail.template_version,
        subscriber: dispatch.shown_subscriber(),
        expires_at: mail.expires_at,
        recipients: recipients.collect(),
    }))
}

async fn addresses(app: &App, id: DispatchId, mail: &TestMail) -> Result<Vec<String>, ApiError> {
    let opened = Opener::of(app, &[id]).await?.open(id, "addresses", &mail.addresses);
    // One of them was erased, and with them the addresses of all; or they cannot be read.
    let none = || vec![String::new(); mail.address_hashes.len()];
    let opened = opened.filter(|addresses| !addresses.is_empty());
    Ok(opened.and_then(|addresses| serde_json::from_str(&addresses).ok()).unwrap_or_else(none))
}

fn word(state: RecipientState) -> &'static str {
    match state {
        RecipientState::Pending | RecipientState::Authorized(_) => "pending",
        RecipientState::Accepted => "accepted",
        RecipientState::Suppressed => "suppressed",
        RecipientState::Rejected => "rejected",
        RecipientState::Unknown(_) => "unknown",
        RecipientState::Cancelled => "cancelled",
    }
}
