//! A rule set, ready to decide by: the rules with their compiled counters, and the index.
//!
//! A snapshot never changes. A change of the rules makes the next one, out of the rules that stay
//! as they are (their counters untouched) and those that are new or differ.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::base::calendar::Calendar;
use crate::compiled::index::{Entry, Index, Seen};
use crate::counters::{
    CalendarPeriod, ChangeTime, Checkpoints, Counter, CounterSet, FixedWindow, Gauge, GaugePeriod,
    Late, Periods, Policy, SlidingWindow, Timeline, TokenBucket,
};
use crate::event::Dimension;
use crate::rules::{
    Algorithm, Enforcement, Fold, Measure, Meters, Metric, NO_LIMIT, OnMissing, Rate, Rule, Units,
};
use crate::telemetry::{RuleFigures, RuleLabels};

pub(crate) mod saved;

#[cfg(test)]
mod tests;

/// How many rules share a group that its partition does not tell apart: the most cells of other
/// rules that a decision passes over in a row.
const MIXED_RULES: u32 = 16;

/// A rule and what it was compiled to.
#[derive(Debug)]
pub(crate) struct CompiledRule {
    pub(crate) rule: Rule,
    pub(crate) measure: Measure,
    /// The rule's filter and that of its meter, in the order of their dimensions.
    pub(crate) filter: Vec<(Dimension, Box<str>)>,
    pub(crate) partition: Box<[Dimension]>,
    pub(crate) counter: Counter,
    pub(crate) age: u64,
    pub(crate) figures: RuleFigures,
    /// The dimensions that an event may lack, and whether one has had them.
    pub(crate) seen: Vec<(Dimension, Seen)>,
    group: u32,
    /// Of all rules that were ever compiled for an engine only this one has it.
    revision: u32,
}

impl CompiledRule {
    /// The id, which every rule of an engine has.
    pub(crate) fn id(&self) -> &str {
        self.rule.id().unwrap_or_default()
    }

    /// Which of all rules it is that were ever compiled for the engine: a rule that changes is
    /// another one.
    pub(crate) fn revision(&self) -> u32 {
        self.revision
    }

    /// How many counted units one whole is.
    pub(crate) fn units_per_whole(&self) -> Units {
        self.measure.units_per_whole()
    }

    /// Whether it counts the same of the same events as the rule would with these meters.
    pub(crate) fn counts_as(&self, rule: &Rule, meters: &Meters) -> bool {
        let (measure, filter) = counted(rule, meters);
        self.measure == measure && self.filter == filter
    }

    /// The dimensions of the rule's own filter, without those of its meter.
    pub(crate) fn own_filter(&self) -> impl Iterator<Item = Dimension> {
        self.rule.filters().keys().map(|key| Dimension::parse(key))
    }

    /// The value by which it counts events that lack a dimension.
    pub(crate) fn stated(&self) -> Option<&str> {
        self.rule.on_missing().value()
    }

    /// What the index finds the rule by; `None` where no event can match it.
    fn entry(&self) -> Option<Entry> {
        let one_value = |pair: &[(Dimension, Box<str>)]| match pair {
            [(a, _), (b, _)] => a != b,
            _ => true,
        };
        let possible = self.filter.windows(2).all(one_value);
        (possible && self.rule.enabled()).then(|| Entry {
            filter: self.filter.clone(),
            group: self.group,
            partition: self.partition.clone(),
            policy: self.rule.policy().map(Into::into),
            age: self.age,
            on_missing: match self.rule.on_missing() {
                // A rule on trial changes no answer.
                OnMissing::Refuse if self.rule.enforcement() != Enforcement::Hard => {
                    OnMissing::Skip
                }
                other => other.clone(),
            },
            own: self.own_filter().collect(),
            seen: self.seen.clone(),
        })
    }
}

#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) version: u64,
    /// Rate limits, then quotas, each in the order in which they were added.
    pub(crate) rules: Box<[Arc<CompiledRule>]>,
    pub(crate) meters: Arc<Meters>,
    pub(crate) index: Index,
    pub(crate) counters: CounterSet,
}

impl Snapshot {
    pub(crate) fn new(
        version: u64,
        since: Arc<ChangeTime>,
        mut rules: Vec<Arc<CompiledRule>>,
        meters: Arc<Meters>,
        hasher: ahash::RandomState,
    ) -> Self {
        rules.sort_by_key(|compiled| (compiled.rule.kind() as u8, compiled.age));
        let entries: Vec<_> = rules.iter().map(|compiled| compiled.entry()).collect();
        Self {
            version,
            index: Index::new(&entries, hasher),
            counters: CounterSet::new(
                version,
                since,
                rules.iter().map(|compiled| &compiled.counter),
            ),
            rules: rules.into(),
            meters,
        }
    }

    pub(crate) fn rule(&self, place: u32) -> Option<&Arc<CompiledRule>> {
        self.rules.get(place as usize)
    }

