//! The rules as the durable engine keeps them: one row for each rule that records of the log may
//! name, one for the meters, and one for the numbers that are taken.
//!
//! A rule that changes is another revision with another row; the old one stays as long as records
//! name it. Rows are JSON: they are few, and people may have to read them.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::Snapshot;
use crate::base::format::Version;
use crate::compiled::compiler::{Groups, watch};
use crate::compiled::{CompiledRule, Compiler, row_hash, unique};
use crate::counters::{
    At, Audit, Audited, Checkpoints, Counter, Lateness, LogEnd, PastCharge, RedoRecord, RowAddress,
    StoredCharge, StoredCharges, StoredCounter, Table, Timeline,
};
use crate::customers::Calendars;
use crate::event::Dimension;
use crate::rules::{Condition, Filter, Fold, Measure, Meter, Meters, Rule, Units};
use crate::telemetry::RuleLabels;

/// The keys of the rows that are no rule's; those have their revision, which is below.
const NUMBERS: u64 = 1 << 32;
const METERS: u64 = 2 << 32;

/// A change of one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RowChange {
    pub(crate) key: u64,
    /// What it is now; `None` where it is gone.
    pub(crate) bytes: Option<Vec<u8>>,
}

/// A row that does not say what it should.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("row {key} of the rules: {detail}")]
pub(crate) struct UnreadableRow {
    pub(crate) key: u64,
    pub(crate) detail: String,
}

/// One revision of a rule.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredRule {
    rule: Rule,
    /// Its version; 1 of one that was stored before there were versions.
    #[serde(default = "first_version")]
    version: u64,
    /// The name of the value that it counts; `None` counts events.
    value: Option<String>,
    fold: Fold,
    /// How many counted units one whole of it is.
    #[serde(default)]
    units_per_whole: Option<Units>,
    /// The rule's filter and that of its meter.
    filter: Vec<(String, Condition)>,
    counter: StoredCounter,
    age: u64,
    group: u32,
    /// The dimension whose values it counts, each once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unique: Option<String>,
    /// Of such a rule: the revision of the rule of its marks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    marks: Option<u32>,
    /// It is one that marks values.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    is_marking: bool,
    /// The sequence number of the first record that was made without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ended: Option<u64>,
}

fn first_version() -> u64 {
    1
}

/// The numbers that are taken, and the time line that all instants are on.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredNumbers {
    origin_second: i64,
    counters: u32,
    revisions: u32,
    ages: u64,
    groups: u32,
    partitions: Vec<(Vec<String>, StoredGroups)>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredGroups {
    main: u32,
    mixed: u32,
    mixed_rules: u32,
}

/// All rules that records of the log may name.
#[derive(Debug, Default)]
pub(crate) struct Revisions {
    by_revision: HashMap<u32, Revision, ahash::RandomState>,
}

#[derive(Debug)]
struct Revision {
    rule: Arc<CompiledRule>,
    /// The sequence number of the first record that was made without it; `None` of a current one.
    ended: Option<u64>,
}

/// The table that records are redone into, and what the hashes of its rows are made with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RedoTable<'r> {
    pub(crate) table: &'r Table,
    pub(crate) hasher: &'r ahash::RandomState,
}

/// What rows of the rules say.
#[derive(Debug)]
pub(crate) struct RestoredRules {
    pub(crate) compiler: Compiler,
    /// The rules in force, with the counters that they had.
    pub(crate) current: Vec<Arc<CompiledRule>>,
    pub(crate) meters: Arc<Meters>,
    pub(crate) revisions: Revisions,
}

/// Reads rows of the rules, in any order.
#[derive(Default)]
pub(crate) struct RuleRows {
    numbers: Option<StoredNumbers>,
    meters: Vec<Arc<Meter>>,
    rules: Vec<(u32, StoredRule)>,
}

impl Revisions {
    pub(crate) fn get(&self, revision: u32) -> Option<&Arc<CompiledRule>> {
        self.by_revision.get(&revision).map(|found| &found.rule)
    }

