//! Goal: every figure of the usage report is that of the traffic, also after the way through the
//! engine, its roll-ups and its queries.
//!
//! Method: the lines of the published traces are split at commas and summed up here, with nothing
//! of the engine and of the example's reader; only who calls comes from the example's own draw.
//! The example's modules are compiled in here; `tests/data` holds the traces.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    dead_code,
    unreachable_pub,
    reason = "modules of the example, of which a test needs a part; a test may panic"
)]

#[path = "../args.rs"]
mod args;
#[path = "../charts.rs"]
mod charts;
#[path = "../figures.rs"]
mod figures;
#[path = "../page.rs"]
mod page;
#[path = "../recording.rs"]
mod recording;
#[path = "../terminal.rs"]
mod terminal;
#[path = "../traffic.rs"]
mod traffic;
#[path = "../words.rs"]
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use limitry::Amount;

use args::{Command, Options};
use example_support::cast::{Cast, MODELS};
use figures::{Figures, Row};
use traffic::Traffic;

/// What a test gives back.
type Outcome = Result<(), Box<dyn Error>>;

const SEED: u64 = 42;

fn trace_path(service: &str) -> PathBuf {
    let file = format!("AzureLLMInferenceTrace_{service}.csv");
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data").join(file)
}

fn both_traces() -> [PathBuf; 2] {
    [trace_path("code"), trace_path("conv")]
}

