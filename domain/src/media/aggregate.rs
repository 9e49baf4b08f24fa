use super::{ContentType, Dimensions, MediaEvent, Rejection, Sha256, Upload};
use crate::Sequence;
use crate::guard::{Guard, Guarded, MediaFile, Removed};
use chrono::{DateTime, TimeDelta, Utc};
use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// After the last moment at which an upload may begin: it may take this long, and is completed after it.
const UPLOAD_MAX: TimeDelta = TimeDelta::hours(24);

/// What the store and the first bytes say of a file that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub size_bytes: u64,
    /// `None`: the store has none.
    pub sha256: Option<Sha256>,
    /// What it is served as.
    pub content_type: Option<String>,
    /// What its first bytes are of.
    pub recognised: Option<String>,
    pub dimensions: Option<Dimensions>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum MediaCommand {
    Request(Upload),
    /// `None`: nothing was looked for, or nothing was there.
    Complete(Option<Found>),
    /// Gives up an upload that nobody completed in time.
    Expire {
        now: DateTime<Utc>,
    },
    Delete,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MediaError {
    #[error("the medium is not known")]
    Unknown,
    #[error("the medium exists already")]
    Exists,
    #[error("nothing was uploaded yet")]
    NothingThere,
    #[error("the upload was not completed in time: ask for a new one")]
    Expired,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    #[default]
    None,
    Requested,
    Uploaded(Option<Dimensions>),
    Rejected(Rejection),
    Expired,
    Deleted,
}

impl Phase {
    /// The word of the API.
    pub fn status(&self) -> &'static str {
        match self {
            Self::None => "unknown",
            Self::Requested => "requested",
            Self::Uploaded(_) => "uploaded",
            Self::Rejected(_) => "rejected",
            Self::Expired => "expired",
            Self::Deleted => "deleted",
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Media {
    pub version: Sequence,
    pub upload: Option<Upload>,
    pub phase: Phase,
}

type Decision = Result<Option<MediaEvent>, MediaError>;

impl Media {
    pub fn exists(&self) -> bool {
        !matches!(self.phase, Phase::None | Phase::Deleted)
    }

    pub fn is_uploaded(&self) -> bool {
        matches!(self.phase, Phase::Uploaded(_))
    }

    fn decide(&self, command: MediaCommand) -> Decision {
        match (command, &self.upload) {
            (MediaCommand::Request(upload), None) => Ok(Some(MediaEvent::Requested(upload))),
            (MediaCommand::Request(_), Some(_)) => Err(MediaError::Exists),
            (_, None) => Err(MediaError::Unknown),
            _ if !self.exists() => Err(MediaError::Unknown),
            (MediaCommand::Complete(found), Some(upload)) => self.complete(upload, found),
            (MediaCommand::Expire { now }, Some(upload)) => {
                let is_over = now > upload.expires_at + UPLOAD_MAX;
                Ok((self.phase == Phase::Requested && is_over).then_some(MediaEvent::Expired {}))
            }
            (MediaCommand::Delete, Some(_)) => Ok(Some(MediaEvent::Deleted {})),
        }
    }

    /// Says the same however often it is asked.
    fn complete(&self, upload: &Upload, found: Option<Found>) -> Decision {
        match self.phase {
            Phase::Requested => {
                let found = found.ok_or(MediaError::NothingThere)?;
                Ok(Some(match rejection(upload, &found) {
                    None => MediaEvent::Uploaded { dimensions: found.dimensions },
                    Some(rejection) => MediaEvent::Rejected { rejection },
                }))
            }
            Phase::Uploaded(_) | Phase::Rejected(_) => Ok(None),
            Phase::Expired => Err(MediaError::Expired),
            Phase::None | Phase::Deleted => Err(MediaError::Unknown),
        }
    }
}

fn rejection(upload: &Upload, found: &Found) -> Option<Rejection> {
    let is_its_type =
        |named: &Option<String>| named.as_deref().and_then(ContentType::parse) == Some(upload.content_type);
    if found.size_bytes != upload.size_bytes {
        Some(Rejection::Size { found_bytes: found.size_bytes })
    } else if found.sha256 != Some(upload.sha256) {
        Some(Rejection::Checksum)
    } else if !is_its_type(&found.content_type) {
        Some(Rejection::ContentType)
    } else if !is_its_type(&found.recognised) {
        Some(Rejection::Content { found: found.recognised.clone() })
    } else {
        None
    }
}

impl Aggregate for Media {
    const TYPE: &'static str = "media";
    type Command = MediaCommand;
    type Event = MediaEvent;
    type Error = MediaError;
    type Services = ();

    async fn handle(
        &mut self,
        command: Self::Command,
        _: &Self::Services,
        sink: &EventSink<Self>,
    ) -> Result<(), Self::Error> {
        if let Some(event) = self.decide(command)? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: Self::Event) {
        self.version += 1;
        match event {
            MediaEvent::Requested(upload) => {
                self.upload = Some(upload);
                self.phase = Phase::Requested;
            }
            MediaEvent::Uploaded { dimensions } => self.phase = Phase::Uploaded(dimensions),
            MediaEvent::Rejected { rejection } => self.phase = Phase::Rejected(rejection),
            MediaEvent::Expired {} => self.phase = Phase::Expired,
            MediaEvent::Deleted {} => self.phase = Phase::Deleted,
        }
    }
}

impl Guarded for Media {
    fn guards(id: &str, before: &Self, after: &Self) -> Vec<Guard> {
        let (Ok(media), Some(upload)) = (Uuid::parse_str(id), &after.upload) else { return Vec::new() };
        let goes = matches!(after.phase, Phase::Deleted) && !matches!(before.phase, Phase::Deleted);
        let file = Guard::Media(MediaFile {
            media,
            key: upload.key.clone(),
            status: after.phase.status(),
            arrives_until: upload.expires_at + UPLOAD_MAX,
        });
        goes.then_some(Guard::Remove(Removed::Medium(media))).into_iter().chain([file]).collect()
    }
}