    /// Does again what a record did to counters; `dimension` reads its event. `Err` names a rule
    /// that is not known.
    pub(crate) fn redo<'e>(
        &self,
        into: RedoTable<'_>,
        record: &RedoRecord<'_>,
        charges: &StoredCharges,
        dimension: impl Fn(&Dimension) -> Option<&'e str>,
    ) -> Result<(), u32> {
        let RedoTable { table, hasher } = into;
        self.redo_starts(into, record, charges, &dimension)?;
        self.rows(charges, dimension, |rule, values, charges| match values {
            Some(values) => table.redo(record, &address(hasher, rule, &values), charges),
            None => charges.iter().for_each(|charge| table.redo_shared(record, *charge)),
        })
    }

    /// The same of the record of a sequence number, with a look at whether what it says follows
    /// from those before it; `at` is the time of its decision.
    pub(crate) fn audit<'e>(
        &self,
        into: RedoTable<'_>,
        audit: &Audit<'_>,
        (seq, at): (u64, &At),
        charges: &StoredCharges,
        dimension: impl Fn(&Dimension) -> Option<&'e str>,
    ) -> Result<Audited, u32> {
        let RedoTable { table, hasher } = into;
        let mut audited = Audited::default();
        let log_end = LogEnd { counters: audit.counters, at: *at };
        let record = RedoRecord { log_end: &log_end, seq, at };
        self.redo_starts(into, &record, charges, &dimension)?;
        self.rows(charges, dimension, |rule, values, charges| match values {
            Some(values) => {
                let row = address(hasher, rule, &values);
                table.audit(audit, &record, &row, charges, &mut audited);
            }
            None => {
                for charge in charges {
                    table.audit_shared(audit, &record, *charge, &mut audited);
                }
            }
        })?;
        Ok(audited)
    }

    /// Lets counters know of the events that their keys' own ones do not have, and gives those that
    /// came into being what they started from.
    fn redo_starts<'e>(
        &self,
        RedoTable { table, hasher }: RedoTable<'_>,
        record: &RedoRecord<'_>,
        charges: &StoredCharges,
        dimension: impl Fn(&Dimension) -> Option<&'e str>,
    ) -> Result<(), u32> {
        for charge in charges.iter().filter(|charge| charge.crowded) {
            let rule = self.get(charge.revision).ok_or(charge.revision)?;
            record.log_end.counters.misses(&rule.counter, record.at.second);
        }
        for start in &charges.starts {
            let rule: &CompiledRule = self.get(start.revision).ok_or(start.revision)?;
            let values = values_of(rule, &dimension);
            let row = address(hasher, rule, &values);
            table.redo_start(record, &row, &rule.counter, start);
        }
        Ok(())
    }

    /// Goes over the charges that wrote counters, row by row: with the values of the partition, or
    /// with none for the row that keys share which found no room.
    fn rows<'e>(
        &self,
        charges: &[StoredCharge],
        dimension: impl Fn(&Dimension) -> Option<&'e str>,
        mut row: impl FnMut(&CompiledRule, Option<Values<'_>>, &[PastCharge<'_>]),
    ) -> Result<(), u32> {
        let mut of_row: SmallVec<[PastCharge<'_>; 8]> = SmallVec::new();
        let mut last: Option<&CompiledRule> = None;
        let mut flush = |rule: &CompiledRule, charges: &mut SmallVec<[PastCharge<'_>; 8]>| {
            row(rule, Some(values_of(rule, &dimension)), charges);
            charges.clear();
        };
        // What happened to accounts the record says beside the charges.
        let counted =
            charges.iter().filter(|charge| charge.written && !charge.reading.is_balance());
        for charge in counted.filter(|charge| !charge.crowded) {
            let rule: &CompiledRule = self.get(charge.revision).ok_or(charge.revision)?;
            let is_other = |last: &&CompiledRule| {
                last.group != rule.group || last.fallback() != rule.fallback()
            };
            if let Some(last) = last.filter(is_other) {
                flush(last, &mut of_row);
            }
            last = Some(rule);
            of_row.push(PastCharge { counter: &rule.counter, charge });
        }
        if let Some(last) = last {
            flush(last, &mut of_row);
        }
        for charge in charges.iter().filter(|charge| charge.written && charge.crowded) {
            let rule: &CompiledRule = self.get(charge.revision).ok_or(charge.revision)?;
            row(rule, None, &[PastCharge { counter: &rule.counter, charge }]);
        }
        Ok(())
    }

    /// Goes from one rule set to the next, which holds from the record `seq` on, and returns
    /// the rows that change. The instant of the change must be set. O(rules).
    pub(crate) fn change(
        &mut self,
        before: &Snapshot,
        after: &Snapshot,
        compiler: &Compiler,
        seq: u64,
    ) -> Vec<RowChange> {
        let mut rows = vec![row(NUMBERS, &compiler.to_stored())];
        if before.meters.list() != after.meters.list() || before.version == 0 {
            rows.push(row(METERS, &after.meters.list().iter().map(|m| &**m).collect::<Vec<_>>()));
        }
        let mut is_current: HashMap<u32, bool, ahash::RandomState> =
            before.rules.iter().map(|rule| (rule.revision, false)).collect();
        for rule in &after.rules {
            if is_current.insert(rule.revision, true).is_none() {
                rows.push(row(rule.revision.into(), &rule.to_stored(None)));
                let revision = Revision { rule: Arc::clone(rule), ended: None };
                self.by_revision.insert(rule.revision, revision);
            }
        }
        for rule in
            before.rules.iter().filter(|rule| is_current.get(&rule.revision) == Some(&false))
        {
            rows.push(row(rule.revision.into(), &rule.to_stored(Some(seq))));
            if let Some(revision) = self.by_revision.get_mut(&rule.revision) {
                revision.ended = Some(seq);
            }
        }
        rows
    }

    /// All rows, in the newest format. O(rules).
    pub(crate) fn to_rows(&self, compiler: &Compiler, meters: &Meters) -> Vec<RowChange> {
        let meters: Vec<_> = meters.list().iter().map(|meter| &**meter).collect();
        let mut rows = vec![row(NUMBERS, &compiler.to_stored()), row(METERS, &meters)];
        for (revision, Revision { rule, ended }) in &self.by_revision {
            rows.push(row((*revision).into(), &rule.to_stored(*ended)));
        }
        rows
    }

    /// Forgets the rules that no record from a sequence number on names, and returns their rows.
    pub(crate) fn forget_before(&mut self, seq: u64) -> Vec<RowChange> {
        let gone = self
            .by_revision
            .extract_if(|_, revision| revision.ended.is_some_and(|ended| ended <= seq));
        gone.map(|(revision, _)| RowChange { key: revision.into(), bytes: None }).collect()
    }
}

