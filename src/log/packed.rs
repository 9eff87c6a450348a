//! An event as it goes into the log.

use std::cell::Cell;

use super::signature::signature;
use super::stored::{Stored, pack};
use crate::base::clock::Timestamp;
use crate::base::codec::Codec;
use crate::counters::HowCounted;
use crate::event::Event;

/// The most memory that a thread keeps to pack events into, and what it begins with: most events
/// have much less, and the room that they are written into.
const BUFFER_BYTES: usize = 64 * 1_024;
const FIRST_BUFFER_BYTES: usize = 1_024;

thread_local! {
    /// The buffer that the thread packed its last event into.
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// An event as it is packed: all the work that needs no lock.
#[derive(Debug)]
pub(crate) struct Packed {
    pub(super) timestamp: Timestamp,
    /// 0 for a log that nobody searches.
    pub(super) signature: u64,
    pub(super) bytes: Vec<u8>,
}

impl Packed {
    /// Packs an event that happened at `timestamp`, in the decision at `decided_at`, without its
    /// signature. Allocates nothing on a thread that packed such an event before.
    pub(crate) fn unsigned(event: &Event<'_>, timestamp: Timestamp, decided_at: Timestamp) -> Self {
        Self::counted(event, timestamp, (decided_at, HowCounted::Asked))
    }

    /// The same of an event that was counted in one of several ways.
    pub(crate) fn counted(
        event: &Event<'_>,
        timestamp: Timestamp,
        decided: (Timestamp, HowCounted),
    ) -> Self {
        Self::of(timestamp, 0, |out| pack(event, timestamp, decided, out))
    }

    /// Packs and signs an event, by the hasher that the hashes are by.
    #[cfg(test)]
    pub(super) fn new(
        hashes: &crate::event::DimensionHashes<'_, '_>,
        timestamp: Timestamp,
        decided_at: Timestamp,
    ) -> Self {
        let mut packed = Self::unsigned(hashes.event(), timestamp, decided_at);
        packed.sign(super::signature::signature_of(hashes));
        packed
    }

    /// Packs and signs an event that was stored.
    pub(crate) fn again(event: &Stored<'_>, hasher: &ahash::RandomState) -> Self {
        let signature = signature(hasher, event.dimensions());
        Self::of(event.timestamp(), signature, |out| event.encode(out))
    }

    /// Says the signature.
    #[inline]
    pub(crate) fn sign(&mut self, signature: u64) {
        self.signature = signature;
    }

    #[inline]
    fn of(timestamp: Timestamp, signature: u64, pack: impl FnOnce(&mut Vec<u8>)) -> Self {
        // A thread that is ending has no buffer any more, and does with a new one.
        let mut bytes = BUFFER.try_with(Cell::take).unwrap_or_default();
        bytes.clear();
        bytes.reserve(FIRST_BUFFER_BYTES);
        pack(&mut bytes);
        Self { timestamp, signature, bytes }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn timestamp(&self) -> Timestamp {
        self.timestamp
    }
}

impl Drop for Packed {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.bytes);
        if buffer.capacity() <= BUFFER_BYTES {
            let _ = BUFFER.try_with(|kept| kept.set(buffer));
        }
    }
}
