//! What of the counters of a shard is held by open reservations.
//!
//! It lies beside the rows: a row whose counters have no open holds has nothing here, and costs
//! nothing. A cell of a counter that has is marked, so that the straight path leaves it.

use std::collections::BTreeMap;

use hashbrown::HashTable;
use smallvec::SmallVec;

use super::{RowSlot, Shard};
pub(in crate::counters::table) use crate::counters::algorithms::Take;
use crate::counters::algorithms::{Expiring, HoldFacts, Policy, Reading};
use crate::counters::cell::Wide;
use crate::counters::row::{Row, RowKey, key_of_words};
use crate::counters::time::{At, Moment};
use crate::rules::Units;

/// The rows of a shard with counters that have open holds.
#[derive(Debug, Default)]
pub(in crate::counters::table) struct HeldRows {
    pub(super) rows: HashTable<HeldRow>,
    /// Of rows of which one reservation alone holds something: not among the others.
    pub(super) ones: HashTable<Box<OneHold>>,
    /// One that is over, to be used again.
    pub(super) spare: Option<Box<OneHold>>,
    /// The places that upkeep looks at next.
    cursor: usize,
    one_cursor: usize,
}

/// What one reservation holds of a row of which no other holds anything, by one take of each
/// counter: as the straight path makes and settles it. Whoever else asks for it gets a [`HeldRow`].
#[derive(Debug)]
pub(in crate::counters::table) struct OneHold {
    hash: u64,
    group: u32,
    row_key: SmallVec<[u64; 4]>,
    pub(in crate::counters::table) key: HoldKey,
    second: i64,
    event: Moment,
    pub(in crate::counters::table) parts: SmallVec<[OnePart; 4]>,
}

/// What it holds of a counter.
#[derive(Debug)]
pub(in crate::counters::table) struct OnePart {
    pub(in crate::counters::table) number: u32,
    pub(in crate::counters::table) period: i64,
    taken: Moment,
    units: Wide,
    pub(in crate::counters::table) committed: Option<Reading>,
}

impl OnePart {
    pub(in crate::counters::table) fn take(&self) -> Take {
        Take { taken: self.taken, units: self.units.get() }
    }
}

impl Default for OneHold {
    fn default() -> Self {
        let (row_key, parts, start) = (SmallVec::new(), SmallVec::new(), Moment(0));
        Self { hash: 0, group: 0, row_key, key: (start, 0), second: 0, event: start, parts }
    }
}

impl OneHold {
    pub(in crate::counters::table) fn add(&mut self, number: u32, units: Units, facts: HoldFacts) {
        let (HoldFacts { committed, since: taken, period }, units) = (facts, units.into());
        self.parts.push(OnePart { number, period, taken, units, committed });
    }

    pub(super) fn identity(&self) -> (u64, (u32, &[u64])) {
        (self.hash, (self.group, &self.row_key))
    }

    fn is_of(&self, hash: u64, row_key: RowKey<'_>) -> bool {
        self.hash == hash && row_key.has_identity((self.group, &self.row_key))
    }

    /// The same as any row.
    fn into_row(self: Box<Self>) -> HeldRow {
        let (key, counters) = (self.row_key.clone(), Vec::with_capacity(self.parts.len()));
        let (hash, group, expires_at) = (self.hash, self.group, self.key.0);
        let mut row = HeldRow { hash, group, key, expires_at, counters };
        row.add(&self);
        row
    }
}

/// What is held of a row's counters.
#[derive(Debug)]
pub(in crate::counters::table) struct HeldRow {
    hash: u64,
    group: u32,
    key: SmallVec<[u64; 4]>,
    /// When the first hold expires.
    pub(in crate::counters::table) expires_at: Moment,
    pub(in crate::counters::table) counters: Vec<HeldCounter>,
}

/// What is held of one counter; of a quota by the calendar in one period.
#[derive(Debug)]
pub(in crate::counters::table) struct HeldCounter {
    pub(in crate::counters::table) number: u32,
    /// The first second of the period; 0 of what has none.
    pub(in crate::counters::table) period: i64,
    /// All open holds together.
    pub(in crate::counters::table) held: Units,
    /// No open hold has a take before this.
    pub(in crate::counters::table) oldest: Moment,
    /// What the counter says without them, where giving back depends on it.
    pub(in crate::counters::table) committed: Option<Reading>,
    /// The open holds, by the instant at which they expire and their reservation.
    pub(in crate::counters::table) open: Open,
}