/// A line of a trace: its time as text, its service, and its tokens in and out.
type Line = (String, &'static str, u128, u128);

/// The lines of both traces in the order of their time, as text sorts.
fn lines() -> Vec<Line> {
    let mut lines = Vec::new();
    for service in ["code", "conv"] {
        let text = fs::read_to_string(trace_path(service)).unwrap();
        lines.extend(text.lines().skip(1).filter(|line| !line.is_empty()).map(|line| {
            let fields: Vec<_> = line.split(',').collect();
            let tokens = |place: usize| fields[place].trim().parse().unwrap();
            (fields[0].to_owned(), service, tokens(1), tokens(2))
        }));
    }
    lines.sort_by(|one, other| one.0.cmp(&other.0));
    lines
}

/// Calls, input tokens, output tokens.
type Sums = (u64, u128, u128);

fn fold(lines: &[Line], key: impl Fn(&Line) -> String) -> BTreeMap<String, Sums> {
    let mut sums = BTreeMap::<_, Sums>::new();
    for line in lines {
        let (calls, input, output) = sums.entry(key(line)).or_default();
        (*calls, *input, *output) = (*calls + 1, *input + line.2, *output + line.3);
    }
    sums
}

fn sums_of(rows: &[Row]) -> BTreeMap<String, Sums> {
    let sums = rows.iter().map(|Row { name, totals }| {
        let tokens = (totals.total_input_tokens, totals.total_output_tokens);
        assert_eq!(totals.total_tokens, tokens.0 + tokens.1, "{name}");
        (name.clone(), (totals.total_events, tokens.0, tokens.1))
    });
    sums.collect()
}

fn figures_of(traffic: &Traffic) -> Result<Figures, Box<dyn Error>> {
    let (engine, _) = recording::record(traffic)?;
    Figures::ask(&engine, traffic.span().ok_or("no calls")?)
}

fn figures_of_traces() -> Result<Figures, Box<dyn Error>> {
    figures_of(&Traffic::of_traces(SEED, &both_traces())?)
}

#[test]
fn totals_and_services_are_those_of_the_files() -> Outcome {
    let figures = figures_of_traces()?;
    let lines = lines();
    let all = vec![Row { name: String::new(), totals: figures.totals.clone() }];
    assert_eq!(sums_of(&all), fold(&lines, |_| String::new()));
    assert_eq!(figures.totals.total_events, 28_185);
    let services = fold(&lines, |line| format!("AzureLLMInferenceTrace_{}", line.1));
    assert_eq!(sums_of(&figures.services), services);
    assert_eq!(figures.gaps().count(), 0);
    Ok(())
}

#[test]
fn five_minutes_are_those_of_the_files() -> Outcome {
    let figures = figures_of_traces()?;
    // `2023-11-16 18:15:46.6805900`: the minute is the letters 14 and 15.
    let expected = fold(&lines(), |(time, ..)| {
        let minute: u32 = time[14..16].parse().unwrap();
        format!("{}:{:02}", &time[..13], minute / 5 * 5)
    });
    let buckets = figures.buckets.iter().map(|bucket| {
        assert!(bucket.is_complete);
        let start = bucket.start.format("%Y-%m-%d %H:%M").to_string();
        (start, (bucket.calls, bucket.input_tokens, bucket.output_tokens))
    });
    assert_eq!(buckets.collect::<BTreeMap<_, _>>(), expected);
    assert_eq!(figures.buckets.len(), 12);
    let peak = figures.peak().ok_or("no peak")?;
    assert!(figures.buckets.iter().all(|bucket| bucket.tokens() <= peak.tokens()));
    Ok(())
}

#[test]
fn models_customers_and_meters_are_those_of_the_draw() -> Outcome {
    let figures = figures_of_traces()?;
    let lines = lines();
    let mut cast = Cast::new(SEED)?;
    let drawn: Vec<_> = lines.iter().map(|_| (cast.draw_customer(), cast.draw_model())).collect();
    let (mut customers, mut models) = (BTreeMap::<_, Sums>::new(), BTreeMap::<_, Sums>::new());
    for ((customer, model), (.., input, output)) in drawn.iter().zip(&lines) {
        let customer = customers.entry(cast.customers[*customer].id.clone()).or_default();
        let model = models.entry(MODELS[*model].name.to_owned()).or_default();
        for sums in [customer, model] {
            *sums = (sums.0 + 1, sums.1 + input, sums.2 + output);
        }
    }
    assert_eq!(sums_of(&figures.models), models);
    assert_eq!(sums_of(&figures.customers), customers);
    assert!(figures.customers.is_sorted_by_key(|row| std::cmp::Reverse(row.totals.total_tokens)));

    let largest = lines.iter().map(|line| line.2 + line.3).max().unwrap();
    let tokens: u128 = lines.iter().map(|line| line.2 + line.3).sum();
    let calls = lines.len() as u128;
    let millionths = (tokens * 1_000_000 + calls / 2) / calls;
    let longest = lines.iter().map(|line| line.3).max().unwrap();
    let who: BTreeSet<_> = drawn.iter().map(|(customer, _)| customer).collect();
    let whole = |number: u128| Amount::from(u64::try_from(number).unwrap());
    let expected = [
        whole(largest),
        Amount::from_millionths(millionths.try_into()?),
        whole(longest),
        whole(who.len() as u128),
    ];
    let values: Vec<_> = figures.meters.iter().map(|meter| meter.value).collect();
    assert_eq!(values, expected);
    Ok(())
}

#[test]
fn the_rows_that_are_not_shown_are_summed_up() -> Outcome {
    let figures = figures_of_traces()?;
    let top = Row::top(&figures.customers, 10, "others");
    assert_eq!(top.len(), 11);
    assert_eq!(top[10].name, format!("{} others", figures.customers.len() - 10));
    let sum = |value: fn(&Row) -> u128| top.iter().map(value).sum::<u128>();
    assert_eq!(sum(|row| row.totals.total_events.into()), figures.totals.total_events.into());
    assert_eq!(sum(|row| row.totals.total_tokens), figures.totals.total_tokens);
    let cents =
        |totals: &limitry::usage::UsageTotals| totals.total_cost_cents.millionths().unsigned_abs();
    assert_eq!(top.iter().map(|row| cents(&row.totals)).sum::<u128>(), cents(&figures.totals));
    assert_eq!(Row::top(&figures.customers, 1_000, "others"), figures.customers);
    Ok(())
}

#[test]
fn a_day_has_all_its_five_minutes() -> Outcome {
    let figures = figures_of(&Traffic::made_up(SEED, 20_000)?)?;
    assert_eq!(figures.buckets.len(), 288);
    let calls: u64 = figures.buckets.iter().map(|bucket| bucket.calls).sum();
    assert_eq!(calls, figures.totals.total_events);
    assert!(figures.is_one_day() && figures.services.is_empty());
    Ok(())
}

/// A trace of these lines in a file of this name, in a folder of its own.
fn written(name: &str, lines: &str) -> Result<PathBuf, Box<dyn Error>> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("usage_report");
    fs::create_dir_all(&folder)?;
    let path = folder.join(name);
    fs::write(&path, format!("TIMESTAMP,ContextTokens,GeneratedTokens\n{lines}"))?;
    Ok(path)
}

