//! Mails outside campaigns: one dispatch, one permit, a few recipients.

use super::campaign::compile;
use super::chunk::{self, HandedOver};
use super::settling::Insistence;
use super::{ERROR_PAUSE, Rest, Sender};
use crate::mailers::{Mailer, Outgoing};
use crate::metrics;
use crate::window::Window;
use commands::send::{Authorized, ExpiredPermit, Lease};
use commands::{CommandError, SubscriberDetails};
use domain::dispatch::{Index, Refusal, Settlement};
use domain::subscriber::Subscriber;
use domain::template::Template;
use domain::transactional::{TestMail, Transactional};
use domain::{DispatchId, PermitId, SubscriberId};
use eventstore::{Loaded, StoreError, clock, ids, load, load_at, load_many, sealing};
use mail::{Address, Compiled, MergeData, MessageParts};
use std::time::Duration;

/// A mail for each of these recipients, or the reason why none can be made.
type Mails = Vec<(Index, Result<Outgoing, &'static str>)>;

/// A recipient of a test: their own fields where they are a subscriber, else the address alone.
struct Reader {
    index: Index,
    attempt: u16,
    details: SubscriberDetails,
}

impl Sender {
    /// Works on one mail outside campaigns, if any waits.
    pub async fn step_transactional(&self) -> Result<bool, CommandError> {
        let Some(lease) = self.commands.claim_transactional(self.hold_max()).await? else { return Ok(false) };
        let pause = self.work_on_transactional(lease).await?;
        self.commands.release_dispatch(lease, pause).await?;
        Ok(true)
    }

    async fn work_on_transactional(&self, lease: Lease) -> Result<Rest, CommandError> {
        let id = lease.dispatch_id;
        let (expired, open) = self.commands.left_permits(id).await?;
        for permit in &expired {
            self.reconcile_transactional(id, permit).await?;
        }
        if let Some(rest) = open {
            return Ok(rest + Duration::from_millis(10));
        }
        let dispatch = load::<Transactional>(&self.commands.store.pool, id).await?;
        let Some(mail) = dispatch.aggregate.mail.clone() else {
            return Err(StoreError::Format(format!("dispatch {id} has work and no events")).into());
        };
        if mail.expires_at <= clock::now() {
            self.commands.expire_transactional(id).await?;
            return Ok(Duration::ZERO);
        }
        match self.mailers.get(&mail.mailer) {
            Some(mailer) => self.send_test(lease, dispatch, &mail, mailer.as_ref()).await,
            None => Ok(ERROR_PAUSE),
        }
    }

    async fn reconcile_transactional(
        &self,
        id: DispatchId,
        permit: &ExpiredPermit,
    ) -> Result<(), CommandError> {
        let dispatch = load::<Transactional>(&self.commands.store.pool, id).await?.aggregate;
        let owed = dispatch.authorized_by(permit.permit_id).into_iter().filter_map(|index| {
            let recipient = dispatch.recipients.get(usize::from(index))?;
            Some((index, ids::recipient_id(id, index), recipient.attempts))
        });
        let settlement = self.known_ends(id, permit, owed.collect()).await;
        self.commands.settle_transactional(id, settlement).await.map(|_| ())
    }

    async fn send_test(
        &self,
        lease: Lease,
        dispatch: Loaded<Transactional>,
        mail: &TestMail,
        mailer: &dyn Mailer,
    ) -> Result<Rest, CommandError> {
        let mut waiting = dispatch.aggregate.waiting();
        waiting.truncate(mailer.take_tokens(waiting.len()).await);
        if let Err(down) = mailer.prepare(waiting.len().min(mailer.concurrency())).await {
            metrics::unavailable(mailer.name());
            tracing::warn!(dispatch.id = %lease.dispatch_id, reason = down.reason, "mailer unavailable");
            return Ok(ERROR_PAUSE);
        }
        let mails = self.compose_tests(lease.dispatch_id, &dispatch.aggregate, mail, &waiting).await?;
        let (mails, unsendable) = divide(mails);
        let candidates: Vec<Index> = mails.iter().map(|(index, _)| *index).collect();
        let window = Window::open(self.commands.timing.window);
        let hold = self.hold(mailer);
        let authorized =
            self.commands.authorize_test(lease, dispatch, mailer.name(), &candidates, unsendable, hold);
        let (permit, allowed, dispatch) = match authorized.await? {
            Authorized::Permit { permit, allowed, dispatch } => (permit, allowed, dispatch),
            Authorized::InDoubt { permit, allowed } => {
                let untouched = Settlement { permit_id: permit, returned: allowed, ..Settlement::default() };
                self.settle_test(lease.dispatch_id, untouched).await?;
                return Ok(ERROR_PAUSE);
            }
            Authorized::Nobody { .. } | Authorized::Stopped | Authorized::Lost => return Ok(Duration::ZERO),
        };
        let mails = mails.into_iter().filter(|(index, _)| allowed.contains(index)).collect();
        self.hand_over_tests(lease.dispatch_id, permit, mails, mailer, &window).await?;
        let tries = dispatch.aggregate.recipients.iter().map(|recipient| recipient.attempts).max();
        Ok(self.pause_before_next_try(tries.unwrap_or_default()))
    }

    async fn hand_over_tests(
        &self,
        id: DispatchId,
        permit: PermitId,
        mails: Vec<(Index, Outgoing)>,
        mailer: &dyn Mailer,
        window: &Window,
    ) -> Result<(), CommandError> {
        let HandedOver { settlement, .. } = chunk::hand_over(mailer, permit, mails, window).await;
        if let Err(down) = mailer.settle_barrier().await {
            // What was accepted may not be durable: the permit stays, and is cleared up once it has expired.
            tracing::warn!(dispatch.id = %id, reason = down.reason, "mailer unavailable");
            return Ok(());
        }
        self.settle_test(id, settlement).await
    }

    async fn settle_test(&self, id: DispatchId, settlement: Settlement) -> Result<(), CommandError> {
        let mut insistence = Insistence::default();
        while let Err(error) = self.commands.settle_transactional(id, settlement.clone()).await {
            insistence.wait_after(error, id).await?;
        }
        Ok(())
    }

    async fn compose_tests(
        &self,
        id: DispatchId,
        dispatch: &Transactional,
        mail: &TestMail,
        waiting: &[Index],
    ) -> Result<Mails, CommandError> {
        let pool = &self.commands.store.pool;
        let readers = self.test_readers(id, dispatch, mail, waiting).await?;
        let template = load_at::<Template>(pool, mail.template_id, mail.template_version).await?;
        let content = template.aggregate.content;
        let sender = self.clone();
        // Compiling and rendering is computing: not on a thread that others' I/O waits for.
        let composed = tokio::task::spawn_blocking(move || {
            let name = content.name.clone();
            let template = compile(content)?;
            let mails = readers.iter().map(|reader| {
                let made = sender.test_mail(id, &template, &name, reader);
                (reader.index, made)
            });
            Ok(mails.collect())
        });
        composed.await.map_err(StoreError::from)?
    }

    /// Whoever is a subscriber sees the template with their own fields.
    async fn test_readers(
        &self,
        id: DispatchId,
        dispatch: &Transactional,
        mail: &TestMail,
        waiting: &[Index],
    ) -> Result<Vec<Reader>, CommandError> {
        let store = &self.commands.store;
        let known = self.commands.test_readers(dispatch).await?;
        let people: Vec<SubscriberId> = known.values().map(|reader| reader.subscriber_id).collect();
        let subscribers = load_many::<Subscriber>(&store.pool, &people).await?;
        let keys = sealing::fetch(&store.pool, &store.master, &[people, vec![id]].concat()).await?;
        let Some(key) = keys.get(&id) else { return Ok(Vec::new()) };
        let addresses = key.open("addresses", &mail.addresses).map_err(StoreError::from)?;
        let addresses: Vec<String> =
            serde_json::from_str(&addresses).map_err(|_| StoreError::Format("addresses of a test".into()))?;
        let mut readers = Vec::with_capacity(waiting.len());
        for index in waiting {
            let place = usize::from(*index);
            let (Some(recipient), Some(address)) = (dispatch.recipients.get(place), addresses.get(place))
            else {
                continue;
            };
            let subscriber =
                known.get(recipient.address_hash.0.as_slice()).map(|reader| reader.subscriber_id);
            let fields = subscriber.and_then(|id| Some((keys.get(&id)?, subscribers.get(&id)?)));
            let details = match fields {
                Some((key, subscriber)) => SubscriberDetails::open_with(key, &subscriber.aggregate)?,
                None => SubscriberDetails::default(),
            };
            let details = SubscriberDetails { address: address.clone(), ..details };
            readers.push(Reader { index: *index, attempt: recipient.attempts + 1, details });
        }
        Ok(readers)
    }

    /// The links to opt out lead nowhere: who looks at a test must not opt anybody out by a click.
    fn test_mail(
        &self,
        dispatch: DispatchId,
        template: &Compiled,
        template_name: &str,
        reader: &Reader,
    ) -> Result<Outgoing, &'static str> {
        let Reader { index, attempt, details } = reader;
        let rendered = template.render(&MergeData {
            email: &details.address,
            name: details.name.as_deref().unwrap_or_default(),
            attributes: &details.attributes,
            unsubscribe_url: &self.links.unsubscribe_url(mail::links::SAMPLE_TOKEN),
            preferences_url: &self.links.preferences_url(mail::links::SAMPLE_TOKEN),
            campaign_name: template_name,
            group_name: "Test",
            postal_address: self.settings.postal_address.as_deref(),
        });
        let rendered = rendered.map_err(|_| "not_rendered")?;
        let (from, host) = (&self.settings.default_from, &self.settings.mail_host);
        let message = mail::build(&MessageParts {
            from,
            reply_to: None,
            to: &Address { email: details.address.clone(), name: details.name.clone() },
            subject: &format!("[Test] {}", rendered.subject),
            html: &rendered.html,
            text: &rendered.text,
            message_id: &format!("{dispatch}.{index}.{attempt}@{host}"),
            date: clock::now(),
            list: None,
            tags: &[
                ("X-Postledger-Kind", "test"),
                ("X-Postledger-Dispatch", &dispatch.to_string()),
                ("X-Postledger-Attempt", &attempt.to_string()),
            ],
        });
        Ok(Outgoing {
            dispatch,
            subscriber: ids::recipient_id(dispatch, *index),
            attempt: u32::from(*attempt),
            envelope_from: from.email.clone(),
            envelope_to: details.address.clone(),
            message: self.signed(from, message)?,
        })
    }
}

fn divide(mails: Mails) -> (Vec<(Index, Outgoing)>, Vec<Refusal>) {
    let (mut ready, mut unsendable) = (Vec::new(), Vec::new());
    for (index, made) in mails {
        match made {
            Ok(mail) => ready.push((index, mail)),
            Err(reason) => unsendable.push(Refusal { index, reason: reason.into() }),
        }
    }
    (ready, unsendable)
}
