//! Rows of keys, and crossings: which thresholds of watched counters fire.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use chrono_tz::Tz;
use proptest::prelude::*;

use super::crossings::{CrossedRow, Crossing};
use super::*;
use crate::base::calendar::Unit;
use crate::base::clock::Timestamp;
use crate::counters::algorithms::periods::{Lateness, Periods};
use crate::counters::algorithms::{
    CalendarPeriod, FixedWindow, Gauge, GaugePeriod, Policy, SlidingWindow, TokenBucket,
};
use crate::counters::counter::{ChangeTime, Counter, CounterSet, Watch};
use crate::customers::{Calendars, OwnCalendar};
use crate::event::Dimension;
use crate::rules::{Cost, Metric, Overflow, Period, Quota, Rate, Rule, Threshold, Units};

const LIMIT: Units = 40;
/// The thresholds of counters that are watched.
const AT: [Units; 4] = [10, 20, 30, 40];
const SECOND: u64 = 1_000_000_000;

fn timeline() -> Timeline {
    Timeline::starting(Timestamp::new(1_700_000_000, 0))
}

/// The time so many nanoseconds after the engine has started.
fn moment(nanos: u64) -> Moment {
    Moment(timeline().moment(Timestamp::new(1_700_000_000, 0)).0 + nanos)
}

/// One of each algorithm, of a limit of [`LIMIT`].
fn policies() -> Vec<Policy> {
    let periods = || Periods::new(Unit::Hour, Lateness::from(0));
    let rate = Rate { units: 4, nanos: SECOND, depth: LIMIT.unsigned_abs() * u128::from(SECOND) };
    vec![
        Policy::TokenBucket(TokenBucket::new(rate)),
        Policy::FixedWindow(FixedWindow::new(LIMIT, 10 * SECOND, timeline())),
        Policy::SlidingWindow(SlidingWindow::new(LIMIT, 10 * SECOND)),
        Policy::SlidingWindow(SlidingWindow::rolling(LIMIT, 10 * SECOND)),
        Policy::CalendarPeriod(CalendarPeriod::new(LIMIT, periods())),
        Policy::GaugePeriod(GaugePeriod::new(LIMIT, Gauge::Highest, periods())),
        Policy::GaugePeriod(GaugePeriod::new(LIMIT, Gauge::Latest, periods())),
    ]
}

/// A counter with the thresholds of [`AT`].
fn watched(counter: Counter) -> Counter {
    let amount = |units: &Units| Threshold::amount(i64::try_from(*units).expect("a small one"));
    counter.watched(Watch::of(AT.iter().map(|units| (*units, amount(units)))))
}

/// The rule and the threshold of each crossing.
fn fired(crossings: &[Crossing]) -> Vec<(u32, Units)> {
    let units = |crossing: &Crossing| match crossing.mark.threshold {
        Threshold::Amount(amount) => amount.millionths() / 1_000_000,
        Threshold::Percent(_) => panic!("all are amounts"),
    };
    crossings.iter().map(|crossing| (crossing.rule, units(crossing))).collect()
}

struct Counters {
    table: Table,
    counters: CounterSet,
}

impl Counters {
    fn new(counters: impl IntoIterator<Item = Counter>) -> Self {
        let table = Table::new(1_000, timeline(), 2);
        let since = Arc::new(ChangeTime::from(timeline().at(Moment(0), None)));
        let counters: Vec<Counter> = counters.into_iter().collect();
        let counters = CounterSet::new(1, since, counters.iter());
        table.open(1);
        Self { table, counters }
    }

    fn watching(policies: Vec<Policy>) -> Self {
        let numbered = (1..).zip(policies);
        Self::new(numbered.map(|(number, policy)| watched(Counter::new(number, policy))))
    }

    /// Asks every rule about an event of a key; returns the figures and the crossings.
    fn ask(
        &self,
        intent: Intent,
        key: &str,
        cost: Cost,
        now: Moment,
    ) -> (Vec<Units>, Option<Vec<Crossing>>) {
        // A hash whose bits of the shard differ.
        let hash = key.bytes().fold(0, |hash: u64, byte| (hash << 8) | u64::from(byte)) << 40;
        let mut rows = RowAddresses::default();
        rows.lists().push_value(key);
        rows.lists().push(hash, 0);
        let counters = &self.counters;
        let at = timeline().at(now, None);
        let rules = (0..).take_while(|rule| counters.counter(*rule).is_some());
        let matches: Vec<_> = rules.map(|rule| Match { rule, row: 0, judges: true }).collect();
        let request = Request { counters, intent, rows: &rows, history: None };
        let (mut verdict, mut crossings) = (Verdict::at(at), None);
        verdict.ask(intent, &matches, |_| cost);
        let mut commit = |committed: &Committed<'_>| crossings = Some(committed.crossings.to_vec());
        self.table.decide(&request, &mut verdict, Some(&mut commit)).expect("decided");
        let used = verdict.charges.iter().map(|charge| {
            let policy = &counters.counter(charge.rule).expect("a rule").policy;
            policy.figures(&charge.reading, verdict.at, timeline()).used
        });
        (used.collect(), crossings)
    }

