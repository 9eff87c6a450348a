//! Goal: a quota's figure always equals the query of its meter over the quota's period: of sums,
//! counts, highest and latest amounts, of events in order and out of order, in closed periods, and
//! after the rules were changed. It refuses exactly when that figure after the event is above the
//! limit, and the wait that it promises is exact.
//!
//! Method: an oracle that keeps every accepted event and folds them all again for each question;
//! seeds are fixed, and `LIMITRY_SEED` sets another.

use crate::support::oracle::{DAY, HOUR, MINUTE, Nanos, SECOND};
use crate::support::{Dice, START, cases, date, duration, engine, seed};
use limitry::errors::{EventError, TrackError};
use limitry::events::Recording;
use limitry::rules::{Aggregation, MeterUpdate, QuotaUpdate};
use limitry::time::ManualClock;
use limitry::usage::MeterQuery;
use limitry::{
    Amount, Decision, Engine, EngineBuilder, Event, Meter, Metric, Period, Quota, RetryAfter,
};

/// Thousandths of a unit.
type Milli = i128;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fold {
    Count,
    Sum,
    Max,
    Latest,
}

/// An accepted event, or one that is about to be judged.
#[derive(Clone, Debug)]
struct UsageEvent {
    customer: &'static str,
    kind: &'static str,
    stamp: Nanos,
    value: Option<Milli>,
}

#[derive(Clone, Debug)]
struct Rule {
    id: String,
    fold: Fold,
    /// The meter's filter by the type of an event.
    kind: Option<&'static str>,
    per_customer: bool,
    period: Period,
    limit: u64,
    enabled: bool,
}

impl Rule {
    fn matches(&self, usage_event: &UsageEvent) -> bool {
        self.enabled && self.kind.is_none_or(|kind| kind == usage_event.kind)
    }

    /// The half-open period of an instant; `None` for all time.
    fn bounds(&self, stamp: Nanos) -> Option<(Nanos, Nanos)> {
        let length = match self.period {
            Period::Hour => HOUR,
            Period::Day => DAY,
            Period::AllTime => return None,
            other => panic!("{other} is not drawn"),
        };
        let start = stamp.div_euclid(length) * length;
        Some((start, start + length))
    }

    /// The figure over the period and key of a fact.
    fn figure<'f>(
        &self,
        of: &UsageEvent,
        usage_events: impl Iterator<Item = &'f UsageEvent>,
    ) -> Milli {
        let bounds = self.bounds(of.stamp);
        let inside = |usage_event: &&UsageEvent| {
            self.kind.is_none_or(|kind| kind == usage_event.kind)
                && (!self.per_customer || usage_event.customer == of.customer)
                && bounds.is_none_or(|(start, end)| {
                    start <= usage_event.stamp && usage_event.stamp < end
                })
        };
        let usage_events = usage_events.filter(inside);
        let values =
            |usage_events: &mut dyn Iterator<Item = &'f UsageEvent>| -> Vec<(Nanos, Milli)> {
                usage_events
                    .filter_map(|usage_event| Some((usage_event.stamp, usage_event.value?)))
                    .collect()
            };
        let mut usage_events = usage_events;
        match self.fold {
            Fold::Count => i128::try_from(usage_events.count()).expect("few") * 1_000,
            Fold::Sum => values(&mut usage_events).iter().map(|(_, value)| value).sum(),
            Fold::Max => {
                values(&mut usage_events).iter().map(|(_, value)| *value).max().unwrap_or(0)
            }
            // Of the latest ones the one that was recorded last.
            Fold::Latest => {
                let values = values(&mut usage_events);
                let latest = values.iter().map(|(stamp, _)| *stamp).max();
                let last = values.iter().rev().find(|(stamp, _)| Some(*stamp) == latest);
                last.map_or(0, |(_, value)| *value)
            }
        }
    }

    fn meter(&self) -> Meter {
        let name = format!("meter of {}", self.id);
        let meter = match self.fold {
            Fold::Count => Meter::count(name),
            Fold::Sum => Meter::sum(name, "v"),
            Fold::Max => Meter::max(name, "v"),
            Fold::Latest => Meter::latest(name, "v"),
        };
        let meter = meter.id(format!("m_{}", self.id));
        self.kind.into_iter().fold(meter, |meter, kind| meter.filter("event_type", kind))
    }

    fn quota(&self) -> Quota {
        let metric = Metric::meter(format!("m_{}", self.id));
        let quota = Quota::new(self.id.as_str(), metric, self.limit, self.period);
        let quota = quota.id(self.id.as_str()).enabled(self.enabled);
        if self.per_customer { quota.per("customer_id") } else { quota }
    }
}

