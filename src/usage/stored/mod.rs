//! The roll-ups as bytes, and back.
//!
//! Saving is fuzzy: rows are copied a few at a time while events come in. Each copy notes its
//! *position*: the place that the log had reached when it was made. What the rows are about
//! (values, tuples, columns, floors) is copied last, in one step: the *keys*.
//!
//! Loading reads the keys, then the rows, and then redoes every event from the first position on,
//! which adds it to those rows whose copy does not have it yet. Before the position of the keys no
//! key is added and no bucket dropped, because the keys say what became of those events; later
//! events count as if they had just come in. The result is what was there, row by row.
//!
//! A series has the same number in the rows and in the keys. While rows were saved one may have
//! been dropped and its number given to another, but only when all its rows were gone; the keys say
//! that their buckets are gone, too, and loading leaves them out. A value that was counted among
//! the others, and got a number of its own while rows were saved, is noted as a *birth*: events
//! from before are counted among the others again.

use crate::base::codec::Malformed;

mod load;
mod replay;
mod save;
#[cfg(test)]
mod tests;

/// What the keys begin with. Beside it stands the format of the store: in format 1 there are sums
/// of whole hours, rows and columns say from when on they have every event in place of when the
/// events happened that they lack, and nobody knows with whose events names of values came.
const VERSION: u8 = 1;
/// Among the rows, in place of the number of a level: a position follows.
const POSITION: u8 = 255;
/// What a saved series is of: nothing that is saved, a value, or a tuple.
const FREE: u8 = 0;
const OF_VALUE: u8 = 1;
const OF_TUPLE: u8 = 2;

/// Why saved roll-ups were not loaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RollupsError {
    #[error("saved roll-ups are damaged: {0}")]
    Damaged(#[from] Malformed),
    #[error("saved roll-ups are of version {0}, and versions up to {VERSION} are known")]
    Newer(u8),
    /// What is counted by other dimensions than declared is counted anew.
    #[error("saved roll-ups are by {saved:?}, and {declared:?} are declared")]
    Mismatch { saved: Vec<String>, declared: Vec<String> },
}

/// How far the rows are saved.
#[derive(Clone, Debug, Default)]
pub(crate) struct RowCursor {
    has_begun: bool,
    level: usize,
    /// The bucket to go on with, and how many of its rows are saved.
    bucket: i64,
    rows: usize,
}
