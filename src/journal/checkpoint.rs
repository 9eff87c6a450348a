//! Checkpoints: the counters and the roll-ups, copied piece by piece while decisions go on.
//!
//! Each piece is copied under the lock that its part of the engine has anyway, and says its
//! position: the sequence number up to which it has the effects of the log. Opening starts from the
//! newest complete checkpoint and redoes the log from the earliest of those positions on.
//!
//! *A position is exact.* A decision changes the rows of its shards and puts its record into the
//! queue before it lets the first of their locks go, and the ledger does the same under its own.
//! The position is the queue's end, asked under the lock that the copy is made under. So a record
//! before it that concerns the piece has its effects in the copy, and one from it on has none.
//!
//! *No effect without its record.* A copy may hold effects of records that are not durable yet. The
//! queue's serial number is read when the last piece has been copied, so none of those records has
//! a higher one; the checkpoint counts from the transaction on in which the log reaches that
//! number.
//!
//! *No deadlock.* Copying takes a shard's lock or the ledger's, and under it the queue's: the order
//! of a decision. While the rules are changed, shards are not copied, and the writer tries again
//! without any lock; who changes them waits for no commit in that time.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::queue::Queue;
use crate::adjustments::{Adjustments, Copied};
use crate::alerts::{Alert, Outbox, RestoredAlerts};
use crate::base::codec::{Codec, Malformed, Reader};
use crate::compiled::Snapshot;
use crate::counters::{Moment, Table};
use crate::journal::store::{CheckpointStep, Piece};
use crate::recording::Ledger;
use crate::refusals::RefusalLog;
use crate::reservations::{Entry, ReservationMap};
use crate::usage::RowCursor;

/// Counters: blocks, one a shard. Before each stand its position and its length.
pub(super) const COUNTERS: u8 = 1;
/// Rows of the roll-ups.
pub(super) const ROWS: u8 = 2;
/// What the rows of the roll-ups are about: values, tuples, columns.
pub(super) const KEYS: u8 = 3;
/// Which events are in memory.
pub(super) const LOG: u8 = 4;
/// What is held of counters: patches of rows.
pub(super) const HELD: u8 = 5;
/// Reservations.
pub(super) const RESERVATIONS: u8 = 6;
/// Accounts of balances: blocks, one a shard, as of counters.
pub(super) const BALANCES: u8 = 7;
/// Alerts: first which of the two, then marks of what has fired by rows, or what is known.
pub(super) const ALERTS: u8 = 9;
pub(super) const FIRED: u8 = 0;
pub(super) const KNOWN: u8 = 1;
/// Adjustments.
pub(super) const ADJUSTMENTS: u8 = 10;

/// How many bytes a step copies at the least, where there are so many left.
const STEP_BYTES: usize = 256 * 1_024;
/// About how many bytes a piece of counters has.
const PIECE_BYTES: usize = 64 * 1_024;
/// Bytes of the position and the length before a block of counters.
const BLOCK_HEAD: usize = 12;
/// How many rows of the roll-ups are copied under one lock.
const ROWS_A_LOCK: usize = 512;
/// How many reservations a piece has at the most.
const RESERVATIONS_A_PIECE: usize = 256;
/// The same of alerts.
const ALERTS_A_PIECE: usize = 256;
/// How many adjustments a piece has at the most.
const ADJUSTMENTS_A_PIECE: usize = 1_024;

/// The parts of the engine that checkpoints are copied from.
#[derive(Debug)]
pub(super) struct Sources {
    pub(super) table: Arc<Table>,
    pub(super) ledger: Option<Arc<Ledger>>,
    pub(super) refusals: Option<Arc<RefusalLog>>,
    pub(super) reservations: Arc<ReservationMap>,
    pub(super) alerts: Arc<Outbox>,
    pub(super) adjustments: Arc<Adjustments>,
    pub(super) snapshot: Arc<ArcSwap<Snapshot>>,
    pub(super) queue: Arc<Queue>,
}

