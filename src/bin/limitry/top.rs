//! `limitry top`: what a running server does, drawn anew every few seconds.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};
use std::time::Duration;

use clap::Args;
use limitry::{Amount, Timestamp};
use serde::Deserialize;

use crate::client::{Client, Server};
use crate::{Failure, report, seconds};

/// How long the server may take for an answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Puts the cursor to the top; clears what is behind it.
const HOME: &str = "\x1b[H";
const CLEAR_BELOW: &str = "\x1b[J";
const CLEAR_REST: &str = "\x1b[K";
/// How many customers are shown, and how many keys in all.
const CUSTOMERS: usize = 10;
const KEYS: usize = 15;
const NAME: usize = 34;
/// The width of a full bar.
const BAR: u32 = 20;

#[derive(Debug, Args)]
pub(crate) struct Top {
    #[command(flatten)]
    server: Server,
    /// Draws one frame and ends.
    #[arg(long)]
    once: bool,
    /// How many seconds there are between two frames.
    #[arg(long, default_value = "2", value_parser = seconds)]
    every: Duration,
}

/// Draws until it is told to stop.
pub(crate) fn run(asked: &Top) -> Result<(), Failure> {
    let client = Client::new(&asked.server, TIMEOUT)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let mut before = None;
    loop {
        let frame = Frame::ask(&client)?;
        let text = frame.text(&asked.server.url.to_string(), before.as_ref())?;
        let mut out = io::stdout().lock();
        if asked.once || !out.is_terminal() {
            out.write_all(text.as_bytes())?;
        } else {
            let lines = text.lines().map(|line| format!("{line}{CLEAR_REST}\n"));
            write!(out, "{HOME}{}{CLEAR_BELOW}", lines.collect::<String>())?;
        }
        out.flush()?;
        drop(out);
        if asked.once {
            return Ok(());
        }
        before = Some(frame);
        runtime.block_on(tokio::time::sleep(asked.every));
    }
}

/// What the server says at a moment.
struct Frame {
    now: Timestamp,
    figures: Vec<Figure>,
    names: BTreeMap<String, String>,
    customers: Vec<Customer>,
}

/// A line of `/metrics`.
struct Figure {
    name: String,
    labels: BTreeMap<String, String>,
    value: Amount,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Customer {
    dimension: Option<String>,
    total_events: u64,
    total_tokens: u64,
    total_cost_cents: Amount,
}

#[derive(Deserialize)]
struct List<T> {
    data: Vec<T>,
}

/// A rule: of its kind, and what names it.
#[derive(Deserialize)]
struct OneRule(BTreeMap<String, Named>);

#[derive(Deserialize)]
struct Named {
    id: Option<String>,
    name: String,
}

impl Frame {
    fn ask(client: &Client) -> Result<Self, Failure> {
        let now = client.now()?;
        let start = now - Duration::from_secs(3_600);
        let range = format!("startDate={start}&endDate={now}");
        let path = format!("/v1/usage/breakdown?{range}&groupBy=customer_id");
        // An engine that keeps no usage of customers has none to show.
        let customers =
            client.get::<List<Customer>>(&path).map_or_else(|_| Vec::new(), |it| it.data);
        let rules: List<OneRule> = client.get("/engine/v1/rules?limit=100")?;
        let named = rules.data.into_iter().flat_map(|rule| rule.0.into_values());
        let names = named.filter_map(|rule| Some((rule.id?, rule.name))).collect();
        let page = client.text("/metrics")?;
        let figures = page.lines().filter_map(read).collect();
        Ok(Self { now, figures, names, customers })
    }

    /// The figures of a name.
    fn of<'f>(&'f self, name: &'f str) -> impl Iterator<Item = &'f Figure> {
        self.figures.iter().filter(move |figure| figure.name == name)
    }

    /// What figures of a name add up to that have a label, or of all.
    fn sum(&self, name: &str, label: Option<(&str, &str)>) -> Amount {
        let has = |of: &Figure| {
            label.is_none_or(|(key, value)| of.labels.get(key).is_some_and(|is| is == value))
        };
        let values = self.of(name).filter(|of| has(of)).map(|of| of.value);
        values.fold(Amount::ZERO, Amount::saturating_add)
    }

    /// How many decisions ended so, but for those that only asked.
    fn decided(&self, outcome: &str) -> Amount {
        let asked = |of: &&Figure| of.labels.get("verb").is_some_and(|verb| verb == "check");
        let ended = |of: &&Figure| of.labels.get("outcome").is_some_and(|it| it == outcome);
        let decided = self.of("limitry_decisions_total").filter(ended).filter(|of| !asked(of));
        decided.map(|of| of.value).fold(Amount::ZERO, Amount::saturating_add)
    }

    fn text(&self, url: &str, before: Option<&Self>) -> Result<String, Failure> {
        let mut text = String::new();
        let state = if self.sum("limitry_up", None) > Amount::ZERO { "up" } else { "DOWN" };
        writeln!(text, "{url}  {}  {state}", self.now)?;
        for (called, outcome) in [("admitted", "allowed"), ("refused", "refused")] {
            let count = |of: &Self| of.decided(outcome);
            write!(text, "{called} {}", count(self))?;
            if let Some(before) = before {
                let millis = self.now.saturating_since(before.now).as_millis();
                let more = count(self).saturating_sub(count(before));
                write!(text, " ({}/s)", a_second(more, millis))?;
            }
            text.push_str("   ");
        }
        let [keys, bytes] =
            ["limitry_keys", "limitry_store_bytes"].map(|name| self.sum(name, None));
        writeln!(text, "keys {keys}   store {bytes} bytes")?;
        self.put_keys(&mut text)?;
        self.put_refusals(&mut text)?;
        self.put_customers(&mut text)?;
        Ok(text)
    }

