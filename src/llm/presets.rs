//! The limits that providers publish, as rules: only figures that have a source and a date.
//!
//! [`RemoteLimits`](super::RemoteLimits) goes by what the provider says of the very key, which is
//! more exact: these rules are for the calls before its first answer, and for several processes
//! that share an engine. They are data: print them, change them, add to them.
//!
//! Each rule says in its metadata where its figure is from and when it was read. A model or a tier
//! of which there is no such figure has no rule: providers change them without notice, and publish
//! some of them to their customers only. No figures for a day were found for these tiers.
//!
//! ```
//! use limitry::llm::presets::{self, AnthropicTier, OpenAiTier};
//! use limitry::{Engine, Event};
//!
//! let mut rules = presets::openai(OpenAiTier::One);
//! rules.extend(presets::anthropic(AnthropicTier::Start));
//! let engine = Engine::builder().rule_set(rules).build()?;
//! let call = Event::new("cust_123", "model_call").provider("openai").model("gpt-5");
//! let decision = engine.track(&call.input_tokens(9_000))?;
//! assert_eq!(decision.rate_limits().next().map(|it| it.remaining), Some(491_000.into()));
//! # Ok::<(), limitry::Error>(())
//! ```

use crate::{Condition, Metric, RateLimit, RuleSet, Window};

/// OpenAI's usage tiers of which figures are published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum OpenAiTier {
    /// Tier 1.
    One,
    /// Tier 2.
    Two,
    /// Tier 3.
    Three,
    /// Tier 4.
    Four,
    /// Tier 5.
    Five,
}

/// Anthropic's usage tiers of which figures are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum AnthropicTier {
    /// Start.
    Start,
    /// Scale.
    Scale,
}

/// What a rule is made of.
struct Figure {
    provider: &'static str,
    /// How its events are known.
    models: Condition,
    /// What the rule is called by.
    name: &'static str,
    metric: Metric,
    /// A minute.
    most: u64,
    source: &'static str,
    read: &'static str,
}

/// OpenAI's tokens a minute by tier, for gpt-5 and gpt-5-mini: as OpenAI announced on 2025-09-12.
/// Requests a minute have no rule: no figure of them was found that has a source and a date.
/// `total_tokens` of each model counts for all customers together.
#[must_use]
pub fn openai(tier: OpenAiTier) -> RuleSet {
    let (large, small) = match tier {
        OpenAiTier::One => (500_000, 500_000),
        OpenAiTier::Two => (1_000_000, 2_000_000),
        OpenAiTier::Three => (2_000_000, 4_000_000),
        OpenAiTier::Four => (4_000_000, 10_000_000),
        OpenAiTier::Five => (40_000_000, 180_000_000),
    };
    let figure = |name, models, most| Figure {
        provider: "openai",
        models,
        name,
        metric: Metric::TotalTokens,
        most,
        source: "OpenAI, as quoted at simonwillison.net/2025/Sep/12/gpt-5-rate-limits",
        read: "2025-09-12",
    };
    // The name, and that of its snapshot: other models begin with the same letters.
    let dated = Condition::one_of(["gpt-5", "gpt-5-2025-08-07"]);
    rules([
        figure("gpt-5", dated, large),
        figure("gpt-5-mini", Condition::prefix("gpt-5-mini"), small),
    ])
}

/// Anthropic's requests, input tokens and output tokens a minute by tier, for Claude Fable 5: as
/// its page on rate limits had them on 2026-10-17. Tokens that are read from a cache do not count
/// to its input tokens, and here they do: `input_tokens` is all that went in.
#[must_use]
pub fn anthropic(tier: AnthropicTier) -> RuleSet {
    let (requests, input, output) = match tier {
        AnthropicTier::Start => (1_000, 500_000, 100_000),
        AnthropicTier::Scale => (4_000, 4_000_000, 800_000),
    };
    let figure = |metric, most| Figure {
        provider: "anthropic",
        models: Condition::prefix("claude-fable-5"),
        name: "claude-fable-5",
        metric,
        most,
        source: "platform.claude.com/docs/api/rate-limits, as copied at \
                 developersdigest.tech/rate-limits/anthropic",
        read: "2026-10-17",
    };
    rules([
        figure(Metric::TotalEvents, requests),
        figure(Metric::value("input_tokens"), input),
        figure(Metric::value("output_tokens"), output),
    ])
}

fn rules(figures: impl IntoIterator<Item = Figure>) -> RuleSet {
    let rule = |it: Figure| {
        let name = format!("{} {}: {} a minute", it.provider, it.name, it.metric);
        RateLimit::new(name, it.most, Window::Minute)
            .metric(it.metric)
            .filter("provider", it.provider)
            .filter("model", it.models)
            .metadata("source", it.source)
            .metadata("read", it.read)
    };
    let mut rules = RuleSet::new();
    rules.rate_limits.extend(figures.into_iter().map(rule));
    rules
}
