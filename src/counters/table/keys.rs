//! The keys of a rule that have used the most of it: a pass over all rows that keeps a few.
//!
//! It goes over one shard after the other, some places of its index under one lock, and holds no
//! other lock meanwhile: decisions go on. Rows keep their places until the index of their shard
//! gets another size. The pass then begins that shard again, and after a few times holds the lock
//! for all of it.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};

use parking_lot::Mutex;
use smallvec::SmallVec;

use super::Table;
use super::hold::expire;
use super::request::Stale;
use super::shard::{RowSlot, Shard};
use crate::counters::algorithms::Reading;
use crate::counters::counter::{Counter, CounterSet};
use crate::counters::row::key_of_words;
use crate::counters::row::{Row, RowKey};
use crate::counters::time::{At, Moment};
use crate::rules::{Cost, Units};

/// How many places are looked at under one lock.
const LOOKS_A_LOCK: usize = 512;
/// How often a shard is begun again because its index got another size.
const TURNS: usize = 3;

/// The values of a key, in the order of the partition.
type Values = SmallVec<[Box<str>; 1]>;

/// What is asked of a pass.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeysPass<'p> {
    pub(crate) counters: &'p CounterSet,
    /// The index of the rule, and the group of its rows.
    pub(crate) rule: u32,
    pub(crate) group: u32,
    /// How many keys are kept at the most.
    pub(crate) most: usize,
    /// Keys up to this one in the order of the pass are passed over.
    pub(crate) after: Option<(Units, &'p [Box<str>])>,
}

/// A key, and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct FoundKey {
    pub(crate) values: Values,
    /// What is used and held together, in counted units.
    pub(crate) taken: Units,
    /// How much of it open reservations hold.
    pub(crate) held: Units,
    pub(crate) reading: Reading,
    /// When it stood there.
    pub(crate) at: At,
}

/// What a pass found.
#[derive(Debug, Default)]
pub(crate) struct FoundKeys {
    /// The keys that have taken the most first; of two that have taken as much the one whose values
    /// come first.
    pub(crate) keys: Vec<FoundKey>,
    /// What the keys share that found no room for counters of their own, where there are some.
    pub(crate) shared: Option<FoundKey>,
}

impl KeysPass<'_> {
    /// Whether a key that has taken so much may be among the first.
    fn may_keep(&self, best: &BinaryHeap<FoundKey>, taken: Units) -> bool {
        let is_behind = |worst: &FoundKey| best.len() >= self.most && taken < worst.taken;
        !best.peek().is_some_and(is_behind) && self.after.is_none_or(|after| taken <= after.0)
    }
}

impl FoundKey {
    /// By what keys are ranked: the least comes first.
    fn rank(&self) -> (Reverse<Units>, &[Box<str>]) {
        (Reverse(self.taken), &self.values)
    }
}

impl PartialEq for FoundKey {
    fn eq(&self, other: &Self) -> bool {
        self.rank() == other.rank()
    }
}

impl Eq for FoundKey {}

impl PartialOrd for FoundKey {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for FoundKey {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.rank().cmp(&other.rank())
    }
}

impl Table {
    /// Finds the keys that have taken the most of a rule. Each shard is looked at at an instant of
    /// its own; of keys that come or grow meanwhile some may be missing. O(rows), and memory for
    /// the keys that are asked for.
    ///
    /// # Errors
    /// The rule set is not the current one any more.
    pub(crate) fn keys(&self, pass: &KeysPass<'_>, now: Moment) -> Result<FoundKeys, Stale> {
        let Some(counter) = pass.counters.counter(pass.rule) else {
            return Ok(FoundKeys::default());
        };
        let mut best = BinaryHeap::new();
        for shard in self.shards() {
            for found in self.keys_of(shard, pass, counter, now)? {
                keep(&mut best, found, pass.most);
            }
        }
        let mut keys = best.into_sorted_vec();
        // A row that was dropped and made again may have been met twice.
        let mut seen: HashSet<Values> = HashSet::new();
        keys.retain(|found| seen.insert(found.values.clone()));
        let shared = self.lock_shared_row(counter).and_then(|mut row| {
            let place = row.place_at(0)?;
            self.found(place.shard, place.slot, (pass.counters, counter), now, |_| true)
        });
        Ok(FoundKeys { keys, shared: shared.filter(|_| pass.after.is_none()) })
    }

