//! What a call of a model used, as its provider reports it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Amount, Event};

mod anthropic;
mod bedrock;
mod cohere;
mod error;
mod gemini;
mod ollama;
mod openai;
mod parts;
mod read;
mod stream;

pub use self::error::UsageError;
pub(super) use self::read::Dollars;
pub use self::stream::UsageStream;

use self::anthropic::Anthropic;
use self::bedrock::Bedrock;
use self::cohere::Cohere;
use self::gemini::Gemini;
use self::ollama::Ollama;
use self::openai::OpenAi;
use self::stream::whole;

/// What a call of a model used: parts that have nothing in common, so that their sum is all of it.
///
/// A part that the provider did not report is `None`, which is not 0. What each provider counts
/// inside which number is in the [table](super#providers); here nothing is counted twice.
///
/// Made of a response by one of the constructors, of a stream by [`UsageStream`], or by hand, field
/// by field.
///
/// ```
/// use limitry::Event;
/// use limitry::llm::{EventUsage, Usage, UsageSource};
///
/// let response = r#"{"model": "gpt-4o", "usage": {
///     "prompt_tokens": 2000, "completion_tokens": 50, "total_tokens": 2050,
///     "prompt_tokens_details": {"cached_tokens": 1536},
///     "completion_tokens_details": {"reasoning_tokens": 30}}}"#;
/// let usage = Usage::from_openai(response)?;
/// assert_eq!((usage.input, usage.cached_input), (Some(464), Some(1_536)));
/// assert_eq!((usage.output, usage.reasoning), (Some(20), Some(30)));
/// assert_eq!(usage.source, UsageSource::Reported);
///
/// let event = Event::new("cust_123", "model_call").usage(&usage);
/// assert_eq!(event.amount("total_tokens"), Some(2_050.into()));
/// # Ok::<(), limitry::llm::UsageError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Usage {
    /// Tokens that went in and are in no other part: text, documents, video, results of tools.
    pub input: Option<u64>,
    /// Tokens that were read from a cache.
    pub cached_input: Option<u64>,
    /// Tokens that were written to a cache for five minutes.
    pub cache_write_5m: Option<u64>,
    /// Tokens that were written to a cache for an hour.
    pub cache_write_1h: Option<u64>,
    /// Tokens that were written to a cache for as long as the provider keeps them.
    pub cache_write_other: Option<u64>,
    /// Tokens of audio that went in, not those from a cache.
    pub audio_input: Option<u64>,
    /// Tokens of images that went in, not those from a cache, where they are counted apart.
    pub image_input: Option<u64>,
    /// Tokens that came out and are in no other part.
    pub output: Option<u64>,
    /// Tokens of reasoning, which is paid for and not always shown.
    pub reasoning: Option<u64>,
    /// Tokens of audio that came out.
    pub audio_output: Option<u64>,
    /// Tokens of images that came out.
    pub image_output: Option<u64>,
    /// Images that came out, where the response holds them.
    pub images: Option<u64>,
    /// Searches that the provider made or ranked: web searches, search units.
    pub searches: Option<u64>,
    /// Requests: 1 of a response.
    pub requests: Option<u64>,
    /// The total of tokens that the provider reported: for comparison, and in no sum.
    pub reported_total: Option<u64>,
    /// What the provider says that the call cost, in cents, rounded up at a millionth.
    pub reported_cost_cents: Option<Amount>,
    /// The model that answered.
    pub model: Option<String>,
    /// The service tier that the call was served in, as the provider calls it.
    pub service_tier: Option<String>,
    /// How the answer ended.
    pub finish: Finish,
    /// The provider asks nothing for it, whatever it counted: Anthropic's refusals without output.
    pub is_free: bool,
    /// Where the counts come from.
    pub source: UsageSource,
}

/// Where the counts of a [`Usage`] come from.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum UsageSource {
    /// Nothing is known: an error, or a stream of which no count was seen.
    #[default]
    Missing,
    /// The provider reported a part of it: a stream that broke off, a count that is missing, or
    /// counts that do not fit together, of which the docs of each constructor say what is made.
    Partly,
    /// Some of it is an estimate of the application's.
    Estimated,
    /// The provider reported it.
    Reported,
}

