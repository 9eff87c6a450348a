//! A timer of its own thread: for engines that nobody gave a timer.
//!
//! *No lost wake-up.* The thread looks at the sleepers and begins to wait in one locked step; who
//! adds one that wakes before all others does so under the same lock, and notifies after it. A
//! sleeper finds under the lock that it is time, or leaves its waker there.
//!
//! *No deadlock.* No waker runs or is dropped under the lock, and nobody joins the thread.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::{Sleep, Sleepers, Timer, wake_all};
use crate::base::clock::Timestamp;

/// No sleep is longer; whoever wakes then looks at the clock, and sleeps again.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// A [`Timer`] that wakes tasks from a thread of its own, in any async runtime or without one.
///
/// The thread is called `limitry-timer` and ends when the timer is dropped. Wakers run on it: one
/// that blocks holds up the others. A sleep costs a lock and O(log of those under way).
pub struct ThreadTimer {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// The thread waits here until somebody sleeps, or for less long.
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    sleepers: Sleepers<Instant>,
    /// The timer was dropped.
    is_over: bool,
}

impl ThreadTimer {
    /// Starts a timer.
    ///
    /// # Errors
    /// The system starts no thread.
    pub fn start() -> io::Result<Self> {
        let state = State { sleepers: Sleepers::new(), is_over: false };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let runs = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("limitry-timer".to_owned());
        thread.spawn(move || runs.run())?;
        Ok(Self { shared })
    }
}

impl Timer for ThreadTimer {
    fn sleep(&self, _until: Timestamp, wait: Duration) -> Sleep {
        let now = now();
        let at = now.checked_add(wait.min(LONGEST)).unwrap_or(now);
        Box::pin(ThreadSleep { shared: Arc::clone(&self.shared), at, place: None })
    }
}

impl Drop for ThreadTimer {
    fn drop(&mut self) {
        self.shared.state.lock().is_over = true;
        self.shared.changed.notify_one();
    }
}

impl fmt::Debug for ThreadTimer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadTimer").finish_non_exhaustive()
    }
}

impl Shared {
    fn run(&self) {
        let mut state = self.state.lock();
        loop {
            if state.is_over {
                let all = state.sleepers.all();
                drop(state);
                return wake_all(all);
            }
            match state.sleepers.first() {
                None => self.changed.wait(&mut state),
                Some(at) if at > now() => drop(self.changed.wait_until(&mut state, at)),
                Some(_) => {
                    let due = state.sleepers.due(now());
                    drop(state);
                    wake_all(due);
                    state = self.state.lock();
                }
            }
        }
    }
}

/// The time that the thread waits by: no clock of an engine.
#[expect(clippy::disallowed_methods, reason = "the system's condition variable goes by it")]
fn now() -> Instant {
    Instant::now()
}

/// A sleep on the thread's timer.
struct ThreadSleep {
    shared: Arc<Shared>,
    at: Instant,
    place: Option<u64>,
}

impl Future for ThreadSleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<()> {
        let Self { shared, at, place } = self.get_mut();
        let waker = task.waker().clone();
        let mut state = shared.state.lock();
        if state.is_over || *at <= now() {
            return Poll::Ready(());
        }
        let before = state.sleepers.put(*at, place, waker);
        let is_first = state.sleepers.first() == Some(*at);
        drop(state);
        if is_first && before.is_none() {
            shared.changed.notify_one();
        }
        Poll::Pending
    }
}

impl Drop for ThreadSleep {
    fn drop(&mut self) {
        let waker = self.shared.state.lock().sleepers.remove(self.at, self.place);
        drop(waker);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::task::{Wake, Waker};

    use super::*;

    /// Says over a channel that it was woken.
    struct Tell(mpsc::SyncSender<u32>, u32);

    impl Wake for Tell {
        fn wake(self: Arc<Self>) {
            let _ = self.0.try_send(self.1);
        }
    }

    fn sleep(timer: &ThreadTimer, wait: Duration) -> Sleep {
        timer.sleep(Timestamp::MIN, wait)
    }

    fn poll(sleep: &mut Sleep, waker: &Waker) -> Poll<()> {
        sleep.as_mut().poll(&mut Context::from_waker(waker))
    }

    #[test]
    fn sleepers_wake_in_the_order_of_their_instants_and_those_dropped_never() {
        let timer = ThreadTimer::start().expect("a thread");
        let (tell, told) = mpsc::sync_channel(8);
        let waker = |number| Waker::from(Arc::new(Tell(tell.clone(), number)));
        let mut sleeps: Vec<_> = [40_u64, 10, 20, 30]
            .into_iter()
            .zip(0..)
            .map(|(millis, number)| {
                let mut sleep = sleep(&timer, Duration::from_millis(millis));
                assert_eq!(poll(&mut sleep, &waker(number)), Poll::Pending);
                sleep
            })
            .collect();
        drop(sleeps.remove(2));
        assert_eq!([told.recv(), told.recv(), told.recv()], [Ok(1), Ok(3), Ok(0)]);
        assert!(sleeps.iter_mut().all(|sleep| poll(sleep, Waker::noop()).is_ready()));
    }

    #[test]
    fn a_timer_that_is_dropped_wakes_everybody() {
        let timer = ThreadTimer::start().expect("a thread");
        let (tell, told) = mpsc::sync_channel(1);
        let mut sleep = sleep(&timer, Duration::MAX);
        let waker = Waker::from(Arc::new(Tell(tell, 7)));
        assert_eq!(poll(&mut sleep, &waker), Poll::Pending);
        drop(timer);
        assert_eq!(told.recv(), Ok(7));
        assert_eq!(poll(&mut sleep, &waker), Poll::Ready(()));
    }
}
