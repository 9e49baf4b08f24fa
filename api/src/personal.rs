//! Personal data is opened here, at the edge, and nowhere before.

use crate::problem::ApiError;
use crate::state::App;
use commands::people::Unreadable;
use domain::{Personal, SubscriberId};
use eventstore::keys::KeyError;
use eventstore::sealing::{self, SubjectKey};
use sqlx::PgPool;
use std::collections::HashMap;
use uuid::Uuid;

/// The keys of some people, for as long as one answer is written. What of one person does not open is missing for that one alone.
pub(crate) struct Opener(HashMap<Uuid, Result<SubjectKey, KeyError>>);

impl Opener {
    pub async fn of(app: &App, subscribers: &[SubscriberId]) -> Result<Self, ApiError> {
        Self::over(&app.pool, app, subscribers).await
    }

    pub async fn over(pool: &PgPool, app: &App, subscribers: &[SubscriberId]) -> Result<Self, ApiError> {
        Ok(Self(sealing::fetch_each(pool, &app.commands.store.master, subscribers).await?))
    }

    /// What an erased person's fields said is gone: they are empty. None: it cannot be read.
    pub fn open(&self, subscriber: SubscriberId, field: &str, value: &Personal) -> Option<String> {
        let Some(key) = self.0.get(&subscriber) else { return Some(String::new()) };
        let opened = key.as_ref().map_err(Clone::clone).and_then(|key| key.open(field, value));
        opened.map_err(|error| Unreadable::note(subscriber, &error)).ok()
    }

    /// The same for the sealed text of a read model.
    pub fn open_sealed(&self, subscriber: SubscriberId, field: &str, sealed: String) -> Option<String> {
        self.open(subscriber, field, &Personal::Sealed(sealed))
    }
}
