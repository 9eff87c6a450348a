//! Records and keys as values of a table.
//!
//! A *chunk* is one value with the records of one batch, or some of them; a *run* is one value with
//! keys. redb gives a value pages whose number is a power of two, so a batch is cut where that
//! wastes little.

use std::ops::Range;

use super::seal::{CHECKSUM, TableId, start, wide};
use super::{Batch, FoundKey, Rewrite, StoreError};
use crate::base::clock::Timestamp;
use crate::base::codec::{Codec, Malformed, Reader};
use crate::base::format::Version;
use crate::log::RunTimes;
use crate::log::index;

/// The most bytes of a chunk, but for one of a single record.
pub(in crate::journal) const CHUNK_BYTES: usize = 128 * 1_024;
/// redb's page, and what it needs of it for itself.
const PAGE: usize = 4_096;
const PAGE_OVERHEAD: usize = 64;
/// Bytes before the ends: the checksum, the count, both timestamps, the time.
const HEADER: usize = CHECKSUM + FIXED;
/// The same without the checksum.
const FIXED: usize = 4 + 12 + 12 + 8;
/// Bytes before the keys of a run: the checksum, the base, the time.
const KEYS_HEADER: usize = 8 + 8 + 8;
/// Bytes of a key: its hash, and how far from the run's base its record is.
const KEY: usize = 12;

/// Records with consecutive sequence numbers, whose checksum was found right.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chunk<'c> {
    first: u64,
    count: u32,
    earliest: Timestamp,
    latest: Timestamp,
    ends: &'c [[u8; 4]],
    bytes: &'c [u8],
}

impl<'c> Chunk<'c> {
    /// Reads a value; `None` where it is damaged.
    pub(in crate::journal) fn open(
        table_id: TableId<'_>,
        first: u64,
        value: &'c [u8],
    ) -> Option<Self> {
        Self::parse(first, table_id.unseal(first, value)?).ok()
    }

    fn parse(first: u64, content: &'c [u8]) -> Result<Self, Malformed> {
        let from = &mut Reader::new(Version::NEWEST, content);
        let count = u32::decode(from)?;
        let (earliest, latest) = (decode_timestamp(from)?, decode_timestamp(from)?);
        // The engine's time of its newest record, for whoever looks into a file.
        u64::decode(from)?;
        let ends = from.bytes(index(count).saturating_mul(4), "the ends of records")?;
        let (ends, bytes) = (ends.as_chunks::<4>().0, from.take_rest());
        Ok(Self { first, count, earliest, latest, ends, bytes })
    }

    /// The sequence number of the first record.
    pub(crate) fn first(&self) -> u64 {
        self.first
    }

    /// The sequence number behind that of the last record.
    pub(crate) fn end(&self) -> u64 {
        self.first.saturating_add(u64::from(self.count))
    }

    /// Bounds of the timestamps of the events, and maybe of a few more events around them.
    pub(crate) fn earliest(&self) -> Timestamp {
        self.earliest
    }

    pub(crate) fn latest(&self) -> Timestamp {
        self.latest
    }

