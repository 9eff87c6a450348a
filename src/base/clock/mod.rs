//! Where time comes from.
//!
//! The engine reads one [`Clock`] once a call and treats the reading as the instant of the whole
//! decision. Inside an engine time never runs back: where a clock is set back, the engine's time
//! goes on from the highest reading, at the clock's pace, so that a step back mints nothing and
//! refunds nothing, and nobody waits until the clock has caught up.

mod date_text;
mod interpolated;
mod manual;
mod processor;
mod system;
pub(crate) mod timer;
mod timestamp;

use std::sync::Arc;

pub use self::manual::ManualClock;
pub use self::system::SystemClock;
use self::timer::{Sleep, Timer};
pub use self::timestamp::{Timestamp, TimestampParseError, TimestampRangeError};

pub(crate) const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// A source of time.
///
/// The engine reads it once a call, before it takes any lock.
pub trait Clock: Send + Sync + 'static {
    /// Returns the instant now.
    fn now(&self) -> Timestamp;

    /// Returns how many nanoseconds after `origin` it is now, 0 before it and [`u64::MAX`] where
    /// there are more.
    ///
    /// An engine reads its clock by this, with an origin that stays the same. It asks
    /// [`now`](Self::now) unless a clock that counts in nanoseconds itself answers directly. Both
    /// must say the same.
    fn nanos_since(&self, origin: Timestamp) -> u64 {
        self.now().nanos_since(origin)
    }

    /// Says that readings never run back, on any thread, so that the engine need not guard
    /// against it. (That processors do not agree to the nanosecond on what came first, as with
    /// [`SystemClock`], does not count.) The default is `false`: the engine then remembers the
    /// highest reading, at the price of one contended atomic a call. A reading that is less than a
    /// second below it counts as the highest one: clocks flutter so. One that is further below says
    /// that the clock was set back, and the engine's time goes on from the highest reading at the
    /// clock's pace.
    fn is_monotonic(&self) -> bool {
        false
    }

    /// Returns the timer that goes by this clock, where it is not the machine's time: who
    /// [waits](crate::Engine::wait) in an engine is woken by it. The default is none.
    fn timer(&self) -> Option<Arc<dyn Timer>> {
        None
    }
}

impl<C: Clock + ?Sized> Clock for Arc<C> {
    fn now(&self) -> Timestamp {
        (**self).now()
    }

    fn nanos_since(&self, origin: Timestamp) -> u64 {
        (**self).nanos_since(origin)
    }

    fn is_monotonic(&self) -> bool {
        (**self).is_monotonic()
    }

    fn timer(&self) -> Option<Arc<dyn Timer>> {
        (**self).timer()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A clock as users write one: what it shows, and nothing else.
    struct Fixed(Timestamp);

    impl Clock for Fixed {
        fn now(&self) -> Timestamp {
            self.0
        }
    }

    #[test]
    fn a_clock_that_only_says_the_instant_counts_nanoseconds_from_any_origin() {
        let noon: Timestamp = "2024-01-15T12:00:00Z".parse().expect("an instant");
        let clock: Arc<dyn Clock> = Arc::new(Fixed(noon));
        let hour = Duration::from_secs(3_600);
        assert_eq!(clock.nanos_since(noon - hour), 3_600_000_000_000);
        assert_eq!((clock.nanos_since(noon), clock.nanos_since(noon + hour)), (0, 0));
        assert_eq!(clock.nanos_since(Timestamp::MIN), u64::MAX);
    }
}
