//! The report as one page: everything is in it, and it asks no network.

use std::error::Error;
use std::fmt::{self, Display, Formatter, Write};

use crate::charts::{self, Paint, Part};
use crate::figures::{Bucket, Figures, Row};
use crate::terminal;
use crate::words::{amount, dollars, number, share};
use example_support::text::grouped;

const CUSTOMERS_SHOWN: usize = 10;
/// More bars are no chart any more; the table below has the same rows.
const BARS_MAX: usize = 12;
const COLUMNS_HEIGHT: u32 = 300;
const CALLS_HEIGHT: u32 = 170;

/// Text of the traffic, which is not trusted to be no mark-up.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|letter| match letter {
            '&' => f.write_str("&amp;"),
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '"' => f.write_str("&quot;"),
            '\'' => f.write_str("&#39;"),
            _ => f.write_char(letter),
        })
    }
}

/// The whole page.
///
/// # Errors
/// A chart cannot be drawn.
pub fn render(source: &str, figures: &Figures) -> Result<String, Box<dyn Error>> {
    let mut page = String::new();
    write_head(&mut page)?;
    write_title(&mut page, source, figures)?;
    write_cards(&mut page, figures)?;
    write_columns(&mut page, figures)?;
    write_breakdown(&mut page, "By model", &figures.models, figures)?;
    let customers = Row::top(&figures.customers, CUSTOMERS_SHOWN, "other customers");
    section(&mut page, "By customer", "most tokens first", |page| {
        write_table(page, "customer", &customers, figures)
    })?;
    if !figures.services.is_empty() {
        write_breakdown(&mut page, "By service", &figures.services, figures)?;
    }
    page.push_str(
        "<footer>Made by limitry's example usage_report. Customers, models and prices are drawn \
         or made up; calls, times and tokens are those of the traffic.</footer>\n\
         </main></body></html>\n",
    );
    Ok(page)
}

/// Everything before the page's own words. The policy lets the page load nothing at all.
fn write_head(page: &mut String) -> fmt::Result {
    page.push_str(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" \
         content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>Usage report</title>\n<style>\n",
    );
    page.push_str(include_str!("page.css"));
    for (paint, hex) in Paint::ALL.map(|paint| (paint.name(), paint.hex())) {
        writeln!(page, "svg [fill=\"{hex}\"] {{ fill: var(--{paint}); }}")?;
        writeln!(page, "svg [stroke=\"{hex}\"] {{ stroke: var(--{paint}); }}")?;
    }
    page.push_str("</style></head>\n<body><main>\n");
    Ok(())
}

fn write_title(page: &mut String, source: &str, figures: &Figures) -> fmt::Result {
    let (start, end) = (figures.span.start, figures.span.end);
    writeln!(
        page,
        "<h1>Usage report</h1>\n<p>{}</p>\n<p>{} to {} UTC</p>",
        Escaped(source),
        start.format("%A, %-d %B %Y, %H:%M"),
        if start.date_naive() == end.date_naive() {
            end.format("%H:%M")
        } else {
            end.format("%A, %-d %B %Y, %H:%M")
        },
    )?;
    let class = if figures.gaps().next().is_some() { " class=\"gap\"" } else { "" };
    for line in terminal::coverage(figures) {
        writeln!(page, "<p{class}>{}</p>", Escaped(&line))?;
    }
    Ok(())
}

fn write_cards(page: &mut String, figures: &Figures) -> fmt::Result {
    let total = &figures.totals;
    let peak = figures.peak().map_or(0, Bucket::tokens);
    let totals = [
        ("Calls", grouped(total.total_events)),
        ("Tokens", number(total.total_tokens)),
        ("Input tokens", number(total.total_input_tokens)),
        ("Output tokens", number(total.total_output_tokens)),
        ("Cost", dollars(total.total_cost_cents)),
        ("Peak 5 minutes, tokens", number(peak)),
    ];
    let totals = totals.map(|(name, figure)| (name.to_owned(), figure)).into_iter();
    let meters = figures.meters.iter().map(|meter| (meter.meter_name.clone(), amount(meter.value)));
    page.push_str("<div class=\"cards\">\n");
    for (name, figure) in totals.chain(meters) {
        writeln!(page, "<div class=\"card\"><b>{figure}</b><span>{}</span></div>", Escaped(&name))?;
    }
    page.push_str("</div>\n");
    Ok(())
}

