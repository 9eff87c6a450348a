//! Decisions and standings as the body of an answer, both ways.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::base::amount::Amount;
use crate::base::clock::Timestamp;
use crate::decision::{Decision, QuotaStatus, RateLimitStatus, Standing};
use crate::log::EventId;
use crate::rules::{Metric, Period, Window};

/// The body of an answer, as a [`Decision`] or a [`Standing`] prints it and a client reads it.
///
/// What is not in the body is not in what is read: the [`outcome`](Decision::outcome) of a replay,
/// the wait, which is in the headers, and the resets of quotas. Fields that are not known are
/// passed over.
///
/// ```
/// use limitry::wire::DecisionBody;
/// use limitry::{Engine, Event, RateLimit, Window};
///
/// let calls = RateLimit::new("Calls", 60, Window::Minute).id("rl_calls");
/// let engine = Engine::builder().rate_limit(calls).build()?;
/// let decision = engine.track(&Event::new("cust_123", "model_call"))?;
/// let sent = serde_json::to_string(&decision)?;
/// let body: DecisionBody<'_> = serde_json::from_str(&sent)?;
/// assert_eq!(body, decision.body());
/// assert_eq!((&*body.rate_limits[0].id, body.rate_limits[0].exceeded), ("rl_calls", false));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct DecisionBody<'d> {
    /// The id of the recorded event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<EventId>,
    /// Of a decision: whether the event was let in, by this call or by the first with its
    /// idempotency key. Of a standing: whether every hard rule has something left.
    pub allowed: bool,
    /// Of a refusal: which kind of rule refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Cow<'d, str>>,
    /// Where each matching rate limit stands.
    pub rate_limits: Vec<RateLimitStatus<'d>>,
    /// Where each matching quota stands.
    pub quotas: Vec<QuotaStatus<'d>>,
}

impl Decision {
    /// Returns what the decision serializes as. O(rules), with an allocation for each kind of rule
    /// that matched.
    #[must_use]
    pub fn body(&self) -> DecisionBody<'_> {
        DecisionBody {
            id: self.event_id(),
            allowed: self.is_let_in(),
            error: (!self.is_let_in()).then(|| self.error().into()),
            rate_limits: self.rate_limits().collect(),
            quotas: self.quotas().collect(),
        }
    }
}

impl Standing {
    /// Returns what the standing serializes as, without an id and an error. O(rules), with an
    /// allocation for each kind of rule that matches.
    #[must_use]
    pub fn body(&self) -> DecisionBody<'_> {
        DecisionBody {
            id: None,
            allowed: self.is_allowed(),
            error: None,
            rate_limits: self.rate_limits().collect(),
            quotas: self.quotas().collect(),
        }
    }
}

impl Serialize for Decision {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.body().serialize(serializer)
    }
}

impl Serialize for Standing {
    /// The product's check bodies in one: `{allowed, rateLimits, quotas}`.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.body().serialize(serializer)
    }
}

/// A rate limit's status in a body.
#[derive(Serialize, Deserialize)]
struct RateLimitForm<'s> {
    id: Cow<'s, str>,
    name: Cow<'s, str>,
    #[serde(serialize_with = "as_text")]
    window: Window,
    limit: Option<Amount>,
    /// Null of a rule without a limit.
    remaining: Option<Amount>,
    /// Left out where nothing is held.
    #[serde(default, skip_serializing_if = "is_nothing")]
    held: Amount,
    /// A Unix second.
    reset: i64,
    exceeded: bool,
}

fn is_nothing(amount: &Amount) -> bool {
    *amount == Amount::ZERO
}

/// A window as a status shows it, `1h`; a rule says `hour`. Both are read.
pub(super) fn as_text<S: Serializer>(window: &Window, serializer: S) -> Result<S::Ok, S::Error> {
    match window.shown() {
        Some(shown) => serializer.serialize_str(shown),
        None => serializer.collect_str(window),
    }
}

impl Serialize for RateLimitStatus<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        RateLimitForm {
            id: Cow::Borrowed(&self.id),
            name: Cow::Borrowed(&self.name),
            window: self.window,
            limit: self.limit,
            remaining: self.limit.map(|_| self.remaining),
            held: self.held,
            reset: self.reset.unix_seconds(),
            exceeded: self.exceeded,
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for RateLimitStatus<'_> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let form = RateLimitForm::deserialize(deserializer)?;
        Ok(Self {
            id: form.id,
            name: form.name,
            window: form.window,
            limit: form.limit,
            remaining: form.remaining.unwrap_or(Amount::MAX),
            held: form.held,
            reset: Timestamp::new(form.reset, 0),
            exceeded: form.exceeded,
        })
    }
}

/// A quota's status in a body: the product's shape, which has no `reset`.
#[derive(Serialize, Deserialize)]
struct QuotaForm<'s> {
    id: Cow<'s, str>,
    name: Cow<'s, str>,
    metric: Cow<'s, Metric>,
    period: Period,
    limit: Option<Amount>,
    used: Amount,
    /// Left out where nothing is held.
    #[serde(default, skip_serializing_if = "is_nothing")]
    held: Amount,
    /// Left out where nothing is adjusted.
    #[serde(default, skip_serializing_if = "is_nothing")]
    adjusted: Amount,
    /// Null of a rule without a limit.
    remaining: Option<Amount>,
    exceeded: bool,
}

impl Serialize for QuotaStatus<'_> {
    /// The product's shape, which has no `reset`.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        QuotaForm {
            id: Cow::Borrowed(&self.id),
            name: Cow::Borrowed(&self.name),
            metric: Cow::Borrowed(&self.metric),
            period: self.period,
            limit: self.limit,
            used: self.used,
            held: self.held,
            adjusted: self.adjusted,
            remaining: self.limit.map(|_| self.remaining),
            exceeded: self.exceeded,
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for QuotaStatus<'_> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let form = QuotaForm::deserialize(deserializer)?;
        Ok(Self {
            id: form.id,
            name: form.name,
            metric: form.metric,
            period: form.period,
            limit: form.limit,
            used: form.used,
            remaining: form.remaining.unwrap_or(Amount::MAX),
            held: form.held,
            adjusted: form.adjusted,
            reset: None,
            exceeded: form.exceeded,
        })
    }
}
