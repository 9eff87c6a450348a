//! Waiting for room: `track` once the rules let an event in.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use self::waiter::{Reserve, Track, Verb, Waiter};
use crate::base::amount::IntoAmount;
use crate::base::clock::Clock;
use crate::base::clock::Timestamp;
use crate::base::clock::timer::{Sleep, ThreadTimer, Timer};
use crate::compiled::{CompiledRule, Matches};
use crate::counters::Moment;
use crate::decision::Decision;
use crate::engine::time::MonotonicTime;
use crate::engine::{Core, Engine, ReservationError, Reserved, TrackError, WaitError};
use crate::event::{DimensionHashes, Event, mix};
use crate::journal::Commit;
use crate::reservations::Hold;
use crate::rules::{Fold, Metric};
use crate::waiting::{Key, Keys, WaitingRoom};

mod blocking;
mod patience;
mod waiter;

impl Engine {
    /// Waits until the rules let an event in, and takes and records it then:
    /// [`track`](Self::track) once there is room.
    ///
    /// The decision is admitted, or the replay of an idempotency key, or, at once, the refusal of
    /// an event that [never](crate::RetryAfter::Never) passes. An event is let in by a decision as
    /// any other, and so never too early.
    ///
    /// **Order.** Who comes first (is polled first) is let in first. A waiter that a rule refuses
    /// holds up those that come later and add something to the same counter: many small events do
    /// not starve a large one. It holds up nobody on counters that have room for it. `track` and
    /// `record` do not wait and do not look at who does: they may overtake.
    ///
    /// **Cancelling.** Dropping the future gives up its place, and the next one's turn comes. It
    /// has taken nothing before it is ready. A future that is kept, and not polled when its task is
    /// woken, keeps its place, and holds up those behind it.
    ///
    /// **Waking.** A waiter is woken when its time has come by the [timer](crate::time::Timer) of
    /// the engine, when the one before it has gone, when something was given back (a negative
    /// amount, another amount of a `latest` meter, the end of a reservation), and when the rules
    /// change. It works in any async runtime.
    ///
    /// Where nobody waits it costs a `track`. Otherwise a waiter costs some three decisions,
    /// however many wait, and some 300 bytes while it waits, or 500 where it is the first of its
    /// key; a change of the rules wakes all. With a store whose calls are
    /// [`Synced`](crate::store::Durability::Synced) the task waits for the commit, too, and blocks
    /// no thread; dropping it then changes nothing.
    ///
    /// The future does not keep the engine open.
    ///
    /// ```
    /// use limitry::{Engine, Event, RateLimit, Window};
    ///
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    /// # runtime.block_on(async {
    /// let calls = RateLimit::new("Calls", 1_000, Window::Second).burst(1);
    /// let engine = Engine::builder().rate_limit(calls).build()?;
    /// for _ in 0..3 {
    ///     // Let in a millisecond after the one before it.
    ///     let decision = engine.wait(&Event::new("cust_123", "model_call")).await?;
    ///     assert!(decision.is_allowed());
    /// }
    /// # Ok::<(), limitry::Error>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The output is an error as of `track`; where the engine is [closed](WaitError::Closed); where
    /// [too many](WaitError::TooMany) wait already; where there is [no timer](WaitError::NoTimer).
    pub fn wait<'e, 'a>(&self, event: &'e Event<'a>) -> Wait<'e, 'a> {
        self.wait_by(event, None)
    }

