//! Failed sign-ins as events. Of each network the first few in a minute are an event each; the rest of that minute is counted
//! and becomes one event, so that guessing cannot fill the log. Counts are in memory: a process that dies loses those of a
//! minute.

use super::record;
use crate::{CommandError, Commands, Context};
use domain::session::{Session, SessionCommand};
use domain::visit::Visit;
use domain::{Network, Personal};
use eventstore::{ids, sealing};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Events of their own, for each network and minute.
const SINGLE_MAX: u32 = 10;
const MINUTE: Duration = Duration::from_secs(60);
/// Networks that are told apart in a minute. All others are counted together, without an address.
const NETWORKS_MAX: usize = 10_000;
const LOOK: Duration = Duration::from_secs(5);

#[derive(Default)]
pub(crate) struct Refusals(Mutex<HashMap<Option<Network>, Window>>);

struct Window {
    since: Instant,
    single: u32,
    more: u32,
}

impl Refusals {
    /// Whether this one is an event of its own; else it was counted.
    pub fn note(&self, visit: &Visit) -> bool {
        let mut windows = self.lock();
        let network = network(visit);
        let has_room = windows.contains_key(&network) || windows.len() < NETWORKS_MAX;
        let window = windows.entry(network.filter(|_| has_room));
        let window = window.or_insert_with(|| Window { since: Instant::now(), single: 0, more: 0 });
        let is_single = window.single < SINGLE_MAX;
        match is_single {
            true => window.single += 1,
            false => window.more = window.more.saturating_add(1),
        }
        is_single
    }

    /// Forgets the minutes that are over, or all of them, and answers what was counted in them.
    fn take(&self, all: bool) -> Vec<(Option<Network>, u32)> {
        let over =
            self.lock().extract_if(|_, window| all || window.since.elapsed() >= MINUTE).collect::<Vec<_>>();
        over.into_iter()
            .map(|(network, window)| (network, window.more))
            .filter(|(_, more)| *more > 0)
            .collect()
    }

    /// Nothing that is done under the lock can leave it half done.
    fn lock(&self) -> MutexGuard<'_, HashMap<Option<Network>, Window>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn network(visit: &Visit) -> Option<Network> {
    match visit.source_address.as_ref()? {
        Personal::Plain(address) => address.parse().ok().map(Network::of),
        Personal::Sealed(_) => None,
    }
}

/// Where a failed sign-in came from can be read for so long.
pub(super) const READABLE_DAYS: i32 = 180;

impl Commands {
    /// Appends what was counted when its minute is over, until `stop`, and what is left then.
    pub async fn record_refusals(self, stop: CancellationToken) {
        loop {
            let stopped = tokio::select! {
                () = tokio::time::sleep(LOOK) => false,
                () = stop.cancelled() => true,
            };
            for (network, count) in self.refusals.take(stopped) {
                if let Err(error) = self.refuse_many(network, count).await {
                    tracing::warn!(%error, count, "failed sign-ins are in no event");
                }
            }
            if stopped {
                return;
            }
        }
    }

    async fn refuse_many(&self, network: Option<Network>, count: u32) -> Result<(), CommandError> {
        let source_address = network.map(|network| Personal::plain(network.to_string()));
        let visit = Visit { source_address, user_agent: None };
        let stream = ids::new_id();
        let mut tx = self.store.pool.begin().await?;
        let keys = sealing::create(&mut tx, &self.store.master, &[stream]).await?;
        sealing::expire(&mut *tx, stream, READABLE_DAYS).await?;
        let refuse = SessionCommand::RefuseMany { count, visit };
        record::<Session>(&mut tx, stream, &keys, refuse, &Context::system("sign-in")).await?;
        tx.commit().await?;
        self.store.news.appended();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(address: &str) -> Visit {
        Visit { source_address: Some(Personal::plain(address)), user_agent: None }
    }

    #[test]
    fn after_the_first_of_a_network_they_are_counted() {
        let refusals = Refusals::default();
        let single = (0..25).filter(|_| refusals.note(&from("192.0.2.1"))).count();
        assert_eq!(single, SINGLE_MAX as usize);
        // Another's are events, and addresses of one /64 are one network.
        assert!(refusals.note(&from("192.0.2.2")));
        let single = (0..12).filter(|n| refusals.note(&from(&format!("2001:db8::{n}")))).count();
        assert_eq!(single, SINGLE_MAX as usize);
        assert_eq!(refusals.take(false), []);
        let mut taken = refusals.take(true);
        taken.sort_by_key(|(_, count)| *count);
        let network = |address: &str| Some(Network::of(address.parse().unwrap()));
        assert_eq!(taken, [(network("2001:db8::"), 2), (network("192.0.2.1"), 15)]);
        assert!(refusals.note(&from("192.0.2.1")), "a new minute");
    }

    #[test]
    fn networks_are_bounded() {
        let refusals = Refusals::default();
        for number in 0..NETWORKS_MAX + 100 {
            refusals.note(&from(&format!("10.{}.{}.1", number / 256, number % 256)));
        }
        assert_eq!(refusals.lock().len(), NETWORKS_MAX + 1);
        assert_eq!(refusals.take(true), [(None, 100 - SINGLE_MAX)]);
    }
}
