//! A carrier that is as unkind as Kafka may be, for tests: nothing may rely on an order beyond that of a slot.

use eventstore::LogEvent;
use std::collections::{BTreeMap, VecDeque};

type Slot = (String, i16);

/// Cuts batches into deliveries of a few slots' events in any order, holds slots back behind others, and repeats
/// deliveries. Order within a slot is kept. The same seed gives the same deliveries for the same batches.
#[derive(Debug, Clone)]
pub struct Interleaving {
    state: u64,
    held: BTreeMap<Slot, VecDeque<LogEvent>>,
    earlier: Vec<LogEvent>,
}

impl Interleaving {
    pub fn new(seed: u64) -> Self {
        Self { state: seed, held: BTreeMap::new(), earlier: Vec::new() }
    }

    /// Events held back.
    pub fn held(&self) -> usize {
        self.held.values().map(VecDeque::len).sum()
    }

    /// Forgets what it was given, where the log is read anew: behind a rebuild, even an earlier delivery is new.
    pub fn clear(&mut self) {
        self.held.clear();
        self.earlier.clear();
    }

    /// Takes in a batch, which may be empty, and gives some deliveries: at least one while anything is held back.
    pub fn arrange(&mut self, batch: Vec<LogEvent>) -> Vec<Vec<LogEvent>> {
        for event in batch {
            self.held.entry((event.aggregate_type.clone(), event.slot)).or_default().push_back(event);
        }
        let mut deliveries: Vec<Vec<LogEvent>> = Vec::new();
        for slot in self.shuffled_slots() {
            if !deliveries.is_empty() && self.below(3) == 0 {
                continue;
            }
            let piece = self.take_piece(&slot);
            match deliveries.last_mut() {
                Some(last) if self.below(2) == 0 => last.extend(piece),
                _ => deliveries.push(piece),
            }
        }
        self.repeat_some(deliveries)
    }

    fn shuffled_slots(&mut self) -> Vec<Slot> {
        let mut slots: Vec<Slot> = self.held.keys().cloned().collect();
        for i in (1..slots.len()).rev() {
            let j = self.below(i + 1);
            slots.swap(i, j);
        }
        slots
    }

    /// The slot's first events, or all.
    fn take_piece(&mut self, slot: &Slot) -> Vec<LogEvent> {
        let Some(mut events) = self.held.remove(slot) else { return Vec::new() };
        let size = 1 + self.below(events.len());
        let rest = events.split_off(size);
        if !rest.is_empty() {
            self.held.insert(slot.clone(), rest);
        }
        events.into()
    }

    fn repeat_some(&mut self, deliveries: Vec<Vec<LogEvent>>) -> Vec<Vec<LogEvent>> {
        let mut repeated = Vec::new();
        for delivery in deliveries {
            if self.below(4) == 0 && !self.earlier.is_empty() {
                repeated.push(self.earlier.clone());
            }
            self.earlier.clone_from(&delivery);
            repeated.push(delivery);
        }
        repeated
    }

    /// SplitMix64 (Steele, Lea, Flood: "Fast Splittable Pseudorandom Number Generators", 2014).
    fn below(&mut self, bound: usize) -> usize {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound.max(1) as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(position: i64, slot: i16) -> LogEvent {
        LogEvent {
            position,
            aggregate_type: "group".into(),
            slot,
            aggregate_id: String::new(),
            sequence: 1,
            event_type: String::new(),
            event_version: String::new(),
            payload: Default::default(),
            metadata: Default::default(),
            recorded_at: Default::default(),
        }
    }

    #[test]
    fn every_event_comes_in_its_slots_order_and_in_no_other() {
        let mut out_of_order = 0;
        for seed in 0..50 {
            let mut interleaving = Interleaving::new(seed);
            let mut deliveries = interleaving.arrange((1..=60).map(|n| event(n, (n % 5) as i16)).collect());
            while interleaving.held() > 0 {
                deliveries.extend(interleaving.arrange(Vec::new()));
            }
            let mut done = BTreeMap::<i16, i64>::new();
            let mut last = 0;
            for event in deliveries.into_iter().flatten() {
                let done = done
                    .entry(event.slot)
                    .or_insert(i64::from(event.slot) - if event.slot > 0 { 5 } else { 0 });
                if event.position <= *done {
                    continue; // repeated
                }
                assert_eq!(event.position, *done + 5, "seed {seed}: a slot's events follow each other");
                *done = event.position;
                out_of_order += usize::from(event.position < last);
                last = event.position;
            }
            assert_eq!(done.values().sum::<i64>(), 56 + 57 + 58 + 59 + 60, "seed {seed}: all are delivered");
        }
        assert!(out_of_order > 50, "slots overtake each other");
    }
}