fn event(usage_event: &UsageEvent, dated: bool) -> Event<'static> {
    let event = Event::new(usage_event.customer, usage_event.kind);
    let event = if dated { event.timestamp(date(usage_event.stamp)) } else { event };
    match usage_event.value {
        Some(milli) => event.value("v", Amount::from_millionths(milli * 1_000)),
        None => event,
    }
}

/// An engine and the events that it has accepted.
struct Pair {
    engine: Engine,
    clock: ManualClock,
    now: Nanos,
    rules: Vec<Rule>,
    usage_events: Vec<UsageEvent>,
}

impl Pair {
    fn new(rules: Vec<Rule>) -> Self {
        let add =
            |builder: EngineBuilder, rule: &Rule| builder.meter(rule.meter()).quota(rule.quota());
        let (engine, clock) = engine(|builder| rules.iter().fold(builder, add));
        Self { engine, clock, now: START, rules, usage_events: Vec::new() }
    }

    fn advance(&mut self, length: Nanos) {
        self.clock.advance(duration(length));
        self.now += length;
    }

    fn figures(&self, usage_event: &UsageEvent, after: bool) -> Vec<(String, Milli)> {
        let with = |rule: &Rule| {
            let own = after.then_some(usage_event);
            (rule.id.clone(), rule.figure(usage_event, self.usage_events.iter().chain(own)))
        };
        self.rules.iter().filter(|rule| rule.matches(usage_event)).map(with).collect()
    }

    fn fits(&self, usage_event: &UsageEvent) -> bool {
        let limit = |id: &str| {
            let rule = self.rules.iter().find(|rule| rule.id == id).expect("it is there");
            i128::from(rule.limit) * 1_000
        };
        // What does not raise a figure is never refused.
        let before = self.figures(usage_event, false);
        let figures = self.figures(usage_event, true).into_iter().zip(before);
        figures
            .into_iter()
            .all(|((id, figure), (_, before))| figure <= limit(&id) || figure <= before)
    }

    /// The first instant at which an event without a timestamp fits: the figures change only where
    /// a period starts, and where the event becomes the latest one.
    fn opens(&self, usage_event: &UsageEvent) -> Option<Nanos> {
        let mut instants: Vec<Nanos> =
            self.usage_events.iter().map(|usage_event| usage_event.stamp).collect();
        instants.extend((0..60).map(|hour| (self.now / HOUR + hour) * HOUR));
        instants.retain(|instant| *instant > self.now);
        instants.sort_unstable();
        instants
            .into_iter()
            .find(|stamp| self.fits(&UsageEvent { stamp: *stamp, ..usage_event.clone() }))
    }

    fn compare(&self, usage_event: &UsageEvent, decision: &Decision, after: bool) {
        let expected = self.figures(usage_event, after);
        let found: Vec<(String, Milli)> = decision
            .quotas()
            .map(|quota| (quota.id.into_owned(), quota.used.millionths() / 1_000))
            .collect();
        let sorted = |mut figures: Vec<(String, Milli)>| {
            figures.sort();
            figures
        };
        assert_eq!(sorted(found), sorted(expected), "{usage_event:?} of {:?}", self.rules);
    }

    /// Asks for a decision, compares it, and takes it over.
    fn ask(&mut self, usage_event: &UsageEvent, dated: bool, verb: Verb) {
        let event = event(usage_event, dated);
        let decision = match verb {
            Verb::Track => self.engine.track(&event),
            Verb::Check => self.engine.check(&event),
            Verb::Record => self.engine.record(&event),
        };
        let decision = decision.unwrap_or_else(|why| panic!("{usage_event:?}: {why}"));
        let fits = self.fits(usage_event);
        let allowed = fits || verb == Verb::Record;
        assert_eq!(
            decision.is_allowed(),
            allowed,
            "{usage_event:?} {decision:?} of {:?}",
            self.rules
        );
        self.compare(usage_event, &decision, allowed);
        if !allowed {
            let due = if dated { None } else { self.opens(usage_event) };
            let due = due
                .map_or(RetryAfter::Never, |opens| RetryAfter::After(duration(opens - self.now)));
            assert_eq!(decision.retry_after(), Some(due), "{usage_event:?} of {:?}", self.rules);
        }
        if allowed && verb != Verb::Check {
            self.usage_events.push(usage_event.clone());
        }
    }

