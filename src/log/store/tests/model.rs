//! What a store must answer, kept in plain lists.

use std::collections::BTreeMap;

use super::workload::Step;
use super::*;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Model {
    /// All records there ever were.
    records: Vec<Vec<u8>>,
    keys: Vec<(u64, u64)>,
    state: BTreeMap<(bool, u64), Vec<u8>>,
    complete: Option<(u64, Vec<Piece>)>,
    under_way: Option<Vec<Piece>>,
    /// First place, time, and bounds of the timestamps.
    generations: Vec<(u64, u64, Option<(Timestamp, Timestamp)>)>,
    floor: Option<Timestamp>,
    now: u64,
}

impl Model {
    pub(super) fn end(&self) -> u64 {
        self.records.len() as u64
    }

    pub(super) fn has_checkpoint_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    pub(super) fn oldest(&self) -> u64 {
        self.generations.first().map_or(0, |oldest| oldest.0)
    }

    pub(super) fn apply(&mut self, step: &Step) {
        let end = self.end();
        if self.generations.is_empty() {
            self.generations.push((0, 0, None));
        }
        if step.new_generation && self.generations.last().is_some_and(|newest| newest.0 < end) {
            self.generations.push((end, 0, None));
        }
        let newest = self.generations.last_mut().expect("there is one");
        if !step.records.is_empty() {
            newest.1 = newest.1.max(step.now);
            let bounds = newest.2.unwrap_or((Timestamp::MAX, Timestamp::MIN));
            newest.2 = Some((bounds.0.min(step.earliest), bounds.1.max(step.latest)));
        }
        self.now = self.now.max(step.now);
        self.records.extend(step.records.iter().cloned());
        self.keys.extend(step.keys.iter().map(|key| (key.hash, end + u64::from(key.index))));
        for change in &step.state {
            match change {
                StateChange::Put { table, key, bytes } => {
                    self.state.insert((*table == StateTable::Rules, *key), bytes.clone());
                }
                StateChange::Remove { table, key } => {
                    self.state.remove(&(*table == StateTable::Rules, *key));
                }
            }
        }
        if step.checkpoint == CheckpointStep::Begin {
            self.under_way = Some(Vec::new());
        }
        if let Some(under_way) = &mut self.under_way {
            under_way.extend(step.pieces.iter().cloned());
        }
        if let CheckpointStep::Complete { from } = step.checkpoint {
            self.complete = self.under_way.take().map(|pieces| (from, pieces));
        }
        while let [oldest, next, ..] = self.generations.as_slice()
            && next.0 <= step.keep_from
        {
            self.floor = self.floor.max(oldest.2.map(|bounds| bounds.1));
            self.generations.remove(0);
        }
    }

    /// Compares every answer; panics where one is wrong, and returns the error of one that is an
    /// error.
    pub(super) fn compare(&self, store: &dyn Store) -> Result<(), StoreError> {
        assert_eq!((store.end(), store.now()), (self.end(), self.now));
        assert_eq!(store.floor(), self.floor);
        self.compare_generations(store);
        let oldest = self.oldest();
        for from in [0, oldest, oldest + 1, (oldest + self.end()) / 2, self.end()] {
            self.compare_records(store, from)?;
            self.compare_keys(store, from)?;
        }
        self.compare_before(store)?;
        for table in [StateTable::Rules, StateTable::Meta] {
            let mut found = BTreeMap::new();
            store.state(table, &mut |key, row| {
                found.insert((table == StateTable::Rules, key), row.to_vec());
            })?;
            let expected = self.state.iter().filter(|row| row.0.0 == (table == StateTable::Rules));
            assert!(found.iter().eq(expected), "{table:?}");
        }
        let mut found = Vec::new();
        let from = store.pieces(&mut |piece| {
            let StoredPiece { kind, position, bytes } = piece;
            found.push(Piece { kind, position, bytes: bytes.to_vec() });
        })?;
        let expected = self.complete.as_ref().map(|(from, pieces)| (*from, pieces));
        assert_eq!(from.map(|from| (from, &found)), expected);
        Ok(())
    }

    fn compare_generations(&self, store: &dyn Store) {
        let found = store.generations();
        let ends = self.generations.iter().skip(1).map(|next| next.0).chain([self.end()]);
        let expected: Vec<_> = self.generations.iter().zip(ends).collect();
        if expected.is_empty() {
            assert_eq!(found.len(), 1);
            return;
        }
        assert_eq!(found.len(), expected.len());
        for (found, ((first, now, bounds), end)) in found.iter().zip(expected) {
            assert_eq!((found.first, found.end, found.now), (*first, end, *now));
            let bounds = bounds.unwrap_or((Timestamp::MAX, Timestamp::MIN));
            assert_eq!((found.earliest, found.latest), bounds);
        }
    }

    fn compare_records(&self, store: &dyn Store, from: u64) -> Result<(), StoreError> {
        let mut next = None;
        let read = store.read(from, &mut |chunk| {
            let start = next.unwrap_or(chunk.first());
            assert_eq!(chunk.first(), start, "chunks abut");
            assert!(chunk.end() > from.max(chunk.first()), "a chunk has what was asked for");
            for (place, record) in chunk.records() {
                assert_eq!(record, self.records[place as usize], "record {place}");
            }
            assert_eq!(chunk.records().count() as u64, chunk.end() - chunk.first());
            next = Some(chunk.end());
            ControlFlow::Continue(())
        });
        read?;
        let expected = (from.max(self.oldest()) < self.end()).then_some(self.end());
        assert_eq!(next, expected, "all is read from {from}");
        Ok(())
    }

    fn compare_before(&self, store: &dyn Store) -> Result<(), StoreError> {
        let mut place = u64::MAX;
        for _ in 0..20 {
            let Some(chunk) = store.read_before(place)? else {
                assert!(place <= self.oldest() || self.end() == self.oldest());
                return Ok(());
            };
            let chunk = chunk.chunk();
            assert!(chunk.first() < place && chunk.end() >= place.min(self.end()));
            for (place, record) in chunk.records() {
                assert_eq!(record, self.records[place as usize], "record {place}");
            }
            place = chunk.first();
        }
        Ok(())
    }

    fn compare_keys(&self, store: &dyn Store, from: u64) -> Result<(), StoreError> {
        let mut found = Vec::new();
        store.keys(from, &mut |key| found.push((key.hash, key.place)))?;
        let oldest = from.max(self.oldest());
        let expected = self.keys.iter().filter(|key| key.1 >= oldest);
        assert!(found.iter().eq(expected), "keys from {from}");
        Ok(())
    }
}
