//! Roughly how old the keys of a durable log are: which of them have outlived their retention.

use std::collections::VecDeque;

use crate::counters::Moment;

/// Into how many parts the retention, and the most keys that are kept, are divided: a stretch of
/// the log spans at most about one part of either.
const PARTS: u64 = 1_024;

/// Marks along the log. The keys between two of them are forgotten together: when the retention of
/// the last of them is over, or when there are more keys than the most that are kept. With a cap of
/// at most 1 024 keys each key has a mark of its own.
#[derive(Debug)]
pub(super) struct Marks {
    /// The stretches of the log that have keys, the oldest first.
    stretches: VecDeque<Stretch>,
    /// How many keys were ever noted.
    keys: u64,
    /// How many of them are forgotten.
    gone: u64,
    /// The sequence number before which all keys are forgotten.
    floor: u64,
    retention: u64,
    max_keys: u64,
}

#[derive(Clone, Copy, Debug)]
struct Stretch {
    /// The latest time of any key up to here when this stretch began.
    began: Moment,
    /// The latest time of any key up to its end.
    latest: Moment,
    /// The sequence number behind that of its last key.
    end: u64,
    /// How many keys came before it.
    before: u64,
    /// How many keys were ever noted up to its end.
    keys: u64,
}

impl Marks {
    pub(super) fn new(retention: u64, max_keys: u64) -> Self {
        let (stretches, max_keys) = (VecDeque::new(), max_keys.max(1));
        Self { stretches, keys: 0, gone: 0, floor: 0, retention, max_keys }
    }

    /// Notes a key that a record used first at an instant.
    pub(super) fn note(&mut self, seq: u64, since: Moment) {
        let end = seq.saturating_add(1);
        self.keys = self.keys.saturating_add(1);
        // Of two calls at the same time the later one may come first.
        if self.stretches.back().is_some_and(|last| last.end > seq) {
            self.note_late(seq, since);
        }
        let (step, span) = (self.max_keys.div_euclid(PARTS).max(1), self.retention / PARTS);
        match self.stretches.back_mut() {
            Some(last) if last.end >= end => {}
            Some(last)
                if last.keys.saturating_sub(last.before) < step
                    && since.0 < last.began.0.saturating_add(span) =>
            {
                (last.end, last.latest, last.keys) = (end, last.latest.max(since), self.keys);
            }
            last => {
                let latest = last.map_or(since, |last| last.latest.max(since));
                let (before, keys) = (self.keys.saturating_sub(1), self.keys);
                self.stretches.push_back(Stretch { began: latest, latest, end, before, keys });
            }
        }
    }

    /// Notes a key in the stretches that end behind it.
    #[cold]
    fn note_late(&mut self, seq: u64, since: Moment) {
        for stretch in self.stretches.iter_mut().rev().take_while(|stretch| stretch.end > seq) {
            stretch.latest = stretch.latest.max(since);
            stretch.keys = stretch.keys.saturating_add(1);
        }
    }

    /// Forgets what is over at `now`, or beyond the most that are kept, and returns the
    /// sequence number before which no key is kept.
    pub(super) fn advance(&mut self, now: Moment) -> u64 {
        while let Some(first) = self.stretches.front() {
            let over = now.0 >= first.latest.0.saturating_add(self.retention);
            let crowded = self.keys.saturating_sub(first.keys) >= self.max_keys;
            if !over && !crowded {
                break;
            }
            (self.gone, self.floor) = (first.keys, self.floor.max(first.end));
            self.stretches.pop_front();
        }
        self.floor
    }

    /// How many keys are kept.
    #[cfg(test)]
    pub(super) fn len(&self) -> u64 {
        self.keys.saturating_sub(self.gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    /// Against all keys in a list: none is forgotten early, and none is kept for much longer.
    #[test]
    fn keys_are_forgotten_in_time_and_by_number_and_none_early() {
        for seed in 0..200 {
            let mut dice = ChaCha8Rng::seed_from_u64(seed);
            let retention = dice.random_range(1_000..100_000);
            let max_keys = *[1, 3, 100, 1_024, 1_025, 5_000].get(dice.random_range(0..6)).unwrap();
            let mut marks = Marks::new(retention, max_keys);
            let mut all: Vec<(u64, u64)> = Vec::new();
            let (mut now, mut seq) = (1_000_000, 0);
            for _ in 0..3_000 {
                now += dice.random_range(0..(retention / 200 + 2)) * dice.random_range(0..2);
                seq += dice.random_range(1..4);
                // Some come a little out of order, in number and in time.
                let since = now - dice.random_range(0..20) * dice.random_range(0..2);
                all.push((seq, since));
                let last = all.len() - 1;
                if last > 0 && dice.random_bool(0.1) {
                    all.swap(last, last - 1);
                    let (seq, since) = all[last - 1];
                    marks.note(seq, since_of(since));
                    let (seq, since) = all[last];
                    marks.note(seq, since_of(since));
                    continue;
                }
                marks.note(all[last].0, since_of(all[last].1));
                let floor = marks.advance(Moment(now));
                all.retain(|(seq, _)| *seq >= floor);
                let kept = u64::try_from(all.len()).unwrap();
                let slack = max_keys / PARTS + 2;
                assert!(kept <= max_keys + slack, "seed {seed}: {kept} of {max_keys}");
                let late = retention + retention / PARTS + 21;
                let old = all.iter().filter(|(_, since)| since + late <= now).count();
                assert!(old <= 2, "seed {seed}: {old} are kept for too long");
                assert!(marks.stretches.len() <= 3 * 1_024, "seed {seed}");
            }
        }
    }

    fn since_of(nanos: u64) -> Moment {
        Moment(nanos)
    }

    #[test]
    fn up_to_1024_keys_are_forgotten_one_by_one() {
        let mut marks = Marks::new(1_000, 1_024);
        for seq in 0..5_000 {
            marks.note(seq * 3, Moment(seq / 100));
            let floor = marks.advance(Moment(seq / 100));
            let due = if seq < 1_024 { 0 } else { (seq - 1_024) * 3 + 1 };
            assert_eq!(floor, due, "after {seq}");
            assert_eq!(marks.len(), (seq + 1).min(1_024));
        }
    }

    #[test]
    fn a_key_of_its_own_stretch_is_over_to_the_nanosecond() {
        let mut marks = Marks::new(1_000, 10);
        marks.note(7, Moment(5));
        assert_eq!(marks.advance(Moment(1_004)), 0);
        assert_eq!(marks.advance(Moment(1_005)), 8);
        assert_eq!(marks.len(), 0);
    }
}
