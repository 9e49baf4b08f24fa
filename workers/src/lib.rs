//! The loops behind the write side: sequencing aside, everything that happens without a request. Each is a role of
//! its own; a lease, a fencing number or a row decides who works, so any number of each may run.

pub mod dkim;
pub mod freezer;
pub mod importer;
pub mod mailers;
pub mod maintenance;
pub mod media;
pub mod memory;
pub mod metrics;
mod rests;
pub mod retention;
pub mod scheduler;
pub mod sender;
pub mod window;
