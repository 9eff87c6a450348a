//! The values of one dimension that the roll-ups know, by number.

use std::collections::BinaryHeap;

use hashbrown::HashTable;
use smallvec::SmallVec;

use crate::base::codec::{Codec, Malformed, Reader, put_list, put_varint};
use crate::event::Dimension;
use crate::rules::Condition;

/// The number of a dimension's value.
pub(super) type ValueId = u32;
/// The event has no such dimension.
pub(super) const MISSING: ValueId = 0;
/// The value came when there was no room for another.
pub(super) const OTHER: ValueId = 1;

/// What the roll-ups know of a value.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Value {
    /// Bytes of UTF-8, those of most values inline. Empty for a missing value, for all others
    /// together, and for one whose place is free.
    text: SmallVec<[u8; 24]>,
    /// The series of the value alone; [`NO_SERIES`] until its first event.
    series: u32,
    /// The series of value tuples that it is part of, in ascending order.
    pub(super) tuples: Vec<u32>,
    /// No event of it was ever counted among the others.
    is_whole: bool,
}

/// No series has this number.
const NO_SERIES: u32 = u32::MAX;

// One cache line, because that is what it costs to find a value.
const _: () = assert!(size_of::<Value>() == 64);

impl Value {
    fn new(text: &str, is_whole: bool) -> Self {
        let text = SmallVec::from_slice(text.as_bytes());
        Self { text, series: NO_SERIES, tuples: Vec::new(), is_whole }
    }

    #[inline]
    pub(super) fn series(&self) -> Option<u32> {
        (self.series != NO_SERIES).then_some(self.series)
    }

    pub(super) fn set_series(&mut self, series: Option<u32>) {
        self.series = series.unwrap_or(NO_SERIES);
    }

    fn text(&self) -> &str {
        // It was made of a text.
        str::from_utf8(&self.text).unwrap_or_default()
    }
}

#[derive(Debug)]
pub(super) struct Dictionary {
    pub(super) dimension: Dimension,
    values: Vec<Value>,
    free: Vec<ValueId>,
    index: HashTable<ValueId>,
    max_values: usize,
    hasher: ahash::RandomState,
}

impl Dictionary {
    pub(super) fn new(dimension: Dimension, max_values: usize, hasher: ahash::RandomState) -> Self {
        Self {
            dimension,
            values: vec![Value::new("", true), Value::new("", true)],
            free: Vec::new(),
            index: HashTable::new(),
            max_values,
            hasher,
        }
    }

    /// How many values are known.
    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    pub(super) fn find(&self, text: &str) -> Option<ValueId> {
        self.find_hashed(text, self.hasher.hash_one(text))
    }

    /// The first so many values behind one, by their texts. O(values).
    pub(super) fn after(&self, after: Option<&str>, most: usize) -> Vec<String> {
        let texts = self.ids().filter_map(|(id, _)| self.text(id));
        let mut first: BinaryHeap<&str> = BinaryHeap::new();
        for text in texts.filter(|text| after.is_none_or(|after| after < *text)) {
            first.push(text);
            if first.len() > most {
                first.pop();
            }
        }
        first.into_sorted_vec().into_iter().map(str::to_owned).collect()
    }

    /// Whether an event counts as this value; not said of the others together.
    #[inline]
    pub(super) fn is_known_as(&self, id: ValueId, text: Option<&str>) -> bool {
        match text {
            None => id == MISSING,
            Some(text) => {
                id > OTHER && self.get(id).is_some_and(|known| *known.text == *text.as_bytes())
            }
        }
    }

    #[inline]
    pub(super) fn find_hashed(&self, text: &str, hash: u64) -> Option<ValueId> {
        let is_it =
            |id: &ValueId| self.get(*id).is_some_and(|value| *value.text == *text.as_bytes());
        self.index.find(hash, is_it).copied()
    }

    #[inline]
    pub(super) fn get(&self, id: ValueId) -> Option<&Value> {
        self.values.get(id as usize)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, id: ValueId) -> Option<&mut Value> {
        self.values.get_mut(id as usize)
    }

    /// The text of a value that is one.
    pub(super) fn text(&self, id: ValueId) -> Option<&str> {
        (id > OTHER).then(|| self.get(id).map(Value::text)).flatten()
    }

    /// Whether all events of a value were counted as its own.
    pub(super) fn is_whole(&self, id: ValueId) -> bool {
        self.get(id).is_some_and(|value| value.is_whole)
    }

    /// The values that meet a condition, in the order of their numbers. O(values).
    pub(super) fn meeting(&self, condition: &Condition) -> Vec<ValueId> {
        let ids = (0..).zip(&self.values).map(|(id, _)| id).filter(|id| *id != OTHER);
        ids.filter(|id| condition.is_met_by(self.text(*id))).collect()
    }

