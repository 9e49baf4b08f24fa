//! The one place that makes ids.

use domain::{CampaignId, DispatchId, Sequence, SubscriberId};
use uuid::Uuid;

/// A new id that sorts by its time (UUIDv7, RFC 9562 section 5.7).
#[allow(clippy::disallowed_methods)]
pub fn new_id() -> Uuid {
    Uuid::now_v7()
}

/// What stands for the reader in the name of a mail outside campaigns (UUIDv5): its recipient may be no subscriber.
pub fn recipient_id(dispatch: DispatchId, index: u16) -> Uuid {
    Uuid::new_v5(&dispatch, &index.to_be_bytes())
}

/// The id of a campaign's page (UUIDv5): whoever freezes the page again meets the same key.
pub fn dispatch_id(campaign: CampaignId, page: u32) -> DispatchId {
    Uuid::new_v5(&campaign, &page.to_be_bytes())
}

/// The id of the mail that tells of an opt-out or an opt-in (UUIDv5): whoever queues it again meets the same key.
pub fn choice_mail_id(subscriber: SubscriberId, choice: Sequence) -> DispatchId {
    Uuid::new_v5(&subscriber, &choice.to_be_bytes())
}
