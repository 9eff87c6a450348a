//! From an event to the rules that match it, at a cost that follows the matches.
//!
//! A rule's filter has a shape, the set of its dimensions, and values. The index keeps a hash
//! table a shape, from the values to the rules; a rule that takes one of several values has an
//! entry for each. An event looks once into the table of each shape whose dimensions it has: a set
//! of rules has few shapes, however many rules it has. Shapes are found by the dimension that tells
//! them apart best, so that the shapes of properties that an event does not have cost nothing.
//! Rules without a filter stand in a list of their own, and those that ask for more than values in
//! `conditions`.
//!
//! Rules with the same partition share a group, and a group's counters for one key share a row:
//! one look-up, one lock.
//!
//! Of the rules of one policy the one with the highest rank judges (`rank`). The others are found
//! as well, because they count what they match: a rule that has lost knows what was used when it
//! wins.

use std::cmp;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use hashbrown::HashTable;
use smallvec::SmallVec;

use self::build::Build;
use self::conditions::Conditional;
use self::missing::Lenient;
use crate::compiled::times::{Span, Times};
use crate::counters::{At, Match, RowAddresses, RowLists};
use crate::event::{Dimension, DimensionHashes, Event, mix};
use crate::rules::{Filter, OnMissing};

mod build;
mod conditions;
mod hashes;
mod missing;
mod rank;

use self::hashes::group_hash;
pub(crate) use self::hashes::row_hash;
pub(crate) use self::rank::Rank;

/// What the index needs to know of a rule.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// The filter, in the order of its dimensions.
    pub(crate) filter: Filter,
    /// The number of the group whose rows hold the rule's counters.
    pub(crate) group: u32,
    /// The balance that it takes from, whose account is its row.
    pub(crate) balance: Option<Box<str>>,
    /// The dimensions of the partition, in order.
    pub(crate) partition: Box<[Dimension]>,
    /// Rules of one policy compete.
    pub(crate) policy: Option<Box<str>>,
    pub(crate) priority: i32,
    /// When it judges, where that is not always.
    pub(crate) span: Option<Span>,
    /// The higher the newer.
    pub(crate) age: u64,
    /// What it makes of an event that lacks a dimension.
    pub(crate) on_missing: OnMissing,
    /// The dimensions of the rule's own filter, whose absence that is about: a meter's filter
    /// chooses events.
    pub(crate) own: Vec<Dimension>,
    /// Which of its dimensions an event has had.
    pub(crate) seen: Vec<(Dimension, SeenFlag)>,
    /// It marks the values that another rule counts, and never judges.
    pub(crate) is_marking: bool,
}

/// Whether an event has had a dimension, in the life of an engine.
pub(crate) type SeenFlag = Arc<AtomicBool>;

#[derive(Debug)]
pub(crate) struct Index {
    rules: Box<[Indexed]>,
    /// The rows that rules have, each kind once.
    kinds: Box<[RowKind]>,
    /// The rules without a filter, by the kind of their rows.
    always: Box<[Found]>,
    /// The matches of an event that no filter lets in: of the rules without one. `None` where one
    /// of these has a policy, judges only at times, marks values, or does not skip an event that
    /// lacks a dimension.
    prepared: Option<Prepared>,
    /// Some rules have a filter.
    has_filters: bool,
    shapes: Box<[Shape]>,
    /// The shapes that are looked for by a built-in dimension.
    by_built_in: Box<[u32]>,
    /// The shapes that are looked for by a property.
    by_property: HashMap<Box<str>, Vec<u32>, ahash::RandomState>,
    /// The rules that the shapes do not find, where there are any.
    special: Option<Box<Special>>,
    /// The dimensions that rules name and no event has had so far, in order, and how many there are
    /// left.
    dimensions: Box<[(Dimension, SeenFlag)]>,
    unseen: AtomicUsize,
    /// What rules make of a missing dimension, where one does not skip the event; by rule.
    lenient: HashMap<u32, Lenient, ahash::RandomState>,
    /// Of the rules that have a policy.
    ranks: HashMap<u32, Rank, ahash::RandomState>,
    /// The rules from this one on mark values.
    first_marking: Option<u32>,
}

