//! A row of the table: a partition's value, and the counters of its rules, as one run of words.
//!
//! ```text
//! [hash] [group | key words | words] [key ...] ([number | extra] [state ...]) ...
//! ```
//!
//! No padding: with two rate limits and two quotas, 13 bytes of customer id take 4 + 4 * 3 words,
//! which are two lines of a cache. The head, the second word, says how many words there are, and
//! where the row ends. A counter's tag holds the number that it has for life, and in two bits above
//! it how wide the cell is: a count that outgrows its word gets another one, and a list of uses
//! says in its first word how long it is.

use std::ops::Range;

use smallvec::SmallVec;

use super::algorithms::entries;
use super::cell::{BROAD, Cell, CellState, NARROW, StateWords, TALL};

mod stored;

pub(super) use self::stored::{key_of, key_of_words};

/// Where a tag says how wide its cell is: above the counter's number, which is below 2^29, and the
/// mark of a counter with open holds.
const FORM: u32 = 30;
/// Set in the tag of a cell whose counter has open holds.
const HELD: u32 = 1 << 29;
/// The widths that cells have, in the order of their forms; that of a list is in its first word.
const WIDTHS: [usize; 4] = [NARROW, BROAD, usize::MAX, TALL];
const LIST: u32 = 2;
/// The group of rows that new keys share when there is no room for counters of their own.
const OVERFLOW_GROUP: u32 = u32::MAX;
const HEADER_WORDS: usize = 2;
/// Where a head says how many words the key has, and how many the row: in 12 bits and in 20.
const KEY_WORDS: u32 = 32;
const ROW_WORDS: u32 = 44;
/// The values of an event, of 64 kilobytes with their names, take fewer.
const MAX_KEY_WORDS: usize = (1 << (ROW_WORDS - KEY_WORDS)) - 1;
/// Eight megabytes: some thousands of counters, of which a row has those of one event.
const MAX_ROW_WORDS: usize = (1 << (u64::BITS - ROW_WORDS)) - 1;

/// What a row is found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RowKey<'e> {
    /// The values of a group's partition; they hold no control characters.
    Partition { group: u32, values: &'e [&'e str] },
    /// The counter that a rule's new keys share, by the number that stays over its changes.
    Overflow { counter: u32 },
}

impl RowKey<'_> {
    fn group(self) -> u32 {
        match self {
            Self::Partition { group, .. } => group,
            Self::Overflow { .. } => OVERFLOW_GROUP,
        }
    }

    /// Whether it is this one: a group, and the words of a key.
    pub(super) fn has_identity(self, (group, words): (u32, &[u64])) -> bool {
        self.group() == group && self.is(words)
    }

    /// The group, and the words of the key.
    pub(super) fn identity(self) -> (u32, SmallVec<[u64; 4]>) {
        (self.group(), self.words().collect())
    }

    /// Whether these are the key's words.
    #[inline]
    fn is(self, mut words: &[u64]) -> bool {
        let values = match self {
            Self::Partition { values, .. } => values,
            Self::Overflow { counter } => return *words == [u64::from(counter)],
        };
        for value in values {
            match strip(words, value) {
                Some(rest) => words = rest,
                None => return false,
            }
        }
        words.is_empty()
    }

    /// The key as words. Each value is its full words of eight bytes and then a word with the
    /// rest and, in the top byte, the number of bytes in it (0 to 7). No byte of a value is below
    /// a space, so that word never equals one of eight bytes: the words tell the values apart.
    fn words(self) -> impl Iterator<Item = u64> {
        let (values, counter): (&[&str], _) = match self {
            Self::Partition { values, .. } => (values, None),
            Self::Overflow { counter } => (&[], Some(u64::from(counter))),
        };
        values.iter().flat_map(|value| packed(value.as_bytes())).chain(counter)
    }
}

/// Takes a value's words from the front of a key.
#[inline]
fn strip<'w>(words: &'w [u64], value: &str) -> Option<&'w [u64]> {
    let (full, rest) = value.as_bytes().as_chunks::<8>();
    let (front, words) = words.split_at_checked(full.len())?;
    let (last, words) = words.split_first()?;
    let same = front.iter().zip(full).all(|(word, bytes)| *word == u64::from_le_bytes(*bytes));
    (same && *last == last_word(value.as_bytes(), rest)).then_some(words)
}

