//! The machine's own time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::interpolated::{Interpolated, Reading, Reference};
use super::processor::ProcessorCounter;
use super::{Clock, NANOS_PER_SECOND, Timestamp};

/// The machine's time, never running back inside a process.
///
/// It reads the wall clock when it is made and then counts on the operating system's monotonic
/// clock. At most once a second it looks at the wall clock again:
///
/// * **Suspend, or a pause of a virtual machine**: the monotonic clock may have stood still. The
///   wall clock is ahead, and the clock moves forward to it: time has passed for buckets and
///   quotas alike, within a second of waking.
/// * **A step of the wall clock forward** cannot be told from a suspend and does the same. Each
///   token bucket gains at most one burst by it, each quota at most the periods stepped over.
/// * **A step of the wall clock back** changes nothing: the clock goes on counting, ahead of the
///   wall clock by the step until the process starts again. No window that was spent opens again.
/// * **A restart after a step back** of a process whose engine has a store: the wall clock is
///   behind the store's last instant. Rate limits and rolling quotas go on from where they were,
///   at the clock's pace; dates, and quotas by the calendar, are the wall clock's. Fixed windows
///   keep their edges, which are off the calendar by the step from then on.
/// * **A leap second**: the clock follows the operating system, which smears it or repeats a
///   second of Unix time; a repeat is a step back by one second, as above.
///
/// # The processor's counter
///
/// A reading of the monotonic clock is a good part of what a decision costs. Where the processor's
/// counter of time stamps is invariant, and the kernel itself goes by it (Linux on x86-64; look
/// into `/sys/devices/system/clocksource/clocksource0/current_clocksource` for `tsc`), this clock
/// reads the counter in its place, in less than half of the time. Everywhere else it reads the
/// monotonic clock once a call. There is nothing to set.
///
/// The counter says only how far time has come since the monotonic clock was last read, and that
/// is read again after 10 milliseconds, by whoever comes first. So neither drifts from the other:
///
/// * **Accuracy**: within a microsecond of the monotonic clock, as a rule.
/// * **A counter that is wrong** (it jumps, or has another rate since the virtual machine moved to
///   another host) is wrong for as long as it takes to count these 10 milliseconds. Readings are
///   ahead by no more than twice that, and then go slower until they are right; they never go
///   back for it. A counter that stood still, as in a suspend, is behind until then. One that
///   stopped for good would stop the clock, and refill no limit; none that is invariant does.
/// * **Between threads** readings do not run back, but for the order in which processors read their
///   counters: who reads the clock because of what another thread did after its own reading may
///   see up to some hundred nanoseconds less. A decision's instant is never earlier than that of
///   another one on the same counters, whichever thread made it.
/// * **A counter that runs back** by less than 10 milliseconds takes readings back as far, and no
///   decision on the same counters. When it is further back the monotonic clock is read.
#[derive(Debug)]
pub struct SystemClock {
    system: OsClock,
    /// What is read in place of the system's clock, where there is a counter that can be trusted.
    counter: Option<Interpolated<ProcessorCounter>>,
}

impl SystemClock {
    /// Makes a clock that shows the wall clock's time now.
    ///
    /// The first one of a process measures the rate of the processor's counter, which takes less
    /// than a millisecond, and 200 at the worst on a machine that is busy.
    #[must_use]
    pub fn new() -> Self {
        let system = OsClock::new();
        let counter = ProcessorCounter::find()
            .map(|(counter, rate)| Interpolated::new(counter, rate, &system));
        Self { system, counter }
    }

    /// The nanoseconds since an origin that is later than the clock, or further back than 64 bits
    /// can say.
    #[cold]
    fn far_since(&self, origin: Timestamp) -> u64 {
        self.now().nanos_since(origin)
    }

    /// The nanoseconds since the clock was made.
    #[inline]
    fn nanos(&self) -> u64 {
        match &self.counter {
            Some(counter) => counter.read(&self.system),
            None => self.system.read().shown,
        }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        self.system.base.saturating_add_nanos(self.nanos())
    }

    fn nanos_since(&self, origin: Timestamp) -> u64 {
        // What is before the clock's own start is before now as well.
        match self.system.base.checked_nanos_since(origin) {
            Some(before) => before.saturating_add(self.nanos()),
            None => self.far_since(origin),
        }
    }

    fn is_monotonic(&self) -> bool {
        true
    }
}

/// The operating system's monotonic clock, moved forward to the wall clock where that got ahead.
#[derive(Debug)]
struct OsClock {
    base: Timestamp,
    started: Instant,
    /// Nanoseconds by which the wall clock got ahead of the monotonic one; only grows.
    ahead: AtomicU64,
    /// Nanoseconds since `started` at the last look at the wall clock.
    looked: AtomicU64,
}

