//! Rows of the table, as markdown for the README and as JSON for machines.

use std::fmt::Write as _;

/// A ratio that a case is to reach.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    AtMost(f64),
    AtLeast(f64),
}

/// One line of the table. `unit` stands behind the two figures.
#[derive(Debug)]
pub struct Row {
    pub case: String,
    pub peer_name: &'static str,
    pub unit: &'static str,
    pub limitry: f64,
    pub peer: f64,
    pub ratio: f64,
    pub target: Option<Target>,
    /// First and third quartile of the rounds: limitry's, then the peer's.
    pub quartiles: Option<[f64; 4]>,
}

impl Row {
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

/// The table, and under it what its ratios mean.
pub fn markdown(rows: &[Row]) -> String {
    let mut text = String::from(
        "| case | peer | limitry ns | peer ns | ratio | target |\n|---|---|--:|--:|--:|--:|\n",
    );
    for row in rows {
        let Row { case, peer_name, unit, .. } = row;
        let (limitry, peer) = (figure(row.limitry, unit), figure(row.peer, unit));
        let (ratio, target) = (ratio(row.ratio), row.verdict());
        let _ =
            writeln!(text, "| {case} | {peer_name} | {limitry} | {peer} | {ratio} | {target} |");
    }
    text
}

fn figure(value: f64, unit: &str) -> String {
    match unit {
        _ if value.is_nan() => "-".to_owned(),
        "ns" => spaced(&format!("{value:.0}")),
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
pub fn json(rows: &[Row]) -> String {
    let rows: Vec<String> = rows.iter().map(json_row).collect();
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
        row.peer_name,
        row.unit,
        json_number(row.limitry),
        json_number(row.peer),
        json_number(row.ratio),
        json_number(target),
    )
}

fn json_number(value: f64) -> String {
    if value.is_finite() { format!("{value:.6}") } else { "null".to_owned() }
}
