//! `limitry report`: who used what, by what is in a store or by what a running server answers.
//!
//! Both are asked the same questions, and read from the same bodies.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use limitry::usage::{Interval, UsageQuery};
use limitry::{Amount, Engine, Timestamp};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::Failure;
use crate::client::Client;
use crate::store::{Remote, engine_of, look_at, say};

mod html;
mod text;

pub(crate) use self::text::plain;

/// How long the server may take for an answer.
const TIMEOUT: Duration = Duration::from_secs(60);
const DAY: u64 = 86_400;
/// How many rows there are of each dimension.
const ROWS: usize = 10;
/// By what usage is told apart, and what it is called.
const DIMENSIONS: [(&str, &str); 3] =
    [("customer_id", "customers"), ("model", "models"), ("event_type", "event types")];

/// What is reported, and where to.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// A file for the report as one web page, which asks no network.
    #[arg(long)]
    html: Option<PathBuf>,
    /// From when on, as 2026-01-31T00:00:00Z; by default from 30 days before the end on.
    #[arg(long)]
    start: Option<Timestamp>,
    /// Until when; by default until now.
    #[arg(long)]
    end: Option<Timestamp>,
}

/// `limitry report`.
#[derive(Debug, Args)]
pub(crate) struct Report {
    /// The file of a store that no engine has open.
    #[arg(long, required_unless_present = "url", conflicts_with = "url")]
    store: Option<PathBuf>,
    #[command(flatten)]
    server: Remote,
    #[command(flatten)]
    of: Options,
    /// Writes one object of JSON to stdout in place of text.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Sums, as every answer has them.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Totals {
    total_events: u64,
    total_tokens: u64,
    total_input_tokens: u64,
    total_output_tokens: u64,
    total_cost_cents: Amount,
}

/// Sums of something.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Row {
    #[serde(alias = "timestamp", rename(serialize = "name"))]
    dimension: Option<String>,
    #[serde(flatten)]
    totals: Totals,
}

#[derive(Debug, Deserialize)]
struct Rows {
    data: Vec<Row>,
    other: Option<Totals>,
}

/// What is reported.
#[derive(Debug, Serialize)]
struct Figures {
    /// The store or the server.
    of: String,
    start: Timestamp,
    end: Timestamp,
    totals: Totals,
    /// By day, or by hour where it is about two days or less.
    interval: &'static str,
    series: Vec<Row>,
    /// Those with the most tokens first; the others in the last row.
    by: Vec<By>,
}

#[derive(Debug, Serialize)]
struct By {
    dimension: &'static str,
    #[serde(skip)]
    called: &'static str,
    rows: Vec<Row>,
}

/// Who answers.
enum Source {
    Engine(Engine),
    Server(Client),
}

impl Source {
    fn ask<T: DeserializeOwned>(
        &self,
        what: &str,
        (start, end): (Timestamp, Timestamp),
        more: Option<&str>,
    ) -> Result<T, Failure> {
        match self {
            Self::Server(client) => {
                let more = match more {
                    Some(more) if what == "breakdown" => format!("&groupBy={more}"),
                    Some(more) => format!("&interval={more}"),
                    None => String::new(),
                };
                client.get(&format!("/v1/usage/{what}?startDate={start}&endDate={end}{more}"))
            }
            Self::Engine(engine) => {
                let (usage, query) = (engine.usage(), UsageQuery::new(start, end));
                let body = match (what, more) {
                    ("breakdown", Some(by)) => {
                        serde_json::to_string(&usage.breakdown(&query, by)?)?
                    }
                    (_, Some(interval)) => {
                        let interval: Interval = interval.parse()?;
                        serde_json::to_string(&usage.timeseries(&query, interval)?)?
                    }
                    _ => serde_json::to_string(&usage.summary(&query)?)?,
                };
                Ok(serde_json::from_str(&body)?)
            }
        }
    }
}

impl Figures {
    fn ask(
        of: String,
        source: &Source,
        options: &Options,
        now: Timestamp,
    ) -> Result<Self, Failure> {
        let end = options.end.unwrap_or(now);
        let start = options.start.unwrap_or_else(|| end - Duration::from_secs(30 * DAY));
        if start >= end {
            return Err(format!("--start: {start} must be before the end, {end}").into());
        }
        let range = (start, end);
        let is_long = end.saturating_since(start) > Duration::from_secs(2 * DAY);
        let interval = if is_long { "day" } else { "hour" };
        let series: Rows = source.ask("timeseries", range, Some(interval))?;
        let mut by = Vec::new();
        for (dimension, called) in DIMENSIONS {
            // Of what is no declared dimension there are no sums.
            if let Ok(rows) = source.ask("breakdown", range, Some(dimension)) {
                by.push(By { dimension, called, rows: top(rows) });
            }
        }
        let totals = source.ask("summary", range, None)?;
        Ok(Self { of, start, end, totals, interval, series: series.data, by })
    }
}

/// The rows with the most tokens, and one of the others.
fn top(rows: Rows) -> Vec<Row> {
    let mut named: Vec<Row> = rows.data;
    let measure = |totals: &Totals| (totals.total_tokens, totals.total_events);
    named.sort_by_key(|row| std::cmp::Reverse(measure(&row.totals)));
    let behind = named.split_off(named.len().min(ROWS));
    let mut others = rows.other.unwrap_or_default();
    for row in &behind {
        let Totals { total_events, total_tokens, total_input_tokens, .. } = &row.totals;
        others.total_events = others.total_events.saturating_add(*total_events);
        others.total_tokens = others.total_tokens.saturating_add(*total_tokens);
        others.total_input_tokens = others.total_input_tokens.saturating_add(*total_input_tokens);
        others.total_output_tokens =
            others.total_output_tokens.saturating_add(row.totals.total_output_tokens);
        others.total_cost_cents =
            others.total_cost_cents.saturating_add(row.totals.total_cost_cents);
    }
    for row in &mut named {
        row.dimension.get_or_insert_with(|| "(none)".to_owned());
    }
    if others.total_events > 0 {
        named.push(Row { dimension: Some("(others)".to_owned()), totals: others });
    }
    named
}

/// Reports of a store's file.
pub(crate) fn of_store(file: &Path, options: &Options, is_json: bool) -> Result<(), Failure> {
    let (store, bar) = look_at(file)?;
    let engine = engine_of(store)?;
    drop(bar);
    let now = engine.now();
    let name = file.display().to_string();
    print(&Figures::ask(name, &Source::Engine(engine), options, now)?, options, is_json)
}

/// Reports of a store's file, or of what a server answers.
pub(crate) fn run(asked: &Report) -> Result<(), Failure> {
    let Some(server) = asked.server.server() else {
        let file = asked.store.as_deref().ok_or("--store or --url must be given")?;
        return of_store(file, &asked.of, asked.json);
    };
    let client = Client::new(&server, TIMEOUT)?;
    let now = client.now()?;
    let (name, source) = (server.url.to_string(), Source::Server(client));
    print(&Figures::ask(name, &source, &asked.of, now)?, &asked.of, asked.json)
}

fn print(figures: &Figures, options: &Options, is_json: bool) -> Result<(), Failure> {
    if let Some(path) = &options.html {
        fs::write(path, html::page(figures)?)
            .map_err(|why| format!("{}: {why}", path.display()))?;
    }
    say(is_json, figures, text::text(figures)?.trim_end())
}
