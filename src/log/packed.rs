//! An event as it goes into the log.

use std::cell::Cell;

use super::signature::signature;
use super::signature::signature_of_stored;
use super::stored::Stored;
use crate::base::clock::Timestamp;
use crate::base::format::Version;
use crate::event::Event;

/// The most memory that a thread keeps to pack events into.
const BUFFER_BYTES: usize = 64 * 1_024;

thread_local! {
    /// The buffer that the thread packed its last event into.
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// An event packed and signed: all the work that needs no lock.
#[derive(Debug)]
pub(crate) struct Packed {
    pub(super) timestamp: Timestamp,
    pub(super) signature: u64,
    pub(super) bytes: Vec<u8>,
}

impl Packed {
    /// Packs an event that happened at `timestamp` for the log whose hasher this is. Allocates
    /// nothing on a thread that packed such an event before.
    pub(crate) fn new(
        event: &Event<'_>,
        timestamp: Timestamp,
        hasher: &ahash::RandomState,
    ) -> Self {
        let fields = event.fields();
        // A thread that is ending has no buffer any more, and does with a new one.
        let mut buffer = BUFFER.try_with(Cell::take).unwrap_or_default();
        buffer.clear();
        let stored = Stored::of(&fields, timestamp);
        // Writing to memory fails for no event: every length is known and every type plain.
        let bytes = postcard::to_extend(&stored, buffer).unwrap_or_default();
        Self { timestamp, signature: signature(hasher, &fields), bytes }
    }

    /// Packs an event for a log that nobody searches.
    pub(crate) fn unsigned(event: &Event<'_>, timestamp: Timestamp) -> Self {
        let bytes = postcard::to_extend(&Stored::of(&event.fields(), timestamp), Vec::new());
        Self { timestamp, signature: 0, bytes: bytes.unwrap_or_default() }
    }

    /// Signs an event that was packed before, in this format.
    pub(crate) fn again(
        (version, bytes): (Version, &[u8]),
        event: &Stored<'_>,
        hasher: &ahash::RandomState,
    ) -> Self {
        let mut buffer = BUFFER.try_with(Cell::take).unwrap_or_default();
        buffer.clear();
        if version == Version::NEWEST {
            buffer.extend_from_slice(bytes);
        } else {
            buffer = postcard::to_extend(event, buffer).unwrap_or_default();
        }
        let signature = signature_of_stored(hasher, event);
        Self { timestamp: event.timestamp(), signature, bytes: buffer }
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
