use crate::consent::{Channel, Consent, Origin, Scope};
use crate::visit::Visit;
use crate::{AddressHash, DispatchId, Event, GroupId, ImportId, Personal};
use chrono::{DateTime, Utc};
use cqrs_es::DomainEvent;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum SubscriberEvent {
    #[serde(rename = "SubscriberAdded")]
    Added {
        address: Personal,
        address_hash: AddressHash,
        hash_key_id: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<Personal>,
        /// A JSON object of strings.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        attributes: Option<Personal>,
        groups: Vec<GroupId>,
        consent: Consent,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        import_id: Option<ImportId>,
    },
    /// Carries the whole new name and attributes: what is absent here is absent now.
    #[serde(rename = "SubscriberDetailsChanged")]
    DetailsChanged {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<Personal>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        attributes: Option<Personal>,
    },
    #[serde(rename = "SubscriberAddressChanged")]
    AddressChanged { address: Personal, address_hash: AddressHash, hash_key_id: String },
    #[serde(rename = "SubscriberGroupJoined")]
    GroupJoined { group_id: GroupId, consent: Consent },
    /// Taken out by the staff; an opt-out is `OptedOut`.
    #[serde(rename = "SubscriberGroupLeft")]
    GroupLeft { group_id: GroupId },
    #[serde(rename = "SubscriberOptedOut")]
    OptedOut { scope: Scope, channel: Channel, origin: Origin },
    /// By the person alone. `groups` are subscribed anew by this event; `restored` are those whose earlier consent
    /// is in force again because the global opt-out ended.
    #[serde(rename = "SubscriberOptedIn")]
    OptedIn { ended_global: bool, groups: Vec<GroupId>, restored: Vec<GroupId>, origin: Origin },
    /// The key of this stream is destroyed in the transaction of this event. Follows a global opt-out and is the last.
    #[serde(rename = "SubscriberErased")]
    Erased {},
    #[serde(rename = "SubscriptionRequested")]
    SubscriptionRequested(SubscriptionRequest),
    /// By whoever reads the address's mail: the second step of a double opt-in, and the consent of these groups from now
    /// on. Where it ends a global opt-out, the person stays out of the groups that are not named.
    #[serde(rename = "SubscriptionConfirmed")]
    SubscriptionConfirmed {
        request: DispatchId,
        groups: Vec<GroupId>,
        ended_global: bool,
        /// As it came with the request, where the person had none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<Personal>,
        /// Of the words that the person agreed to.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        wording_version: Option<String>,
        visit: Visit,
    },
}

/// Somebody asked that these groups write to an address: the first step of a double opt-in. It allows no mail but the one
/// that asks the address's owner.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SubscriptionRequest {
    /// The mail that asks.
    pub request: DispatchId,
    pub address: Personal,
    pub address_hash: AddressHash,
    pub hash_key_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Personal>,
    pub groups: Vec<GroupId>,
    /// Where it was asked.
    pub source: String,
    /// Of the words beside the form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wording_version: Option<String>,
    pub requested_at: DateTime<Utc>,
    pub visit: Visit,
}

impl DomainEvent for SubscriberEvent {
    fn event_type(&self) -> String {
        match self {
            Self::Added { .. } => "SubscriberAdded",
            Self::DetailsChanged { .. } => "SubscriberDetailsChanged",
            Self::AddressChanged { .. } => "SubscriberAddressChanged",
            Self::GroupJoined { .. } => "SubscriberGroupJoined",
            Self::GroupLeft { .. } => "SubscriberGroupLeft",
            Self::OptedOut { .. } => "SubscriberOptedOut",
            Self::OptedIn { .. } => "SubscriberOptedIn",
            Self::Erased {} => "SubscriberErased",
            Self::SubscriptionRequested(_) => "SubscriptionRequested",
            Self::SubscriptionConfirmed { .. } => "SubscriptionConfirmed",
        }
        .into()
    }

    fn event_version(&self) -> String {
        "1.0".into()
    }
}

impl Event for SubscriberEvent {
    fn personal(&mut self) -> Vec<(&'static str, &mut Personal)> {
        match self {
            Self::Added { address, name, attributes, consent, .. } => [("address", address)]
                .into_iter()
                .chain(details(name, attributes))
                .chain(given_from(consent))
                .collect(),
            Self::DetailsChanged { name, attributes } => details(name, attributes).collect(),
            Self::AddressChanged { address, .. } => vec![("address", address)],
            Self::GroupJoined { consent, .. } => given_from(consent).collect(),
            Self::GroupLeft { .. } | Self::Erased {} => Vec::new(),
            Self::OptedOut { origin, .. } | Self::OptedIn { origin, .. } => {
                let source = origin.source_address.iter_mut().map(|p| ("source_address", p));
                let source = source.chain(origin.user_agent.iter_mut().map(|p| ("user_agent", p)));
                source.chain(origin.reason.iter_mut().map(|p| ("reason", p))).collect()
            }
            Self::SubscriptionRequested(request) => [("address", &mut request.address)]
                .into_iter()
                .chain(request.name.iter_mut().map(|p| ("name", p)))
                .chain(request.visit.personal())
                .collect(),
            Self::SubscriptionConfirmed { name, visit, .. } => {
                name.iter_mut().map(|p| ("name", p)).chain(visit.personal()).collect()
            }
        }
    }
}

type Field<'a> = (&'static str, &'a mut Personal);

fn details<'a>(
    name: &'a mut Option<Personal>,
    attributes: &'a mut Option<Personal>,
) -> impl Iterator<Item = Field<'a>> {
    name.iter_mut().map(|p| ("name", p)).chain(attributes.iter_mut().map(|p| ("attributes", p)))
}

fn given_from(consent: &mut Consent) -> impl Iterator<Item = Field<'_>> {
    consent.given_from.iter_mut().map(|p| ("given_from", p))
}
