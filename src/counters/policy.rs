//! One name for the algorithms.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::calendar_period::{CalendarPeriod, PeriodUse};
use super::cell::{Cell, Image, Lump, NARROW, TALL, Wide, join, split, write_count};
use super::fixed_window::{FixedWindow, WindowUse};
use super::gauge_period::{self, Figure, GaugePeriod, GaugeUse};
use super::history::Used;
use super::periods::{Ahead, Bounds, Held, Periods};
use super::sliding_window::{SlidingUse, SlidingWindow};
use super::time::{At, Moment, Timeline};
use super::token_bucket::TokenBucket;
use crate::rules::{Cost, NO_LIMIT, Units};

/// What one counter says to a cost.
#[derive(Clone, Copy, Debug)]
pub(super) struct Judged {
    pub(super) reading: Reading,
    pub(super) fits: bool,
    /// The cell that holds the state, where there is one.
    pub(super) cell: Option<usize>,
    /// A cell that holds nothing of use any more, and may take the state.
    pub(super) spare: Option<usize>,
}

impl Judged {
    #[inline]
    fn of_period(reading: Reading, fits: bool, held: Held<'_>) -> Self {
        let (cell, spare) = match held {
            Held::In(cell) => (Some(cell.offset), None),
            Held::Nowhere(spare) => (None, spare),
        };
        Self { reading, fits, cell, spare }
    }
}

// A decision moves a few of these: keep them small.
const _: () = assert!(size_of::<Reading>() == 40);

/// A rule's arithmetic, compiled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Policy {
    TokenBucket(TokenBucket),
    FixedWindow(FixedWindow),
    SlidingWindow(SlidingWindow),
    CalendarPeriod(CalendarPeriod),
    GaugePeriod(GaugePeriod),
}

/// Where a counter stands: its raw state at the moment of a decision, rendered when asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// When the bucket is full, in the high and low halves of its parts of a nanosecond.
    TokenBucket([u64; 2]),
    FixedWindow(WindowUse),
    SlidingWindow(SlidingUse),
    /// The fields of a [`PeriodUse`], taken apart to fit.
    CalendarPeriod {
        length: u32,
        start: i64,
        used: Wide,
    },
    /// The fields of a [`GaugeUse`].
    GaugePeriod {
        length: u32,
        start: i64,
        used: Wide,
        latest: Moment,
    },
    /// There was no room for a counter and the rule denies what it cannot count.
    NoRoom,
}

/// The figures of a status, in counted units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Figures {
    /// What is used of a window or period; for a bucket the tokens missing, rounded up.
    pub(crate) used: Units,
    pub(crate) remaining: Units,
    /// The Unix second at which the figures start over; `None` where nothing does.
    pub(crate) reset: Option<i64>,
}

impl Figures {
    const NONE: Self = Self { used: 0, remaining: 0, reset: None };
}

impl Policy {
    /// The state of a counter that has counted nothing.
    pub(super) fn fresh(&self) -> Image {
        match self {
            Self::SlidingWindow(_) => SlidingWindow::fresh(),
            Self::GaugePeriod(_) => Image::zero(TALL),
            _ => Image::zero(NARROW),
        }
    }

