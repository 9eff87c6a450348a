//! The steps of a reservation, each one decision under the locks of the rows that it is about.

use std::borrow::Cow;
use std::sync::Arc;

use parking_lot::MutexGuard;

use super::{Asking, Granted, Made, ReservationError, check, nanos};
use crate::compiled::{CompiledRule, Exception, Insisting, Matches, Snapshot, Times};
use crate::counters::{
    At, Committed as Charged, Extension, Held, History, Holding, Intent, Moment, Request, Settling,
    Undecided, Verdict,
};
use crate::decision::{Decision, HeldAnswer, Receipt, ReservationId};
use crate::engine::store::{Ending, RecordBytes};
use crate::engine::time::ClockReading;
use crate::engine::{Core, Costs, TrackError, is_over, missing_dimension, too_late};
use crate::event::{DimensionHashes, Event};
use crate::journal::ReservationOut;
use crate::reservations::{Entry, Estimate, Phase, ReservationState, ReservationStatus, State};
use crate::rules::{Cost, Fold};

/// A script over the rows of a decision.
struct Script<'s, 'e> {
    /// What finds the rules.
    event: &'s Event<'e>,
    intent: Intent,
    at: At,
    /// What the clock showed.
    asked: Moment,
    /// Rows that are locked beside those of the rules that match.
    held: Option<&'s Held>,
    /// It is about the rows that are held, and no rule.
    is_bare: bool,
}

impl Core {
    /// Holds what an event is estimated to cost.
    pub(super) fn hold(
        &self,
        event: &Event<'_>,
        asking: Asking,
        granted: Option<Granted<'_, '_>>,
        made: &mut Option<Made>,
    ) -> Result<Decision, TrackError> {
        let Asking { lasting, now, key } = asking;
        // Until it is known to whoever copies what is.
        let _making = self.has_store().then(|| self.reservations.make());
        let mut customer = self.reservations.of_customer(event.customer_id(), now.moment);
        let max_open = self.reservations.max_open;
        if let Some((_, first)) = customer
            .open()
            .filter(|(open, _)| *open >= max_open && *open >= self.snapshot.load().most_slots)
        {
            let mut decision = self.decide(event, Intent::Check, now, None)?;
            decision.say(HeldAnswer { too_many: Some(first), ..HeldAnswer::default() });
            return Ok(decision);
        }
        if let Some(timestamp) = event.happened_at() {
            self.check_not_ahead(timestamp, now)?;
        }
        let id = self.reservations.next_id();
        let (held, until) = (Held::default(), Moment(0));
        let mut holding =
            Holding { id: id.number(), lasting: Some(lasting), until, held, has_expired: false };
        let at = self.table.timeline().at(now.moment, event.happened_at());
        let (intent, asked) = (Intent::Reserve, now.asked);
        let script = Script { event, intent, at, asked, held: None, is_bare: false };
        let mut decision = self.run(
            &script,
            |rule| of_estimate(rule, event),
            |request, verdict, keep| self.table.reserve(request, verdict, &mut holding, Some(keep)),
            |_, charged, rules| {
                let what = |grant| ReservationOut::Reserved { id, grant };
                match granted {
                    None => self.keep_reservation(what(None), Some(event), key, charged, rules),
                    Some((asked, grant)) => {
                        self.keep_reservation(what(Some(grant)), Some(asked), key, charged, rules)
                    }
                }
            },
        )?;
        if !decision.is_allowed() {
            return Ok(decision);
        }
        decision.say(HeldAnswer { id: Some(id), ..HeldAnswer::default() });
        let (made_at, until) = (decision.at().now, holding.until);
        let timestamp = event.happened_at();
        let timestamp = timestamp.unwrap_or_else(|| self.table.timeline().timestamp(made_at));
        let (estimate, phase) = (Estimate::new(event, timestamp), Phase::Open(holding.held));
        let state = State { estimate, until, phase };
        let entry = Arc::new(Entry::new(id, (made_at, timestamp), &customer, state));
        customer.opened(until, id.number());
        self.reservations.keep(entry, until);
        let expires_at = self.table.timeline().timestamp(until);
        *made = Some(Made { id, expires_at, granted: None });
        Ok(decision)
    }

