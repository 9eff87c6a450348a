//! limitador in memory: the same definitions in one namespace, one context a call.
//!
//! It has one amount a call for all limits, so its quotas count calls: the limit in tokens over the
//! tokens of a call. Its windows start at a customer's first call, and its month is 30 days.

use std::collections::HashMap;

use limitador::RateLimiter;
use limitador::limit::{Context, Limit, Namespace};

use crate::limitry_side::Limits;
use crate::traffic::{CENTS, TOKENS};

const DAY: u64 = 86_400;

pub struct Limitador {
    limiter: RateLimiter,
    namespace: Namespace,
}

impl Limitador {
    /// The four limits a customer, the rate limits over windows of `seconds`, and `others` that
    /// no call matches.
    pub fn new(limits: Limits, seconds: [u64; 2], others: usize) -> Self {
        let limiter = RateLimiter::new(1_000_000);
        let four = [
            (u64::from(limits.a_second), seconds[0]),
            (u64::from(limits.a_minute), seconds[1]),
            (limits.tokens_a_day / TOKENS, DAY),
            (limits.cents_a_month / CENTS, 30 * DAY),
        ];
        for (limit, window) in four {
            add(&limiter, limit, window, &[], &["customer_id"]);
        }
        for number in 0..others {
            let model = format!("model == 'model-{number}'");
            let customer = format!("customer_id == 'other_{number}'");
            let team = format!("team_id == 'team_{number}'");
            match number % 3 {
                0 => add(&limiter, 1_000, 60, &[&model], &["customer_id"]),
                1 => add(&limiter, 1_000, 60, &[&customer], &[]),
                _ => add(&limiter, 1_000, 60, &["model == 'gpt-4'", &team], &[]),
            }
        }
        Self { limiter, namespace: Namespace::from("bench") }
    }

    pub fn allows(&self, customer: &str) -> bool {
        let dimensions = [
            ("customer_id", customer),
            ("event_type", "model_call"),
            ("model", "gpt-4"),
            ("provider", "openai"),
        ];
        let context: HashMap<String, String> =
            dimensions.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let context = Context::from(context);
        let answer = self.limiter.check_rate_limited_and_update(&self.namespace, &context, 1);
        !answer.expect("limitador in memory does not fail").limited
    }
}

fn add(limiter: &RateLimiter, limit: u64, window: u64, conditions: &[&str], variables: &[&str]) {
    let conditions = conditions.iter().map(|&text| text.try_into().expect("a condition"));
    let variables = variables.iter().map(|&text| text.try_into().expect("a variable"));
    limiter.add_limit(Limit::new("bench", limit, window, conditions, variables));
}