    fn name_of<'n>(&'n self, rule: &'n str) -> &'n str {
        self.names.get(rule).map_or(rule, |name| name)
    }

    /// The keys that are nearest to their limits.
    fn put_keys(&self, text: &mut String) -> Result<(), Failure> {
        let mut rows = Vec::new();
        for used in self.of("limitry_rule_used") {
            let rule = used.labels.get("rule").map_or("", |rule| rule);
            let limit = self.sum("limitry_rule_limit", Some(("rule", rule)));
            let key = used.labels.get("key").map_or("", |key| key);
            rows.push((share(used.value, limit), self.name_of(rule), key, used.value, limit));
        }
        rows.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| (a.1, a.2).cmp(&(b.1, b.2))));
        writeln!(text, "\n{:<NAME$} {:<NAME$} {:>14}", "rule", "key", "used of limit")?;
        for (share, rule, key, used, limit) in rows.into_iter().take(KEYS) {
            let (rule, key) = (report::plain(rule, NAME), report::plain(key, NAME));
            let bar = bar(share);
            writeln!(text, "{rule:<NAME$} {key:<NAME$} {bar} {share:>3} %  {used} of {limit}")?;
        }
        Ok(())
    }

    fn put_refusals(&self, text: &mut String) -> Result<(), Failure> {
        let refused: Vec<_> =
            self.of("limitry_refusals_total").filter(|it| it.value > Amount::ZERO).collect();
        if refused.is_empty() {
            return Ok(());
        }
        writeln!(text, "\n{:<NAME$} {:>14}", "rule", "refused")?;
        for of in refused {
            let rule = self.name_of(of.labels.get("rule").map_or("", |rule| rule));
            writeln!(text, "{:<NAME$} {:>14}", report::plain(rule, NAME), of.value)?;
        }
        Ok(())
    }

    fn put_customers(&self, text: &mut String) -> Result<(), Failure> {
        if self.customers.is_empty() {
            return Ok(());
        }
        let mut top: Vec<&Customer> = self.customers.iter().collect();
        top.sort_by_key(|row| std::cmp::Reverse((row.total_tokens, row.total_events)));
        let what = "customer, this last hour";
        writeln!(text, "\n{what:<NAME$} {:>10} {:>14} {:>12}", "events", "tokens", "cents")?;
        for row in top.into_iter().take(CUSTOMERS) {
            let name = report::plain(row.dimension.as_deref().unwrap_or("(none)"), NAME);
            let (events, tokens, cost) =
                (row.total_events, row.total_tokens, row.total_cost_cents.to_string());
            writeln!(text, "{name:<NAME$} {events:>10} {tokens:>14} {cost:>12}")?;
        }
        Ok(())
    }
}

/// Whole percents of a limit; 100 where there is nothing of it.
fn share(used: Amount, limit: Amount) -> u32 {
    let part = used.millionths().max(0).saturating_mul(100);
    let share = part.checked_div(limit.millionths()).unwrap_or(100);
    u32::try_from(share).unwrap_or(u32::MAX).min(999)
}

fn bar(share: u32) -> String {
    let full = share.min(100).saturating_mul(BAR).div_euclid(100);
    let letter = |place: u32| if place < full { '#' } else { '.' };
    (0..BAR).map(letter).collect()
}

/// How much of it there was in a second, to one digit.
fn a_second(more: Amount, millis: u128) -> String {
    let millis = i128::try_from(millis.max(1)).unwrap_or(i128::MAX);
    let tenths = more.millionths().div_euclid(100).checked_div(millis).unwrap_or(0);
    format!("{}.{}", tenths.div_euclid(10), tenths.rem_euclid(10))
}

/// Reads a line of figures: a name, labels where there are some, and a value.
fn read(line: &str) -> Option<Figure> {
    if line.starts_with('#') {
        return None;
    }
    let (series, value) = line.rsplit_once(' ')?;
    let value = value.parse().ok()?;
    let Some((name, mut rest)) = series.split_once('{') else {
        return Some(Figure { name: series.to_owned(), labels: BTreeMap::new(), value });
    };
    let mut labels = BTreeMap::new();
    while let Some((key, behind)) = rest.split_once("=\"") {
        let (mut text, mut letters) = (String::new(), behind.char_indices());
        let end = loop {
            match letters.next()? {
                (at, '"') => break at,
                (_, '\\') => text.push(match letters.next()?.1 {
                    'n' => '\n',
                    letter => letter,
                }),
                (_, letter) => text.push(letter),
            }
        };
        labels.insert(key.trim_start_matches(',').to_owned(), text);
        rest = behind.get(end..)?.strip_prefix('"')?;
    }
    Some(Figure { name: name.to_owned(), labels, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_figures_is_read_with_its_labels() {
        let figure = read(r#"x_used{rule="rl_a",key="a=\"b\"\\,c\nd}"} 12.5"#).expect("a figure");
        assert_eq!((&*figure.name, figure.value.to_string()), ("x_used", "12.5".to_owned()));
        assert_eq!(figure.labels["key"], "a=\"b\"\\,c\nd}");
        assert_eq!(figure.labels["rule"], "rl_a");
        assert!(read("# HELP x y").is_none() && read("x").is_none());
        assert_eq!(
            (bar(50), share(Amount::ZERO, Amount::ZERO)),
            ("##########..........".into(), 100)
        );
    }
}
