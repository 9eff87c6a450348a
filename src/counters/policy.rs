//! One name for the four algorithms.

use super::calendar_period::{CalendarPeriod, PeriodUse};
use super::cell::{Cell, Image, Lump, NARROW, WIDE};
use super::fixed_window::{FixedWindow, WindowUse};
use super::sliding_window::{SlidingUse, SlidingWindow};
use super::time::{At, Moment, Timeline};
use super::token_bucket::{TokenBucket, join, split};

/// A rule's arithmetic, compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Policy {
    TokenBucket(TokenBucket),
    FixedWindow(FixedWindow),
    SlidingWindow(SlidingWindow),
    CalendarPeriod(CalendarPeriod),
}

/// Where a counter stands: its raw state at the moment of a decision, rendered when asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// When the bucket is full, in the high and low halves of its parts of a nanosecond.
    TokenBucket([u64; 2]),
    FixedWindow(WindowUse),
    SlidingWindow(SlidingUse),
    CalendarPeriod(PeriodUse),
    /// There was no room for a counter and the rule denies what it cannot count.
    NoRoom,
}

/// The figures of a status, in counted units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Figures {
    /// What is used of a window or period; for a bucket the tokens missing, rounded up.
    pub(crate) used: u64,
    pub(crate) remaining: u64,
    /// The Unix second at which the figures start over; `None` where nothing does.
    pub(crate) reset: Option<i64>,
}

/// What one rule says to one event.
#[derive(Clone, Debug)]
pub(super) struct Judged {
    pub(super) fits: bool,
    pub(super) before: Reading,
    pub(super) after: Reading,
    /// The cell that the state goes to, where there is one.
    pub(super) cell: Option<usize>,
}

impl Policy {
    /// How many state words a counter has.
    pub(super) fn words(&self) -> usize {
        match self {
            Self::SlidingWindow(_) => WIDE,
            _ => NARROW,
        }
    }

