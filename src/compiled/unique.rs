//! Rules that count different values, and the rules of their marks.
//!
//! A quota on the different values of a dimension counts as one on events does, but that an event
//! costs it 1 only where its value has had none in the period. That is known by *marks*: a rule of
//! its own counts the events of each key and value, and stands in no answer. Both count by the same
//! periods and the same filter, and lie in the same table. So whatever is done for a rule's
//! counters (rows, upkeep, the journal, checkpoints, what is recorded, changes) holds for the marks
//! as well, and values are compared as the values of any key are.

use crate::event::Dimension;
use crate::rules::{Measure, Rule};

/// The rule that marks the values which a rule counts; `None` of a rule that counts something else.
pub(super) fn rule_of_marks(rule: &Rule, measure: &Measure) -> Option<Rule> {
    let (Rule::Quota(quota), Some(dimension)) = (rule, measure.unique()) else { return None };
    Some(quota.of_marks(dimension.as_str()).into())
}

/// The dimensions by which a rule splits, in order.
pub(super) fn partition(rule: &Rule) -> Box<[Dimension]> {
    let mut partition: Vec<Dimension> =
        rule.per().iter().map(|key| Dimension::parse(key)).collect();
    partition.sort();
    // The value that is counted may be one of the key.
    partition.dedup();
    partition.into()
}