    /// Commits what happened; without an event what was reserved.
    pub(super) fn commit(
        &self,
        id: ReservationId,
        actual: Option<&Event<'_>>,
    ) -> Result<Decision, ReservationError> {
        if let Some(actual) = actual {
            actual.validate()?;
        }
        self.admit()?;
        let entry = self.entry(id)?;
        let now = self.read_clock();
        let cost = actual.map(|it| self.price(it, || entry.timestamp)).transpose()?.flatten();
        let priced = actual.zip(cost).map(|(actual, cost)| actual.priced(cost));
        let mut state = entry.state.lock();
        let committed = if let Some(priced) = &priced {
            self.commit_once(&entry, &mut state, priced, now)
        } else if let Some(actual) = actual {
            self.commit_once(&entry, &mut state, actual, now)
        } else {
            let estimate = state.estimate.clone();
            self.commit_once(&entry, &mut state, &estimate.event(), now)
        };
        if committed.as_ref().is_ok_and(Decision::is_allowed) {
            self.let_in(state);
        } else {
            drop(state);
        }
        self.tell_of_alerts();
        let decision = committed?;
        self.is_put(decision.seq())?;
        self.acknowledge(decision.seq())?;
        Ok(decision)
    }

    /// Wakes who waits for room that the end of a hold has made: wakers are the caller's code.
    fn let_in(&self, state: MutexGuard<'_, State>) {
        if !self.waiting.room.is_empty() {
            let estimate = state.estimate.clone();
            drop(state);
            self.hold_ended(&estimate.event());
        }
    }

    fn commit_once(
        &self,
        entry: &Entry,
        state: &mut State,
        actual: &Event<'_>,
        now: ClockReading,
    ) -> Result<Decision, ReservationError> {
        let id = entry.id;
        check::is_of(actual, entry, &state.estimate)?;
        let fingerprint = self.keys.fingerprint(actual);
        let held = match &state.phase {
            Phase::Open(held) => held,
            Phase::Committed { fingerprint: first, answer } if first.is_same(fingerprint) => {
                return Ok(answer.replay(id, self.table.timeline()));
            }
            Phase::Committed { answer, .. } => {
                return Err(ReservationError::Conflict { id, first: answer.event_id() });
            }
            Phase::Recorded { seq, record } => {
                return self.committed_again(id, (*seq, record), actual);
            }
            Phase::Released => return Err(ended(id, ReservationState::Released, "committed")),
        };
        let event = if self.ledger.is_some() || self.has_store() {
            let key = state.estimate.key().map(|key| key.to_owned().into());
            let timestamp = Some(entry.timestamp);
            Cow::Owned(Event { timestamp, idempotency_key: key, ..actual.clone() })
        } else {
            Cow::Borrowed(actual)
        };
        let event = self.with_attributes_of(&state.estimate, event)?;
        let (decision, record) = self.settle(entry, (state.until, held), &event, now)?;
        let phase = match (decision.seq(), record) {
            (Some(seq), Some(record)) => Phase::Recorded { seq, record },
            _ => Phase::Committed { fingerprint, answer: decision.kept() },
        };
        self.is_over(entry, state, phase);
        Ok(decision)
    }

