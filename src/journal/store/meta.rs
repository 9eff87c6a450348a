//! The row that says what the store is, and how much of everything it has.
//!
//! It begins with a name and the version of the format, which stay where they are in every version
//! to come, so that any version can tell a newer file; all that follows is of this version.

use super::error::{Named, StoreError};
use super::seal::{TableId, start};
use super::{Generation, StateTable};
use crate::base::clock::Timestamp;
use crate::base::codec::{Codec, Malformed, Reader, put_list, put_text, put_varint};
use crate::base::format::Version;
use crate::log::{GenerationTimes, StoredDropped};

pub(in crate::journal) const META_TABLE: &str = "limitry";
const META_KEY: u64 = 0;
/// The row says what the store is called, and so cannot be bound to it.
const META_TABLE_ID: TableId<'_> = TableId { name: META_TABLE, store: 0 };
const MAGIC: [u8; 8] = *b"limitry\n";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Meta {
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
    /// How many events there ever were.
    pub(in crate::journal) events: u64,
    /// When the events happened that were dropped.
    pub(in crate::journal) dropped: StoredDropped,
    /// The newest complete checkpoint, which opening reads.
    pub(in crate::journal) complete: Option<Complete>,
    /// The checkpoint that is being made.
    pub(in crate::journal) under_way: Option<Checkpoint>,
    /// How many rows the tables of named rows have.
    pub(in crate::journal) rules: u64,
    pub(in crate::journal) state: u64,
    /// How many rows the spaces have together.
    pub(in crate::journal) spaces: u64,
    /// Tables that are dropped, and whose values are still to be removed, a few with each commit.
    pub(in crate::journal) doomed: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::journal) struct StoredGeneration {
    /// The format of its keys.
    pub(in crate::journal) version: Version,
    /// Whether the checksums of its values are bound to the store.
    pub(in crate::journal) is_bound: bool,
    pub(in crate::journal) number: u64,
    pub(in crate::journal) first: u64,
    pub(in crate::journal) end: u64,
    /// The ordinal of its first event, or of the next one.
    pub(in crate::journal) first_event: u64,
    pub(in crate::journal) now: u64,
    /// When its events happened.
    pub(in crate::journal) times: GenerationTimes,
    pub(in crate::journal) keys: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::journal) struct Checkpoint {
    /// The format of its pieces.
    pub(in crate::journal) version: Version,
    /// Whether the checksums of its values are bound to the store.
    pub(in crate::journal) is_bound: bool,
    pub(in crate::journal) number: u64,
    pub(in crate::journal) pieces: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
            generations: vec![StoredGeneration::starting(0, 0, 0)],
            batches: 0,
            next: 1,
            now: 0,
            events: 0,
            dropped: StoredDropped::new(),
            complete: None,
            under_way: None,
            rules: 0,
            state: 0,
            spaces: 0,
            doomed: Vec::new(),
        }
    }

    /// The sequence number behind that of the last record.
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

    /// Drops the generations that end at or before a sequence number, but the newest.
    pub(in crate::journal) fn drop_before(&mut self, seq: u64) {
        let others = self.generations.len().saturating_sub(1);
        let old = self.generations.iter().take(others).take_while(|kept| kept.end <= seq).count();
        for dropped in self.generations.drain(..old) {
            self.dropped.merge(&dropped.times);
            self.doomed.push(dropped.events());
            self.doomed.push(dropped.key_runs());
        }
    }

    /// Where the values of the named rows are.
    pub(in crate::journal) fn rows_table_id<'h>(&self, table: &'h str) -> TableId<'h> {
        // They are bound from the moment on at which a store is of format 2.
        self.table_id(table, self.version > Version::One)
    }

    fn table_id<'h>(&self, table: &'h str, is_bound: bool) -> TableId<'h> {
        TableId { name: table, store: if is_bound { self.store } else { 0 } }
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
        self.encode(&mut body);
        META_TABLE_ID.seal(META_KEY, &mut body);
        [&MAGIC[..], &Version::NEWEST.number().to_le_bytes(), &body].concat()
    }

    pub(in crate::journal) fn read(value: &[u8], file: &Named) -> Result<Self, StoreError> {
        let parts = value.split_first_chunk::<8>();
        let Some((_, rest)) = parts.filter(|(magic, _)| **magic == MAGIC) else {
            return Err(file.foreign("the row that names it is another one's"));
        };
        let damaged = |detail: &str| file.damaged("the meta row", detail);
        let (format, rest) = rest.split_first_chunk().ok_or_else(|| damaged("it is cut off"))?;
        let (found, known) = (u32::from_le_bytes(*format), Version::NEWEST.number());
        if found > known {
            return Err(StoreError::Newer { file: file.file.clone(), found, known });
        }
        let version = Version::of_number(found).ok_or_else(|| damaged("it contradicts itself"))?;
        let body =
            META_TABLE_ID.unseal(META_KEY, rest).ok_or_else(|| damaged("its checksum is wrong"))?;
        let meta = Self::decode_all(Reader::new(version, body));
        let meta = meta.map_err(|why| damaged(&why.to_string()))?;
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

/// Format 1 has one format for all and binds nothing, and of times it has the first and the last;
/// formats 1 and 2 have nothing but events, and no spaces.
impl Codec<'_> for Meta {
    fn encode(&self, out: &mut Vec<u8>) {
        self.version.encode(out);
        put_varint(out, self.store);
        put_list(out, self.generations.iter(), StoredGeneration::encode);
        for number in [self.batches, self.next, self.now] {
            put_varint(out, number);
        }
        self.dropped.encode(out);
        self.complete.encode(out);
        self.under_way.encode(out);
        for number in [self.rules, self.state] {
            put_varint(out, number);
        }
        put_list(out, self.doomed.iter(), |name, out| put_text(out, name));
        put_varint(out, self.events);
        put_varint(out, self.spaces);
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let is_one = from.version() == Version::One;
        let version = if is_one { Version::One } else { Version::decode(from)? };
        let store = if is_one { random_name() } else { from.varint()? };
        let generations: Vec<StoredGeneration> =
            from.list("generations", StoredGeneration::decode)?;
        let (batches, next, now) = (from.varint()?, from.varint()?, from.varint()?);
        let dropped = match is_one {
            false => StoredDropped::decode(from)?,
            true if bool::decode(from)? => {
                // The latest instant alone.
                StoredDropped::of(Timestamp::MIN, Timestamp::from_unix_nanos(from.wide()?))
            }
            true => StoredDropped::new(),
        };
        let (complete, under_way) = (Option::decode(from)?, Option::decode(from)?);
        let (rules, state) = (from.varint()?, from.varint()?);
        let doomed = from.list("tables", |from| from.text().map(str::to_owned))?;
        let (events, spaces) = match from.version() {
            Version::One | Version::Two => (generations.last().map_or(0, |newest| newest.end), 0),
            Version::Three => (from.varint()?, from.varint()?),
        };
        Ok(Self {
            version,
            store,
            generations,
            batches,
            next,
            now,
            events,
            dropped,
            complete,
            under_way,
            rules,
            state,
            spaces,
            doomed,
        })
    }
}

