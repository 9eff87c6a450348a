//! Events that lack a dimension, and the rules that do not skip them.

use super::{Exception, Found, Index, Insisting, Matches, RulesFound, Special};
use crate::counters::{Match, RowAddress};
use crate::event::{Dimension, DimensionHashes, Event};
use crate::rules::Filter;

/// A rule that does not skip an event which lacks a dimension.
#[derive(Debug)]
pub(super) struct Lenient {
    pub(super) filter: Filter,
    pub(super) own: Vec<Dimension>,
    /// The value that stands for what is missing; `None` refuses.
    pub(super) value: Option<Box<str>>,
}

impl Index {
    /// Finds the rules that the shapes do not find.
    pub(super) fn find_special(
        &self,
        special: &Special,
        hashes: &DimensionHashes<'_, '_>,
        found: &mut RulesFound,
    ) {
        if let Some(conditional) = &special.conditional {
            conditional.find(hashes, found);
        }
        self.find_lacking(&special.by_missing, hashes.event(), found);
    }

    /// Finds rules whose filter the event would pass if it had what it lacks. O(dimensions), and
    /// for each that the event lacks O(its rules).
    fn find_lacking(
        &self,
        by_missing: &[(Dimension, Vec<u32>)],
        event: &Event<'_>,
        found: &mut RulesFound,
    ) {
        for (dimension, rules) in by_missing {
            if dimension.of(event).is_some() {
                continue;
            }
            for rule in rules {
                let known = found.iter().any(|known| known.rule == *rule);
                if !known && self.lenient.get(rule).is_some_and(|rule| rule.may_match(event)) {
                    found.push(Found::judging(*rule));
                }
            }
        }
    }

    /// Whether a rule that was found lacks a dimension of its own.
    pub(super) fn lacks(&self, rule: u32, event: &Event<'_>) -> bool {
        self.lenient.get(&rule).is_some_and(|lenient| {
            let partition = self.partition_of(rule);
            lenient.own.iter().chain(partition).any(|dimension| dimension.of(event).is_none())
        })
    }

    /// Addresses the rows of rules of which some go by a value that stands for what the event
    /// lacks.
    /// Rules of one group that go by other values have other rows.
    #[cold]
    pub(super) fn address_lacking<'e>(
        &'e self,
        found: RulesFound,
        hashes: &DimensionHashes<'e, '_>,
        matches: &mut Matches<'e>,
        mut insisting: Option<&mut Insisting>,
    ) {
        let (mut lacking, mut whole) = (RulesFound::new(), found);
        whole.retain(|found| {
            let lacks = self.lacks(found.rule, hashes.event());
            if lacks {
                lacking.push(*found);
            }
            !lacks
        });
        self.address(whole, hashes, matches);
        for Found { rule, judges } in lacking {
            let stated = self.lenient.get(&rule).and_then(|lenient| lenient.value.as_deref());
            let kind = self.kinds.get(self.kind_of(rule) as usize);
            let (Some(stated), Some(kind)) = (stated, kind) else {
                if judges && !matches!(matches.exception, Exception::Refused(_)) {
                    matches.exception = Exception::Refused(rule);
                }
                if let Some(insisting) = &mut insisting {
                    insisting.push(rule);
                }
                continue;
            };
            let rows = &mut matches.rows;
            if !kind.add(Some(stated), hashes, rows.lists()) {
                continue;
            }
            let new = rows.len().saturating_sub(1);
            let is_same = |row: RowAddress<'_>| {
                let new = rows.get(new);
                new.is_some_and(|new| (new.group, new.values) == (row.group, row.values))
            };
            let row = rows.iter().position(is_same).unwrap_or(new);
            if row < new {
                rows.lists().pop();
            }
            let row = u32::try_from(row).unwrap_or(u32::MAX);
            matches.found().push(Match { rule, row, judges });
        }
        matches.found().sort_by_key(|found| found.row);
    }
}

impl Lenient {
    /// Whether the event lacks a dimension of the filter, and passes it all the same.
    fn may_match(&self, event: &Event<'_>) -> bool {
        self.filter.iter().all(|(dimension, condition)| match dimension.of(event) {
            None if self.own.contains(dimension) => {
                self.value.as_deref().is_none_or(|value| condition.is_met_by(Some(value)))
            }
            found => condition.is_met_by(found),
        })
    }
}
