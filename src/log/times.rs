//! When events happened, as a few spans of time.

use std::ops::Range;

use smallvec::SmallVec;

use crate::base::clock::Timestamp;
use crate::base::codec::{Codec, Malformed, Reader, put_list, put_wide};

/// Instants that are no further apart than this are in one span.
const APART_NANOS: u64 = 1_000_000_000;

/// The times of the events of a segment, or of a batch.
pub(crate) type RunTimes = Times<32>;
/// The times of the events that a log does not have any more.
pub(crate) type Dropped = Times<256>;
/// The times of the events of a generation of the store, and of those that it does not have any
/// more. They are written with each commit.
pub(crate) type GenerationTimes = Times<16>;
pub(crate) type StoredDropped = Times<64>;

/// A set of instants: at most `MOST` spans, in order and apart from each other, that have all of
/// them. Where there are more, those with the shortest time between them become one. So the spans
/// may have instants that are none of the set's, and never the other way round.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Times<const MOST: usize> {
    spans: SmallVec<[Span; 4]>,
}

/// From its first instant to its last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    first: Timestamp,
    last: Timestamp,
}

impl<const MOST: usize> Times<MOST> {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Every instant before this one.
    pub(crate) fn before(end: Timestamp) -> Self {
        Self::of(Timestamp::MIN, Timestamp::from_unix_nanos(end.unix_nanos().saturating_sub(1)))
    }

    /// Every instant.
    pub(crate) fn all() -> Self {
        Self::of(Timestamp::MIN, Timestamp::MAX)
    }

    /// Those from one instant to another; none where they are the wrong way round.
    pub(crate) fn of(first: Timestamp, last: Timestamp) -> Self {
        let mut times = Self::new();
        if first <= last {
            times.spans.push(Span { first, last });
        }
        times
    }

