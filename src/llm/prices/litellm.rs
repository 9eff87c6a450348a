//! LiteLLM's map of models, `model_prices_and_context_window.json`, by litellm 1.110.2 (2026-11).

use std::collections::BTreeMap;

use serde_json::Value;

use super::error::{PriceBookError, SkippedModel};
use super::names::Matcher;
use super::rates::{Kind, Rates, Step, Tariff};
use super::text::{Per, rate};
use super::{Model, Price, PriceBook};
use crate::llm::decimal::Decimal;
use crate::llm::usage::Dollars;

/// What names of prices begin with, and what they are of; the longer ones first.
const FIELDS: [(&str, Kind); 13] = [
    ("cache_creation_input_token_cost_above_1hr", Kind::CacheWrite1h),
    ("cache_creation_input_token_cost", Kind::CacheWrite),
    ("cache_read_input_token_cost", Kind::CachedInput),
    ("input_cost_per_audio_token", Kind::AudioInput),
    ("input_cost_per_image_token", Kind::ImageInput),
    ("input_cost_per_token", Kind::Input),
    ("input_cost_per_request", Kind::Request),
    ("input_cost_per_query", Kind::Search),
    ("output_cost_per_audio_token", Kind::AudioOutput),
    ("output_cost_per_image_token", Kind::ImageOutput),
    ("output_cost_per_reasoning_token", Kind::Reasoning),
    ("output_cost_per_token", Kind::Output),
    ("output_cost_per_image", Kind::Image),
];
/// The endings that name a service tier, and how providers call it.
const TIERS: [(&str, &str); 4] =
    [("_batches", "batch"), ("_flex", "flex"), ("_priority", "priority"), ("", "")];

impl PriceBook {
    /// Reads the map that LiteLLM and its users keep, `model_prices_and_context_window.json`.
    ///
    /// Prices a token (cached, written, audio, image, reasoning ones with them), an image, a query
    /// and a request are taken, of batches and of the tiers `flex` and `priority`, and those above
    /// so many thousand tokens, which xAI asks from exactly so many on. An entry is for its key,
    /// and for the key without the provider before it (`azure/gpt-4o`), of its `litellm_provider`.
    /// What a book has no word for, such as prices a second or a character, is
    /// [skipped](Self::skipped), and so is a price that is no number or below zero. The map has no
    /// history: keep the ones of before, and ask the right one.
    ///
    /// # Errors
    /// It is no JSON object of objects.
    pub fn from_litellm(json: impl AsRef<[u8]>) -> Result<Self, PriceBookError> {
        let map: BTreeMap<String, Value> = serde_json::from_slice(json.as_ref())
            .map_err(|why| PriceBookError::new("price list", &why.to_string(), "is no map"))?;
        let (mut models, mut short_names, mut skipped) = (Vec::new(), Vec::new(), Vec::new());
        for (key, entry) in &map {
            let Value::Object(fields) = entry else {
                return Err(PriceBookError::new(key, &entry.to_string(), "must be an object"));
            };
            if key == "sample_spec" {
                continue;
            }
            let provider = fields.get("litellm_provider").and_then(Value::as_str).unwrap_or("");
            let price = price(key, provider, fields, &mut skipped);
            if price.standard.is_empty() {
                skipped.push(SkippedModel::new(key, "it has no price that a book knows"));
                continue;
            }
            let model = |name: &str, without_provider| Model {
                provider: provider_of(provider),
                without_provider,
                name: Matcher::Exact(name.to_ascii_lowercase().into()),
                prices: vec![price.clone()],
            };
            models.push(model(key, Matcher::Any));
            if let Some((_, name)) = key.split_once('/') {
                short_names.push(model(name, Matcher::Any));
            }
        }
        // A key as it is written comes before one that lost its provider.
        models.append(&mut short_names);
        Ok(Self::new(models, skipped))
    }
}

/// `vertex_ai-language-models` and `bedrock_converse` are of the providers `vertex_ai` and
/// `bedrock`.
fn provider_of(name: &str) -> Matcher {
    if name.is_empty() {
        return Matcher::Any;
    }
    let name = name.to_ascii_lowercase();
    let short = name.split('-').next().unwrap_or(&name);
    let short = short.strip_suffix("_converse").unwrap_or(short);
    let exact = |name: &str| Matcher::Exact(name.into());
    if short == name { exact(&name) } else { Matcher::OneOf(vec![exact(&name), exact(short)]) }
}

fn price(
    key: &str,
    provider: &str,
    fields: &serde_json::Map<String, Value>,
    skipped: &mut Vec<SkippedModel>,
) -> Price {
    // By tier and bound.
    let mut found: BTreeMap<(usize, u64), Rates> = BTreeMap::new();
    for (name, value) in fields.iter().filter(|(name, _)| name.contains("cost")) {
        let Some((kind, bound, tier)) = meaning(name) else {
            if !value.is_null() && value.as_f64() != Some(0.0) {
                skipped.push(SkippedModel::new(key, format!("{name}: no kind of price of a book")));
            }
            continue;
        };
        match rate(&dollars(value), Per::One) {
            Ok(Some(rate)) => found.entry((tier, bound)).or_default().set(kind, rate),
            Ok(None) => {}
            Err(why) => skipped.push(SkippedModel::new(key, format!("{name}: {value} {why}"))),
        }
    }
    let inclusive = provider == "xai";
    let tariff = |tier: usize| {
        let base = found.get(&(tier, 0)).copied().unwrap_or_default();
        let above = found.iter().filter(|((of, bound), _)| *of == tier && *bound > 0);
        let step = |((_, input_tokens), rates): (&(usize, u64), &Rates)| Step {
            input_tokens: *input_tokens,
            inclusive,
            rates: *rates,
        };
        Tariff::new(base, above.map(step).collect())
    };
    let standard = tariff(TIERS.len().saturating_sub(1));
    let tiers = TIERS.iter().enumerate().filter(|(_, (ending, _))| !ending.is_empty());
    let tiers = tiers.map(|(place, (_, name))| ((*name).into(), tariff(place)));
    let tiers = tiers.filter(|(_, tariff)| !tariff.is_empty()).collect();
    Price { standard, tiers, ..Price::default() }
}

/// What a field is the price of: the kind, above how many tokens, and the place of the tier.
fn meaning(name: &str) -> Option<(Kind, u64, usize)> {
    let (tier, (ending, _)) =
        TIERS.iter().enumerate().find(|(_, (ending, _))| name.ends_with(ending))?;
    let name = name.strip_suffix(ending)?;
    let (kind, rest) =
        FIELDS.iter().find_map(|(field, kind)| Some((*kind, name.strip_prefix(field)?)))?;
    if rest.is_empty() {
        return Some((kind, 0, tier));
    }
    let thousands = rest.strip_prefix("_above_")?.strip_suffix("k_tokens")?;
    Some((kind, thousands.parse::<u64>().ok()?.checked_mul(1_000)?, tier))
}

/// A number of JSON, or a text of one.
fn dollars(value: &Value) -> Dollars {
    let bad = || Dollars::Bad(value.to_string().into());
    match value {
        Value::Null => Dollars::Missing,
        Value::Number(number) => Decimal::parse(&number.to_string()).map_or_else(bad, Dollars::Of),
        Value::String(text) => Decimal::parse(text).map_or_else(bad, Dollars::Of),
        _ => bad(),
    }
}
