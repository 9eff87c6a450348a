//! OpenAI's shapes, and those of the many that speak like it.
//!
//! By `openai-python` 3.3.1 (2026-08-21: `types/completion_usage.py`,
//! `responses/response_usage.py`), Mistral's client (2026-06-30), OpenRouter's, DeepSeek's and
//! xAI's pages as of 2026-11-26.

use super::parts::{fit, rest};
use super::read::{Count, Dollars, Fold, Images, List, Nested, Presence, Text, cents, fields};
use super::stream::{Counts, Said};
use super::{Usage, UsageError, UsageSource};
use crate::llm::decimal::Decimal;

fields! {
    #[expecting = "usage or response: an object"]
    OpenAi {
        usage: Option<Nested<OpenAi>>,
        response: Option<Nested<OpenAi>>,
        x_groq: Option<Nested<OpenAi>>,
        status: Text,
        incomplete_details: Option<Incomplete>,
        error: Presence,
        model: Text,
        service_tier: Text,
        choices: Option<List<Choice>>,
        data: Images,
        prompt_tokens: Count,
        completion_tokens: Count,
        input_tokens: Count,
        output_tokens: Count,
        total_tokens: Count,
        prompt_tokens_details: Option<Split>,
        // Mistral's twin of it.
        prompt_token_details: Option<Split>,
        completion_tokens_details: Option<Split>,
        #[serde(alias = "input_token_details")]
        input_tokens_details: Option<Split>,
        #[serde(alias = "output_token_details")]
        output_tokens_details: Option<Split>,
        // DeepSeek's, and Mistral's, words for cached tokens.
        prompt_cache_hit_tokens: Count,
        num_cached_tokens: Count,
        // OpenRouter's dollars, and xAI's ten-billionths of one.
        cost: Dollars,
        cost_in_usd_ticks: Count,
    }
}

fields! {
    #[expecting = "details of tokens: an object"]
    Split {
        cached_tokens: Count,
        cache_write_tokens: Count,
        audio_tokens: Count,
        image_tokens: Count,
        reasoning_tokens: Count,
        cached_tokens_details: Option<Cached>,
    }
}

fields! {
    #[expecting = "cached_tokens_details: an object"]
    Cached {
        audio_tokens: Count,
        image_tokens: Count,
    }
}

fields! {
    #[expecting = "an item of choices: an object"]
    Choice {
        finish_reason: Text,
    }
}

fields! {
    #[expecting = "incomplete_details: an object"]
    Incomplete {
        reason: Text,
    }
}

const CACHED: &str = "prompt_tokens_details.cached_tokens";
const WRITTEN: &str = "prompt_tokens_details.cache_write_tokens";
const AUDIO: &str = "prompt_tokens_details.audio_tokens";
const IMAGE: &str = "prompt_tokens_details.image_tokens";
const REASONING: &str = "completion_tokens_details.reasoning_tokens";
const AUDIO_OUT: &str = "completion_tokens_details.audio_tokens";
const IMAGE_OUT: &str = "completion_tokens_details.image_tokens";

impl OpenAi {
    fn has_counts(&self) -> bool {
        [&self.prompt_tokens, &self.completion_tokens, &self.input_tokens, &self.output_tokens]
            .iter()
            .any(|count| count.is_there())
            || self.total_tokens.is_there()
    }

    /// The parts of what came out, and whether they fit the total.
    fn output(&self, prompt: Option<u64>, usage: &mut Usage) -> Result<(), UsageError> {
        let completion = self.completion_tokens.or(&self.output_tokens);
        let completion = ("completion_tokens", completion.get("completion_tokens")?);
        let details = self.completion_tokens_details.as_ref();
        let details = details.or(self.output_tokens_details.as_ref());
        let Some(details) = details else {
            usage.output = completion.1;
            return Ok(());
        };
        let reasoning = details.reasoning_tokens.get(REASONING)?;
        let audio = details.audio_tokens.get(AUDIO_OUT)?;
        let image = details.image_tokens.get(IMAGE_OUT)?;
        let media = [(AUDIO_OUT, audio), (IMAGE_OUT, image)];
        let total = usage.reported_total;
        let known = [prompt, completion.1, reasoning].map(|count| count.unwrap_or(0));
        let all = known.iter().fold(0_u64, |sum, count| sum.saturating_add(*count));
        // The total tells whether reasoning lies beside the completion.
        let lies_beside = reasoning.is_some_and(|it| it > 0) && total == Some(all);
        usage.output = if lies_beside {
            rest(completion, &media)?
        } else {
            rest(completion, &[(REASONING, reasoning), media[0], media[1]])?
        };
        (usage.reasoning, usage.audio_output, usage.image_output) = (reasoning, audio, image);
        Ok(())
    }

