//! What a store must answer, kept in plain lists.

use std::collections::BTreeMap;

use super::*;
use crate::log::GenerationTimes;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::journal) struct Model {
    /// All records there ever were.
    records: Vec<Vec<u8>>,
    keys: Vec<(u64, u64)>,
    state: BTreeMap<(bool, u64), Vec<u8>>,
    spaces: BTreeMap<Vec<u8>, Vec<u8>>,
    complete: Option<(u64, Vec<Piece>)>,
    under_way: Option<Vec<Piece>>,
    /// First sequence number, time, and the timestamps.
    generations: Vec<(u64, u64, GenerationTimes)>,
    /// How many events there were when a generation began, by its first sequence number.
    first_events: BTreeMap<u64, u64>,
    events: u64,
    dropped: StoredDropped,
    now: u64,
}

impl Model {
    pub(in crate::journal) fn end(&self) -> u64 {
        self.records.len() as u64
    }

    pub(in crate::journal) fn has_checkpoint_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    pub(in crate::journal) fn oldest(&self) -> u64 {
        self.generations.first().map_or(0, |oldest| oldest.0)
    }

    pub(in crate::journal) fn apply(&mut self, step: &Step) {
        let end = self.end();
        if self.generations.is_empty() {
            self.generations.push((0, 0, GenerationTimes::new()));
        }
        if step.new_generation && self.generations.last().is_some_and(|newest| newest.0 < end) {
            self.generations.push((end, 0, GenerationTimes::new()));
        }
        let newest = self.generations.last_mut().expect("there is one");
        self.first_events.entry(newest.0).or_insert(self.events);
        self.events += step.events();
        if !step.records.is_empty() {
            newest.1 = newest.1.max(step.now);
            newest.2.merge(&step.times);
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
        for SpaceChange { key, value } in &step.spaces {
            match value {
                Some(value) => drop(self.spaces.insert(key.to_vec(), value.clone())),
                None => drop(self.spaces.remove(&**key)),
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
            self.dropped.merge(&oldest.2);
            self.generations.remove(0);
        }
    }

    /// What a store is to have.
    pub(in crate::journal) fn contents(&self) -> Found {
        let oldest = self.oldest();
        let ends = self.generations.iter().skip(1).map(|next| next.0).chain([self.end()]);
        let generations = self.generations.iter().zip(ends).map(|(one, end)| {
            let keys = self.keys.iter().filter(|key| (one.0..end).contains(&key.1)).count() as u64;
            let first_event = self.first_events[&one.0];
            Generation { first: one.0, end, first_event, now: one.1, keys }
        });
        let rows = |rules| {
            let rows = self.state.iter().filter(move |row| row.0.0 == rules);
            rows.map(|row| (row.0.1, row.1.clone())).collect()
        };
        Found {
            end: self.end(),
            now: self.now,
            dropped: self.dropped.clone(),
            generations: match self.generations.len() {
                0 => vec![Generation { first: 0, end: 0, first_event: 0, now: 0, keys: 0 }],
                _ => generations.collect(),
            },
            records: self.records[oldest as usize..].to_vec(),
            keys: self.keys.iter().copied().filter(|key| key.1 >= oldest).collect(),
            state: [rows(true), rows(false)],
            spaces: self.spaces.clone().into_iter().collect(),
            checkpoint: self.complete.clone(),
        }
    }

    /// Compares every answer, partial ones too.
    pub(in crate::journal) fn compare(&self, store: &dyn Store) -> Result<(), StoreError> {
        let expected = self.contents();
        assert!(Found::read(store)? == expected, "all of it");
        let oldest = self.oldest();
        for from in [oldest + 1, (oldest + self.end()) / 2, self.end()] {
            let mut seqs = Vec::new();
            store.read(from, &mut |chunk| {
                assert!(chunk.end() > from, "a chunk has what was asked for");
                for (seq, record) in chunk.records() {
                    assert_eq!(record, self.records[seq as usize], "record {seq}");
                    seqs.push(seq);
                }
                ControlFlow::Continue(())
            })?;
            assert!(seqs.is_sorted_by(|a, b| a + 1 == *b), "no record is left out");
            let (first, last) = (seqs.first().copied(), seqs.last().copied());
            assert_eq!(last, (from < self.end()).then(|| self.end() - 1));
            assert!(first.is_none_or(|first| first <= from));
            let mut keys = Vec::new();
            store.keys(from, &mut |key| keys.push((key.hash, key.seq)))?;
            assert!(keys.iter().eq(expected.keys.iter().filter(|key| key.1 >= from)));
        }
        let mut spaces = self.spaces.iter();
        if let Some((middle, _)) = spaces.nth(self.spaces.len() / 2) {
            let mut rest = Vec::new();
            store.space_rows(Bound::Excluded(middle), &mut |key, _| {
                rest.push(key.to_vec());
                if rest.len() < 3 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })?;
            assert!(rest.iter().eq(spaces.map(|(key, _)| key).take(3)), "rows behind a key");
        }
        self.compare_before(store)
    }

    fn compare_before(&self, store: &dyn Store) -> Result<(), StoreError> {
        let mut seq = u64::MAX;
        for _ in 0..20 {
            let Some(chunk) = store.read_before(seq)? else {
                assert!(seq <= self.oldest() || self.end() == self.oldest());
                return Ok(());
            };
            let chunk = chunk.chunk();
            assert!(chunk.first() < seq && chunk.end() >= seq.min(self.end()));
            for (seq, record) in chunk.records() {
                assert_eq!(record, self.records[seq as usize], "record {seq}");
            }
            seq = chunk.first();
        }
        Ok(())
    }
}

/// All that is in a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::journal) struct Found {
    end: u64,
    now: u64,
    dropped: StoredDropped,
    generations: Vec<Generation>,
    records: Vec<Vec<u8>>,
    keys: Vec<(u64, u64)>,
    state: [Vec<(u64, Vec<u8>)>; 2],
    spaces: Vec<(Vec<u8>, Vec<u8>)>,
    checkpoint: Option<(u64, Vec<Piece>)>,
}

impl Found {
    pub(in crate::journal) fn read(store: &dyn Contents) -> Result<Self, StoreError> {
        let (mut records, mut keys, mut pieces) = (Vec::new(), Vec::new(), Vec::new());
        store.read(0, &mut |chunk| {
            records.extend(chunk.records().map(|record| record.1.to_vec()));
            ControlFlow::Continue(())
        })?;
        store.keys(0, &mut |key| keys.push((key.hash, key.seq)))?;
        let mut state = [Vec::new(), Vec::new()];
        for (table, rows) in [StateTable::Rules, StateTable::Meta].into_iter().zip(&mut state) {
            store.state(table, &mut |key, row| rows.push((key, row.to_vec())))?;
        }
        let mut spaces = Vec::new();
        store.space_rows(Bound::Unbounded, &mut |key, value| {
            spaces.push((key.to_vec(), value.to_vec()));
            ControlFlow::Continue(())
        })?;
        let from = store.pieces(&mut |piece| {
            let StoredPiece { kind, position, bytes, .. } = piece;
            pieces.push(Piece { kind, position, bytes: bytes.to_vec() });
        })?;
        Ok(Self {
            end: store.end(),
            now: store.now(),
            dropped: store.dropped(),
            generations: store.generations(),
            records,
            keys,
            state,
            spaces,
            checkpoint: from.map(|from| (from, pieces)),
        })
    }
}
