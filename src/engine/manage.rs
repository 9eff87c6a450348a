//! Changing the rules while other threads decide.
//!
//! Whoever changes the rules makes the next snapshot and publishes it; decisions that are under
//! way with the old one notice before they count, and start again. Counters of rules that did not
//! change are not touched. Each change is O(rules); where counters have to be converted it then
//! goes over all keys, a few hundred under one lock.

use std::cell::Cell;
use std::sync::Arc;

use parking_lot::MutexGuard;

use super::{Core, Engine};
use crate::base::clock::Timestamp;
use crate::compiled::snapshot::{CompiledRule, Compiler, Snapshot};
use crate::counters::{ChangeTime, Moment};
use crate::engine::RulesError;
use crate::rules::RuleSetError;
use crate::rules::merge_declared;
use crate::rules::{
    Kind, Meter, Meters, Paired, Plan, Quota, QuotaUpdate, RateLimit, RateLimitUpdate, Rule,
    RuleSet, SyncOptions, SyncReport, fill_ids, plan_sync, set_problems,
};

impl Engine {
    /// Adds a rate limit and returns it as it now is, with its id. O(rules).
    ///
    /// # Errors
    /// The rule is not valid, or does not go with the others: all problems at once.
    pub fn add_rate_limit(&self, rule: RateLimit) -> Result<RateLimit, RulesError> {
        match self.core.add_rule(Rule::RateLimit(rule))? {
            Rule::RateLimit(rule) => Ok(rule),
            Rule::Quota(_) => Err(not_found(Kind::RateLimit.as_str(), "")),
        }
    }

    /// Adds a quota and returns it as it now is, with its id. O(rules).
    ///
    /// # Errors
    /// The rule is not valid, or does not go with the others: all problems at once.
    pub fn add_quota(&self, rule: Quota) -> Result<Quota, RulesError> {
        match self.core.add_rule(Rule::Quota(rule))? {
            Rule::Quota(rule) => Ok(rule),
            Rule::RateLimit(_) => Err(not_found(Kind::Quota.as_str(), "")),
        }
    }

    /// Changes some fields of a rate limit and returns it as it now is; what was used carries
    /// over as [`RateLimitUpdate`] says. O(rules), and O(keys) where counters are converted.
    ///
    /// # Errors
    /// No rate limit has the id, or the rule would not be valid.
    #[expect(clippy::needless_pass_by_value, reason = "an update is made for the call")]
    pub fn update_rate_limit(
        &self,
        id: &str,
        update: RateLimitUpdate,
    ) -> Result<RateLimit, RulesError> {
        let changed = self.core.update_rule(id, Kind::RateLimit, |rule| match rule {
            Rule::RateLimit(rule) => Rule::RateLimit(update.apply(rule)),
            Rule::Quota(rule) => Rule::Quota(rule.clone()),
        })?;
        match changed {
            Rule::RateLimit(rule) => Ok(rule),
            Rule::Quota(_) => Err(not_found(Kind::RateLimit.as_str(), id)),
        }
    }

    /// Changes some fields of a quota and returns it as it now is; what was used carries over as
    /// [`QuotaUpdate`] says. O(rules), and O(keys) where counters are converted.
    ///
    /// # Errors
    /// No quota has the id, or the rule would not be valid.
    #[expect(clippy::needless_pass_by_value, reason = "an update is made for the call")]
    pub fn update_quota(&self, id: &str, update: QuotaUpdate) -> Result<Quota, RulesError> {
        let changed = self.core.update_rule(id, Kind::Quota, |rule| match rule {
            Rule::Quota(rule) => Rule::Quota(update.apply(rule)),
            Rule::RateLimit(rule) => Rule::RateLimit(rule.clone()),
        })?;
        match changed {
            Rule::Quota(rule) => Ok(rule),
            Rule::RateLimit(_) => Err(not_found(Kind::Quota.as_str(), id)),
        }
    }