impl CompiledRule {
    fn to_stored(&self, ended: Option<u64>) -> StoredRule {
        let pair = |(key, condition): &(Dimension, Condition)| {
            (key.as_str().to_owned(), condition.clone())
        };
        StoredRule {
            rule: self.rule.clone(),
            version: self.rule.version(),
            value: self.measure.value().map(|value| value.as_str().to_owned()),
            fold: self.measure.fold(),
            units_per_whole: Some(self.measure.units_per_whole()),
            filter: self.filter.iter().map(pair).collect(),
            counter: self.counter.to_stored(),
            age: self.age,
            group: self.group,
            unique: self.measure.unique().map(|dimension| dimension.as_str().to_owned()),
            marks: self.marks.as_ref().map(|marks| marks.revision),
            is_marking: self.is_marking,
            ended,
        }
    }
}

impl Compiler {
    fn to_stored(&self) -> StoredNumbers {
        let names = |partition: &[Dimension]| {
            partition.iter().map(|dimension| dimension.as_str().to_owned()).collect()
        };
        let groups = |groups: &Groups| {
            let Groups { main, mixed, mixed_rules } = *groups;
            StoredGroups { main, mixed, mixed_rules }
        };
        let partitions = self.partitions.iter();
        StoredNumbers {
            origin_second: self.timeline.origin_second(),
            counters: self.counters,
            revisions: self.revisions,
            ages: self.ages,
            groups: self.groups,
            partitions: partitions.map(|(key, found)| (names(key), groups(found))).collect(),
        }
    }

