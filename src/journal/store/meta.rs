//! The row that says what the store is, and how much of everything it has.
//!
//! It begins with a name and the version of the format, which stay where they are in every version
//! to come, so that any version can tell a newer file; all that follows is of this version.

use serde::{Deserialize, Serialize};

use super::error::{Named, StoreError};
use super::seal::{Home, start};
use super::{Generation, StateTable};
use crate::base::clock::Timestamp;
use crate::base::format::Version;
use crate::log::{GenerationTimes, StoredDropped};

pub(in crate::journal) const META_TABLE: &str = "limitry";
const META_KEY: u64 = 0;
/// The row says what the store is called, and so cannot be bound to it.
const META_HOME: Home<'_> = Home { table: META_TABLE, store: 0 };
const MAGIC: [u8; 8] = *b"limitry\n";
/// The version of the format that this crate writes, and the newest that it reads.
pub(in crate::journal) const FORMAT: u32 = 2;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::journal) struct Meta {
    /// The format that the named rows are in.
    pub(in crate::journal) version: Version,
    /// A random number, which the checksums of its values are bound to.
    pub(in crate::journal) store: u64,
    /// The oldest first, and one at least.
    pub(in crate::journal) generations: Vec<StoredGeneration>,
    /// How many batches were stored.
    pub(in crate::journal) batches: u64,
    /// The number of the next generation or checkpoint; it names their tables, and none is used
    /// again.
    pub(in crate::journal) next: u64,
    /// The highest engine's time of all batches.
    pub(in crate::journal) now: u64,
    /// When the events happened that were dropped.
    pub(in crate::journal) dropped: StoredDropped,
    /// The newest complete checkpoint, which opening reads.
    pub(in crate::journal) complete: Option<Complete>,
    /// The checkpoint that is being made.
    pub(in crate::journal) under_way: Option<Checkpoint>,
    /// How many rows the tables of named rows have.
    pub(in crate::journal) rules: u64,
    pub(in crate::journal) state: u64,
    /// Tables that are dropped, and whose values are still to be removed, a few with each commit.
    pub(in crate::journal) doomed: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::journal) struct StoredGeneration {
    /// The format of its keys.
    pub(in crate::journal) version: Version,
    /// Whether the checksums of its values are bound to the store.
    pub(in crate::journal) is_bound: bool,
    pub(in crate::journal) number: u64,
    pub(in crate::journal) first: u64,
    pub(in crate::journal) end: u64,
    pub(in crate::journal) now: u64,
    /// When its events happened.
    pub(in crate::journal) times: GenerationTimes,
    pub(in crate::journal) keys: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::journal) struct Checkpoint {
    /// The format of its pieces.
    pub(in crate::journal) version: Version,
    /// Whether the checksums of its values are bound to the store.
    pub(in crate::journal) is_bound: bool,
    pub(in crate::journal) number: u64,
    pub(in crate::journal) pieces: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::journal) struct Complete {
    pub(in crate::journal) checkpoint: Checkpoint,
    pub(in crate::journal) from: u64,
}

impl Meta {
    /// Of an empty store.
    pub(in crate::journal) fn new() -> Self {
        Self {
            version: Version::NEWEST,
            store: random_name(),
            generations: vec![StoredGeneration::starting(0, 0)],
            batches: 0,
            next: 1,
            now: 0,
            dropped: StoredDropped::new(),
            complete: None,
            under_way: None,
            rules: 0,
            state: 0,
            doomed: Vec::new(),
        }
    }

    /// The place behind the last record.
    pub(in crate::journal) fn end(&self) -> u64 {
        self.generations.last().map_or(0, |newest| newest.end)
    }

    /// The latest timestamp of all events that are there.
    pub(in crate::journal) fn latest(&self) -> Option<Timestamp> {
        let with_some = self.generations.iter().filter(|one| one.first < one.end);
        with_some.map(|one| one.times.last()).max()
    }

    /// A number for a new generation or checkpoint.
    pub(in crate::journal) fn number(&mut self) -> u64 {
        let number = self.next;
        self.next = number.saturating_add(1);
        number
    }

    /// Drops the generations that end at or before a place, but the newest.
    pub(in crate::journal) fn drop_before(&mut self, place: u64) {
        let others = self.generations.len().saturating_sub(1);
        let old = self.generations.iter().take(others).take_while(|kept| kept.end <= place).count();
        for dropped in self.generations.drain(..old) {
            self.dropped.merge(&dropped.times);
            self.doomed.push(dropped.events());
            self.doomed.push(dropped.key_runs());
        }
    }

