//! Goal: step by step, the engine answers what the definitions say, for every algorithm and every
//! verb, while rules come, change and go and the clock is moved both ways.
//!
//! Method: a random world of rules and a random list of steps run through the engine and through
//! the oracle (`support/oracle`), which judges each answer in full. Steps name rules and
//! events by number, modulo what is there, so that any sublist of steps is a legal run and a
//! failure shrinks to the few steps that matter. The seed is fixed; `LIMITRY_SEED` and
//! `LIMITRY_CASES` vary it, and seeds that once failed are kept in `model.proptest-regressions`.

mod credits;
mod operators;
pub(crate) mod steps;

use self::steps::*;
use crate::support::oracle::{
    Answer, DAY, Fault, Kind, MINUTE, Measure, Missing, Nanos, OwnCalendar, PlainAdjust,
    PlainEvent, PlainReserved, Reservation as Known, Rule, SECOND, Span, State, Verdict, Wait,
    period,
};
use crate::support::{Pair, START, add, cases, change, duration, event, rule_set, seed};
use limitry::reservations::ReservationId;
use limitry::time::Tz;
use limitry::{Hold, Reservation};
use proptest::prelude::*;
use proptest::test_runner::{
    Config, FileFailurePersistence, RngAlgorithm, TestError, TestRng, TestRunner,
};
use std::cell::RefCell;
use std::collections::BTreeMap;

/// How often something was met over all runs: a search that meets nothing proves nothing.
type Met = RefCell<BTreeMap<&'static str, u32>>;

/// What every search of a thousand runs or more has to meet.
const DUE: [&str; 58] = [
    "time of a rule",
    "allowed",
    "refused",
    "refused for ever",
    "exceeded, not refused",
    "replay",
    "conflict",
    "bad event",
    "recorded",
    "checked",
    "stood",
    "passed after a wait",
    "clock set back",
    "rule added",
    "rule changed",
    "rule removed",
    "rules synced",
    "reserved",
    "not reserved",
    "reserved again",
    "bad reserve",
    "grown",
    "not grown",
    "bad growth",
    "committed",
    "overrun",
    "committed late",
    "committed again",
    "bad commit",
    "released",
    "dropped",
    "to an expiry",
    "a rule changed under a hold",
    "all granted",
    "granted",
    "adjusted",
    "reset",
    "not adjusted",
    "archived",
    "restored",
    "calendar",
    "attribute",
    "customer removed",
    "balance made",
    "balance not made",
    "balance removed",
    "credited",
    "debited",
    "not debited",
    "not posted",
    "to the expiry of a grant",
    "a grant expired",
    "paid by grants together",
    "held of a balance",
    "below its minimum",
    "alert",
    "alerts together",
    "low balance",
];

/// A run of both sides.
struct Run<'m> {
    met: &'m Met,
    pair: Pair,
    /// How many rules there were ever, for their ids.
    rules: usize,
    keyed: Vec<PlainEvent>,
    retry_at: Option<Nanos>,
    reserved: Vec<Handle>,
    /// The engine has a store.
    stores: bool,
    /// There may be balances.
    pays: bool,
}

/// A reservation of the run, with its guard as long as that is there.
struct Handle {
    id: ReservationId,
    guard: Option<Reservation>,
    charge_on_drop: bool,
}

impl<'m> Run<'m> {
    fn new(mut rules: Vec<Rule>, stores: bool, met: &'m Met) -> Self {
        for (number, rule) in rules.iter_mut().enumerate() {
            christen(rule, number);
        }
        // A set lists its rate limits first, and that is the order of their age.
        rules.sort_by_key(|rule| !rule.kind.is_rate());
        Run {
            met,
            rules: rules.len(),
            pair: if stores { Pair::with_a_store(&rules) } else { Pair::without_a_record(&rules) },
            stores,
            pays: false,
            keyed: Vec::new(),
            retry_at: None,
            reserved: Vec::new(),
        }
    }

