//! The report of a simulation as text.

use std::fmt;

use super::report::{Demand, SimulatedRule, SimulationReport, StartsFrom};
use super::suggest::Suggestion;
use crate::base::amount::Amount;
use crate::rules::Enforcement;

/// A summary, a table of the rules, and one of the keys of each rule that were refused.
impl fmt::Display for SimulationReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let calls = &self.calls;
        write!(f, "{} calls", calls.calls)?;
        if let (Some(first), Some(last)) = (self.first, self.last) {
            write!(f, ", {first} to {last}")?;
        }
        let share = Percent(calls.refused, calls.calls);
        writeln!(f, ": {} would have been refused ({share})", calls.refused)?;
        if calls.calls > calls.unknown {
            let (refused, newly) = (calls.was_refused, calls.newly_refused);
            write!(f, "{refused} were refused; {newly} would have been that were let in, ")?;
            writeln!(f, "{} let in that were refused", calls.newly_let_in)?;
        }
        let (refused, customers) = (self.refused_customers, self.customers);
        writeln!(f, "{refused} of {customers} customers would have been refused a call")?;
        for note in self.notes() {
            writeln!(f, "note: {note}")?;
        }
        let mut table = Table::new(&[
            "rule",
            "kind",
            "limit",
            "calls",
            "refused",
            "over",
            "share",
            "keys",
            "refused or over",
        ]);
        self.rules.iter().for_each(|rule| table.row(rule.cells()));
        write!(f, "\n{table}")?;
        self.rules.iter().filter(|rule| !rule.worst.is_empty()).try_for_each(|rule| {
            let what = if rule.enforcement == Enforcement::Hard { "refused" } else { "over" };
            let heading = format!("keys of {}", rule.name);
            let mut table = Table::new(&[&heading, "calls", what, "share", "were refused"]);
            for key in &rule.worst {
                table.row(vec![
                    key.key.to_string(),
                    key.calls.to_string(),
                    key.exceeded.to_string(),
                    Percent(key.exceeded, key.calls).to_string(),
                    key.was_refused.to_string(),
                ]);
            }
            let others = &rule.others;
            if others.keys > 0 {
                table.row(vec![
                    format!("{} others", others.keys),
                    others.calls.to_string(),
                    others.exceeded.to_string(),
                    Percent(others.exceeded, others.calls).to_string(),
                ]);
            }
            write!(f, "\n{table}")
        })
    }
}

impl SimulationReport {
    /// What the figures lack.
    fn notes(&self) -> impl Iterator<Item = String> {
        let let_in = "refused calls are not known: what is let in is all the demand there is";
        let notes = [
            match (self.demand, self.refused_since) {
                (Demand::LetIn, _) => Some(let_in.to_owned()),
                (Demand::WithRefused, None) => Some("no refused call is kept".to_owned()),
                (Demand::WithRefused, Some(since)) => {
                    Some(format!("refused calls are known from {since} on"))
                }
                (Demand::Given, _) => None,
            },
            self.since.map(|since| format!("events from {since} on are replayed")),
            (self.unjudged > 0).then(|| {
                let because = self.unjudged_because.as_deref().unwrap_or_default();
                format!("{} calls could not be judged, the first: {because}", self.unjudged)
            }),
            self.is_cut_short.then(|| "there are more keys than are told apart".to_owned()),
        ];
        let of_rules = self.rules.iter().filter_map(|rule| {
            let name = &rule.name;
            if rule.left_out {
                return Some(format!("{name:?} is left out: reservations are not replayed"));
            }
            let is_partial = rule.starts_from == StartsFrom::Partial;
            is_partial.then(|| {
                format!("the first period of {name:?} is partial: not all use before is known")
            })
        });
        notes.into_iter().flatten().chain(of_rules)
    }
}

impl SimulatedRule {
    fn cells(&self) -> Vec<String> {
        let is_hard = self.enforcement == Enforcement::Hard;
        let exceeded = self.exceeded.to_string();
        let (refused, over) =
            if is_hard { (exceeded, String::new()) } else { (String::new(), exceeded) };
        vec![
            self.name.clone(),
            self.kind.clone(),
            self.limit.map_or_else(|| "none".to_owned(), |limit: Amount| limit.to_string()),
            self.calls.to_string(),
            refused,
            over,
            Percent(self.exceeded, self.calls).to_string(),
            self.keys.to_string(),
            self.exceeded_keys.to_string(),
        ]
    }
}

/// One line: the limit, and what it refuses.
impl fmt::Display for Suggestion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let report = &self.report;
        match self.limit {
            Some(limit) => write!(f, "a limit of {limit} refuses ")?,
            None => f.write_str("no limit does: the largest refuses ")?,
        }
        let (refused, calls) = (report.calls.refused, report.calls.calls);
        write!(f, "{refused} of {calls} calls ({})", Percent(refused, calls))?;
        let (refused, customers) = (report.refused_customers, report.customers);
        write!(f, " and {refused} of {customers} customers ({})", Percent(refused, customers))
    }
}

/// A share of a whole, rounded to a tenth of a percent; `-` of nothing.
struct Percent(u64, u64);

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (part, whole) = (u128::from(self.0), u128::from(self.1));
        let rounded = part.saturating_mul(1_000).saturating_add(whole.div_euclid(2));
        let Some(tenths) = rounded.checked_div(whole) else { return f.pad("-") };
        f.pad(&format!("{}.{} %", tenths.div_euclid(10), tenths.rem_euclid(10)))
    }
}

/// Rows under a heading: the first column to the left, all others to the right.
struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    fn new(heading: &[&str]) -> Self {
        Self { rows: vec![heading.iter().map(|cell| (*cell).to_owned()).collect()] }
    }

    fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    fn width(&self, column: usize) -> usize {
        let cells = self.rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.first().map_or(0, Vec::len);
        let widths: Vec<usize> = (0..columns).map(|column| self.width(column)).collect();
        self.rows.iter().try_for_each(|row| {
            let mut line = String::new();
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                let text = if column == 0 {
                    format!("{cell:<width$}")
                } else {
                    format!("  {cell:>width$}")
                };
                line.push_str(&text);
            }
            writeln!(f, "{}", line.trim_end())
        })
    }
}
