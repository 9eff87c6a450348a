//! The choices that a rule makes.

use serde::{Deserialize, Serialize};

/// How a rate limit counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Algorithm {
    /// A bucket of `burst` tokens (by default the limit), refilled continuously and exactly with
    /// the limit a window. Worst case in any span of the window's length: burst + limit.
    /// 24 bytes a key.
    #[default]
    #[serde(alias = "tokenBucket")]
    TokenBucket,
    /// Windows aligned to the Unix epoch, each with a count of its own. Worst case in any span
    /// of the window's length: twice the limit, across an edge. 24 bytes a key.
    #[serde(alias = "fixedWindow")]
    FixedWindow,
    /// Never more than the limit in any span of the window's length. It counts in slots of a
    /// sixtieth of the window (rounded up to a nanosecond) and a use leaves with its whole slot,
    /// so it refuses at most one slot early. 504 bytes a key.
    #[serde(alias = "slidingWindow")]
    SlidingWindow,
}

/// What a rule does to an event that does not fit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Enforcement {
    /// Refuses it.
    #[default]
    Hard,
    /// Counts it and refuses nobody; the status says `exceeded`. A bucket goes no lower than
    /// empty, a window or a quota goes over its limit.
    Soft,
    /// Does to its own counter what a hard rule would, and refuses nobody: for trying a rule
    /// out. `exceeded` says that the rule would have refused the event.
    Shadow,
}

/// What new keys of a rule get when there is no room for another counter, at the rule's
/// `max_keys` or the engine's. Counters that exist are never evicted while they matter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Overflow {
    /// All new keys share one more counter of the rule.
    #[default]
    Share,
    /// New keys are refused what adds something; the wait is [`Never`](crate::RetryAfter::Never), because it hangs
    /// on other keys.
    Deny,
    /// New keys pass this rule uncounted.
    Allow,
}