    /// The record of a sequence number.
    pub(crate) fn record(&self, seq: u64) -> Option<&'c [u8]> {
        let at = usize::try_from(seq.checked_sub(self.first)?).ok()?;
        let start = at.checked_sub(1).map_or(Some(0), |before| self.end_of(before))?;
        self.bytes.get(start..self.end_of(at)?)
    }

    /// The records with their sequence numbers, the oldest first.
    pub(crate) fn records(&self) -> impl DoubleEndedIterator<Item = (u64, &'c [u8])> + use<'c> {
        self.records_of(self.seqs())
    }

    /// The sequence numbers of the records.
    pub(crate) fn seqs(&self) -> Range<u64> {
        self.first..self.end()
    }

    /// Those of the records that have these sequence numbers.
    pub(crate) fn records_of(
        &self,
        seqs: Range<u64>,
    ) -> impl DoubleEndedIterator<Item = (u64, &'c [u8])> + use<'c> {
        let chunk = *self;
        seqs.filter_map(move |seq| chunk.record(seq).map(|record| (seq, record)))
    }

    /// How many records there are.
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// Bytes of the records.
    pub(in crate::journal) fn size(&self) -> u64 {
        wide(self.bytes.len())
    }

    fn end_of(&self, at: usize) -> Option<usize> {
        self.ends.get(at).map(|end| index(u32::from_le_bytes(*end)))
    }
}

/// A chunk that was copied, and keeps no transaction of the store open.
#[derive(Clone, Debug)]
pub(crate) struct OwnedChunk {
    first: u64,
    content: Box<[u8]>,
}

impl OwnedChunk {
    /// Copies a value; `None` where it is damaged.
    pub(in crate::journal) fn open(
        table_id: TableId<'_>,
        first: u64,
        value: &[u8],
    ) -> Option<Self> {
        let content = table_id.unseal(first, value)?;
        Chunk::parse(first, content).ok()?;
        Some(Self { first, content: content.into() })
    }

    /// The same with its records rewritten; `None` where they stay as they are.
    pub(in crate::journal) fn rewritten(
        &self,
        table_id: TableId<'_>,
        rewrite: &dyn Rewrite,
    ) -> Result<Option<Self>, StoreError> {
        let mut value = Vec::new();
        let is_changed = rewrite_chunk(self.first, &self.content, rewrite, &mut value);
        if !is_changed.transpose()?.unwrap_or(false) {
            return Ok(None);
        }
        table_id.seal(self.first, &mut value);
        Ok(Self::open(table_id, self.first, &value))
    }

    /// The chunk.
    pub(crate) fn chunk(&self) -> Chunk<'_> {
        let parsed = Chunk::parse(self.first, &self.content);
        debug_assert!(parsed.is_ok(), "it was looked at before it was copied");
        parsed.unwrap_or(Chunk {
            first: self.first,
            count: 0,
            earliest: Timestamp::MAX,
            latest: Timestamp::MIN,
            ends: &[],
            bytes: &[],
        })
    }
}

