use super::{CampaignCommand, CampaignError, CampaignEvent, Details, Manifest};
use crate::guard::{CampaignGate, Guard, Guarded, Use};
use crate::{DispatchId, Sequence};
use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use uuid::Uuid;

pub const EMPTY_AUDIENCE: &str = "empty_audience";

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub enum Phase {
    #[default]
    None,
    Draft,
    Scheduled {
        at: DateTime<Utc>,
    },
    Freezing,
    Sending,
    Paused,
    Completed,
    Cancelled,
    Deleted,
}

impl Phase {
    /// What it uses is needed.
    fn is_under_way(&self) -> bool {
        match self {
            Self::Scheduled { .. } | Self::Freezing | Self::Sending | Self::Paused => true,
            Self::None | Self::Draft | Self::Completed | Self::Cancelled | Self::Deleted => false,
        }
    }

    /// The word of the API.
    pub fn status(&self) -> &'static str {
        match self {
            Self::None => "unknown",
            Self::Draft => "draft",
            Self::Scheduled { .. } => "scheduled",
            Self::Freezing => "freezing",
            Self::Sending => "sending",
            Self::Paused => "paused",
            Self::Completed => "completed",
            Self::Cancelled => "cancelled",
            Self::Deleted => "deleted",
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Campaign {
    pub version: Sequence,
    pub details: Option<Details>,
    pub phase: Phase,
    /// Of the template: what is sent from now on. 0 before freezing.
    pub template_version: Sequence,
    /// Sequence of `CampaignFreezing`: its position in the log is the audience's.
    pub freezing_sequence: Sequence,
    pub manifest: Option<Manifest>,
}

impl Aggregate for Campaign {
    const TYPE: &'static str = "campaign";
    type Command = CampaignCommand;
    type Event = CampaignEvent;
    type Error = CampaignError;
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
            CampaignEvent::Created(details) => {
                self.details = Some(details);
                self.phase = Phase::Draft;
            }
            CampaignEvent::Changed(details) => self.details = Some(details),
            CampaignEvent::Scheduled { at } => self.phase = Phase::Scheduled { at },
            CampaignEvent::Unscheduled {} => self.phase = Phase::Draft,
            CampaignEvent::Freezing { template_version } => {
                self.template_version = template_version;
                self.freezing_sequence = self.version;
                self.phase = Phase::Freezing;
            }
            // Whoever resumes it has it tried again.
            CampaignEvent::FreezingHalted { .. } => {}
            CampaignEvent::Frozen(manifest) => {
                self.manifest = Some(manifest);
                self.phase = Phase::Sending;
            }
            CampaignEvent::Paused { .. } => self.phase = Phase::Paused,
            CampaignEvent::Resumed {} => self.phase = Phase::Sending,
            CampaignEvent::TemplateTaken { template_version } => self.template_version = template_version,
            CampaignEvent::Cancelled {} => self.phase = Phase::Cancelled,
            CampaignEvent::Completed { .. } => self.phase = Phase::Completed,
            CampaignEvent::Deleted {} => self.phase = Phase::Deleted,
        }
    }
}

type Decision = Result<Vec<CampaignEvent>, CampaignError>;

impl Campaign {
    pub fn exists(&self) -> bool {
        !matches!(self.phase, Phase::None | Phase::Deleted)
    }

    /// The version of the template that is sent from now on, where it is not the one that was frozen.
    pub fn taken_version(&self) -> Option<Sequence> {
        let frozen = self.manifest.as_ref()?.template_version;
        (self.template_version != frozen).then_some(self.template_version)
    }

    /// While nothing is sent, so that whoever asks for it knows who gets which version.
    pub fn may_take_template(&self) -> Result<(), CampaignError> {
        match self.phase {
            Phase::Paused => Ok(()),
            _ => Err(CampaignError::Forbidden { status: self.phase.status() }),
        }
    }

    fn decide(&self, command: CampaignCommand) -> Decision {
        match command {
            CampaignCommand::Create { details, schedule_at } => self.create(details, schedule_at),
            _ if !self.exists() => Err(CampaignError::Unknown),
            CampaignCommand::Change(details) => self.change(details),
            CampaignCommand::Schedule { at } => self.schedule(at),
            CampaignCommand::Unschedule => self.unschedule(),
            CampaignCommand::BeginFreezing { template_version, now } => {
                self.begin_freezing(template_version, now)
            }
            CampaignCommand::Freeze(manifest) => self.freeze(manifest),
            CampaignCommand::HaltFreezing { reason } => self.halt_freezing(reason),
            CampaignCommand::Pause { reason, dispatch_id } => self.pause(reason, dispatch_id),
            CampaignCommand::Resume => self.resume(),
            CampaignCommand::TakeTemplate { template_version } => self.take_template(template_version),
            CampaignCommand::Cancel => self.cancel(),
            CampaignCommand::Complete => self.complete(),
            CampaignCommand::Delete => self.delete(),
        }
    }

    fn forbidden(&self) -> Decision {
        Err(CampaignError::Forbidden { status: self.phase.status() })
    }

