//! A rule set, ready to decide by: the rules with their compiled counters, and the index.
//!
//! A snapshot never changes. A change of the rules makes the next one, out of the rules that stay
//! as they are (their counters untouched) and those that are new or differ.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hashbrown::HashTable;

use super::rule::CompiledRule;
use crate::compiled::index::Index;
use crate::counters::{ChangeTime, CounterSet, Roles};
use crate::customers::{AttributeName, Calendars};
use crate::event::Dimension;
use crate::rules::{Fold, MeterField, Meters};

pub(crate) mod stored;

#[cfg(test)]
mod tests;

/// The version of the next rule set, whatever engine it is of.
static NEXT_VERSION: AtomicU64 = AtomicU64::new(1);

#[derive(Debug)]
pub(crate) struct Snapshot {
    /// Of all rule sets of the process only this one has it.
    pub(crate) version: u64,
    /// How many rule sets its engine had before, since it was built.
    pub(crate) number: u64,
    /// Rate limits, then quotas, each in the order in which they were added; and behind them the
    /// rules that mark what others of them count.
    pub(crate) rules: Box<[Arc<CompiledRule>]>,
    /// How many there are without those.
    listed: usize,
    /// The places of the listed ones, by their ids.
    by_id: HashTable<u32>,
    hasher: ahash::RandomState,
    pub(crate) meters: Arc<Meters>,
    pub(crate) index: Index,
    pub(crate) counters: CounterSet,
    /// A rule counts the latest amount of something, which may be less than the one before.
    pub(crate) has_latest: bool,
    /// The most slots that a rule has: a customer may have as many reservations open.
    pub(crate) most_slots: usize,
    /// The attributes of customers that rules and meters name.
    pub(crate) attributes: Box<[AttributeName]>,
}

impl Snapshot {
    pub(crate) fn new(
        since: Arc<ChangeTime>,
        mut rules: Vec<Arc<CompiledRule>>,
        meters: Arc<Meters>,
        hasher: ahash::RandomState,
    ) -> Self {
        // It guards nothing: who reads a version has it from a place that does.
        let version = NEXT_VERSION.fetch_add(1, Ordering::Relaxed);
        rules.sort_by_key(|compiled| (compiled.rule.kind() as u8, compiled.age));
        let listed = rules.len();
        let by_id = by_id(&rules, &hasher);
        let mut marks: Vec<(u32, u32)> = Vec::new();
        for rule in 0..listed {
            let Some(marking) = rules.get(rule).and_then(|rule| rule.marks.clone()) else {
                continue;
            };
            let [rule, place] = [rule, rules.len()].map(|at| u32::try_from(at).unwrap_or(u32::MAX));
            marks.push((place, rule));
            rules.push(marking);
        }
        let entries: Vec<_> = rules.iter().map(|compiled| compiled.entry()).collect();
        let slots = rules.iter().filter(|compiled| compiled.rule.is_concurrent());
        let slots =
            slots.filter_map(|it| usize::try_from(it.measure.units_of(it.rule.limit()?)).ok());
        let index = Index::new(&entries, hasher.clone());
        let attributes = AttributeName::of(dimensions_of(&rules, &meters));
        let judging = index.times().map(|times| Arc::clone(times) as Arc<dyn Roles>);
        Self {
            version,
            number: 0,
            has_latest: rules.iter().any(|compiled| compiled.measure.fold() == Fold::Latest),
            most_slots: slots.max().unwrap_or(0),
            index,
            counters: CounterSet::new(
                version,
                since,
                rules.iter().map(|compiled| &compiled.counter),
            )
            .with_roles(judging)
            .with_marks(marks),
            rules: rules.into(),
            listed,
            by_id,
            hasher,
            meters,
            attributes,
        }
    }

    /// The dimensions that rules and meters name, some of them several times.
    pub(crate) fn dimensions(&self) -> impl Iterator<Item = &str> {
        dimensions_of(&self.rules, &self.meters)
    }

    /// The rules that users have defined.
    pub(crate) fn listed(&self) -> &[Arc<CompiledRule>] {
        self.rules.get(..self.listed).unwrap_or(&self.rules)
    }

    /// The same rule set, whose periods go by these calendars where rules leave that open.
    pub(crate) fn by_calendars(self, calendars: &Arc<Calendars>) -> Self {
        let open = self.rules.iter().filter(|compiled| compiled.counter.policy.is_of_key());
        let partitions = open.map(|compiled| (compiled.group, compiled.partition.clone()));
        let counters = self.counters.by_calendars(Arc::clone(calendars), partitions.collect());
        Self { counters, ..self }
    }

    /// The same rule set, as the one that follows another.
    pub(crate) fn following(self, before: &Self) -> Self {
        Self { number: before.number.saturating_add(1), ..self }
    }

    pub(crate) fn rule(&self, place: u32) -> Option<&Arc<CompiledRule>> {
        self.rules.get(place as usize)
    }

    pub(crate) fn by_id(&self, id: &str) -> Option<&Arc<CompiledRule>> {
        let is_it = |place: &u32| self.rule(*place).is_some_and(|compiled| compiled.id() == id);
        self.rule(*self.by_id.find(self.hasher.hash_one(id), is_it)?)
    }
}

/// The places of rules, by their ids.
fn by_id(rules: &[Arc<CompiledRule>], hasher: &ahash::RandomState) -> HashTable<u32> {
    let mut places = HashTable::with_capacity(rules.len());
    // Never asked: there is room for all.
    let hash_of = |place: &u32| {
        hasher.hash_one(rules.get(*place as usize).map_or("", |compiled| compiled.id()))
    };
    for (place, compiled) in (0..).zip(rules) {
        places.insert_unique(hasher.hash_one(compiled.id()), place, hash_of);
    }
    places
}

/// What rules filter, are split by and count different values of, and what meters do.
fn dimensions_of<'s>(
    rules: &'s [Arc<CompiledRule>],
    meters: &'s Meters,
) -> impl Iterator<Item = &'s str> {
    let of_rules = rules.iter().flat_map(|rule| {
        let filter = rule.filter.iter().map(|(dimension, _)| dimension);
        filter.chain(&rule.partition).map(Dimension::as_str)
    });
    let of_meters = meters.list().iter().flat_map(|meter| {
        let filter = meter.event_filter.conditions().map(|(dimension, _)| dimension);
        filter.chain(match &meter.field {
            MeterField::Dimension(dimension) => Some(dimension.as_str()),
            _ => None,
        })
    });
    of_rules.chain(of_meters)
}
