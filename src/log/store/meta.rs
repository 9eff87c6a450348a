//! The row that says what the store is, and how much of everything it has.
//!
//! It begins with a name and the version of the format, which stay where they are in every version
//! to come, so that any version can tell a newer file; all that follows is of this version.

use serde::{Deserialize, Serialize};

use super::error::{Named, StoreError};
use super::seal::{seal, start, unseal};
use super::{Generation, StateTable};
use crate::clock::Timestamp;

pub(super) const META_TABLE: &str = "limitry";
const META_KEY: u64 = 0;
const MAGIC: [u8; 8] = *b"limitry\n";
/// The version of the format that this crate writes, and the newest that it reads.
pub(super) const FORMAT: u32 = 1;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Meta {
    /// The oldest first, and one at least.
    pub(super) generations: Vec<StoredGeneration>,
    /// How many batches were stored.
    pub(super) batches: u64,
    /// The number of the next generation or checkpoint; it names their tables, and none is used
    /// again.
    pub(super) next: u64,
    /// The highest engine's time of all batches.
    pub(super) now: u64,
    /// The latest timestamp of all events that were dropped, in nanoseconds.
    floor: Option<i128>,
    /// The newest complete checkpoint, which opening reads.
    pub(super) complete: Option<Complete>,
    /// The checkpoint that is being made.
    pub(super) under_way: Option<Checkpoint>,
    /// How many rows the tables of named rows have.
    pub(super) rules: u64,
    pub(super) state: u64,
    /// Tables that are dropped, and whose values are still to be removed, a few with each commit.
    pub(super) doomed: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StoredGeneration {
    pub(super) number: u64,
    pub(super) first: u64,
    pub(super) end: u64,
    pub(super) now: u64,
    pub(super) earliest: i128,
    pub(super) latest: i128,
    pub(super) keys: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Checkpoint {
    pub(super) number: u64,
    pub(super) pieces: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Complete {
    pub(super) checkpoint: Checkpoint,
    pub(super) from: u64,
}

impl Meta {
    /// Of an empty store.
    pub(super) fn new() -> Self {
        Self {
            generations: vec![StoredGeneration::starting(0, 0)],
            batches: 0,
            next: 1,
            now: 0,
            floor: None,
            complete: None,
            under_way: None,
            rules: 0,
            state: 0,
            doomed: Vec::new(),
        }
    }

    /// The place behind the last record.
    pub(super) fn end(&self) -> u64 {
        self.generations.last().map_or(0, |newest| newest.end)
    }

    pub(super) fn floor(&self) -> Option<Timestamp> {
        self.floor.map(Timestamp::from_unix_nanos)
    }

    /// A number for a new generation or checkpoint.
    pub(super) fn number(&mut self) -> u64 {
        let number = self.next;
        self.next = number.saturating_add(1);
        number
    }

    /// Drops the generations that end at or before a place, but the newest.
    pub(super) fn drop_before(&mut self, place: u64) {
        let others = self.generations.len().saturating_sub(1);
        let old = self.generations.iter().take(others).take_while(|kept| kept.end <= place).count();
        for dropped in self.generations.drain(..old) {
            if dropped.first < dropped.end {
                self.floor = self.floor.max(Some(dropped.latest));
            }
            self.doomed.push(dropped.events());
            self.doomed.push(dropped.key_runs());
        }
    }

    /// How many rows a table of named rows has.
    pub(super) fn rows(&mut self, table: StateTable) -> &mut u64 {
        match table {
            StateTable::Rules => &mut self.rules,
            StateTable::Meta => &mut self.state,
        }
    }

    /// The row's value.
    pub(super) fn write(&self) -> Vec<u8> {
        let mut body = Vec::new();
        start(&mut body);
        // Writing to memory fails for no value of these types.
        let mut body = postcard::to_extend(self, body).unwrap_or_default();
        seal(META_TABLE, META_KEY, &mut body);
        [&MAGIC[..], &FORMAT.to_le_bytes(), &body].concat()
    }

    pub(super) fn read(value: &[u8], file: &Named) -> Result<Self, StoreError> {
        let parts = value.split_first_chunk::<8>();
        let Some((_, rest)) = parts.filter(|(magic, _)| **magic == MAGIC) else {
            return Err(file.foreign("the row that names it is another one's"));
        };
        let damaged = |detail| file.damaged("the meta row", detail);
        let (format, rest) = rest.split_first_chunk().ok_or_else(|| damaged("it is cut off"))?;
        let found = u32::from_le_bytes(*format);
        if found > FORMAT {
            return Err(StoreError::Newer { file: file.file.clone(), found, known: FORMAT });
        }
        let body =
            unseal(META_TABLE, META_KEY, rest).ok_or_else(|| damaged("its checksum is wrong"))?;
        let meta: Self = postcard::from_bytes(body).map_err(|_| damaged("it cannot be read"))?;
        let starts = meta.generations.windows(2).all(|pair| match pair {
            [before, after] => before.end == after.first,
            _ => false,
        });
        if found != FORMAT || meta.generations.is_empty() || !starts {
            return Err(damaged("it contradicts itself"));
        }
        Ok(meta)
    }

    pub(super) const KEY: u64 = META_KEY;
}

impl StoredGeneration {
    pub(super) fn starting(number: u64, first: u64) -> Self {
        Self {
            number,
            first,
            end: first,
            now: 0,
            earliest: Timestamp::MAX.unix_nanos(),
            latest: Timestamp::MIN.unix_nanos(),
            keys: 0,
        }
    }

    /// The name of the table of its records.
    pub(super) fn events(&self) -> String {
        format!("events-{}", self.number)
    }

    /// The name of the table of its keys.
    pub(super) fn key_runs(&self) -> String {
        format!("keys-{}", self.number)
    }

    /// The generation as the store's users see it.
    pub(super) fn public(&self) -> Generation {
        Generation {
            first: self.first,
            end: self.end,
            now: self.now,
            earliest: Timestamp::from_unix_nanos(self.earliest),
            latest: Timestamp::from_unix_nanos(self.latest),
            keys: self.keys,
        }
    }
}

impl Checkpoint {
    pub(super) fn table(&self) -> String {
        format!("checkpoint-{}", self.number)
    }
}

impl StateTable {
    pub(super) fn table(self) -> &'static str {
        match self {
            Self::Rules => "rules",
            Self::Meta => "state",
        }
    }
}
