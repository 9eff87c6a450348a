//! What a call of a model used, what it costs, and what the next one will take.
//!
//! - [`Usage`] reads what a provider reports, of a whole response or of a [stream](UsageStream), to
//!   parts that have nothing in common; [`Event::usage`](EventUsage::usage) makes values of them.
//! - [`PriceBook`] knows what models cost, exactly and by time, size and tier; an engine that
//!   [has one](crate::EngineBuilder::prices) prices every event without a cost. By another one
//!   recorded events are [repriced](Reprice), and restated.
//! - [`Estimator`] learns how many tokens come out of calls, and
//!   [`reserve_estimated`](ReserveEstimated::reserve_estimated) reserves what it says in place of
//!   the maximum.
//! - [`RemoteLimits`] mirrors the limits that providers keep, by the headers of their responses: a
//!   call that would be refused there is refused here, and of several keys the one with most room
//!   is named. [`presets`] has the limits that providers publish, as rules.
//!
//! Everything here is pure and local: nothing is asked of any provider.
//!
//! # Providers
//!
//! What each reports, and what is made of it. *Inside* says that the provider counts it inside
//! another number, of which it is taken out here, and *beside* that it does not: so nothing is
//! counted twice or left out. As documented by the providers and their own clients between 2026-06
//! and 2026-11; each reader names its sources.
//!
//! | provider, field | part of a [`Usage`] | is |
//! |---|---|---|
//! | **OpenAI**, and who speaks like it | | |
//! | `prompt_tokens` or `input_tokens` | all that went in | |
//! | `..._details.cached_tokens` | `cached_input` | inside |
//! | `prompt_cache_hit_tokens` (DeepSeek) | `cached_input` | inside |
//! | `num_cached_tokens` (Mistral) | `cached_input` | inside |
//! | `..._details.cache_write_tokens` | `cache_write_other` | inside |
//! | `..._details.audio_tokens`, `image_tokens` | `audio_input`, `image_input` | inside |
//! | `completion_tokens` or `output_tokens` | all that came out | |
//! | `..._details.reasoning_tokens` | `reasoning` | inside; beside by the total (xAI) |
//! | `..._details.audio_tokens`, `image_tokens` | `audio_output`, `image_output` | inside |
//! | `data[].b64_json`, `data[].url` | `images`, one each | |
//! | `total_tokens` | `reported_total` | the sum |
//! | `cost` (OpenRouter), `cost_in_usd_ticks` (xAI) | `reported_cost_cents` | |
//! | **Anthropic** | | |
//! | `input_tokens` | `input` | |
//! | `cache_read_input_tokens` | `cached_input` | beside |
//! | `cache_creation_input_tokens` | all that was written | beside |
//! | `cache_creation.ephemeral_5m_input_tokens` | `cache_write_5m`, with the rest | inside |
//! | `cache_creation.ephemeral_1h_input_tokens` | `cache_write_1h` | inside |
//! | `output_tokens` | all that came out | |
//! | `output_tokens_details.thinking_tokens` | `reasoning` | inside |
//! | `server_tool_use.web_search_requests` | `searches` | |
//! | `iterations` | each part is their sum | the top level leaves some out |
//! | **Gemini** | | |
//! | `promptTokenCount` | all of the prompt | |
//! | `cachedContentTokenCount` | `cached_input` | inside |
//! | `promptTokensDetails`, `cacheTokensDetails` | `audio_input`, `image_input` | inside |
//! | `toolUsePromptTokenCount` | `input` | beside |
//! | `candidatesTokenCount` | all of the answer | |
//! | `candidatesTokensDetails` | `audio_output`, `image_output` | inside |
//! | `thoughtsTokenCount` | `reasoning` | beside; inside by the total |
//! | `totalTokenCount` | `reported_total` | the sum |
//! | **Bedrock**, Converse | | |
//! | `inputTokens` | `input` | |
//! | `cacheReadInputTokens` | `cached_input` | beside; inside in streams of OpenAI's |
//! | `cacheWriteInputTokens` | all that was written | the same |
//! | `cacheDetails`, by `ttl` | `cache_write_5m`, `cache_write_1h` | inside |
//! | `outputTokens` | `output` | |
//! | `totalTokens` | `reported_total` | the sum |
//! | **Cohere** | | |
//! | `billed_units.input_tokens`, `output_tokens` | `input`, `output` | |
//! | `cached_tokens` | `cached_input` | inside |
//! | `billed_units.search_units` | `searches` | |
//! | **Ollama** | | |
//! | `prompt_eval_count`, `eval_count` | `input`, `output` | |
//! | `prompt_eval_cached_count` | `cached_input` | inside |
//!
//! Of a stream, the counts come here, and where it breaks off this much is known:
//!
//! | provider | where | known before |
//! |---|---|---|
//! | OpenAI Chat | last chunk, by `stream_options.include_usage` | nothing |
//! | OpenAI Responses | `response.completed`, `.incomplete`, `.failed` | nothing |
//! | Anthropic | `message_start`, totals in `message_delta` | the input |
//! | Gemini | every chunk, totals | the last chunk |
//! | Bedrock | `metadata` | nothing |
//! | Cohere | `message-end` | nothing |
//! | Ollama | the line with `done` | nothing |
//!
//! A response without usage, such as an error, is a [`Usage`] of which nothing is known. A field
//! that is not named here is ignored.

mod decimal;
mod estimates;
pub mod presets;
mod prices;
mod remote;
mod reprice;
mod usage;

pub use self::estimates::{
    Estimate, EstimateSource, EstimatedReservation, Estimator, EstimatorSize, ReserveEstimated,
    ReservedEstimate, WaitReserveEstimated,
};
pub use self::prices::{PriceBook, PriceBookError, SkippedModel};
pub use self::remote::{
    Refill, RemoteCall, RemoteHeaderError, RemoteLimit, RemoteLimits, RemoteReason, RemoteRefusal,
    RemoteStanding,
};
pub use self::reprice::{
    Reprice, RepriceError, RepriceReport, Repriced, RepricedModel, Repricing, UnpricedEvents,
};
pub use self::usage::{EventUsage, Finish, Usage, UsageError, UsageSource, UsageStream};
