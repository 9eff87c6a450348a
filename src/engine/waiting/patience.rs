//! What keeps a waiter from being passed by for ever that is short of several counters, and never
//! of all at once: while it waits for one, others take from those that it is not short of.
//!
//! Once it was refused at the instant at which it was to be let in, it stays in the lines of the
//! counters that it was short of before, as long as the wait is no longer than the longest for
//! which that counter alone has refused it. So a counter that is slow to fill is kept while faster
//! ones fill; and one that is fast to fill, and that many share, is not kept for what comes in a
//! month.

use smallvec::SmallVec;

use crate::counters::Moment;
use crate::waiting::{Key, Keys};

/// What a waiter was promised, and what has kept it waiting.
#[derive(Debug)]
pub(super) struct Patience {
    /// The counters that have refused it, each with the longest wait, in nanoseconds.
    waits: SmallVec<[(Key, u64); 1]>,
    /// When it was to be let in; [`Moment::MAX`] where that hangs on others.
    pub(super) promise: Moment,
    was_passed_by: bool,
}

impl Default for Patience {
    fn default() -> Self {
        Self { waits: SmallVec::new(), promise: Moment::MAX, was_passed_by: false }
    }
}

impl Patience {
    /// Takes in a refusal, and adds the counters that are kept to those that it is short of.
    pub(super) fn refused(&mut self, now: Moment, passes_at: Option<Moment>, short: &mut Keys) {
        self.was_passed_by |= self.promise <= now;
        self.promise = passes_at.unwrap_or(Moment::MAX);
        if !self.was_passed_by {
            return;
        }
        let wait = self.promise.0.saturating_sub(now.0);
        let kept = self.waits.iter().filter(|(_, longest)| *longest >= wait);
        let kept: Keys = kept.map(|(key, _)| *key).filter(|key| !short.contains(key)).collect();
        short.extend(kept);
    }

    /// Notes that a counter refuses it until then.
    pub(super) fn waits_for(&mut self, key: Key, until: Moment, now: Moment) {
        let wait = until.0.saturating_sub(now.0);
        match self.waits.iter_mut().find(|(known, _)| *known == key) {
            Some((_, longest)) => *longest = wait.max(*longest),
            None => self.waits.push((key, wait)),
        }
    }
}
