//! What makes an engine survive: the way of a record into the store, and back.
//!
//! Decisions are made in memory. What is durable is a write-ahead log of [records](record), each
//! an event with its idempotency key and with how every rule counted it, and now and then a
//! [checkpoint](checkpoint) of counters and roll-ups. Records go through a bounded [queue] to the
//! one [thread that writes](writer); [opening](recovery) loads the newest complete checkpoint and
//! redoes the records since.
//!
//! The words, beside those of other systems:
//!
//! - the *sequence number* of a record is its number in the log, counted from 0;
//! - to *redo* a record is to replay it into memory;
//! - a *position* is the sequence number up to which a copy of something has the effects of the
//!   log: of all records before it, and of none from there on;
//! - an *entry* of the queue is a record or a change of the engine's rows, and has a *serial*
//!   number, counted since the engine was opened.

mod batch;
mod checkpoint;
mod erase;
mod memory;
mod options;
mod pending;
mod pipeline;
mod queue;
mod record;
mod recovery;
#[cfg(feature = "durable")]
pub(crate) mod redb;
#[cfg_attr(
    not(feature = "durable"),
    expect(dead_code, reason = "a part of what a file says is of no use to a store in memory")
)]
pub(crate) mod store;
mod verify;
mod wake;
mod writer;

pub(crate) use self::erase::Erasure;
pub use self::memory::MemoryStore;
pub use self::options::{Durability, Durable, OnFailure};
pub(crate) use self::pipeline::{Commit, Pipeline};
pub(crate) use self::record::{
    Entry, Head, HoldsOut, Record, RecordedDecision, ReservationOut, Unreadable, put_corrected,
};
pub(crate) use self::recovery::{
    CalendarRow, CutBefore, DECLARED, Recovered, Settings, StoredSettings, recover,
};
pub(crate) use self::verify::Verified;
pub use self::verify::VerifyReport;
