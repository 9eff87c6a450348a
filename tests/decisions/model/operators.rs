//! What operators do in a run: adjust, let begin anew, archive and restore.

use super::steps::plain_event;
use super::{Run, chosen};
use crate::support::oracle::{OwnCalendar, PlainAdjust, PlainEvent};
use chrono::NaiveDate;
use limitry::time::Tz;
use proptest::prelude::*;
use proptest::sample::select;

#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "a test has few of them")]
pub(crate) enum Operate {
    /// Adds an amount in thousandths to what a rule's key has used, or lets it begin anew; the key
    /// is that of an event.
    Adjust { which: usize, of: PlainEvent, amount: Option<i64>, once: Option<&'static str> },
    /// Archives a rule, or brings it back.
    Archive(usize),
    /// Gives a customer a zone and a date, or none, and a plan, or none.
    Customer(&'static str, OwnCalendar, Option<&'static str>),
}

impl Run<'_> {
    pub(super) fn operate(&mut self, what: &Operate) -> Result<(), String> {
        match what {
            Operate::Adjust { which, of, amount, once } => {
                let Some(rule) = self.chosen_rule(*which) else { return Ok(()) };
                let amount = amount.map(i128::from);
                let value = |key: &String| {
                    let value = self.pair.oracle.value(&rule, of, key);
                    value.map(|value| (key.clone(), value))
                };
                let key = rule.per.iter().filter_map(value).collect();
                let (rule, once) = (rule.id, once.map(str::to_owned));
                let is_reset = amount.is_none();
                let answer = self.pair.adjust(&PlainAdjust { rule, key, amount, once })?;
                self.meet(match answer {
                    Ok(_) if is_reset => "reset",
                    Ok(_) => "adjusted",
                    Err(_) => "not adjusted",
                });
                // A rolling quota begins anew a nanosecond after all that came before.
                self.pair.advance(1);
                self.same_time()?;
                self.stands(of)
            }
            Operate::Customer(customer, own, plan) => {
                let attributes: Vec<_> = plan.iter().map(|plan| ("plan", *plan)).collect();
                if self.pair.set_customer(customer, *own, &attributes)? {
                    let is_known = *own != OwnCalendar::default() || plan.is_some();
                    self.meet(if is_known { "calendar" } else { "customer removed" });
                }
                if self.pair.oracle.has_attributes(customer) {
                    self.meet("attribute");
                }
                self.stands(&PlainEvent::new(customer, "call"))
            }
            Operate::Archive(which) => {
                let all: Vec<_> = self.pair.oracle.rules().cloned().collect();
                // Mostly the archived ones, so that they come back.
                let archived: Vec<_> = all.iter().filter(|rule| rule.archived).cloned().collect();
                let from = if archived.is_empty() || which % 4 == 0 { &all } else { &archived };
                let Some(rule) = chosen(from, *which / 4) else { return Ok(()) };
                self.meet(if rule.archived { "restored" } else { "archived" });
                self.pair.set_archived(&rule.id, !rule.archived)
            }
        }
    }
}

pub(super) fn operate() -> impl Strategy<Value = Operate> {
    let amount = prop_oneof![
        4 => Just(None),
        6 => (-30_i64..30).prop_map(|whole| Some(whole * 1_000)),
        1 => (-3_000_i64..3_000).prop_map(Some),
        1 => select(vec![0, 1_000_000_000_000_000_000, -1_000_000_000_000_000_000]).prop_map(Some),
    ];
    let plan = proptest::option::weighted(0.7, select(vec!["pro", "free"]));
    let once = proptest::option::weighted(0.2, select(vec!["a1", "a2"]));
    prop_oneof![
        3 => (any::<usize>(), plain_event(), amount, once)
            .prop_map(|(which, of, amount, once)| Operate::Adjust { which, of, amount, once }),
        2 => any::<usize>().prop_map(Operate::Archive),
        2 => (select(vec!["ann", "bob"]), own_calendar(), plan)
            .prop_map(|(customer, own, plan)| Operate::Customer(customer, own, plan)),
    ]
}

fn own_calendar() -> impl Strategy<Value = OwnCalendar> {
    let zones = vec![None, Some(Tz::America__New_York), Some(Tz::Europe__Berlin)];
    let date = |month, day| NaiveDate::from_ymd_opt(2024, month, day);
    let dates = vec![None, date(1, 31), date(5, 15)];
    (select(zones), select(dates)).prop_map(|(zone, anchor)| OwnCalendar { zone, anchor })
}
