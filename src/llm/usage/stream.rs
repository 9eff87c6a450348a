//! The chunks of a stream, and what is known by them.

use serde::de::DeserializeOwned;

use super::read::{Fold, Text, read};
use super::{
    Anthropic, Bedrock, Cohere, Finish, Gemini, Ollama, OpenAi, Usage, UsageError, UsageSource,
};

/// How lines of server-sent events begin that are no data.
const FIELDS: [&[u8]; 4] = [b"event:", b"id:", b"retry:", b":"];

/// What a provider sends, a whole response or a chunk of one.
pub(super) trait Counts: DeserializeOwned + Fold + Clone {
    /// What a response says beside the counts; the counts themselves are left in `self`. `false`
    /// where there are none.
    fn open(&mut self, said: &mut Said) -> bool;

    /// The parts, by what is known so far.
    fn parts(&self) -> Result<Usage, UsageError>;

    /// What hangs on how the answer ended.
    fn amend(&self, _usage: &mut Usage) {}
}

/// What is said of a response beside its counts.
#[derive(Clone, Debug, Default)]
pub(super) struct Said {
    pub(super) model: Text,
    pub(super) tier: Text,
    pub(super) finish: Finish,
    /// The last count is the final one.
    pub(super) is_complete: bool,
}

impl Said {
    /// Notes how the answer ended, where that is said.
    pub(super) fn finished(&mut self, word: &Text) {
        if let Some(word) = word.get() {
            self.finish = super::parts::finish(word);
        }
    }

    pub(super) fn failed(&mut self, failed: bool) {
        if failed {
            self.finish = Finish::Failed;
        }
    }
}

/// What is known of a response or a stream.
#[derive(Clone, Debug)]
pub(super) struct Known<C> {
    counts: C,
    has_counts: bool,
    said: Said,
}

impl<C: Counts> Known<C> {
    pub(super) fn new(counts: C) -> Self {
        Self { counts, has_counts: false, said: Said::default() }
    }

    fn push(&mut self, json: &[u8]) -> Result<(), UsageError> {
        let mut chunk: C = object(json)?;
        let mut said = self.said.clone();
        if chunk.open(&mut said) {
            let mut counts = self.counts.clone();
            counts.fold(chunk);
            // A bad count is said of the chunk that brings it, and what was known stays.
            counts.parts()?;
            (self.counts, self.has_counts) = (counts, true);
        }
        self.said = said;
        Ok(())
    }

    fn usage(&self) -> Result<Usage, UsageError> {
        let Said { model, tier, finish, .. } = &self.said;
        let mut usage = if self.has_counts { self.counts.parts()? } else { Usage::default() };
        usage.model = model.get().map(Into::into);
        usage.service_tier = tier.get().map(Into::into);
        usage.finish = *finish;
        if self.has_counts {
            usage.requests = Some(1);
            self.counts.amend(&mut usage);
        }
        Ok(usage)
    }
}

/// Reads a response, or a chunk of one.
fn object<C: Counts>(json: &[u8]) -> Result<C, UsageError> {
    if json.first() != Some(&b'{') {
        let reason = "a response and a chunk of one must be an object".into();
        return Err(UsageError::Json { reason });
    }
    read(json)
}

/// Reads a whole response, or a usage object alone.
pub(super) fn whole<C: Counts>(json: &[u8]) -> Result<Usage, UsageError> {
    let mut known = Known::<C>::new(object(json.trim_ascii())?);
    known.has_counts = known.counts.open(&mut known.said);
    known.usage()
}

/// What is known of the usage of a stream, chunk by chunk.
///
/// Of each count the newest is kept: providers that report more than once report totals. Nothing
/// is added up, so a chunk that comes twice changes nothing. It keeps counts alone, a few hundred
/// bytes however long the stream is.
///
/// Not every provider reports usage in a stream unasked: OpenAI's Chat API, and those that speak
/// like it, ask for `"stream_options": {"include_usage": true}` in the request.
///
/// ```
/// use limitry::llm::{UsageSource, UsageStream};
///
/// let mut stream = UsageStream::openai();
/// stream.push(r#"data: {"choices": [{"delta": {"content": "Hi"}}], "usage": null}"#)?;
/// assert_eq!(stream.usage()?.source, UsageSource::Missing); // where it breaks off here
/// stream.push(r#"{"choices": [], "usage":
///     {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}}"#)?;
/// stream.push("data: [DONE]")?;
/// assert!(stream.is_complete());
/// assert_eq!(stream.usage()?.total_tokens(), Some(11));
/// # Ok::<(), limitry::llm::UsageError>(())
/// ```
#[derive(Clone, Debug)]
pub struct UsageStream {
    known: OfProvider,
}