/// A checkpoint under way.
#[derive(Debug)]
pub(super) struct Checkpoint {
    stage: Stage,
    /// The earliest position of its pieces: from there on opening redoes the log.
    from: u64,
    /// How many bytes its pieces have so far.
    bytes: u64,
    /// What is held of the shards that were copied, for a piece of its own, and its position.
    held: (u64, Vec<u8>),
    /// The same of what has fired.
    fired: (u64, Vec<u8>),
    /// The latest time at which counters were left out because they had come to rest: the engine
    /// that is opened with it must not be earlier.
    now: Moment,
}

#[derive(Debug)]
enum Stage {
    Begin,
    /// Counters are copied; the shard that is next.
    Shards(usize),
    /// Accounts are copied; the shard that is next.
    Accounts(usize),
    Rows(RowCursor),
    Keys,
    Log,
    /// Alerts are copied: those that are left, the last first, and their position.
    Alerts(u64, Vec<(u64, Arc<Alert>)>),
    /// Reservations are copied: those that are left, the last first, and their position.
    Reservations(u64, Vec<Arc<Entry>>),
    /// Adjustments are copied: those that are left, and their position.
    Adjustments(u64, Copied),
    /// Everything is copied. The checkpoint is complete when everything that went into the queue
    /// before is durable, up to this serial number.
    Copied {
        serial: u64,
    },
}

/// What one step made.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) pieces: Vec<Piece>,
    /// As [`Checkpoint::now`].
    pub(super) now: Moment,
    pub(super) mark: CheckpointStep,
    /// Where the checkpoint is complete with this step: the sequence number from which on opening
    /// redoes the log, and how many bytes the checkpoint has.
    pub(super) whole: Option<(u64, u64)>,
}

impl Step {
    pub(super) fn nothing() -> Self {
        Self { pieces: Vec::new(), now: Moment(0), mark: CheckpointStep::None, whole: None }
    }
}

