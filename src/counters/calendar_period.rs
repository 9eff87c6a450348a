//! The count of a calendar period: what events have used of it together.

use serde::{Deserialize, Serialize};

use super::cell::{Cell, Image, Lump, count};
use super::periods::{Bounds, Held, Periods, Span};
use super::time::{At, Moment, Timeline};
use crate::rules::{Cost, Units};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CalendarPeriod {
    pub(super) limit: Units,
    pub(super) periods: Periods,
}

/// A period and what is used of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PeriodUse {
    pub(super) period: Bounds,
    pub(super) used: Units,
}

impl CalendarPeriod {
    pub(crate) fn new(limit: Units, periods: Periods) -> Self {
        Self { limit, periods }
    }

    /// What a cell, or a fresh counter, says of the event's period.
    #[inline]
    pub(super) fn read(&self, held: Held<'_>, at: At) -> PeriodUse {
        match held {
            Held::In(Cell { extra: length, words: words @ [start, ..], .. }) => {
                let period = Bounds { length, start: start.cast_signed() };
                PeriodUse { period, used: count(words) }
            }
            _ => PeriodUse { period: self.periods.of(at.second), used: 0 },
        }
    }

    /// The periods after the event's that have been used.
    pub(super) fn ahead<'c>(cells: impl Iterator<Item = Cell<'c>>, at: At) -> Box<[Span]> {
        let later = Periods::later(cells, at);
        let mut ahead: Vec<Span> = later
            .map(|(cell, start, end)| {
                let used = count(cell.words);
                Span { start, end, used, latest: Moment(0) }
            })
            .collect();
        ahead.sort_unstable();
        ahead.into()
    }

    /// A cell that makes no difference any more.
    pub(super) fn is_idle(&self, cell: Cell<'_>, at: At) -> bool {
        count(cell.words) == 0 || self.periods.is_past(cell, at)
    }

    #[inline]
    pub(super) fn fits(&self, used: Units, cost: Units) -> bool {
        cost <= 0 || used.saturating_add(cost) <= self.limit
    }

    pub(super) fn remaining(&self, used: Units) -> Units {
        self.limit.saturating_sub(used).clamp(0, self.limit.max(0))
    }

    /// The first moment from `from` on at which the event counts in a period with room for it.
    /// An event with a timestamp of its own stays in its period, until that takes no more.
    pub(super) fn passes_at(
        &self,
        PeriodUse { period, used }: PeriodUse,
        ahead: &[Span],
        cost: Cost,
        at: At,
        from: Moment,
        timeline: Timeline,
    ) -> Option<Moment> {
        if at.explicit {
            let open = timeline.second(from) < self.periods.closes(period);
            return (open && self.fits(used, cost.units)).then_some(from);
        }
        let mut moment = from;
        let current = Span { start: period.start, end: period.end(), used, latest: Moment(0) };
        for span in std::iter::once(&current).chain(ahead) {
            // Between the periods that have been used are those that have not.
            let start = timeline.start_of_second(span.start);
            if moment < start {
                if self.fits(0, cost.units) {
                    return Some(moment);
                }
                moment = start;
            }
            if span.holds(timeline.second(moment)) {
                // More than the limit fits where less than nothing is used.
                if self.fits(span.used, cost.units) {
                    return Some(moment);
                }
                moment = timeline.start_of_second(span.end);
            }
        }
        let ever = moment < Moment::MAX && self.fits(0, cost.units);
        ever.then_some(moment)
    }

    pub(super) fn adopt(&self, lump: Lump, at: At) -> Image {
        let Bounds { length, start } = self.periods.of(at.now_second);
        Image::count(length, start.cast_unsigned(), lump.rounded_up())
    }
}