    /// Reads the counter's cells in a row (one, none, or several periods of a quota), and judges
    /// a cost.
    #[inline]
    pub(super) fn judge<'c>(
        &self,
        mut cells: impl Iterator<Item = Cell<'c>>,
        at: &At,
        cost: Cost,
    ) -> Judged {
        match self {
            Self::CalendarPeriod(policy) => {
                let held = policy.periods.find(cells, *at);
                let period = policy.read(held, *at);
                let fits = policy.fits(period.used, cost.units);
                return Judged::of_period(period.into(), fits, held);
            }
            Self::GaugePeriod(policy) => return Self::judge_gauge(policy, cells, at, cost),
            _ => {}
        }
        let (cell, cost) = (cells.next(), cost.units);
        let (reading, fits) = match self {
            Self::TokenBucket(policy) => {
                let full_at = TokenBucket::full_at(cell);
                (Reading::bucket(full_at), policy.fits(full_at, *at, cost))
            }
            Self::FixedWindow(policy) => {
                let window = policy.read(cell, *at);
                (Reading::FixedWindow(window), policy.fits(window, cost))
            }
            Self::SlidingWindow(policy) => {
                let (read, fits) = policy.judge(cell, *at, cost);
                (Reading::SlidingWindow(read), fits)
            }
            Self::CalendarPeriod(_) | Self::GaugePeriod(_) => (Reading::NoRoom, false),
        };
        Judged { reading, fits, cell: cell.map(|cell| cell.offset), spare: None }
    }

    /// Whether a cost can be too much for a counter. One that adds nothing is never refused.
    #[inline]
    pub(super) fn may_add(&self, cost: Cost) -> bool {
        let may_rise = cost.units > 0 || matches!(self, Self::GaugePeriod(_));
        cost.counts && may_rise && !self.is_unlimited()
    }

    /// Whether there is no limit.
    #[inline]
    pub(super) fn is_unlimited(&self) -> bool {
        let limit = match self {
            Self::TokenBucket(_) => return false,
            Self::FixedWindow(policy) => policy.limit,
            Self::SlidingWindow(policy) => policy.limit,
            Self::CalendarPeriod(policy) => policy.limit,
            Self::GaugePeriod(policy) => policy.limit,
        };
        limit == NO_LIMIT
    }

    /// The periods of a calendar quota.
    pub(crate) fn periods(&self) -> Option<&Periods> {
        match self {
            Self::CalendarPeriod(policy) => Some(&policy.periods),
            Self::GaugePeriod(policy) => Some(&policy.periods),
            _ => None,
        }
    }

    /// Apart from the rest, which is the everyday case.
    #[inline(never)]
    fn judge_gauge<'c>(
        policy: &GaugePeriod,
        cells: impl Iterator<Item = Cell<'c>>,
        at: &At,
        cost: Cost,
    ) -> Judged {
        let held = policy.periods.find(cells, *at);
        let gauge = policy.read(held, *at);
        let fits = policy.fits(gauge.figure, cost, at.dated());
        Judged::of_period(gauge.into(), fits, held)
    }

    /// Whether a cost fits a period.
    pub(super) fn fits_period(&self, reading: &Reading, cost: Cost, at: At) -> bool {
        match (self, reading) {
            (Self::CalendarPeriod(policy), Reading::CalendarPeriod { used, .. }) => {
                policy.fits(used.get(), cost.units)
            }
            (Self::GaugePeriod(policy), reading) => {
                reading.gauge().is_some_and(|gauge| policy.fits(gauge.figure, cost, at.dated()))
            }
            _ => false,
        }
    }

    /// How the use of a counter goes on, where that is not in what it says now: the periods after
    /// the event's that have been used, or what leaves a window.
    pub(super) fn ahead<'c>(&self, mut cells: impl Iterator<Item = Cell<'c>>, at: At) -> Ahead {
        match self {
            Self::CalendarPeriod(_) if !at.explicit => {
                Ahead::of_spans(CalendarPeriod::ahead(cells, at))
            }
            Self::GaugePeriod(_) if !at.explicit => Ahead::of_spans(GaugePeriod::ahead(cells, at)),
            Self::SlidingWindow(policy) => {
                Ahead { steps: policy.ahead(cells.next(), at), ..Ahead::default() }
            }
            _ => Ahead::default(),
        }
    }

    /// Takes a cost: moves the reading on, writes the state into a cell, and returns the 32 bits
    /// for its tag. `None`, and nothing written, where the cell has no room for the state: see
    /// [`regrown`](Self::regrown).
    #[inline]
    pub(super) fn take(
        &self,
        reading: &mut Reading,
        words: &mut [u64],
        at: &At,
        cost: Cost,
    ) -> Option<u32> {
        let units = cost.units;
        let (extra, first, used) = match (self, reading) {
            (Self::TokenBucket(policy), Reading::TokenBucket(full_at)) => {
                let [high, low] = *full_at;
                let (high, low) = split(policy.after(join(high, low), *at, units));
                *full_at = [high, low];
                if let Some(to) = words.first_chunk_mut() {
                    *to = *full_at;
                }
                return Some(0);
            }
            (Self::FixedWindow(_), Reading::FixedWindow(window)) => {
                *window = FixedWindow::after(*window, units);
                (0, window.start, window.used)
            }
            (Self::CalendarPeriod(_), Reading::CalendarPeriod { length, start, used }) => {
                *used = used.get().saturating_add(units).into();
                (*length, start.cast_unsigned(), *used)
            }
            (_, reading) => return self.take_wide(reading, words, at, cost),
        };
        write_count(words, first, used.get()).then_some(extra)
    }

    /// Takes a cost from a counter of more than two words; apart, because most have two.
    #[inline(never)]
    fn take_wide(
        &self,
        reading: &mut Reading,
        words: &mut [u64],
        at: &At,
        cost: Cost,
    ) -> Option<u32> {
        match (self, reading) {
            (Self::SlidingWindow(policy), Reading::SlidingWindow(read)) => {
                *read = policy.after(*read, *at, cost.units);
                let written = words.is_empty() || policy.add(words, *at, cost.units);
                written.then_some(0)
            }
            (Self::GaugePeriod(policy), reading) => {
                let Some(mut gauge) = reading.gauge() else { return Some(0) };
                let state = policy.take(&mut gauge, cost, *at);
                *reading = gauge.into();
                if let Some(to) = words.first_chunk_mut() {
                    *to = state;
                }
                Some(gauge.period.length)
            }
            _ => Some(0),
        }
    }

    /// A counter's state as format 1 has it: counts were one word without a sign.
    pub(super) fn of_format_1(&self, image: Image) -> Image {
        match (self, image.words.as_slice()) {
            (Self::SlidingWindow(policy), ring) => policy.of_ring(ring),
            (Self::FixedWindow(_) | Self::CalendarPeriod(_), [first, used]) => {
                Image::count(image.extra, *first, (*used).into())
            }
            (Self::GaugePeriod(_), [start, used, latest]) => {
                Image::of(image.extra, &[*start, *used, 0, *latest])
            }
            _ => image,
        }
    }

    /// The state after a cost, in as many words as it needs, of a cell that had no room for it and
    /// that says `words`; the reading has moved on.
    pub(super) fn regrown(&self, words: &[u64], reading: &Reading, at: At, cost: Cost) -> Image {
        let image = match self {
            Self::SlidingWindow(policy) => Some(policy.after_words(words, at, cost.units)),
            _ => reading.image(),
        };
        image.unwrap_or_else(|| self.fresh())
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
                    reset: Some(policy.filled(full_at).max(at.now))
                        .filter(|filled| *filled < Moment::MAX)
                        .and_then(up),
                }
            }
            (Self::FixedWindow(policy), Reading::FixedWindow(window)) => Figures {
                used: window.used.get(),
                remaining: policy.remaining(*window),
                reset: up(policy.end(*window)),
            },
            (Self::SlidingWindow(policy), Reading::SlidingWindow(read)) => Figures {
                used: read.used.get(),
                remaining: policy.remaining(*read),
                reset: (read.oldest_leaves < Moment::MAX).then(|| up(read.oldest_leaves)).flatten(),
            },
            (Self::CalendarPeriod(policy), &Reading::CalendarPeriod { length, start, used }) => {
                Figures {
                    used: used.get(),
                    remaining: policy.remaining(used.get()),
                    reset: Bounds { length, start }.resets(),
                }
            }
            (Self::GaugePeriod(policy), reading) => {
                reading.gauge().map_or(Figures::NONE, |gauge| Figures {
                    used: gauge.figure.used,
                    remaining: policy.remaining(gauge),
                    reset: gauge.period.resets(),
                })
            }
            _ => Figures::NONE,
        }
    }

    /// What is left of a window; `None` for what counts in no window. A bucket goes no lower than
    /// empty by itself.
    pub(super) fn left(&self, reading: &Reading) -> Option<Units> {
        match (self, reading) {
            (Self::FixedWindow(policy), Reading::FixedWindow(window)) => {
                Some(policy.remaining(*window))
            }
            (Self::SlidingWindow(policy), Reading::SlidingWindow(read)) => {
                Some(policy.remaining(*read))
            }
            _ => None,
        }
    }

    /// Whether four fifths of the limit, or more, are used.
    pub(crate) fn is_near_limit(&self, reading: &Reading, at: At) -> bool {
        let (used, remaining) = match (self, reading) {
            (Self::TokenBucket(policy), Reading::TokenBucket([high, low])) => {
                return policy.is_nearly_empty(join(*high, *low), at);
            }
            (Self::FixedWindow(policy), Reading::FixedWindow(window)) => {
                (window.used.get(), policy.remaining(*window))
            }
            (Self::SlidingWindow(policy), Reading::SlidingWindow(read)) => {
                (read.used.get(), policy.remaining(*read))
            }
            (Self::CalendarPeriod(policy), Reading::CalendarPeriod { used, .. }) => {
                (used.get(), policy.remaining(used.get()))
            }
            (Self::GaugePeriod(policy), reading) => match reading.gauge() {
                Some(gauge) => (gauge.figure.used, policy.remaining(gauge)),
                None => return false,
            },
            _ => return false,
        };
        used >= remaining.saturating_mul(4)
    }

    /// The first moment from `from` on at which `cost` fits, going by the reading before a
    /// refused decision at `at`; `None` for never.
    pub(crate) fn passes_at(
        &self,
        before: &Reading,
        ahead: &Ahead,
        cost: Cost,
        at: At,
        from: Moment,
        timeline: Timeline,
    ) -> Option<Moment> {
        if !self.may_add(cost) {
            return Some(from);
        }
        match (self, before) {
            (Self::TokenBucket(policy), Reading::TokenBucket([high, low])) => {
                policy.passes_at(join(*high, *low), cost.units).map(|moment| moment.max(from))
            }
            (Self::FixedWindow(policy), Reading::FixedWindow(window)) => {
                policy.passes_at(*window, cost.units, from)
            }
            (Self::SlidingWindow(policy), Reading::SlidingWindow(read)) => {
                policy.passes_at(*read, &ahead.steps, cost.units, at, from)
            }
            (Self::CalendarPeriod(policy), reading) => {
                policy.passes_at(reading.period()?, &ahead.spans, cost, at, from, timeline)
            }
            (Self::GaugePeriod(policy), reading) => {
                policy.passes_at(reading.gauge()?, &ahead.spans, cost, at, from, timeline)
            }
            _ => None,
        }
    }

    pub(super) fn is_sliding(&self) -> bool {
        matches!(self, Self::SlidingWindow(_))
    }

    /// The window of a rolling quota.
    #[inline]
    pub(super) fn rolling(&self) -> Option<&SlidingWindow> {
        match self {
            Self::SlidingWindow(policy) if policy.is_rolling() => Some(policy),
            _ => None,
        }
    }

    /// Whether what is recorded tells what a counter would say.
    pub(crate) fn recounts(&self) -> bool {
        self.periods().is_some() || self.rolling().is_some()
    }

    /// Whether what was before so long makes no difference to a sliding window.
    pub(super) fn is_within(&self, time: Duration) -> bool {
        matches!(self, Self::SlidingWindow(policy) if policy.is_within(time))
    }

    /// A calendar period that takes no more late events at `at`.
    pub(super) fn is_too_late(&self, reading: &Reading, at: At) -> bool {
        let closed = |periods: &Periods| {
            reading.bounds().is_some_and(|period| periods.is_closed(period, at))
        };
        at.explicit && self.periods().is_some_and(closed)
    }

    /// Whether a cell of this counter says no more than a fresh one would.
    pub(super) fn is_idle(&self, cell: Cell<'_>, at: At) -> bool {
        match self {
            Self::TokenBucket(policy) => policy.is_full(TokenBucket::full_at(Some(cell)), at),
            Self::FixedWindow(policy) => policy.read(Some(cell), at).used == Wide::ZERO,
            Self::SlidingWindow(policy) => policy.is_idle(cell, at),
            Self::CalendarPeriod(policy) => policy.is_idle(cell, at),
            Self::GaugePeriod(policy) => policy.is_idle(cell, at),
        }
    }

    /// What is used at `at`, to carry it into a counter of another make.
    pub(super) fn lump<'c>(&self, mut cells: impl Iterator<Item = Cell<'c>>, at: At) -> Lump {
        match self {
            Self::TokenBucket(policy) => policy.lump(TokenBucket::full_at(cells.next()), at),
            Self::FixedWindow(policy) => Lump::of(policy.read(cells.next(), at).used.get()),
            Self::SlidingWindow(policy) => Lump::of(policy.read(cells.next(), at).used.get()),
            Self::CalendarPeriod(policy) => {
                Lump::of(policy.read(policy.periods.find(cells, at), at).used)
            }
            Self::GaugePeriod(policy) => policy.lump(policy.periods.find(cells, at), at),
        }
    }

    /// A fresh counter's state with the use that it takes over.
    pub(super) fn adopt(&self, lump: Lump, at: At) -> Image {
        match self {
            Self::TokenBucket(policy) => policy.adopt(lump, at),
            Self::FixedWindow(policy) => policy.adopt(lump, at),
            Self::SlidingWindow(_) => SlidingWindow::adopt(lump, at),
            Self::CalendarPeriod(policy) => policy.adopt(lump, at),
            Self::GaugePeriod(policy) => policy.adopt(lump, at),
        }
    }

    /// Whether counters of `self` go on as counters of `other` as they are: the limits may
    /// differ, the meaning of the state may not.
    pub(crate) fn keeps_state_of(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::TokenBucket(a), Self::TokenBucket(b)) => a.counts_like(b),
            (Self::FixedWindow(a), Self::FixedWindow(b)) => a.counts_like(b),
            (Self::SlidingWindow(a), Self::SlidingWindow(b)) => a.counts_like(b),
            (Self::CalendarPeriod(a), Self::CalendarPeriod(b)) => a.periods.cut_like(&b.periods),
            (Self::GaugePeriod(a), Self::GaugePeriod(b)) => a.counts_like(b),
            _ => false,
        }
    }
}

