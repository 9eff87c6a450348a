//! One counter's words.

use smallvec::SmallVec;

use super::history::Used;
use super::periods::Bounds;
use super::time::Moment;

/// The state words of most counters.
pub(super) const NARROW: usize = 2;
/// The state words of a quota of the highest or latest amount: also the latest event's instant.
pub(super) const TALL: usize = 3;
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

    pub(super) fn of(extra: u32, words: &[u64]) -> Self {
        Self { extra, words: words.into() }
    }

    /// The period of a calendar quota's counter.
    pub(super) fn bounds(&self) -> Option<Bounds> {
        let start = self.words.first()?.cast_signed();
        Some(Bounds { length: self.extra, start })
    }

    /// Sets the figure of a calendar quota's counter.
    pub(super) fn set_use(&mut self, Used { units, latest }: Used) {
        for (word, of_use) in self.words.iter_mut().skip(1).zip([units, latest.0]) {
            *word = of_use;
        }
    }

    pub(super) fn as_cell(&self) -> Cell<'_> {
        Cell { offset: 0, extra: self.extra, words: &self.words }
    }
}

/// Use that is carried into another counter, exactly: `whole + part / parts` units, and the instant
/// of the latest event where it is that event's amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lump {
    pub(super) whole: u64,
    pub(super) part: u64,
    pub(super) parts: u64,
    pub(super) latest: Moment,
}

impl Lump {
    pub(super) fn of(whole: u64) -> Self {
        Self { whole, part: 0, parts: 1, latest: Moment(0) }
    }

    pub(super) fn is_zero(self) -> bool {
        self.whole == 0 && self.part == 0 && self.latest == Moment(0)
    }

    pub(super) fn rounded_up(self) -> u64 {
        self.whole.saturating_add(u64::from(self.part > 0))
    }
}
