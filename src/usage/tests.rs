//! The roll-ups against a naive fold of the same events.

use std::collections::BTreeMap;
use std::ops::Range;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng as StdRng;

use super::cells::{Fold, effort};
use super::columns::MAX_VALUE_NAMES;
use super::countable::Countable;
use super::grid::{Grid, UNITS};
use super::plan::{Plan, start_of};
use super::rollups::Rollups;
use super::row::Total;
use super::select::{Group, Selector, Values};
use super::{RollupOptions, UsageTotals};
use crate::base::amount::Amount;
use crate::base::clock::Timestamp;
use crate::event::{Dimension, ValueName};
use crate::log::Dropped;
use crate::rules::Condition;

/// An event as the roll-ups see it.
#[derive(Clone, Debug)]
pub(super) struct Happened {
    pub(super) at: Timestamp,
    pub(super) now: Timestamp,
    pub(super) dimensions: BTreeMap<Dimension, String>,
    pub(super) tokens: Option<u64>,
    pub(super) named: Vec<(String, Amount)>,
}

impl Countable for Happened {
    fn dimension(&self, dimension: &Dimension) -> Option<&str> {
        self.dimensions.get(dimension).map(String::as_str)
    }

    fn whole(&self, name: &ValueName) -> Option<u64> {
        (*name == ValueName::TotalTokens).then_some(self.tokens).flatten()
    }

    fn cost_cents(&self) -> Option<Amount> {
        None
    }

    fn named(&self) -> impl Iterator<Item = (&str, Amount)> {
        self.named.iter().map(|(name, amount)| (name.as_str(), *amount))
    }
}

pub(super) fn hasher() -> ahash::RandomState {
    ahash::RandomState::with_seeds(1, 2, 3, 4)
}

pub(super) const START: i64 = 1_700_000_000;

pub(super) fn draw(rng: &mut StdRng, now: &mut i64, values: u32) -> Happened {
    *now += rng.random_range(0..40);
    let late = match rng.random_range(0..50) {
        0..5 => rng.random_range(0..200_000),
        5 => rng.random_range(-86_400..0),
        _ => 0,
    };
    event(rng, *now, late, values)
}

/// An event of many in a minute, so that not all of one is folded when the next one is over.
pub(super) fn draw_dense(rng: &mut StdRng, now: &mut i64, values: u32) -> Happened {
    if rng.random_bool(0.015) {
        *now += rng.random_range(0..90);
    }
    let late = match rng.random_range(0..50) {
        0..8 => rng.random_range(0..180),
        8 => rng.random_range(0..200_000),
        9 => rng.random_range(-120..0),
        _ => 0,
    };
    event(rng, *now, late, values)
}

fn event(rng: &mut StdRng, now: i64, late: i64, values: u32) -> Happened {
    let mut dimensions = BTreeMap::new();
    for name in ["customer_id", "event_type", "model"] {
        if rng.random_bool(0.9) {
            let most = if name == "customer_id" { values } else { 3 };
            let value = format!("{name}_{}", rng.random_range(0..most));
            dimensions.insert(Dimension::parse(name), value);
        }
    }
    let tokens = match rng.random_range(0..20) {
        0 => Some(u64::MAX),
        1..=15 => Some(rng.random_range(0..1_000)),
        _ => None,
    };
    let mut named = Vec::new();
    for name in ["images", "gpu_seconds"] {
        if rng.random_bool(0.3) {
            named.push((name.to_owned(), Amount::from_millionths(rng.random_range(-5..1_000_000))));
        }
    }
    let at = Timestamp::new(now - late, rng.random_range(0..1_000_000_000));
    Happened { at, now: Timestamp::new(now, 0), dimensions, tokens, named }
}

#[derive(Debug, Default, PartialEq)]
pub(super) struct Sums {
    pub(super) events: u64,
    tokens: u128,
    images: i128,
    largest: Option<i128>,
    latest: Option<(Timestamp, u64, i128)>,
}

pub(super) fn naive(
    events: &[Happened],
    range: &Range<Timestamp>,
    selector: &Selector,
) -> BTreeMap<Values, Sums> {
    let mut groups: BTreeMap<Values, Sums> = BTreeMap::new();
    for (ordinal, event) in (0_u64..).zip(events) {
        let has = |(dimension, condition): &(Dimension, Condition)| {
            condition.is_met_by(event.dimension(dimension))
        };
        if !range.contains(&event.at) || !selector.filter.iter().all(has) {
            continue;
        }
        let group = selector.group_by.iter().map(|it| event.dimension(it).map(Box::from));
        let sums = groups.entry(group.collect()).or_default();
        sums.events += 1;
        sums.tokens += u128::from(event.tokens.unwrap_or(0));
        let images = event.amount(&ValueName::parse("images")).map(Amount::millionths);
        sums.images += images.unwrap_or(0);
        sums.largest = sums.largest.max(images);
        if let Some(images) = images {
            let found = (event.at, ordinal, images);
            sums.latest = sums.latest.max(Some(found));
        }
    }
    groups
}

