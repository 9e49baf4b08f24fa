//! The time in which a call to a mail provider may start.
//!
//! An opt-out waits until the permits that it saw open are settled or have passed. That works only if no call starts
//! later than the width W after the clocks that were read *before* the authorizing transaction. Two clocks must agree:
//! `CLOCK_BOOTTIME`, which counts a suspended machine and can't be set, and `CLOCK_REALTIME`, which the hypervisor moves
//! on when a paused or restored machine goes on. A clock that went back proves nothing, so it closes the window too.

use std::time::Duration;

use rustix::time::{ClockId, Timespec, clock_gettime};

/// The clocks read before an authorizing transaction, and how long a call may start from then on.
#[derive(Debug, Clone)]
pub struct Window {
    opened: Reading,
    width: Duration,
    clock: Clock,
}

/// Both clocks were within the window a moment ago: the call may start now, and only now.
#[must_use = "the check counts only for a call that starts right after it"]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Started;

/// The window has passed, or a clock moved in a way that proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the window to start a call has passed")]
pub struct Expired;

impl Window {
    /// Reads both clocks. To be called before the authorizing transaction begins.
    #[must_use]
    pub fn open(width: Duration) -> Self {
        Self::open_by(Clock::System, width)
    }

    fn open_by(clock: Clock, width: Duration) -> Self {
        Self { opened: clock.read(), width, clock }
    }

    /// Whether a call may start now. To be called just before the write that starts it.
    pub fn check(&self) -> Result<Started, Expired> {
        if self.is_late() { Err(Expired) } else { Ok(Started) }
    }

    /// Reads the clocks again: after the write that started a call, `true` means a late hand-over.
    #[must_use]
    pub fn is_late(&self) -> bool {
        self.elapsed().is_none_or(|elapsed| elapsed > self.width)
    }

    /// How long a call may still start; zero once the window has passed.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.elapsed().map_or(Duration::ZERO, |elapsed| self.width.saturating_sub(elapsed))
    }

    /// The longer of both clocks' answers; `None` if one of them went back.
    fn elapsed(&self) -> Option<Duration> {
        let now = self.clock.read();
        let boot = since(self.opened.boottime_ns, now.boottime_ns)?;
        let real = since(self.opened.realtime_ns, now.realtime_ns)?;
        Some(boot.max(real))
    }
}

/// Both clocks in nanoseconds; wide enough that no subtraction overflows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Reading {
    boottime_ns: i128,
    realtime_ns: i128,
}

#[derive(Debug, Clone)]
enum Clock {
    System,
    #[cfg(test)]
    Scripted(scripted::Script),
}

impl Clock {
    fn read(&self) -> Reading {
        match self {
            Self::System => Reading {
                boottime_ns: nanoseconds(clock_gettime(ClockId::Boottime)),
                realtime_ns: nanoseconds(clock_gettime(ClockId::Realtime)),
            },
            #[cfg(test)]
            Self::Scripted(script) => script.next(),
        }
    }
}

fn nanoseconds(time: Timespec) -> i128 {
    i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec)
}

fn since(earlier_ns: i128, later_ns: i128) -> Option<Duration> {
    let elapsed_ns = u128::try_from(later_ns - earlier_ns).ok()?;
    Some(Duration::from_nanos(u64::try_from(elapsed_ns).unwrap_or(u64::MAX)))
}

/// Clocks that follow a script, for the tests of the window and of the mailers.
#[cfg(test)]
pub(crate) mod scripted {
    use std::collections::VecDeque;
    use std::sync::{Arc, Mutex};

    use super::{Clock, Duration, Reading, Window};

    /// Readings in order, each in milliseconds after the opening; the last one repeats.
    #[derive(Debug, Clone)]
    pub(super) struct Script(Arc<Mutex<VecDeque<Reading>>>);

    impl Script {
        pub(super) fn next(&self) -> Reading {
            let mut readings = self.0.lock().unwrap();
            if readings.len() > 1 { readings.pop_front().unwrap() } else { readings[0] }
        }
    }

    /// A window of 2 s whose later readings are `(boottime, realtime)` in milliseconds after the opening.
    pub(crate) fn window(readings_ms: &[(i64, i64)]) -> Window {
        const START_MS: i64 = 1_700_000_000_000;
        let reading = |&(boot, real): &(i64, i64)| Reading {
            boottime_ns: i128::from(START_MS + boot) * 1_000_000,
            realtime_ns: i128::from(START_MS + real) * 1_000_000,
        };
        let readings = std::iter::once(&(0, 0)).chain(readings_ms).map(reading).collect();
        Window::open_by(Clock::Scripted(Script(Arc::new(Mutex::new(readings)))), Duration::from_secs(2))
    }
}

#[cfg(test)]
mod tests {
    use super::scripted::window;
    use super::*;

    #[test]
    fn a_call_may_start_up_to_the_width_and_not_later() {
        assert_eq!(window(&[(0, 0)]).check(), Ok(Started));
        assert_eq!(window(&[(2_000, 2_000)]).check(), Ok(Started));
        assert_eq!(window(&[(2_001, 2_001)]).check(), Err(Expired));
    }

    #[test]
    fn the_wall_clock_jumping_an_hour_closes_it() {
        assert_eq!(window(&[(10, 3_600_010)]).check(), Err(Expired));
    }

    #[test]
    fn either_clock_going_back_closes_it() {
        assert_eq!(window(&[(10, -1)]).check(), Err(Expired));
        assert_eq!(window(&[(-1, 10)]).check(), Err(Expired));
        assert_eq!(window(&[(10, -3_600_000)]).remaining(), Duration::ZERO);
    }

    #[test]
    fn a_suspended_machine_closes_it() {
        // Boot time counts the suspension even if the wall clock has not been set yet.
        assert_eq!(window(&[(60_000, 5)]).check(), Err(Expired));
        // A restored clone: boot time stands still, the wall clock was moved on.
        assert_eq!(window(&[(5, 60_000)]).check(), Err(Expired));
    }

    #[test]
    fn a_write_that_ends_after_the_width_is_late() {
        let window = window(&[(1_999, 1_999), (2_500, 2_500)]);
        assert_eq!(window.check(), Ok(Started));
        assert!(window.is_late());
    }

    #[test]
    fn what_remains_is_by_the_faster_clock() {
        assert_eq!(window(&[(500, 700)]).remaining(), Duration::from_millis(1_300));
        assert_eq!(window(&[(3_000, 700)]).remaining(), Duration::ZERO);
    }

    #[test]
    fn the_real_clocks_open_a_window() {
        let window = Window::open(Duration::from_secs(60));
        assert_eq!(window.check(), Ok(Started));
        assert!(window.remaining() > Duration::from_secs(50));
    }
}