#[test]
fn of_many_days_the_one_with_most_tokens_is_shown() -> Outcome {
    let lines = "2024-02-27 23:59:59.9,10,1\n2024-02-29 12:04:59.9999999,20,2\n\
                 2024-02-29 12:05:00.0,30,3\n2024-03-03 00:00:00.0,40,4\n";
    let path = written("days.csv", lines)?;
    let figures = figures_of(&Traffic::of_traces(SEED, &[path])?)?;
    assert_eq!(figures.totals.total_tokens, 110);
    assert_eq!(figures.span.start.to_rfc3339(), "2024-02-27T00:00:00+00:00");
    assert_eq!(figures.span.end.to_rfc3339(), "2024-03-04T00:00:00+00:00");
    assert_eq!(figures.buckets.len(), 288);
    let used = figures.buckets.iter().filter(|bucket| bucket.calls > 0);
    let used: Vec<_> = used.map(|bucket| (bucket.start.to_rfc3339(), bucket.tokens())).collect();
    let at = |time: &str, tokens| (format!("2024-02-29T{time}:00+00:00"), tokens);
    assert_eq!(used, [at("12:00", 22), at("12:05", 33)]);
    assert!(!figures.is_one_day());
    Ok(())
}

#[test]
fn the_text_fits_the_terminal() -> Outcome {
    for traffic in [Traffic::of_traces(SEED, &both_traces())?, Traffic::made_up(SEED, 20_000)?] {
        let figures = figures_of(&traffic)?;
        let text = terminal::render(&traffic.source, &figures, Duration::from_secs(1));
        for line in text.lines() {
            assert!(line.chars().count() <= 100, "{line}");
        }
        assert!(text.contains(&words::number(figures.totals.total_tokens)), "{text}");
    }
    Ok(())
}

#[test]
fn the_page_is_whole_by_itself_and_trusts_no_name() -> Outcome {
    let path = written("<b>&'.csv", "2024-02-29 12:00:00.0,10,1\n")?;
    let traffic = Traffic::of_traces(SEED, &[path])?;
    let page = page::render(&traffic.source, &figures_of(&traffic)?)?;
    assert!(!page.contains("<b>&"), "mark-up of the traffic");
    assert!(page.contains("&lt;b&gt;&amp;&#39;"), "the name, as text");
    assert_eq!(page.matches("<svg").count(), 4, "tokens, calls, models, services");
    assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
    // The one address is the name of SVG itself, which nobody asks for.
    assert_eq!(page.matches("http:").count(), page.matches("http://www.w3.org/2000/svg").count());
    for outside in ["https:", "src=", "href=", "url(", "@import", "<script"] {
        assert!(!page.contains(outside), "{outside}");
    }
    Ok(())
}

#[test]
fn numbers_are_short_and_exact() {
    let compact = [0, 999, 1_000, 1_250, 43_000_000, 999_999, 2_050_000_000].map(words::compact);
    assert_eq!(compact, ["0", "999", "1K", "1.2K", "43M", "999.9K", "2G"]);
    let amount = |millionths| words::amount(Amount::from_millionths(millionths));
    let amounts = [0, 49_999, 50_000, 1_588_049_999, 999_950_000, 1_234_500_000].map(amount);
    assert_eq!(amounts, ["0", "0", "0.1", "1,588", "1,000", "1,234.5"]);
    assert_eq!(words::dollars(123_405.into()), "$1,234.05");
    let shortened = [3, 4, 8, 9].map(|letters| words::shortened("trace_one", letters));
    assert_eq!(shortened, ["t\u{2026}e", "tr\u{2026}e", "trac\u{2026}one", "trace_one"]);
}

#[test]
fn command_lines_are_understood() {
    let parse = |line: &str| Command::parse(line.split_whitespace().map(OsString::from));
    let report = |seed, html: Option<&str>, paths: &[&str]| {
        let (html, paths) = (html.map(PathBuf::from), paths.iter().map(PathBuf::from).collect());
        Ok(Command::Report(Options { seed, html, paths }))
    };
    assert_eq!(parse(""), report(42, None, &[]));
    assert_eq!(parse("a.csv --html u.html b.csv"), report(42, Some("u.html"), &["a.csv", "b.csv"]));
    assert_eq!(parse("--html=u=1.html --seed=7"), report(7, Some("u=1.html"), &[]));
    assert_eq!(parse("a=b.csv -- --html"), report(42, None, &["a=b.csv", "--html"]));
    assert_eq!(parse("a.csv --help"), Ok(Command::Help));
    let wrong = ["--html", "--html=", "--seed", "--seed x", "--seed=-1", "--htlm u.html", "-v"];
    for line in wrong.into_iter().chain(["--help=1", "--=a"]) {
        assert!(parse(line).is_err(), "{line}");
    }
}
