//! Goal: what comes back from a checkpoint and a log is what was there.
//!
//! Method: a small engine (table, rules, log, and a history that adds the log up) goes through
//! random events, rule changes and checkpoints whose pieces are copied at random moments. At
//! random moments it is thrown away and made again from what would be durable, by another hash and
//! another number of shards; the old and the new one must say the same of every event from then
//! on. `LIMITRY_SEED` and `LIMITRY_CASES` choose what is tried.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::stored::{RedoTable, Revisions, RowChange, RuleRows};
use crate::base::clock::Timestamp;
use crate::base::codec::Reader;
use crate::base::format::Version;
use crate::compiled::{Compiler, Snapshot};
use crate::compiled::{Matches, row_hash};
use crate::counters::{
    At, Audit, ChangeTime, Charge, Committed, FIRST, Figures, History, Intent, LogEnd,
    MAX_AHEAD_SECONDS, Mismatch, Moment, RedoRecord, Request, Since, StoredCharges, Table,
    Timeline, Undecided, Used, Verdict, encode_charges,
};
use crate::event::{DimensionHashes, Event};
use crate::rules::{
    Algorithm, Cost, Enforcement, Fold, Meter, Meters, Metric, Overflow, Period, Quota, RateLimit,
    Rule, Units, Window,
};

const START: i64 = 1_760_000_000;
const LATE_SECONDS: u64 = 3_600;

/// An event that was let in, as the log keeps it.
#[derive(Clone, Debug)]
struct Record {
    event: Event<'static>,
    now: Moment,
    happened: Option<Timestamp>,
    charges: Vec<u8>,
}

impl Record {
    fn at(&self, timeline: Timeline) -> At {
        timeline.at(self.now, self.happened)
    }
}

/// A copy of the shards at different moments.
#[derive(Clone, Default)]
struct Checkpoint {
    pieces: Vec<(u64, Vec<u8>)>,
    latest: u64,
}

impl Checkpoint {
    fn from(&self) -> u64 {
        self.pieces.iter().map(|(position, _)| *position).min().unwrap_or(0)
    }
}

#[derive(Default)]
struct Disk {
    log: Vec<Record>,
    rows: BTreeMap<u64, Vec<u8>>,
    checkpoint: Checkpoint,
}

struct Small {
    table: Table,
    snapshot: Arc<Snapshot>,
    compiler: Compiler,
    revisions: Revisions,
    hasher: ahash::RandomState,
    under_way: Option<Checkpoint>,
}

#[derive(Debug)]
struct Added<'a> {
    log: &'a [Record],
    snapshot: &'a Snapshot,
    timeline: Timeline,
}

impl History for Added<'_> {
    fn used(&self, rule: u32, start: i64, end: Option<i64>, values: &[&str]) -> Option<Used> {
        let rule = self.snapshot.rule(rule)?;
        let mut used = Used { units: 0, latest: Moment(0) };
        for record in self.log {
            let at = record.at(self.timeline);
            let key = rule.partition.iter().map(|dimension| dimension.of(&record.event));
            let matches =
                rule.filter.iter().all(|(key, asked)| asked.is_met_by(key.of(&record.event)))
                    && key.eq(values.iter().map(|value| Some(*value)))
                    && start <= at.second
                    && end.is_none_or(|end| at.second < end);
            let cost = rule.measure.of(&record.event);
            if !matches || !cost.counts {
                continue;
            }
            let is_first = used.latest == Moment(0);
            match rule.measure.fold() {
                Fold::Sum | Fold::Slots | Fold::Unique => used.units += cost.units,
                Fold::Max if !is_first => {
                    used.units = used.units.max(cost.units);
                    used.latest = used.latest.max(at.event);
                }
                Fold::Latest if at.event < used.latest => {}
                Fold::Max | Fold::Latest => {
                    used = Used { units: cost.units, latest: at.event.max(FIRST) };
                }
            }
        }
        Some(used)
    }

    /// Of rolling quotas nothing is told: their counters are redone as they were.
    fn used_without(
        &self,
        _rule: u32,
        _within: (i64, Option<i64>),
        _values: &[&str],
        _ordinal: u64,
    ) -> Option<Used> {
        None
    }

    fn given_back(&self, _rule: u32, _values: &[&str], _since: &Since) -> Option<Units> {
        None
    }

    fn has_begun_anew(&self, _rule: u32, _values: &[&str], _taken: Moment) -> bool {
        false
    }

    fn uses(
        &self,
        _: u32,
        _: Moment,
        _: Moment,
        _: u64,
        _: &[&str],
    ) -> Option<Vec<(Moment, i128)>> {
        None
    }
}