/// A wall clock ahead by less than this is left alone: slewing moves both clocks alike.
const STEP_NANOS: u64 = 10_000_000;

impl OsClock {
    #[expect(clippy::disallowed_methods, reason = "this is the Clock that others ask")]
    fn new() -> Self {
        Self {
            base: wall_clock(),
            started: Instant::now(),
            ahead: AtomicU64::new(0),
            looked: AtomicU64::new(0),
        }
    }

    #[cold]
    fn follow_wall_clock(&self, elapsed: u64) {
        // Relaxed: each value stands alone; a late look costs a second look, nothing else.
        self.looked.store(elapsed, Ordering::Relaxed);
        let ahead = self.ahead.load(Ordering::Relaxed);
        let shown = self.base.saturating_add_nanos(elapsed.saturating_add(ahead));
        let behind = wall_clock().nanos_since(shown);
        if behind > STEP_NANOS {
            self.ahead.fetch_max(ahead.saturating_add(behind), Ordering::Relaxed);
        }
    }
}

impl Reference for OsClock {
    // Not where the counter is read, which needs few registers.
    #[inline(never)]
    #[expect(clippy::disallowed_methods, reason = "this is the Clock that others ask")]
    fn read(&self) -> Reading {
        let elapsed = Instant::now().saturating_duration_since(self.started);
        // A process does not run for the 584 years that this could not count.
        let nanos = elapsed.as_secs().saturating_mul(NANOS_PER_SECOND);
        let steady = nanos.saturating_add(u64::from(elapsed.subsec_nanos()));
        if steady.saturating_sub(self.looked.load(Ordering::Relaxed)) >= NANOS_PER_SECOND {
            self.follow_wall_clock(steady);
        }
        let shown = steady.saturating_add(self.ahead.load(Ordering::Relaxed));
        Reading { steady, shown }
    }
}

/// Reads the wall clock; a machine set before 1970 reads as 1970.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
fn wall_clock() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::UNIX_EPOCH.saturating_add(since)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::base::clock::interpolated::INTERVAL;

    #[test]
    fn the_system_clock_never_runs_back_between_threads() {
        let clock = SystemClock::new();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut last = clock.now();
                    for _ in 0..10_000 {
                        let now = clock.now();
                        assert!(now >= last, "{now} after {last}");
                        last = now;
                    }
                });
            }
        });
    }

    #[test]
    fn a_wall_clock_that_is_ahead_is_followed_and_one_that_is_behind_is_not() {
        let mut clock = OsClock::new();
        let now = |clock: &OsClock| clock.base.saturating_add_nanos(clock.read().shown);
        clock.base = Timestamp::new(clock.base.unix_seconds() - 3_600, 0);
        clock.follow_wall_clock(0);
        let caught_up = now(&clock);
        assert!(wall_clock().saturating_since(caught_up) < Duration::from_secs(1));

        clock.base = Timestamp::new(clock.base.unix_seconds() + 7_200, 0);
        let ahead = now(&clock);
        clock.follow_wall_clock(0);
        assert!(now(&clock) >= ahead);
    }

    #[test]
    fn the_counter_keeps_to_the_systems_clock() {
        let clock = SystemClock::new();
        // Some readings of the system's clock, whatever the machine is busy with meanwhile.
        let until = clock.system.read().shown + 5 * INTERVAL;
        let mut before = clock.system.read().shown;
        while before < until {
            let shown = clock.nanos();
            let after = clock.system.read().shown;
            // It is behind where the thread was held up while it read the system's clock.
            assert!(
                shown + 2 * INTERVAL > before && shown < after + 1_000_000,
                "{shown}: {before}"
            );
            before = after;
        }
    }

    #[test]
    fn nanoseconds_after_an_origin_are_those_of_the_instant() {
        let clock = SystemClock::new();
        let now = clock.now();
        let century = Duration::from_secs(3_155_760_000);
        for origin in [now - century, now - Duration::from_nanos(1), now] {
            let (before, nanos) = (clock.now(), clock.nanos_since(origin));
            assert!(before.nanos_since(origin) <= nanos, "{origin}");
            assert!(nanos <= clock.now().nanos_since(origin), "{origin}");
        }
        // Origins that lie ahead, and one that is further back than can be counted.
        assert_eq!(clock.nanos_since(now + century), 0);
        assert_eq!(clock.nanos_since(Timestamp::MIN), u64::MAX);
        let soon = now + Duration::from_millis(1);
        while clock.now() <= soon {}
        assert!(clock.nanos_since(soon) > 0);
    }
}
