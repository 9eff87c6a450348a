//! What is loaded is what was there, row by row, however saving and events were mixed.
//!
//! A random history is counted live. At random moments of it roll-ups are saved a few rows at a
//! time. Then they are loaded, the events since are redone, and everything is compared: floors,
//! every row of every bucket by the texts that it is about, the known values, and what waits to be
//! taken apart. Both go on with the same events after that, and are compared again.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng as StdRng;

use super::*;
use crate::base::amount::Amount;
use crate::base::clock::Timestamp;
use crate::base::codec::Reader;
use crate::base::format::Version;
use crate::event::ValueName;
use crate::log::Dropped;
use crate::usage::cells::{Column, Fold};
use crate::usage::dictionary::ValueId;
use crate::usage::fold::Gone;
use crate::usage::level::Level;
use crate::usage::rollups::Rollups;
use crate::usage::row::Row;
use crate::usage::series::Key;
use crate::usage::tests::{self, Happened, START, draw, draw_dense, hasher, of_buckets, selectors};
use crate::usage::{RollupOptions, ValueFold};

const DAY: Duration = Duration::from_secs(86_400);

/// What a row holds, by names.
type Content = (u64, Vec<u64>, BTreeMap<String, (i128, bool, Option<(Timestamp, u64)>)>);

/// All rows of buckets that count, by level, bucket and what they are about.
type Rows = BTreeMap<(usize, i64, String), Content>;

#[derive(Clone, Debug, PartialEq)]
struct Dump {
    rows: Rows,
    floors: Vec<i64>,
    newest: Vec<i64>,
    values: Vec<BTreeMap<String, bool>>,
    tuples: usize,
    counts: Vec<usize>,
    gone: Vec<Vec<String>>,
    current: i64,
    retiring: bool,
    /// The names of values: since when each is counted, and with whose events it came.
    names: BTreeMap<String, (u64, Option<String>)>,
    refused: Dropped,
}

fn name_of(rollups: &Rollups, number: u32) -> String {
    let text = |place: usize, value: ValueId| {
        let dictionary = &rollups.dictionaries[place];
        dictionary.text(value).map_or_else(|| format!("#{value}"), str::to_owned)
    };
    match &rollups.series[number as usize].key {
        Key::Free => panic!("a row of series {number}, which is free"),
        Key::Fixed => format!("fixed {number}"),
        Key::Value(place, value) => {
            let place = usize::from(*place);
            format!("{} = {}", rollups.dictionaries[place].dimension, text(place, *value))
        }
        Key::Tuple(tuple) => {
            let parts = tuple.iter().enumerate().map(|(place, value)| text(place, *value));
            parts.collect::<Vec<_>>().join(" & ")
        }
    }
}

fn content(folds: &BTreeMap<Column, String>, row: &Row) -> Content {
    let cells = row.cells.as_slice().iter().filter_map(|cell| {
        let mark = (cell.fold == Fold::Latest).then(|| cell.mark());
        Some((folds.get(&cell.column)?.clone(), (cell.value(), cell.overflowed, mark)))
    });
    (row.events(), row.fixed().to_vec(), cells.collect())
}

fn rows(rollups: &Rollups) -> Rows {
    let columns = &rollups.columns;
    let folds = columns.folds();
    let name = |column: Column| {
        let fold = folds[column as usize]?;
        let name = columns.name(column).map(|name| format!("{name} {fold:?}"));
        Some(name.unwrap_or_else(|| match column {
            0..6 => format!("#{column}"),
            _ => columns.tracked_name(column),
        }))
    };
    let all = 0..Column::try_from(folds.len()).unwrap();
    let folds = all.filter_map(|column| Some((column, name(column)?))).collect();
    let mut found = Rows::new();
    for (number, level) in rollups.all_levels().enumerate() {
        let mut from = level.shape().floor;
        while let Some((bucket, rows)) = level.bucket_from(from) {
            for row in rollups.whole_rows(number, bucket, rows.rows()) {
                let content = content(&folds, &row);
                if content.0 > 0 || !content.2.is_empty() {
                    let key = (number, bucket, name_of(rollups, row.series));
                    assert!(found.insert(key, content).is_none(), "a row twice");
                }
            }
            from = bucket + 1;
        }
    }
    found
}

