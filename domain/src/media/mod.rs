//! Images and videos for mails. The file goes straight to the object store; what is decided here is whether what arrived
//! there is what was announced.

mod aggregate;
mod events;
mod file;
#[cfg(test)]
mod tests;

pub use aggregate::{Found, Media, MediaCommand, MediaError, Phase};
pub use events::{Dimensions, MediaEvent, Rejection, Upload};
pub use file::{ContentType, FILE_NAME_MAX_BYTES, NotAChecksum, Sha256, safe_name};
