//! The count of a calendar period.
//!
//! The period is part of the state: a new period is a new count, and nothing is ever reset. A
//! row may hold several periods of one quota at once, so that late and early events count where
//! they belong; those whose time for late events is over give their place to the next.

use super::cell::{Cell, Image, Lump};
use super::time::{At, Moment, Timeline};
use crate::calendar::{Calendar, PeriodBounds};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CalendarPeriod {
    limit: u64,
    calendar: Calendar,
    /// For how many seconds after its end a period takes late events.
    late: u64,
}

/// The end of a period that has none.
const ENDLESS: i64 = i64::MAX;

/// A period's start, end and use, as a cell holds them.
pub(crate) type Span = (i64, i64, u64);

/// A period and what is used of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PeriodUse {
    /// In seconds; 0 is a period without end.
    pub(super) length: u32,
    pub(super) start: i64,
    pub(super) used: u64,
}

/// The later periods that events dated ahead have used, in order; almost always none.
pub(crate) type Ahead = Box<[Span]>;

impl CalendarPeriod {
    pub(crate) fn new(limit: u64, calendar: Calendar, late: u64) -> Self {
        Self { limit, calendar, late }
    }

    /// Reads the period of the event, and says which cell holds it or may be used for it.
    #[inline]
    pub(super) fn read<'c>(
        &self,
        cells: impl Iterator<Item = Cell<'c>>,
        at: At,
    ) -> (PeriodUse, Option<usize>) {
        let mut free = None;
        for cell in cells {
            let (start, end, used) = unpack(cell);
            if start <= at.second && at.second < end {
                return (PeriodUse { length: cell.extra, start, used }, Some(cell.offset));
            }
            if self.is_over(end, at) {
                free = Some(cell.offset);
            }
        }
        (self.unused(at.second), free)
    }

    /// The periods after the event's that have been used.
    pub(super) fn ahead<'c>(cells: impl Iterator<Item = Cell<'c>>, at: At) -> Ahead {
        let mut ahead: Vec<Span> =
            cells.map(unpack).filter(|(start, _, _)| *start > at.second).collect();
        ahead.sort_unstable();
        ahead.into()
    }

    fn unused(&self, second: i64) -> PeriodUse {
        let PeriodBounds { start, end } = self.calendar.period_of(second);
        let length = end.map_or(0, |end| end.abs_diff(start));
        PeriodUse { length: u32::try_from(length).unwrap_or(u32::MAX), start, used: 0 }
    }

    /// The period's end, and the time after it for late events, are past.
    #[inline]
    fn is_over(&self, end: i64, at: At) -> bool {
        end != ENDLESS && end.saturating_add_unsigned(self.late) <= at.now_second
    }

    /// The period takes no more late events.
    pub(super) fn is_closed(&self, period: PeriodUse, at: At) -> bool {
        self.is_over(period.end(), at)
    }

    /// A cell that makes no difference any more.
    pub(super) fn is_idle(&self, cell: Cell<'_>, at: At) -> bool {
        let (_, end, used) = unpack(cell);
        used == 0 || self.is_over(end, at)
    }

    #[inline]
    pub(super) fn fits(&self, used: u64, cost: u64) -> bool {
        used.checked_add(cost).is_some_and(|used| used <= self.limit)
    }

    pub(super) fn remaining(&self, period: PeriodUse) -> u64 {
        self.limit.saturating_sub(period.used)
    }

    /// The first moment from `from` on at which the event counts in a period with room for it.
    /// An event with a timestamp of its own stays in its period, until that takes no more.
    pub(super) fn passes_at(
        &self,
        period: PeriodUse,
        ahead: &[Span],
        cost: u64,
        at: At,
        from: Moment,
        timeline: Timeline,
    ) -> Option<Moment> {
        if at.explicit {
            let until = period.end().saturating_add_unsigned(self.late);
            let open = timeline.second(from) < until;
            return (open && self.fits(period.used, cost)).then_some(from);
        }
        if cost > self.limit {
            return None;
        }
        let mut moment = from;
        let current = (period.start, period.end(), period.used);
        for (start, end, used) in std::iter::once(&current).chain(ahead) {
            let second = timeline.second(moment);
            if *start <= second && second < *end && !self.fits(*used, cost) {
                moment = timeline.start_of_second(*end);
            }
        }
        (moment < Moment::MAX).then_some(moment)
    }

    /// The state means the same for both; only the limits may differ.
    pub(super) fn counts_like(&self, other: &Self) -> bool {
        self.calendar == other.calendar
    }

    pub(super) fn adopt(&self, lump: Lump, at: At) -> Image {
        let period = self.unused(at.now_second);
        Image::narrow(period.length, period.start.cast_unsigned(), lump.rounded_up())
    }
}

impl PeriodUse {
    /// The second after the period; [`ENDLESS`] for all time.
    fn end(self) -> i64 {
        end(self.start, self.length)
    }

    /// The second at which the period ends, if it does.
    pub(super) fn resets(self) -> Option<i64> {
        (self.length > 0).then(|| self.end())
    }
}

fn end(start: i64, length: u32) -> i64 {
    if length > 0 { start.saturating_add_unsigned(u64::from(length)) } else { ENDLESS }
}

#[inline]
fn unpack(cell: Cell<'_>) -> Span {
    match cell.words {
        [start, used, ..] => {
            let start = start.cast_signed();
            (start, end(start, cell.extra), *used)
        }
        _ => (i64::MIN, ENDLESS, 0),
    }
}