/// How an answer ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Finish {
    /// Nobody has said, or in a word that is not known here.
    #[default]
    Unknown,
    /// The model was done, or came to a stop sequence.
    Stopped,
    /// A bound on tokens or on the context was reached.
    Truncated,
    /// It asks for tools.
    Tools,
    /// The model refused.
    Refused,
    /// A filter of the provider took the input or the output.
    Filtered,
    /// It broke with an error.
    Failed,
}

impl Usage {
    /// Reads a response of OpenAI's Chat Completions, Completions, Embeddings, Images or
    /// Transcriptions API, or its `usage` object; of Azure OpenAI, Mistral, DeepSeek, Groq,
    /// vLLM, OpenRouter, xAI and others that speak the same.
    ///
    /// Cached, written, audio and image tokens are parts of `prompt_tokens`; reasoning and audio
    /// tokens are parts of `completion_tokens`. Where `total_tokens` says that reasoning lies
    /// beside `completion_tokens` (xAI) it is so. Cached tokens of audio or images are counted
    /// as cached; where their number is not told, and all together would be more than the prompt,
    /// the rest is taken for audio and images, and the source is [`Partly`](UsageSource::Partly).
    ///
    /// # Errors
    /// It is no JSON object; a count is no whole number; a part is more than what it is part of.
    pub fn from_openai(json: impl AsRef<[u8]>) -> Result<Self, UsageError> {
        whole::<OpenAi>(json.as_ref())
    }

    /// Reads a response of OpenAI's Responses API, an event of its stream with a `response`, or its
    /// `usage` object. Parts are as in [`from_openai`](Self::from_openai).
    ///
    /// # Errors
    /// As `from_openai`.
    pub fn from_openai_responses(json: impl AsRef<[u8]>) -> Result<Self, UsageError> {
        Self::from_openai(json)
    }

    /// Reads a response of Anthropic's Messages API, or its `usage` object.
    ///
    /// `input_tokens` has neither cache reads nor writes in it. Thinking is part of
    /// `output_tokens`. Writes whose lifetime is not told are of five minutes. Where there are
    /// `iterations` (compaction, advisors, fallbacks) the usage is their sum, because the top level
    /// leaves some out: [`iterations_from_anthropic`](Self::iterations_from_anthropic) has each
    /// with its own model. A refusal without output [is free](Self::is_free).
    ///
    /// # Errors
    /// As [`from_openai`](Self::from_openai).
    pub fn from_anthropic(json: impl AsRef<[u8]>) -> Result<Self, UsageError> {
        whole::<Anthropic>(json.as_ref())
    }

    /// Reads what each iteration of a response of Anthropic's Messages API used, each with its own
    /// model where one is told: they can have prices of their own. One without iterations is the
    /// only one.
    ///
    /// # Errors
    /// As [`from_openai`](Self::from_openai).
    pub fn iterations_from_anthropic(json: impl AsRef<[u8]>) -> Result<Vec<Self>, UsageError> {
        anthropic::iterations(json.as_ref())
    }

    /// Reads a response of Google's Gemini API, or its `usageMetadata`; of Vertex AI as well.
    ///
    /// Cached tokens are part of `promptTokenCount`. Thoughts and the prompt of tools lie beside
    /// `promptTokenCount` and `candidatesTokenCount`; where `totalTokenCount` says that thoughts
    /// are part of the candidates it is so. Video and documents count as `input`.
    ///
    /// # Errors
    /// As [`from_openai`](Self::from_openai).
    pub fn from_gemini(json: impl AsRef<[u8]>) -> Result<Self, UsageError> {
        whole::<Gemini>(json.as_ref())
    }

    /// Reads a response of Amazon Bedrock's Converse API, or its `usage` object. `inputTokens` has
    /// neither cache reads nor writes in it. What `InvokeModel` answers is the body of the model's
    /// own provider.
    ///
    /// # Errors
    /// As [`from_openai`](Self::from_openai).
    pub fn from_bedrock(json: impl AsRef<[u8]>) -> Result<Self, UsageError> {
        whole::<Bedrock>(json.as_ref())
    }

