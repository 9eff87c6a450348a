//! Holds: what a reservation takes of the counters until it is known what was used.
//!
//! A decision that holds is one step by step. It judges and writes as any other, so that what it
//! holds counts for everybody else, and then notes beside the rows of whom it is
//! ([`shard::held`](super::shard::held)). To settle one is a decision, too: it charges what
//! happened beyond the hold, and gives back what of the hold was not used, in the same step.
//!
//! A hold ends at an instant. Whoever locks a row step by step first gives back what has expired by
//! the instant of the script, each hold at its own; upkeep does so on rows that nobody asks for.
//! All rows of a hold agree: a script's instant is not before any that one of its shards has seen.

use smallvec::SmallVec;

use super::adjust::Adjusting;
use super::correct::Correcting;
use super::locked::{Lineages, Locked, NOWHERE, Rows};
use super::request::{Commit, RowAddress, RowAddresses};
use super::shard::held::HoldKey;
use crate::counters::cell::Wide;
use crate::counters::row::RowKey;
use crate::counters::time::Moment;
use crate::rules::{Cost, Units};

mod cells;
mod end;
mod patch;
mod script;
mod straight;

pub(super) use self::end::expire;
pub(crate) use self::patch::{GivenBackLog, HeldChange, HeldPlace};
pub(super) use self::patch::{Touched, put_account};
pub(super) use self::script::Befores;

/// What a decision does once it has written its counters.
pub(super) enum Step<'s, 'h> {
    /// The caller's own step.
    Record(Commit<'s, 'h>),
    /// Notes that a reservation holds what was written, and then does the caller's own step.
    Hold(&'s mut Holding, Commit<'s, 'h>),
    /// Ends a reservation's hold, and then does the caller's own step, if there is one.
    Settle(&'s mut Settling<'h>, Commit<'s, 'h>),
    /// Lets a reservation's hold expire later, and then does the caller's own step.
    Extend(&'s mut Extension<'h>, Commit<'s, 'h>),
    /// Adjusts the counter of a key, and then does the caller's own step.
    Adjust(&'s Adjusting, Commit<'s, 'h>),
    /// Corrects what an event has counted as, and then does the caller's own step.
    Correct(&'s Correcting, Commit<'s, 'h>),
}

/// A hold that is taken, or grows.
#[derive(Debug)]
pub(crate) struct Holding {
    pub(crate) id: u64,
    /// How long it lasts from the decision on, in nanoseconds; of one that grows nothing.
    pub(crate) lasting: Option<u64>,
    /// When it expires.
    pub(crate) until: Moment,
    /// Where it is held, to be added to.
    pub(crate) held: Held,
    /// Whether one that was to grow had expired by the instant of the script: nothing was changed.
    pub(crate) has_expired: bool,
}

/// A hold that ends.
#[derive(Debug)]
pub(crate) struct Settling<'h> {
    pub(crate) id: u64,
    pub(crate) until: Moment,
    pub(crate) held: &'h Held,
    /// What happened costs each rule, before the hold is taken off.
    pub(crate) costs: SmallVec<[(u32, Cost); 8]>,
    /// Whether a rule was charged more than was held of it.
    pub(crate) is_overrun: bool,
    /// Whether it had expired by the instant of the script.
    pub(crate) has_expired: bool,
}

/// A hold that is to expire later.
#[derive(Debug)]
pub(crate) struct Extension<'h> {
    pub(crate) id: u64,
    pub(crate) until: Moment,
    /// How long it lasts from the script on, in nanoseconds.
    pub(crate) lasting: u64,
    pub(crate) held: &'h Held,
    /// When it expires then; `None` where it had expired.
    pub(crate) extended: Option<Moment>,
}

/// Where a reservation holds what.
#[derive(Clone, Debug, Default)]
pub(crate) struct Held {
    rows: SmallVec<[HeldIn; 1]>,
    parts: SmallVec<[HeldPart; 4]>,
}

/// A row in which something is held.
#[derive(Clone, Debug, PartialEq, Eq)]
enum HeldIn {
    /// A key's own.
    Own { hash: u64, group: u32, values: SmallVec<[Box<str>; 1]> },
    /// That of keys that found no room, by the lineage of its counter.
    Shared { lineage: u32 },
}

/// What is held of a counter.
#[derive(Clone, Copy, Debug)]
pub(super) struct HeldPart {
    /// The place of its row.
    row: u32,
    pub(super) lineage: u32,
    units: Wide,
}

impl HeldPart {
    pub(super) fn units(&self) -> Units {
        self.units.get()
    }
}

impl Holding {
    /// Whether it is one that grows and has expired.
    pub(super) fn has_expired_by(&mut self, now: Moment) -> bool {
        self.has_expired = self.lasting.is_none() && now >= self.until;
        self.has_expired
    }