    /// Charges what happened, and gives back the rest of what is held; with the record of the event
    /// where there is a store.
    fn settle(
        &self,
        entry: &Entry,
        (until, held): (Moment, &Held),
        event: &Event<'_>,
        now: ClockReading,
    ) -> Result<(Decision, Option<RecordBytes>), TrackError> {
        let timeline = self.table.timeline();
        let mut ending = Ending { number: entry.id.number(), record: None };
        let at = timeline.at(now.moment, Some(entry.timestamp));
        let age = now.moment.0.saturating_sub(timeline.moment(entry.timestamp).0);
        let (id, intent, asked) = (entry.id, Intent::Commit, now.asked);
        let script = Script { event, intent, at, asked, held: Some(held), is_bare: false };
        let mut is_overrun = false;
        let mut decision = self.run(
            &script,
            |rule| of_actual(rule, event, age),
            |request, verdict, keep| {
                let mut settling = settling(id, until, held);
                let settled = self.table.settle(request, verdict, &mut settling, Some(keep));
                is_overrun = settling.is_overrun;
                settled
            },
            |hashes, charged, rules| {
                self.keep_ending(hashes, None, Some(&mut ending), charged, rules)
            },
        )?;
        decision.say(HeldAnswer { id: Some(id), is_overrun, ..HeldAnswer::default() });
        Ok((decision, ending.record))
    }

    pub(in crate::engine) fn release(
        &self,
        id: ReservationId,
    ) -> Result<ReservationStatus, ReservationError> {
        self.admit()?;
        let (status, released) = self.release_at_once(id)?;
        if let Some(decision) = released {
            self.is_put(decision.seq())?;
            self.acknowledge(decision.seq())?;
        }
        Ok(status)
    }

    /// Gives all back in memory; with the decision that did, where this call has.
    pub(super) fn release_at_once(
        &self,
        id: ReservationId,
    ) -> Result<(ReservationStatus, Option<Decision>), ReservationError> {
        let entry = self.entry(id)?;
        let now = self.read_clock();
        let mut guard = entry.state.lock();
        let state = &mut *guard;
        let (released, at) = match &state.phase {
            Phase::Committed { .. } | Phase::Recorded { .. } => {
                return Err(ended(id, ReservationState::Committed, "released"));
            }
            Phase::Released => (None, now.moment),
            Phase::Open(held) => {
                let (decision, has_expired) = self.give_up(id, state, held, now)?;
                // Another may have seen a later time than this call.
                let at = decision.at().now;
                ((!has_expired).then_some(decision), at)
            }
        };
        if released.is_some() {
            self.is_over(&entry, state, Phase::Released);
        }
        let status = self.status(&entry, state, at);
        if released.is_some() {
            self.let_in(guard);
        }
        Ok((status, released))
    }

    /// Gives all back that an open reservation holds; says whether it had expired.
    fn give_up(
        &self,
        id: ReservationId,
        state: &State,
        held: &Held,
        now: ClockReading,
    ) -> Result<(Decision, bool), TrackError> {
        let what = ReservationOut::Released { number: id.number() };
        let mut has_expired = false;
        let decision = self.run_on_hold(what, (state, held), now, |request, verdict, keep| {
            let mut settling = settling(id, state.until, held);
            let settled = self.table.settle(request, verdict, &mut settling, Some(keep));
            has_expired = settling.has_expired;
            settled
        })?;
        Ok((decision, has_expired))
    }

    pub(super) fn extend(
        &self,
        id: ReservationId,
        by: std::time::Duration,
    ) -> Result<Moment, ReservationError> {
        let lasting = nanos(by)?;
        self.admit()?;
        let entry = self.entry(id)?;
        let now = self.read_clock();
        let mut guard = entry.state.lock();
        let state = &mut *guard;
        let (until, decision) = self.put_off(&entry, state, lasting, now)?;
        self.reservations.moved(&entry, state.until, Some(until));
        state.until = until;
        drop(guard);
        self.is_put(decision.seq())?;
        self.acknowledge(decision.seq())?;
        Ok(until)
    }