/// Open holds, in the order in which they expire: side by side where they are few.
#[derive(Debug)]
pub(in crate::counters::table) enum Open {
    Few(SmallVec<[(HoldKey, Part); 1]>),
    Many(BTreeMap<HoldKey, Part>),
}

/// More than this are many.
const FEW: usize = 16;
/// Room for so many rows is kept.
const SMALL: usize = 64;

/// By what an open hold is found: when it expires, and the reservation.
pub(in crate::counters::table) type HoldKey = (Moment, u64);

/// What one reservation holds of a counter.
#[derive(Clone, Debug)]
pub(in crate::counters::table) struct Part {
    pub(in crate::counters::table) units: Units,
    /// The Unix second of the act, and its instant: where it is held if the period changes.
    pub(in crate::counters::table) second: i64,
    pub(in crate::counters::table) event: Moment,
    /// When it was taken, the oldest first.
    pub(in crate::counters::table) takes: SmallVec<[Take; 1]>,
}

/// How many takes a part tells apart. More than that merge at the earlier instant: they leave a
/// window early then, and give back less.
const MAX_TAKES: usize = 16;

impl Part {
    /// Of nothing so far, for an act at this time.
    pub(in crate::counters::table) fn new(at: &At) -> Self {
        Self { units: 0, second: at.second, event: at.event, takes: SmallVec::new() }
    }

    /// Adds a take, which is the newest.
    pub(in crate::counters::table) fn take(&mut self, taken: Moment, units: Units) {
        self.units = self.units.saturating_add(units);
        let last = self.takes.last_mut();
        match last.filter(|last| last.taken == taken) {
            Some(last) => last.units = last.units.saturating_add(units),
            None => self.takes.push(Take { taken, units }),
        }
        if self.takes.len() > MAX_TAKES {
            // The two oldest: they are the next to leave.
            let second = self.takes.remove(1);
            if let Some(first) = self.takes.first_mut() {
                first.units = first.units.saturating_add(second.units);
            }
        }
    }
}

impl Open {
    pub(in crate::counters::table) fn is_empty(&self) -> bool {
        match self {
            Self::Few(few) => few.is_empty(),
            Self::Many(many) => many.is_empty(),
        }
    }

    pub(in crate::counters::table) fn iter(&self) -> impl Iterator<Item = (&HoldKey, &Part)> {
        let (few, many) = match self {
            Self::Few(few) => (Some(few.iter().map(|(key, part)| (key, part))), None),
            Self::Many(many) => (None, Some(many.iter())),
        };
        few.into_iter().flatten().chain(many.into_iter().flatten())
    }

    pub(in crate::counters::table) fn get(&self, key: HoldKey) -> Option<&Part> {
        match self {
            Self::Few(few) => few.iter().find_map(|(known, part)| (*known == key).then_some(part)),
            Self::Many(many) => many.get(&key),
        }
    }

    /// When the first expires.
    fn expires_at(&self) -> Option<Moment> {
        match self {
            Self::Few(few) => few.first().map(|((until, _), _)| *until),
            Self::Many(many) => many.first_key_value().map(|((until, _), _)| *until),
        }
    }

    pub(in crate::counters::table) fn insert(&mut self, key: HoldKey, part: Part) {
        match self {
            Self::Few(few) if few.len() < FEW => {
                let place = few.partition_point(|(known, _)| *known < key);
                few.insert(place, (key, part));
            }
            Self::Few(few) => {
                let many = few.drain(..).chain([(key, part)]).collect();
                *self = Self::Many(many);
            }
            Self::Many(many) => {
                many.insert(key, part);
            }
        }
    }

    pub(in crate::counters::table) fn remove(&mut self, key: HoldKey) -> Option<Part> {
        match self {
            Self::Few(few) => {
                let place = few.iter().position(|(known, _)| *known == key)?;
                Some(few.remove(place).1)
            }
            Self::Many(many) => many.remove(&key),
        }
    }

    /// Takes out the first, if it has expired.
    fn pop_until(&mut self, now: Moment) -> Option<(HoldKey, Part)> {
        match self {
            Self::Few(few) => {
                few.first().filter(|((until, _), _)| *until <= now)?;
                Some(few.remove(0))
            }
            Self::Many(many) => {
                let first = many.first_entry()?;
                (first.key().0 <= now).then(|| first.remove_entry())
            }
        }
    }

    /// All of them.
    pub(in crate::counters::table) fn into_parts(self) -> Vec<(HoldKey, Part)> {
        match self {
            Self::Few(few) => few.into_vec(),
            Self::Many(many) => many.into_iter().collect(),
        }
    }
}

