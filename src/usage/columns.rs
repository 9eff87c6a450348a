//! Which named values the rows keep, and what of them.

use std::collections::HashMap;

use smallvec::SmallVec;

use super::row::{Addend, Cell, Column, FIRST_COLUMN, FIXED, Fold};
use crate::amount::Amount;
#[cfg(feature = "durable")]
use crate::bytes::take_u8;
use crate::clock::Timestamp;
use crate::event::ValueName;
#[cfg(feature = "durable")]
use {super::row, super::saved, crate::varint};

/// Counts the values whose names came when there was no room for another.
pub(super) const OTHER_VALUES: Column = FIRST_COLUMN;
const FIRST_NAMED: Column = FIRST_COLUMN.saturating_add(1);
/// How many names of values have sums of their own.
pub(super) const MAX_VALUE_NAMES: usize = 1_000;

/// The fixed sums, in their order.
pub(super) const FIXED_VALUES: [ValueName; FIXED] = [
    ValueName::InputTokens,
    ValueName::OutputTokens,
    ValueName::TotalTokens,
    ValueName::CostCents,
    ValueName::LatencyMs,
];

/// A value by name, and how its events are folded.
pub(crate) type ValueFold = (ValueName, Fold);

/// A fold that a meter needs, beside the sums that all rows have.
#[derive(Clone, Debug)]
struct Tracked {
    value: ValueName,
    fold: Fold,
    column: Column,
    /// Events before this instant may be missing from it.
    since: Timestamp,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Columns {
    /// The name of each named value's sum, from [`FIRST_NAMED`] on; none for tracked folds.
    names: Vec<Option<Box<str>>>,
    /// The sums of named values, and the instants from which on they know every event: the first
    /// there is, but for those that a meter asked for when there was no room.
    sums: HashMap<Box<str>, (Column, Timestamp), ahash::RandomState>,
    tracked: Vec<Tracked>,
}

/// What is read of an event, whether it is just coming or comes from the log.
pub(crate) trait Values {
    /// The value of a built-in name that is a whole number.
    fn whole(&self, name: &ValueName) -> Option<u64>;
    fn cost_cents(&self) -> Option<Amount>;
    /// The named values that are not built in.
    fn named(&self) -> impl Iterator<Item = (&str, Amount)>;

    /// The value of any name.
    fn amount(&self, name: &ValueName) -> Option<Amount> {
        match name {
            ValueName::Other(name) => {
                self.named().find(|(known, _)| **known == **name).map(|(_, amount)| amount)
            }
            ValueName::CostCents => self.cost_cents(),
            built_in => self.whole(built_in).map(Amount::from),
        }
    }
}

impl Columns {
    /// Whether every named value of an event has its column, or can have none.
    #[inline]
    pub(super) fn know(&self, event: &impl Values) -> bool {
        event.named().all(|(name, _)| self.sums.contains_key(name)) || self.is_full()
    }

    fn is_full(&self) -> bool {
        self.sums.len() >= MAX_VALUE_NAMES
    }

    /// Gives columns to the event's named values while there is room.
    pub(super) fn learn(&mut self, event: &impl Values) {
        for (name, _) in event.named() {
            if !self.is_full()
                && !self.sums.contains_key(name)
                && let Some(column) = self.add(Some(name.into()))
            {
                self.sums.insert(name.into(), (column, Timestamp::MIN));
            }
        }
    }

    fn add(&mut self, name: Option<Box<str>>) -> Option<Column> {
        let next = Column::try_from(self.names.len()).ok()?.checked_add(FIRST_NAMED)?;
        self.names.push(name);
        Some(next)
    }

    /// The name whose sum a column is.
    pub(super) fn name(&self, column: Column) -> Option<&str> {
        let place = column.checked_sub(FIRST_NAMED)? as usize;
        self.names.get(place)?.as_deref()
    }

    /// The column of a value's fold, and the instant from which on it knows every event.
    pub(super) fn find(&self, value: &ValueName, fold: Fold) -> Option<(Column, Timestamp)> {
        if let (ValueName::Other(name), Fold::Sum) = (value, fold) {
            return self.sums.get(name).copied();
        }
        let tracked = self.tracked.iter().find(|known| known.is(value, fold))?;
        Some((tracked.column, tracked.since))
    }

    /// Whether a value's fold is known: kept, or that of a name that no event ever had.
    pub(super) fn know_fold(&self, (value, fold): &ValueFold) -> bool {
        let is_new = *fold == Fold::Sum && !self.is_full();
        is_new || self.find(value, *fold).is_some()
    }

    /// Keeps the folds that meters need now, and no others; those that are new know all events
    /// from `since` on once the log's events are filled in. Returns their columns.
    pub(super) fn track(&mut self, wanted: &[ValueFold], since: Timestamp) -> Vec<Column> {
        let is_wanted = |known: &Tracked| wanted.iter().any(|(value, fold)| known.is(value, *fold));
        self.tracked.retain(is_wanted);
        let mut new = Vec::new();
        for asked @ (value, fold) in wanted {
            if self.know_fold(asked) {
                continue;
            }
            match (value, fold) {
                // Meters are the users' own, and few: their sums have room beyond the cap.
                (ValueName::Other(name), Fold::Sum) => {
                    if let Some(column) = self.add(Some(name.clone())) {
                        self.sums.insert(name.clone(), (column, since));
                        new.push(column);
                    }
                }
                _ => {
                    if let Some(column) = self.add(None) {
                        let (value, fold) = (value.clone(), *fold);
                        self.tracked.push(Tracked { value, fold, column, since });
                        new.push(column);
                    }
                }
            }
        }
        new
    }

