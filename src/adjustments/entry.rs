//! One adjustment.

use serde::Serialize;

use crate::base::amount::Amount;
use crate::base::clock::Timestamp;
use crate::rules::RuleKey;

/// What an operator gave back of a rule to a key, or took.
///
/// It serializes as `number`, `ruleId`, `key`, `amount`, `isReset`, `note`, `idempotencyKey` and
/// `at`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Adjustment {
    /// Its number among all adjustments of the engine, from 0.
    pub number: u64,
    /// The id of the rule.
    pub rule_id: String,
    /// The key.
    pub key: RuleKey,
    /// What was added to what is used: less than nothing where something was given back. Of a reset
    /// what was used, with the opposite sign.
    pub amount: Amount,
    /// Whether the key began anew.
    pub is_reset: bool,
    /// What was said about it: who, and why.
    pub note: Option<String>,
    /// The key under which it is made once.
    pub idempotency_key: Option<String>,
    /// When it was made; it counts in the period of that instant.
    pub at: Timestamp,
}

/// Whose figures an adjustment counts in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct CountsFor {
    /// Of all rules that an engine ever had only this one has it: a rule that is removed and added
    /// again has another.
    pub(crate) age: u64,
    /// What the rule counted.
    pub(crate) metric: Box<str>,
    pub(crate) key: RuleKey,
}

/// An adjustment, and where it counts.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) adjustment: Adjustment,
    pub(crate) of: CountsFor,
    /// The sequence number of its record, where it has one.
    pub(crate) seq: Option<u64>,
}
