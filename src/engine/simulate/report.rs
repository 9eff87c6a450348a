//! What became of replayed calls, as it is reported.

use serde::{Deserialize, Serialize};

use crate::base::amount::Amount;
use crate::base::clock::Timestamp;
use crate::rules::{Enforcement, RuleKey};

/// What rules would have done with calls: the answer of a
/// [simulation](crate::Engine::simulate).
///
/// It is plain data with fields in `camelCase`, and prints as a table of text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct SimulationReport {
    /// When the first call was decided about; `None` where there was none.
    pub first: Option<Timestamp>,
    /// When the latest was.
    pub last: Option<Timestamp>,
    /// What the calls were.
    pub demand: Demand,
    /// From when on refused calls are known, where they are replayed: when the oldest that is kept
    /// was decided about. `None` where none is kept.
    #[serde(default)]
    pub refused_since: Option<Timestamp>,
    /// From which timestamp on recorded events were replayed, where there may be some before.
    pub since: Option<Timestamp>,
    /// All calls that could be judged.
    pub calls: SimulatedCalls,
    /// How many calls could not be judged: a field of the event breaks its rule, the event lacks a
    /// dimension that a rule insists on, or falls in a period of a hard quota that was closed.
    pub unjudged: u64,
    /// Why the first of them could not.
    pub unjudged_because: Option<String>,
    /// How many customers made calls that some rule judged, of those that were
    /// [told apart](Self::is_cut_short).
    pub customers: u64,
    /// How many of them would have been refused a call.
    pub refused_customers: u64,
    /// Whether there were more keys than are told apart, a million over all rules and customers:
    /// the numbers of keys and customers are of those then, and the calls of the others are in the
    /// sums alone.
    pub is_cut_short: bool,
    /// Each rule, rate limits first, each kind in the order of its definition.
    pub rules: Vec<SimulatedRule>,
}

/// What the calls of a simulation were.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Demand {
    /// Recorded events: calls that were let in. What was refused was demand too, and is not known:
    /// [`Recording::refusals`](crate::events::Recording::refusals) keeps it.
    LetIn,
    /// Recorded events and the refused calls that are kept, which are known from
    /// [`SimulationReport::refused_since`] on.
    WithRefused,
    /// Given calls.
    Given,
}

/// How many calls, and what becomes of them against what did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct SimulatedCalls {
    /// How many there were.
    pub calls: u64,
    /// How many would have been refused.
    pub refused: u64,
    /// How many were refused when they were made.
    pub was_refused: u64,
    /// How many were let in, and would have been refused.
    pub newly_refused: u64,
    /// How many were refused, and would have been let in.
    pub newly_let_in: u64,
    /// Of how many it is not known what became of them; they are in none of the last three.
    pub unknown: u64,
}

/// What one rule would have done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct SimulatedRule {
    /// The rule's id; made up where it had none.
    pub id: String,
    /// The rule's name.
    pub name: String,
    /// `rate limit` or `quota`.
    pub kind: String,
    /// What it does to what does not fit.
    pub enforcement: Enforcement,
    /// Its limit; `None` of a rule without one.
    pub limit: Option<Amount>,
    /// How many calls it judged.
    pub calls: u64,
    /// How many did not fit: refused by a hard rule, maybe with others; over a soft one; what one
    /// in shadow would have refused.
    pub exceeded: u64,
    /// How many of those were let in when they were made.
    pub newly_exceeded: u64,
    /// How many of the calls were refused, by whichever rule, when they were made.
    pub was_refused: u64,
    /// What the calls brought of what the rule counts; `None` of a rule that counts the highest or
    /// latest amount.
    pub amount: Option<Amount>,
    /// What those brought that did not fit.
    pub exceeded_amount: Option<Amount>,
    /// How many keys it counted apart.
    pub keys: u64,
    /// How many of them made a call that did not fit.
    pub exceeded_keys: u64,
    /// The keys of the most such calls, the most first.
    pub worst: Vec<SimulatedKey>,
    /// All other keys together.
    pub others: OtherKeys,
    /// What its counters started from.
    pub starts_from: StartsFrom,
    /// It bounds how many reservations are open, or takes from a balance, and there is none here:
    /// it refuses nobody, but for the first where its limit is 0.
    pub left_out: bool,
}

/// What one key of a rule would have met.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct SimulatedKey {
    /// The key.
    pub key: RuleKey,
    /// How many calls the rule judged.
    pub calls: u64,
    /// How many did not fit.
    pub exceeded: u64,
    /// How many of those were let in when they were made.
    pub newly_exceeded: u64,
    /// How many of the calls were refused when they were made.
    pub was_refused: u64,
    /// What those brought that did not fit, as of the rule.
    pub exceeded_amount: Option<Amount>,
}

/// The keys of a rule that are not told of each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct OtherKeys {
    /// How many there are.
    pub keys: u64,
    /// How many calls the rule judged.
    pub calls: u64,
    /// How many did not fit.
    pub exceeded: u64,
    /// What those brought, as of the rule.
    pub exceeded_amount: Option<Amount>,
}

/// What the counters of a rule start from in a simulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StartsFrom {
    /// Nothing is used when the first call comes.
    Nothing,
    /// What is recorded of the use before the first call.
    Recorded,
    /// The same, but of some key it is not known in whole: its first period begins with nothing
    /// used, and so refuses too little.
    Partial,
}
