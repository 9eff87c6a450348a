//! Where the rows of a shard lie, by their hashes.
//!
//! Open addressing with linear probing, over entries of eight bytes: the low half of the hash, by
//! which an entry has its place and is told from nearly all others, and the slot. A look-up reads
//! one line of the cache here, most times, and then the row, whose whole hash and key decide. A
//! general hash table keeps its tags and its values apart, which is another line, and asks all of
//! a group of tags at once, which takes longer than the entry or two that are asked here.
//!
//! At most three quarters of the entries are taken, so that every search ends at a free one.
//! Hashes are keyed: nobody can choose keys whose entries crowd together.

use super::RowSlot;

/// What no row has.
const FREE: u64 = 0;
/// The fewest entries that an index with rows has.
const FEWEST: usize = 4;

#[derive(Debug, Default)]
pub(super) struct Index {
    /// As many as a power of two, or none. Of a row the low half of its hash, above its slot plus
    /// one.
    entries: Box<[u64]>,
    len: usize,
}

#[inline]
fn entry_of(hash: u64, slot: RowSlot) -> u64 {
    debug_assert!(slot < RowSlot::MAX, "an arena has fewer lines");
    (hash << 32) | u64::from(slot.wrapping_add(1))
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the low half is wanted")]
fn slot_of(entry: u64) -> RowSlot {
    (entry as RowSlot).wrapping_sub(1)
}

impl Index {
    /// How many rows it knows.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// How many places it has, free ones among them.
    pub(super) fn places(&self) -> usize {
        self.entries.len()
    }

    /// The place after this one, round the end; and what a hash has for its first.
    #[inline]
    fn wrap(&self, place: usize) -> usize {
        place & self.entries.len().wrapping_sub(1)
    }

    /// Where the search for an entry begins.
    #[inline]
    fn home(&self, entry: u64) -> usize {
        self.wrap((entry >> 32) as usize)
    }

    /// The slot of the row with this hash that `is_it`. Of some others with another hash it is
    /// asked, too.
    #[inline]
    pub(super) fn find(&self, hash: u64, is_it: impl Fn(RowSlot) -> bool) -> Option<RowSlot> {
        self.place(hash, is_it).map(|(_, slot)| slot)
    }

    /// The same with its place.
    #[inline]
    fn place(&self, hash: u64, is_it: impl Fn(RowSlot) -> bool) -> Option<(usize, RowSlot)> {
        let wanted = hash << 32;
        let mut place = self.home(wanted);
        loop {
            let entry = *self.entries.get(place)?;
            if entry == FREE {
                return None;
            }
            let slot = slot_of(entry);
            if (entry ^ wanted) >> 32 == 0 && is_it(slot) {
                return Some((place, slot));
            }
            place = self.wrap(place.wrapping_add(1));
        }
    }

    /// Adds a row that it does not know.
    pub(super) fn insert(&mut self, hash: u64, slot: RowSlot) {
        self.reserve(1);
        self.put(entry_of(hash, slot));
        self.len = self.len.saturating_add(1);
    }

    /// Puts an entry into the first free place of its search.
    fn put(&mut self, entry: u64) {
        let mut place = self.home(entry);
        while let Some(found) = self.entries.get_mut(place) {
            if *found == FREE {
                *found = entry;
                return;
            }
            place = self.wrap(place.wrapping_add(1));
        }
    }

    /// Keeps that a row lies elsewhere now.
    pub(super) fn moved(&mut self, hash: u64, from: RowSlot, to: RowSlot) {
        let place = self.place(hash, |slot| slot == from);
        debug_assert!(place.is_some(), "the index has every row");
        if let Some((place, _)) = place
            && let Some(entry) = self.entries.get_mut(place)
        {
            *entry = entry_of(hash, to);
        }
    }

    /// The slot of the row whose entry is in a place.
    pub(super) fn at(&self, place: usize) -> Option<RowSlot> {
        self.entries.get(place).filter(|entry| **entry != FREE).map(|entry| slot_of(*entry))
    }

    /// Frees a place. Entries that had passed it in their search move up, each to a place before
    /// its own, or round the end.
    pub(super) fn remove_at(&mut self, place: usize) {
        if self.at(place).is_none() {
            return;
        }
        let (mut hole, mut place) = (place, place);
        loop {
            place = self.wrap(place.wrapping_add(1));
            let entry = self.entries.get(place).copied().unwrap_or(FREE);
            if entry == FREE {
                break;
            }
            // How far it lies from where its search begins, and how far from the hole.
            let passed = self.wrap(place.wrapping_sub(self.home(entry)));
            if passed >= self.wrap(place.wrapping_sub(hole)) {
                self.set(hole, entry);
                hole = place;
            }
        }
        self.set(hole, FREE);
        self.len = self.len.saturating_sub(1);
    }

    fn set(&mut self, place: usize, entry: u64) {
        if let Some(to) = self.entries.get_mut(place) {
            *to = entry;
        }
    }

    pub(super) fn slots(&self) -> impl Iterator<Item = RowSlot> {
        self.entries.iter().filter(|entry| **entry != FREE).map(|entry| slot_of(*entry))
    }

    /// Makes room for so many rows more.
    pub(super) fn reserve(&mut self, rows: usize) {
        let rows = self.len.saturating_add(rows);
        if places_for(rows) > self.places() {
            self.resize(places_for(rows));
        }
    }

    /// Gives back what is not needed for so many rows, or for those that it knows.
    pub(super) fn shrink_to(&mut self, rows: usize) {
        let places = places_for(rows.max(self.len));
        if places < self.places() {
            self.resize(places);
        }
    }

    fn resize(&mut self, places: usize) {
        let entries = std::mem::replace(&mut self.entries, vec![FREE; places].into());
        entries.into_iter().filter(|entry| *entry != FREE).for_each(|entry| self.put(entry));
    }
}

/// How many places so many rows need.
fn places_for(rows: usize) -> usize {
    if rows == 0 {
        return 0;
    }
    rows.saturating_mul(4).div_ceil(3).next_power_of_two().max(FEWEST)
}