impl HeldCounter {
    pub(in crate::counters::table) fn new(
        number: u32,
        period: i64,
        committed: Option<Reading>,
    ) -> Self {
        let open = Open::Few(SmallVec::new());
        Self { number, period, held: 0, oldest: Moment::MAX, committed, open }
    }

    pub(in crate::counters::table) fn is(&self, number: u32, period: i64) -> bool {
        (self.number, self.period) == (number, period)
    }

    /// Adds the hold of a reservation, or what is taken for it beside, as it is then.
    pub(in crate::counters::table) fn put(&mut self, key: HoldKey, part: Part, more: Units) {
        self.held = self.held.saturating_add(more);
        let oldest = part.takes.iter().map(|take| take.taken).min();
        self.oldest = self.oldest.min(oldest.unwrap_or(Moment::MAX));
        self.open.insert(key, part);
    }

    /// How much of it is among what the counter uses now.
    pub(in crate::counters::table) fn counting(&self, policy: &Policy, at: &At) -> Units {
        if !policy.holds_count(self.oldest, at) {
            let counting = self.expiring().filter(|it| policy.holds_count(it.taken, at));
            return counting.fold(0, |sum: Units, it| sum.saturating_add(it.units));
        }
        self.held
    }

    /// Takes the next hold that has expired.
    pub(in crate::counters::table) fn next_expired(
        &mut self,
        now: Moment,
    ) -> Option<(HoldKey, Part)> {
        let (key, part) = self.open.pop_until(now)?;
        self.held = self.held.saturating_sub(part.units);
        Some((key, part))
    }

    /// Forgets takes of holds that have expired and are in no list any more by now: redoing leaves
    /// such uses out, and nothing of others may be given back for them.
    pub(in crate::counters::table) fn forget_spent(&mut self, policy: &Policy, now: Moment) {
        let is_spent = |take: &Take| !policy.has_use_of(take.taken, now);
        let expired = self.open.iter().take_while(|((until, _), _)| *until <= now);
        let spent = expired.filter(|(_, part)| part.takes.iter().any(is_spent));
        let spent: Vec<HoldKey> = spent.map(|(key, _)| *key).collect();
        for key in spent {
            if let Some(mut part) = self.remove(key) {
                part.takes.retain(|take| !is_spent(take));
                part.units = part.takes.iter().fold(0, |sum, take| sum.saturating_add(take.units));
                let units = part.units;
                self.put(key, part, units);
            }
        }
    }

    /// Takes the hold of a reservation.
    pub(in crate::counters::table) fn remove(&mut self, key: HoldKey) -> Option<Part> {
        let part = self.open.remove(key)?;
        self.held = self.held.saturating_sub(part.units);
        Some(part)
    }

    /// The holds in the order in which they expire.
    pub(in crate::counters::table) fn expiring(&self) -> impl Iterator<Item = Expiring> {
        self.open.iter().flat_map(|((at, _), part)| {
            let newest_first = part.takes.iter().rev();
            newest_first.map(|take| Expiring {
                at: *at,
                units: take.units,
                taken: take.taken,
                later: None,
            })
        })
    }
}

impl HeldRow {
    /// Of a row of which nothing is held so far, with room for so many counters.
    pub(in crate::counters::table) fn new(hash: u64, key: RowKey<'_>, counters: usize) -> Self {
        let (group, key) = key.identity();
        let counters = Vec::with_capacity(counters);
        Self { hash, group, key, expires_at: Moment::MAX, counters }
    }

    pub(in crate::counters::table) fn counter(
        &self,
        number: u32,
        period: i64,
    ) -> Option<&HeldCounter> {
        self.counters.iter().find(|held| held.is(number, period))
    }

    pub(in crate::counters::table) fn counter_mut(
        &mut self,
        number: u32,
        period: i64,
    ) -> Option<&mut HeldCounter> {
        self.counters.iter_mut().find(|held| held.is(number, period))
    }

    /// What a reservation holds of a counter, and all that is held of it.
    pub(in crate::counters::table) fn part(
        &self,
        number: u32,
        key: HoldKey,
    ) -> Option<(&HeldCounter, &Part)> {
        let of_number = self.counters.iter().filter(|held| held.number == number);
        let mut parts = of_number.filter_map(|held| Some((held, held.open.get(key)?)));
        parts.next()
    }

