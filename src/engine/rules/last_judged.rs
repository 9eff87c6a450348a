//! When a rule last judged: asked of what is recorded, so that no decision pays for it.

use serde::Serialize;

use super::Rules;
use crate::base::clock::Timestamp;
use crate::compiled::{Matches, Snapshot};
use crate::engine::Core;
use crate::engine::explain::misses;
use crate::event::DimensionHashes;
use crate::log::{QueryError, Stored};
use crate::rules::Rule;

/// When a rule last judged a call: [`Rules::last_judged`](crate::handles::Rules::last_judged).
///
/// It serializes as `at` and `since`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct LastJudged {
    /// The instant of the decision; `None` where no such call is known.
    pub at: Option<Timestamp>,
    /// From when on all calls that were let in are known. Where this is after [`at`](Self::at), or
    /// there is none, the rule has judged nothing since, and may have before. `None` where all are
    /// known that there ever were.
    pub since: Option<Timestamp>,
}

impl Rules {
    /// Returns when a rule last judged a call, archived or not: the instant of the latest decision
    /// that it had a say in, of those that let a call in which is recorded and in memory, and of
    /// those that the rule refused. A check judges nothing here, and a reservation when it is
    /// committed or refused.
    ///
    /// It is exact to the nanosecond for calls since the rule was last changed. For those between
    /// that and its creation it goes by the rules as they are now; for a rule that is turned off or
    /// archived by its filter, up to the change that did it. Of calls that overlap in time any may
    /// be the latest. A call that another rule refused is nothing that this one is known to have
    /// judged. With a store it is the same after a restart, but for what a
    /// [crash](crate::handles::Refusals) loses of refusals.
    ///
    /// Costs decisions nothing. It is a look through the events in memory from the newest on, until
    /// one is found: a few hundred nanoseconds for each that the rule's filter may match.
    ///
    /// ```
    /// use limitry::{Engine, Event, RateLimit, Window};
    ///
    /// let calls = RateLimit::new("Calls", 100, Window::Minute);
    /// let engine = Engine::builder().rate_limit(calls).build()?;
    /// assert_eq!(engine.rules().last_judged("rl_calls")?.at, None);
    /// assert!(engine.track(&Event::new("ann", "call"))?.is_allowed());
    /// assert!(engine.rules().last_judged("rl_calls")?.at.is_some());
    /// # Ok::<(), limitry::Error>(())
    /// ```
    ///
    /// # Errors
    /// No rule has the id; recording is off.
    pub fn last_judged(&self, id: &str) -> Result<LastJudged, QueryError> {
        self.core.last_judged(id)
    }
}

impl Core {
    fn last_judged(&self, id: &str) -> Result<LastJudged, QueryError> {
        let snapshot = self.snapshot.load_full();
        let mut places = (0..).zip(snapshot.listed());
        let found = places.find(|(_, rule)| rule.id() == id);
        let (place, compiled) = found.ok_or_else(|| QueryError::RuleNotFound { id: id.into() })?;
        let ledger = self.ledger.as_ref().ok_or(QueryError::RecordingOff)?;
        let (created, ended) = life_of(&compiled.rule);
        let refused = self.refusals.as_ref().and_then(|log| log.last_of(id));
        let refused = refused.filter(|at| *at >= created);
        let (segments, dropped) = ledger.kept();
        let after = refused.unwrap_or(created);
        let newest_first = segments.iter().rev().flat_map(|segment| {
            let mut events: Vec<_> = segment.events().collect();
            events.reverse();
            events
        });
        let mut wanted = newest_first
            .filter(|event| event.times().is_some_and(|(_, at)| at >= after && at <= ended));
        let let_in = wanted.find_map(|event| self.judged_at(&snapshot, place, event.read()?));
        let oldest = segments.first().and_then(|segment| segment.events().next()?.times());
        let since = oldest.filter(|_| !dropped.is_empty()).map(|(_, decided_at)| decided_at);
        Ok(LastJudged { at: let_in.max(refused), since })
    }

    /// When an event was decided about, where a rule judges it.
    fn judged_at(&self, snapshot: &Snapshot, place: u32, stored: Stored<'_>) -> Option<Timestamp> {
        let compiled = snapshot.rule(place)?;
        let (timestamp, decided_at) = (stored.timestamp(), stored.decided_at());
        let event = stored.event();
        let judges = if compiled.rule.enabled() {
            let timeline = self.table.timeline();
            let dated = (timestamp != decided_at).then_some(timestamp);
            let at = timeline.at(timeline.moment(decided_at), dated);
            let hashes = DimensionHashes::new(&event, &self.hasher);
            let mut matches = Matches::default();
            snapshot.index.find(&hashes, &at, &mut matches);
            matches.rules().iter().any(|found| found.rule == place && found.judges)
        } else {
            misses(compiled, &event).next().is_none()
        };
        judges.then_some(decided_at)
    }
}

/// When a rule came into being, and when it ended where it is turned off.
fn life_of(rule: &Rule) -> (Timestamp, Timestamp) {
    let [created, updated, archived] = rule.stamps();
    let ended = if rule.enabled() { None } else { archived.or(updated) };
    (created.unwrap_or(Timestamp::MIN), ended.unwrap_or(Timestamp::MAX))
}
