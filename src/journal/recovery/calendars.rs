//! What a store knows of customers, and of how the periods of its counters were cut.

use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use chrono_tz::Tz;

use super::Settings;
use crate::base::calendar::TimeZone;
use crate::counters::CounterSet;
use crate::customers::{Calendars, Directory, customer_of_row, first_key};
use crate::journal::store::StoreError;

/// The keys of the rows about how periods were cut: by customers' calendars, and by the engine's.
const CALENDARS: u64 = 1_400;
const ZONE: u64 = 1_401;

/// Up to when the calendars of customers were others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CalendarRow {
    /// The counters of copies from before this sequence number may be cut by other calendars; all
    /// of them while that changes.
    pub(crate) changed: u64,
}

/// How the periods of restored counters are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CutBefore {
    /// By the calendars of now, which have never been others.
    Alike,
    /// By the calendars of now; some have been cut anew.
    Anew,
    /// Some may be by others.
    Otherwise,
    /// The engine was in another zone since.
    InAnotherZone,
}

impl CutBefore {
    /// Tells counters where calendars have changed: which keys lack a cell of what was used of
    /// their periods is not known any more.
    pub(super) fn tell(self, counters: &CounterSet, now: i64) {
        if self != Self::Alike {
            counters.are_cut_anew(now);
        }
    }
}

/// The engine's zone, and up to which sequence number it was another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ZoneRow {
    zone: TimeZone,
    changed: u64,
}

impl ZoneRow {
    fn to_bytes(self) -> Vec<u8> {
        [&self.changed.to_le_bytes()[..], self.zone.to_string().as_bytes()].concat()
    }

    fn of_bytes(bytes: &[u8]) -> Option<Self> {
        let (changed, zone) = bytes.split_first_chunk()?;
        let zone = str::from_utf8(zone).ok()?.parse().ok()?;
        Some(Self { zone, changed: u64::from_le_bytes(*changed) })
    }
}

impl CalendarRow {
    pub(crate) const KEY: u64 = CALENDARS;

    pub(crate) fn to_bytes(self) -> Vec<u8> {
        self.changed.to_le_bytes().to_vec()
    }

    fn of_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(|changed| Self { changed: u64::from_le_bytes(changed) })
    }
}

/// The rows about how periods were cut, as far as they are there.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CutRows {
    calendars: Option<CalendarRow>,
    zone: Option<ZoneRow>,
}

impl CutRows {
    /// Whether a row is one of them.
    pub(super) fn takes(key: u64) -> bool {
        matches!(key, CALENDARS | ZONE)
    }

    /// Reads one of them; `None` of one that does not say what it should.
    pub(super) fn read(&mut self, key: u64, bytes: &[u8]) -> Option<()> {
        if key == ZONE {
            self.zone = Some(ZoneRow::of_bytes(bytes)?);
        } else {
            self.calendars = Some(CalendarRow::of_bytes(bytes)?);
        }
        Some(())
    }

    /// The zone that periods were cut by which have no other.
    pub(super) fn zone(&self) -> Tz {
        self.zone.map_or(Tz::UTC, |row| row.zone.into())
    }

    /// The row of an engine that goes on in another zone from a sequence number on.
    pub(super) fn other_zone(&self, zone: Tz, changed: u64) -> Option<(u64, Vec<u8>)> {
        let row = ZoneRow { zone: zone.into(), changed };
        (self.zone() != zone).then(|| (ZONE, row.to_bytes()))
    }

    /// How the periods of counters are cut that were restored by the log from a sequence number on.
    pub(super) fn before(&self, zone: Tz, from: u64) -> CutBefore {
        let may_be_older = self.zone.is_some_and(|row| row.changed >= from);
        match self.calendars {
            _ if self.zone() != zone || may_be_older => CutBefore::InAnotherZone,
            Some(row) if row.changed >= from => CutBefore::Otherwise,
            None if self.zone.is_none() => CutBefore::Alike,
            _ => CutBefore::Anew,
        }
    }
}

/// Reads what is known of customers.
pub(super) fn read_customers(
    settings: &Settings,
) -> Result<(Directory, Arc<Calendars>), StoreError> {
    let (directory, calendars) = (Directory::default(), Calendars::in_zone(settings.time_zone));
    let (store, mut wrong) = (&*settings.store, None);
    store.space_rows(Bound::Included(first_key()), &mut |key, value| match customer_of_row(
        key, value,
    ) {
        Some(Ok((dimension, customer))) => {
            calendars.set(&dimension, &customer.id, customer.calendar());
            directory.set(&dimension, customer);
            ControlFlow::Continue(())
        }
        Some(Err(why)) => {
            wrong = Some(why);
            ControlFlow::Break(())
        }
        None => ControlFlow::Break(()),
    })?;
    match wrong {
        Some(why) => Err(store.damaged("a customer", &why)),
        None => Ok((directory, Arc::new(calendars))),
    }
}
