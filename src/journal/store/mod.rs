//! Where the log is kept on disk.
//!
//! A store keeps records in the order of their sequence numbers, the idempotency keys that they
//! carry, a few named rows, and the pieces of checkpoints. What any of them means it does not know.
//! A [`Batch`] is one transaction: all of it is there after a crash, or nothing. `RedbStore` is the
//! store in one file.
//!
//! Every value carries a checksum of its content, of where it belongs and of the store that it is
//! in, and the [meta row](meta) says how many of everything there are. So what was changed, lost or
//! put elsewhere behind the store's back is an error that names it, and never an answer.

pub(in crate::journal) mod callback;
pub(in crate::journal) mod chunk;
pub(in crate::journal) mod error;
pub(in crate::journal) mod meta;
pub(in crate::journal) mod seal;
#[cfg(test)]
pub(in crate::journal) mod tests;

use std::fmt;
use std::ops::{Bound, ControlFlow};
use std::path::Path;
use std::sync::Arc;

pub(crate) use self::callback::Callback;
pub(crate) use self::chunk::{Chunk, OwnedChunk};
use self::error::Named;
pub use self::error::StoreError;
use self::meta::{Meta, StoredGeneration};
use self::seal::wide;

use crate::base::clock::Timestamp;
use crate::base::codec::{Codec, Malformed, Reader};
use crate::base::format::Version;
use crate::base::progress::Progress;
use crate::log::{RunTimes, StoredDropped};

/// Why a store takes nothing in a process that was forked off the one that opened it.
pub(crate) const FORKED: &str = "it was opened before this process was forked off: the threads and \
                                 the file are the other process's";

/// One durable transaction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Batch<'b> {
    /// The sequence number of the first record: the store's end.
    pub(crate) first: u64,
    /// The records, packed one behind the other, and the position behind each.
    pub(crate) records: &'b [u8],
    pub(crate) ends: &'b [u32],
    /// How many of the records are events.
    pub(crate) events: u64,
    /// When the records' events happened, where there are records.
    pub(crate) times: Option<&'b RunTimes>,
    /// The engine's time of the newest record.
    pub(crate) now: u64,
    /// The idempotency keys of these records, in the records' order.
    pub(crate) keys: &'b [StoredKey],
    pub(crate) state: &'b [StateChange],
    pub(crate) spaces: &'b [SpaceChange],
    /// Pieces of the checkpoint under way.
    pub(crate) pieces: &'b [Piece],
    pub(crate) checkpoint: CheckpointStep,
    /// Records and keys from here on go to new tables.
    pub(crate) new_generation: bool,
    /// Generations that end at or before this sequence number are dropped whole; the newest never
    /// is.
    pub(crate) keep_from: u64,
    /// Rewrites the records of the store, those of this batch with them; what is dropped goes at
    /// once.
    pub(crate) rewrite: Option<&'b dyn Rewrite>,
    /// `state` has every named row in the newest format, and the store is one of that from here on.
    /// The first batch of a store of an older format must do that.
    pub(crate) converts: bool,
}

impl Batch<'_> {
    /// A batch at a sequence number that changes nothing.
    pub(crate) fn empty(first: u64) -> Self {
        Self {
            first,
            records: &[],
            ends: &[],
            events: 0,
            times: None,
            now: 0,
            keys: &[],
            state: &[],
            spaces: &[],
            pieces: &[],
            checkpoint: CheckpointStep::None,
            new_generation: false,
            keep_from: 0,
            rewrite: None,
            converts: false,
        }
    }
}

/// The hash of an idempotency key, and which record of its batch carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StoredKey {
    pub(crate) hash: u64,
    pub(crate) index: u32,
}

/// An idempotency key as it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FoundKey {
    /// The format that it was stored in.
    pub(crate) version: Version,
    pub(crate) hash: u64,
    /// Of the record that carries it.
    pub(crate) seq: u64,
    /// The engine's time of the newest record of its batch.
    pub(crate) now: u64,
}

/// The tables of named rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StateTable {
    /// Compiled rules, by their revision.
    Rules,
    /// What an engine is besides its rules.
    Meta,
}

/// A change of a named row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StateChange {
    Put { table: StateTable, key: u64, bytes: Vec<u8> },
    Remove { table: StateTable, key: u64 },
}

/// A change of a row of a space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SpaceChange {
    /// It begins with the name of the space, and no other space's keys do.
    pub(crate) key: Box<[u8]>,
    /// What it is now; `None` where it is gone.
    pub(crate) value: Option<Vec<u8>>,
}

/// A part of a checkpoint: what it holds, as of which position. It has the effects of all records
/// before its position, and of none from there on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) kind: u8,
    pub(crate) position: u64,
    pub(crate) bytes: Vec<u8>,
}

/// A piece as it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StoredPiece<'p> {
    /// The format that it was stored in.
    pub(crate) version: Version,
    pub(crate) kind: u8,
    pub(crate) position: u64,
    pub(crate) bytes: &'p [u8],
}

