//! Who sends a command, and how it may be repeated.

use domain::{Sequence, SessionId, UserId};
use eventstore::{IdempotencyKey, Metadata, Request};
use serde_json::Value;
use uuid::Uuid;

#[derive(Debug, Clone, Default)]
pub struct Context {
    /// Written to each event: `user:<id>`, `key:<id>`, `reader`, `system:scheduler`. Never an address.
    pub actor: String,
    pub request_id: Option<Uuid>,
    pub idempotency: Option<IdempotencyKey>,
    /// The version that the client has seen (`If-Match`).
    pub if_match: Option<Sequence>,
    /// Of somebody who signed in.
    pub session: Option<(UserId, SessionId)>,
}

impl Context {
    /// A part of Postledger itself.
    pub fn system(part: &str) -> Self {
        Self { actor: format!("system:{part}"), ..Self::default() }
    }

    pub fn metadata(&self) -> Metadata {
        let actor = [("actor".to_owned(), self.actor.clone())];
        actor.into_iter().chain(self.request_id.map(|id| ("request_id".to_owned(), id.to_string()))).collect()
    }

    pub(crate) fn request(&self, answer: Value) -> Request {
        Request {
            metadata: self.metadata(),
            idempotency: self.idempotency.clone(),
            answer,
            expected: self.if_match,
            is_new: false,
        }
    }

    pub(crate) fn request_for_new(&self, answer: Value) -> Request {
        Request { is_new: true, ..self.request(answer) }
    }
}
