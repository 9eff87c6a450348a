//! Rules whose filter asks for more than values: prefixes, not, present and absent.
//!
//! Each is found by what can be looked up of its filter: its values, one prefix, and the dimensions
//! that an event must have. Rules with the same dimensions of each make a *family*, with a hash
//! table for each length that their prefixes have. What is left of a filter is looked at in the
//! rules that are found.

use std::collections::HashMap;

use hashbrown::HashTable;

use super::{Filtered, Found, RulesFound, values_of};
use crate::event::{Dimension, DimensionHashes, Event, mix};
use crate::rules::{Condition, Filter};

/// By what rules of a family are found, each list in the order of the dimensions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Sought {
    /// The dimensions that have one of the values wanted.
    values: Vec<Dimension>,
    /// The dimensions that have any value.
    present: Vec<Dimension>,
    /// The dimension whose value has a prefix.
    prefixed: Option<Dimension>,
}

/// Rules that are found by the same dimensions.
#[derive(Debug, Default)]
struct Family {
    sought: Sought,
    /// By the length of the prefix in bytes, the shortest first; one of length 0 without prefixes.
    tables: Vec<(usize, HashTable<Filtered>)>,
}

/// The rules that are found so.
#[derive(Debug, Default)]
pub(super) struct Conditional {
    families: Vec<Family>,
    /// The families that are looked for by a built-in dimension, or by none.
    by_built_in: Vec<u32>,
    /// The families that are looked for by a property.
    by_property: HashMap<Box<str>, Vec<u32>, ahash::RandomState>,
    /// What an event must meet besides, by rule.
    rest: HashMap<u32, Filter, ahash::RandomState>,
}

/// The values that each dimension may have.
pub(super) type Alternatives = Vec<Vec<Box<str>>>;

/// What a rule is found by, and what is left of its filter.
struct Split {
    sought: Sought,
    /// The values of each dimension, then the prefix.
    alternatives: Alternatives,
    rest: Filter,
}

impl Sought {
    fn dimensions(&self) -> impl Iterator<Item = &Dimension> {
        self.values.iter().chain(&self.present).chain(&self.prefixed)
    }
}

impl Split {
    /// Of a dimension the first condition finds the fewest events, so the others are left.
    fn of(filter: &Filter) -> Self {
        let (mut sought, mut rest) = (Sought::default(), Filter::new());
        let mut alternatives = Vec::new();
        let longest = filter.iter().filter_map(|(dimension, condition)| match condition {
            Condition::Prefix(prefix) => Some((prefix.len(), dimension, prefix)),
            _ => None,
        });
        let longest = longest.max_by_key(|(length, ..)| *length);
        let mut last = None;
        for (dimension, condition) in filter {
            let is_first = last.replace(dimension) != Some(dimension);
            if let Some(wanted) = wanted_values(condition).filter(|_| is_first) {
                sought.values.push(dimension.clone());
                alternatives.push(wanted);
                continue;
            }
            match condition {
                Condition::Prefix(prefix)
                    if sought.values.last() != Some(dimension)
                        && longest == Some((prefix.len(), dimension, prefix)) =>
                {
                    sought.prefixed = Some(dimension.clone());
                    continue;
                }
                Condition::Absent => {}
                _ if is_first => sought.present.push(dimension.clone()),
                _ => {}
            }
            if *condition != Condition::Present {
                rest.push((dimension.clone(), condition.clone()));
            }
        }
        if sought.prefixed.is_some() {
            alternatives.extend(longest.map(|(_, _, prefix)| vec![prefix.as_str().into()]));
        }
        Self { sought, alternatives, rest }
    }
}

/// The values that meet a condition, where they can be told.
pub(super) fn wanted_values(condition: &Condition) -> Option<Vec<Box<str>>> {
    match condition {
        Condition::Is(value) => Some(vec![value.as_str().into()]),
        Condition::OneOf(values) => {
            Some(values.iter().map(|value| value.as_str().into()).collect())
        }
        _ => None,
    }
}

/// Every choice of one value for each place.
pub(super) fn combinations(alternatives: &Alternatives) -> Vec<Box<[Box<str>]>> {
    let mut all: Vec<Vec<Box<str>>> = vec![Vec::new()];
    for values in alternatives {
        let with_each = |chosen: Vec<Box<str>>| {
            values
                .iter()
                .map(move |value| [chosen.as_slice(), std::slice::from_ref(value)].concat())
        };
        all = all.into_iter().flat_map(with_each).collect();
    }
    all.into_iter().map(Into::into).collect()
}

/// Adds a rule to those of the same values.
pub(super) fn add_filtered(
    table: &mut HashTable<Filtered>,
    hasher: &ahash::RandomState,
    values: Box<[Box<str>]>,
    rule: u32,
) {
    let hash = values.iter().fold(0, |hash, value| mix(hash, hasher.hash_one(&**value)));
    let known = |filtered: &Filtered| filtered.hash == hash && filtered.values == values;
    if let Some(filtered) = table.find_mut(hash, known) {
        filtered.rules.push(rule);
    } else {
        let filtered = Filtered { hash, values, rules: vec![rule] };
        table.insert_unique(hash, filtered, |filtered| filtered.hash);
    }
}

