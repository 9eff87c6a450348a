//! A record of the log: an event, its idempotency key, and how each rule counted it.
//!
//! ```text
//! flags (1) | engine's time (8) | shift (8) | key length (2) and key | length (4) and charges |
//! packed event
//! ```
//!
//! Numbers are little endian. The event is packed as everywhere in the log. The takes and the event
//! are in the format that the flags say.

use std::cell::Cell;

use crate::base::bytes::{take, take_u8, take_u16, take_u32, take_u64};
use crate::base::clock::Timestamp;
use crate::base::format::Version;
use crate::counters::{At, Moment, StoredCharges, Timeline, decode_charges};
use crate::log::Stored;

/// The event brought its own timestamp.
const EXPLICIT: u8 = 1;
/// It has an idempotency key.
const KEYED: u8 = 1 << 1;
/// It is of format 2.
const TWO: u8 = 1 << 2;

/// The engine's time line was shifted against the calendar, by nanoseconds that it says.
const SHIFTED: u8 = 1 << 3;

/// The most memory that a thread keeps to write heads into.
const BUFFER_BYTES: usize = 64 * 1_024;

thread_local! {
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// What a record says before its event.
#[derive(Debug)]
pub(crate) struct Head(Vec<u8>);

impl Head {
    /// Writes a head; `takes` appends how each rule counted the event. Allocates nothing on a
    /// thread that wrote one before.
    pub(crate) fn new(at: &At, key: Option<&str>, charges: impl FnOnce(&mut Vec<u8>)) -> Self {
        let mut buffer = BUFFER.try_with(Cell::take).unwrap_or_default();
        buffer.clear();
        let explicit = if at.explicit { EXPLICIT } else { 0 };
        let shifted = if at.shift > 0 { SHIFTED } else { 0 };
        // A key is at most 256 bytes long.
        let length = key.and_then(|key| u16::try_from(key.len()).ok());
        buffer.push(TWO | explicit | shifted | length.map_or(0, |_| KEYED));
        buffer.extend_from_slice(&at.now.0.to_le_bytes());
        if at.shift > 0 {
            buffer.extend_from_slice(&at.shift.to_le_bytes());
        }
        if let (Some(key), Some(length)) = (key, length) {
            buffer.extend_from_slice(&length.to_le_bytes());
            buffer.extend_from_slice(key.as_bytes());
        }
        let mark = buffer.len();
        buffer.extend_from_slice(&[0; 4]);
        let start = buffer.len();
        charges(&mut buffer);
        let length = buffer.len().saturating_sub(start);
        if let Some(place) = buffer.get_mut(mark..start) {
            place.copy_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
        }
        Self(buffer)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Head {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.0);
        if buffer.capacity() <= BUFFER_BYTES {
            let _ = BUFFER.try_with(|kept| kept.set(buffer));
        }
    }
}

/// A record as it was read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record<'r> {
    /// The format of its charges and its event.
    pub(crate) version: Version,
    /// The engine's time, in nanoseconds on its time line.
    pub(crate) now: u64,
    /// How far the line was ahead of the calendar.
    pub(crate) shift: u64,
    /// The event brought its own timestamp.
    pub(crate) is_explicit: bool,
    pub(crate) key: Option<&'r str>,
    pub(crate) charges: &'r [u8],
    pub(crate) event: &'r [u8],
}

impl<'r> Record<'r> {
    /// The time of the decision about its event, which happened at `timestamp`.
    pub(crate) fn at(&self, timeline: Timeline, timestamp: Timestamp) -> At {
        self.timeline(timeline).at(Moment(self.now), self.is_explicit.then_some(timestamp))
    }

    /// The engine's time line as it was when the record was made.
    pub(crate) fn timeline(&self, timeline: Timeline) -> Timeline {
        timeline.shifted(self.shift)
    }

    /// Its event; `None` where it is damaged.
    pub(crate) fn stored(&self) -> Option<Stored<'r>> {
        Stored::read(self.version, self.event)
    }

    /// How each rule counted it, in the decision at `at`; `None` where that is damaged.
    pub(crate) fn read_charges(&self, at: &At, charges: &mut StoredCharges) -> Option<()> {
        decode_charges(self.version, &mut &*self.charges, at, charges)
    }

    /// Reads a record; `None` where the bytes are not one.
    pub(crate) fn read(mut bytes: &'r [u8]) -> Option<Self> {
        let flags = take_u8(&mut bytes)?;
        if flags & !(EXPLICIT | KEYED | TWO | SHIFTED) != 0 {
            return None;
        }
        let version = if flags & TWO != 0 { Version::Two } else { Version::One };
        let now = take_u64(&mut bytes)?;
        let shift = if flags & SHIFTED != 0 { take_u64(&mut bytes)? } else { 0 };
        let mut key = None;
        if flags & KEYED != 0 {
            let length = take_u16(&mut bytes)?;
            key = Some(str::from_utf8(take(&mut bytes, usize::from(length))?).ok()?);
        }
        let length = usize::try_from(take_u32(&mut bytes)?).ok()?;
        let charges = take(&mut bytes, length)?;
        let is_explicit = flags & EXPLICIT != 0;
        Some(Self { version, now, shift, is_explicit, key, charges, event: bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_record_reads_as_what_was_written(
            now: u64,
            shift in proptest::option::of(1..u64::MAX),
            explicit: bool,
            key in proptest::option::of(".{0,80}"),
            charges: Vec<u8>,
            event: Vec<u8>,
        ) {
            let takes_out = |out: &mut Vec<u8>| out.extend_from_slice(&charges);
            let shift = shift.unwrap_or(0);
            let timeline = Timeline::starting(Timestamp::UNIX_EPOCH).shifted(shift);
            let happened = explicit.then_some(Timestamp::UNIX_EPOCH);
            let at = timeline.at(Moment(now), happened);
            let head = Head::new(&at, key.as_deref(), takes_out);
            let bytes = [head.bytes(), &event].concat();
            let record = Record::read(&bytes).expect("a record");
            prop_assert_eq!(
                (record.now, record.shift, record.is_explicit, record.key),
                (now, shift, explicit, key.as_deref())
            );
            prop_assert_eq!((record.charges, record.event), (&charges[..], &event[..]));
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = Record::read(&bytes);
        }
    }
}
