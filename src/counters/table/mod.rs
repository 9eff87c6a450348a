//! The table of counters, and the locks that a decision is made under.
//!
//! Rows lie in shards by their hash, each shard behind one lock. A decision locks the shards of
//! all rows that it touches, in ascending order and all at once, judges every rule, and then
//! writes every counter or none. That makes it linearizable: between the locks nobody else sees
//! or changes what it looks at, nothing is taken that has to be given back, and the one order of
//! locking leaves no cycle for a deadlock. Locks are held for arithmetic and for the engine's own
//! log, never over a caller's code.
//!
//! Time inside a shard never runs back: a decision's instant is the latest that any of its shards
//! has seen, if that is later than its own reading.
//!
//! A decision sees exactly one rule set: the version is checked once the locks are held, and a
//! decision that came with another one starts again. Whoever changes the rules closes the table
//! first, so that every decision by the old rules has ended, and opens it with the new ones.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use self::shard::Shard;
use super::time::{At, Moment, Timeline};
use crate::telemetry::Tally;

mod accounts;
mod adjust;
mod audit;
mod charge;
mod copy;
mod correct;
mod crossings;
mod decide;
mod erase;
mod hold;
mod judge;
mod keep;
mod keys;
mod locked;
mod recorded;
mod recut;
mod redo;
mod request;
mod room;
mod shard;
mod spending;
mod starts;
mod straight;
mod upkeep;
mod values;
mod write;

#[cfg(test)]
mod tests;

pub(crate) use self::accounts::{ACCOUNTS, AccountStep};
pub(crate) use self::adjust::Adjusting;
#[cfg(test)]
pub(crate) use self::audit::Mismatch;
pub(crate) use self::audit::{Audit, Audited};
pub(crate) use self::charge::{Charge, Charges, Match, Role};
pub(crate) use self::correct::{Correcting, Taken};
pub(crate) use self::crossings::{CrossedRow, Crossing};
pub(crate) use self::erase::ErasedKeys;
pub(crate) use self::hold::{
    Extension, GivenBackLog, Held, HeldChange, HeldPlace, Holding, Settling,
};
pub(crate) use self::keep::KeptLine;
pub(crate) use self::keys::{FoundKey, KeysPass};
pub(crate) use self::recut::Recut;
pub(crate) use self::redo::{LogEnd, PastCharge, RedoRecord};
pub(crate) use self::request::{
    Committed, Intent, Request, RowAddress, RowAddresses, RowLists, Undecided, Verdict,
};
pub(crate) use self::shard::accounts::AccountKey;
pub(crate) use self::shard::fired::Mark;
#[cfg(test)]
pub(crate) use self::starts::Start;

/// The version while no decision may be made.
const CLOSED: u64 = u64::MAX;

#[derive(Debug)]
pub(crate) struct Table {
    shards: Box<[Padded]>,
    version: AtomicU64,
    /// Rows of keys of their own, over all shards.
    rows: AtomicU64,
    max_rows: u64,
    /// Everyday decisions go straight: all the time, but in tests that compare.
    goes_straight: AtomicBool,
    /// Rows that were dropped since somebody asked.
    evicted: Tally,
    timeline: Timeline,
    /// How many accounts there are, which has the same bound as the rows.
    accounts: AtomicU64,
    /// How many entries of their ledgers accounts keep.
    entries: usize,
    /// Where it is kept what is given back of holds that have expired, where something keeps it.
    given_back: OnceLock<Box<dyn GivenBackLog>>,
}

/// How many decisions went which way.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Paths {
    /// In one pass: see [`straight`].
    pub(crate) straight: u64,
    /// The others.
    pub(crate) step_by_step: u64,
}

/// A shard on cache lines of its own, so that neighbours do not slow each other down.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Padded(Mutex<Shard>);

impl Table {
    pub(crate) fn new(max_rows: u64, timeline: Timeline, shards: usize) -> Self {
        let shards = shards.next_power_of_two();
        Self {
            shards: (0..shards).map(|_| Padded::default()).collect(),
            version: AtomicU64::new(0),
            rows: AtomicU64::new(0),
            max_rows,
            goes_straight: AtomicBool::new(true),
            evicted: Tally::default(),
            timeline,
            accounts: AtomicU64::new(0),
            entries: crate::balances::LEDGER_ENTRIES,
            given_back: OnceLock::new(),
        }
    }

    /// Lets everyday decisions go straight, or has all made step by step: what tests compare.
    pub(crate) fn go_straight(&self, straight: bool) {
        self.goes_straight.store(straight, Ordering::Relaxed);
    }

    /// How many decisions that locked rows went straight, and how many step by step. O(shards).
    pub(crate) fn paths(&self) -> Paths {
        self.shards().fold(Paths::default(), |paths, shard| {
            let Paths { straight, step_by_step } = shard.lock().paths;
            Paths {
                straight: paths.straight.wrapping_add(straight),
                step_by_step: paths.step_by_step.wrapping_add(step_by_step),
            }
        })
    }

    pub(crate) fn timeline(&self) -> Timeline {
        self.timeline
    }

    fn given_back_log(&self) -> Option<&dyn GivenBackLog> {
        self.given_back.get().map(|log| &**log)
    }

    /// How many keys may have counters.
    pub(crate) fn max_rows(&self) -> u64 {
        self.max_rows
    }

    /// How many keys have counters now.
    pub(crate) fn live_keys(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    /// How many keys have lost their counters.
    pub(crate) fn evicted(&self) -> &Tally {
        &self.evicted
    }

    /// Lets decisions be made by the rule set of this version and by no other. Whoever reads the
    /// version sees what was stored before it.
    pub(crate) fn open(&self, version: u64) {
        self.version.store(version, Ordering::Release);
    }

    /// The version of the rule set that decisions are made by, if one is. It may be another one
    /// once a decision has its locks.
    #[inline]
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Lets no decision be made until the next [`open`](Self::open), waits for those under way,
    /// and returns an instant that is not before any of theirs.
    ///
    /// A decision that locks one of its shards after it was locked here sees that the table is
    /// closed; one that has locked it before keeps this waiting, and has left its instant there.
    pub(crate) fn close(&self, now: Moment) -> At {
        self.version.store(CLOSED, Ordering::Release);
        let latest = self.shards().fold(now, |now, shard| shard.lock().not_before(now));
        self.timeline.at(latest, None)
    }

    /// Lets no decision go by an earlier time.
    pub(crate) fn start_at(&self, now: Moment) {
        for shard in self.shards() {
            shard.lock().advance(now);
        }
    }

    pub(crate) fn shard_count(&self) -> usize {
        self.shards.len()
    }

    fn shards(&self) -> impl Iterator<Item = &Mutex<Shard>> {
        self.shards.iter().map(|shard| &shard.0)
    }

    #[inline]
    fn shard_of(&self, hash: u64) -> usize {
        // Bits that the hash tables do not use: they take the lowest and the highest seven.
        let last = self.shards.len().saturating_sub(1);
        usize::try_from(hash >> 40).unwrap_or(0) & last
    }

    /// The shard of a row with this hash.
    #[inline]
    fn shard(&self, hash: u64) -> Option<&Mutex<Shard>> {
        let shard = self.shard_at(self.shard_of(hash));
        debug_assert!(shard.is_some(), "every hash is of one of the shards");
        shard
    }

    #[inline]
    fn shard_at(&self, index: usize) -> Option<&Mutex<Shard>> {
        self.shards.get(index).map(|shard| &shard.0)
    }
}

/// The shard of a shared row may be any, as long as it is always the same.
fn overflow_hash(counter: u32) -> u64 {
    u64::from(counter).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
