//! Numbers and tables for people: grouped digits, short durations, aligned columns, sparklines.

use std::fmt::{self, Write};
use std::time::Duration;

/// `1234567` as `1,234,567`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A share of a whole, rounded to a tenth of a percent: `12.3%`; `-` of nothing.
pub fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "-".to_owned();
    }
    let (part, whole) = (u128::from(part), u128::from(whole));
    let tenths = (part * 1_000 + whole / 2) / whole;
    format!("{}.{}%", tenths / 10, tenths % 10)
}

/// A duration to about three digits: `480 ns`, `12.3 us`, `4.2 s`, `3 min 20 s`, `5 h 41 min`.
pub fn duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    let tenths = |unit: u128, name: &str| {
        let tenths = nanos * 10 / unit;
        match tenths % 10 {
            0 => format!("{} {name}", tenths / 10),
            tenth => format!("{}.{tenth} {name}", tenths / 10),
        }
    };
    match nanos {
        0..1_000 => format!("{nanos} ns"),
        1_000..1_000_000 => tenths(1_000, "us"),
        1_000_000..1_000_000_000 => tenths(1_000_000, "ms"),
        1_000_000_000..60_000_000_000 => tenths(1_000_000_000, "s"),
        _ => {
            let secs = duration.as_secs();
            let (large, small) = match secs {
                0..3_600 => ((60, "min"), (1, "s")),
                3_600..86_400 => ((3_600, "h"), (60, "min")),
                _ => ((86_400, "d"), (3_600, "h")),
            };
            let text = format!("{} {}", secs / large.0, large.1);
            match secs % large.0 / small.0 {
                0 => text,
                rest => format!("{text} {rest} {}", small.1),
            }
        }
    }
}

/// One bar for each value, the highest at full height. A value above zero is never invisible,
/// and zero is a dot.
pub fn sparkline(values: &[u64]) -> String {
    const BARS: [char; 9] = [
        '\u{b7}', '\u{2581}', '\u{2582}', '\u{2583}', '\u{2584}', '\u{2585}', '\u{2586}',
        '\u{2587}', '\u{2588}',
    ];
    let peak = u128::from(values.iter().copied().max().unwrap_or(0).max(1));
    let bar = |value: &u64| {
        let eighths = (u128::from(*value) * 8).div_ceil(peak);
        BARS.into_iter().nth(usize::try_from(eighths).unwrap_or(8)).unwrap_or(' ')
    };
    values.iter().map(bar).collect()
}

/// Rows under a heading. Columns are as wide as their widest cell; the columns of words are
/// aligned left, those of numbers right.
#[derive(Debug)]
pub struct Table {
    words: usize,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table whose first `words` columns hold words, and all others numbers.
    pub fn new(words: usize, heading: &[&str]) -> Self {
        Self { words, rows: vec![heading.iter().map(|&cell| cell.to_owned()).collect()] }
    }

    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    fn width(&self, column: usize) -> usize {
        let cells = self.rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns).map(|column| self.width(column)).collect();
        for row in &self.rows {
            let mut line = String::new();
            for (column, (cell, &width)) in row.iter().zip(&widths).enumerate() {
                let gap = if column == 0 { "" } else { "  " };
                if column < self.words {
                    write!(line, "{gap}{cell:<width$}")?;
                } else {
                    write!(line, "{gap}{cell:>width$}")?;
                }
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}