/// The word of the bytes after the full words of a value: out of its last eight, where it has
/// them.
#[inline]
fn last_word(value: &[u8], rest: &[u8]) -> u64 {
    let Some(last) = value.last_chunk::<8>() else { return packed_rest(rest) };
    let length = rest.len() as u64;
    // Shifted by all 64 bits it would be, of no rest, and is 0.
    let unwanted = length.wrapping_mul(8).wrapping_neg() & 63;
    let bytes = if length == 0 { 0 } else { u64::from_le_bytes(*last) >> unwanted };
    bytes | (length << 56)
}

/// Fewer than eight bytes, and in the top byte how many.
#[inline]
fn packed_rest(rest: &[u8]) -> u64 {
    let length = (rest.len() as u64) << 56;
    rest.iter().rev().fold(0, |word, byte| (word << 8) | u64::from(*byte)) | length
}

fn packed(bytes: &[u8]) -> impl Iterator<Item = u64> {
    let (full, rest) = bytes.as_chunks::<8>();
    full.iter().map(|word| u64::from_le_bytes(*word)).chain(std::iter::once(packed_rest(rest)))
}

/// How many words a row has by its head.
#[inline]
pub(super) fn length_of(head: u64) -> usize {
    usize::try_from(head >> ROW_WORDS).unwrap_or(0)
}

/// The same head of a row of so many words; `None` of more than a row may have.
pub(super) fn with_length(head: u64, words: usize) -> Option<u64> {
    debug_assert!(words <= MAX_ROW_WORDS, "a row of {words} words");
    let rest = head & ((1 << ROW_WORDS) - 1);
    (words <= MAX_ROW_WORDS).then_some(rest | ((words as u64) << ROW_WORDS))
}

/// A row that is about to be made, with its first counters.
pub(super) struct NewRow<'r> {
    hash: u64,
    key: RowKey<'r>,
    key_words: usize,
    cells: &'r [(u32, CellState)],
}

impl<'r> NewRow<'r> {
    pub(super) fn new(hash: u64, key: RowKey<'r>, cells: &'r [(u32, CellState)]) -> Self {
        let key_words = key.words().count();
        debug_assert!(key_words <= MAX_KEY_WORDS, "a key of {key_words} words");
        Self { hash, key, key_words, cells }
    }

    pub(super) fn length(&self) -> usize {
        let words = self.cells.iter().map(|(_, image)| image.words.len().saturating_add(1));
        words.fold(HEADER_WORDS.saturating_add(self.key_words), usize::saturating_add)
    }

    /// Writes the row into as many words.
    pub(super) fn fill(&self, words: &mut [u64]) {
        let head = u64::from(self.key.group()) | ((self.key_words as u64) << KEY_WORDS);
        let mut words = words.iter_mut();
        let mut put = |word| words.next().map_or((), |to| *to = word);
        put(self.hash);
        put(head);
        self.key.words().for_each(&mut put);
        for (number, image) in self.cells {
            put(tag(*number, image));
            image.words.iter().copied().for_each(&mut put);
        }
    }
}

/// A row as its shard holds it, to be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row<'r>(&'r [u64]);

impl<'r> Row<'r> {
    #[inline]
    pub(super) fn of(words: &'r [u64]) -> Self {
        Self(words)
    }

    #[inline]
    pub(super) fn hash(self) -> u64 {
        self.0.first().copied().unwrap_or(0)
    }

    #[inline]
    pub(super) fn has_key(self, hash: u64, key: RowKey<'_>) -> bool {
        let [own, head, ..] = *self.0 else { return false };
        own == hash && low(head) == key.group() && key.is(self.key())
    }

    pub(super) fn is_overflow(self) -> bool {
        self.0.get(1).map(|word| low(*word)) == Some(OVERFLOW_GROUP)
    }

