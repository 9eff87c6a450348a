//! What keeps a waiter from being passed by for ever that is short of several counters, and never
//! of all at once: while it waits for one, others take from those that it is not short of.
//!
//! Once it was refused at the instant at which it was to be let in, it stays in the lines of the
//! counters that it was short of before, as long as the wait is no longer than the longest for
//! which that counter alone has refused it. So a counter that is slow to fill is kept while faster
//! ones fill; and one that is fast to fill, and that many share, is not kept for what comes in a
//! month.

use std::time::Duration;

use smallvec::SmallVec;

use crate::counters::Moment;
use crate::waiting::{Key, Keys};

/// What a waiter was promised, and what has kept it waiting.
#[derive(Debug, Default)]
pub(super) struct Patience {
    /// The counters that have refused it, each with the longest wait.
    waits: SmallVec<[(Key, Duration); 2]>,
    /// When it was to be let in.
    pub(super) promise: Option<Moment>,
    was_passed_by: bool,
}

impl Patience {
    /// Takes in a refusal, and adds the counters that are kept to those that it is short of.
    pub(super) fn refused(&mut self, now: Moment, passes_at: Option<Moment>, short: &mut Keys) {
        self.was_passed_by |= self.promise.is_some_and(|promise| promise <= now);
        self.promise = passes_at;
        let Some(passes_at) = passes_at.filter(|_| self.was_passed_by) else { return };
        let wait = passes_at.since(now);
        let kept = self.waits.iter().filter(|(_, longest)| *longest >= wait);
        let kept: Keys = kept.map(|(key, _)| *key).filter(|key| !short.contains(key)).collect();
        short.extend(kept);
    }

    /// Notes that a counter refuses it for so long.
    pub(super) fn waits_for(&mut self, key: Key, wait: Duration) {
        match self.waits.iter_mut().find(|(known, _)| *known == key) {
            Some((_, longest)) => *longest = wait.max(*longest),
            None => self.waits.push((key, wait)),
        }
    }
}
