//! Goal: the limits that providers publish are valid rules that say where they are from, and count
//! what they say of the models that they are of.
//!
//! Method: every tier's rules, and events of those models and of others.

use limitry::llm::presets::{AnthropicTier, OpenAiTier, anthropic, openai};
use limitry::{Engine, Event, RuleSet};

fn all() -> Vec<RuleSet> {
    use OpenAiTier::{Five, Four, One, Three, Two};
    let openai = [One, Two, Three, Four, Five].map(openai);
    let anthropic = [AnthropicTier::Start, AnthropicTier::Scale].map(anthropic);
    openai.into_iter().chain(anthropic).collect()
}

#[test]
fn each_figure_is_a_rule_with_its_source_and_its_date() {
    for rules in all() {
        rules.validate().unwrap();
        assert!(!rules.rate_limits.is_empty());
        for rule in &rules.rate_limits {
            assert!(rule.metadata["source"].contains('.'), "{rule:?}");
            assert_eq!(rule.metadata["read"].len(), "2026-10-17".len(), "{rule:?}");
        }
        let text = toml::to_string(&rules).unwrap();
        assert_eq!(toml::from_str::<RuleSet>(&text).unwrap(), rules);
    }
}

#[test]
fn they_count_the_models_that_they_are_of() {
    let mut rules = openai(OpenAiTier::Two);
    rules.extend(anthropic(AnthropicTier::Scale));
    let engine = Engine::builder().rule_set(rules).build().unwrap();
    let left = |provider: &str, model: &str| {
        let event = Event::new("c", "model_call").provider(provider).model(model);
        let decision = engine.track(&event.input_tokens(70).output_tokens(30)).unwrap();
        let left = decision.rate_limits().map(|it| it.remaining.to_string());
        left.collect::<Vec<_>>()
    };
    assert_eq!(left("openai", "gpt-5"), ["999900"]);
    assert_eq!(left("openai", "gpt-5-mini-2025-08-07"), ["1999900"]);
    assert_eq!(left("anthropic", "claude-fable-5-5"), ["3999", "3999930", "799970"]);
    for (provider, model) in [("openai", "gpt-5.4"), ("openai", "gpt-5-nano"), ("azure", "gpt-5")] {
        assert!(left(provider, model).is_empty(), "{provider} {model}");
    }
}
