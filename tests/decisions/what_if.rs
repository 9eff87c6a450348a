//! Goal: a simulation of the same rules answers what happened, call by call; one of other rules
//! answers what those would have; and its report adds up to its answers.
//!
//! Method: random rules of all kinds and random calls. The engine that is called, a simulation of
//! the same rules, and the oracle of other rules, which judges a simulation of those, are asked the
//! same at the same times. What is recorded is then simulated from the log.

use std::collections::BTreeMap;

use crate::model::steps::{plain_event, rule};
use crate::support::oracle::{
    Answer, Asked, DAY, Enforce, Figure, HOUR, Kind, MINUTE, Missing, Nanos, Oracle, PlainDecision,
    PlainEvent, Prop, Rule, SECOND,
};
use crate::support::{START, answer, config, date, duration, engine, event, rule_set};
use limitry::events::{EventQuery, Recording};
use limitry::simulation::{Attempt, SimulationReport, StartsFrom, Traffic};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

/// A call: how long after the one before, what, and how far from then it is dated.
type Call = (Nanos, PlainEvent, Option<Nanos>);

fn calls() -> impl Strategy<Value = Vec<Call>> {
    let wait = prop_oneof![
        2 => Just(0),
        6 => (0..2_000_i128).prop_map(|tenth| tenth * SECOND / 10),
        1 => (0..90_i128).prop_map(|minutes| minutes * MINUTE),
        1 => select(vec![1, HOUR, 11 * HOUR, 2 * DAY]),
    ];
    let dated = prop_oneof![
        7 => Just(None),
        2 => select(vec![-3 * DAY, -2 * HOUR, -HOUR, -MINUTE, -1, 0, 1, MINUTE, DAY])
            .prop_map(Some),
    ];
    let plain = plain_event().prop_map(|plain| PlainEvent { key: None, ..plain });
    vec((wait, plain, dated), 1..60)
}

fn rules() -> impl Strategy<Value = Vec<Rule>> {
    vec(rule(), 0..6).prop_map(|rules| {
        let named = rules.into_iter().enumerate();
        named
            .map(|(number, rule)| Rule {
                id: format!("r{number}"),
                name: format!("rule {number}"),
                ..rule
            })
            .collect()
    })
}

/// The calls with their times.
fn timed(calls: &[Call]) -> Vec<(Nanos, PlainEvent)> {
    let mut now = START;
    let timed = calls.iter().map(|(wait, plain, dated)| {
        now += wait;
        (now, PlainEvent { stamp: dated.map(|by| now + by), ..plain.clone() })
    });
    timed.collect()
}

/// What answers say of each rule: how many calls it judged, and how many did not fit, in all and by
/// key.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sums {
    calls: u64,
    exceeded: u64,
    newly_exceeded: u64,
    was_refused: u64,
    keys: BTreeMap<Vec<(String, String)>, (u64, u64)>,
}

fn figures(decision: &PlainDecision) -> impl Iterator<Item = &Figure> {
    decision.rates.iter().chain(&decision.quotas)
}

fn key_of(rule: &Rule, plain: &PlainEvent) -> Vec<(String, String)> {
    let value = |key: &str| match key {
        "customer_id" => Some(plain.customer.clone()),
        "event_type" => Some(plain.event_type.clone()),
        "model" => plain.model.clone(),
        "provider" => plain.provider.clone(),
        _ => plain.props.iter().find_map(|(known, value)| match value {
            Prop::Text(text) if known == key => Some(text.clone()),
            _ => None,
        }),
    };
    let stated = match &rule.missing {
        Missing::Stated(value) => Some(value.clone()),
        _ => None,
    };
    let mut key: Vec<_> = rule
        .per
        .iter()
        .map(|key| (key.clone(), value(key).or(stated.clone()).expect("it judged")))
        .collect();
    key.sort();
    key
}

/// A report says of its rules what the answers said.
fn same_sums(
    rules: &[Rule],
    report: &SimulationReport,
    answers: &[(PlainEvent, Option<bool>, Answer)],
) -> Result<(), TestCaseError> {
    let mut sums: BTreeMap<&str, Sums> = BTreeMap::new();
    let (mut calls, mut refused, mut newly, mut unjudged) = (0, 0, 0, 0);
    for (plain, was_let_in, answer) in answers {
        let Ok(decision) = answer else {
            unjudged += 1;
            continue;
        };
        calls += 1;
        refused += u64::from(!decision.is_admitted());
        newly += u64::from(!decision.is_admitted() && *was_let_in == Some(true));
        for figure in figures(decision) {
            let rule = rules.iter().find(|rule| rule.id == figure.id).expect("a rule of the set");
            let sum = sums.entry(&rule.id).or_default();
            let exceeds = u64::from(figure.exceeded);
            sum.calls += 1;
            sum.exceeded += exceeds;
            sum.newly_exceeded += if *was_let_in == Some(true) { exceeds } else { 0 };
            sum.was_refused += u64::from(*was_let_in == Some(false));
            let key = sum.keys.entry(key_of(rule, plain)).or_default();
            *key = (key.0 + 1, key.1 + exceeds);
        }
    }
    let totals = &report.calls;
    prop_assert_eq!((totals.calls, totals.refused), (calls, refused));
    prop_assert_eq!((totals.newly_refused, report.unjudged), (newly, unjudged));
    prop_assert_eq!(report.rules.len(), rules.len());
    for found in &report.rules {
        let sum = sums.remove(&*found.id).unwrap_or_default();
        prop_assert_eq!((found.calls, found.exceeded), (sum.calls, sum.exceeded), "{}", found.id);
        prop_assert_eq!(found.newly_exceeded, sum.newly_exceeded, "{}", &found.id);
        prop_assert_eq!(found.was_refused, sum.was_refused, "{}", &found.id);
        prop_assert_eq!(found.keys, sum.keys.len() as u64, "{}", &found.id);
        let worst = found.worst.iter().map(|one| {
            let key = one.key.iter().map(|(key, value)| (key.to_owned(), value.to_owned()));
            (key.collect::<Vec<_>>(), (one.calls, one.exceeded))
        });
        let exceeded = sum.keys.into_iter().filter(|(_, (_, exceeded))| *exceeded > 0);
        prop_assert_eq!(worst.collect::<BTreeMap<_, _>>(), exceeded.collect(), "{}", &found.id);
        prop_assert!(found.worst.is_sorted_by_key(|one| std::cmp::Reverse(one.exceeded)));
        prop_assert_eq!(found.others.exceeded, 0, "all are listed");
    }
    Ok(())
}