pub(super) fn found(rollups: &Rollups, total: &Total) -> Sums {
    let images = ValueName::parse("images");
    let cell = |fold| {
        let (column, _) = rollups.columns.find(&images, fold)?;
        total.cells().find(|cell| cell.column == column)
    };
    let latest = cell(Fold::Latest).map(|cell| {
        let (at, ordinal) = cell.mark();
        (at, ordinal, cell.value())
    });
    Sums {
        events: total.events,
        tokens: total.fixed[2].unsigned_abs(),
        images: cell(Fold::Sum).map_or(0, |cell| cell.value()),
        largest: cell(Fold::Max).map(|cell| cell.value()),
        latest,
    }
}

pub(super) fn selectors(rng: &mut StdRng, values: u32) -> Selector {
    let mut selector = Selector::default();
    for name in ["customer_id", "event_type", "model"] {
        if rng.random_bool(0.3) {
            let most = if name == "customer_id" { values + 1 } else { 4 };
            let mut value = || format!("{name}_{}", rng.random_range(0..most));
            let values = [value(), value()];
            let conditions = match rng.random_range(0..12) {
                0 => vec![Condition::one_of(values)],
                1 => vec![Condition::none_of(values)],
                2 => vec![Condition::prefix(&values[0])],
                3 => vec![Condition::Present],
                4 => vec![Condition::Absent],
                5 => vec![Condition::one_of(&values), Condition::not(&values[1])],
                _ => vec![Condition::from(&values[0])],
            };
            let of_dimension = conditions.into_iter().map(|it| (Dimension::parse(name), it));
            selector.filter.extend(of_dimension);
        }
    }
    for _ in 0..[0, 0, 0, 0, 1, 1, 1, 1, 2, 3][rng.random_range(0..10)] {
        let name = ["customer_id", "event_type", "model"][rng.random_range(0..3)];
        selector.group_by.push(Dimension::parse(name));
    }
    selector
}

/// What a plan's buckets cover, as one range; `None` where they cover nothing.
pub(super) fn of_buckets(plan: &Plan) -> Option<Range<Timestamp>> {
    let grid = |level| Grid::of(UNITS[level]);
    let (first, last) = (plan.pieces.first()?, plan.pieces.last()?);
    let start = grid(first.level).start(first.buckets.start);
    let end = grid(last.level).start(last.buckets.end);
    Some(start_of(start)..start_of(end))
}

fn compare(seed: u64, options: &RollupOptions, values: u32, exact: bool) {
    compare_from(seed, options, values, exact, i64::MIN);
}

/// The same where hours are whole before a minute, as older stores have them.
fn compare_from(seed: u64, options: &RollupOptions, values: u32, exact: bool, coarse: i64) {
    compare_drawn(seed, options, values, exact, coarse, draw);
}

/// The same with many events a minute. Returns how many came while rows were folded.
fn compare_dense(seed: u64, options: &RollupOptions, values: u32, exact: bool) -> usize {
    compare_drawn(seed, options, values, exact, i64::MIN, draw_dense)
}