    fn create(&self, details: Details, schedule_at: Option<DateTime<Utc>>) -> Decision {
        if self.version > 0 {
            return Err(CampaignError::Exists);
        }
        let scheduled = schedule_at.map(|at| CampaignEvent::Scheduled { at });
        Ok([CampaignEvent::Created(details)].into_iter().chain(scheduled).collect())
    }

    fn change(&self, details: Details) -> Decision {
        match self.phase {
            Phase::Draft | Phase::Scheduled { .. } if self.details.as_ref() == Some(&details) => {
                Ok(Vec::new())
            }
            Phase::Draft | Phase::Scheduled { .. } => Ok(vec![CampaignEvent::Changed(details)]),
            _ => self.forbidden(),
        }
    }

    fn schedule(&self, at: DateTime<Utc>) -> Decision {
        match self.phase {
            Phase::Scheduled { at: same } if same == at => Ok(Vec::new()),
            Phase::Draft | Phase::Scheduled { .. } => Ok(vec![CampaignEvent::Scheduled { at }]),
            _ => self.forbidden(),
        }
    }

    fn unschedule(&self) -> Decision {
        match self.phase {
            Phase::Draft => Ok(Vec::new()),
            Phase::Scheduled { .. } => Ok(vec![CampaignEvent::Unscheduled {}]),
            _ => self.forbidden(),
        }
    }

    /// Does nothing where another scheduler was first, or where the time was moved meanwhile.
    fn begin_freezing(&self, template_version: Sequence, now: DateTime<Utc>) -> Decision {
        Ok(match self.phase {
            Phase::Scheduled { at } if at <= now => vec![CampaignEvent::Freezing { template_version }],
            _ => Vec::new(),
        })
    }

    fn freeze(&self, manifest: Manifest) -> Decision {
        match self.phase {
            Phase::Freezing if manifest.recipients == 0 => Ok(vec![
                CampaignEvent::Frozen(manifest),
                CampaignEvent::Completed { reason: Some(EMPTY_AUDIENCE.into()) },
            ]),
            Phase::Freezing => Ok(vec![CampaignEvent::Frozen(manifest)]),
            _ => self.forbidden(),
        }
    }

    fn halt_freezing(&self, reason: String) -> Decision {
        match self.phase {
            Phase::Freezing => Ok(vec![CampaignEvent::FreezingHalted { reason }]),
            _ => self.forbidden(),
        }
    }

    fn pause(&self, reason: Option<String>, dispatch_id: Option<DispatchId>) -> Decision {
        match self.phase {
            Phase::Paused => Ok(Vec::new()),
            Phase::Sending => Ok(vec![CampaignEvent::Paused { reason, dispatch_id }]),
            _ => self.forbidden(),
        }
    }

    /// One that freezes is tried again where that was given up: no event tells of it but those of the freeze itself.
    fn resume(&self) -> Decision {
        match self.phase {
            Phase::Freezing | Phase::Sending => Ok(Vec::new()),
            Phase::Paused => Ok(vec![CampaignEvent::Resumed {}]),
            _ => self.forbidden(),
        }
    }

    fn take_template(&self, template_version: Sequence) -> Decision {
        self.may_take_template()?;
        match template_version.cmp(&self.template_version) {
            Ordering::Less => Err(CampaignError::OlderTemplate(self.template_version)),
            Ordering::Equal => Ok(Vec::new()),
            Ordering::Greater => Ok(vec![CampaignEvent::TemplateTaken { template_version }]),
        }
    }

    fn cancel(&self) -> Decision {
        match self.phase {
            Phase::Cancelled => Ok(Vec::new()),
            Phase::Scheduled { .. } | Phase::Freezing | Phase::Sending | Phase::Paused => {
                Ok(vec![CampaignEvent::Cancelled {}])
            }
            _ => self.forbidden(),
        }
    }

    fn complete(&self) -> Decision {
        match self.phase {
            Phase::Completed => Ok(Vec::new()),
            Phase::Sending => Ok(vec![CampaignEvent::Completed { reason: None }]),
            _ => self.forbidden(),
        }
    }

    fn delete(&self) -> Decision {
        match self.phase {
            Phase::Draft => Ok(vec![CampaignEvent::Deleted {}]),
            _ => self.forbidden(),
        }
    }
}

impl Guarded for Campaign {
    const SNAPSHOT_FORMAT: i32 = 2;

    fn guards(id: &str, before: &Self, after: &Self) -> Vec<Guard> {
        let (Ok(campaign), Some(details)) = (Uuid::parse_str(id), &after.details) else { return Vec::new() };
        let uses = |campaign: &Self| {
            let details = campaign.details.as_ref().filter(|_| campaign.phase.is_under_way())?;
            Some(Use { template: details.template_id, group: details.group_id })
        };
        let begins = uses(after).filter(|now| uses(before) != Some(*now));
        let due_at = match after.phase {
            Phase::Scheduled { at } => Some(at),
            _ => None,
        };
        let gate = Guard::Campaign(CampaignGate {
            campaign,
            template: details.template_id,
            group: details.group_id,
            status: after.phase.status(),
            due_at,
            template_version: after.template_version,
        });
        begins.map(Guard::Use).into_iter().chain([gate]).collect()
    }
}
