use crate::{DispatchId, Event, GroupId, Sequence, TemplateId};
use chrono::{DateTime, Utc};
use cqrs_es::DomainEvent;
use serde::{Deserialize, Serialize};

/// What happens to a recipient whose hand-over has no known end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnUnknown {
    /// Left for a person to decide: nobody gets a mail twice.
    #[default]
    Hold,
    /// Sent again: nobody is left out, and somebody may get two.
    Resend,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Details {
    pub name: String,
    pub template_id: TemplateId,
    pub group_id: GroupId,
    /// The configured mailer by name; `None` is the default one at the time of sending.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mailer: Option<String>,
    /// `Name <address>` of the sender; `None` is the configured one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<String>,
    #[serde(default)]
    pub on_unknown: OnUnknown,
}

/// The audience as it was frozen, so that what was sent can be checked against it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Membership as of this position of the log.
    pub position: i64,
    pub template_version: Sequence,
    pub recipients: u64,
    pub dispatches: u32,
    /// SHA-256 over the recipients' ids (16 bytes each) in ascending order, in hex.
    pub digest: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum CampaignEvent {
    #[serde(rename = "CampaignCreated")]
    Created(Details),
    #[serde(rename = "CampaignChanged")]
    Changed(Details),
    #[serde(rename = "CampaignScheduled")]
    Scheduled { at: DateTime<Utc> },
    #[serde(rename = "CampaignUnscheduled")]
    Unscheduled {},
    /// Its position in the log is the position of the audience.
    #[serde(rename = "CampaignFreezing")]
    Freezing { template_version: Sequence },
    /// Freezing waited. Earlier releases say so where a stream was parked; nothing halts it any more.
    #[serde(rename = "CampaignFreezingHalted")]
    FreezingHalted { reason: String },
    #[serde(rename = "CampaignFrozen")]
    Frozen(Manifest),
    #[serde(rename = "CampaignPaused")]
    Paused {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// The dispatch that is the reason, where one is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        dispatch_id: Option<DispatchId>,
    },
    #[serde(rename = "CampaignResumed")]
    Resumed {},
    /// While it was paused: who has no mail of it yet gets this version of its template.
    #[serde(rename = "CampaignTemplateTaken")]
    TemplateTaken { template_version: Sequence },
    #[serde(rename = "CampaignCancelled")]
    Cancelled {},
    #[serde(rename = "CampaignCompleted")]
    Completed {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    #[serde(rename = "CampaignDeleted")]
    Deleted {},
}

impl DomainEvent for CampaignEvent {
    fn event_type(&self) -> String {
        match self {
            Self::Created(_) => "CampaignCreated",
            Self::Changed(_) => "CampaignChanged",
            Self::Scheduled { .. } => "CampaignScheduled",
            Self::Unscheduled {} => "CampaignUnscheduled",
            Self::Freezing { .. } => "CampaignFreezing",
            Self::FreezingHalted { .. } => "CampaignFreezingHalted",
            Self::Frozen(_) => "CampaignFrozen",
            Self::Paused { .. } => "CampaignPaused",
            Self::Resumed {} => "CampaignResumed",
            Self::TemplateTaken { .. } => "CampaignTemplateTaken",
            Self::Cancelled {} => "CampaignCancelled",
            Self::Completed { .. } => "CampaignCompleted",
            Self::Deleted {} => "CampaignDeleted",
        }
        .into()
    }

    fn event_version(&self) -> String {
        "1.0".into()
    }
}

impl Event for CampaignEvent {}