    /// Waits as [`wait`](Self::wait) does, and answers the refusal at the deadline, by the engine's
    /// [time](Self::now), where the event was not let in by then.
    ///
    /// A deadline that is over makes it a `track` that does not overtake. Where the rules would let
    /// the event in at the deadline, but for others who wait before it, the refusal is by the rules
    /// on whose counters they do, and its `retry_after` is nothing.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn wait_until<'e, 'a>(
        &self,
        event: &'e Event<'a>,
        deadline: impl Into<Timestamp>,
    ) -> Wait<'e, 'a> {
        self.wait_by(event, Some(deadline.into()))
    }

    /// Waits as [`wait`](Self::wait) does, and blocks the thread.
    ///
    /// It needs no timer, but for the one that a clock [brings](crate::time::Clock::timer).
    ///
    /// # Errors
    /// As the output of [`wait`](Self::wait).
    pub fn wait_blocking(&self, event: &Event<'_>) -> Result<Decision, WaitError> {
        self.core.track_blocking(Waiter::new(&self.core, event, None))
    }

    /// Waits as [`wait_until`](Self::wait_until) does, and blocks the thread.
    ///
    /// # Errors
    /// As the output of [`wait`](Self::wait).
    pub fn wait_blocking_until(
        &self,
        event: &Event<'_>,
        deadline: impl Into<Timestamp>,
    ) -> Result<Decision, WaitError> {
        self.core.track_blocking(Waiter::new(&self.core, event, Some(deadline.into())))
    }

    fn wait_by<'e, 'a>(&self, event: &'e Event<'a>, deadline: Option<Timestamp>) -> Wait<'e, 'a> {
        let waiter = Waiter::new(&self.core, event, deadline);
        Wait { waiter, sleep: None, committing: None }
    }

    /// Waits until there is room for a reservation, and makes it: [`reserve`](Self::reserve) once
    /// the rules let the event in and its customer has not too many open. In all else it is as
    /// [`wait`](Self::wait): the end of another reservation wakes who waits for what it held.
    ///
    /// # Errors
    /// As [`wait`](Self::wait), and as `reserve` ([`WaitError::Reservation`]).
    pub fn wait_reserve<'e, 'a>(&self, event: &'e Event<'a>, hold: Hold) -> WaitReserve<'e, 'a> {
        let waiter = Waiter::new(&self.core, event, None);
        WaitReserve::new(waiter, hold)
    }

    /// Waits as [`wait_reserve`](Self::wait_reserve) does, and answers the refusal at the deadline,
    /// as [`wait_until`](Self::wait_until) does.
    ///
    /// # Errors
    /// As [`wait_reserve`](Self::wait_reserve).
    pub fn wait_reserve_until<'e, 'a>(
        &self,
        event: &'e Event<'a>,
        hold: Hold,
        deadline: impl Into<Timestamp>,
    ) -> WaitReserve<'e, 'a> {
        let waiter = Waiter::new(&self.core, event, Some(deadline.into()));
        WaitReserve::new(waiter, hold)
    }

    /// Waits as [`wait_reserve`](Self::wait_reserve) does, and blocks the thread.
    ///
    /// # Errors
    /// As [`wait_reserve`](Self::wait_reserve).
    pub fn wait_reserve_blocking(
        &self,
        event: &Event<'_>,
        hold: Hold,
    ) -> Result<Reserved, WaitError> {
        self.wait_reserve(event, hold).block()
    }

    /// Returns who waits.
    #[must_use]
    pub fn waiting(&self) -> Waiting {
        Waiting { room: Arc::clone(&self.core.waiting.room) }
    }
}

/// An event that waits to be let in: [`Engine::wait`].
///
/// It does not keep the engine open: its output is [`WaitError::Closed`] when the last handle is
/// dropped.
#[must_use = "nothing is waited for, and nothing taken, before it is polled"]
pub struct Wait<'e, 'a> {
    waiter: Waiter<'e, 'a>,
    /// Until the instant that the waiter has said.
    sleep: Option<(Moment, Sleep)>,
    /// The answer, and the commit that it waits for, where calls do that.
    committing: Option<Box<(Decision, Commit)>>,
}

impl fmt::Debug for Wait<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wait").field("event", self.waiter.event()).finish_non_exhaustive()
    }
}

impl Future for Wait<'_, '_> {
    type Output = Result<Decision, WaitError>;

    fn poll(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { waiter, sleep, committing } = self.get_mut();
        if committing.is_none() {
            let decision = match ready!(poll(&Track, waiter, sleep, task)) {
                Ok(decision) => decision,
                Err(why) => return Poll::Ready(Err(why)),
            };
            let seq = decision.seq();
            match waiter.core().and_then(|core| core.awaited(seq)) {
                None => return Poll::Ready(Ok(decision)),
                Some(commit) => *committing = Some(Box::new((decision, commit))),
            }
        }
        poll_commit(waiter, committing, task)
    }
}

