use super::{ContentType, Sha256};
use crate::Event;
use chrono::{DateTime, Utc};
use cqrs_es::DomainEvent;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A file as it was announced: the store takes this one alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upload {
    /// As the client calls it.
    pub filename: String,
    pub content_type: ContentType,
    pub size_bytes: u64,
    pub sha256: Sha256,
    /// Its place in the store, which is ours: `media/<id>/<safe name>`.
    pub key: String,
    /// In whole seconds.
    pub requested_at: DateTime<Utc>,
    /// An upload may begin until then.
    pub expires_at: DateTime<Utc>,
}

/// Of an image, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dimensions {
    pub width: u32,
    pub height: u32,
}

/// What arrived is not what was announced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rejection {
    Size {
        found_bytes: u64,
    },
    /// Of other bytes, or the store has none.
    Checksum,
    /// What the store would serve it as.
    ContentType,
    /// What its first bytes show it to be, where they show anything.
    Content {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        found: Option<String>,
    },
}

impl Rejection {
    /// The field of the announcement that does not hold.
    pub fn field(&self) -> &'static str {
        match self {
            Self::Size { .. } => "size_bytes",
            Self::Checksum => "sha256",
            Self::ContentType | Self::Content { .. } => "content_type",
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size { found_bytes } => write!(f, "the file that was uploaded has {found_bytes} bytes"),
            Self::Checksum => f.write_str("the store has no such checksum of the file that was uploaded"),
            Self::ContentType => f.write_str("the file was uploaded as another type"),
            Self::Content { found: Some(found) } => write!(f, "the file's first bytes are of {found}"),
            Self::Content { found: None } => f.write_str("the file's first bytes are of no known type"),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum MediaEvent {
    #[serde(rename = "MediaRequested")]
    Requested(Upload),
    #[serde(rename = "MediaUploaded")]
    Uploaded {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        dimensions: Option<Dimensions>,
    },
    #[serde(rename = "MediaRejected")]
    Rejected { rejection: Rejection },
    /// Nobody completed the upload.
    #[serde(rename = "MediaExpired")]
    Expired {},
    #[serde(rename = "MediaDeleted")]
    Deleted {},
}

impl DomainEvent for MediaEvent {
    fn event_type(&self) -> String {
        match self {
            Self::Requested(_) => "MediaRequested",
            Self::Uploaded { .. } => "MediaUploaded",
            Self::Rejected { .. } => "MediaRejected",
            Self::Expired {} => "MediaExpired",
            Self::Deleted {} => "MediaDeleted",
        }
        .into()
    }

    fn event_version(&self) -> String {
        "1.0".into()
    }
}

impl Event for MediaEvent {}
