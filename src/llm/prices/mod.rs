//! What calls of models cost, by a list of prices.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;

use self::names::{Matcher, undated};
use self::rates::{Counts, Kind, Tariff, cost};
use super::usage::{Usage, names as values};
use crate::errors::PriceError;
use crate::{Amount, Event, Pricer, Timestamp};

mod book_toml;
mod error;
mod genai;
mod litellm;
mod names;
mod rates;
mod text;

pub use self::error::{PriceBookError, SkippedModel};

/// How many names that patterns are for a book remembers; beyond it begins anew. A name more copies
/// them all: so few that who thinks up names makes nobody pay much more than the search.
const MAX_REMEMBERED: usize = 256;
/// Tiers that have the standard prices.
const STANDARD: [&str; 5] = ["standard", "default", "auto", "on_demand", "standard_only"];

/// What calls of models cost: prices by provider, model, time, service tier, size of the request
/// and kind of token.
///
/// A book is read from [TOML](Self::from_toml), from [genai-prices](Self::from_genai_prices) or
/// from [LiteLLM's map](Self::from_litellm); none comes with the crate. Give it to an
/// [engine](crate::EngineBuilder::prices), which prices every event without a cost then, or ask it
/// what a [usage](Self::cost) costs.
///
/// # What is exact
///
/// A price is a whole number of `10^-13` of a cent a token. Prices times tokens are added up
/// exactly, and the sum is rounded once, up, at a millionth of a cent. No float is computed with;
/// where a list writes one (`1.5e-07`) its shortest decimal form is read.
///
/// # Which price
///
/// - The model and the provider of the event are compared in lower case. A price for this very name
///   comes before patterns, and of these the first in the book holds. A name with a date or
///   `-latest` at its end that has no price of its own has that of the name without it. An event
///   without a provider may be of any.
/// - Of the prices of a model the last one holds that is in force at the event's timestamp.
/// - The property `service_tier` chooses the tier; `standard`, `default`, `auto` and `on_demand`
///   are the standard one. What a tier says nothing of has the standard price.
/// - A size (`above`) is one of the whole request: all its tokens have the price of the highest
///   bound that all input tokens together pass. Whether exactly so many pass it is told by the
///   book: OpenAI's and Google's do not, xAI's do.
/// - What has no price of its own has another one's: cached, written, audio and image input that of
///   `input`, writes of an hour that of writes, reasoning, audio and image output that of `output`.
///   Images, searches and requests without a price cost nothing beside their tokens.
/// - An event without a model costs what it says, as does one that brings no tokens, images or
///   searches and has no price a request.
/// - A model without a price is an error, unless the book has [one for
///   all](Self::unknown_models_like): never 0.
///
/// ```
/// use limitry::llm::{PriceBook, Usage};
/// use limitry::{Engine, Event, Metric, Period, Quota};
///
/// let book = PriceBook::from_toml(r#"
///     [[price]]
///     provider = "openai"
///     model = ["gpt-4o", "gpt-4o-2024-*"]
///     input = 2.50         # dollars a million tokens
///     cached_input = 1.25
///     output = 10.00
///     tiers.batch = { input = 1.25, output = 5.00 }
/// "#)?;
/// let engine = Engine::builder()
///     .quota(Quota::new("Budget", Metric::TotalCostCents, 500, Period::Month).per("customer_id"))
///     .prices(book)
///     .build()?;
/// let call = Event::new("cust_123", "model_call").provider("openai").model("gpt-4o");
/// let decision = engine.track(&call.input_tokens(1_000).output_tokens(200))?;
/// assert_eq!(decision.quotas().next().map(|quota| quota.used.to_string()), Some("0.45".into()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct PriceBook {
    models: Vec<Model>,
    /// By names that prices are for, the models in their order.
    exact: HashMap<Box<str>, Vec<usize>, ahash::RandomState>,
    /// Those that are for more than their names.
    open: Vec<usize>,
    /// Which model a provider and a name were found to be that have no price by that very name.
    found: ArcSwap<Found>,
    /// The model whose prices those have that are not known.
    unknown: Option<usize>,
    skipped: Vec<SkippedModel>,
}

type Found = HashMap<Box<[u8]>, usize, ahash::RandomState>;