/// What finds shapes, given by their dimensions: of the properties of one the one that the fewest
/// have. Those without a property come first.
pub(super) fn by_rarest<'d, D>(
    shapes: impl Iterator<Item = D> + Clone,
) -> (Vec<u32>, HashMap<Box<str>, Vec<u32>, ahash::RandomState>)
where
    D: Iterator<Item = &'d Dimension>,
{
    let mut occurrences: HashMap<&Dimension, u32> = HashMap::new();
    for dimension in shapes.clone().flatten() {
        let count = occurrences.entry(dimension).or_default();
        *count = count.saturating_add(1);
    }
    let mut by_built_in = Vec::new();
    let mut by_property: HashMap<Box<str>, Vec<u32>, _> = HashMap::default();
    for (number, dimensions) in (0_u32..).zip(shapes) {
        let properties = dimensions.filter_map(|dimension| match dimension {
            Dimension::Property(key) => Some((occurrences.get(dimension), key)),
            _ => None,
        });
        match properties.min() {
            Some((_, key)) => by_property.entry(key.clone()).or_default().push(number),
            None => by_built_in.push(number),
        }
    }
    (by_built_in, by_property)
}

/// Makes what finds the rules.
#[derive(Default)]
pub(super) struct ConditionalBuild {
    families: HashMap<Sought, HashMap<usize, HashTable<Filtered>>>,
    rest: HashMap<u32, Filter, ahash::RandomState>,
}

impl ConditionalBuild {
    pub(super) fn add(&mut self, rule: u32, filter: &Filter, hasher: &ahash::RandomState) {
        let Split { sought, alternatives, rest } = Split::of(filter);
        let prefix = alternatives.last().and_then(|of_prefix| of_prefix.first());
        let prefix = prefix.filter(|_| sought.prefixed.is_some());
        let length = prefix.map_or(0, |prefix| prefix.len());
        let table = self.families.entry(sought).or_default().entry(length).or_default();
        for values in combinations(&alternatives) {
            add_filtered(table, hasher, values, rule);
        }
        if !rest.is_empty() {
            self.rest.insert(rule, rest);
        }
    }

    /// `None` where no rule asks for more than values.
    pub(super) fn finish(self) -> Option<Conditional> {
        let families = self.families.into_iter().map(|(sought, tables)| {
            let mut tables: Vec<_> = tables.into_iter().collect();
            tables.sort_unstable_by_key(|(length, _)| *length);
            Family { sought, tables }
        });
        let families: Vec<Family> = families.collect();
        let dimensions = families.iter().map(|family| family.sought.dimensions());
        let (by_built_in, by_property) = by_rarest(dimensions);
        (!families.is_empty()).then_some(Conditional {
            by_built_in,
            by_property,
            rest: self.rest,
            families,
        })
    }
}

impl Conditional {
    /// Finds the rules whose filter holds. O(families whose dimensions the event has * lengths of
    /// their prefixes + rules found).
    pub(super) fn find(&self, hashes: &DimensionHashes<'_, '_>, found: &mut RulesFound) {
        for family in &self.by_built_in {
            self.find_family(*family, hashes, found);
        }
        if self.by_property.is_empty() {
            return;
        }
        for (key, _) in &hashes.event().properties {
            for family in self.by_property.get(&**key).into_iter().flatten() {
                self.find_family(*family, hashes, found);
            }
        }
    }

    fn find_family(&self, family: u32, hashes: &DimensionHashes<'_, '_>, found: &mut RulesFound) {
        let Some(Family { sought, tables }) = self.families.get(family as usize) else { return };
        let event = hashes.event();
        let Some((values, of_values)) = values_of(&sought.values, hashes) else { return };
        if !sought.present.iter().all(|dimension| dimension.of(event).is_some()) {
            return;
        }
        let prefixed = match &sought.prefixed {
            None => "",
            Some(dimension) => match dimension.of(event) {
                Some(value) => value,
                None => return,
            },
        };
        for (length, table) in tables {
            if *length > prefixed.len() {
                return;
            }
            // Where a character goes on beyond it, no text of that length is a prefix.
            let Some(prefix) = prefixed.get(..*length) else { continue };
            let (hash, prefix) = match &sought.prefixed {
                None => (of_values, None),
                Some(_) => (mix(of_values, hashes.of_other(prefix)), Some(prefix)),
            };
            let same = |filtered: &Filtered| {
                let wanted = filtered.values.iter().map(|value| &**value);
                filtered.hash == hash && wanted.eq(values.iter().copied().chain(prefix))
            };
            if let Some(filtered) = table.find(hash, same) {
                let rules = filtered.rules.iter().copied();
                found.extend(rules.filter(|rule| self.is_met(*rule, event)).map(Found::judging));
            }
        }
    }

    /// Whether the event meets what is left of a rule's filter.
    fn is_met(&self, rule: u32, event: &Event<'_>) -> bool {
        let rest = self.rest.get(&rule).into_iter().flatten();
        rest.into_iter().all(|(dimension, condition)| condition.is_met_by(dimension.of(event)))
    }
}
