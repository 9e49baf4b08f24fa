use super::{Index, Refusal};
use crate::campaign::OnUnknown;
use crate::{CampaignId, PermitId, Sequence, SubscriberId};

#[derive(Debug, Clone, PartialEq)]
pub enum DispatchCommand {
    Plan {
        campaign_id: CampaignId,
        page: u32,
        recipients: Vec<SubscriberId>,
    },
    Authorize(Authorization),
    Settle {
        settlement: Settlement,
        on_unknown: OnUnknown,
    },
    /// For a permit whose worker died.
    Reconcile {
        settlement: Settlement,
        on_unknown: OnUnknown,
    },
    Cancel,
}

/// What the gates said to a chunk of recipients.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Authorization {
    pub permit_id: PermitId,
    /// Of the template that the mails were made from, where it is not the one that the campaign was frozen with.
    pub template_version: Option<Sequence>,
    pub allowed: Vec<(Index, Sequence)>,
    pub suppressed: Vec<Refusal>,
    /// Could not be rendered or built: no call is made for them.
    pub rejected: Vec<Refusal>,
}

/// What became of one permit's calls; every allowed recipient is in one of these.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Settlement {
    pub permit_id: PermitId,
    pub accepted: Vec<Index>,
    pub rejected: Vec<Refusal>,
    pub unknown: Vec<Index>,
    pub returned: Vec<Index>,
    pub deferred: Vec<Index>,
    pub late: Vec<Index>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DispatchError {
    #[error("the dispatch is not known")]
    Unknown,
    #[error("the dispatch exists already")]
    Exists,
    #[error("a dispatch has 1 to {0} recipients")]
    Size(usize),
    #[error("recipient {0} is not waiting for a send")]
    NotPending(Index),
}