/// What an engine says to an event.
#[derive(Debug, PartialEq)]
enum Said {
    TooLate,
    Decided { allowed: bool, rules: Vec<(u32, bool, bool, Figures)> },
}

impl Small {
    fn new(compiler: Compiler, shards: usize) -> Self {
        let hasher = ahash::RandomState::new();
        let empty = Snapshot::new(Arc::default(), Vec::new(), Arc::default(), hasher.clone());
        Self {
            table: Table::new(1 << 30, compiler.timeline(), shards),
            snapshot: Arc::new(empty),
            compiler,
            revisions: Revisions::default(),
            hasher,
            under_way: None,
        }
    }

    /// Makes the rules and meters these, as an engine does.
    fn change(&mut self, disk: &mut Disk, rules: &[Rule], meters: &[Meter], now: Moment) {
        let time: Arc<ChangeTime> = Arc::default();
        let meters = Arc::new(Meters::new(meters.iter().cloned().map(Arc::new).collect()));
        let mut compiled = Vec::new();
        for rule in rules {
            let before = rule.id().and_then(|id| self.snapshot.by_id(id)).cloned();
            compiled.push(match before {
                Some(before) if before.rule == *rule && before.counts_as(rule, &meters) => before,
                before => self.compiler.compile(rule.clone(), &meters, before.as_deref(), &time),
            });
        }
        let compiled = compiled.iter().map(|rule| self.compiler.renew(rule)).collect();
        let hasher = self.hasher.clone();
        let next = Snapshot::new(Arc::clone(&time), compiled, meters, hasher);
        let at = self.table.close(now);
        time.get_or_init(|| at);
        let place = disk.log.len() as u64;
        for row in self.revisions.change(&self.snapshot, &next, &self.compiler, place) {
            match row {
                RowChange { key, bytes: Some(bytes) } => disk.rows.insert(key, bytes),
                RowChange { key, bytes: None } => disk.rows.remove(&key),
            };
        }
        self.snapshot = Arc::new(next);
        for known in self.snapshot.listed() {
            let found = self.snapshot.by_id(known.id()).map(Arc::as_ptr);
            assert_eq!(found, Some(Arc::as_ptr(known)), "{}", known.id());
        }
        assert!(self.snapshot.by_id("no rule").is_none());
        self.table.open(self.snapshot.version);
        self.table.convert(&self.snapshot.counters, at.now);
    }

