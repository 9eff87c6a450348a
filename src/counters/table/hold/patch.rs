//! What scripts do to holds, as the journal keeps it.
//!
//! A *patch* is rows with what has become of their held counters: which holds are there and which
//! have ended, what the counter says without them, and the cell where one gave back. Redoing it is
//! writing that: whoever does it once more, or has a newer copy of the row to begin with, ends with
//! the same, because everything that changes holds is in a patch.
//!
//! So what a script gives back of holds that have expired is written down, too, although it follows
//! from the instant: the cells that it changes may be of rules that the script's own record says
//! nothing of.

use std::fmt;

use smallvec::SmallVec;

use super::end::bring_up;
use super::{Held, HeldIn, HeldPart};
use crate::balances::{Change as AccountChange, Instant};
use crate::base::clock::Timestamp;
use crate::base::codec::{
    Codec, Malformed, Reader, put_list, put_signed, put_text, put_varint, put_wide,
};
use crate::counters::algorithms::Reading;
use crate::counters::algorithms::periods::Bounds;
use crate::counters::algorithms::stored::ChargeBytes;
use crate::counters::cell::CellState;
use crate::counters::counter::{Counter, CounterSet};
use crate::counters::row::{Row, RowKey, key_of, key_of_words};
use crate::counters::table::accounts::ACCOUNTS;
use crate::counters::table::locked::{Locked, OneRow, Rows};
use crate::counters::table::redo::{LogEnd, RedoRecord};
use crate::counters::table::shard::Shard;
use crate::counters::table::shard::accounts::AccountKey;
use crate::counters::table::shard::held::{HeldCounter, HeldRow, HoldKey, Part, Take};
use crate::counters::table::{Table, overflow_hash, upkeep};
use crate::counters::time::{At, Moment, Timeline};
use crate::rules::Units;

/// Keeps what scripts give back of holds that have expired. It is called under the locks of their
/// shards, and locks nothing that somebody holds who waits for one of those.
pub(crate) trait GivenBackLog: fmt::Debug + Send + Sync {
    /// A patch of the rows that something was given back in, at an instant.
    fn given_back(&self, at: &At, rows: &[u8]);
}

/// What a decision did to holds.
#[derive(Debug)]
pub(crate) struct HeldChange {
    /// A patch of the rows.
    pub(crate) rows: Vec<u8>,
    /// How much is held of rules that judge: of those of which something is.
    pub(crate) figures: SmallVec<[(u32, Units); 4]>,
    /// When the hold expires that was taken or put off.
    pub(crate) until: Moment,
    /// Of a hold that ends: more was charged than was held.
    pub(crate) is_overrun: bool,
    /// Of one that was to be given back or put off: it had expired.
    pub(crate) has_expired: bool,
}

impl HeldChange {
    /// Of a decision that changed an account alone, by one rule: with what is held of it.
    pub(in crate::counters::table) fn of_account(rows: Vec<u8>, held: (u32, Units)) -> Self {
        let (is_overrun, has_expired) = (false, false);
        let figures = std::iter::once(held).filter(|(_, units)| *units > 0).collect();
        Self { rows, figures, until: Moment(0), is_overrun, has_expired }
    }
}

/// What a script changes of the held counters of its rows, noted as it goes. Nothing is noted where
/// nobody keeps it.
#[derive(Debug, Default)]
pub(in crate::counters::table) struct Touched {
    is_kept: bool,
    all: SmallVec<[Touch; 4]>,
    /// The changes of accounts, in their order, by the rows of their addresses.
    accounts: Vec<(u32, Instant, AccountChange)>,
}

/// Something that is changed of a held counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Touch {
    row: u32,
    number: u32,
    period: i64,
    change: Change,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    /// The state of committed use alone.
    Committed,
    /// A hold came, changed or ended.
    Hold(HoldKey),
    /// Something was given back to the cell.
    Cell,
}

impl Touched {
    pub(in crate::counters::table) fn new(table: &Table) -> Self {
        Self {
            is_kept: table.given_back_log().is_some(),
            all: SmallVec::new(),
            accounts: Vec::new(),
        }
    }

    pub(in crate::counters::table) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    fn note(&mut self, row: u32, held: &HeldCounter, change: Change) {
        if self.is_kept {
            self.all.push(Touch { row, number: held.number, period: held.period, change });
        }
    }