fn dump(rollups: &Rollups) -> Dump {
    let values = rollups.dictionaries.iter().map(|dictionary| {
        let texts = 2..2_000;
        let texts = texts.filter_map(|id| {
            let text = dictionary.text(id).filter(|text| !text.is_empty())?;
            Some((text.to_owned(), dictionary.is_whole(id)))
        });
        texts.collect()
    });
    let names =
        |gone: &Gone| gone.bucket.rows().iter().map(|row| name_of(rollups, row.series)).collect();
    Dump {
        rows: rows(rollups),
        floors: rollups.all_levels().map(|level| level.shape().floor).collect(),
        newest: rollups.all_levels().map(|level| level.shape().newest).collect(),
        values: values.collect(),
        tuples: rollups.tuples.len(),
        counts: rollups.all_levels().map(Level::rows).collect(),
        gone: rollups.gone.iter().map(names).collect(),
        current: rollups.current,
        retiring: rollups.retiring,
        names: rollups.columns.known_names(),
        refused: rollups.without_column.clone(),
    }
}

fn add(rollups: &mut Rollups, event: &Happened, place: usize) {
    rollups.add(event, event.at, event.now, place as u64);
}

/// Keeps the folds, and fills new ones in, as the ledger does.
fn track(rollups: &mut Rollups, folds: &[ValueFold], events: &[Happened]) {
    let new = rollups.track(folds, &Dropped::new());
    if new.is_empty() {
        return;
    }
    for (place, event) in events.iter().enumerate() {
        rollups.fill_in(event, event.at, place as u64, &new);
    }
}

#[derive(Debug, Default)]
struct Saved {
    begun: usize,
    rows: Vec<u8>,
    keys: Vec<u8>,
}

struct Case {
    options: RollupOptions,
    values: u32,
    /// Seconds by which time leaps now and then.
    leap: i64,
    /// Whether meters come and go.
    meters: bool,
    /// Whether much changes between the last row that is saved and the keys.
    crawls: bool,
    /// Whether there are many events a minute.
    dense: bool,
    /// From how many names events have a few values each, beside the usual ones.
    names: u32,
}

impl Case {
    fn of(options: RollupOptions, values: u32) -> Self {
        Self { options, values, leap: 0, meters: false, crawls: false, dense: false, names: 0 }
    }

    fn leaps(mut self, leap: i64) -> Self {
        self.leap = leap;
        self
    }

    fn event(&self, rng: &mut StdRng, now: &mut i64) -> Happened {
        if self.leap > 0 && rng.random_bool(if self.crawls { 0.03 } else { 0.01 }) {
            *now += rng.random_range(0..self.leap);
        }
        let draw = if self.dense { draw_dense } else { draw };
        let mut event = draw(rng, now, self.values);
        for _ in 0..rng.random_range(0..6) {
            if self.names > 0 {
                let name = format!("name_{}", rng.random_range(0..self.names));
                if event.named.iter().all(|(known, _)| *known != name) {
                    event.named.push((name, Amount::from(rng.random_range(0..9_u64))));
                }
            }
        }
        event
    }
}

fn folds(rng: &mut StdRng) -> Vec<ValueFold> {
    let mut folds = Vec::new();
    for name in ["images", "gpu_seconds", "total_tokens"] {
        for fold in [Fold::Min, Fold::Max, Fold::Latest, Fold::Count] {
            if rng.random_bool(0.4) {
                folds.push((ValueName::parse(name), fold));
            }
        }
    }
    folds
}