    fn decide(
        &self,
        log: &RefCell<&mut Vec<Record>>,
        event: &Event<'static>,
        intent: Intent,
        now: Moment,
    ) -> Said {
        let timeline = self.table.timeline();
        let happened = event.happened_at();
        let mut matches = Matches::default();
        let (hashes, at) = (DimensionHashes::new(event, &self.hasher), timeline.at(now, happened));
        self.snapshot.index.find(&hashes, &at, &mut matches);
        let cost = |rule: u32| match &self.snapshot.rules[rule as usize].rule {
            Rule::RateLimit(rule)
                if intent == Intent::Record
                    && happened.is_some_and(|at| {
                        let age = now.0.saturating_sub(timeline.moment(at).0);
                        u128::from(age) >= rule.window.length().as_nanos()
                    }) =>
            {
                Cost::NOTHING
            }
            _ => self.snapshot.rules[rule as usize].measure.of(event),
        };
        let mut verdict = Verdict::at(timeline.at(now, happened));
        verdict.ask(intent, matches.rules(), cost);
        let known = log.borrow().clone();
        let history = Added { log: &known, snapshot: &self.snapshot, timeline };
        let request = Request {
            counters: &self.snapshot.counters,
            intent,
            rows: &matches.rows,
            history: Some(&history),
        };
        let mut commit = |committed: &Committed<'_>| {
            let at = *committed.at;
            let revision = |rule: u32| self.snapshot.rules[rule as usize].revision();
            let mut bytes = Vec::new();
            encode_charges(committed, revision, &mut bytes);
            let event = event.clone();
            log.borrow_mut().push(Record { event, now: at.now, happened, charges: bytes });
        };
        match self.table.decide(&request, &mut verdict, Some(&mut commit)) {
            Err(Undecided::Stale) => panic!("one thread sees one rule set"),
            Err(Undecided::TooLate { .. }) => Said::TooLate,
            Ok(()) => {
                let Verdict { at, allowed, mut charges, .. } = verdict;
                charges.sort_by_key(|charge| charge.rule);
                let rules = charges.iter().map(|charge| {
                    let policy = &self.snapshot.rules[charge.rule as usize].counter.policy;
                    let figures = policy.figures(&charge.reading, at, timeline);
                    (charge.rule, charge.fits, charge.is_crowded(), figures)
                });
                Said::Decided { allowed, rules: rules.collect() }
            }
        }
    }

    /// Copies a shard more, and makes the checkpoint the one that counts when it is whole.
    fn checkpoint_a_little(&mut self, disk: &mut Disk, now: Moment) {
        if self.under_way.is_none() {
            self.compiler.begin_checkpoint();
        }
        let under_way = self.under_way.get_or_insert_default();
        let (mut bytes, mut held) = (Vec::new(), Vec::new());
        let shard = under_way.pieces.len();
        let position = || disk.log.len() as u64;
        let (table, counters) = (&self.table, &self.snapshot.counters);
        let saved = table.copy_shard(
            shard,
            counters,
            now,
            position,
            (&mut bytes, &mut held, &mut Vec::new()),
        );
        let saved = saved.expect("the rules are current");
        under_way.pieces.push((saved.position, bytes));
        under_way.latest = under_way.latest.max(saved.now.0);
        if under_way.pieces.len() == self.table.shard_count() {
            disk.checkpoint = self.under_way.take().expect("it is under way");
            self.compiler.complete_checkpoint();
        }
    }

    fn recover(disk: &Disk, shards: usize, now: Moment, redone: impl Fn(usize) -> usize) -> Self {
        let mut rows = RuleRows::default();
        for (key, bytes) in &disk.rows {
            rows.add(Version::NEWEST, *key, bytes).expect("readable");
        }
        let restored =
            rows.finish(LATE_SECONDS, &Arc::default()).expect("readable").expect("rules");
        let mut small = Self::new(restored.compiler, shards);
        small.compiler.recount();
        small.revisions = restored.revisions;
        let timeline = small.table.timeline();
        let last = disk.log.last().map_or(0, |record| record.now.0);
        let end = timeline.at(Moment(last.max(disk.checkpoint.latest)).max(now), None);
        let since = Arc::new(OnceLock::from(end));
        let hasher = small.hasher.clone();
        small.snapshot = Arc::new(Snapshot::new(since, restored.current, restored.meters, hasher));
        let latest = end.second.saturating_add(MAX_AHEAD_SECONDS);
        small.snapshot.counters.may_have_missed(latest);
        small.table.open(small.snapshot.version);
        small.table.start_at(end.now);
        let from = disk.checkpoint.from();
        let counters = &small.snapshot.counters;
        let log_end = LogEnd { counters, at: end };
        for (position, bytes) in &disk.checkpoint.pieces {
            let hash = |group, values: &[&str]| row_hash(&small.hasher, group, values);
            small
                .table
                .load(&log_end, *position, Reader::new(Version::NEWEST, bytes), hash)
                .expect("a copy");
        }
        let mut charges = StoredCharges::new();
        for round in 0..2 {
            let log = disk.log.iter().enumerate();
            let tail: Vec<_> = log.skip(usize::try_from(from).expect("few")).collect();
            let stop = if round == 0 { redone(tail.len()) } else { tail.len() };
            for (place, record) in &tail[..stop] {
                let at = record.at(timeline);
                charges
                    .decode(Reader::new(Version::NEWEST, &record.charges), &at)
                    .expect("charges");
                let into = RedoTable { table: &small.table, hasher: &small.hasher };
                let again = RedoRecord { log_end: &log_end, seq: *place as u64, at: &at };
                let read = |dimension: &crate::event::Dimension| dimension.of(&record.event);
                let redone = small.revisions.redo(into, &again, &charges, read);
                redone.expect("every rule is known");
            }
        }
        small
    }
}

