//! Gemini's shapes, by `python-genai` 2.19.0 (2026-08-21: `types.py`).

use super::parts::{fit, rest};
use super::read::{Count, Fold, List, Nested, Presence, Text, fields};
use super::stream::{Counts, Said};
use super::{Finish, Usage, UsageError, UsageSource, sum};

fields! {
    #[expecting = "usageMetadata: an object"]
    Gemini {
        #[serde(rename = "usageMetadata")]
        usage_metadata: Option<Nested<Gemini>>,
        candidates: Option<List<Candidate>>,
        #[serde(rename = "promptFeedback")]
        prompt_feedback: Option<Feedback>,
        error: Presence,
        #[serde(rename = "modelVersion")]
        model_version: Text,
        #[serde(rename = "trafficType")]
        traffic_type: Text,
        #[serde(rename = "promptTokenCount")]
        prompt: Count,
        #[serde(rename = "candidatesTokenCount")]
        answer: Count,
        #[serde(rename = "thoughtsTokenCount")]
        thoughts: Count,
        #[serde(rename = "toolUsePromptTokenCount")]
        tools: Count,
        #[serde(rename = "cachedContentTokenCount")]
        cached: Count,
        #[serde(rename = "totalTokenCount")]
        total: Count,
        #[serde(rename = "promptTokensDetails")]
        prompt_details: Option<List<OfModality>>,
        #[serde(rename = "cacheTokensDetails")]
        cached_details: Option<List<OfModality>>,
        #[serde(rename = "toolUsePromptTokensDetails")]
        tools_details: Option<List<OfModality>>,
        #[serde(rename = "candidatesTokensDetails")]
        answer_details: Option<List<OfModality>>,
    }
}

fields! {
    #[expecting = "an item of candidates: an object"]
    Candidate {
        #[serde(rename = "finishReason")]
        finish_reason: Text,
    }
}

fields! {
    #[expecting = "promptFeedback: an object"]
    Feedback {
        #[serde(rename = "blockReason")]
        block_reason: Text,
    }
}

fields! {
    #[expecting = "an item of token details: an object"]
    OfModality {
        modality: Text,
        #[serde(rename = "tokenCount")]
        token_count: Count,
    }
}

/// The tokens of a modality in a list of them.
fn of(list: Option<&List<OfModality>>, modality: &str) -> Result<Option<u64>, UsageError> {
    let items = list.iter().flat_map(|list| &list.0);
    let own = items.filter(|item| item.modality.get() == Some(modality));
    own.map(|item| item.token_count.get("tokenCount"))
        .try_fold(None, |all, own| Ok(sum(&[all, own?])))
}

impl Gemini {
    fn has_counts(&self) -> bool {
        let counts = [&self.prompt, &self.answer, &self.thoughts, &self.tools, &self.cached];
        counts.iter().any(|count| count.is_there()) || self.total.is_there()
    }

    fn input(&self, usage: &mut Usage) -> Result<Option<u64>, UsageError> {
        const CACHED: &str = "cachedContentTokenCount";
        const DETAILS: &str = "promptTokensDetails";
        const TOOLS: &str = "toolUsePromptTokensDetails";
        let prompt = self.prompt.get("promptTokenCount")?;
        let tools = self.tools.get("toolUsePromptTokenCount")?;
        usage.cached_input = self.cached.get(CACHED)?;
        let media = |modality: &str| -> Result<Option<u64>, UsageError> {
            let fresh = of(self.prompt_details.as_ref(), modality)?;
            let cached = of(self.cached_details.as_ref(), modality)?;
            rest((DETAILS, fresh), &[("cacheTokensDetails", cached)])
        };
        let (mut audio, mut image) = (media("AUDIO")?, media("IMAGE")?);
        if let Some(room) = rest(("promptTokenCount", prompt), &[(CACHED, usage.cached_input)])? {
            rest(("promptTokenCount", prompt), &[(DETAILS, audio), (DETAILS, image)])?;
            if fit(room, &mut audio, &mut image) {
                usage.source = UsageSource::Partly;
            }
            usage.input =
                rest(("promptTokenCount", Some(room)), &[(DETAILS, audio), (DETAILS, image)])?;
        }
        let of_tools = self.tools_details.as_ref();
        let (tools_audio, tools_image) = (of(of_tools, "AUDIO")?, of(of_tools, "IMAGE")?);
        let text_of_tools = rest(
            ("toolUsePromptTokenCount", tools),
            &[(TOOLS, tools_audio), (TOOLS, tools_image)],
        )?;
        usage.input = sum(&[usage.input, text_of_tools]);
        usage.audio_input = sum(&[audio, tools_audio.filter(|_| tools.is_some())]);
        usage.image_input = sum(&[image, tools_image.filter(|_| tools.is_some())]);
        Ok(sum(&[prompt, tools]))
    }
}

impl Counts for Gemini {
    fn open(&mut self, said: &mut Said) -> bool {
        said.failed(self.error.0);
        said.model.fold(std::mem::take(&mut self.model_version));
        for candidate in self.candidates.take().iter().flat_map(|list| &list.0) {
            said.finished(&candidate.finish_reason);
            said.is_complete |= candidate.finish_reason.get().is_some();
        }
        if let Some(feedback) = self.prompt_feedback.take()
            && feedback.block_reason.get().is_some()
        {
            (said.finish, said.is_complete) = (Finish::Refused, true);
        }
        if let Some(usage) = self.usage_metadata.take() {
            *self = *usage.0;
        }
        said.tier.fold(std::mem::take(&mut self.traffic_type));
        self.has_counts()
    }

    fn parts(&self) -> Result<Usage, UsageError> {
        const DETAILS: &str = "candidatesTokensDetails";
        let mut usage = Usage { source: UsageSource::Reported, ..Usage::default() };
        usage.reported_total = self.total.get("totalTokenCount")?;
        let input = self.input(&mut usage)?;
        let answer = ("candidatesTokenCount", self.answer.get("candidatesTokenCount")?);
        let thoughts = self.thoughts.get("thoughtsTokenCount")?;
        let of_answer = self.answer_details.as_ref();
        let (audio, image) = (of(of_answer, "AUDIO")?, of(of_answer, "IMAGE")?);
        let media = [(DETAILS, audio), (DETAILS, image)];
        // The total tells whether thoughts are part of the answer.
        let is_within = thoughts.is_some_and(|it| it > 0 && Some(it) <= answer.1)
            && usage.reported_total.is_some()
            && usage.reported_total == sum(&[input, answer.1]);
        usage.output = if is_within {
            rest(answer, &[("thoughtsTokenCount", thoughts), media[0], media[1]])?
        } else {
            rest(answer, &media)?
        };
        usage.reasoning = thoughts;
        if answer.1.is_some() {
            (usage.audio_output, usage.image_output) = (audio, image);
        }
        // A blocked prompt has no answer, and a total that says so.
        if usage.output_tokens().is_none() && usage.reported_total == usage.input_tokens() {
            usage.output = usage.reported_total.map(|_| 0);
        }
        let fits = usage.reported_total.is_none_or(|total| Some(total) == usage.total_tokens());
        if !fits || usage.input_tokens().is_none() || usage.output_tokens().is_none() {
            usage.source = UsageSource::Partly;
        }
        Ok(usage)
    }
}
