//! Threads that wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use super::waiter::{Verb, Waiter};
use crate::counters::Moment;
use crate::engine::{Core, WaitError};

/// Wakes a thread.
struct Unpark {
    thread: Thread,
    /// It was woken since it last looked. What else wakes a thread, as anything may, is none of it.
    is_called: AtomicBool,
}

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        // Before the thread is woken, which sees it then: parking pairs with unparking.
        self.is_called.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

impl Core {
    /// Waits on this thread.
    pub(super) fn block_on<'a, V: Verb<'a>>(
        &self,
        verb: &V,
        mut waiter: Waiter<'_, 'a>,
    ) -> Result<V::Answer, WaitError> {
        let thread = std::thread::current();
        let unpark = Arc::new(Unpark { thread, is_called: AtomicBool::new(false) });
        let waker = Waker::from(Arc::clone(&unpark));
        let mut is_due = false;
        loop {
            if let Some(answer) = waiter.turn(verb, &waker, is_due) {
                return answer;
            }
            self.park(&unpark, &waker, waiter.until());
            is_due = waiter.until().is_some_and(|until| waiter.is_due(until));
        }
    }

    /// Blocks until the thread is woken or its time has come.
    fn park(&self, unpark: &Unpark, waker: &Waker, until: Option<Moment>) {
        let sleep = until.map(|until| self.clock_at(until));
        // A clock that is no machine's says itself when it is time.
        let by_clock = self.waiting.of_clock.as_ref().zip(sleep);
        let mut timed = by_clock.map(|(timer, (until, wait))| timer.sleep(until, wait));
        let task = &mut Context::from_waker(waker);
        let wait = if timed.is_some() { None } else { sleep.map(|(_, wait)| wait) };
        while !unpark.is_called.swap(false, Ordering::Acquire) {
            if timed.as_mut().is_some_and(|sleep| sleep.as_mut().poll(task).is_ready()) {
                return;
            }
            match wait {
                None => std::thread::park(),
                Some(Duration::ZERO) => return,
                Some(wait) => return std::thread::park_timeout(wait),
            }
        }
    }
}
