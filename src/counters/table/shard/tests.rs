//! A shard beside a naive model: a map of keys to the cells of their rows.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::counters::cell::{BROAD, NARROW, TALL};

type Cells = Vec<(u32, CellState)>;

#[derive(Default)]
struct Beside {
    shard: Shard,
    model: BTreeMap<u32, Cells>,
}

/// Most hashes differ; some do not, and some only in bits that the index does not look at.
fn hash_of(key: u32) -> u64 {
    let key = u64::from(key);
    if key % 5 == 0 { key % 3 } else { key.wrapping_mul(0x9e37_79b9_7f4a_7c15) }
}

/// From 1 to 26 bytes, or 300.
fn name_of(key: u32) -> String {
    let width = if key.is_multiple_of(17) { 300 } else { key as usize % 27 };
    format!("{key:0>width$}")
}

fn with_key<R>(key: u32, then: impl FnOnce(u64, RowKey<'_>) -> R) -> R {
    if key.is_multiple_of(23) {
        return then(hash_of(key), RowKey::Overflow { counter: key });
    }
    let name = name_of(key);
    then(hash_of(key), RowKey::Partition { group: key % 2, values: &[&name, "second"] })
}

/// A state of the form, filled with a word.
fn state(form: usize, word: u64) -> CellState {
    let list = |room: usize| {
        let words = std::iter::once(room as u64).chain(std::iter::repeat_n(word, room));
        CellState { is_list: true, ..CellState::of(7, &words.collect::<Vec<_>>()) }
    };
    match form {
        0 => CellState::of(1, &[word; NARROW]),
        1 => CellState::of(0, &[word; BROAD]),
        2 => CellState::of(u32::MAX, &[word; TALL]),
        3 => list(0),
        // A row of so many words takes more lines than a chunk has.
        4 => list(2_100),
        form => list(form * 5),
    }
}

#[derive(Clone, Debug)]
enum Step {
    Insert { key: u32, cells: Vec<(u32, usize)> },
    Push { key: u32, number: u32, form: usize },
    Set { key: u32, cell: usize, form: usize },
    Write { key: u32, cell: usize },
    Retain { key: u32, odd: bool },
    Sweep { looks: usize, drop_one_of: u32 },
    Shrink,
    Reserve { rows: usize },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // The number 0 with nothing beside it is a tag of 0.
    let number = || prop_oneof![0..6_u32, Just((1 << 29) - 1)];
    let form = || prop_oneof![6 => 0..2_usize, 2 => 2..12_usize, 1 => 12..26_usize];
    let key = || prop_oneof![4 => 0..400_u32, 1 => 0..9_u32];
    let cells = prop::collection::vec((number(), form()), 0..5);
    let insert = (key(), cells).prop_map(|(key, cells)| Step::Insert { key, cells });
    let push = (key(), number(), form());
    let push = push.prop_map(|(key, number, form)| Step::Push { key, number, form });
    let set =
        (key(), 0..8_usize, form()).prop_map(|(key, cell, form)| Step::Set { key, cell, form });
    let write = (key(), 0..8_usize).prop_map(|(key, cell)| Step::Write { key, cell });
    let retain = (key(), any::<bool>()).prop_map(|(key, odd)| Step::Retain { key, odd });
    let sweep = (0..300_usize, 1..5_u32);
    let sweep = sweep.prop_map(|(looks, drop_one_of)| Step::Sweep { looks, drop_one_of });
    let reserve = (0..50_usize).prop_map(|rows| Step::Reserve { rows });
    let step = prop_oneof![
        40 => insert, 10 => push, 10 => set, 5 => write, 5 => retain, 2 => sweep,
        2 => Just(Step::Shrink), 1 => reserve,
    ];
    prop::collection::vec(step, 1..600)
}

impl Beside {
    fn find(&self, key: u32) -> Option<RowSlot> {
        with_key(key, |hash, key| self.shard.find(hash, key))
    }

    fn step(&mut self, step: &Step, word: u64) {
        match *step {
            Step::Insert { key, ref cells } => {
                if !self.model.contains_key(&key) {
                    // Cells of a counter lie side by side.
                    let mut cells: Cells =
                        cells.iter().map(|(number, form)| (*number, state(*form, word))).collect();
                    cells.sort_by_key(|(number, _)| *number);
                    with_key(key, |hash, key| self.shard.insert(hash, key, &cells));
                    self.model.insert(key, cells);
                }
            }
            Step::Push { key, number, form } => self.change(key, |row, cells| {
                let image = state(form, word);
                row.push(number, &image);
                let place = cells.iter().position(|(of, _)| *of == number);
                cells.insert(place.unwrap_or(cells.len()), (number, image));
            }),
            Step::Set { key, cell, form } => self.change(key, |row, cells| {
                let offset = row.row().cells().nth(cell).map(|(_, cell)| cell.offset);
                if let (Some(offset), Some((_, image))) = (offset, cells.get_mut(cell)) {
                    *image = state(form, word);
                    row.replace(offset, image);
                }
            }),
            Step::Write { key, cell } => self.write(key, cell, word),
            Step::Retain { key, odd } => self.change(key, |row, cells| {
                row.retain(|number, _| (number % 2 == 1) == odd);
                cells.retain(|(number, _)| (number % 2 == 1) == odd);
            }),
            Step::Sweep { looks, drop_one_of } => {
                for _ in 0..looks {
                    self.sweep(drop_one_of);
                }
            }
            Step::Shrink => self.shard.shrink(4),
            Step::Reserve { rows } => self.shard.reserve(rows),
        }
    }

    fn change(&mut self, key: u32, change: impl FnOnce(&mut GrowingRow<'_>, &mut Cells)) {
        let Some(mut slot) = self.find(key) else { return };
        let cells = self.model.get_mut(&key).expect("a row that is found is there");
        change(&mut self.shard.grow(&mut slot), cells);
        assert_eq!(self.find(key), Some(slot), "who grows a row knows where it is");
    }

    fn write(&mut self, key: u32, cell: usize, word: u64) {
        let Some(slot) = self.find(key) else { return };
        let found = self.shard.row(slot).cells().nth(cell);
        let Some(offset) = found.map(|(_, cell)| cell.offset) else { return };
        let (_, image) = &mut self.model.get_mut(&key).expect("a row")[cell];
        // The first word of a list says how long it is.
        let from = usize::from(image.is_list);
        image.words[from..].fill(word);
        image.extra = 99;
        let wrote = self.shard.row_mut(slot).write(offset, |words| {
            words[from..].fill(word);
            Some(99)
        });
        assert!(wrote);
    }

    /// Looks at the next row, and drops it if it is of one of so many keys.
    fn sweep(&mut self, drop_one_of: u32) {
        let Some(slot) = self.shard.next_to_sweep() else { return };
        let key = self.model.keys().copied().find(|key| self.find(*key) == Some(slot));
        let key = key.expect("a row of the shard is one of the model");
        if key % drop_one_of == 0 {
            self.shard.drop_swept();
            self.model.remove(&key);
            self.shard.shrink(4);
        }
    }

    fn compare(&self) {
        self.shard.arena.check();
        assert_eq!(self.shard.len(), self.model.len());
        for (key, cells) in &self.model {
            let slot = self.find(*key).expect("the row is there");
            let row = self.shard.row(slot);
            assert_eq!(row.hash(), hash_of(*key));
            assert_eq!(row.is_overflow(), key.is_multiple_of(23));
            let found = row.cells().map(|(number, cell)| {
                let is_list = cells.iter().any(|(of, image)| {
                    *of == number && image.is_list && *image.words == *cell.words
                });
                (number, CellState { is_list, ..CellState::of(cell.extra, cell.words) })
            });
            assert_eq!(found.collect::<Vec<_>>(), *cells);
        }
        assert_eq!((400..420).find_map(|key| self.find(key)), None);
    }
}

proptest! {
    #[test]
    fn rows_are_what_was_put_into_them(steps in steps()) {
        let mut beside = Beside::default();
        for (word, step) in (1..).zip(&steps) {
            beside.step(step, word);
            beside.shard.arena.check();
            if word % 16 == 0 {
                beside.compare();
            }
        }
        beside.compare();
    }
}

/// Fills a shard, and drops all rows but one of so many.
fn thinned(rows: u32, keep_one_of: u32) -> Shard {
    let mut shard = Shard::default();
    let cells = [(1, state(0, 5)), (2, state(0, 6)), (3, state(0, 7))];
    for key in 0..rows {
        let (hash, name) = (u64::from(key) << 57 | u64::from(key), name_of(key));
        let key = RowKey::Partition { group: 0, values: &[&name] };
        shard.insert(hash, key, &cells);
        let (lines, used) = shard.arena.lines();
        assert!(lines <= used + (used / 16).max(8) + 8, "{lines} lines, {used} of them used");
    }
    shard.sweep_from(0);
    for _ in 0..shard.places() {
        if let Some(slot) = shard.next_to_sweep()
            && !(shard.row(slot).hash() & 0xffff).is_multiple_of(keep_one_of.into())
        {
            shard.drop_swept();
            shard.shrink(usize::MAX);
        }
    }
    shard
}

#[test]
fn lines_are_given_back_when_rows_go() {
    for rows in [10, 500, 5_000] {
        for keep_one_of in [2, 3, 10, 100] {
            let shard = thinned(rows, keep_one_of);
            shard.arena.check();
            let (lines, used) = shard.arena.lines();
            assert_eq!(shard.len(), rows.div_ceil(keep_one_of) as usize);
            assert!(used < lines || rows == 0);
            assert!(lines <= (used * 8).div_ceil(7).max(used + 32), "{lines} lines for {used}");
        }
        let none = thinned(rows, u32::MAX);
        assert!(none.arena.lines().0 <= 48);
    }
}

#[test]
fn one_pass_over_the_places_sees_every_row_whatever_it_drops() {
    // Searches that begin near the end go on at the start.
    for (rows, crowd) in [(5, 1), (40, 3), (300, 50)] {
        let mut shard = Shard::default();
        for key in 0..rows {
            let hash = (u64::from(key) << 32) + (u64::from(u32::MAX) - u64::from(key % crowd));
            let name = name_of(key);
            shard.insert(hash, RowKey::Partition { group: 0, values: &[&name] }, &[]);
        }
        shard.sweep_from(0);
        let mut seen = 0;
        for _ in 0..shard.places() {
            if let Some(slot) = shard.next_to_sweep() {
                seen += 1;
                if (shard.row(slot).hash() >> 32).is_multiple_of(2) {
                    shard.drop_swept();
                }
            }
        }
        assert_eq!(seen, rows, "{rows} rows, {crowd} of a kind");
        assert!(shard.rows().all(|row| !(row.hash() >> 32).is_multiple_of(2)));
    }
}
