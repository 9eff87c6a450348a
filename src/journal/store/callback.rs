//! The caller's code in the middle of a store's work.
//!
//! Two kinds of it run there: the methods of a [`Storage`](crate::store::Storage), and functions
//! that are told of progress or write what is exported. While they run, the thread holds locks of
//! the store, or is the one that writes to it, so that some calls would wait for themselves. Which
//! of them run is noted by thread, and those calls are errors then. A panic of the second kind goes
//! through all of the store's work to whoever gave the function; one of a `Storage` fails the
//! store, as an error of it does.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::base::progress::Progress;

/// What of the caller's runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Callback {
    /// A function that is told of progress, or one that writes what is exported.
    Progress,
    /// A method of the application's storage.
    Storage,
}

impl Callback {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Progress => "a function that is told of progress or writes an export",
            Self::Storage => "a method of its Storage",
        }
    }
}

thread_local! {
    /// What runs on this thread, with the number of its store.
    static RUNNING: RefCell<Vec<(u64, Callback)>> = const { RefCell::new(Vec::new()) };
}

/// A number for a store that is opened: no other one of this process has it.
pub(in crate::journal) fn new_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// What of the caller's runs on this thread inside of a store.
pub(in crate::journal) fn running(store: u64) -> Option<Callback> {
    let newest = |running: &RefCell<Vec<(u64, Callback)>>| {
        let running = running.borrow();
        running.iter().filter(|(of, _)| *of == store).map(|(_, callback)| *callback).max()
    };
    RUNNING.try_with(newest).ok().flatten()
}

/// Runs the caller's code.
pub(in crate::journal) fn run<R>(store: u64, callback: Callback, code: impl FnOnce() -> R) -> R {
    let noted = RUNNING.try_with(|running| running.borrow_mut().push((store, callback)));
    let _over = noted.ok().map(|()| PopOnDrop);
    code()
}

/// Forgets what ran last, also where it panicked.
struct PopOnDrop;

impl Drop for PopOnDrop {
    fn drop(&mut self) {
        let _ = RUNNING.try_with(|running| running.borrow_mut().pop());
    }
}

/// A panic of the caller's code, on its way to the caller.
pub(in crate::journal) struct CallerPanic(Box<dyn Any + Send>);

/// Runs the caller's code inside of [`unwrap_caller_panics`].
pub(in crate::journal) fn run_caller<R>(store: u64, code: impl FnOnce() -> R) -> R {
    let done = run(store, Callback::Progress, || catch_unwind(AssertUnwindSafe(code)));
    done.unwrap_or_else(|panic| resume_unwind(Box::new(CallerPanic(panic))))
}

/// Works, and hands panics of the caller's code on as they were.
pub(in crate::journal) fn unwrap_caller_panics<R>(work: impl FnOnce() -> R) -> R {
    let done = catch_unwind(AssertUnwindSafe(work));
    done.unwrap_or_else(|panic| match panic.downcast::<CallerPanic>() {
        Ok(panic) => resume_unwind(panic.0),
        Err(panic) => resume_unwind(panic),
    })
}

/// Works, and tells the caller of it.
pub(in crate::journal) fn with_progress<R>(
    store: u64,
    tell: &mut dyn FnMut(Progress),
    work: impl FnOnce(&mut dyn FnMut(Progress)) -> R,
) -> R {
    unwrap_caller_panics(|| work(&mut |progress| run_caller(store, || tell(progress))))
}
