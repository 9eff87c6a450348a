//! The newest calls of somebody, by how many tokens came out of them.

use crate::rules::Percentile;
use crate::usage::Sketch;
use crate::{Amount, bounds};

/// Of fewer calls nothing is said.
pub(super) const FEWEST: u64 = 20;

/// What stands for the call that is to come, of which nothing is known: it is above all calls.
const TO_COME: u64 = u64::MAX;

/// The newest calls: those that fill a generation, and those since.
///
/// Beside the calls each sketch has the one that is to come. So the rank of a percentile is one
/// among all of them, and of calls whose order is by chance no more than the rest pass it; where
/// there are too few for that, the answer is the call to come itself, which says nothing.
#[derive(Debug)]
pub(super) struct Window {
    /// What is asked: the generation that is full, and those since.
    recent: Sketch,
    /// Those since. It takes the other one's place when it is full.
    newer: Sketch,
    newer_calls: u64,
    generation: u64,
}

impl Window {
    /// Remembers so many of the newest calls, and up to twice as many.
    pub(super) fn new(generation: u64) -> Self {
        Self { recent: fresh(), newer: fresh(), newer_calls: 0, generation }
    }

    pub(super) fn add(&mut self, tokens: u64) {
        // As many as an event can bring.
        let tokens = tokens.min(bounds::MAX_AMOUNT.to_u64_floor());
        self.recent.add(tokens);
        self.newer.add(tokens);
        self.newer_calls = self.newer_calls.saturating_add(1);
        if self.newer_calls >= self.generation {
            self.recent = std::mem::replace(&mut self.newer, fresh());
            self.newer_calls = 0;
        }
    }

    /// The tokens that so many of all calls do not pass: never below the call of that rank, and
    /// above it by no more than the sketch's error. `None` where there are too few calls to tell.
    pub(super) fn estimate(&self, at: Percentile) -> Option<u64> {
        // One of them is still to come.
        if self.recent.count() <= FEWEST {
            return None;
        }
        let figure = self.recent.percentile(at)?;
        let most = bounds::MAX_AMOUNT.to_u64_floor();
        // Nothing else is so far above all events.
        if figure.to_u64_floor() > most.saturating_mul(10) {
            return None;
        }
        // The figure is within so many percent of the call, and calls have whole tokens.
        let percent = i128::from(100_u32.saturating_sub(self.recent.error_percent()));
        let highest = figure.millionths().saturating_mul(100).checked_div(percent)?;
        Some(Amount::from_millionths(highest).to_u64_floor().min(most))
    }
}

/// A sketch of no call but the one that is to come.
fn fresh() -> Sketch {
    let mut sketch = Sketch::new();
    sketch.add(TO_COME);
    sketch
}
