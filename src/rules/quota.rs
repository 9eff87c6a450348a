//! A long-period rule.

use std::collections::BTreeMap;

use super::limit::{LimitProblem, limit_or_none, read_limit};
use super::rule::{is_default, one_or_many, rule_setters, yes};
use super::{Enforcement, Metric, OnMissing, Overflow, Period};
use crate::base::amount::{Amount, IntoAmount};
use crate::base::clock::Timestamp;
use crate::base::reading;

reading::body! {
    /// A long-period rule: at most `limit` of a metric a period.
    ///
    /// ```
    /// use limitry::{Metric, Period, Quota};
    ///
    /// let rule = Quota::new("Team budget", Metric::TotalCostCents, 50_000, Period::Month)
    ///     .filter("team_id", "team_eng");
    /// assert_eq!(rule.worst_case(), Some(100_000.into())); // across the turn of a month
    /// ```
    ///
    /// It refuses an event that raises the figure above the limit. The figure after the event is
    /// used and amount together; of a `max` meter the higher of the two; of a `latest` meter the
    /// amount, or the figure as it is where the event is older than the one that the figure is of.
    /// An event that lacks the value leaves the figure as it is. One that leaves or lowers it is
    /// never refused: over a limit that was lowered, a gauge may go down and not up.
    ///
    /// With recording on, the figure of a quota is always that of its meter over the period: also
    /// of a quota that is added, or that starts to count something else, while the period is under
    /// way, and of a calendar period that has long ended. A rolling period ends now, and what is
    /// dated ahead is in it. The figure differs
    ///
    /// - for a shadow quota, which takes only what fits while it judges: the counter leaves out
    ///   events that are recorded;
    /// - for keys that share a counter because there was no room for theirs;
    /// - for a rolling period with more than 62 instants of use, of which some leave late (see
    ///   [`Period::rolling`]), and for what was recorded before the quota came into being or the
    ///   engine was started again: that leaves in pieces of a sixtieth of the period;
    /// - where retention has taken events of the period: a quota that changes then carries its use
    ///   over as [`QuotaUpdate`](crate::rules::QuotaUpdate) says, as it does where recording is
    ///   off.
    #[derive(Clone, Debug, PartialEq, Eq)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    #[non_exhaustive]
    pub struct Quota {
        /// The id; where it is not given the engine makes one of the name, such as `qta_api` of
        /// `API`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub id: Option<String>,
        /// The project of the product's object; kept and not used.
        #[serde(default, skip_serializing_if = "Option::is_none", alias = "project_id")]
        pub project_id: Option<String>,
        /// What people call it.
        pub name: String,
        /// Dimension = value pairs that must all hold; none matches every event.
        #[serde(default, alias = "dimension_filters")]
        pub dimension_filters: BTreeMap<String, String>,
        /// What it counts.
        pub metric: Metric,
        /// How much a period admits; of what is counted in whole numbers (events, tokens,
        /// milliseconds) a whole number, of costs and other values to six digits. 0 refuses
        /// whatever adds something. `None` counts and refuses nothing: `null` as data,
        /// `"unlimited"` in TOML, which has no null.
        #[serde(alias = "limit_value", deserialize_with = "limit_or_none")]
        pub limit_value: Option<Amount>,
        /// The period that the limit is for.
        pub period: Period,
        /// Whether it is evaluated at all.
        #[serde(default = "yes", skip_serializing_if = "is_true")]
        pub enabled: bool,
        /// The dimensions whose values each have a counter of their own; none is one for all.
        #[serde(default, deserialize_with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
        pub per: Vec<String>,
        /// What it does to an event that does not fit.
        #[serde(default, skip_serializing_if = "is_default")]
        pub enforcement: Enforcement,
        /// Rules of one policy compete: the most specific that matches judges alone.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub policy: Option<String>,
        /// The most keys that have counters of their own; only the engine's cap where not given.
        #[serde(default, skip_serializing_if = "Option::is_none", alias = "max_keys")]
        pub max_keys: Option<u64>,
        /// What new keys get when there is no room for another counter.
        #[serde(default, skip_serializing_if = "is_default")]
        pub overflow: Overflow,
        /// What it makes of an event that lacks a dimension which it filters or splits by.
        #[serde(default, skip_serializing_if = "is_default", alias = "on_missing")]
        pub on_missing: OnMissing,
        /// When the engine got it; set by the engine.
        #[serde(default, skip_serializing_if = "Option::is_none", alias = "created_at")]
        pub created_at: Option<Timestamp>,
        /// When it was last changed; set by the engine.
        #[serde(default, skip_serializing_if = "Option::is_none", alias = "updated_at")]
        pub updated_at: Option<Timestamp>,
        #[serde(skip)]
        pub(super) problem: Option<LimitProblem>,
    }
}

impl Quota {
    /// Makes a rule that admits `limit` of `metric` a period, shared by all.
    #[must_use]
    pub fn new(
        name: impl Into<String>,
        metric: Metric,
        limit: impl IntoAmount,
        period: Period,
    ) -> Self {
        let mut problem = None;
        let limit = read_limit("limitValue", limit, &mut problem);
        Self {
            id: None,
            project_id: None,
            name: name.into(),
            dimension_filters: BTreeMap::new(),
            metric,
            limit_value: Some(limit),
            period,
            enabled: true,
            per: Vec::new(),
            enforcement: Enforcement::default(),
            policy: None,
            max_keys: None,
            overflow: Overflow::default(),
            on_missing: OnMissing::default(),
            created_at: None,
            updated_at: None,
            problem,
        }
    }

    /// Makes a rule without a limit: it counts and never refuses, as a plan's exception does under
    /// a policy.
    #[must_use]
    pub fn unlimited(name: impl Into<String>, metric: Metric, period: Period) -> Self {
        Self { limit_value: None, ..Self::new(name, metric, 0, period) }
    }

    rule_setters!();

    /// Returns the most that one counter can admit in any span as long as the period: twice the
    /// limit across an edge of calendar periods, the limit for a rolling period and for all
    /// time; `None` where it refuses nobody (soft, shadow, without a limit).
    #[must_use]
    pub fn worst_case(&self) -> Option<Amount> {
        if self.enforcement != Enforcement::Hard {
            return None;
        }
        let limit = self.limit_value?;
        Some(match self.period {
            Period::Rolling(_) | Period::AllTime => limit,
            _ => limit.saturating_add(limit),
        })
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_true(value: &bool) -> bool {
    *value
}