    /// Removes a rate limit or a quota; its counters are dropped. O(rules + keys).
    ///
    /// # Errors
    /// No rule has the id.
    #[cfg_attr(
        feature = "tracing",
        tracing::instrument(name = "remove_rule", skip_all, fields(id = id), err)
    )]
    pub fn remove(&self, id: &str) -> Result<(), RulesError> {
        self.core.changed(|change| change.remove(id))
    }

    /// Returns the rate limits, the oldest first.
    #[must_use]
    pub fn rate_limits(&self) -> Vec<RateLimit> {
        self.rule_set().rate_limits
    }

    /// Returns the quotas, the oldest first.
    #[must_use]
    pub fn quotas(&self) -> Vec<Quota> {
        self.rule_set().quotas
    }

    /// Returns the rate limit of an id. O(rules).
    #[must_use]
    pub fn rate_limit(&self, id: &str) -> Option<RateLimit> {
        match &self.core.snapshot.load().by_id(id)?.rule {
            Rule::RateLimit(rule) => Some(rule.clone()),
            Rule::Quota(_) => None,
        }
    }

    /// Returns the quota of an id. O(rules).
    #[must_use]
    pub fn quota(&self, id: &str) -> Option<Quota> {
        match &self.core.snapshot.load().by_id(id)?.rule {
            Rule::Quota(rule) => Some(rule.clone()),
            Rule::RateLimit(_) => None,
        }
    }

    /// Returns all rules and meters as data, with what the engine set (ids and times).
    #[must_use]
    pub fn rule_set(&self) -> RuleSet {
        let snapshot = self.core.snapshot.load();
        let mut set = RuleSet::new();
        set.meters = snapshot.meters.list().iter().map(|meter| (**meter).clone()).collect();
        for compiled in &snapshot.rules {
            match compiled.rule.clone() {
                Rule::RateLimit(rule) => set.rate_limits.push(rule),
                Rule::Quota(rule) => set.quotas.push(rule),
            }
        }
        set
    }

    /// Makes the rules and meters match a list: creates what is missing, updates what differs, and
    /// removes what the list does not name, in one step. A rule that is the same keeps its counters
    /// untouched, one that differs carries its use over. A second run changes nothing.
    ///
    /// A rule of the list is the one with its id, where it gives an id that the engine has: with
    /// another name it is renamed. Otherwise it is the one with its kind and name, which gets the
    /// id of the list where that gives one (the report says so, and rules that count a meter follow
    /// it) and keeps its own where not.
    ///
    /// # Errors
    /// An id stands twice, or a name does where no id says which is meant, or the rules as they
    /// would be are not valid: all problems at once, and nothing is written.
    #[cfg_attr(
        feature = "tracing",
        tracing::instrument(name = "sync", skip_all, fields(write = options.write), err)
    )]
    pub fn sync(&self, rules: RuleSet, options: SyncOptions) -> Result<SyncReport, RulesError> {
        let report = self.core.changed(|change| change.sync(rules, options))?;
        #[cfg(feature = "tracing")]
        tracing::info!(
            created = report.created.len(),
            updated = report.updated.len(),
            removed = report.removed.len(),
            unchanged = report.unchanged.len(),
            "rules compared"
        );
        Ok(report)
    }
}

impl Core {
    #[cfg_attr(
        feature = "tracing",
        tracing::instrument(name = "add_rule", skip_all, fields(rule = rule.name()), err)
    )]
    fn add_rule(&self, rule: Rule) -> Result<Rule, RulesError> {
        self.changed(|change| change.add(rule))
    }

    #[cfg_attr(
        feature = "tracing",
        tracing::instrument(name = "update_rule", skip_all, fields(id = id), err)
    )]
    fn update_rule(
        &self,
        id: &str,
        kind: Kind,
        apply: impl FnOnce(&Rule) -> Rule,
    ) -> Result<Rule, RulesError> {
        self.changed(|change| change.update(id, kind, apply))
    }

    pub(super) fn install(&self, mut rules: Vec<Rule>, meters: &Meters) -> Result<(), RulesError> {
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
    pub(super) fn changed<R>(
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
        self.figures.look_at(&self.table);
        for rule in &snapshot.rules {
            rule.figures.show();
        }
        #[cfg(feature = "tracing")]
        tracing::info!(
            version = snapshot.version,
            rules = snapshot.rules.len(),
            meters = snapshot.meters.list().len(),
            "rules in force"
        );
        self.rules_are_stored(stored)?;
        changed
    }
}

/// What a change has put in force.
struct Published {
    snapshot: Arc<Snapshot>,
    /// The entry of the queue that it waits for.
    stored: Option<u64>,
}

/// A change of the rules under way; one at a time.
pub(super) struct Change<'e> {
    engine: &'e Core,
    /// Taken after whatever is read above it, and free when the change is over: before anybody is
    /// told of it.
    compiler: MutexGuard<'e, Compiler>,
    pub(super) current: Arc<Snapshot>,
    /// What the clock showed before the lock was taken.
    now: Moment,
    /// When the change happens.
    time: Arc<ChangeTime>,
    published: &'e Cell<Option<Published>>,
}