fn compare_drawn(
    seed: u64,
    options: &RollupOptions,
    values: u32,
    exact: bool,
    coarse: i64,
    draw: impl Fn(&mut StdRng, &mut i64, u32) -> Happened,
) -> usize {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut rollups = Rollups::new(options, &hasher());
    for level in rollups.values.iter_mut().chain(&mut rollups.combined) {
        level.grid.coarse = coarse;
    }
    let images = ValueName::parse("images");
    rollups.track(&[(images.clone(), Fold::Max), (images, Fold::Latest)], &Dropped::new());
    let all = Dropped::of(Timestamp::MIN, Timestamp::MAX);
    let (mut events, mut now, mut answered, mut folding) = (Vec::new(), START, 0, 0);
    for _ in 0..3_000 {
        let event = draw(&mut rng, &mut now, values);
        rollups.add(&event, event.at, event.now, events.len() as u64);
        events.push(event);
        folding += usize::from(rollups.is_folding());
        if !rng.random_bool(0.06) {
            continue;
        }
        let start = START - 200_000 + rng.random_range(0..200_000);
        let end = start + rng.random_range(60..300_000);
        let selector = selectors(&mut rng, values);
        let Some(kind) = rollups.kind_of(&selector) else { continue };
        let floors = rollups.floors(kind, &all);
        let plan = floors.plan(Timestamp::new(start, 0)..Timestamp::new(end, 0));
        let Some(range) = of_buckets(&plan) else { continue };
        let Some(groups) = rollups.fold(&selector, kind, std::slice::from_ref(&plan), None) else {
            assert!(!exact, "seed {seed}: nothing is beyond a cap here");
            continue;
        };
        answered += 1;
        let expected = naive(&events, &range, &selector);
        let mut total = (0, 0);
        let mut others = false;
        for (group, totals) in &groups {
            let none = Total::default();
            let sums = found(&rollups, totals.get(0).unwrap_or(&none));
            total = (total.0 + sums.events, total.1 + sums.tokens);
            let Group::Values(values) = group else {
                others |= sums.events > 0;
                continue;
            };
            if exact {
                let wanted = expected.get(values);
                let wanted = wanted.unwrap_or(const { &Sums { events: 0, tokens: 0, images: 0,
                    largest: None, latest: None } });
                assert_eq!(&sums, wanted, "seed {seed}: {selector:?} {group:?} {plan:?}");
            }
        }
        let all = expected
            .values()
            .fold((0, 0), |(events, tokens), sums| (events + sums.events, tokens + sums.tokens));
        assert_eq!(total, all, "seed {seed}: nothing is lost: {selector:?} {plan:?}");
        assert!(!(exact && others));
    }
    assert!(answered > 15, "seed {seed}: {answered} answers");
    folding
}

/// Asked before a minute is folded, while it is, and after; with events that are late for it, of
/// values with few rows and with many, and where buckets go while rows of theirs are unfolded.
#[test]
fn the_rows_are_the_fold_of_the_events_while_minutes_are_folded() {
    let three = RollupOptions::new().dimensions(["customer_id", "event_type", "model"]);
    let minute = std::time::Duration::from_secs(60);
    let short = three.clone().keep_minutes(minute).keep_hours(minute * 60).keep_days(minute * 60);
    let mut folding = 0;
    for seed in 0..6 {
        compare_dense(seed, &three, 8, true);
        folding += compare_dense(seed, &three, 100, true);
        compare_dense(seed, &three.clone().max_values(40), 100, false);
        compare_dense(seed, &three.clone().max_combinations(9), 100, false);
        compare_dense(seed, &three.clone().max_rows(30), 100, false);
        compare_dense(seed, &short, 100, false);
        compare_dense(seed, &short.clone().max_rows(90), 400, false);
    }
    assert!(folding > 300, "{folding} events came while rows were folded");
}

#[test]
fn the_rows_are_the_fold_of_the_events() {
    let options = RollupOptions::new().dimensions(["customer_id", "event_type", "model"]);
    for seed in 0..20 {
        compare(seed, &options, 8, true);
    }
}

#[test]
fn hours_that_are_whole_stay_exact() {
    let options = RollupOptions::new().dimensions(["customer_id", "event_type", "model"]);
    let day = std::time::Duration::from_secs(86_400);
    let short = options.clone().keep_minutes(day / 24).keep_hours(day * 4);
    for seed in 0..10 {
        for coarse in [START / 60 - 600, START / 60, START / 60 + 900] {
            let coarse = coarse - coarse.rem_euclid(60);
            compare_from(seed, &options, 8, true, coarse);
            compare_from(seed, &short, 8, true, coarse);
        }
    }
}

#[test]
fn what_is_beyond_a_cap_is_counted_among_the_others() {
    let options = RollupOptions::new().dimensions(["customer_id", "event_type", "model"]);
    for seed in 0..20 {
        compare(seed, &options.clone().max_values(4), 40, false);
        compare(seed, &options.clone().max_combinations(9), 8, false);
    }
}

#[test]
fn what_is_old_goes_and_the_rest_stays_exact() {
    let options = RollupOptions::new().dimensions(["customer_id", "event_type", "model"]);
    let day = std::time::Duration::from_secs(86_400);
    let short = options.clone().keep_minutes(day / 12).keep_hours(day / 4).keep_days(day);
    for seed in 0..20 {
        compare(seed, &short, 8, false);
        compare(seed, &options.clone().max_rows(200), 8, false);
        compare(seed, &short.clone().max_values(5), 400, false);
    }
}