    /// Lets an open reservation expire so much later than now.
    fn put_off(
        &self,
        entry: &Entry,
        state: &State,
        lasting: u64,
        now: ClockReading,
    ) -> Result<(Moment, Decision), ReservationError> {
        let held = must_be_open(entry, state, now, "extended")?;
        let (number, until) = (entry.id.number(), state.until);
        let what = ReservationOut::Extended { number };
        let mut extended = None;
        let decision = self.run_on_hold(what, (state, held), now, |request, verdict, keep| {
            let mut extension = Extension { id: number, until, lasting, held, extended: None };
            let done = self.table.extend(request, verdict, &mut extension, Some(keep));
            extended = extension.extended;
            done
        })?;
        let expired = || ended(entry.id, ReservationState::Expired, "extended");
        Ok((extended.ok_or_else(expired)?, decision))
    }

    pub(super) fn grow(
        &self,
        id: ReservationId,
        more: &Event<'_>,
    ) -> Result<Decision, ReservationError> {
        more.validate()?;
        self.admit()?;
        let entry = self.entry(id)?;
        let now = self.read_clock();
        let cost = self.cost_of_more(&entry, more)?;
        let priced = cost.map(|cost| more.priced(cost));
        let mut guard = entry.state.lock();
        let state = &mut *guard;
        let (decision, grown) = match &priced {
            Some(priced) => self.take_more(&entry, state, priced, now)?,
            None => self.take_more(&entry, state, more, now)?,
        };
        if decision.is_allowed() {
            (state.estimate, state.phase) = grown;
            drop(guard);
            self.is_put(decision.seq())?;
            self.acknowledge(decision.seq())?;
        } else {
            let asked = check::with_values_of(&state.estimate.event(), more).into_owned();
            drop(guard);
            self.note_refusal_of(&asked, &decision);
        }
        Ok(decision)
    }

    /// Takes more for an open reservation. Returns how it stands where that was let in, too.
    fn take_more(
        &self,
        entry: &Entry,
        state: &State,
        more: &Event<'_>,
        now: ClockReading,
    ) -> Result<(Decision, (Estimate, Phase)), ReservationError> {
        let (id, until, estimate) = (entry.id, state.until, state.estimate.event());
        check::grows(more, &estimate)?;
        let sum = check::sum(&estimate, more)?;
        let grown = Estimate::new(&sum, entry.timestamp);
        let reserved = Event { timestamp: Some(entry.timestamp), ..sum };
        let held = must_be_open(entry, state, now, "grown")?.clone();
        let more = check::with_values_of(&estimate, more);
        let at = self.table.timeline().at(now.moment, Some(entry.timestamp));
        let (intent, asked) = (Intent::Reserve, now.asked);
        let script = Script { event: &more, intent, at, asked, held: None, is_bare: false };
        let mut holding =
            Holding { id: id.number(), lasting: None, until, held, has_expired: false };
        let mut decision = self.run(
            &script,
            |rule| of_growth(rule, &more),
            |request, verdict, keep| self.table.reserve(request, verdict, &mut holding, Some(keep)),
            |_, charged, rules| {
                let what = ReservationOut::Grown { number: id.number() };
                self.keep_reservation(what, Some(&reserved), None, charged, rules)
            },
        )?;
        if holding.has_expired {
            return Err(ended(id, ReservationState::Expired, "grown"));
        }
        decision.say(HeldAnswer { id: Some(id), ..HeldAnswer::default() });
        Ok((decision, (grown, Phase::Open(holding.held))))
    }

    /// Ends a reservation, and lets go of what only an open one needs.
    #[inline]
    fn is_over(&self, entry: &Entry, state: &mut State, phase: Phase) {
        state.phase = phase;
        self.reservations.moved(entry, state.until, None);
    }

    pub(super) fn status_of(&self, entry: &Entry, now: Moment) -> ReservationStatus {
        self.status(entry, &entry.state.lock(), now)
    }

