//! The newest events, in memory.
//!
//! Events are packed one behind the other into segments. When the newest `n` events fit in the
//! segments behind it, the oldest segment is dropped whole and its memory used again, so that a
//! log at its bound allocates nothing. The log holds at least the newest `n` events and at most
//! one segment more.

use std::cell::RefCell;
use std::collections::VecDeque;

use parking_lot::Mutex;

use super::stored::{RecordedEvent, Stored};
use super::{EventId, EventLog};
use crate::clock::Timestamp;
use crate::event::Event;

const SEGMENT_EVENTS: usize = 1_024;

#[derive(Debug)]
pub(crate) struct MemoryLog {
    /// Random, and part of every id.
    name: u64,
    keep: usize,
    segments: Mutex<Segments>,
}

#[derive(Debug, Default)]
struct Segments {
    /// Never empty of events, but for the last while it fills.
    list: VecDeque<Segment>,
    /// A dropped segment, whose memory the next one takes.
    spare: Option<Segment>,
    /// How many events the list holds.
    held: usize,
    /// How many events there ever were.
    recorded: u64,
}

#[derive(Debug, Default)]
struct Segment {
    bytes: Vec<u8>,
    /// Where each event ends.
    ends: Vec<usize>,
}

impl MemoryLog {
    pub(crate) fn new(name: u64, keep: usize) -> Self {
        Self { name, keep: keep.max(1), segments: Mutex::default() }
    }
}

thread_local! {
    /// An event is packed here before the log is locked.
    static PACKED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl EventLog for MemoryLog {
    fn append(&self, event: &Event<'_>, timestamp: Timestamp) -> EventId {
        PACKED.with_borrow_mut(|packed| {
            packed.clear();
            let stored = Stored::of(event, timestamp);
            // Writing to memory fails for no event: every length is known and every type plain.
            let packed = match postcard::to_extend(&stored, std::mem::take(packed)) {
                Ok(bytes) => {
                    *packed = bytes;
                    packed.as_slice()
                }
                Err(_) => &[],
            };
            self.segments.lock().append(self.name, self.keep, packed)
        })
    }

    fn len(&self) -> usize {
        self.segments.lock().held
    }

    fn newest(&self, count: usize) -> Vec<RecordedEvent> {
        let segments = self.segments.lock();
        let places = (0..segments.recorded).rev();
        let packed = segments.list.iter().rev().flat_map(Segment::newest_first);
        let unpack = |(place, bytes): (u64, &[u8])| {
            let stored: Stored<'_> = postcard::from_bytes(bytes).ok()?;
            Some(stored.unpack(EventId::new(self.name, place)))
        };
        places.zip(packed).take(count).filter_map(unpack).collect()
    }
}

impl Segments {
    fn append(&mut self, name: u64, keep: usize, packed: &[u8]) -> EventId {
        let full = |segment: &Segment| segment.ends.len() >= SEGMENT_EVENTS.min(keep);
        if self.list.back().is_none_or(full) {
            let mut segment = self.spare.take().unwrap_or_default();
            segment.bytes.clear();
            segment.ends.clear();
            self.list.push_back(segment);
        }
        if let Some(segment) = self.list.back_mut() {
            segment.bytes.extend_from_slice(packed);
            segment.ends.push(segment.bytes.len());
            self.held = self.held.saturating_add(1);
        }
        let oldest = self.list.front().map_or(0, |segment| segment.ends.len());
        if self.held.saturating_sub(oldest) >= keep {
            self.held = self.held.saturating_sub(oldest);
            self.spare = self.list.pop_front();
        }
        let id = EventId::new(name, self.recorded);
        self.recorded = self.recorded.saturating_add(1);
        id
    }
}

impl Segment {
    fn newest_first(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        let ranges: Vec<_> = starts.zip(self.ends.iter().copied()).collect();
        ranges.into_iter().rev().map(|(start, end)| self.bytes.get(start..end).unwrap_or(&[]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(number: u64) -> Event<'static> {
        Event::new(format!("cust_{number}"), "model_call")
            .model("gpt-4")
            .input_tokens(number)
            .property("team_id", "eng")
            .property("turns", 7)
            .value("gpu_seconds", "0.25")
    }

    #[test]
    fn an_event_comes_back_as_it_was() {
        let log = MemoryLog::new(1, 10);
        let id = log.append(&event(7).idempotency_key("req"), Timestamp::new(-5, 9));
        let found = log.newest(5);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].id, found[0].timestamp), (id, Timestamp::new(-5, 9)));
        assert_eq!(found[0].event, event(7));
    }

    #[test]
    fn the_newest_are_kept_and_at_most_a_segment_more() {
        for keep in [1, 3, 1_024, 2_500] {
            let log = MemoryLog::new(1, keep);
            for number in 0..10_000 {
                log.append(&event(number), Timestamp::UNIX_EPOCH);
                let len = log.len() as u64;
                assert!(len >= (number + 1).min(keep as u64), "{len} of {keep}");
                assert!(len <= keep as u64 + SEGMENT_EVENTS as u64, "{len} of {keep}");
            }
            let newest = log.newest(2);
            assert_eq!(newest[0].event, event(9_999));
            let ids: Vec<_> = log.newest(usize::MAX).into_iter().map(|found| found.id).collect();
            assert!(ids.is_sorted_by(|a, b| a > b), "the newest come first");
        }
    }
}
