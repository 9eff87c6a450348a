//! `limitry store info`.

use std::fmt::Write;
use std::path::Path;

use limitry::store::Durable;
use limitry::usage::UsageQuery;
use limitry::{Engine, Timestamp};
use serde::Serialize;

use super::{engine_of, look_at, say};
use crate::Failure;

/// What is in a store.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Info<'f> {
    file: &'f Path,
    bytes: u64,
    /// The format that the file is in, and the newest that this program writes.
    format: u32,
    newest_format: u32,
    rate_limits: usize,
    quotas: usize,
    meters: usize,
    /// Keys that have counters.
    live_keys: u64,
    /// Events that were ever recorded, those with them that are gone.
    recorded: u64,
    /// What the sums have, where usage is kept.
    events: Option<u64>,
    tokens: Option<u128>,
    /// From when on there is usage; `None` where that is from the first event on.
    usage_since: Option<Timestamp>,
    /// An event that is dated ahead of this machine's clock.
    latest_ahead: Option<Timestamp>,
    set_back_seconds: u64,
}

impl<'f> Info<'f> {
    fn of(file: &'f Path, bytes: u64, format: u32, engine: &Engine) -> Self {
        let (set, health) = (engine.rules().set(), engine.store().health());
        let usage = engine.usage().summary(&UsageQuery::all_time()).ok();
        Self {
            file,
            bytes,
            format,
            newest_format: Durable::NEWEST_FORMAT,
            rate_limits: set.rate_limits.len(),
            quotas: set.quotas.len(),
            meters: set.meters.len(),
            live_keys: engine.live_keys(),
            recorded: health.recorded,
            events: usage.as_ref().map(|usage| usage.totals.total_events),
            tokens: usage.as_ref().map(|usage| usage.totals.total_tokens),
            usage_since: usage.as_ref().and_then(|usage| usage.covers.start),
            latest_ahead: health.latest_ahead,
            set_back_seconds: health.set_back.as_secs(),
        }
    }

    fn text(&self) -> Result<String, Failure> {
        let Self { rate_limits, quotas, meters, .. } = self;
        let mut text = String::new();
        let mut line = |name: &str, what: String| writeln!(text, "{name:<12}{what}");
        line("file", self.file.display().to_string())?;
        line("bytes", self.bytes.to_string())?;
        let newest = self.newest_format;
        let about =
            if self.format < newest { format!(" (newest: {newest})") } else { String::new() };
        line("format", format!("{}{about}", self.format))?;
        line("rules", format!("{rate_limits} rate limits, {quotas} quotas, {meters} meters"))?;
        line("keys", self.live_keys.to_string())?;
        line("recorded", format!("{} events", self.recorded))?;
        if let (Some(events), Some(tokens)) = (self.events, self.tokens) {
            line("usage", format!("{events} events, {tokens} tokens"))?;
        }
        if let Some(since) = self.usage_since {
            line("since", since.to_string())?;
        }
        if let Some(latest) = self.latest_ahead {
            line("ahead", format!("{latest} is the latest event, after this machine's time"))?;
        }
        if self.set_back_seconds > 0 {
            line("clock", format!("was set back by {} s", self.set_back_seconds))?;
        }
        Ok(text.trim_end().to_owned())
    }
}

pub(super) fn run(file: &Path, is_json: bool) -> Result<(), Failure> {
    let (store, bar) = look_at(file)?;
    let (bytes, format) = (std::fs::metadata(file)?.len(), store.format());
    let engine = engine_of(store)?;
    drop(bar);
    let info = Info::of(file, bytes, format, &engine);
    say(is_json, &info, &info.text()?)
}
