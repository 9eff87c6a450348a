//! Prepaid balances: accounts, the grants that they are made of, and their ledgers.
//!
//! An account is plain data, and everything here is pure: what becomes of an account hangs on what
//! it was, the change and the instant alone. So a change that is redone does the same again, and
//! nothing has to run for a grant or a hold to end: whoever touches an account first
//! settles it (`Account::settle`), each end at its own instant.

mod account;
mod balance;
mod change;
mod entry;
mod grants;
mod request;
mod returned;
mod stored;

#[cfg(test)]
mod tests;

pub(crate) use self::account::{Account, Available, Instant, Terms};
pub use self::balance::{
    Balance, BalanceCheck, BalanceCursor, BalanceEntry, BalancePage, BalanceQuery, Debited,
    LedgerPage, LedgerQuery, Posting,
};
pub(crate) use self::change::Change;
pub(crate) use self::entry::{CallSource, Entry, Source};
pub use self::entry::{EntryId, EntryIdParseError, EntryKind, PaidBy};
pub use self::grants::Grant;
pub use self::request::{Credit, Debit, NewBalance};
pub(crate) use self::request::{Problem, asked};

/// How many grants of an account may have something left at once. What events give back beyond
/// that goes to the last of those that do not expire.
pub const MAX_GRANTS: usize = 10_000;
/// How many entries of an account's ledger are kept where nothing else is said: the newest.
pub const LEDGER_ENTRIES: usize = 256;
/// The highest balance of an account, 10^18, which no credit may pass.
pub const MAX_BALANCE: crate::base::amount::Amount =
    crate::base::amount::Amount::from_millionths(1_000_000_000_000_000_000_000_000);
