//! The engine's own time line.

use std::time::Duration;

use crate::base::clock::{Clock, NANOS_PER_SECOND, Timestamp};

/// Nanoseconds on the engine's time line, which starts 100 years before the engine does, and never
/// runs back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(pub(crate) u64);

impl Moment {
    pub(crate) const MAX: Self = Self(u64::MAX);

    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// The time of one decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own of a decision")]
pub(crate) struct At {
    /// The engine's time: what rate limits and rolling quotas go by.
    pub(crate) now: Moment,
    /// The Unix second of the engine's time.
    pub(crate) now_second: i64,
    /// The Unix second of the event: what calendar quotas go by.
    pub(crate) second: i64,
    /// The instant of the event.
    pub(crate) event: Moment,
    /// The event brought its own timestamp, so waiting does not change its period.
    pub(crate) explicit: bool,
    /// As [`Timeline::shift`].
    pub(crate) shift: u64,
    /// The event is counted whatever the rules say.
    pub(crate) recorded: bool,
    /// A bucket may go below empty for it.
    pub(crate) owes: bool,
    /// What is given back is of the event's instant: it corrects what was taken then.
    pub(crate) corrects: bool,
}

impl At {
    /// The instant of the event by its date: on a line that is the same for all shifts.
    #[inline]
    pub(crate) fn dated(&self) -> Moment {
        Moment(self.event.0.saturating_sub(self.shift))
    }

    /// The event is counted whatever the rules say, or not.
    #[inline]
    pub(crate) fn is_recorded(&mut self, recorded: bool) {
        (self.recorded, self.owes) = (recorded, recorded);
    }

    /// The same for a rule that has a say or has none: nothing is owed by one that has none.
    #[inline]
    pub(crate) fn for_judge(&self, judges: bool) -> Self {
        Self { owes: self.owes && judges, ..*self }
    }
}

/// How an event was counted, which says when it was taken of rate limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HowCounted {
    /// Rules were asked: it was taken when it was decided about.
    Asked,
    /// Whatever rules said: a window that keeps instants has it when it happened.
    Recorded,
    /// Some of it was held before, or it is not known: it was taken between when it happened and
    /// when it was decided about.
    Between,
}

impl At {
    /// How the decision of this time counts its event.
    pub(crate) fn how_counted(&self) -> HowCounted {
        match (self.recorded, self.owes) {
            (true, _) => HowCounted::Recorded,
            (false, true) => HowCounted::Between,
            (false, false) => HowCounted::Asked,
        }
    }
}

/// Converts between the calendar and the engine's time line.
///
/// The line starts 100 years before the engine, so that the start of any window that holds the
/// first reading is on it, and ends 484 years after; readings beyond stop at its ends.
///
/// A store may have been written while the clock was ahead. The line of whoever opens it goes on
/// where the store's ended, at the pace of the clock: the line is *shifted* against the calendar.
/// So rate limits, which go by the line, are where they were and pay back as they did, and dates,
/// which go by the calendar, are those of the clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeline {
    origin_second: i64,
    /// How far the line is ahead of the calendar, in nanoseconds.
    shift: u64,
}

impl Timeline {
    const LEAD_SECONDS: i64 = 3_155_760_000;

    /// The instant at which the line's engine started for the first time, to the second.
    pub(crate) fn birth(self) -> Moment {
        let unshifted = Self { shift: 0, ..self };
        unshifted.start_of_second(self.origin_second.saturating_add(Self::LEAD_SECONDS))
    }

    pub(crate) fn starting(first: Timestamp) -> Self {
        Self { origin_second: first.unix_seconds().saturating_sub(Self::LEAD_SECONDS), shift: 0 }
    }

    /// The line that starts at a Unix second.
    pub(crate) fn with_origin(origin_second: i64) -> Self {
        Self { origin_second, shift: 0 }
    }

    /// The same line with another shift.
    pub(crate) fn shifted(self, shift: u64) -> Self {
        Self { shift, ..self }
    }

    /// How far the line is ahead of the calendar, in nanoseconds.
    pub(crate) fn shift(self) -> u64 {
        self.shift
    }

    /// The instant that a moment is by the calendar, on a line that is the same for all shifts.
    #[inline]
    pub(crate) fn dated(self, moment: Moment) -> Moment {
        Moment(moment.0.saturating_sub(self.shift))
    }

    /// The moment of an instant by the calendar: what [`dated`](Self::dated) takes apart.
    pub(crate) fn undated(self, dated: Moment) -> Moment {
        Moment(dated.0.saturating_add(self.shift))
    }

    /// The Unix second at which the line starts.
    pub(crate) fn origin_second(self) -> i64 {
        self.origin_second
    }

    fn origin(self) -> Timestamp {
        Timestamp::new(self.origin_second, 0)
    }

    #[inline]
    pub(crate) fn moment(self, instant: Timestamp) -> Moment {
        Moment(instant.nanos_since(self.origin()).saturating_add(self.shift))
    }

    /// The moment that the clock shows.
    #[inline]
    pub(crate) fn read(self, clock: &dyn Clock) -> Moment {
        Moment(clock.nanos_since(self.origin()).saturating_add(self.shift))
    }

    #[inline]
    pub(crate) fn second(self, moment: Moment) -> i64 {
        let dated = self.dated(moment).0;
        self.origin_second.saturating_add_unsigned(dated.div_euclid(NANOS_PER_SECOND))
    }

    /// The Unix second at or after the moment.
    pub(crate) fn second_rounded_up(self, moment: Moment) -> i64 {
        let dated = self.dated(moment).0;
        self.origin_second.saturating_add_unsigned(dated.div_ceil(NANOS_PER_SECOND))
    }

    pub(crate) fn start_of_second(self, second: i64) -> Moment {
        self.moment(Timestamp::new(second, 0))
    }

    pub(crate) fn timestamp(self, moment: Moment) -> Timestamp {
        self.origin().saturating_add_nanos(self.dated(moment).0)
    }

    /// The time of a decision about an event, which happened at `happened` or happens now.
    #[inline]
    pub(crate) fn at(self, now: Moment, happened: Option<Timestamp>) -> At {
        let now_second = self.second(now);
        let (second, event) = happened
            .map_or((now_second, now), |happened| (happened.unix_seconds(), self.moment(happened)));
        let (explicit, shift) = (happened.is_some(), self.shift);
        At {
            now,
            now_second,
            second,
            event,
            explicit,
            shift,
            recorded: false,
            owes: false,
            corrects: false,
        }
    }

    /// The time of the same decision where the engine's is `now`.
    #[cold]
    pub(crate) fn later(self, at: At, now: Moment) -> At {
        let now_second = self.second(now);
        let (second, event) = if at.explicit { (at.second, at.event) } else { (now_second, now) };
        At { now, now_second, second, event, ..at }
    }

    /// How far into a window of `length` nanoseconds, counted from the Unix epoch, the line
    /// starts.
    pub(crate) fn phase(self, length: u64) -> u64 {
        self.origin().into_span(length)
    }
}
