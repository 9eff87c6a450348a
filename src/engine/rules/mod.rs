//! The rules of an engine, which may be changed while other threads decide.
//!
//! Whoever changes the rules makes the next snapshot ([`change`]) and publishes it ([`publish`]);
//! decisions that are under way with the old one notice before they count, and start again.
//! Counters of rules that did not change are not touched. Each change is O(rules); where counters
//! have to be converted it then goes over all keys, a few hundred under one lock.

use std::sync::Arc;

use super::{Core, Engine, RulesError};
use crate::rules::{
    Quota, RateLimit, Rule, RuleKind, RuleSet, RuleUpdate, SyncOptions, SyncReport,
};
use crate::telemetry;

mod change;
mod keys;
mod last_judged;
mod publish;

pub(super) use self::change::Change;
pub use self::keys::{KeyPage, KeyQuery, KeyUse};
pub use self::last_judged::LastJudged;

/// The rules of an engine: [`Engine::rules`]. They may be changed while other threads decide.
///
/// Rules of all kinds are added, changed and found by the same methods; where a method cannot tell
/// the kind, name it: `get::<RateLimit>(id)`. [`Rule`] stands for any kind.
///
/// ```
/// use limitry::rules::RateLimitUpdate;
/// use limitry::{Engine, Metric, Period, Quota, RateLimit, Window};
///
/// let engine = Engine::builder().build()?;
/// let calls = engine.rules().add(RateLimit::new("Calls", 10, Window::Second))?;
/// engine.rules().add(Quota::new("Tokens", Metric::TotalTokens, 9_000, Period::Day))?;
/// let id = calls.id.as_deref().unwrap_or_default();
/// let calls = engine.rules().update(id, RateLimitUpdate::new().limit(20))?;
/// assert_eq!(calls.limit_value, Some(20.into()));
/// assert_eq!(engine.rules().get::<RateLimit>("rl_calls"), Some(calls));
/// engine.rules().remove("rl_calls")?;
/// assert_eq!(engine.rules().list().len(), 1);
/// # Ok::<(), limitry::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Rules {
    pub(super) core: Arc<Core>,
}

impl Engine {
    /// Returns the rules.
    #[must_use]
    pub fn rules(&self) -> Rules {
        Rules { core: Arc::clone(&self.core) }
    }
}

impl Rules {
    /// Adds a rule and returns it as it now is, with its id. O(rules).
    ///
    /// # Errors
    /// The rule is not valid, or does not go with the others: all problems at once.
    pub fn add<R: RuleKind>(&self, rule: R) -> Result<R, RulesError> {
        of_kind(&self.core.add_rule(rule.into())?, "")
    }

    /// Changes some fields of a rule and returns it as it now is; what was used carries over as
    /// the update says ([`RateLimitUpdate`](crate::rules::RateLimitUpdate),
    /// [`QuotaUpdate`](crate::rules::QuotaUpdate)). O(rules), and O(keys) where counters are
    /// converted.
    ///
    /// # Errors
    /// No rule of the kind has the id, or the rule would not be valid.
    #[expect(clippy::needless_pass_by_value, reason = "an update is made for the call")]
    pub fn update<U: RuleUpdate>(&self, id: &str, update: U) -> Result<U::Rule, RulesError> {
        let apply = |rule: &Rule| Some(update.apply(&U::Rule::of(rule)?).into());
        telemetry::span!("update_rule", id = id).run(|| {
            let changed = self.core.changed(|change| change.update(id, apply))?;
            of_kind(&changed.ok_or_else(|| not_found(U::Rule::WHAT, id))?, id)
        })
    }

    /// Removes a rule of any kind; its counters are dropped. O(rules + keys).
    ///
    /// # Errors
    /// No rule has the id.
    pub fn remove(&self, id: &str) -> Result<(), RulesError> {
        let span = telemetry::span!("remove_rule", id = id);
        span.run(|| self.core.changed(|change| change.remove(id)))
    }

    /// Archives a rule and returns it as it now is: it matches no event and stands in no list, and
    /// what is known of it stays: its counters, its [keys](Self::keys) and what was
    /// [adjusted](Self::adjust). Archiving it again changes nothing. Its id stays taken. O(rules).
    ///
    /// ```
    /// use limitry::{Engine, RateLimit, Window};
    ///
    /// let calls = RateLimit::new("Calls", 1, Window::Hour);
    /// let engine = Engine::builder().rate_limit(calls).build()?;
    /// let archived = engine.rules().archive("rl_calls")?;
    /// assert!(engine.rules().list().is_empty() && engine.rules().archived() == [archived]);
    /// engine.rules().restore("rl_calls")?;
    /// let restored: Option<RateLimit> = engine.rules().get("rl_calls");
    /// assert_eq!(restored.map(|rule| rule.version), Some(3));
    /// # Ok::<(), limitry::Error>(())
    /// ```
    ///
    /// # Errors
    /// No rule has the id.
    pub fn archive(&self, id: &str) -> Result<Rule, RulesError> {
        telemetry::span!("archive_rule", id = id).run(|| self.set_archived(id, true))
    }

    /// Brings an archived rule back and returns it as it now is. A rate limit goes on from what was
    /// used when it was archived; so does a quota, but in an engine that records, where it counts
    /// what happened in its period meanwhile, too. O(rules).
    ///
    /// # Errors
    /// No rule has the id.
    pub fn restore(&self, id: &str) -> Result<Rule, RulesError> {
        telemetry::span!("restore_rule", id = id).run(|| self.set_archived(id, false))
    }

    fn set_archived(&self, id: &str, archived: bool) -> Result<Rule, RulesError> {
        let apply = |rule: &Rule| Some(rule.with_archived(archived));
        let changed = self.core.changed(|change| change.update(id, apply))?;
        changed.ok_or_else(|| not_found("rule", id))
    }

