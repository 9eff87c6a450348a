//! The figure of a calendar period that an event replaces instead of adding to it: the highest
//! amount so far, or the amount of the latest event.
//!
//! The state is the period, the figure, and the instant of the event that the figure is of. An
//! event that comes late and is older than that one leaves the latest amount as it is; of two at
//! one instant the one that came last counts.

use serde::{Deserialize, Serialize};

use super::cell::{Cell, Image, Lump, TALL, count, split};
use super::periods::{Bounds, Held, Periods, Span};
use super::time::{At, Moment, Timeline};
use crate::rules::{Cost, Units};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GaugePeriod {
    pub(super) limit: Units,
    gauge: Gauge,
    pub(super) periods: Periods,
}

/// Which amount the figure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Gauge {
    Highest,
    Latest,
}

/// A period and its figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GaugeUse {
    pub(super) period: Bounds,
    pub(super) figure: Figure,
}

/// A figure, and the instant of the latest event that it knows; the earliest there is, which no
/// event has here, without one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Figure {
    pub(super) used: Units,
    pub(super) latest: Moment,
}

/// The earliest instant of an event.
pub(crate) const FIRST: Moment = Moment(1);

impl Figure {
    const NONE: Self = Self { used: 0, latest: Moment(0) };

    fn is_none(self) -> bool {
        self.latest == Self::NONE.latest
    }
}

impl GaugePeriod {
    pub(crate) fn new(limit: Units, gauge: Gauge, periods: Periods) -> Self {
        Self { limit, gauge, periods }
    }

    /// What a cell, or a fresh counter, says of the event's period.
    pub(super) fn read(&self, held: Held<'_>, at: At) -> GaugeUse {
        match held {
            Held::In(cell @ Cell { extra: length, words: [start, ..], .. }) => GaugeUse {
                period: Bounds { length, start: start.cast_signed() },
                figure: figure(cell),
            },
            _ => GaugeUse { period: self.periods.of(at.second), figure: Figure::NONE },
        }
    }

    /// The figure after an event of this instant.
    fn after(&self, figure: Figure, cost: Cost, event: Moment) -> Figure {
        let Figure { used, latest } = figure;
        let event = event.max(FIRST);
        match self.gauge {
            _ if !cost.counts => figure,
            _ if figure.is_none() => Figure { used: cost.units, latest: event },
            Gauge::Highest => Figure { used: used.max(cost.units), latest: latest.max(event) },
            Gauge::Latest if event >= latest => Figure { used: cost.units, latest: event },
            Gauge::Latest => figure,
        }
    }

    /// Whether the figure after the event is within the limit, or no higher than it was.
    pub(super) fn fits(&self, figure: Figure, cost: Cost, event: Moment) -> bool {
        self.after(figure, cost, event).used <= self.limit.max(figure.used)
    }

    /// Moves a reading on by an event, and returns the words of its cell.
    pub(super) fn take(&self, read: &mut GaugeUse, cost: Cost, at: At) -> [u64; TALL] {
        read.figure = self.after(read.figure, cost, at.dated());
        words(*read)
    }

    /// The periods after the event's that have a figure.
    pub(super) fn ahead<'c>(cells: impl Iterator<Item = Cell<'c>>, at: At) -> Box<[Span]> {
        let later = Periods::later(cells, at);
        let mut ahead: Vec<Span> = later
            .map(|(cell, start, end)| {
                let Figure { used, latest } = figure(cell);
                Span { start, end, used, latest }
            })
            .collect();
        ahead.sort_unstable();
        ahead.into()
    }

    /// A cell that makes no difference any more. A figure of nothing makes one: an older event may
    /// come, or one of less.
    pub(super) fn is_idle(&self, cell: Cell<'_>, at: At) -> bool {
        figure(cell).is_none() || self.periods.is_past(cell, at)
    }

    pub(super) fn remaining(&self, read: GaugeUse) -> Units {
        self.limit.saturating_sub(read.figure.used).clamp(0, self.limit.max(0))
    }

    /// The first moment from `from` on at which the figure after the event is within the limit.
    /// An event with a timestamp of its own stays in its period, until that takes no more.
    pub(super) fn passes_at(
        &self,
        GaugeUse { period, figure }: GaugeUse,
        ahead: &[Span],
        cost: Cost,
        at: At,
        from: Moment,
        timeline: Timeline,
    ) -> Option<Moment> {
        if at.explicit {
            let open = timeline.second(from) < self.periods.closes(period);
            return (open && self.fits(figure, cost, at.dated())).then_some(from);
        }
        let Figure { used, latest } = figure;
        let current = Span { start: period.start, end: period.end(), used, latest };
        let mut moment = from;
        for span in std::iter::once(&current).chain(ahead) {
            // Between the periods that have a figure are those that have none.
            let start = timeline.start_of_second(span.start);
            if moment < start {
                if self.fits(Figure::NONE, cost, timeline.dated(moment)) {
                    return Some(moment);
                }
                moment = start;
            }
            if let Some(passes) = self.passes_within(*span, cost, moment, timeline) {
                return Some(passes);
            }
            moment = moment.max(timeline.start_of_second(span.end));
        }
        let ever = moment < Moment::MAX && self.fits(Figure::NONE, cost, timeline.dated(moment));
        ever.then_some(moment)
    }

    /// The first moment from `from` on, and within a period, at which the event fits: as soon as
    /// it is later than the one that the figure is of, or not before another period.
    fn passes_within(
        &self,
        span: Span,
        cost: Cost,
        from: Moment,
        timeline: Timeline,
    ) -> Option<Moment> {
        let Span { used, latest, .. } = span;
        let fits = |moment: &Moment| {
            span.holds(timeline.second(*moment))
                && self.fits(Figure { used, latest }, cost, *moment)
        };
        [from, from.max(latest)].into_iter().find(fits)
    }

    /// The state means the same for both; only the limits may differ.
    pub(super) fn counts_like(&self, other: &Self) -> bool {
        self.gauge == other.gauge && self.periods.cut_like(&other.periods)
    }

    pub(super) fn lump(&self, held: Held<'_>, at: At) -> Lump {
        let Figure { used, latest } = self.read(held, at).figure;
        Lump { latest, ..Lump::of(used) }
    }

    pub(super) fn adopt(&self, lump: Lump, at: At) -> Image {
        let period = self.periods.of(at.now_second);
        let figure = Figure { used: lump.rounded_up(), latest: lump.latest };
        Image::of(period.length, &words(GaugeUse { period, figure }))
    }
}

pub(super) fn words(GaugeUse { period, figure }: GaugeUse) -> [u64; TALL] {
    let (high, low) = split(figure.used.cast_unsigned());
    [period.start.cast_unsigned(), low, high, figure.latest.0]
}

fn figure(cell: Cell<'_>) -> Figure {
    match cell.words {
        words @ [_, _, _, latest] => Figure { used: count(words), latest: Moment(*latest) },
        _ => Figure::NONE,
    }
}