    pub(in crate::counters::table) fn hold(&mut self, row: u32, held: &HeldCounter, key: HoldKey) {
        self.note(row, held, Change::Hold(key));
    }

    pub(in crate::counters::table) fn account(
        &mut self,
        row: u32,
        now: Instant,
        change: AccountChange,
    ) {
        if self.is_kept {
            self.accounts.push((row, now, change));
        }
    }

    pub(in crate::counters::table) fn has_accounts(&self) -> bool {
        !self.accounts.is_empty()
    }

    pub(in crate::counters::table) fn cell(&mut self, row: u32, held: &HeldCounter) {
        self.note(row, held, Change::Cell);
    }

    /// The same of a counter of which nothing may be held.
    pub(in crate::counters::table) fn cell_of(&mut self, row: u32, number: u32, period: i64) {
        if self.is_kept {
            self.all.push(Touch { row, number, period, change: Change::Cell });
        }
    }

    pub(in crate::counters::table) fn committed(&mut self, row: u32, held: &HeldCounter) {
        self.note(row, held, Change::Committed);
    }

    /// The patch of what was touched of locked rows.
    pub(in crate::counters::table) fn patch(&self, locked: &Rows<'_, '_>) -> Vec<u8> {
        let mut out = Vec::new();
        for row in (0_u32..).take(locked.len()) {
            if let Some(key) = locked.account_key(row) {
                let changes = self.accounts.iter().filter(|(of, ..)| *of == row);
                put_account(key, changes.map(|(_, now, change)| (*now, change)), &mut out);
            } else if let Some((_, key)) = locked.place_of(row) {
                let (group, words) = key.identity();
                self.put_row(row, (group, &words), locked.held(row), locked.row(row), &mut out);
            }
        }
        out
    }

    /// Appends what was touched of a row, if something was.
    pub(in crate::counters::table) fn put_row(
        &self,
        row: u32,
        (group, words): (u32, &[u64]),
        held: Option<&HeldRow>,
        cells: Option<Row<'_>>,
        out: &mut Vec<u8>,
    ) {
        let mut counters: SmallVec<[(u32, i64); 4]> = SmallVec::new();
        for touch in self.all.iter().filter(|touch| touch.row == row) {
            if !counters.contains(&(touch.number, touch.period)) {
                counters.push((touch.number, touch.period));
            }
        }
        if counters.is_empty() {
            return;
        }
        put_varint(out, group.into());
        put_list(out, words.iter(), Codec::encode);
        put_list(out, counters.iter(), |(number, period), out| {
            let of =
                |touch: &&Touch| (touch.row, touch.number, touch.period) == (row, *number, *period);
            let changes = self.all.iter().filter(of).map(|touch| touch.change);
            let held = held.and_then(|held| held.counter(*number, *period));
            put_counter((*number, *period), changes, held, cells, out);
        });
    }
}

/// Appends what happened to an account, if something did: under the group of accounts, as a row of
/// its own.
pub(in crate::counters::table) fn put_account<'c>(
    key: AccountKey<'_>,
    changes: impl Iterator<Item = (Instant, &'c AccountChange)>,
    out: &mut Vec<u8>,
) {
    let changes: SmallVec<[_; 2]> = changes.collect();
    if changes.is_empty() {
        return;
    }
    put_varint(out, ACCOUNTS.into());
    put_text(out, key.name);
    put_text(out, key.owner);
    put_list(out, changes.iter(), |(now, change), out| {
        now.encode(out);
        change.encode(out);
    });
}

/// What stands before the parts of a counter in a patch.
const CELL: u8 = 1;
const COMMITTED: u8 = 1 << 1;

