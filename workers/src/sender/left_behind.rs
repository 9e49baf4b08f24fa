//! Clears up after workers that died between authorizing and settling.

use super::{CampaignContext, Rest, Sender};
use crate::mailers::Reconciled;
use commands::CommandError;
use commands::send::{Claim, ExpiredPermit};
use domain::dispatch::{Dispatch, Settlement};
use eventstore::load;
use std::time::Duration;

impl Sender {
    /// Settles the expired permits of a dispatch. While one may still be acted on, the dispatch has to wait.
    pub(super) async fn clear_up(
        &self,
        claim: &Claim,
        context: &CampaignContext,
    ) -> Result<Option<Rest>, CommandError> {
        let (expired, open) = self.commands.left_permits(claim.dispatch_id).await?;
        for permit in &expired {
            self.reconcile(claim, context, permit).await?;
        }
        // A little more than what is left, so that the next look finds it expired.
        Ok(open.map(|rest| rest + Duration::from_millis(10)))
    }

    async fn reconcile(
        &self,
        claim: &Claim,
        context: &CampaignContext,
        permit: &ExpiredPermit,
    ) -> Result<(), CommandError> {
        let dispatch = load::<Dispatch>(&self.commands.store.pool, claim.dispatch_id).await?.aggregate;
        let mut settlement = Settlement { permit_id: permit.permit_id, ..Settlement::default() };
        for index in dispatch.authorized_by(permit.permit_id) {
            let Some(recipient) = dispatch.recipients.get(usize::from(index)) else { continue };
            let attempt = u32::from(recipient.attempts);
            let known = match self.mailers.get(&permit.mailer) {
                Some(mailer) => mailer.reconcile(claim.dispatch_id, recipient.subscriber, attempt).await,
                None => Reconciled::Unknown,
            };
            match known {
                Reconciled::Accepted => settlement.accepted.push(index),
                Reconciled::NeverHandedOver => settlement.returned.push(index),
                Reconciled::Unknown => settlement.unknown.push(index),
            }
        }
        tracing::info!(
            dispatch.id = %claim.dispatch_id,
            accepted = settlement.accepted.len(),
            returned = settlement.returned.len(),
            unknown = settlement.unknown.len(),
            "cleared up after a worker that died"
        );
        self.commands.reconcile(claim.dispatch_id, settlement, context.details.on_unknown).await.map(|_| ())
    }
}