macro_rules! providers {
    ($($name:ident),*) => {
        #[derive(Clone, Debug)]
        enum OfProvider {
            $($name(Box<Known<$name>>),)*
        }

        impl OfProvider {
            fn push(&mut self, json: &[u8]) -> Result<(), UsageError> {
                match self {
                    $(Self::$name(known) => known.push(json),)*
                }
            }

            fn usage(&self) -> Result<Usage, UsageError> {
                match self {
                    $(Self::$name(known) => known.usage(),)*
                }
            }

            fn is_complete(&self) -> bool {
                match self {
                    $(Self::$name(known) => known.has_counts && known.said.is_complete,)*
                }
            }

            /// Whoever sends the mark of the end has sent all.
            fn end(&mut self) {
                match self {
                    $(Self::$name(known) => known.said.is_complete = true,)*
                }
            }
        }
    };
}

providers!(OpenAi, Anthropic, Gemini, Bedrock, Cohere, Ollama);

impl UsageStream {
    /// A stream of OpenAI's Chat Completions API, or of one that speaks the same.
    #[must_use]
    pub fn openai() -> Self {
        Self { known: OfProvider::OpenAi(Box::new(Known::new(OpenAi::default()))) }
    }

    /// A stream of OpenAI's Responses API.
    #[must_use]
    pub fn openai_responses() -> Self {
        Self::openai()
    }

    /// A stream of Anthropic's Messages API. `message_start` has the input, and a placeholder for
    /// the output, which `message_delta` replaces.
    #[must_use]
    pub fn anthropic() -> Self {
        Self { known: OfProvider::Anthropic(Box::new(Known::new(Anthropic::default()))) }
    }

    /// A stream of Google's Gemini API, each chunk of which has the counts so far.
    #[must_use]
    pub fn gemini() -> Self {
        Self { known: OfProvider::Gemini(Box::new(Known::new(Gemini::default()))) }
    }

    /// A stream of Amazon Bedrock's `ConverseStream`, as JSON, of the model of this id. Where it is
    /// one of OpenAI's, `inputTokens` has cache reads and writes in it there.
    #[must_use]
    pub fn bedrock(model_id: &str) -> Self {
        Self { known: OfProvider::Bedrock(Box::new(Known::new(Bedrock::stream_of(model_id)))) }
    }

    /// A stream of Cohere's Chat API.
    #[must_use]
    pub fn cohere() -> Self {
        Self { known: OfProvider::Cohere(Box::new(Known::new(Cohere::default()))) }
    }

    /// A stream of Ollama's own API, line by line.
    #[must_use]
    pub fn ollama() -> Self {
        Self { known: OfProvider::Ollama(Box::new(Known::new(Ollama::default()))) }
    }

    /// Takes a chunk: its JSON, or lines of server-sent events, of which those with `data:` count,
    /// one JSON each, and `[DONE]` ends the stream. One without counts changes no count.
    ///
    /// # Errors
    /// As the constructors of [`Usage`]. What was known before stays known.
    pub fn push(&mut self, chunk: impl AsRef<[u8]>) -> Result<(), UsageError> {
        let chunk = chunk.as_ref().trim_ascii();
        if chunk.first() == Some(&b'{') {
            return self.known.push(chunk);
        }
        for line in chunk.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii) {
            if line.is_empty() || FIELDS.iter().any(|field| line.starts_with(field)) {
                continue;
            }
            match line.strip_prefix(b"data:").unwrap_or(line).trim_ascii() {
                b"[DONE]" => self.known.end(),
                json => self.known.push(json)?,
            }
        }
        Ok(())
    }

    /// Returns what is known so far. Where the stream has not come to its end, the source is
    /// [`Partly`](UsageSource::Partly), or [`Missing`](UsageSource::Missing) where no count was
    /// seen.
    ///
    /// # Errors
    /// None of a stream whose chunks were taken.
    pub fn usage(&self) -> Result<Usage, UsageError> {
        let mut usage = self.known.usage()?;
        if !self.known.is_complete() {
            usage.source = usage.source.min(UsageSource::Partly);
        }
        Ok(usage)
    }

    /// Tells whether the final counts were seen.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.known.is_complete()
    }
}
