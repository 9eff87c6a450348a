//! Counters out of a table and back into one.
//!
//! A checkpoint copies one shard after the other while decisions go on, each under its own lock,
//! and of each it knows the place in the log whose records it holds the effects of: those before
//! it. Who opens loads the copies and redoes the log from the lowest of those places. Most states
//! are words that a record holds: the last one wins, and redoing what a copy holds already, or
//! redoing twice, changes nothing. A sliding window is redone by adding, so its cell remembers
//! which records are in it, in the 32 bits that other cells keep a period's length in.
//!
//! What says no more than a fresh counter would at the end of the log is neither copied nor made
//! again, so that redoing leaves no more rows than there were.

use std::sync::atomic::Ordering;

use smallvec::SmallVec;

use super::{Padded, RowKey, Table, overflow_hash, upkeep};
use crate::base::format::Version;
use crate::base::varint;
use crate::counters::algorithms::periods::Bounds;
use crate::counters::cell::CellState as Image;
use crate::counters::counter::{Counter, CounterSet};
use crate::counters::row::Row;
use crate::counters::saved::{StoredCharge, StoredStart};
use crate::counters::time::{At, Moment};

/// A shard that was copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SavedShard {
    /// The copy holds the effects of the records before this place.
    pub(crate) position: u64,
    /// The time by which rows were left out that say nothing any more: no engine that opens the
    /// copy may go by an earlier one.
    pub(crate) now: Moment,
    pub(crate) rows: u64,
}

/// How counters come back.
#[derive(Debug)]
pub(crate) struct Restoring<'r> {
    /// The rules at the end of the log.
    pub(crate) counters: &'r CounterSet,
    /// The time at the end of the log: no decision will go by an earlier one.
    pub(crate) end: At,
}

/// Bytes that are no copy of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// One take of a record, of a counter as it was.
pub(crate) type Retake<'r> = (&'r Counter, &'r StoredCharge);

impl Table {
    pub(crate) fn shards(&self) -> usize {
        self.shards.len()
    }

    /// Lets no decision go by an earlier time.
    pub(crate) fn start_at(&self, now: Moment) {
        for Padded(shard) in &self.shards {
            let mut shard = shard.lock();
            shard.now = Some(shard.now.map_or(now, |seen| seen.max(now)));
        }
    }

    /// Appends a copy of a shard, under its lock, where `position` is asked. `None`, and nothing
    /// appended, where the rule set is not the current one: there is another, or is about to be.
    /// Some 50 ns a row.
    pub(crate) fn save_shard(
        &self,
        shard: usize,
        counters: &CounterSet,
        now: Moment,
        position: impl FnOnce() -> u64,
        out: &mut Vec<u8>,
    ) -> Option<SavedShard> {
        let shard = self.shards.get(shard)?.0.lock();
        if self.version.load(Ordering::Acquire) != counters.version {
            return None;
        }
        let now = shard.now.map_or(now, |seen| seen.max(now));
        let at = self.timeline.at(now, None);
        varint::put(out, self.shards.len() as u64);
        varint::put(out, shard.rows.len() as u64);
        let mut rows: u64 = 0;
        for row in shard.rows.iter().filter(|row| !upkeep::is_idle(row, counters, at)) {
            row.save(out);
            rows = rows.saturating_add(1);
        }
        Some(SavedShard { position: position(), now, rows })
    }