/// The rules that are not found by values alone.
#[derive(Debug)]
struct Special {
    /// Those that ask for more than values.
    conditional: Option<Conditional>,
    /// Those that may match an event which lacks a dimension of their filter, by dimension.
    by_missing: Box<[(Dimension, Vec<u32>)]>,
    /// When rules judge, where some do not always.
    times: Option<Arc<Times>>,
}

/// The rules that an event matches by its dimensions alone.
#[derive(Debug)]
struct Prepared {
    /// Those of an event that has all dimensions, in the order of their rows.
    rules: Box<[Match]>,
    /// That is the order of the rule set, too.
    in_order: bool,
    rows: Box<[RowKind]>,
}

/// What the rows of a group have in common, or those that are accounts of a balance.
#[derive(Clone, Debug)]
struct RowKind {
    group: u32,
    /// Where the hash of an address begins.
    hash: u64,
    /// The first value of an account's address: the name of its balance.
    balance: Option<Box<str>>,
    partition: Box<[Dimension]>,
}

#[derive(Debug)]
struct Indexed {
    /// The place of its kind of rows.
    kind: u32,
    policy: Option<u32>,
    /// Of rules of one policy the one with the highest judges.
    place: u32,
}

#[derive(Debug)]
struct Shape {
    dimensions: Box<[Dimension]>,
    rules: HashTable<Filtered>,
}

/// The rules of one choice of values.
#[derive(Debug)]
struct Filtered {
    hash: u64,
    values: Box<[Box<str>]>,
    rules: Vec<u32>,
}

/// The rules that match an event, and the rows that hold their counters.
#[derive(Debug, Default)]
pub(crate) struct Matches<'e> {
    pub(crate) rows: RowAddresses<'e>,
    rules: Matched<'e>,
    pub(crate) exception: Exception,
}

/// Why matches are none of the everyday kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Exception {
    #[default]
    None,
    /// A rule that refuses the event, because it lacks a dimension.
    Refused(u32),
    /// It hangs on the instant of the decision which rules judge.
    Timed,
    /// A rule counts different values.
    Unique,
}

/// The rules that match, in the order of their rows.
#[derive(Debug, Default)]
enum Matched<'e> {
    #[default]
    None,
    Prepared(&'e Prepared),
    Found(SmallVec<[Match; 8]>),
}

impl Matches<'_> {
    /// The rules, in the order of their rows.
    #[inline]
    pub(crate) fn rules(&self) -> &[Match] {
        match &self.rules {
            Matched::None => &[],
            Matched::Prepared(prepared) => &prepared.rules,
            Matched::Found(found) => found,
        }
    }

    /// Whether all have a say, and come in the order of the rule set.
    #[inline]
    pub(crate) fn are_in_order(&self) -> bool {
        matches!(self.rules, Matched::Prepared(prepared) if prepared.in_order)
    }

    /// The rules, to add some that are not prepared.
    fn found(&mut self) -> &mut SmallVec<[Match; 8]> {
        if !matches!(self.rules, Matched::Found(_)) {
            self.rules = Matched::Found(SmallVec::new());
        }
        let Matched::Found(found) = &mut self.rules else { unreachable!("it was just set") };
        found
    }
}

