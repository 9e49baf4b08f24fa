use super::{Authorization, DispatchCommand, DispatchError, DispatchEvent, Index, Refusal, Settlement};
use crate::campaign::OnUnknown;
use crate::guard::{DispatchWork, Guard, Guarded};
use crate::{CampaignId, PermitId, Sequence, SubscriberId};
use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Bounds the size of an event and of a stream.
pub const RECIPIENTS_MAX: usize = 500;
/// Tries of one recipient that the other side began to answer; after the last, a deferral is a rejection and an
/// unknown end stays unknown. What never started does not count.
pub const TRIES_MAX: u16 = 8;
const EXHAUSTED: &str = "attempts_exhausted";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    Pending,
    /// Pending to the outside: a call may be under way.
    Authorized(PermitId),
    Accepted,
    Suppressed,
    Rejected,
    /// Of this permit: a late settlement may still say more.
    Unknown(PermitId),
    Cancelled,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recipient {
    pub subscriber: SubscriberId,
    pub state: State,
    /// Authorizations so far; the number of the last one names its mail.
    pub attempts: u16,
    /// Deferrals and unknown ends that were followed by another try.
    pub setbacks: u16,
    /// Of the template that the last mail authorized was made from; `None`: the campaign's as it was frozen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template_version: Option<Sequence>,
}

impl Recipient {
    pub fn waiting(subscriber: SubscriberId) -> Self {
        Self { subscriber, state: State::Pending, attempts: 0, setbacks: 0, template_version: None }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Dispatch {
    pub version: Sequence,
    pub campaign_id: CampaignId,
    pub page: u32,
    pub recipients: Vec<Recipient>,
    pub cancelled: bool,
    /// What the next mails are made from; `None`: the campaign's as it was frozen.
    pub template_version: Option<Sequence>,
}

impl Aggregate for Dispatch {
    const TYPE: &'static str = "dispatch";
    type Command = DispatchCommand;
    type Event = DispatchEvent;
    type Error = DispatchError;
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
        match event {
            DispatchEvent::Planned { campaign_id, page, recipients } => {
                self.campaign_id = campaign_id;
                self.page = page;
                self.recipients = recipients.into_iter().map(Recipient::waiting).collect();
            }
            DispatchEvent::Authorized { permit_id, recipients, suppressed, rejected, .. } => {
                for index in &recipients {
                    if let Some(recipient) = self.recipients.get_mut(usize::from(*index)) {
                        recipient.attempts = recipient.attempts.saturating_add(1);
                        recipient.template_version = self.template_version;
                    }
                }
                self.set(&recipients, State::Authorized(permit_id));
                self.set(&indexes(&suppressed), State::Suppressed);
                self.set(&indexes(&rejected), State::Rejected);
            }
            DispatchEvent::TemplateTaken { template_version } => {
                self.template_version = Some(template_version);
            }
            DispatchEvent::Settled { permit_id, accepted, rejected, unknown, returned, deferred } => {
                self.set(&accepted, State::Accepted);
                self.set(&indexes(&rejected), State::Rejected);
                self.set(&unknown, State::Unknown(permit_id));
                self.put_back(&returned);
                self.set_back(&deferred);
            }
            DispatchEvent::LateHandover { .. } => {}
            DispatchEvent::Reconciled { permit_id, accepted, unknown, returned } => {
                self.set(&accepted, State::Accepted);
                self.set(&unknown, State::Unknown(permit_id));
                self.put_back(&returned);
            }
            DispatchEvent::UnknownReturned { recipients } => self.set_back(&recipients),
            DispatchEvent::Cancelled {} => {
                self.cancelled = true;
                for recipient in self.recipients.iter_mut().filter(|r| r.state == State::Pending) {
                    recipient.state = State::Cancelled;
                }
            }
        }
    }
}

fn indexes(refusals: &[Refusal]) -> Vec<Index> {
    refusals.iter().map(|refusal| refusal.index).collect()
}

type Decision = Result<Vec<DispatchEvent>, DispatchError>;

impl Dispatch {
    /// Recipients that no permit covers and that wait for a send.
    pub fn waiting(&self) -> Vec<Index> {
        self.indexes_in(|state| state == State::Pending)
    }