impl Piece {
    /// The piece as it is stored now.
    pub(crate) fn as_stored(&self) -> StoredPiece<'_> {
        let Self { kind, position, bytes } = self;
        StoredPiece { version: Version::NEWEST, kind: *kind, position: *position, bytes }
    }
}

/// The bytes are what is behind the kind and the position.
impl<'p> Codec<'p> for StoredPiece<'p> {
    fn encode(&self, out: &mut Vec<u8>) {
        self.kind.encode(out);
        self.position.encode(out);
        out.extend_from_slice(self.bytes);
    }

    fn decode(from: &mut Reader<'p>) -> Result<Self, Malformed> {
        let (kind, position) = (u8::decode(from)?, u64::decode(from)?);
        Ok(Self { version: from.version(), kind, position, bytes: from.take_rest() })
    }
}

/// What a batch does to the checkpoints, before its pieces are stored (`Begin`) or after
/// (`Complete`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CheckpointStep {
    None,
    /// A checkpoint begins; what an unfinished one left is dropped.
    Begin,
    /// The checkpoint under way is whole: from here on it is what opening reads.
    Complete {
        from: u64,
    },
    /// All of one is in this batch.
    Whole {
        from: u64,
    },
}

/// Says what records become that are not to stay as they are.
pub(crate) trait Rewrite: fmt::Debug {
    /// Appends what becomes of the record of a sequence number; false, and nothing appended, where
    /// it stays as it is.
    fn rewrite(&self, seq: u64, record: &[u8], out: &mut Vec<u8>) -> Result<bool, StoreError>;
}

/// A run of records that is dropped as a whole, in tables of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Generation {
    /// The sequence number of its first record, and the one behind that of its last.
    pub(crate) first: u64,
    pub(crate) end: u64,
    /// The ordinal of its first event, or of the next one.
    pub(crate) first_event: u64,
    /// The engine's time of its newest record.
    pub(crate) now: u64,
    /// How many idempotency keys it has.
    pub(crate) keys: u64,
}

/// What a check of the whole store went over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct StoreReport {
    pub(crate) records: u64,
    pub(crate) keys: u64,
    /// Bytes of all records, named rows and pieces of checkpoints.
    pub(crate) bytes: u64,
}

/// What is in a store: either as it is at each call, or all of it as it was at one moment. Any
/// thread may call, and sees all of a batch or nothing of it.
pub(crate) trait Contents: Sync {
    /// How much there is of everything. Cheap, and never waits for a commit; so are the answers
    /// that are read from it.
    fn meta(&self) -> Arc<Meta>;

    /// The format that the named rows are in.
    fn version(&self) -> Version {
        self.meta().version
    }

    /// The sequence number behind that of the last durable record.
    fn end(&self) -> u64 {
        self.meta().end()
    }

    /// How many events there ever were: the ordinal of the next one.
    fn events(&self) -> u64 {
        self.meta().events
    }

    /// The latest timestamp of all events that are there.
    fn latest(&self) -> Option<Timestamp> {
        self.meta().latest()
    }

    /// The highest engine's time of all durable batches, also of those that were dropped.
    fn now(&self) -> u64 {
        self.meta().now
    }

    /// The generations, the oldest first; there is always one.
    fn generations(&self) -> Vec<Generation> {
        self.meta().generations.iter().map(StoredGeneration::public).collect()
    }

    /// When the events happened that were dropped.
    fn dropped(&self) -> StoredDropped {
        self.meta().dropped.clone()
    }

