use crate::{CampaignId, Event, PermitId, Sequence, SubscriberId};
use cqrs_es::DomainEvent;
use serde::{Deserialize, Serialize};

/// A recipient's place in its dispatch, from 0.
pub type Index = u16;

/// A recipient that was not written to, and why: a word, or a provider's code. Never a provider's text, which may
/// hold personal data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    pub index: Index,
    pub reason: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum DispatchEvent {
    #[serde(rename = "DispatchPlanned")]
    Planned { campaign_id: CampaignId, page: u32, recipients: Vec<SubscriberId> },
    /// `consents[i]` is the sequence, in the stream of recipient `recipients[i]`, of the event that allows the send.
    #[serde(rename = "SendAuthorized")]
    Authorized {
        permit_id: PermitId,
        recipients: Vec<Index>,
        consents: Vec<Sequence>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        suppressed: Vec<Refusal>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        rejected: Vec<Refusal>,
    },
    /// Who is authorized from now on gets this version of the template; before, the one that the campaign was frozen with.
    #[serde(rename = "DispatchTemplateTaken")]
    TemplateTaken { template_version: Sequence },
    /// What the provider said to one permit's calls. `returned` did not start; `deferred` may be tried again.
    #[serde(rename = "SendSettled")]
    Settled {
        permit_id: PermitId,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        accepted: Vec<Index>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        rejected: Vec<Refusal>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        unknown: Vec<Index>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        returned: Vec<Index>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        deferred: Vec<Index>,
    },
    /// Calls that began before the window's end by the last look at the clock, and after it by the next.
    #[serde(rename = "LateHandover")]
    LateHandover { permit_id: PermitId, recipients: Vec<Index> },
    /// The permit of a worker that died: what the mailer knows, the rest is unknown.
    #[serde(rename = "SendReconciled")]
    Reconciled {
        permit_id: PermitId,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        accepted: Vec<Index>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        unknown: Vec<Index>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        returned: Vec<Index>,
    },
    /// By the campaign's policy `resend`: unknown recipients wait for a send again.
    #[serde(rename = "UnknownReturned")]
    UnknownReturned { recipients: Vec<Index> },
    #[serde(rename = "DispatchCancelled")]
    Cancelled {},
}

impl DomainEvent for DispatchEvent {
    fn event_type(&self) -> String {
        match self {
            Self::Planned { .. } => "DispatchPlanned",
            Self::Authorized { .. } => "SendAuthorized",
            Self::TemplateTaken { .. } => "DispatchTemplateTaken",
            Self::Settled { .. } => "SendSettled",
            Self::LateHandover { .. } => "LateHandover",
            Self::Reconciled { .. } => "SendReconciled",
            Self::UnknownReturned { .. } => "UnknownReturned",
            Self::Cancelled {} => "DispatchCancelled",
        }
        .into()
    }

    fn event_version(&self) -> String {
        "1.0".into()
    }
}

impl Event for DispatchEvent {}