fn put_counter(
    (number, period): (u32, i64),
    changes: impl Iterator<Item = Change>,
    held: Option<&HeldCounter>,
    cells: Option<Row<'_>>,
    out: &mut Vec<u8>,
) {
    let (mut keys, mut gave_back): (Vec<HoldKey>, bool) = (Vec::new(), false);
    for change in changes {
        match change {
            Change::Hold(key) => keys.push(key),
            Change::Cell => gave_back = true,
            Change::Committed => {}
        }
    }
    keys.sort_unstable();
    keys.dedup();
    let cell = cells.filter(|_| gave_back).and_then(|row| cell_of(row, number, period));
    let committed = held.and_then(|held| held.committed);
    let flag = |is: bool, bit: u8| if is { bit } else { 0 };
    put_varint(out, number.into());
    put_signed(out, period);
    out.push(flag(cell.is_some(), CELL) | flag(committed.is_some(), COMMITTED));
    if let Some(cell) = cell {
        cell.encode(out);
    }
    if let Some(committed) = committed {
        put_reading(&committed, out);
    }
    let part = |key: &HoldKey| held.and_then(|held| held.open.get(*key));
    let ended: SmallVec<[HoldKey; 4]> =
        keys.iter().filter(|key| part(key).is_none()).copied().collect();
    let open: SmallVec<[(HoldKey, &Part); 4]> =
        keys.iter().filter_map(|key| Some((*key, part(key)?))).collect();
    put_list(out, ended.iter(), |key, out| put_key(*key, out));
    put_list(out, open.iter(), |(key, part), out| {
        put_key(*key, out);
        part.encode(out);
    });
}

/// The cell of a counter, as giving back finds it.
fn cell_of(row: Row<'_>, number: u32, period: i64) -> Option<CellState> {
    let mut cells = row.cells_of(number, 0);
    let cell = cells.find(|cell| period == 0 || Bounds::of_cell(*cell).start == period)?;
    let is_list = row.is_list_at(cell.offset);
    Some(CellState { is_list, ..CellState::of(cell.extra, cell.words) })
}

fn put_key((until, id): HoldKey, out: &mut Vec<u8>) {
    until.0.encode(out);
    put_varint(out, id);
}

fn key(from: &mut Reader<'_>) -> Result<HoldKey, Malformed> {
    Ok((Moment(u64::decode(from)?), from.varint()?))
}

/// A state by the distance of its instants from the start of the time line, so that it can be read
/// without the instant of its record.
fn put_reading(reading: &Reading, out: &mut Vec<u8>) {
    let mut bytes = ChargeBytes::new();
    bytes.byte(reading.code(false));
    reading.encode(&start(), &mut bytes);
    bytes.append_to(out);
}

fn reading(from: &mut Reader<'_>) -> Result<Reading, Malformed> {
    let code = u8::decode(from)?;
    Ok(Reading::decode(code, from, &start())?.0)
}

fn start() -> At {
    Timeline::starting(Timestamp::UNIX_EPOCH).at(Moment(0), None)
}

impl Codec<'_> for Part {
    fn encode(&self, out: &mut Vec<u8>) {
        put_signed(out, self.second);
        self.event.0.encode(out);
        put_list(out, self.takes.iter(), |take, out| {
            take.taken.0.encode(out);
            put_wide(out, take.units);
        });
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (second, event) = (from.signed()?, Moment(u64::decode(from)?));
        let take = |from: &mut Reader<'_>| {
            Ok(Take { taken: Moment(u64::decode(from)?), units: from.wide()? })
        };
        let takes: SmallVec<[Take; 1]> = from.list("takes", take)?;
        let units = takes.iter().fold(0, |sum: Units, take| sum.saturating_add(take.units));
        Ok(Self { units, second, event, takes })
    }
}

/// What a patch says of a counter.
#[derive(Debug)]
struct CounterPatch {
    number: u32,
    period: i64,
    cell: Option<CellState>,
    committed: Option<Reading>,
    ended: Vec<HoldKey>,
    open: Vec<(HoldKey, Part)>,
}

impl CounterPatch {
    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (number, period, flags) = (from.varint_u32()?, from.signed()?, u8::decode(from)?);
        from.require(flags & !(CELL | COMMITTED) == 0, "the flags of a held counter")?;
        Ok(Self {
            number,
            period,
            cell: (flags & CELL != 0).then(|| CellState::decode(from)).transpose()?,
            committed: (flags & COMMITTED != 0).then(|| reading(from)).transpose()?,
            ended: from.list("holds that ended", key)?,
            open: from.list("holds", |from| Ok((key(from)?, Part::decode(from)?)))?,
        })
    }
}

