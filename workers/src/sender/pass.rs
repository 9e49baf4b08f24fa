//! One pass over a dispatch: chunk after chunk, each composed, authorized, handed over and settled.

use super::chunk::{self, ChunkSize, HandedOver};
use super::compose::Composed;
use super::settling::Insistence;
use super::{CampaignContext, Sender};
use crate::mailers::Mailer;
use crate::metrics;
use crate::window::Window;
use commands::CommandError;
use commands::send::{Authorized, Claim, Made};
use domain::PermitId;
use domain::dispatch::{Dispatch, Index, Settlement};
use eventstore::Loaded;
use std::collections::BTreeSet;
use std::sync::Arc;

pub struct Pass<'a> {
    sender: &'a Sender,
    claim: &'a Claim,
    context: &'a Arc<CampaignContext>,
    mailer: &'a dyn Mailer,
    pub dispatch: Loaded<Dispatch>,
    size: ChunkSize,
    /// Refused for now: not tried again in this pass.
    pub deferred: BTreeSet<Index>,
}

/// How a chunk ended.
pub enum Chunk {
    Settled,
    /// The mailer takes nothing now.
    Down(String),
    /// The campaign stopped, or somebody else has the dispatch.
    Lost,
    /// Nobody waits any more.
    None,
}

impl<'a> Pass<'a> {
    pub fn new(
        sender: &'a Sender,
        claim: &'a Claim,
        context: &'a Arc<CampaignContext>,
        mailer: &'a dyn Mailer,
        dispatch: Loaded<Dispatch>,
    ) -> Self {
        let size = ChunkSize::new(sender.settings.chunk_max, mailer.concurrency());
        Self { sender, claim, context, mailer, dispatch, size, deferred: BTreeSet::new() }
    }

    /// Rate tokens, connections, keys and rendering come first: nothing slow happens while a permit is open.
    pub async fn chunk(&mut self) -> Result<Chunk, CommandError> {
        let mut indexes = self.dispatch.aggregate.waiting();
        indexes.retain(|index| !self.deferred.contains(index));
        if indexes.is_empty() {
            return Ok(Chunk::None);
        }
        indexes.truncate(self.mailer.take_tokens(indexes.len().min(self.size.get())).await);
        if indexes.is_empty() {
            // No token for so long: others have their turn.
            return Ok(Chunk::None);
        }
        if let Err(down) = self.mailer.prepare(indexes.len().min(self.mailer.concurrency())).await {
            metrics::unavailable(self.mailer.name());
            return Ok(Chunk::Down(down.reason));
        }
        let composed =
            self.sender.compose(self.context, self.claim, &self.dispatch.aggregate, &indexes).await?;
        self.authorize_and_send(composed).await
    }

    async fn authorize_and_send(&mut self, composed: Composed) -> Result<Chunk, CommandError> {
        // The clocks are read before the transaction: an opt-out that it does not see waits at least as long.
        let window = Window::open(self.sender.commands.timing.window);
        let made = Made {
            group: self.context.details.group_id,
            mailer: self.mailer.name(),
            template_version: self.context.template_version,
            taken_version: self.context.taken_version,
        };
        let authorized = self
            .sender
            .commands
            .authorize(
                self.claim,
                self.dispatch.clone(),
                made,
                &composed.candidates,
                composed.refused,
                self.sender.hold(self.mailer),
            )
            .await?;
        match authorized {
            Authorized::Stopped | Authorized::Lost => Ok(Chunk::Lost),
            Authorized::Nobody { dispatch } => {
                self.dispatch = dispatch;
                Ok(Chunk::Settled)
            }
            Authorized::InDoubt { permit, allowed } => {
                let untouched = Settlement { permit_id: permit, returned: allowed, ..Settlement::default() };
                self.settle(None, untouched).await?;
                Ok(Chunk::Settled)
            }
            Authorized::Permit { permit, allowed, dispatch } => {
                self.dispatch = dispatch;
                let mails =
                    composed.mails.into_iter().filter(|(index, _)| allowed.binary_search(index).is_ok());
                self.hand_over(permit, mails.collect(), &window).await
            }
        }
    }

    async fn hand_over(
        &mut self,
        permit: PermitId,
        mails: Vec<(Index, crate::mailers::Outgoing)>,
        window: &Window,
    ) -> Result<Chunk, CommandError> {
        let count = mails.len();
        let HandedOver { mut settlement, mailer_failed } =
            chunk::hand_over(self.mailer, permit, mails, window).await;
        let had_time = window.remaining() * 2 > self.sender.commands.timing.window;
        self.size.learn(count, settlement.returned.len(), had_time);
        if let Err(down) = self.mailer.settle_barrier().await {
            // What was accepted may not be durable: the permit stays, and is cleared up once it has expired.
            return Ok(Chunk::Down(down.reason));
        }
        if mailer_failed {
            // No reader's fault, so no reader's try: how long it lasts is what ends it.
            settlement.returned.append(&mut settlement.deferred);
            settlement.returned.sort_unstable();
        }
        self.deferred.extend(&settlement.deferred);
        self.settle(Some(self.dispatch.clone()), settlement).await?;
        Ok(match mailer_failed {
            true => Chunk::Down("every call failed".into()),
            false => Chunk::Settled,
        })
    }

    async fn settle(
        &mut self,
        mut known: Option<Loaded<Dispatch>>,
        settlement: Settlement,
    ) -> Result<(), CommandError> {
        let commands = &self.sender.commands;
        let (id, on_unknown) = (self.claim.lease.dispatch_id, self.context.details.on_unknown);
        let mut insistence = Insistence::default();
        loop {
            match commands.settle(id, known.take(), settlement.clone(), on_unknown).await {
                Ok(dispatch) => {
                    self.dispatch = dispatch;
                    return Ok(());
                }
                Err(error) => insistence.wait_after(error, id).await?,
            }
        }
    }
}