impl Reading {
    #[inline]
    fn bucket(full_at: u128) -> Self {
        let (high, low) = split(full_at);
        Self::TokenBucket([high, low])
    }

    fn gauge(&self) -> Option<GaugeUse> {
        let Self::GaugePeriod { length, start, used, latest } = *self else { return None };
        let (period, figure) = (Bounds { length, start }, Figure { used: used.get(), latest });
        Some(GaugeUse { period, figure })
    }

    fn period(&self) -> Option<PeriodUse> {
        let Self::CalendarPeriod { length, start, used } = *self else { return None };
        Some(PeriodUse { period: Bounds { length, start }, used: used.get() })
    }

    pub(super) fn is_sliding(&self) -> bool {
        matches!(self, Self::SlidingWindow(_))
    }

    /// The state as a cell of the width that it needs. A sliding window's is not in its reading.
    pub(super) fn image(&self) -> Option<Image> {
        Some(match *self {
            Self::TokenBucket([high, low]) => Image::narrow(0, high, low),
            Self::FixedWindow(window) => Image::count(0, window.start, window.used.get()),
            Self::CalendarPeriod { length, start, used } => {
                Image::count(length, start.cast_unsigned(), used.get())
            }
            Self::GaugePeriod { length, .. } => {
                Image::of(length, &gauge_period::words(self.gauge()?))
            }
            Self::SlidingWindow(_) | Self::NoRoom => return None,
        })
    }

