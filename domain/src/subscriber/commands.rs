use super::SubscriptionRequest;
use crate::consent::{Channel, Consent, Origin, Scope};
use crate::visit::Visit;
use crate::{AddressHash, DispatchId, GroupId, ImportId, Personal};

#[derive(Debug, Clone, PartialEq)]
pub enum SubscriberCommand {
    Add(Box<NewSubscriber>),
    /// What is absent stays; details are given whole.
    Change {
        address: Option<(Personal, AddressHash)>,
        hash_key_id: String,
        details: Option<(Option<Personal>, Option<Personal>)>,
    },
    /// By the staff or an import: refused for whoever opted out.
    JoinGroup {
        group_id: GroupId,
        consent: Consent,
    },
    LeaveGroup {
        group_id: GroupId,
    },
    OptOut {
        scope: Scope,
        channel: Channel,
        origin: Origin,
    },
    /// The person's own choice: what it names is set, all else stays as it is.
    SetPreferences {
        global_opt_out: Option<bool>,
        groups: Vec<(GroupId, bool)>,
        origin: Origin,
        /// False: they did too often lately.
        may_opt_in: bool,
    },
    /// Opts out of everything first.
    Erase,
    /// By anybody. It adds whoever was not there, without any consent.
    RequestSubscription(Box<SubscriptionRequest>),
    /// By whoever has the link in the mail that asks.
    ConfirmSubscription {
        request: DispatchId,
        wording_version: Option<String>,
        visit: Visit,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub struct NewSubscriber {
    pub address: Personal,
    pub address_hash: AddressHash,
    pub hash_key_id: String,
    pub name: Option<Personal>,
    pub attributes: Option<Personal>,
    pub groups: Vec<GroupId>,
    pub consent: Consent,
    pub import_id: Option<ImportId>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubscriberError {
    #[error("the subscriber is not known")]
    Unknown,
    #[error("the subscriber exists already")]
    Exists,
    #[error("the subscriber opted out; only the person can opt in again")]
    OptedOut,
    #[error("the subscriber was erased")]
    Erased,
    #[error("they opted in too often lately; opting out is always possible")]
    TooOften,
    #[error("nothing was requested that could be confirmed, or it was taken back since")]
    NotRequested,
}
