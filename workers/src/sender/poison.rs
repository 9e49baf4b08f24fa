//! What ends its workers again and again is given up: nothing may restart for ever. A death counts for all that the process
//! worked on, so what is suspected is worked on alone: whatever survives that has nothing to do with it.

use super::{ERROR_PAUSE, Rest, Sender, describe};
use crate::metrics;
use commands::CommandError;
use commands::send::{Claim, DEATHS_MAX, LAID_ASIDE, Lease};
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

/// The reason of a campaign that is paused, and of a mail that is given up.
pub(crate) const WORKER_DIED: &str = "worker_died";

/// The dispatches that this process works on at once.
#[derive(Default)]
pub(super) struct Company {
    lock: RwLock<()>,
    /// Suspects that wait to be alone.
    waiting: AtomicUsize,
}

impl Company {
    pub async fn join(&self) -> RwLockReadGuard<'_, ()> {
        self.lock.read().await
    }

    /// A suspect waits: to be asked between two chunks.
    pub fn is_to_leave(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// None: the others took too long.
    async fn alone(&self, within: Duration) -> Option<RwLockWriteGuard<'_, ()>> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let alone = tokio::time::timeout(within, self.lock.write()).await;
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        alone.ok()
    }
}

impl Sender {
    /// Works on a dispatch and gives it back. An error that may pass is nobody's death; after any other one, the lease runs out as
    /// if the worker had died.
    pub(super) async fn attempt(
        &self,
        company: RwLockReadGuard<'_, ()>,
        lease: Lease,
        work: impl Future<Output = Result<Rest, CommandError>>,
    ) -> Result<(), CommandError> {
        let worked = match lease.is_suspect() {
            false => work.await,
            true => {
                drop(company);
                let Some(_alone) = self.company.alone(self.hold_max()).await else {
                    return self.commands.lay_aside(lease, lease.deaths, ERROR_PAUSE).await;
                };
                work.await
            }
        };
        match worked {
            Ok(rest) => self.release(lease, rest).await,
            Err(error) if error.is_passing() => {
                // Where this fails too, the lease runs out.
                self.release(lease, ERROR_PAUSE).await.ok();
                Err(error)
            }
            Err(error) => {
                tracing::warn!(dispatch.id = %lease.dispatch_id, error = %describe(&error), "will be tried again");
                match lease.is_poison() {
                    true => self.commands.lay_aside(lease, DEATHS_MAX, LAID_ASIDE).await,
                    false => Ok(()),
                }
            }
        }
    }

    /// Pauses the campaign of a dispatch that nobody survives; whoever resumes it has it tried again.
    pub(super) async fn give_up_dispatch(&self, claim: &Claim) -> Result<(), CommandError> {
        let (lease, campaign) = (claim.lease, claim.campaign_id);
        tracing::error!(
            dispatch.id = %lease.dispatch_id, campaign.id = %campaign, status = claim.status,
            "{DEATHS_MAX} workers in a row died with a dispatch: it is given up"
        );
        metrics::given_up("dispatch");
        if claim.status != "sending" {
            return self.commands.lay_aside(lease, DEATHS_MAX, LAID_ASIDE).await;
        }
        match self.commands.pause_for_dispatch(campaign, lease.dispatch_id, WORKER_DIED).await {
            Ok(_) => self.release(lease, Duration::ZERO).await,
            // Its status is another one meanwhile: the next look sees that.
            Err(CommandError::Forbidden { .. }) => {
                self.commands.lay_aside(lease, DEATHS_MAX, ERROR_PAUSE).await
            }
            Err(error) => {
                let rest = if error.is_passing() { ERROR_PAUSE } else { LAID_ASIDE };
                self.commands.lay_aside(lease, DEATHS_MAX, rest).await.ok();
                Err(error)
            }
        }
    }
}
