//! Tests of a template, for a few colleagues.

use super::Sender;
use super::campaign::{compile, prepare};
use super::single::Single;
use super::transactional::Decided;
use crate::mailers::{Mailer, Outgoing};
use crate::window::Window;
use commands::people::{People, Unreadable};
use commands::send::Lease;
use commands::{CommandError, SubscriberDetails, UNREADABLE};
use domain::dispatch::{Index, Refusal};
use domain::template::Template;
use domain::transactional::{TestMail, Transactional};
use domain::{DispatchId, SubscriberId};
use eventstore::keys::KeyError;
use eventstore::sealing::{self, SubjectKey};
use eventstore::{Loaded, StoreError, load_at};
use mail::{Address, Compiled, ListHeaders, MergeData, Rendered};

/// A mail for each of these recipients, or the reason why none can be made.
type Mails = Vec<(Index, Result<Outgoing, &'static str>)>;

/// A recipient of a test: their own fields where they are a subscriber, else the address alone.
struct Reader {
    index: Index,
    attempt: u16,
    details: SubscriberDetails,
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
        let ids: Vec<SubscriberId> = known.values().map(|reader| reader.subscriber_id).collect();
        let people = People::load(store, &ids).await?;
        let addresses = match sealing::fetch_each(&store.pool, &store.master, &[id]).await?.remove(&id) {
            None => return Ok(Err("erased")),
            Some(key) => match addresses(key, mail) {
                Ok(addresses) => addresses,
                Err(error) => {
                    Unreadable::note(id, &error);
                    return Ok(Err(UNREADABLE));
                }
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
                let details = opened.map(|(_, details)| details).unwrap_or_default();
                let details = SubscriberDetails { address: address.clone(), ..details };
                Reader { index: *index, attempt: recipient.attempts + 1, details }
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
        let Reader { index, attempt, details } = reader;
        let unsubscribe_url = self.links.unsubscribe_url(mail::links::SAMPLE_TOKEN);
        let rendered = template.render(&MergeData {
            email: &details.address,
            name: details.name.as_deref().unwrap_or_default(),
            attributes: &details.attributes,
            unsubscribe_url: &unsubscribe_url,
            preferences_url: &self.links.preferences_url(mail::links::SAMPLE_TOKEN),
            campaign_name: template_name,
            group_name: "Test",
            postal_address: self.settings.postal_address.as_deref(),
        });
        let rendered = rendered.map_err(|_| "not_rendered")?;
        let written = Rendered { subject: format!("[Test] {}", rendered.subject), ..rendered };
        let to = Address { email: details.address.clone(), name: details.name.clone() };
        let list_id = format!("test.{}", self.settings.mail_host);
        let list = ListHeaders { id: &list_id, name: "Test", unsubscribe_url: &unsubscribe_url };
        let single =
            Single { kind: "test", dispatch, index: *index, attempt: *attempt, to, list: Some(list) };
        self.single(single, &written)
    }
}

fn addresses(key: Result<SubjectKey, KeyError>, mail: &TestMail) -> Result<Vec<String>, StoreError> {
    let addresses = key?.open("addresses", &mail.addresses)?;
    serde_json::from_str(&addresses).map_err(|_| StoreError::Format("addresses of a test".into()))
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
