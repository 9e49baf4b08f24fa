//! What failed rests, each time longer, while everything else goes on.

use projections::Backoff;
use std::collections::HashMap;
use std::hash::Hash;
use std::time::Instant;

/// Each that failed, until when it rests, and how long the next time.
pub(crate) struct Rests<K>(HashMap<K, (Instant, Backoff)>);

impl<K> Default for Rests<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + Hash> Rests<K> {
    /// It failed.
    pub fn begin(&mut self, key: K, now: Instant) {
        let (until, backoff) = self.0.entry(key).or_insert_with(|| (now, Backoff::default()));
        *until = now + backoff.pause();
    }

    /// It succeeded.
    pub fn end(&mut self, key: &K) {
        self.0.remove(key);
    }

    pub fn is_resting(&self, key: &K, now: Instant) -> bool {
        self.0.get(key).is_some_and(|(until, _)| now < *until)
    }

    /// Forgets those that are gone.
    pub fn retain(&mut self, mut is_there: impl FnMut(&K) -> bool) {
        self.0.retain(|key, _| is_there(key));
    }
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
            assert!(rests.is_resting(&"down", start + pause - Duration::from_millis(1)));
            assert!(!rests.is_resting(&"down", start + pause));
            assert!(!rests.is_resting(&"up", start));
        }
        rests.end(&"down");
        rests.begin("down", start);
        assert!(!rests.is_resting(&"down", start + Duration::from_millis(50)), "it begins anew");
    }
}
