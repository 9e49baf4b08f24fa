//! Who sends a command and how it may be repeated, from a request's headers.

use crate::access::Principal;
use crate::client;
use crate::edge::RequestId;
use crate::input::etag;
use crate::problem::ApiError;
use crate::state::App;
use axum::extract::FromRequestParts;
use base64::prelude::{BASE64_STANDARD_NO_PAD as BASE64, Engine};
use commands::{CommandError, Context};
use eventstore::idempotency::{self, Earlier};
use eventstore::{Done, IdempotencyKey, StoreError};
use http::request::Parts;
use std::convert::Infallible;
use std::future::Future;

const KEY: &str = "Idempotency-Key";
const KEY_MAX_BYTES: usize = 200;

/// `parts_of_body` is all that makes two requests to the same route the same.
pub(crate) fn of(app: &App, parts: &Parts, parts_of_body: &[&[u8]]) -> Result<Context, ApiError> {
    let principal = parts.extensions.get::<Principal>().unwrap_or(&Principal::Nobody);
    let route = format!("{} {}", parts.method, parts.uri.path());
    let key_actor = match principal {
        // Whoever has no name is told from others by where they are and what they say: nobody meets another's key.
        Principal::Nobody => {
            let network = client::of(parts).network().to_string();
            let mut mac = vec![b"nobody".as_slice(), network.as_bytes()];
            mac.extend_from_slice(parts_of_body);
            format!("nobody:{}", BASE64.encode(app.commands.store.master.body_mac(&mac)))
        }
        principal => actors(principal).1,
    };
    let idempotency = key(parts)?.map(|key| {
        // Clients name their calls as they like, by addresses as well: no text of theirs is kept.
        let key = BASE64.encode(app.commands.store.master.body_mac(&[b"key", key.as_bytes()]));
        let mut mac = vec![route.as_bytes()];
        mac.extend_from_slice(parts_of_body);
        let body_hmac = app.commands.store.master.body_mac(&mac);
        IdempotencyKey { actor: key_actor, route, key, body_hmac }
    });
    Ok(Context { idempotency, if_match: etag::if_match(&parts.headers)?, ..plain(parts) })
}

/// Of a command that is the same however often it comes.
pub(crate) fn plain(parts: &Parts) -> Context {
    let (actor, _) = actors(parts.extensions.get::<Principal>().unwrap_or(&Principal::Nobody));
    let request_id = parts.extensions.get::<RequestId>().map(|id| id.0);
    let session = match parts.extensions.get() {
        Some(Principal::User(user)) => Some((user.id, user.session)),
        Some(Principal::Nobody | Principal::Key { .. } | Principal::Reader(_)) | None => None,
    };
    Context { actor, request_id, session, ..Context::default() }
}

/// Of a command without body and key.
pub(crate) struct Plain(pub Context);

impl<S: Send + Sync> FromRequestParts<S> for Plain {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(plain(parts)))
    }
}

/// Whose something is: each user, key and link of a reader is one of its own.
pub(crate) fn caller(principal: &Principal) -> String {
    actors(principal).1
}

/// The word that is recorded, and whose keys are whose: each reader has their own.
fn actors(principal: &Principal) -> (String, String) {
    let both = |actor: String| (actor.clone(), actor);
    match principal {
        Principal::Nobody => both("nobody".to_owned()),
        Principal::User(user) => both(format!("user:{}", user.id)),
        Principal::Key { id, .. } => both(format!("key:{id}")),
        Principal::Reader(claims) => {
            // Two links of one person mean different things: their campaign is recorded, their group is opted out of.
            let (campaign, group) = (claims.campaign.unwrap_or_default(), claims.group.unwrap_or_default());
            ("reader".to_owned(), format!("reader:{}:{campaign}:{group}", claims.subscriber))
        }
    }
}

fn key(parts: &Parts) -> Result<Option<String>, ApiError> {
    let mut values = parts.headers.get_all(KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let is_fine = |key: &&str| {
        (1..=KEY_MAX_BYTES).contains(&key.len()) && key.bytes().all(|b| (0x20..0x7f).contains(&b))
    };
    match (value.to_str().ok().filter(is_fine), values.next()) {
        (Some(key), None) => Ok(Some(key.to_owned())),
        _ => Err(ApiError::invalid(KEY, "is one text of 1 to 200 printable ASCII characters")),
    }
}

/// Runs a command. The store answers a key that was answered before; where the command is refused before it comes to
/// that (a time that has passed since, a group that was deleted), the first answer counts as well.
pub(crate) fn once<E: Into<ApiError>>(
    app: &App,
    context: &Context,
    command: impl Future<Output = Result<Done, E>> + Send,
) -> impl Future<Output = Result<Done, ApiError>> + Send {
    // Commands are large futures.
    let command = Box::pin(command);
    async move {
        match command.await.map_err(E::into) {
            // Of a client that named no version: others were faster, again and again.
            Err(ApiError::Stale) if context.if_match.is_none() => Err(CommandError::Conflict.into()),
            Err(error) if error.is_refusal() => earlier(app, context).await?.ok_or(error),
            done => done,
        }
    }
}

async fn earlier(app: &App, context: &Context) -> Result<Option<Done>, ApiError> {
    let Some(key) = &context.idempotency else { return Ok(None) };
    match idempotency::look_up(&app.commands.store.pool, key).await? {
        Earlier::None => Ok(None),
        Earlier::OtherBody => Err(ApiError::KeyReused),
        Earlier::Answer(kept) => {
            let kept = serde_json::from_value(kept).map_err(|error| StoreError::Format(error.to_string()))?;
            Ok(Some(kept))
        }
    }
}
