//! Which thresholds have fired for the keys of a shard.
//!
//! Marks lie beside the rows: a key that has reached no threshold has none, and costs nothing. A
//! mark is of a rule by its counter's lineage, which stays when the rule changes, of a threshold,
//! and of a period, and is kept until that is over. As long as a row has one upkeep leaves it, so
//! that the caps on keys bound them, too.

use hashbrown::HashTable;
use smallvec::SmallVec;

use super::accounts::AccountKey;
use super::held::next_of;
use super::{RowSlot, Shard};
use crate::base::codec::{Codec, Malformed, Reader, put_list, put_signed, put_varint};
use crate::counters::row::{Row, RowKey, key_of};
use crate::counters::table::ACCOUNTS;
use crate::rules::Threshold;

/// A threshold that has fired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Of the rule's counter.
    pub(crate) lineage: u32,
    pub(crate) threshold: Threshold,
    /// The first second of the period, and the first after it; of what rolls the second at which it
    /// fired, and the one from which on it may again; of a balance the entry by which it fired, and
    /// no end.
    pub(crate) start: i64,
    pub(crate) end: i64,
}

/// The rows of a shard for which thresholds have fired.
#[derive(Debug, Default)]
pub(in crate::counters::table) struct FiredRows {
    pub(super) rows: HashTable<FiredRow>,
    /// The place that upkeep looks at next.
    cursor: usize,
}

/// The marks of a row.
#[derive(Debug)]
pub(in crate::counters::table) struct FiredRow {
    hash: u64,
    pub(super) group: u32,
    pub(super) key: SmallVec<[u64; 4]>,
    marks: Vec<Mark>,
}

impl Mark {
    /// Whether a threshold that is reached has fired by this mark.
    fn is_of(&self, reached: &Self, rolls: bool) -> bool {
        if !self.is_alike(reached) {
            return false;
        }
        // Of what rolls the period that would begin now is still under way.
        if rolls { reached.start < self.end } else { self.period() == reached.period() }
    }

    /// Whether it is of the same threshold of the same rule.
    fn is_alike(&self, other: &Self) -> bool {
        (self.lineage, self.threshold) == (other.lineage, other.threshold)
    }

    fn period(&self) -> (i64, i64) {
        (self.start, self.end)
    }
}

impl FiredRow {
    fn is(&self, hash: u64, key: RowKey<'_>) -> bool {
        self.hash == hash && key.has_identity((self.group, &self.key))
    }

    /// Whether the period of a mark is not over.
    fn counts(&self, second: i64) -> bool {
        self.marks.iter().any(|mark| mark.end > second)
    }

    /// Appends the marks that still count, behind the key.
    pub(in crate::counters::table) fn encode(&self, second: i64, out: &mut Vec<u8>) {
        let marks: SmallVec<[&Mark; 4]> = self.marks.iter().filter(|it| it.end > second).collect();
        if marks.is_empty() {
            return;
        }
        put_varint(out, self.group.into());
        put_list(out, self.key.iter(), u64::encode);
        put_list(out, marks.into_iter(), Mark::encode);
    }
}

impl Codec<'_> for Mark {
    fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.lineage.into());
        self.threshold.encode(out);
        put_signed(out, self.start);
        put_signed(out, self.end);
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (lineage, threshold) = (from.varint_u32()?, Threshold::decode(from)?);
        Ok(Self { lineage, threshold, start: from.signed()?, end: from.signed()? })
    }
}

