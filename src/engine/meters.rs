//! Changing the meters while other threads decide.

use std::sync::Arc;

use super::Engine;
use super::manage::{Change, not_found};
use crate::engine::RulesError;
use crate::rules::{Meter, MeterUpdate, Metric, fill_ids, rule_label};

const KIND: &str = "meter";

impl Engine {
    /// Adds a meter and returns it as it now is, with its id. O(rules + meters), and for one that
    /// needs more than the roll-ups had (`max`, `min`, `latest`, `avg`) a pass over the kept
    /// events, during which none is recorded.
    ///
    /// # Errors
    /// The meter is not valid, or does not go with the others: all problems at once.
    #[cfg_attr(
        feature = "tracing",
        tracing::instrument(name = "add_meter", skip_all, fields(meter = meter.name), err)
    )]
    pub fn add_meter(&self, meter: Meter) -> Result<Meter, RulesError> {
        self.core.changed(|change| {
            let mut list = change.current.meters.list().to_vec();
            let mut added = Arc::new(change.stamp_meter(meter));
            fill_ids(std::slice::from_mut(&mut added), &list);
            list.push(Arc::clone(&added));
            change.replace_meters(list)?;
            Ok(Arc::unwrap_or_clone(added))
        })
    }

    /// Changes some fields of a meter and returns it as it now is. Rules that use it count by it
    /// from now on, as [`MeterUpdate`] says. O(rules + meters), and O(keys) where counters are
    /// converted.
    ///
    /// # Errors
    /// No meter has the id, or the meter or a rule that counts it would not be valid.
    #[cfg_attr(
        feature = "tracing",
        tracing::instrument(name = "update_meter", skip_all, fields(id = id), err)
    )]
    pub fn update_meter(&self, id: &str, update: MeterUpdate) -> Result<Meter, RulesError> {
        self.core.changed(move |change| {
            let mut list = change.current.meters.list().to_vec();
            let found = list.iter_mut().find(|meter| meter.known_id() == id);
            let Some(slot) = found else { return Err(not_found(KIND, id)) };
            let updated = update.apply(slot);
            if updated.says_the_same(slot) {
                return Ok(updated);
            }
            let updated = change.stamp_meter(updated);
            *slot = Arc::new(updated.clone());
            change.replace_meters(list)?;
            Ok(updated)
        })
    }

    /// Removes a meter. O(rules + meters).
    ///
    /// # Errors
    /// No meter has the id, or rules count it.
    #[cfg_attr(
        feature = "tracing",
        tracing::instrument(name = "remove_meter", skip_all, fields(id = id), err)
    )]
    pub fn remove_meter(&self, id: &str) -> Result<(), RulesError> {
        self.core.changed(|change| {
            let mut list = change.current.meters.list().to_vec();
            let Some(place) = list.iter().position(|meter| meter.known_id() == id) else {
                return Err(not_found(KIND, id));
            };
            let rules = users(&change, id);
            if !rules.is_empty() {
                return Err(RulesError::MeterInUse { id: id.to_owned(), rules });
            }
            list.remove(place);
            change.replace_meters(list)
        })
    }

    /// Returns the meters, the oldest first.
    #[must_use]
    pub fn meters(&self) -> Vec<Meter> {
        self.core.snapshot.load().meters.list().iter().map(|meter| (**meter).clone()).collect()
    }
}

/// The rules that count a meter.
fn users(change: &Change<'_>, id: &str) -> Vec<String> {
    let rules = change.current.rules.iter().map(|compiled| &compiled.rule);
    let counts = |metric: &Metric| matches!(metric, Metric::Meter(meter) if meter == id);
    rules.filter(|rule| counts(rule.metric())).map(rule_label).collect()
}