    /// Returns the archived rules of all kinds, the oldest first.
    #[must_use]
    pub fn archived(&self) -> Vec<Rule> {
        let snapshot = self.core.snapshot.load();
        let archived = snapshot.listed().iter().filter(|compiled| compiled.rule.is_archived());
        archived.map(|compiled| compiled.rule.clone()).collect()
    }

    /// Returns the rule of an id, if it is of the kind that is asked for, an archived one too.
    /// O(1).
    #[must_use]
    pub fn get<R: RuleKind>(&self, id: &str) -> Option<R> {
        R::of(&self.core.snapshot.load().by_id(id)?.rule)
    }

    /// Returns the rules of all kinds that are not archived, the oldest first.
    #[must_use]
    pub fn list(&self) -> Vec<Rule> {
        self.of_kind()
    }

    /// Returns the rate limits, the oldest first.
    #[must_use]
    pub fn rate_limits(&self) -> Vec<RateLimit> {
        self.of_kind()
    }

    /// Returns the quotas, the oldest first.
    #[must_use]
    pub fn quotas(&self) -> Vec<Quota> {
        self.of_kind()
    }

    /// Returns all rules that are not archived, and all meters, as data with what the engine set
    /// (ids, times and versions).
    #[must_use]
    pub fn set(&self) -> RuleSet {
        let snapshot = self.core.snapshot.load();
        let active = snapshot.listed().iter().filter(|compiled| !compiled.rule.is_archived());
        let mut set: RuleSet = active.map(|compiled| compiled.rule.clone()).collect();
        set.meters = snapshot.meters.list().iter().map(|meter| (**meter).clone()).collect();
        set
    }

    /// Makes the rules and meters match a list: creates what is missing, updates what differs, and
    /// removes what the list does not name, or
    /// [archives](SyncOptions::archive_missing) it, in one step. Archived rules are left alone; a
    /// rule of the list that says when it was archived is archived now. A rule that is the same
    /// keeps its counters untouched, one that differs carries its use over. A second run changes
    /// nothing.
    ///
    /// A rule of the list is the one with its id, where it gives an id that the engine has: with
    /// another name it is renamed. Otherwise it is the one with its kind and name, which gets the
    /// id of the list where that gives one (the report says so, and rules that count a meter follow
    /// it) and keeps its own where not.
    ///
    /// # Errors
    /// An id stands twice, or a name does where no id says which is meant, or the rules as they
    /// would be are not valid: all problems at once, and nothing is written.
    pub fn sync(&self, rules: RuleSet, options: SyncOptions) -> Result<SyncReport, RulesError> {
        let span = telemetry::span!("sync", write = options.write);
        span.run(|| self.core.sync(rules, options))
    }

    /// Follows a list that others than the application change, such as a file, beside rules that
    /// are changed here: brings in, in one step, what `after` says otherwise than `before`, which
    /// the list said when it was last followed. What is new in it is added, what differs is
    /// changed, and what is gone is removed; what stands as it stood is left as it is now, also
    /// where it was changed or removed here. So of a rule that was changed in both, whichever
    /// changed last holds. A meter stays as long as a rule counts it. Which rule is meant is told
    /// as by [`sync`](Self::sync); O(rules).
    ///
    /// ```
    /// use limitry::{Engine, RateLimit, RuleSet, Window};
    ///
    /// let file = |limit| RuleSet::new().rate_limit(RateLimit::new("Calls", limit, Window::Hour));
    /// let engine = Engine::builder().build()?;
    /// engine.rules().follow(RuleSet::new(), file(10))?;
    /// engine.rules().add(RateLimit::new("Ours", 5, Window::Hour))?;
    /// let report = engine.rules().follow(file(10), file(20))?;
    /// assert_eq!((report.updated.len(), report.removed.len()), (1, 0));
    /// # Ok::<(), limitry::Error>(())
    /// ```
    ///
    /// # Errors
    /// The rules as they would be are not valid: all problems at once, and nothing is written.
    pub fn follow(&self, before: RuleSet, after: RuleSet) -> Result<SyncReport, RulesError> {
        let span = telemetry::span!("follow", write = true);
        span.run(|| self.core.changed(|change| change.follow(before, after)))
    }

    fn of_kind<R: RuleKind>(&self) -> Vec<R> {
        let snapshot = self.core.snapshot.load();
        let active = snapshot.listed().iter().filter(|compiled| !compiled.rule.is_archived());
        active.filter_map(|compiled| R::of(&compiled.rule)).collect()
    }
}

impl Core {
    fn sync(&self, rules: RuleSet, options: SyncOptions) -> Result<SyncReport, RulesError> {
        let report = self.changed(|change| change.sync(rules, options))?;
        telemetry::event!(
            info,
            created = report.created.len(),
            updated = report.updated.len(),
            removed = report.removed.len(),
            unchanged = report.unchanged.len(),
            "rules compared"
        );
        Ok(report)
    }

    fn add_rule(&self, rule: Rule) -> Result<Rule, RulesError> {
        let span = telemetry::span!("add_rule", rule = rule.name());
        span.run(|| self.changed(|change| change.add(rule)))
    }
}

/// A rule as the kind that it was given as.
fn of_kind<R: RuleKind>(rule: &Rule, id: &str) -> Result<R, RulesError> {
    let known = R::of(rule);
    debug_assert!(known.is_some(), "a rule does not change its kind");
    known.ok_or_else(|| not_found(R::WHAT, id))
}

pub(super) fn not_found(kind: &'static str, id: &str) -> RulesError {
    RulesError::NotFound { kind, id: id.to_owned() }
}