    fn step(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Track(plain, dating) => {
                let plain = self.dated(plain, *dating);
                let answer = self.pair.track(&plain)?;
                self.note(&plain, &answer);
            }
            Step::Record(plain, dating) => {
                let plain = self.dated(plain, *dating);
                let answer = self.pair.record(&plain)?;
                self.meet("recorded");
                self.note(&plain, &answer);
            }
            Step::Check(plain, dating) => {
                let plain = self.dated(plain, *dating);
                self.pair.check(&plain).map(drop)?;
                self.meet("checked");
            }
            Step::Standing(plain) => {
                if self.pair.oracle.refuses_what_lacks(plain) {
                    return match self.pair.engine.standing(&event(plain)) {
                        Err(_) => Ok(()),
                        Ok(stood) => Err(format!("expected a bad event, not {stood:?}")),
                    };
                }
                self.pair.standing(plain).map(drop)?;
                self.meet("stood");
            }
            Step::Batch(plain_events) => {
                let answers = self.pair.track_batch(plain_events)?;
                plain_events
                    .iter()
                    .zip(&answers)
                    .for_each(|(plain, answer)| self.note(plain, answer));
            }
            Step::Again { which, verb, how } => {
                let Some(plain) = chosen(&self.keyed, *which).cloned() else { return Ok(()) };
                let plain = self.again(plain, *how);
                let answer = match verb {
                    Verb::Track => self.pair.track(&plain)?,
                    Verb::Record => self.pair.record(&plain)?,
                    Verb::Reserve => return self.reserve(&plain, MINUTE, false, None),
                };
                self.note(&plain, &answer);
            }
            Step::Reserve { plain, dating, lasting, charge_on_drop, up_to } => {
                let plain = self.dated(plain, *dating);
                self.reserve(&plain, *lasting, *charge_on_drop, up_to.as_ref())?;
            }
            Step::Grow(..)
            | Step::Extend(..)
            | Step::Commit { .. }
            | Step::Release { .. }
            | Step::Drop(_)
            | Step::Forget(_)
            | Step::ToExpiry(..) => self.go_on(step)?,
            Step::Forward(length) => self.pair.advance(*length),
            // A clock that is set back while no engine runs is another matter.
            Step::Backward(_) if self.stores => {}
            Step::Restart(how) => {
                if self.stores {
                    let guards = self.reserved.iter_mut().filter_map(|known| known.guard.take());
                    guards.for_each(|guard| _ = guard.into_id());
                    self.pair.restart(*how);
                    self.meet("restarted");
                }
            }
            Step::Backward(length) => {
                self.set(self.pair.now() - length);
                self.meet("clock set back");
            }
            Step::ToRetry(beside) => {
                if let Some(at) = self.retry_at {
                    self.set(at + i128::from(*beside));
                }
            }
            Step::ToEnd(span, beside) => {
                let end = period(*span, self.pair.now()).1;
                self.set(end.expect("these spans end") + i128::from(*beside));
            }
            Step::ToTime(which, end, beside) => {
                let rule = self.chosen_rule(*which);
                let edge = rule.and_then(|rule| if *end { rule.ends } else { rule.starts });
                if let Some(edge) = edge {
                    self.set(edge + i128::from(*beside));
                    self.meet("time of a rule");
                }
            }
            Step::Add(rule) => {
                let mut rule = rule.clone();
                christen(&mut rule, self.rules);
                self.rules += 1;
                self.pair.add(&rule);
                self.meet("rule added");
            }
            Step::Change(which, edit) => self.change(*which, edit)?,
            Step::Remove(which) => {
                if let Some(rule) = self.chosen_rule(*which) {
                    self.pair.remove(&rule.id);
                    self.meet("rule removed");
                }
            }
            Step::Sync(change) => self.sync(change.as_ref())?,
            Step::Operate(what) => self.operate(what)?,
            Step::Pay(what) => self.pay(what)?,
        }
        self.meet_alerts()?;
        if self.pays {
            self.meet_balances();
            self.pair.same_balances()?;
        }
        self.same_time()
    }

    /// Sets the clock, of an engine with a store never back.
    fn set(&mut self, instant: Nanos) {
        let now = self.pair.now();
        self.pair.set(if self.stores { instant.max(now) } else { instant });
    }

    fn reserve(
        &mut self,
        plain: &PlainEvent,
        lasting: Nanos,
        charge_on_drop: bool,
        up_to: Option<&(Measure, u64)>,
    ) -> Result<(), String> {
        let hold = Hold::lasting(duration(lasting));
        let hold = if charge_on_drop { hold.charge_on_drop() } else { hold };
        let (answer, guard) = match up_to {
            None => self.pair.reserve(plain, hold)?,
            Some((measure, quarters)) => {
                let all = plain.units(measure);
                self.pair.reserve_up_to(plain, (measure, all * quarters / 4), hold)?
            }
        };
        if let Some(granted) = guard.as_ref().and_then(Reservation::granted) {
            let asked = up_to.map(|(measure, _)| plain.units(measure));
            self.meet(if asked == Some(granted.to_u64_floor()) {
                "all granted"
            } else {
                "granted"
            });
        }
        match &answer {
            Ok(PlainReserved::Held { .. }) => {
                self.meet("reserved");
                if plain.key.is_some() {
                    self.keyed.push(plain.clone());
                }
            }
            Ok(PlainReserved::Refused(seen)) => {
                self.meet("not reserved");
                self.note(plain, &Ok(seen.clone()));
            }
            Ok(PlainReserved::Known(_) | PlainReserved::Decided(_)) => {
                self.meet("reserved again");
            }
            Err(_) => self.meet("bad reserve"),
        }
        if let Some(guard) = guard {
            let id = guard.id();
            self.reserved.push(Handle { id, guard: Some(guard), charge_on_drop });
        }
        self.stands(plain)
    }

    /// Does something with a reservation that there is.
    fn go_on(&mut self, step: &Step) -> Result<(), String> {
        let (Step::Grow(which, _)
        | Step::Extend(which, _)
        | Step::Commit { which, .. }
        | Step::Release { which, .. }
        | Step::Drop(which)
        | Step::Forget(which)
        | Step::ToExpiry(which, _)) = step
        else {
            return Ok(());
        };
        let Some((place, known)) = self.chosen_reservation(*which) else { return Ok(()) };
        let (id, now) = (self.reserved[place].id, self.pair.oracle.read_clock());
        let was = known.state(now);
        match step {
            Step::Grow(_, Growth { values, model, strange }) => {
                let more = PlainEvent {
                    customer: known.estimate.customer.clone(),
                    event_type: known.estimate.event_type.clone(),
                    model: model.map(str::to_owned),
                    props: Vec::new(),
                    key: values.key.clone().filter(|_| *strange),
                    ..values.clone()
                };
                let answer = self.pair.grow(id, &more)?;
                self.meet(match answer {
                    Ok(seen) if seen.is_admitted() => "grown",
                    Ok(_) => "not grown",
                    Err(_) => "bad growth",
                });
            }
            Step::Extend(_, by) => self.pair.extend(id, *by)?,
            Step::Commit { actual, by_guard, .. } => {
                let actual = actual.of(&known.estimate);
                let guard = if *by_guard { self.reserved[place].guard.take() } else { None };
                let answer = self.pair.commit(id, guard, &actual)?;
                self.meet(match (answer, was) {
                    (Ok((_, true)), _) => "overrun",
                    (Ok(_), State::Held) => "committed",
                    (Ok(_), State::Expired) => "committed late",
                    (Ok(_), _) => "committed again",
                    (Err(_), _) => "bad commit",
                });
            }
            Step::Release { by_guard, .. } => {
                let guard = if *by_guard { self.reserved[place].guard.take() } else { None };
                self.pair.release(id, guard)?;
                self.meet("released");
            }
            Step::Drop(_) => {
                if let Some(guard) = self.reserved[place].guard.take() {
                    self.pair.drop_guard(guard, self.reserved[place].charge_on_drop)?;
                    self.meet("dropped");
                }
            }
            Step::ToExpiry(_, beside) => {
                self.set(known.until - self.pair.oracle.ahead() + i128::from(*beside));
                self.meet("to an expiry");
            }
            _ => match self.reserved[place].guard.take() {
                // One that is forgotten keeps its store open.
                Some(guard) if self.stores => drop(guard.into_id()),
                guard => std::mem::forget(guard),
            },
        }
        self.stands(&known.estimate)?;
        self.stands(&PlainEvent { stamp: Some(known.stamp), ..known.estimate })
    }

    /// Compares all figures of the event's rules.
    fn stands(&mut self, plain: &PlainEvent) -> Result<(), String> {
        let plain = PlainEvent { values: Vec::new(), key: None, ..plain.clone() };
        if self.pair.oracle.refuses_what_lacks(&plain) || !self.pair.oracle.is_open(&plain) {
            return Ok(());
        }
        self.pair.standing(&plain).map(drop)
    }

    /// One of the reservations, mostly one that is open.
    fn chosen_reservation(&self, which: usize) -> Option<(usize, Known)> {
        let all = self.pair.oracle.reservations();
        let now = self.pair.oracle.now();
        let is_open = |place: &usize| all[*place].state(now) == State::Held;
        let open: Vec<usize> = (0..all.len()).filter(is_open).collect();
        let any: Vec<usize> = (0..all.len()).collect();
        let from = if which.is_multiple_of(4) || open.is_empty() { any } else { open };
        let place = *chosen(&from, which / 4)?;
        Some((place, all[place].clone()))
    }

    fn change(&mut self, which: usize, edit: &Edit) -> Result<(), String> {
        let Some(old) = self.chosen_rule(which) else { return Ok(()) };
        let Some(new) = edit.apply(&old) else { return Ok(()) };
        change(&self.pair.engine, &old, &new).map_err(|error| format!("{edit:?}: {error}"))?;
        self.pair.oracle.change(new);
        let now = self.pair.oracle.now();
        if self.pair.oracle.reservations().iter().any(|it| it.state(now) == State::Held) {
            self.meet("a rule changed under a hold");
        }
        self.meet("rule changed");
        Ok(())
    }

    fn sync(&mut self, change: Option<&(usize, Option<Edit>)>) -> Result<(), String> {
        let active = self.pair.oracle.rules().filter(|rule| !rule.archived);
        let mut list: Vec<Rule> = active.cloned().collect();
        let unchanged = list.len();
        let mut due = (0, 0);
        if let Some((which, edit)) = change
            && let Some(old) = chosen(&list, *which).cloned()
        {
            let place = list.iter().position(|rule| rule.id == old.id).expect("it was chosen");
            match edit {
                None => {
                    list.remove(place);
                    self.pair.oracle.remove(&old.id);
                    due = (0, 1);
                }
                // A sync goes by names: a new name would be a new rule.
                Some(Edit::Name) => {}
                Some(edit) => {
                    if let Some(new) = edit.apply(&old)
                        && new != old
                    {
                        list[place] = new.clone();
                        self.pair.oracle.change(new);
                        due = (1, 0);
                    }
                }
            }
        }
        let options = limitry::rules::SyncOptions::apply();
        let report = self.pair.engine.rules().sync(rule_set(&list), options);
        let report = report.map_err(|error| format!("sync: {error}"))?;
        let done = (report.updated.len(), report.removed.len());
        if done != due
            || !report.created.is_empty()
            || report.unchanged.len() + due.0 + due.1 != unchanged
        {
            return Err(format!("sync of {due:?} changes reports {report:?}"));
        }
        self.meet("rules synced");
        Ok(())
    }

    fn again(&self, plain: PlainEvent, how: Difference) -> PlainEvent {
        match how {
            Difference::AsItWas => plain,
            Difference::Dated(dating) => self.dated(&plain, dating),
            Difference::Total if plain.total.is_none() => {
                PlainEvent { total: plain.sum(), ..plain }
            }
            Difference::Total => {
                let left = PlainEvent { total: None, ..plain.clone() };
                if left.sum() == plain.total { left } else { plain }
            }
            Difference::OfAnother => {
                let other = if plain.customer == "ann" { "bob" } else { "ann" };
                PlainEvent { customer: other.into(), ..plain }
            }
            Difference::Costlier => PlainEvent { cost: Some(plain.cost.unwrap_or(0) + 1), ..plain },
        }
    }

    fn dated(&self, plain: &PlainEvent, dating: Option<DatedBy>) -> PlainEvent {
        let now = self.pair.now();
        let stamp = dating.map(|dating| match dating {
            DatedBy::FromMidnight(length) => period(Span::Day, now).0 + length,
            DatedBy::FromHour(length) => period(Span::Hour, now).0 + length,
            DatedBy::Ahead(length) => now + length,
        });
        PlainEvent { stamp, ..plain.clone() }
    }

    /// Takes what has fired.
    fn meet_alerts(&mut self) -> Result<(), String> {
        let (before, now) = (self.pair.oracle.low_alerts(), self.pair.alerts()?);
        if now > 0 {
            self.meet("alert");
        }
        if now > 1 {
            self.meet("alerts together");
        }
        if self.pair.oracle.low_alerts() > before {
            self.meet("low balance");
        }
        Ok(())
    }

    fn meet(&self, what: &'static str) {
        *self.met.borrow_mut().entry(what).or_default() += 1;
    }

    fn note(&mut self, plain: &PlainEvent, answer: &Answer) {
        if plain.key.is_some() {
            self.keyed.push(plain.clone());
        }
        let seen = match answer {
            Err(Fault::Conflict) => return self.meet("conflict"),
            Err(_) => return self.meet("bad event"),
            Ok(seen) if seen.verdict == Verdict::Replayed => return self.meet("replay"),
            Ok(seen) => seen,
        };
        self.meet(if seen.is_admitted() { "allowed" } else { "refused" });
        if seen.is_admitted() && seen.rates.iter().chain(&seen.quotas).any(|figure| figure.exceeded)
        {
            self.meet("exceeded, not refused");
        }
        if seen.is_admitted() && self.retry_at == Some(self.pair.now()) {
            self.meet("passed after a wait");
        }
        match seen.retry {
            Some(Wait::Never) => self.meet("refused for ever"),
            Some(Wait::After(wait)) => {
                let at = self.pair.now() + wait;
                // Stay within the years that the calendar can say.
                self.retry_at = (at < START + 3_650 * DAY).then_some(at);
            }
            None => {}
        }
    }

    fn chosen_rule(&self, which: usize) -> Option<Rule> {
        let rules: Vec<&Rule> = self.pair.oracle.rules().collect();
        chosen(&rules, which).map(|&rule| rule.clone())
    }

    /// Both sides read the same time, which never runs back.
    fn same_time(&mut self) -> Result<(), String> {
        let now = self.pair.engine.now();
        let engine = i128::from(now.unix_seconds()) * SECOND + i128::from(now.subsec_nanos());
        let oracle = self.pair.oracle.read_clock();
        if engine == oracle { Ok(()) } else { Err(format!("now is {engine}, not {oracle}")) }
    }
}

