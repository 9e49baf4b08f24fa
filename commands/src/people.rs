//! Many people at once, each by themselves: what of one cannot be read (a seal that does not open, an event that this release does not
//! know, attributes that are none) is that one's own trouble and nobody else's.

use crate::{CommandError, SubscriberDetails, UNREADABLE};
use domain::AddressHash;
use domain::subscriber::Subscriber;
use eventstore::keys::KeyError;
use eventstore::sealing::{self, SubjectKey};
use eventstore::{Each, Store, load_each};
use std::collections::HashMap;
use uuid::Uuid;

/// Something of this person cannot be read; the log says what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unreadable;

impl Unreadable {
    pub fn note(subject: Uuid, error: &dyn std::fmt::Display) -> Self {
        tracing::error!(subject.id = %subject, %error, "{UNREADABLE}: somebody's data is damaged, or of a later release");
        Self
    }
}

pub struct People {
    loaded: Each<Subscriber>,
    keys: HashMap<Uuid, Result<SubjectKey, KeyError>>,
}

impl People {
    pub async fn load(store: &Store, ids: &[Uuid]) -> Result<Self, CommandError> {
        let loaded = load_each(&store.pool, ids).await?;
        Ok(Self { loaded, keys: sealing::fetch_each(&store.pool, &store.master, ids).await? })
    }

    /// None: they were erased.
    pub fn open(&self, id: Uuid) -> Result<Option<(AddressHash, SubscriberDetails)>, Unreadable> {
        let unreadable = |error: &dyn std::fmt::Display| Unreadable::note(id, error);
        let Some(loaded) = self.loaded.get(&id) else { return Ok(None) };
        let subscriber = &loaded.as_ref().map_err(|error| unreadable(error))?.aggregate;
        let (Some(hash), Some(key)) = (subscriber.address_hash, self.keys.get(&id)) else { return Ok(None) };
        let key = key.as_ref().map_err(|error| unreadable(error))?;
        let details = SubscriberDetails::open_with(key, subscriber);
        Ok(Some((hash, details.map_err(|error| unreadable(&error.described()))?)))
    }
}