    pub(crate) fn by_id(&self, id: &str) -> Option<&Arc<CompiledRule>> {
        self.rules.iter().find(|compiled| compiled.id() == id)
    }
}

/// What a rule counts, and the pairs that an event must have for it, each once.
fn counted(rule: &Rule, meters: &Meters) -> (Measure, Vec<(Dimension, Box<str>)>) {
    let meter = match rule.metric() {
        Metric::Meter(id) => meters.get(id),
        _ => None,
    };
    let own = rule.filters().iter().map(|(key, value)| (key.as_str(), value.as_str()));
    let of_meter = meter.into_iter().flat_map(|meter| meter.event_filter.pairs());
    let pairs = own.chain(of_meter).map(|(key, value)| (Dimension::parse(key), value.into()));
    let mut filter: Vec<(Dimension, Box<str>)> = pairs.collect();
    filter.sort();
    filter.dedup();
    (Measure::of_metric(rule.metric(), meters).unwrap_or_default(), filter)
}

/// Makes compiled rules, and numbers counters, groups and ages so that none is used twice.
#[derive(Debug)]
pub(crate) struct Compiler {
    timeline: Timeline,
    late: Late,
    /// Whether new counters start from what is recorded.
    recounts: bool,
    counters: u32,
    revisions: u32,
    ages: u64,
    groups: u32,
    partitions: HashMap<Box<[Dimension]>, Groups>,
    labels: RuleLabels,
    dimensions: SeenDimensions,
    checkpoints: Checkpoints,
}

/// Which dimensions events have had, of those that rules name.
#[derive(Debug, Default)]
struct SeenDimensions(Mutex<HashMap<Dimension, Seen>>);

impl SeenDimensions {
    /// Those of a rule, but for the ones that every event has.
    fn of(
        &self,
        filter: &[(Dimension, Box<str>)],
        partition: &[Dimension],
    ) -> Vec<(Dimension, Seen)> {
        let named = filter.iter().map(|(dimension, _)| dimension).chain(partition);
        let mut known = self.0.lock();
        let mut seen: Vec<(Dimension, Seen)> = named
            .filter(|dimension| !matches!(dimension, Dimension::CustomerId | Dimension::EventType))
            .map(|dimension| {
                (dimension.clone(), known.entry(dimension.clone()).or_default().clone())
            })
            .collect();
        seen.sort_by(|(a, _), (b, _)| a.cmp(b));
        seen.dedup_by(|(a, _), (b, _)| a == b);
        seen
    }
}

/// The groups of one partition.
#[derive(Debug)]
struct Groups {
    /// For rules that match every key of it or only keys of their own.
    main: u32,
    /// For rules with other filters, while it has fewer than [`MIXED_RULES`].
    mixed: u32,
    mixed_rules: u32,
}

impl Compiler {
    pub(crate) fn new(timeline: Timeline, late: impl Into<Late>) -> Self {
        Self {
            timeline,
            late: late.into(),
            recounts: false,
            counters: 0,
            revisions: 0,
            ages: 0,
            groups: 0,
            partitions: HashMap::new(),
            labels: RuleLabels::default(),
            dimensions: SeenDimensions::default(),
            checkpoints: Checkpoints::NONE,
        }
    }

    /// Lets counters that are made from now on start from what is recorded.
    pub(crate) fn recount(&mut self) {
        self.recounts = true;
    }

    /// Compiles a new rule, or one that takes the place of `before` at an instant that is set
    /// before the rule is used.
    pub(crate) fn compile(
        &mut self,
        rule: Rule,
        meters: &Meters,
        before: Option<&CompiledRule>,
        at: &Arc<ChangeTime>,
    ) -> Arc<CompiledRule> {
        let (measure, filter) = counted(&rule, meters);
        let mut partition: Vec<Dimension> =
            rule.per().iter().map(|key| Dimension::parse(key)).collect();
        partition.sort();
        let partition = partition.into_boxed_slice();
        let policy = self.policy(&rule, &measure);

        // Counters of another partition have other keys, and those of another measure count
        // something else: there is nothing to carry.
        let related = before
            .filter(|before| before.partition == partition && before.measure.counts_as(&measure));
        // What a counter of format 1 counted in wholes may count in millionths now.
        let units = related.map_or(1, |before| {
            measure.units_per_whole().div_euclid(before.units_per_whole().max(1)).max(1)
        });
        let recounts = self.recounts && policy.recounts();
        // Of other events another figure is recorded, and none was counted while it was off.
        let counts_otherwise = recounts
            && before.is_some_and(|before| {
                before.filter != filter || (rule.enabled() && !before.rule.enabled())
            });
        let counter = match related.map(|before| before.counter.clone()) {
            Some(counter)
                if !counts_otherwise && units == 1 && counter.policy.keeps_state_of(&policy) =>
            {
                counter.with_policy(policy)
            }
            before => {
                let mut counter = self.counter(policy);
                if let Some(before) = before {
                    counter = counter.taking_over(before, Arc::clone(at), units);
                }
                if recounts { counter.recounting(Arc::clone(at)) } else { counter }
            }
        };
        let group = match related {
            Some(before) => before.group,
            None => self.group(&partition, &filter),
        };
        let age = before.map_or_else(|| next(&mut self.ages), |before| before.age);
        let figures = self.labels.figures(rule.id().unwrap_or_default());
        self.revisions = self.revisions.saturating_add(1);
        Arc::new(CompiledRule {
            seen: self.dimensions.of(&filter, &partition),
            counter: counter.of_rule(&rule),
            rule,
            measure,
            filter,
            partition,
            age,
            figures,
            group,
            revision: self.revisions,
        })
    }

