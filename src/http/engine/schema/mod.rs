//! The shapes of bodies that the engine's own types read and print, as their crate's docs say: what
//! is told of them here. Tests compare what is read and printed with them, field by field.

mod reports;
mod rules;

pub(super) use self::reports::{
    Alert, EventQuestion, RefusalHours, RefusalPage, Reservation, RuleKind, SimulationReport,
    UsageAnswer, UsageFilter, VerifyReport,
};
pub(super) use self::rules::{NewRule, Rule, RuleList, RuleUpdate};
