//! The thread that wakes tasks.
//!
//! Waking is the caller's code, which may block, and may drop the engine. It has a thread of its
//! own, from the first task on that waits for a commit, so that nobody else waits for it.
//!
//! *No lost wake-up.* The thread looks at `ready` and begins to wait in one locked step, and who
//! adds wakers does so under the same lock and notifies after it. A task that is too late for the
//! last wakers of all has no part here: `is_over` is set by the one who has set the queue's failure
//! before, and the task looks at that under the lock of the waiters, before it leaves its waker.
//!
//! *No deadlock.* The lock is held to move the list and to start the thread, never while a waker
//! runs: that may wait for a commit, leave a waker, or drop the engine, which waits for the writer,
//! and the writer waits for this lock at the most. Nobody joins this thread.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Waker;

use parking_lot::{Condvar, Mutex};

/// Tasks on their way to the thread that wakes them.
#[derive(Debug, Default)]
pub(super) struct TaskWaker {
    ready: Mutex<Ready>,
    /// The thread waits here for some.
    called: Condvar,
}

#[derive(Debug, Default)]
struct Ready {
    wakers: Vec<Waker>,
    has_thread: bool,
    /// The writer has ended, and with it everything that tasks wait for.
    is_over: bool,
}

impl TaskWaker {
    /// Starts the thread, where there is none yet.
    pub(super) fn start(self: &Arc<Self>) -> io::Result<()> {
        let mut ready = self.ready.lock();
        if ready.has_thread {
            return Ok(());
        }
        let task_waker = Arc::clone(self);
        // It waits for the lock until this has noted that there is a thread. Where it does not
        // start, the next task tries again.
        let thread = std::thread::Builder::new().name("limitry-wake".to_owned());
        thread.spawn(move || task_waker.run())?;
        ready.has_thread = true;
        Ok(())
    }

    /// Has tasks woken; `is_over` says that no more will come.
    pub(super) fn wake(&self, wakers: impl Iterator<Item = Waker>, is_over: bool) {
        let mut ready = self.ready.lock();
        ready.wakers.extend(wakers);
        ready.is_over |= is_over;
        drop(ready);
        self.called.notify_one();
    }

    fn run(&self) {
        let mut ready = self.ready.lock();
        loop {
            let wakers = std::mem::take(&mut ready.wakers);
            if wakers.is_empty() {
                // Only with none left: those that came with the end are woken before.
                if ready.is_over {
                    return;
                }
                self.called.wait(&mut ready);
                continue;
            }
            drop(ready);
            for waker in wakers {
                // What goes wrong there is not the end of the others who wait. The panic itself
                // has been told of by the hook.
                let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
            }
            ready = self.ready.lock();
        }
    }
}