    /// The rule as it is, without the counters that it took over from and that are gone.
    pub(crate) fn renew(&self, compiled: &Arc<CompiledRule>) -> Arc<CompiledRule> {
        if !compiled.counter.took_over() {
            return Arc::clone(compiled);
        }
        Arc::new(CompiledRule {
            rule: compiled.rule.clone(),
            measure: compiled.measure.clone(),
            filter: compiled.filter.clone(),
            partition: compiled.partition.clone(),
            counter: compiled.counter.clone().without_spent_carry(self.checkpoints),
            age: compiled.age,
            figures: compiled.figures.clone(),
            seen: compiled.seen.clone(),
            group: compiled.group,
            revision: compiled.revision,
        })
    }

    fn counter(&mut self, policy: Policy) -> Counter {
        // 2^30 changes of rules are beyond any process: at a thousand a second, 12 days.
        self.counters = self.counters.saturating_add(1).min(u32::MAX >> 2);
        Counter::new(self.counters, policy)
    }

    fn policy(&self, rule: &Rule, measure: &Measure) -> Policy {
        let nanos =
            |length: std::time::Duration| u64::try_from(length.as_nanos()).unwrap_or(u64::MAX);
        let limit = measure.limit_of(rule.limit());
        match rule {
            Rule::RateLimit(rule) => {
                let window = nanos(rule.window.length());
                match rule.algorithm {
                    // Of a bucket that is never empty nothing would be counted.
                    Algorithm::TokenBucket if limit < NO_LIMIT => {
                        let capacity = measure.limit_of(rule.burst.or(rule.limit_value));
                        // A rule set is valid as a whole: its rates are exact.
                        let none = Rate { units: 0, nanos: window, depth: 0 };
                        let rate = Rate::new(limit, window, capacity).unwrap_or(none);
                        let most = rule.max_debt.map(|most| measure.units_of(most));
                        Policy::TokenBucket(TokenBucket::new(rate).with_max_debt(most))
                    }
                    Algorithm::TokenBucket | Algorithm::FixedWindow => {
                        Policy::FixedWindow(FixedWindow::new(limit, window, self.timeline))
                    }
                    Algorithm::SlidingWindow => {
                        Policy::SlidingWindow(SlidingWindow::new(limit, window))
                    }
                }
            }
            Rule::Quota(rule) => match rule.period.shape() {
                Ok(unit) => {
                    let periods = Periods::new(Calendar::new(unit), self.late);
                    let gauge = |gauge, periods| {
                        Policy::GaugePeriod(GaugePeriod::new(limit, gauge, periods))
                    };
                    match measure.fold() {
                        Fold::Sum => Policy::CalendarPeriod(CalendarPeriod::new(limit, periods)),
                        Fold::Max => gauge(Gauge::Highest, periods),
                        Fold::Latest => gauge(Gauge::Latest, periods),
                    }
                }
                Err(length) => Policy::SlidingWindow(SlidingWindow::rolling(limit, nanos(length))),
            },
        }
    }

    /// The group for a rule. Rules whose filter the partition implies share one: of those a row
    /// holds only what matches its key. Others share in small numbers, so that no row grows with
    /// the number of rules.
    fn group(&mut self, partition: &[Dimension], filter: &[(Dimension, Box<str>)]) -> u32 {
        let implied = filter.iter().all(|(dimension, _)| partition.contains(dimension));
        let groups = &mut self.groups;
        let found = self.partitions.entry(partition.into()).or_insert_with(|| {
            let main = next_group(groups);
            Groups { main, mixed: main, mixed_rules: 0 }
        });
        if implied {
            return found.main;
        }
        if found.mixed_rules == MIXED_RULES {
            (found.mixed, found.mixed_rules) = (next_group(groups), 0);
        }
        found.mixed_rules = found.mixed_rules.saturating_add(1);
        found.mixed
    }
}

fn next(number: &mut u64) -> u64 {
    *number = number.saturating_add(1);
    *number
}

/// Below the number of the rows that rules share when there is no room.
fn next_group(number: &mut u32) -> u32 {
    *number = number.saturating_add(1).min(u32::MAX.saturating_sub(1));
    *number
}