    fn of_stored(saved: StoredNumbers, late: Lateness) -> Self {
        let mut compiler = Self::new(Timeline::with_origin(saved.origin_second), late);
        compiler.counters = saved.counters;
        compiler.revisions = saved.revisions;
        compiler.ages = saved.ages;
        compiler.groups = saved.groups;
        let partitions = saved.partitions.into_iter().map(|(names, groups)| {
            let StoredGroups { main, mixed, mixed_rules } = groups;
            let partition = names.iter().map(|name| Dimension::parse(name)).collect();
            (partition, Groups { main, mixed, mixed_rules })
        });
        compiler.partitions = partitions.collect();
        compiler.keep_what_checkpoints_hold();
        compiler
    }

    /// From now on keeps what a checkpoint may hold cells of.
    pub(crate) fn keep_what_checkpoints_hold(&mut self) {
        self.checkpoints = Checkpoints { begun: 0, complete: 0 };
    }

    /// A checkpoint begins: every piece of it is taken after this.
    pub(crate) fn begin_checkpoint(&mut self) {
        self.checkpoints.begun = self.checkpoints.begun.saturating_add(1);
    }

    /// The checkpoint that began last is the one that opening reads.
    pub(crate) fn complete_checkpoint(&mut self) {
        self.checkpoints.complete = self.checkpoints.begun;
    }

    #[cfg(test)]
    pub(crate) fn timeline(&self) -> Timeline {
        self.timeline
    }

    /// Compiles a rule as it was.
    fn recompile(&self, revision: u32, saved: StoredRule, labels: &mut RuleLabels) -> CompiledRule {
        let rule = saved.rule.of_version(saved.version);
        let (value, unique) = (saved.value.as_deref(), saved.unique.as_deref());
        let measure = Measure::restored(value, saved.fold, saved.units_per_whole, unique);
        let filter = saved.filter.iter();
        let filter: Filter =
            filter.map(|(key, condition)| (Dimension::parse(key), condition.clone())).collect();
        let partition = unique::partition(&rule);
        let counter =
            Counter::of_stored(saved.counter, self.policy(&rule, &measure), self.timeline);
        CompiledRule {
            seen: self.dimensions.of(&filter, &partition),
            filter,
            partition,
            counter: counter.of_rule(&rule).watched(watch(&rule, &measure)).of_values(
                saved.is_marking,
                &rule,
                &measure,
            ),
            span: self.span(&rule),
            marks: None,
            is_marking: saved.is_marking,
            age: saved.age,
            figures: labels.figures(rule.id().unwrap_or_default()),
            rule,
            measure,
            group: saved.group,
            revision,
            said: OnceLock::new(),
        }
    }
}

impl RuleRows {
    pub(crate) fn add(&mut self, _: Version, key: u64, bytes: &[u8]) -> Result<(), UnreadableRow> {
        match key {
            NUMBERS => self.numbers = Some(read(key, bytes)?),
            METERS => {
                let meters: Vec<Meter> = read(key, bytes)?;
                self.meters = meters.into_iter().map(Arc::new).collect();
            }
            _ => match u32::try_from(key) {
                Ok(revision) => self.rules.push((revision, read(key, bytes)?)),
                Err(_) => return Err(unreadable(key, "nobody knows it")),
            },
        }
        Ok(())
    }

    /// What the rows say together; `None` of no rows.
    pub(crate) fn finish(
        self,
        late: impl Into<Lateness>,
        calendars: &Arc<Calendars>,
    ) -> Result<Option<RestoredRules>, UnreadableRow> {
        let Self { numbers, meters, mut rules } = self;
        let Some(numbers) = numbers else {
            let unnumbered = rules.first().map(|(revision, _)| u64::from(*revision));
            return unnumbered
                .map_or(Ok(None), |key| Err(unreadable(key, "the numbers are missing")));
        };
        let compiler = Compiler::of_stored(numbers, late.into());
        let mut compiler = compiler.by_calendars(Arc::clone(calendars));
        let mut labels = std::mem::take(&mut compiler.labels);
        let mut revisions = Revisions::default();
        let mut current = Vec::new();
        // The rules in force first: they are who should have labels of their own. The rules of
        // marks are there before those that have them.
        rules
            .sort_by_key(|(revision, saved)| (saved.ended.is_some(), !saved.is_marking, *revision));
        for (revision, saved) in rules {
            let (ended, is_marking) = (saved.ended, saved.is_marking);
            let marks = saved.marks.and_then(|marks| revisions.get(marks).cloned());
            let rule = compiler.recompile(revision, saved, &mut labels);
            let rule = Arc::new(CompiledRule { marks, ..rule });
            if ended.is_none() && !is_marking {
                current.push(Arc::clone(&rule));
            }
            revisions.by_revision.insert(revision, Revision { rule, ended });
        }
        compiler.labels = labels;
        let meters = Arc::new(Meters::new(meters));
        Ok(Some(RestoredRules { compiler, current, meters, revisions }))
    }
}

