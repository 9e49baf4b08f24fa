//! Campaigns: draft → scheduled → freezing → sending ⇄ paused → completed | cancelled.
//!
//! Recipients are never in the campaign's stream: freezing pages them into dispatches.

mod aggregate;
mod commands;
mod events;
#[cfg(test)]
mod tests;

pub use aggregate::{Campaign, Phase};
pub use commands::{CampaignCommand, CampaignError};
pub use events::{CampaignEvent, Details, Manifest, OnUnknown};
