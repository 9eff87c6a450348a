//! Where the rules stand, as an answer says it.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use crate::base::amount::Amount;
use crate::base::clock::Timestamp;
use crate::rules::{Metric, Period, Window};

/// How long to wait before the same event passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "there is a wait or there is none")]
pub enum RetryAfter {
    /// At this time after the decision the event passes, if nothing else happens; one nanosecond
    /// earlier it does not.
    After(Duration),
    /// No wait will do: the cost is above a rule's limit or burst, the event is dated into a
    /// full period, or a rule that denies at its cap has no room for the key.
    Never,
}

impl RetryAfter {
    /// Returns the wait in whole seconds, rounded up, at least 1; `None` for never.
    #[must_use]
    pub fn whole_seconds(self) -> Option<u64> {
        match self {
            Self::After(wait) => {
                let part = u64::from(wait.subsec_nanos() > 0);
                Some(wait.as_secs().saturating_add(part).max(1))
            }
            Self::Never => None,
        }
    }
}

impl fmt::Display for RetryAfter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::After(wait) => write!(f, "{wait:?}"),
            Self::Never => f.write_str("never"),
        }
    }
}

/// Where one rate limit stands. A decision lends the texts; one that was read owns them, and
/// [`into_owned`](Self::into_owned) makes one that does.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RateLimitStatus<'d> {
    /// The rule's id.
    pub id: Cow<'d, str>,
    /// The rule's name.
    pub name: Cow<'d, str>,
    /// The rule's window, `1h` in text.
    pub window: Window,
    /// The rule's limit; `None` of a rule without one.
    pub limit: Option<Amount>,
    /// What is left: of a bucket the whole units of what it counts (events, tokens, millionths of
    /// a cent), rounded down. Of a bucket with a burst it may be above the limit. Without a limit
    /// [`Amount::MAX`], as data `null`.
    pub remaining: Amount,
    /// How much open reservations hold of it; in a bucket they have taken it at their own instants.
    pub held: Amount,
    /// The second, rounded up, at which a bucket is full again, a fixed window ends, or the
    /// oldest use leaves a sliding one; now where nothing is used.
    pub reset: Timestamp,
    /// In a decision: this rule refused the event (soft and shadow: it did not fit). In a
    /// standing: nothing is left.
    pub exceeded: bool,
}

/// Where one quota stands. A decision lends the texts and the metric; one that was read owns them,
/// and [`into_owned`](Self::into_owned) makes one that does.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct QuotaStatus<'d> {
    /// The rule's id.
    pub id: Cow<'d, str>,
    /// The rule's name.
    pub name: Cow<'d, str>,
    /// What it counts.
    pub metric: Cow<'d, Metric>,
    /// Its period.
    pub period: Period,
    /// The rule's limit; `None` of a rule without one.
    pub limit: Option<Amount>,
    /// What is used, without what is held; of a concurrent quota nothing; less than nothing where
    /// refunds are more than what was used.
    pub used: Amount,
    /// How much open reservations hold beside it.
    pub held: Amount,
    /// How much of what is used was [adjusted](crate::handles::Rules::adjust): what is used is what
    /// the events of the period add up to, and this. Less than nothing where something was given
    /// back. Of a rolling period those of its length, since the last reset.
    pub adjusted: Amount,
    /// What is left, at most the limit. Without a limit [`Amount::MAX`], as data `null`.
    pub remaining: Amount,
    /// The second at which the period ends; for a rolling period the one, rounded up, at
    /// which its oldest use leaves. `None` where nothing resets: all time, and a rolling period
    /// without use.
    pub reset: Option<Timestamp>,
    /// In a decision: this rule refused the event (soft and shadow: it did not fit). In a
    /// standing: nothing is left.
    pub exceeded: bool,
}

impl RateLimitStatus<'_> {
    /// Returns a status that owns its texts and outlives the decision.
    #[must_use]
    pub fn into_owned(self) -> RateLimitStatus<'static> {
        let (id, name) = (own(self.id), own(self.name));
        RateLimitStatus { id, name, ..self }
    }
}

impl QuotaStatus<'_> {
    /// Returns a status that owns its texts and its metric and outlives the decision.
    #[must_use]
    pub fn into_owned(self) -> QuotaStatus<'static> {
        let (id, name, metric) = (own(self.id), own(self.name), own(self.metric));
        QuotaStatus { id, name, metric, ..self }
    }
}

fn own<T: ToOwned + ?Sized>(value: Cow<'_, T>) -> Cow<'static, T> {
    Cow::Owned(value.into_owned())
}
