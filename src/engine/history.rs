//! What the ledger knows of the rules' use.

use crate::clock::Timestamp;
use crate::counters::{FIRST, History, Moment, Timeline, Used};
use crate::event::Dimension;
use crate::ledger::Ledger;
use crate::snapshot::{CompiledRule, Snapshot};
use crate::usage::{Figure, Question};

/// The recorded events, asked for what they have used of the rules of a snapshot.
#[derive(Debug)]
pub(super) struct Recorded<'e> {
    pub(super) ledger: &'e Ledger,
    pub(super) snapshot: &'e Snapshot,
    pub(super) timeline: Timeline,
}

impl History for Recorded<'_> {
    /// The same question as the rule's meter is asked, about one key: there is no answer where
    /// retention has taken some of the period.
    fn used(&self, rule: u32, start: i64, end: Option<i64>, values: &[&str]) -> Option<Used> {
        let rule = self.snapshot.rule(rule)?;
        let figure = Figure::of_measure(&rule.measure);
        let selector = figure.selector(pairs(rule, values));
        let end = end.map_or(Timestamp::MAX, |end| Timestamp::new(end, 0));
        let asked = Timestamp::new(start, 0).max(Timestamp::MIN)..end;
        let answer = self.ledger.ask(&Question {
            selector: &selector,
            ranges: std::slice::from_ref(&asked),
            folds: &figure.folds(),
            tells_all_apart: false,
        });
        if !answer.coverage(&asked).is_complete {
            return None;
        }
        let units = rule.measure.units_of(figure.value(&answer)?.ok()?);
        let latest = figure.latest(&answer);
        let latest = latest.map_or(Moment(0), |latest| {
            self.timeline.dated(self.timeline.moment(latest)).max(FIRST)
        });
        Some(Used { units, latest })
    }
}

/// What an event has that a rule counts for the key with these values of its partition.
fn pairs(rule: &CompiledRule, values: &[&str]) -> Vec<(Dimension, Box<str>)> {
    let key = rule.partition.iter().cloned().zip(values.iter().map(|value| Box::from(*value)));
    let mut pairs: Vec<_> = rule.filter.iter().cloned().chain(key).collect();
    pairs.sort();
    pairs.dedup();
    pairs
}
