//! What a set of rules must keep to.

use std::collections::HashMap;
use std::time::Duration;

use super::rule::{Kind, Rule};
use super::{Algorithm, Period};
use crate::error::RuleProblem;
use crate::event::{key_rule, text_rule};

/// The longest window and rolling period: 100 years of 365.25 days.
pub(crate) const MAX_LENGTH: Duration = Duration::from_secs(3_155_760_000);
/// The largest limit in counted units. Below 2^62, so that a token bucket's exact arithmetic,
/// (nanoseconds below 2^64 times a rate) plus (a cost times a window), stays inside 128 bits.
pub(crate) const MAX_UNITS: u64 = 1 << 62;

/// Everything that is wrong with the rules, each one alone and all together.
pub(crate) fn set_problems(rules: &[Rule]) -> Vec<RuleProblem> {
    let mut problems: Vec<RuleProblem> = Vec::new();
    let mut ids: HashMap<&str, String> = HashMap::new();
    let mut policies: HashMap<&str, (Kind, String)> = HashMap::new();
    for (place, rule) in rules.iter().enumerate() {
        let label = label(rule, place);
        problems.extend(problems_of(rule, &label));
        if let Some(id) = rule.id()
            && let Some(first) = ids.insert(id, label.clone())
        {
            problems.push(problem(&label, "id", format!("{id:?} is the id of {first} too")));
        }
        if let Some(policy) = rule.policy() {
            let (kind, first) =
                policies.entry(policy).or_insert_with(|| (rule.kind(), label.clone()));
            if *kind != rule.kind() {
                let reason = format!(
                    "{policy:?} is the policy of {first} too: a rate limit and a quota cannot \
                     compete, because one would silently switch the other off"
                );
                problems.push(problem(&label, "policy", reason));
            }
        }
    }
    problems
}

/// Everything that is wrong with one rule.
pub(crate) fn problems_of(rule: &Rule, label: &str) -> Vec<RuleProblem> {
    let mut found = Found { label, problems: Vec::new() };
    if let Some(id) = rule.id() {
        found.text("id", id);
    }
    found.text("name", rule.name());
    for (key, value) in rule.filters() {
        let field = format!("dimensionFilters.{key}");
        found.broken(&field, key, key_rule(key));
        found.broken(&field, value, text_rule(value));
    }
    for (place, key) in rule.per().iter().enumerate() {
        found.broken("per", key, key_rule(key));
        if rule.per().iter().take(place).any(|earlier| earlier == key) {
            found.add("per", format!("{key:?} is named twice"));
        }
    }
    if let Some(policy) = rule.policy() {
        found.text("policy", policy);
    }
    if let Some(reason) = rule.metric().problem() {
        found.add("metric", format!("\"{}\" {reason}", rule.metric()));
    }
    found.units("limitValue", rule.limit(), rule);
    if rule.max_keys() == Some(0) {
        found.add("maxKeys", "0 must be at least 1".to_owned());
    }
    match rule {
        Rule::RateLimit(rate_limit) => {
            found.length("window", rate_limit.window.length());
            if let Some(burst) = rate_limit.burst {
                found.units("burst", burst, rule);
                if rate_limit.algorithm != Algorithm::TokenBucket {
                    let reason = format!("{burst} is set, but only a token bucket has a burst");
                    found.add("burst", reason);
                }
            }
        }
        Rule::Quota(quota) => {
            if let Period::Rolling(length) = quota.period {
                found.length("period", length);
            }
        }
    }
    found.problems
}

struct Found<'l> {
    label: &'l str,
    problems: Vec<RuleProblem>,
}

impl Found<'_> {
    fn add(&mut self, field: &str, reason: String) {
        self.problems.push(problem(self.label, field, reason));
    }

    fn broken(&mut self, field: &str, value: &str, rule: Option<&str>) {
        if let Some(rule) = rule {
            self.add(field, format!("{value:?} {rule}"));
        }
    }

    fn text(&mut self, field: &str, value: &str) {
        self.broken(field, value, text_rule(value));
    }

    fn units(&mut self, field: &str, value: u64, rule: &Rule) {
        let most = MAX_UNITS.div_euclid(rule.metric().units_per_whole());
        if value == 0 || value > most {
            self.add(field, format!("{value} must be more than 0 and at most {most}"));
        }
    }

    fn length(&mut self, field: &str, length: Duration) {
        if length.is_zero() || length > MAX_LENGTH {
            let reason = format!("{length:?} must be at least 1ns and at most 100 years");
            self.add(field, reason);
        }
    }
}

fn problem(label: &str, field: &str, reason: String) -> RuleProblem {
    RuleProblem { rule: label.to_owned(), field: field.to_owned(), reason }
}

/// How messages call a rule: by its name, or by its place where it has none.
fn label(rule: &Rule, place: usize) -> String {
    let kind = rule.kind().as_str();
    if rule.name().is_empty() {
        format!("{kind} #{}", place.saturating_add(1))
    } else {
        format!("{kind} {:?}", rule.name())
    }
}
