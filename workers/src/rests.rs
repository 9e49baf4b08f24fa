//! What failed rests, each time longer, while everything else goes on.

use projections::Backoff;
use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Those that failed, by their keys.
pub(crate) struct Rests<K>(HashMap<K, Rest>);

struct Rest {
    /// When it failed first.
    since: Instant,
    until: Instant,
    backoff: Backoff,
}

impl<K> Default for Rests<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + Hash> Rests<K> {
    /// It failed. Since when it does: `now`, if that is news.
    pub fn begin(&mut self, key: K, now: Instant) -> Instant {
        let rest =
            self.0.entry(key).or_insert_with(|| Rest { since: now, until: now, backoff: Backoff::default() });
        rest.until = now + rest.backoff.pause();
        rest.since
    }

    /// Somebody tries it again: the others leave it alone meanwhile.
    pub fn try_again(&mut self, key: &K, now: Instant) {
        if let Some(rest) = self.0.get_mut(key) {
            rest.until = now + rest.backoff.pause();
        }
    }

    /// It succeeded.
    pub fn end<Q: Eq + Hash + ?Sized>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
    {
        self.0.remove(key);
    }

    pub fn is_resting<Q: Eq + Hash + ?Sized>(&self, key: &Q, now: Instant) -> bool
    where
        K: Borrow<Q>,
    {
        self.0.get(key).is_some_and(|rest| now < rest.until)
    }

    pub fn resting(&self, now: Instant) -> Vec<K>
    where
        K: Clone,
    {
        self.0.iter().filter(|(_, rest)| now < rest.until).map(|(key, _)| key.clone()).collect()
    }

    /// Forgets those that are gone.
    pub fn retain(&mut self, mut is_there: impl FnMut(&K) -> bool) {
        self.0.retain(|key, _| is_there(key));
    }
}

/// What happened to another holder changes nothing that is kept here.
pub(crate) fn locked<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_fails_rests_twice_as_long_each_time_and_alone() {
        let start = Instant::now();
        let mut rests = Rests::default();
        for pause in [50, 100, 200].map(Duration::from_millis) {
            rests.begin("down", start);
            assert!(rests.is_resting("down", start + pause - Duration::from_millis(1)));
            assert!(!rests.is_resting("down", start + pause));
            assert!(!rests.is_resting("up", start));
        }
        rests.end("down");
        rests.begin("down", start);
        assert!(!rests.is_resting("down", start + Duration::from_millis(50)), "it begins anew");
    }
}