/// Polls the commit that an answer waits for.
fn poll_commit<A>(
    waiter: &Waiter<'_, '_>,
    committing: &mut Option<Box<(A, Commit)>>,
    task: &Context<'_>,
) -> Poll<Result<A, WaitError>> {
    let Some((_, commit)) = committing.as_deref() else { return Poll::Pending };
    let committed = ready!(commit.poll(task));
    let Some(answer) = committing.take() else { return Poll::Pending };
    let acknowledged = match waiter.core() {
        Some(core) => core.acknowledged(committed),
        None => committed.map_err(TrackError::Store),
    };
    Poll::Ready(acknowledged.map(|()| answer.0).map_err(WaitError::Track))
}

/// An event that waits for room for a reservation: [`Engine::wait_reserve`]. As [`Wait`] is.
#[must_use = "nothing is waited for, and nothing held, before it is polled"]
pub struct WaitReserve<'e, 'a> {
    waiter: Waiter<'e, 'a>,
    sleep: Option<(Moment, Sleep)>,
    verb: Reserve<'a>,
    /// What was wrong with an amount.
    problem: Option<Box<ReservationError>>,
    /// As that of [`Wait`].
    committing: Option<Box<(Reserved, Commit)>>,
}

impl<'e, 'a> WaitReserve<'e, 'a> {
    fn new(waiter: Waiter<'e, 'a>, hold: Hold) -> Self {
        let verb = Reserve::new(hold);
        Self { waiter, sleep: None, verb, problem: None, committing: None }
    }

    /// Waits for room for this much of a metric in place of what the event brings, and holds it, as
    /// [`Engine::reserve_amount`] does.
    ///
    /// What is wrong with the metric or the amount is the output: [`WaitError::Track`].
    pub fn amount(mut self, metric: &Metric, amount: impl IntoAmount) -> Self {
        let event = self.waiter.event();
        match Engine::amount_of(event, metric, amount) {
            Ok((name, amount)) => {
                self.verb = Reserve::of_amount(self.verb.hold, event, name, amount);
            }
            Err(why) => self.problem = Some(Box::new(why)),
        }
        self
    }

    /// Waits, and blocks the thread. It needs no timer, but for the one that a clock
    /// [brings](crate::time::Clock::timer).
    ///
    /// # Errors
    /// As the output.
    pub fn block(self) -> Result<Reserved, WaitError> {
        if let Some(why) = self.problem {
            return Err(wrong(*why));
        }
        let core = self.waiter.core().ok_or(WaitError::Closed)?;
        let (reserved, seq) = core.block_on(&self.verb, self.waiter)?;
        core.acknowledge(seq).map_err(WaitError::Track)?;
        Ok(reserved)
    }
}

/// What is wrong with a reservation, as who waits is told it.
fn wrong(why: ReservationError) -> WaitError {
    match why {
        ReservationError::Track(why) => WaitError::Track(why),
        why => WaitError::Reservation(why),
    }
}

impl fmt::Debug for WaitReserve<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitReserve").field("event", self.waiter.event()).finish_non_exhaustive()
    }
}

impl Future for WaitReserve<'_, '_> {
    type Output = Result<Reserved, WaitError>;

    fn poll(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { waiter, sleep, verb, problem, committing } = self.get_mut();
        if let Some(why) = problem.take() {
            return Poll::Ready(Err(wrong(*why)));
        }
        if committing.is_none() {
            let (reserved, seq) = match ready!(poll(verb, waiter, sleep, task)) {
                Ok(answer) => answer,
                Err(why) => return Poll::Ready(Err(why)),
            };
            match waiter.core().and_then(|core| core.awaited(seq)) {
                None => return Poll::Ready(Ok(reserved)),
                Some(commit) => *committing = Some(Box::new((reserved, commit))),
            }
        }
        poll_commit(waiter, committing, task)
    }
}