impl Codec<'_> for StoredGeneration {
    fn encode(&self, out: &mut Vec<u8>) {
        self.version.encode(out);
        self.is_bound.encode(out);
        for number in [self.number, self.first, self.end, self.now] {
            put_varint(out, number);
        }
        self.times.encode(out);
        put_varint(out, self.keys);
        put_varint(out, self.first_event);
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (version, is_bound) = decode_binding(from)?;
        let (number, first, end) = (from.varint()?, from.varint()?, from.varint()?);
        let now = from.varint()?;
        let times = if from.version() == Version::One {
            let [earliest, latest] = [from.wide()?, from.wide()?].map(Timestamp::from_unix_nanos);
            GenerationTimes::of(earliest, latest)
        } else {
            GenerationTimes::decode(from)?
        };
        let keys = from.varint()?;
        let first_event = if from.version() < Version::Three { first } else { from.varint()? };
        Ok(Self { version, is_bound, number, first, end, first_event, now, times, keys })
    }
}

impl Codec<'_> for Checkpoint {
    fn encode(&self, out: &mut Vec<u8>) {
        self.version.encode(out);
        self.is_bound.encode(out);
        put_varint(out, self.number);
        put_varint(out, self.pieces);
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (version, is_bound) = decode_binding(from)?;
        Ok(Self { version, is_bound, number: from.varint()?, pieces: from.varint()? })
    }
}

impl Codec<'_> for Complete {
    fn encode(&self, out: &mut Vec<u8>) {
        self.checkpoint.encode(out);
        put_varint(out, self.from);
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self { checkpoint: Checkpoint::decode(from)?, from: from.varint()? })
    }
}

/// The format of something, and whether its checksums are bound to the store.
fn decode_binding(from: &mut Reader<'_>) -> Result<(Version, bool), Malformed> {
    if from.version() == Version::One {
        return Ok((Version::One, false));
    }
    Ok((Version::decode(from)?, bool::decode(from)?))
}

impl StoredGeneration {
    pub(in crate::journal) fn starting(number: u64, first: u64, first_event: u64) -> Self {
        Self {
            version: Version::NEWEST,
            is_bound: true,
            number,
            first,
            end: first,
            first_event,
            now: 0,
            times: GenerationTimes::new(),
            keys: 0,
        }
    }

    /// Where the values of one of its tables are.
    pub(in crate::journal) fn table_id<'h>(&self, meta: &Meta, table: &'h str) -> TableId<'h> {
        meta.table_id(table, self.is_bound)
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
        let Self { first, end, first_event, now, keys, .. } = *self;
        Generation { first, end, first_event, now, keys }
    }
}

impl Checkpoint {
    pub(in crate::journal) fn starting(number: u64) -> Self {
        Self { version: Version::NEWEST, is_bound: true, number, pieces: 0 }
    }

    /// Where its values are.
    pub(in crate::journal) fn table_id<'h>(&self, meta: &Meta, table: &'h str) -> TableId<'h> {
        meta.table_id(table, self.is_bound)
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
