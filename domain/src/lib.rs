//! What Postledger decides, and nothing else: aggregates, their commands and events, and the value objects they share.
//!
//! Nothing in this crate does I/O, reads a clock or draws a random number. What was looked up travels in the
//! command; what must hold across streams leaves as a [`guard::Guard`], which the event store enforces in the
//! transaction of the append.

pub mod access;
pub mod address;
pub mod api_key;
pub mod campaign;
pub mod consent;
pub mod dispatch;
pub mod event;
pub mod group;
pub mod guard;
mod hex;
pub mod media;
mod network;
pub mod personal;
pub mod session;
pub mod subscriber;
pub mod template;
pub mod transactional;
pub mod user;
pub mod visit;

pub use address::{AddressHash, EmailAddress};
pub use event::Event;
pub use guard::{Guard, Guarded};
pub use network::Network;
pub use personal::Personal;

use uuid::Uuid;

pub type SubscriberId = Uuid;
pub type GroupId = Uuid;
pub type TemplateId = Uuid;
pub type CampaignId = Uuid;
pub type DispatchId = Uuid;
pub type PermitId = Uuid;
pub type ImportId = Uuid;
pub type MediaId = Uuid;
pub type UserId = Uuid;
pub type SessionId = Uuid;
pub type ApiKeyId = Uuid;

/// The place of an event in its stream, from 1.
pub type Sequence = u64;
