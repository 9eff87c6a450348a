//! What the engine remembers: one counter a rule and key.
//!
//! Each of the [`algorithms`] is pure arithmetic on a few words of state. The [`table`] keeps those
//! words, behind the locks that a decision is made under.

mod algorithms;
mod cell;
mod counter;
mod history;
mod row;
mod saved;
mod table;
mod time;

pub(crate) use self::algorithms::periods::{Ahead, Late, Periods};
pub(crate) use self::algorithms::{
    CalendarPeriod, FIRST, Figures, FixedWindow, Gauge, GaugePeriod, Policy, SlidingWindow,
    TokenBucket, Waiting,
};
pub(crate) use self::counter::SavedCounter;
pub(crate) use self::counter::{ChangeTime, Checkpoints, Counter, CounterSet, MAX_AHEAD_SECONDS};
pub(crate) use self::history::{History, Used};
pub(crate) use self::saved::{
    StoredCharge, StoredCharges, StoredStart, decode_charges, encode_charges,
};
#[cfg(test)]
pub(crate) use self::table::Mismatch;
pub(crate) use self::table::{
    Charge, Charges, Committed, Intent, Match, Request, RowAddress, Table, Undecided, Verdict,
};
pub(crate) use self::table::{Checked, Checking, PastCharge, Redo, Restoring, Role};
pub(crate) use self::time::{At, Moment, Timeline};
