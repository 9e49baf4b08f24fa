//! The write side of sending: claim a dispatch, authorize a chunk of it, settle what came of the calls.
//!
//! Nothing is authorized, nor claimed to be sent, while `sending` says so.
//! No lock is held over a provider call. Authorizing writes a permit under the campaign's lock and the gates' locks;
//! settling removes it. Whatever stops in between leaves the permit for whoever claims the dispatch next.

mod account;
mod authorize;
mod claim;
mod may_send;
mod opt_out;
mod settle;
mod subscription;
mod transactional;

pub use crate::deaths::DEATHS_MAX;
pub use authorize::{Authorized, Candidate, Made, Refused};
pub use claim::{Claim, ExpiredPermit, LAID_ASIDE, Lease, OfMailers};
pub use opt_out::Told;
pub use transactional::TestReader;