/// The prices of a model, or of several.
#[derive(Clone, Debug)]
struct Model {
    provider: Matcher,
    /// What a model must be where no provider is told.
    without_provider: Matcher,
    name: Matcher,
    /// The last that is in force holds.
    prices: Vec<Price>,
}

/// Prices for a time.
#[derive(Clone, Debug, Default)]
struct Price {
    from: Option<Timestamp>,
    until: Option<Timestamp>,
    /// From when to when of each day, in seconds of UTC.
    daily: Option<(i64, i64)>,
    standard: Tariff,
    tiers: Vec<(Box<str>, Tariff)>,
}

impl Price {
    fn is_in_force(&self, at: Timestamp) -> bool {
        let of_day = at.unix_seconds().rem_euclid(24 * 60 * 60);
        self.from.is_none_or(|from| from <= at)
            && self.until.is_none_or(|until| at < until)
            && self.daily.is_none_or(|(from, until)| {
                if from <= until {
                    from <= of_day && of_day < until
                } else {
                    from <= of_day || of_day < until
                }
            })
    }
}

impl PriceBook {
    fn new(models: Vec<Model>, skipped: Vec<SkippedModel>) -> Self {
        let mut book = Self {
            models,
            exact: HashMap::default(),
            open: Vec::new(),
            found: ArcSwap::default(),
            unknown: None,
            skipped,
        };
        book.index();
        book
    }

    fn index(&mut self) {
        let (mut exact, mut open) = (HashMap::<Box<str>, Vec<usize>, _>::default(), Vec::new());
        for (place, model) in self.models.iter().enumerate() {
            model.name.each_exact(&mut |name| exact.entry(name.into()).or_default().push(place));
            if model.name.is_open() {
                open.push(place);
            }
        }
        (self.exact, self.open, self.found) = (exact, open, ArcSwap::default());
    }

    /// Adds the prices of another book behind those of this one: they hold where this one has none.
    /// So a list can be amended by a few lines of one's own.
    #[must_use]
    pub fn or(mut self, other: Self) -> Self {
        let behind = self.models.len();
        self.unknown = self.unknown.or(other.unknown.map(|it| it.saturating_add(behind)));
        self.models.extend(other.models);
        self.skipped.extend(other.skipped);
        self.index();
        self
    }

    /// Gives models without a price those of a model of the book, in place of an error: a dear one
    /// errs on the safe side.
    ///
    /// # Errors
    /// The book has no such model.
    pub fn unknown_models_like(mut self, model: &str) -> Result<Self, PriceBookError> {
        let Some(place) = self.find(None, model) else {
            return Err(PriceBookError::new("unknown", model, "must be a model of the book"));
        };
        self.unknown = Some(place);
        Ok(self)
    }

    /// Returns how many entries the book has: models, or groups of them with the same prices.
    #[must_use]
    pub fn len(&self) -> usize {
        self.models.len()
    }

