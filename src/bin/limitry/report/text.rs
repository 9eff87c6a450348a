//! A report as text.

use std::fmt::Write;

use limitry::Amount;

use super::{Figures, Row, Totals};
use crate::Failure;

/// As many letters of a name are shown.
const NAME: usize = 32;

/// An amount of cents as dollars, to the cent below.
pub(super) fn dollars(cents: Amount) -> String {
    let millionths = cents.millionths();
    let (sign, size) = (if millionths < 0 { "-" } else { "" }, millionths.unsigned_abs());
    let cents = size.div_euclid(1_000_000);
    format!("{sign}${}.{:02}", cents.div_euclid(100), cents.rem_euclid(100))
}

/// A name without what could move a terminal's cursor, and not too long.
pub(crate) fn plain(name: &str, letters: usize) -> String {
    let shown: String =
        name.chars().map(|letter| if letter.is_control() { '?' } else { letter }).collect();
    if shown.chars().count() <= letters {
        return shown;
    }
    shown.chars().take(letters.saturating_sub(2)).chain("..".chars()).collect()
}

fn head(text: &mut String, what: &str) -> std::fmt::Result {
    writeln!(text, "\n{what:<NAME$} {:>10} {:>14} {:>12}", "events", "tokens", "cost")
}

fn row(text: &mut String, name: &str, totals: &Totals) -> std::fmt::Result {
    let name = plain(name, NAME);
    let Totals { total_events, total_tokens, total_cost_cents, .. } = totals;
    let cost = dollars(*total_cost_cents);
    writeln!(text, "{name:<NAME$} {total_events:>10} {total_tokens:>14} {cost:>12}")
}

/// The whole report.
pub(super) fn text(figures: &Figures) -> Result<String, Failure> {
    let Figures { of, start, end, totals, interval, series, by } = figures;
    let mut text = format!("{of}\n{start} to {end}\n");
    head(&mut text, "")?;
    row(&mut text, "all", totals)?;
    for of in by {
        head(&mut text, of.called)?;
        for Row { dimension, totals } in &of.rows {
            row(&mut text, dimension.as_deref().unwrap_or_default(), totals)?;
        }
    }
    let used = series.iter().filter(|point| point.totals.total_events > 0);
    head(&mut text, &format!("by {interval}"))?;
    for Row { dimension, totals } in used {
        row(&mut text, dimension.as_deref().unwrap_or_default(), totals)?;
    }
    Ok(text)
}