proptest! {
    #![proptest_config(config(300))]

    #[test]
    fn the_same_rules_answer_what_happened_and_others_what_they_would(
        (own, other) in (rules(), rules()),
        calls in calls(),
    ) {
        let off = |rules| move |it: limitry::EngineBuilder| {
            it.recording(Recording::Off).rule_set(rule_set(rules))
        };
        let (engine, clock) = engine(off(&own));
        let mut same = engine.simulation(rule_set(&own)).expect("good rules");
        let mut changed = engine.simulation(rule_set(&other)).expect("good rules");
        let mut oracle = Oracle::new(START).without_a_record();
        other.iter().for_each(|rule| oracle.add(rule.clone()));
        let (mut all, mut all_changed) = (Vec::new(), Vec::new());
        let mut attempts = Vec::new();
        for (at, plain) in timed(&calls) {
            clock.set(date(at));
            let happened = answer(engine.track(&event(&plain)));
            let let_in = happened.as_ref().ok().map(PlainDecision::is_admitted);
            let mut attempt = Attempt::new(date(at), event(&plain));
            if let Some(let_in) = let_in {
                attempt = attempt.was_let_in(let_in);
            }
            let simulated = answer(same.replay(&attempt));
            prop_assert_eq!(&simulated, &happened, "{:?}", plain);
            oracle.set_clock(at);
            let simulated = answer(changed.replay(&attempt));
            let judged = oracle.track(&plain, &simulated);
            prop_assert!(judged.is_ok(), "{:?}: {:?}", judged, plain);
            all.push((plain.clone(), let_in, happened));
            all_changed.push((plain, let_in, simulated));
            attempts.push(attempt);
        }
        same_sums(&own, &same.report(100), &all)?;
        let report = changed.report(100);
        same_sums(&other, &report, &all_changed)?;
        let unknown = all_changed.iter().filter(|(_, was, now)| was.is_none() && now.is_ok());
        prop_assert_eq!(report.calls.unknown, unknown.count() as u64);
        let again = engine.simulate(rule_set(&other), Traffic::given(&attempts).keys(100));
        prop_assert_eq!(again.expect("good rules"), report);
    }

    #[test]
    fn what_is_recorded_was_let_in_and_is_again(mut own in rules(), calls in calls()) {
        // Of a period that is closed an engine goes by the events, also where a rule in shadow has
        // counted fewer.
        for rule in own.iter_mut().filter(|rule| rule.enforce == Enforce::Shadow) {
            rule.enforce = Enforce::Soft;
        }
        // Of events that lack a dimension an engine does not know what they used of a period that
        // is closed, where a value stands in. A simulation keeps its counter.
        for rule in own.iter_mut().filter(|rule| matches!(rule.missing, Missing::Stated(_))) {
            rule.missing = Missing::Skip;
            rule.filter.retain(|(_, asked)| *asked != Asked::Absent);
        }
        let (engine, clock) = engine(|it| it.rule_set(rule_set(&own)));
        let mut let_in = Vec::new();
        for (at, plain) in timed(&calls) {
            clock.set(date(at));
            let answer = answer(engine.track(&event(&plain)));
            if answer.as_ref().is_ok_and(PlainDecision::is_admitted) {
                let_in.push((plain, Some(true), answer));
            }
        }
        clock.advance(duration(DAY));
        let recorded = || Traffic::recorded().keys(100);
        let report = engine.simulate(rule_set(&own), recorded()).expect("good rules");
        prop_assert_eq!(report.calls.refused, 0, "{}", report);
        same_sums(&own, &report, &let_in)?;
        prop_assert!(report.rules.iter().all(|rule| rule.starts_from == StartsFrom::Nothing));
        let slots = own.iter().filter(|rule| rule.kind == Kind::Slots).count();
        prop_assert_eq!(report.rules.iter().filter(|rule| rule.left_out).count(), slots);
        let again = engine.simulate(rule_set(&own), EventQuery::new()).expect("good rules");
        prop_assert_eq!(again.calls, report.calls);
    }
}