impl HeldRow {
    /// Appends all that is held of the row.
    pub(in crate::counters::table) fn encode(&self, out: &mut Vec<u8>) {
        let mut touched = Touched { is_kept: true, ..Touched::default() };
        for held in &self.counters {
            held.open.iter().for_each(|(key, _)| touched.hold(0, held, *key));
        }
        touched.put_row(0, self.identity(), Some(self), None, out);
    }

    /// Writes what a patch says of a counter. A hold is in one counter of a lineage: in which, the
    /// change of a rule may have moved meanwhile.
    fn redo(&mut self, patch: CounterPatch, counters: &CounterSet) {
        let CounterPatch { number, period, committed, ended, open, .. } = patch;
        let Some(lineage) = counters.answering(number).map(Counter::lineage) else {
            return;
        };
        let is_of_it = |held: &HeldCounter| {
            counters.answering(held.number).is_some_and(|it| it.lineage() == lineage)
        };
        for held in self.counters.iter_mut().filter(|held| is_of_it(held)) {
            for key in ended.iter().chain(open.iter().map(|(key, _)| key)) {
                held.remove(*key);
            }
        }
        if !open.is_empty() && self.counter(number, period).is_none() {
            self.counters.push(HeldCounter::new(number, period, committed));
        }
        if let Some(held) = self.counter_mut(number, period) {
            held.committed = committed.or(held.committed);
            for (key, part) in open {
                let units = part.units;
                held.put(key, part, units);
            }
        }
        self.counters.retain(|held| !held.open.is_empty());
    }
}

impl Table {
    /// Keeps from now on what scripts give back.
    pub(crate) fn keep_given_back(&self, log: Box<dyn GivenBackLog>) {
        let is_first = self.given_back.set(log).is_ok();
        debug_assert!(is_first, "a table has one log");
    }