impl Actual {
    /// The event that happened, where this was reserved.
    fn of(&self, estimate: &PlainEvent) -> PlainEvent {
        let plain = PlainEvent { key: None, stamp: None, ..estimate.clone() };
        match self {
            Self::Quarters(quarters) => {
                let part = |whole: Option<u64>| whole.map(|whole| whole * quarters / 4);
                let of = |milli: i128| milli * i128::from(*quarters) / 4;
                let values = plain.values.iter().map(|(name, milli)| (name.clone(), of(*milli)));
                PlainEvent {
                    input: part(plain.input),
                    output: part(plain.output),
                    total: part(plain.total),
                    cost: plain.cost.map(of),
                    values: values.collect(),
                    ..plain.clone()
                }
            }
            Self::Another(other) => {
                PlainEvent { customer: plain.customer, key: None, ..other.clone() }
            }
            Self::Strange(how) => match how % 3 {
                0 => PlainEvent { customer: "carl".into(), ..plain },
                1 => plain.stamp(START - 1),
                _ => plain.key("another"),
            },
        }
    }
}

fn christen(rule: &mut Rule, number: usize) {
    rule.id = format!("r{number}");
    rule.name = format!("rule {number}");
}

fn chosen<T>(from: &[T], which: usize) -> Option<&T> {
    from.get(which.checked_rem(from.len())?)
}

