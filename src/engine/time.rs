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
pub(super) struct Now {
    /// What the clock showed, on the engine's line.
    pub(super) asked: Moment,
    /// The engine's time, which does not run back.
    pub(super) moment: Moment,
    /// Events are taken however far ahead they are dated: another engine has taken them.
    pub(super) takes_any_date: bool,
}

/// What is known of a clock that may be set back.
#[derive(Debug, Default)]
pub(super) struct Unsteady {
    /// The engine's highest time.
    highest: AtomicU64,
    /// By how much the clock was set back so far, all steps together: the line goes on from the
    /// highest time at the clock's pace.
    back: AtomicU64,
    /// Held while a step is noted.
    stepping: Mutex<()>,
}

/// Reads the clock, which is the caller's code: no lock is held.
#[inline]
pub(super) fn read(clock: &dyn Clock, line: Timeline, unsteady: Option<&Unsteady>) -> Now {
    let Some(unsteady) = unsteady else {
        let asked = line.read(clock);
        return Now { asked, moment: asked, takes_any_date: false };
    };
    // Before the clock: whoever reads it later and finds less knows that it was set back.
    let known = unsteady.highest.load(Ordering::Acquire);
    let back = unsteady.back.load(Ordering::Acquire);
    let reading = line.read(clock).0;
    let mut asked = reading.saturating_add(back);
    if asked.saturating_add(FLUTTER) < known {
        asked = unsteady.step(reading, known);
    }
    let moment = unsteady.highest.fetch_max(asked, Ordering::AcqRel).max(asked);
    Now { asked: Moment(asked), moment: Moment(moment), takes_any_date: false }
}

impl Unsteady {
    #[cold]
    fn step(&self, reading: u64, known: u64) -> u64 {
        let _stepping = self.stepping.lock();
        let back = self.back.load(Ordering::Acquire);
        // Another thread may have noted the step.
        let asked = reading.saturating_add(back);
        if asked.saturating_add(FLUTTER) >= known {
            return asked;
        }
        self.back.store(known.saturating_sub(reading), Ordering::Release);
        known
    }
}