    /// Visits chunks with records from a sequence number on, the oldest first, until `visit`
    /// breaks. Checks checksums and that no record is missing. Where the first was dropped it
    /// begins with what is left: [`generations`](Self::generations) tells.
    fn read(
        &self,
        from: u64,
        visit: &mut dyn FnMut(&Chunk<'_>) -> ControlFlow<()>,
    ) -> Result<(), StoreError>;

    /// The newest chunk with records before a sequence number.
    fn read_before(&self, seq: u64) -> Result<Option<OwnedChunk>, StoreError>;

    /// Visits the idempotency keys of records from a sequence number on, the oldest first.
    fn keys(&self, from: u64, visit: &mut dyn FnMut(FoundKey)) -> Result<(), StoreError>;

    /// Visits the rows of a table by ascending key.
    fn state(&self, table: StateTable, visit: &mut dyn FnMut(u64, &[u8]))
    -> Result<(), StoreError>;

    /// Visits the rows of all spaces by ascending key, from one on, until `visit` breaks.
    fn space_rows(&self, from: Bound<&[u8]>, visit: VisitRow<'_>) -> Result<(), StoreError>;

    /// Visits the pieces of the newest whole checkpoint in the order in which they were stored,
    /// and returns its `from`; `None` where there is no checkpoint.
    fn pieces(&self, visit: &mut dyn FnMut(StoredPiece<'_>)) -> Result<Option<u64>, StoreError>;

    /// What error messages call the store: the path of its file.
    fn file(&self) -> &str;

    /// The sequence number of the oldest record that is there, or of the next one.
    fn first(&self) -> u64 {
        self.generations().first().map_or(0, |oldest| oldest.first)
    }

    /// The ordinal of the oldest event that is there, or of the next one.
    fn first_event(&self) -> u64 {
        self.generations().first().map_or(0, |oldest| oldest.first_event)
    }

    /// A sequence number that is not above that of an event: the event's own where there is nothing
    /// but events in its generation.
    fn lower_bound(&self, ordinal: u64) -> u64 {
        let generations = self.generations();
        let newest = generations.iter().rev().find(|it| it.first_event <= ordinal);
        newest
            .or(generations.first())
            .map_or(0, |it| it.first.saturating_add(ordinal.saturating_sub(it.first_event)))
    }

    /// The error for what is stored and is not what an engine stores.
    fn damaged(&self, what: &str, detail: &str) -> StoreError {
        let (file, what, detail) = (self.file().into(), what.into(), detail.into());
        StoreError::Damaged { file, what, detail }
    }
}

/// Whether a store can take a batch.
pub(in crate::journal) fn check(
    named: &Named,
    batch: &Batch<'_>,
    meta: &Meta,
) -> Result<(), StoreError> {
    let end = meta.end();
    if batch.first != end {
        return Err(named.batch(
            "must begin where the store ends",
            format!("begins at {}, and the store ends at {end}", batch.first),
        ));
    }
    let last = batch.ends.last().map_or(0, |end| u64::from(*end));
    if last != wide(batch.records.len()) || !batch.ends.is_sorted() {
        let detail = format!("{last} of {} bytes", batch.records.len());
        return Err(named.batch("must say where each of its records ends", detail));
    }
    let records = wide(batch.ends.len());
    let strays = batch.keys.iter().any(|key| u64::from(key.index) >= records);
    if strays || wide(batch.keys.len()) > records {
        let detail = format!("{} keys for {records} records", batch.keys.len());
        return Err(named.batch("must have at most one key for each of its records", detail));
    }
    if meta.version < Version::NEWEST && !batch.converts {
        return Err(named.batch("must convert the store", "it is of an older format"));
    }
    let completes = matches!(batch.checkpoint, CheckpointStep::Complete { .. });
    let begins = matches!(batch.checkpoint, CheckpointStep::Begin | CheckpointStep::Whole { .. });
    if (completes || !batch.pieces.is_empty()) && !begins && meta.under_way.is_none() {
        return Err(named.batch("must not go on with a checkpoint", "none was begun"));
    }
    Ok(())
}

/// Is shown rows of spaces, until it breaks.
pub(crate) type VisitRow<'v> = &'v mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>;

/// Who is told of progress.
pub(crate) type ProgressSink<'t> = &'t mut dyn FnMut(Progress);

/// What is done with the contents of one moment.
pub(crate) type Visit<'v> = &'v mut dyn FnMut(&dyn Contents) -> Result<(), StoreError>;

/// Where a log is kept. Any thread may call, and reading goes on beside a commit. A visitor may
/// read the store, but not commit to it. Of checking, compacting and copying there is one at a
/// time; the others wait.
pub(crate) trait Store: Contents + Send + Sync + fmt::Debug {
    /// Makes a batch durable, and returns when it is; one batch at a time. After an error the store
    /// takes nothing any more. Whether the batch is there, as a whole or not at all, shows when the
    /// store is opened again.
    fn commit(&self, batch: &Batch<'_>) -> Result<(), StoreError>;

    /// Shows everything as it is now, whatever is committed meanwhile. Compacting and closing wait
    /// until the visit ends. So does using again the pages that commits free, so the file grows.
    fn at_once(&self, visit: Visit<'_>) -> Result<(), StoreError>;

    /// Checks every value, and then every page of the file. Commits go on during the first part
    /// and wait for the second.
    fn verify(&self, progress: &mut dyn FnMut(Progress)) -> Result<StoreReport, StoreError>;

    /// Makes the file as small as it can be; true where that helped. Commits wait.
    fn compact(&self, progress: &mut dyn FnMut(Progress)) -> Result<bool, StoreError>;

    /// Copies what there is now to a new file, while commits go on. Where something has that name
    /// already it is an error.
    fn backup(&self, to: &Path, progress: &mut dyn FnMut(Progress)) -> Result<(), StoreError>;

    /// Bytes of the file.
    fn size(&self) -> u64;

    /// What of the caller's runs on this thread inside of this store: then some calls would wait
    /// for themselves.
    fn running(&self) -> Option<Callback>;

    /// Does work that tells the caller of its progress; a panic there goes on to the caller.
    fn with_progress(&self, tell: ProgressSink<'_>, work: &mut dyn FnMut(ProgressSink<'_>));

    /// Runs code of the caller's in the middle of `with_progress`.
    fn run_caller(&self, code: &mut dyn FnMut());

    /// Closes the file; everything after it is an error. Dropping does it too, and says nothing.
    fn close(&self) -> Result<(), StoreError>;

    /// The error for a call that would wait for itself.
    fn within_itself(&self, call: &'static str, callback: Callback) -> StoreError {
        StoreError::WithinItself { file: self.file().into(), call, callback: callback.as_str() }
    }

    /// The error for whoever comes after the store was closed.
    fn closed(&self) -> StoreError {
        StoreError::Closed { file: self.file().into() }
    }
}
