//! Copies of shards for a checkpoint, and counters that come back from them.
//!
//! A checkpoint copies one shard after the other while decisions go on, each under its own lock,
//! and of each it knows its position: it holds the effects of the records with lower sequence
//! numbers. A decision appends its record under the locks of all its shards. So of a shard that is
//! locked for a copy every record is either in the log already, with its effects in the rows, or
//! gets a higher number. Who opens the store loads the copies and [redoes](super::redo) the log
//! from the lowest of those positions.
//!
//! What says no more than a fresh counter would at the end of the log is neither copied nor loaded.

use std::sync::atomic::Ordering;

use super::redo::{LogEnd, low_half};
use super::{Table, overflow_hash, upkeep};
use crate::base::codec::{Malformed, Reader, put_varint};
use crate::base::format::Version;
use crate::counters::cell::CellState;
use crate::counters::counter::CounterSet;
use crate::counters::row::{Row, RowKey};
use crate::counters::time::Moment;

/// A shard that was copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CopiedShard {
    /// The copy holds the effects of the records before this sequence number.
    pub(crate) position: u64,
    /// The time by which rows were left out that say nothing any more: no engine that opens the
    /// copy may go by an earlier one.
    pub(crate) now: Moment,
    pub(crate) rows: u64,
}

impl Table {
    /// Appends a copy of a shard, its rows, what is held of them and what has fired, under its
    /// lock, where `position` is asked. `None`, and nothing appended, where the rule set is not the
    /// current one: there is another, or is about to be. Some 50 ns a row.
    pub(crate) fn copy_shard(
        &self,
        shard: usize,
        counters: &CounterSet,
        now: Moment,
        position: impl FnOnce() -> u64,
        (out, held, fired): (&mut Vec<u8>, &mut Vec<u8>, &mut Vec<u8>),
    ) -> Option<CopiedShard> {
        let shard = self.shards().nth(shard)?.lock();
        if self.version.load(Ordering::Acquire) != counters.version {
            return None;
        }
        let now = shard.not_before(now);
        let at = self.timeline.at(now, None);
        put_varint(out, self.shard_count() as u64);
        put_varint(out, shard.len() as u64);
        let mut rows: u64 = 0;
        for row in shard.rows().filter(|row| !upkeep::is_idle(*row, counters, at)) {
            row.encode(out);
            rows = rows.saturating_add(1);
        }
        shard.held_rows().for_each(|row| row.encode(held));
        shard.fired_rows().for_each(|row| row.encode(at.now_second, fired));
        Some(CopiedShard { position: position(), now, rows })
    }

    /// Adds the rows of a copy to a table that is not in use yet, and counts them; `hash` is the
    /// one that the index finds rows by.
    pub(crate) fn load(
        &self,
        log_end: &LogEnd<'_>,
        position: u64,
        mut from: Reader<'_>,
        hash: impl Fn(u32, &[&str]) -> u64,
    ) -> Result<(), Malformed> {
        let applied_before = low_half(position);
        let version = from.version();
        let (shards, rows) = (from.varint()?, from.varint()?);
        if self.live_keys() == 0 {
            self.reserve_rows(rows.saturating_mul(shards));
        }
        let mut own_rows = 0_u64;
        while !from.is_at_end() {
            let words = Row::read_words(&mut from)?;
            let hash = |key: RowKey<'_>| match key {
                RowKey::Partition { group, values } => hash(group, values),
                RowKey::Overflow { counter } => overflow_hash(counter),
            };
            let keep = |number, mut image: CellState| {
                let counter = log_end.counters.answering(number)?;
                let counter = counter.of_number(number)?;
                if version == Version::One {
                    image = counter.policy.of_format_1(image);
                }
                if counter.policy.keeps_list() {
                    image.extra = applied_before;
                }
                Some(image)
            };
            let words = Row::decode(version, words, hash, keep);
            let words = words.ok_or_else(|| from.malformed("a row"))?;
            let row = Row::of(&words);
            if upkeep::is_idle(row, log_end.counters, log_end.at) {
                continue;
            }
            for number in upkeep::numbers(row) {
                if let Some(counter) = log_end.counters.answering(number) {
                    counter.entered_as(number, row.is_overflow());
                }
            }
            own_rows = own_rows.saturating_add(u64::from(!row.is_overflow()));
            let shard = self.shard(row.hash()).ok_or_else(|| from.malformed("a row"))?;
            shard.lock().insert_words(&words);
        }
        self.rows_entered(own_rows);
        Ok(())
    }

    /// Makes room for so many rows, so that none is moved while they come.
    fn reserve_rows(&self, rows: u64) {
        let shards = self.shard_count() as u64;
        let each = rows.min(self.max_rows).checked_div(shards).unwrap_or(0);
        // They do not lie quite evenly.
        let each = each.saturating_add(each.div_euclid(8));
        for shard in self.shards() {
            shard.lock().reserve(usize::try_from(each).unwrap_or(0));
        }
    }
}
