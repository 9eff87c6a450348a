//! The average of a gauge over time: each reading holds until the next one.
//!
//! A reading is an event with the value, and has its own instant, in the log and as the latest
//! value of a row. What was read is put in the order of time when it is asked for, so that it does
//! not matter in which order it came, nor what became of it since. Sums are those of amounts times
//! nanoseconds, divided once.

use std::ops::Range;

use super::cells::{Cell, Column};
use super::meter::{Figures, rounded};
use super::question::Answer;
use super::row::Row;
use super::select::Totals;
use crate::base::amount::Amount;
use crate::base::clock::Timestamp;
use crate::event::ValueName;
use crate::log::QueryError;

/// The longest time that is averaged over, some 290 years: its square fits.
const MAX_NANOS: u64 = 1 << 63;

/// That readings of a value are asked for one by one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held<'q> {
    pub(crate) value: &'q ValueName,
    /// What is behind this instant is not known yet.
    pub(crate) now: Timestamp,
}

/// The column of the readings of an answer, and its time.
#[derive(Clone, Copy, Debug)]
pub(super) struct HeldColumn {
    pub(super) column: Column,
    pub(super) now: Timestamp,
}

/// What was read at an instant, by an event of an ordinal: of one instant the last one holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Reading {
    at: Timestamp,
    ordinal: u64,
    value: i128,
}

impl Reading {
    /// The latest reading of a row.
    pub(super) fn of(row: &Row, column: Column) -> Option<Self> {
        let cell = row.cells.as_slice().iter().find(|cell| cell.column == column)?;
        let (at, ordinal) = cell.mark();
        Some(Self { at, ordinal, value: cell.value() })
    }
}

/// An average in the making: a sum of amounts times nanoseconds by all nanoseconds, as a whole
/// number and what is left of it, which fits whatever the amounts are.
#[derive(Clone, Copy, Debug, Default)]
struct Average {
    nanos: i128,
    whole: i128,
    rest: i128,
}

impl Average {
    fn over(nanos: u64) -> Option<Self> {
        let nanos = (nanos < MAX_NANOS).then_some(i128::from(nanos))?;
        Some(Self { nanos, ..Self::default() })
    }

    /// Adds an amount for a part of the time.
    fn add(&mut self, amount: i128, nanos: u64) -> Option<()> {
        let part = i128::from(nanos);
        let (Some(whole), Some(rest)) =
            (amount.checked_div_euclid(self.nanos), amount.checked_rem_euclid(self.nanos))
        else {
            return Some(());
        };
        // Both factors are below 2^63.
        let rest = self.rest.checked_add(rest.checked_mul(part)?)?;
        let carried = rest.checked_div(self.nanos)?;
        self.rest = rest.checked_rem(self.nanos)?;
        self.whole = self.whole.checked_add(whole.checked_mul(part)?)?.checked_add(carried)?;
        Some(())
    }

    fn rounded(&self) -> Amount {
        rounded(self.whole, self.rest, self.nanos)
    }
}

/// The averages of keys together, over all windows and over each.
pub(super) fn averages<'t>(
    answer: &Answer,
    held: HeldColumn,
    value: &ValueName,
    keys: impl Iterator<Item = &'t Totals> + Clone,
) -> Result<Figures, QueryError> {
    let overflow = || QueryError::Overflow { field: value.as_str().into() };
    Averages::over(&windows(answer, held, keys.clone()))
        .and_then(|mut averages| {
            for totals in keys {
                averages.add(totals, held.column)?;
            }
            averages.end()
        })
        .ok_or_else(overflow)
}

/// The windows, as far as time has come. What has no start begins with the first reading.
fn windows<'t>(
    answer: &Answer,
    held: HeldColumn,
    keys: impl Iterator<Item = &'t Totals>,
) -> Vec<Range<Timestamp>> {
    let is_open = answer.covers().next().is_some_and(|first| first.start == Timestamp::MIN);
    let first = if is_open {
        let readings = keys.flat_map(Totals::iter).flat_map(|(_, total)| &total.readings);
        readings.flat_map(|all| all.iter()).map(|reading| reading.at).min().unwrap_or(held.now)
    } else {
        Timestamp::MIN
    };
    let cut = |range: &Range<Timestamp>| range.start.max(first)..range.end.min(held.now);
    answer.covers().map(cut).collect()
}