    /// Adds the rows of a copy to a table that is not in use yet, and counts them; `hash` is the
    /// one that the index finds rows by.
    pub(crate) fn load(
        &self,
        restoring: &Restoring<'_>,
        position: u64,
        (version, mut bytes): (Version, &[u8]),
        hash: impl Fn(u32, &[&str]) -> u64,
    ) -> Result<(), Malformed> {
        let gate = gate(position);
        let shards = varint::take(&mut bytes).ok_or(Malformed)?;
        let rows = varint::take(&mut bytes).ok_or(Malformed)?;
        if self.live_keys() == 0 {
            self.reserve_rows(rows.saturating_mul(shards));
        }
        let mut own_rows = 0_u64;
        while !bytes.is_empty() {
            let words = Row::take_words(&mut bytes).ok_or(Malformed)?;
            let hash = |key: RowKey<'_>| match key {
                RowKey::Partition { group, values } => hash(group, values),
                RowKey::Overflow { counter } => overflow_hash(counter),
            };
            let keep = |number, mut image: Image| {
                let counter = restoring.counters.answering(number)?;
                let counter = counter.of_number(number)?;
                if version == Version::One {
                    image = counter.policy.of_format_1(image);
                }
                if counter.policy.keeps_list() {
                    image.extra = gate;
                }
                Some(image)
            };
            let row = Row::load(version, words, hash, keep).ok_or(Malformed)?;
            if upkeep::is_idle(&row, restoring.counters, restoring.end) {
                continue;
            }
            for number in upkeep::numbers(&row) {
                if let Some(counter) = restoring.counters.answering(number) {
                    counter.entered_as(number, row.is_overflow());
                }
            }
            own_rows = own_rows.saturating_add(u64::from(!row.is_overflow()));
            let shard = self.shards.get(self.shard_of(row.hash())).ok_or(Malformed)?;
            shard.0.lock().rows.insert_unique(row.hash(), row, Row::hash);
        }
        self.rows.fetch_add(own_rows, Ordering::AcqRel);
        Ok(())
    }

    /// Makes room for so many rows, so that none is moved while they come.
    fn reserve_rows(&self, rows: u64) {
        let shards = self.shards.len() as u64;
        let each = rows.min(self.max_rows).checked_div(shards).unwrap_or(0);
        // They do not lie quite evenly.
        let each = each.saturating_add(each.div_euclid(8));
        for Padded(shard) in &self.shards {
            shard.lock().rows.reserve(usize::try_from(each).unwrap_or(0), Row::hash);
        }
    }

    /// Does again what the record at `place` did to the row of a partition, in a decision at `at`.
    pub(crate) fn redo(
        &self,
        restoring: &Restoring<'_>,
        (place, at): (u64, &At),
        (hash, group, values): (u64, u32, &[&str]),
        charges: &[Retake<'_>],
    ) {
        let key = RowKey::Partition { group, values };
        self.redo_row(&Redo { restoring, place, at }, hash, key, charges);
    }

    /// The same of the row that keys of a rule share which found no room.
    pub(crate) fn redo_shared(
        &self,
        restoring: &Restoring<'_>,
        (place, at): (u64, &At),
        charge: Retake<'_>,
    ) {
        let counter = charge.0.lineage();
        let (hash, key) = (overflow_hash(counter), RowKey::Overflow { counter });
        self.redo_row(&Redo { restoring, place, at }, hash, key, &[charge]);
    }

    /// Gives a counter again what it started from when its key got one of its own.
    pub(crate) fn redo_start(
        &self,
        restoring: &Restoring<'_>,
        (place, at): (u64, &At),
        (hash, group, values): (u64, u32, &[&str]),
        (counter, start): (&Counter, &StoredStart),
    ) {
        let known = restoring.counters.answering(counter.number());
        let known = known.and_then(|current| Some((current, current.of_number(counter.number())?)));
        let Some((current, counter)) = known else { return };
        let Some(Padded(shard)) = self.shards.get(self.shard_of(hash)) else { return };
        let (redo, key) = (Redo { restoring, place, at }, RowKey::Partition { group, values });
        let mut shard = shard.lock();
        let images = start.images.iter().map(|image| redo.starting(counter, image));
        let images = images.filter(|image| !redo.is_idle(current, counter, image));
        if let Some(row) = shard.rows.find_mut(hash, |row| row.has_key(hash, key)) {
            images.for_each(|image| redo.start_in_row(row, current, counter, &image));
            return;
        }
        let cells: SmallVec<[_; 1]> = images.map(|image| (counter.number(), image)).collect();
        if !cells.is_empty() {
            counter.entered(false);
            self.rows.fetch_add(1, Ordering::AcqRel);
            let row = Row::new(hash, key, &cells);
            shard.rows.insert_unique(hash, row, Row::hash);
        }
    }

    fn redo_row(&self, redo: &Redo<'_>, hash: u64, key: RowKey<'_>, charges: &[Retake<'_>]) {
        let Some(Padded(shard)) = self.shards.get(self.shard_of(hash)) else { return };
        let mut shard = shard.lock();
        let found = shard.rows.find_mut(hash, |row| row.has_key(hash, key));
        // Counters that no rule goes by any more are gone, and no other could read the state.
        let known = charges.iter().filter_map(|(counter, charge)| {
            let current = redo.restoring.counters.answering(counter.number())?;
            let known = current.of_number(counter.number())?;
            let is_of_it = known.policy.may_have_said(&charge.reading) && !charge.reading.is_none();
            is_of_it.then_some((current, known, *charge))
        });
        if let Some(row) = found {
            for (current, counter, charge) in known {
                redo.in_row(row, current, counter, charge);
            }
            return;
        }
        let mut cells: SmallVec<[(u32, Image); 4]> = SmallVec::new();
        let is_shared = matches!(key, RowKey::Overflow { .. });
        for (current, counter, charge) in known {
            let image = redo.image(counter, charge, None);
            if !redo.is_idle(current, counter, &image) {
                counter.entered(is_shared);
                cells.push((counter.number(), image));
            }
        }
        if !cells.is_empty() {
            self.rows.fetch_add(u64::from(!is_shared), Ordering::AcqRel);
            let row = Row::new(hash, key, &cells);
            shard.rows.insert_unique(hash, row, Row::hash);
        }
    }
}

/// A record that is redone.
struct Redo<'r> {
    restoring: &'r Restoring<'r>,
    place: u64,
    at: &'r At,
}

