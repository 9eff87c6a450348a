//! The shapes of Bedrock's Converse API, by `botocore` 1.44.8 (`bedrock-runtime`, 2026-08). That
//! models of OpenAI's count caches otherwise in streams: `maximhq/bifrost#6942`,
//! `anomalyco/opencode#47296`, as of 2026-11-26.

use super::parts::rest;
use super::read::{Count, Fold, List, Nested, Presence, Text, fields};
use super::stream::{Counts, Said};
use super::{Usage, UsageError, UsageSource, sum};

fields! {
    #[expecting = "usage or metadata: an object"]
    Bedrock {
        usage: Option<Nested<Bedrock>>,
        metadata: Option<Nested<Bedrock>>,
        #[serde(rename = "messageStop")]
        message_stop: Option<Nested<Bedrock>>,
        #[serde(rename = "stopReason")]
        stop_reason: Text,
        #[serde(rename = "serviceTier")]
        service_tier: Option<Tier>,
        #[serde(rename = "inputTokens")]
        input: Count,
        #[serde(rename = "outputTokens")]
        output: Count,
        #[serde(rename = "totalTokens")]
        total: Count,
        #[serde(rename = "cacheReadInputTokens")]
        cached: Count,
        #[serde(rename = "cacheWriteInputTokens")]
        written: Count,
        #[serde(rename = "cacheDetails")]
        details: Option<List<Detail>>,
    }
    own {
        input_has_caches: Presence,
    }
}

fields! {
    #[expecting = "serviceTier: an object"]
    Tier {
        r#type: Text,
    }
}

fields! {
    #[expecting = "an item of cacheDetails: an object"]
    Detail {
        ttl: Text,
        #[serde(rename = "inputTokens")]
        input: Count,
    }
}

const INPUT: &str = "inputTokens";
const CACHED: &str = "cacheReadInputTokens";
const WRITTEN: &str = "cacheWriteInputTokens";

impl Bedrock {
    /// Of a stream of a model.
    pub(super) fn stream_of(model_id: &str) -> Self {
        // `openai.gpt-...`, with a region before it or an address.
        let is_openai =
            model_id.rsplit('/').next().unwrap_or("").split('.').any(|it| it == "openai");
        Self { input_has_caches: Presence(is_openai), ..Self::default() }
    }

    fn has_counts(&self) -> bool {
        self.input.is_there() || self.output.is_there() || self.total.is_there()
    }

    fn written_for(&self, ttl: &str) -> Result<Option<u64>, UsageError> {
        let details = self.details.iter().flat_map(|list| &list.0);
        let own = details.filter(|detail| detail.ttl.get() == Some(ttl));
        own.map(|detail| detail.input.get("cacheDetails.inputTokens"))
            .try_fold(None, |all, own| Ok(sum(&[all, own?])))
    }
}

impl Counts for Bedrock {
    fn open(&mut self, said: &mut Said) -> bool {
        if let Some(stop) = self.message_stop.take() {
            said.finished(&stop.0.stop_reason);
        }
        said.finished(&self.stop_reason);
        if let Some(metadata) = self.metadata.take() {
            *self = *metadata.0;
        }
        if let Some(tier) = self.service_tier.take() {
            said.tier.fold(tier.r#type);
        }
        if let Some(usage) = self.usage.take() {
            *self = *usage.0;
        }
        said.is_complete |= self.has_counts();
        self.has_counts()
    }

    fn parts(&self) -> Result<Usage, UsageError> {
        let mut usage = Usage { source: UsageSource::Reported, ..Usage::default() };
        usage.reported_total = self.total.get("totalTokens")?;
        usage.cached_input = self.cached.get(CACHED)?;
        let written = self.written.get(WRITTEN)?;
        (usage.cache_write_5m, usage.cache_write_1h) =
            (self.written_for("5m")?, self.written_for("1h")?);
        let for_a_time = [
            ("cacheDetails.inputTokens", usage.cache_write_5m),
            ("cacheDetails.inputTokens", usage.cache_write_1h),
        ];
        let over = rest((WRITTEN, written), &for_a_time)?;
        usage.cache_write_other = over.filter(|over| *over > 0 || self.details.is_none());
        let input = (INPUT, self.input.get(INPUT)?);
        let mut counted = usage.reported_total;
        usage.input = if self.input_has_caches.0 {
            // Their total counts the caches once more.
            let caches = sum(&[usage.cached_input, written]).unwrap_or(0);
            counted = counted.and_then(|total| total.checked_sub(caches));
            rest(input, &[(CACHED, usage.cached_input), (WRITTEN, written)])?
        } else {
            input.1
        };
        usage.output = self.output.get("outputTokens")?;
        let is_whole = usage.input.is_some() && usage.output.is_some();
        if !is_whole || (usage.reported_total.is_some() && counted != usage.total_tokens()) {
            usage.source = UsageSource::Partly;
        }
        Ok(usage)
    }
}