    /// Every quota stands where its meter says.
    fn compare_with_meters(&self, usage_event: &UsageEvent) {
        let standing = self.engine.standing(&event(usage_event, true)).expect("valid");
        for quota in standing.quotas() {
            let rule = self.rules.iter().find(|rule| rule.id == quota.id).expect("it is there");
            let mut query = MeterQuery::new();
            if rule.per_customer {
                query = query.customer(usage_event.customer);
            }
            if let Some((start, end)) = rule.bounds(usage_event.stamp) {
                query = query.between(date(start), date(end));
            }
            let meter = self.engine.meters().query(&format!("m_{}", rule.id), &query);
            assert_eq!(quota.used, meter.expect("a query").value, "{usage_event:?} {rule:?}");
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Track,
    Check,
    Record,
}

fn draw_rule(dice: &mut Dice, id: String) -> Rule {
    Rule {
        id,
        fold: dice.pick(&[Fold::Count, Fold::Sum, Fold::Max, Fold::Latest, Fold::Latest]),
        kind: dice.pick(&[None, Some("run"), Some("stop")]),
        per_customer: dice.chance(60),
        period: dice.pick(&[Period::Hour, Period::Day, Period::AllTime]),
        limit: dice.range(3, 30),
        enabled: true,
    }
}

fn draw_fact(dice: &mut Dice, now: Nanos) -> (UsageEvent, bool) {
    let dated = dice.chance(60);
    let offset = match dice.below(10) {
        0 => i128::from(dice.below(23 * 60)) * MINUTE,
        1 | 2 => -i128::from(dice.below(72 * 60)) * MINUTE,
        3 => 0,
        _ => -i128::from(dice.below(90 * 60)) * SECOND,
    };
    let usage_event = UsageEvent {
        customer: dice.pick(&["ann", "bob"]),
        kind: dice.pick(&["run", "stop"]),
        stamp: if dated { now + offset } else { now },
        value: dice.chance(85).then(|| i128::from(dice.below(18_000)) - 4_000),
    };
    (usage_event, dated)
}

/// Changes the rules at random; the same in the engine and in the oracle.
fn change(pair: &mut Pair, dice: &mut Dice, made: &mut u32) {
    let engine = &pair.engine;
    if pair.rules.len() < 3 || dice.chance(25) {
        *made += 1;
        let rule = draw_rule(dice, format!("q{made}"));
        engine.meters().add(rule.meter()).expect("valid");
        engine.rules().add(rule.quota()).expect("valid");
        pair.rules.push(rule);
        return;
    }
    let place = usize::try_from(dice.below(pair.rules.len() as u64)).expect("small");
    let rule = &mut pair.rules[place];
    match dice.below(6) {
        0 => {
            engine.rules().remove(&rule.id).expect("it is there");
            pair.rules.remove(place);
        }
        1 => {
            rule.limit = dice.range(3, 30);
            let update = QuotaUpdate::new().limit(rule.limit);
            engine.rules().update(&rule.id, update).expect("valid");
        }
        2 => {
            rule.period = dice.pick(&[Period::Hour, Period::Day, Period::AllTime]);
            let update = QuotaUpdate::new().period(rule.period);
            engine.rules().update(&rule.id, update).expect("valid");
        }
        3 => {
            rule.enabled = !rule.enabled;
            let update = QuotaUpdate::new().enabled(rule.enabled);
            engine.rules().update(&rule.id, update).expect("valid");
        }
        4 => {
            rule.kind = dice.pick(&[Some("run"), Some("stop")]);
            let update = MeterUpdate::new().filter("event_type", rule.kind.expect("drawn"));
            engine.meters().update(&format!("m_{}", rule.id), update).expect("valid");
        }
        _ => {
            if rule.fold != Fold::Count {
                let (fold, aggregation) = dice.pick(&[
                    (Fold::Sum, Aggregation::Sum),
                    (Fold::Max, Aggregation::Max),
                    (Fold::Latest, Aggregation::Latest),
                ]);
                rule.fold = fold;
                let update = MeterUpdate::new().aggregation(aggregation);
                engine.meters().update(&format!("m_{}", rule.id), update).expect("valid");
            }
        }
    }
}

fn play(seed: u64, changes: bool) {
    let mut dice = Dice::new(seed);
    let mut made = 3;
    let rules = (1..=3).map(|number| draw_rule(&mut dice, format!("q{number}"))).collect();
    let mut pair = Pair::new(rules);
    for _ in 0..150 {
        if dice.chance(50) {
            let most = if dice.chance(5) { 40 * 60 * 60 } else { 20 * 60 };
            pair.advance(i128::from(dice.below(most)) * SECOND + i128::from(dice.below(3)));
        }
        if changes && dice.chance(8) {
            change(&mut pair, &mut dice, &mut made);
        }
        let (usage_event, dated) = draw_fact(&mut dice, pair.now);
        let verb = dice.pick(&[Verb::Track, Verb::Track, Verb::Track, Verb::Check, Verb::Record]);
        pair.ask(&usage_event, dated, verb);
        if dice.chance(20) {
            pair.compare_with_meters(&usage_event);
        }
    }
}

#[test]
fn figures_verdicts_and_waits_are_those_of_the_oracle() {
    let first = seed("figures_verdicts_and_waits", 3_001);
    for case in 0..u64::from(cases(60)) {
        println!("LIMITRY_SEED={} LIMITRY_CASES=1", first + case);
        play(first + case, false);
    }
}

#[test]
fn rules_that_change_start_from_what_is_recorded() {
    let first = seed("rules_that_change", 7_001);
    for case in 0..u64::from(cases(60)) {
        println!("LIMITRY_SEED={} LIMITRY_CASES=1", first + case);
        play(first + case, true);
    }
}

fn gauge(period: Period) -> (Engine, ManualClock) {
    engine(|builder| {
        builder
            .meter(Meter::latest("agents", "agents").id("m"))
            .quota(Quota::new("agents", Metric::meter("m"), 10, period).per("customer_id"))
    })
}

fn agents(number: i64) -> Event<'static> {
    Event::new("ann", "agent.count").value("agents", number)
}

fn used(decision: &Decision) -> i128 {
    decision.quotas().next().expect("a quota").used.millionths() / 1_000_000
}

#[test]
fn at_most_ten_agents() {
    let (engine, clock) = gauge(Period::AllTime);
    let track = |number| engine.track(&agents(number)).expect("valid");
    assert_eq!(used(&track(10)), 10);
    let refused = track(11);
    assert_eq!((refused.is_allowed(), used(&refused)), (false, 10));
    assert_eq!(refused.retry_after(), Some(RetryAfter::Never));
    clock.advance(duration(SECOND));
    assert_eq!(used(&track(3)), 3);
    // A gauge of nothing is a figure too, and what lacks the value leaves it.
    assert_eq!(used(&track(0)), 0);
    let without = engine.track(&Event::new("ann", "agent.count")).expect("valid");
    assert_eq!((without.is_allowed(), used(&without)), (true, 0));
    // What happened before the latest does not matter any more.
    let late = agents(9).timestamp(date(START));
    assert_eq!(used(&engine.track(&late).expect("valid")), 0);
    let same_instant = agents(7).timestamp(date(START + SECOND));
    assert_eq!(used(&engine.track(&same_instant).expect("valid")), 7);
}

#[test]
fn an_older_gauge_passes_while_the_latest_is_over_the_limit() {
    let (engine, clock) = gauge(Period::Day);
    let over = agents(12).timestamp(date(START + HOUR));
    assert!(engine.record(&over).expect("valid").is_allowed());
    // It leaves the figure as it is.
    assert_eq!(used(&engine.track(&agents(20)).expect("valid")), 12);
    // From the instant of the latest on this one is the latest.
    clock.advance(duration(HOUR));
    let refused = engine.track(&agents(13)).expect("valid");
    assert_eq!((refused.is_allowed(), used(&refused)), (false, 12));
    assert_eq!(refused.retry_after(), Some(RetryAfter::Never));
    // Over the limit it may go down and not up.
    assert_eq!(used(&engine.track(&agents(11)).expect("valid")), 11);
    assert!(!engine.check(&agents(12)).expect("valid").is_allowed());
    assert_eq!(used(&engine.track(&agents(-2)).expect("valid")), -2);
    assert!(!engine.check(&agents(11)).expect("valid").is_allowed());
}

#[test]
fn a_peak_over_the_limit_refuses_what_is_higher() {
    let (engine, clock) = engine(|builder| {
        builder.meter(Meter::max("peak", "agents").id("m")).quota(Quota::new(
            "peak",
            Metric::meter("m"),
            10,
            Period::Hour,
        ))
    });
    assert!(engine.record(&agents(12)).expect("valid").is_allowed());
    for lower in [2, 11, 12, -5] {
        assert_eq!(used(&engine.track(&agents(lower)).expect("valid")), 12);
    }
    let never = engine.track(&agents(13)).expect("valid");
    assert_eq!(never.retry_after(), Some(RetryAfter::Never));
    clock.advance(duration(30 * MINUTE));
    assert!(!engine.check(&agents(11)).expect("valid").is_allowed());
    for (amount, highest) in [(-3, -3), (-4, -3), (2, 2), (1, 2)] {
        assert_eq!(used(&engine.track(&agents(amount)).expect("valid")), highest);
    }
}

#[test]
fn an_event_in_a_closed_period_is_judged_by_what_is_recorded() {
    let quota = Quota::new("tokens", Metric::TotalTokens, 100, Period::Hour);
    let (engine, clock) = engine(|builder| builder.quota(quota.per("customer_id")));
    let tokens = |tokens| Event::new("ann", "call").total_tokens(tokens).timestamp(date(START));
    assert!(engine.track(&tokens(60)).expect("valid").is_allowed());
    clock.advance(duration(100 * HOUR));
    let keys = engine.live_keys();
    let late = engine.track(&tokens(30)).expect("recorded events tell");
    assert_eq!((late.is_allowed(), used(&late)), (true, 90));
    assert_eq!(used(&engine.record(&tokens(20)).expect("valid")), 110);
    let refused = engine.track(&tokens(1)).expect("valid");
    assert_eq!((refused.is_allowed(), used(&refused)), (false, 110));
    assert_eq!(refused.retry_after(), Some(RetryAfter::Never));
    let standing = engine.standing(&tokens(0)).expect("valid");
    assert_eq!(standing.quotas().map(|quota| quota.used.to_u64_ceil()).collect::<Vec<_>>(), [110]);
    assert!(engine.live_keys() <= keys, "no counter was made");
}

#[test]
fn without_recording_an_event_in_a_closed_period_is_too_late() {
    let quota = Quota::new("tokens", Metric::TotalTokens, 100, Period::Hour);
    let (engine, clock) = engine(|builder| builder.recording(Recording::Off).quota(quota));
    let tokens = |tokens| Event::new("ann", "call").total_tokens(tokens).timestamp(date(START));
    assert!(engine.track(&tokens(60)).expect("valid").is_allowed());
    clock.advance(duration(100 * HOUR));
    for verb in [Engine::track, Engine::check] {
        let error = verb(&engine, &tokens(30)).expect_err("nobody knows");
        assert!(matches!(error, TrackError::Event(EventError::TooLate { .. })), "{error}");
    }
    let recorded = engine.record(&tokens(30)).expect("valid");
    assert!(recorded.is_allowed() && used(&recorded) <= 60, "the quota is left alone");
}

#[test]
fn a_rule_that_refuses_at_once_asks_what_is_recorded_only_once() {
    let (engine, _) = engine(|builder| builder);
    for _ in 0..5 {
        let _ = engine.track(&agents(1)).expect("valid");
    }
    let quota = Quota::new("events", Metric::TotalEvents, 5, Period::Day).per("customer_id");
    engine.rules().add(quota).expect("valid");
    assert_eq!(engine.live_keys(), 0);
    let refused = engine.track(&agents(1)).expect("valid");
    assert_eq!((refused.is_allowed(), used(&refused)), (false, 5));
    assert_eq!(engine.live_keys(), 1, "what was told is kept");
    let refused = engine.track(&agents(1)).expect("valid");
    assert_eq!((refused.is_allowed(), used(&refused)), (false, 5));
}