/// Checks the log from a place on, by the rules that an engine knows; returns how many states
/// were found right, and where the first is that is not.
fn check(engine: &Small, log: &[Record], first: usize) -> (u64, Option<(usize, Mismatch)>) {
    let timeline = engine.table.timeline();
    let table = Table::new(1 << 30, timeline, 4);
    let start = log.get(first).map_or(Moment(0), |record| record.now);
    let (counters, complete) = (&engine.snapshot.counters, first == 0);
    let audit = Audit { counters, complete, start, corrects: false, settles: false };
    let (mut charges, mut right) = (StoredCharges::new(), 0);
    for (place, record) in log.iter().enumerate().skip(first) {
        let at = record.at(timeline);
        charges.decode(Reader::new(Version::NEWEST, &record.charges), &at).expect("charges");
        let into = RedoTable { table: &table, hasher: &engine.hasher };
        let read = |dimension: &crate::event::Dimension| dimension.of(&record.event);
        let audited = engine.revisions.audit(into, &audit, (place as u64, &at), &charges, read);
        let audited = audited.expect("every rule is known");
        right += audited.matching;
        if let Some(astray) = audited.mismatch {
            return (right, Some((place, astray)));
        }
    }
    (right, None)
}

fn random_rule(rng: &mut ChaCha8Rng, id: usize) -> Rule {
    let enforcement =
        *[Enforcement::Hard, Enforcement::Hard, Enforcement::Soft, Enforcement::Shadow]
            .choose(rng)
            .expect("some");
    let metric = match rng.random_range(0..6) {
        0 => Metric::TotalTokens,
        1 => Metric::value("gb"),
        _ => Metric::TotalEvents,
    };
    let per: &[&str] = [&["customer_id"][..], &["customer_id"], &["customer_id", "model"], &[]]
        .choose(rng)
        .expect("some");
    let (filter, competes) = (rng.random_bool(0.3), rng.random_bool(0.4));
    if id.is_multiple_of(2) {
        let window = *[Duration::from_secs(1), Duration::from_secs(60), Duration::from_secs(3_600)]
            .choose(rng)
            .expect("some");
        let algorithm = *[Algorithm::TokenBucket, Algorithm::FixedWindow, Algorithm::SlidingWindow]
            .choose(rng)
            .expect("some");
        let limit = rng.random_range(1..12);
        let mut rule = RateLimit::new(format!("r{id}"), limit, Window::every(window))
            .id(format!("rl_{id}"))
            .algorithm(algorithm)
            .enforcement(enforcement)
            .metric(metric);
        for key in per {
            rule = rule.per(*key);
        }
        if competes {
            rule = rule.policy("rates");
        }
        return if filter { rule.filter("model", "a").into() } else { rule.into() };
    }
    let rolling = Period::rolling(Duration::from_secs(7_200));
    // A calendar quota that starts from what is recorded holds what it was told for events that
    // it refused, which no log knows of; a rolling one would take that over.
    let periods = [Period::Hour, Period::Day, Period::Month, Period::AllTime];
    let period = if id == 3 { rolling } else { *periods.choose(rng).expect("some") };
    let metric = match rng.random_range(0..5) {
        0 if period != rolling => Metric::meter("highest"),
        1 if period != rolling => Metric::meter("latest"),
        _ => metric,
    };
    // What a shadow quota that starts from what is recorded says hangs on when it was first asked:
    // events that it did not count are recorded as well.
    let enforcement = match enforcement {
        Enforcement::Shadow if period != rolling => Enforcement::Soft,
        other => other,
    };
    let mut rule = Quota::new(format!("q{id}"), metric, rng.random_range(1..40), period)
        .id(format!("qta_{id}"))
        .enforcement(enforcement);
    for key in per {
        rule = rule.per(*key);
    }
    if competes {
        rule = rule.policy("quotas");
    }
    if filter { rule.filter("model", "a").into() } else { rule.into() }
}

