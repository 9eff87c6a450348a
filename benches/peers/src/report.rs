//! Rows of the tables, as markdown for `docs/figures.md` and as JSON for machines.

use std::fmt::Write as _;

use crate::peers::{NOBODY, Peer};

/// A ratio that a case is to reach.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    AtMost(f64),
    AtLeast(f64),
}

/// The tables, by what they are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    Decisions,
    Usage,
    Durable,
}

impl Section {
    /// What a reader has to know of all rows.
    fn introduction(self) -> &'static str {
        match self {
            Self::Decisions => {
                "Decisions, by the threads' CPU time: 100 000 customers in random order and \
                 `Recording::Off` unless said.\nWith 1 000 customers everything is in the \
                 processor's caches, with 1 000 000 each comes from memory. The\nreplay has eight \
                 rules, and its events and roll-ups are on."
            }
            Self::Usage => {
                "Recording and questions about usage, by CPU time: events of 1 000 customers over \
                 a month.\nSQLite has the same events in memory, with an index for each question \
                 that holds all that it sums."
            }
            Self::Durable => {
                "Durable events, by the wall clock: random idempotency keys, two rules a customer, \
                 one producer and the\nwriter on two cores, files in the system's folder for \
                 temporary files. SQLite has the same events with a\nunique key and the same \
                 counts, 4 096 in a transaction."
            }
        }
    }
}

/// One line of a table. `unit` stands behind the two figures.
#[derive(Debug)]
pub struct Row {
    pub case: String,
    pub peer: Peer,
    pub unit: &'static str,
    pub limitry: f64,
    pub peers: f64,
    pub ratio: f64,
    pub target: Option<Target>,
    /// First and third quartile of the rounds: limitry's, then the peer's.
    pub quartiles: Option<[f64; 4]>,
}

impl Row {
    /// Nanoseconds on both sides, without a target.
    pub fn of(case: &str, peer: Peer, limitry: f64, peers: f64) -> Self {
        let (case, ratio) = (case.to_owned(), limitry / peers);
        Self { case, peer, unit: "ns", limitry, peers, ratio, target: None, quartiles: None }
    }

    /// What the target is for: the ratio, or limitry's own figure where there is none.
    fn aimed(&self) -> f64 {
        if self.ratio.is_nan() { self.limitry } else { self.ratio }
    }

    fn verdict(&self) -> String {
        let (sign, target, reached) = match self.target {
            None => return "-".to_owned(),
            Some(Target::AtMost(most)) => ("<=", most, self.aimed() <= most),
            Some(Target::AtLeast(least)) => (">=", least, self.aimed() >= least),
        };
        format!("{sign} {target}{}", if reached { "" } else { " (missed)" })
    }
}

/// A figure of limitry's that stands for itself: its target is for the figure.
pub fn figure(case: &str, unit: &'static str, limitry: f64, target: Option<Target>) -> Row {
    Row { unit, target, ..Row::of(case, NOBODY, limitry, f64::NAN) }
}

const HEAD: &str = "\
| case | peer | which does not do | limitry ns | peer ns | ratio | target |
|---|---|---|--:|--:|--:|--:|
";

/// The tables, each under what has to be known of it, for `docs/figures.md`.
pub fn markdown(sections: &[(Section, Vec<Row>)], is_quick: bool) -> String {
    let mut text = format!("{}\n", machine());
    if is_quick {
        text.push_str("Small sizes: these figures show that it runs, and nothing else.\n");
    }
    for (section, rows) in sections {
        let _ = writeln!(text, "\n{}\n", section.introduction());
        text.push_str(HEAD);
        for row in rows {
            let Row { case, peer, unit, .. } = row;
            let Peer { name, lacks } = peer;
            let (limitry, peers) = (value(row.limitry, unit), value(row.peers, unit));
            let (ratio, target) = (ratio(row.ratio), row.verdict());
            let cells = [case.as_str(), name, lacks, &limitry, &peers, &ratio, &target];
            let _ = writeln!(text, "| {} |", cells.join(" | "));
        }
    }
    text
}

/// Where and with what the figures were made.
fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let processor = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let processor =
        processor.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let processor = processor.map_or("an unknown processor", |(_, name)| name.trim());
    let compiler = std::process::Command::new("rustc").arg("--version").output().ok();
    let compiler = compiler.and_then(|output| String::from_utf8(output.stdout).ok());
    let compiler = compiler.as_deref().map_or("an unknown compiler", str::trim);
    let day = chrono::Utc::now().date_naive();
    format!("One run on {day}, {cores} cores of {processor}, {compiler}. Read the ratios.")
}

fn value(value: f64, unit: &str) -> String {
    match unit {
        _ if value.is_nan() => "-".to_owned(),
        "ns" => spaced(&format!("{value:.0}")),
        "a second" => format!("{} {unit}", spaced(&format!("{value:.0}"))),
        _ if value.fract() == 0.0 => format!("{value:.0} {unit}"),
        _ => format!("{value:.1} {unit}"),
    }
}

fn ratio(value: f64) -> String {
    match value {
        value if value.is_nan() => "-".to_owned(),
        value if value < 0.0001 => format!("{value:.1e}"),
        value if value < 0.01 => format!("{value:.5}"),
        value => format!("{value:.2}"),
    }
}

/// `12345` as `12 345`.
pub fn grouped(number: usize) -> String {
    spaced(&number.to_string())
}

fn spaced(digits: &str) -> String {
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// The same rows with their quartiles.
pub fn json(sections: &[(Section, Vec<Row>)]) -> String {
    let rows: Vec<String> = sections.iter().flat_map(|(_, rows)| rows).map(json_row).collect();
    format!("[\n{}\n]\n", rows.join(",\n"))
}

fn json_row(row: &Row) -> String {
    let quartiles = row.quartiles.map_or("null".to_owned(), |quartiles| {
        format!("[{}]", quartiles.map(json_number).join(", "))
    });
    let target = row.target.map_or(f64::NAN, |target| match target {
        Target::AtMost(value) | Target::AtLeast(value) => value,
    });
    format!(
        "  {{\"case\": \"{}\", \"peer\": \"{}\", \"unit\": \"{}\", \"limitry\": {}, \
         \"peer_value\": {}, \"ratio\": {}, \"target\": {}, \"quartiles\": {quartiles}}}",
        row.case,
        row.peer.name,
        row.unit,
        json_number(row.limitry),
        json_number(row.peers),
        json_number(row.ratio),
        json_number(target),
    )
}

fn json_number(value: f64) -> String {
    if value.is_finite() { format!("{value:.6}") } else { "null".to_owned() }
}