    pub(super) fn key(&self) -> HoldKey {
        (self.until, self.id)
    }
}

impl Settling<'_> {
    pub(super) fn key(&self) -> HoldKey {
        (self.until, self.id)
    }
}

impl Step<'_, '_> {
    /// The shared rows that it needs beside those that are found.
    pub(super) fn add_lineages(&self, lineages: &mut Lineages) {
        let held = match self {
            Self::Settle(settling, _) => settling.held,
            Self::Extend(extension, _) => extension.held,
            Self::Record(_) | Self::Hold(..) | Self::Adjust(..) | Self::Correct(..) => return,
        };
        for row in &held.rows {
            if let HeldIn::Shared { lineage } = row
                && !lineages.contains(lineage)
            {
                lineages.push(*lineage);
            }
        }
    }
}

impl Held {
    /// Adds the rows that are keys' own, but for those that are there.
    pub(crate) fn add_rows<'h>(&'h self, rows: &mut RowAddresses<'h>) {
        for row in &self.rows {
            let HeldIn::Own { hash, group, values } = row else { continue };
            let is_it = |row: &RowAddress<'_>| {
                (row.hash, row.group) == (*hash, *group) && are_same(row.values, values)
            };
            if rows.iter().any(|row| is_it(&row)) {
                continue;
            }
            let rows = rows.lists();
            values.iter().for_each(|value| rows.push_value(value));
            rows.push(*hash, *group);
        }
    }

    /// Each part with the index of its locked row.
    pub(super) fn parts_in<'h>(
        &'h self,
        locked: &Rows<'_, '_>,
    ) -> SmallVec<[(u32, &'h HeldPart); 4]> {
        let rows: SmallVec<[u32; 4]> = self.rows.iter().map(|row| row.index_in(locked)).collect();
        let of =
            |part: &'h HeldPart| (rows.get(part.row as usize).copied().unwrap_or(NOWHERE), part);
        self.parts.iter().map(of).collect()
    }

    /// Adds to what is held of a counter in a locked row.
    pub(super) fn add(&mut self, locked: &Rows<'_, '_>, row: u32, lineage: u32, units: Units) {
        if let Some((hash, key)) = locked.place_of(row) {
            let place = self.place(HeldIn::of_key(hash, key));
            self.add_at(place, lineage, units);
        }
    }

    /// The place of a row, which is added where it is not there.
    fn place(&mut self, row: HeldIn) -> u32 {
        match self.rows.iter().position(|known| *known == row) {
            Some(place) => u32::try_from(place).unwrap_or(NOWHERE),
            None => self.new_place(row),
        }
    }

    /// The place of a row that is not there so far.
    fn new_place(&mut self, row: HeldIn) -> u32 {
        let place = u32::try_from(self.rows.len()).unwrap_or(NOWHERE);
        self.rows.push(row);
        place
    }

    /// Adds to what is held of a counter of which nothing is so far.
    fn push(&mut self, place: u32, lineage: u32, units: Units) {
        self.parts.push(HeldPart { row: place, lineage, units: units.into() });
    }

    fn add_at(&mut self, place: u32, lineage: u32, units: Units) {
        let is_it = |part: &&mut HeldPart| (part.row, part.lineage) == (place, lineage);
        match self.parts.iter_mut().find(is_it) {
            Some(part) => part.units = part.units().saturating_add(units).into(),
            None => self.push(place, lineage, units),
        }
    }
}

impl HeldIn {
    fn of_key(hash: u64, key: RowKey<'_>) -> Self {
        match key {
            RowKey::Partition { group, values } => {
                let values = match values {
                    [one] => SmallVec::from_buf([Box::from(*one)]),
                    all => all.iter().map(|value| Box::from(*value)).collect(),
                };
                Self::Own { hash, group, values }
            }
            RowKey::Overflow { counter: lineage } => Self::Shared { lineage },
        }
    }

    fn index_in(&self, locked: &Rows<'_, '_>) -> u32 {
        let is_it = |row: &u32| match (self, locked.place_of(*row)) {
            (Self::Own { hash, group, values, .. }, Some((other, key))) => {
                *hash == other && is_key(key, *group, values)
            }
            (Self::Shared { lineage }, Some((_, key))) => {
                key == RowKey::Overflow { counter: *lineage }
            }
            (_, None) => false,
        };
        (0_u32..).take(locked.len()).find(is_it).unwrap_or(NOWHERE)
    }
}

fn is_key(key: RowKey<'_>, group: u32, values: &[Box<str>]) -> bool {
    matches!(key, RowKey::Partition { group: of, values: others }
        if of == group && are_same(others, values))
}

fn are_same(values: &[&str], others: &[Box<str>]) -> bool {
    values.len() == others.len() && values.iter().zip(others).all(|(value, of)| *value == &**of)
}
