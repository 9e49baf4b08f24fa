//! The keys of the links in mails, as this process knows them. A sender that was started later may sign by one that was made since,
//! and nobody's opt-out may fail for it: a key that is not known is looked for.

use crate::problem::ApiError;
use eventstore::keys::MasterKey;
use eventstore::{StoreError, service_keys};
use mail::links::{LinkError, LinkKey, LinkKeys, PreferenceClaims};
use sqlx::PgPool;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// What the keys are for, in `service_keys`.
pub const LINK_KEYS: &str = "preference";
/// Between two looks, however many tokens name keys that there never were.
const PAUSE: Duration = Duration::from_secs(1);

/// All there are, newest first.
pub async fn load_link_keys(pool: &PgPool, master: &MasterKey) -> Result<LinkKeys, StoreError> {
    let keys = service_keys::load(pool, master, LINK_KEYS).await?.into_iter();
    let keys = keys.map(|key| LinkKey { kid: key.kid, secret: *key.secret });
    LinkKeys::new(keys.collect()).map_err(|error| StoreError::Format(error.to_string()))
}

pub(crate) struct ReaderKeys {
    pool: PgPool,
    master: Arc<MasterKey>,
    /// Since the start: these sign.
    first: Arc<LinkKeys>,
    later: Mutex<Later>,
}

#[derive(Default)]
struct Later {
    keys: Option<LinkKeys>,
    looked: Option<Instant>,
}

impl ReaderKeys {
    pub fn new(pool: PgPool, master: Arc<MasterKey>, first: Arc<LinkKeys>) -> Self {
        Self { pool, master, first, later: Mutex::default() }
    }

    pub fn sign(&self, claims: &PreferenceClaims) -> Result<String, LinkError> {
        self.first.sign_preference(claims)
    }

    pub async fn verify(&self, token: &str) -> Result<PreferenceClaims, ApiError> {
        let verified = match self.first.verify_preference(token) {
            Err(LinkError::UnknownKey) => self.verify_later(token).await?,
            verified => verified,
        };
        verified.map_err(|error| match error {
            LinkError::NoKey | LinkError::KeyId => ApiError::Internal,
            LinkError::TooLong
            | LinkError::Malformed
            | LinkError::WrongKind
            | LinkError::UnknownKey
            | LinkError::Signature => ApiError::Unauthorized("the token is not valid"),
        })
    }

    async fn verify_later(&self, token: &str) -> Result<Result<PreferenceClaims, LinkError>, StoreError> {
        let mut later = self.later.lock().await;
        let verified = later.keys.as_ref().map(|keys| keys.verify_preference(token));
        if let Some(verified) = verified.filter(|verified| *verified != Err(LinkError::UnknownKey)) {
            return Ok(verified);
        }
        if later.looked.is_some_and(|at| at.elapsed() < PAUSE) {
            return Ok(Err(LinkError::UnknownKey));
        }
        later.looked = Some(Instant::now());
        let keys = later.keys.insert(load_link_keys(&self.pool, &self.master).await?);
        Ok(keys.verify_preference(token))
    }
}
