use super::{Details, Manifest};
use crate::{DispatchId, Sequence};
use chrono::{DateTime, Utc};

#[derive(Debug, Clone, PartialEq)]
pub enum CampaignCommand {
    /// `schedule_at`: created and scheduled at once, both or neither.
    Create {
        details: Details,
        schedule_at: Option<DateTime<Utc>>,
    },
    Change(Details),
    Schedule {
        at: DateTime<Utc>,
    },
    Unschedule,
    BeginFreezing {
        template_version: Sequence,
        now: DateTime<Utc>,
    },
    Freeze(Manifest),
    /// Nobody freezes it any more until somebody resumes it.
    HaltFreezing {
        reason: String,
    },
    Pause {
        reason: Option<String>,
        /// The dispatch that is the reason, where one is.
        dispatch_id: Option<DispatchId>,
    },
    Resume,
    /// For those who have no mail yet.
    TakeTemplate {
        template_version: Sequence,
    },
    Cancel,
    Complete,
    Delete,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CampaignError {
    #[error("the campaign is not known")]
    Unknown,
    #[error("the campaign exists already")]
    Exists,
    #[error("the campaign's status is {status}, which does not allow this")]
    Forbidden { status: &'static str },
    #[error("is older than version {0}, which the campaign sends")]
    OlderTemplate(Sequence),
}
