//! A clock that is moved by hand, and the timer that goes by it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use parking_lot::Mutex;

use super::timer::{Sleepers, wake_all};
use super::{Clock, Sleep, Timer, Timestamp};

/// A clock that stands still until it is moved: for tests, simulations and replays.
///
/// Clones share the same hands, so one clone goes into the engine and the other moves it. It is a
/// [`Timer`], too: who [waits](crate::Engine::wait) in an engine with this clock is woken by who
/// moves it, and no test sleeps.
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
    hands: Arc<Mutex<Hands>>,
}

#[derive(Debug)]
struct Hands {
    now: Timestamp,
    /// How often it was set back. Who sleeps is woken then, for an engine's time is another one
    /// against the clock's from there on.
    steps_back: u64,
    sleepers: Sleepers<Timestamp>,
}

impl ManualClock {
    /// Makes a clock that shows `now`.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        let hands = Hands { now, steps_back: 0, sleepers: Sleepers::new() };
        Self { hands: Arc::new(Mutex::new(hands)) }
    }

    /// Moves the clock forward; it stops at [`Timestamp::MAX`]. Whoever has slept until then is
    /// woken, by this thread.
    pub fn advance(&self, by: Duration) {
        let mut hands = self.hands.lock();
        hands.now = hands.now.saturating_add(by);
        let now = hands.now;
        let due = hands.sleepers.due(now);
        drop(hands);
        wake_all(due);
    }

    /// Sets the clock, forward or back. The time of an engine that has seen a later reading goes on
    /// from there, as [`Clock::is_monotonic`] says.
    pub fn set(&self, now: Timestamp) {
        let mut hands = self.hands.lock();
        if now < hands.now {
            hands.steps_back = hands.steps_back.wrapping_add(1);
            hands.now = now;
            let all = hands.sleepers.all();
            drop(hands);
            return wake_all(all);
        }
        hands.now = now;
        let due = hands.sleepers.due(now);
        drop(hands);
        wake_all(due);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.hands.lock().now
    }

    fn timer(&self) -> Option<Arc<dyn Timer>> {
        Some(Arc::new(self.clone()))
    }
}

impl Timer for ManualClock {
    fn sleep(&self, until: Timestamp, _wait: Duration) -> Sleep {
        let steps_back = self.hands.lock().steps_back;
        Box::pin(ManualSleep { hands: Arc::clone(&self.hands), until, steps_back, place: None })
    }
}

/// A sleep until a manual clock is moved.
struct ManualSleep {
    hands: Arc<Mutex<Hands>>,
    until: Timestamp,
    steps_back: u64,
    place: Option<u64>,
}

impl Future for ManualSleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<()> {
        let Self { hands, until, steps_back, place } = self.get_mut();
        let waker = task.waker().clone();
        let mut hands = hands.lock();
        if hands.now >= *until || hands.steps_back != *steps_back {
            return Poll::Ready(());
        }
        let before = hands.sleepers.put(*until, place, waker);
        drop(hands);
        drop(before);
        Poll::Pending
    }
}

impl Drop for ManualSleep {
    fn drop(&mut self) {
        let waker = self.hands.lock().sleepers.remove(self.until, self.place);
        drop(waker);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noon() -> Timestamp {
        "2024-01-15T12:00:00Z".parse().expect("an instant")
    }

    fn is_ready(sleep: &mut Sleep) -> bool {
        sleep.as_mut().poll(&mut Context::from_waker(std::task::Waker::noop())).is_ready()
    }

    #[test]
    fn a_sleep_ends_at_its_instant_and_not_before() {
        let clock = ManualClock::new(noon());
        let second = Duration::from_secs(1);
        let mut sleep = clock.sleep(noon() + second, second);
        assert!(!is_ready(&mut sleep));
        clock.advance(Duration::from_nanos(999_999_999));
        assert!(!is_ready(&mut sleep));
        clock.advance(Duration::from_nanos(1));
        assert!(is_ready(&mut sleep));
    }

    #[test]
    fn a_clock_that_is_set_back_wakes_everybody() {
        let clock = ManualClock::new(noon());
        let mut sleep = clock.sleep(noon() + Duration::from_secs(60), Duration::from_secs(60));
        assert!(!is_ready(&mut sleep));
        clock.set(noon() - Duration::from_secs(1));
        assert!(is_ready(&mut sleep));
    }

    #[test]
    fn what_is_dropped_leaves_nothing() {
        let clock = ManualClock::new(noon());
        let mut sleep = clock.sleep(noon() + Duration::from_secs(60), Duration::from_secs(60));
        assert!(!is_ready(&mut sleep) && !is_ready(&mut sleep));
        assert_eq!(clock.hands.lock().sleepers.first(), Some(noon() + Duration::from_secs(60)));
        drop(sleep);
        assert_eq!(clock.hands.lock().sleepers.first(), None);
    }
}
