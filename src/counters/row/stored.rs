//! A row as bytes: its words as they are, without the hash, whose keys are another process's, and
//! without the length in its head.

use smallvec::SmallVec;

use super::{
    FORM, LIST, MAX_KEY_WORDS, OVERFLOW_GROUP, ROW_WORDS, Row, RowKey, high, low, number_of, plain,
    tag, width,
};
use crate::base::codec::{Malformed, Reader, put_varint};
use crate::base::format::Version;
use crate::counters::cell::{CellState, NARROW};

/// The words of a stored row.
type Words<'b> = &'b [[u8; 8]];

impl Row<'_> {
    /// Appends the row.
    pub(in crate::counters) fn encode(self, out: &mut Vec<u8>) {
        let [_, head, rest @ ..] = self.0 else { return };
        // How long it is comes before it.
        let head = *head & ((1 << ROW_WORDS) - 1);
        put_varint(out, rest.len().saturating_add(1) as u64);
        out.reserve(rest.len().saturating_add(1).saturating_mul(8));
        for word in std::iter::once(&head).chain(rest) {
            out.extend_from_slice(&word.to_le_bytes());
        }
    }

    /// Reads the words of a row.
    pub(in crate::counters) fn read_words<'b>(
        from: &mut Reader<'b>,
    ) -> Result<Words<'b>, Malformed> {
        let length = from.length("the words of a row")?.saturating_mul(8);
        Ok(from.bytes(length, "the words of a row")?.as_chunks().0)
    }

    /// The words, as the table holds them, of a stored row: with those of its cells for which
    /// `keep` returns what they are to be. `None` of words that are no row.
    pub(in crate::counters) fn decode(
        version: Version,
        stored: Words<'_>,
        hash: impl FnOnce(RowKey<'_>) -> u64,
        mut keep: impl FnMut(u32, CellState) -> Option<CellState>,
    ) -> Option<Vec<u64>> {
        let (head, rest) = stored.split_first()?;
        let head = u64::from_le_bytes(*head);
        let key_words = Some(high(head) as usize).filter(|words| *words <= MAX_KEY_WORDS)?;
        let (key, mut cells) = rest.split_at_checked(key_words)?;
        let mut words = Vec::with_capacity(stored.len().saturating_add(1));
        key_of(low(head), key, |key| {
            words.extend([hash(key), head]);
            words.extend(key.words());
        })?;
        while let Some((first, rest)) = cells.split_first() {
            let first = u64::from_le_bytes(*first);
            let width = match version {
                Version::One => one::width(first),
                Version::Two | Version::Three => {
                    let next = rest.first().map(|word| u64::from_le_bytes(*word));
                    width(first, next.as_ref())
                }
            };
            let (state, rest) = rest.split_at_checked(width)?;
            cells = rest;
            let (number, is_list) = (number_of(first), low(first) >> FORM == LIST);
            let state = state.iter().map(|word| u64::from_le_bytes(*word)).collect();
            if let Some(image) =
                keep(number, CellState { extra: high(first), is_list, words: state })
            {
                words.push(tag(number, &image));
                words.extend_from_slice(&image.words);
            }
        }
        Some(words)
    }
}

/// Cells as format 1 has them: the two bits above a counter's number said how wide its state is.
mod one {
    use super::{NARROW, low};

    const WIDE_BIT: u32 = 1 << 31;
    const TALL_BIT: u32 = 1 << 30;
    /// The words of a quota of the highest or latest amount: with a figure of one word.
    const TALL: usize = 3;
    /// The words of a sliding window: the newest slot and a ring of 61.
    const WIDE: usize = 62;

    pub(super) fn width(tag: u64) -> usize {
        let number = low(tag);
        if number & (WIDE_BIT | TALL_BIT) == 0 {
            NARROW
        } else if number & WIDE_BIT == 0 {
            TALL
        } else {
            WIDE
        }
    }
}

/// What a row is found by, for as long as `with` has it: of a group, and the words of a key. `None`
/// of words that are no key.
pub(in crate::counters) fn key_of<R>(
    group: u32,
    words: Words<'_>,
    with: impl FnOnce(RowKey<'_>) -> R,
) -> Option<R> {
    if group == OVERFLOW_GROUP {
        let [counter] = words else { return None };
        let counter = plain(u32::try_from(u64::from_le_bytes(*counter)).ok()?);
        return Some(with(RowKey::Overflow { counter }));
    }
    Some(with(RowKey::Partition { group, values: &values(words)? }))
}

/// The same of words as a table has them.
pub(in crate::counters) fn key_of_words<R>(
    group: u32,
    words: &[u64],
    with: impl FnOnce(RowKey<'_>) -> R,
) -> Option<R> {
    let words: Vec<[u8; 8]> = words.iter().map(|word| word.to_le_bytes()).collect();
    key_of(group, &words, with)
}

/// The values of a key: each ends with a word whose top byte is below 8. See [`RowKey::words`].
fn values(key: Words<'_>) -> Option<SmallVec<[&str; 2]>> {
    let bytes = key.as_flattened();
    let mut values = SmallVec::new();
    let mut start = 0;
    for (index, word) in key.iter().enumerate() {
        let [.., length] = *word;
        let end = index.saturating_mul(8);
        if length < 8 {
            let text = bytes.get(start..end.saturating_add(length.into()))?;
            values.push(std::str::from_utf8(text).ok()?);
            start = end.saturating_add(8);
        }
    }
    (start == bytes.len()).then_some(values)
}
