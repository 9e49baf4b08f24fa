//! The embedded carrier: read models filled from the log itself, one loop for each, on one machine.

use crate::follower::Follower;
use crate::{Backoff, ConsumeError, Delivery, Interleaving, Projection, watch_head};
use eventstore::{Head, LogEvent, News};
use sqlx::PgPool;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Batches' worth of events that an [`Interleaving`] may hold back before reading waits for it.
const HELD_BATCHES: usize = 4;

pub struct Embedded {
    pub pool: PgPool,
    pub projections: Vec<Arc<dyn Projection>>,
    pub news: News,
    /// For tests.
    pub interleaving: Option<Interleaving>,
}

impl Embedded {
    /// Fills the read models until `stop`; each loop finishes its batch first.
    ///
    /// Whatever keeps the database from answering is waited out. An error is one that only an operator can end.
    pub async fn run(self, stop: CancellationToken) -> Result<(), ConsumeError> {
        let stop = stop.child_token();
        let _stops_all_at_the_end = stop.clone().drop_guard();
        let head = watch_head(self.pool.clone(), &self.news, stop.clone());
        let mut loops = JoinSet::new();
        for projection in self.projections {
            let one = Loop {
                pool: self.pool.clone(),
                projection,
                head: head.clone(),
                interleaving: self.interleaving.clone(),
                seen: None,
                stop: stop.clone(),
            };
            loops.spawn(one.run());
        }
        let mut outcome = Ok(());
        while let Some(ended) = loops.join_next().await {
            let ended = match ended {
                Ok(ended) => ended,
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                // Nobody aborts the loops but a runtime that ends.
                Err(_) => Ok(()),
            };
            if ended.is_err() {
                stop.cancel();
                outcome = outcome.and(ended);
            }
        }
        outcome
    }
}

/// What one read model's loop needs.
struct Loop {
    pool: PgPool,
    projection: Arc<dyn Projection>,
    head: watch::Receiver<Option<Head>>,
    interleaving: Option<Interleaving>,
    /// When it last looked.
    seen: Option<Head>,
    stop: CancellationToken,
}

/// Whether a step left something to do.
#[derive(PartialEq, Eq)]
enum Step {
    Worked,
    Idle,
}

impl Loop {
    async fn run(mut self) -> Result<(), ConsumeError> {
        let mut follower = None;
        let mut backoff = Backoff::default();
        while !self.stop.is_cancelled() {
            match self.step(&mut follower).await {
                Ok(Step::Worked) => backoff.reset(),
                Ok(Step::Idle) => self.wait_for_news().await,
                Err(error @ ConsumeError::ForeignEpoch { .. }) => return Err(error),
                Err(ConsumeError::Store(error)) => {
                    tracing::warn!(projection = self.projection.name(), %error, "read model: will try again");
                    follower = None;
                    tokio::select! {
                        () = self.stop.cancelled() => {}
                        () = tokio::time::sleep(backoff.pause()) => {}
                    }
                }
            }
        }
        Ok(())
    }

    async fn wait_for_news(&mut self) {
        tokio::select! {
            () = self.stop.cancelled() => {}
            changed = self.head.changed() => if changed.is_err() {
                // The watch ends only when everything does.
                self.stop.cancelled().await;
            }
        }
    }

    async fn step(&mut self, follower: &mut Option<Follower>) -> Result<Step, ConsumeError> {
        let Some(head) = *self.head.borrow_and_update() else { return Ok(Step::Idle) };
        let follower = match follower {
            Some(follower) => follower,
            None => {
                self.forget_held();
                follower.insert(Follower::start(self.pool.clone(), self.projection.clone()).await?)
            }
        };
        // Where the log was put back, what the follower has read may lie behind its end.
        let is_another = self.seen.replace(head).is_some_and(|seen| head.may_be_another(&seen));
        if is_another || follower.consumer().epoch() != head.epoch {
            self.forget_held();
            follower.restart().await?;
        }
        let room =
            self.interleaving.as_ref().is_none_or(|i| i.held() < HELD_BATCHES * self.projection.batch_max());
        let batch = if room { follower.read(head.position).await? } else { Vec::new() };
        for delivery in self.arrange(batch) {
            if follower.deliver(delivery).await? == Delivery::Raced {
                self.forget_held();
                break;
            }
        }
        let held = self.interleaving.as_ref().map_or(0, Interleaving::held);
        Ok(if held == 0 && follower.cursor() >= head.position { Step::Idle } else { Step::Worked })
    }

    fn arrange(&mut self, batch: Vec<LogEvent>) -> Vec<Vec<LogEvent>> {
        match &mut self.interleaving {
            Some(interleaving) => interleaving.arrange(batch),
            None => vec![batch],
        }
    }

    fn forget_held(&mut self) {
        if let Some(interleaving) = &mut self.interleaving {
            interleaving.clear();
        }
    }
}
