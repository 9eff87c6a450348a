//! A book as people write it, in TOML.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::value::Datetime;

use super::error::PriceBookError;
use super::names::Matcher;
use super::rates::{Kind, Rates, Step, Tariff};
use super::text::named;
use super::{Model, Price, PriceBook};
use crate::Timestamp;
use crate::llm::usage::Dollars;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Book {
    #[serde(default)]
    price: Vec<Row>,
    unknown: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a text or a list of texts")]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl OneOrMore {
    fn matcher(&self) -> Matcher {
        match self {
            Self::One(text) => Matcher::pattern(text),
            Self::More(texts) => {
                Matcher::OneOf(texts.iter().map(|text| Matcher::pattern(text)).collect())
            }
        }
    }

    fn first(&self) -> &str {
        match self {
            Self::One(text) => text,
            Self::More(texts) => texts.first().map_or("", String::as_str),
        }
    }
}

/// Structs with a price of each kind.
macro_rules! with_rates {
    ($($name:ident { $($field:ident: $type:ty,)* })*) => {$(
        #[derive(Default, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        struct $name {
            $($field: $type,)*
            input: Dollars,
            cached_input: Dollars,
            cache_write: Dollars,
            cache_write_1h: Dollars,
            audio_input: Dollars,
            image_input: Dollars,
            output: Dollars,
            reasoning: Dollars,
            audio_output: Dollars,
            image_output: Dollars,
            image: Dollars,
            search: Dollars,
            request: Dollars,
        }

        impl $name {
            fn rates(&self, of: &str) -> Result<Rates, PriceBookError> {
                let mut rates = Rates::default();
                for (kind, dollars) in [
                    (Kind::Input, &self.input),
                    (Kind::CachedInput, &self.cached_input),
                    (Kind::CacheWrite, &self.cache_write),
                    (Kind::CacheWrite1h, &self.cache_write_1h),
                    (Kind::AudioInput, &self.audio_input),
                    (Kind::ImageInput, &self.image_input),
                    (Kind::Output, &self.output),
                    (Kind::Reasoning, &self.reasoning),
                    (Kind::AudioOutput, &self.audio_output),
                    (Kind::ImageOutput, &self.image_output),
                    (Kind::Image, &self.image),
                    (Kind::Search, &self.search),
                    (Kind::Request, &self.request),
                ] {
                    if let Some(rate) = named(dollars, kind, of)? {
                        rates.set(kind, rate);
                    }
                }
                Ok(rates)
            }
        }
    )*};
}

with_rates! {
    Row {
        provider: Option<OneOrMore>,
        model: Option<OneOrMore>,
        from: Option<Datetime>,
        until: Option<Datetime>,
        above: Vec<Above>,
        tiers: BTreeMap<String, Tier>,
    }
    Tier {
        above: Vec<Above>,
    }
    Above {
        input_tokens: Option<u64>,
        inclusive: bool,
    }
}

impl PriceBook {
    /// Reads a book that is written in TOML. Prices are in dollars: a million tokens of `input`,
    /// `cached_input`, `cache_write`, `cache_write_1h`, `audio_input`, `image_input`, `output`,
    /// `reasoning`, `audio_output` and `image_output`, and one `image`, `search` or `request`; as
    /// numbers, or as texts, of which no reader loses a digit.
    ///
    /// ```
    /// use limitry::llm::{PriceBook, Usage};
    ///
    /// let book = PriceBook::from_toml(r#"
    ///     unknown = "gpt-5*"                     # models without a price have this one's
    ///
    ///     [[price]]
    ///     provider = ["openai", "azure"]         # or one; without it any
    ///     model = "gpt-5*"                       # or a list
    ///     from = 2025-08-07                      # in force from then on, UTC
    ///     until = 2026-07-01T00:00:00Z           # and before that
    ///     input = 1.25
    ///     output = 10
    ///
    ///     [[price.above]]                        # the whole request, where it is larger
    ///     input_tokens = 272_000
    ///     inclusive = false                      # so many are not above; `true` for xAI
    ///     input = 2.5
    ///     output = 15
    ///
    ///     [price.tiers.priority]                 # by the property `service_tier`
    ///     input = 2.5
    ///     output = 20
    /// "#)?;
    /// let usage = Usage::estimated(272_000, 1_000);
    /// let at = "2025-09-01T00:00:00Z".parse()?;
    /// assert_eq!(book.cost(Some("openai"), "gpt-5-mini", &usage, at)?.to_string(), "35");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// It is no TOML, or has a field that no book has; a price, a time or a bound is none. The
    /// error names the model and the field.
    pub fn from_toml(text: &str) -> Result<Self, PriceBookError> {
        let book: Book = toml::from_str(text).map_err(|why| {
            PriceBookError::new("price book", why.message(), &place(text, why.span()))
        })?;
        let mut models: Vec<Model> = Vec::new();
        for row in &book.price {
            let Some(model) = &row.model else {
                return Err(PriceBookError::new("model", "", "must be set in each price"));
            };
            let of = model.first();
            let (provider, name) = (row.provider.as_ref(), model.matcher());
            let provider = provider.map_or(Matcher::Any, OneOrMore::matcher);
            let price = row.price(of)?;
            // Prices of the same models follow each other in time.
            let known = models.iter_mut().find(|it| it.name == name && it.provider == provider);
            match known {
                Some(known) => known.prices.push(price),
                None => models.push(Model {
                    provider,
                    without_provider: Matcher::Any,
                    name,
                    prices: vec![price],
                }),
            }
        }
        let read = Self::new(models, Vec::new());
        match book.unknown {
            Some(model) => read.unknown_models_like(&model),
            None => Ok(read),
        }
    }
}

/// Where in a text something is wrong.
fn place(text: &str, span: Option<std::ops::Range<usize>>) -> String {
    let before = span.and_then(|span| text.get(..span.start));
    before.map_or_else(String::new, |before| {
        format!("in line {}", before.matches('\n').count().saturating_add(1))
    })
}

impl Row {
    fn price(&self, of: &str) -> Result<Price, PriceBookError> {
        let instant = |field: &str, at: Option<Datetime>| {
            let Some(at) = at else { return Ok(None) };
            let text = match (at.date, at.time, at.offset) {
                (Some(date), None, _) => format!("{date}T00:00:00Z"),
                (Some(_), Some(_), None) => format!("{at}Z"),
                _ => at.to_string(),
            };
            text.parse::<Timestamp>().map(Some).map_err(|_| {
                let field = format!("price of {of}: {field}");
                PriceBookError::new(&field, &at.to_string(), "must be a date, or a time of one")
            })
        };
        let mut tiers = Vec::new();
        for (name, tier) in &self.tiers {
            let own = format!("{of}, tier {name}");
            let tariff = Tariff::new(tier.rates(&own)?, steps(&tier.above, &own)?);
            tiers.push((name.as_str().into(), tariff));
        }
        Ok(Price {
            from: instant("from", self.from)?,
            until: instant("until", self.until)?,
            daily: None,
            standard: Tariff::new(self.rates(of)?, steps(&self.above, of)?),
            tiers,
        })
    }
}

fn steps(above: &[Above], of: &str) -> Result<Vec<Step>, PriceBookError> {
    let step = |above: &Above| {
        let Some(input_tokens) = above.input_tokens else {
            let field = format!("price of {of}: above.input_tokens");
            return Err(PriceBookError::new(&field, "", "must be set"));
        };
        Ok(Step { input_tokens, inclusive: above.inclusive, rates: above.rates(of)? })
    };
    above.iter().map(step).collect()
}