/// Rewrites the records of a chunk whose value was unsealed; false where all stay as they are.
/// Otherwise `value` is the new one, not sealed yet. `None` of a damaged one.
pub(in crate::journal) fn rewrite_chunk(
    first: u64,
    content: &[u8],
    rewrite: &dyn Rewrite,
    value: &mut Vec<u8>,
) -> Option<Result<bool, StoreError>> {
    let chunk = Chunk::parse(first, content).ok()?;
    let (mut ends, mut bytes, mut is_changed) = (Vec::new(), Vec::new(), false);
    for (seq, record) in chunk.records() {
        match rewrite.rewrite(seq, record, &mut bytes) {
            Ok(true) => is_changed = true,
            Ok(false) => bytes.extend_from_slice(record),
            Err(why) => return Some(Err(why)),
        }
        ends.push(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    }
    if !is_changed {
        return Some(Ok(false));
    }
    start(value);
    value.extend_from_slice(content.get(..FIXED)?);
    for end in ends {
        end.encode(value);
    }
    value.extend_from_slice(&bytes);
    // As long as it was: a store may put a shorter one in its place, and leave the end of it there.
    let before = content.len().saturating_add(CHECKSUM);
    if value.len() < before {
        value.resize(before, 0);
    }
    Some(Ok(true))
}

fn put_timestamp(out: &mut Vec<u8>, timestamp: Timestamp) {
    timestamp.unix_seconds().encode(out);
    timestamp.subsec_nanos().encode(out);
}

fn decode_timestamp(from: &mut Reader<'_>) -> Result<Timestamp, Malformed> {
    let seconds = i64::decode(from)?;
    Ok(Timestamp::new(seconds, u32::decode(from)?))
}

/// How many bytes of a value are worth taking when `left` are to be stored: all, or as many as
/// fill a power of two pages.
fn portion(left: usize) -> usize {
    let full = left.saturating_add(PAGE_OVERHEAD);
    let most = CHUNK_BYTES.saturating_sub(PAGE_OVERHEAD);
    if full >= CHUNK_BYTES {
        return most;
    }
    let above = full.checked_next_power_of_two().unwrap_or(CHUNK_BYTES);
    if full <= PAGE || full >= above.saturating_sub(above / 8) {
        return left;
    }
    (above / 2).saturating_sub(PAGE_OVERHEAD)
}

/// Cuts the records of a batch into chunks, and gives the first sequence number and the value of
/// each to `put`, in their order.
pub(in crate::journal) fn cut<E>(
    batch: &Batch<'_>,
    table_id: TableId<'_>,
    value: &mut Vec<u8>,
    mut put: impl FnMut(u64, &[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let (mut ends, mut from, mut first) = (batch.ends, 0_u32, batch.first);
    while let Some(last) = ends.last() {
        let size = |count: usize, end: u32| {
            let bytes = index(end.saturating_sub(from));
            HEADER.saturating_add(count.saturating_mul(4)).saturating_add(bytes)
        };
        let most = portion(size(ends.len(), *last));
        let count = partition(ends, |at, end| size(at.saturating_add(1), end) <= most).max(1);
        let (taken, rest) = ends.split_at_checked(count).unwrap_or((ends, &[]));
        let to = taken.last().copied().unwrap_or(from);
        start(value);
        value.extend_from_slice(&u32::try_from(taken.len()).unwrap_or(u32::MAX).to_le_bytes());
        put_timestamp(value, batch.times.map_or(Timestamp::MAX, RunTimes::first));
        put_timestamp(value, batch.times.map_or(Timestamp::MIN, RunTimes::last));
        batch.now.encode(value);
        for end in taken {
            value.extend_from_slice(&end.saturating_sub(from).to_le_bytes());
        }
        value.extend_from_slice(batch.records.get(index(from)..index(to)).unwrap_or_default());
        table_id.seal(first, value);
        put(first, value)?;
        first = first.saturating_add(wide(taken.len()));
        (ends, from) = (rest, to);
    }
    Ok(())
}

/// How many ends meet a condition that the first of them meet, and the others do not.
fn partition(ends: &[u32], meets: impl Fn(usize, u32) -> bool) -> usize {
    let (mut low, mut high) = (0_usize, ends.len());
    while low < high {
        let middle = low.midpoint(high);
        if ends.get(middle).is_some_and(|end| meets(middle, *end)) {
            low = middle.saturating_add(1);
        } else {
            high = middle;
        }
    }
    low
}

/// Cuts the keys of a batch into runs, and gives the key and the value of each to `put`.
///
/// A run's key is the batch's first sequence number and how many keys are before the run: a record
/// has one key at most, so no two runs have the same one.
pub(in crate::journal) fn cut_keys<E>(
    batch: &Batch<'_>,
    table_id: TableId<'_>,
    value: &mut Vec<u8>,
    mut put: impl FnMut(u64, &[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let (mut keys, mut key) = (batch.keys, batch.first);
    while !keys.is_empty() {
        let size = keys.len().saturating_mul(KEY).saturating_add(KEYS_HEADER);
        let count = (portion(size).saturating_sub(KEYS_HEADER) / KEY).clamp(1, keys.len());
        let (taken, rest) = keys.split_at_checked(count).unwrap_or((keys, &[]));
        start(value);
        batch.first.encode(value);
        batch.now.encode(value);
        for stored in taken {
            stored.hash.encode(value);
            stored.index.encode(value);
        }
        table_id.seal(key, value);
        put(key, value)?;
        key = key.saturating_add(wide(taken.len()));
        keys = rest;
    }
    Ok(())
}

/// Visits the keys of a run, and returns how many there are; `None` where it is damaged.
pub(in crate::journal) fn visit_keys(
    (table_id, version): (TableId<'_>, Version),
    key: u64,
    value: &[u8],
    mut visit: impl FnMut(FoundKey),
) -> Option<u64> {
    let from = &mut Reader::new(version, table_id.unseal(key, value)?);
    let (base, now) = (u64::decode(from).ok()?, u64::decode(from).ok()?);
    let mut count = 0_u64;
    while !from.rest().is_empty() {
        let (hash, index) = (u64::decode(from).ok()?, u32::decode(from).ok()?);
        let seq = base.saturating_add(u64::from(index));
        visit(FoundKey { version, hash, seq, now });
        count = count.saturating_add(1);
    }
    Some(count)
}
