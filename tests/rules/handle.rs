//! Goal: rules of all kinds are added, changed, found and removed by the same methods.
//!
//! Method: the same calls with each kind, and with [`Rule`] for any.

use limitry::errors::RulesError;
use limitry::rules::{QuotaUpdate, RateLimitUpdate};
use limitry::{Engine, Metric, Period, Quota, RateLimit, Rule, RuleSet, Window};

fn calls() -> RateLimit {
    RateLimit::new("Calls", 10, Window::Second)
}

fn tokens() -> Quota {
    Quota::new("Tokens", Metric::TotalTokens, 100, Period::Day)
}

#[test]
fn each_kind_comes_back_as_itself() {
    let engine = Engine::builder().build().expect("valid");
    let rules = engine.rules();
    assert_eq!(rules.add(calls()).expect("valid").id.as_deref(), Some("rl_calls"));
    let tokens = rules.add(Rule::from(tokens())).expect("valid");
    assert_eq!((tokens.id(), tokens.name()), (Some("qta_tokens"), "Tokens"));

    let changed = rules.update("rl_calls", RateLimitUpdate::new().limit(20)).expect("valid");
    assert_eq!(rules.get::<RateLimit>("rl_calls"), Some(changed.clone()));
    assert_eq!(rules.get("rl_calls"), Some(Rule::from(changed)));
    assert_eq!(rules.get::<Quota>("rl_calls"), None);
    let why = rules.update("rl_calls", QuotaUpdate::new().limit(1)).expect_err("no quota");
    assert!(matches!(why, RulesError::NotFound { kind: "quota", .. }), "{why}");

    let names: Vec<_> = rules.list().iter().map(|rule| rule.name().to_owned()).collect();
    assert_eq!(names, ["Calls", "Tokens"]);
    assert_eq!((rules.rate_limits().len(), rules.quotas().len()), (1, 1));
    rules.remove("qta_tokens").expect("it is there");
    assert_eq!(rules.list().len(), 1);
}

#[test]
fn a_set_is_a_collection_of_rules_of_any_kind() {
    let rules = [Rule::from(tokens()), Rule::from(calls())];
    let mut set: RuleSet = rules.clone().into_iter().collect();
    assert_eq!(set, RuleSet::new().rate_limit(calls()).quota(tokens()));
    set.extend([Rule::from(RateLimit::new("More", 1, Window::Hour))]);
    let names: Vec<_> = set.clone().into_iter().map(|rule| rule.name().to_owned()).collect();
    assert_eq!(names, ["Calls", "More", "Tokens"]);
    let engine = rules.into_iter().fold(Engine::builder(), |builder, rule| builder.rule(rule));
    assert_eq!(engine.build().expect("valid").rules().list().len(), 2);
}