    #[inline]
    fn key(self) -> &'r [u64] {
        self.0.get(HEADER_WORDS..self.first_cell()).unwrap_or(&[])
    }

    /// Where the first cell lies.
    #[inline]
    pub(super) fn first_cell(self) -> usize {
        let key_words = self.0.get(1).map_or(0, |head| high(*head) as usize & MAX_KEY_WORDS);
        key_words.saturating_add(HEADER_WORDS)
    }

    /// All cells with their counters' numbers.
    pub(super) fn cells(self) -> Cells<'r> {
        Cells { words: self.0, offset: self.first_cell() }
    }

    /// The cells of one counter, which lie side by side. They are looked for at `hint` first:
    /// a row mostly lies in the order in which its rules are asked.
    #[inline]
    pub(super) fn cells_of(self, number: u32, hint: usize) -> CellsOf<'r> {
        let hinted = hint > 0 && self.0.get(hint).is_some_and(|tag| number_of(*tag) == number);
        let offset = if hinted { hint } else { self.find(number) };
        CellsOf { cells: Cells { words: self.0, offset }, number }
    }

    /// The cell at `offset`, if it is one of this counter, and that has no open holds.
    #[inline]
    pub(super) fn cell_of(self, number: u32, offset: usize) -> Option<Cell<'r>> {
        let (&tag, state) = self.0.get(offset..)?.split_first()?;
        // The mark counts, too: a counter with open holds is not found here.
        if low(tag) & (HELD | (HELD - 1)) != number {
            return None;
        }
        let words = state.get(..width(tag, state.first()))?;
        Some(Cell { offset, extra: high(tag), words })
    }

    /// Whether a cell of this counter lies at `offset`.
    #[inline]
    pub(super) fn has_at(self, offset: usize, number: u32) -> bool {
        self.0.get(offset).is_some_and(|tag| number_of(*tag) == number)
    }

    /// Where the first cell of a counter lies; the row's end where there is none.
    #[inline]
    fn find(self, number: u32) -> usize {
        let mut offset = self.first_cell();
        while let Some(tag) = self.0.get(offset)
            && number_of(*tag) != number
        {
            offset = self.after(offset);
        }
        offset
    }

    /// Where the cell after the one at `offset` lies.
    #[inline]
    pub(super) fn after(self, offset: usize) -> usize {
        offset.saturating_add(self.width_at(offset)).saturating_add(1)
    }

    /// How many words of state the cell at `offset` has.
    fn width_at(self, offset: usize) -> usize {
        match self.0.get(offset..) {
            Some([tag, state @ ..]) => width(*tag, state.first()),
            _ => NARROW,
        }
    }

    /// Whether the cell at `offset` is one of a counter with open holds.
    pub(super) fn is_held_at(self, offset: usize) -> bool {
        self.0.get(offset).is_some_and(|tag| low(*tag) & HELD > 0)
    }

    /// Whether the words of the cell at `offset` are a list.
    pub(super) fn is_list_at(self, offset: usize) -> bool {
        self.0.get(offset).is_some_and(|tag| low(*tag) >> FORM == LIST)
    }

    /// Whether a cell of this counter is marked as one of a counter with open holds.
    pub(super) fn is_held(self, number: u32) -> bool {
        self.cells_of(number, 0).any(|cell| self.is_held_at(cell.offset))
    }

    /// The group and the words of the key: what tells the row from all others.
    pub(super) fn identity(self) -> (u32, &'r [u64]) {
        (self.0.get(1).map_or(0, |head| low(*head)), self.key())
    }

    /// Whether the cell at `offset` is the only one of a counter.
    pub(super) fn is_only(self, number: u32, offset: usize) -> bool {
        let mut cells = self.cells_of(number, 0);
        cells.next().is_some_and(|cell| cell.offset == offset) && cells.next().is_none()
    }

    /// The 32 bits beside the counter's number in the tag at `offset`.
    #[inline]
    pub(super) fn extra_at(self, offset: usize) -> u32 {
        self.0.get(offset).map_or(0, |tag| high(*tag))
    }

    /// The cell at `offset`.
    pub(super) fn cell_at(self, offset: usize) -> Option<Cell<'r>> {
        Cells { words: self.0, offset }.next().map(|(_, cell)| cell)
    }

    /// The words of the row with a state in place of the one at `offset`.
    pub(super) fn replaced(self, offset: usize, image: &CellState) -> Vec<u64> {
        let Some(first) = self.0.get(offset) else { return self.0.to_vec() };
        let end = self.after(offset).min(self.0.len());
        let held = low(*first) & HELD;
        self.spliced(offset..end, number_of(*first) | held, image)
    }

    /// The words of the row with one more cell, beside others of the same counter or at the end.
    pub(super) fn with(self, number: u32, image: &CellState) -> Vec<u64> {
        let sibling = self.cells_of(number, 0).next().map(|cell| cell.offset);
        let place = sibling.unwrap_or(self.0.len());
        self.spliced(place..place, number, image)
    }

    fn spliced(self, place: Range<usize>, number: u32, image: &CellState) -> Vec<u64> {
        let more = image.words.len().saturating_add(1);
        let mut words = Vec::with_capacity(self.0.len().saturating_add(more));
        words.extend(self.0.get(..place.start).unwrap_or(&[]));
        words.push(tag(number, image));
        words.extend_from_slice(&image.words);
        words.extend(self.0.get(place.end..).unwrap_or(&[]));
        words
    }

    /// The words of the row without the cells that `keep` does not want; `None` where it wants all.
    pub(super) fn retaining(self, mut keep: impl FnMut(u32, Cell<'_>) -> bool) -> Option<Vec<u64>> {
        let mut words = self.0.get(..self.first_cell()).unwrap_or(&[]).to_vec();
        for (number, cell) in self.cells() {
            if keep(number, cell) {
                words.extend(self.0.get(cell.offset));
                words.extend_from_slice(cell.words);
            }
        }
        (words.len() < self.0.len()).then_some(words)
    }
}