impl Change<'_> {
    fn rules(&self) -> Vec<Rule> {
        self.current.rules.iter().map(|compiled| compiled.rule.clone()).collect()
    }

    fn add(mut self, mut rule: Rule) -> Result<Rule, RulesError> {
        let mut rules = self.rules();
        fill_ids(std::slice::from_mut(&mut rule), &rules);
        rules.push(rule.clone());
        let meters = Arc::clone(&self.current.meters);
        RuleSetError::check(set_problems(&rules, &meters))?;
        let added = self.compile(rule, &meters, None);
        let mut compiled = self.current.rules.to_vec();
        compiled.push(Arc::clone(&added));
        self.publish(&compiled, meters)?;
        Ok(added.rule.clone())
    }

    fn update(
        mut self,
        id: &str,
        kind: Kind,
        apply: impl FnOnce(&Rule) -> Rule,
    ) -> Result<Rule, RulesError> {
        let mut compiled = self.current.rules.to_vec();
        let found = compiled.iter().position(|rule| rule.id() == id && rule.rule.kind() == kind);
        let Some((place, old)) = found.and_then(|place| Some((place, compiled.get(place)?))) else {
            return Err(not_found(kind.as_str(), id));
        };
        let old = Arc::clone(old);
        let rule = apply(&old.rule);
        if rule.says_the_same(&old.rule) {
            return Ok(rule);
        }
        let mut rules = self.rules();
        if let Some(slot) = rules.get_mut(place) {
            *slot = rule.clone();
        }
        let meters = Arc::clone(&self.current.meters);
        RuleSetError::check(set_problems(&rules, &meters))?;
        let new = self.compile(rule, &meters, Some(&old));
        if let Some(slot) = compiled.get_mut(place) {
            *slot = Arc::clone(&new);
        }
        self.publish(&compiled, meters)?;
        Ok(new.rule.clone())
    }

    fn remove(self, id: &str) -> Result<(), RulesError> {
        let mut compiled = self.current.rules.to_vec();
        compiled.retain(|rule| rule.id() != id);
        if compiled.len() == self.current.rules.len() {
            return Err(not_found("rule", id));
        }
        let meters = Arc::clone(&self.current.meters);
        self.publish(&compiled, meters)
    }

    fn sync(self, wanted: RuleSet, options: SyncOptions) -> Result<SyncReport, RulesError> {
        let Plan { rules, meters, report } =
            plan_sync(&self.rules(), &self.current.meters, wanted, options)?;
        if options.write {
            self.replace(rules, meters)?;
        } else {
            let rules: Vec<Rule> = rules.into_iter().map(|rule| rule.new).collect();
            let meters = Meters::new(meters.into_iter().map(|meter| meter.new).collect());
            RuleSetError::check(set_problems(&rules, &meters))?;
        }
        Ok(report)
    }

    /// Merges what the application's code defines, and what it defined before, into the rules.
    pub(super) fn merge(self, before: RuleSet, code: RuleSet) -> Result<(), RulesError> {
        let (rules, meters) = merge_declared(before, code, (&self.rules(), &self.current.meters));
        self.replace(rules, meters)
    }

    /// Lets rules count in the units of today that a store of format 1 has in others.
    pub(super) fn renew(mut self) -> Result<(), RulesError> {
        let current = Arc::clone(&self.current);
        let meters = Arc::clone(&current.meters);
        let is_up_to_date = |rule: &Arc<CompiledRule>| rule.counts_as(&rule.rule, &meters);
        if current.rules.iter().all(is_up_to_date) {
            return Ok(());
        }
        let renewed = current.rules.iter().map(|rule| self.renewed(rule, &meters));
        let renewed: Vec<_> = renewed.collect();
        self.publish(&renewed, meters)
    }

    /// Makes the rules and meters those of a list, each with its place in the current one.
    fn replace(
        mut self,
        rules: Vec<Paired<Rule>>,
        meters: Vec<Paired<Arc<Meter>>>,
    ) -> Result<(), RulesError> {
        let current = Arc::clone(&self.current);
        let (mut rules, old_rules) = apart(rules, &current.rules);
        let (mut meters, old_meters) = apart(meters, current.meters.list());
        fill_ids(&mut meters, &[]);
        let stamped = meters.into_iter().zip(old_meters).map(|(meter, old)| match old {
            Some(old) if Arc::ptr_eq(old, &meter) => meter,
            _ => Arc::new(self.stamp_meter((*meter).clone())),
        });
        let meters = Arc::new(Meters::new(stamped.collect()));
        RuleSetError::check(set_problems(&rules, &meters))?;
        fill_ids(&mut rules, &[]);
        let mut compiled = Vec::with_capacity(rules.len());
        for (rule, old) in rules.into_iter().zip(old_rules) {
            compiled.push(match old {
                Some(old) if old.rule.says_the_same(&rule) && old.rule.id() == rule.id() => {
                    self.renewed(old, &meters)
                }
                old => self.compile(rule, &meters, old.map(|old| &**old)),
            });
        }
        self.publish(&compiled, meters)
    }

    /// Makes the meters those of a list; rules that count one that has changed count by it.
    pub(super) fn replace_meters(mut self, list: Vec<Arc<Meter>>) -> Result<(), RulesError> {
        let meters = Arc::new(Meters::new(list));
        RuleSetError::check(set_problems(&self.rules(), &meters))?;
        let current = Arc::clone(&self.current);
        let compiled: Vec<_> =
            current.rules.iter().map(|rule| self.renewed(rule, &meters)).collect();
        self.publish(&compiled, meters)
    }

    /// A rule that has not changed itself, with what its meter now says.
    fn renewed(&mut self, rule: &Arc<CompiledRule>, meters: &Meters) -> Arc<CompiledRule> {
        if rule.counts_as(&rule.rule, meters) {
            return Arc::clone(rule);
        }
        self.compiler.compile(rule.rule.clone(), meters, Some(rule), &self.time)
    }

    /// Compiles a rule that has its id, with its times.
    fn compile(
        &mut self,
        mut rule: Rule,
        meters: &Meters,
        before: Option<&CompiledRule>,
    ) -> Arc<CompiledRule> {
        let time = self.now();
        match &mut rule {
            Rule::RateLimit(rule) => {
                rule.created_at = rule.created_at.or(time);
                rule.updated_at = time;
            }
            Rule::Quota(rule) => {
                rule.created_at = rule.created_at.or(time);
                rule.updated_at = time;
            }
        }
        self.compiler.compile(rule, meters, before, &self.time)
    }

    /// Gives a meter its times.
    pub(super) fn stamp_meter(&self, mut meter: Meter) -> Meter {
        let time = self.now();
        meter.created_at = meter.created_at.or(time);
        meter.updated_at = time;
        meter
    }

    fn now(&self) -> Option<Timestamp> {
        let now = self.engine.table.timeline().timestamp(self.now);
        Some(now).filter(|now| now.is_a_date())
    }

    fn publish(
        mut self,
        compiled: &[Arc<CompiledRule>],
        meters: Arc<Meters>,
    ) -> Result<(), RulesError> {
        let engine = self.engine;
        engine.admit_rules()?;
        let convert = compiled.len() < self.current.rules.len()
            || compiled.iter().any(|rule| rule.counter.took_over());
        let refill = engine.is_to_track(&meters, compiled);
        let version = self.current.version.saturating_add(1);
        engine.note_checkpoints(&mut self.compiler);
        let compiled: Vec<_> = compiled.iter().map(|rule| self.compiler.renew(rule)).collect();
        if convert || refill {
            engine.rules_change();
        }
        // Before the first decision by a rule that counts a new meter.
        engine.track_folds_of(&meters, &compiled);
        let snapshot = Arc::new(Snapshot::new(
            version,
            Arc::clone(&self.time),
            compiled,
            meters,
            engine.hasher.clone(),
        ));
        // No decision is made from here until the new rules are open: a few microseconds.
        let at = engine.table.close(self.now);
        self.time.get_or_init(|| at);
        let stored = engine.put_rules(&self.current, &snapshot, &self.compiler);
        engine.snapshot.store(Arc::clone(&snapshot));
        engine.table.open(version);
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

/// The list, and beside it for each what it was before.
fn apart<T, C>(list: Vec<Paired<T>>, current: &[C]) -> (Vec<T>, Vec<Option<&C>>) {
    let apart = |one: Paired<T>| (one.new, one.before.and_then(|place| current.get(place)));
    list.into_iter().map(apart).unzip()
}

pub(super) fn not_found(kind: &'static str, id: &str) -> RulesError {
    RulesError::NotFound { kind, id: id.to_owned() }
}