    /// Does again what the record of a sequence number did to holds, or what a copy has of them.
    /// Tells of each hold that is there whose it is and where.
    pub(crate) fn redo_held(
        &self,
        log_end: &LogEnd<'_>,
        (seq, event): (u64, Option<u64>),
        mut from: Reader<'_>,
        hash: impl Fn(u32, &[&str]) -> u64,
        mut tell: impl FnMut(u64, HeldPlace),
    ) -> Result<(), Malformed> {
        while !from.is_at_end() {
            let group = from.varint_u32()?;
            if group == ACCOUNTS {
                let (name, owner) = (from.text()?, from.text()?);
                let key = AccountKey { hash: hash(ACCOUNTS, &[name, owner]), name, owner };
                let change = |from: &mut Reader<'_>| {
                    Ok((Instant::decode(from)?, AccountChange::decode(from)?))
                };
                let changes: Vec<(Instant, AccountChange)> = from.list("changes", change)?;
                for (now, change) in &changes {
                    if let AccountChange::Hold { id, .. } = change {
                        tell(*id, HeldPlace::of_account(key));
                    }
                    self.redo_account(key, (seq, event), *now, change);
                }
                continue;
            }
            let length = from.length("the words of a key")?.saturating_mul(8);
            let words = from.bytes(length, "the words of a key")?.as_chunks().0;
            let patches: Vec<CounterPatch> = from.list("held counters", CounterPatch::decode)?;
            let done = key_of(group, words, |key| {
                let hash = match key {
                    RowKey::Partition { group, values } => hash(group, values),
                    RowKey::Overflow { counter } => overflow_hash(counter),
                };
                let place = HeldIn::of_key(hash, key);
                for patch in &patches {
                    let Some(counter) = log_end.counters.answering(patch.number) else { continue };
                    for ((_, id), part) in &patch.open {
                        let (row, lineage) = (place.clone(), counter.lineage());
                        tell(*id, HeldPlace { row, lineage, units: part.units });
                    }
                }
                self.redo_held_row(log_end, seq, (hash, key), patches);
            });
            done.ok_or_else(|| from.malformed("the key of a row"))?;
        }
        Ok(())
    }

    fn redo_held_row(
        &self,
        log_end: &LogEnd<'_>,
        seq: u64,
        (hash, key): (u64, RowKey<'_>),
        patches: Vec<CounterPatch>,
    ) {
        let Some(mut locked) = OneRow::lock_one(self, hash, key) else { return };
        {
            let cells = patches.iter();
            let cells = cells.filter_map(|patch| Some((patch.number, patch.cell.as_ref()?)));
            let cells: SmallVec<[_; 2]> = cells.collect();
            // A list that is written whole has the record's own use in it.
            let record = RedoRecord { log_end, seq: seq.saturating_add(1), at: &log_end.at };
            record.put(self, &mut locked, &cells);
        }
        let Some(shard) = locked.first_shard() else { return };
        let mut held =
            shard.take_held(hash, key).unwrap_or_else(|| HeldRow::new(hash, key, patches.len()));
        for patch in patches {
            held.redo(patch, log_end.counters);
        }
        shard.hold(held);
    }

    /// Ends redoing: brings what is held up to the rules, and marks the cells of counters with open
    /// holds.
    pub(crate) fn redone_holds(&self, LogEnd { counters, at }: &LogEnd<'_>) {
        for shard in self.shards() {
            let mut shard = shard.lock();
            for mut row in shard.take_all_held() {
                for held in &mut row.counters {
                    let counter = counters.answering(held.number);
                    if let Some(counter) = counter.and_then(|it| it.of_number(held.number)) {
                        held.forget_spent(&counter.policy, at.now);
                    }
                }
                let mut slot = shard.slot_of(&row);
                let mut cells = slot.as_mut().map(|slot| shard.grow(slot));
                bring_up(&mut row, cells.as_mut(), counters, at, &mut Touched::default());
                self.mark_redone(&mut shard, &row, counters);
                shard.hold(row);
            }
        }
    }

    /// Marks the cells of the counters of which something is held. One that was left out, because
    /// it says no more than a fresh one, is made: by its mark what is held is found.
    fn mark_redone(&self, shard: &mut Shard, held: &HeldRow, counters: &CounterSet) {
        let mut slot = shard.slot_of(held);
        for counter in held.counters.iter().filter_map(|held| counters.answering(held.number)) {
            let has_cell = slot.is_some_and(|slot| counter.is_in(shard.row(slot)));
            // A period that is over needs none.
            if !has_cell && counter.policy.periods().is_none() {
                counter.entered(held.is_shared());
                let (number, empty) = (counter.number(), counter.policy.empty_cell());
                if let Some(slot) = &mut slot {
                    shard.grow(slot).push(number, &empty);
                } else {
                    let (group, words) = held.identity();
                    let insert =
                        |key: RowKey<'_>| shard.insert(held.hash(), key, &[(number, empty)]);
                    let is_made = key_of_words(group, words, insert).is_some();
                    self.rows_entered(u64::from(is_made && !held.is_shared()));
                    slot = shard.slot_of(held);
                }
            }
            let Some(slot) = slot else { continue };
            let numbers: SmallVec<[u32; 8]> = upkeep::numbers(shard.row(slot)).collect();
            let mut row = shard.row_mut(slot);
            for number in numbers {
                let answering = counters.answering(number).map(Counter::number);
                if answering == Some(counter.number()) {
                    row.mark_held(number, true);
                }
            }
        }
    }
}

/// What is held of a counter in a row.
#[derive(Debug)]
pub(crate) struct HeldPlace {
    row: HeldIn,
    lineage: u32,
    units: Units,
}

impl HeldPlace {
    /// That something is held of an account, which says itself how much.
    fn of_account(AccountKey { hash, name, owner }: AccountKey<'_>) -> Self {
        let key = RowKey::Partition { group: ACCOUNTS, values: &[name, owner] };
        Self { row: HeldIn::of_key(hash, key), lineage: 0, units: 0 }
    }
}

/// The tags of rows.
const OWN: u8 = 0;
const SHARED: u8 = 1;

impl Held {
    /// Takes down what is held of a counter now.
    pub(crate) fn set(&mut self, HeldPlace { row, lineage, units }: HeldPlace) {
        let row = self.place(row);
        let is_it = |part: &&mut HeldPart| (part.row, part.lineage) == (row, lineage);
        match self.parts.iter_mut().find(is_it) {
            Some(part) => part.units = units.into(),
            None => self.parts.push(HeldPart { row, lineage, units: units.into() }),
        }
    }

