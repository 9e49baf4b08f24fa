//! Files of media, where they are: an object store that speaks S3, and the CDN before it. The only crate that knows either.
//!
//! - Clients upload by a signed URL, past Postledger: [`Files::sign`] binds type, length and checksum, so that the store
//!   itself refuses anything else.
//! - [`Files::look`] says what arrived, and reads no more than [`HEAD_MAX_BYTES`] of it.
//! - Every call is bounded in time. A store that does not answer is [`Unavailable`], and nothing was decided.

mod cdn;
mod files;
mod recognise;
mod settings;
mod setup;

pub use files::{Files, SignedUpload};
pub use recognise::HEAD_MAX_BYTES;
pub use settings::{CloudFront, Credentials, Settings};
pub use setup::SetUp;

/// The store or the CDN did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {reason}")]
pub struct Unavailable {
    what: &'static str,
    /// A code of theirs, or how the call failed; no URL, which might be a signed one.
    reason: String,
}