    /// Recipients whose end this permit still owes.
    pub fn authorized_by(&self, permit: PermitId) -> Vec<Index> {
        self.indexes_in(|state| state == State::Authorized(permit))
    }

    fn indexes_in(&self, wanted: impl Fn(State) -> bool) -> Vec<Index> {
        (0..).zip(&self.recipients).filter(|(_, r)| wanted(r.state)).map(|(index, _)| index).collect()
    }

    fn at(&self, index: Index) -> Option<&Recipient> {
        self.recipients.get(usize::from(index))
    }

    fn set(&mut self, indexes: &[Index], state: State) {
        for index in indexes {
            if let Some(recipient) = self.recipients.get_mut(usize::from(*index)) {
                recipient.state = state;
            }
        }
    }

    fn put_back(&mut self, indexes: &[Index]) {
        self.set(indexes, if self.cancelled { State::Cancelled } else { State::Pending });
    }

    fn set_back(&mut self, indexes: &[Index]) {
        for index in indexes {
            if let Some(recipient) = self.recipients.get_mut(usize::from(*index)) {
                recipient.setbacks = recipient.setbacks.saturating_add(1);
            }
        }
        self.put_back(indexes);
    }

    fn decide(&self, command: DispatchCommand) -> Decision {
        match command {
            DispatchCommand::Plan { campaign_id, page, recipients } => {
                self.plan(campaign_id, page, recipients)
            }
            _ if self.version == 0 => Err(DispatchError::Unknown),
            DispatchCommand::Authorize(authorization) => self.authorize(authorization),
            DispatchCommand::Settle { settlement, on_unknown } => Ok(self.settle(settlement, on_unknown)),
            DispatchCommand::Reconcile { settlement, on_unknown } => {
                Ok(self.reconcile(settlement, on_unknown))
            }
            DispatchCommand::Cancel => Ok(match self.cancelled {
                true => Vec::new(),
                false => vec![DispatchEvent::Cancelled {}],
            }),
        }
    }

    fn plan(&self, campaign_id: CampaignId, page: u32, recipients: Vec<SubscriberId>) -> Decision {
        match recipients.len() {
            _ if self.version > 0 => Err(DispatchError::Exists),
            1..=RECIPIENTS_MAX => Ok(vec![DispatchEvent::Planned { campaign_id, page, recipients }]),
            _ => Err(DispatchError::Size(RECIPIENTS_MAX)),
        }
    }

    fn authorize(&self, authorization: Authorization) -> Decision {
        let Authorization { permit_id, template_version, allowed, suppressed, rejected } = authorization;
        let (recipients, consents): (Vec<Index>, Vec<Sequence>) = allowed.into_iter().unzip();
        let all = recipients.iter().copied().chain(indexes(&suppressed)).chain(indexes(&rejected));
        for index in all {
            if self.at(index).is_none_or(|r| r.state != State::Pending) {
                return Err(DispatchError::NotPending(index));
            }
        }
        if recipients.is_empty() && suppressed.is_empty() && rejected.is_empty() {
            return Ok(Vec::new());
        }
        let taken =
            template_version.filter(|_| !recipients.is_empty() && template_version != self.template_version);
        let taken = taken.map(|template_version| DispatchEvent::TemplateTaken { template_version });
        let authorized = DispatchEvent::Authorized { permit_id, recipients, consents, suppressed, rejected };
        Ok(taken.into_iter().chain([authorized]).collect())
    }

