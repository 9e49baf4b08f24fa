//! A sign-in and the refresh tokens that follow from it, one family. An attempt that failed is a stream of its own:
//! what it says of the visitor is sealed with a key of its own, and nobody's stream grows by others' guesses.

mod aggregate;
mod events;
#[cfg(test)]
mod tests;

pub use aggregate::{REFRESHES_MAX, Session, SessionCommand, SessionError};
pub use events::{EndReason, Refusal, SessionEvent};
