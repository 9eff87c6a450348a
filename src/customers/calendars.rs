//! Whose midnights the periods of keys go by, and on which day they start, where their rule does
//! not say it.
//!
//! It is asked when a period begins that a key has no cell of, under the lock of the key's shard:
//! bounds that were decided are in the cells. So a call that finds its cells looks up nothing, and
//! who changes a calendar goes to the rows that are cut by it: what is asked after the change is
//! answered by the new one, and what was asked before it lies in a row that is gone to.
//!
//! The lock is one of the last: under it nothing else is taken.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use chrono::NaiveDate;
use chrono_tz::Tz;
use parking_lot::RwLock;

use crate::base::calendar::Calendar;
use crate::event::Dimension;

/// The calendars of an engine.
#[derive(Debug)]
pub(crate) struct Calendars {
    /// In the engine's own zone.
    default: Calendar,
    /// How many values have one of their own. Relaxed suffices: who changes it locks every row that
    /// it is for after that, and who asks does so under such a lock.
    count: AtomicUsize,
    own: RwLock<HashMap<Dimension, HashMap<Box<str>, OwnCalendar>>>,
}

/// What a value of a dimension has of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct OwnCalendar {
    pub(crate) zone: Option<Tz>,
    pub(crate) anchor: Option<NaiveDate>,
}

impl OwnCalendar {
    pub(crate) fn is_none(self) -> bool {
        self == Self::default()
    }

    /// What another says where this says nothing.
    pub(crate) fn or(self, other: Self) -> Self {
        Self { zone: self.zone.or(other.zone), anchor: self.anchor.or(other.anchor) }
    }
}

impl Default for Calendars {
    fn default() -> Self {
        Self::in_zone(Tz::UTC)
    }
}

impl Calendars {
    /// Those of an engine whose zone is this one.
    pub(crate) fn in_zone(zone: Tz) -> Self {
        let default = Calendar::UTC.in_zone(zone);
        Self { default, count: AtomicUsize::new(0), own: RwLock::default() }
    }

    /// The zone of the engine.
    pub(crate) fn zone(&self) -> Tz {
        self.default.zone()
    }

    /// The same as they are now.
    pub(crate) fn copied(&self) -> Self {
        let own = self.own.read().clone();
        let count = AtomicUsize::new(own.values().map(HashMap::len).sum());
        Self { default: self.default, count, own: RwLock::new(own) }
    }

    /// The calendar of all that has none of its own.
    #[inline]
    pub(crate) fn default_one(&self) -> Calendar {
        self.default
    }

    /// Whether no value has one of its own.
    #[inline]
    pub(crate) fn are_alike(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }

    /// Gives the calendar of a key with these values: zone and anchor each of the first dimension
    /// that has one, and else the engine's.
    pub(crate) fn of_key(&self, dimensions: &[Dimension], values: &[&str]) -> Calendar {
        if self.are_alike() {
            return self.default;
        }
        let own = self.own.read();
        let found = dimensions
            .iter()
            .zip(values)
            .filter_map(|(dimension, value)| own.get(dimension)?.get(*value).copied());
        let found = found.fold(OwnCalendar::default(), OwnCalendar::or);
        let in_zone = found.zone.map_or(self.default, |zone| self.default.in_zone(zone));
        found.anchor.map_or(in_zone, |anchor| in_zone.anchored(anchor))
    }

    /// What a value has of its own.
    pub(crate) fn own(&self, dimension: &Dimension, value: &str) -> OwnCalendar {
        self.own.read().get(dimension).and_then(|of| of.get(value)).copied().unwrap_or_default()
    }

    /// Gives a value one of its own, or none.
    pub(crate) fn set(&self, dimension: &Dimension, value: &str, calendar: OwnCalendar) {
        let mut own = self.own.write();
        if calendar.is_none() {
            if let Some(of) = own.get_mut(dimension) {
                of.remove(value);
            }
            own.retain(|_, of| !of.is_empty());
        } else {
            own.entry(dimension.clone()).or_default().insert(value.into(), calendar);
        }
        self.count.store(own.values().map(HashMap::len).sum(), Ordering::Relaxed);
    }
}