fn run(rules: Vec<Rule>, steps: &[Step], stores: bool, met: &Met) -> Result<(), String> {
    let mut run = Run::new(rules, stores, met);
    run.pays = steps.iter().any(|step| matches!(step, Step::Pay(_)));
    for (number, step) in steps.iter().enumerate() {
        run.step(step).map_err(|why| format!("step {number}: {why}"))?;
    }
    Ok(())
}

/// Runs worlds through both sides, and returns what was met.
fn search(test: &str, default_seed: u64, runs: u32, stores: bool) -> BTreeMap<&'static str, u32> {
    let (seed, cases) = (seed(test, default_seed), cases(runs));
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let config = Config {
        cases,
        max_shrink_iters: 20_000,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(
            "tests/decisions/model.proptest-regressions",
        ))),
        ..Config::default()
    };
    let met = Met::default();
    let result = TestRunner::new_with_rng(config, rng).run(&world(), |(rules, steps)| {
        run(rules, &steps, stores, &met).map_err(TestCaseError::fail)
    });
    if let Err(TestError::Fail(reason, (rules, steps))) = &result {
        panic!("LIMITRY_SEED={seed} LIMITRY_CASES={cases}: {reason}\n{rules:#?}\n{steps:#?}");
    }
    result.expect("the search itself works");
    let met = met.into_inner();
    println!("{met:#?}");
    met
}

