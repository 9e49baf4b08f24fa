//! What becomes of each row, decided over the people's streams as single commands would decide it.

use super::ImportedStatus;
use super::layout::Layout;
use super::lease::Tally;
use super::people::{Known, People, Person, merged};
use super::row::{Rejection, Row};
use crate::subscribers::{SubscriberDetails, seal_ready};
use crate::{CommandError, UNREADABLE};
use chrono::{DateTime, Utc};
use domain::consent::{Channel, Consent, Origin, Scope};
use domain::subscriber::{NewSubscriber, SubscriberCommand};
use domain::{GroupId, ImportId, Personal};
use eventstore::Metadata;
use eventstore::byte_key::ByteKey;
use eventstore::sealing::SubjectKeys;
use std::sync::Arc;

/// What all rows of an import share.
pub(super) struct Plan {
    pub id: ImportId,
    pub fence: i64,
    pub key: Arc<ByteKey>,
    pub status: ImportedStatus,
    pub group: Option<GroupId>,
    pub consent_source: String,
    pub hash_key_id: String,
    pub metadata: Metadata,
    pub layout: Layout,
    pub uploaded_at: DateTime<Utc>,
}

/// What the rows of a batch led to.
pub(super) struct Decisions {
    pub people: People,
    pub tally: Tally,
    pub rejected: Vec<Rejection>,
}

enum Outcome {
    Created,
    Updated,
    Unchanged,
    KeptOptedOut,
    Rejected(String),
}

impl Decisions {
    /// Rows in the order of the file: one that repeats an address works on what the earlier one left.
    pub async fn make(plan: &Plan, people: People, rows: &[Row]) -> Result<Self, CommandError> {
        let mut decisions = Self { people, tally: Tally::default(), rejected: Vec::new() };
        for row in rows {
            let outcome = match decisions.people.at(row.hash) {
                (Known::Closed, _) => plan.closed(),
                (Known::Unreadable, _) => unreadable(),
                (Known::Person(person), keys) => plan.decide(person, keys, row).await?,
            };
            decisions.count(row, outcome);
        }
        Ok(decisions)
    }

    fn count(&mut self, row: &Row, outcome: Outcome) {
        match outcome {
            Outcome::Created => self.tally.created += 1,
            Outcome::Updated => self.tally.updated += 1,
            Outcome::Unchanged => self.tally.unchanged += 1,
            Outcome::KeptOptedOut => self.tally.kept_opted_out += 1,
            Outcome::Rejected(reason) => {
                self.tally.rejected += 1;
                self.rejected.push(Rejection::new(row.line, &row.address.to_string(), reason));
            }
        }
    }
}

/// Of whom nothing is known, nothing is decided.
fn unreadable() -> Outcome {
    Outcome::Rejected(UNREADABLE.into())
}

impl Plan {
    fn closed(&self) -> Outcome {
        match self.status {
            ImportedStatus::Active => Outcome::KeptOptedOut,
            ImportedStatus::OptedOut => Outcome::Unchanged,
        }
    }

    async fn decide(
        &self,
        person: &mut Person,
        keys: &SubjectKeys,
        row: &Row,
    ) -> Result<Outcome, CommandError> {
        match (person.is_new(), self.status) {
            (true, _) => self.add(person, row).await,
            (false, ImportedStatus::Active) => self.update(person, keys, row).await,
            (false, ImportedStatus::OptedOut) => self.opt_out(person, Outcome::Updated).await,
        }
    }

    async fn add(&self, person: &mut Person, row: &Row) -> Result<Outcome, CommandError> {
        let known = SubscriberDetails { address: row.address.to_string(), ..SubscriberDetails::default() };
        let details = match merged(&known, row, self.derives_name()) {
            Ok(details) => details.unwrap_or(known),
            Err(reason) => return Ok(Outcome::Rejected(reason)),
        };
        let add = NewSubscriber {
            address: Personal::plain(details.address.clone()),
            address_hash: row.hash,
            hash_key_id: self.hash_key_id.clone(),
            name: details.name.clone().map(Personal::plain),
            attributes: seal_ready(&details.attributes),
            groups: match self.status {
                ImportedStatus::Active => self.group.into_iter().collect(),
                ImportedStatus::OptedOut => Vec::new(),
            },
            consent: self.consent(row),
            import_id: Some(self.id),
        };
        person.command(SubscriberCommand::Add(Box::new(add))).await?;
        person.set_details(details);
        match self.status {
            ImportedStatus::Active => Ok(Outcome::Created),
            ImportedStatus::OptedOut => self.opt_out(person, Outcome::Created).await,
        }
    }

    /// Whoever opted out is left alone, details included.
    async fn update(
        &self,
        person: &mut Person,
        keys: &SubjectKeys,
        row: &Row,
    ) -> Result<Outcome, CommandError> {
        let state = person.state();
        let left = |group: GroupId| state.groups.get(&group).is_some_and(Option::is_none);
        if state.global_opt_out || self.group.is_some_and(left) {
            return Ok(Outcome::KeptOptedOut);
        }
        let before = person.events();
        let Ok(known) = person.details(keys) else { return Ok(unreadable()) };
        match merged(known, row, self.derives_name()) {
            Err(reason) => return Ok(Outcome::Rejected(reason)),
            Ok(None) => {}
            Ok(Some(details)) => {
                let sealed = (details.name.clone().map(Personal::plain), seal_ready(&details.attributes));
                let hash_key_id = self.hash_key_id.clone();
                let change = SubscriberCommand::Change { address: None, hash_key_id, details: Some(sealed) };
                person.command(change).await?;
                person.set_details(details);
            }
        }
        if let Some(group_id) = self.group {
            person.command(SubscriberCommand::JoinGroup { group_id, consent: self.consent(row) }).await?;
        }
        Ok(if person.events() > before { Outcome::Updated } else { Outcome::Unchanged })
    }

    /// Of everything: a list of the unsubscribed says that these people want no mail, and nothing finer.
    async fn opt_out(&self, person: &mut Person, done: Outcome) -> Result<Outcome, CommandError> {
        let before = person.events();
        let (scope, origin) = (Scope::Global, Origin::default());
        person.command(SubscriberCommand::OptOut { scope, channel: Channel::Import, origin }).await?;
        Ok(if person.events() > before { done } else { Outcome::Unchanged })
    }

    fn consent(&self, row: &Row) -> Consent {
        Consent {
            source: self.consent_source.clone(),
            wording_version: None,
            given_at: row.given_at,
            given_from: row.given_from.map(|address| Personal::plain(address.to_string())),
        }
    }

    fn derives_name(&self) -> bool {
        self.layout.name().is_none()
    }
}
