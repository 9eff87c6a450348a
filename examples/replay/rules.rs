//! The rules of the replay: what a company that resells model calls might run with.
//!
//! `examples/tests/replay` says the same rules again in its own words, to check the engine.

use std::time::Duration;

use limitry::errors::BuildError;
use limitry::rules::{Algorithm, Enforcement};
use limitry::time::Clock;
use limitry::{Engine, Metric, Period, Quota, RateLimit, Window};

use example_support::cast::{ENTERPRISE, MODELS};

pub const REQUESTS: &str = "Requests per minute";
pub const REQUESTS_ENTERPRISE: &str = "Requests per minute, enterprise";
pub const MODEL_TOKENS: &str = "Tokens per minute and model";
pub const GPT_4_BURST: &str = "gpt-4 burst";
pub const TRIAL: &str = "Trial: 15 requests a minute";
pub const HOURLY_TOKENS: &str = "Hourly tokens";
pub const DAILY_TOKENS_ENTERPRISE: &str = "Daily tokens, enterprise";
pub const TEAM_BUDGET: &str = "Team budget";

/// Every rule by its name: the rate limits, then the quotas.
pub const NAMES: [&str; 8] = [
    REQUESTS,
    REQUESTS_ENTERPRISE,
    MODEL_TOKENS,
    GPT_4_BURST,
    TRIAL,
    HOURLY_TOKENS,
    DAILY_TOKENS_ENTERPRISE,
    TEAM_BUDGET,
];

/// The rules that only watch: what they would have refused was let through.
pub const SHADOWS: [&str; 1] = [TRIAL];

/// An engine with these rules, that takes its time from `clock`.
///
/// Of the two rules that share a policy only the more specific one applies to an event: this is
/// how the limits of the enterprise plan replace those of everybody else.
pub fn engine(clock: impl Clock) -> Result<Engine, BuildError> {
    let requests = RateLimit::new(REQUESTS, 20, Window::Minute).per("customer_id").policy("rpm");
    let requests_enterprise = RateLimit::new(REQUESTS_ENTERPRISE, 50, Window::Minute)
        .filter("plan", ENTERPRISE)
        .per("customer_id")
        .policy("rpm");
    let model_tokens = RateLimit::new(MODEL_TOKENS, 300_000, Window::Minute)
        .metric(Metric::TotalTokens)
        .per("model")
        .burst(20_000);
    let gpt_4_burst = RateLimit::new(GPT_4_BURST, 1, Window::every(Duration::from_secs(5)))
        .filter("model", MODELS[0].name)
        .per("customer_id")
        .burst(8);
    let trial = RateLimit::new(TRIAL, 15, Window::Minute)
        .per("customer_id")
        .algorithm(Algorithm::FixedWindow)
        .enforcement(Enforcement::Shadow);
    let hourly_tokens = Quota::new(HOURLY_TOKENS, Metric::TotalTokens, 250_000, Period::Hour)
        .per("customer_id")
        .policy("tokens");
    let daily_tokens_enterprise =
        Quota::new(DAILY_TOKENS_ENTERPRISE, Metric::TotalTokens, 12_000_000, Period::Day)
            .filter("plan", ENTERPRISE)
            .per("customer_id")
            .policy("tokens");
    let team_budget =
        Quota::new(TEAM_BUDGET, Metric::TotalCostCents, 80_000, Period::Month).per("team_id");
    Engine::builder()
        .clock(clock)
        .rate_limit(requests)
        .rate_limit(requests_enterprise)
        .rate_limit(model_tokens)
        .rate_limit(gpt_4_burst)
        .rate_limit(trial)
        .quota(hourly_tokens)
        .quota(daily_tokens_enterprise)
        .quota(team_budget)
        .build()
}