/// The values of an event by which a rule splits.
type Values<'v> = SmallVec<[&'v str; 2]>;

/// The row of a rule's group for these values of its partition.
fn address<'v>(
    hasher: &ahash::RandomState,
    rule: &CompiledRule,
    values: &'v [&'v str],
) -> RowAddress<'v> {
    let (hash, group) = (row_hash(hasher, rule.group, values), rule.group);
    RowAddress { hash, group, values }
}

/// The values of an event by which a rule splits, and what stands for one that it lacks.
fn values_of<'v, 'e: 'v>(
    rule: &'v CompiledRule,
    dimension: impl Fn(&Dimension) -> Option<&'e str>,
) -> Values<'v> {
    let value = |of: &Dimension| -> Option<&'v str> { dimension(of).or_else(|| rule.fallback()) };
    rule.partition.iter().filter_map(value).collect()
}

fn row(key: u64, value: &impl Serialize) -> RowChange {
    // Writing to memory fails for no rule: every key is a text and every number an integer.
    RowChange { key, bytes: Some(serde_json::to_vec(value).unwrap_or_default()) }
}

fn read<T: DeserializeOwned>(key: u64, bytes: &[u8]) -> Result<T, UnreadableRow> {
    serde_json::from_slice(bytes).map_err(|why| unreadable(key, why))
}

