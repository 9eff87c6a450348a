//! What is answered about balances.

use serde::{Deserialize, Serialize};

use super::entry::{EntryId, EntryKind, PaidBy};
use crate::base::amount::Amount;
use crate::base::clock::Timestamp;
use crate::event::EventId;

/// A balance as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Balance {
    /// Whose it is.
    pub owner: String,
    /// What it is called.
    pub name: String,
    /// What it is counted in.
    pub unit: String,
    /// The sum of its ledger: of all that came in, less what was taken and what has expired.
    pub current_balance: Amount,
    /// What must be left: above 0 a reserve, below 0 an overdraft.
    pub minimum_balance: Amount,
    /// What open reservations hold of it.
    pub held: Amount,
    /// What can be spent: current, less held, less the minimum. Below 0 where more was taken than
    /// the minimum allows, by [`record`](crate::Engine::record) or a commit.
    pub available_balance: Amount,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed by somebody.
    pub updated_at: Timestamp,
}

/// Whether an amount can be spent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct BalanceCheck {
    /// The balance as it stands.
    pub balance: Balance,
    /// The amount that was asked for.
    pub requested_amount: Amount,
    /// Whether it is no more than what is available.
    pub sufficient: bool,
}

/// An entry of a balance's ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct BalanceEntry {
    /// Its id; of a credit also that of its grant.
    pub id: EntryId,
    /// What it did.
    #[serde(rename = "type")]
    pub kind: EntryKind,
    /// How much, more than 0.
    pub amount: Amount,
    /// What the balance was after it.
    pub balance: Amount,
    /// What the caller said that it is for.
    #[serde(default)]
    pub description: Option<String>,
    /// What the caller said that it belongs to.
    #[serde(default)]
    pub reference: Option<String>,
    /// The event that it paid for or gave back for, where events are recorded.
    #[serde(default)]
    pub event_id: Option<EventId>,
    /// Of a debit and an expiry: the grants that it took from, in the order in which they were
    /// spent. What a debit took beyond them was owed, and is paid by what comes in next.
    #[serde(default)]
    pub paid_by: Vec<PaidBy>,
    /// Of a credit: when what is left of it expires.
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
    /// When it happened; of an expiry the very instant.
    pub created_at: Timestamp,
}

/// What a credit or a debit did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Posting {
    /// The entry; of a replay the first one.
    pub transaction: BalanceEntry,
    /// The balance as it stands.
    pub balance: Balance,
    /// The idempotency key was here before, and nothing was changed.
    pub is_replay: bool,
}

/// The answer of a debit.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "where it is insufficient nothing was taken"]
#[expect(clippy::exhaustive_enums, reason = "it was taken or it was not")]
pub enum Debited {
    /// It was taken.
    Posted(Posting),
    /// There was not enough, and nothing was changed.
    Insufficient(BalanceCheck),
}

impl Debited {
    /// Returns whether it was taken, now or by the call that this one repeats.
    #[must_use]
    pub fn is_posted(&self) -> bool {
        matches!(self, Self::Posted(_))
    }
}

/// Which balances are listed, page by page.
///
/// ```
/// use limitry::balances::BalanceQuery;
///
/// let of_one = BalanceQuery::new().owner("cust_123").limit(10);
/// # let _ = of_one;
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "a query asks nothing by itself"]
pub struct BalanceQuery {
    pub(crate) owner: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) after: Option<BalanceCursor>,
    limit: Option<usize>,
}

/// Where a page of balances ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BalanceCursor {
    pub(crate) owner: String,
    pub(crate) name: String,
}

/// A page of balances, by owner and name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct BalancePage {
    /// The balances.
    pub balances: Vec<Balance>,
    /// Where the next page begins; `None` on the last.
    pub next: Option<BalanceCursor>,
}

/// The most items of a page where nothing else is said, and the most that may be.
const PAGE: usize = 100;
const MAX_PAGE: usize = 1_000;

fn page(limit: Option<usize>) -> usize {
    limit.unwrap_or(PAGE).clamp(1, MAX_PAGE)
}

impl BalanceQuery {
    /// Asks for all balances.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks for those of one owner.
    pub fn owner(mut self, owner: impl Into<String>) -> Self {
        self.owner = Some(owner.into());
        self
    }

    /// Asks for those of one name.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Asks for so many at the most, up to 1000; 100 where it is not said.
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Goes on where a page ended.
    pub fn after(mut self, cursor: BalanceCursor) -> Self {
        self.after = Some(cursor);
        self
    }

    pub(crate) fn most(&self) -> usize {
        page(self.limit)
    }

    /// Whether the balance of an owner and a name is on this page or a later one.
    pub(crate) fn wants(&self, owner: &str, name: &str) -> bool {
        self.owner.as_deref().is_none_or(|wanted| wanted == owner)
            && self.name.as_deref().is_none_or(|wanted| wanted == name)
            && self
                .after
                .as_ref()
                .is_none_or(|after| (after.owner.as_str(), after.name.as_str()) < (owner, name))
    }
}

/// Which entries of a ledger are listed, page by page, the newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "a query asks nothing by itself"]
pub struct LedgerQuery {
    pub(crate) before: Option<EntryId>,
    limit: Option<usize>,
}

/// A page of a ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct LedgerPage {
    /// The entries, the newest first.
    pub transactions: Vec<BalanceEntry>,
    /// Where the next page begins; `None` on the last.
    pub next: Option<EntryId>,
}

impl LedgerQuery {
    /// Asks for all that are kept.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks for so many at the most, up to 1000; 100 where it is not said.
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Goes on where a page ended: with the entries before this one.
    pub fn before(mut self, entry: EntryId) -> Self {
        self.before = Some(entry);
        self
    }

    pub(crate) fn most(&self) -> usize {
        page(self.limit)
    }
}
