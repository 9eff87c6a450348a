//! Putting rules in force.

use std::cell::Cell;
use std::sync::Arc;

use super::change::Change;
use crate::compiled::{CompiledRule, Snapshot};
use crate::counters::At;
use crate::engine::{Core, RulesError};
use crate::event::Dimension;
use crate::rules::{Meter, Meters, Rule, fill_ids};
use crate::telemetry;

/// What a change has put in force.
pub(super) struct Published {
    snapshot: Arc<Snapshot>,
    /// The entry of the queue that it waits for.
    stored: Option<u64>,
}

impl Core {
    pub(in crate::engine) fn install(
        &self,
        mut rules: Vec<Rule>,
        meters: &Meters,
    ) -> Result<(), RulesError> {
        let mut meters = meters.list().to_vec();
        fill_ids(&mut meters, &[]);
        fill_ids(&mut rules, &[]);
        self.changed(|mut change| {
            let stamped = |meter: &Arc<Meter>| Arc::new(change.stamp_meter((**meter).clone()));
            let meters = Arc::new(Meters::new(meters.iter().map(stamped).collect()));
            let compile = |rule| change.compile(rule, &meters, None);
            let compiled: Vec<_> = rules.into_iter().map(compile).collect();
            change.publish(&compiled, meters)
        })
    }

    /// Changes the rules. What runs of the caller's runs before the compiler's lock is taken (the
    /// clock) or when it is free again (the recorder of figures, the collector of spans): any of
    /// them may change the rules itself. So does waiting for the commit.
    pub(in crate::engine) fn changed<R>(
        &self,
        change: impl FnOnce(Change<'_>) -> Result<R, RulesError>,
    ) -> Result<R, RulesError> {
        self.may_change()?;
        let (now, published) = (self.read_clock().moment, Cell::new(None));
        let changed = change(Change {
            engine: self,
            compiler: self.compiler.lock(),
            current: self.snapshot.load_full(),
            now,
            time: Arc::default(),
            published: &published,
        });
        let Some(Published { snapshot, stored }) = published.take() else { return changed };
        if self.replay.is_some() {
            // Nobody is told of rules that are only tried out.
            return changed;
        }
        self.rules_changed();
        self.figures.look_at(&self.table);
        self.adjustments.forget(|age| snapshot.rules.iter().any(|rule| rule.age == age));
        for rule in snapshot.listed() {
            rule.figures.show();
        }
        telemetry::event!(
            info,
            version = snapshot.number,
            rules = snapshot.listed().len(),
            meters = snapshot.meters.list().len(),
            "rules in force"
        );
        self.rules_are_stored(stored)?;
        changed
    }
}

impl Change<'_> {
    /// Compiles some rules as if they were new, and does something while no decision is made:
    /// nothing changes where that says false.
    pub(in crate::engine) fn publish_anew(
        &mut self,
        is_it: &dyn Fn(&CompiledRule) -> bool,
        closed: impl FnOnce(&At) -> bool,
    ) -> Result<(), RulesError> {
        let (current, meters) = (Arc::clone(&self.current), Arc::clone(&self.current.meters));
        let compiled = current.listed().iter().map(|rule| {
            if is_it(rule) {
                self.compiler.compile(rule.rule.clone(), &meters, None, &self.time)
            } else {
                Arc::clone(rule)
            }
        });
        let compiled: Vec<_> = compiled.collect();
        self.publish_while(&compiled, meters, closed)
    }

    /// The groups of rows that have a dimension in their keys, and at which place.
    pub(in crate::engine) fn groups_of(&self, dimension: &Dimension) -> Vec<(u32, usize)> {
        self.compiler.groups_of(dimension)
    }

    pub(super) fn publish(
        &mut self,
        compiled: &[Arc<CompiledRule>],
        meters: Arc<Meters>,
    ) -> Result<(), RulesError> {
        self.publish_while(compiled, meters, |_| true)
    }

    fn publish_while(
        &mut self,
        compiled: &[Arc<CompiledRule>],
        meters: Arc<Meters>,
        closed: impl FnOnce(&At) -> bool,
    ) -> Result<(), RulesError> {
        let engine = self.engine;
        engine.admit_rules()?;
        let convert = compiled.len() < self.current.listed().len()
            || compiled.iter().any(|rule| rule.took_over());
        let refill = engine.is_to_track(&meters, compiled);
        engine.note_checkpoints(&mut self.compiler);
        let compiled: Vec<_> = compiled.iter().map(|rule| self.compiler.renew(rule)).collect();
        if convert || refill {
            engine.rules_change();
        }
        // Before the first decision by a rule that counts a new meter.
        engine.track_folds_of(&meters, &compiled);
        let (time, hasher) = (Arc::clone(&self.time), engine.hasher.clone());
        let snapshot = Snapshot::new(time, compiled, meters, hasher);
        let snapshot = snapshot.following(&self.current).by_calendars(&self.compiler.calendars);
        let snapshot = Arc::new(snapshot);
        // Whoever comes once the rules are in force looks up what they name.
        engine.attributes.look_up(&snapshot.attributes, &engine.directory);
        // No decision is made from here until the new rules are open: a few microseconds.
        let at = engine.table.close(self.now);
        self.time.get_or_init(|| at);
        if !closed(&at) {
            engine.table.open(self.current.version);
            engine.attributes.look_up(&self.current.attributes, &engine.directory);
            engine.attributes.tidy();
            return Ok(());
        }
        let stored = engine.put_rules(&self.current, &snapshot, &self.compiler);
        engine.snapshot.store(Arc::clone(&snapshot));
        engine.table.open(snapshot.version);
        engine.attributes.tidy();
        if convert {
            engine.table.convert(&snapshot.counters, at.now);
        }
        if convert || refill {
            engine.rules_change();
        }
        self.published.set(Some(Published { snapshot, stored }));
        Ok(())
    }
}
