use super::Claim;
use crate::{CommandError, Commands, Context};
use domain::campaign::OnUnknown;
use domain::dispatch::{Dispatch, DispatchCommand, DispatchError, Settlement};
use domain::{DispatchId, Event, Guarded, PermitId};
use eventstore::{Decided, Loaded, StoreError, append, load, sealing::SubjectKeys};
use sqlx::PgConnection;

/// Tries of a settlement that others race; each loads the stream anew.
const TRIES_MAX: u32 = 5;

/// The permit that a change closes.
#[derive(Clone, Copy)]
pub(super) enum Closes {
    Nothing,
    /// The worker's own: it lives, so nobody's death is held against its dispatch any more.
    Own(PermitId),
    /// A dead worker's.
    Left(PermitId),
}

impl Closes {
    async fn delete(self, tx: &mut PgConnection) -> Result<(), StoreError> {
        let (permit, delete) = match self {
            Self::Nothing => return Ok(()),
            Self::Left(permit) => (permit, "DELETE FROM permits WHERE permit_id = $1"),
            Self::Own(permit) => (
                permit,
                "WITH closed AS (DELETE FROM permits WHERE permit_id = $1 RETURNING dispatch_id)
                 UPDATE dispatch_work w SET deaths = 0 FROM closed c
                 WHERE w.dispatch_id = c.dispatch_id AND w.deaths > 0",
            ),
        };
        sqlx::query(delete).bind(permit).execute(tx).await?;
        Ok(())
    }
}

impl Commands {
    /// Records what came of a permit's calls and removes the permit. Needs no lease: what a worker has to tell
    /// counts, however late it is.
    pub async fn settle(
        &self,
        dispatch: DispatchId,
        known: Option<Loaded<Dispatch>>,
        settlement: Settlement,
        on_unknown: OnUnknown,
    ) -> Result<Loaded<Dispatch>, CommandError> {
        let closes = Closes::Own(settlement.permit_id);
        self.change(dispatch, known, DispatchCommand::Settle { settlement, on_unknown }, closes).await
    }

    /// Records what is known of the calls of a dead worker's permit and removes the permit.
    pub async fn reconcile(
        &self,
        dispatch: DispatchId,
        settlement: Settlement,
        on_unknown: OnUnknown,
    ) -> Result<Loaded<Dispatch>, CommandError> {
        let closes = Closes::Left(settlement.permit_id);
        self.change(dispatch, None, DispatchCommand::Reconcile { settlement, on_unknown }, closes).await
    }

    /// Closes what is left of a dispatch whose campaign was cancelled.
    pub async fn cancel_dispatch(&self, claim: &Claim) -> Result<(), CommandError> {
        self.change::<Dispatch>(claim.lease.dispatch_id, None, DispatchCommand::Cancel, Closes::Nothing)
            .await
            .map(|_| ())
    }

    /// Runs a command on a dispatch and removes the permit that it closes, in one transaction.
    pub(super) async fn change<A>(
        &self,
        id: DispatchId,
        mut known: Option<Loaded<A>>,
        command: A::Command,
        closes: Closes,
    ) -> Result<Loaded<A>, CommandError>
    where
        A: Guarded<Error = DispatchError>,
        A::Event: Event,
        A::Command: Clone,
    {
        let mut tries = 1;
        loop {
            let loaded = match known.take() {
                Some(loaded) => loaded,
                None => load::<A>(&self.store.pool, id).await?,
            };
            match self.change_once(id, loaded, command.clone(), closes).await {
                Err(error) if error.is_transient() && tries < TRIES_MAX => tries += 1,
                other => return Ok(other?),
            }
        }
    }

    async fn change_once<A>(
        &self,
        id: DispatchId,
        loaded: Loaded<A>,
        command: A::Command,
        closes: Closes,
    ) -> Result<Loaded<A>, StoreError>
    where
        A: Guarded<Error = DispatchError>,
        A::Event: Event,
    {
        let decided = Decided::decide(id, loaded, command).await;
        let decided = decided.map_err(|error| StoreError::Format(error.to_string()))?;
        let after = decided.loaded_after();
        let is_empty = decided.events.is_empty();
        let mut tx = self.store.pool.begin().await?;
        closes.delete(&mut tx).await?;
        if !is_empty {
            let events = decided.into_append(&SubjectKeys::new())?;
            append(&mut tx, vec![events], &Context::system("sender").metadata()).await?;
        }
        tx.commit().await?;
        if !is_empty {
            self.store.news.appended();
        }
        Ok(after)
    }
}