impl Checkpoint {
    pub(super) fn new() -> Self {
        let (held, fired) = ((u64::MAX, Vec::new()), (u64::MAX, Vec::new()));
        Self { stage: Stage::Begin, from: u64::MAX, bytes: 0, held, fired, now: Moment(0) }
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
            // Never in the step that copied the last piece: the writer looks between two steps
            // whether the rules have changed, and then begins again.
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

    /// The serial number that has to be durable with it, where all is copied.
    pub(super) fn copied(&self) -> Option<u64> {
        match self.stage {
            Stage::Copied { serial } => Some(serial),
            _ => None,
        }
    }

    fn piece(&mut self, sources: &Sources, now: Moment) -> Option<Piece> {
        if let Some(piece) = self.piece_beside() {
            return Some(piece);
        }
        let end = || sources.queue.end();
        let (mut bytes, ledger) = (Vec::new(), sources.ledger.as_ref());
        let (kind, position) = match &mut self.stage {
            Stage::Begin | Stage::Copied { .. } => return None,
            Stage::Shards(next) => {
                let next = *next;
                return self.shards_piece(next, sources, now);
            }
            Stage::Accounts(next) => {
                let next = *next;
                return self.accounts_piece(next, sources);
            }
            Stage::Rows(cursor) => {
                let (position, more) = ledger?.save_rows(cursor, ROWS_A_LOCK, end, &mut bytes);
                if !more {
                    self.stage = Stage::Keys;
                }
                (ROWS, position)
            }
            Stage::Keys => {
                self.stage = Stage::Log;
                (KEYS, ledger?.save_keys(end, &mut bytes))
            }
            Stage::Log => {
                self.stage = Stage::alerts(sources);
                (LOG, ledger?.save_log(end, &mut bytes))
            }
            Stage::Alerts(position, left) => {
                let position = *position;
                let some: Vec<_> =
                    left.drain(left.len().saturating_sub(ALERTS_A_PIECE)..).collect();
                if left.is_empty() {
                    self.stage = Stage::reservations(sources);
                }
                if some.is_empty() {
                    self.from = self.from.min(position);
                    return None;
                }
                bytes.push(KNOWN);
                RestoredAlerts::save(&some, &mut bytes);
                (ALERTS, position)
            }
            Stage::Reservations(position, left) => {
                let position = *position;
                let some = left.len().saturating_sub(RESERVATIONS_A_PIECE);
                left.drain(some..).for_each(|entry| entry.encode(&mut bytes));
                if left.is_empty() {
                    self.stage = Stage::adjustments(sources);
                }
                if bytes.is_empty() {
                    self.from = self.from.min(position);
                    return None;
                }
                (RESERVATIONS, position)
            }
            Stage::Adjustments(..) => return self.adjustments_piece(sources),
        };
        Some(Piece { kind, position, bytes })
    }

    /// Adjustments that were copied; none of an engine that never had one.
    fn adjustments_piece(&mut self, sources: &Sources) -> Option<Piece> {
        let Stage::Adjustments(position, left) = &mut self.stage else { return None };
        let (position, mut bytes) = (*position, Vec::new());
        self.from = self.from.min(position);
        if left.is_empty() || !left.put(ADJUSTMENTS_A_PIECE, &mut bytes) {
            self.stage = Stage::Copied { serial: sources.queue.serial() };
        }
        let piece = Piece { kind: ADJUSTMENTS, position, bytes };
        Some(piece).filter(|piece| !piece.bytes.is_empty())
    }

    fn shards_piece(&mut self, next: usize, sources: &Sources, now: Moment) -> Option<Piece> {
        let [held, fired] = [&mut self.held, &mut self.fired].map(|it| std::mem::take(&mut it.1));
        let (position, bytes) = (u64::MAX, Vec::new());
        let mut piece = Shards { next, position, bytes, held, fired, now };
        piece.copy(sources);
        let Shards { next, position, bytes, held, fired, now } = piece;
        self.held = (self.held.0.min(position), held);
        self.fired = (self.fired.0.min(position), fired);
        // Also where there is no row: what comes later has to be redone.
        (self.now, self.from) = (self.now.max(now), self.from.min(position));
        self.stage = if next < sources.table.shard_count() {
            Stage::Shards(next)
        } else {
            Stage::Accounts(0)
        };
        let piece = Some(Piece { kind: COUNTERS, position, bytes });
        piece.filter(|piece| !piece.bytes.is_empty())
    }

    /// The accounts of shards, from one on: about as many as make a piece.
    fn accounts_piece(&mut self, next: usize, sources: &Sources) -> Option<Piece> {
        let (mut next, mut bytes, mut first) = (next, Vec::new(), u64::MAX);
        while next < sources.table.shard_count() && bytes.len() < PIECE_BYTES {
            let mut block = Vec::new();
            let end = || sources.queue.end();
            if let Some(position) = sources.table.copy_accounts(next, end, &mut block) {
                // Also where there is none: what comes later has to be redone.
                first = first.min(position);
                if !block.is_empty() {
                    put_block(position, &block, &mut bytes);
                }
            }
            next = next.saturating_add(1);
        }
        self.from = self.from.min(first);
        self.stage = if next < sources.table.shard_count() {
            Stage::Accounts(next)
        } else if sources.ledger.is_some() {
            Stage::Rows(RowCursor::default())
        } else {
            Stage::alerts(sources)
        };
        let piece = Some(Piece { kind: BALANCES, position: first, bytes });
        piece.filter(|piece| !piece.bytes.is_empty())
    }

    /// What lies beside the shards that were copied, what is held and what has fired: much at a
    /// time, and at their end the rest.
    fn piece_beside(&mut self) -> Option<Piece> {
        let least = if matches!(self.stage, Stage::Shards(_)) { PIECE_BYTES } else { 1 };
        let take = |kind, (position, bytes): &mut (u64, Vec<u8>), head: &[u8]| {
            (bytes.len() >= least).then(|| {
                let position = std::mem::replace(position, u64::MAX);
                let bytes = std::mem::take(bytes);
                Piece { kind, position, bytes: [head, &bytes].concat() }
            })
        };
        let held = take(HELD, &mut self.held, &[]);
        held.or_else(|| take(ALERTS, &mut self.fired, &[FIRED]))
    }
}

impl Stage {
    /// The alerts that are known. A decision notes its alerts before its record goes into the
    /// queue: so those of each record before the queue's end of now are among them.
    fn alerts(sources: &Sources) -> Self {
        let (position, alerts) = sources.alerts.copy(|| sources.queue.end());
        Self::Alerts(position, alerts)
    }

