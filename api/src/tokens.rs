//! Access tokens: JWTs (RFC 9068) signed with Ed25519, by keys that all processes share and load anew every few seconds.
//!
//! A token is good for ten minutes and is believed without asking the database: a session that was ended, or a role that
//! was taken away, opens nothing more after that time at the latest. Routes that give power away do ask (`access.rs`).

mod claims;
mod ring;
#[cfg(test)]
mod tests;

pub use claims::{AccessClaims, LIFE_SECONDS};
pub(crate) use claims::{TOKEN_MAX_BYTES, TokenError};
pub(crate) use ring::Jwk;

use eventstore::keys::MasterKey;
use eventstore::{StoreError, clock, service_keys};
use ring::Ring;
use sqlx::PgPool;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// What the keys are for, in `service_keys`.
pub const ACCESS_KEYS: &str = "access";
/// Keys are loaded anew when they were loaded so long ago.
const RELOAD: Duration = Duration::from_secs(10);

/// The keys of access tokens in this process.
pub struct AccessKeys {
    pool: PgPool,
    master: Arc<MasterKey>,
    issuer: String,
    ring: RwLock<Option<Arc<Ring>>>,
    /// When they were loaded last; who holds it loads them.
    loaded: Mutex<Option<Instant>>,
}

impl AccessKeys {
    /// `issuer` is this installation's public URL. The keys are loaded when they are first needed.
    pub fn new(pool: PgPool, master: Arc<MasterKey>, issuer: &str) -> Self {
        Self { pool, master, issuer: issuer.to_owned(), ring: RwLock::default(), loaded: Mutex::default() }
    }

    /// A token for the next ten minutes.
    pub async fn sign(&self, claims: &AccessClaims) -> Result<String, StoreError> {
        let ring = self.ring().await?;
        ring.sign(&self.issuer, claims, clock::now().timestamp())
            .map_err(|error| StoreError::Format(error.to_string()))
    }

    pub(crate) async fn verify(&self, token: &str) -> Result<AccessClaims, TokenError> {
        let ring = self.ring().await.map_err(TokenError::Store)?;
        ring.verify(&self.issuer, token, clock::now().timestamp())
    }

    /// The public keys (RFC 7517), those that have not begun to sign among them.
    pub(crate) async fn jwks(&self) -> Result<Vec<Jwk>, StoreError> {
        Ok(self.ring().await?.jwks())
    }

    /// The present keys. One caller loads them when they are old, the others go on with what there is, as all do while the
    /// database does not answer.
    async fn ring(&self) -> Result<Arc<Ring>, StoreError> {
        let present = self.ring.read().unwrap_or_else(PoisonError::into_inner).clone();
        let loaded = match &present {
            Some(_) => self.loaded.try_lock().ok(),
            None => Some(self.loaded.lock().await),
        };
        let Some(mut loaded) = loaded else { return present.ok_or(StoreError::Conflict) };
        let is_old = loaded.is_none_or(|at| at.elapsed() >= RELOAD);
        if !is_old {
            // Whoever waited finds what the first loaded.
            let ring = self.ring.read().unwrap_or_else(PoisonError::into_inner).clone();
            return ring.ok_or(StoreError::Conflict);
        }
        let fresh = service_keys::load(&self.pool, &self.master, ACCESS_KEYS).await;
        match (fresh.and_then(Ring::new), present) {
            (Ok(ring), _) => {
                let ring = Arc::new(ring);
                *self.ring.write().unwrap_or_else(PoisonError::into_inner) = Some(ring.clone());
                *loaded = Some(Instant::now());
                Ok(ring)
            }
            (Err(error), Some(present)) => {
                tracing::warn!(%error, "the keys of access tokens are not loaded anew");
                *loaded = Some(Instant::now());
                Ok(present)
            }
            (Err(error), None) => Err(error),
        }
    }
}
