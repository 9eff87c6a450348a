//! Rows of keys, and crossings: from where to where charges move counters that are watched.

use std::sync::{Arc, Mutex};

use chrono_tz::Tz;
use proptest::prelude::*;

use super::request::Crossing;
use super::*;
use crate::base::calendar::{Calendar, Unit};
use crate::base::clock::Timestamp;
use crate::counters::algorithms::periods::{Lateness, Periods};
use crate::counters::algorithms::{
    CalendarPeriod, FixedWindow, Gauge, GaugePeriod, Policy, SlidingWindow, TokenBucket,
};
use crate::counters::counter::{ChangeTime, Counter, CounterSet};
use crate::rules::{Cost, Metric, Overflow, Period, Quota, Rate, Rule, Units};

const LIMIT: Units = 40;
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
        Self::new(numbered.map(|(number, policy)| Counter::new(number, policy).watching(LIMIT)))
    }

    /// Asks every rule about an event of a key; returns the figures and the crossings.
    fn ask(
        &self,
        intent: Intent,
        key: &str,
        cost: Cost,
        now: Moment,
    ) -> (Vec<Units>, Option<Vec<Crossing>>) {
        self.ask_in(Calendar::UTC, intent, key, cost, now)
    }

    /// The same of a key with a calendar of its own.
    fn ask_in(
        &self,
        calendar: Calendar,
        intent: Intent,
        key: &str,
        cost: Cost,
        now: Moment,
    ) -> (Vec<Units>, Option<Vec<Crossing>>) {
        // A hash whose bits of the shard differ.
        let hash = key.bytes().fold(0, |hash: u64, byte| (hash << 8) | u64::from(byte)) << 40;
        let mut rows = RowAddresses::default();
        rows.lists().push_value(key);
        rows.lists().push(hash, 0, calendar);
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
    let counters = Counters::new([Counter::new(1, day.into())]);
    // It is 22:13:20 in UTC. Midnights are in 6 400 seconds, then in Nepal, then in India.
    let keys = [
        ("utc", Tz::UTC, 6_400),
        ("nepal", Tz::Asia__Kathmandu, 72_100),
        ("india", Tz::Asia__Kolkata, 73_000),
    ];
    let ask = |(key, zone, _): (&str, Tz, u64), intent, units, second: u64| {
        let (calendar, cost) = (Calendar::UTC.in_zone(zone), Cost { units, counts: true });
        counters.ask_in(calendar, intent, key, cost, moment(second * SECOND)).0
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
fn a_crossing_says_where_the_counter_was_and_is() {
    let counters = Counters::watching(policies());
    for (before, after) in [(0, 25), (25, 26), (26, 40)] {
        let crossings = counters.charge(Intent::Track, "a", after - before, moment(0));
        // Of gauges the amount itself is the figure.
        let (sums, gauges): (Vec<Crossing>, Vec<Crossing>) =
            crossings.into_iter().partition(|crossing| crossing.rule < 5);
        let rules: Vec<u32> = sums.iter().map(|crossing| crossing.rule).collect();
        assert_eq!(rules, [0, 1, 2, 3, 4]);
        for crossing in sums {
            let Crossing { row, limit, .. } = crossing;
            assert_eq!((row, limit), (Some(0), LIMIT));
            assert_eq!((crossing.before, crossing.after), (before, after), "{crossing:?}");
        }
        for crossing in gauges {
            assert_eq!(crossing.after, after - before, "{crossing:?}");
        }
    }
}

#[test]
fn what_is_refused_or_asked_or_nothing_yields_none() {
    let counters = Counters::watching(policies());
    assert_eq!(counters.charge(Intent::Check, "a", 3, moment(0)), []);
    assert_eq!(counters.charge(Intent::Track, "a", LIMIT + 1, moment(0)), []);
    let mut sums = policies();
    sums.truncate(5);
    let counters = Counters::watching(sums);
    assert_eq!(counters.charge(Intent::Track, "a", 0, moment(0)), []);
    assert_eq!(counters.charge(Intent::Record, "a", 5, moment(0)).len(), 5);
}

#[test]
fn only_what_is_watched_yields_crossings() {
    let unwatched = || (1..).zip(policies()).map(|(number, policy)| Counter::new(number, policy));
    assert_eq!(Counters::new(unwatched()).charge(Intent::Track, "a", 3, moment(0)), []);
    let one = unwatched().enumerate();
    let one = one.map(|(at, counter)| if at == 1 { counter.watching(7) } else { counter });
    let crossings = Counters::new(one).charge(Intent::Track, "a", 3, moment(0));
    let expected = Crossing { rule: 1, row: Some(0), before: 0, after: 3, limit: 7 };
    assert_eq!(crossings, [expected]);
}

#[test]
fn keys_without_room_cross_what_they_share() {
    let mut quota = Quota::new("tokens", Metric::TotalTokens, 40, Period::Hour);
    (quota.max_keys, quota.overflow) = (Some(1), Overflow::Share);
    let policy = policies().swap_remove(4);
    let counter = Counter::new(1, policy).of_rule(&Rule::from(quota)).watching(LIMIT);
    let counters = Counters::new([counter]);
    let crossing = |row, before, after| Crossing { rule: 0, row, before, after, limit: LIMIT };
    let charge = |key, units| counters.charge(Intent::Track, key, units, moment(0));
    assert_eq!(charge("a", 5), [crossing(Some(0), 0, 5)]);
    assert_eq!(charge("b", 7), [crossing(None, 0, 7)]);
    assert_eq!(charge("c", 9), [crossing(None, 7, 16)]);
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
    let step = (intent, prop_oneof![Just("a"), Just("b"), Just("c")], -4..12_i128, nanos);
    let step = step.prop_map(|(intent, key, units, nanos)| Step { intent, key, units, nanos });
    prop::collection::vec(step, 1..60)
}

proptest! {
    /// Each crossing goes from what a standing said right before to what it says right after, and
    /// what moved without one did not move.
    #[test]
    fn crossings_are_what_standings_say(steps in steps()) {
        let counters = Counters::watching(policies());
        let mut nanos = 0;
        for Step { intent, key, units, nanos: later } in steps {
            nanos += later;
            let before = counters.stands(key, moment(nanos));
            let crossings = counters.charge(intent, key, units, moment(nanos));
            let after = counters.stands(key, moment(nanos));
            for (rule, (before, after)) in (0..).zip(before.iter().zip(after)) {
                let of_rule = crossings.iter().find(|crossing| crossing.rule == rule);
                let found = of_rule.map(|crossing| (crossing.before, crossing.after));
                prop_assert_eq!(found, (*before != after).then_some((*before, after)));
            }
        }
    }

    /// What a counter is moved by, together, is what is used of it, as long as nothing drains.
    #[test]
    fn crossings_add_up_to_the_use(steps in steps()) {
        let counters = Counters::watching(policies());
        let mut sums = std::collections::HashMap::new();
        for Step { intent, key, units, .. } in &steps {
            for crossing in counters.charge(*intent, key, *units, moment(0)) {
                let Crossing { rule, before, after, .. } = crossing;
                let sum = sums.entry((*key, rule)).or_insert(0);
                prop_assert_eq!(*sum, before, "each begins where the one before ended");
                *sum = after;
            }
        }
        for key in ["a", "b", "c"] {
            let stands = counters.stands(key, moment(0));
            for (rule, used) in (0..).zip(stands) {
                prop_assert_eq!(used, sums.get(&(key, rule)).copied().unwrap_or(0));
            }
        }
    }
}

#[test]
fn a_threshold_is_crossed_once_by_parallel_calls() {
    const THREADS: usize = 4;
    const CALLS: usize = 200;
    let mut sums = policies();
    sums.truncate(5);
    for round in 0..10 {
        let counters = Counters::watching(sums.clone());
        let seen = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let (counters, seen) = (&counters, &seen);
                scope.spawn(move || {
                    for call in 0..CALLS / THREADS {
                        let units = ((thread + call + round) % 3) as Units;
                        let crossings = counters.charge(Intent::Track, "a", units, moment(0));
                        seen.lock().expect("no panic").extend(crossings);
                    }
                });
            }
        });
        let seen = seen.into_inner().expect("no panic");
        for (rule, used) in (0..).zip(counters.stands("a", moment(0))) {
            let of_rule = || seen.iter().filter(|crossing| crossing.rule == rule);
            assert_eq!(
                of_rule().map(|crossing| crossing.after - crossing.before).sum::<i128>(),
                used
            );
            for threshold in 1..=used {
                let crossed = |crossing: &&Crossing| {
                    crossing.before < threshold && threshold <= crossing.after
                };
                assert_eq!(of_rule().filter(crossed).count(), 1, "{threshold} of {used}");
            }
        }
    }
}
