//! Clears up after workers that died between authorizing and settling.

use super::{Rest, Sender};
use crate::mailers::Reconciled;
use commands::CommandError;
use commands::send::{Claim, ExpiredPermit};
use domain::DispatchId;
use domain::campaign::OnUnknown;
use domain::dispatch::{Dispatch, Index, Settlement};
use eventstore::load;
use std::time::Duration;
use uuid::Uuid;

impl Sender {
    /// Settles the expired permits of a dispatch. While one may still be acted on, the dispatch has to wait.
    pub(super) async fn clear_up(
        &self,
        claim: &Claim,
        on_unknown: OnUnknown,
    ) -> Result<Option<Rest>, CommandError> {
        let (expired, open) = self.commands.left_permits(claim.lease.dispatch_id).await?;
        for permit in &expired {
            self.reconcile(claim, on_unknown, permit).await?;
        }
        // A little more than what is left, so that the next look finds it expired.
        Ok(open.map(|rest| rest + Duration::from_millis(10)))
    }

    async fn reconcile(
        &self,
        claim: &Claim,
        on_unknown: OnUnknown,
        permit: &ExpiredPermit,
    ) -> Result<(), CommandError> {
        let id = claim.lease.dispatch_id;
        let dispatch = load::<Dispatch>(&self.commands.store.pool, id).await?.aggregate;
        let owed = dispatch.authorized_by(permit.permit_id).into_iter().filter_map(|index| {
            let recipient = dispatch.recipients.get(usize::from(index))?;
            Some((index, recipient.subscriber, recipient.attempts))
        });
        let settlement = self.known_ends(id, permit, owed.collect()).await;
        self.commands.reconcile(id, settlement, on_unknown).await.map(|_| ())
    }

    /// What the mailer knows of the calls that a permit's worker may have made: index, reader and attempt of each.
    pub(super) async fn known_ends(
        &self,
        dispatch: DispatchId,
        permit: &ExpiredPermit,
        owed: Vec<(Index, Uuid, u16)>,
    ) -> Settlement {
        let mut settlement = Settlement { permit_id: permit.permit_id, ..Settlement::default() };
        for (index, reader, attempt) in owed {
            let known = match self.mailers.get(&permit.mailer) {
                Some(mailer) => mailer.reconcile(dispatch, reader, u32::from(attempt)).await,
                None => Reconciled::Unknown,
            };
            match known {
                Reconciled::Accepted => settlement.accepted.push(index),
                Reconciled::NeverHandedOver => settlement.returned.push(index),
                Reconciled::Unknown => settlement.unknown.push(index),
            }
        }
        tracing::info!(
            dispatch.id = %dispatch,
            accepted = settlement.accepted.len(),
            returned = settlement.returned.len(),
            unknown = settlement.unknown.len(),
            "cleared up after a worker that died"
        );
        settlement
    }
}