/// A history, what was saved in it, and the roll-ups that lived through it.
fn live(case: &Case, rng: &mut StdRng) -> (Rollups, Vec<Happened>, Vec<Saved>, Vec<ValueFold>) {
    let mut rollups = Rollups::new(&case.options, &hasher());
    let (mut events, mut now) = (Vec::new(), START);
    let mut wanted = folds(rng);
    track(&mut rollups, &wanted, &[]);
    let mut saved: Vec<Saved> = Vec::new();
    let mut under_way: Option<(RowCursor, Saved)> = None;
    let (slow, length) = (rng.random_bool(0.5), rng.random_range(200..1_500));
    while events.len() < length {
        let event = case.event(rng, &mut now);
        add(&mut rollups, &event, events.len());
        events.push(event);
        if case.meters && rng.random_bool(0.005) {
            wanted = folds(rng);
            track(&mut rollups, &wanted, &events);
        }
        if saved.len() < 4 && rng.random_bool(0.005) {
            under_way = Some(<_>::default());
        }
        let steps = if slow { u32::from(rng.random_bool(0.3)) } else { rng.random_range(0..8) };
        for _ in 0..steps {
            let Some((cursor, piece)) = &mut under_way else { break };
            if piece.rows.is_empty() {
                piece.begun = events.len();
            }
            let most = rng.random_range(1..200);
            let place = events.len() as u64;
            if !rollups.save_rows(cursor, place, most, &mut piece.rows)
                && rng.random_bool(if case.crawls { 0.02 } else { 0.3 })
            {
                rollups.save_keys(place, &mut piece.keys);
                saved.extend(under_way.take().map(|(_, saved)| saved));
            }
        }
    }
    (rollups, events, saved, wanted)
}

fn reader(bytes: &[u8]) -> Reader<'_> {
    Reader::new(Version::NEWEST, bytes)
}

fn load(saved: &Saved, options: &RollupOptions) -> Rollups {
    let mut rollups = Rollups::load_keys(reader(&saved.keys), options, &hasher()).expect("keys");
    rollups.load_rows(reader(&saved.rows)).expect("rows");
    rollups
}

fn assert_same(found: &Rollups, live: &Rollups, what: &str) {
    let (found, live) = (dump(found), dump(live));
    for (key, content) in &live.rows {
        assert_eq!(found.rows.get(key), Some(content), "{what}: {key:?}");
    }
    for key in found.rows.keys() {
        assert!(live.rows.contains_key(key), "{what}: {key:?} {:?}", found.rows[key]);
    }
    let others = |dump: &Dump| Dump { rows: Rows::new(), ..dump.clone() };
    assert_eq!(others(&found), others(&live), "{what}");
}

fn answers(rollups: &Rollups, rng: &mut StdRng, values: u32, what: &str) -> Vec<String> {
    let (mut answers, all) = (Vec::new(), Dropped::all());
    for _ in 0..40 {
        let start = START - 200_000 + rng.random_range(0..400_000);
        let end = start + rng.random_range(60..400_000);
        let selector = selectors(rng, values);
        let Some(kind) = rollups.kind_of(&selector) else { continue };
        let floors = rollups.floors(kind, &all);
        let plan = floors.plan(Timestamp::new(start, 0)..Timestamp::new(end, 0));
        let groups = rollups.fold(&selector, kind, std::slice::from_ref(&plan), None);
        let groups = groups.map(|mut groups| {
            groups.sort_by(|(a, _), (b, _)| a.cmp(b));
            let totals = groups.iter().map(|(group, totals)| {
                let sums = tests::found(rollups, &totals.sum());
                format!("{group:?} {sums:?}")
            });
            totals.collect::<Vec<_>>()
        });
        answers.push(format!("{what}{selector:?} {:?} {groups:?}", of_buckets(&plan)));
    }
    answers
}

fn check(seed: u64, case: &Case) -> usize {
    let mut rng = StdRng::seed_from_u64(seed);
    let (mut live, mut events, saved, wanted) = live(case, &mut rng);
    let mut loaded = Vec::new();
    for (number, saved) in saved.iter().enumerate() {
        let what = format!("seed {seed}, saved {number} from {}", saved.begun);
        let mut rollups = load(saved, &case.options);
        // Counters may have been saved earlier, so that the log is redone from before.
        let from = rng.random_range(0..=saved.begun);
        let stop = rng.random_range(from..=events.len());
        for (range, _) in [(from..stop, 1), (from..events.len(), 2)] {
            for place in range {
                let event = &events[place];
                rollups.replay(event, event.at, event.now, place as u64);
            }
        }
        rollups.loaded();
        track(&mut rollups, &wanted, &events);
        assert_same(&rollups, &live, &what);
        let (mut a, mut b) = (rng.clone(), rng.clone());
        let found = answers(&rollups, &mut a, case.values, "");
        assert_eq!(found, answers(&live, &mut b, case.values, ""), "{what}");
        loaded.push((what, rollups));
    }
    let mut now = events.last().map_or(START, |event| event.now.unix_seconds());
    for _ in 0..400 {
        let event = case.event(&mut rng, &mut now);
        add(&mut live, &event, events.len());
        for (_, rollups) in &mut loaded {
            add(rollups, &event, events.len());
        }
        events.push(event);
    }
    for (what, rollups) in &loaded {
        assert_same(rollups, &live, &format!("{what}, later"));
    }
    loaded.len()
}

