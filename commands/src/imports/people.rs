//! The people whom a batch is about: loaded in three queries, and changed row by row.

use super::row::{self, Row};
use crate::CommandError;
use crate::SubscriberDetails;
use crate::attributes::{self, Attributes};
use crate::people::Unreadable;
use domain::subscriber::{Subscriber, SubscriberCommand};
use domain::{AddressHash, SubscriberId};
use eventstore::keys::{KeyError, MasterKey};
use eventstore::sealing::{self, SubjectKeys};
use eventstore::{Decided, LEFT_WITHOUT_OPT_OUT, Loaded, ids, load_each_in};
use sqlx::PgConnection;
use std::collections::HashMap;

/// Whoever has, or had, an address.
pub(super) enum Known {
    Person(Box<Person>),
    /// The address was left for another by somebody who opted out, or its person was erased: nobody may be written to
    /// there, unless they opt in themselves.
    Closed,
    /// Their stream cannot be read.
    Unreadable,
}

/// One stream as the batch leaves it so far.
pub(super) struct Person {
    pub id: SubscriberId,
    /// Made by this batch.
    is_added: bool,
    loaded: Loaded<Subscriber>,
    decided: Option<Decided<Subscriber>>,
    /// Opened when first asked for.
    details: Option<SubscriberDetails>,
}

/// Whether gates are only read, so that senders and opt-outs go on beside a batch, or locked before the people are loaded,
/// so that nobody can opt out between that and the append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gates {
    Read,
    Lock,
}

const LOCK_GATES: &str =
    "SELECT FROM gates WHERE address_hash = ANY($1) ORDER BY address_hash FOR NO KEY UPDATE";

pub(super) struct People {
    by_address: HashMap<AddressHash, Known>,
    /// Of those whose key opens.
    pub keys: SubjectKeys,
    /// Whose streams deserve a snapshot.
    pub long: Vec<SubscriberId>,
}

impl People {
    pub async fn look_up(
        tx: &mut PgConnection,
        master: &MasterKey,
        rows: &[Row],
        gates: Gates,
    ) -> Result<Self, CommandError> {
        let hashes: Vec<&[u8]> = rows.iter().map(|row| row.hash.0.as_slice()).collect();
        if gates == Gates::Lock {
            sqlx::query(LOCK_GATES).bind(&hashes).execute(&mut *tx).await?;
        }
        // Whoever left an address and never opted out is nobody there.
        let read = format!(
            "SELECT address_hash, subscriber_id FROM gates WHERE address_hash = ANY($1) AND NOT ({LEFT_WITHOUT_OPT_OUT})"
        );
        let gates: Vec<([u8; 32], SubscriberId)> =
            sqlx::query_as(&read).bind(&hashes).fetch_all(&mut *tx).await?;
        if gates.is_empty() {
            return Ok(Self { by_address: HashMap::new(), keys: SubjectKeys::new(), long: Vec::new() });
        }
        let ids: Vec<SubscriberId> = gates.iter().map(|(_, id)| *id).collect();
        let mut loaded = load_each_in::<Subscriber>(&mut *tx, &ids).await?;
        let keys = sealing::fetch_each(tx, master, &ids).await?;
        let is_long = |loaded: &Result<Loaded<Subscriber>, _>| loaded.as_ref().is_ok_and(Loaded::is_long);
        let long = loaded.iter().filter(|(_, loaded)| is_long(loaded)).map(|(id, _)| *id).collect();
        let known = |(hash, id)| {
            let address = AddressHash(hash);
            let known = match loaded.get(&id) {
                Some(Err(error)) => {
                    Unreadable::note(id, error);
                    Known::Unreadable
                }
                // Of somebody's addresses the present one finds them.
                Some(Ok(found))
                    if keys.contains_key(&id) && found.aggregate.address_hash == Some(address) =>
                {
                    let person = loaded.remove(&id).and_then(Result::ok).unwrap_or_default();
                    Known::Person(Box::new(Person::new(id, person)))
                }
                Some(Ok(_)) | None => Known::Closed,
            };
            (address, known)
        };
        let by_address = gates.into_iter().map(known).collect();
        let keys = keys.into_iter().filter_map(|(id, key)| Some((id, key.ok()?))).collect();
        Ok(Self { by_address, keys, long })
    }

