//! The periods of a quota, whatever it counts in them.
//!
//! The period is part of the state: a new period is a new count, and nothing is ever reset. A
//! row may hold several periods of one quota at once, so that late and early events count where
//! they belong; those whose time for late events is over give their place to the next.

use serde::{Deserialize, Serialize};

use super::cell::Cell;
use super::history::Used;
use super::sliding_window::Step;
use super::time::{At, Moment};
use crate::base::calendar::{Calendar, PeriodBounds};
use crate::rules::Units;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Periods {
    calendar: Calendar,
    /// For how many seconds after its end a period takes late events.
    late: u64,
    /// Periods that ended by this second take none, whatever the time: see [`Late`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    gone: Option<i64>,
}

/// Until when periods take late events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Late {
    /// For how many seconds after their end.
    seconds: u64,
    /// The counters of periods that ended by this second are gone, because it was for less then.
    gone: Option<i64>,
}

impl From<u64> for Late {
    fn from(seconds: u64) -> Self {
        Self { seconds, gone: None }
    }
}

impl Late {
    /// What comes after this, which held until the second `now`.
    pub(crate) fn followed_by(self, seconds: u64, now: i64) -> Self {
        let known = now.saturating_sub_unsigned(self.seconds);
        let gone = if seconds > self.seconds { self.gone.max(Some(known)) } else { self.gone };
        Self { seconds, gone }
    }

    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let gone = self.gone.unwrap_or(i64::MIN);
        [self.seconds.to_le_bytes(), gone.to_le_bytes()].concat()
    }

    pub(crate) fn of_bytes(bytes: &[u8]) -> Option<Self> {
        let (&[seconds, gone], []) = bytes.as_chunks::<8>() else { return None };
        let gone = i64::from_le_bytes(gone);
        let gone = (gone > i64::MIN).then_some(gone);
        Some(Self { seconds: u64::from_le_bytes(seconds), gone })
    }
}

/// The end of a period that has none.
const ENDLESS: i64 = i64::MAX;

/// One period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    /// In seconds; 0 is a period without end.
    pub(super) length: u32,
    pub(super) start: i64,
}

/// A period with its use, of the later ones that events dated ahead have used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Span {
    pub(super) start: i64,
    pub(super) end: i64,
    pub(super) used: Units,
    /// The instant of the latest event, for counters that go by it.
    pub(super) latest: Moment,
}

/// How the use of a counter goes on, where what it says at the moment does not tell; almost always
/// nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ahead {
    /// The later periods that have been used, in order.
    pub(super) spans: Box<[Span]>,
    /// What is used of a window as one use after the other leaves it.
    pub(super) steps: Box<[Step]>,
}

impl Ahead {
    pub(super) fn of_spans(spans: Box<[Span]>) -> Self {
        Self { spans, ..Self::default() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.spans.is_empty() && self.steps.is_empty()
    }
}

/// Where a row holds the event's period.
#[derive(Clone, Copy, Debug)]
pub(super) enum Held<'c> {
    In(Cell<'c>),
    /// Nowhere; the cell at this place may be used for it, if there is one.
    Nowhere(Option<usize>),
}

impl Periods {
    pub(crate) fn new(calendar: Calendar, late: Late) -> Self {
        Self { calendar, late: late.seconds, gone: late.gone }
    }

    /// Finds the period of the event among a counter's cells.
    #[inline]
    pub(super) fn find<'c>(&self, cells: impl Iterator<Item = Cell<'c>>, at: At) -> Held<'c> {
        let mut spare = None;
        for cell in cells {
            let (start, end) = span(cell);
            if start <= at.second && at.second < end {
                return Held::In(cell);
            }
            if self.is_over(end, at) {
                spare = Some(cell.offset);
            }
        }
        Held::Nowhere(spare)
    }

    /// The cells of periods after the event's, with the periods' start and end.
    pub(super) fn later<'c>(
        cells: impl Iterator<Item = Cell<'c>>,
        at: At,
    ) -> impl Iterator<Item = (Cell<'c>, i64, i64)> {
        let spans = cells.map(|cell| (cell, span(cell)));
        let later = spans.filter(move |(_, (start, _))| *start > at.second);
        later.map(|(cell, (start, end))| (cell, start, end))
    }

    /// The period that holds a second.
    pub(super) fn of(&self, second: i64) -> Bounds {
        let PeriodBounds { start, end } = self.calendar.period_of(second);
        let length = end.map_or(0, |end| end.abs_diff(start));
        Bounds { length: u32::try_from(length).unwrap_or(u32::MAX), start }
    }

    /// The period's end, and the time after it for late events, are past.
    #[inline]
    fn is_over(&self, end: i64, at: At) -> bool {
        let is_past = |second| second <= at.now_second;
        end != ENDLESS
            && (is_past(end.saturating_add_unsigned(self.late))
                || (self.is_gone(end) && is_past(end)))
    }

    /// The counters of a period that ends then are gone.
    fn is_gone(&self, end: i64) -> bool {
        self.gone.is_some_and(|gone| end <= gone)
    }

    /// The period takes no more late events.
    pub(super) fn is_closed(&self, period: Bounds, at: At) -> bool {
        self.is_over(period.end(), at)
    }

    /// The cell's period takes no more late events.
    pub(super) fn is_past(&self, cell: Cell<'_>, at: At) -> bool {
        self.is_over(span(cell).1, at)
    }

    /// The first second at which the period takes no more late events.
    pub(super) fn closes(&self, period: Bounds) -> i64 {
        let end = period.end();
        if self.is_gone(end) { end } else { end.saturating_add_unsigned(self.late) }
    }

    /// Periods start and end alike in both.
    pub(super) fn cut_like(&self, other: &Self) -> bool {
        self.calendar == other.calendar
    }
}

impl Bounds {
    /// The second after the period.
    pub(super) fn end(self) -> i64 {
        end(self.start, self.length)
    }

    /// The second at which the period ends, if it does.
    pub(super) fn resets(self) -> Option<i64> {
        (self.length > 0).then(|| self.end())
    }
}

impl Span {
    pub(super) fn new(period: Bounds, Used { units: used, latest }: Used) -> Self {
        Self { start: period.start, end: period.end(), used, latest }
    }

    pub(super) fn starts(&self, period: Bounds) -> bool {
        self.start == period.start
    }

    pub(super) fn holds(&self, second: i64) -> bool {
        self.start <= second && second < self.end
    }
}

fn end(start: i64, length: u32) -> i64 {
    if length > 0 { start.saturating_add_unsigned(u64::from(length)) } else { ENDLESS }
}

/// The start and the end of a cell's period.
#[inline]
fn span(cell: Cell<'_>) -> (i64, i64) {
    let start = cell.words.first().map_or(i64::MAX, |start| start.cast_signed());
    (start, end(start, cell.extra))
}