    /// Returns whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.models.is_empty()
    }

    /// Returns what of a list was not taken over, and why.
    #[must_use]
    pub fn skipped(&self) -> &[SkippedModel] {
        &self.skipped
    }

    /// Says what a usage of a model costs at a time, in cents. The [source](Usage::source) of the
    /// usage does not matter. What the provider says that it cost is not looked at; what it asks
    /// nothing for costs nothing.
    ///
    /// # Errors
    /// The model, its service tier or a part of the usage has no price.
    pub fn cost(
        &self,
        provider: Option<&str>,
        model: &str,
        usage: &Usage,
        at: Timestamp,
    ) -> Result<Amount, PriceError> {
        if usage.is_free {
            return Ok(Amount::ZERO);
        }
        let mut counts = Counts::default();
        for (kind, count) in [
            (Kind::Input, usage.input),
            (Kind::CachedInput, usage.cached_input),
            (Kind::CacheWrite1h, usage.cache_write_1h),
            (Kind::AudioInput, usage.audio_input),
            (Kind::ImageInput, usage.image_input),
            (Kind::Output, usage.output),
            (Kind::Reasoning, usage.reasoning),
            (Kind::AudioOutput, usage.audio_output),
            (Kind::ImageOutput, usage.image_output),
            (Kind::Image, usage.images),
            (Kind::Search, usage.searches),
            (Kind::Request, Some(usage.requests.unwrap_or(1))),
        ] {
            counts.set(kind, count.unwrap_or(0));
        }
        let written = [usage.cache_write_5m, usage.cache_write_other].into_iter().flatten();
        counts.set(Kind::CacheWrite, written.fold(0, u64::saturating_add));
        let price = self.price_at(provider, model, at)?;
        let input = usage.input_tokens().unwrap_or(0);
        priced(price, usage.service_tier.as_deref(), model, &counts, input)
    }

    fn price_at(
        &self,
        provider: Option<&str>,
        model: &str,
        at: Timestamp,
    ) -> Result<&Price, PriceError> {
        let found = self.find(provider, model).or(self.unknown);
        let found = found.and_then(|place| self.models.get(place));
        let found = found.ok_or_else(|| {
            let of = provider.map_or_else(String::new, |it| format!(" of provider {it:?}"));
            PriceError::new("model", model, &format!("has no price{of} in the price book"))
        })?;
        let price = found.prices.iter().rev().find(|price| price.is_in_force(at));
        price.ok_or_else(|| {
            PriceError::new("model", model, &format!("has no price at {at} in the price book"))
        })
    }

    /// The place of a model: by its very name, and else by what was found once and remembered.
    fn find(&self, provider: Option<&str>, name: &str) -> Option<usize> {
        let (provider, name) = (provider.map(lower), lower(name));
        let (provider, name) = (provider.as_deref(), &*name);
        self.exact(provider, name).or_else(|| {
            let mut key = smallvec::SmallVec::<[u8; 128]>::new();
            if let Some(provider) = provider {
                key.extend_from_slice(provider.as_bytes());
                // Is in no text.
                key.push(u8::MAX);
            }
            key.extend_from_slice(name.as_bytes());
            let found = self.found.load();
            if let Some(place) = found.get(key.as_slice()) {
                return Some(*place);
            }
            let place = self.search(provider, name)?;
            // Names that have no price are not kept: anybody can think them up. What another thread
            // keeps at the same time may be lost, and is found again.
            let mut more =
                if found.len() < MAX_REMEMBERED { Found::clone(&found) } else { Found::default() };
            more.insert(key.as_slice().into(), place);
            self.found.store(Arc::new(more));
            Some(place)
        })
    }

    fn is_of(&self, place: usize, provider: Option<&str>, name: &str) -> bool {
        self.models.get(place).is_some_and(|model| match provider {
            Some(provider) => model.provider.matches(provider),
            None => model.without_provider.matches(name),
        })
    }

    /// By a price for this very name; names are in lower case from here on.
    fn exact(&self, provider: Option<&str>, name: &str) -> Option<usize> {
        let places = self.exact.get(name)?;
        places.iter().copied().find(|place| self.is_of(*place, provider, name))
    }

    /// By a pattern, or as the name without its date.
    fn search(&self, provider: Option<&str>, name: &str) -> Option<usize> {
        let by_pattern = |name: &str| {
            self.open.iter().copied().find(|place| {
                self.is_of(*place, provider, name)
                    && self.models.get(*place).is_some_and(|model| model.name.matches(name))
            })
        };
        by_pattern(name).or_else(|| {
            let name = undated(name)?;
            self.exact(provider, name).or_else(|| by_pattern(name))
        })
    }
}

/// A name as names are compared.
fn lower(name: &str) -> Cow<'_, str> {
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        name.to_ascii_lowercase().into()
    } else {
        name.into()
    }
}

/// What counts cost by a price.
fn priced(
    price: &Price,
    tier: Option<&str>,
    model: &str,
    counts: &Counts,
    input_tokens: u64,
) -> Result<Amount, PriceError> {
    let tier = tier.filter(|tier| !STANDARD.iter().any(|it| it.eq_ignore_ascii_case(tier)));
    let tariff = match tier {
        None => &price.standard,
        Some(tier) => {
            let own = price.tiers.iter().find(|(name, _)| name.eq_ignore_ascii_case(tier));
            let own = own.map(|(_, tariff)| tariff);
            own.ok_or_else(|| {
                let reason = format!("has no price for model {model:?} in the price book");
                PriceError::new(values::SERVICE_TIER, tier, &reason)
            })?
        }
    };
    cost(counts, input_tokens, tariff, &price.standard).map_err(|kind| {
        let reason = format!("have no price for model {model:?} in the price book");
        PriceError::new(kind.as_str(), &counts.of(kind).to_string(), &reason)
    })
}