/// A row as its shard holds it, whose cells are written where they lie.
#[derive(Debug)]
pub(super) struct RowMut<'r>(&'r mut [u64]);

impl<'r> RowMut<'r> {
    #[inline]
    pub(super) fn of(words: &'r mut [u64]) -> Self {
        Self(words)
    }

    #[inline]
    pub(super) fn as_row(&self) -> Row<'_> {
        Row(self.0)
    }

    /// The cell at `offset`, if it is one of two words of state and of this counter.
    #[inline]
    pub(super) fn narrow(&mut self, offset: usize, number: u32) -> Option<&mut Narrow> {
        let cell: &mut Narrow = self.0.get_mut(offset..)?.first_chunk_mut()?;
        let [tag, ..] = *cell;
        // The bits of the form are 0 in the tag of a cell of two words.
        (low(tag) == number).then_some(cell)
    }

    /// The same of a counter with open holds or without.
    #[inline]
    pub(super) fn narrow_at(&mut self, offset: usize, number: u32) -> Option<&mut Narrow> {
        let cell: &mut Narrow = self.0.get_mut(offset..)?.first_chunk_mut()?;
        let [tag, ..] = *cell;
        (low(tag) & !HELD == number).then_some(cell)
    }

    /// Puts back what was in such a cell, and the mark of all cells of its counter.
    pub(super) fn restore_marked(&mut self, offset: usize, cell: &Narrow) {
        let [tag, ..] = *cell;
        self.restore(offset, cell);
        self.mark_held(number_of(tag), low(tag) & HELD > 0);
    }

    /// Puts back what was in such a cell.
    pub(super) fn restore(&mut self, offset: usize, cell: &Narrow) {
        if let Some(to) = self.0.get_mut(offset..).and_then(<[_]>::first_chunk_mut) {
            *to = *cell;
        }
    }

    /// Writes the state of the cell at `offset`, and its tag's 32 bits by the closure's answer.
    /// Returns whether it had room for the state: where the answer is `None` it had not.
    #[inline]
    pub(super) fn write(
        &mut self,
        offset: usize,
        write: impl FnOnce(&mut [u64]) -> Option<u32>,
    ) -> bool {
        let Some([first, rest @ ..]) = self.0.get_mut(offset..) else { return true };
        let Some(words) = rest.get_mut(..width(*first, rest.first())) else { return true };
        let extra = write(words);
        if let Some(extra) = extra {
            *first = u64::from(low(*first)) | (u64::from(extra) << 32);
        }
        extra.is_some()
    }

    /// Marks the cells of a counter as those of one with open holds, or of one without.
    pub(super) fn mark_held(&mut self, number: u32, held: bool) {
        self.mark_from(Row::of(self.0).find(number), number, held);
    }

    /// The same of a counter that has a cell at `offset`: its first, where that is at the hint,
    /// behind the cells of the counter before. The hint goes on behind it.
    pub(super) fn mark_held_at(
        &mut self,
        offset: usize,
        hint: &mut usize,
        number: u32,
        held: bool,
    ) {
        if offset == *hint {
            *hint = self.mark_from(offset, number, held);
        } else {
            self.mark_held(number, held);
            *hint = 0;
        }
    }

    /// Marks all cells of a counter from its first on, and returns where the next one lies.
    fn mark_from(&mut self, mut offset: usize, number: u32, held: bool) -> usize {
        while let Some(tag) = self.0.get_mut(offset)
            && number_of(*tag) == number
        {
            let mark = u64::from(HELD);
            *tag = if held { *tag | mark } else { *tag & !mark };
            offset = Row::of(self.0).after(offset);
        }
        offset
    }

    /// Writes a state, for which it has room, into the cell at `offset`.
    #[inline]
    pub(super) fn put(&mut self, offset: usize, state: &StateWords) {
        if let Some(cell) =
            self.0.get_mut(offset..).and_then(<[_]>::first_chunk_mut::<{ 1 + NARROW }>)
            && low(cell[0]) >> FORM == 0
        {
            return put_into(cell, state);
        }
        self.write(offset, |words| {
            state.put(words);
            Some(state.extra)
        });
    }
}

