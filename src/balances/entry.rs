//! The ledger of an account.

use std::fmt;
use std::str::FromStr;

use smallvec::SmallVec;

use super::grants::Drawn;
use crate::base::amount::Amount;
use crate::base::clock::Timestamp;
use crate::base::ids;
use crate::base::text::as_text;
use crate::rules::Units;

/// The id of an entry of a ledger, `txn_` and 26 letters and digits; of a credit also that of its
/// grant. Entries of one balance sort in their order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId(u128);

const PREFIX: &str = "txn_";

impl EntryId {
    /// The entry of a number in the ledger of an account.
    pub(crate) fn new(account: u64, number: u64) -> Self {
        Self((u128::from(account) << 64) | u128::from(number))
    }

    /// Its number in the ledger of an account; `None` where it is of another one.
    pub(crate) fn number_in(self, account: u64) -> Option<u64> {
        let number = u64::try_from(self.0 & u128::from(u64::MAX)).ok()?;
        (Self::new(account, number) == self).then_some(number)
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(ids::print(PREFIX, self.0).as_str())
    }
}

impl fmt::Debug for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is no [`EntryId`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("entry id {text:?} must be `txn_` and 26 letters and digits as the engine made them")]
pub struct EntryIdParseError {
    text: String,
}

impl FromStr for EntryId {
    type Err = EntryIdParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let id = ids::parse(PREFIX, text).map(Self);
        id.ok_or_else(|| EntryIdParseError { text: text.to_owned() })
    }
}

as_text!(EntryId);

/// What an entry of a ledger did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EntryKind {
    /// It added its amount.
    Credit,
    /// It took its amount.
    Debit,
    /// It took what was left of a grant that expired.
    Expiry,
}

/// How much a grant paid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct PaidBy {
    /// The grant, by the entry of its credit.
    pub grant: EntryId,
    /// How much of it.
    pub amount: Amount,
}

/// An entry as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The place in the ledger, from 0.
    pub(crate) number: u64,
    pub(crate) at: Timestamp,
    pub(crate) kind: EntryKind,
    /// More than nothing.
    pub(crate) units: Units,
    /// What the balance was after it.
    pub(crate) after: Units,
    pub(crate) source: Source,
    /// Of a debit and an expiry the grants that it took from, by the numbers of their entries; of a
    /// debit what is left was owed. Of a credit none.
    pub(crate) paid: SmallVec<[(u64, Units); 1]>,
}

/// Where an entry comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// A call of the handle.
    Call(Box<CallSource>),
    /// An event; its number where events have one.
    Event(Option<u64>),
    /// The time.
    Time,
}

/// What a call said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CallSource {
    pub(crate) description: Option<Box<str>>,
    pub(crate) reference: Option<Box<str>>,
    /// Of a credit: when it expires, and its priority.
    pub(crate) expires: Option<Timestamp>,
    pub(crate) priority: i32,
}

impl Entry {
    /// Whether a call that asks for this is the one that it came from.
    pub(crate) fn is_of(&self, kind: EntryKind, units: Units, call: &CallSource) -> bool {
        let is_its = matches!(&self.source, Source::Call(known) if **known == *call);
        is_its && self.kind == kind && self.units == units
    }
}

/// The grants that were drawn from, by their numbers.
pub(super) fn paid(drawn: &Drawn) -> SmallVec<[(u64, Units); 1]> {
    match drawn.as_slice() {
        [(key, lot)] => SmallVec::from_buf([(key.number, lot.units)]),
        all => all.iter().map(|(key, lot)| (key.number, lot.units)).collect(),
    }
}