    /// What is held of a counter in a period, of which nothing was so far: then beside what it says
    /// without holds.
    fn counter_or_new(
        &mut self,
        number: u32,
        period: i64,
        committed: Option<Reading>,
    ) -> Option<&mut HeldCounter> {
        let known = self.counters.iter().position(|held| held.is(number, period));
        let place = known.unwrap_or_else(|| {
            self.counters.push(HeldCounter::new(number, period, committed));
            self.counters.len().saturating_sub(1)
        });
        self.counters.get_mut(place)
    }

    /// Adds what another reservation holds.
    pub(in crate::counters::table) fn add(&mut self, one: &OneHold) {
        let OneHold { key, second, event, .. } = *one;
        for part in &one.parts {
            if let Some(of) = self.counter_or_new(part.number, part.period, part.committed) {
                let (units, takes) = (part.units.get(), SmallVec::from_elem(part.take(), 1));
                of.put(key, Part { units, second, event, takes }, units);
            }
        }
    }

    pub(in crate::counters::table) fn hash(&self) -> u64 {
        self.hash
    }

    /// Whether it is one that keys without room share.
    pub(in crate::counters::table) fn is_shared(&self) -> bool {
        key_of_words(self.group, &self.key, |key| matches!(key, RowKey::Overflow { .. }))
            .unwrap_or(false)
    }

    pub(in crate::counters::table) fn identity(&self) -> (u32, &[u64]) {
        (self.group, &self.key)
    }
}

impl Shard {
    /// What is held of a row.
    pub(in crate::counters::table) fn held(&self, hash: u64, key: RowKey<'_>) -> Option<&HeldRow> {
        let rows = &self.held.as_deref()?.rows;
        rows.find(hash, |row| row.hash == hash && key.has_identity(row.identity()))
    }

    /// Takes out what is held of a row, to change it: who changed it [puts it back](Self::hold).
    pub(in crate::counters::table) fn take_held(
        &mut self,
        hash: u64,
        key: RowKey<'_>,
    ) -> Option<HeldRow> {
        let HeldRows { rows, ones, .. } = self.held.as_deref_mut()?;
        let is_it = |row: &HeldRow| row.hash == hash && key.has_identity(row.identity());
        if !rows.is_empty()
            && let Ok(found) = rows.find_entry(hash, is_it)
        {
            return Some(found.remove().0);
        }
        let ones = Some(ones).filter(|ones| !ones.is_empty())?;
        let found = ones.find_entry(hash, |one| one.is_of(hash, key));
        Some(found.ok()?.remove().0.into_row())
    }

    /// Takes out what this reservation alone holds of a row with this hash.
    pub(in crate::counters::table) fn take_one(
        &mut self,
        hash: u64,
        key: HoldKey,
    ) -> Option<Box<OneHold>> {
        let ones = &mut self.held.as_deref_mut()?.ones;
        let found = ones.find_entry(hash, |one| one.hash == hash && one.key == key);
        let one = found.ok()?.remove().0;
        shrink(ones, |one| one.hash);
        Some(one)
    }

    /// When the first hold of a row expires.
    pub(in crate::counters::table) fn first_expiry(
        &self,
        hash: u64,
        key: RowKey<'_>,
    ) -> Option<Moment> {
        let HeldRows { rows, ones, .. } = self.held.as_deref()?;
        if !ones.is_empty()
            && let Some(one) = ones.find(hash, |one| one.is_of(hash, key))
        {
            return Some(one.key.0);
        }
        let is_it = |row: &HeldRow| row.hash == hash && key.has_identity(row.identity());
        let rows = Some(rows).filter(|rows| !rows.is_empty())?;
        rows.find(hash, is_it).map(|row| row.expires_at)
    }

    /// The same of the row that lies in a slot.
    pub(in crate::counters::table) fn take_held_at(&mut self, slot: RowSlot) -> Option<HeldRow> {
        let HeldRows { rows, ones, .. } = self.held.as_deref_mut()?;
        let row = Row::of(self.arena.at(slot));
        let (hash, identity) = (row.hash(), row.identity());
        let is_it = |row: &HeldRow| row.hash == hash && row.identity() == identity;
        if let Ok(found) = rows.find_entry(hash, is_it) {
            return Some(found.remove().0);
        }
        let found = ones.find_entry(hash, |one| one.identity() == (hash, identity));
        Some(found.ok()?.remove().0.into_row())
    }

    /// Keeps what is held of a row: nothing once that is nothing.
    pub(in crate::counters::table) fn hold(&mut self, row: HeldRow) {
        let first = row.counters.iter().filter_map(|held| held.open.expires_at()).min();
        if let Some(first) = first {
            let rows = &mut self.held.get_or_insert_default().rows;
            let row = HeldRow { expires_at: first, ..row };
            rows.insert_unique(row.hash, row, |row| row.hash);
        } else if let Some(held) = &mut self.held {
            shrink(&mut held.rows, |row| row.hash);
        }
    }

