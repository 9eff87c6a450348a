//! A report as one page: everything is in it, it asks no network and runs no script. What is drawn
//! are `meter` elements, which say their figure to whoever does not see them.

use std::fmt::{self, Display, Formatter, Write};

use super::text::dollars;
use super::{Figures, Row, Totals};
use crate::Failure;

const STYLE: &str = include_str!("page.css");

/// Text of customers, which is not trusted to be no mark-up.
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

fn table(page: &mut String, called: &str, rows: &[Row]) -> fmt::Result {
    let most = rows.iter().map(|row| row.totals.total_tokens).max().unwrap_or(0).max(1);
    write!(
        page,
        "<table><caption>{called}</caption><thead><tr><th scope=\"col\">name</th>\
         <th scope=\"col\">events</th><th scope=\"col\">tokens</th><th scope=\"col\">cost</th>\
         <th scope=\"col\">tokens beside the most</th></tr></thead><tbody>"
    )?;
    for Row { dimension, totals } in rows {
        let Totals { total_events, total_tokens, total_cost_cents, .. } = totals;
        write!(
            page,
            "<tr><th scope=\"row\">{}</th><td>{total_events}</td><td>{total_tokens}</td>\
             <td>{}</td><td><meter max=\"{most}\" value=\"{total_tokens}\">{total_tokens}</meter>\
             </td></tr>",
            Escaped(dimension.as_deref().unwrap_or_default()),
            dollars(*total_cost_cents),
        )?;
    }
    writeln!(page, "</tbody></table>")
}

/// The whole page.
pub(super) fn page(figures: &Figures) -> Result<String, Failure> {
    let Figures { of, start, end, totals, interval, series, by } = figures;
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta http-equiv=\"Content-Security-Policy\" \
         content=\"default-src 'none'; style-src 'unsafe-inline'\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>Usage: {name}</title>\
         <style>\n{STYLE}</style></head>\n<body><main><h1>Usage</h1>\
         <p>{name}, {start} to {end}</p>\n",
        name = Escaped(of)
    );
    let Totals { total_events, total_tokens, total_cost_cents, .. } = totals;
    writeln!(
        page,
        "<dl><dt>events</dt><dd>{total_events}</dd><dt>tokens</dt><dd>{total_tokens}</dd>\
         <dt>of them in</dt><dd>{}</dd><dt>out</dt><dd>{}</dd><dt>cost</dt><dd>{}</dd></dl>",
        totals.total_input_tokens,
        totals.total_output_tokens,
        dollars(*total_cost_cents),
    )?;
    for of in by {
        table(&mut page, of.called, &of.rows)?;
    }
    table(&mut page, &format!("by {interval}"), series)?;
    page.push_str("</main></body></html>\n");
    Ok(page)
}
