//! The list of genai-prices, `data.json` or `data_slim.json` of versions 1 and 2, by
//! pydantic/genai-prices of 2026-08-21.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::error::{PriceBookError, SkippedModel};
use super::names::Matcher;
use super::rates::{Kind, Rates, Step, Tariff};
use super::text::{Per, rate};
use super::{Model, Price, PriceBook};
use crate::Timestamp;
use crate::llm::usage::Dollars;

#[derive(Deserialize)]
struct Seller {
    id: String,
    model_match: Option<Clause>,
    provider_match: Option<Clause>,
    #[serde(default)]
    fallback_model_providers: Option<Vec<String>>,
    models: Vec<Listed>,
}

#[derive(Deserialize)]
struct Listed {
    id: String,
    r#match: Clause,
    prices: Prices,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Clause {
    Equals(String),
    StartsWith(String),
    EndsWith(String),
    Contains(String),
    Regex(serde::de::IgnoredAny),
    Or(Vec<Self>),
    And(Vec<Self>),
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "prices, or a list of them")]
enum Prices {
    Conditional(Vec<Conditional>),
    Always(BTreeMap<String, Dear>),
}

#[derive(Deserialize)]
struct Conditional {
    constraint: Option<Constraint>,
    prices: BTreeMap<String, Dear>,
}