fn unreadable(key: u64, detail: impl fmt::Display) -> UnreadableRow {
    UnreadableRow { key, detail: detail.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Timestamp;
    use crate::counters::{ChangeTime, Moment};
    use crate::rules::{Algorithm, Metric, Overflow, Period, Quota, RateLimit, Window};

    /// An engine's rules, with the rows that a store would hold.
    struct Kept {
        compiler: Compiler,
        snapshot: Snapshot,
        revisions: Revisions,
        rows: HashMap<u64, Vec<u8>>,
        place: u64,
    }

    impl Kept {
        fn new() -> Self {
            let timeline = Timeline::starting(Timestamp::new(1_700_000_000, 0));
            let mut compiler = Compiler::new(timeline, 3_600);
            compiler.keep_what_checkpoints_hold();
            compiler.recount();
            let (since, hasher) = (Arc::default(), ahash::RandomState::new());
            let snapshot = Snapshot::new(since, Vec::new(), Arc::default(), hasher);
            let (revisions, rows) = (Revisions::default(), HashMap::new());
            Self { compiler, snapshot, revisions, rows, place: 0 }
        }

        fn publish(
            &mut self,
            rules: Vec<Arc<CompiledRule>>,
            meters: Meters,
            time: &Arc<ChangeTime>,
        ) {
            self.place += 10;
            let at =
                self.compiler.timeline.at(Moment(3_155_760_000_000_000_000 + self.place), None);
            let rules = rules.iter().map(|rule| self.compiler.renew(rule)).collect();
            time.get_or_init(|| at);
            let hasher = ahash::RandomState::new();
            let after = Snapshot::new(Arc::clone(time), rules, Arc::new(meters), hasher);
            let rows = self.revisions.change(&self.snapshot, &after, &self.compiler, self.place);
            for RowChange { key, bytes } in rows {
                match bytes {
                    Some(bytes) => self.rows.insert(key, bytes),
                    None => self.rows.remove(&key),
                };
            }
            self.snapshot = after;
        }

        fn compile(&mut self, rules: Vec<Rule>, meters: Meters) {
            let time = Arc::default();
            let mut compiled = Vec::new();
            for rule in rules {
                let before = self.snapshot.by_id(rule.id().expect("an id")).cloned();
                compiled.push(match before {
                    Some(before) if before.rule == rule && before.counts_as(&rule, &meters) => {
                        before
                    }
                    before => self.compiler.compile(rule, &meters, before.as_deref(), &time),
                });
            }
            self.publish(compiled, meters, &time);
        }

        fn restore(&self) -> RestoredRules {
            let mut rows = RuleRows::default();
            for (key, bytes) in &self.rows {
                rows.add(Version::NEWEST, *key, bytes).expect("a row");
            }
            rows.finish(3_600, &Arc::default()).expect("readable").expect("there are rows")
        }

        fn check(&self) {
            let restored = self.restore();
            let mut current = restored.current.clone();
            current.sort_by_key(|rule| (rule.rule.kind() as u8, rule.age));
            // What is printed of a rule is all that there is of it.
            let text = |rule: &Arc<CompiledRule>| {
                let Counter { policy, enforcement, .. } = &rule.counter;
                let saved = serde_json::to_string(&rule.counter.to_stored()).expect("plain data");
                let counter = format!("{saved} {policy:?} {enforcement:?}");
                let rest = (&rule.rule, &rule.measure, &rule.filter, &rule.partition);
                let marks = rule.marks.as_ref().map(|marks| marks.revision);
                let rest = (rest, marks, rule.is_marking);
                format!("{counter} {rest:?} {} {} {}", rule.age, rule.group, rule.revision)
            };
            let texts = |rules: &[Arc<CompiledRule>]| rules.iter().map(text).collect::<Vec<_>>();
            assert_eq!(texts(&current), texts(self.snapshot.listed()));
            assert_eq!(restored.meters.list(), self.snapshot.meters.list());
            assert_eq!(restored.revisions.by_revision.len(), self.revisions.by_revision.len());
            for (revision, known) in &self.revisions.by_revision {
                let found = restored.revisions.get(*revision).expect("every one");
                assert_eq!(text(found), text(&known.rule));
            }
            let numbers = |compiler: &Compiler| {
                let mut saved = compiler.to_stored();
                saved.partitions.sort_by(|(a, _), (b, _)| a.cmp(b));
                serde_json::to_string(&saved).expect("plain data")
            };
            assert_eq!(numbers(&restored.compiler), numbers(&self.compiler));
        }
    }

    fn limit(algorithm: Algorithm, limit: u64, window: Window) -> Rule {
        RateLimit::new("r", limit, window).id("rl").algorithm(algorithm).per("customer_id").into()
    }

    fn quota(metric: Metric, period: Period) -> Rule {
        let quota = Quota::new("q", metric, 9, period).id("qta").filter("model", "m");
        let quota = quota.filter("a", ["x", "y"]).filter("b", Condition::prefix("x"));
        let quota = quota.filter("c", Condition::not("x")).filter("d", Condition::Present);
        let quota = quota.filter("e", Condition::Absent);
        quota.per("team").per("customer_id").max_keys(7).overflow(Overflow::Deny).into()
    }

    #[test]
    fn rules_come_back_with_their_counters_whatever_they_went_through() {
        let mut kept = Kept::new();
        let meters = |value: &str| {
            let meter = Meter::latest("seats", value).id("m").filter("event_type", "t");
            Meters::new(vec![Arc::new(meter)])
        };
        let second = Window::Second;
        let steps = [
            (limit(Algorithm::TokenBucket, 5, second), quota(Metric::TotalEvents, Period::Month)),
            (limit(Algorithm::TokenBucket, 6, second), quota(Metric::TotalEvents, Period::Day)),
            (limit(Algorithm::SlidingWindow, 6, second), quota(Metric::meter("m"), Period::Day)),
            (limit(Algorithm::SlidingWindow, 7, second), quota(Metric::meter("m"), Period::Day)),
            (
                limit(Algorithm::FixedWindow, 7, Window::Hour),
                quota(Metric::value("gb"), Period::Hour),
            ),
            (
                limit(Algorithm::FixedWindow, 8, Window::Hour),
                quota(Metric::unique("user"), Period::Hour),
            ),
            (
                limit(Algorithm::FixedWindow, 9, Window::Hour),
                quota(Metric::unique("user"), Period::Day),
            ),
        ];
        for (step, (limit, quota)) in steps.into_iter().enumerate() {
            kept.compile(vec![limit, quota], meters(["seats", "desks"][step.min(5) / 3]));
            kept.check();
        }
        kept.compile(Vec::new(), Meters::default());
        kept.check();
        assert_eq!(kept.restore().current.len(), 0);
    }

    #[test]
    fn what_a_checkpoint_may_hold_is_not_forgotten_before_the_next_one() {
        let mut kept = Kept::new();
        let chain = |kept: &Kept| {
            let rule = kept.snapshot.rules.first().expect("a rule");
            rule.counter.to_stored().chain()
        };
        let change = |kept: &mut Kept, limit_value| {
            let rule = limit(Algorithm::TokenBucket, limit_value, Window::Second);
            kept.compile(vec![rule], Meters::default());
        };
        for limit in 1..=4 {
            change(&mut kept, limit);
        }
        // The change before saw that two are spent, and this one sees the third.
        kept.compiler.begin_checkpoint();
        kept.compiler.complete_checkpoint();
        change(&mut kept, 5);
        assert_eq!(chain(&kept), 2);
        kept.compiler.begin_checkpoint();
        change(&mut kept, 6);
        assert_eq!(chain(&kept), 3, "the checkpoint is not complete");
        kept.compiler.complete_checkpoint();
        change(&mut kept, 7);
        assert_eq!(chain(&kept), 3, "it is without the one that was spent when it began");
        kept.check();
    }

    #[test]
    fn a_rule_that_counted_whole_cents_goes_on_in_millionths() {
        let mut kept = Kept::new();
        let cost = RateLimit::new("cost", 5, Window::Hour).id("rl").metric(Metric::TotalCostCents);
        kept.compile(vec![cost.into()], Meters::default());
        // As format 1 had it.
        let row = kept.rows.get_mut(&1).expect("the rule's row");
        let mut saved: serde_json::Value = serde_json::from_slice(row).expect("plain data");
        assert_eq!(saved["unitsPerWhole"], 1_000_000);
        saved.as_object_mut().expect("an object").remove("unitsPerWhole");
        *row = serde_json::to_vec(&saved).expect("plain data");

        let RestoredRules { mut compiler, current, .. } = kept.restore();
        let old = current.first().expect("the rule");
        assert_eq!(old.units_per_whole(), 1);
        assert!(!old.counts_as(&old.rule, &Meters::default()), "it is to be renewed");
        let at = Arc::default();
        let new = compiler.compile(old.rule.clone(), &Meters::default(), Some(old), &at);
        assert!(new.counts_as(&new.rule, &Meters::default()) && new.counter.took_over());
        let counter = serde_json::to_value(new.counter.to_stored()).expect("plain data");
        assert_eq!(counter["tookOver"][0]["units"], 1_000_000, "each unit is so many now");
    }

    #[test]
    fn revisions_that_no_record_names_are_forgotten() {
        let mut kept = Kept::new();
        for limit_value in 1..=3 {
            let rule = limit(Algorithm::TokenBucket, limit_value, Window::Second);
            kept.compile(vec![rule], Meters::default());
        }
        assert_eq!(kept.revisions.forget_before(19), vec![]);
        assert_eq!(kept.revisions.forget_before(20), vec![RowChange { key: 1, bytes: None }]);
        assert!(kept.revisions.get(1).is_none() && kept.revisions.get(2).is_some());
    }

    #[test]
    fn rows_that_say_something_else_are_named() {
        let mut rows = RuleRows::default();
        for (key, bytes) in [(3, "{}"), (NUMBERS, "7"), (METERS, "["), (9 << 40, "{}")] {
            let why = rows.add(Version::NEWEST, key, bytes.as_bytes()).expect_err("not a row");
            assert_eq!(why.key, key);
        }
        assert!(rows.finish(0, &Arc::default()).expect("nothing was added").is_none());
    }
}