    /// The parts of what went in. Returns all of it.
    fn input(&self, usage: &mut Usage) -> Result<Option<u64>, UsageError> {
        let prompt = self.prompt_tokens.or(&self.input_tokens).get("prompt_tokens")?;
        let none = Split::default();
        let details = self.prompt_tokens_details.as_ref();
        let details = details.or(self.prompt_token_details.as_ref());
        let details = details.or(self.input_tokens_details.as_ref()).unwrap_or(&none);
        let cached = details.cached_tokens.or(&self.prompt_cache_hit_tokens);
        let cached = cached.or(&self.num_cached_tokens);
        usage.cached_input = cached.get(CACHED)?;
        usage.cache_write_other = details.cache_write_tokens.get(WRITTEN)?;
        let mut audio = details.audio_tokens.get(AUDIO)?;
        let mut image = details.image_tokens.get(IMAGE)?;
        // Of cached audio and images only some APIs say how much it is.
        if let Some(split) = &details.cached_tokens_details {
            let of_audio = split.audio_tokens.get("cached_tokens_details.audio_tokens")?;
            let of_image = split.image_tokens.get("cached_tokens_details.image_tokens")?;
            audio = rest((AUDIO, audio), &[("cached_tokens_details.audio_tokens", of_audio)])?;
            image = rest((IMAGE, image), &[("cached_tokens_details.image_tokens", of_image)])?;
        }
        let from_cache = [(CACHED, usage.cached_input), (WRITTEN, usage.cache_write_other)];
        if let Some(room) = rest(("prompt_tokens", prompt), &from_cache)? {
            rest(("prompt_tokens", prompt), &[(AUDIO, audio)])?;
            rest(("prompt_tokens", prompt), &[(IMAGE, image)])?;
            if fit(room, &mut audio, &mut image) {
                usage.source = UsageSource::Partly;
            }
            usage.input = rest(("prompt_tokens", Some(room)), &[(AUDIO, audio), (IMAGE, image)])?;
        }
        (usage.audio_input, usage.image_input) = (audio, image);
        Ok(prompt)
    }
}

impl Counts for OpenAi {
    fn open(&mut self, said: &mut Said) -> bool {
        if let Some(response) = self.response.take() {
            // An event of the Responses API.
            *self = *response.0;
        }
        said.model.fold(std::mem::take(&mut self.model));
        said.tier.fold(std::mem::take(&mut self.service_tier));
        let choices = self.choices.take();
        for choice in choices.iter().flat_map(|choices| &choices.0) {
            said.finished(&choice.finish_reason);
        }
        said.finished(&self.status);
        if let Some(incomplete) = &self.incomplete_details {
            said.finished(&incomplete.reason);
        }
        said.failed(self.error.0);
        let images = self.data;
        let within = self.usage.take().or_else(|| self.x_groq.take()?.0.usage.take());
        let ends = choices.as_ref().is_none_or(|choices| {
            choices.0.is_empty() || choices.0.iter().any(|it| it.finish_reason.get().is_some())
        });
        match within {
            Some(usage) => *self = *usage.0,
            None if !self.has_counts() => return false,
            None => {}
        }
        // Who serves many tiers says in the usage which it was.
        said.tier.fold(std::mem::take(&mut self.service_tier));
        self.data = images;
        said.is_complete |= ends && self.has_counts();
        self.has_counts() || images.0 > 0
    }

    fn parts(&self) -> Result<Usage, UsageError> {
        let mut usage = Usage { source: UsageSource::Reported, ..Usage::default() };
        usage.reported_total = self.total_tokens.get("total_tokens")?;
        usage.images = Some(self.data.0).filter(|images| *images > 0);
        let ticks = self.cost_in_usd_ticks.get("cost_in_usd_ticks")?;
        // Ten billion ticks are a dollar.
        let ticks = ticks.and_then(|ticks| cents(Decimal::whole(ticks).shifted(-10)));
        usage.reported_cost_cents = self.cost.cents("cost")?.or(ticks);
        let prompt = self.input(&mut usage)?;
        self.output(prompt, &mut usage)?;
        let (input, output) = (usage.input_tokens(), usage.output_tokens());
        let fits = usage.reported_total.is_none_or(|total| Some(total) == usage.total_tokens());
        let is_whole = input.is_some() && (output.is_some() || usage.reported_total.is_some());
        if !(fits && is_whole) {
            usage.source = UsageSource::Partly;
        }
        Ok(usage)
    }
}
