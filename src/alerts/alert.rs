//! One alert.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use crate::base::amount::Amount;
use crate::base::clock::Timestamp;
use crate::base::ids;
use crate::base::text::as_text;
use crate::base::words::words;
use crate::counters::{CrossedRow, Mark};
use crate::rules::{Metric, Period, Threshold};

/// What happened when the use of a key reached a threshold of a rule: the figures are those of the
/// deciding step, right after the event.
///
/// As data it is the body of a webhook: `id`, `event`, `timestamp` and `data`. See
/// [`Quota::alert_at`](crate::Quota::alert_at) for when one fires.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Alert {
    /// The same for the same engine, rule, key, threshold and period, whenever it is delivered:
    /// what a receiver knows a repetition by.
    pub id: AlertId,
    /// Whether the limit is reached, or a threshold before or beyond it.
    pub kind: AlertKind,
    /// When it fired, by the engine's time.
    pub at: Timestamp,
    /// The rule's id.
    pub rule_id: String,
    /// What people call the rule.
    pub rule_name: String,
    /// What the rule counts.
    pub metric: Metric,
    /// The dimensions that the rule is split by, in order, with the values of the key; empty for
    /// one that is shared by all, and for keys that share a counter because they found no room.
    pub key: Vec<(String, String)>,
    /// The key's customer, or the one that the rule's filter asks for.
    pub customer_id: Option<String>,
    /// Which threshold was reached.
    pub threshold: Threshold,
    /// The rule's limit at the time, if it has one.
    pub limit: Option<Amount>,
    /// What was used of the period, this event with it, without what reservations hold; of a
    /// balance what was ever taken from it.
    pub used: Amount,
    /// What is left of the limit, if there is one; of a balance what it is now, without what
    /// reservations hold taken off.
    pub remaining: Option<Amount>,
    /// How much of the limit is used, in whole percent, rounded down; `None` where there is none,
    /// or it is 0.
    pub percentage: Option<u64>,
    /// The rule's period.
    pub period: Period,
    /// When the period began; `None` of all time.
    pub window_start: Option<Timestamp>,
    /// When the period ends: the first instant after it; `None` of all time.
    pub window_end: Option<Timestamp>,
}

/// What an alert says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum AlertKind {
    /// A threshold was reached: `limit.threshold_reached`.
    #[serde(rename = "limit.threshold_reached")]
    ThresholdReached,
    /// The threshold of 100 % was reached: `limit.exceeded`.
    #[serde(rename = "limit.exceeded")]
    LimitExceeded,
    /// A balance has fallen to a threshold: `balance.low`.
    #[serde(rename = "balance.low")]
    BalanceLow,
}

impl AlertKind {
    /// That of a threshold of what is used.
    pub(crate) fn of(threshold: Threshold) -> Self {
        match threshold {
            Threshold::Percent(100) => Self::LimitExceeded,
            _ => Self::ThresholdReached,
        }
    }
}

words! {
    AlertKind, "an alert":
    ThresholdReached = "limit.threshold_reached",
    LimitExceeded = "limit.exceeded",
    BalanceLow = "balance.low",
}

/// The name of an alert, `alt_` and 26 letters and digits.
///
/// It is made of the engine, the rule's id, the key, the threshold and the period, or of a balance
/// the credit that last raised it above the threshold: the same alert
/// has it again, also where a crash has lost that it fired, and no other one has it. In an engine
/// with a store it stays over restarts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AlertId(u128);

const PREFIX: &str = "alt_";

impl AlertId {
    /// That of a rule, a key and a mark, of the engine of this name.
    pub(crate) fn new(engine: u64, rule: &str, row: &CrossedRow, mark: &Mark) -> Self {
        let mut hash = Xxh3::new();
        let mut put = |text: &str| {
            hash.update(&(text.len() as u64).to_le_bytes());
            hash.update(text.as_bytes());
        };
        put(rule);
        match row {
            CrossedRow::Key(_, values) => values.iter().for_each(|value| put(value)),
            // No value is empty.
            CrossedRow::Shared(_) => put(""),
        }
        put(&mark.threshold().to_string());
        let numbers = [engine, mark.start.cast_unsigned(), mark.end.cast_unsigned()];
        for number in numbers {
            hash.update(&number.to_le_bytes());
        }
        Self(hash.digest128())
    }

    pub(super) fn number(self) -> u128 {
        self.0
    }

    pub(super) fn of_number(number: u128) -> Self {
        Self(number)
    }
}

impl fmt::Display for AlertId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(ids::print(PREFIX, self.0).as_str())
    }
}

impl fmt::Debug for AlertId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is no [`AlertId`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("alert id {text:?} must be `alt_` and 26 letters and digits as the engine made them")]
pub struct AlertIdParseError {
    text: String,
}

impl FromStr for AlertId {
    type Err = AlertIdParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let id = ids::parse(PREFIX, text).map(Self);
        id.ok_or_else(|| AlertIdParseError { text: text.to_owned() })
    }
}

as_text!(AlertId);
