//! Where the rows of a shard lie, by their hashes.
//!
//! Open addressing with linear probing, over entries of eight bytes: the low half of the hash, by
//! which an entry has its place and is told from nearly all others, and the slot. A look-up reads
//! one line of the cache here, most times, and then the row, whose whole hash and key decide. A
//! general hash table keeps its tags and its values apart, which is another line, and asks all of
//! a group of tags at once, which takes longer than the entry or two that are asked here.
//!
//! Where a row goes, its entry says that one was there, for searches that have passed it: entries
//! stay in their places until the index gets another size, so that upkeep can go over them a few at
//! a time. At most three quarters of the places are taken, by those too, so that every search ends
//! at a free one. Hashes are keyed: nobody can choose keys whose entries crowd together.

use super::RowSlot;

/// What no row has.
const FREE: u64 = 0;
/// What is left of a row that is gone. No arena has its slot, so that a search passes it.
const GONE: u64 = RowSlot::MAX as u64;
/// The fewest entries that an index with rows has.
const FEWEST: usize = 16;

#[derive(Debug, Default)]
pub(super) struct Index {
    /// As many as a power of two, or none. Of a row the low half of its hash, above its slot plus
    /// one.
    entries: Box<[u64]>,
    len: usize,
    /// How many places are not free.
    taken: usize,
}

#[inline]
fn entry_of(hash: u64, slot: RowSlot) -> u64 {
    debug_assert!(slot < RowSlot::MAX - 1, "an arena has fewer lines");
    (hash << 32) | u64::from(slot.wrapping_add(1))
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the low half is wanted")]
fn slot_of(entry: u64) -> RowSlot {
    (entry as RowSlot).wrapping_sub(1)
}

/// The slot of the row that an entry is of, if it is of one.
#[inline]
fn slot_in(entry: u64) -> Option<RowSlot> {
    (!matches!(entry, FREE | GONE)).then(|| slot_of(entry))
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
    }

    /// Puts an entry into the first place of its search that no row has.
    fn put(&mut self, entry: u64) {
        let mut place = self.home(entry);
        while let Some(found) = self.entries.get_mut(place) {
            if matches!(*found, FREE | GONE) {
                self.taken = self.taken.saturating_add((*found == FREE).into());
                self.len = self.len.saturating_add(1);
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
        self.entries.get(place).and_then(|entry| slot_in(*entry))
    }

    /// Frees the place of a row. The others stay where they are.
    pub(super) fn remove_at(&mut self, place: usize) {
        let Some(entry) = self.entries.get_mut(place) else { return };
        if slot_in(*entry).is_none() {
            return;
        }
        *entry = GONE;
        self.len = self.len.saturating_sub(1);
        // No search passes what lies before a free place.
        let (mut place, next) = (place, self.wrap(place.wrapping_add(1)));
        if self.entries.get(next) == Some(&FREE) {
            while let Some(entry) = self.entries.get_mut(place).filter(|entry| **entry == GONE) {
                *entry = FREE;
                self.taken = self.taken.saturating_sub(1);
                place = self.wrap(place.wrapping_sub(1));
            }
        }
    }

    pub(super) fn slots(&self) -> impl Iterator<Item = RowSlot> {
        self.entries.iter().filter_map(|entry| slot_in(*entry))
    }

    /// Makes room for so many rows more.
    pub(super) fn reserve(&mut self, rows: usize) {
        if places_for(self.taken.saturating_add(rows)) <= self.places() {
            return;
        }
        let places = places_for(self.len.saturating_add(rows));
        // With less than a quarter to spare the next time would come soon.
        let is_tight = self.len.saturating_mul(2) > places;
        self.resize(if is_tight { places.saturating_mul(2) } else { places });
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
        (self.len, self.taken) = (0, 0);
        let rows = entries.into_iter().filter(|entry| slot_in(*entry).is_some());
        rows.for_each(|entry| self.put(entry));
    }
}

/// How many places so many rows need.
fn places_for(rows: usize) -> usize {
    if rows == 0 {
        return 0;
    }
    rows.saturating_mul(4).div_ceil(3).next_power_of_two().max(FEWEST)
}