    /// Where the values of the named rows are.
    pub(in crate::journal) fn rows_home<'h>(&self, table: &'h str) -> Home<'h> {
        // They are bound from the moment on at which a store is of format 2.
        self.home(table, self.version > Version::One)
    }

    fn home<'h>(&self, table: &'h str, is_bound: bool) -> Home<'h> {
        Home { table, store: if is_bound { self.store } else { 0 } }
    }

    /// Binds the checksums of everything to a store of its own: that of a copy.
    pub(in crate::journal) fn bind_anew(&mut self) {
        self.store = random_name();
        self.generations.iter_mut().for_each(|one| one.is_bound = true);
        if let Some(Complete { checkpoint, .. }) = &mut self.complete {
            checkpoint.is_bound = true;
        }
    }

    /// How many rows a table of named rows has.
    pub(in crate::journal) fn rows(&mut self, table: StateTable) -> &mut u64 {
        match table {
            StateTable::Rules => &mut self.rules,
            StateTable::Meta => &mut self.state,
        }
    }

    /// The row's value.
    pub(in crate::journal) fn write(&self) -> Vec<u8> {
        let mut body = Vec::new();
        start(&mut body);
        // Writing to memory fails for no value of these types.
        let mut body = postcard::to_extend(self, body).unwrap_or_default();
        META_HOME.seal(META_KEY, &mut body);
        [&MAGIC[..], &FORMAT.to_le_bytes(), &body].concat()
    }

    pub(in crate::journal) fn read(value: &[u8], file: &Named) -> Result<Self, StoreError> {
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
            META_HOME.unseal(META_KEY, rest).ok_or_else(|| damaged("its checksum is wrong"))?;
        let meta = match found {
            1 => one::read(body),
            FORMAT => postcard::from_bytes(body).ok(),
            _ => return Err(damaged("it contradicts itself")),
        };
        let meta = meta.ok_or_else(|| damaged("it cannot be read"))?;
        let starts = meta.generations.windows(2).all(|pair| match pair {
            [before, after] => before.end == after.first,
            _ => false,
        });
        if meta.generations.is_empty() || !starts {
            return Err(damaged("it contradicts itself"));
        }
        Ok(meta)
    }

    pub(in crate::journal) const KEY: u64 = META_KEY;
}

/// A number that no other store has.
fn random_name() -> u64 {
    ahash::RandomState::new().hash_one("store").max(1)
}

/// The row as format 1 has it.
mod one {
    use serde::Deserialize;

    use super::{GenerationTimes, Meta, StoredDropped, Version, random_name};
    use crate::base::clock::Timestamp;

    #[derive(Deserialize)]
    struct Row {
        generations: Vec<Generation>,
        batches: u64,
        next: u64,
        now: u64,
        floor: Option<i128>,
        complete: Option<Complete>,
        under_way: Option<Checkpoint>,
        rules: u64,
        state: u64,
        doomed: Vec<String>,
    }

    #[derive(Deserialize)]
    struct Generation {
        number: u64,
        first: u64,
        end: u64,
        now: u64,
        earliest: i128,
        latest: i128,
        keys: u64,
    }

    #[derive(Deserialize)]
    struct Checkpoint {
        number: u64,
        pieces: u64,
    }

    #[derive(Deserialize)]
    struct Complete {
        checkpoint: Checkpoint,
        from: u64,
    }

    pub(in crate::journal) fn read(body: &[u8]) -> Option<Meta> {
        let row: Row = postcard::from_bytes(body).ok()?;
        let complete = |Complete { checkpoint, from }| super::Complete {
            checkpoint: Checkpoint::into(checkpoint),
            from,
        };
        Some(Meta {
            version: Version::One,
            store: random_name(),
            generations: row.generations.into_iter().map(Into::into).collect(),
            batches: row.batches,
            next: row.next,
            now: row.now,
            // It has the latest instant alone.
            dropped: row.floor.map_or_else(StoredDropped::new, |latest| {
                StoredDropped::of(Timestamp::MIN, Timestamp::from_unix_nanos(latest))
            }),
            complete: row.complete.map(complete),
            under_way: row.under_way.map(Into::into),
            rules: row.rules,
            state: row.state,
            doomed: row.doomed,
        })
    }

    impl From<Generation> for super::StoredGeneration {
        fn from(old: Generation) -> Self {
            let Generation { number, first, end, now, earliest, latest, keys } = old;
            let (version, is_bound) = (Version::One, false);
            let [earliest, latest] = [earliest, latest].map(Timestamp::from_unix_nanos);
            let times = GenerationTimes::of(earliest, latest);
            Self { version, is_bound, number, first, end, now, times, keys }
        }
    }

    impl From<Checkpoint> for super::Checkpoint {
        fn from(Checkpoint { number, pieces }: Checkpoint) -> Self {
            Self { version: Version::One, is_bound: false, number, pieces }
        }
    }
}

impl StoredGeneration {
    pub(in crate::journal) fn starting(number: u64, first: u64) -> Self {
        Self {
            version: Version::NEWEST,
            is_bound: true,
            number,
            first,
            end: first,
            now: 0,
            times: GenerationTimes::new(),
            keys: 0,
        }
    }

    /// Where the values of one of its tables are.
    pub(in crate::journal) fn home<'h>(&self, meta: &Meta, table: &'h str) -> Home<'h> {
        meta.home(table, self.is_bound)
    }

    /// The name of the table of its records.
    pub(in crate::journal) fn events(&self) -> String {
        format!("events-{}", self.number)
    }

    /// The name of the table of its keys.
    pub(in crate::journal) fn key_runs(&self) -> String {
        format!("keys-{}", self.number)
    }

    /// The generation as the store's users see it.
    pub(in crate::journal) fn public(&self) -> Generation {
        Generation { first: self.first, end: self.end, now: self.now, keys: self.keys }
    }
}

impl Checkpoint {
    pub(in crate::journal) fn starting(number: u64) -> Self {
        Self { version: Version::NEWEST, is_bound: true, number, pieces: 0 }
    }

    /// Where its values are.
    pub(in crate::journal) fn home<'h>(&self, meta: &Meta, table: &'h str) -> Home<'h> {
        meta.home(table, self.is_bound)
    }

    pub(in crate::journal) fn table(&self) -> String {
        format!("checkpoint-{}", self.number)
    }
}

impl StateTable {
    pub(in crate::journal) fn table(self) -> &'static str {
        match self {
            Self::Rules => "rules",
            Self::Meta => "state",
        }
    }
}
