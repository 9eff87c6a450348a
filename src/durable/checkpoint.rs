//! Checkpoints: the counters and the roll-ups, copied piece by piece while decisions go on.
//!
//! Each piece is copied under the lock that its part of the engine has anyway, and says up to which
//! place of the log it is. Opening starts from the newest whole checkpoint and redoes the log from
//! the earliest of those places on.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::queue::Queue;
use crate::counters::{Moment, Table};
use crate::ledger::Ledger;
use crate::log::store::{CheckpointStep, Piece};
use crate::snapshot::Snapshot;
use crate::usage::RowCursor;

/// Counters: blocks of one shard each, with the place that it is of and its length before it.
pub(super) const COUNTERS: u8 = 1;
/// Rows of the roll-ups.
pub(super) const ROWS: u8 = 2;
/// What the rows of the roll-ups are about.
pub(super) const KEYS: u8 = 3;

/// Which events are in memory.
pub(super) const LOG: u8 = 4;

/// The least that a step copies, where there is so much.
const STEP_BYTES: usize = 256 * 1_024;
/// Pieces are about so large.
const PIECE_BYTES: usize = 64 * 1_024;
/// The place and the length before a block of counters.
const BLOCK_HEAD: usize = 12;
/// How many rows of the roll-ups are copied under one lock.
const ROWS_A_LOCK: usize = 512;

/// What checkpoints are made of.
#[derive(Debug)]
pub(super) struct Sources {
    pub(super) table: Arc<Table>,
    pub(super) ledger: Option<Arc<Ledger>>,
    pub(super) snapshot: Arc<ArcSwap<Snapshot>>,
    pub(super) queue: Arc<Queue>,
}

/// A checkpoint under way.
#[derive(Debug)]
pub(super) struct Checkpoint {
    stage: Stage,
    /// The earliest place that a piece is of.
    from: u64,
    /// How many bytes its pieces have.
    bytes: u64,
    /// The latest time by which something was left out that says nothing any more.
    now: Moment,
}

#[derive(Debug)]
enum Stage {
    Begin,
    /// The shard that is next.
    Shards(usize),
    Rows(RowCursor),
    Keys,
    Log,
    /// All is copied. It counts when everything that went into the queue before is durable: until
    /// then the pieces know of records that a crash would lose.
    Copied {
        serial: u64,
    },
}

/// What one step made.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) pieces: Vec<Piece>,
    /// The engine's time, where the pieces know a later one.
    pub(super) now: Moment,
    pub(super) mark: CheckpointStep,
    /// The checkpoint is whole with this step, and has so many bytes.
    pub(super) whole: Option<(u64, u64)>,
}

impl Step {
    pub(super) fn nothing() -> Self {
        Self { pieces: Vec::new(), now: Moment(0), mark: CheckpointStep::None, whole: None }
    }
}

impl Checkpoint {
    pub(super) fn new() -> Self {
        Self { stage: Stage::Begin, from: u64::MAX, bytes: 0, now: Moment(0) }
    }

    /// Copies about `bytes` more; `now` is the engine's time. `serial` is that of the last entry of
    /// the queue that will be durable with this step.
    pub(super) fn step(
        &mut self,
        sources: &Sources,
        now: Moment,
        bytes: usize,
        serial: u64,
    ) -> Step {
        let mut step = Step::nothing();
        if let Stage::Copied { serial: copied } = self.stage {
            if serial >= copied {
                step.mark = CheckpointStep::Complete { from: self.from };
                step.whole = Some((self.from, self.bytes));
            }
            return step;
        }
        if matches!(self.stage, Stage::Begin) {
            step.mark = CheckpointStep::Begin;
            self.stage = Stage::Shards(0);
        }
        let most = bytes.max(STEP_BYTES);
        let mut made = 0_usize;
        while made < most && !matches!(self.stage, Stage::Copied { .. }) {
            let Some(piece) = self.piece(sources, now) else { continue };
            self.from = self.from.min(piece.position);
            made = made.saturating_add(piece.bytes.len());
            step.pieces.push(piece);
        }
        step.now = self.now;
        self.bytes = self.bytes.saturating_add(u64::try_from(made).unwrap_or(u64::MAX));
        step
    }

