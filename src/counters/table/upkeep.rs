//! Dropping what no longer matters, a few rows at a time.

use std::sync::atomic::Ordering;

use hashbrown::hash_table::OccupiedEntry;

use super::{Counter, CounterSet, Row, Shard, Table};
use crate::counters::time::{At, Moment};

/// How many buckets a call looks at that made a row or found no room for one: more than one, so
/// that a flood of keys pays for its own removal.
const LOOKS_UNDER_PRESSURE: u32 = 2;
/// One call in so many of a shard looks at one bucket.
const CALLS_A_LOOK: u8 = 32;
/// How many buckets are looked at under one lock when the rules have changed.
const LOOKS_A_LOCK: usize = 256;
/// A table with fewer buckets is not worth shrinking.
const SMALL: usize = 64;

impl Table {
    /// Looks at a few buckets of a shard that a decision has locked anyway.
    #[inline]
    pub(super) fn tidy_in_passing(
        &self,
        shard: &mut Shard,
        counters: &CounterSet,
        at: At,
        pressed: bool,
    ) {
        shard.passes = shard.passes.wrapping_add(1);
        let looks = if pressed {
            LOOKS_UNDER_PRESSURE
        } else {
            u32::from(shard.passes.is_multiple_of(CALLS_A_LOOK))
        };
        for _ in 0..looks {
            self.tidy_next(shard, counters, at);
        }
    }

    /// Goes over all rows once, a few at a time, so that counters of changed rules are converted
    /// and those of removed rules dropped. Decisions do the same on the way; this makes it sure.
    pub(crate) fn convert(&self, counters: &CounterSet, now: Moment) {
        for shard in &self.shards {
            let mut done = 0;
            loop {
                let mut shard = shard.0.lock();
                let now = shard.now.map_or(now, |seen| seen.max(now));
                let at = self.timeline.at(now, None);
                if done >= shard.rows.num_buckets() {
                    break;
                }
                shard.cursor = done;
                for _ in 0..LOOKS_A_LOCK {
                    self.tidy_next(&mut shard, counters, at);
                }
                done = done.saturating_add(LOOKS_A_LOCK);
            }
        }
    }

    fn tidy_next(&self, shard: &mut Shard, counters: &CounterSet, at: At) {
        let buckets = shard.rows.num_buckets();
        let bucket = if shard.cursor < buckets { shard.cursor } else { 0 };
        shard.cursor = bucket.saturating_add(1);
        let Ok(mut entry) = shard.rows.get_bucket_entry(bucket) else { return };
        let mut found = look(entry.get(), counters, at);
        if found == Found::Outdated {
            refresh(entry.get_mut(), counters);
            found = look(entry.get(), counters, at);
        }
        if found == Found::Idle {
            self.remove(entry, counters);
            let keys = shard.rows.len();
            if buckets > SMALL && keys < buckets.div_euclid(8) {
                // The few rows that are left move to a table of their size.
                shard.rows.shrink_to(keys.saturating_mul(2), Row::hash);
            }
        }
    }

    pub(super) fn remove(&self, entry: OccupiedEntry<'_, Row>, counters: &CounterSet) {
        let (row, _) = entry.remove();
        if !row.is_overflow() {
            self.rows.fetch_sub(1, Ordering::AcqRel);
            self.evicted.add(1);
        }
        for number in numbers(&row) {
            if let Some(counter) = counters.answering(number) {
                counter.left(number, row.is_overflow());
            }
        }
    }
}

/// Whether no cell of a row says more than a fresh one would.
pub(super) fn is_idle(row: &Row, counters: &CounterSet, at: At) -> bool {
    look(row, counters, at) == Found::Idle
}

/// The numbers of a row's cells, each once.
pub(super) fn numbers(row: &Row) -> impl Iterator<Item = u32> {
    let earlier = |place| row.cells().take(place).map(|(number, _)| number);
    let cells = row.cells().enumerate();
    cells.filter_map(move |(place, (number, _))| {
        earlier(place).all(|other| other != number).then_some(number)
    })
}

/// What a row is to upkeep.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    /// No cell says more than a fresh one would.
    Idle,
    /// A cell matters.
    InUse,
    /// A cell belongs to a counter that another took over from, or to no rule.
    Outdated,
}

fn look(row: &Row, counters: &CounterSet, at: At) -> Found {
    let mut found = Found::Idle;
    for (number, cell) in row.cells() {
        match counters.answering(number) {
            Some(counter) if counter.number() == number => {
                if found == Found::Idle && !counter.policy.is_idle(cell, &at) {
                    found = Found::InUse;
                }
            }
            Some(counter) if counter.recounts() => {
                // Who touches the key first asks what is recorded, and may need this cell if
                // nothing is.
                let before = counter.predecessor(number);
                if before.is_some_and(|before| !before.policy.is_idle(cell, &at)) {
                    found = Found::InUse;
                }
            }
            _ => return Found::Outdated,
        }
    }
    found
}

/// Brings a row up to the rule set: converts what counters were taken over, drops what belongs
/// to no rule.
fn refresh(row: &mut Row, counters: &CounterSet) {
    let is_current = |number| {
        let counter = counters.answering(number);
        counter.is_some_and(|counter| counter.number() == number || counter.recounts())
    };
    let old: Vec<u32> = numbers(row).filter(|number| !is_current(*number)).collect();
    for counter in old.iter().filter_map(|number| counters.answering(*number)) {
        if !counter.has_cell(row)
            && let Some(image) = counter.carried(row)
        {
            row.push(counter.number(), &image);
            counter.entered(row.is_overflow());
        }
        drop_predecessors(row, counter);
    }
    row.retain(|number, _| is_current(number));
}

/// Drops the cells of the counters that `counter` took over from.
pub(super) fn drop_predecessors(row: &mut Row, counter: &Counter) {
    let shared = row.is_overflow();
    let mut gone: Vec<u32> = Vec::new();
    row.retain(|number, _| {
        let predecessor = counter.follows(number);
        if predecessor && !gone.contains(&number) {
            gone.push(number);
        }
        !predecessor
    });
    for number in gone {
        counter.left(number, shared);
    }
}
