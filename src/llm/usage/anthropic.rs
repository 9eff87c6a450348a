//! Anthropic's shapes, by `anthropic-sdk-python` 0.121.0 (2026-08-07: `types/usage.py`,
//! `types/message_delta_usage.py`, `types/beta/beta_usage.py`). That a refusal without output is
//! not billed is so since 2026-06-02 (release notes of the Claude platform).

use super::parts::rest;
use super::read::{Count, Fold, List, Nested, Presence, Text, fields, read};
use super::stream::{Counts, Said, whole};
use super::{Finish, Usage, UsageError, UsageSource, sum};

fields! {
    #[expecting = "usage or message: an object"]
    Anthropic {
        r#type: Text,
        message: Option<Nested<Anthropic>>,
        usage: Option<Nested<Anthropic>>,
        delta: Option<Delta>,
        error: Presence,
        model: Text,
        stop_reason: Text,
        service_tier: Text,
        input_tokens: Count,
        output_tokens: Count,
        cache_creation_input_tokens: Count,
        cache_read_input_tokens: Count,
        cache_creation: Option<Creation>,
        output_tokens_details: Option<OutputDetails>,
        server_tool_use: Option<ServerTools>,
        iterations: Option<List<Nested<Anthropic>>>,
    }
}

fields! {
    #[expecting = "delta: an object"]
    Delta {
        stop_reason: Text,
    }
}

fields! {
    #[expecting = "cache_creation: an object"]
    Creation {
        ephemeral_5m_input_tokens: Count,
        ephemeral_1h_input_tokens: Count,
    }
}

fields! {
    #[expecting = "output_tokens_details: an object"]
    OutputDetails {
        thinking_tokens: Count,
    }
}

fields! {
    #[expecting = "server_tool_use: an object"]
    ServerTools {
        web_search_requests: Count,
    }
}

impl Anthropic {
    fn has_counts(&self) -> bool {
        let caches = [&self.cache_read_input_tokens, &self.cache_creation_input_tokens];
        [&self.input_tokens, &self.output_tokens, caches[0], caches[1]]
            .iter()
            .any(|count| count.is_there())
            || self.iterations.is_some()
    }

    /// The parts of what this very object counts.
    fn own_parts(&self) -> Result<Usage, UsageError> {
        let mut usage = Usage { source: UsageSource::Reported, ..Usage::default() };
        usage.input = self.input_tokens.get("input_tokens")?;
        usage.cached_input = self.cache_read_input_tokens.get("cache_read_input_tokens")?;
        self.writes(&mut usage)?;
        let thinking = match &self.output_tokens_details {
            Some(details) => {
                details.thinking_tokens.get("output_tokens_details.thinking_tokens")?
            }
            None => None,
        };
        let output = ("output_tokens", self.output_tokens.get("output_tokens")?);
        usage.output = rest(output, &[("output_tokens_details.thinking_tokens", thinking)])?;
        usage.reasoning = thinking;
        if let Some(tools) = &self.server_tool_use {
            usage.searches =
                tools.web_search_requests.get("server_tool_use.web_search_requests")?;
        }
        if usage.input.is_none() || output.1.is_none() {
            usage.source = UsageSource::Partly;
        }
        Ok(usage)
    }

    /// What was written to caches. A stream's last event has no lifetimes: those of its first one
    /// hold, and what they leave over is of five minutes.
    fn writes(&self, usage: &mut Usage) -> Result<(), UsageError> {
        const WRITTEN: &str = "cache_creation_input_tokens";
        const SHORT: &str = "cache_creation.ephemeral_5m_input_tokens";
        const LONG: &str = "cache_creation.ephemeral_1h_input_tokens";
        let written = self.cache_creation_input_tokens.get(WRITTEN)?;
        let Some(split) = &self.cache_creation else {
            usage.cache_write_5m = written;
            return Ok(());
        };
        let short = split.ephemeral_5m_input_tokens.get(SHORT)?;
        let long = split.ephemeral_1h_input_tokens.get(LONG)?;
        let over = rest((WRITTEN, written), &[(SHORT, short), (LONG, long)])?.unwrap_or(0);
        usage.cache_write_5m = if over > 0 { sum(&[short, Some(over)]) } else { short };
        usage.cache_write_1h = long;
        Ok(())
    }
}

impl Counts for Anthropic {
    fn open(&mut self, said: &mut Said) -> bool {
        said.failed(self.error.0);
        said.is_complete |= self.r#type.get() == Some("message_stop");
        if let Some(delta) = self.delta.take() {
            said.finished(&delta.stop_reason);
            said.is_complete |= delta.stop_reason.get().is_some();
        }
        let starts = self.message.is_some();
        if let Some(message) = self.message.take() {
            *self = *message.0;
        }
        said.model.fold(std::mem::take(&mut self.model));
        said.finished(&self.stop_reason);
        // A whole message says how it ended, and one that starts does not.
        said.is_complete |= !starts && self.stop_reason.get().is_some();
        if let Some(usage) = self.usage.take() {
            *self = *usage.0;
        }
        said.tier.fold(std::mem::take(&mut self.service_tier));
        self.has_counts()
    }

    fn parts(&self) -> Result<Usage, UsageError> {
        let top = self.own_parts()?;
        let iterations = self.iterations.as_ref().map(|it| &*it.0).unwrap_or_default();
        if iterations.is_empty() {
            return Ok(top);
        }
        let mut all =
            Usage { source: UsageSource::Reported, searches: top.searches, ..Usage::default() };
        for iteration in iterations {
            let own = iteration.0.own_parts()?;
            all.source = all.source.min(own.source);
            all.add(&own);
        }
        Ok(all)
    }

    fn amend(&self, usage: &mut Usage) {
        usage.is_free = usage.finish == Finish::Refused && usage.output_tokens() == Some(0);
    }
}

/// What each iteration of a message used.
pub(super) fn iterations(json: &[u8]) -> Result<Vec<Usage>, UsageError> {
    let all = whole::<Anthropic>(json)?;
    let mut body: Anthropic = read(json)?;
    body.open(&mut Said::default());
    let iterations = body.iterations.map(|it| it.0).unwrap_or_default();
    if iterations.is_empty() {
        return Ok(vec![all]);
    }
    let each = iterations.iter().enumerate().map(|(place, iteration)| {
        let own = iteration.0.own_parts()?;
        let model = iteration.0.model.get().map(Into::into).or_else(|| all.model.clone());
        // Searches are told for all of them together.
        let searches = all.searches.filter(|_| place == 0);
        let service_tier = all.service_tier.clone();
        let (finish, is_free) = (all.finish, all.is_free);
        Ok(Usage { model, searches, service_tier, finish, is_free, requests: Some(1), ..own })
    });
    each.collect()
}
