//! One counter's words.

use smallvec::SmallVec;

/// The state words of all counters but sliding windows.
pub(super) const NARROW: usize = 2;
/// The state words of a sliding window: the newest slot and a ring of 61.
pub(super) const WIDE: usize = 62;

/// A counter's state as it lies in a row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cell<'r> {
    /// Where its tag stands in the row.
    pub(super) offset: usize,
    /// Thirty-two bits beside the counter's number: a calendar period's length in seconds.
    pub(super) extra: u32,
    pub(super) words: &'r [u64],
}

/// A counter's state that is not in a row yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Image {
    pub(super) extra: u32,
    pub(super) words: SmallVec<[u64; NARROW]>,
}

impl Image {
    pub(super) fn zero(words: usize) -> Self {
        Self { extra: 0, words: SmallVec::from_elem(0, words) }
    }

    pub(super) fn narrow(extra: u32, first: u64, second: u64) -> Self {
        Self { extra, words: SmallVec::from_buf([first, second]) }
    }

    pub(super) fn as_cell(&self) -> Cell<'_> {
        Cell { offset: 0, extra: self.extra, words: &self.words }
    }
}

/// Use that is carried into another counter, exactly: `whole + part / parts` units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lump {
    pub(super) whole: u64,
    pub(super) part: u64,
    pub(super) parts: u64,
}

impl Lump {
    pub(super) fn of(whole: u64) -> Self {
        Self { whole, part: 0, parts: 1 }
    }

    pub(super) fn is_zero(self) -> bool {
        self.whole == 0 && self.part == 0
    }

    pub(super) fn rounded_up(self) -> u64 {
        self.whole.saturating_add(u64::from(self.part > 0))
    }
}
