//! Mails outside campaigns, each to a few addresses and for a reason of its own. So far: a template's test mail.
//!
//! They go the way of campaigns' mails: authorized under the gates with a permit, called within the window, settled.

mod aggregate;
mod events;
#[cfg(test)]
mod tests;

pub use aggregate::{RECIPIENTS_MAX, Recipient, Transactional, TransactionalCommand};
pub use events::{TestMail, TransactionalEvent};
