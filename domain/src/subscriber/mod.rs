//! Subscribers: who they are, which groups may write to them and by which consent.

mod aggregate;
mod commands;
mod events;
#[cfg(test)]
mod tests;

pub use aggregate::{Choice, Requested, Subscriber};
pub use commands::{NewSubscriber, SubscriberCommand, SubscriberError};
pub use events::{SubscriberEvent, SubscriptionRequest};
