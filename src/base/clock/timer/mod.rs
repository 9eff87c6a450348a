//! Who wakes a task when it is time.
//!
//! A waiter looks at the clock itself whenever it is woken: a timer that wakes it too early costs a
//! look, and one that wakes it late lets it wait longer. Nothing else hangs on a timer.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use super::Timestamp;

mod thread;
#[cfg(feature = "tokio")]
mod tokio;

pub use self::thread::ThreadTimer;
#[cfg(feature = "tokio")]
pub use self::tokio::TokioTimer;

/// A sleep under way: ready once it is over. Dropping it ends it.
pub type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What wakes tasks that [wait](crate::Engine::wait) when it is time: the timer of the
/// application's async runtime.
///
/// An engine has a [`ThreadTimer`], which works in any runtime, unless
/// [`EngineBuilder::timer`](crate::EngineBuilder::timer) or its clock brings another one. One of
/// another runtime is a few lines:
///
/// ```
/// use std::time::Duration;
/// use limitry::Timestamp;
/// use limitry::time::{Sleep, Timer};
///
/// # mod runtime { pub async fn sleep(_: std::time::Duration) {} }
/// struct RuntimeTimer;
///
/// impl Timer for RuntimeTimer {
///     fn sleep(&self, _until: Timestamp, wait: Duration) -> Sleep {
///         Box::pin(runtime::sleep(wait))
///     }
/// }
/// ```
pub trait Timer: Send + Sync + 'static {
    /// Returns a future that is ready when `wait` is over, which is when the engine's clock shows
    /// `until`. It is called, and the future polled, where the waiting task is polled, and under no
    /// lock.
    ///
    /// A future that is ready too early does no harm but that the waiter looks again and asks for
    /// another one; late by how much a timer is, so late the waiter is.
    fn sleep(&self, until: Timestamp, wait: Duration) -> Sleep;
}

impl<T: Timer + ?Sized> Timer for Arc<T> {
    fn sleep(&self, until: Timestamp, wait: Duration) -> Sleep {
        (**self).sleep(until, wait)
    }
}

/// Wakes tasks, which is the caller's code: no lock is held. What goes wrong in one is not the end
/// of the others who wait; the panic itself has been told of by the hook.
pub(crate) fn wake_all(wakers: impl IntoIterator<Item = Waker>) {
    for waker in wakers {
        let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
    }
}

/// Who sleeps until when. A waker that it gives back is dropped when the lock is free: that is the
/// caller's code.
#[derive(Debug)]
pub(super) struct Sleepers<T> {
    wakers: BTreeMap<(T, u64), Waker>,
    /// Tells those apart that sleep until the same instant.
    next: u64,
}

impl<T: Ord + Copy> Sleepers<T> {
    pub(super) const fn new() -> Self {
        Self { wakers: BTreeMap::new(), next: 0 }
    }

    /// Has a sleeper woken at an instant, under the place that it has or gets. Returns the waker
    /// that it had.
    pub(super) fn put(&mut self, at: T, place: &mut Option<u64>, waker: Waker) -> Option<Waker> {
        let place = place.get_or_insert_with(|| {
            self.next = self.next.wrapping_add(1);
            self.next
        });
        self.wakers.insert((at, *place), waker)
    }

    pub(super) fn remove(&mut self, at: T, place: Option<u64>) -> Option<Waker> {
        self.wakers.remove(&(at, place?))
    }

    /// The instant at which the next one wakes.
    pub(super) fn first(&self) -> Option<T> {
        self.wakers.first_key_value().map(|((at, _), _)| *at)
    }

    /// Takes out who has slept until now, the earliest first.
    pub(super) fn due(&mut self, now: T) -> impl Iterator<Item = Waker> + use<T> {
        let later = self.wakers.split_off(&(now, u64::MAX));
        std::mem::replace(&mut self.wakers, later).into_values()
    }

    /// Takes out everybody.
    pub(super) fn all(&mut self) -> impl Iterator<Item = Waker> + use<T> {
        std::mem::take(&mut self.wakers).into_values()
    }
}
