use super::{NewSubscriber, SubscriberCommand, SubscriberError, SubscriberEvent, SubscriptionRequest};
use crate::consent::{Channel, Consent, Origin, Scope};
use crate::guard::{ChoiceMail, Gate, Guard, Guarded};
use crate::visit::Visit;
use crate::{AddressHash, DispatchId, GroupId, Personal, Sequence};
use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use uuid::Uuid;

/// Requests to subscribe that are remembered of one person; more than are good at any time.
const REQUESTS_MAX: usize = 64;

/// A person whom campaigns may reach, with the consent that allows it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Subscriber {
    /// Sequence of the last event; 0 before the first.
    pub version: Sequence,
    /// Whoever was added has one until they are erased. Its hash stays, and keeps the address suppressed.
    pub address: Option<Personal>,
    pub address_hash: Option<AddressHash>,
    pub hash_key_id: String,
    pub name: Option<Personal>,
    pub attributes: Option<Personal>,
    pub global_opt_out: bool,
    /// The consent in force per group by its sequence; `None` after an opt-out.
    pub groups: BTreeMap<GroupId, Option<Sequence>>,
    /// Added by a request that nobody confirmed yet.
    pub unconfirmed: bool,
    /// What was requested, by the mail that asks for it, in the order of time; `None` once it was confirmed.
    pub requests: BTreeMap<DispatchId, Option<Requested>>,
    /// By the person's own hand, the last time.
    pub opted_out: Option<Choice>,
    /// The last opt-in by a link of theirs.
    pub opted_in: Option<Choice>,
    /// Their provider says that mail does not reach them, or that they call it spam.
    pub unwanted: bool,
}

/// What a request to subscribe asks for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Requested {
    pub groups: Vec<GroupId>,
    pub name: Option<Personal>,
}

/// What somebody chose, by its event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    pub sequence: Sequence,
    pub scope: Scope,
}

impl Aggregate for Subscriber {
    const TYPE: &'static str = "subscriber";
    type Command = SubscriberCommand;
    type Event = SubscriberEvent;
    type Error = SubscriberError;
    type Services = ();

    async fn handle(
        &mut self,
        command: Self::Command,
        _: &Self::Services,
        sink: &EventSink<Self>,
    ) -> Result<(), Self::Error> {
        for event in self.decide(command)? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: Self::Event) {
        self.version += 1;
        let consent = Some(self.version);
        match event {
            SubscriberEvent::Added {
                address, address_hash, hash_key_id, name, attributes, groups, ..
            } => {
                self.set_address(address, address_hash, hash_key_id);
                self.name = name;
                self.attributes = attributes;
                self.groups = groups.into_iter().map(|group| (group, consent)).collect();
            }
            SubscriberEvent::DetailsChanged { name, attributes } => {
                self.name = name;
                self.attributes = attributes;
            }
            SubscriberEvent::AddressChanged { address, address_hash, hash_key_id } => {
                self.set_address(address, address_hash, hash_key_id);
                // The links went to the address that was left.
                self.requests.retain(|_, requested| requested.is_none());
            }
            SubscriberEvent::GroupJoined { group_id, .. } => {
                self.unconfirmed = false;
                self.groups.insert(group_id, consent);
            }
            SubscriberEvent::GroupLeft { group_id } => {
                self.groups.remove(&group_id);
            }
            SubscriberEvent::OptedOut { scope, channel, .. } => self.apply_opt_out(scope, channel),
            SubscriberEvent::OptedIn { ended_global, groups, restored, .. } => {
                let subscribed: Vec<GroupId> = groups.iter().copied().chain(restored).collect();
                let scope = if subscribed.is_empty() { Scope::Global } else { Scope::Groups(subscribed) };
                self.opted_in = Some(Choice { sequence: self.version, scope });
                self.unconfirmed = false;
                self.unwanted &= !ended_global;
                self.global_opt_out &= !ended_global;
                self.groups.extend(groups.into_iter().map(|group| (group, consent)));
            }
            SubscriberEvent::Erased {} => {
                (self.address, self.name, self.attributes) = (None, None, None);
                self.groups.clear();
                self.requests.clear();
                self.unconfirmed = false;
            }
            SubscriberEvent::SubscriptionRequested(request) => self.apply_request(request),
            SubscriberEvent::SubscriptionConfirmed { request, groups, ended_global, name, .. } => {
                self.unconfirmed = false;
                self.requests.insert(request, None);
                self.name = name.or(self.name.take());
                if ended_global {
                    (self.global_opt_out, self.unwanted) = (false, false);
                    self.groups.values_mut().for_each(|consent| *consent = None);
                }
                self.groups.extend(groups.into_iter().map(|group| (group, consent)));
            }
        }
    }
}