fn three() -> RollupOptions {
    RollupOptions::new().dimensions(["customer_id", "event_type", "model"])
}

/// Runs a case with as many seeds, or as `LIMITRY_CASES` says.
fn run(case: &Case, seeds: u64) {
    let cases = std::env::var("LIMITRY_CASES").ok().and_then(|cases| cases.parse().ok());
    let seeds = cases.unwrap_or(seeds);
    let loaded: usize = (0..seeds).map(|seed| check(seed, case)).sum();
    assert!(loaded > 6, "{loaded} were loaded");
}

#[test]
fn what_is_loaded_is_what_was_there() {
    run(&Case::of(three(), 8), 12);
    run(&Case::of(three(), 400), 8);
}

#[test]
fn meters_that_come_and_go_are_filled_in() {
    run(&Case { meters: true, ..Case::of(three(), 8) }, 12);
}

#[test]
fn what_is_beyond_a_cap_is_counted_among_the_others_again() {
    run(&Case::of(three().max_values(4), 40), 8);
    run(&Case::of(three().max_combinations(9), 8), 8);
}

/// Names of values take the room that each customer has, and then that of all.
#[test]
fn names_beyond_a_cap_are_counted_as_they_were() {
    for (customers, names) in [(3, 400), (40, 4_000)] {
        run(&Case { names, ..Case::of(three().value("name_7"), customers) }, 4);
        run(&Case { names, crawls: true, ..Case::of(three(), customers).leaps(90_000) }, 4);
    }
}

#[test]
fn old_buckets_go_as_they_would_have() {
    let short = three().keep_minutes(DAY / 12).keep_hours(DAY / 4).keep_days(DAY);
    run(&Case::of(short.clone(), 8), 8);
    run(&Case::of(short.clone(), 8).leaps(100_000), 8);
    run(&Case::of(three().max_rows(200), 8).leaps(100_000), 8);
}

/// Values and tuples go and come back while rows are saved, and their numbers go to others.
#[test]
fn numbers_that_are_used_again_are_not_mixed_up() {
    let short = three().keep_minutes(DAY / 48).keep_hours(DAY / 24).keep_days(DAY);
    run(&Case::of(short.clone(), 400).leaps(200_000), 12);
    run(&Case::of(short.clone().max_values(5), 400).leaps(200_000), 12);
    run(&Case::of(short.clone().max_combinations(20), 400).leaps(200_000), 12);
    run(&Case::of(short.max_values(5).max_combinations(20).max_rows(90), 40).leaps(90_000), 12);
}

/// What was among the others gets a number of its own while rows are saved, in a bucket that stays.
#[test]
fn what_was_among_the_others_stays_there() {
    let short = three().keep_minutes(DAY / 48).keep_hours(DAY / 24).keep_days(DAY);
    let both = short.clone().max_values(5).max_combinations(20).max_rows(90);
    for options in [short.clone().max_values(5), short.max_combinations(20), both] {
        let case = Case::of(options, 40).leaps(300_000);
        run(&Case { crawls: true, ..case }, 30);
    }
}

