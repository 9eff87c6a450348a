//! Which named values the rows keep, and what of them.

use std::collections::HashMap;
use std::sync::Arc;

use smallvec::SmallVec;

use super::cells::{Cell, Column, Fold, halves};
use super::countable::Countable;
use super::row::{Addend, FIRST_COLUMN, FIXED};
use crate::base::clock::Timestamp;
use crate::base::codec::{Codec, Malformed, Reader, put_text, put_varint};
use crate::base::format::Version;
use crate::base::sketch::Key;
use crate::event::{Dimension, ValueName};
use crate::log::Dropped;

/// Counts the values whose names came when there was no room for another.
pub(super) const OTHER_VALUES: Column = FIRST_COLUMN;
const FIRST_NAMED: Column = FIRST_COLUMN.saturating_add(1);
/// How many names of values have sums of their own, beside those that rules, meters and options
/// name.
pub(super) const MAX_VALUE_NAMES: usize = 1_000;
/// How many of them may come with one customer's events: as many as one event has at the most.
pub(super) const NAMES_A_CUSTOMER: u32 = 64;

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
    /// When the events happened that may be missing from it.
    lacks: Arc<Dropped>,
}

/// The sum of a named value.
#[derive(Clone, Debug)]
struct Sum {
    column: Column,
    /// When the events happened that may be missing from it.
    lacks: Arc<Dropped>,
    /// The ordinal of the first event that is counted in it, and the customer whose event that was.
    /// Nobody's is the name that a rule, a meter or the options name.
    since: u64,
    customer: Option<Box<str>>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Columns {
    /// The name of each named value's sum, from [`FIRST_NAMED`] on; none for tracked folds.
    names: Vec<Option<Box<str>>>,
    /// The sums of named values.
    sums: HashMap<Box<str>, Sum, ahash::RandomState>,
    /// How many names came with the events of each customer.
    customers: HashMap<Box<str>, u32, ahash::RandomState>,
    /// How many names came with events.
    learned: usize,
    tracked: Vec<Tracked>,
}

impl Columns {
    /// Columns that have these folds, whatever comes.
    pub(super) fn with(folds: &[ValueFold]) -> Self {
        let mut columns = Self::default();
        columns.track(folds, &Dropped::new(), &Dropped::new());
        columns
    }

    /// Whether an event's names would get columns that they do not have.
    #[inline]
    pub(super) fn is_to_learn(&self, event: &impl Countable) -> bool {
        event.named().any(|(name, _)| !self.sums.contains_key(name))
            && self.has_room(event.dimension(&Dimension::CustomerId).unwrap_or_default())
    }

    fn has_room(&self, customer: &str) -> bool {
        let names = self.customers.get(customer).copied().unwrap_or(0);
        self.learned < MAX_VALUE_NAMES && names < NAMES_A_CUSTOMER
    }

    /// Gives columns to the names of an event of this ordinal while there is room.
    /// `without_column` is when events happened that had names without a column.
    pub(super) fn learn(&mut self, event: &impl Countable, ordinal: u64, without_column: &Dropped) {
        let customer = event.dimension(&Dimension::CustomerId).unwrap_or_default();
        let lacks = Arc::new(without_column.clone());
        for (name, _) in event.named() {
            if !self.has_room(customer) {
                return;
            }
            if !self.sums.contains_key(name)
                && let Some(column) = self.add(Some(name.into()))
            {
                let lacks = Arc::clone(&lacks);
                self.insert(
                    name,
                    Sum { column, lacks, since: ordinal, customer: Some(customer.into()) },
                );
            }
        }
    }

    /// Adds the sum of a name that has none; `None` where it has one.
    fn insert(&mut self, name: &str, sum: Sum) -> Option<()> {
        if let Some(customer) = &sum.customer {
            let names = self.customers.entry(customer.clone()).or_default();
            *names = names.saturating_add(1);
            self.learned = self.learned.saturating_add(1);
        }
        self.sums.insert(name.into(), sum).is_none().then_some(())
    }

