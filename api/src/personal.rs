//! Personal data is opened here, at the edge, and nowhere before.

use crate::problem::ApiError;
use crate::state::App;
use domain::{Personal, SubscriberId};
use eventstore::StoreError;
use eventstore::sealing::{self, SubjectKeys};
use sqlx::PgPool;

/// The keys of some people, for as long as one answer is written.
pub(crate) struct Opener(SubjectKeys);

impl Opener {
    pub async fn of(app: &App, subscribers: &[SubscriberId]) -> Result<Self, ApiError> {
        Self::over(&app.pool, app, subscribers).await
    }

    pub async fn over(pool: &PgPool, app: &App, subscribers: &[SubscriberId]) -> Result<Self, ApiError> {
        Ok(Self(sealing::fetch(pool, &app.commands.store.master, subscribers).await?))
    }

    /// What an erased person's fields said is gone: they are empty.
    pub fn open(&self, subscriber: SubscriberId, field: &str, value: &Personal) -> Result<String, ApiError> {
        let opened = self.0.get(&subscriber).map(|key| key.open(field, value)).transpose();
        Ok(opened.map_err(StoreError::from)?.unwrap_or_default())
    }

    /// The same for the sealed text of a read model.
    pub fn open_sealed(
        &self,
        subscriber: SubscriberId,
        field: &str,
        sealed: String,
    ) -> Result<String, ApiError> {
        self.open(subscriber, field, &Personal::Sealed(sealed))
    }
}