#[test]
fn one_dimension_and_none_work_too() {
    let one = RollupOptions::new().dimensions(["customer_id"]);
    let none = RollupOptions::new().dimensions([""; 0]);
    for seed in 0..5 {
        compare(seed, &one, 8, false);
        compare(seed, &none, 8, false);
    }
}

#[test]
fn memory_is_given_back_when_all_is_old() {
    let day = std::time::Duration::from_secs(86_400);
    let options = RollupOptions::new().keep_minutes(day).keep_hours(day).keep_days(day);
    let mut rollups = Rollups::new(&options, &hasher());
    let event = |second: i64, customer: String| Happened {
        at: Timestamp::new(second, 0),
        now: Timestamp::new(second, 0),
        dimensions: [(Dimension::CustomerId, customer)].into(),
        tokens: None,
        named: Vec::new(),
    };
    for second in 0..5_000 {
        let it = event(second, format!("cust_{second}"));
        rollups.add(&it, it.at, it.now, 0);
    }
    let (rows, series) = rollups.size();
    assert!(rows > 500 && series > 10_000, "{rows} rows, {series} series");
    for second in 0..400_000 {
        let it = event(10 * 86_400 + second / 100, "one".to_owned());
        rollups.add(&it, it.at, it.now, 0);
    }
    let (rows, series) = rollups.size();
    assert!(rows < 1_000 && series < 20, "{rows} rows, {series} series");
}

/// Where each event has a minute of its own, or an hour, one call adds a bucket to each level.
#[test]
fn memory_is_given_back_where_events_are_far_between() {
    let day = std::time::Duration::from_secs(86_400);
    let names: Vec<String> = (0..16).map(|number| format!("dimension_{number}")).collect();
    let options = RollupOptions::new().dimensions(names);
    let by_age = options.clone().keep_minutes(day / 12).keep_hours(day / 4).keep_days(day * 3);
    for (options, most) in
        [(by_age, 18 * (120 + 18 + 3 + 8)), (options.max_rows(500), 3 * (600 + 520))]
    {
        for seconds in [61, 3_601, 86_401] {
            let mut rollups = Rollups::new(&options, &hasher());
            for number in 0..4_000 {
                let at = Timestamp::new(START + number * seconds, 0);
                let (dimensions, named) = (BTreeMap::new(), Vec::new());
                let it = Happened { at, now: at, dimensions, tokens: None, named };
                rollups.add(&it, at, at, 0);
                let (rows, _) = rollups.size();
                assert!(rows <= most, "{rows} rows after {number} events, {seconds} s apart");
            }
        }
    }
}

fn plain(customer: &str, named: Vec<(String, Amount)>) -> Happened {
    let at = Timestamp::new(START, 0);
    let dimensions = [(Dimension::CustomerId, customer.to_owned())].into();
    Happened { at, now: at, dimensions, tokens: Some(1), named }
}

/// The totals of all, and of each customer.
fn totals(rollups: &Rollups) -> BTreeMap<String, UsageTotals> {
    let all = Dropped::new();
    let mut found = BTreeMap::new();
    for group_by in [Vec::new(), vec![Dimension::CustomerId]] {
        let selector = Selector { filter: Vec::new(), group_by };
        let kind = rollups.kind_of(&selector).expect("it is declared");
        let plan = rollups.floors(kind, &all).plan(Timestamp::MIN..Timestamp::MAX);
        for (group, totals) in rollups.fold(&selector, kind, &[plan], None).expect("no caps") {
            let Group::Values(values) = group else { panic!("{group:?}") };
            let name = values.first().and_then(Option::as_deref).unwrap_or_default();
            let total = totals.get(0).expect("each has events");
            found.insert(name.to_owned(), UsageTotals::of(total, &rollups.columns));
        }
    }
    found
}