/// Polls a waiter and its sleep.
fn poll<'a, V: Verb<'a>>(
    verb: &V,
    waiter: &mut Waiter<'_, 'a>,
    sleep: &mut Option<(Moment, Sleep)>,
    task: &mut Context<'_>,
) -> Poll<Result<V::Answer, WaitError>> {
    let mut is_due = is_over(sleep, task);
    loop {
        if let Some(answer) = waiter.turn(verb, task.waker(), is_due) {
            *sleep = None;
            return Poll::Ready(answer);
        }
        let Some(until) = waiter.until() else {
            *sleep = None;
            return Poll::Pending;
        };
        if sleep.as_ref().is_none_or(|(asked, _)| *asked != until) {
            match waiter.sleep(until) {
                Ok(new) => *sleep = Some((until, new)),
                Err(why) => return Poll::Ready(Err(why)),
            }
        }
        if !is_over(sleep, task) {
            return Poll::Pending;
        }
        if !waiter.is_due(until) {
            // The timer was too early: another sleep, when the task is polled again.
            task.waker().wake_by_ref();
            return Poll::Pending;
        }
        is_due = true;
    }
}

/// Whether a sleep is over; it is gone then.
fn is_over(sleep: &mut Option<(Moment, Sleep)>, task: &mut Context<'_>) -> bool {
    let is_over = sleep.as_mut().is_some_and(|(_, sleep)| sleep.as_mut().poll(task).is_ready());
    if is_over {
        *sleep = None;
    }
    is_over
}

/// Those who [wait](Engine::wait) in an engine: [`Engine::waiting`]. It may outlive the engine, and
/// does not keep it open.
#[derive(Clone)]
pub struct Waiting {
    room: Arc<WaitingRoom>,
}

impl Waiting {
    /// Returns how many wait now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.room.len()
    }

    /// Returns whether nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Ends all waits, those under way and those to come, with [`WaitError::Closed`]. Nothing else
    /// of the engine changes. So does dropping its last handle, and [closing] its store.
    ///
    /// [closing]: crate::handles::Store::close
    pub fn close(&self) {
        self.room.close();
    }
}

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiting").field("len", &self.len()).finish_non_exhaustive()
    }
}

/// What an engine has for those who wait. It closes with the engine.
pub(super) struct Waiters {
    pub(super) room: Arc<WaitingRoom>,
    /// The one that the builder was given or the clock has brought, or of a thread from the first
    /// waiting task on.
    timer: OnceLock<Arc<dyn Timer>>,
    /// The one that the clock has brought: threads sleep by it, too.
    of_clock: Option<Arc<dyn Timer>>,
}

impl Waiters {
    pub(super) fn new(max: usize, timer: Option<Arc<dyn Timer>>, clock: &dyn Clock) -> Self {
        let of_clock = clock.timer();
        let timer = timer.or_else(|| of_clock.clone()).map_or_else(OnceLock::new, OnceLock::from);
        Self { room: Arc::new(WaitingRoom::new(max)), timer, of_clock }
    }

    fn timer(&self) -> Result<&dyn Timer, WaitError> {
        if let Some(timer) = self.timer.get() {
            return Ok(timer);
        }
        let timer = ThreadTimer::start()
            .map_err(|why| WaitError::NoTimer { reason: why.to_string().into() })?;
        // Of two that come at once one is kept; the other one ends its thread.
        Ok(self.timer.get_or_init(|| Arc::new(timer)))
    }
}

impl Drop for Waiters {
    fn drop(&mut self) {
        self.room.close();
    }
}

impl Core {
    fn track_blocking(&self, waiter: Waiter<'_, '_>) -> Result<Decision, WaitError> {
        let answer = Ok(self.block_on(&Track, waiter)?);
        match self.unacknowledged(&answer) {
            Some(why) => Err(WaitError::Track(why)),
            None => answer.map_err(WaitError::Track),
        }
    }

