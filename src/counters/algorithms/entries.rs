//! Uses with their own times, as they lie in the words of a cell.
//!
//! ```text
//! [room | how many | wide] [time] [amount] [time] [amount] ... room that is free
//! ```
//!
//! The oldest is first and no two are of the same instant. An amount takes one word, or two in a
//! list that is wide because an amount may be more than one holds. The first word says how many
//! words come after it, so that a row knows where the next cell lies.

use smallvec::SmallVec;

use crate::counters::cell::{CellState, join, split};
use crate::counters::time::Moment;
use crate::rules::Units;

const NARROW_STRIDE: usize = 2;
const WIDE_STRIDE: usize = 3;
const WIDE: u64 = 1 << 32;

/// What was used at an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) time: Moment,
    pub(super) amount: Units,
}

/// How many words a list has, by its first.
#[inline]
pub(in crate::counters) fn width(head: u64) -> usize {
    room(head).saturating_add(1)
}

/// How many words come after the first.
#[inline]
fn room(head: u64) -> usize {
    usize::try_from(head & 0xffff).unwrap_or(0)
}

fn count(head: u64) -> usize {
    usize::try_from((head >> 16) & 0xffff).unwrap_or(0)
}

fn stride(head: u64) -> usize {
    if head & WIDE == 0 { NARROW_STRIDE } else { WIDE_STRIDE }
}

/// The entries of a list.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entries<'w> {
    /// The words that hold entries.
    words: &'w [u64],
    stride: usize,
    /// For how many there is room.
    room: usize,
}

impl<'w> Entries<'w> {
    pub(super) fn of(words: &'w [u64]) -> Self {
        let Some((head, rest)) = words.split_first() else {
            return Self { words: &[], stride: NARROW_STRIDE, room: 0 };
        };
        let stride = stride(*head);
        let room = rest.len().min(room(*head));
        let used = count(*head).saturating_mul(stride).min(room);
        let room = room.checked_div(stride).unwrap_or(0);
        Self { words: rest.get(..used).unwrap_or(&[]), stride, room }
    }

    pub(super) fn len(&self) -> usize {
        self.words.len().checked_div(self.stride).unwrap_or(0)
    }

    pub(super) fn room(&self) -> usize {
        self.room
    }

    pub(super) fn is_wide(&self) -> bool {
        self.stride == WIDE_STRIDE
    }

    /// The oldest first.
    #[inline]
    pub(super) fn iter(self) -> impl DoubleEndedIterator<Item = Entry> + Clone + use<'w> {
        self.words.chunks_exact(self.stride).map(entry)
    }
}

#[inline]
fn entry(words: &[u64]) -> Entry {
    match *words {
        [time, amount] => Entry { time: Moment(time), amount: amount.cast_signed().into() },
        [time, high, low] => Entry { time: Moment(time), amount: join(high, low).cast_signed() },
        _ => Entry { time: Moment(0), amount: 0 },
    }
}

/// The entries of a list that change. There is room for what is put into it.
#[derive(Debug)]
pub(super) struct EntriesMut<'w> {
    words: &'w mut [u64],
}

impl<'w> EntriesMut<'w> {
    pub(super) fn of(words: &'w mut [u64]) -> Self {
        Self { words }
    }

    fn view(&self) -> Entries<'_> {
        Entries::of(self.words)
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = Entry> + Clone {
        self.view().iter()
    }

    pub(super) fn len(&self) -> usize {
        self.view().len()
    }

    /// The words of the entry at a place.
    fn at(&self, place: usize) -> usize {
        place.saturating_mul(self.view().stride).saturating_add(1)
    }

    fn resize(&mut self, count: usize) {
        if let Some(head) = self.words.first_mut() {
            *head = (*head & !(0xffff << 16)) | ((count as u64 & 0xffff) << 16);
        }
    }

    pub(super) fn get(&self, place: usize) -> Option<Entry> {
        let view = self.view();
        let start = place.checked_mul(view.stride)?;
        view.words.get(start..start.checked_add(view.stride)?).map(entry)
    }

    pub(super) fn set(&mut self, place: usize, entry: Entry) {
        let (start, wide) = (self.at(place), self.view().is_wide());
        let Some(to) = self.words.get_mut(start..) else { return };
        write(to, entry, wide);
    }

    /// Removes the entries from a place to before another.
    pub(super) fn remove(&mut self, from: usize, to: usize) {
        let count = self.len();
        let (start, end, last) = (self.at(from), self.at(to), self.at(count));
        if from < to && to <= count && last <= self.words.len() {
            self.words.copy_within(end..last, start);
            self.resize(count.saturating_sub(to.saturating_sub(from)));
        }
    }

    /// Puts an entry before the one at a place.
    pub(super) fn insert(&mut self, place: usize, entry: Entry) {
        let count = self.len();
        let (start, next, last) =
            (self.at(place), self.at(place.saturating_add(1)), self.at(count));
        if count < self.view().room && place <= count {
            self.words.copy_within(start..last, next);
            self.resize(count.saturating_add(1));
            self.set(place, entry);
        }
    }
}

#[inline]
fn write(to: &mut [u64], Entry { time, amount }: Entry, wide: bool) {
    match to {
        [first, high, low, ..] if wide => {
            (*high, *low) = split(amount.cast_unsigned());
            *first = time.0;
        }
        [first, second, ..] if !wide => {
            let bound = if amount < 0 { i64::MIN } else { i64::MAX };
            *second = i64::try_from(amount).unwrap_or(bound).cast_unsigned();
            *first = time.0;
        }
        _ => {}
    }
}

/// A list of these entries, with room for `room` of them.
pub(super) fn list(entries: impl Iterator<Item = Entry>, room: usize, wide: bool) -> CellState {
    let stride = if wide { WIDE_STRIDE } else { NARROW_STRIDE };
    let room = room.saturating_mul(stride);
    let mut words = SmallVec::from_elem(0, room.saturating_add(1));
    let mut count = 0_u64;
    if let [_, rest @ ..] = words.as_mut_slice() {
        for (to, entry) in rest.chunks_exact_mut(stride).zip(entries) {
            write(to, entry, wide);
            count = count.saturating_add(1);
        }
    }
    if let Some(head) = words.first_mut() {
        *head = (room as u64 & 0xffff) | (count << 16) | if wide { WIDE } else { 0 };
    }
    CellState { extra: 0, is_list: true, words }
}

/// The list of these words.
pub(super) fn list_of_words(words: &[u64]) -> CellState {
    CellState { extra: 0, is_list: true, words: words.into() }
}
