//! The keys of a rule that have used the most of it: a pass over all rows that keeps a few.
//!
//! It goes over one shard after the other, some places of its index under one lock, and holds no
//! other lock meanwhile: decisions go on. Rows keep their places until the index of their shard
//! gets another size. The pass then begins that shard again, and after a few times holds the lock
//! for all of it.
//!
//! What a counter does not know that has come into being after events that it counts is asked of
//! what is recorded, as a decision asks it: fewer keys under one lock then.

use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};

use parking_lot::Mutex;
use smallvec::SmallVec;

use super::Table;
use super::hold::expire;
use super::judge::is_unsure;
use super::recorded::recorded_list;
use super::request::Stale;
use super::shard::held::HeldRow;
use super::shard::{RowSlot, Shard};
use crate::counters::algorithms::Reading;
use crate::counters::algorithms::periods::KeyCalendar;
use crate::counters::counter::{Counter, CounterSet};
use crate::counters::history::History;
use crate::counters::row::key_of_words;
use crate::counters::row::{Row, RowKey};
use crate::counters::time::{At, Moment};
use crate::rules::{Cost, Units};

/// How many places are looked at under one lock.
const LOOKS_A_LOCK: usize = 512;
/// Of how many keys it is asked what is recorded.
const ASKS_A_LOCK: usize = 32;
/// How often a shard is begun again because its index got another size.
const TURNS: usize = 3;

/// The values of a key, in the order of the partition.
type Values = SmallVec<[Box<str>; 1]>;

/// What is asked of a pass.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeysPass<'p> {
    pub(crate) counters: &'p CounterSet,
    /// What is recorded, where something is.
    pub(crate) history: Option<&'p dyn History>,
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

/// A pass with the counter that it is about.
struct Look<'p> {
    pass: &'p KeysPass<'p>,
    counter: &'p Counter,
    now: Moment,
    /// Of how many keys it was asked under the lock of now what is recorded.
    asked: Cell<usize>,
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
        let look = Look { pass, counter, now, asked: Cell::new(0) };
        let mut best = BinaryHeap::new();
        for shard in self.shards() {
            for found in self.keys_of(shard, &look)? {
                keep(&mut best, found, pass.most);
            }
        }
        let mut keys = best.into_sorted_vec();
        // A row that was dropped and made again may have been met twice.
        let mut seen: HashSet<Values> = HashSet::new();
        keys.retain(|found| seen.insert(found.values.clone()));
        let shared = self.lock_shared_row(counter).and_then(|mut row| {
            let place = row.place_at(0)?;
            self.found(place.shard, place.slot, &look, |_| true)
        });
        Ok(FoundKeys { keys, shared: shared.filter(|_| pass.after.is_none()) })
    }

    /// The keys of a shard that have taken the most.
    fn keys_of(
        &self,
        shard: &Mutex<Shard>,
        look: &Look<'_>,
    ) -> Result<BinaryHeap<FoundKey>, Stale> {
        let pass = look.pass;
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
            let is_in_one_go = turn >= TURNS;
            let looks = if is_in_one_go { shard.places() } else { LOOKS_A_LOCK };
            let end = place.saturating_add(looks).min(shard.places());
            look.asked.set(0);
            while place < end && (is_in_one_go || look.asked.get() < ASKS_A_LOCK) {
                if let Some(slot) = shard.slot_at(place)
                    && shard.row(slot).identity().0 == pass.group
                {
                    let wanted = |taken| pass.may_keep(&best, taken);
                    if let Some(found) = self.found(&mut shard, slot, look, wanted)
                        && pass.after.is_none_or(|after| found.rank() > (Reverse(after.0), after.1))
                    {
                        keep(&mut best, found, pass.most);
                    }
                }
                place = place.saturating_add(1);
            }
            if place >= shard.places() {
                return Ok(best);
            }
        }
    }

    /// Where the key of a row stands; `None` where it has taken nothing, or so much as is not
    /// `wanted`.
    fn found(
        &self,
        shard: &mut Shard,
        mut slot: RowSlot,
        look: &Look<'_>,
        wanted: impl Fn(Units) -> bool,
    ) -> Option<FoundKey> {
        let Look { counter, pass: KeysPass { counters, .. }, .. } = *look;
        if !counter.is_in(shard.row(slot)) {
            return None;
        }
        let at = self.timeline.at(shard.not_before(look.now), None);
        let mut held_row = shard.take_held_at(slot);
        if let Some(held) = &mut held_row {
            let row = shard.grow(&mut slot);
            expire(self, held, Some(row), counters, &at);
        }
        let row = shard.row(slot);
        let reading = look.reading(row, held_row.as_ref(), &at);
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

impl Look<'_> {
    /// What the counter of a row says, as a decision of now finds it.
    fn reading(&self, row: Row<'_>, held: Option<&HeldRow>, at: &At) -> Reading {
        let Self { pass, counter, .. } = *self;
        let calendar = || pass.counters.calendar_of_row(row);
        let judged = counter.judge(Some(row), 0, &calendar, at, Cost::NOTHING);
        let is_known = judged.cell.is_some_and(|cell| !is_unsure(counter, row, cell));
        let recorded = || self.recorded(row, held, judged.reading, (&calendar, at));
        let recorded = if is_known { None } else { recorded() };
        recorded.unwrap_or(judged.reading)
    }

    /// The same of a period that it does not know, by what is recorded and held; `None` where it
    /// knows all, or that is not known.
    fn recorded(
        &self,
        row: Row<'_>,
        held: Option<&HeldRow>,
        reading: Reading,
        (calendar, at): (KeyCalendar<'_>, &At),
    ) -> Option<Reading> {
        let Self { pass, counter, .. } = *self;
        // Whose use is in the row that keys share is not recorded.
        let history = pass.history.filter(|_| !row.is_overflow())?;
        let held = |period| held.and_then(|held| held.counter(counter.number(), period));
        let values = values_of(row);
        let values: SmallVec<[&str; 2]> = values.iter().map(|value| &**value).collect();
        let asks = || self.asked.set(self.asked.get().saturating_add(1));
        if let Some(policy) = counter.policy.rolling() {
            counter.recounts_rolling(policy, at).then(asks)?;
            let held = held(0).into_iter().flat_map(|held| held.open.iter());
            let held = held.map(|(_, part)| (part.event, part.units)).collect();
            let list = recorded_list(history, (pass.rule, &values), policy, at, held)?;
            let cell = std::iter::once(list.as_cell());
            return Some(counter.policy.judge(cell, calendar, at, Cost::NOTHING).reading);
        }
        let period = reading.bounds()?;
        counter.recounts_period(period.start).then(asks)?;
        let used = history.used(pass.rule, period.start, period.resets(), &values)?;
        let held = held(period.start).map_or(0, |held| held.held);
        Some(reading.with_use(used).with_more_use(held))
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