#[test]
fn the_engine_answers_as_the_definitions_say() {
    let met = search("model", 0x11_1712, 3_000, false);
    for due in DUE {
        let cases = cases(3_000);
        assert!(cases < 1_000 || met.contains_key(due), "{cases} runs never met: {due}");
    }
}

#[test]
fn so_does_one_that_is_stopped_and_opened_again() {
    let met = search("model with restarts", 0x11_1713, 400, true);
    assert!(cases(400) < 100 || met.contains_key("restarted"));
}

/// Adding rules one at a time at run time is the same as building with them.
#[test]
fn a_rule_added_later_starts_fresh() {
    let mut pair = Pair::without_a_record(&[]);
    let plain = PlainEvent::new("ann", "call");
    for _ in 0..5 {
        let seen = pair.track(&plain).expect("as the oracle says");
        assert!(seen.is_ok(), "{seen:?}");
    }
    let rule = Rule::new("r0", 3, Kind::Calendar(Span::Day));
    add(&pair.engine, &rule).expect("the rule is valid");
    pair.oracle.add(rule);
    for _ in 0..5 {
        let seen = pair.track(&plain).expect("as the oracle says");
        assert!(seen.is_ok(), "{seen:?}");
    }
}

/// Found by the search: the cell of a second period moved what was written for another rule.
#[test]
fn a_second_period_in_a_row_loses_no_use_of_another_rule() {
    let hour = Kind::Calendar(Span::Hour);
    let mut pair = Pair::new(&[
        Rule::new("r0", 1, hour).measure(Measure::Value("images".into())).per("customer_id"),
        Rule::new("r1", 50, Kind::Calendar(Span::AllTime)).per("customer_id"),
    ]);
    let half = PlainEvent::new("ann", "call").value("images", 500);
    let next_hour = half.clone().stamp(START + 30 * MINUTE);
    for plain in [&next_hour, &half, &half, &next_hour] {
        let seen = pair.track(plain).expect("as the oracle says");
        assert!(seen.is_ok_and(|seen| seen.is_admitted()));
    }
    pair.standing(&half).expect("as the oracle says");
}