    /// Appends where something is held, and how much.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put_list(out, self.rows.iter(), |row, out| match row {
            HeldIn::Own { group, values, .. } => {
                out.push(OWN);
                put_varint(out, (*group).into());
                put_list(out, values.iter(), |value, out| put_text(out, value));
            }
            HeldIn::Shared { lineage } => {
                out.push(SHARED);
                put_varint(out, (*lineage).into());
            }
        });
        put_list(out, self.parts.iter(), |part, out| {
            put_varint(out, part.row.into());
            put_varint(out, part.lineage.into());
            put_wide(out, part.units());
        });
    }

    /// Takes what [`encode`](Self::encode) appended; `hash` is the one that rows are found by.
    pub(crate) fn decode(
        from: &mut Reader<'_>,
        hash: &impl Fn(u32, &[&str]) -> u64,
    ) -> Result<Self, Malformed> {
        let row = |from: &mut Reader<'_>| match u8::decode(from)? {
            OWN => {
                let group = from.varint_u32()?;
                let values: SmallVec<[&str; 1]> = from.list("the values of a key", Reader::text)?;
                let key = RowKey::Partition { group, values: &values };
                Ok(HeldIn::of_key(hash(group, &values), key))
            }
            SHARED => Ok(HeldIn::Shared { lineage: from.varint_u32()? }),
            _ => Err(from.malformed("a row in which something is held")),
        };
        let part = |from: &mut Reader<'_>| {
            let (row, lineage) = (from.varint_u32()?, from.varint_u32()?);
            Ok(HeldPart { row, lineage, units: from.wide()?.into() })
        };
        let (rows, parts) = (from.list("rows", row)?, from.list("holds", part)?);
        Ok(Self { rows, parts })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::base::format::Version;
    use crate::counters::cell::StateWords;

    fn reader(bytes: &[u8]) -> Reader<'_> {
        Reader::new(Version::NEWEST, bytes)
    }

    fn row() -> HeldRow {
        let take = |taken, units| Take { taken: Moment(taken), units };
        let part = |units: Units| Part {
            units,
            second: -5,
            event: Moment(u64::MAX),
            takes: [take(7, units - 1), take(u64::MAX, 1)].into_iter().collect(),
        };
        let bucket = Reading::of_parts(0, StateWords { words: [3, u64::MAX, 0, 0], extra: 0 });
        let mut row = HeldRow::new(9, RowKey::Partition { group: 4, values: &["cust"] }, 2);
        for (number, period, committed) in [(1, 0, Some(bucket)), (2, 1_700_006_400, None)] {
            let mut held = HeldCounter::new(number, period, committed);
            for id in 0..3 {
                held.put((Moment(100 - id), id), part(40), 40);
            }
            row.counters.push(held);
        }
        row
    }

    #[test]
    fn what_is_held_of_a_row_reads_as_it_was_written() {
        let (row, mut bytes) = (row(), Vec::new());
        row.encode(&mut bytes);
        let read = |bytes: &[u8]| {
            let mut from = reader(bytes);
            let (group, words) = (from.varint_u32()?, from.length("words")?);
            from.bytes(words * 8, "words")?;
            let counters: Vec<CounterPatch> = from.list("counters", CounterPatch::decode)?;
            from.end()?;
            Ok::<_, Malformed>((group, counters))
        };
        let (group, counters) = read(&bytes).expect("what was written");
        assert_eq!((group, counters.len()), (4, 2));
        for (found, held) in counters.iter().zip(&row.counters) {
            assert_eq!((found.number, found.period), (held.number, held.period));
            assert_eq!(
                (found.committed, &found.cell, found.ended.len()),
                (held.committed, &None, 0)
            );
            let open: Vec<_> = held.open.iter().map(|(key, part)| (*key, part.clone())).collect();
            assert_eq!(format!("{:?}", found.open), format!("{open:?}"));
        }
        for short in 0..bytes.len() {
            assert!(read(&bytes[..short]).is_err(), "{short}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = CounterPatch::decode(&mut reader(&bytes));
            let table = Table::new(100, Timeline::starting(Timestamp::UNIX_EPOCH), 4);
            let counters = CounterSet::new(1, Arc::default(), std::iter::empty());
            let log_end = LogEnd { counters: &counters, at: start() };
            let _ = table.redo_held(&log_end, (0, None), reader(&bytes), |_, _| 7, |_, _| {});
            let _ = Held::decode(&mut reader(&bytes), &|_, _| 7);
        }
    }
}
