//! Rules to try.

use limitry::{Metric, Period, Quota, RateLimit, RuleSet, Window};

/// Two limits and two quotas for each customer.
pub(crate) fn rules() -> RuleSet {
    RuleSet::new()
        .rate_limit(RateLimit::new("Calls a second", 20, Window::Second).per("customer_id"))
        .rate_limit(RateLimit::new("Calls a minute", 300, Window::Minute).per("customer_id"))
        .quota(per_customer("Tokens a day", Metric::TotalTokens, 100_000, Period::Day))
        .quota(per_customer("Cents a month", Metric::TotalCostCents, 5_000, Period::Month))
}

fn per_customer(name: &str, metric: Metric, limit: u64, period: Period) -> Quota {
    Quota::new(name, metric, limit, period).per("customer_id")
}
