//! What operators do, on an engine and on its oracle.

use super::bridge::Pair;
use super::oracle::{AdjustAnswer, Fault, OwnCalendar, PlainAdjust, PlainAdjusted, ceil_div};
use limitry::Amount;
use limitry::customer::Customer;
use limitry::errors::AdjustError;
use limitry::keys::{Adjust, AdjustmentQuery, RuleKey};

/// An amount of these tests.
fn amount(milli: i128) -> Amount {
    Amount::from_millionths(milli * 1_000)
}

fn key(of: &[(String, String)]) -> RuleKey {
    of.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect()
}

fn adjusted(asked: &PlainAdjust) -> Adjust {
    let adjust = match asked.amount {
        Some(milli) => Adjust::by(asked.rule.as_str(), key(&asked.key), amount(milli)),
        None => Adjust::reset(asked.rule.as_str(), key(&asked.key)),
    };
    match &asked.once {
        Some(once) => adjust.idempotency_key(once.as_str()),
        None => adjust,
    }
}

/// The thousandths of an amount, rounded down and up.
fn both(amount: Amount) -> (i128, i128) {
    let millionths = amount.millionths();
    (millionths.div_euclid(1_000), ceil_div(millionths, 1_000))
}

impl Pair {
    /// Adjusts a key of a rule, or lets it begin anew.
    pub fn adjust(&mut self, asked: &PlainAdjust) -> Result<AdjustAnswer, String> {
        let rules = self.engine.rules();
        let answer = match rules.apply(&adjusted(asked)) {
            Ok(made) => {
                let (lo, hi) = both(made.amount);
                Ok(PlainAdjusted { number: made.number, lo, hi })
            }
            Err(AdjustError::RuleNotFound { .. }) => Err(Fault::Unknown),
            Err(AdjustError::IdempotencyConflict { .. }) => Err(Fault::Conflict),
            Err(
                AdjustError::Key { .. }
                | AdjustError::Invalid { .. }
                | AdjustError::NotAdjustable { .. },
            ) => Err(Fault::BadEvent),
            Err(_) => Err(Fault::Other),
        };
        self.oracle.adjust(asked, &answer).map_err(|why| format!("{asked:?}: {why}"))?;
        if answer.is_ok() {
            let query = AdjustmentQuery::new().rule(asked.rule.as_str()).key(key(&asked.key));
            let page = rules.adjustments(&query.limit(100)).map_err(|why| why.to_string())?;
            let (count, lo, hi) = self.oracle.adjusted(&asked.rule, &asked.key);
            let (least, most) = both(page.total);
            if page.items.len() != count || least < lo || most > hi {
                return Err(format!("{asked:?} lists {page:?}, not {count} of {lo} to {hi}"));
            }
        }
        Ok(answer)
    }

    /// Gives a customer a zone and a date of its own, or neither, and attributes, or removes it
    /// where that is nothing; `false` where the oracle cannot say what that would do.
    pub fn set_customer(
        &mut self,
        customer: &str,
        own: OwnCalendar,
        attributes: &[(&str, &str)],
    ) -> Result<bool, String> {
        if !self.oracle.set_calendar(customer, own) {
            return Ok(false);
        }
        self.oracle.set_attributes(customer, attributes);
        let customers = self.engine.customers();
        if own == OwnCalendar::default() && attributes.is_empty() {
            return customers.remove(customer).map(|_| true).map_err(|why| why.to_string());
        }
        let mut set = Customer::new(customer);
        set.time_zone = own.zone.map(Into::into);
        set.billing_anchor = own.anchor;
        let set = attributes.iter().fold(set, |set, (key, value)| set.metadata(*key, *value));
        customers.upsert(set).map_err(|why| why.to_string())?;
        Ok(true)
    }

    pub fn set_archived(&mut self, id: &str, archived: bool) -> Result<(), String> {
        let rules = self.engine.rules();
        let done = if archived { rules.archive(id) } else { rules.restore(id) };
        done.map_err(|why| format!("archived {archived}: {why}"))?;
        self.oracle.set_archived(id, archived);
        self.same_rules()
    }

    /// The lists of rules and of archived ones are what they should be, by their ids.
    fn same_rules(&self) -> Result<(), String> {
        let rules = self.engine.rules();
        let due = |archived: bool| {
            let of = self.oracle.rules().filter(|rule| rule.archived == archived);
            let mut ids: Vec<String> = of.map(|rule| rule.id.clone()).collect();
            ids.sort();
            ids
        };
        for (archived, listed) in [(false, rules.list()), (true, rules.archived())] {
            let mut ids: Vec<String> =
                listed.iter().filter_map(|rule| rule.id()).map(str::to_owned).collect();
            ids.sort();
            if ids != due(archived) {
                return Err(format!("{ids:?} are listed where archived is {archived}"));
            }
        }
        Ok(())
    }
}
