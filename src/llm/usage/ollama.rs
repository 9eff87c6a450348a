//! Ollama's shapes, by its `api/types.go` (2026-08-21). That a missing count of the prompt is not
//! 0: ollama/ollama#2068.

use super::parts::rest;
use super::read::{Count, Fold, Presence, Text, fields};
use super::stream::{Counts, Said};
use super::{Usage, UsageError, UsageSource};

fields! {
    #[expecting = "an object"]
    Ollama {
        model: Text,
        done: Presence,
        done_reason: Text,
        error: Presence,
        prompt_eval_count: Count,
        prompt_eval_cached_count: Count,
        eval_count: Count,
    }
}

impl Counts for Ollama {
    fn open(&mut self, said: &mut Said) -> bool {
        said.model.fold(std::mem::take(&mut self.model));
        said.finished(&self.done_reason);
        said.failed(self.error.0);
        said.is_complete |= self.done.0;
        self.prompt_eval_count.is_there() || self.eval_count.is_there()
    }

    fn parts(&self) -> Result<Usage, UsageError> {
        const CACHED: &str = "prompt_eval_cached_count";
        let prompt = ("prompt_eval_count", self.prompt_eval_count.get("prompt_eval_count")?);
        let cached_input = self.prompt_eval_cached_count.get(CACHED)?;
        let input = rest(prompt, &[(CACHED, cached_input)])?;
        let output = self.eval_count.get("eval_count")?;
        let is_whole = input.is_some() && output.is_some();
        let source = if is_whole { UsageSource::Reported } else { UsageSource::Partly };
        Ok(Usage { input, cached_input, output, source, ..Usage::default() })
    }
}