impl Subscriber {
    pub fn is_subscribed(&self, group: GroupId) -> bool {
        !self.global_opt_out && self.has_consent(group)
    }

    pub fn is_erased(&self) -> bool {
        self.version > 0 && self.address.is_none()
    }

    fn has_consent(&self, group: GroupId) -> bool {
        self.groups.get(&group).is_some_and(Option::is_some)
    }

    fn has_confirmed(&self) -> bool {
        self.requests.values().any(Option::is_none)
    }

    fn opted_out_of(&self, group: GroupId) -> bool {
        self.global_opt_out || self.groups.get(&group).is_some_and(Option::is_none)
    }

    /// What was requested before an opt-out is taken back by it: a mail that lies around must revive nothing.
    fn apply_opt_out(&mut self, scope: Scope, channel: Channel) {
        match &scope {
            Scope::Global => {
                self.global_opt_out = true;
                self.requests.retain(|_, requested| requested.is_none());
            }
            Scope::Groups(groups) => {
                self.groups.extend(groups.iter().map(|group| (*group, None)));
                for requested in self.requests.values_mut().flatten() {
                    requested.groups.retain(|group| !groups.contains(group));
                }
                let asks = |requested: &Requested| !requested.groups.is_empty();
                self.requests.retain(|_, requested| requested.as_ref().is_none_or(asks));
            }
        }
        match channel {
            Channel::OneClick | Channel::PreferencePage => {
                self.opted_out = Some(Choice { sequence: self.version, scope });
            }
            Channel::Complaint | Channel::HardBounce => self.unwanted = true,
            Channel::Admin | Channel::Import => {}
        }
    }

    fn apply_request(&mut self, request: SubscriptionRequest) {
        let SubscriptionRequest { request, address, address_hash, hash_key_id, name, groups, .. } = request;
        if self.version == 1 {
            self.set_address(address, address_hash, hash_key_id);
            self.unconfirmed = true;
        }
        self.requests.insert(request, Some(Requested { groups, name }));
        if self.requests.len() > REQUESTS_MAX {
            self.requests.pop_first();
        }
    }

    fn set_address(&mut self, address: Personal, hash: AddressHash, hash_key_id: String) {
        self.address = Some(address);
        self.address_hash = Some(hash);
        self.hash_key_id = hash_key_id;
    }

    fn decide(&self, command: SubscriberCommand) -> Result<Vec<SubscriberEvent>, SubscriberError> {
        match command {
            SubscriberCommand::Add(new) => self.add(*new),
            command if self.is_erased() => refuse_after_erasure(&command).map(|()| Vec::new()),
            SubscriberCommand::RequestSubscription(request) => Ok(self.request(*request)),
            _ if self.version == 0 => Err(SubscriberError::Unknown),
            SubscriberCommand::Change { address, hash_key_id, details } => {
                Ok(self.change(address, hash_key_id, details))
            }
            SubscriberCommand::JoinGroup { group_id, consent } => self.join(group_id, consent),
            SubscriberCommand::LeaveGroup { group_id } => Ok(self.leave(group_id)),
            SubscriberCommand::OptOut { scope, channel, origin } => Ok(self.opt_out(scope, channel, origin)),
            SubscriberCommand::SetPreferences { global_opt_out, groups, origin, may_opt_in } => {
                let events = self.set_preferences(global_opt_out, groups, origin);
                let opts_in = |event: &SubscriberEvent| matches!(event, SubscriberEvent::OptedIn { .. });
                match !may_opt_in && events.iter().any(opts_in) {
                    true => Err(SubscriberError::TooOften),
                    false => Ok(events),
                }
            }
            SubscriberCommand::Erase => {
                let mut events = self.opt_out(Scope::Global, Channel::Admin, Origin::default());
                events.push(SubscriberEvent::Erased {});
                Ok(events)
            }
            SubscriberCommand::ConfirmSubscription { request, wording_version, visit } => {
                self.confirm(request, wording_version, visit)
            }
        }
    }