    /// What one reservation alone holds of the row in a slot: nothing so far.
    pub(in crate::counters::table) fn new_one(
        &mut self,
        slot: RowSlot,
        key: HoldKey,
        at: &At,
    ) -> Box<OneHold> {
        let spare = self.held.as_deref_mut().and_then(|held| held.spare.take());
        let mut one = spare.unwrap_or_default();
        let row = self.row(slot);
        let (group, words) = row.identity();
        (one.hash, one.group, one.key) = (row.hash(), group, key);
        (one.second, one.event) = (at.second, at.event);
        one.row_key = SmallVec::from_slice(words);
        one.parts.clear();
        one
    }

    /// Lets what one reservation held be used again.
    pub(in crate::counters::table) fn spare_one(&mut self, one: Box<OneHold>) {
        if let Some(held) = &mut self.held {
            held.spare = Some(one);
        }
    }

    /// Keeps what one reservation alone holds of a row: nothing where that is nothing.
    pub(in crate::counters::table) fn hold_one(&mut self, one: Box<OneHold>) {
        if one.parts.is_empty() {
            return self.spare_one(one);
        }
        let ones = &mut self.held.get_or_insert_default().ones;
        ones.insert_unique(one.hash, one, |one| one.hash);
    }

    /// Whether something of some row may be held.
    #[inline]
    pub(in crate::counters::table) fn holds(&self) -> bool {
        let held = self.held.as_deref();
        held.is_some_and(|held| !held.rows.is_empty() || !held.ones.is_empty())
    }

    /// Takes out the row that upkeep looks at next, if one is in its place of which something has
    /// expired, with where it lies.
    pub(in crate::counters::table) fn next_held(
        &mut self,
        now: Moment,
    ) -> Option<(HeldRow, Option<RowSlot>)> {
        let HeldRows { rows, ones, cursor, one_cursor, .. } = self.held.as_deref_mut()?;
        let row = match next_of(ones, one_cursor, |one| one.key.0 <= now, |one| one.hash) {
            Some(one) => one.into_row(),
            None => next_of(rows, cursor, |row| row.expires_at <= now, |row| row.hash)?,
        };
        let slot = self.slot_of(&row);
        Some((row, slot))
    }

    /// Where the row lies, if it is there.
    pub(in crate::counters::table) fn slot_of(&self, row: &HeldRow) -> Option<RowSlot> {
        let is_it = |slot: RowSlot| {
            let found = Row::of(self.arena.at(slot));
            found.hash() == row.hash && found.identity() == row.identity()
        };
        self.index.find(row.hash, is_it)
    }

    /// The rows of which something is held, of an engine with a store: there none is held by one
    /// [alone](OneHold).
    pub(in crate::counters::table) fn held_rows(&self) -> impl Iterator<Item = &HeldRow> {
        self.held.iter().flat_map(|held| &held.rows)
    }

    /// Takes out all that is held, to change it: who changed it [puts it back](Self::hold).
    pub(in crate::counters::table) fn take_all_held(&mut self) -> Vec<HeldRow> {
        let held = self.held.take().map(|held| *held).unwrap_or_default();
        held.rows.into_iter().chain(held.ones.into_iter().map(OneHold::into_row)).collect()
    }
}

/// Takes out what is in the place that is looked at next, where it has expired.
pub(super) fn next_of<T>(
    table: &mut HashTable<T>,
    cursor: &mut usize,
    has_expired: impl FnOnce(&T) -> bool,
    hash: impl Fn(&T) -> u64,
) -> Option<T> {
    if table.is_empty() {
        return None;
    }
    let place = if *cursor < table.num_buckets() { *cursor } else { 0 };
    *cursor = place.saturating_add(1);
    let taken = match table.get_bucket_entry(place) {
        Ok(found) if has_expired(found.get()) => Some(found.remove().0),
        _ => None,
    };
    if taken.is_some() {
        shrink(table, hash);
    }
    taken
}

/// Gives back room that few need.
fn shrink<T>(table: &mut HashTable<T>, hash: impl Fn(&T) -> u64) {
    let buckets = table.num_buckets();
    if buckets > SMALL && table.len() < buckets.div_euclid(8) {
        table.shrink_to(table.len().saturating_mul(2), hash);
    }
}