    fn piece(&mut self, sources: &Sources, now: Moment) -> Option<Piece> {
        match &mut self.stage {
            Stage::Begin | Stage::Copied { .. } => None,
            Stage::Shards(next) => {
                let mut piece = Shards { next: *next, position: u64::MAX, bytes: Vec::new(), now };
                piece.copy(sources);
                let Shards { next: after, position, bytes, now } = piece;
                *next = after;
                // Also where there is no row: what comes later has to be redone.
                (self.now, self.from) = (self.now.max(now), self.from.min(position));
                let piece = Some(Piece { kind: COUNTERS, position, bytes });
                let piece = piece.filter(|piece| !piece.bytes.is_empty());
                if after >= sources.table.shards() {
                    self.stage = match &sources.ledger {
                        Some(_) => Stage::Rows(RowCursor::default()),
                        None => Stage::Copied { serial: sources.queue.serial() },
                    };
                }
                piece
            }
            Stage::Rows(cursor) => {
                let ledger = sources.ledger.as_ref()?;
                let mut bytes = Vec::new();
                let (position, more) = ledger.save_rows(cursor, ROWS_A_LOCK, &mut bytes);
                if !more {
                    self.stage = Stage::Keys;
                }
                Some(Piece { kind: ROWS, position, bytes })
            }
            Stage::Keys => {
                let mut bytes = Vec::new();
                let position = sources.ledger.as_ref()?.save_keys(&mut bytes);
                self.stage = Stage::Log;
                Some(Piece { kind: KEYS, position, bytes })
            }
            Stage::Log => {
                let mut bytes = Vec::new();
                let position = sources.ledger.as_ref()?.save_log(&mut bytes);
                self.stage = Stage::Copied { serial: sources.queue.serial() };
                Some(Piece { kind: LOG, position, bytes })
            }
        }
    }
}

/// A piece of shards that is being made.
struct Shards {
    next: usize,
    position: u64,
    bytes: Vec<u8>,
    now: Moment,
}

impl Shards {
    /// Copies shards from the next one on, until the piece is large enough.
    fn copy(&mut self, sources: &Sources) {
        while self.next < sources.table.shards() && self.bytes.len() < PIECE_BYTES {
            let mark = self.bytes.len();
            self.bytes.extend_from_slice(&[0; BLOCK_HEAD]);
            let start = self.bytes.len();
            // The rules may change between two shards: each is copied by those of its moment.
            let snapshot = sources.snapshot.load();
            let (table, end) = (&sources.table, || sources.queue.end());
            let saved =
                table.save_shard(self.next, &snapshot.roster, self.now, end, &mut self.bytes);
            let Some(saved) = saved else {
                self.bytes.truncate(mark);
                // The rules are being changed: a few microseconds.
                std::thread::yield_now();
                continue;
            };
            self.next = self.next.saturating_add(1);
            if saved.rows == 0 {
                self.bytes.truncate(mark);
            }
            self.position = self.position.min(saved.position);
            self.now = self.now.max(saved.now);
            let length = u32::try_from(self.bytes.len().saturating_sub(start)).unwrap_or(u32::MAX);
            if let Some((place, size)) =
                self.bytes.get_mut(mark..start).and_then(|head| head.split_at_mut_checked(8))
            {
                place.copy_from_slice(&saved.position.to_le_bytes());
                size.copy_from_slice(&length.to_le_bytes());
            }
        }
    }
}

/// The blocks of a piece of counters: the place that each is of, and its bytes.
pub(super) fn blocks(mut bytes: &[u8]) -> impl Iterator<Item = Option<(u64, &[u8])>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let rest = std::mem::take(&mut bytes);
        let mut block = || {
            let (place, rest) = rest.split_first_chunk()?;
            let (length, rest) = rest.split_first_chunk()?;
            let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
            let (block, rest) = rest.split_at_checked(length)?;
            bytes = rest;
            Some((u64::from_le_bytes(*place), block))
        };
        Some(block())
    })
}
