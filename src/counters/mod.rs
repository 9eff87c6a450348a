//! What the engine remembers: one counter a rule and key.
//!
//! Each of the [`algorithms`] is pure arithmetic on a few words of state. The [`table`] keeps those
//! words, behind the locks that a decision is made under.

mod algorithms;
mod cell;
mod counter;
mod history;
mod roles;
mod row;
mod stored;
mod table;
mod time;

pub(crate) use self::algorithms::periods::{FundsAhead, Lateness, Periods, UseAhead};
pub(crate) use self::algorithms::{
    Balance, CalendarPeriod, FIRST, Figures, FirstUse, FixedWindow, Gauge, GaugePeriod, Policy,
    Reading, Refusal, SlidingWindow, Slots, TokenBucket,
};
pub(crate) use self::counter::StoredCounter;
pub(crate) use self::counter::{
    ChangeTime, Checkpoints, Counter, CounterSet, MAX_AHEAD_SECONDS, Watch,
};
pub(crate) use self::history::{History, Since, Used};
pub(crate) use self::roles::Roles;
pub(crate) use self::stored::{StoredCharge, StoredCharges, encode_charges};
#[cfg(test)]
pub(crate) use self::table::Mismatch;
pub(crate) use self::table::{ACCOUNTS, AccountKey, AccountStep};
pub(crate) use self::table::{Adjusting, Correcting, Taken};
pub(crate) use self::table::{Audit, Audited, LogEnd, PastCharge, RedoRecord, Role};
pub(crate) use self::table::{
    Charge, Charges, Committed, ErasedKeys, Extension, Held, Holding, Intent, Match, Request,
    RowAddress, RowAddresses, RowLists, Settling, Table, Undecided, Verdict,
};
pub(crate) use self::table::{CrossedRow, Crossing, Mark};
pub(crate) use self::table::{FoundKey, KeptLine, KeysPass};
pub(crate) use self::table::{GivenBackLog, HeldChange, HeldPlace, Recut};
pub(crate) use self::time::{At, HowCounted, Moment, Timeline};