    /// Reads a response of Cohere's Chat, Embed or Rerank API, or its `usage` object: the billed
    /// units, and the tokens where nothing is said of those. `tokens` has text in it that is not
    /// billed. Search units are `searches`.
    ///
    /// # Errors
    /// As [`from_openai`](Self::from_openai).
    pub fn from_cohere(json: impl AsRef<[u8]>) -> Result<Self, UsageError> {
        whole::<Cohere>(json.as_ref())
    }

    /// Reads a response of Ollama's own API. A prompt whose count is missing is not known, which
    /// is not 0: older servers leave it out where they had the prompt in their cache.
    ///
    /// # Errors
    /// As [`from_openai`](Self::from_openai).
    pub fn from_ollama(json: impl AsRef<[u8]>) -> Result<Self, UsageError> {
        whole::<Ollama>(json.as_ref())
    }

    /// Makes a usage of an estimate: for a call of which the provider said nothing.
    #[must_use]
    pub fn estimated(input_tokens: u64, output_tokens: u64) -> Self {
        Self::default().or_estimate(input_tokens, output_tokens)
    }

    /// Puts an estimate where a count is missing, or, of a stream that broke off, where it is more
    /// than was reported by then: providers bill a prompt and what was generated of an answer whose
    /// end nobody saw.
    ///
    /// ```
    /// use limitry::llm::{UsageSource, UsageStream};
    ///
    /// let mut stream = UsageStream::anthropic();
    /// stream.push(r#"{"type": "message_start", "message": {"usage":
    ///     {"input_tokens": 25, "output_tokens": 1}}}"#)?;
    /// // ... 400 characters of text, then the connection is gone ...
    /// let usage = stream.usage()?.or_estimate(30, 100);
    /// assert_eq!((usage.input, usage.output), (Some(25), Some(100)));
    /// assert_eq!(usage.source, UsageSource::Estimated);
    /// # Ok::<(), limitry::llm::UsageError>(())
    /// ```
    #[must_use]
    pub fn or_estimate(mut self, input_tokens: u64, output_tokens: u64) -> Self {
        if self.source == UsageSource::Reported {
            return self;
        }
        if self.input_tokens().is_none() {
            self.input = Some(input_tokens);
            self.source = UsageSource::Estimated;
        }
        let known = self.output_tokens();
        if known.is_none_or(|known| known < output_tokens) {
            let more = output_tokens.saturating_sub(known.unwrap_or(0));
            self.output = Some(self.output.unwrap_or(0).saturating_add(more));
            self.source = UsageSource::Estimated;
        }
        self.requests = self.requests.or(Some(1));
        self
    }

    /// Returns all tokens that went in; `None` where no part of them is known.
    #[must_use]
    pub fn input_tokens(&self) -> Option<u64> {
        sum(&[
            self.input,
            self.cached_input,
            self.cache_write_5m,
            self.cache_write_1h,
            self.cache_write_other,
            self.audio_input,
            self.image_input,
        ])
    }

    /// Returns all tokens that came out; `None` where no part of them is known.
    #[must_use]
    pub fn output_tokens(&self) -> Option<u64> {
        sum(&[self.output, self.reasoning, self.audio_output, self.image_output])
    }

    /// Returns all tokens, each counted once; `None` where none is known.
    #[must_use]
    pub fn total_tokens(&self) -> Option<u64> {
        sum(&[self.input_tokens(), self.output_tokens()])
    }

    /// Returns all tokens that were written to a cache; `None` where none is known.
    #[must_use]
    pub fn cache_write_tokens(&self) -> Option<u64> {
        sum(&[self.cache_write_5m, self.cache_write_1h, self.cache_write_other])
    }

    /// Adds another usage: part by part, where either has one.
    fn add(&mut self, other: &Self) {
        let parts = [
            (&mut self.input, other.input),
            (&mut self.cached_input, other.cached_input),
            (&mut self.cache_write_5m, other.cache_write_5m),
            (&mut self.cache_write_1h, other.cache_write_1h),
            (&mut self.cache_write_other, other.cache_write_other),
            (&mut self.output, other.output),
            (&mut self.reasoning, other.reasoning),
        ];
        for (own, other) in parts {
            *own = sum(&[*own, other]);
        }
    }
}

