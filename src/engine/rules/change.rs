//! A change of the rules under way: what they shall be.

use std::cell::Cell;
use std::sync::Arc;

use parking_lot::MutexGuard;

use super::not_found;
use super::publish::Published;
use crate::base::clock::Timestamp;
use crate::compiled::{CompiledRule, Compiler, Snapshot};
use crate::counters::{ChangeTime, Moment};
use crate::engine::{Core, RulesError};
use crate::rules::{
    Meter, Meters, Paired, Plan, Rule, RuleSet, RuleSetError, SyncOptions, SyncReport, fill_ids,
    merge_declared, merge_report, plan_sync, set_problems,
};

/// A change of the rules under way; one at a time.
pub(in crate::engine) struct Change<'e> {
    pub(super) engine: &'e Core,
    /// Taken after whatever is read above it, and free when the change is over: before anybody is
    /// told of it.
    pub(super) compiler: MutexGuard<'e, Compiler>,
    pub(in crate::engine) current: Arc<Snapshot>,
    /// What the clock showed before the lock was taken.
    pub(super) now: Moment,
    /// When the change happens.
    pub(super) time: Arc<ChangeTime>,
    pub(super) published: &'e Cell<Option<Published>>,
}

impl Change<'_> {
    fn rules(&self) -> Vec<Rule> {
        self.current.listed().iter().map(|compiled| compiled.rule.clone()).collect()
    }

    pub(super) fn add(mut self, mut rule: Rule) -> Result<Rule, RulesError> {
        let mut rules = self.rules();
        fill_ids(std::slice::from_mut(&mut rule), &rules);
        rules.push(rule.clone());
        let meters = Arc::clone(&self.current.meters);
        RuleSetError::check(set_problems(&rules, &meters))?;
        let added = self.compile(rule, &meters, None);
        let mut compiled = self.current.listed().to_vec();
        compiled.push(Arc::clone(&added));
        self.publish(&compiled, meters)?;
        Ok(added.rule.clone())
    }

    /// `None` where no rule has the id, or `apply` is not for its kind.
    pub(super) fn update(
        mut self,
        id: &str,
        apply: impl FnOnce(&Rule) -> Option<Rule>,
    ) -> Result<Option<Rule>, RulesError> {
        let mut compiled = self.current.listed().to_vec();
        let mut rules = self.rules();
        let Some(index) = compiled.iter().position(|rule| rule.id() == id) else { return Ok(None) };
        let (Some(old), Some(slot)) = (compiled.get_mut(index), rules.get_mut(index)) else {
            return Ok(None);
        };
        let Some(rule) = apply(&old.rule) else { return Ok(None) };
        if rule.says_the_same(&old.rule) {
            return Ok(Some(rule));
        }
        slot.clone_from(&rule);
        let meters = Arc::clone(&self.current.meters);
        RuleSetError::check(set_problems(&rules, &meters))?;
        let new = self.compile(rule, &meters, Some(old));
        *old = Arc::clone(&new);
        self.publish(&compiled, meters)?;
        Ok(Some(new.rule.clone()))
    }

    pub(super) fn remove(mut self, id: &str) -> Result<(), RulesError> {
        let mut compiled = self.current.listed().to_vec();
        compiled.retain(|rule| rule.id() != id);
        if compiled.len() == self.current.listed().len() {
            return Err(not_found("rule", id));
        }
        let meters = Arc::clone(&self.current.meters);
        self.publish(&compiled, meters)
    }

    pub(super) fn sync(
        self,
        wanted: RuleSet,
        options: SyncOptions,
    ) -> Result<SyncReport, RulesError> {
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
    pub(in crate::engine) fn merge(self, before: RuleSet, code: RuleSet) -> Result<(), RulesError> {
        let (rules, meters) = merge_declared(before, code, (&self.rules(), &self.current.meters));
        self.replace(rules, meters)
    }

    /// The same of a list that the application follows, and says what it came to.
    pub(super) fn follow(self, before: RuleSet, after: RuleSet) -> Result<SyncReport, RulesError> {
        let current = (&*self.rules(), &*Arc::clone(&self.current.meters));
        let (rules, meters) = merge_declared(before, after, current);
        let report = merge_report(current, (&rules, &meters));
        self.replace(rules, meters)?;
        Ok(report)
    }

    /// Lets rules count in the units of today that a store of format 1 has in others.
    pub(in crate::engine) fn renew(mut self) -> Result<(), RulesError> {
        let current = Arc::clone(&self.current);
        let meters = Arc::clone(&current.meters);
        let is_up_to_date = |rule: &Arc<CompiledRule>| rule.counts_as(&rule.rule, &meters);
        if current.listed().iter().all(is_up_to_date) {
            return Ok(());
        }
        let renewed = current.listed().iter().map(|rule| self.renewed(rule, &meters));
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
        let (mut rules, old_rules) = apart(rules, current.listed());
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
    pub(in crate::engine) fn replace_meters(
        mut self,
        list: Vec<Arc<Meter>>,
    ) -> Result<(), RulesError> {
        let meters = Arc::new(Meters::new(list));
        RuleSetError::check(set_problems(&self.rules(), &meters))?;
        let current = Arc::clone(&self.current);
        let compiled: Vec<_> =
            current.listed().iter().map(|rule| self.renewed(rule, &meters)).collect();
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
    pub(super) fn compile(
        &mut self,
        mut rule: Rule,
        meters: &Meters,
        before: Option<&CompiledRule>,
    ) -> Arc<CompiledRule> {
        rule.stamp(before.map(|before| &before.rule), self.now());
        self.compiler.compile(rule, meters, before, &self.time)
    }

    /// Gives a meter its times.
    pub(in crate::engine) fn stamp_meter(&self, mut meter: Meter) -> Meter {
        let time = self.now();
        meter.created_at = meter.created_at.or(time);
        meter.updated_at = time;
        meter
    }

    /// Compiles the rules anew whose periods are cut otherwise by the calendars of now.
    pub(in crate::engine) fn refit(&mut self) -> Result<(), RulesError> {
        let (current, meters) = (Arc::clone(&self.current), Arc::clone(&self.current.meters));
        if current.listed().iter().all(|rule| self.compiler.fits(rule)) {
            return Ok(());
        }
        let compiled = current.listed().iter().map(|rule| {
            if self.compiler.fits(rule) {
                return Arc::clone(rule);
            }
            self.compiler.compile(rule.rule.clone(), &meters, Some(rule), &self.time)
        });
        let compiled: Vec<_> = compiled.collect();
        self.publish(&compiled, meters)
    }

    /// What the clock showed before the lock was taken.
    pub(in crate::engine) fn now_moment(&self) -> Moment {
        self.now
    }

    pub(in crate::engine) fn now(&self) -> Option<Timestamp> {
        let now = self.engine.table.timeline().timestamp(self.now);
        Some(now).filter(|now| now.is_a_date())
    }
}

/// The list, and beside it for each what it was before.
fn apart<T, C>(list: Vec<Paired<T>>, current: &[C]) -> (Vec<T>, Vec<Option<&C>>) {
    let apart = |one: Paired<T>| (one.new, one.before.and_then(|place| current.get(place)));
    list.into_iter().map(apart).unzip()
}
