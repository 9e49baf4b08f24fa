//! Makes the mails of a chunk from the readers' own streams: nothing here is behind.

use super::{CampaignContext, Sender};
use crate::mailers::Outgoing;
use commands::people::{People, Unreadable};
use commands::send::{Candidate, Claim, Refused};
use commands::{CommandError, SubscriberDetails, UNREADABLE};
use domain::dispatch::{Dispatch, Index, Refusal};
use domain::{AddressHash, DispatchId, SubscriberId};
use eventstore::clock;
use mail::{Address, Compiled, ListHeaders, MergeData, MessageError, MessageParts, PreferenceClaims};
use std::sync::Arc;
use uuid::Uuid;

/// A chunk ready to be authorized.
#[derive(Default)]
pub struct Composed {
    /// By index, ascending.
    pub candidates: Vec<Candidate>,
    pub mails: Vec<(Index, Outgoing)>,
    /// For whom no mail can be made.
    pub refused: Refused,
}

struct Reader {
    index: Index,
    id: SubscriberId,
    attempt: u32,
    address_hash: AddressHash,
    details: SubscriberDetails,
}

/// A chunk's recipients.
#[derive(Default)]
struct Read {
    readers: Vec<Reader>,
    erased: Vec<Index>,
    unreadable: Vec<Index>,
}

impl Sender {
    pub(super) async fn compose(
        &self,
        context: &Arc<CampaignContext>,
        claim: &Claim,
        dispatch: &Dispatch,
        chunk: &[Index],
    ) -> Result<Composed, CommandError> {
        let Read { readers, erased, unreadable } = self.read_chunk(dispatch, chunk).await?;
        let (sender, context, dispatch_id) = (self.clone(), context.clone(), claim.lease.dispatch_id);
        let campaign_id = claim.campaign_id;
        // Rendering a chunk takes milliseconds of computing: not on a thread that others' I/O waits for.
        let composed = tokio::task::spawn_blocking(move || {
            let mut composed = Composed::default();
            composed.refused.erased = erased;
            let unreadable = unreadable.into_iter();
            composed.refused.unsendable =
                unreadable.map(|index| Refusal { index, reason: UNREADABLE.into() }).collect();
            for reader in readers {
                match sender.mail_to(&context, campaign_id, dispatch_id, &reader) {
                    Ok(outgoing) => {
                        let Reader { index, id, address_hash, .. } = reader;
                        composed.candidates.push(Candidate { index, subscriber: id, address: address_hash });
                        composed.mails.push((index, outgoing));
                    }
                    Err(reason) => composed.refused.unsendable.push(Refusal { index: reader.index, reason }),
                }
            }
            composed
        });
        Ok(composed.await.map_err(eventstore::StoreError::from)?)
    }

    /// Each reader by themselves: one that cannot be read withholds no mail from the others.
    async fn read_chunk(&self, dispatch: &Dispatch, chunk: &[Index]) -> Result<Read, CommandError> {
        let store = &self.commands.store;
        let recipients: Vec<_> =
            chunk.iter().filter_map(|i| dispatch.recipients.get(usize::from(*i)).map(|r| (*i, r))).collect();
        let ids: Vec<Uuid> = recipients.iter().map(|(_, recipient)| recipient.subscriber).collect();
        let people = People::load(store, &ids).await?;
        let mut read = Read::default();
        for (index, recipient) in recipients {
            let id = recipient.subscriber;
            match people.open(id) {
                Ok(Some((address_hash, details))) => {
                    let attempt = u32::from(recipient.attempts) + 1;
                    read.readers.push(Reader { index, id, attempt, address_hash, details });
                }
                Ok(None) => read.erased.push(index),
                Err(Unreadable) => read.unreadable.push(index),
            }
        }
        Ok(read)
    }

    /// The reason is a word: an error's text could quote a field.
    fn mail_to(
        &self,
        context: &CampaignContext,
        campaign: Uuid,
        dispatch: DispatchId,
        reader: &Reader,
    ) -> Result<Outgoing, String> {
        let details = &context.details;
        let token = self.keys.sign_preference(&PreferenceClaims {
            subscriber: reader.id,
            campaign: Some(campaign),
            group: Some(details.group_id),
            dispatch: Some(dispatch),
            issued_at: clock::now().timestamp(),
        });
        let token = token.map_err(|_| "link_not_signed")?;
        let unsubscribe_url = self.links.unsubscribe_url(&token);
        let rendered = self.render(&context.template, context, reader, &unsubscribe_url, &token)?;
        let from = details.from.as_deref().map(Address::parse).transpose().map_err(|_| "bad_sender")?;
        let reply_to =
            details.reply_to.as_deref().map(Address::parse).transpose().map_err(|_| "bad_reply_to")?;
        let from = from.as_ref().unwrap_or(&self.settings.default_from);
        let host = &self.settings.mail_host;
        let (dispatch_text, subscriber_text) = (dispatch.to_string(), reader.id.to_string());
        let message = mail::build(&MessageParts {
            from,
            reply_to: reply_to.as_ref(),
            to: &Address { email: reader.details.address.clone(), name: reader.details.name.clone() },
            subject: &rendered.subject,
            html: &rendered.html,
            text: &rendered.text,
            message_id: &format!("{dispatch}.{}.{}@{host}", reader.index, reader.attempt),
            date: clock::now(),
            list: Some(ListHeaders {
                id: &format!("{}.{host}", details.group_id),
                name: &context.group_name,
                unsubscribe_url: &unsubscribe_url,
            }),
            tags: &[
                ("X-Postledger-Campaign", &campaign.to_string()),
                ("X-Postledger-Dispatch", &dispatch_text),
                ("X-Postledger-Subscriber", &subscriber_text),
                ("X-Postledger-Attempt", &reader.attempt.to_string()),
            ],
        });
        Ok(Outgoing {
            dispatch,
            subscriber: reader.id,
            attempt: reader.attempt,
            envelope_from: from.email.clone(),
            envelope_to: reader.details.address.clone(),
            message: self.signed(from, message)?,
        })
    }

    /// A whole message with its DKIM signatures, or the word of why there is none.
    pub(super) fn signed(
        &self,
        from: &Address,
        built: Result<Vec<u8>, MessageError>,
    ) -> Result<Vec<u8>, &'static str> {
        let message = built.map_err(|_| "message_not_built")?;
        self.settings.dkim.sign(&from.email, message).map_err(|_| "message_not_signed")
    }

    fn render(
        &self,
        template: &Compiled,
        context: &CampaignContext,
        reader: &Reader,
        unsubscribe_url: &str,
        token: &str,
    ) -> Result<mail::Rendered, String> {
        let data = MergeData {
            email: &reader.details.address,
            name: reader.details.name.as_deref().unwrap_or_default(),
            attributes: &reader.details.attributes,
            unsubscribe_url,
            preferences_url: &self.links.preferences_url(token),
            campaign_name: &context.details.name,
            group_name: &context.group_name,
            postal_address: self.settings.postal_address.as_deref(),
        };
        template.render(&data).map_err(|_| "not_rendered".to_owned())
    }
}