    /// The keys of a shard that have taken the most.
    fn keys_of(
        &self,
        shard: &Mutex<Shard>,
        pass: &KeysPass<'_>,
        counter: &Counter,
        now: Moment,
    ) -> Result<BinaryHeap<FoundKey>, Stale> {
        let mut turn = 0_usize;
        let (mut best, mut place, mut places) = (BinaryHeap::new(), 0_usize, None);
        loop {
            let mut shard = shard.lock();
            if self.version() != pass.counters.version {
                return Err(Stale);
            }
            if *places.get_or_insert(shard.places()) != shard.places() {
                turn = turn.saturating_add(1);
                (best, place, places) = (BinaryHeap::new(), 0, Some(shard.places()));
            }
            let looks = if turn < TURNS { LOOKS_A_LOCK } else { shard.places() };
            let end = place.saturating_add(looks).min(shard.places());
            for place in place..end {
                if let Some(slot) = shard.slot_at(place)
                    && shard.row(slot).identity().0 == pass.group
                {
                    let wanted = |taken| pass.may_keep(&best, taken);
                    let rules = (pass.counters, counter);
                    if let Some(found) = self.found(&mut shard, slot, rules, now, wanted)
                        && pass.after.is_none_or(|after| found.rank() > (Reverse(after.0), after.1))
                    {
                        keep(&mut best, found, pass.most);
                    }
                }
            }
            if end >= shard.places() {
                return Ok(best);
            }
            place = end;
        }
    }

    /// Where the key of a row stands; `None` where it has taken nothing, or so much as is not
    /// `wanted`.
    fn found(
        &self,
        shard: &mut Shard,
        mut slot: RowSlot,
        (counters, counter): (&CounterSet, &Counter),
        now: Moment,
        wanted: impl Fn(Units) -> bool,
    ) -> Option<FoundKey> {
        if !counter.is_in(shard.row(slot)) {
            return None;
        }
        let at = self.timeline.at(shard.not_before(now), None);
        let mut held_row = shard.take_held_at(slot);
        if let Some(held) = &mut held_row {
            let row = shard.grow(&mut slot);
            expire(self, held, Some(row), counters, &at);
        }
        let row = shard.row(slot);
        let calendar = || counters.calendar_of_row(row);
        let reading = counter.judge(Some(row), 0, &calendar, &at, Cost::NOTHING).reading;
        let period = reading.bounds().map_or(0, |period| period.start);
        let held = held_row.as_ref().and_then(|held| held.counter(counter.number(), period));
        let held = held.map_or(0, |held| held.counting(&counter.policy, &at));
        let taken = counter.policy.figures(&reading, at, self.timeline).used;
        let is_found = (taken != 0 || held != 0) && wanted(taken);
        let found = || FoundKey { values: values_of(row), taken, held, reading, at };
        let found = is_found.then(found);
        if let Some(held) = held_row {
            shard.hold(held);
        }
        found
    }
}

/// Keeps a key where it is among the first so many.
fn keep(best: &mut BinaryHeap<FoundKey>, found: FoundKey, most: usize) {
    best.push(found);
    if best.len() > most {
        best.pop();
    }
}

/// The values of a row's key; none of the row that keys share.
fn values_of(row: Row<'_>) -> Values {
    let (group, words) = row.identity();
    let values = key_of_words(group, words, |key| match key {
        RowKey::Partition { values, .. } => values.iter().map(|value| (*value).into()).collect(),
        RowKey::Overflow { .. } => Values::new(),
    });
    values.unwrap_or_default()
}
