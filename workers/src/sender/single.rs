//! A mail outside campaigns, to one of its recipients: no list's, and so without what is in mails of lists, a test apart.

use super::Sender;
use crate::mailers::Outgoing;
use commands::people::Unreadable;
use commands::{CommandError, UNREADABLE};
use domain::DispatchId;
use domain::dispatch::Index;
use eventstore::{clock, ids};
use mail::{Address, ListHeaders, MessageParts, Rendered};

/// Of a mail that has one recipient.
pub(super) const ONLY: Index = 0;

/// The mail with what its authorization needs, or the word of why there is none.
pub(super) type Made<T> = Result<(T, Outgoing), &'static str>;

/// What cannot be read now cannot be later: there is no mail then, for that reason.
pub(super) fn unless_unreadable<T>(
    dispatch: DispatchId,
    made: Result<Made<T>, CommandError>,
) -> Result<Made<T>, CommandError> {
    match made {
        Err(error) if error.is_unreadable() => {
            Unreadable::note(dispatch, &error.described());
            Ok(Err(UNREADABLE))
        }
        made => made,
    }
}

pub(super) fn parted<T>(made: Made<T>) -> (Result<T, &'static str>, Vec<(Index, Outgoing)>) {
    match made {
        Ok((needed, outgoing)) => (Ok(needed), vec![(ONLY, outgoing)]),
        Err(reason) => (Err(reason), Vec::new()),
    }
}

/// Which one it is, and to whom.
pub(super) struct Single<'a> {
    pub kind: &'a str,
    pub dispatch: DispatchId,
    pub index: Index,
    /// From 1 on.
    pub attempt: u16,
    pub to: Address,
    /// Of a test, as its readers' mails have them.
    pub list: Option<ListHeaders<'a>>,
}

impl Sender {
    /// What our own letters call the sender.
    pub(super) fn sender_name(&self) -> &str {
        self.settings.default_from.name.as_deref().unwrap_or(&self.settings.mail_host)
    }

    pub(super) fn single(&self, single: Single<'_>, written: &Rendered) -> Result<Outgoing, &'static str> {
        let Single { kind, dispatch, index, attempt, to, list } = single;
        let (from, host) = (&self.settings.default_from, &self.settings.mail_host);
        let message = mail::build(&MessageParts {
            from,
            reply_to: None,
            to: &to,
            subject: &written.subject,
            html: &written.html,
            text: &written.text,
            message_id: &format!("{dispatch}.{index}.{attempt}@{host}"),
            date: clock::now(),
            list,
            tags: &[
                ("X-Postledger-Kind", kind),
                ("X-Postledger-Dispatch", &dispatch.to_string()),
                ("X-Postledger-Attempt", &attempt.to_string()),
            ],
        });
        Ok(Outgoing {
            dispatch,
            subscriber: ids::recipient_id(dispatch, index),
            attempt: u32::from(attempt),
            envelope_from: from.email.clone(),
            envelope_to: to.email,
            message: self.signed(from, message)?,
        })
    }
}