/// Files from before amounts had bounds may hold such values: their sum is not known, and all else
/// is.
#[test]
fn a_sum_beyond_its_type_is_said_and_spoils_no_other() {
    let mut rollups = Rollups::new(&RollupOptions::new().dimensions(["customer_id"]), &hasher());
    let one = |name: &str, amount| vec![(name.to_owned(), amount)];
    let mut values = vec![("bad", one("x", Amount::MAX)), ("bad", one("x", Amount::MAX))];
    values.extend([("bad", one("x", Amount::MIN)), ("bad", one("y", Amount::from(2_u64)))]);
    values.extend([("good", one("x", Amount::from(3_u64))), ("good", one("y", Amount::MIN))]);
    for (ordinal, (customer, named)) in values.into_iter().enumerate() {
        let event = plain(customer, named);
        rollups.add(&event, event.at, event.now, ordinal as u64);
    }
    let assert_right = |rollups: &Rollups| {
        let found = totals(rollups);
        let (all, bad, good) = (&found[""], &found["bad"], &found["good"]);
        assert_eq!((&all.out_of_range[..], all.total_events), (&["x".to_owned()][..], 6));
        assert_eq!(all.values.keys().collect::<Vec<_>>(), ["y"]);
        assert_eq!((&bad.out_of_range, &bad.values["y"]), (&all.out_of_range, &2_u64.into()));
        assert_eq!((good.out_of_range.len(), &good.values["x"]), (0, &3_u64.into()));
        assert_eq!(good.values["y"], Amount::MIN);
    };
    assert_right(&rollups);
    {
        use crate::base::codec::Reader;
        use crate::base::format::Version;
        use crate::usage::RowCursor;

        let (mut rows, mut keys) = (Vec::new(), Vec::new());
        rollups.save_rows(&mut RowCursor::default(), 6, usize::MAX, &mut rows);
        rollups.save_keys(6, &mut keys);
        let options = RollupOptions::new().dimensions(["customer_id"]);
        let reader = |bytes| Reader::new(Version::NEWEST, bytes);
        let loaded = Rollups::load_keys(reader(&keys), &options, &hasher());
        let mut loaded = loaded.expect("what was saved");
        loaded.load_rows(reader(&rows)).expect("what was saved");
        loaded.loaded();
        assert_right(&loaded);
    }
    let body = serde_json::to_value(&totals(&rollups)[""]).expect("plain data");
    assert_eq!(body["outOfRange"], serde_json::json!(["x"]));
}

/// The widest event that there is adds to the widest rows that there are, and to new ones: what is
/// done under the ledger's lock is bounded, whatever came before.
#[test]
fn what_one_event_does_is_bounded() {
    let names: Vec<String> = (0..16).map(|number| format!("dimension_{number}")).collect();
    let mut rollups = Rollups::new(&RollupOptions::new().dimensions(names.clone()), &hasher());
    let dimensions: BTreeMap<_, _> =
        names.iter().map(|name| (Dimension::parse(name), "same".to_owned())).collect();
    let mut widest = 0;
    let mut ordinal = 0;
    let mut add = |customer: usize, first: usize, at: i64, rollups: &mut Rollups| {
        let named = (first..first + 64).map(|name| (format!("v{name}"), Amount::from(1_u64)));
        let mut event = plain(&format!("cust_{customer}"), named.collect());
        event.dimensions.extend(dimensions.clone());
        let at = Timestamp::new(START + at, 0);
        effort::take();
        rollups.add(&event, at, at, ordinal);
        ordinal += 1;
        let spent = effort::take();
        assert!(spent <= MOST_WORK, "{spent} after {ordinal} events");
        widest = widest.max(spent);
    };
    // Each customer brings as many names as it may, into rows that have those of all before; the
    // next round finds them all, in an order that is not theirs, and the last makes new rows.
    for round in 0..3 {
        for customer in 0..20 {
            let first = if round == 1 { (19 - customer) * 50 } else { customer * 64 };
            add(customer, first, i64::from(round / 2) * 90_000, &mut rollups);
        }
    }
    let cells = totals_cells(&rollups);
    assert!(cells > MAX_VALUE_NAMES - 64, "{cells} names");
    assert!(widest > MOST_WORK / 4, "the bound is no empty one: {widest}");
}

/// A row for each of 18 series. In each the event's 65 cells (one counts what has no name) are
/// looked up, in 12 steps at the most each, and where some are new all the cells are put in order:
/// 1 000 names and one. Then 54 steps of folding: at most 4 rows of as many cells, into two each,
/// whose cells are found in 3 steps on average.
const MOST_WORK: usize = 18 * (1 + 65 * 12 + 1_001) + 4 * 2 * (1 + 1_001 * 3 + 1_001);

fn totals_cells(rollups: &Rollups) -> usize {
    let (kind, all) = (super::series::Kind::Values, Dropped::new());
    let plan = rollups.floors(kind, &all).plan(Timestamp::MIN..Timestamp::MAX);
    let groups = rollups.fold(&Selector::default(), kind, &[plan], None).expect("no caps");
    groups[0].1.sum().cells().count()
}
