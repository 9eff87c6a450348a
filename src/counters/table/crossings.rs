//! From where to where watched counters are moved.

use super::charge::Charge;
use super::judge::Script;
use super::locked::NOWHERE;
use super::request::Crossing;

impl Script<'_, '_> {
    /// The watched counters that the event is about to change, where they stand. Nothing is looked
    /// at where no counter of the rule set is watched.
    #[inline]
    pub(super) fn stand(&self, charges: &[Charge]) -> Option<Vec<Crossing>> {
        self.request.counters.watches().then(|| self.stand_watched(charges))
    }

    #[cold]
    fn stand_watched(&self, charges: &[Charge]) -> Vec<Crossing> {
        let changed = charges.iter().filter_map(|charge| {
            let counter = self.counting(charge)?;
            let limit = counter.watched()?;
            let before = self.use_of(charge)?;
            let row = Some(charge.row).filter(|row| (*row as usize) < self.request.rows.len());
            debug_assert!(charge.row != NOWHERE, "what is counted lies somewhere");
            Some(Crossing { rule: charge.rule, row, before, after: before, limit })
        });
        changed.collect()
    }

    /// Where they stand once it has changed them: those that it moved.
    #[cold]
    pub(super) fn cross(&self, crossings: &mut Vec<Crossing>, charges: &[Charge]) {
        crossings.retain_mut(|crossing| {
            let charge = charges.iter().find(|charge| charge.rule == crossing.rule);
            if let Some(after) = charge.and_then(|charge| self.use_of(charge)) {
                crossing.after = after;
            }
            crossing.after != crossing.before
        });
    }

    /// What is used of a charge's counter at the instant of the decision, by the figure that a
    /// status says: exact for what is summed up, the amount of a gauge, the tokens that a bucket
    /// lacks.
    fn use_of(&self, charge: &Charge) -> Option<crate::rules::Units> {
        let counter = self.counter(charge)?;
        let figures = counter.policy.figures(&charge.reading, self.at, self.table.timeline());
        Some(figures.used)
    }
}