impl Prepared {
    /// Addresses the rows.
    #[inline]
    fn find<'e>(&'e self, hashes: &DimensionHashes<'e, '_>, matches: &mut Matches<'e>) {
        // Nearly every row is of one dimension, and nearly every rule set has one row.
        let all_found = if let [row] = &*self.rows
            && let RowKind { balance: None, partition, .. } = row
            && let [dimension] = &**partition
        {
            let found = hashes.of(dimension);
            found.is_some_and(|(value, of_value)| {
                matches.rows = RowAddresses::One {
                    hash: mix(row.hash, of_value),
                    group: row.group,
                    values: [value],
                };
                true
            })
        } else {
            let rows = matches.rows.lists();
            self.rows.iter().all(|row| row.add(None, hashes, rows))
        };
        if all_found {
            matches.rules = Matched::Prepared(self);
        } else {
            self.keep_rows_found(hashes, matches);
        }
    }

    /// Leaves out the rules whose rows are not there: the event lacks a dimension.
    #[cold]
    fn keep_rows_found<'e>(&'e self, hashes: &DimensionHashes<'e, '_>, matches: &mut Matches<'e>) {
        matches.rows = RowAddresses::default();
        for (index, row) in (0..).zip(&self.rows) {
            let found_at = u32::try_from(matches.rows.len()).unwrap_or(u32::MAX);
            if row.add(None, hashes, matches.rows.lists()) {
                let rules = self.rules.iter().filter(|found| found.row == index);
                matches.found().extend(rules.map(|found| Match { row: found_at, ..*found }));
            }
        }
    }
}

impl RowKind {
    /// Adds the address of a row, with a value that stands for what the event lacks, if one is
    /// stated; adds nothing and returns `false` where it lacks a dimension of the partition.
    #[inline]
    fn add<'e>(
        &'e self,
        stated: Option<&'e str>,
        hashes: &DimensionHashes<'e, '_>,
        rows: &mut RowLists<'e>,
    ) -> bool {
        let mut hash = self.hash;
        if let Some(name) = &self.balance {
            rows.push_value(name);
        }
        for dimension in &self.partition {
            let stated = || stated.map(|value| (value, hashes.of_other(value)));
            let Some((value, of_value)) = hashes.of(dimension).or_else(stated) else {
                rows.drop_values();
                return false;
            };
            rows.push_value(value);
            hash = mix(hash, of_value);
        }
        rows.push(hash, self.group);
        true
    }
}

/// The same where rules judge at times: by the instant that is known so far.
#[cold]
fn choose_by_time(times: &Times, at: &At, found: &mut [Found], matches: &mut Matches<'_>) {
    let rules: RulesFound = found.iter().copied().collect();
    let rules = rules.iter().map(|found| found.rule);
    if times.bear_on(rules.clone()) {
        matches.exception = Exception::Timed;
    }
    times.judging(at, rules, |index, judges| {
        if let Some(found) = found.get_mut(index) {
            found.judges = judges;
        }
    });
}

/// Lets the rules from one on mark values and never judge.
fn leave_out_marks(first: u32, found: &mut [Found], matches: &mut Matches<'_>) {
    for found in found.iter_mut().filter(|found| found.rule >= first) {
        found.judges = false;
        if matches.exception == Exception::None {
            matches.exception = Exception::Unique;
        }
    }
}

/// A rule that was found.
#[derive(Clone, Copy, Debug)]
struct Found {
    rule: u32,
    /// Not the case of one that only counts, because another of its policy is more specific.
    judges: bool,
}

impl Found {
    fn judging(rule: u32) -> Self {
        Self { rule, judges: true }
    }
}

type RulesFound = SmallVec<[Found; 8]>;

/// Rules that insist on dimensions which an event lacks.
pub(crate) type Insisting = SmallVec<[u32; 4]>;

type Values<'e> = SmallVec<[&'e str; 2]>;

/// The values that an event has of these dimensions, and their hash; `None` where it lacks one.
#[inline]
fn values_of<'e>(
    dimensions: &[Dimension],
    hashes: &DimensionHashes<'e, '_>,
) -> Option<(Values<'e>, u64)> {
    let (mut values, mut hash) = (Values::new(), 0);
    for dimension in dimensions {
        let (value, of_value) = hashes.of(dimension)?;
        values.push(value);
        hash = mix(hash, of_value);
    }
    Some((values, hash))
}