    fn stands(&self, key: &str, now: Moment) -> Vec<Units> {
        self.ask(Intent::Standing, key, Cost::NOTHING, now).0
    }

    fn charge(&self, intent: Intent, key: &str, units: Units, now: Moment) -> Vec<Crossing> {
        let cost = Cost { units, counts: true };
        self.ask(intent, key, cost, now).1.unwrap_or_default()
    }
}

#[test]
fn each_row_counts_by_the_calendar_of_its_key() {
    let day = CalendarPeriod::new(LIMIT, Periods::new(Unit::Day, Lateness::from(0)));
    let mut counters = Counters::new([Counter::new(1, day.into())]);
    // It is 22:13:20 in UTC. Midnights are in 6 400 seconds, then in Nepal, then in India.
    let keys = [
        ("utc", Tz::UTC, 6_400),
        ("nepal", Tz::Asia__Kathmandu, 72_100),
        ("india", Tz::Asia__Kolkata, 73_000),
    ];
    let calendars = Calendars::default();
    for (key, zone, _) in keys {
        let own = OwnCalendar { zone: Some(zone), anchor: None };
        calendars.set(&Dimension::CustomerId, key, own);
    }
    let partition: Box<[_]> = [Dimension::CustomerId].into();
    let partitions = [(0, partition)].into_iter().collect();
    counters.counters = counters.counters.by_calendars(calendars.into(), partitions);
    let ask = |(key, _, _): (&str, Tz, u64), intent, units, second: u64| {
        let cost = Cost { units, counts: true };
        counters.ask(intent, key, cost, moment(second * SECOND)).0
    };
    for key in keys {
        assert_eq!(ask(key, Intent::Track, 7, 0), [7]);
    }
    for key in keys {
        let (.., midnight) = key;
        assert_eq!(ask(key, Intent::Standing, 0, midnight - 1), [7]);
        assert_eq!(ask(key, Intent::Track, 5, midnight), [5]);
    }
}

#[test]
fn a_threshold_fires_with_the_use_that_reaches_it() {
    // Buckets and windows have no period to fire in.
    let counters = Counters::watching(policies());
    let charge = |units, second: u64| {
        fired(&counters.charge(Intent::Track, "a", units, moment(second * SECOND)))
    };
    assert_eq!(charge(9, 0), []);
    // Of gauges the amount itself is the figure.
    assert_eq!(charge(1, 0), [(3, 10), (4, 10)]);
    assert_eq!(
        charge(21, 0),
        [(3, 20), (3, 30), (4, 20), (4, 30), (5, 10), (5, 20), (6, 10), (6, 20)]
    );
    assert_eq!(charge(9, 0), [(3, 40), (4, 40)]);
    // Of what rolls a new span begins when the old one has passed.
    assert_eq!(charge(0, 10), []);
    let counters = Counters::watching(vec![policies().swap_remove(3)]);
    let charge =
        |units, nanos: u64| fired(&counters.charge(Intent::Track, "a", units, moment(nanos)));
    assert_eq!(charge(25, SECOND / 2), [(0, 10), (0, 20)]);
    assert_eq!(charge(15, 9 * SECOND), [(0, 30), (0, 40)]);
    assert_eq!(charge(11, 11 * SECOND), [(0, 10), (0, 20)]);
    assert_eq!(charge(14, 12 * SECOND), [], "what fired at 9 seconds does so for ten");
    assert_eq!(charge(14, 19 * SECOND), [(0, 30)]);
}

#[test]
fn a_crossing_says_what_is_used_and_of_which_key() {
    let counters = Counters::watching(policies());
    let crossings = counters.charge(Intent::Track, "a", 15, moment(0));
    for crossing in &crossings {
        assert_eq!(crossing.row, CrossedRow::Key(0, ["a".into()].into()));
        assert_eq!((crossing.used, crossing.mark.lineage), (15, crossing.rule + 1));
    }
    let hour = crossings.iter().find(|crossing| crossing.rule == 4).expect("a quota");
    assert_eq!((hour.mark.start, hour.mark.end), (1_699_999_200, 1_700_002_800));
}