    /// The same period of a calendar quota with another use.
    pub(super) fn with_use(self, Used { units, latest }: Used) -> Self {
        match self {
            Self::CalendarPeriod { length, start, .. } => {
                Self::CalendarPeriod { length, start, used: units.into() }
            }
            Self::GaugePeriod { length, start, .. } => {
                Self::GaugePeriod { length, start, used: units.into(), latest }
            }
            other => other,
        }
    }

    /// Whether something is used of a quota's period.
    pub(super) fn is_used(&self) -> bool {
        match self {
            Self::CalendarPeriod { used, .. } | Self::GaugePeriod { used, .. } => {
                *used != Wide::ZERO
            }
            Self::SlidingWindow(read) => read.used != Wide::ZERO,
            _ => false,
        }
    }

    /// The period of a calendar quota.
    pub(super) fn bounds(&self) -> Option<Bounds> {
        match *self {
            Self::CalendarPeriod { length, start, .. }
            | Self::GaugePeriod { length, start, .. } => Some(Bounds { length, start }),
            _ => None,
        }
    }
}

impl From<GaugeUse> for Reading {
    fn from(gauge: GaugeUse) -> Self {
        let (Bounds { length, start }, Figure { used, latest }) = (gauge.period, gauge.figure);
        Self::GaugePeriod { length, start, used: used.into(), latest }
    }
}

impl From<PeriodUse> for Reading {
    #[inline]
    fn from(PeriodUse { period: Bounds { length, start }, used }: PeriodUse) -> Self {
        Self::CalendarPeriod { length, start, used: used.into() }
    }
}