    /// The values that have events.
    pub(super) fn ids(&self) -> impl Iterator<Item = (ValueId, &Value)> {
        (0..).zip(&self.values).filter(|(_, value)| value.series().is_some())
    }

    /// The number of a value with its hash, a new one where there is room; all others share one.
    #[inline]
    pub(super) fn intern(&mut self, value: Option<(&str, u64)>) -> ValueId {
        let Some((text, hash)) = value else { return MISSING };
        debug_assert_eq!(hash, self.hasher.hash_one(text), "hashes are by the ledger's hasher");
        match self.find_hashed(text, hash) {
            Some(id) => id,
            None if self.index.len() >= self.max_values => OTHER,
            None => self.insert(text),
        }
    }

    #[cold]
    fn insert(&mut self, text: &str) -> ValueId {
        // Events of this value may be among the others while those have any.
        let is_unused = |others: &Value| others.series().is_none() && others.tuples.is_empty();
        let is_whole = self.get(OTHER).is_some_and(is_unused);
        let value = Value::new(text, is_whole);
        let free = self.free.pop();
        let id = free.unwrap_or_else(|| u32::try_from(self.values.len()).unwrap_or(u32::MAX));
        match self.get_mut(id) {
            Some(known) => *known = value,
            None => self.values.push(value),
        }
        self.index(id);
        id
    }

    /// Lets a value be found by its text.
    fn index(&mut self, id: ValueId) {
        let Self { index, values, hasher, .. } = self;
        let text_of = |id: &ValueId| values.get(*id as usize).map_or("", Value::text);
        index.insert_unique(hasher.hash_one(text_of(&id)), id, |id| hasher.hash_one(text_of(id)));
    }

    /// Forgets a value that no series has any more.
    pub(super) fn forget_unused(&mut self, id: ValueId) {
        let Some(value) = self.get_mut(id) else { return };
        let is_used = value.series().is_some() || !value.tuples.is_empty();
        if id <= OTHER || is_used || value.text.is_empty() {
            return;
        }
        let text = std::mem::take(&mut value.text);
        let hash = self.hasher.hash_one(str::from_utf8(&text).unwrap_or_default());
        if let Ok(entry) = self.index.find_entry(hash, |known| *known == id) {
            entry.remove();
        }
        self.free.push(id);
    }
}

/// The text behind a number that says its length and whether the value is whole; 0 for one whose
/// number is free.
impl Codec<'_> for Value {
    fn encode(&self, out: &mut Vec<u8>) {
        let length = (self.text.len() as u64) << 1;
        put_varint(out, length | u64::from(self.is_whole && length > 0));
        out.extend_from_slice(&self.text);
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let head = from.varint()?;
        let length = usize::try_from(head >> 1).unwrap_or(usize::MAX);
        Ok(Self::new(from.text_of(length)?, head & 1 == 1))
    }
}

/// What is stored of a dictionary are its values, by number.
impl Dictionary {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let values = self.values.get(FIRST_VALUE..).unwrap_or_default();
        put_list(out, values.iter(), Value::encode);
    }

    /// Takes stored values into an empty dictionary.
    pub(super) fn decode(&mut self, from: &mut Reader<'_>) -> Result<(), Malformed> {
        let count = from.length("values")?;
        self.values.reserve(count);
        let Self { index, hasher, values, .. } = self;
        let text_of = |id: &ValueId| values.get(*id as usize).map_or("", Value::text);
        index.reserve(count, |id| hasher.hash_one(text_of(id)));
        for _ in 0..count {
            let value = Value::decode(from)?;
            let id = u32::try_from(self.values.len()).unwrap_or(u32::MAX);
            from.require(self.find(value.text()).is_none(), "a value that comes once")?;
            let is_free = value.text.is_empty();
            self.values.push(value);
            if is_free {
                self.free.push(id);
            } else {
                self.index(id);
            }
        }
        Ok(())
    }

    /// Forgets every value that no series has.
    pub(super) fn forget_all_unused(&mut self) {
        for id in 0..ValueId::try_from(self.values.len()).unwrap_or(ValueId::MAX) {
            self.forget_unused(id);
        }
    }

    /// A value that a series can be of: one that is known, a missing one, or the others.
    pub(super) fn known_mut(&mut self, id: ValueId) -> Option<&mut Value> {
        self.get_mut(id).filter(|value| id <= OTHER || !value.text.is_empty())
    }
}

/// The first number that a value can have.
const FIRST_VALUE: usize = 2;

/// Adds a number to an ascending list.
pub(super) fn insert_sorted(list: &mut Vec<u32>, number: u32) {
    if let Err(index) = list.binary_search(&number) {
        list.insert(index, number);
    }
}

/// Removes a number from an ascending list.
pub(super) fn remove_sorted(list: &mut Vec<u32>, number: u32) {
    if let Ok(index) = list.binary_search(&number) {
        list.remove(index);
    }
}