/// Found by the search: a rule with times let another judge than without.
#[test]
fn a_rule_that_an_event_lacks_a_dimension_of_replaces_others_at_any_time() {
    let own = Rule::new("r0", 1, Kind::Calendar(Span::Hour)).policy("p").filter("team", "red");
    let all = Rule::new("r1", 1, Kind::Calendar(Span::Hour)).policy("p");
    let timed = Rule { starts: Some(START - DAY), ..Rule::new("r2", 1, Kind::Calendar(Span::Day)) };
    let own = Rule { missing: Missing::Refuse, ..own };
    let mut pair = Pair::new(&[own, all, timed]);
    for _ in 0..2 {
        let seen = pair.record(&PlainEvent::new("ann", "call")).expect("as the oracle says");
        assert!(seen.is_ok_and(|seen| seen.quotas.len() == 1));
        let seen = pair.record(&PlainEvent::new("ann", "call").text("team", "blue"));
        assert!(seen.expect("as the oracle says").is_ok_and(|seen| seen.quotas.len() == 2));
    }
}

/// Found by the search: this side said of a window that a refund took back what is held.
#[test]
fn a_reset_leaves_what_is_held_whatever_was_given_back_before() {
    let window = 100 * SECOND;
    for kind in [
        Kind::Sliding { window },
        Kind::Fixed { window },
        Kind::Bucket { window, burst: None },
        Kind::Calendar(Span::Hour),
    ] {
        for (used, held, refund, is_committed) in
            [(0, 1, 1, false), (0, 3, 1, true), (5, 3, 4, true), (5, 3, 4, false), (5, 3, 1, true)]
        {
            let tokens =
                |input| PlainEvent { input: Some(input), ..PlainEvent::new("ann", "call") };
            let adjusting = |amount| {
                let (rule, key, once) = ("r0".into(), Vec::new(), None);
                PlainAdjust { rule, key, amount, once }
            };
            let rules = [Rule::new("r0", 10, kind).measure(Measure::Tokens)];
            let mut pair = Pair::without_a_record(&rules);
            let mut run = || {
                pair.track(&tokens(used)).map(drop)?;
                let guard = pair.reserve(&tokens(held), Hold::lasting(duration(MINUTE)))?.1;
                pair.adjust(&adjusting(Some(-1_000 * refund)))?.expect("good");
                pair.adjust(&adjusting(None))?.expect("good");
                pair.standing(&tokens(1)).map(drop)?;
                let id = guard.as_ref().expect("it is held").id();
                if is_committed {
                    pair.commit(id, guard, &tokens(held))?.expect("it is open");
                } else {
                    pair.release(id, guard)?;
                }
                pair.standing(&tokens(1)).map(drop)
            };
            let case = format!("{kind:?} {used} {held} {refund} {is_committed}");
            run().unwrap_or_else(|why| panic!("{case}: {why}"));
        }
    }
}

