//! A run of events, packed one behind the other.

use super::packed::Packed;
use super::stored::{Erased, Stored, packed_times, packed_timestamp};
use super::times::RunTimes;
use crate::base::clock::Timestamp;
use crate::base::codec::{Codec, Reader};
use crate::base::format::Version;

/// The most events of a segment.
pub(super) const SEGMENT_EVENTS: usize = 1_024;
/// A segment with so many bytes is full: large events make short segments, so that a copy of one
/// is a small matter and positions in it fit 32 bits.
const SEGMENT_BYTES: usize = 1_024 * 1_024;

/// Events with consecutive ordinals, in the order in which they were recorded.
#[derive(Debug)]
pub(crate) struct Segment {
    /// The ordinal of the first event.
    first: u64,
    bytes: Vec<u8>,
    /// Where each event ends.
    ends: Vec<u32>,
    signatures: Vec<u64>,
    /// When the events happened.
    times: RunTimes,
}

/// An event of a segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PackedEvent<'s> {
    /// Its ordinal in the log.
    pub(crate) ordinal: u64,
    pub(crate) signature: u64,
    bytes: &'s [u8],
}

impl PackedEvent<'_> {
    /// When it happened; cheap, because the rest is not unpacked.
    pub(crate) fn timestamp(&self) -> Option<Timestamp> {
        packed_timestamp(self.bytes)
    }

    /// The same, and when it was decided about.
    pub(crate) fn times(&self) -> Option<(Timestamp, Timestamp)> {
        packed_times(self.bytes)
    }
}

impl<'s> PackedEvent<'s> {
    /// Unpacks the event; strings stay borrowed. Every event that was packed can be unpacked, but
    /// for one of more than 4 GiB.
    pub(crate) fn read(&self) -> Option<Stored<'s>> {
        Stored::decode_all(Reader::new(Version::NEWEST, self.bytes)).ok()
    }
}

impl Segment {
    /// An empty segment without memory.
    pub(super) fn new(first: u64) -> Self {
        Self {
            first,
            bytes: Vec::new(),
            ends: Vec::new(),
            signatures: Vec::new(),
            times: RunTimes::new(),
        }
    }

    /// An empty segment with memory for what a full one has, and a little more: events that happen
    /// late in a second are a byte longer than others.
    pub(super) fn like(full: &Self, first: u64) -> Self {
        let mut segment = Self::new(first);
        let bytes = full.bytes.len().saturating_add(full.bytes.len() / 32);
        segment.bytes.reserve_exact(bytes);
        segment.ends.reserve_exact(full.len());
        segment.signatures.reserve_exact(full.len());
        segment
    }

    /// Empties a segment that nobody needs, and keeps its memory.
    pub(super) fn restart(&mut self, first: u64) {
        self.first = first;
        self.bytes.clear();
        self.ends.clear();
        self.signatures.clear();
        self.times.clear();
    }

    pub(super) fn push(&mut self, event: &Packed) {
        let (free, needed) =
            (self.bytes.capacity().saturating_sub(self.bytes.len()), event.bytes.len());
        if free < needed {
            // By an eighth, not by doubling: a full segment stays as it is for long.
            self.bytes.reserve_exact(needed.max(self.bytes.len().div_ceil(8)));
        }
        self.bytes.extend_from_slice(&event.bytes);
        self.ends.push(u32::try_from(self.bytes.len()).unwrap_or(u32::MAX));
        self.signatures.push(event.signature);
        self.times.add(event.timestamp);
    }

    /// A copy of the newest `most` of the events before an ordinal.
    pub(super) fn copy_before(&self, ordinal: u64, most: usize) -> Self {
        let end = usize::try_from(ordinal.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let end = end.min(self.len());
        let start = end.saturating_sub(most);
        let skipped = self.end_of(start);
        let (ends, signatures) = (self.ends.get(start..end), self.signatures.get(start..end));
        let bytes = index(skipped)..index(self.end_of(end));
        Self {
            first: self.first.saturating_add(u64::try_from(start).unwrap_or(u64::MAX)),
            bytes: self.bytes.get(bytes).unwrap_or_default().to_vec(),
            ends: ends.unwrap_or_default().iter().map(|at| at.saturating_sub(skipped)).collect(),
            signatures: signatures.unwrap_or_default().to_vec(),
            times: self.times.clone(),
        }
    }

    /// The same without whom some of its events are about, and how many they are; `None` where
    /// there are none.
    pub(super) fn erased(
        &self,
        erased: &Erased,
        hasher: &ahash::RandomState,
    ) -> Option<(Self, u64)> {
        let has = |event: &PackedEvent<'_>| event.read().is_some_and(|event| erased.has(&event));
        let count = self.events().filter(has).count();
        if count == 0 {
            return None;
        }
        let mut without = Self::like(self, self.first);
        for event in self.events() {
            let Some(mut stored) = event.read() else {
                debug_assert!(false, "what was packed is unpacked");
                return None;
            };
            if erased.has(&stored) {
                stored.erase(erased);
            }
            without.push(&Packed::again(&stored, hasher));
        }
        // The instants stay, and so do the spans that they were put into.
        without.times = self.times.clone();
        Some((without, u64::try_from(count).unwrap_or(u64::MAX)))
    }

    /// Whether it takes no more events, of at most so many and so many bytes.
    pub(super) fn is_full(&self, events: usize, bytes: usize) -> bool {
        self.len() >= events.min(SEGMENT_EVENTS) || self.bytes.len() >= bytes.min(SEGMENT_BYTES)
    }

    /// How many bytes its events have.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Whether it has memory for more than twice of what segments hold.
    pub(super) fn is_oversized(&self) -> bool {
        self.bytes.capacity() > SEGMENT_BYTES.saturating_mul(2)
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The ordinal of the first event.
    pub(crate) fn first(&self) -> u64 {
        self.first
    }

    /// The ordinal behind the last event.
    pub(crate) fn end(&self) -> u64 {
        self.first.saturating_add(u64::try_from(self.len()).unwrap_or(u64::MAX))
    }

    /// When its events happened.
    pub(super) fn times(&self) -> &RunTimes {
        &self.times
    }

    /// Whether it may have events from `start` on, and before `end` where there is one.
    pub(crate) fn meets(&self, start: Timestamp, end: Option<Timestamp>) -> bool {
        !self.times.spare(&(start..end.unwrap_or(Timestamp::MAX)))
    }

    /// The events, the oldest first.
    pub(crate) fn events(&self) -> impl DoubleEndedIterator<Item = PackedEvent<'_>> {
        (self.first..self.end()).filter_map(|ordinal| self.event(ordinal))
    }

    /// The event of an ordinal.
    pub(crate) fn event(&self, ordinal: u64) -> Option<PackedEvent<'_>> {
        let at = usize::try_from(ordinal.checked_sub(self.first)?).ok()?;
        let signature = *self.signatures.get(at)?;
        let end = self.ends.get(at)?;
        let bytes = self.bytes.get(index(self.end_of(at))..index(*end))?;
        Some(PackedEvent { ordinal, signature, bytes })
    }

    /// Where the first `count` events end.
    fn end_of(&self, count: usize) -> u32 {
        let last = count.checked_sub(1).and_then(|last| self.ends.get(last));
        last.copied().unwrap_or(0)
    }
}

/// Every target that has this much memory can index it.
pub(crate) fn index(position: u32) -> usize {
    usize::try_from(position).unwrap_or(usize::MAX)
}