fn write_columns(page: &mut String, figures: &Figures) -> Result<(), Box<dyn Error>> {
    let Some(peak) = figures.peak() else { return Ok(()) };
    let is_complete = figures.buckets.iter().all(|bucket| bucket.is_complete);
    let note = format!(
        "{}at most {} tokens, from {} UTC{}",
        if figures.is_one_day() { "" } else { "the day with most tokens; " },
        number(peak.tokens()),
        peak.start.format("%Y-%m-%d %H:%M"),
        if is_complete { "" } else { "; grey is what is not all kept" },
    );
    let tokens: [Part; 2] = [
        (Paint::Input, |bucket| bucket.input_tokens),
        (Paint::Output, |bucket| bucket.output_tokens),
    ];
    let tokens = charts::columns(&figures.buckets, COLUMNS_HEIGHT, &tokens)?;
    let calls: [Part; 1] = [(Paint::Calls, |bucket| bucket.calls.into())];
    let calls = charts::columns(&figures.buckets, CALLS_HEIGHT, &calls)?;
    section(page, "Tokens by five minutes", &note, |page| {
        write_chart(page, "Tokens in and out by five minutes", &tokens, &IN_AND_OUT)?;
        write_bucket_table(page, &figures.buckets)
    })?;
    section(page, "Calls by five minutes", "", |page| {
        write_chart(page, "Calls by five minutes", &calls, &[])
    })?;
    Ok(())
}

/// A chart of the rows, and their table.
fn write_breakdown(
    page: &mut String,
    title: &str,
    rows: &[Row],
    figures: &Figures,
) -> Result<(), Box<dyn Error>> {
    let shown = Row::top(rows, BARS_MAX, "others");
    let chart = charts::bars(&shown, figures.totals.total_tokens)?;
    section(page, title, "", |page| {
        write_chart(page, &format!("Tokens {}", title.to_lowercase()), &chart, &IN_AND_OUT)?;
        write_table(page, "", &shown, figures)
    })?;
    Ok(())
}

fn section(
    page: &mut String,
    title: &str,
    note: &str,
    body: impl FnOnce(&mut String) -> fmt::Result,
) -> fmt::Result {
    writeln!(page, "<section><h2>{}</h2>", Escaped(title))?;
    if !note.is_empty() {
        writeln!(page, "<p>{}</p>", Escaped(note))?;
    }
    body(page)?;
    page.push_str("</section>\n");
    Ok(())
}

const IN_AND_OUT: [(Paint, &str); 2] = [(Paint::Input, "input"), (Paint::Output, "output")];

/// A chart with what it shows for those who cannot see it, and with its colours' meanings.
fn write_chart(page: &mut String, label: &str, svg: &str, legend: &[(Paint, &str)]) -> fmt::Result {
    if !legend.is_empty() {
        page.push_str("<div class=\"legend\">");
        for (paint, meaning) in legend {
            write!(page, "<i style=\"background:var(--{})\"></i>{meaning}", paint.name())?;
        }
        page.push_str("</div>\n");
    }
    writeln!(page, "<div class=\"wide\" role=\"img\" aria-label=\"{}\">", Escaped(label))?;
    page.push_str(svg);
    page.push_str("</div>\n");
    Ok(())
}

fn write_table(page: &mut String, of: &str, rows: &[Row], figures: &Figures) -> fmt::Result {
    write!(
        page,
        "<div class=\"wide\"><table><thead><tr><th>{of}</th><th>calls</th><th>input tokens</th>\
         <th>output tokens</th><th>tokens</th><th>share</th><th>cost</th></tr></thead>\n<tbody>\n",
    )?;
    for Row { name, totals } in rows {
        let part = share(totals.total_tokens, figures.totals.total_tokens);
        writeln!(
            page,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td>\
             <td class=\"share\" style=\"--part:{part}\">{part}</td><td>{}</td></tr>",
            Escaped(name),
            grouped(totals.total_events),
            number(totals.total_input_tokens),
            number(totals.total_output_tokens),
            number(totals.total_tokens),
            dollars(totals.total_cost_cents),
        )?;
    }
    page.push_str("</tbody></table></div>\n");
    Ok(())
}

/// The figures of the charts, for those who want to read or copy them.
fn write_bucket_table(page: &mut String, buckets: &[Bucket]) -> fmt::Result {
    page.push_str(
        "<details><summary>The figures</summary><div class=\"wide\"><table><thead><tr>\
         <th>from, UTC</th><th>calls</th><th>input tokens</th><th>output tokens</th></tr></thead>\n\
         <tbody>\n",
    );
    for bucket in buckets {
        writeln!(
            page,
            "<tr><td>{}{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            bucket.start.format("%Y-%m-%d %H:%M"),
            if bucket.is_complete { "" } else { ", not all kept" },
            grouped(bucket.calls),
            number(bucket.input_tokens),
            number(bucket.output_tokens),
        )?;
    }
    page.push_str("</tbody></table></div></details>\n");
    Ok(())
}
