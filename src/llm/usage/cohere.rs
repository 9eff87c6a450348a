//! Cohere's shapes, by `cohere-python` (2026-08-19: `types/usage.py`, `types/api_meta.py`).

use super::parts::rest;
use super::read::{Count, Nested, Presence, Text, fields};
use super::stream::{Counts, Said};
use super::{Usage, UsageError, UsageSource};

fields! {
    #[expecting = "usage, meta or delta: an object"]
    Cohere {
        r#type: Text,
        usage: Option<Nested<Cohere>>,
        meta: Option<Nested<Cohere>>,
        delta: Option<Nested<Cohere>>,
        finish_reason: Text,
        error: Presence,
        billed_units: Option<Billed>,
        tokens: Option<Billed>,
        cached_tokens: Count,
    }
}

fields! {
    #[expecting = "billed_units or tokens: an object"]
    Billed {
        input_tokens: Count,
        output_tokens: Count,
        search_units: Count,
    }
}

impl Counts for Cohere {
    fn open(&mut self, said: &mut Said) -> bool {
        said.is_complete |= self.r#type.get() == Some("message-end");
        if let Some(delta) = self.delta.take() {
            *self = *delta.0;
        }
        said.failed(self.error.0);
        said.finished(&self.finish_reason);
        if let Some(usage) = self.usage.take().or_else(|| self.meta.take()) {
            *self = *usage.0;
        }
        self.billed_units.is_some() || self.tokens.is_some()
    }

    fn parts(&self) -> Result<Usage, UsageError> {
        const INPUT: &str = "billed_units.input_tokens";
        let mut usage = Usage { source: UsageSource::Reported, ..Usage::default() };
        let cached = self.cached_tokens.get("cached_tokens")?;
        let none = Billed::default();
        let billed = self.billed_units.as_ref().unwrap_or(&none);
        usage.searches = billed.search_units.get("billed_units.search_units")?;
        let mut input = billed.input_tokens.get(INPUT)?;
        usage.output = billed.output_tokens.get("billed_units.output_tokens")?;
        if let (None, Some(tokens)) = (&self.billed_units, &self.tokens) {
            input = tokens.input_tokens.get("tokens.input_tokens")?;
            usage.output = tokens.output_tokens.get("tokens.output_tokens")?;
            usage.source = UsageSource::Partly;
        }
        // Cached tokens are told of all tokens, of which not all are billed.
        usage.cached_input = cached.map(|cached| cached.min(input.unwrap_or(0)));
        usage.input = rest((INPUT, input), &[("cached_tokens", usage.cached_input)])?;
        if input.is_none() && usage.searches.is_none() {
            usage.source = UsageSource::Partly;
        }
        Ok(usage)
    }
}
