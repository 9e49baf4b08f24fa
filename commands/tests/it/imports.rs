//! Imports: whatever an export holds and whenever a worker dies, each row is counted once and nobody is revived.

mod cancel;
mod concurrent;
mod consent;
mod crash;
mod export;
mod files;
mod idempotency;
mod lists;
mod people;
mod poison;
mod quota;
mod refused;
mod size;
pub mod support;
mod unreadable;
mod upload;
