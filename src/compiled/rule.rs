//! A rule and what it was compiled to.

use std::sync::{Arc, OnceLock};

use smallvec::SmallVec;

use crate::base::amount::Amount;
use crate::compiled::index::{Entry, SeenFlag};
use crate::compiled::times::Span;
use crate::counters::{Counter, Figures};
use crate::event::{Dimension, text_rule};
use crate::rules::{
    Condition, Enforcement, Filter, Measure, Meters, Metric, OnMissing, Rule, RuleKey, Units,
};
use crate::telemetry::RuleFigures;

/// What is wrong with a key that was given for a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyProblem {
    pub(crate) dimension: Box<str>,
    pub(crate) value: Box<str>,
    pub(crate) rule: &'static str,
}

/// A rule and what it was compiled to.
#[derive(Clone, Debug)]
pub(crate) struct CompiledRule {
    pub(crate) rule: Rule,
    pub(crate) measure: Measure,
    /// The rule's filter and that of its meter, in the order of their dimensions; of one dimension
    /// first what finds the fewest events.
    pub(crate) filter: Filter,
    pub(crate) partition: Box<[Dimension]>,
    pub(crate) counter: Counter,
    pub(crate) age: u64,
    pub(crate) figures: RuleFigures,
    /// The dimensions that an event may lack, and whether one has had them.
    pub(crate) seen: Vec<(Dimension, SeenFlag)>,
    /// When it judges, where that is not always.
    pub(crate) span: Option<Span>,
    pub(crate) group: u32,
    /// Of all rules that were ever compiled for an engine only this one has it.
    pub(super) revision: u32,
    /// Of a rule that counts different values: the rule of its marks.
    pub(crate) marks: Option<Arc<Self>>,
    /// It is one that marks values.
    pub(super) is_marking: bool,
    /// What answers say of it that is the same in all of them.
    pub(super) said: OnceLock<Box<[u8]>>,
}

impl CompiledRule {
    /// Whether it, or the rule of its marks, goes on from the use of another counter.
    pub(crate) fn took_over(&self) -> bool {
        self.counter.took_over() || self.marks.as_ref().is_some_and(|marks| marks.took_over())
    }

    /// The id, which every rule of an engine has.
    pub(crate) fn id(&self) -> &str {
        self.rule.id().unwrap_or_default()
    }

    /// Which of all rules it is that were ever compiled for the engine: a rule that changes is
    /// another one.
    pub(crate) fn revision(&self) -> u32 {
        self.revision
    }

    /// What answers say of it that is the same in all of them: printed by who asks first.
    pub(crate) fn said(&self, print: impl FnOnce() -> Box<[u8]>) -> &[u8] {
        self.said.get_or_init(print)
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

    /// The dimensions that the rule's own filter wants events to have, without those of its meter.
    pub(crate) fn own_filter(&self) -> impl Iterator<Item = Dimension> {
        let wanted = self.rule.filters().iter();
        let wanted = wanted.filter(|(_, condition)| **condition != Condition::Absent);
        wanted.map(|(key, _)| Dimension::parse(key))
    }

    /// The most that may be used: of a balance what was used of it and what is left.
    pub(crate) fn limit(&self, figures: Figures) -> Option<Amount> {
        if self.rule.balance().is_none() {
            return self.rule.limit();
        }
        Some(self.measure.amount_of(figures.used.max(0).saturating_add(figures.remaining)))
    }

    /// The value that stands in where an event lacks a dimension.
    pub(crate) fn fallback(&self) -> Option<&str> {
        self.rule.on_missing().value()
    }

    /// The values of a key in the order of the partition.
    ///
    /// # Errors
    /// The name of the dimension that is wrong, its value, and the rule that it breaks.
    pub(crate) fn values_of_key<'k>(
        &self,
        key: &'k RuleKey,
    ) -> Result<SmallVec<[&'k str; 2]>, KeyProblem> {
        let problem = |dimension: &str, value: &str, rule| KeyProblem {
            dimension: dimension.into(),
            value: value.into(),
            rule,
        };
        let splits = |name: &str| self.partition.iter().any(|of| of.as_str() == name);
        if let Some((name, value)) = key.iter().find(|(name, _)| !splits(name)) {
            return Err(problem(name, value, "is of a dimension that does not split the rule"));
        }
        let values = self.partition.iter().map(|dimension| {
            let name = dimension.as_str();
            let missing = || problem(name, "", "must be there: the rule is split by it");
            let value = key.get(name).ok_or_else(missing)?;
            let asked = self.filter.iter().filter(|(of, _)| of == dimension);
            let is_met = |(_, condition): &(_, Condition)| match condition {
                // What must not be there counts by the value that is stated for it.
                Condition::Absent => self.fallback() == Some(value),
                asked => asked.is_met_by(Some(value)),
            };
            match text_rule(value) {
                Some(rule) => Err(problem(name, value, rule)),
                None if !asked.clone().all(is_met) => {
                    Err(problem(name, value, "is a value that the rule's filter does not let in"))
                }
                None => Ok(value),
            }
        });
        values.collect()
    }

    /// The key of these values of the partition.
    pub(crate) fn key_of_values<'v>(&self, values: impl IntoIterator<Item = &'v str>) -> RuleKey {
        self.partition.iter().map(Dimension::as_str).zip(values).collect()
    }

    /// What the index finds the rule by; `None` where it is turned off.
    pub(super) fn entry(&self) -> Option<Entry> {
        self.rule.enabled().then(|| Entry {
            filter: self.filter.clone(),
            group: self.group,
            balance: self.rule.balance().map(Into::into),
            partition: self.partition.clone(),
            policy: self.rule.policy().map(Into::into),
            priority: self.rule.priority(),
            span: self.span,
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
            is_marking: self.is_marking,
        })
    }
}

/// What a rule counts, and what it asks of an event, each thing once.
pub(super) fn counted(rule: &Rule, meters: &Meters) -> (Measure, Filter) {
    let meter = match rule.metric() {
        Metric::Meter(id) => meters.get(id),
        _ => None,
    };
    let own = rule.filters().iter().map(|(key, condition)| (key.as_str(), condition));
    let of_meter = meter.into_iter().flat_map(|meter| meter.event_filter.conditions());
    let all = own.chain(of_meter);
    let mut filter: Filter =
        all.map(|(key, condition)| (Dimension::parse(key), condition.simplified())).collect();
    filter.sort();
    filter.dedup();
    let measure = if rule.is_concurrent() {
        Measure::SLOTS
    } else {
        let measure = Measure::of_metric(rule.metric(), meters).unwrap_or_default();
        if rule.balance().is_some() { measure.in_millionths() } else { measure }
    };
    (measure, filter)
}
