//! Goal: what fires, and in which order, is what a naive statement of the rules says, whatever
//! comes.
//!
//! Method: random calls, times and changes of the rules, beside a model that keeps all events in a
//! list and sums them up anew each time. Both paths, with recording and without.

use std::collections::HashSet;
use std::time::Duration;

use limitry::alerts::Delivered;
use limitry::events::Recording;
use limitry::rules::{Enforcement, QuotaUpdate, Threshold};
use limitry::{Event, Metric, Period, Quota, Timestamp};
use proptest::prelude::*;

use crate::support::oracle::{DAY, HOUR, Nanos, SECOND};
use crate::support::{START, cases, config, date, engine};

const CUSTOMERS: [&str; 3] = ["ann", "bob", "cid"];
const PERCENT: [u32; 5] = [20, 50, 80, 100, 120];

#[derive(Clone, Debug)]
enum Step {
    Use { customer: usize, units: i64, dated: Option<Nanos>, forced: bool },
    Wait(Nanos),
    Limit(usize, i64),
    Thresholds(usize, Vec<u32>),
    Enabled(usize, bool),
}

/// A rule of the model, and what has fired of it.
struct Rule {
    id: &'static str,
    /// Length and phase of its periods.
    length: Nanos,
    per_customer: bool,
    hard: bool,
    limit: i64,
    thresholds: Vec<u32>,
    enabled: bool,
    fired: HashSet<(usize, u32, Nanos)>,
}

impl Rule {
    fn key(&self, customer: usize) -> usize {
        if self.per_customer { customer } else { usize::MAX }
    }

    fn period(&self, instant: Nanos) -> Nanos {
        instant.div_euclid(self.length)
    }
}

/// What an event used, when, and while which rules were on.
struct Use {
    customer: usize,
    units: i64,
    at: Nanos,
    counted: Vec<bool>,
}

struct Model {
    rules: Vec<Rule>,
    uses: Vec<Use>,
    /// Whether what came while a rule was off is known when it is on again.
    recorded: bool,
}

impl Model {
    fn used(&self, place: usize, customer: usize, instant: Nanos) -> i64 {
        let rule = &self.rules[place];
        let of_it = self.uses.iter().filter(|it| {
            rule.key(it.customer) == rule.key(customer)
                && rule.period(it.at) == rule.period(instant)
                && (it.counted[place] || self.recorded)
        });
        of_it.map(|it| it.units).sum()
    }

    /// What an event fires; `None` where it is refused.
    fn take(
        &mut self,
        now: Nanos,
        (customer, units, at): (usize, i64, Nanos),
        forced: bool,
    ) -> Option<Vec<(String, u32)>> {
        let refuses = |place: usize| {
            let rule = &self.rules[place];
            rule.enabled
                && rule.hard
                && units > 0
                && self.used(place, customer, at) + units > rule.limit
        };
        if !forced && (0..self.rules.len()).any(refuses) {
            return None;
        }
        let counted = self.rules.iter().map(|rule| rule.enabled).collect();
        self.uses.push(Use { customer, units, at, counted });
        let mut found = Vec::new();
        for place in 0..self.rules.len() {
            let used = self.used(place, customer, at);
            let rule = &mut self.rules[place];
            if !rule.enabled || units <= 0 || rule.period(at) != rule.period(now) {
                continue;
            }
            let mut thresholds = rule.thresholds.clone();
            thresholds.sort_unstable();
            for percent in thresholds {
                let reached = used * 100 >= rule.limit * i64::from(percent) && used > 0;
                let mark = (rule.key(customer), percent, rule.period(now));
                if reached && rule.fired.insert(mark) {
                    found.push((rule.id.to_owned(), percent));
                }
            }
        }
        Some(found)
    }
}

fn step() -> impl Strategy<Value = Step> {
    let rule = 0..3_usize;
    // Within the time for late events, and not beyond a day ahead.
    let dated = prop_oneof![
        6 => Just(None),
        1 => (-50 * 60..20 * 3_600_i64).prop_map(|seconds| Some(Nanos::from(seconds) * SECOND)),
    ];
    let used = (0..3_usize, prop_oneof![5 => 1..9_i64, 1 => -9..=0_i64], dated, any::<bool>());
    let used = used.prop_map(|(customer, units, dated, forced)| Step::Use {
        customer,
        units,
        dated,
        forced,
    });
    let waits = prop_oneof![Just(SECOND), Just(HOUR / 3), Just(HOUR), Just(5 * HOUR), Just(DAY)];
    let thresholds = prop::sample::subsequence(PERCENT.to_vec(), 0..=5);
    prop_oneof![
        20 => used,
        4 => waits.prop_map(Step::Wait),
        1 => (rule.clone(), 5..60_i64).prop_map(|(rule, limit)| Step::Limit(rule, limit)),
        1 => (rule.clone(), thresholds).prop_map(|(rule, all)| Step::Thresholds(rule, all)),
        1 => (rule, any::<bool>()).prop_map(|(rule, on)| Step::Enabled(rule, on)),
    ]
}

