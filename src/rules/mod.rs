//! What a user defines: meters, rate limits and quotas, and the sets that they are validated in.

mod condition;
mod declared;
pub(crate) mod duration_text;
mod error;
mod fields;
mod key;
mod limit;
mod measure;
mod meter;
mod metric;
mod modes;
mod named;
mod period;
pub(crate) mod plans;
mod quota;
mod rate;
mod rate_limit;
mod rule;
mod rule_set;
mod sync;
mod threshold;
mod update;
mod validate;
mod window;

pub use self::condition::Condition;
pub use self::error::{RuleProblem, RuleSetError};
pub use self::key::RuleKey;
pub use self::meter::{
    Aggregation, AggregationParseError, EventFilter, Meter, MeterField, MeterFieldParseError,
    MeterUpdate,
};
pub use self::metric::{Metric, MetricParseError, MetricValue};
pub use self::modes::{Algorithm, Enforcement, OnMissing, Overflow};
pub use self::period::{Period, PeriodParseError};
pub use self::quota::{Quota, QuotaUpdate};
pub use self::rate_limit::{RateLimit, RateLimitUpdate};
pub use self::rule::{Rule, RuleKind, RuleUpdate};
pub use self::rule_set::RuleSet;
pub use self::sync::{FieldChange, RuleChange, SyncOptions, SyncReport};
pub use self::threshold::Threshold;
pub use self::window::{Window, WindowParseError};

pub use crate::base::sketch::{Percentile, PercentileError};

pub(crate) use self::condition::Filter;
pub(crate) use self::declared::merge_declared;
pub(crate) use self::fields::one_or_many;
pub(crate) use self::measure::{Cost, Fold, Measure, NO_LIMIT, Units};
pub(crate) use self::meter::Meters;
pub(crate) use self::named::{Paired, fill_ids};
pub(crate) use self::period::Shape;
pub(crate) use self::rate::Rate;
pub(crate) use self::rule::Kind;
pub(crate) use self::sync::{Plan, merge_report, plan as plan_sync};
pub(crate) use self::validate::{rule_label, set_problems};
