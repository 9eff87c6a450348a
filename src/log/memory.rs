//! The newest events, in memory.
//!
//! When the newest `n` events fit in the segments behind it, the oldest segment is dropped whole,
//! and so it is when all its events are older than the retention, or when the log has more bytes
//! than it may. Its memory is used again, so that a log at its bound allocates nothing. By count
//! the log holds at least the newest `n` events, where their bytes allow, and at most one segment
//! more.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::corrections::{Corrected, Corrections};
use super::packed::Packed;
use super::segment::Segment;
use super::stored::Erased;
use super::times::Dropped;
use crate::base::clock::Timestamp;

/// What a log keeps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// The newest of this number, and at most a segment more.
    pub(crate) events: usize,
    /// The most bytes of packed events, but for the newest event, which is always kept.
    pub(crate) bytes: usize,
    /// Those that happened no longer ago than this.
    pub(crate) retention: Option<Duration>,
}

impl Bounds {
    /// How many bytes events have on average where that many are to fit, if nothing else is said:
    /// ten times what most have.
    const BYTES_AN_EVENT: usize = 1_024;

    /// The newest of a number.
    pub(crate) fn newest(events: usize) -> Self {
        let events = events.max(1);
        Self { events, bytes: events.saturating_mul(Self::BYTES_AN_EVENT), retention: None }
    }
}

/// The newest events. A log is part of what a lock guards, and knows of none.
#[derive(Debug)]
pub(crate) struct MemoryLog {
    bounds: Bounds,
    /// The full ones, the oldest first.
    sealed: VecDeque<Arc<Segment>>,
    /// The one that is being filled: who reads gets a copy.
    open: Segment,
    /// A dropped segment, whose memory the next one takes.
    spare: Option<Arc<Segment>>,
    /// How many events there are, and how many bytes they have.
    held: usize,
    bytes: usize,
    /// How many events there ever were.
    recorded: u64,
    /// When the events happened that were dropped.
    dropped: Dropped,
    /// Shared with whoever reads segments.
    corrections: Arc<Corrections>,
}