#[test]
fn what_is_refused_or_asked_or_nothing_fires_nothing() {
    let counters = Counters::watching(policies());
    assert_eq!(counters.charge(Intent::Check, "a", 30, moment(0)), []);
    assert_eq!(counters.charge(Intent::Track, "a", LIMIT + 1, moment(0)), []);
    assert_eq!(counters.charge(Intent::Track, "a", 0, moment(0)), []);
    assert_eq!(counters.charge(Intent::Record, "a", -50, moment(0)), []);
    let unwatched = (1..).zip(policies()).map(|(number, policy)| Counter::new(number, policy));
    assert_eq!(Counters::new(unwatched).charge(Intent::Track, "a", 30, moment(0)), []);
    let one = (1..).zip(policies().into_iter().skip(3));
    let one = one.map(|(number, policy)| Counter::new(number, policy));
    let one = one.enumerate().map(|(at, one)| if at == 1 { watched(one) } else { one });
    let crossings = Counters::new(one).charge(Intent::Track, "a", 13, moment(0));
    assert_eq!(fired(&crossings), [(1, 10)]);
}

#[test]
fn keys_without_room_fire_once_for_what_they_share() {
    let mut quota = Quota::new("tokens", Metric::TotalTokens, 40, Period::Hour);
    (quota.max_keys, quota.overflow) = (Some(1), Overflow::Share);
    let policy = policies().swap_remove(4);
    let counters = Counters::new([watched(Counter::new(1, policy).of_rule(&Rule::from(quota)))]);
    let charge = |key, units| {
        let crossings = counters.charge(Intent::Track, key, units, moment(0));
        let rows = crossings.iter().map(|crossing| crossing.row.clone());
        (rows.collect::<Vec<_>>(), fired(&crossings))
    };
    let own = CrossedRow::Key(0, ["a".into()].into());
    assert_eq!(charge("a", 12), (vec![own], vec![(0, 10)]));
    assert_eq!(charge("b", 7), (vec![], vec![]));
    assert_eq!(charge("c", 9), (vec![CrossedRow::Shared(1)], vec![(0, 10)]));
    assert_eq!(charge("b", 1), (vec![], vec![]));
}

#[derive(Clone, Debug)]
struct Step {
    intent: Intent,
    key: &'static str,
    units: Units,
    nanos: u64,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let intent = prop_oneof![4 => Just(Intent::Track), 1 => Just(Intent::Record)];
    let nanos = prop_oneof![Just(0), 0..3 * SECOND, Just(SECOND / 3), Just(3_600 * SECOND)];
    let step = (intent, prop_oneof![Just("a"), Just("b"), Just("c")], -9..17_i128, nanos);
    let step = step.prop_map(|(intent, key, units, nanos)| Step { intent, key, units, nanos });
    prop::collection::vec(step, 1..90)
}

proptest! {
    /// What fires is what a standing right after says is reached, and has not fired in the period:
    /// in the hour, or in the ten seconds before of what rolls.
    #[test]
    fn thresholds_fire_once_a_period(steps in steps(), straight: bool) {
        let counters = Counters::watching(policies().split_off(3));
        counters.table.go_straight(straight);
        let mut nanos = 0;
        let mut known: HashMap<(&str, u32, Units), i64> = HashMap::new();
        for Step { intent, key, units, nanos: later } in steps {
            nanos += later;
            let at = timeline().at(moment(nanos), None);
            let cost = Cost { units, counts: true };
            let crossings = counters.ask(intent, key, cost, moment(nanos)).1;
            let found = fired(crossings.as_deref().unwrap_or_default());
            let mut expected = Vec::new();
            if crossings.is_some() && units > 0 {
                let stands = counters.stands(key, moment(nanos));
                for (rule, used) in (0..).zip(stands) {
                    let hour = at.now_second.div_euclid(3_600) * 3_600 + 3_600;
                    let end = if rule == 0 { at.now_second + 10 } else { hour };
                    for threshold in AT.into_iter().filter(|threshold| *threshold <= used) {
                        let until = known.entry((key, rule, threshold)).or_insert(i64::MIN);
                        if *until <= at.now_second {
                            *until = end;
                            expected.push((rule, threshold));
                        }
                    }
                }
            }
            prop_assert_eq!(found, expected);
        }
    }
}

#[test]
fn a_threshold_fires_once_under_parallel_calls() {
    const THREADS: usize = 4;
    const CALLS: usize = 200;
    for round in 0..10 {
        let counters = Counters::watching(policies().split_off(3));
        let seen = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let (counters, seen) = (&counters, &seen);
                scope.spawn(move || {
                    for call in 0..CALLS / THREADS {
                        let units = ((thread + call + round) % 3) as Units;
                        let crossings = counters.charge(Intent::Track, "a", units, moment(0));
                        seen.lock().expect("no panic").extend(fired(&crossings));
                    }
                });
            }
        });
        let mut seen = seen.into_inner().expect("no panic");
        seen.sort_unstable();
        let mut expected = Vec::new();
        for (rule, used) in (0..).zip(counters.stands("a", moment(0))) {
            expected.extend(AT.into_iter().filter(|at| *at <= used).map(|at| (rule, at)));
        }
        assert_eq!(seen, expected);
    }
}