    /// What an event adds to its rows.
    #[inline]
    pub(super) fn addend(&self, event: &impl Values, at: Timestamp, place: u64) -> Addend {
        let mut addend = Addend { events: 1, ..Addend::default() };
        for (sum, value) in addend.fixed.iter_mut().zip(&FIXED_VALUES) {
            *sum = event.whole(value).unwrap_or(0);
        }
        if let Some(cents) = event.cost_cents() {
            addend.set_cost(cents.millionths());
        }
        for (name, amount) in event.named() {
            let cell = match self.sums.get(name) {
                Some((column, _)) => Cell::new(*column, Fold::Sum, amount.millionths()),
                None => Cell::new(OTHER_VALUES, Fold::Count, 1),
            };
            addend.cells.push(cell);
        }
        self.add_tracked(event, at, place, &mut addend.cells);
        addend
    }

    /// What an event adds to these columns alone.
    pub(super) fn addend_of(
        &self,
        event: &impl Values,
        at: Timestamp,
        place: u64,
        new: &[Column],
    ) -> Addend {
        let mut cells = self.addend(event, at, place).cells;
        cells.retain(|cell| new.contains(&cell.column));
        Addend { cells, ..Addend::default() }
    }

    fn add_tracked(
        &self,
        event: &impl Values,
        at: Timestamp,
        place: u64,
        cells: &mut SmallVec<[Cell; 4]>,
    ) {
        for Tracked { value, fold, column, .. } in &self.tracked {
            let Some(amount) = event.amount(value) else { continue };
            let amount = if *fold == Fold::Count { 1 } else { amount.millionths() };
            cells.push(Cell::new(*column, *fold, amount).at(at, place));
        }
    }
}

impl Tracked {
    fn is(&self, value: &ValueName, fold: Fold) -> bool {
        self.fold == fold && self.value == *value
    }
}

#[cfg(feature = "durable")]
const FREE: u8 = 0;
#[cfg(feature = "durable")]
const NAMED: u8 = 1;
#[cfg(feature = "durable")]
const TRACKED: u8 = 2;

/// Saving: for each column that has a number a byte that says what it is, its name, its fold, and
/// from when on it knows every event.
#[cfg(feature = "durable")]
impl Columns {
    /// The column that the next fold gets.
    pub(super) fn next(&self) -> Column {
        Column::try_from(self.names.len()).unwrap_or(Column::MAX).saturating_add(FIRST_NAMED)
    }

    /// Saves the columns, but for those that meters asked for when `new` was the next.
    pub(super) fn save(&self, new: Column, out: &mut Vec<u8>) {
        varint::put(out, u64::try_from(self.names.len()).unwrap_or(u64::MAX));
        for (column, name) in (FIRST_NAMED..).zip(&self.names) {
            let sum = name.as_deref().and_then(|name| Some((name, self.sums.get(name)?)));
            let fold = self.tracked.iter().find(|tracked| tracked.column == column);
            match (sum, fold) {
                (Some((name, (_, since))), _) if column < new || *since == Timestamp::MIN => {
                    out.push(NAMED);
                    saved::put_text(out, name);
                    row::put_wide(out, since.unix_nanos());
                }
                (None, Some(tracked)) if column < new => {
                    out.push(TRACKED);
                    saved::put_text(out, tracked.value.as_str());
                    out.push(tracked.fold.number());
                    row::put_wide(out, tracked.since.unix_nanos());
                }
                _ => out.push(FREE),
            }
        }
    }

    /// Reads what was saved; `None` where it is damaged.
    pub(super) fn read(bytes: &mut &[u8]) -> Option<Self> {
        let mut columns = Self::default();
        for _ in 0..varint::take(bytes)? {
            match take_u8(bytes)? {
                FREE => drop(columns.add(None)?),
                NAMED => {
                    let name = saved::take_text(bytes)?;
                    let column = columns.add(Some(name.into()))?;
                    let since = Timestamp::from_unix_nanos(row::take_wide(bytes)?);
                    if columns.sums.insert(name.into(), (column, since)).is_some() {
                        return None;
                    }
                }
                TRACKED => {
                    let value = ValueName::parse(saved::take_text(bytes)?);
                    let fold = Fold::of_number(take_u8(bytes)?)?;
                    let since = Timestamp::from_unix_nanos(row::take_wide(bytes)?);
                    let column = columns.add(None)?;
                    columns.tracked.push(Tracked { value, fold, column, since });
                }
                _ => return None,
            }
        }
        Some(columns)
    }

    /// The folds that rows keep, by column.
    pub(super) fn folds(&self) -> Vec<Option<Fold>> {
        let fixed = [Some(Fold::Sum); FIXED].into_iter().chain([Some(Fold::Count)]);
        let tracked = |column| self.tracked.iter().find(|known| known.column == column);
        let named = (FIRST_NAMED..).zip(&self.names).map(|(column, name)| match name {
            Some(_) => Some(Fold::Sum),
            None => tracked(column).map(|tracked| tracked.fold),
        });
        fixed.chain(named).collect()
    }

    /// What a column that a meter asked for is about.
    #[cfg(test)]
    pub(super) fn tracked_name(&self, column: Column) -> String {
        let tracked = self.tracked.iter().find(|known| known.column == column);
        tracked
            .map_or_else(String::new, |known| format!("{} {:?}", known.value.as_str(), known.fold))
    }
}