/// Rules of which only a cap changes. Keys reach caps in one order whatever upkeep drops: it drops
/// none of theirs. The caps of quotas by the calendar stay, because those keep what they were told
/// for events that they refused, which takes room and is in no log.
fn lasting(cap: u64) -> Vec<Rule> {
    let rule = |id: &str, overflow| {
        Quota::new(id, Metric::TotalEvents, 1_000, Period::AllTime)
            .id(id)
            .per("customer_id")
            .max_keys(3)
            .overflow(overflow)
    };
    let soft = Enforcement::Soft;
    let shadow = Quota::new("shadow", Metric::TotalTokens, 20, Period::Day).id("qta_shadow");
    let year = Duration::from_secs(365 * 86_400);
    let rolling = Quota::new("rolling", Metric::TotalTokens, 1_000, Period::rolling(year));
    let bucket = RateLimit::new("bucket", 1_000, Window::every(year)).id("rl_share");
    vec![
        bucket.per("customer_id").max_keys(cap).into(),
        rolling.id("qta_rolling").per("customer_id").max_keys(cap).into(),
        shadow.per("customer_id").enforcement(Enforcement::Shadow).into(),
        rule("qta_share", Overflow::Share).into(),
        rule("qta_deny", Overflow::Deny).enforcement(soft).into(),
        rule("qta_allow", Overflow::Allow).into(),
    ]
}

fn random_event(rng: &mut ChaCha8Rng, now: Timestamp) -> Event<'static> {
    let customer = format!("customer-{}", rng.random_range(0..5));
    let mut event = Event::new(customer, *["chat", "embed"].choose(rng).expect("some"));
    if let Some(model) =
        [Some("a"), Some("a model of a long name"), None].choose(rng).expect("some")
    {
        event = event.model(*model);
    }
    event = event.input_tokens(rng.random_range(0..4));
    if rng.random_bool(0.5) {
        event = event.value("gb", rng.random_range(-1_i64..3));
    }
    if rng.random_bool(0.5) {
        event = event.value("seats", rng.random_range(-4_i64..30));
    }
    if rng.random_bool(0.2) {
        let seconds = rng.random_range(-9_000..60_000_i64).min(20 * 3_600);
        let second =
            now.unix_seconds() + if rng.random_bool(0.7) { seconds.min(0) } else { seconds };
        let happened = Timestamp::new(second, rng.random_range(0..1_000_000_000));
        event = event.timestamp(chrono::DateTime::try_from(happened).expect("in range"));
    }
    event
}

fn meters(rng: &mut ChaCha8Rng) -> Vec<Meter> {
    let value = *["seats", "seats", "seats", "gb"].choose(rng).expect("some");
    vec![Meter::max("highest", value).id("highest"), Meter::latest("latest", "seats").id("latest")]
}