/// The sum of what is known; a sum beyond its type stays at its end, which no event takes.
fn sum(parts: &[Option<u64>]) -> Option<u64> {
    parts
        .iter()
        .flatten()
        .fold(None, |sum: Option<u64>, part| Some(sum.unwrap_or(0).saturating_add(*part)))
}

/// What an event takes from a [`Usage`].
pub trait EventUsage {
    /// Sets the values of the event that the usage has, under the names that
    /// [prices](super::PriceBook) and meters know:
    ///
    /// | value | of the usage |
    /// |---|---|
    /// | `input_tokens`, `output_tokens` | all tokens that went in, and that came out |
    /// | `cached_input_tokens` | of those that went in: read from a cache |
    /// | `cache_write_tokens` | of those that went in: written to a cache, for however long |
    /// | `cache_write_1h_tokens` | of those that were written: for an hour |
    /// | `audio_input_tokens`, `image_input_tokens` | of those that went in |
    /// | `reasoning_tokens`, `audio_output_tokens`, `image_output_tokens` | of what came out |
    /// | `images`, `searches` | how many |
    /// | `requests` | where it is not 1 |
    /// | `cost_cents` | what the provider says that it cost; 0 where it is free |
    ///
    /// A part of which there is nothing is left out, and a cost that the event has stays. The
    /// property `service_tier` is set where the provider says which tier served the call. The model
    /// stays as the event has it: set it to what was asked for, or to [`Usage::model`].
    #[must_use]
    fn usage(self, usage: &Usage) -> Self;
}

impl EventUsage for Event<'_> {
    fn usage(mut self, usage: &Usage) -> Self {
        if let Some(tokens) = usage.input_tokens() {
            self = self.input_tokens(tokens);
        }
        if let Some(tokens) = usage.output_tokens() {
            self = self.output_tokens(tokens);
        }
        let parts = [
            (names::CACHED_INPUT, usage.cached_input),
            (names::CACHE_WRITE, usage.cache_write_tokens()),
            (names::CACHE_WRITE_1H, usage.cache_write_1h),
            (names::AUDIO_INPUT, usage.audio_input),
            (names::IMAGE_INPUT, usage.image_input),
            (names::REASONING, usage.reasoning),
            (names::AUDIO_OUTPUT, usage.audio_output),
            (names::IMAGE_OUTPUT, usage.image_output),
            (names::IMAGES, usage.images),
            (names::SEARCHES, usage.searches),
            (names::REQUESTS, usage.requests.filter(|requests| *requests != 1)),
        ];
        for (name, part) in parts {
            if let Some(number) = part.filter(|number| *number > 0) {
                self = self.value(name, number);
            }
        }
        let told = if usage.is_free { Some(Amount::ZERO) } else { usage.reported_cost_cents };
        if let Some(cents) = told.filter(|_| self.amount("cost_cents").is_none()) {
            self = self.cost_cents(cents);
        }
        match &usage.service_tier {
            Some(tier) => self.property(names::SERVICE_TIER, tier.clone()),
            None => self,
        }
    }
}

/// The names under which an event has what a call used.
pub(super) mod names {
    pub(in crate::llm) const CACHED_INPUT: &str = "cached_input_tokens";
    pub(in crate::llm) const CACHE_WRITE: &str = "cache_write_tokens";
    pub(in crate::llm) const CACHE_WRITE_1H: &str = "cache_write_1h_tokens";
    pub(in crate::llm) const AUDIO_INPUT: &str = "audio_input_tokens";
    pub(in crate::llm) const IMAGE_INPUT: &str = "image_input_tokens";
    pub(in crate::llm) const REASONING: &str = "reasoning_tokens";
    pub(in crate::llm) const AUDIO_OUTPUT: &str = "audio_output_tokens";
    pub(in crate::llm) const IMAGE_OUTPUT: &str = "image_output_tokens";
    pub(in crate::llm) const IMAGES: &str = "images";
    pub(in crate::llm) const SEARCHES: &str = "searches";
    pub(in crate::llm) const REQUESTS: &str = "requests";
    pub(in crate::llm) const SERVICE_TIER: &str = "service_tier";
}

impl fmt::Display for UsageSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "missing",
            Self::Partly => "partly",
            Self::Estimated => "estimated",
            Self::Reported => "reported",
        })
    }
}
