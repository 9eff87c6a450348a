//! The periods of a quota, whatever it counts in them.
//!
//! The period is part of the state: a new period is a new count, and nothing is ever reset. A
//! row may hold several periods of one quota at once, so that late and early events count where
//! they belong; those whose time for late events is over give their place to the next.

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::sliding_window::Step;
use super::{HeldAhead, Refusal};
use crate::base::calendar::{Calendar, Cycle, PeriodBounds};
use crate::counters::MAX_AHEAD_SECONDS;
use crate::counters::cell::Cell;
use crate::counters::history::Used;
use crate::counters::time::{At, Moment};
use crate::rules::Units;

/// Whose midnights they go by and on which day they start comes with the row, but for what the
/// rule says of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Periods {
    #[serde(flatten)]
    cycle: Cycle,
    /// For how many seconds after its end a period takes late events.
    late: u64,
    /// Periods that ended by this second take none, whatever the time: see [`Lateness`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    gone: Option<i64>,
}

/// Until when periods take late events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lateness {
    /// For how many seconds after their end.
    seconds: u64,
    /// The counters of periods that ended by this second are gone, because it was for less then.
    gone: Option<i64>,
}

impl From<u64> for Lateness {
    fn from(seconds: u64) -> Self {
        Self { seconds, gone: None }
    }
}

impl Lateness {
    /// What comes after this, which held until the second `now`.
    pub(crate) fn followed_by(self, seconds: u64, now: i64) -> Self {
        let known = now.saturating_sub_unsigned(self.seconds);
        let gone = if seconds > self.seconds { self.gone.max(Some(known)) } else { self.gone };
        Self { seconds, gone }
    }

    /// For how many seconds after their end.
    pub(crate) fn seconds(self) -> u64 {
        self.seconds
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

/// Gives the calendar of a row's key. It is asked when a period begins that the row has no cell of,
/// and may be worth a look-up: bounds that were decided by it are in the cells.
pub(in crate::counters) type KeyCalendar<'k> = &'k dyn Fn() -> Calendar;

/// The end of a period that has none.
const ENDLESS: i64 = i64::MAX;

/// One period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::counters) struct Bounds {
    /// In seconds; 0 is a period without end.
    pub(in crate::counters) length: u32,
    pub(in crate::counters) start: i64,
}

/// A period with its use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    start: i64,
    end: i64,
    used: Used,
}

/// How the use of a counter goes on, where what it says at the moment does not tell; almost always
/// nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct UseAhead {
    /// The later periods that have been used, in order.
    pub(in crate::counters) spans: Box<[Span]>,
    /// What is used of a window as one use after the other leaves it.
    pub(in crate::counters) steps: Box<[Step]>,
    /// What is held, where something is.
    pub(in crate::counters) holds: Option<Box<HeldAhead>>,
    /// Of a rule that goes by a balance: what that has.
    pub(crate) funds: Option<Box<FundsAhead>>,
    /// The key has no counter, and its periods would begin with the event, which is dated ahead.
    pub(in crate::counters) begins_with_event: bool,
}

/// What can be spent of the account of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FundsAhead {
    /// What tells it from the other accounts of the decision.
    pub(crate) account: u32,
    /// How much, from an instant on to the next; nothing where there is no account.
    pub(in crate::counters) available: Box<[(Moment, Units)]>,
    /// What the rule would open it with.
    pub(crate) opening: Option<Units>,
}

impl FundsAhead {
    /// Whether the account is there.
    pub(crate) fn is_there(&self) -> bool {
        !self.available.is_empty()
    }

    /// The first moment from one on at which so much can be spent.
    pub(crate) fn covers_at(&self, units: Units, from: Moment) -> Option<Moment> {
        let before = self.available.iter().rposition(|(at, _)| *at <= from);
        let mut later = self.available.iter().skip(before.unwrap_or(0));
        later.find(|(_, available)| units <= *available).map(|(at, _)| from.max(*at))
    }
}

impl UseAhead {
    pub(in crate::counters) fn of_spans(mut spans: Vec<Span>) -> Self {
        spans.sort_unstable_by_key(|span| span.start);
        Self { spans: spans.into(), ..Self::default() }
    }

    /// So much more, or less, is used of a later period.
    pub(in crate::counters) fn add(&mut self, period: Bounds, units: Units) {
        if let Some(span) = self.spans.iter_mut().find(|span| span.starts(period)) {
            span.add(units);
            return;
        }
        let mut spans = std::mem::take(&mut self.spans).into_vec();
        spans.push(Span::new(period, Used::sum(units)));
        spans.sort_unstable_by_key(|span| span.start);
        self.spans = spans.into();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.spans.is_empty()
            && self.steps.is_empty()
            && self.holds.is_none()
            && self.funds.is_none()
            && !self.begins_with_event
    }
}

impl Periods {
    pub(crate) fn new(cycle: impl Into<Cycle>, late: Lateness) -> Self {
        Self { cycle: cycle.into(), late: late.seconds, gone: late.gone }
    }

