//! How much of something each has at once: connections of an address, streams of a caller. Remembers only those that have any,
//! so it is never larger than what it counts.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub(crate) struct Shares<K: Eq + Hash> {
    held: Arc<Mutex<HashMap<K, usize>>>,
    each_max: usize,
}

impl<K: Eq + Hash + Clone> Shares<K> {
    pub fn new(each_max: usize) -> Self {
        Self { held: Arc::default(), each_max }
    }

    /// One more, unless `holder` has as many as allowed.
    pub fn take(&self, holder: K) -> Option<Share<K>> {
        let mut held = lock(&self.held);
        let count = held.entry(holder.clone()).or_default();
        if *count >= self.each_max {
            return None;
        }
        *count += 1;
        Some(Share { held: self.held.clone(), holder })
    }
}

/// Given back when it is dropped.
pub(crate) struct Share<K: Eq + Hash> {
    held: Arc<Mutex<HashMap<K, usize>>>,
    holder: K,
}

impl<K: Eq + Hash> Drop for Share<K> {
    fn drop(&mut self) {
        let mut held = lock(&self.held);
        if let Some(count) = held.get_mut(&self.holder) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.holder);
            }
        }
    }
}

/// Nothing that is done under the lock can leave it half done.
fn lock<K>(held: &Mutex<HashMap<K, usize>>) -> MutexGuard<'_, HashMap<K, usize>> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_own_and_nobody_is_remembered_who_has_none() {
        let shares = Shares::new(2);
        let held: Vec<_> = ["a", "a", "a", "b"].map(|holder| shares.take(holder)).into();
        assert_eq!(held.iter().map(Option::is_some).collect::<Vec<_>>(), [true, true, false, true]);
        drop(held);
        assert!(lock(&shares.held).is_empty());
        assert!(shares.take("a").is_some());
        assert!(Shares::new(0).take("a").is_none());
    }
}