impl MemoryLog {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            sealed: VecDeque::new(),
            open: Segment::new(0),
            spare: None,
            held: 0,
            bytes: 0,
            recorded: 0,
            dropped: Dropped::new(),
            corrections: Arc::default(),
        }
    }

    /// A log whose events start at an ordinal; `dropped` is when those before happened.
    pub(crate) fn starting(bounds: Bounds, first: u64, dropped: Dropped) -> Self {
        let open = Segment::new(first);
        Self { open, recorded: first, dropped, ..Self::new(bounds) }
    }

    /// The ordinal of the oldest event that is there, or of the next one.
    pub(crate) fn first(&self) -> u64 {
        self.sealed.front().map_or_else(|| self.open.first(), |segment| segment.first())
    }

    /// Adds an event and returns its ordinal; `now` is the engine's time.
    pub(crate) fn append(&mut self, event: &Packed, now: Timestamp) -> u64 {
        let ordinal = self.recorded;
        if self.open.is_full(self.bounds.events, self.bounds.bytes) {
            self.seal();
        }
        self.open.push(event);
        self.held = self.held.saturating_add(1);
        self.bytes = self.bytes.saturating_add(event.bytes.len());
        self.recorded = self.recorded.saturating_add(1);
        self.drop_oldest(now);
        ordinal
    }

    /// Adds the entry of a correction, as [`append`](Self::append) does.
    pub(crate) fn correct(&mut self, entry: &Packed, now: Timestamp, corrected: Corrected) -> u64 {
        let ordinal = self.append(entry, now);
        Arc::make_mut(&mut self.corrections).add(ordinal, corrected);
        ordinal
    }

    /// What was corrected of the events.
    pub(crate) fn corrections(&self) -> &Arc<Corrections> {
        &self.corrections
    }

    /// How many events there are.
    pub(crate) fn len(&self) -> usize {
        self.held.saturating_sub(self.corrections.len())
    }

    /// How many events there ever were: the ordinal of the next one.
    pub(crate) fn recorded(&self) -> u64 {
        self.recorded
    }

    /// When the events happened that were dropped: of every other time the log has all events.
    pub(crate) fn dropped(&self) -> &Dropped {
        &self.dropped
    }

    /// The segments with events from `start` on and before `end`, the oldest first. They may hold
    /// others too. O(segments), and the open one is copied.
    pub(crate) fn overlapping(&self, start: Timestamp, end: Timestamp) -> Vec<Arc<Segment>> {
        let meets = |segment: &&Arc<Segment>| segment.meets(start, Some(end));
        let mut found: Vec<_> = self.sealed.iter().filter(meets).map(Arc::clone).collect();
        if self.open.meets(start, Some(end)) {
            found.push(Arc::new(self.open.copy_before(u64::MAX, usize::MAX)));
        }
        found
    }

    /// The newest segment with events before an ordinal, from `start` on, and before `end` where
    /// there is one. O(segments). Of the open one at most `most` events are copied, the newest.
    pub(crate) fn newest_before(
        &self,
        ordinal: u64,
        start: Timestamp,
        end: Option<Timestamp>,
        most: usize,
    ) -> Option<Arc<Segment>> {
        if self.open.first() < ordinal && self.open.meets(start, end) {
            return Some(Arc::new(self.open.copy_before(ordinal, most)));
        }
        let before = self.sealed.partition_point(|segment| segment.first() < ordinal);
        let mut candidates = self.sealed.iter().take(before).rev();
        candidates.find(|segment| segment.meets(start, end)).map(Arc::clone)
    }

    /// The oldest segment with events from an ordinal on, from `start` on, and before `end` where
    /// there is one. O(segments). Of the open one all events are copied.
    pub(crate) fn oldest_from(
        &self,
        ordinal: u64,
        start: Timestamp,
        end: Option<Timestamp>,
    ) -> Option<Arc<Segment>> {
        let before = self.sealed.partition_point(|segment| segment.end() <= ordinal);
        let mut candidates = self.sealed.iter().skip(before);
        if let Some(found) = candidates.find(|segment| segment.meets(start, end)) {
            return Some(Arc::clone(found));
        }
        let has_some = self.open.end() > ordinal && self.open.meets(start, end);
        has_some.then(|| Arc::new(self.open.copy_before(u64::MAX, usize::MAX)))
    }

    /// Erases whom events are about, which hashes by this hasher, and returns how many they are.
    /// O(events). Whoever reads a segment that is replaced goes on with it as it was.
    pub(crate) fn erase(&mut self, erased: &Erased, hasher: &ahash::RandomState) -> u64 {
        let mut count = 0_u64;
        self.erase_reasons(erased);
        for segment in &mut self.sealed {
            if let Some((without, events)) = segment.erased(erased, hasher) {
                *segment = Arc::new(without);
                count = count.saturating_add(events);
            }
        }
        if let Some((without, events)) = self.open.erased(erased, hasher) {
            self.open = without;
            count = count.saturating_add(events);
        }
        self.spare = None;
        let sealed = self.sealed.iter().map(|segment| segment.bytes());
        self.bytes = sealed.fold(self.open.bytes(), usize::saturating_add);
        count
    }

    /// Forgets why events were corrected that are erased.
    fn erase_reasons(&mut self, erased: &Erased) {
        if self.corrections.is_empty() {
            return;
        }
        let Self { sealed, open, corrections, .. } = self;
        let is_it = |target: u64| {
            let before = sealed.partition_point(|segment| segment.end() <= target);
            let event = sealed.get(before).map_or(&*open, |segment| segment).event(target);
            event.and_then(|event| event.read()).is_some_and(|event| erased.has(&event))
        };
        Arc::make_mut(corrections).erase(is_it);
    }

    /// Puts the open segment to the full ones, and opens the next.
    fn seal(&mut self) {
        let first = self.recorded;
        let full = self.reuse(first).unwrap_or_else(|| {
            let next = Segment::like(&self.open, first);
            Arc::new(std::mem::replace(&mut self.open, next))
        });
        self.sealed.push_back(full);
    }

    /// Opens a segment in the memory of a dropped one that nobody reads any more, and returns the
    /// one that was open.
    fn reuse(&mut self, first: u64) -> Option<Arc<Segment>> {
        let mut spare = self.spare.take()?;
        let segment = Arc::get_mut(&mut spare).filter(|segment| !segment.is_oversized())?;
        segment.restart(first);
        std::mem::swap(segment, &mut self.open);
        Some(spare)
    }

    /// Drops the oldest full segment when the log can do without it. One a call: no call pays for
    /// a long sweep, and yet more is dropped than comes in. Only where a large event follows small
    /// ones it is a few, until there is room for its bytes.
    fn drop_oldest(&mut self, now: Timestamp) {
        loop {
            let Some(oldest) = self.sealed.front() else { return };
            let Bounds { events, bytes, retention } = self.bounds;
            let others = self.held.saturating_sub(oldest.len());
            let is_large = self.bytes > bytes;
            let expires = retention.map(|it| oldest.times().last().saturating_add(it));
            if !is_large && others < events && expires.is_none_or(|expires| expires >= now) {
                return;
            }
            self.held = others;
            self.bytes = self.bytes.saturating_sub(oldest.bytes());
            self.dropped.merge(oldest.times());
            self.spare = self.sealed.pop_front();
            if !self.corrections.is_empty() {
                let first = self.first();
                Arc::make_mut(&mut self.corrections).drop_before(first);
            }
            if self.bytes <= bytes {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::segment::SEGMENT_EVENTS;
    use super::*;
    use crate::event::{DimensionHashes, Event};

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn event(number: u64) -> Event<'static> {
        Event::new(format!("cust_{number}"), "model_call")
            .model("gpt-4")
            .input_tokens(number)
            .property("team_id", "eng")
            .property("turns", 7)
            .value("gpu_seconds", "0.25")
    }

    fn packed(event: &Event<'_>, timestamp: Timestamp) -> Packed {
        let hasher = ahash::RandomState::with_seeds(1, 2, 3, 4);
        Packed::new(&DimensionHashes::new(event, &hasher), timestamp, timestamp)
    }

    fn second(second: i64) -> Timestamp {
        Timestamp::new(second, 0)
    }

    /// The ordinals of all events, the newest first.
    fn ordinals(log: &MemoryLog) -> Vec<u64> {
        let mut found = Vec::new();
        let mut before = u64::MAX;
        while let Some(segment) = log.newest_before(before, Timestamp::MIN, None, usize::MAX) {
            found.extend(segment.events().rev().map(|event| event.ordinal));
            before = segment.first();
        }
        found
    }

    #[test]
    fn the_newest_are_kept_and_at_most_a_segment_more() {
        for keep in [1, 3, 1_024, 2_500] {
            let mut log = MemoryLog::new(Bounds::newest(keep));
            for number in 0..10_000 {
                assert_eq!(log.append(&packed(&event(number), NOW), NOW), number);
                let len = log.len() as u64;
                assert!(len >= (number + 1).min(keep as u64), "{len} of {keep}");
                assert!(len <= keep as u64 + SEGMENT_EVENTS as u64, "{len} of {keep}");
            }
            let ordinals = ordinals(&log);
            assert_eq!(ordinals.len(), log.len());
            assert!(ordinals.iter().copied().eq((0..10_000).rev().take(log.len())));
        }
    }

    #[test]
    fn segments_older_than_the_retention_go_one_a_call_and_their_time_is_known() {
        let mut log = MemoryLog::new(Bounds {
            retention: Some(Duration::from_secs(60)),
            ..Bounds::newest(100_000)
        });
        for number in 0..3_000 {
            let at = second(number);
            log.append(&packed(&event(0), at), second(0));
        }
        let gone = |log: &MemoryLog| (log.len(), log.dropped().last());
        assert_eq!(gone(&log), (3_000, Timestamp::MIN));
        // The first segment ends at second 1 023: at 1 083 it is not older than a minute yet.
        log.append(&packed(&event(0), second(3_000)), second(1_083));
        assert_eq!(gone(&log), (3_001, Timestamp::MIN));
        log.append(&packed(&event(0), second(3_001)), second(9_999));
        assert_eq!(gone(&log), (3_002 - 1_024, second(1_023)));
        log.append(&packed(&event(0), second(3_002)), second(9_999));
        assert_eq!(gone(&log), (3_003 - 2_048, second(2_047)));
        // The open one stays until it is full.
        log.append(&packed(&event(0), second(3_003)), second(9_999));
        assert_eq!(log.len(), 3_004 - 2_048);
    }

    #[test]
    fn a_time_is_answered_by_the_segments_that_meet_it() {
        let mut log = MemoryLog::new(Bounds::newest(100_000));
        for number in 0..3_000 {
            log.append(&packed(&event(0), second(number)), NOW);
        }
        let firsts = |start, end| {
            let found = log.overlapping(second(start), second(end));
            found.iter().map(|segment| segment.first()).collect::<Vec<_>>()
        };
        assert_eq!(firsts(0, 9_999), [0, 1_024, 2_048]);
        assert_eq!(firsts(1_023, 1_024), [0]);
        assert_eq!(firsts(1_024, 2_049), [1_024, 2_048]);
        assert_eq!(firsts(2_999, 3_000), [2_048]);
        assert_eq!(firsts(3_000, 9_999), [0; 0]);
        assert_eq!(firsts(-9, 0), [0; 0]);
    }

    #[test]
    fn large_events_make_short_segments() {
        let mut log = MemoryLog::new(Bounds::newest(10_000));
        let text = "x".repeat(300_000);
        let large = event(1).property("text", serde_json::json!({ "body": text }));
        for _ in 0..9 {
            log.append(&packed(&large, NOW), NOW);
        }
        let firsts = log.overlapping(NOW, Timestamp::MAX);
        assert_eq!(firsts.iter().map(|s| s.first()).collect::<Vec<_>>(), [0, 4, 8]);
    }

    #[test]
    fn a_segment_that_somebody_reads_stays_as_it_is() {
        let mut log = MemoryLog::new(Bounds::newest(1_024));
        for number in 0..1_025 {
            log.append(&packed(&event(number), NOW), NOW);
        }
        let read = log.newest_before(1, Timestamp::MIN, None, 1).expect("a full segment");
        for number in 1_025..10_000 {
            log.append(&packed(&event(number), NOW), NOW);
        }
        let tokens = |event: super::super::PackedEvent<'_>| {
            event.read().and_then(|stored| stored.amount(&crate::event::ValueName::InputTokens))
        };
        let expected: Vec<_> = (0..1_024_u64).map(|number| Some(number.into())).collect();
        assert_eq!(read.events().map(tokens).collect::<Vec<_>>(), expected);
    }
}