    pub(crate) fn clear(&mut self) {
        self.spans.clear();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// The first instant; [`Timestamp::MAX`] of none.
    pub(crate) fn first(&self) -> Timestamp {
        self.spans.first().map_or(Timestamp::MAX, |span| span.first)
    }

    /// The last instant; [`Timestamp::MIN`] of none.
    pub(crate) fn last(&self) -> Timestamp {
        self.spans.last().map_or(Timestamp::MIN, |span| span.last)
    }

    /// Adds an instant: a few comparisons where it follows the last one, O(`MOST`) at the most.
    #[inline]
    pub(crate) fn add(&mut self, at: Timestamp) {
        if let Some(span) = self.spans.last_mut()
            && span.first <= at
            && at.nanos_since(span.last) <= APART_NANOS
        {
            span.last = span.last.max(at);
            return;
        }
        self.add_span(Span { first: at, last: at });
    }

    /// Adds all instants of others.
    pub(crate) fn merge<const N: usize>(&mut self, others: &Times<N>) {
        others.spans.iter().for_each(|span| self.add_span(*span));
    }

    fn add_span(&mut self, mut new: Span) {
        let reach = |at: Timestamp| at.saturating_add_nanos(APART_NANOS);
        // Those that the new one touches become one with it.
        let from = self.spans.partition_point(|span| reach(span.last) < new.first);
        let to = self.spans.partition_point(|span| span.first <= reach(new.last));
        if let Some(touched) = self.spans.get(from..to).filter(|touched| !touched.is_empty()) {
            for span in touched {
                new = Span { first: new.first.min(span.first), last: new.last.max(span.last) };
            }
            self.spans.drain(from..to);
        }
        self.spans.insert(from, new);
        if self.spans.len() > MOST {
            self.join_nearest();
        }
    }

    /// Makes one span of the two that are nearest to each other.
    fn join_nearest(&mut self) {
        let pairs = self.spans.iter().zip(self.spans.iter().skip(1));
        let gap = |(before, after): (&Span, &Span)| after.first.nanos_since(before.last);
        let nearest = pairs.map(gap).enumerate().min_by_key(|(_, gap)| *gap);
        let Some((place, _)) = nearest else { return };
        let last = self.spans.remove(place.saturating_add(1)).last;
        if let Some(span) = self.spans.get_mut(place) {
            span.last = last;
        }
    }

    /// The spans that have instants of a range.
    fn within(&self, range: &Range<Timestamp>) -> &[Span] {
        let from = self.spans.partition_point(|span| span.last < range.start);
        let to = self.spans.partition_point(|span| span.first < range.end);
        self.spans.get(from..to).unwrap_or_default()
    }

    /// Whether none of the instants is in a range.
    pub(crate) fn spare(&self, range: &Range<Timestamp>) -> bool {
        range.is_empty() || self.within(range).is_empty()
    }

    /// The part of a range that is behind all of the instants.
    pub(crate) fn rest_after(&self, range: &Range<Timestamp>) -> Range<Timestamp> {
        let last = self.within(range).last();
        last.map_or(range.start, |span| span.end().min(range.end))..range.end
    }

    /// The part of a range that is before any of the instants.
    pub(crate) fn rest_before(&self, range: &Range<Timestamp>) -> Range<Timestamp> {
        let first = self.within(range).first();
        range.start..first.map_or(range.end, |span| span.first.max(range.start))
    }

    /// The longest part of a range that has none of the instants; of equals the latest. What is
    /// before the first instant of all, or behind `now`, is no length to speak of: hardly an event
    /// is there.
    pub(crate) fn longest_rest(
        &self,
        range: &Range<Timestamp>,
        now: Timestamp,
    ) -> Range<Timestamp> {
        let within = self.within(range);
        let Some(first) = within.first() else { return range.clone() };
        let length =
            |part: &Range<Timestamp>| part.end.min(now).nanos_since(part.start.max(self.first()));
        let mut longest = range.start..first.first.max(range.start);
        let ends = within.iter().skip(1).map(|next| next.first).chain([range.end]);
        for (span, end) in within.iter().zip(ends) {
            let part = span.end().min(end)..end;
            let is_next = !part.is_empty() && (part.start <= now || longest.is_empty());
            if length(&part) > length(&longest) || (is_next && length(&longest) == 0) {
                longest = part;
            }
        }
        longest
    }

    /// The instants that others have too.
    pub(crate) fn common(&self, others: &Self) -> Self {
        let mut common = Self::new();
        for span in &self.spans {
            for other in others.within(&(span.first..span.end())) {
                let (first, last) = (span.first.max(other.first), span.last.min(other.last));
                if first <= last {
                    common.add_span(Span { first, last });
                }
            }
        }
        common
    }
}

impl<const MOST: usize> Times<MOST> {
    /// Whether a span may be stored behind these.
    fn may_follow(&self, first: Timestamp, last: Timestamp) -> bool {
        first <= last && (self.is_empty() || self.last() < first)
    }
}

impl Span {
    /// The first instant behind it.
    fn end(self) -> Timestamp {
        self.last.saturating_add_nanos(1)
    }
}

/// A list of the first and the last instant of each span, in nanoseconds.
impl<const MOST: usize> Codec<'_> for Times<MOST> {
    fn encode(&self, out: &mut Vec<u8>) {
        put_list(out, self.spans.iter(), |Span { first, last }, out| {
            put_wide(out, first.unix_nanos());
            put_wide(out, last.unix_nanos());
        });
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let mut times = Self::new();
        for _ in 0..from.length("spans of time")? {
            let [first, last] = [from.wide()?, from.wide()?].map(Timestamp::from_unix_nanos);
            from.require(times.may_follow(first, last), "spans of time in order")?;
            times.add_span(Span { first, last });
        }
        Ok(times)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::format::Version;
    use proptest::prelude::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::new(seconds, 0)
    }

    fn times<const MOST: usize>(seconds: &[i64]) -> Times<MOST> {
        let mut times = Times::new();
        seconds.iter().for_each(|second| times.add(at(*second)));
        times
    }

