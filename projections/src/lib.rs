//! The read side: read models, each with its projector and its queries, and what feeds them from the log.
//!
//! - A read model is one file: module, table and checkpoints share its name. It is derived: what is in it can be
//!   emptied and filled again from the log, and is the same then, row for row.
//! - A projector writes its rows and its checkpoints in one transaction ([`Consumer`]), so that each event has one
//!   effect on any carrier. It relies on the order within a slot and on no other.
//! - Nothing is decided here: commands never ask a read model.

mod backoff;
pub mod campaign_report;
mod campaign_status;
pub mod campaigns;
mod checkpoints;
mod consumer;
pub mod dead_letters;
mod dispatches;
mod embedded;
mod follower;
pub mod group_members;
pub mod groups;
mod head;
mod interleaving;
mod lag;
pub mod media;
pub mod opt_outs;
mod page;
mod parking;
mod projection;
mod rebuild;
pub mod recipients;
mod repair;
pub mod security_events;
mod streams;
pub mod subscriber_history;
pub mod subscribers;
pub mod templates;
mod wait;

pub use backoff::Backoff;
pub use campaign_report::CampaignReport;
pub use campaigns::Campaigns;
pub use checkpoints::SLOTS;
pub use consumer::{ConsumeError, Consumer, Delivery};
pub use embedded::Embedded;
pub use group_members::GroupMembers;
pub use groups::Groups;
pub use head::watch_head;
pub use interleaving::Interleaving;
pub use lag::{Lag, lag};
pub use media::Media;
pub use opt_outs::OptOuts;
pub use page::{Cursor, MalformedCursor, PAGE_MAX, Page, Slice};
pub use projection::{ApplyError, Projection};
pub use rebuild::{Progress, RebuildError, Rebuilt, rebuild};
pub use recipients::Recipients;
pub use repair::{Repaired, repair};
pub use subscribers::Subscribers;
pub use templates::Templates;
pub use wait::{WAIT_MAX, WaitError, Waits};

use std::sync::Arc;

/// Every read model: the one registry.
pub fn all() -> Vec<Arc<dyn Projection>> {
    vec![
        Arc::new(Subscribers),
        Arc::new(GroupMembers),
        Arc::new(Groups),
        Arc::new(Templates),
        Arc::new(Media),
        Arc::new(Campaigns),
        Arc::new(CampaignReport),
        Arc::new(Recipients),
        Arc::new(OptOuts),
    ]
}

/// Names come from an operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no read model {name:?}; there are {known}")]
pub struct UnknownModel {
    name: String,
    known: String,
}

/// The read model called `name`.
pub fn find(models: &[Arc<dyn Projection>], name: &str) -> Result<Arc<dyn Projection>, UnknownModel> {
    let known = || models.iter().map(|model| model.name()).collect::<Vec<_>>().join(", ");
    let found = models.iter().find(|model| model.name() == name).cloned();
    found.ok_or_else(|| UnknownModel { name: name.to_owned(), known: known() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_read_model_has_a_name_and_tables_of_its_own() {
        let tables: Vec<_> = all().iter().flat_map(|p| p.tables().iter().copied()).collect();
        let distinct: std::collections::BTreeSet<_> = tables.iter().collect();
        assert_eq!(distinct.len(), tables.len());
        assert!(all().iter().all(|p| p.tables().first() == Some(&p.name())), "the table bears the name");
    }
}
