//! The engine's own time line.

use std::time::Duration;

use crate::clock::{NANOS_PER_SECOND, Timestamp};

/// Nanoseconds on the engine's time line, which starts 100 years before the engine does.
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
    /// The event is counted whatever the rules say.
    pub(crate) recorded: bool,
    /// A bucket may go below empty for it.
    pub(crate) owes: bool,
}

impl At {
    /// The same of an event that is counted whatever the rules say, or not.
    #[inline]
    pub(crate) fn recorded(self, recorded: bool) -> Self {
        Self { recorded, owes: recorded, ..self }
    }

    /// The same for a rule that has a say or has none: nothing is owed by one that has none.
    #[inline]
    pub(crate) fn for_judge(&self, judges: bool) -> Self {
        Self { owes: self.owes && judges, ..*self }
    }
}

/// Converts between the calendar and the engine's time line.
///
/// The line starts 100 years before the engine, so that the start of any window that holds the
/// first reading is on it, and ends 484 years after; readings beyond stop at its ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeline {
    origin_second: i64,
}

impl Timeline {
    const LEAD_SECONDS: i64 = 3_155_760_000;

    /// The instant at which the line's engine started for the first time, to the second.
    #[cfg(feature = "durable")]
    pub(crate) fn birth(self) -> Moment {
        self.start_of_second(self.origin_second.saturating_add(Self::LEAD_SECONDS))
    }

    pub(crate) fn starting(first: Timestamp) -> Self {
        Self { origin_second: first.unix_seconds().saturating_sub(Self::LEAD_SECONDS) }
    }

    /// The line that starts at a Unix second.
    #[cfg(feature = "durable")]
    pub(crate) fn with_origin(origin_second: i64) -> Self {
        Self { origin_second }
    }

    /// The Unix second at which the line starts.
    #[cfg(feature = "durable")]
    pub(crate) fn origin_second(self) -> i64 {
        self.origin_second
    }

    fn origin(self) -> Timestamp {
        Timestamp::new(self.origin_second, 0)
    }

    #[inline]
    pub(crate) fn moment(self, instant: Timestamp) -> Moment {
        Moment(instant.nanos_since(self.origin()))
    }

    #[inline]
    pub(crate) fn second(self, moment: Moment) -> i64 {
        self.origin_second.saturating_add_unsigned(moment.0.div_euclid(NANOS_PER_SECOND))
    }

    /// The Unix second at or after the moment.
    pub(crate) fn second_rounded_up(self, moment: Moment) -> i64 {
        self.origin_second.saturating_add_unsigned(moment.0.div_ceil(NANOS_PER_SECOND))
    }

    pub(crate) fn start_of_second(self, second: i64) -> Moment {
        self.moment(Timestamp::new(second, 0))
    }

    pub(crate) fn timestamp(self, moment: Moment) -> Timestamp {
        self.origin().saturating_add_nanos(moment.0)
    }

    /// The time of a decision about an event, which happened at `happened` or happens now.
    #[inline]
    pub(crate) fn at(self, now: Moment, happened: Option<Timestamp>) -> At {
        let now_second = self.second(now);
        match happened {
            None => {
                let (second, event) = (now_second, now);
                At { now, now_second, second, event, explicit: false, recorded: false, owes: false }
            }
            Some(happened) => {
                let (second, event) = (happened.unix_seconds(), self.moment(happened));
                At { now, now_second, second, event, explicit: true, recorded: false, owes: false }
            }
        }
    }

    /// How far into a window of `length` nanoseconds, counted from the Unix epoch, the line
    /// starts.
    pub(crate) fn phase(self, length: u64) -> u64 {
        self.origin().into_span(length)
    }
}