    /// Whoever has this address, if only since an earlier row; somebody new where nobody has.
    pub fn at(&mut self, address: AddressHash) -> (&mut Known, &SubjectKeys) {
        let somebody_new = || Known::Person(Box::new(Person::new(ids::new_id(), Loaded::default())));
        (self.by_address.entry(address).or_insert_with(somebody_new), &self.keys)
    }

    /// What was decided, in the order of the streams, so that two batches insert in one order; and who is new.
    pub fn into_decided(self) -> (Vec<Decided<Subscriber>>, Vec<SubscriberId>, SubjectKeys) {
        let people = self.by_address.into_values().filter_map(|known| match known {
            Known::Person(person) => Some(*person),
            Known::Closed | Known::Unreadable => None,
        });
        let mut changed: Vec<Person> = people.filter(|person| person.events() > 0).collect();
        changed.sort_unstable_by_key(|person| person.id);
        let new = changed.iter().filter(|person| person.is_added).map(|person| person.id).collect();
        (changed.into_iter().filter_map(|person| person.decided).collect(), new, self.keys)
    }
}

impl Person {
    fn new(id: SubscriberId, loaded: Loaded<Subscriber>) -> Self {
        Self { id, is_added: loaded.version == 0, loaded, decided: None, details: None }
    }

    pub fn state(&self) -> &Subscriber {
        self.decided.as_ref().map_or(&self.loaded.aggregate, |decided| &decided.after)
    }

    pub fn is_new(&self) -> bool {
        self.state().version == 0
    }

    /// Events that the batch decided so far.
    pub fn events(&self) -> usize {
        self.decided.as_ref().map_or(0, |decided| decided.events.len())
    }

    /// An error is one of ours, not of the row: what the aggregate refuses was looked at before.
    pub async fn command(&mut self, command: SubscriberCommand) -> Result<(), CommandError> {
        let decided = match self.decided.take() {
            Some(decided) => decided.and(command).await,
            None => Decided::decide(self.id, std::mem::take(&mut self.loaded), command).await,
        };
        self.decided = Some(decided.map_err(CommandError::from)?);
        Ok(())
    }

    pub fn details(&mut self, keys: &SubjectKeys) -> Result<&SubscriberDetails, Unreadable> {
        let details = match self.details.take() {
            Some(details) => details,
            None => {
                let key = keys.get(&self.id).ok_or_else(|| Unreadable::note(self.id, &KeyError::Tampered))?;
                SubscriberDetails::open_with(key, self.state())
                    .map_err(|error| Unreadable::note(self.id, &error.described()))?
            }
        };
        Ok(self.details.insert(details))
    }

    pub fn set_details(&mut self, details: SubscriberDetails) {
        self.details = Some(details);
    }
}

/// The details that a row leads to, if they are others than the known ones; an error rejects the row.
pub(super) fn merged(
    known: &SubscriberDetails,
    row: &Row,
    derives_name: bool,
) -> Result<Option<SubscriberDetails>, String> {
    let mut attributes = known.attributes.clone();
    attributes.extend(row.attributes.iter().map(|(name, value)| (name.clone(), value.clone())));
    if attributes.len() > attributes::COUNT_MAX {
        return Err(format!("the person would have more than {} attributes", attributes::COUNT_MAX));
    }
    let derived =
        derives_name && ["first_name", "last_name"].iter().any(|part| row.attributes.contains_key(*part));
    let name = match derived {
        true => row::name(&full_name(&attributes))?,
        false => row.name.clone(),
    };
    let name = name.or_else(|| known.name.clone());
    let address = known.address.clone();
    let merged = SubscriberDetails { address, name, attributes };
    Ok((merged != *known).then_some(merged))
}

fn full_name(attributes: &Attributes) -> String {
    let part = |name: &str| attributes.get(name).map_or("", String::as_str);
    format!("{} {}", part("first_name"), part("last_name"))
}
