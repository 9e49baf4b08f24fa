//! Groups of readers. Who belongs to one is decided in the subscriber's stream, with the consent.

mod aggregate;

pub use aggregate::{Group, GroupCommand, GroupError, GroupEvent};
