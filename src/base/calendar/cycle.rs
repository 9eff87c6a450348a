//! How time is cut by a rule.

use std::num::NonZeroU32;

use chrono::NaiveDate;
use chrono_tz::Tz;
use serde::{Deserialize, Deserializer, Serialize};

use super::{Calendar, PeriodBounds, Unit};

/// How long periods are, and what a rule says of whose they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cycle {
    #[serde(alias = "calendar", deserialize_with = "unit_of")]
    pub(crate) unit: Unit,
    /// How many units a period has.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub(crate) every: NonZeroU32,
    /// The zone, where it is the rule's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) zone: Option<Tz>,
    /// The date that periods run from, where it is the rule's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) anchor: Option<NaiveDate>,
}

impl Cycle {
    /// Whether a calendar has a say in it beside the rule.
    pub(crate) fn is_open(&self) -> bool {
        let has_dates = matches!(self.unit, Unit::Day | Unit::Week | Unit::Month | Unit::Year);
        // From wherever single days run, they are the same.
        let has_anchor = self.anchor.is_some() || (self.unit == Unit::Day && is_one(&self.every));
        has_dates && (self.zone.is_none() || !has_anchor)
    }

    /// The period that holds a second, by a calendar as far as the rule leaves it to that.
    pub(crate) fn period_of(&self, calendar: Calendar, unix_seconds: i64) -> PeriodBounds {
        let calendar = self.zone.map_or(calendar, |zone| calendar.in_zone(zone));
        let calendar = self.anchor.map_or(calendar, |anchor| calendar.anchored(anchor));
        calendar.period_of_several(self.unit, self.every, unix_seconds)
    }
}

impl From<Unit> for Cycle {
    fn from(unit: Unit) -> Self {
        Self { unit, every: one(), zone: None, anchor: None }
    }
}

fn one() -> NonZeroU32 {
    NonZeroU32::MIN
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_one(every: &NonZeroU32) -> bool {
    *every == one()
}

/// Reads a unit. Formats 1 and 2 have a calendar in its place, which all rules had alike but for
/// the unit.
fn unit_of<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Unit, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Stored {
        Unit(Unit),
        Calendar { unit: Unit },
    }
    Ok(match Stored::deserialize(deserializer)? {
        Stored::Unit(unit) | Stored::Calendar { unit } => unit,
    })
}