    /// The reservations that are known. Who makes one has it known before the lock of the makers is
    /// free again: so each whose record is before the queue's end of now is among them, and shows
    /// what any record before it says, because its state is locked from before the record on.
    fn reservations(sources: &Sources) -> Self {
        let position = sources.queue.end();
        Self::Reservations(position, sources.reservations.all())
    }

    /// The adjustments that are known: each is put into the queue and known in one step.
    fn adjustments(sources: &Sources) -> Self {
        let (position, copied) = sources.adjustments.copy(|| sources.queue.end());
        Self::Adjustments(position, copied)
    }
}

/// A piece of shards that is being made.
struct Shards {
    next: usize,
    position: u64,
    bytes: Vec<u8>,
    /// What is held of the shards.
    held: Vec<u8>,
    /// What has fired for their keys.
    fired: Vec<u8>,
    now: Moment,
}

impl Shards {
    /// Copies shards from the next one on, until the piece is large enough.
    fn copy(&mut self, sources: &Sources) {
        while self.next < sources.table.shard_count() && self.bytes.len() < PIECE_BYTES {
            let mark = self.bytes.len();
            self.bytes.extend_from_slice(&[0; BLOCK_HEAD]);
            let start = self.bytes.len();
            // The rules may change between two shards: each is copied by those of its moment, which
            // `copy_shard` makes sure of under the lock.
            let snapshot = sources.snapshot.load();
            let (table, end) = (&sources.table, || sources.queue.end());
            let out = (&mut self.bytes, &mut self.held, &mut self.fired);
            let saved = table.copy_shard(self.next, &snapshot.counters, self.now, end, out);
            let Some(saved) = saved else {
                self.bytes.truncate(mark);
                // The rules are being changed: a few microseconds, in which the changer takes locks
                // that nobody holds for long, and waits for no commit.
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
            if let Some((position, size)) =
                self.bytes.get_mut(mark..start).and_then(|head| head.split_at_mut_checked(8))
            {
                position.copy_from_slice(&saved.position.to_le_bytes());
                size.copy_from_slice(&length.to_le_bytes());
            }
        }
    }
}

/// Appends a block behind its position and its length.
fn put_block(position: u64, block: &[u8], out: &mut Vec<u8>) {
    position.encode(out);
    u32::try_from(block.len()).unwrap_or(u32::MAX).encode(out);
    out.extend_from_slice(block);
}

/// The blocks of a piece of counters or accounts: the position of each, and its bytes. Nothing
/// behind a damaged one can be read.
pub(super) fn blocks(
    mut from: Reader<'_>,
) -> impl Iterator<Item = Result<(u64, &[u8]), Malformed>> {
    std::iter::from_fn(move || {
        if from.rest().is_empty() {
            return None;
        }
        let mut block = || {
            let position = u64::decode(&mut from)?;
            let length = usize::try_from(u32::decode(&mut from)?).unwrap_or(usize::MAX);
            Ok((position, from.bytes(length, "a block")?))
        };
        let block = block();
        if block.is_err() {
            from.take_rest();
        }
        Some(block)
    })
}
