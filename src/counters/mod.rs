//! What the engine remembers: one counter a rule and key.
//!
//! Each algorithm is pure arithmetic on a few words of state, one file an algorithm:
//! `(state, policy, time, cost) -> (fits, state after)`. The [`table`] keeps those words, behind
//! the locks that a decision is made under.

mod calendar_period;
mod cell;
mod counter;
mod entries;
mod fixed_window;
mod gauge_period;
mod history;
mod periods;
mod policy;
mod row;
mod saved;
mod sliding_window;
mod table;
mod time;
mod token_bucket;

#[cfg(test)]
mod tests;

pub(crate) use self::calendar_period::CalendarPeriod;
pub(crate) use self::counter::SavedCounter;
pub(crate) use self::counter::{ChangeTime, Checkpoints, Counter, CounterSet, MAX_AHEAD_SECONDS};
pub(crate) use self::fixed_window::FixedWindow;
pub(crate) use self::gauge_period::{FIRST, Gauge, GaugePeriod};
pub(crate) use self::history::{History, Used};
pub(crate) use self::periods::{Ahead, Late, Periods};
#[cfg(test)]
pub(crate) use self::policy::Reading;
pub(crate) use self::policy::{Figures, Policy};
pub(crate) use self::saved::{
    StoredCharge, StoredCharges, StoredStart, decode_charges, encode_charges,
};
pub(crate) use self::sliding_window::SlidingWindow;
#[cfg(test)]
pub(crate) use self::table::Astray;
pub(crate) use self::table::{
    Charge, Charges, Intent, Match, Request, RowAddress, Start, Table, Unsettled, Verdict,
};
pub(crate) use self::table::{Checked, Checking, Part, Restoring, Retake};
pub(crate) use self::time::{At, Moment, Timeline};
pub(crate) use self::token_bucket::TokenBucket;
