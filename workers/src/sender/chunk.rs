//! One permit's calls.

use crate::mailers::{Mailer, Outcome, Outgoing};
use crate::metrics;
use crate::window::Window;
use domain::PermitId;
use domain::dispatch::{Index, Refusal, Settlement};
use futures::StreamExt;
use std::time::Instant;

/// What one permit's calls came to.
pub struct HandedOver {
    pub settlement: Settlement,
    /// Every call failed for a reason that no reader has to do with: no connection, no sign-in, a refused sender.
    pub mailer_failed: bool,
}

/// Calls the mailer for each mail, as many at once as it takes, and sums up what it said. What can't start within
/// the window is returned untouched.
pub async fn hand_over(
    mailer: &dyn Mailer,
    permit_id: PermitId,
    mails: Vec<(Index, Outgoing)>,
    window: &Window,
) -> HandedOver {
    let calls = futures::stream::iter(mails)
        .map(|(index, mail)| async move {
            let started = Instant::now();
            let outcome = mailer.hand_over(&mail, window).await;
            metrics::called(mailer.name(), &outcome, started.elapsed());
            (index, outcome)
        })
        .buffer_unordered(mailer.concurrency().max(1));
    let mut settlement = Settlement { permit_id, ..Settlement::default() };
    let mut mailer_failed = true;
    let mut calls = std::pin::pin!(calls);
    while let Some((index, outcome)) = calls.next().await {
        mailer_failed &= is_mailers_own(&outcome);
        record(&mut settlement, index, outcome);
    }
    sort(&mut settlement);
    HandedOver { settlement, mailer_failed }
}

/// A temporary refusal of one reader says nothing of the mailer; no answer, or a permanent refusal of us, does.
fn is_mailers_own(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Deferred { code } => code.is_none_or(|code| code >= 500),
        Outcome::Accepted { .. }
        | Outcome::NotStarted
        | Outcome::Rejected { .. }
        | Outcome::Unknown { .. } => false,
    }
}

fn record(settlement: &mut Settlement, index: Index, outcome: Outcome) {
    match outcome {
        Outcome::Accepted { late, provider_id: _ } => {
            settlement.accepted.push(index);
            settlement.late.extend(late.then_some(index));
        }
        Outcome::NotStarted => settlement.returned.push(index),
        Outcome::Deferred { code: _ } => settlement.deferred.push(index),
        Outcome::Rejected { code } => {
            let reason = code.map_or_else(|| "refused_by_mailer".to_owned(), |code| code.to_string());
            settlement.rejected.push(Refusal { index, reason });
        }
        Outcome::Unknown { class: _, late } => {
            settlement.unknown.push(index);
            settlement.late.extend(late.then_some(index));
        }
    }
}

/// By index: what is recorded must not depend on which call ended first.
fn sort(settlement: &mut Settlement) {
    settlement.accepted.sort_unstable();
    settlement.rejected.sort_unstable_by_key(|refusal| refusal.index);
    settlement.unknown.sort_unstable();
    settlement.returned.sort_unstable();
    settlement.deferred.sort_unstable();
    settlement.late.sort_unstable();
}

/// A chunk is what can start within the window: learnt from the last one.
pub struct ChunkSize {
    size: usize,
    max: usize,
}

impl ChunkSize {
    pub fn new(max: usize, concurrency: usize) -> Self {
        Self { size: max.min(concurrency.max(1) * 4).max(1), max }
    }

    pub fn get(&self) -> usize {
        self.size
    }

    /// `had_time`: more than half of the window was left when all calls had ended.
    pub fn learn(&mut self, allowed: usize, not_started: usize, had_time: bool) {
        if not_started > 0 {
            self.size = allowed.saturating_sub(not_started).max(1);
        } else if had_time {
            self.size = (self.size * 2).min(self.max);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_grows_while_there_is_time_and_shrinks_to_what_started() {
        let mut size = ChunkSize::new(500, 10);
        assert_eq!(size.get(), 40);
        size.learn(40, 0, true);
        assert_eq!(size.get(), 80);
        size.learn(80, 50, false);
        assert_eq!(size.get(), 30);
        size.learn(30, 30, false);
        assert_eq!(size.get(), 1);
        size.learn(1, 0, false);
        assert_eq!(size.get(), 1);
    }
}