fn run(seed: u64) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut disk = Disk::default();
    let timeline = Timeline::starting(Timestamp::new(START, 0));
    let mut compiler = Compiler::new(timeline, LATE_SECONDS);
    compiler.keep_what_checkpoints_hold();
    let mut engine = Small::new(compiler, 8);
    let mut now = timeline.moment(Timestamp::new(START, 0));
    let mut rules: Vec<Rule> = (0..4).map(|id| random_rule(&mut rng, id)).collect();
    let mut of = meters(&mut rng);
    let all = |cap: u64, rules: &[Rule]| [lasting(cap), rules.to_vec()].concat();
    let mut cap = 2;
    engine.change(&mut disk, &all(cap, &rules), &of, now);
    engine.compiler.recount();
    let mut old: Option<(Small, usize)> = None;
    let pace = *[5_000_000, 700_000_000, 60_000_000_000_u64].choose(&mut rng).expect("some");
    for step in 0..400 {
        now.0 += if rng.random_bool(0.02) {
            rng.random_range(0..40 * pace)
        } else {
            rng.random_range(0..pace)
        };
        let event = random_event(&mut rng, timeline.timestamp(now));
        let intent = *[Intent::Track, Intent::Track, Intent::Record, Intent::Check]
            .choose(&mut rng)
            .expect("some");
        let mut other_log = disk.log.clone();
        let said = engine.decide(&RefCell::new(&mut disk.log), &event, intent, now);
        if let Some((before, left)) = &mut old {
            let expected = before.decide(&RefCell::new(&mut other_log), &event, intent, now);
            assert_eq!(said, expected, "seed {seed}, step {step}: {event:?} {intent:?}");
            *left -= 1;
            if *left == 0 {
                old = None;
            }
        }
        if rng.random_bool(0.1) {
            engine.checkpoint_a_little(&mut disk, now);
        }
        if old.is_some() {
            continue;
        }
        match rng.random_range(0..100) {
            0..2 => {
                let id = rng.random_range(0..rules.len());
                rules[id] = random_rule(&mut rng, id);
                engine.change(&mut disk, &all(cap, &rules), &of, now);
            }
            2 => {
                of = meters(&mut rng);
                engine.change(&mut disk, &all(cap, &rules), &of, now);
            }
            3 => {
                cap = (cap + 1).min(5);
                engine.change(&mut disk, &all(cap, &rules), &of, now);
            }
            4..6 => {
                let shards = 1 << rng.random_range(0..5);
                let stop = rng.random_range(0..1_000);
                let redone = |tail: usize| tail * stop / 1_000;
                let recovered = Small::recover(&disk, shards, now, redone);
                old = Some((std::mem::replace(&mut engine, recovered), 30));
            }
            _ => {}
        }
    }
    for first in [0, rng.random_range(0..disk.log.len())] {
        let (right, wrong) = check(&engine, &disk.log, first);
        assert_eq!(wrong, None, "seed {seed}, from {first}");
        assert!(first > 0 || right > 100, "seed {seed}: only {right} states were compared");
    }
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn what_comes_back_is_what_was_there() {
    let first = number("LIMITRY_SEED", 1);
    for seed in first..first + number("LIMITRY_CASES", 100) {
        run(seed);
    }
}

#[test]
fn a_state_that_does_not_follow_is_found_where_it_is() {
    let timeline = Timeline::starting(Timestamp::new(START, 0));
    let mut engine = Small::new(Compiler::new(timeline, LATE_SECONDS), 4);
    let mut disk = Disk::default();
    let mut now = timeline.moment(Timestamp::new(START, 0));
    let rule = RateLimit::new("r", 10, Window::Minute).id("rl").per("customer_id");
    engine.change(&mut disk, &[rule.into()], &[], now);
    for step in 0..20 {
        now.0 += 1_000_000_000;
        let event = Event::new(format!("customer-{}", step % 3), "chat");
        engine.decide(&RefCell::new(&mut disk.log), &event, Intent::Track, now);
    }
    assert_eq!(check(&engine, &disk.log, 0), (20, None));
    for place in 0..disk.log.len() {
        let mut log = disk.log.clone();
        let record = &mut log[place];
        let at = record.at(timeline);
        let mut charges = StoredCharges::new();
        charges.decode(Reader::new(Version::NEWEST, &record.charges), &at).expect("charges");
        charges.charges[0].reading.flip_a_bit();
        record.charges.clear();
        let false_charges = [Charge::restored(0, &charges[0])];
        let committed = Committed {
            at: &at,
            charges: &false_charges,
            starts: &[],
            held: None,
            crossings: &[],
            event: None,
        };
        encode_charges(&committed, |_| charges[0].revision, &mut record.charges);
        let (right, wrong) = check(&engine, &log, 0);
        assert_eq!((right, wrong.map(|(place, _)| place)), (place as u64, Some(place)));
    }
}