/// A cell of two words of state: its tag, and these.
pub(super) type Narrow = [u64; NARROW_CELL];

/// How far the cell behind one of two words of state lies from it.
pub(super) const NARROW_CELL: usize = 1 + NARROW;

/// The state in it.
#[inline]
pub(super) fn state_in([tag, words @ ..]: &Narrow) -> Cell<'_> {
    Cell { offset: 0, extra: high(*tag), words }
}

/// Puts a state into it.
#[inline]
pub(super) fn put_into([tag, a, b]: &mut Narrow, state: &StateWords) {
    *tag = u64::from(low(*tag)) | (u64::from(state.extra) << 32);
    [*a, *b] = [state.words[0], state.words[1]];
}

/// Marks it as one of a counter with open holds, or of one without.
#[inline]
pub(super) fn mark([tag, ..]: &mut Narrow, held: bool) {
    *tag = if held { *tag | u64::from(HELD) } else { *tag & !u64::from(HELD) };
}

/// The cells of a row from an offset on.
#[derive(Clone, Debug)]
pub(super) struct Cells<'r> {
    words: &'r [u64],
    offset: usize,
}

impl<'r> Iterator for Cells<'r> {
    type Item = (u32, Cell<'r>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let offset = self.offset;
        let tag = *self.words.get(offset)?;
        let start = offset.saturating_add(1);
        self.offset = start.saturating_add(width(tag, self.words.get(start)));
        let words = self.words.get(start..self.offset)?;
        Some((number_of(tag), Cell { offset, extra: high(tag), words }))
    }
}

/// The cells of one counter.
#[derive(Clone, Debug)]
pub(super) struct CellsOf<'r> {
    cells: Cells<'r>,
    number: u32,
}

impl<'r> Iterator for CellsOf<'r> {
    type Item = Cell<'r>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let (number, cell) = self.cells.next()?;
        (number == self.number).then_some(cell)
    }
}

/// The number of a counter without what is beside it in a tag; all are below 2^29.
#[inline]
pub(super) fn plain(number: u32) -> u32 {
    number & (HELD - 1)
}

#[inline]
fn number_of(tag: u64) -> u32 {
    plain(low(tag))
}

/// How many words of state come after a tag, by the first of them.
#[inline]
fn width(tag: u64, first: Option<&u64>) -> usize {
    match low(tag) >> FORM {
        0 => NARROW,
        LIST => first.map_or(0, |head| entries::width(*head)),
        form => WIDTHS.get(form as usize).copied().unwrap_or(NARROW),
    }
}

#[inline]
fn tag(number: u32, image: &CellState) -> u64 {
    let words = image.words.len();
    let form = (0_u32..).zip(WIDTHS).find(|(_, width)| *width == words).map_or(0, |(form, _)| form);
    let form = if image.is_list { LIST } else { form };
    u64::from(number | (form << FORM)) | (u64::from(image.extra) << 32)
}

#[expect(clippy::cast_possible_truncation, reason = "the half is what is wanted")]
#[inline]
fn low(word: u64) -> u32 {
    word as u32
}

#[inline]
fn high(word: u64) -> u32 {
    low(word >> 32)
}
