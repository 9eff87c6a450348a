//! Making an index of the rules.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hashbrown::HashTable;

use super::conditions::{
    Alternatives, ConditionalBuild, add_filtered, by_rarest, combinations, wanted_values,
};
use super::missing::Lenient;
use super::{
    Entry, Filtered, Found, Index, Indexed, Prepared, Rank, RowKind, SeenFlag, Shape, Special,
    group_hash,
};
use crate::compiled::times::Times;
use crate::counters::{ACCOUNTS, Match};
use crate::event::{Dimension, mix};
use crate::rules::{Filter, OnMissing};

/// A group, a balance and a partition: what tells a kind of rows from others.
type KindKey = (u32, Option<Box<str>>, Box<[Dimension]>);

#[derive(Default)]
pub(super) struct Build {
    hasher: ahash::RandomState,
    rules: Vec<Indexed>,
    kinds: Vec<RowKind>,
    /// Their places, by what tells them apart.
    known: HashMap<KindKey, u32>,
    policies: HashMap<Box<str>, u32>,
    always: Vec<u32>,
    shapes: HashMap<Box<[Dimension]>, HashTable<Filtered>>,
    conditional: ConditionalBuild,
    by_missing: HashMap<Dimension, Vec<u32>>,
    dimensions: HashMap<Dimension, SeenFlag>,
    lenient: HashMap<u32, Lenient, ahash::RandomState>,
    ranks: HashMap<u32, Rank, ahash::RandomState>,
    /// The places of the same rules among each other, the lowest rank first.
    places: HashMap<u32, u32, ahash::RandomState>,
}

impl Build {
    pub(super) fn new(
        hasher: ahash::RandomState,
        ranks: HashMap<u32, Rank, ahash::RandomState>,
    ) -> Self {
        let mut order: Vec<_> = ranks.iter().map(|(rule, rank)| (*rank, *rule)).collect();
        order.sort_unstable();
        let places = (0..).zip(order).map(|(place, (_, rule))| (rule, place)).collect();
        Self { hasher, ranks, places, ..Self::default() }
    }

    /// Keeps what a rule makes of a dimension that an event lacks.
    fn add_lenient(&mut self, rule: u32, entry: &Entry) {
        if entry.on_missing == OnMissing::Skip {
            return;
        }
        let value = entry.on_missing.value();
        let mut own = entry.own.clone();
        own.sort();
        for (dimension, condition) in &entry.filter {
            let may_be_missing = !matches!(dimension, Dimension::CustomerId | Dimension::EventType);
            if may_be_missing
                && own.contains(dimension)
                && value.is_none_or(|value| condition.is_met_by(Some(value)))
            {
                self.by_missing.entry(dimension.clone()).or_default().push(rule);
            }
        }
        let (filter, value) = (entry.filter.clone(), value.map(Into::into));
        self.lenient.insert(rule, Lenient { filter, own, value });
    }

    pub(super) fn add(&mut self, rule: u32, entry: Option<&Entry>) {
        let next = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
        let Some(entry) = entry else {
            self.rules.push(Indexed { kind: 0, policy: None, place: 0 });
            return;
        };
        self.add_lenient(rule, entry);
        let unseen = entry.seen.iter().filter(|(_, seen)| !seen.load(Ordering::Relaxed));
        self.dimensions.extend(unseen.cloned());
        let policy = entry.policy.as_ref().map(|name| {
            let number = next(self.policies.len());
            *self.policies.entry(name.clone()).or_insert(number)
        });
        let (kind, place) = (self.kind(entry), self.places.get(&rule).copied().unwrap_or(0));
        self.rules.push(Indexed { kind, policy, place });
        if entry.filter.is_empty() {
            self.always.push(rule);
            return;
        }
        let Some((dimensions, alternatives)) = values_alone(&entry.filter) else {
            return self.conditional.add(rule, &entry.filter, &self.hasher);
        };
        let table = self.shapes.entry(dimensions).or_default();
        for values in combinations(&alternatives) {
            add_filtered(table, &self.hasher, values, rule);
        }
    }