impl Redo<'_> {
    /// Redoes a take of `counter`, for which `current` answers now.
    fn in_row(&self, row: &mut Row, current: &Counter, counter: &Counter, charge: &StoredCharge) {
        let number = counter.number();
        if current.is_converted(row, number) {
            return;
        }
        match self.cell_of(row, counter, charge.reading.bounds()) {
            Some(cell) => self.in_cell(row, cell, counter, charge),
            None => {
                let image = self.image(counter, charge, counter.carried(row));
                if !self.is_idle(current, counter, &image) {
                    if !counter.has_cell(row) {
                        counter.entered(row.is_overflow());
                    }
                    row.push(number, &image);
                }
            }
        }
        if counter.is_after_one_in(row) {
            upkeep::drop_predecessors(row, counter);
        }
    }

    /// Redoes a take in a cell; a list may have it already.
    fn in_cell(&self, row: &mut Row, cell: usize, counter: &Counter, charge: &StoredCharge) {
        let Some(held) = row.cell_at(cell) else { return };
        if !counter.policy.keeps_list() || is_at_or_after(self.place, held.extra) {
            let held = Image::of(held.extra, held.words);
            row.set(cell, &self.image(counter, charge, Some(held)));
        }
    }

    /// A state that a counter starts from. A sliding window remembers that the record's event is
    /// still to be added.
    fn starting(&self, counter: &Counter, image: &Image) -> Image {
        let mut image = image.clone();
        if counter.policy.keeps_list() {
            image.extra = gate(self.place);
        }
        image
    }

    /// Puts a state into a row, but where the row is newer than the record.
    fn start_in_row(&self, row: &mut Row, current: &Counter, counter: &Counter, image: &Image) {
        let number = counter.number();
        if current.is_converted(row, number) {
            return;
        }
        let cell = self.cell_of(row, counter, image.bounds());
        let newer = |cell: &usize| {
            let cell = row.cell_at(*cell);
            cell.is_some_and(|cell| !is_at_or_after(self.place, cell.extra))
        };
        match cell {
            Some(cell) if counter.policy.keeps_list() && newer(&cell) => {}
            Some(cell) => row.set(cell, image),
            None => {
                if !counter.has_cell(row) {
                    counter.entered(row.is_overflow());
                }
                row.push(number, image);
            }
        }
    }

    /// The place of the cell that holds the state: for a period of a quota its own, or one that
    /// is over.
    fn cell_of(&self, row: &Row, counter: &Counter, period: Option<Bounds>) -> Option<usize> {
        let end = &self.restoring.end;
        let second = period.map_or(end.second, |period| period.start);
        counter.policy.find_cell(row.cells_of(counter.number(), 0), &At { second, ..*end })
    }

    /// What a sliding window remembers that this record is added to.
    fn gate(&self) -> u32 {
        gate(self.place.saturating_add(1))
    }

    /// The state of a cell that was this before, or is new.
    fn image(&self, counter: &Counter, charge: &StoredCharge, held: Option<Image>) -> Image {
        let held = held.unwrap_or_else(|| counter.policy.empty_cell());
        let image = counter.policy.redone(&held.words, charge, self.at.now);
        if image.is_list { Image { extra: self.gate(), ..image } } else { image }
    }

    /// Whether a state makes no difference any more, now or to a counter that takes it over.
    fn is_idle(&self, current: &Counter, counter: &Counter, image: &Image) -> bool {
        current.number() == counter.number()
            && counter.policy.is_idle(image.as_cell(), &self.restoring.end)
    }
}

/// The place before which a sliding window holds all records: as much of it as fits its cell.
fn gate(place: u64) -> u32 {
    u32::try_from(place & u64::from(u32::MAX)).unwrap_or(0)
}

/// Whether a place is not before one of which a cell remembers the lower half. A log that is redone
/// is shorter than half of what that tells apart, 2^31 records.
fn is_at_or_after(place: u64, remembered: u32) -> bool {
    gate(place).wrapping_sub(remembered) < 1 << 31
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_told_apart_by_their_lower_half() {
        for at in [0, 5, u64::from(u32::MAX), 1 << 32, (1 << 40) + 7] {
            assert!(is_at_or_after(at, gate(at)) && is_at_or_after(at + 1, gate(at)));
            assert!(is_at_or_after(at + (1 << 31) - 1, gate(at)));
            assert!(!is_at_or_after(at, gate(at + 1)));
            assert!(!is_at_or_after(at, gate(at + (1 << 31))));
        }
    }
}