fn programs() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step(), 1..120)
}

fn percents(percents: &[u32]) -> Vec<Threshold> {
    percents.iter().map(|percent| Threshold::percent(*percent)).collect()
}

fn run(program: &[Step], recorded: bool, straight: bool) {
    let rule = |id, length, per_customer, hard| Rule {
        id,
        length,
        per_customer,
        hard,
        limit: 30,
        thresholds: vec![50, 80, 100],
        enabled: true,
        fired: HashSet::new(),
    };
    let rules = vec![
        rule("hour", HOUR, true, true),
        rule("day", DAY, true, false),
        rule("all", DAY, false, false),
    ];
    let quota = |rule: &Rule| {
        let period = if rule.length == HOUR { Period::Hour } else { Period::Day };
        let quota = Quota::new(rule.id, Metric::value("units"), rule.limit, period).id(rule.id);
        let hard = if rule.hard { Enforcement::Hard } else { Enforcement::Soft };
        let quota = quota.enforcement(hard);
        let quota = if rule.per_customer { quota.per("customer_id") } else { quota };
        percents(&rule.thresholds).into_iter().fold(quota, Quota::alert_at)
    };
    let keep = if recorded { Recording::Newest(10_000) } else { Recording::Off };
    let (engine, clock) = engine(|builder| {
        rules.iter().fold(builder.recording(keep), |builder, rule| builder.quota(quota(rule)))
    });
    engine.go_straight(straight);
    let mut model = Model { rules, uses: Vec::new(), recorded };
    let (mut now, alerts) = (START, engine.alerts());
    for step in program {
        let update = |place: usize, update| {
            let id = ["hour", "day", "all"][place];
            engine.rules().update(id, update).expect("a valid change");
        };
        match step {
            Step::Wait(length) => {
                now += length;
                clock.advance(Duration::from_nanos(u64::try_from(*length).expect("short")));
            }
            Step::Limit(place, limit) => {
                model.rules[*place].limit = *limit;
                update(*place, QuotaUpdate::new().limit(*limit));
            }
            Step::Thresholds(place, all) => {
                model.rules[*place].thresholds.clone_from(all);
                update(*place, QuotaUpdate::new().alert_thresholds(percents(all)));
            }
            Step::Enabled(place, on) => {
                model.rules[*place].enabled = *on;
                update(*place, QuotaUpdate::new().enabled(*on));
            }
            Step::Use { customer, units, dated, forced } => {
                let event = Event::new(CUSTOMERS[*customer], "call").value("units", *units);
                let at: Nanos = dated.map_or(now, |ahead| now + ahead);
                let stamp: Option<Timestamp> = dated.map(|_| date(at));
                let event = match stamp {
                    Some(stamp) => event.timestamp(stamp),
                    None => event,
                };
                let answer = if *forced { engine.record(&event) } else { engine.track(&event) };
                let answer = answer.expect("a valid event");
                let expected = model.take(now, (*customer, *units, at), *forced);
                assert_eq!(answer.is_allowed(), expected.is_some(), "{step:?}");
                let found: Vec<Delivered> = std::iter::from_fn(|| alerts.poll()).collect();
                for alert in &found {
                    let place = model.rules.iter().position(|rule| rule.id == alert.rule_id);
                    let used = model.used(place.expect("one of them"), *customer, at);
                    assert_eq!(alert.used, used, "{alert:?}");
                }
                let mut found: Vec<(String, u32)> = found
                    .iter()
                    .map(|it| match it.threshold {
                        Threshold::Percent(percent) => (it.rule_id.clone(), percent),
                        other => panic!("{other:?}"),
                    })
                    .collect();
                let mut expected = expected.unwrap_or_default();
                // Of several rules the order is any; of one it ascends.
                found.sort_by(|a, b| a.0.cmp(&b.0));
                expected.sort_by(|a, b| a.0.cmp(&b.0));
                assert_eq!(found, expected, "{step:?}");
            }
        }
    }
}

proptest! {
    #![proptest_config(config(cases(60)))]

    #[test]
    fn what_fires_is_what_a_naive_statement_says(
        program in programs(),
        recorded: bool,
        straight: bool,
    ) {
        run(&program, recorded, straight);
    }
}
