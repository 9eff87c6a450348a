//! The report as plain text of at most 100 columns.

use std::fmt::Write;
use std::time::Duration;

use chrono::Timelike;
use limitry::usage::UsageTotals;

use crate::figures::{Bucket, Figures, Row};
use crate::words::{amount, compact, dollars, number, share, shortened};
use example_support::text::{Table, duration, grouped};

const CUSTOMERS_SHOWN: usize = 10;
/// Longer names would push a table over the edge.
const NAME_LETTERS_MAX: usize = 32;

/// The chart's bars stand in panels of six hours, one above the other.
const PANEL_COLUMNS: usize = 72;
const PANEL_ROWS: u128 = 6;
/// The width of a bar's place where there are few.
const PLACE_COLUMNS_MAX: usize = 6;
const LABEL_COLUMNS: usize = 6;

/// The whole report.
pub fn render(source: &str, figures: &Figures, recording: Duration) -> String {
    let total = &figures.totals;
    let customers = Row::top(&figures.customers, CUSTOMERS_SHOWN, "other customers");
    let mut sections = vec![
        render_head(source, figures),
        render_totals(total),
        render_rows("by model", &figures.models, total),
        render_rows("by customer", &customers, total),
    ];
    if !figures.services.is_empty() {
        sections.push(render_rows("by service", &figures.services, total));
    }
    sections.push(render_chart(figures));
    sections.push(render_meters(figures));
    sections.push(render_pace(total.total_events, recording, figures.answering));
    sections.join("\n")
}

fn render_head(source: &str, figures: &Figures) -> String {
    let (start, end) = (figures.span.start, figures.span.end);
    let shown = "%Y-%m-%d %H:%M";
    let mut text = format!(
        "limitry usage report: {source}\n{} to {} UTC\n",
        start.format(shown),
        end.format(shown),
    );
    for line in coverage(figures) {
        let _ = writeln!(text, "{line}");
    }
    text
}

/// What the answers cover, in a sentence each.
pub fn coverage(figures: &Figures) -> Vec<String> {
    let gaps = figures.gaps().map(|(answer, covers)| match (covers.start, covers.end) {
        (Some(start), Some(end)) if start < end => {
            format!("{answer}: only what is from {start} to {end} is kept")
        }
        _ => format!("{answer}: nothing of this time is kept any more"),
    });
    let gaps: Vec<_> = gaps.collect();
    if gaps.is_empty() { vec!["every answer covers all of this time".to_owned()] } else { gaps }
}

fn render_totals(total: &UsageTotals) -> String {
    let mut table = Table::new(1, &["total", ""]);
    let lines = [
        ("calls", grouped(total.total_events)),
        ("input tokens", number(total.total_input_tokens)),
        ("output tokens", number(total.total_output_tokens)),
        ("tokens", number(total.total_tokens)),
        ("cost", dollars(total.total_cost_cents)),
    ];
    for (name, figure) in lines {
        table.row([name.to_owned(), figure]);
    }
    table.to_string()
}

fn render_rows(title: &str, rows: &[Row], total: &UsageTotals) -> String {
    let heading = [title, "calls", "input tokens", "output tokens", "tokens", "share", "cost"];
    let mut table = Table::new(1, &heading);
    for Row { name, totals } in rows {
        table.row([
            shortened(name, NAME_LETTERS_MAX),
            grouped(totals.total_events),
            number(totals.total_input_tokens),
            number(totals.total_output_tokens),
            number(totals.total_tokens),
            share(totals.total_tokens, total.total_tokens),
            dollars(totals.total_cost_cents),
        ]);
    }
    table.to_string()
}

fn render_chart(figures: &Figures) -> String {
    let Some(peak) = figures.peak() else { return String::new() };
    let mut text = format!(
        "tokens by five minutes{}, at most {} from {} UTC\n",
        if figures.is_one_day() { "" } else { " of the day with most" },
        number(peak.tokens()),
        peak.start.format("%Y-%m-%d %H:%M"),
    );
    for panel in figures.buckets.chunks(PANEL_COLUMNS) {
        render_panel(&mut text, panel, figures.buckets.len(), peak.tokens());
    }
    if figures.buckets.iter().any(|bucket| !bucket.is_complete) {
        text.push_str("? marks five minutes that are not all kept\n");
    }
    text
}

/// Bars of up to six hours, with the hours below.
fn render_panel(text: &mut String, panel: &[Bucket], buckets: usize, peak: u128) {
    let place = (PANEL_COLUMNS / buckets.max(1)).clamp(1, PLACE_COLUMNS_MAX);
    let bar = if place > 2 { place - 1 } else { place };
    // Hours without a bar take a line.
    let is_empty = panel.iter().all(|bucket| bucket.is_complete && bucket.tokens() == 0);
    let rows = if is_empty { 1 } else { PANEL_ROWS };
    for row in (0..rows).rev() {
        let label = if row + 1 == PANEL_ROWS { compact(peak) } else { String::new() };
        let mut line = format!("{label:>LABEL_COLUMNS$} |");
        for bucket in panel {
            let cell = cell(bucket, row, peak);
            line.extend(std::iter::repeat_n(cell, bar));
            line.extend(std::iter::repeat_n(' ', place - bar));
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
    let _ = writeln!(text, "{:>LABEL_COLUMNS$} +{}", "0", "-".repeat(panel.len() * place));
    let _ = writeln!(text, "{:LABEL_COLUMNS$}  {}", "", hours(panel, place).trim_end());
}

/// What a bar shows in a row, counted from below: full, empty, or the eighths that it ends with.
/// A bar above zero is never invisible.
fn cell(bucket: &Bucket, row: u128, peak: u128) -> char {
    if row == 0 && !bucket.is_complete {
        return '?';
    }
    let eighths = (bucket.tokens() * PANEL_ROWS * 8).div_ceil(peak.max(1));
    match eighths.saturating_sub(row * 8).min(8) {
        0 => ' ',
        // The lower blocks follow each other, from one eighth to a full one.
        eighths => {
            u32::try_from(eighths).ok().and_then(|it| char::from_u32(0x2580 + it)).unwrap_or('#')
        }
    }
}

/// The times below the bars: as many as there is room for, at full hours where it is narrow.
fn hours(panel: &[Bucket], place: usize) -> String {
    const TIME_COLUMNS: usize = "00:00 ".len();
    let step_minutes = match place {
        1 => 60,
        2..PLACE_COLUMNS_MAX => 15,
        _ => 5,
    };
    let mut line = String::new();
    for (column, bucket) in panel.iter().enumerate().map(|(at, bucket)| (at * place, bucket)) {
        if bucket.start.minute().is_multiple_of(step_minutes) {
            let _ = write!(line, "{:column$}", "", column = column.saturating_sub(line.len()));
            let _ = write!(line, "{:<TIME_COLUMNS$}", bucket.start.format("%H:%M").to_string());
        }
    }
    line
}

fn render_meters(figures: &Figures) -> String {
    let mut table = Table::new(1, &["meter", ""]);
    for meter in &figures.meters {
        table.row([meter.meter_name.clone(), amount(meter.value)]);
    }
    table.to_string()
}

fn render_pace(calls: u64, recording: Duration, answering: Duration) -> String {
    let nanos = recording.as_nanos() / u128::from(calls.max(1));
    let each = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
    format!(
        "recording took {}, {} a call; all answers together took {}\n",
        duration(recording),
        duration(each),
        duration(answering),
    )
}
