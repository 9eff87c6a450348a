//! The report: what each model cost by day, and each team; as text and as a page.

use std::error::Error;
use std::fmt::{self, Write};

use example_support::text::{Table, grouped};
use limitry::usage::{Interval, UsageQuery};
use limitry::{Amount, Engine, Timestamp};

/// More models than there are.
const MOST: usize = 100;

/// A name, and costs in cents, the last of which is their sum.
type Row = (String, Vec<Amount>);

/// Tables of costs, each a heading and rows.
pub struct Report(Vec<(Vec<String>, Vec<Row>)>);

impl Report {
    pub fn new(engine: &Engine, start: Timestamp, end: Timestamp) -> Result<Self, Box<dyn Error>> {
        let query = UsageQuery::new(start, end);
        let usage = engine.usage();
        let by_day = usage.timeseries_by(&query, Interval::Day, "model", MOST)?;
        let days = by_day.series.first().into_iter().flat_map(|series| &series.points);
        let mut heading = vec!["model".to_owned()];
        heading.extend(days.map(|day| day.timestamp.to_string().chars().take(10).collect()));
        heading.push("total".to_owned());
        let models = by_day.series.into_iter().map(|series| {
            let days = series.points.iter().map(|day| day.totals.total_cost_cents);
            let costs = days.chain([series.totals.total_cost_cents]).collect();
            (series.dimension.unwrap_or_default(), costs)
        });
        let teams = usage
            .breakdown(&query, "team")?
            .rows
            .into_iter()
            .map(|row| (row.dimension.unwrap_or_default(), vec![row.totals.total_cost_cents]));
        let of_teams = ["team", "cost"].map(str::to_owned).to_vec();
        Ok(Self(vec![(heading, models.collect()), (of_teams, teams.collect())]))
    }

    /// A page of its own, without anything from elsewhere.
    pub fn html(&self) -> String {
        let mut page = "<!DOCTYPE html><meta charset=\"utf-8\"><title>Costs</title>\n\
            <style>td { text-align: right } table { margin: 2em }</style>\n"
            .to_owned();
        for (heading, rows) in &self.0 {
            let highest = rows.iter().filter_map(|(_, costs)| costs.last()).max();
            let highest = highest.map_or(0, |cents| cents.to_u64_ceil());
            let _ = writeln!(page, "<table><tr><th>{}", heading.join("<th>"));
            for (name, costs) in rows {
                // Models and teams are this program's own; others would have to be escaped.
                let _ = write!(page, "<tr><th>{name}");
                for cents in costs {
                    let _ = write!(page, "<td>{}", dollars(*cents));
                }
                let total = costs.last().map_or(0, |cents| cents.to_u64_ceil());
                let _ = writeln!(page, "<td><meter max={highest} value={total}></meter>");
            }
            page.push_str("</table>\n");
        }
        page
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (heading, rows) in &self.0 {
            let heading: Vec<&str> = heading.iter().map(String::as_str).collect();
            let mut table = Table::new(1, &heading);
            for (name, costs) in rows {
                table.row([name.clone()].into_iter().chain(costs.iter().copied().map(dollars)));
            }
            writeln!(f, "{table}")?;
        }
        Ok(())
    }
}

/// To the cent; the sums are exact to a millionth of one.
fn dollars(cents: Amount) -> String {
    let cents = cents.to_u64_floor();
    format!("${}.{:02}", grouped(cents / 100), cents % 100)
}
