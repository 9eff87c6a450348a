//! From a rule to what decisions go by: its measure, its counter and the group of its rows.
//!
//! A compiler lives as long as its engine, and with a store as long as the store: it gives every
//! counter, group and revision a number that none had before.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use super::index::SeenFlag;
use super::rule::{CompiledRule, counted};
use super::times::Span;
use super::unique;
use crate::base::calendar::{Cycle, Unit};
use crate::counters::{
    ACCOUNTS, Balance, CalendarPeriod, ChangeTime, Checkpoints, Counter, FirstUse, FixedWindow,
    Gauge, GaugePeriod, Lateness, Moment, Periods, Policy, SlidingWindow, Slots, Timeline,
    TokenBucket, Watch,
};
use crate::customers::{Calendars, OwnCalendar};
use crate::event::Dimension;
use crate::rules::{
    Algorithm, Condition, Filter, Fold, Measure, Meters, NO_LIMIT, Quota, Rate, Rule, Shape,
    Threshold,
};
use crate::telemetry::{Recorder, RuleLabels};

/// How many rules share a group that its partition does not tell apart: the most cells of other
/// rules that a decision passes over in a row.
const MIXED_RULES: u32 = 16;

/// Makes compiled rules, and numbers counters, groups and ages so that none is used twice.
#[derive(Debug)]
pub(crate) struct Compiler {
    pub(super) timeline: Timeline,
    pub(super) late: Lateness,
    /// Whether new counters start from what is recorded.
    pub(super) recounts: bool,
    pub(super) counters: u32,
    pub(super) revisions: u32,
    pub(super) ages: u64,
    pub(super) groups: u32,
    pub(super) partitions: HashMap<Box<[Dimension]>, Groups>,
    pub(super) labels: RuleLabels,
    pub(super) dimensions: SeenDimensions,
    pub(super) checkpoints: Checkpoints,
    pub(crate) calendars: Arc<Calendars>,
}

/// Which dimensions events have had, of those that rules name.
#[derive(Debug, Default)]
pub(super) struct SeenDimensions(Mutex<HashMap<Dimension, SeenFlag>>);

impl SeenDimensions {
    /// Those of a rule, but for the ones that every event has.
    pub(super) fn of(
        &self,
        filter: &[(Dimension, Condition)],
        partition: &[Dimension],
    ) -> Vec<(Dimension, SeenFlag)> {
        let wanted = filter.iter().filter(|(_, condition)| *condition != Condition::Absent);
        let named = wanted.map(|(dimension, _)| dimension).chain(partition);
        let mut known = self.0.lock();
        let mut seen: Vec<(Dimension, SeenFlag)> = named
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
pub(super) struct Groups {
    /// For rules that match every key of it or only keys of their own.
    pub(super) main: u32,
    /// For rules with other filters, while it has fewer than [`MIXED_RULES`].
    pub(super) mixed: u32,
    pub(super) mixed_rules: u32,
}

impl Compiler {
    pub(crate) fn new(timeline: Timeline, late: impl Into<Lateness>) -> Self {
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
            calendars: Arc::default(),
        }
    }

    /// For how many seconds after their end periods take late events.
    pub(crate) fn late_seconds(&self) -> u64 {
        self.late.seconds()
    }

    /// Cuts periods by these calendars where rules leave that open.
    pub(crate) fn by_calendars(self, calendars: Arc<Calendars>) -> Self {
        Self { calendars, ..self }
    }

    /// Says who is told of the rules' figures.
    pub(crate) fn tell(&self, recorder: &Recorder) {
        self.labels.tell(recorder);
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
        let marks = unique::rule_of_marks(&rule, &measure).map(|marks| {
            let before = before.and_then(|before| before.marks.as_deref());
            let compiled =
                self.compile_one(marks, (Measure::default(), filter.clone()), before, at);
            let CompiledRule { counter, rule, measure, .. } = &compiled;
            let counter = counter.clone().of_values(true, rule, measure);
            Arc::new(CompiledRule { is_marking: true, counter, ..compiled })
        });
        let compiled = self.compile_one(rule, (measure, filter), before, at);
        Arc::new(CompiledRule { marks, ..compiled })
    }

    fn compile_one(
        &mut self,
        rule: Rule,
        (measure, filter): (Measure, Filter),
        before: Option<&CompiledRule>,
        at: &Arc<ChangeTime>,
    ) -> CompiledRule {
        let partition = unique::partition(&rule);
        let policy = self.policy(&rule, &measure);

        // Counters of another partition have other keys, and those of another measure count
        // something else: there is nothing to carry.
        let related = before
            .filter(|before| before.partition == partition && before.measure.counts_as(&measure))
            // What is counted of a limit is none of a balance.
            .filter(|before| before.rule.balance().is_some() == rule.balance().is_some());
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
            None if rule.balance().is_some() => ACCOUNTS,
            None => self.group(&partition, &filter),
        };
        let age = before.map_or_else(|| next(&mut self.ages), |before| before.age);
        let figures = self.labels.figures(rule.id().unwrap_or_default());
        self.revisions = self.revisions.saturating_add(1);
        CompiledRule {
            seen: self.dimensions.of(&filter, &partition),
            counter: counter
                .of_rule(&rule)
                .watched(watch(&rule, &measure))
                .of_values(false, &rule, &measure),
            span: self.span(&rule),
            rule,
            measure,
            filter,
            partition,
            age,
            figures,
            group,
            revision: self.revisions,
            marks: None,
            is_marking: false,
            said: OnceLock::new(),
        }
    }