    /// Wakes whom an event that was let in has made room for. Called with no lock held, for wakers
    /// are the caller's code.
    #[cold]
    pub(super) fn make_room(&self, event: &Event<'_>, answer: &Result<Decision, TrackError>) {
        if !answer.as_ref().is_ok_and(Decision::is_allowed) {
            return;
        }
        let snapshot = self.snapshot.load();
        if !event.brings_less_than_nothing() && !snapshot.has_latest {
            return;
        }
        let hashes = DimensionHashes::new(event, &self.hasher);
        let mut matches = Matches::default();
        // Whoever judges when, all rules that match have a counter.
        let any = self.table.timeline().at(Moment(0), None);
        snapshot.index.find(&hashes, &any, &mut matches);
        let mut keys = Keys::new();
        for rule in matches.rules().iter().filter_map(|found| snapshot.rule(found.rule)) {
            let cost = rule.measure.of(event);
            if cost.counts && (cost.units < 0 || rule.measure.fold() == Fold::Latest) {
                // Whether the key had a counter of its own is not known any more.
                keys.extend([false, true].map(|shared| self.key_of(rule, shared, event)));
            }
        }
        if !keys.is_empty() {
            self.waiting.room.gave_back(keys);
        }
    }

    /// Wakes whom the end of a hold has made room for. Called with no lock held.
    #[cold]
    pub(super) fn hold_ended(&self, estimate: &Event<'_>) {
        let snapshot = self.snapshot.load();
        let hashes = DimensionHashes::new(estimate, &self.hasher);
        let mut matches = Matches::default();
        // Whoever judges when, all rules that match have a counter.
        let any = self.table.timeline().at(Moment(0), None);
        snapshot.index.find(&hashes, &any, &mut matches);
        let rules = matches.rules().iter().filter_map(|found| snapshot.rule(found.rule));
        let of = |rule: &Arc<CompiledRule>| {
            [false, true].map(|shared| self.key_of(rule, shared, estimate))
        };
        let keys = rules.flat_map(of).chain([self.key_of_reservations(estimate)]);
        let keys: Keys = keys.collect();
        self.waiting.room.gave_back(keys);
    }

    /// What stands in the waiting room for how many reservations a customer may have open.
    fn key_of_reservations(&self, event: &Event<'_>) -> Key {
        mix(!0, self.hasher.hash_one(&*event.customer_id))
    }

    /// Of what the counters that an event goes to hang on beside it: the rules, and the attributes
    /// of customers. Both numbers only grow, but while the rules are changed, which wakes all; so
    /// their sum is the same where both are.
    fn version(&self) -> u64 {
        self.table.version().wrapping_add(self.attributes.changes())
    }

    /// Wakes all who wait: the rules have changed, or attributes that they name.
    pub(super) fn rules_changed(&self) {
        if !self.waiting.room.is_empty() {
            self.waiting.room.call_all();
        }
    }

    /// The counter of a rule that an event goes to, as the waiting room knows it: one of its own or
    /// the one that keys share. It stays the same while the rule keeps what it has counted.
    fn key_of(&self, rule: &CompiledRule, is_shared: bool, event: &Event<'_>) -> Key {
        let values = rule.partition.iter();
        let values = values.map(|dimension| dimension.of(event).or_else(|| rule.fallback()));
        self.key_of_values(rule, is_shared, values)
    }

    /// The same of the values of a key.
    fn key_of_values<'v>(
        &self,
        rule: &CompiledRule,
        is_shared: bool,
        values: impl Iterator<Item = Option<&'v str>>,
    ) -> Key {
        let counter = mix(u64::from(is_shared), u64::from(rule.counter.lineage()));
        if is_shared {
            return counter;
        }
        values.fold(counter, |key, value| {
            mix(key, value.map_or(0, |value| self.hasher.hash_one(value)))
        })
    }

    /// Wakes whom an adjustment of a rule's key has made room for. Called with no lock held.
    pub(super) fn adjusted(&self, rule: &CompiledRule, values: &[&str]) {
        if !self.waiting.room.is_empty() {
            let values = values.iter().map(|value| Some(*value));
            self.waiting.room.gave_back([self.key_of_values(rule, false, values)]);
        }
    }

    /// What the clock shows, and how long it takes until then, when the engine's time is a moment.
    fn clock_at(&self, moment: Moment) -> (Timestamp, Duration) {
        let asked = self.read_clock().asked;
        let offset = self.monotonic.as_ref().map_or(0, MonotonicTime::offset);
        let shown = Moment(moment.0.saturating_sub(offset));
        (self.table.timeline().timestamp(shown), moment.since(asked))
    }
}
