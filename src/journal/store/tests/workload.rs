//! Random batches that make sense.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::base::clock::Timestamp;
use crate::log::RunTimes;

/// A batch and what it borrows.
#[derive(Clone, Debug)]
pub(in crate::journal) struct Step {
    pub(in crate::journal) first: u64,
    pub(in crate::journal) records: Vec<Vec<u8>>,
    packed: Vec<u8>,
    ends: Vec<u32>,
    pub(in crate::journal) times: RunTimes,
    pub(in crate::journal) now: u64,
    pub(in crate::journal) keys: Vec<StoredKey>,
    pub(in crate::journal) state: Vec<StateChange>,
    pub(in crate::journal) spaces: Vec<SpaceChange>,
    pub(in crate::journal) pieces: Vec<Piece>,
    pub(in crate::journal) checkpoint: CheckpointStep,
    pub(in crate::journal) new_generation: bool,
    pub(in crate::journal) keep_from: u64,
}

impl Step {
    /// Every third record is no event.
    pub(in crate::journal) fn events(&self) -> u64 {
        (self.records.len() - self.records.len() / 3) as u64
    }

    pub(in crate::journal) fn batch(&self) -> Batch<'_> {
        Batch {
            first: self.first,
            records: &self.packed,
            ends: &self.ends,
            events: self.events(),
            times: (!self.records.is_empty()).then_some(&self.times),
            now: self.now,
            keys: &self.keys,
            state: &self.state,
            spaces: &self.spaces,
            pieces: &self.pieces,
            checkpoint: self.checkpoint,
            new_generation: self.new_generation,
            keep_from: self.keep_from,
            rewrite: None,
            converts: false,
        }
    }
}

pub(in crate::journal) struct Workload {
    draw: ChaCha8Rng,
    now: u64,
    /// The most records of a batch, and bytes of a record.
    most: (usize, usize),
}

impl Workload {
    pub(in crate::journal) fn new(seed: u64) -> Self {
        Self { draw: ChaCha8Rng::seed_from_u64(seed), now: 0, most: (2_000, 400) }
    }

    /// Of few and small batches.
    pub(in crate::journal) fn small(seed: u64) -> Self {
        Self { most: (40, 300), ..Self::new(seed) }
    }

    pub(in crate::journal) fn chance(&mut self, percent: u32) -> bool {
        self.draw.random_ratio(percent, 100)
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        let len = self.draw.random_range(0..=most);
        (0..len).map(|_| self.draw.random()).collect()
    }

    pub(in crate::journal) fn step(&mut self, model: &Model) -> Step {
        let count = match self.draw.random_range(0..10) {
            0 => 0,
            1 => 1,
            2..5 => self.draw.random_range(0..20),
            _ => self.draw.random_range(0..self.most.0),
        };
        let large = self.most.1 > 300 && self.chance(2);
        let size = if large { 300_000 } else { self.most.1 };
        let count = if large { count.min(5) } else { count };
        let records: Vec<_> = (0..count).map(|_| self.bytes(size)).collect();
        let packed = records.concat();
        let ends = records.iter().scan(0, |end, record| {
            *end += record.len() as u32;
            Some(*end)
        });
        let ends = ends.collect();
        let chance = self.draw.random_range(0..=100);
        let keys = (0..count as u32).filter(|_| self.draw.random_ratio(chance, 100));
        let indices: Vec<_> = keys.collect();
        let keys = indices.into_iter().map(|index| StoredKey { hash: self.draw.random(), index });
        let keys = keys.collect();
        self.now += self.draw.random_range(0..1_000_000_000);
        let mut times = RunTimes::new();
        for _ in 0..self.draw.random_range(1..4) {
            times.add(Timestamp::new(self.draw.random_range(-5..50_000), 3));
        }
        let state = (0..self.draw.random_range(0..3)).map(|_| self.change()).collect();
        let spaces = (0..self.draw.random_range(0..3)).map(|_| self.space_change()).collect();
        let (checkpoint, pieces) = self.checkpoint(model);
        Step {
            first: model.end(),
            records,
            packed,
            ends,
            times,
            now: self.now,
            keys,
            state,
            spaces,
            pieces,
            checkpoint,
            new_generation: self.chance(10),
            keep_from: if self.chance(10) {
                self.draw.random_range(model.oldest()..=model.end())
            } else {
                0
            },
        }
    }

    fn change(&mut self) -> StateChange {
        let table = if self.chance(50) { StateTable::Rules } else { StateTable::Meta };
        let key = self.draw.random_range(0..20);
        if self.chance(70) {
            StateChange::Put { table, key, bytes: self.bytes(300) }
        } else {
            StateChange::Remove { table, key }
        }
    }

    fn space_change(&mut self) -> SpaceChange {
        let key = format!("space{}", self.draw.random_range(0..30)).into_bytes().into();
        SpaceChange { key, value: self.chance(70).then(|| self.bytes(300)) }
    }

    fn checkpoint(&mut self, model: &Model) -> (CheckpointStep, Vec<Piece>) {
        let under_way = model.has_checkpoint_under_way();
        let step = match self.draw.random_range(0..10) {
            0 => CheckpointStep::Begin,
            1 if under_way => CheckpointStep::Complete { from: model.end() / 2 },
            _ => CheckpointStep::None,
        };
        if step != CheckpointStep::Begin && !under_way {
            return (step, Vec::new());
        }
        let pieces = (0..self.draw.random_range(0..4)).map(|_| Piece {
            kind: self.draw.random(),
            position: self.draw.random(),
            bytes: self.bytes(self.most.0 * 5),
        });
        (step, pieces.collect())
    }
}