    fn status(&self, entry: &Entry, state: &State, now: Moment) -> ReservationStatus {
        let event_id = match &state.phase {
            Phase::Committed { answer, .. } => answer.event_id(),
            Phase::Recorded { seq, record } => self.event_of(*seq, record),
            Phase::Released | Phase::Open(_) => None,
        };
        ReservationStatus {
            id: entry.id,
            state: state.at(now),
            estimate: state.estimate.event().into_owned(),
            timestamp: entry.timestamp,
            expires_at: self.table.timeline().timestamp(state.until),
            event_id,
        }
    }

    /// Decides about matches that are none of the everyday kind.
    #[cold]
    pub(in crate::engine) fn decide_exception(
        &self,
        event: &Event<'_>,
        intent: Intent,
        now: ClockReading,
        costs: Costs,
        key: Option<u64>,
    ) -> Result<Decision, TrackError> {
        let (at, asked) = (self.table.timeline().at(now.moment, event.happened_at()), now.asked);
        let script = Script { event, intent, at, asked, held: None, is_bare: false };
        self.run(
            &script,
            |rule| costs.of(event, rule),
            |request, verdict, keep| self.table.decide_by_time(request, verdict, Some(keep)),
            |hashes, charged, rules| self.keep(hashes, key, charged, rules),
        )
    }

