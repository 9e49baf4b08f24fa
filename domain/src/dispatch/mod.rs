//! Dispatches: a page of a campaign's audience and what became of each of its recipients.

mod aggregate;
mod commands;
mod events;
#[cfg(test)]
mod tests;

pub use aggregate::{Dispatch, RECIPIENTS_MAX, State};
pub use commands::{Authorization, DispatchCommand, DispatchError, Settlement};
pub use events::{DispatchEvent, Index, Refusal};
