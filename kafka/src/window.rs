//! What the relay has sent and the brokers have acknowledged, in whatever order they did.

use std::collections::VecDeque;

/// Positions are dense, so that one flag for each sent behind the acknowledged one is all that is needed. Its length is
/// bounded by the relay.
#[derive(Debug)]
pub(crate) struct Window {
    /// Everything up to this position is in Kafka.
    acknowledged: i64,
    delivered: VecDeque<bool>,
    failure: Option<String>,
}

impl Window {
    pub fn new(acknowledged: i64) -> Self {
        Self { acknowledged, delivered: VecDeque::new(), failure: None }
    }

    pub fn acknowledged(&self) -> i64 {
        self.acknowledged
    }

    /// Notes what became of one position. What failed stays missing for ever: the window never passes it.
    pub fn note(&mut self, position: i64, outcome: Result<(), String>) {
        if let Err(failure) = outcome {
            self.failure.get_or_insert(failure);
            return;
        }
        let Ok(index) = usize::try_from(position - self.acknowledged - 1) else { return };
        if index >= self.delivered.len() {
            self.delivered.resize(index + 1, false);
        }
        self.delivered[index] = true;
        while self.delivered.front() == Some(&true) {
            self.delivered.pop_front();
            self.acknowledged += 1;
        }
    }

    /// Why the relay has to go back to the acknowledged position, if it has to.
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_moves_over_what_was_delivered_without_a_gap() {
        let mut window = Window::new(10);
        for (delivered, acknowledged) in [(12, 10), (14, 10), (11, 12), (13, 14), (13, 14), (9, 14)] {
            window.note(delivered, Ok(()));
            assert_eq!(window.acknowledged(), acknowledged, "after {delivered}");
        }
    }

    #[test]
    fn it_never_passes_what_failed() {
        let mut window = Window::new(0);
        window.note(1, Ok(()));
        window.note(2, Err("timed out".into()));
        window.note(3, Ok(()));
        assert_eq!((window.acknowledged(), window.failure()), (1, Some("timed out")));
    }
}
