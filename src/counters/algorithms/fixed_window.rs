//! The fixed window, aligned to the Unix epoch.

use serde::{Deserialize, Serialize};

use super::{Algorithm, GivenBack, KeyCalendar, Refusal, stored};
use crate::base::codec::{Malformed, Reader};
use crate::counters::cell::{CarriedUse, Cell, CellState, Layout, StateWords, count};
use crate::counters::time::{At, Moment, Timeline};
use crate::rules::{Cost, Units};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FixedWindow {
    limit: Units,
    length: u64,
    /// How far into a window the time line starts.
    phase: u64,
}

/// A window and what is used of it. A new window is a new count; there is no reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::counters) struct WindowUse {
    start: u64,
    used: Units,
}

impl FixedWindow {
    /// A window of `length` nanoseconds, more than 0.
    pub(crate) fn new(limit: Units, length: u64, timeline: Timeline) -> Self {
        Self { limit, length: length.max(1), phase: timeline.phase(length.max(1)) }
    }

    #[inline]
    fn is_in(&self, start: u64, now: Moment) -> bool {
        now.0.checked_sub(start).is_some_and(|into| into < self.length)
    }

    /// The start of the window that holds a moment.
    fn start(&self, now: Moment) -> u64 {
        // Both terms are below the length, at most 2^62, so the sum does not wrap.
        let into = now.0.checked_rem(self.length).unwrap_or(0).saturating_add(self.phase);
        now.0.saturating_sub(into.checked_rem(self.length).unwrap_or(0))
    }

    fn end(&self, window: &WindowUse) -> Moment {
        Moment(window.start.saturating_add(self.length))
    }
}

impl Algorithm for FixedWindow {
    type State = WindowUse;

    const LAYOUT: Layout = Layout::Count;

    #[inline]
    fn read(&self, cell: Cell<'_>, at: &At) -> WindowUse {
        match cell.words {
            [start, ..] if self.is_in(*start, at.now) => {
                WindowUse { start: *start, used: count(cell.words) }
            }
            _ => WindowUse { start: self.start(at.now), used: 0 },
        }
    }

    #[inline]
    fn fresh(&self, _calendar: KeyCalendar<'_>, at: &At) -> WindowUse {
        WindowUse { start: self.start(at.now), used: 0 }
    }

    #[inline]
    fn fits(&self, window: &WindowUse, cost: Cost, _at: &At) -> bool {
        cost.units <= 0 || window.used.saturating_add(cost.units) <= self.limit
    }

    /// A refund takes back what was used of the window, and no more.
    #[inline]
    fn charge(&self, window: &mut WindowUse, cost: Cost, _at: &At) {
        window.used = window.used.saturating_add(cost.units).max(0);
    }

    fn is_idle(&self, cell: Cell<'_>, at: &At) -> bool {
        self.read(cell, at).used == 0
    }

    #[inline]
    fn limit(&self) -> Units {
        self.limit
    }

    fn used(&self, window: &WindowUse, _at: &At) -> Units {
        window.used
    }

    fn reset(&self, window: &WindowUse, _at: &At, timeline: Timeline) -> Option<i64> {
        Some(timeline.second_rounded_up(self.end(window)))
    }

    fn passes_at(&self, window: &WindowUse, refusal: &Refusal<'_>) -> Option<Moment> {
        let Refusal { cost, at, from, .. } = *refusal;
        let passes = || if self.fits(window, cost, at) { from } else { from.max(self.end(window)) };
        (cost.units <= self.limit).then(passes)
    }

    /// The start of the window.
    fn taken_at(&self, at: &At) -> Moment {
        Moment(self.start(at.now))
    }

    fn give_back(&self, window: &mut WindowUse, back: &GivenBack, _at: &At) {
        if self.is_in(window.start, back.taken) {
            window.used = window.used.saturating_sub(back.units).max(0);
        }
    }

    fn has_use_of(&self, taken: Moment, now: Moment) -> bool {
        self.start(taken) == self.start(now)
    }

    fn counts_like(&self, other: &Self) -> bool {
        (self.length, self.phase) == (other.length, other.phase)
    }

    fn adopt(&self, carried: CarriedUse, _calendar: KeyCalendar<'_>, at: &At) -> CellState {
        Self::cell_of(&WindowUse { start: self.start(at.now), used: carried.rounded_up() })
    }

    #[inline]
    fn pack(WindowUse { start, used }: &WindowUse) -> StateWords {
        StateWords::count(0, *start, *used)
    }

    #[inline]
    fn unpack(StateWords { words: words @ [start, ..], .. }: &StateWords) -> WindowUse {
        WindowUse { start: *start, used: count(words) }
    }

    fn encode(window: &WindowUse, at: &At, out: &mut stored::ChargeBytes) {
        stored::put_moment(Moment(window.start), at.now, out);
        out.wide(window.used);
    }

    fn decode(from: &mut Reader<'_>, at: &At) -> Result<WindowUse, Malformed> {
        let Moment(start) = stored::moment(from, at.now)?;
        Ok(WindowUse { start, used: stored::units(from)? })
    }
}