impl Index {
    /// Indexes the rules that may match; `None` stands for one that never does, because it is
    /// turned off. O(rules).
    pub(crate) fn new(entries: &[Option<Entry>], hasher: ahash::RandomState) -> Self {
        let mut build = Build::new(hasher, rank::ranks(entries));
        for (rule, entry) in (0_u32..).zip(entries) {
            build.add(rule, entry.as_ref());
        }
        build.finish(entries)
    }

    /// Finds the rules that apply to an event. O(shapes whose dimensions the event has +
    /// matches); allocates nothing for up to 8 rules in up to 4 rows.
    #[inline]
    pub(crate) fn find<'e>(
        &'e self,
        hashes: &DimensionHashes<'e, '_>,
        at: &At,
        matches: &mut Matches<'e>,
    ) {
        if self.unseen.load(Ordering::Relaxed) > 0 {
            self.note_dimensions(hashes.event());
        }
        match &self.prepared {
            Some(prepared) if !self.has_filters => prepared.find(hashes, matches),
            _ => self.find_by_filters(hashes, at, matches, None),
        }
    }

    /// The same, and the rules that would refuse the event, because it lacks a dimension, if they
    /// judged.
    pub(crate) fn find_with_insisting<'e>(
        &'e self,
        hashes: &DimensionHashes<'e, '_>,
        at: &At,
        matches: &mut Matches<'e>,
        insisting: &mut Insisting,
    ) {
        self.find_by_filters(hashes, at, matches, Some(insisting));
    }

    #[inline(never)]
    fn find_by_filters<'e>(
        &'e self,
        hashes: &DimensionHashes<'e, '_>,
        at: &At,
        matches: &mut Matches<'e>,
        insisting: Option<&mut Insisting>,
    ) {
        let event = hashes.event();
        let mut found = RulesFound::new();
        for shape in &self.by_built_in {
            self.find_filtered(*shape, hashes, &mut found);
        }
        if !self.by_property.is_empty() {
            for (key, _) in &event.properties {
                for shape in self.by_property.get(&**key).into_iter().flatten() {
                    self.find_filtered(*shape, hashes, &mut found);
                }
            }
        }
        if let Some(special) = &self.special {
            self.find_special(special, hashes, &mut found);
        }
        if found.is_empty()
            && let Some(prepared) = &self.prepared
        {
            return prepared.find(hashes, matches);
        }
        // In the order of their kinds, as they are.
        let is_sorted = found.is_empty();
        found.insert_from_slice(0, &self.always);
        if !is_sorted {
            found.sort_unstable_by_key(|found| (self.kind_of(found.rule), found.rule));
        }
        self.keep_those_with_partition(event, &mut found);
        if let Some(times) = self.times() {
            choose_by_time(times, at, &mut found, matches);
        } else {
            self.choose_by_policy(&mut found);
        }
        if let Some(first) = self.first_marking {
            leave_out_marks(first, &mut found, matches);
        }
        if !self.lenient.is_empty() && found.iter().any(|found| self.lacks(found.rule, event)) {
            return self.address_lacking(found, hashes, matches, insisting);
        }
        self.address(found, hashes, matches);
    }

    /// Notes which dimensions events have: a look at those that none has had, and nothing once all
    /// have been seen.
    ///
    /// Relaxed suffices: the flags guard no other memory, each goes from false to true once (the
    /// swap tells who did it, and only that one counts down), and who reads a count or a flag a
    /// moment late looks once more or warns once more.
    ///
    /// O(dimensions of the event * log dimensions of the rules).
    #[cold]
    fn note_dimensions(&self, event: &Event<'_>) {
        for built_in in [Dimension::Model, Dimension::Provider] {
            if built_in.of(event).is_some() {
                self.note(|known| known.cmp(&built_in));
            }
        }
        for (key, value) in &event.properties {
            if value.text().is_some() {
                self.note(|known| match known {
                    Dimension::Property(known) => (**known).cmp(key),
                    // Those that are built in come first.
                    _ => cmp::Ordering::Less,
                });
            }
        }
    }

    /// Notes that an event has a dimension, which is found by how those of the rules compare to it.
    fn note(&self, order: impl Fn(&Dimension) -> cmp::Ordering) {
        let place = self.dimensions.binary_search_by(|(known, _)| order(known));
        let Some((_, seen)) = place.ok().and_then(|place| self.dimensions.get(place)) else {
            return;
        };
        if !seen.load(Ordering::Relaxed) && !seen.swap(true, Ordering::Relaxed) {
            self.unseen.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Finds the rules of a shape whose filter holds.
    fn find_filtered(&self, shape: u32, hashes: &DimensionHashes<'_, '_>, found: &mut RulesFound) {
        let Some(shape) = self.shapes.get(shape as usize) else { return };
        let Some((values, hash)) = values_of(&shape.dimensions, hashes) else { return };
        let same = |filtered: &Filtered| {
            filtered.hash == hash && filtered.values.iter().zip(&values).all(|(a, b)| **a == **b)
        };
        if let Some(filtered) = shape.rules.find(hash, same) {
            found.extend(filtered.rules.iter().copied().map(Found::judging));
        }
    }

    fn kind_of(&self, rule: u32) -> u32 {
        self.rules.get(rule as usize).map_or(0, |indexed| indexed.kind)
    }

    fn partition_of(&self, rule: u32) -> &[Dimension] {
        self.kinds.get(self.kind_of(rule) as usize).map_or(&[], |kind| &*kind.partition)
    }

    /// Drops the rules whose partition the event lacks.
    fn keep_those_with_partition(&self, event: &Event<'_>, found: &mut RulesFound) {
        found.retain(|found| {
            self.partition_of(found.rule).iter().all(|dimension| dimension.of(event).is_some())
                || self.lenient.contains_key(&found.rule)
        });
    }

    /// When rules judge, where some do not always.
    #[inline]
    pub(crate) fn times(&self) -> Option<&Arc<Times>> {
        self.special.as_deref()?.times.as_ref()
    }

    /// What decides whether a rule judges that has a policy.
    pub(crate) fn rank(&self, rule: u32) -> Option<Rank> {
        self.ranks.get(&rule).copied()
    }

    /// Of each policy lets the rule with the highest rank judge, and the others only count.
    fn choose_by_policy(&self, found: &mut [Found]) {
        let rank = |rule: u32| {
            let indexed = self.rules.get(rule as usize)?;
            Some((indexed.policy?, indexed.place))
        };
        // Each policy's matching rules lie together, the winner last.
        let mut ranks: SmallVec<[(u32, u32); 8]> =
            found.iter().filter_map(|found| rank(found.rule)).collect();
        ranks.sort_unstable();
        for Found { rule, judges } in found {
            *judges = rank(*rule).is_none_or(|(policy, rank)| {
                let end = ranks.partition_point(|(other, _)| *other <= policy);
                end.checked_sub(1).and_then(|last| ranks.get(last)) == Some(&(policy, rank))
            });
        }
    }

    /// Addresses the rows of rules that come in the order of their kinds.
    #[inline]
    fn address<'e>(
        &'e self,
        found: impl IntoIterator<Item = Found>,
        hashes: &DimensionHashes<'e, '_>,
        matches: &mut Matches<'e>,
    ) {
        let (mut last, mut row) = (None, 0);
        for Found { rule, judges } in found {
            let kind = self.kind_of(rule);
            if last != Some(kind) {
                let Some(of) = self.kinds.get(kind as usize) else { continue };
                let index = u32::try_from(matches.rows.len()).unwrap_or(u32::MAX);
                let is_there = of.add(None, hashes, matches.rows.lists());
                debug_assert!(is_there, "the event has the partition of what was found");
                if !is_there {
                    continue;
                }
                (last, row) = (Some(kind), index);
            }
            matches.found().push(Match { rule, row, judges });
        }
    }
}
