//! What may happen to an account.

use super::account::Terms;
use super::entry::CallSource;
use crate::base::clock::Timestamp;
use crate::rules::Units;

/// A change of an account. What checks it comes before: a change is done whatever the account says,
/// so that it is redone as it was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// The account is made.
    Create { terms: Terms, initial: Units },
    /// A call adds something.
    Credit { units: Units, call: CallSource, key: Option<Box<str>> },
    /// A call takes something.
    Debit { units: Units, call: CallSource, key: Option<Box<str>> },
    /// An event takes something; less than nothing is given back.
    Take { units: Units },
    /// An event that is corrected gives so much back to the grants that paid for it, and refunds so
    /// much beyond what it had cost; it was decided about at `since`.
    Return { units: Units, refund: Units, event: u64, since: Timestamp },
    /// A reservation holds more.
    Hold { id: u64, until: u64, units: Units },
    /// A reservation's hold ends: so much was used, and the rest is given back. Of one that has
    /// ended the use alone counts.
    Settle { id: u64, until: u64, used: Units },
    /// A reservation's hold lasts until another instant.
    Extend { id: u64, until: u64, to: u64 },
    /// The account is removed.
    Remove,
}