    /// Runs a script about what an open reservation holds, and no event.
    fn run_on_hold(
        &self,
        what: ReservationOut<'_>,
        (state, held): (&State, &Held),
        now: ClockReading,
        run: impl FnMut(
            &Request<'_, '_>,
            &mut Verdict,
            &mut dyn FnMut(&Charged<'_>),
        ) -> Result<(), Undecided>,
    ) -> Result<Decision, TrackError> {
        let at = self.table.timeline().at(now.moment, None);
        let (intent, asked, event) = (Intent::Commit, now.asked, &state.estimate.event());
        let script = Script { event, intent, at, asked, held: Some(held), is_bare: true };
        self.run(
            &script,
            |_| Cost::NOTHING,
            run,
            |_, charged, rules| self.keep_reservation(what, None, None, charged, rules),
        )
    }

    /// Runs a script by the rule set in force, from the start again where that changes.
    fn run(
        &self,
        script: &Script<'_, '_>,
        cost: impl Fn(&CompiledRule) -> Cost,
        mut run: impl FnMut(
            &Request<'_, '_>,
            &mut Verdict,
            &mut dyn FnMut(&Charged<'_>),
        ) -> Result<(), Undecided>,
        mut keep: impl FnMut(&DimensionHashes<'_, '_>, &Charged<'_>, &Snapshot) -> Receipt,
    ) -> Result<Decision, TrackError> {
        let Script { event, intent, at, .. } = *script;
        let timeline = self.table.timeline();
        let mut decision = Decision::pending();
        let hashes = DimensionHashes::new(event, &self.hasher);
        let is_recorded = self.ledger.is_some();
        loop {
            let is_current = |snapshot: &Snapshot| snapshot.version == self.table.version();
            let (verdict, snapshot) = decision.parts(is_current, || self.snapshot.load_full());
            verdict.at = at;
            verdict.ahead.clear();
            let in_order;
            let mut receipt = Receipt::default();
            let times;
            let mut insisting = Insisting::new();
            let decided = {
                let mut matches = Matches::default();
                if !script.is_bare {
                    snapshot.index.find_with_insisting(&hashes, &at, &mut matches, &mut insisting);
                }
                in_order = matches.are_in_order();
                times = ask(script, snapshot, (&matches, &insisting), &cost, verdict)?;
                if let Some(held) = script.held {
                    held.add_rows(&mut matches.rows);
                }
                let recorded = self.known_use(snapshot);
                let request = Request {
                    counters: &snapshot.counters,
                    intent,
                    rows: &matches.rows,
                    history: recorded.as_ref().map(|recorded| recorded as &dyn History),
                };
                let mut keep = |charged: &Charged<'_>| receipt = keep(&hashes, charged, snapshot);
                let decided = run(&request, verdict, &mut keep);
                if !self.adjustments.is_empty() {
                    self.say_adjusted(verdict, &matches.rows, snapshot);
                }
                decided
            };
            match decided {
                Ok(()) => {
                    if let Some(times) = &times {
                        decision.foresee(times, &insisting, timeline, is_recorded);
                    }
                    decision.complete(receipt, script.asked, timeline, is_recorded, in_order);
                    return Ok(decision);
                }
                // The rules are being changed: look again.
                Err(Undecided::Stale) => std::thread::yield_now(),
                Err(Undecided::TooLate { rule, now }) => {
                    let (rule, now) = (snapshot.rule(rule), timeline.timestamp(now));
                    return Err(too_late(rule, event.happened_at(), now).into());
                }
            }
        }
    }
}

/// Asks the rules that match. Returns when they judge, where that hangs on the time.
fn ask(
    script: &Script<'_, '_>,
    snapshot: &Snapshot,
    (matches, insisting): (&Matches<'_>, &[u32]),
    cost: impl Fn(&CompiledRule) -> Cost,
    verdict: &mut Verdict,
) -> Result<Option<Arc<Times>>, TrackError> {
    let Script { event, intent, .. } = *script;
    if let Exception::Refused(rule) = matches.exception
        && !intent.is_forced()
        && let Some(compiled) = snapshot.rule(rule)
    {
        return Err(missing_dimension(compiled, event).into());
    }
    let cost = |rule| snapshot.rule(rule).map_or(Cost::NOTHING, |rule| cost(rule));
    let rules = matches.rules();
    let times = snapshot.index.times();
    let all = || rules.iter().map(|found| found.rule).chain(insisting.iter().copied());
    let times = times.filter(|times| times.bear_on(all()));
    match times {
        None if matches.exception != Exception::Unique => verdict.ask(intent, rules, cost),
        _ => verdict.ask_all(rules, cost),
    }
    Ok(times.cloned())
}

fn settling(id: ReservationId, until: Moment, held: &Held) -> Settling<'_> {
    let (id, costs) = (id.number(), [].into_iter().collect());
    Settling { id, until, held, costs, is_overrun: false, has_expired: false }
}

fn ended(id: ReservationId, state: ReservationState, verb: &'static str) -> ReservationError {
    ReservationError::Ended { id, state, verb }
}

/// What an open reservation holds where.
fn must_be_open<'s>(
    entry: &Entry,
    state: &'s State,
    now: ClockReading,
    verb: &'static str,
) -> Result<&'s Held, ReservationError> {
    match (&state.phase, state.at(now.moment)) {
        (Phase::Open(held), ReservationState::Held) => Ok(held),
        (_, other) => Err(ended(entry.id, other, verb)),
    }
}

/// What a reservation takes of a rule.
fn of_estimate(rule: &CompiledRule, event: &Event<'_>) -> Cost {
    match rule.measure.fold() {
        Fold::Slots => Cost { units: 1, counts: true },
        _ => rule.measure.of(event),
    }
}

/// What it takes when it grows: values alone, and a gauge is not asked again.
fn of_growth(rule: &CompiledRule, more: &Event<'_>) -> Cost {
    match (rule.measure.fold(), rule.measure.value()) {
        (Fold::Slots | Fold::Max | Fold::Latest, _) | (_, None) => Cost::NOTHING,
        _ => rule.measure.of(more),
    }
}

/// What the event that happened costs a rule. It happened until now, so that a rate limit counts it
/// however long ago it began; a rolling quota goes by the time of the reserve.
fn of_actual(rule: &CompiledRule, event: &Event<'_>, age: u64) -> Cost {
    match rule.measure.fold() {
        Fold::Slots => Cost::NOTHING,
        _ if age > 0 && !rule.rule.is_rate_limit() && is_over(age, false, rule) => Cost::NOTHING,
        _ => rule.measure.of(event),
    }
}