/// Found by the search: a rule for one customer alone forgot what was held when that got another
/// calendar, and it stayed used.
#[test]
fn what_is_held_goes_through_another_calendar_of_the_customer() {
    let anchor = chrono::NaiveDate::from_ymd_opt(2024, 1, 31);
    let calendars = [(None, anchor), (Some(Tz::America__New_York), anchor), (None, None)];
    for span in [Span::ThreeDays, Span::Month, Span::Week] {
        for is_for_one in [false, true] {
            let rule = Rule::new("r0", 3, Kind::Calendar(span)).per("customer_id");
            let rule = if is_for_one { rule.filter("customer_id", "ann") } else { rule };
            let mut pair = Pair::without_a_record(&[rule]);
            let call = PlainEvent::new("ann", "call");
            let mut run = || {
                for (zone, anchor) in calendars {
                    let hold = Hold::lasting(duration(MINUTE));
                    pair.reserve(&call, hold)?.1.map(Reservation::into_id).expect("it fits");
                    pair.set_customer("ann", OwnCalendar { zone, anchor }, &[])?;
                    pair.standing(&call).map(drop)?;
                    pair.advance(SECOND);
                }
                pair.check(&call).map(drop)?;
                pair.advance(MINUTE);
                pair.check(&call).map(drop)
            };
            run().unwrap_or_else(|why| panic!("{span:?} {is_for_one}: {why}"));
        }
    }
}
