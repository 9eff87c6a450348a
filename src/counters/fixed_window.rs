//! The fixed window, aligned to the Unix epoch.

use serde::{Deserialize, Serialize};

use super::cell::{Cell, Image, Lump, Wide, count};
use super::time::{At, Moment, Timeline};
use crate::rules::Units;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FixedWindow {
    pub(super) limit: Units,
    length: u64,
    /// How far into a window the time line starts.
    phase: u64,
}

/// A window and what is used of it. A new window is a new count; there is no reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WindowUse {
    pub(super) start: u64,
    pub(super) used: Wide,
}

impl FixedWindow {
    /// A window of `length` nanoseconds, more than 0.
    pub(crate) fn new(limit: Units, length: u64, timeline: Timeline) -> Self {
        Self { limit, length: length.max(1), phase: timeline.phase(length.max(1)) }
    }

    #[inline]
    pub(super) fn read(&self, cell: Option<Cell<'_>>, at: At) -> WindowUse {
        match cell.map(|cell| cell.words) {
            Some(words @ [start, ..]) if self.holds(*start, at.now) => {
                WindowUse { start: *start, used: count(words).into() }
            }
            _ => WindowUse { start: self.start(at.now), used: Wide::ZERO },
        }
    }

    #[inline]
    fn holds(&self, start: u64, now: Moment) -> bool {
        now.0.checked_sub(start).is_some_and(|into| into < self.length)
    }

    fn start(&self, now: Moment) -> u64 {
        // Both terms are below the length, at most 2^62, so the sum does not wrap.
        let into = now.0.checked_rem(self.length).unwrap_or(0).saturating_add(self.phase);
        now.0.saturating_sub(into.checked_rem(self.length).unwrap_or(0))
    }

    #[inline]
    pub(super) fn fits(&self, window: WindowUse, cost: Units) -> bool {
        cost <= 0 || window.used.get().saturating_add(cost) <= self.limit
    }

    /// The window after a cost. A refund takes back what was used of the window, and no more.
    #[inline]
    pub(super) fn after(window: WindowUse, cost: Units) -> WindowUse {
        WindowUse { used: window.used.get().saturating_add(cost).max(0).into(), ..window }
    }

    pub(super) fn remaining(&self, window: WindowUse) -> Units {
        self.limit.saturating_sub(window.used.get()).max(0)
    }

    pub(super) fn end(&self, window: WindowUse) -> Moment {
        Moment(window.start.saturating_add(self.length))
    }

    pub(super) fn passes_at(&self, window: WindowUse, cost: Units, from: Moment) -> Option<Moment> {
        if cost > self.limit {
            return None;
        }
        Some(if self.fits(window, cost) { from } else { from.max(self.end(window)) })
    }

    /// The state means the same for both; only the limits may differ.
    pub(super) fn counts_like(&self, other: &Self) -> bool {
        (self.length, self.phase) == (other.length, other.phase)
    }

    pub(super) fn adopt(&self, lump: Lump, at: At) -> Image {
        Image::count(0, self.start(at.now), lump.rounded_up())
    }
}