    /// Judges a cost by the counter's cells in a row: one, none, or several periods of a quota.
    pub(super) fn judge<'c>(
        &self,
        mut cells: impl Iterator<Item = Cell<'c>>,
        at: At,
        cost: u64,
    ) -> Judged {
        match self {
            Self::TokenBucket(policy) => {
                let cell = cells.next();
                let full_at = TokenBucket::full_at(cell);
                let (fits, after) = policy.take(full_at, at, cost);
                Judged {
                    fits,
                    before: Reading::bucket(full_at),
                    after: Reading::bucket(after),
                    cell: cell.map(|cell| cell.offset),
                }
            }
            Self::FixedWindow(policy) => {
                let cell = cells.next();
                let before = policy.read(cell, at);
                let (fits, after) = policy.take(before, cost);
                Judged {
                    fits,
                    before: Reading::FixedWindow(before),
                    after: Reading::FixedWindow(after),
                    cell: cell.map(|cell| cell.offset),
                }
            }
            Self::SlidingWindow(policy) => {
                let cell = cells.next();
                let (fits, before, after) = policy.take(cell, at, cost);
                Judged {
                    fits,
                    before: Reading::SlidingWindow(before),
                    after: Reading::SlidingWindow(after),
                    cell: cell.map(|cell| cell.offset),
                }
            }
            Self::CalendarPeriod(policy) => {
                let (before, cell) = policy.read(cells, at);
                let (fits, after) = policy.take(&before, cost);
                Judged {
                    fits,
                    before: Reading::CalendarPeriod(before),
                    after: Reading::CalendarPeriod(after),
                    cell,
                }
            }
        }
    }

    /// Writes the state after a decision into a cell; returns the 32 bits for its tag.
    pub(super) fn write(&self, words: &mut [u64], after: &Reading, at: At, cost: u64) -> u32 {
        if let Self::SlidingWindow(policy) = self {
            policy.add(words, at, cost);
            return 0;
        }
        let (extra, first, second) = match after {
            Reading::TokenBucket([high, low]) => (0, *high, *low),
            Reading::FixedWindow(window) => (0, window.start, window.used),
            Reading::CalendarPeriod(period) => {
                let image = CalendarPeriod::image(period);
                (image.extra, period.start.cast_unsigned(), period.used)
            }
            Reading::SlidingWindow(_) | Reading::NoRoom => return 0,
        };
        if let [a, b, ..] = words {
            (*a, *b) = (first, second);
        }
        extra
    }

    /// The figures of a reading that was taken at `at`.
    pub(crate) fn figures(&self, reading: &Reading, at: At, timeline: Timeline) -> Figures {
        let up = |moment| Some(timeline.second_rounded_up(moment));
        match (self, reading) {
            (Self::TokenBucket(policy), Reading::TokenBucket([high, low])) => {
                let full_at = join(*high, *low);
                Figures {
                    used: policy.lump(full_at, at).rounded_up(),
                    remaining: policy.remaining(full_at, at),
                    reset: up(policy.filled(full_at).max(at.now)),
                }
            }
            (Self::FixedWindow(policy), Reading::FixedWindow(window)) => Figures {
                used: window.used,
                remaining: policy.remaining(*window),
                reset: up(policy.end(*window)),
            },
            (Self::SlidingWindow(policy), Reading::SlidingWindow(read)) => Figures {
                used: read.used,
                remaining: policy.remaining(*read),
                reset: read.oldest_leaves.and_then(up),
            },
            (Self::CalendarPeriod(policy), Reading::CalendarPeriod(period)) => Figures {
                used: period.used,
                remaining: policy.remaining(period),
                reset: period.end,
            },
            _ => Figures { used: 0, remaining: 0, reset: None },
        }
    }

    /// The first moment from `from` on at which `cost` fits, going by the reading before a
    /// refused decision at `at`; `None` for never.
    pub(crate) fn passes_at(
        &self,
        before: &Reading,
        cost: u64,
        at: At,
        from: Moment,
        timeline: Timeline,
    ) -> Option<Moment> {
        match (self, before) {
            (Self::TokenBucket(policy), Reading::TokenBucket([high, low])) => {
                policy.passes_at(join(*high, *low), cost).map(|moment| moment.max(from))
            }
            (Self::FixedWindow(policy), Reading::FixedWindow(window)) => {
                policy.passes_at(*window, cost, from)
            }
            (Self::SlidingWindow(_), Reading::SlidingWindow(read)) => {
                read.passes_at.map(|moment| moment.max(from))
            }
            (Self::CalendarPeriod(policy), Reading::CalendarPeriod(period)) => {
                policy.passes_at(period, cost, at, from, timeline)
            }
            _ => None,
        }
    }

    /// A calendar period that takes no more late events at `at`.
    pub(super) fn is_too_late(&self, before: &Reading, at: At) -> bool {
        match (self, before) {
            (Self::CalendarPeriod(policy), Reading::CalendarPeriod(period)) => {
                at.explicit && policy.is_over(period.end, at)
            }
            _ => false,
        }
    }

    /// Whether a cell of this counter says no more than a fresh one would.
    pub(super) fn is_idle(&self, cell: Cell<'_>, at: At) -> bool {
        match self {
            Self::TokenBucket(policy) => policy.is_full(TokenBucket::full_at(Some(cell)), at),
            Self::FixedWindow(policy) => policy.read(Some(cell), at).used == 0,
            Self::SlidingWindow(policy) => policy.read(Some(cell), at).used == 0,
            Self::CalendarPeriod(policy) => policy.is_idle(cell, at),
        }
    }

    /// What is used at `at`, to carry it into a counter of another make.
    pub(super) fn lump<'c>(&self, mut cells: impl Iterator<Item = Cell<'c>>, at: At) -> Lump {
        match self {
            Self::TokenBucket(policy) => policy.lump(TokenBucket::full_at(cells.next()), at),
            Self::FixedWindow(policy) => Lump::of(policy.read(cells.next(), at).used),
            Self::SlidingWindow(policy) => Lump::of(policy.read(cells.next(), at).used),
            Self::CalendarPeriod(policy) => Lump::of(policy.read(cells, at).0.used),
        }
    }

    /// A fresh counter's state with the use that it takes over.
    pub(super) fn adopt(&self, lump: Lump, at: At) -> Image {
        match self {
            Self::TokenBucket(policy) => policy.adopt(lump, at),
            Self::FixedWindow(policy) => policy.adopt(lump, at),
            Self::SlidingWindow(policy) => policy.adopt(lump, at),
            Self::CalendarPeriod(policy) => policy.adopt(lump, at),
        }
    }

    /// Whether counters of `self` go on as counters of `other` as they are: the limits may
    /// differ, the meaning of the state may not.
    pub(crate) fn keeps_state_of(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::TokenBucket(a), Self::TokenBucket(b)) => a.counts_like(b),
            (Self::FixedWindow(a), Self::FixedWindow(b)) => a.counts_like(b),
            (Self::SlidingWindow(a), Self::SlidingWindow(b)) => a.counts_like(b),
            (Self::CalendarPeriod(a), Self::CalendarPeriod(b)) => a.counts_like(b),
            _ => false,
        }
    }
}

impl Reading {
    fn bucket(full_at: u128) -> Self {
        let (high, low) = split(full_at);
        Self::TokenBucket([high, low])
    }
}