/// A number of units that an event has; 0 where it has none.
fn count(event: &Event<'_>, name: &str) -> Result<u64, PriceError> {
    let Some(amount) = event.amount(name) else { return Ok(0) };
    u64::try_from(amount).map_err(|_| {
        PriceError::new(name, &amount.to_string(), "must be a whole number from 0 on, to be priced")
    })
}

/// What is left of a count without its parts.
fn without(event: &Event<'_>, whole: &str, parts: &[u64]) -> Result<(u64, u64), PriceError> {
    let all = count(event, whole)?;
    let parts = parts.iter().fold(0_u64, |sum, part| sum.saturating_add(*part));
    let rest = all.checked_sub(parts).ok_or_else(|| {
        let reason = format!("must be at least {parts}, which its parts are together");
        PriceError::new(whole, &all.to_string(), &reason)
    })?;
    Ok((rest, all))
}

/// What an event has of each kind, and all input tokens.
fn counts_of(event: &Event<'_>) -> Result<(Counts, u64), PriceError> {
    let mut counts = Counts::default();
    for (kind, name) in [
        (Kind::CachedInput, values::CACHED_INPUT),
        (Kind::CacheWrite1h, values::CACHE_WRITE_1H),
        (Kind::AudioInput, values::AUDIO_INPUT),
        (Kind::ImageInput, values::IMAGE_INPUT),
        (Kind::Reasoning, values::REASONING),
        (Kind::AudioOutput, values::AUDIO_OUTPUT),
        (Kind::ImageOutput, values::IMAGE_OUTPUT),
        (Kind::Image, values::IMAGES),
        (Kind::Search, values::SEARCHES),
    ] {
        counts.set(kind, count(event, name)?);
    }
    let of = |kind| counts.of(kind);
    let (written, all_written) = without(event, values::CACHE_WRITE, &[of(Kind::CacheWrite1h)])?;
    let parts = [of(Kind::CachedInput), all_written, of(Kind::AudioInput), of(Kind::ImageInput)];
    let (fresh, input) = without(event, "input_tokens", &parts)?;
    let parts = [of(Kind::Reasoning), of(Kind::AudioOutput), of(Kind::ImageOutput)];
    let (output, _) = without(event, "output_tokens", &parts)?;
    counts.set(Kind::CacheWrite, written);
    counts.set(Kind::Input, fresh);
    counts.set(Kind::Output, output);
    Ok((counts, input))
}

impl Pricer for PriceBook {
    fn price(&self, event: &Event<'_>, at: Timestamp) -> Result<Option<Amount>, PriceError> {
        let Some(model) = event.dimension("model") else { return Ok(None) };
        let (mut counts, input) = counts_of(event)?;
        let is_nothing = counts == Counts::default();
        let (total, parts) = (event.amount("total_tokens"), event.amount("input_tokens"));
        if let (Some(total), None, None) = (total, parts, event.amount("output_tokens"))
            && total > Amount::ZERO
        {
            let reason = "must be told as input_tokens and output_tokens, whose prices differ";
            return Err(PriceError::new("total_tokens", &total.to_string(), reason));
        }
        let provider = event.dimension("provider");
        let price = match self.price_at(provider, model, at) {
            Err(_) if is_nothing => return Ok(None),
            price => price?,
        };
        let requests = event.amount(values::REQUESTS);
        counts.set(
            Kind::Request,
            if requests.is_some() { count(event, values::REQUESTS)? } else { 1 },
        );
        if is_nothing && price.standard.base.of(Kind::Request).is_none() {
            return Ok(None);
        }
        let tier = event.dimension(values::SERVICE_TIER);
        priced(price, tier, model, &counts, input).map(Some)
    }
}

impl fmt::Debug for PriceBook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PriceBook")
            .field("models", &self.models.len())
            .field("skipped", &self.skipped.len())
            .finish_non_exhaustive()
    }
}