    /// The place of the kind of a rule's rows.
    fn kind(&mut self, entry: &Entry) -> u32 {
        let Self { kinds, known, hasher, .. } = self;
        let (group, balance, partition) = (entry.group, &entry.balance, &entry.partition);
        *known.entry((group, balance.clone(), partition.clone())).or_insert_with(|| {
            let (group, hash) = match balance.as_deref() {
                Some(name) => (ACCOUNTS, mix(group_hash(ACCOUNTS), hasher.hash_one(name))),
                None => (group, group_hash(group)),
            };
            let (balance, partition) = (balance.clone(), partition.clone());
            kinds.push(RowKind { group, hash, balance, partition });
            u32::try_from(kinds.len().saturating_sub(1)).unwrap_or(u32::MAX)
        })
    }

    pub(super) fn finish(self, entries: &[Option<Entry>]) -> Index {
        let mut always = self.always;
        let kind_of = |rule: u32| self.rules.get(rule as usize).map_or(0, |found| found.kind);
        always.sort_unstable_by_key(|rule| (kind_of(*rule), *rule));

        let shapes = self.shapes.into_iter();
        let shapes: Vec<Shape> =
            shapes.map(|(dimensions, rules)| Shape { dimensions, rules }).collect();
        let (by_built_in, by_property) = by_rarest(shapes.iter().map(|it| it.dimensions.iter()));
        let conditional = self.conditional.finish();
        let has_policy = |rule: &u32| {
            self.rules.get(*rule as usize).is_some_and(|indexed| indexed.policy.is_some())
        };
        let mut dimensions: Vec<_> = self.dimensions.into_iter().collect();
        dimensions.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        let by_missing: Box<[_]> = self.by_missing.into_iter().collect();
        let times = Times::new(entries, |rule| {
            let indexed = self.rules.get(rule as usize);
            indexed.map_or((None, 0), |indexed| (indexed.policy, indexed.place))
        });
        let times = times.map(Arc::new);
        let is_special = conditional.is_some() || !by_missing.is_empty() || times.is_some();
        let marks = |entry: &Option<Entry>| entry.as_ref().is_some_and(|it| it.is_marking);
        let first_marking = entries.iter().position(marks);
        let first_marking = first_marking.and_then(|first| u32::try_from(first).ok());
        let is_marking = |rule: &u32| first_marking.is_some_and(|first| *rule >= first);
        let is_lenient = |rule: &u32| self.lenient.contains_key(rule);
        let is_plain = times.is_none()
            && !always.iter().any(|it| has_policy(it) || is_marking(it) || is_lenient(it));
        Index {
            prepared: is_plain.then(|| prepare(&self.rules, &self.kinds, &always)),
            has_filters: !shapes.is_empty() || conditional.is_some() || !by_missing.is_empty(),
            rules: self.rules.into(),
            kinds: self.kinds.into(),
            always: always.into_iter().map(Found::judging).collect(),
            shapes: shapes.into(),
            by_built_in: by_built_in.into(),
            by_property,
            special: is_special.then(|| Box::new(Special { conditional, by_missing, times })),
            lenient: self.lenient,
            ranks: self.ranks,
            first_marking,
            unseen: AtomicUsize::new(dimensions.len()),
            dimensions: dimensions.into(),
        }
    }
}

/// The dimensions and the values that each may have, where a filter asks for values alone.
fn values_alone(filter: &Filter) -> Option<(Box<[Dimension]>, Alternatives)> {
    let mut dimensions: Vec<Dimension> = Vec::with_capacity(filter.len());
    let mut alternatives = Vec::with_capacity(filter.len());
    for (dimension, condition) in filter {
        if dimensions.last() == Some(dimension) {
            return None;
        }
        dimensions.push(dimension.clone());
        alternatives.push(wanted_values(condition)?);
    }
    Some((dimensions.into(), alternatives))
}

/// The matches of rules that come in the order of their kinds.
fn prepare(rules: &[Indexed], kinds: &[RowKind], always: &[u32]) -> Prepared {
    let (mut matches, mut rows, mut last) = (Vec::new(), Vec::<RowKind>::new(), None);
    for rule in always {
        let Some(Indexed { kind, .. }) = rules.get(*rule as usize) else { continue };
        if last != Some(kind) {
            rows.extend(kinds.get(*kind as usize).cloned());
            last = Some(kind);
        }
        let row = rows.len().saturating_sub(1);
        let row = u32::try_from(row).unwrap_or(u32::MAX);
        matches.push(Match { rule: *rule, row, judges: true });
    }
    let in_order = matches.is_sorted_by_key(|found| found.rule);
    Prepared { rules: matches.into(), in_order, rows: rows.into() }
}
