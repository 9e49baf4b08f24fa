//! The question of a double opt-in, and what tells of an opt-out or an opt-in.

use super::Sender;
use super::single::{Made, ONLY, Single, parted, unless_unreadable};
use super::transactional::Decided;
use crate::mailers::{Mailer, Outgoing};
use crate::window::Window;
use commands::send::{Lease, Told};
use commands::{CommandError, SubscriberDetails, SubscriptionToken};
use domain::consent::Scope;
use domain::group::Group;
use domain::subscriber::{Subscriber, SubscriptionRequest};
use domain::transactional::{SubscriptionMail, Transactional};
use domain::{AddressHash, DispatchId, GroupId, Personal};
use eventstore::{Loaded, clock, load, load_each, sealing};
use mail::consent::{self, Letter};
use mail::{Address, PreferenceClaims, Rendered};

impl Sender {
    pub(super) async fn decide_on_subscription(
        &self,
        lease: Lease,
        dispatch: Loaded<Transactional>,
        mail: &SubscriptionMail,
        mailer: &dyn Mailer,
    ) -> Result<Decided, CommandError> {
        let made = self.make_subscription_mail(lease.dispatch_id, &dispatch.aggregate, mail).await;
        let made = unless_unreadable(lease.dispatch_id, made)?;
        let window = Window::open(self.commands.timing.window);
        let (name, hold) = (mailer.name(), self.hold(mailer));
        let (made, mails) = parted(made);
        let authorized = self.commands.authorize_subscription_mail(lease, dispatch, name, made, hold).await?;
        Ok(Decided { mails, window, authorized })
    }

    async fn make_subscription_mail(
        &self,
        id: DispatchId,
        dispatch: &Transactional,
        mail: &SubscriptionMail,
    ) -> Result<Made<(SubscriptionRequest, SubscriptionToken)>, CommandError> {
        let Some(request) = self.commands.subscription_request(id).await? else { return Ok(Err("erased")) };
        let Personal::Plain(address) = &request.address else { return Ok(Err("erased")) };
        let groups = self.group_names(&mail.groups).await?;
        let token = SubscriptionToken::draw()?;
        let link = self.links.subscription_url(token.text());
        let written =
            consent::subscription(&Letter { sender: self.sender_name(), groups: &groups, link: &link });
        let outgoing = self.letter(id, dispatch, "subscription", address.clone(), &written);
        Ok(outgoing.map(|outgoing| ((request, token), outgoing)))
    }

    pub(super) async fn decide_on_choice(
        &self,
        lease: Lease,
        dispatch: Loaded<Transactional>,
        told: Told<'_>,
        mailer: &dyn Mailer,
    ) -> Result<Decided, CommandError> {
        let made = self.make_choice_mail(lease.dispatch_id, &dispatch.aggregate, told).await;
        let made = unless_unreadable(lease.dispatch_id, made)?;
        let window = Window::open(self.commands.timing.window);
        let (name, hold) = (mailer.name(), self.hold(mailer));
        let (address, mails) = parted(made);
        let authorized =
            self.commands.authorize_choice_mail(lease, dispatch, told, name, address, hold).await?;
        Ok(Decided { mails, window, authorized })
    }

    async fn make_choice_mail(
        &self,
        id: DispatchId,
        dispatch: &Transactional,
        told: Told<'_>,
    ) -> Result<Made<AddressHash>, CommandError> {
        let (store, reader) = (&self.commands.store, told.subscriber());
        let person = load::<Subscriber>(&store.pool, reader).await?.aggregate;
        let keys = sealing::fetch(&store.pool, &store.master, &[reader]).await?;
        let (Some(key), Some(hash)) = (keys.get(&reader), person.address_hash) else {
            return Ok(Err("erased"));
        };
        let address = SubscriberDetails::open_with(key, &person)?.address;
        let named: &[GroupId] = match told.scope() {
            Scope::Global => &[],
            Scope::Groups(groups) => groups,
        };
        let claims = PreferenceClaims {
            subscriber: reader,
            campaign: None,
            group: named.first().copied().filter(|_| named.len() == 1),
            dispatch: Some(id),
            issued_at: clock::now().timestamp(),
        };
        let Ok(token) = self.keys.sign_preference(&claims) else { return Ok(Err("link_not_signed")) };
        let (groups, link) = (self.group_names(named).await?, self.links.preferences_url(&token));
        let letter = Letter { sender: self.sender_name(), groups: &groups, link: &link };
        let (kind, written) = match told {
            Told::OptOut(_) => ("opt_out", consent::opt_out(&letter)),
            Told::OptIn(_) => ("opt_in", consent::opt_in(&letter)),
        };
        Ok(self.letter(id, dispatch, kind, address, &written).map(|outgoing| (hash, outgoing)))
    }

    fn letter(
        &self,
        dispatch: DispatchId,
        sent: &Transactional,
        kind: &str,
        address: String,
        written: &Rendered,
    ) -> Result<Outgoing, &'static str> {
        let attempt = sent.recipients.first().map_or(0, |recipient| recipient.attempts) + 1;
        let to = Address { email: address, name: None };
        self.single(Single { kind, dispatch, index: ONLY, attempt, to, list: None }, written)
    }

    /// A group that was deleted still has its name.
    async fn group_names(&self, groups: &[GroupId]) -> Result<Vec<String>, CommandError> {
        let known = load_each::<Group>(&self.commands.store.pool, groups).await?.into_values().flatten();
        let mut names: Vec<String> = known.map(|group| group.aggregate.name).collect();
        names.sort_unstable();
        Ok(names)
    }
}