#[derive(Debug)]
struct Averages<'w> {
    windows: &'w [Range<Timestamp>],
    by_window: Vec<Average>,
    total: Average,
    /// By how much the sum of what is held all through a window differs from that before it.
    steps: Vec<i128>,
}

impl<'w> Averages<'w> {
    fn over(windows: &'w [Range<Timestamp>]) -> Option<Self> {
        let nanos = |window: &Range<Timestamp>| window.end.nanos_since(window.start);
        let by_window = windows.iter().map(|window| Average::over(nanos(window)));
        let total = windows.iter().map(nanos).try_fold(0_u64, u64::checked_add)?;
        let steps = vec![0; windows.len().saturating_add(1)];
        Some(Self {
            windows,
            by_window: by_window.collect::<Option<_>>()?,
            total: Average::over(total)?,
            steps,
        })
    }

    /// Adds what one key has held.
    fn add(&mut self, totals: &Totals, column: Column) -> Option<()> {
        let before = totals
            .get(0)
            .and_then(|total| total.cells().find(|cell| cell.column == column).map(Cell::value));
        let (mut held, mut next) = (before.unwrap_or(0), 0_usize);
        for (plan, total) in totals.iter() {
            let (Some(index), Some(readings)) = (plan.checked_sub(1), &total.readings) else {
                continue;
            };
            self.hold(held, next..index)?;
            let mut readings = Vec::clone(readings);
            readings.sort_unstable();
            let Range { start, end } = self.windows.get(index)?.clone();
            let mut from = start;
            for reading in readings {
                let at = reading.at.clamp(start, end.max(start));
                self.add_part(index, held, from..at)?;
                (held, from) = (reading.value, at);
            }
            self.add_part(index, held, from..end)?;
            next = index.saturating_add(1);
        }
        self.hold(held, next..self.windows.len())
    }

    /// Adds what is held all through some windows.
    fn hold(&mut self, amount: i128, windows: Range<usize>) -> Option<()> {
        for (step, amount) in [(windows.start, amount), (windows.end, amount.checked_neg()?)] {
            let step = self.steps.get_mut(step)?;
            *step = step.checked_add(amount)?;
        }
        Some(())
    }

    fn add_part(&mut self, window: usize, amount: i128, part: Range<Timestamp>) -> Option<()> {
        let nanos = part.end.nanos_since(part.start);
        self.by_window.get_mut(window)?.add(amount, nanos)?;
        self.total.add(amount, nanos)
    }

    fn end(mut self) -> Option<Figures> {
        let mut held = 0_i128;
        for (index, step) in std::mem::take(&mut self.steps).into_iter().enumerate() {
            held = held.checked_add(step)?;
            if let Some(window) = self.windows.get(index) {
                self.add_part(index, held, window.clone())?;
            }
        }
        let by_range = self.by_window.iter().map(Average::rounded).enumerate().collect();
        Some(Figures { value: self.total.rounded(), by_range })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_average_is_exact_and_rounds_half_away_from_zero() {
        let of = |parts: &[(i128, u64)]| {
            let mut average = Average::over(parts.iter().map(|(_, nanos)| nanos).sum())?;
            for (amount, nanos) in parts {
                average.add(*amount, *nanos)?;
            }
            Some(average.rounded().millionths())
        };
        assert_eq!(of(&[(1, 1), (2, 1)]), Some(2));
        assert_eq!(of(&[(-1, 1), (-2, 1)]), Some(-2));
        assert_eq!(of(&[(-1, 1), (0, 1)]), Some(-1));
        assert_eq!(of(&[(1, 1), (0, 2)]), Some(0));
        assert_eq!(of(&[(-1, 2), (0, 1)]), Some(-1));
        assert_eq!(of(&[(7, 3), (10, 3), (-17, 3)]), Some(0));
        assert_eq!(of(&[]), Some(0));
        let (most, year) = (1_i128 << 100, 31_536_000_000_000_000);
        assert_eq!(of(&[(most, 200 * year), (-most, 50 * year)]), Some(most / 5 * 3 + 1));
        assert_eq!(of(&[(1, MAX_NANOS)]), None);
    }
}
