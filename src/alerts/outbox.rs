//! The outbox: what fired, in a list of a stated length, and up to where it was taken.
//!
//! Whoever notes an alert holds the locks of a decision, so its own lock is the last of all: under
//! it nothing else is locked, nothing of the caller's runs, and nobody is woken. The call that
//! noted one wakes receivers when its locks are free again. No wake-up is lost: a receiver that
//! finds nothing has left its waker under the same lock under which an alert is noted, and whoever
//! notes one sets `is_due` there, which the call looks at afterwards.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::future::Future;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::{Alert, AlertPage, AlertQuery};

/// An alert as a receiver takes it. It is the [`Alert`], and says how many before it were lost.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Delivered {
    /// What fired.
    pub alert: Arc<Alert>,
    /// How many alerts right before this one nobody has taken: newer ones had taken their room.
    pub missed: u64,
    number: u64,
}

impl Deref for Delivered {
    type Target = Alert;

    fn deref(&self) -> &Alert {
        &self.alert
    }
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Outbox {
    state: Mutex<State>,
    ready: Condvar,
    /// An alert was noted since receivers were woken.
    is_due: AtomicBool,
}

struct State {
    /// The newest alerts, by their numbers, which rise.
    alerts: VecDeque<(u64, Arc<Alert>)>,
    most: usize,
    /// The number of the next alert that is noted.
    end: u64,
    /// The number from which on alerts were not taken yet.
    next: u64,
    /// What was taken and is not acknowledged.
    open: BTreeSet<u64>,
    /// How many were lost since one was taken.
    missed: u64,
    /// The tasks that wait, by their numbers.
    wakers: Vec<(u64, Waker)>,
    tasks: u64,
    is_closed: bool,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (alerts, waiting) = (self.alerts.len(), self.end.saturating_sub(self.next));
        f.debug_struct("State")
            .field("alerts", &alerts)
            .field("waiting", &waiting)
            .finish_non_exhaustive()
    }
}

impl Outbox {
    /// An outbox that keeps so many, with what was known of them when they were kept last: with
    /// their numbers, the one that is next, and the one up to which all was acknowledged.
    pub(crate) fn new(
        most: usize,
        known: impl Iterator<Item = (u64, Arc<Alert>)>,
        (end, acknowledged): (u64, u64),
    ) -> Self {
        let mut state = State {
            alerts: known.collect(),
            most,
            end,
            next: acknowledged.min(end),
            open: BTreeSet::new(),
            missed: 0,
            wakers: Vec::new(),
            tasks: 0,
            is_closed: false,
        };
        if let Some((first, _)) = state.alerts.front() {
            state.missed = first.saturating_sub(state.next);
            state.next = state.next.max(*first);
        }
        state.bound();
        Self { state: Mutex::new(state), ready: Condvar::new(), is_due: AtomicBool::new(false) }
    }

    /// Notes an alert; returns its number. Called under the locks of a decision.
    pub(crate) fn note(&self, alert: Arc<Alert>) -> u64 {
        let mut state = self.state.lock();
        let number = state.end;
        state.end = number.saturating_add(1);
        state.alerts.push_back((number, alert));
        state.bound();
        self.is_due.store(true, Ordering::Release);
        number
    }

    /// Whether receivers are to be woken, as far as this thread has seen: at least for what it has
    /// noted itself.
    #[inline]
    pub(crate) fn is_due(&self) -> bool {
        self.is_due.load(Ordering::Relaxed)
    }

    /// Wakes all receivers. Called under no lock: wakers are the caller's code.
    #[cold]
    pub(crate) fn wake(&self) {
        let wakers = {
            let mut state = self.state.lock();
            self.is_due.store(false, Ordering::Relaxed);
            std::mem::take(&mut state.wakers)
        };
        self.ready.notify_all();
        let mut panicked = None;
        for (_, waker) in wakers {
            // Whatever one does the others are woken.
            let woken = catch_unwind(AssertUnwindSafe(|| waker.wake()));
            panicked = panicked.or(woken.err());
        }
        if let Some(panic) = panicked {
            resume_unwind(panic);
        }
    }

    /// Ends what waits: nothing more comes.
    pub(crate) fn close(&self) {
        self.state.lock().is_closed = true;
        self.wake();
    }

    pub(crate) fn poll(&self) -> Option<Delivered> {
        self.state.lock().take()
    }

    /// Waits for one, for so long; `None` too where the engine is closed.
    pub(crate) fn wait(&self, timeout: Option<Duration>) -> Option<Delivered> {
        let mut state = self.state.lock();
        let is_idle = |state: &mut State| !state.is_closed && state.is_empty();
        match timeout {
            Some(timeout) => {
                self.ready.wait_while_for(&mut state, is_idle, timeout);
            }
            None => self.ready.wait_while(&mut state, is_idle),
        }
        state.take()
    }

