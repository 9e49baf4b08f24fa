//! What an event makes of a campaign's status, for every read model that shows it.

use domain::DispatchId;
use domain::campaign::CampaignEvent;

pub(crate) struct Status {
    /// The word of the API.
    pub word: &'static str,
    /// Why, while that holds.
    pub reason: Option<String>,
    /// The dispatch that is the reason, where one is.
    pub dispatch: Option<DispatchId>,
}

/// `None`: the status stays what it is.
pub(crate) fn status_after(event: &CampaignEvent) -> Option<Status> {
    let (word, reason) = match event {
        CampaignEvent::Changed(_) | CampaignEvent::TemplateTaken { .. } => return None,
        CampaignEvent::Created(_) | CampaignEvent::Unscheduled {} => ("draft", None),
        CampaignEvent::Scheduled { .. } => ("scheduled", None),
        CampaignEvent::Freezing { .. } => ("freezing", None),
        CampaignEvent::FreezingHalted { reason } => ("freezing", Some(reason.clone())),
        CampaignEvent::Frozen(_) | CampaignEvent::Resumed {} => ("sending", None),
        CampaignEvent::Paused { reason, .. } => ("paused", reason.clone()),
        CampaignEvent::Cancelled {} => ("cancelled", None),
        CampaignEvent::Completed { reason } => ("completed", reason.clone()),
        CampaignEvent::Deleted {} => ("deleted", None),
    };
    let dispatch = if let CampaignEvent::Paused { dispatch_id, .. } = event { *dispatch_id } else { None };
    Some(Status { word, reason, dispatch })
}

#[cfg(test)]
mod tests {
    use super::*;
    use cqrs_es::Aggregate;
    use domain::campaign::{Campaign, Details, Manifest, OnUnknown};
    use uuid::Uuid;

    #[test]
    fn the_words_are_the_aggregates() {
        let details = Details {
            name: "November".into(),
            template_id: Uuid::nil(),
            group_id: Uuid::nil(),
            mailer: None,
            from: None,
            reply_to: None,
            on_unknown: OnUnknown::Hold,
        };
        let manifest =
            Manifest { position: 1, template_version: 1, recipients: 1, dispatches: 1, digest: "d".into() };
        let events = [
            CampaignEvent::Created(details.clone()),
            CampaignEvent::Changed(details),
            CampaignEvent::Scheduled { at: chrono::DateTime::UNIX_EPOCH },
            CampaignEvent::Unscheduled {},
            CampaignEvent::Freezing { template_version: 1 },
            CampaignEvent::FreezingHalted { reason: "projection_parked".into() },
            CampaignEvent::Frozen(manifest),
            CampaignEvent::Paused { reason: None, dispatch_id: None },
            CampaignEvent::TemplateTaken { template_version: 2 },
            CampaignEvent::Resumed {},
            CampaignEvent::Cancelled {},
            CampaignEvent::Completed { reason: None },
            CampaignEvent::Deleted {},
        ];
        let mut campaign = Campaign::default();
        for event in events {
            let status = status_after(&event);
            let before = campaign.phase.status();
            campaign.apply(event);
            assert_eq!(status.map_or(before, |status| status.word), campaign.phase.status());
        }
    }
}
