//! What must hold across streams, as data: the event store turns each guard into rows, locks and unique keys in the
//! transaction of the append, before the events themselves.

use crate::consent::Scope;
use crate::{AddressHash, CampaignId, DispatchId, GroupId, MediaId, Sequence, SubscriberId};
use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use std::collections::BTreeMap;

/// A pure function of the stream: the same events always give the same guards.
pub trait Guarded: Aggregate<Services = ()> + Clone {
    /// From 1 on. Rises with every change of what the state holds or of what events make of it, and with every new event or version of
    /// one: a release takes no snapshot for its own fold that another one made of what it does not know.
    const SNAPSHOT_FORMAT: i32 = 1;

    fn guards(id: &str, before: &Self, after: &Self) -> Vec<Guard>;
}

#[derive(Debug, Clone, PartialEq)]
pub enum Guard {
    /// Takes an address that nobody else has, or fails.
    ClaimGate(Gate),
    /// The same for a person who proved that the address is theirs: what an erasure left of somebody gives way.
    ReclaimGate(Gate),
    /// Sets the state of a gate that exists.
    SetGate(Gate),
    Campaign(CampaignGate),
    /// A campaign comes to be under way with these: they exist, or it fails.
    Use(Use),
    /// A template that may be in use is saved with this text: the media that it names are there, or it fails.
    Show(String),
    /// Goes, which fails while a campaign that is under way uses it.
    Remove(Removed),
    Dispatch(DispatchWork),
    Media(MediaFile),
    /// Destroys this person's key, and notes them for what is to be erased outside their events.
    Erase(SubscriberId),
    /// Not what must hold but what must follow: noted with the events, so that it is neither lost nor done twice.
    ChoiceMail(ChoiceMail),
}

/// A mail to be sent that tells a person of an opt-out or an opt-in by a link of theirs.
#[derive(Debug, Clone, PartialEq)]
pub struct ChoiceMail {
    pub subscriber: SubscriberId,
    /// The event, by its place in their stream.
    pub sequence: Sequence,
    pub opted_in: bool,
    pub scope: Scope,
}

/// Whether, and by which consent, one address may be written to.
#[derive(Debug, Clone, PartialEq)]
pub struct Gate {
    pub address: AddressHash,
    pub hash_key_id: String,
    pub subscriber: SubscriberId,
    /// Globally suppressed.
    pub suppressed: bool,
    /// The person has another address now.
    pub is_left: bool,
    /// Groups that may write, each with the sequence of the consent event in the subscriber's stream;
    /// `None` where the person opted out of the group.
    pub groups: BTreeMap<GroupId, Option<Sequence>>,
}

/// The row of a campaign that scheduling, freezing and sending look at under the campaign's lock.
#[derive(Debug, Clone, PartialEq)]
pub struct CampaignGate {
    pub campaign: CampaignId,
    pub template: crate::TemplateId,
    pub group: GroupId,
    pub status: &'static str,
    pub due_at: Option<DateTime<Utc>>,
    /// What its mails are made from: one that was made from another version is not authorized.
    pub template_version: Sequence,
}

/// What a campaign needs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Use {
    pub template: crate::TemplateId,
    pub group: GroupId,
}

/// What campaigns may use: a campaign names a group and a template, which shows media.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Removed {
    Group(GroupId),
    Template(crate::TemplateId),
    Medium(MediaId),
}

/// A unit of work for senders.
#[derive(Debug, Clone, PartialEq)]
pub struct DispatchWork {
    pub dispatch: DispatchId,
    /// None: a mail outside campaigns.
    pub campaign: Option<CampaignId>,
    /// Of a mail outside campaigns.
    pub mailer: Option<String>,
    pub page: u32,
    pub last_subscriber: Option<SubscriberId>,
    pub recipients: u32,
    /// Recipients that wait for a send, authorized ones included.
    pub pending: u32,
}

/// A file in the object store, or one that may still arrive there.
#[derive(Debug, Clone, PartialEq)]
pub struct MediaFile {
    pub media: MediaId,
    pub key: String,
    pub status: &'static str,
    /// An upload that was allowed may end as late as this.
    pub arrives_until: DateTime<Utc>,
}