/// Rows of parts and days are saved with what is unfolded, and minutes that go are folded first.
#[test]
fn what_is_unfolded_is_saved() {
    let short = three().keep_minutes(DAY / 1_440).keep_hours(DAY / 24).keep_days(DAY);
    let dense = |options, values| Case { dense: true, ..Case::of(options, values) };
    for case in [dense(three(), 8), dense(three(), 200), dense(three().max_rows(60), 200)] {
        run(&case, 4);
        run(&Case { meters: true, crawls: true, ..case }, 4);
    }
    run(&dense(short.clone(), 200), 4);
    run(&dense(short.clone().max_rows(200), 200).leaps(9_000), 4);
    run(&Case { crawls: true, ..dense(short.max_values(20).max_combinations(60), 80) }, 4);
}

#[test]
fn one_dimension_and_none_are_saved_too() {
    run(&Case::of(RollupOptions::new().dimensions(["customer_id"]), 8), 8);
    run(&Case::of(RollupOptions::new().dimensions([""; 0]), 8), 8);
}

#[test]
fn other_dimensions_are_a_mismatch_and_other_versions_are_told() {
    let mut rollups = Rollups::new(&three(), &hasher());
    let mut keys = Vec::new();
    rollups.save_keys(0, &mut keys);
    let declared = RollupOptions::new().dimensions(["customer_id"]);
    let error = Rollups::load_keys(reader(&keys), &declared, &hasher()).unwrap_err();
    let expected = "saved roll-ups are by [\"customer_id\", \"event_type\", \"model\"], and \
                    [\"customer_id\"] are declared";
    assert_eq!(error.to_string(), expected);
    keys[0] = 2;
    let error = Rollups::load_keys(reader(&keys), &three(), &hasher()).unwrap_err();
    assert_eq!(error, RollupsError::Newer(2));
    assert!(Rollups::load_keys(reader(&[]), &three(), &hasher()).is_err());
    assert!(Rollups::new(&three(), &hasher()).load_rows(reader(&[])).is_err());
}

/// What is counted anew from the newest events answers what all events answer, from where it says.
#[test]
fn roll_ups_counted_anew_say_from_when_on_they_know_all() {
    let (mut answered, mut within_a_day) = (0, 0);
    for seed in 0..40 {
        let mut rng = StdRng::seed_from_u64(seed);
        let (mut events, mut now) = (Vec::new(), START);
        for _ in 0..2_000 {
            events.push(draw(&mut rng, &mut now, 8));
        }
        let (mut gone, all) = (Dropped::new(), Dropped::all());
        let dropped = rng.random_range(0..1_000);
        events[..dropped].iter().for_each(|event| gone.add(event.at));
        let mut rollups = Rollups::anew(&three(), &hasher(), gone.clone());
        for (place, event) in events.iter().enumerate().skip(dropped) {
            add(&mut rollups, event, place);
        }
        let rollups = if rng.random_bool(0.5) {
            let (mut rows, mut keys) = (Vec::new(), Vec::new());
            rollups.save_rows(&mut RowCursor::default(), 2_000, usize::MAX, &mut rows);
            rollups.save_keys(2_000, &mut keys);
            load(&Saved { begun: 2_000, rows, keys }, &three())
        } else {
            rollups
        };
        for _ in 0..100 {
            let start = START - 100_000 + rng.random_range(0..200_000);
            let end = start + rng.random_range(60..100_000);
            let mut selector = selectors(&mut rng, 8);
            selector.group_by.clear();
            let Some(kind) = rollups.kind_of(&selector) else { continue };
            let floors = rollups.floors(kind, &all);
            let asked = Timestamp::new(start, 0)..Timestamp::new(end, 0);
            let known = rollups.uncounted.longest_rest(&asked, Timestamp::new(now, 0));
            assert!(gone.spare(&known));
            let plan = floors.plan(known);
            let Some(range) = of_buckets(&plan) else { continue };
            let groups = rollups.fold(&selector, kind, &[plan], None).expect("no caps");
            let found: u64 = groups.iter().map(|(_, totals)| totals.sum().events).sum();
            let all: u64 =
                tests::naive(&events, &range, &selector).values().map(|it| it.events).sum();
            assert_eq!(found, all, "seed {seed}: {selector:?} {range:?}, {gone:?} are gone");
            answered += 1;
            let last_day = gone.last().unix_seconds().div_euclid(86_400);
            let day = range.start.unix_seconds().div_euclid(86_400);
            within_a_day += usize::from(day <= last_day);
        }
    }
    assert!(answered > 1_000 && within_a_day > 100, "{answered} answers, {within_a_day} early");
}

