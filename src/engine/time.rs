//! The engine's time: that of its clock, which may be set back, on a line that never runs back.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::base::clock::{Clock, NANOS_PER_SECOND};
use crate::counters::{Moment, Timeline};

/// A clock that is behind its highest reading by no more than this flutters, as clocks do that are
/// read by several threads or drawn to another one's time: the engine's time waits for it. One that
/// is further behind was set back.
const FLUTTER: u64 = NANOS_PER_SECOND;

/// A reading of the clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClockReading {
    /// What the clock showed, on the engine's line.
    pub(super) asked: Moment,
    /// The engine's time, which does not run back.
    pub(super) moment: Moment,
    /// Events are taken however far ahead they are dated: another engine has taken them.
    pub(super) takes_any_date: bool,
}

/// Makes time that does not run back of a clock that may be set back.
#[derive(Debug, Default)]
pub(super) struct MonotonicTime {
    /// The engine's highest time.
    highest: AtomicU64,
    /// By how much the clock was set back so far, all steps together. It is added to what the clock
    /// shows, so the line goes on from the highest time at the clock's pace.
    offset: AtomicU64,
    /// Held while a step is noted.
    stepping: Mutex<()>,
}

/// Reads the clock, which is the caller's code: no lock is held.
#[inline]
pub(super) fn read(
    clock: &dyn Clock,
    line: Timeline,
    monotonic: Option<&MonotonicTime>,
) -> ClockReading {
    let Some(monotonic) = monotonic else {
        let asked = line.read(clock);
        return ClockReading { asked, moment: asked, takes_any_date: false };
    };
    // Before the clock: whoever reads it later and finds less knows that it was set back.
    let known = monotonic.highest.load(Ordering::Acquire);
    let offset = monotonic.offset.load(Ordering::Acquire);
    let reading = line.read(clock).0;
    let mut asked = reading.saturating_add(offset);
    if asked.saturating_add(FLUTTER) < known {
        asked = monotonic.step(reading, known);
    }
    let moment = monotonic.highest.fetch_max(asked, Ordering::AcqRel).max(asked);
    ClockReading { asked: Moment(asked), moment: Moment(moment), takes_any_date: false }
}

impl MonotonicTime {
    /// By how much the line is ahead of what the clock shows, because that was set back.
    pub(super) fn offset(&self) -> u64 {
        self.offset.load(Ordering::Acquire)
    }

    #[cold]
    fn step(&self, reading: u64, known: u64) -> u64 {
        let _stepping = self.stepping.lock();
        let offset = self.offset.load(Ordering::Acquire);
        // Another thread may have noted the step.
        let asked = reading.saturating_add(offset);
        if asked.saturating_add(FLUTTER) >= known {
            return asked;
        }
        self.offset.store(known.saturating_sub(reading), Ordering::Release);
        known
    }
}