    /// The period that holds a second.
    pub(in crate::counters) fn of(&self, calendar: KeyCalendar<'_>, second: i64) -> Bounds {
        let calendar = if self.cycle.is_open() { calendar() } else { Calendar::UTC };
        let PeriodBounds { start, end } = self.cycle.period_of(calendar, second);
        let length = end.map_or(0, |end| end.abs_diff(start));
        Bounds { length: u32::try_from(length).unwrap_or(u32::MAX), start }
    }

    /// The period of now, and those that events dated ahead may have used.
    pub(in crate::counters) fn now_and_ahead(
        &self,
        calendar: KeyCalendar<'_>,
        at: &At,
    ) -> SmallVec<[Bounds; 3]> {
        let last = at.now_second.saturating_add(MAX_AHEAD_SECONDS);
        let mut periods = SmallVec::new();
        let mut next = Some(at.now_second);
        while let Some(second) = next.filter(|second| *second <= last) {
            let period = self.of(calendar, second);
            periods.push(period);
            // At the ends of the calendar a period may be longer than is kept of its length.
            next = period.resets().filter(|end| *end > second);
        }
        periods
    }

    /// Whether the calendar of a key says how periods are cut.
    pub(in crate::counters) fn are_of_key(&self) -> bool {
        self.cycle.is_open()
    }

    /// The period's end, and the time after it for late events, are past.
    #[inline]
    fn is_over(&self, end: i64, at: &At) -> bool {
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
    pub(in crate::counters) fn is_closed(&self, period: Bounds, at: &At) -> bool {
        self.is_over(period.end(), at)
    }

    /// The cell's period takes no more late events.
    #[inline]
    pub(super) fn is_past(&self, cell: Cell<'_>, at: &At) -> bool {
        self.is_over(Bounds::of_cell(cell).end(), at)
    }

    /// The first second at which a period that ends then takes no more late events.
    fn closes(&self, end: i64) -> i64 {
        if self.is_gone(end) { end } else { end.saturating_add_unsigned(self.late) }
    }

    /// The first moment at which an event counts in a period where it fits: by `fits`, which is
    /// told the period's use and the event's instant by its date. `current` is the period that the
    /// decision read; those after it that have been used are ahead. An event with a timestamp of
    /// its own stays in its period, until that takes no more.
    pub(super) fn passes_at(
        &self,
        current: Span,
        refusal: &Refusal<'_>,
        fits: impl Fn(Used, Moment) -> bool,
    ) -> Option<Moment> {
        let Refusal { at, from, ahead, timeline, .. } = *refusal;
        if at.explicit {
            let open = timeline.second(from) < self.closes(current.end);
            return (open && fits(current.used, at.dated())).then_some(from);
        }
        let mut moment = from;
        for span in std::iter::once(&current).chain(&ahead.spans) {
            // Between the periods that have been used are those that have not.
            let start = timeline.start_of_second(span.start);
            if moment < start {
                if fits(Used::NOTHING, timeline.dated(moment)) {
                    return Some(moment);
                }
                moment = start;
            }
            // A latest amount may fit as soon as the event is not older than the one before.
            for moment in [moment, moment.max(timeline.undated(span.used.latest))] {
                let holds = (span.start..span.end).contains(&timeline.second(moment));
                if holds && fits(span.used, timeline.dated(moment)) {
                    return Some(moment);
                }
            }
            moment = moment.max(timeline.start_of_second(span.end));
        }
        let ever = moment < Moment::MAX && fits(Used::NOTHING, timeline.dated(moment));
        ever.then_some(moment)
    }

    /// Periods start and end alike in both.
    pub(in crate::counters) fn cut_like(&self, other: &Self) -> bool {
        self.cycle == other.cycle
    }
}

impl Bounds {
    /// The period of a quota's cell. The cell's tag has the length.
    #[inline]
    pub(in crate::counters) fn of_cell(cell: Cell<'_>) -> Self {
        let start = cell.words.first().map_or(i64::MAX, |start| start.cast_signed());
        Self { length: cell.extra, start }
    }

    /// The second after the period.
    #[inline]
    pub(in crate::counters) fn end(self) -> i64 {
        let length = u64::from(self.length);
        if length > 0 { self.start.saturating_add_unsigned(length) } else { ENDLESS }
    }

    /// The second at which the period ends, if it does.
    pub(in crate::counters) fn resets(self) -> Option<i64> {
        (self.length > 0).then(|| self.end())
    }
}

impl Span {
    pub(in crate::counters) fn new(period: Bounds, used: Used) -> Self {
        Self { start: period.start, end: period.end(), used }
    }

    pub(in crate::counters) fn starts(&self, period: Bounds) -> bool {
        self.start == period.start
    }

    /// So much more, or less, is used of it.
    fn add(&mut self, units: Units) {
        self.used.units = self.used.units.saturating_add(units);
    }
}

/// Whether an event counts in the cell's period.
#[inline]
pub(super) fn holds(cell: Cell<'_>, at: &At) -> bool {
    let period = Bounds::of_cell(cell);
    period.start <= at.second && at.second < period.end()
}

/// Whether the cell's period begins after the event.
pub(super) fn is_later(cell: Cell<'_>, at: &At) -> bool {
    Bounds::of_cell(cell).start > at.second
}