    /// A name that came with a customer's events is now wanted by a rule, a meter or the options:
    /// it takes no room from the customer any more.
    fn release(&mut self, name: &str) {
        let customer = self.sums.get_mut(name).and_then(|sum| sum.customer.take());
        let Some(customer) = customer else { return };
        self.learned = self.learned.saturating_sub(1);
        if let Some(names) = self.customers.get_mut(&customer) {
            *names = names.saturating_sub(1);
            if *names == 0 {
                self.customers.remove(&customer);
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
        let index = column.checked_sub(FIRST_NAMED)? as usize;
        self.names.get(index)?.as_deref()
    }

    /// The column of a value's fold, and when the events happened that may be missing from it.
    pub(super) fn find(&self, value: &ValueName, fold: Fold) -> Option<(Column, &Arc<Dropped>)> {
        if let (ValueName::Other(name), Fold::Sum) = (value, fold) {
            return self.sums.get(name).map(|sum| (sum.column, &sum.lacks));
        }
        let tracked = self.tracked.iter().find(|known| known.is(value, fold))?;
        Some((tracked.column, &tracked.lacks))
    }

    /// Whether a value's fold is kept.
    pub(super) fn know_fold(&self, (value, fold): &ValueFold) -> bool {
        self.find(value, *fold).is_some()
    }

    /// Whether something changes where these are wanted and no others.
    pub(crate) fn is_to_track(&self, wanted: &[ValueFold]) -> bool {
        let is_wanted = |known: &Tracked| wanted.iter().any(|(value, fold)| known.is(value, *fold));
        let has_all = |(value, fold): &ValueFold| match (value, fold) {
            (ValueName::Other(name), Fold::Sum) => {
                self.sums.get(name).is_some_and(|sum| sum.customer.is_none())
            }
            _ => self.find(value, *fold).is_some(),
        };
        !self.tracked.iter().all(is_wanted) || !wanted.iter().all(has_all)
    }

    /// Keeps the folds that rules, meters and options need now, and no others. Returns the columns
    /// that the log's events are to be filled into, each with the ordinal up to which: then they
    /// know all events, but for the `dropped` ones that they did not have. `without_column` is when
    /// events happened that had names without a column.
    pub(super) fn track(
        &mut self,
        wanted: &[ValueFold],
        dropped: &Dropped,
        without_column: &Dropped,
    ) -> Vec<(Column, u64)> {
        let is_wanted = |known: &Tracked| wanted.iter().any(|(value, fold)| known.is(value, *fold));
        self.tracked.retain(is_wanted);
        let mut new = Vec::new();
        for (value, fold) in wanted {
            match (value, fold) {
                // Rules and meters are the users' own, and few: their sums have room beyond caps.
                (ValueName::Other(name), Fold::Sum) => {
                    self.release(name);
                    new.extend(self.track_sum(name, dropped, without_column));
                }
                _ if self.find(value, *fold).is_some() => {}
                _ => {
                    let is_new = match value {
                        ValueName::Other(name) => {
                            without_column.is_empty() && !self.sums.contains_key(name)
                        }
                        _ => false,
                    };
                    let lacks = if is_new { Arc::default() } else { Arc::new(dropped.clone()) };
                    let Some(column) = self.add(None) else { continue };
                    let (value, fold) = (value.clone(), *fold);
                    self.tracked.push(Tracked { value, fold, column, lacks });
                    new.extend((!is_new).then_some((column, u64::MAX)));
                }
            }
        }
        new
    }

    fn track_sum(
        &mut self,
        name: &str,
        dropped: &Dropped,
        without_column: &Dropped,
    ) -> Option<(Column, u64)> {
        if let Some(sum) = self.sums.get_mut(name) {
            if sum.lacks.is_empty() {
                return None;
            }
            // The log's events from before it was counted are filled in now.
            sum.lacks = Arc::new(sum.lacks.common(dropped));
            let since = std::mem::take(&mut sum.since);
            return (since > 0).then_some((sum.column, since));
        }
        let column = self.add(Some(name.into()))?;
        let lacks = Arc::new(without_column.common(dropped));
        self.insert(name, Sum { column, lacks, since: 0, customer: None });
        (!without_column.is_empty()).then_some((column, u64::MAX))
    }

    /// The value of which a column that a rule or a meter needs is a fold.
    pub(super) fn tracked_value(&self, column: Column) -> Option<&str> {
        let tracked = self.tracked.iter().find(|known| known.column == column);
        tracked.map(|known| known.value.as_str())
    }

    /// Notes that events of some times are missing from a column.
    pub(super) fn lack(&mut self, column: Column, times: &Dropped) {
        if let Some(known) = self.tracked.iter_mut().find(|known| known.column == column) {
            Arc::make_mut(&mut known.lacks).merge(times);
        }
    }

    /// What an event adds to its rows.
    pub(super) fn addend(&self, event: &impl Countable, at: Timestamp, ordinal: u64) -> Addend {
        let mut addend = Addend::default();
        self.read(event, at, ordinal, &mut addend);
        addend
    }

    /// Reads what an event adds to its rows, into nothing: an addend is large to move.
    #[inline]
    pub(super) fn read(
        &self,
        event: &impl Countable,
        at: Timestamp,
        ordinal: u64,
        addend: &mut Addend,
    ) {
        addend.set_sums(event.wholes());
        if let Some(cents) = event.cost_cents() {
            addend.set_cost(cents.millionths());
        }
        let mut others = 0_i128;
        for (name, amount) in event.named() {
            match self.sums.get(name) {
                Some(sum) if sum.since <= ordinal => {
                    addend.cells.push(Cell::new(sum.column, Fold::Sum, amount.millionths()));
                }
                _ => others = others.saturating_add(1),
            }
        }
        if others > 0 {
            addend.cells.push(Cell::new(OTHER_VALUES, Fold::Count, others));
        }
        if !self.tracked.is_empty() {
            self.add_tracked(event, at, ordinal, &mut addend.cells);
        }
        if addend.cells.len() > 1 {
            addend.cells.sort_unstable_by_key(|cell| cell.column);
        }
    }

    /// What an event adds to these columns alone, each up to an ordinal.
    pub(super) fn addend_of(
        &self,
        event: &impl Countable,
        at: Timestamp,
        ordinal: u64,
        new: &[(Column, u64)],
    ) -> Addend {
        let mut cells = self.addend(event, at, ordinal).cells;
        let is_new = |column| new.iter().any(|(known, end)| *known == column && ordinal < *end);
        cells.retain(|cell| is_new(cell.column));
        Addend { cells, ..Addend::default() }
    }

    fn add_tracked(
        &self,
        event: &impl Countable,
        at: Timestamp,
        ordinal: u64,
        cells: &mut SmallVec<[Cell; 4]>,
    ) {
        for Tracked { value, fold, column, .. } in &self.tracked {
            let Some(amount) = event.amount(value) else { continue };
            let amount = match fold {
                Fold::Count => 1,
                Fold::Sketch => Key::of(amount.millionths()).number(),
                _ => amount.millionths(),
            };
            let cell = Cell::new(*column, *fold, amount);
            cells.push(if *fold == Fold::Latest { cell.at(at, ordinal) } else { cell });
        }
    }
}

impl Tracked {
    fn is(&self, value: &ValueName, fold: Fold) -> bool {
        self.fold == fold && self.value == *value
    }
}

const FREE: u8 = 0;
const NAMED: u8 = 1;
const TRACKED: u8 = 2;
/// A name that came with a customer's events.
const NAMED_BY: u8 = 3;

/// For each column that has a number a byte that says what it is, its name, its fold, and when the
/// events happened that it lacks; of a sum also since when it is counted, and whose it is.
impl Columns {
    /// The column that the next fold gets.
    pub(super) fn next(&self) -> Column {
        Column::try_from(self.names.len()).unwrap_or(Column::MAX).saturating_add(FIRST_NAMED)
    }

    /// Appends the columns, but for those that were filled in when `new` was the next.
    pub(super) fn encode(&self, new: Column, out: &mut Vec<u8>) {
        put_varint(out, self.names.len() as u64);
        for (column, name) in (FIRST_NAMED..).zip(&self.names) {
            let sum = name.as_deref().and_then(|name| Some((name, self.sums.get(name)?)));
            let fold = self.tracked.iter().find(|tracked| tracked.column == column);
            match (sum, fold) {
                (Some((name, sum)), _) if column < new || sum.since > 0 || sum.lacks.is_empty() => {
                    out.push(if sum.customer.is_some() { NAMED_BY } else { NAMED });
                    put_text(out, name);
                    sum.lacks.encode(out);
                    put_varint(out, sum.since);
                    if let Some(customer) = &sum.customer {
                        put_text(out, customer);
                    }
                }
                (None, Some(tracked)) if column < new => {
                    out.push(TRACKED);
                    put_text(out, tracked.value.as_str());
                    tracked.fold.encode(out);
                    tracked.lacks.encode(out);
                }
                _ => out.push(FREE),
            }
        }
    }

    pub(super) fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let mut columns = Self::default();
        for _ in 0..from.length("columns")? {
            let tag = u8::decode(from)?;
            let text = if tag == FREE { "" } else { from.text()? };
            let name = matches!(tag, NAMED | NAMED_BY).then(|| text.into());
            let column = columns.add(name).ok_or_else(|| from.malformed("a column"))?;
            match tag {
                FREE => {}
                NAMED | NAMED_BY => {
                    let lacks = lacks(from)?.into();
                    let since = if from.version() == Version::One { 0 } else { from.varint()? };
                    let customer = if tag == NAMED_BY { Some(from.text()?.into()) } else { None };
                    let sum = Sum { column, lacks, since, customer };
                    let is_new = columns.insert(text, sum).is_some();
                    from.require(is_new, "a name that comes once")?;
                }
                TRACKED => {
                    let (value, fold) = (ValueName::parse(text), Fold::decode(from)?);
                    let lacks = lacks(from)?.into();
                    columns.tracked.push(Tracked { value, fold, column, lacks });
                }
                _ => return Err(from.malformed("what a column is")),
            }
        }
        Ok(columns)
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

    /// The names of values: since when each is counted, and with whose events it came.
    #[cfg(test)]
    pub(super) fn known_names(&self) -> std::collections::BTreeMap<String, (u64, Option<String>)> {
        let known = self.sums.iter().map(|(name, sum)| {
            let customer = sum.customer.as_deref().map(str::to_owned);
            (name.to_string(), (sum.since, customer))
        });
        known.collect()
    }

    /// What a column that a meter asked for is about.
    #[cfg(test)]
    pub(super) fn tracked_name(&self, column: Column) -> String {
        let tracked = self.tracked.iter().find(|known| known.column == column);
        tracked
            .map_or_else(String::new, |known| format!("{} {:?}", known.value.as_str(), known.fold))
    }
}

/// When the events happened that a column lacks; format 1 says from when on it has all.
fn lacks(from: &mut Reader<'_>) -> Result<Dropped, Malformed> {
    if from.version() > Version::One {
        return Dropped::decode(from);
    }
    let since = Timestamp::from_unix_nanos(halves(from)?);
    Ok(if since > Timestamp::MIN { Dropped::before(since) } else { Dropped::new() })
}
