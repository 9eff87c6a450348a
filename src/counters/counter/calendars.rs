//! Whose midnights the periods of a set's counters go by.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::CounterSet;
use crate::base::calendar::Calendar;
use crate::counters::row::{Row, RowKey, key_of_words};
use crate::customers::Calendars;
use crate::event::Dimension;

impl CounterSet {
    /// The same set, whose periods go by these calendars; `partitions` are the dimensions of the
    /// groups of rows.
    pub(crate) fn by_calendars(
        self,
        calendars: Arc<Calendars>,
        partitions: HashMap<u32, Box<[Dimension]>, ahash::RandomState>,
    ) -> Self {
        Self { calendars, partitions, ..self }
    }

    /// The calendar of what is nobody's own.
    pub(in crate::counters) fn calendar(&self) -> Calendar {
        self.calendars.default_one()
    }

    /// The calendar of a key with these values of the partition of a group.
    pub(in crate::counters) fn calendar_of(&self, group: u32, values: &[&str]) -> Calendar {
        match self.partitions.get(&group) {
            Some(partition) => self.calendars.of_key(partition, values),
            None => self.calendar(),
        }
    }

    /// The same of a key as a row has it.
    pub(in crate::counters) fn calendar_of_row(&self, row: Row<'_>) -> Calendar {
        let (group, words) = row.identity();
        self.calendar_of_words(group, words)
    }

    pub(in crate::counters) fn calendar_of_words(&self, group: u32, words: &[u64]) -> Calendar {
        let of_key = |key: RowKey<'_>| match key {
            RowKey::Partition { group, values } => self.calendar_of(group, values),
            RowKey::Overflow { .. } => self.calendar(),
        };
        let is_known = !self.calendars.are_alike();
        let found = is_known.then(|| key_of_words(group, words, of_key)).flatten();
        found.unwrap_or_else(|| self.calendar())
    }

    /// The groups of rows that may hold periods of a dimension's values, with their dimensions.
    pub(crate) fn groups_of<'s>(
        &'s self,
        dimension: &'s Dimension,
    ) -> impl Iterator<Item = (u32, &'s [Dimension])> {
        let groups = self.partitions.iter().map(|(group, partition)| (*group, &**partition));
        groups.filter(move |(_, partition)| partition.contains(dimension))
    }

    /// Whether some had another calendar before, as far as this set has been told.
    pub(in crate::counters) fn were_cut_anew(&self) -> bool {
        self.cut_anew.load(Ordering::Relaxed)
    }

    /// Keys have another calendar from now on: of a period that began before they may have no cell
    /// although something was used of it.
    pub(crate) fn are_cut_anew(&self, second: i64) {
        self.cut_anew.store(true, Ordering::Relaxed);
        for counter in self.current.iter().filter(|counter| counter.policy.is_of_key()) {
            counter.misses(second);
        }
    }
}
