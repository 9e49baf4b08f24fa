//! Mails outside campaigns, each to a few addresses and for a reason of its own: a template's test, a link to reset a
//! password, an invitation, the question of a double opt-in, the word of an opt-out or an opt-in.
//!
//! They go the way of campaigns' mails: authorized under the gates with a permit, called within the window, settled.

mod aggregate;
mod events;
#[cfg(test)]
mod tests;

pub use aggregate::{RECIPIENTS_MAX, Recipient, Transactional, TransactionalCommand};
pub use events::{
    AccountMail, AccountMailKind, Mail, OptInMail, OptOutMail, Shown, SubscriptionMail, TestMail,
    TransactionalEvent,
};