    #[test]
    fn what_is_near_is_one_span_and_what_is_far_is_not() {
        let all: Times<4> = times(&[10, 11, 12, 500, 13, 501, 14]);
        assert_eq!(all.spans.len(), 2);
        assert!(all.spare(&(at(15)..at(500))) && !all.spare(&(at(14)..at(15))));
        assert!(!all.spare(&(at(501)..at(502))) && all.spare(&(at(502)..Timestamp::MAX)));
    }

    #[test]
    fn the_shortest_gaps_are_given_up_first() {
        let all: Times<4> = times(&[0, 100, 110, 200, 300]);
        assert_eq!(all.spans.len(), 4);
        assert!(!all.spare(&(at(105)..at(106))) && all.spare(&(at(1)..at(100))));
    }

    #[test]
    fn the_longest_part_is_of_the_time_that_has_passed() {
        let all: Dropped = times(&[0, 1, 2, 10_000]);
        let rest = |range: Range<i64>, now| {
            let rest = all.longest_rest(&(at(range.start)..at(range.end)), at(now));
            let whole = |at: Timestamp| at.unix_seconds();
            whole(rest.start)..whole(rest.end)
        };
        // A nanosecond behind second 2.
        assert_eq!(rest(-50..20_000, 5_000), 2..10_000);
        assert_eq!(rest(-50..15_000, 50_000), 2..10_000);
        assert_eq!(rest(-50..90_000, 90_000), 10_000..90_000);
        assert_eq!(rest(-50..1, 90_000), -50..0);
        assert_eq!(rest(-50..0, 90_000), -50..0);
        let ever = all.longest_rest(&(Timestamp::MIN..Timestamp::MAX), at(50));
        assert_eq!(ever, at(2).saturating_add_nanos(1)..at(10_000));
        let none = Dropped::new().longest_rest(&(at(3)..at(4)), at(0));
        assert_eq!(none, at(3)..at(4));
    }

    proptest! {
        #![proptest_config(ProptestConfig { rng_seed: proptest::test_runner::RngSeed::Fixed(7),
            cases: 2_000, ..ProptestConfig::default() })]

        /// No instant is lost, the spans are in order and no more than they may be, and what the
        /// parts of a range say is so.
        #[test]
        fn every_instant_is_in_a_span(
            mine in proptest::collection::vec(-500..500_i64, 0..40),
            others in proptest::collection::vec(-500..500_i64, 0..40),
            start in -600..600_i64, length in 1..600_i64, now in -600..600_i64,
        ) {
            let (one, other) = (times::<8>(&mine), times::<8>(&others));
            let mut both = one.clone();
            both.merge(&other);
            for (set, seconds) in [(&one, &mine), (&other, &others)] {
                for second in seconds {
                    prop_assert!(!set.spare(&(at(*second)..at(*second + 1))));
                    prop_assert!(!both.spare(&(at(*second)..at(*second + 1))));
                }
            }
            let common = one.common(&other);
            for second in mine.iter().filter(|second| others.contains(second)) {
                prop_assert!(!common.spare(&(at(*second)..at(*second + 1))));
            }
            for set in [&one, &both, &common] {
                prop_assert!(set.spans.len() <= 8);
                prop_assert!(set.spans.iter().is_sorted_by(|a, b| a.last < b.first));
            }
            let range = at(start)..at(start + length);
            for part in [one.rest_after(&range), one.rest_before(&range),
                         one.longest_rest(&range, at(now))] {
                prop_assert!(part.start >= range.start && part.end <= range.end);
                prop_assert!(part.start <= part.end && one.spare(&part));
            }
            prop_assert_eq!(one.rest_after(&range).end, range.end);
            prop_assert_eq!(one.rest_before(&range).start, range.start);
            if one.spare(&range) {
                prop_assert_eq!(one.longest_rest(&range, at(now)), range);
            }
            let bytes = both.encoded();
            let read = Times::decode_all(Reader::new(Version::NEWEST, &bytes));
            prop_assert_eq!(read, Ok(both));
        }
    }
}
