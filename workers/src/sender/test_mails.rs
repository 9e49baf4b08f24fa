//! Tests of a template, for a few colleagues.

use super::Sender;
use super::campaign::{compile, prepare};
use super::single::Single;
use super::transactional::Decided;
use crate::mailers::{Mailer, Outgoing};
use crate::window::Window;
use commands::attributes::Attributes;
use commands::people::{People, Unreadable};
use commands::send::Lease;
use commands::{CommandError, SubscriberDetails, UNREADABLE};
use domain::dispatch::{Index, Refusal};
use domain::template::Template;
use domain::transactional::{Shown, TestMail, Transactional};
use domain::{DispatchId, SubscriberId};
use eventstore::keys::KeyError;
use eventstore::sealing::{self, SubjectKey};
use eventstore::{Loaded, StoreError, load_at};
use mail::{Address, Compiled, ListHeaders, MergeData, Rendered};

/// A mail for each of these recipients, or the reason why none can be made.
type Mails = Vec<(Index, Result<Outgoing, &'static str>)>;

/// A recipient of a test.
struct Reader {
    index: Index,
    attempt: u16,
    to: Address,
    /// What the template is filled with: what the request says; else their own fields where they are a subscriber, or the address alone.
    fields: SubscriberDetails,
}

impl Sender {
    pub(super) async fn decide_on_tests(
        &self,
        lease: Lease,
        dispatch: Loaded<Transactional>,
        mail: &TestMail,
        mailer: &dyn Mailer,
        waiting: &[Index],
    ) -> Result<Decided, CommandError> {
        let mails = self.compose_tests(lease.dispatch_id, &dispatch.aggregate, mail, waiting).await?;
        let (mails, unsendable) = divide(mails);
        let candidates: Vec<Index> = mails.iter().map(|(index, _)| *index).collect();
        let window = Window::open(self.commands.timing.window);
        let (name, hold) = (mailer.name(), self.hold(mailer));
        let authorized =
            self.commands.authorize_test(lease, dispatch, name, &candidates, unsendable, hold).await?;
        Ok(Decided { mails, window, authorized })
    }

    async fn compose_tests(
        &self,
        id: DispatchId,
        dispatch: &Transactional,
        mail: &TestMail,
        waiting: &[Index],
    ) -> Result<Mails, CommandError> {
        let pool = &self.commands.store.pool;
        let readers = match self.test_readers(id, dispatch, mail, waiting).await? {
            Ok(readers) => readers,
            Err(reason) => return Ok(waiting.iter().map(|index| (*index, Err(reason))).collect()),
        };
        let template = load_at::<Template>(pool, mail.template_id, mail.template_version).await?;
        let content = template.aggregate.content;
        let name = content.name.clone();
        let saved = prepare(&self.commands, &self.settings.media_url, content).await?;
        let sender = self.clone();
        // Compiling and rendering is computing: not on a thread that others' I/O waits for.
        let composed = tokio::task::spawn_blocking(move || {
            let template = compile(&saved);
            let mails = readers.iter().map(|(index, reader)| {
                let made = reader.as_ref().map_err(|reason| *reason);
                (*index, made.and_then(|reader| sender.test_mail(id, &template, &name, reader)))
            });
            mails.collect()
        });
        Ok(composed.await.map_err(StoreError::from)?)
    }

    /// Whoever is a subscriber sees the template with their own fields. An error is that of all: one of them was erased, and the
    /// addresses of all are gone; or they cannot be read.
    async fn test_readers(
        &self,
        id: DispatchId,
        dispatch: &Transactional,
        mail: &TestMail,
        waiting: &[Index],
    ) -> Result<Result<Vec<(Index, Result<Reader, &'static str>)>, &'static str>, CommandError> {
        let store = &self.commands.store;
        let known = self.commands.test_readers(dispatch).await?;
        let ids: Vec<SubscriberId> =
            known.values().map(|reader| reader.subscriber_id).chain(dispatch.shown_subscriber()).collect();
        let people = People::load(store, &ids).await?;
        let (addresses, given) =
            match sealing::fetch_each(&store.pool, &store.master, &[id]).await?.remove(&id) {
                None => return Ok(Err("erased")),
                Some(key) => match opened(key, mail) {
                    Ok(opened) => opened,
                    Err(error) => {
                        Unreadable::note(id, &error);
                        return Ok(Err(UNREADABLE));
                    }
                },
            };
        let shown = match &mail.shown {
            None => None,
            Some(Shown::Fields(_)) => given,
            Some(Shown::Subscriber(shown)) => match people.open(*shown) {
                Ok(Some((_, details))) => Some(details),
                Ok(None) => return Ok(Err("erased")),
                Err(Unreadable) => return Ok(Err(UNREADABLE)),
            },
        };
        let mut readers = Vec::with_capacity(waiting.len());
        for index in waiting {
            let place = usize::from(*index);
            let (Some(recipient), Some(address)) = (dispatch.recipients.get(place), addresses.get(place))
            else {
                continue;
            };
            let subscriber = known.get(recipient.address_hash.0.as_slice());
            let opened = subscriber.map_or(Ok(None), |reader| people.open(reader.subscriber_id));
            let reader = opened.map_err(|Unreadable| UNREADABLE).map(|opened| {
                let own = opened.map(|(_, details)| details).unwrap_or_default();
                let own = SubscriberDetails { address: address.clone(), ..own };
                let to = Address { email: own.address.clone(), name: own.name.clone() };
                let fields = shown.clone().map_or(own, |shown| named(shown, address));
                Reader { index: *index, attempt: recipient.attempts + 1, to, fields }
            });
            readers.push((*index, reader));
        }
        Ok(Ok(readers))
    }

    /// It has what every reader's mail has, and its links lead to a page that says what a reader's would do: whoever looks at a test
    /// must not opt anybody out by a click, nor must their mail program.
    fn test_mail(
        &self,
        dispatch: DispatchId,
        template: &Compiled,
        template_name: &str,
        reader: &Reader,
    ) -> Result<Outgoing, &'static str> {
        let Reader { index, attempt, to, fields } = reader;
        let unsubscribe_url = self.links.unsubscribe_url(mail::links::SAMPLE_TOKEN);
        let rendered = template.render(&MergeData {
            email: &fields.address,
            name: fields.name.as_deref().unwrap_or_default(),
            attributes: &fields.attributes,
            unsubscribe_url: &unsubscribe_url,
            preferences_url: &self.links.preferences_url(mail::links::SAMPLE_TOKEN),
            campaign_name: template_name,
            group_name: "Test",
            postal_address: self.settings.postal_address.as_deref(),
        });
        let rendered = rendered.map_err(|_| "not_rendered")?;
        let written = Rendered { subject: format!("[Test] {}", rendered.subject), ..rendered };
        let list_id = format!("test.{}", self.settings.mail_host);
        let list = ListHeaders { id: &list_id, name: "Test", unsubscribe_url: &unsubscribe_url };
        let single = Single {
            kind: "test",
            dispatch,
            index: *index,
            attempt: *attempt,
            to: to.clone(),
            list: Some(list),
        };
        self.single(single, &written)
    }
}

/// What the mail's own key seals: the addresses, and the fields that were given.
fn opened(
    key: Result<SubjectKey, KeyError>,
    mail: &TestMail,
) -> Result<(Vec<String>, Option<SubscriberDetails>), StoreError> {
    let (key, format) = (key?, |what: &str| StoreError::Format(format!("{what} of a test")));
    let addresses = serde_json::from_str(&key.open("addresses", &mail.addresses)?);
    let addresses = addresses.map_err(|_| format("addresses"))?;
    let Some(Shown::Fields(sealed)) = &mail.shown else { return Ok((addresses, None)) };
    let mut attributes: Attributes =
        serde_json::from_str(&key.open("fields", sealed)?).map_err(|_| format("fields"))?;
    let address = attributes.remove("email").unwrap_or_default();
    let given = SubscriberDetails { address, name: attributes.remove("name"), attributes };
    Ok((addresses, Some(given)))
}

/// Fields that were given without an `email` have the recipient's.
fn named(shown: SubscriberDetails, recipient: &str) -> SubscriberDetails {
    match shown.address.is_empty() {
        true => SubscriberDetails { address: recipient.to_owned(), ..shown },
        false => shown,
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
