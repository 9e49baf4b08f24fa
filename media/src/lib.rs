//! Files of media, where they are: an object store that speaks S3, and the CDN before it. The only crate that knows either.
//!
//! - Clients upload by a signed URL, past Postledger: [`Files::sign`] binds type, length and checksum, so that the store
//!   itself refuses anything else.
//! - [`Files::look`] says what arrived, and reads no more than [`HEAD_MAX_BYTES`] of it.
//! - Every call is bounded in time. A store that does not answer is [`Unavailable`], and nothing was decided.

mod calls;
mod cdn;
mod files;
mod recognise;
mod settings;
mod setup;

pub use calls::Unavailable;
pub use files::{Files, SignedUpload};
pub use recognise::HEAD_MAX_BYTES;
pub use settings::{CloudFront, Credentials, Settings};
pub use setup::SetUp;
