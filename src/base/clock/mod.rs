//! Where time comes from.
//!
//! The engine reads one [`Clock`] once a call and treats the reading as the instant of the whole
//! decision. Inside an engine time never runs back: where a clock is set back, the engine's time
//! goes on from the highest reading, at the clock's pace, so that a step back mints nothing and
//! refunds nothing, and nobody waits until the clock has caught up.

mod interpolated;
mod processor;
mod system;
mod timestamp;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

pub use self::system::SystemClock;
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
}

/// A clock that stands still until it is moved: for tests, simulations and replays.
///
/// Clones share the same hands, so one clone goes into the engine and the other moves it.
///
/// ```
/// use std::time::Duration;
/// use limitry::time::{Clock, ManualClock};
///
/// let clock = ManualClock::new("2024-01-15T10:30:00Z".parse()?);
/// let hands = clock.clone();
/// hands.advance(Duration::from_millis(1_500));
/// assert_eq!(clock.now().to_string(), "2024-01-15T10:30:01.500Z");
/// # Ok::<(), limitry::time::TimestampParseError>(())
/// ```
#[derive(Clone, Debug)]
pub struct ManualClock {
    now: Arc<Mutex<Timestamp>>,
}

impl ManualClock {
    /// Makes a clock that shows `now`.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self { now: Arc::new(Mutex::new(now)) }
    }

    /// Moves the clock forward; it stops at [`Timestamp::MAX`].
    pub fn advance(&self, by: Duration) {
        let mut now = self.now.lock();
        *now = now.saturating_add(by);
    }

    /// Sets the clock, forward or back. The time of an engine that has seen a later reading goes on
    /// from there, as [`Clock::is_monotonic`] says.
    pub fn set(&self, now: Timestamp) {
        *self.now.lock() = now;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.now.lock()
    }
}

#[cfg(test)]
mod tests {
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