#[derive(Deserialize)]
struct Constraint {
    start_date: Option<String>,
    start_time: Option<String>,
    end_time: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a price, or one with tiers")]
enum Dear {
    Tiered { base: Dollars, tiers: Vec<Tier> },
    Flat(Dollars),
}

#[derive(Deserialize)]
struct Tier {
    start: u64,
    price: Dollars,
}

/// What prices are of, and how many of it.
const KEYS: [(&str, Kind, Per); 14] = [
    ("input_mtok", Kind::Input, Per::Million),
    ("cache_read_mtok", Kind::CachedInput, Per::Million),
    ("cache_write_mtok", Kind::CacheWrite, Per::Million),
    ("cache_write_5m_mtok", Kind::CacheWrite, Per::Million),
    ("cache_write_1h_mtok", Kind::CacheWrite1h, Per::Million),
    ("input_audio_mtok", Kind::AudioInput, Per::Million),
    ("input_image_mtok", Kind::ImageInput, Per::Million),
    ("output_mtok", Kind::Output, Per::Million),
    ("output_reasoning_mtok", Kind::Reasoning, Per::Million),
    ("output_audio_mtok", Kind::AudioOutput, Per::Million),
    ("output_image_mtok", Kind::ImageOutput, Per::Million),
    ("requests_kcount", Kind::Request, Per::Thousand),
    ("web_searches_kcount", Kind::Search, Per::Thousand),
    ("searches_kcount", Kind::Search, Per::Thousand),
];

impl PriceBook {
    /// Reads the list of genai-prices, `data.json` or `data_slim.json`, with its history: prices
    /// from a date on, and at hours of the day. Its tiers are of whole requests, above so many
    /// tokens; xAI's from exactly so many on.
    ///
    /// Prices of kinds that a book has no word for are [skipped](Self::skipped), and so are rules
    /// with regular expressions: names that such a rule alone is for are found where they are a
    /// known one with a date behind it.
    ///
    /// # Errors
    /// It is no JSON of that shape; the error names the place.
    pub fn from_genai_prices(json: impl AsRef<[u8]>) -> Result<Self, PriceBookError> {
        let providers: Vec<Seller> = serde_json::from_slice(json.as_ref()).map_err(|why| {
            PriceBookError::new("price list", &why.to_string(), "must be that of genai-prices")
        })?;
        let (mut models, mut skipped) = (Vec::new(), Vec::new());
        let mut of_provider: BTreeMap<&str, Vec<Model>> = BTreeMap::new();
        for provider in &providers {
            let mut own = Vec::new();
            for listed in &provider.models {
                own.push(listed.model(provider, &mut skipped));
            }
            models.extend(own.iter().cloned());
            of_provider.insert(&provider.id, own);
        }
        // A cloud sells the models of others at their prices, unless it has its own.
        for provider in &providers {
            let others = provider.fallback_model_providers.iter().flatten();
            let lent = others.filter_map(|other| of_provider.get(other.as_str())).flatten();
            models.extend(lent.map(|model| Model {
                provider: provider.names(),
                without_provider: Matcher::Never,
                ..model.clone()
            }));
        }
        Ok(Self::new(models, skipped))
    }
}

impl Seller {
    fn names(&self) -> Matcher {
        let id = Matcher::Exact(self.id.to_ascii_lowercase().into());
        match self.provider_match.as_ref().map(Clause::matcher) {
            Some(other) => Matcher::OneOf(vec![id, other]),
            None => id,
        }
    }
}

impl Listed {
    fn model(&self, provider: &Seller, skipped: &mut Vec<SkippedModel>) -> Model {
        let id = Matcher::Exact(self.id.to_ascii_lowercase().into());
        let by_model = provider.model_match.as_ref().map(Clause::matcher);
        let inclusive = provider.id == "x-ai";
        let mut prices = Vec::new();
        let mut add = |constraint: Option<&Constraint>, of: &BTreeMap<String, Dear>| match price(
            constraint,
            of,
            inclusive,
            &mut |reason| {
                skipped.push(SkippedModel::new(&self.id, reason));
            },
        ) {
            Ok(price) => prices.push(price),
            Err(reason) => skipped.push(SkippedModel::new(&self.id, reason)),
        };
        match &self.prices {
            Prices::Always(of) => add(None, of),
            Prices::Conditional(all) => {
                for it in all {
                    add(it.constraint.as_ref(), &it.prices);
                }
            }
        }
        Model {
            provider: provider.names(),
            without_provider: by_model.unwrap_or(Matcher::Never),
            name: Matcher::OneOf(vec![id, self.r#match.matcher()]),
            prices,
        }
    }
}

impl Clause {
    fn matcher(&self) -> Matcher {
        let lower = |text: &String| text.to_ascii_lowercase().into_boxed_str();
        match self {
            Self::Equals(text) => Matcher::Exact(lower(text)),
            Self::StartsWith(text) => Matcher::StartsWith(lower(text)),
            Self::EndsWith(text) => Matcher::EndsWith(lower(text)),
            Self::Contains(text) => Matcher::Contains(lower(text)),
            Self::Regex(_) => Matcher::Never,
            Self::Or(clauses) => Matcher::OneOf(clauses.iter().map(Self::matcher).collect()),
            Self::And(clauses) => Matcher::AllOf(clauses.iter().map(Self::matcher).collect()),
        }
    }
}

/// The prices under a constraint; `Err` says why the constraint is not known.
fn price(
    constraint: Option<&Constraint>,
    of: &BTreeMap<String, Dear>,
    inclusive: bool,
    skip: &mut impl FnMut(String),
) -> Result<Price, String> {
    let mut price = Price::default();
    if let Some(Constraint { start_date, start_time, end_time }) = constraint {
        if let Some(date) = start_date {
            let from = format!("{date}T00:00:00Z").parse::<Timestamp>();
            price.from = Some(from.map_err(|_| format!("start_date: {date} must be a date"))?);
        }
        if let (Some(from), Some(until)) = (start_time, end_time) {
            let second = |text: &String| {
                let at = format!("1970-01-01T{text}").parse::<Timestamp>();
                at.map(Timestamp::unix_seconds).map_err(|_| format!("{text} must be a time"))
            };
            price.daily = Some((second(from)?, second(until)?));
        }
    }
    let mut base = Rates::default();
    let mut above: BTreeMap<u64, Rates> = BTreeMap::new();
    for (key, dear) in of {
        let Some((_, kind, per)) = KEYS.iter().find(|(known, ..)| known == key) else {
            skip(format!("{key}: no kind of price of a book"));
            continue;
        };
        let (flat, tiers) = match dear {
            Dear::Flat(flat) => (flat, &[][..]),
            Dear::Tiered { base, tiers } => (base, tiers.as_slice()),
        };
        let mut set = |rates: &mut Rates, dollars: &Dollars| match rate(dollars, *per) {
            Ok(Some(rate)) => rates.set(*kind, rate),
            Ok(None) => {}
            Err(why) => skip(format!("{key}: {why}")),
        };
        set(&mut base, flat);
        for tier in tiers {
            set(above.entry(tier.start).or_default(), &tier.price);
        }
    }
    let step = |(input_tokens, rates)| Step { input_tokens, inclusive, rates };
    price.standard = Tariff::new(base, above.into_iter().map(step).collect());
    Ok(price)
}
