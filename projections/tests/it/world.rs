//! Histories that could have happened: a seeded generator sends commands to real aggregates.

use crate::log::{Stored, stored};
use chrono::{DateTime, TimeDelta};
use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use domain::campaign::{Campaign, CampaignCommand, Details, Manifest, OnUnknown, Phase};
use domain::consent::{Channel, Consent, Origin, Scope};
use domain::dispatch::{Authorization, Dispatch, DispatchCommand, Index, Refusal, Settlement};
use domain::group::{Group, GroupCommand};
use domain::media::{ContentType, Dimensions, Found, Media, MediaCommand, Sha256, Upload};
use domain::subscriber::{NewSubscriber, Subscriber, SubscriberCommand, SubscriptionRequest};
use domain::template::{Content, Template, TemplateCommand};
use domain::visit::Visit;
use domain::{AddressHash, Personal};
use std::collections::BTreeMap;
use uuid::Uuid;

/// A small linear congruential generator (Knuth, MMIX): the same numbers everywhere.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % bound.max(1)
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        (!from.is_empty()).then(|| from[self.below(from.len())])
    }

    fn id(&mut self) -> Uuid {
        Uuid::from_u64_pair(self.below(usize::MAX) as u64, self.below(usize::MAX) as u64)
    }
}

/// A seed for this run alone, unless one is asked for; printed, so that a failure can be repeated.
pub fn fresh_seed() -> u64 {
    let asked = std::env::var("POSTLEDGER_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = asked.unwrap_or_else(|| eventstore::clock::now().timestamp_micros().cast_unsigned());
    println!("POSTLEDGER_TEST_SEED={seed}");
    seed
}

/// All aggregates as they are after what was generated.
pub struct World {
    dice: Dice,
    pub subscribers: BTreeMap<Uuid, Subscriber>,
    pub groups: BTreeMap<Uuid, Group>,
    pub templates: BTreeMap<Uuid, Template>,
    pub media: BTreeMap<Uuid, Media>,
    pub campaigns: BTreeMap<Uuid, Campaign>,
    pub dispatches: BTreeMap<Uuid, Dispatch>,
    /// Permits by dispatch, newest last.
    permits: BTreeMap<Uuid, Vec<Uuid>>,
    versions: BTreeMap<Uuid, i64>,
}

fn media_upload() -> Upload {
    Upload {
        filename: "photo.png".into(),
        content_type: ContentType::Png,
        size_bytes: 1_000,
        sha256: Sha256([7; 32]),
        key: "media/1/photo.png".into(),
        requested_at: DateTime::UNIX_EPOCH,
        expires_at: DateTime::UNIX_EPOCH,
    }
}

async fn decide<A: Aggregate<Services = ()>>(aggregate: &mut A, command: A::Command) -> Vec<A::Event> {
    let sink = EventSink::default();
    match aggregate.handle(command, &(), &sink).await {
        Ok(()) => sink.collect().await,
        Err(_) => Vec::new(),
    }
}

impl World {
    pub fn new(seed: u64) -> Self {
        Self {
            dice: Dice::new(seed),
            subscribers: BTreeMap::new(),
            groups: BTreeMap::new(),
            templates: BTreeMap::new(),
            media: BTreeMap::new(),
            campaigns: BTreeMap::new(),
            dispatches: BTreeMap::new(),
            permits: BTreeMap::new(),
            versions: BTreeMap::new(),
        }
    }

    /// At least `count` events more.
    pub async fn history(&mut self, count: usize) -> Vec<Stored> {
        let mut events = Vec::new();
        while events.len() < count {
            events.extend(self.step().await);
        }
        events
    }

    async fn step(&mut self) -> Vec<Stored> {
        match self.dice.below(21) {
            0 => self.group_step().await,
            1 => self.template_step().await,
            20 => self.media_step().await,
            2..8 => self.subscriber_step().await,
            8..11 => self.campaign_step().await,
            _ => self.dispatch_step().await,
        }
    }

    fn number<A: Aggregate>(&mut self, id: Uuid, events: Vec<A::Event>) -> Vec<Stored> {
        let version = self.versions.entry(id).or_default();
        let mut next = || {
            *version += 1;
            *version
        };
        events.iter().map(|event| stored::<A>(id, next(), event)).collect()
    }

    async fn group_step(&mut self) -> Vec<Stored> {
        let known = self.known_groups();
        let (name, description) = (format!("Group {}", self.dice.below(9)), String::new());
        let (id, command) = match self.dice.pick(&known) {
            Some(id) if known.len() > 5 && self.dice.one_in(5) => (id, GroupCommand::Delete),
            Some(id) if known.len() > 5 => {
                (id, GroupCommand::Change { name: Some(name), description: Some(description) })
            }
            _ => (self.dice.id(), GroupCommand::Create { name, description }),
        };
        let events = decide(self.groups.entry(id).or_default(), command).await;
        self.number::<Group>(id, events)
    }

    async fn template_step(&mut self) -> Vec<Stored> {
        let known: Vec<Uuid> = self.templates.iter().filter(|(_, t)| t.exists()).map(|(id, _)| *id).collect();
        let content = Content { subject: format!("Subject {}", self.dice.below(9)), ..Content::default() };
        let (id, command) = match self.dice.pick(&known) {
            Some(id) if known.len() > 3 && self.dice.one_in(5) => (id, TemplateCommand::Delete),
            Some(id) if known.len() > 3 => (id, TemplateCommand::Change(content)),
            _ => (self.dice.id(), TemplateCommand::Create(content)),
        };
        let events = decide(self.templates.entry(id).or_default(), command).await;
        self.number::<Template>(id, events)
    }

    async fn media_step(&mut self) -> Vec<Stored> {
        let known: Vec<Uuid> = self.media.iter().filter(|(_, m)| m.exists()).map(|(id, _)| *id).collect();
        let (id, command) = match self.dice.pick(&known) {
            Some(id) if !self.dice.one_in(3) => (id, self.change_media()),
            _ => (self.dice.id(), MediaCommand::Request(media_upload())),
        };
        let events = decide(self.media.entry(id).or_default(), command).await;
        self.number::<Media>(id, events)
    }

    fn change_media(&mut self) -> MediaCommand {
        let Upload { size_bytes, sha256, content_type, expires_at, .. } = media_upload();
        let its_type = Some(content_type.as_str().to_owned());
        match self.dice.below(6) {
            0 => MediaCommand::Delete,
            1 => MediaCommand::Expire { now: expires_at + TimeDelta::days(2) },
            other => MediaCommand::Complete(Some(Found {
                size_bytes: size_bytes + u64::from(other == 2),
                sha256: Some(sha256),
                content_type: its_type.clone(),
                recognised: its_type,
                dimensions: Some(Dimensions { width: 4, height: 3 }),
            })),
        }
    }

    async fn subscriber_step(&mut self) -> Vec<Stored> {
        let known: Vec<Uuid> = self.subscribers.keys().copied().collect();
        let (id, command) = match self.dice.pick(&known) {
            Some(id) if self.dice.below(known.len()) > 3 => (id, self.change_subscriber(id)),
            _ if self.dice.one_in(4) => (self.dice.id(), self.request_subscription()),
            _ => (self.dice.id(), self.add_subscriber()),
        };
        let events = decide(self.subscribers.entry(id).or_default(), command).await;
        self.number::<Subscriber>(id, events)
    }

    fn sealed(&mut self) -> Personal {
        Personal::Sealed(format!("1:1:{}", self.dice.below(1_000_000)))
    }

    fn hash(&mut self) -> AddressHash {
        AddressHash(std::array::from_fn(|_| self.dice.below(256) as u8))
    }

    fn known_groups(&self) -> Vec<Uuid> {
        self.groups.iter().filter(|(_, group)| group.exists()).map(|(id, _)| *id).collect()
    }

    fn some_groups(&mut self) -> Vec<Uuid> {
        let known = self.known_groups();
        (0..self.dice.below(4)).filter_map(|_| self.dice.pick(&known)).collect()
    }

    fn add_subscriber(&mut self) -> SubscriberCommand {
        SubscriberCommand::Add(Box::new(NewSubscriber {
            address: self.sealed(),
            address_hash: self.hash(),
            hash_key_id: "k1".into(),
            name: Some(self.sealed()),
            attributes: None,
            groups: self.some_groups(),
            consent: consent(),
            import_id: None,
        }))
    }

    fn origin(&mut self) -> Origin {
        let campaigns: Vec<Uuid> = self.campaigns.keys().copied().collect();
        let (campaign_id, source_address) = (self.dice.pick(&campaigns), Some(self.sealed()));
        Origin { campaign_id, source_address, ..Origin::default() }
    }

    fn request_subscription(&mut self) -> SubscriberCommand {
        SubscriberCommand::RequestSubscription(Box::new(SubscriptionRequest {
            request: self.dice.id(),
            address: self.sealed(),
            address_hash: self.hash(),
            hash_key_id: "k1".into(),
            name: Some(self.sealed()),
            groups: self.some_groups(),
            source: "form".into(),
            wording_version: None,
            requested_at: DateTime::UNIX_EPOCH,
            visit: Visit::default(),
        }))
    }

    /// Confirmed before or not.
    fn confirm_subscription(&mut self, id: Uuid) -> SubscriberCommand {
        let requests: Vec<Uuid> = self.subscribers[&id].requests.keys().copied().collect();
        let request = self.dice.pick(&requests).unwrap_or_default();
        SubscriberCommand::ConfirmSubscription { request, wording_version: None, visit: Visit::default() }
    }

    fn change_subscriber(&mut self, id: Uuid) -> SubscriberCommand {
        let groups = self.some_groups();
        let group_id = groups.first().copied().unwrap_or_default();
        match self.dice.below(13) {
            0 if self.dice.one_in(4) => SubscriberCommand::Erase,
            9 => self.request_subscription(),
            10..13 => self.confirm_subscription(id),
            0 => self.change_details(None),
            1 => {
                let address = (self.sealed(), self.hash());
                self.change_details(Some(address))
            }
            2 | 3 => SubscriberCommand::JoinGroup { group_id, consent: consent() },
            4 => SubscriberCommand::LeaveGroup { group_id },
            5 | 6 => {
                let scope = if self.dice.one_in(2) { Scope::Global } else { Scope::Groups(groups) };
                SubscriberCommand::OptOut { scope, channel: Channel::OneClick, origin: self.origin() }
            }
            _ => SubscriberCommand::SetPreferences {
                global_opt_out: Some(self.dice.one_in(3)),
                groups: groups.into_iter().map(|group| (group, self.dice.one_in(2))).collect(),
                origin: self.origin(),
                may_opt_in: true,
            },
        }
    }

    fn change_details(&mut self, address: Option<(Personal, AddressHash)>) -> SubscriberCommand {
        let details = Some((None, Some(self.sealed())));
        SubscriberCommand::Change { address, hash_key_id: "k1".into(), details }
    }

    async fn campaign_step(&mut self) -> Vec<Stored> {
        let known: Vec<Uuid> = self.campaigns.keys().copied().collect();
        let (id, command) = match self.dice.pick(&known) {
            Some(id) if known.len() > 4 => (id, self.change_campaign(id)),
            _ => (self.dice.id(), CampaignCommand::Create { details: self.details(), schedule_at: None }),
        };
        let events = decide(self.campaigns.entry(id).or_default(), command).await;
        self.number::<Campaign>(id, events)
    }

    fn details(&mut self) -> Details {
        Details {
            name: format!("Campaign {}", self.dice.below(9)),
            template_id: Uuid::nil(),
            group_id: Uuid::nil(),
            mailer: None,
            from: None,
            reply_to: None,
            on_unknown: OnUnknown::Hold,
        }
    }

    /// The next thing that its phase allows, or now and then what it does not.
    fn change_campaign(&mut self, id: Uuid) -> CampaignCommand {
        let at = DateTime::from_timestamp(1_800_000_000 + self.dice.below(1000) as i64, 0).unwrap();
        let reason = "mailer_unavailable".to_owned();
        match (&self.campaigns[&id].phase, self.dice.below(4)) {
            (Phase::Draft, 0) => CampaignCommand::Change(self.details()),
            (Phase::Draft, _) => CampaignCommand::Schedule { at },
            (Phase::Scheduled { .. }, 0) => CampaignCommand::Unschedule,
            (Phase::Scheduled { at }, _) => CampaignCommand::BeginFreezing { template_version: 1, now: *at },
            (Phase::Freezing, _) => CampaignCommand::Freeze(self.manifest(id)),
            (Phase::Sending, 0) => CampaignCommand::Complete,
            (Phase::Sending, 1) => CampaignCommand::Cancel,
            (Phase::Sending, _) => CampaignCommand::Pause { reason: Some(reason), dispatch_id: Some(id) },
            (Phase::Paused, 0) => {
                let newer = self.campaigns[&id].template_version + 1 + self.dice.below(2) as u64;
                CampaignCommand::TakeTemplate { template_version: newer }
            }
            (Phase::Paused, _) => CampaignCommand::Resume,
            (_, 0) => CampaignCommand::Delete,
            (_, _) => CampaignCommand::Resume,
        }
    }

    fn manifest(&self, id: Uuid) -> Manifest {
        let recipients: usize =
            self.dispatches.values().filter(|d| d.campaign_id == id).map(|d| d.recipients.len()).sum();
        let recipients = recipients as u64;
        Manifest { position: 1, template_version: 1, recipients, dispatches: 1, digest: String::new() }
    }

    async fn dispatch_step(&mut self) -> Vec<Stored> {
        let known: Vec<Uuid> = self.dispatches.keys().copied().collect();
        let (id, command) = match self.dice.pick(&known) {
            Some(id) if self.dice.below(known.len()) > 2 || self.dice.one_in(2) => {
                (id, self.change_dispatch(id))
            }
            _ => (self.dice.id(), self.plan()),
        };
        let events = decide(self.dispatches.entry(id).or_default(), command).await;
        self.number::<Dispatch>(id, events)
    }

    fn plan(&mut self) -> DispatchCommand {
        let campaigns: Vec<Uuid> = self.campaigns.keys().copied().collect();
        let readers: Vec<Uuid> = self.subscribers.keys().copied().collect();
        let campaign_id = self.dice.pick(&campaigns).unwrap_or_default();
        let page = self.dispatches.values().filter(|d| d.campaign_id == campaign_id).count() as u32;
        let count = 1 + self.dice.below(12);
        let recipients = (0..count).filter_map(|_| self.dice.pick(&readers)).collect();
        DispatchCommand::Plan { campaign_id, page, recipients }
    }

    fn change_dispatch(&mut self, id: Uuid) -> DispatchCommand {
        let on_unknown = if self.dice.one_in(2) { OnUnknown::Hold } else { OnUnknown::Resend };
        match self.dice.below(12) {
            0 => DispatchCommand::Cancel,
            1..6 => DispatchCommand::Authorize(self.authorization(id)),
            6..8 => DispatchCommand::Reconcile { settlement: self.settlement(id), on_unknown },
            _ => DispatchCommand::Settle { settlement: self.settlement(id), on_unknown },
        }
    }

    fn authorization(&mut self, id: Uuid) -> Authorization {
        let permit_id = self.dice.id();
        self.permits.entry(id).or_default().push(permit_id);
        let template_version = self.dice.one_in(3).then(|| 2 + self.dice.below(3) as u64);
        let mut authorization = Authorization { permit_id, template_version, ..Authorization::default() };
        for index in self.dispatches[&id].waiting() {
            match self.dice.below(8) {
                0 => authorization.suppressed.push(refusal(index, "opted_out")),
                1 => authorization.rejected.push(refusal(index, "template_error")),
                2..6 => authorization.allowed.push((index, 1)),
                _ => {}
            }
        }
        authorization
    }

    /// By any of the dispatch's permits, old ones included, about any recipients: the aggregate knows what counts.
    fn settlement(&mut self, id: Uuid) -> Settlement {
        let permits = self.permits.get(&id).cloned().unwrap_or_default();
        let permit_id = self.dice.pick(&permits).unwrap_or_default();
        let mut settlement = Settlement { permit_id, ..Settlement::default() };
        for index in 0..self.dispatches[&id].recipients.len() as Index {
            match self.dice.below(8) {
                0..3 => settlement.accepted.push(index),
                3 => settlement.rejected.push(refusal(index, "550")),
                4 => settlement.unknown.push(index),
                5 => settlement.returned.push(index),
                6 => settlement.deferred.push(index),
                _ => {}
            }
            if self.dice.one_in(10) {
                settlement.late.push(index);
            }
        }
        settlement
    }
}

fn refusal(index: Index, reason: &str) -> Refusal {
    Refusal { index, reason: reason.to_owned() }
}

pub fn consent() -> Consent {
    Consent { source: "form".into(), wording_version: None, given_at: None, given_from: None }
}
