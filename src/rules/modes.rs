//! The choices that a rule makes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::base::words::{UnknownWord, words};

/// How a rate limit counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Algorithm {
    /// A bucket of `burst` tokens (by default the limit), refilled continuously and exactly with
    /// the limit a window. Worst case in any span of the window's length: burst + limit.
    /// 24 bytes a key.
    ///
    /// What is recorded without being asked for ([`Engine::record`](crate::Engine::record)) may
    /// take it below empty: it then refuses whatever adds something until the refill has paid the
    /// debt back and there is room for the cost. [`max_debt`](crate::RateLimit::max_debt) bounds
    /// that.
    #[default]
    #[serde(alias = "tokenBucket")]
    TokenBucket,
    /// Windows aligned to the Unix epoch, each with a count of its own. Worst case in any span
    /// of the window's length: twice the limit, across an edge. 24 bytes a key.
    #[serde(alias = "fixedWindow")]
    FixedWindow,
    /// Never more than the limit in any span of the window's length.
    ///
    /// Uses are kept with their own times, so that each leaves when it is a window old, to the
    /// nanosecond. That holds for up to 62 instants of use in a window. Of more, neighbours are
    /// merged within the cells of a fixed grid, a sixtieth of the window each (rounded up to a
    /// nanosecond): a use may then leave late by less than a cell, and never leaves early. 32
    /// bytes a key with one use, and 16 for each further one, for which room is made by doubling
    /// it: 1 024 at most, or 1 528 where a use is of 2^62 counted units or more.
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
    /// empty by what is tracked, a window or a quota goes over its limit. What is
    /// [recorded](crate::Engine::record) takes a bucket into debt, as it does of a hard rule.
    Soft,
    /// Does to its own counter what a hard rule would, and refuses nobody: for trying a rule
    /// out. `exceeded` says that the rule would have refused the event.
    Shadow,
}

/// What a rule makes of an event that lacks a dimension which the rule filters or splits by: the
/// event does not have it, or has something else than a string under its name. All else that the
/// rule's filter asks holds. A filter that wants a dimension [absent](crate::Condition::Absent)
/// misses nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OnMissing {
    /// The rule does not match the event.
    #[default]
    Skip,
    /// The event is an error ([`EventError::MissingDimension`](crate::errors::EventError)), where
    /// the rule is hard and judges. `record`, which refuses nothing, leaves the rule alone.
    Refuse,
    /// The event counts as one that has this value: all that lack the dimension share it, with
    /// those that say it. A calendar quota that comes later does not find them in the recorded
    /// events.
    Value(String),
}

impl OnMissing {
    /// The value that events share which lack a dimension.
    pub(crate) fn value(&self) -> Option<&str> {
        match self {
            Self::Value(value) => Some(value),
            Self::Skip | Self::Refuse => None,
        }
    }
}

/// What new keys of a rule get when there is no room for another counter, at the rule's
/// `max_keys` or the engine's. Counters that exist are never evicted while they matter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Overflow {
    /// All new keys share one more counter of the rule. One that gets a counter of its own, once
    /// there is room, starts from what is recorded of it where a calendar quota finds that
    /// complete, and else from all that the shared one holds, which keeps it: no key ever has two
    /// budgets.
    #[default]
    Share,
    /// New keys are refused what adds something; the wait is [`Never`](crate::RetryAfter::Never),
    /// because it hangs on other keys.
    Deny,
    /// New keys pass this rule uncounted. One that gets a counter starts afresh, but for a calendar
    /// quota, which finds in the recorded events what it did not count.
    Allow,
}

words! {
    Algorithm, "algorithm":
    TokenBucket = "token_bucket",
    FixedWindow = "fixed_window",
    SlidingWindow = "sliding_window",
}

words! { Enforcement, "enforcement": Hard = "hard", Soft = "soft", Shadow = "shadow" }

words! { Overflow, "overflow": Share = "share", Deny = "deny", Allow = "allow" }

const VALUE: &str = "value:";

/// `skip`, `refuse`, or `value:` with the value.
impl fmt::Display for OnMissing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Skip => f.write_str("skip"),
            Self::Refuse => f.write_str("refuse"),
            Self::Value(value) => write!(f, "{VALUE}{value}"),
        }
    }
}

impl FromStr for OnMissing {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match (text, text.strip_prefix(VALUE)) {
            ("skip", _) => Ok(Self::Skip),
            ("refuse", _) => Ok(Self::Refuse),
            (_, Some(value)) => Ok(Self::Value(value.to_owned())),
            _ => {
                let known = &["skip", "refuse", VALUE];
                Err(UnknownWord { what: "onMissing", text: text.into(), known })
            }
        }
    }
}