    /// Takes one, or has the task woken when there may be one.
    fn poll_task(&self, id: &mut Option<u64>, task: &Context<'_>) -> Poll<Option<Delivered>> {
        let waker = task.waker().clone();
        let mut state = self.state.lock();
        let taken = state.take();
        if taken.is_some() || state.is_closed {
            drop(state);
            return Poll::Ready(taken);
        }
        let id = *id.get_or_insert_with(|| {
            state.tasks = state.tasks.saturating_add(1);
            state.tasks
        });
        let known = state.wakers.iter().position(|(other, _)| *other == id);
        let before = known.map(|place| state.wakers.swap_remove(place));
        state.wakers.push((id, waker));
        drop(state);
        drop(before);
        Poll::Pending
    }

    fn forget_task(&self, id: u64) {
        let mut state = self.state.lock();
        let place = state.wakers.iter().position(|(other, _)| *other == id);
        let waker = place.map(|place| state.wakers.swap_remove(place));
        drop(state);
        drop(waker);
    }

    /// Notes that what was taken needs no other delivery; returns up to which number all was, where
    /// that is more than before.
    pub(crate) fn acknowledge(&self, taken: &Delivered) -> Option<u64> {
        let mut state = self.state.lock();
        let before = state.acknowledged();
        state.open.remove(&taken.number);
        let now = state.acknowledged();
        (now > before).then_some(now)
    }

    /// How many wait to be taken.
    pub(crate) fn waiting(&self) -> usize {
        let state = self.state.lock();
        state.alerts.len().saturating_sub(state.first_waiting())
    }

    pub(crate) fn page(&self, query: &AlertQuery) -> AlertPage {
        // Pages are cut while nobody waits for the lock under those of a decision.
        let alerts = self.copy(|| ()).1;
        query.page(alerts.iter().rev().map(|(number, alert)| (*number, alert)))
    }

    /// Erases the alerts that `is_it` is told of, taken or not, and returns how many.
    pub(crate) fn erase(&self, is_it: impl Fn(&Alert) -> bool) -> u64 {
        let state = &mut *self.state.lock();
        let before = state.alerts.len();
        let open = &mut state.open;
        state.alerts.retain(|(number, alert)| {
            let is_gone = is_it(alert);
            if is_gone {
                open.remove(number);
            }
            !is_gone
        });
        u64::try_from(before.saturating_sub(state.alerts.len())).unwrap_or(u64::MAX)
    }

    /// All that is known, and what is asked under the lock.
    pub(crate) fn copy<P>(&self, position: impl FnOnce() -> P) -> (P, Vec<(u64, Arc<Alert>)>) {
        let state = self.state.lock();
        (position(), state.alerts.iter().cloned().collect())
    }
}

impl State {
    /// Where in the list the first lies that was not taken.
    fn first_waiting(&self) -> usize {
        self.alerts.partition_point(|(number, _)| *number < self.next)
    }

    fn is_empty(&self) -> bool {
        self.alerts.back().is_none_or(|(last, _)| *last < self.next)
    }

    fn take(&mut self) -> Option<Delivered> {
        let (number, alert) = self.alerts.get(self.first_waiting())?.clone();
        self.next = number.saturating_add(1);
        self.open.insert(number);
        Some(Delivered { alert, missed: std::mem::take(&mut self.missed), number })
    }

    /// The number up to which all was acknowledged.
    fn acknowledged(&self) -> u64 {
        self.open.first().map_or(self.next, |first| *first)
    }

    /// Drops the oldest beyond the bound.
    fn bound(&mut self) {
        while self.alerts.len() > self.most {
            let Some((number, _)) = self.alerts.pop_front() else { return };
            self.open.remove(&number);
            if number >= self.next {
                self.next = number.saturating_add(1);
                self.missed = self.missed.saturating_add(1);
            }
        }
    }
}

/// A task that waits for alerts.
#[derive(Debug)]
pub(crate) struct Waiter {
    outbox: Arc<Outbox>,
    id: Option<u64>,
}

impl Waiter {
    pub(crate) fn new(outbox: &Arc<Outbox>) -> Self {
        Self { outbox: Arc::clone(outbox), id: None }
    }

    pub(crate) fn poll(&mut self, task: &Context<'_>) -> Poll<Option<Delivered>> {
        self.outbox.poll_task(&mut self.id, task)
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.outbox.forget_task(id);
        }
    }
}

/// The next alert, as a future for any runtime: `None` once the engine is closed and all is taken.
/// Dropping it takes nothing.
#[derive(Debug)]
#[must_use = "a future takes nothing unless it is polled"]
pub struct NextAlert(Waiter);

impl NextAlert {
    pub(crate) fn new(outbox: &Arc<Outbox>) -> Self {
        Self(Waiter::new(outbox))
    }
}

impl Future for NextAlert {
    type Output = Option<Delivered>;

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.poll(task)
    }
}

/// Alerts as they fire: [`next`](Iterator::next) blocks the thread until there is one, and returns
/// `None` once the engine is closed and all is taken. It does not keep the engine open.
#[derive(Clone, Debug)]
pub struct AlertIter(Arc<Outbox>);

impl AlertIter {
    pub(crate) fn new(outbox: &Arc<Outbox>) -> Self {
        Self(Arc::clone(outbox))
    }
}

impl Iterator for AlertIter {
    type Item = Delivered;

    fn next(&mut self) -> Option<Delivered> {
        self.0.wait(None)
    }
}