/// Reads the marks of a row, and what that is found by.
pub(in crate::counters::table) fn read_row<R>(
    from: &mut Reader<'_>,
    with: impl FnOnce(RowKey<'_>, &[Mark]) -> R,
) -> Result<R, Malformed> {
    let group = from.varint_u32()?;
    let words: Vec<[u8; 8]> = from.list("a key", |from| from.array("a key"))?;
    let marks: Vec<Mark> = from.list("thresholds that fired", Mark::decode)?;
    let row = key_of(group, &words, |key| with(key, &marks));
    row.ok_or_else(|| from.malformed("a key"))
}

impl Shard {
    /// Marks a threshold that a row has reached; `false` where it has fired before. Of an account
    /// there is one mark of a threshold, the latest: it begins with the entry by which it fired.
    pub(in crate::counters::table) fn fires(
        &mut self,
        hash: u64,
        key: RowKey<'_>,
        mark: &Mark,
        rolls: bool,
    ) -> bool {
        let rows = &mut self.fired.get_or_insert_default().rows;
        let entry = rows.entry(hash, |row| row.is(hash, key), |row| row.hash);
        let mut entry = entry.or_insert_with(|| {
            let (group, key) = key.identity();
            FiredRow { hash, group, key, marks: Vec::new() }
        });
        let marks = &mut entry.get_mut().marks;
        let is_of_account = matches!(key, RowKey::Partition { group: ACCOUNTS, .. });
        let is_earlier = |known: &Mark| is_of_account && known.is_alike(mark);
        let is_of = |known: &Mark| {
            known.is_of(mark, rolls) || (is_earlier(known) && known.start >= mark.start)
        };
        if marks.iter().any(is_of) {
            return false;
        }
        // Those before it are over.
        marks.retain(|known| known.end > mark.start && !is_earlier(known));
        // Few fire in a period, and for many keys one.
        marks.reserve_exact(1);
        marks.push(*mark);
        true
    }

    /// By which entry a threshold fired for an account the last time, if it has.
    pub(in crate::counters::table) fn fired_by(
        &self,
        hash: u64,
        key: RowKey<'_>,
        mark: &Mark,
    ) -> Option<u64> {
        let row = self.fired.as_deref()?.rows.find(hash, |row| row.is(hash, key))?;
        let known = row.marks.iter().find(|known| known.is_alike(mark))?;
        u64::try_from(known.start).ok()
    }

    /// Forgets what has fired for an account, which is removed.
    pub(in crate::counters::table) fn forget_fired_of(&mut self, account: AccountKey<'_>) {
        let Some(FiredRows { rows, .. }) = self.fired.as_deref_mut() else { return };
        let AccountKey { hash, name, owner } = account;
        let key = RowKey::Partition { group: ACCOUNTS, values: &[name, owner] };
        if let Ok(found) = rows.find_entry(hash, |row| row.is(hash, key)) {
            found.remove();
        }
    }

    /// Marks a threshold that fired as a log says, if it is not marked.
    pub(in crate::counters::table) fn fired_as(&mut self, hash: u64, key: RowKey<'_>, mark: &Mark) {
        self.fires(hash, key, mark, false);
    }

    /// Whether a threshold has fired for the row in a slot.
    pub(in crate::counters::table) fn has_fired(&self, slot: RowSlot, second: i64) -> bool {
        let Some(fired) = self.fired.as_deref() else { return false };
        let row = Row::of(self.arena.at(slot));
        let (hash, identity) = (row.hash(), row.identity());
        let is_it = |row: &FiredRow| row.hash == hash && (row.group, &*row.key) == identity;
        fired.rows.find(hash, is_it).is_some_and(|row| row.counts(second))
    }

    /// Looks at the next row for which something has fired, and forgets what is over.
    pub(in crate::counters::table) fn forget_fired(&mut self, second: i64) {
        let Some(FiredRows { rows, cursor }) = self.fired.as_deref_mut() else { return };
        if rows.is_empty() {
            self.fired = None;
            return;
        }
        next_of(rows, cursor, |row| !row.counts(second), |row| row.hash);
    }

    /// The rows for which thresholds have fired.
    pub(in crate::counters::table) fn fired_rows(&self) -> impl Iterator<Item = &FiredRow> {
        self.fired.iter().flat_map(|fired| &fired.rows)
    }
}