    /// The groups of rows that have a dimension in their keys, and at which place: of all rules
    /// that there ever were.
    pub(crate) fn groups_of(&self, dimension: &Dimension) -> Vec<(u32, usize)> {
        let places = self.partitions.iter().filter_map(|(partition, groups)| {
            let place = partition.iter().position(|of| of == dimension)?;
            Some([(groups.main, place), (groups.mixed, place)])
        });
        places.flatten().collect()
    }

    /// Whether a rule's periods are cut as the calendars of now say.
    pub(crate) fn fits(&self, compiled: &CompiledRule) -> bool {
        let policy = || self.policy(&compiled.rule, &compiled.measure);
        compiled.counter.policy.periods_are_those_of(policy)
    }

    /// The rule as it is, without the counters that it took over from and that are gone.
    pub(crate) fn renew(&self, compiled: &Arc<CompiledRule>) -> Arc<CompiledRule> {
        if !compiled.took_over() {
            return Arc::clone(compiled);
        }
        let counter = compiled.counter.clone().without_spent_carry(self.checkpoints);
        let marks = compiled.marks.as_ref().map(|marks| self.renew(marks));
        Arc::new(CompiledRule { counter, marks, ..CompiledRule::clone(compiled) })
    }

    fn counter(&mut self, policy: Policy) -> Counter {
        // 2^30 changes of rules are beyond any process: at a thousand a second, 12 days.
        self.counters = self.counters.saturating_add(1).min(u32::MAX >> 2);
        Counter::new(self.counters, policy)
    }

    pub(super) fn policy(&self, rule: &Rule, measure: &Measure) -> Policy {
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
            Rule::Quota(rule) if rule.balance.is_some() => {
                let opening = rule.opening.map(|amount| measure.units_of(amount));
                Policy::Balance(Balance::new(opening))
            }
            Rule::Quota(rule) => match rule.period.shape() {
                Shape::Slots => Policy::Slots(Slots::new(limit)),
                Shape::Calendar(_) if rule.runs_from_first_use() => {
                    Policy::FirstUse(FirstUse::new(limit, rule.fixed_seconds().unwrap_or(1)))
                }
                Shape::Calendar(unit) => {
                    let periods = Periods::new(self.cycle(rule, unit), self.late);
                    let gauge = |gauge, periods| {
                        Policy::GaugePeriod(GaugePeriod::new(limit, gauge, periods))
                    };
                    match measure.fold() {
                        Fold::Sum | Fold::Slots | Fold::Unique => {
                            Policy::CalendarPeriod(CalendarPeriod::new(limit, periods))
                        }
                        Fold::Max => gauge(Gauge::Highest, periods),
                        Fold::Latest => gauge(Gauge::Latest, periods),
                    }
                }
                Shape::Rolling(length) => {
                    Policy::SlidingWindow(SlidingWindow::rolling(limit, nanos(length)))
                }
            },
        }
    }

    /// How a quota's periods are cut: what it leaves open is that of the values which its filter
    /// states, where they have a calendar.
    fn cycle(&self, rule: &Quota, unit: Unit) -> Cycle {
        let cycle = rule.cycle(unit);
        if !cycle.is_open() || self.calendars.are_alike() {
            return cycle;
        }
        let stated = rule.dimension_filters.iter();
        let mut stated: Vec<_> = stated
            .filter_map(|(name, condition)| Some((Dimension::parse(name), condition.value()?)))
            .collect();
        stated.sort_unstable();
        let own = stated.iter().map(|(dimension, value)| self.calendars.own(dimension, value));
        let own = own.fold(OwnCalendar::default(), OwnCalendar::or);
        Cycle { zone: cycle.zone.or(own.zone), anchor: cycle.anchor.or(own.anchor), ..cycle }
    }

    /// When a rule judges, where that is not always.
    pub(super) fn span(&self, rule: &Rule) -> Option<Span> {
        let (starts, ends) = rule.times();
        if starts.is_none() && ends.is_none() {
            return None;
        }
        let dated = |instant| self.timeline.dated(self.timeline.moment(instant));
        Some(Span {
            start: starts.map_or(Moment(0), dated),
            end: ends.map_or(Moment::MAX, dated),
            is_of_event: !rule.is_rate_limit(),
        })
    }

    /// The group for a rule. Rules whose filter the partition implies share one: of those a row
    /// holds only what matches its key. Others share in small numbers, so that no row grows with
    /// the number of rules.
    fn group(&mut self, partition: &[Dimension], filter: &[(Dimension, Condition)]) -> u32 {
        // A key that has no value may stand for a stated one.
        let implied = filter.iter().all(|(dimension, condition)| {
            *condition != Condition::Absent && partition.contains(dimension)
        });
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

/// At which figures of a rule alerts fire.
pub(super) fn watch(rule: &Rule, measure: &Measure) -> Option<Watch> {
    let limit = measure.limit_of(rule.limit());
    let units = |amount| measure.units_of(amount);
    let units_of = |threshold: &Threshold| match threshold {
        // What a balance falls to may be nothing, or less.
        Threshold::Amount(amount) if rule.balance().is_some() => units(*amount),
        threshold => threshold.units(limit, units),
    };
    let thresholds = rule.alert_thresholds().iter();
    Watch::of(thresholds.map(|threshold| (units_of(threshold), *threshold)))
}

fn next(number: &mut u64) -> u64 {
    *number = number.saturating_add(1);
    *number
}

/// Below the numbers of accounts and of the rows that rules share when there is no room.
fn next_group(number: &mut u32) -> u32 {
    *number = number.saturating_add(1).min(ACCOUNTS.saturating_sub(1));
    *number
}