    fn add(&self, new: NewSubscriber) -> Result<Vec<SubscriberEvent>, SubscriberError> {
        let NewSubscriber {
            address,
            address_hash,
            hash_key_id,
            name,
            attributes,
            groups,
            consent,
            import_id,
        } = new;
        match self.version {
            0 => Ok(vec![SubscriberEvent::Added {
                address,
                address_hash,
                hash_key_id,
                name,
                attributes,
                groups,
                consent,
                import_id,
            }]),
            _ => Err(SubscriberError::Exists),
        }
    }

    fn change(
        &self,
        address: Option<(Personal, AddressHash)>,
        hash_key_id: String,
        details: Option<(Option<Personal>, Option<Personal>)>,
    ) -> Vec<SubscriberEvent> {
        let changed =
            |(address, address_hash)| SubscriberEvent::AddressChanged { address, address_hash, hash_key_id };
        let details = details.map(|(name, attributes)| SubscriberEvent::DetailsChanged { name, attributes });
        address.map(changed).into_iter().chain(details).collect()
    }

    fn join(&self, group_id: GroupId, consent: Consent) -> Result<Vec<SubscriberEvent>, SubscriberError> {
        if self.opted_out_of(group_id) {
            return Err(SubscriberError::OptedOut);
        }
        Ok(match self.has_consent(group_id) {
            true => Vec::new(),
            false => vec![SubscriberEvent::GroupJoined { group_id, consent }],
        })
    }

    /// Leaving keeps an opt-out: taking somebody out of a group must not let an import put them back in.
    fn leave(&self, group_id: GroupId) -> Vec<SubscriberEvent> {
        match self.has_consent(group_id) {
            true => vec![SubscriberEvent::GroupLeft { group_id }],
            false => Vec::new(),
        }
    }

    /// Opting out of a group holds for somebody who was never in it, too.
    fn opt_out(&self, scope: Scope, channel: Channel, origin: Origin) -> Vec<SubscriberEvent> {
        let scope = match scope {
            Scope::Global if self.global_opt_out => return Vec::new(),
            Scope::Global => Scope::Global,
            Scope::Groups(mut groups) => {
                groups.retain(|group| self.groups.get(group) != Some(&None));
                groups.sort_unstable();
                groups.dedup();
                if groups.is_empty() {
                    return Vec::new();
                }
                Scope::Groups(groups)
            }
        };
        vec![SubscriberEvent::OptedOut { scope, channel, origin }]
    }

    fn set_preferences(
        &self,
        global_opt_out: Option<bool>,
        groups: Vec<(GroupId, bool)>,
        origin: Origin,
    ) -> Vec<SubscriberEvent> {
        let wanted: BTreeMap<GroupId, bool> = groups.into_iter().collect();
        let off = wanted.iter().filter(|(_, on)| !**on).map(|(group, _)| *group).collect();
        let on: Vec<_> =
            wanted.iter().filter(|(g, on)| **on && !self.has_consent(**g)).map(|(g, _)| *g).collect();
        let mut events = self.opt_out(Scope::Groups(off), Channel::PreferencePage, origin.clone());
        if global_opt_out == Some(true) {
            events.extend(self.opt_out(Scope::Global, Channel::PreferencePage, origin.clone()));
        }
        let ended_global = self.global_opt_out && global_opt_out == Some(false);
        if ended_global || !on.is_empty() {
            let kept = |group: &GroupId| self.has_consent(*group) && wanted.get(group) != Some(&false);
            let restored =
                if ended_global { self.groups.keys().copied().filter(kept).collect() } else { Vec::new() };
            events.push(SubscriberEvent::OptedIn { ended_global, groups: on, restored, origin });
        }
        events
    }

