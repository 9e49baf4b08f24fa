use super::{
    AccountMail, Mail, OptInMail, OptOutMail, Shown, SubscriptionMail, TestMail, TransactionalEvent,
};
use crate::dispatch::{DispatchError, Index, Refusal, Settlement, State};
use crate::guard::{DispatchWork, Guard, Guarded};
use crate::{AddressHash, PermitId, Sequence, SubscriberId};
use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A test is for a few colleagues; a campaign is for the rest.
pub const RECIPIENTS_MAX: usize = 10;
const EXPIRED: &str = "expired";

#[derive(Debug, Clone, PartialEq)]
pub enum TransactionalCommand {
    RequestTest(TestMail),
    RequestAccount(AccountMail),
    RequestSubscription(Box<SubscriptionMail>),
    RequestOptOut(OptOutMail),
    RequestOptIn(OptInMail),
    Authorize {
        permit_id: PermitId,
        allowed: Vec<Index>,
        suppressed: Vec<Refusal>,
        /// Could not be rendered or built: no call is made for them.
        rejected: Vec<Refusal>,
    },
    /// `deferred` ones wait for another try, as `returned` ones do, until the mail expires.
    Settle(Settlement),
    /// Gives up what waits: its time is over, or for the reason that is named.
    Expire {
        reason: Option<&'static str>,
    },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recipient {
    pub address_hash: AddressHash,
    pub state: State,
    /// Why it was suppressed or rejected.
    pub reason: Option<String>,
    /// Authorizations so far; the number of the last one names its mail.
    pub attempts: u16,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Transactional {
    pub version: Sequence,
    pub mail: Option<Mail>,
    pub recipients: Vec<Recipient>,
    /// Why what waits is given up, once it is.
    pub given_up: Option<String>,
}

impl Aggregate for Transactional {
    const TYPE: &'static str = "transactional";
    type Command = TransactionalCommand;
    type Event = TransactionalEvent;
    type Error = DispatchError;
    type Services = ();

    async fn handle(
        &mut self,
        command: Self::Command,
        _: &Self::Services,
        sink: &EventSink<Self>,
    ) -> Result<(), Self::Error> {
        if let Some(event) = self.decide(command)? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: Self::Event) {
        self.version += 1;
        match event {
            TransactionalEvent::TestRequested(mail) => self.begin(Mail::Test(mail)),
            TransactionalEvent::AccountRequested(mail) => self.begin(Mail::Account(mail)),
            TransactionalEvent::SubscriptionRequested(mail) => self.begin(Mail::Subscription(mail)),
            TransactionalEvent::OptOutRequested(mail) => self.begin(Mail::OptOut(mail)),
            TransactionalEvent::OptInRequested(mail) => self.begin(Mail::OptIn(mail)),
            TransactionalEvent::Authorized { permit_id, recipients, suppressed, rejected } => {
                for recipient in self.each(&recipients) {
                    recipient.attempts = recipient.attempts.saturating_add(1);
                    recipient.state = State::Authorized(permit_id);
                }
                self.refuse(suppressed, State::Suppressed);
                self.refuse(rejected, State::Rejected);
            }
            TransactionalEvent::Settled { permit_id, accepted, rejected, unknown, returned, late: _ } => {
                self.each(&accepted).for_each(|recipient| recipient.state = State::Accepted);
                self.each(&unknown).for_each(|recipient| recipient.state = State::Unknown(permit_id));
                self.each(&returned).for_each(|recipient| recipient.state = State::Pending);
                self.refuse(rejected, State::Rejected);
                self.give_up_what_waits();
            }
            TransactionalEvent::Expired { reason } => {
                self.given_up = Some(reason.unwrap_or_else(|| EXPIRED.into()));
                self.give_up_what_waits();
            }
        }
    }
}

type Decision = Result<Option<TransactionalEvent>, DispatchError>;

impl Transactional {
    /// Recipients that no permit covers and that wait for a send.
    pub fn waiting(&self) -> Vec<Index> {
        self.indexes_in(|state| state == State::Pending)
    }

    /// Recipients whose end this permit still owes.
    pub fn authorized_by(&self, permit: PermitId) -> Vec<Index> {
        self.indexes_in(|state| state == State::Authorized(permit))
    }

    /// The subscriber whose fields all recipients of a test are shown.
    pub fn shown_subscriber(&self) -> Option<SubscriberId> {
        match &self.mail {
            Some(Mail::Test(TestMail { shown: Some(Shown::Subscriber(id)), .. })) => Some(*id),
            _ => None,
        }
    }

    fn begin(&mut self, mail: Mail) {
        let waiting = |hash: &AddressHash| Recipient {
            address_hash: *hash,
            state: State::Pending,
            reason: None,
            attempts: 0,
        };
        self.recipients = mail.address_hashes().iter().map(waiting).collect();
        self.mail = Some(mail);
    }

    fn indexes_in(&self, wanted: impl Fn(State) -> bool) -> Vec<Index> {
        (0..).zip(&self.recipients).filter(|(_, r)| wanted(r.state)).map(|(index, _)| index).collect()
    }

    fn state(&self, index: Index) -> Option<State> {
        self.recipients.get(usize::from(index)).map(|recipient| recipient.state)
    }

    fn each(&mut self, indexes: &[Index]) -> impl Iterator<Item = &mut Recipient> {
        (0..).zip(&mut self.recipients).filter(|(index, _)| indexes.contains(index)).map(|(_, r)| r)
    }

    fn refuse(&mut self, refusals: Vec<Refusal>, state: State) {
        for refusal in refusals {
            if let Some(recipient) = self.recipients.get_mut(usize::from(refusal.index)) {
                recipient.state = state;
                recipient.reason = Some(refusal.reason);
            }
        }
    }

    fn give_up_what_waits(&mut self) {
        let Some(reason) = &self.given_up else { return };
        for recipient in self.recipients.iter_mut().filter(|r| r.state == State::Pending) {
            recipient.state = State::Rejected;
            recipient.reason = Some(reason.clone());
        }
    }

    fn decide(&self, command: TransactionalCommand) -> Decision {
        match command {
            TransactionalCommand::RequestTest(mail) => match mail.address_hashes.len() {
                _ if self.version > 0 => Err(DispatchError::Exists),
                1..=RECIPIENTS_MAX => Ok(Some(TransactionalEvent::TestRequested(mail))),
                _ => Err(DispatchError::Size(RECIPIENTS_MAX)),
            },
            TransactionalCommand::RequestAccount(mail) => {
                self.first(TransactionalEvent::AccountRequested(mail))
            }
            TransactionalCommand::RequestSubscription(mail) => {
                self.first(TransactionalEvent::SubscriptionRequested(*mail))
            }
            TransactionalCommand::RequestOptOut(mail) => {
                self.first(TransactionalEvent::OptOutRequested(mail))
            }
            TransactionalCommand::RequestOptIn(mail) => self.first(TransactionalEvent::OptInRequested(mail)),
            _ if self.version == 0 => Err(DispatchError::Unknown),
            TransactionalCommand::Authorize { permit_id, allowed, suppressed, rejected } => {
                self.authorize(permit_id, allowed, suppressed, rejected)
            }
            TransactionalCommand::Settle(settlement) => Ok(self.settle(settlement)),
            TransactionalCommand::Expire { reason } => {
                let expired = TransactionalEvent::Expired { reason: reason.map(str::to_owned) };
                Ok((!self.waiting().is_empty()).then_some(expired))
            }
        }
    }

    fn first(&self, event: TransactionalEvent) -> Decision {
        if self.version == 0 { Ok(Some(event)) } else { Err(DispatchError::Exists) }
    }

    fn authorize(
        &self,
        permit_id: PermitId,
        recipients: Vec<Index>,
        suppressed: Vec<Refusal>,
        rejected: Vec<Refusal>,
    ) -> Decision {
        let refused = suppressed.iter().chain(&rejected).map(|refusal| refusal.index);
        let all: Vec<Index> = recipients.iter().copied().chain(refused).collect();
        match all.iter().find(|index| self.state(**index) != Some(State::Pending)) {
            Some(index) => Err(DispatchError::NotPending(*index)),
            None if all.is_empty() => Ok(None),
            None => Ok(Some(TransactionalEvent::Authorized { permit_id, recipients, suppressed, rejected })),
        }
    }

    /// A settlement says something of those recipients alone that its permit still owes. Of those whose worker was
    /// taken for dead it can still say how they ended; it cannot put them back.
    fn settle(&self, s: Settlement) -> Option<TransactionalEvent> {
        let authorized = |index: &Index| self.state(*index) == Some(State::Authorized(s.permit_id));
        let owed =
            |index: &Index| authorized(index) || self.state(*index) == Some(State::Unknown(s.permit_id));
        let keep = |indexes: Vec<Index>, of: &dyn Fn(&Index) -> bool| -> Vec<Index> {
            indexes.into_iter().filter(|index| of(index)).collect()
        };
        let accepted = keep(s.accepted, &owed);
        let rejected: Vec<_> = s.rejected.into_iter().filter(|refusal| owed(&refusal.index)).collect();
        let unknown = keep(s.unknown, &authorized);
        let returned = keep([s.returned, s.deferred].concat(), &authorized);
        let late = keep(s.late, &owed);
        let says_something = !accepted.is_empty()
            || !rejected.is_empty()
            || !unknown.is_empty()
            || !returned.is_empty()
            || !late.is_empty();
        says_something.then_some(TransactionalEvent::Settled {
            permit_id: s.permit_id,
            accepted,
            rejected,
            unknown,
            returned,
            late,
        })
    }
}

impl Guarded for Transactional {
    const SNAPSHOT_FORMAT: i32 = 2;

    fn guards(id: &str, _: &Self, after: &Self) -> Vec<Guard> {
        let Ok(dispatch) = Uuid::parse_str(id) else { return Vec::new() };
        let pending = after.indexes_in(|state| matches!(state, State::Pending | State::Authorized(_)));
        vec![Guard::Dispatch(DispatchWork {
            dispatch,
            campaign: None,
            mailer: after.mail.as_ref().map(|mail| mail.mailer().to_owned()),
            page: 0,
            last_subscriber: None,
            recipients: after.recipients.len() as u32,
            pending: pending.len() as u32,
        })]
    }
}
