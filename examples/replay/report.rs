//! Puts the tally into words and columns.

use std::time::Duration;

use chrono::TimeDelta;

use crate::drive::Pace;
use crate::rules;
use crate::tally::{Span, Sums, Tally, Timeline, Waits};
use example_support::cast::{Cast, MODELS};
use example_support::text::{Table, duration, grouped, percent, sparkline};

const CUSTOMERS_SHOWN: usize = 10;

/// The whole report.
pub fn render(source: &str, cast: &Cast, tally: &Tally, pace: &Pace) -> String {
    let sections = [
        render_head(source, tally),
        render_total(&tally.total),
        render_timeline(&tally.timeline),
        render_rules(tally),
        render_models(tally),
        render_customers(cast, tally),
        render_waits(&tally.waits),
        render_pace(pace),
    ];
    sections.join("\n")
}

fn render_head(source: &str, tally: &Tally) -> String {
    let (span, total) = (tally.timeline.span, tally.total.total());
    format!(
        "limitry replay: {source}\n{} to {} UTC, {} input and {} output tokens\n",
        span.first.format("%Y-%m-%d %H:%M:%S"),
        span.last.format("%Y-%m-%d %H:%M:%S"),
        grouped(total.input_tokens),
        grouped(total.output_tokens),
    )
}

fn render_total(sums: &Sums) -> String {
    let total = sums.total();
    let mut table = Table::new(1, &["", "calls", "share", "tokens", "share"]);
    for (name, sum) in [("admitted", sums.admitted), ("refused", sums.refused)] {
        table.row([
            name.to_owned(),
            grouped(sum.calls),
            percent(sum.calls, total.calls),
            grouped(sum.tokens()),
            percent(sum.tokens(), total.tokens()),
        ]);
    }
    let (calls, tokens) = (grouped(total.calls), grouped(total.tokens()));
    table.row(["total".to_owned(), calls, String::new(), tokens, String::new()]);
    table.to_string()
}

fn render_timeline(timeline: &Timeline) -> String {
    let admitted: Vec<u64> = timeline.columns.iter().map(|c| c.admitted.calls).collect();
    let refused: Vec<u64> = timeline.columns.iter().map(|c| c.refused.calls).collect();
    let peak = |calls: &[u64]| grouped(calls.iter().copied().max().unwrap_or(0));
    let Span { first, last } = timeline.span;
    let label = if last - first < TimeDelta::days(1) { "%H:%M" } else { "%m-%d" };
    // Each time has five letters, and the last one ends where the bars do, if there is room.
    let (first, last) = (first.format(label).to_string(), last.format(label).to_string());
    let axis = match timeline.columns.len().checked_sub("00:00 00:00".len()) {
        Some(gap) => format!("{first} {:gap$}{last}", ""),
        None => first,
    };
    format!(
        "calls over time, {} a column, each line on a scale of its own\n\
         admitted  {}  peak {}\n\
         refused   {}  peak {}\n          {axis}\n",
        duration(timeline.column_length()),
        sparkline(&admitted),
        peak(&admitted),
        sparkline(&refused),
        peak(&refused),
    )
}

fn render_rules(tally: &Tally) -> String {
    let heading = ["by rule", "", "matched", "refused", "share", "admitted", "tokens admitted"];
    let mut table = Table::new(2, &heading);
    for rule in &tally.rules {
        let is_shadow = rules::SHADOWS.contains(&rule.name);
        table.row([
            rule.name.to_owned(),
            if is_shadow { "shadow".to_owned() } else { String::new() },
            grouped(rule.matched.calls),
            grouped(rule.refused.calls),
            percent(rule.refused.calls, rule.matched.calls),
            grouped(rule.admitted.calls),
            grouped(rule.admitted.tokens()),
        ]);
    }
    let note = "A call may be refused by several rules; a shadow rule only says what it would do.";
    format!("{table}{note}\n")
}

fn render_models(tally: &Tally) -> String {
    let heading = ["by model", "calls", "tokens", "admitted", "refused", "share"];
    let mut table = Table::new(1, &heading);
    for (model, sums) in MODELS.iter().zip(&tally.models) {
        let name = [model.name.to_owned()];
        table.row(name.into_iter().chain(sums_cells(sums)));
    }
    table.to_string()
}

fn render_customers(cast: &Cast, tally: &Tally) -> String {
    let heading =
        ["top ten customers", "plan", "team", "calls", "tokens", "admitted", "refused", "share"];
    let mut table = Table::new(3, &heading);
    let mut customers: Vec<_> = cast.customers.iter().zip(&tally.customers).collect();
    customers.retain(|(_, sums)| sums.total().calls > 0);
    customers.sort_by_key(|(_, sums)| std::cmp::Reverse(sums.total().calls));
    for (customer, sums) in customers.into_iter().take(CUSTOMERS_SHOWN) {
        let who = [customer.id.clone(), customer.plan.to_owned(), customer.team.clone()];
        table.row(who.into_iter().chain(sums_cells(sums)));
    }
    table.to_string()
}

fn sums_cells(sums: &Sums) -> [String; 5] {
    let total = sums.total();
    [
        grouped(total.calls),
        grouped(total.tokens()),
        grouped(sums.admitted.calls),
        grouped(sums.refused.calls),
        percent(sums.refused.calls, total.calls),
    ]
}

fn render_waits(waits: &Waits) -> String {
    let never = grouped(waits.never);
    if waits.told() == 0 {
        return format!("wait told to the refused: nobody was told one; never {never}\n");
    }
    let told = |quantile| duration(waits.quantile(quantile));
    let (median, p90, max) = (told(0.5), told(0.9), duration(waits.max));
    format!("wait told to the refused: median {median}, p90 {p90}, max {max}; never {never}\n")
}

fn render_pace(pace: &Pace) -> String {
    let nanos = &pace.latency_nanos;
    let at = |quantile| duration(Duration::from_nanos(nanos.value_at_quantile(quantile)));
    format!(
        "{} decisions a second on one thread, recording included\n\
         a decision took: p50 {}, p90 {}, p99 {}, p99.9 {}, max {}\n\
         (each with about {} for reading the clock, which the rate leaves out)\n",
        grouped(pace.decisions_per_second()),
        at(0.5),
        at(0.9),
        at(0.99),
        at(0.999),
        duration(Duration::from_nanos(nanos.max())),
        duration(pace.clock_overhead),
    )
}