/// Less to be kept than was saved takes effect at once, and loses nothing of the rest.
#[test]
fn lower_caps_and_shorter_retention_just_apply() {
    let lower = three().max_values(3).max_combinations(5).max_rows(60);
    let lower = lower.keep_minutes(DAY / 48).keep_hours(DAY / 12).keep_days(DAY * 20);
    for seed in 0..8 {
        let mut rng = StdRng::seed_from_u64(seed);
        let (mut live, mut events, saved, _) = live(&Case::of(three(), 40), &mut rng);
        let mut now = events.last().map_or(START, |event| event.now.unix_seconds());
        for saved in saved {
            let mut rollups = load(&saved, &lower);
            for (place, event) in events.iter().enumerate() {
                rollups.replay(event, event.at, event.now, place as u64);
            }
            rollups.loaded();
            for _ in 0..300 {
                let event = draw(&mut rng, &mut now, 40);
                add(&mut live, &event, events.len());
                add(&mut rollups, &event, events.len());
                events.push(event);
            }
            let dump = dump(&rollups);
            for level in rollups.all_levels() {
                // The newest bucket stays however large it is, and so do those ahead of it.
                let (mut older, mut from) = (0, i64::MIN);
                while let Some((bucket, rows)) = level.bucket_from(from)
                    && bucket < level.shape().newest
                {
                    (older, from) = (older + rows.rows().len(), bucket + 1);
                }
                assert!(older <= 60, "{older} rows");
            }
            let fixed = |rows: &Rows| {
                let is_all = |(_, _, name): &(usize, i64, String)| name == "fixed 0";
                rows.iter().filter(|(key, _)| is_all(key)).map(|it| format!("{it:?}")).collect()
            };
            let kept: Vec<String> = fixed(&dump.rows);
            let lived: Vec<String> = fixed(&rows(&live));
            assert!(!kept.is_empty() && kept.iter().all(|row| lived.contains(row)), "{seed}");
        }
    }
}

/// Bytes that are not what was written are an error, or answer something.
#[test]
fn damaged_bytes_never_panic() {
    let short = three().keep_minutes(DAY / 12).max_values(5).max_combinations(20);
    let case = Case { meters: true, ..Case::of(short, 40) };
    let (mut errors, mut loads) = (0, 0);
    for seed in 0..12 {
        let mut rng = StdRng::seed_from_u64(seed);
        let (_, events, saved, _) = live(&case, &mut rng);
        for saved in &saved {
            for _ in 0..60 {
                let damage = |rng: &mut StdRng, bytes: &[u8]| {
                    let mut bytes = bytes.to_vec();
                    for _ in 0..rng.random_range(0..3) {
                        let at = rng.random_range(0..bytes.len());
                        match rng.random_range(0..4) {
                            0 => bytes.truncate(at.max(1)),
                            1 => bytes[at] ^= 1 << rng.random_range(0..8),
                            2 => bytes[at] = [0, 1, 127, 128, 255][rng.random_range(0..5)],
                            _ => bytes.insert(at, rng.random()),
                        }
                    }
                    bytes
                };
                let keys = damage(&mut rng, &saved.keys);
                let Ok(mut rollups) = Rollups::load_keys(reader(&keys), &case.options, &hasher())
                else {
                    errors += 1;
                    continue;
                };
                if rollups.load_rows(reader(&damage(&mut rng, &saved.rows))).is_err() {
                    errors += 1;
                    continue;
                }
                loads += 1;
                for (place, event) in events.iter().enumerate() {
                    rollups.replay(event, event.at, event.now, place as u64);
                }
                rollups.loaded();
                answers(&rollups, &mut rng, 40, "");
                let (mut rows, mut keys) = (Vec::new(), Vec::new());
                let mut cursor = RowCursor::default();
                while rollups.save_rows(&mut cursor, events.len() as u64, 500, &mut rows) {}
                rollups.save_keys(events.len() as u64, &mut keys);
            }
        }
    }
    assert!(errors > 100 && loads > 100, "{errors} errors, {loads} loads");
}