    /// A mail that is tried again was recorded with its first try.
    fn request(&self, request: SubscriptionRequest) -> Vec<SubscriberEvent> {
        match self.requests.contains_key(&request.request) {
            true => Vec::new(),
            false => vec![SubscriberEvent::SubscriptionRequested(request)],
        }
    }

    fn confirm(
        &self,
        request: DispatchId,
        wording_version: Option<String>,
        visit: Visit,
    ) -> Result<Vec<SubscriberEvent>, SubscriberError> {
        match self.requests.get(&request) {
            None => Err(SubscriberError::NotRequested),
            Some(None) => Ok(Vec::new()),
            Some(Some(Requested { groups, name })) => Ok(vec![SubscriberEvent::SubscriptionConfirmed {
                request,
                groups: groups.clone(),
                ended_global: self.global_opt_out,
                name: name.clone().filter(|_| self.name.is_none()),
                wording_version,
                visit,
            }]),
        }
    }

    fn gate(&self, subscriber: Uuid, address: AddressHash) -> Gate {
        Gate {
            address,
            hash_key_id: self.hash_key_id.clone(),
            subscriber,
            suppressed: self.global_opt_out,
            is_left: false,
            groups: self.groups.clone(),
        }
    }
}

/// What takes something away from them holds already; nothing else is possible any more.
fn refuse_after_erasure(command: &SubscriberCommand) -> Result<(), SubscriberError> {
    match command {
        SubscriberCommand::OptOut { .. }
        | SubscriberCommand::LeaveGroup { .. }
        | SubscriberCommand::Erase => Ok(()),
        SubscriberCommand::SetPreferences { global_opt_out, groups, .. }
            if *global_opt_out != Some(false) && groups.iter().all(|(_, wanted)| !wanted) =>
        {
            Ok(())
        }
        SubscriberCommand::Add(_)
        | SubscriberCommand::Change { .. }
        | SubscriberCommand::JoinGroup { .. }
        | SubscriberCommand::SetPreferences { .. }
        | SubscriberCommand::RequestSubscription(_) => Err(SubscriberError::Erased),
        SubscriberCommand::ConfirmSubscription { .. } => Err(SubscriberError::NotRequested),
    }
}

impl Guarded for Subscriber {
    const SNAPSHOT_FORMAT: i32 = 2;

    fn guards(id: &str, before: &Self, after: &Self) -> Vec<Guard> {
        let (Ok(subscriber), Some(address)) = (Uuid::parse_str(id), after.address_hash) else {
            return Vec::new();
        };
        let gate = after.gate(subscriber, address);
        let mut guards = match before.address_hash {
            None if after.has_confirmed() => vec![Guard::ReclaimGate(gate)],
            None => vec![Guard::ClaimGate(gate)],
            Some(old) if old != address => {
                // The address that was left stays suppressed: nobody may be written to there any more.
                let left = Gate { suppressed: true, is_left: true, ..before.gate(subscriber, old) };
                vec![Guard::SetGate(left), Guard::ClaimGate(gate)]
            }
            Some(_) if after.is_erased() && !before.is_erased() => {
                vec![Guard::SetGate(gate), Guard::Erase(subscriber)]
            }
            Some(_) if before.global_opt_out == after.global_opt_out && before.groups == after.groups => {
                Vec::new()
            }
            Some(_) => vec![Guard::SetGate(gate)],
        };
        let choices =
            [(&before.opted_out, &after.opted_out, false), (&before.opted_in, &after.opted_in, true)];
        for (before, after, opted_in) in choices {
            if let Some(Choice { sequence, scope }) = after
                && before != after
            {
                let (sequence, scope) = (*sequence, scope.clone());
                guards.push(Guard::ChoiceMail(ChoiceMail { subscriber, sequence, opted_in, scope }));
            }
        }
        guards
    }
}