    /// A settlement says something of those recipients alone that its permit still owes: authorized by it. Of those
    /// that a reconciler declared unknown, since it took the worker for dead, it can still say how they ended; it cannot
    /// put them back, since the campaign may be over.
    fn settle(&self, mut s: Settlement, on_unknown: OnUnknown) -> Vec<DispatchEvent> {
        let is = |index: Index, state: State| self.at(index).is_some_and(|r| r.state == state);
        let authorized = |index: Index| is(index, State::Authorized(s.permit_id));
        let owed = |index: Index| authorized(index) || is(index, State::Unknown(s.permit_id));
        for list in [&mut s.accepted, &mut s.late] {
            list.retain(|index| owed(*index));
        }
        for list in [&mut s.unknown, &mut s.returned, &mut s.deferred] {
            list.retain(|index| authorized(*index));
        }
        s.rejected.retain(|refusal| owed(refusal.index));
        let (deferred, exhausted) = s.deferred.into_iter().partition(|index| self.may_try_again(*index));
        let spent = |index| Refusal { index, reason: EXHAUSTED.into() };
        s.rejected.extend(Vec::<Index>::into_iter(exhausted).map(spent));
        let resent = self.resent(&s.unknown, on_unknown);
        let settled = DispatchEvent::Settled {
            permit_id: s.permit_id,
            accepted: s.accepted,
            rejected: s.rejected,
            unknown: s.unknown,
            returned: s.returned,
            deferred,
        };
        let late = (!s.late.is_empty())
            .then_some(DispatchEvent::LateHandover { permit_id: s.permit_id, recipients: s.late });
        [settled].into_iter().filter(says_something).chain(late).chain(resent).collect()
    }

    fn reconcile(&self, mut s: Settlement, on_unknown: OnUnknown) -> Vec<DispatchEvent> {
        let owed = |index: Index| self.at(index).map(|r| r.state) == Some(State::Authorized(s.permit_id));
        for list in [&mut s.accepted, &mut s.unknown, &mut s.returned] {
            list.retain(|index| owed(*index));
        }
        let resent = self.resent(&s.unknown, on_unknown);
        let reconciled = DispatchEvent::Reconciled {
            permit_id: s.permit_id,
            accepted: s.accepted,
            unknown: s.unknown,
            returned: s.returned,
        };
        [reconciled].into_iter().filter(says_something).chain(resent).collect()
    }

    fn resent(&self, unknown: &[Index], on_unknown: OnUnknown) -> Option<DispatchEvent> {
        let again = unknown.iter().copied().filter(|index| self.may_try_again(*index)).collect::<Vec<_>>();
        (on_unknown == OnUnknown::Resend && !again.is_empty())
            .then_some(DispatchEvent::UnknownReturned { recipients: again })
    }

    fn may_try_again(&self, index: Index) -> bool {
        self.at(index).is_some_and(|r| r.setbacks + 1 < TRIES_MAX)
    }

    fn pending(&self) -> usize {
        self.indexes_in(|state| matches!(state, State::Pending | State::Authorized(_))).len()
    }
}

fn says_something(event: &DispatchEvent) -> bool {
    match event {
        DispatchEvent::Settled { accepted, rejected, unknown, returned, deferred, .. } => {
            !(accepted.is_empty()
                && rejected.is_empty()
                && unknown.is_empty()
                && returned.is_empty()
                && deferred.is_empty())
        }
        DispatchEvent::Reconciled { accepted, unknown, returned, .. } => {
            !(accepted.is_empty() && unknown.is_empty() && returned.is_empty())
        }
        DispatchEvent::Planned { .. }
        | DispatchEvent::Authorized { .. }
        | DispatchEvent::TemplateTaken { .. }
        | DispatchEvent::LateHandover { .. }
        | DispatchEvent::UnknownReturned { .. }
        | DispatchEvent::Cancelled {} => true,
    }
}

impl Guarded for Dispatch {
    const SNAPSHOT_FORMAT: i32 = 2;

    fn guards(id: &str, _: &Self, after: &Self) -> Vec<Guard> {
        let Ok(dispatch) = Uuid::parse_str(id) else { return Vec::new() };
        vec![Guard::Dispatch(DispatchWork {
            dispatch,
            campaign: Some(after.campaign_id),
            mailer: None,
            page: after.page,
            last_subscriber: after.recipients.last().map(|r| r.subscriber),
            recipients: after.recipients.len() as u32,
            pending: after.pending() as u32,
        })]
    }
}
