//! Why an event is allowed or refused: what a person asks when a customer calls.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde::{Serialize, Serializer};

use super::Engine;
use crate::base::amount::Amount;
use crate::base::clock::Timestamp;
use crate::compiled::{CompiledRule, Rank, Snapshot};
use crate::decision::Decision;
use crate::engine::TrackError;
use crate::event::{Dimension, Event};
use crate::rules::{Condition, Rule};

/// Every rule that matched an event, every rule that nearly did, and the decision.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Explanation {
    /// What [`Engine::check`] answers now.
    pub decision: Decision,
    /// The rules, rate limits first, each kind in the order of its definition. A rule that
    /// misses the event by more than one dimension is left out.
    pub rules: Vec<RuleExplanation>,
    /// The dimensions that are [attributes of the customer](crate::Customer::metadata) and that the
    /// event does not say itself, with their values; left out of JSON where there is none.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
}

/// How one rule looks at the event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct RuleExplanation {
    /// The rule's id.
    pub id: String,
    /// `rate limit` or `quota`.
    pub kind: &'static str,
    /// The rule's name.
    pub name: String,
    /// How it looks at the event.
    #[serde(flatten)]
    pub outcome: RuleOutcome,
}

/// A dimension that rules name and no event has had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct UnseenDimension {
    /// The dimension.
    pub dimension: String,
    /// The names of the rules that filter or split by it, themselves or by their meter.
    pub rules: Vec<String>,
}

/// How a rule looks at an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "outcome")]
#[non_exhaustive]
pub enum RuleOutcome {
    /// It applies.
    #[serde(rename_all = "camelCase")]
    Applies {
        /// The rule's limit; `None` of a rule without one.
        limit: Option<Amount>,
        /// What is left of it, after the event where the decision allows it.
        remaining: Option<Amount>,
        /// How much open reservations hold of it; left out of JSON where that is nothing.
        #[serde(skip_serializing_if = "is_nothing")]
        held: Amount,
        /// How much of what is used of a quota was adjusted; left out of JSON where that is
        /// nothing.
        #[serde(skip_serializing_if = "is_nothing")]
        adjusted: Amount,
        /// The second at which the figures start over; a Unix second in JSON.
        #[serde(serialize_with = "as_unix_second")]
        reset: Option<Timestamp>,
        /// It refuses the event; a soft or shadow rule that would have.
        exceeded: bool,
    },
    /// It matches, and another rule of its policy applies in its place.
    #[serde(rename_all = "camelCase")]
    Replaced {
        /// The policy.
        policy: String,
        /// The id of the rule that applies.
        by: String,
        /// In what the two differ that decided.
        because: Precedence,
    },
    /// It matches, and does not judge now: its time has not begun, or is over.
    #[serde(rename_all = "camelCase")]
    OutOfTime {
        /// The first instant at which it judges.
        starts_at: Option<Timestamp>,
        /// The first instant at which it judges no more.
        ends_at: Option<Timestamp>,
    },
    /// It would match, but is turned off.
    Disabled,
    /// One dimension keeps it from matching.
    #[serde(rename_all = "camelCase")]
    Missed {
        /// The dimension.
        dimension: String,
        /// What the rule's filter asks of it; `None` where its partition needs any value.
        wanted: Option<Condition>,
        /// The value that the event has, if it has one.
        found: Option<String>,
        /// What the event has under that name instead of a string, which is no dimension: `a
        /// number`, `a bool`, `null`, `a list` or `an object`.
        instead: Option<&'static str>,
    },
}

/// What decides which of two rules of a [policy](crate::RateLimit::policy) judges, the first first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Precedence {
    /// Its priority is higher.
    Priority,
    /// It is for the very key.
    OwnKey,
    /// Its filter asks about more.
    Conditions,
    /// It is newer.
    Newest,
}

impl Precedence {
    fn between(winner: Rank, other: Rank) -> Self {
        if winner.priority != other.priority {
            Self::Priority
        } else if winner.has_own_key != other.has_own_key {
            Self::OwnKey
        } else if winner.conditions != other.conditions {
            Self::Conditions
        } else {
            Self::Newest
        }
    }
}

/// As in "replaced by a rule that ..".
impl fmt::Display for Precedence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Priority => "has a higher priority",
            Self::OwnKey => "is for the very key",
            Self::Conditions => "asks about more dimensions",
            Self::Newest => "is newer",
        })
    }
}

impl Engine {
    /// Returns the dimensions that rules which are turned on filter or split by, and that no event
    /// has had which this engine was asked about since it was built: misspelt, perhaps, or sent as
    /// a number. Such rules match nothing. O(rules).
    ///
    /// ```
    /// use limitry::{Engine, Event, RateLimit, Window};
    ///
    /// let calls = RateLimit::new("Team calls", 100, Window::Minute).per("team_id");
    /// let engine = Engine::builder().rate_limit(calls).build()?;
    /// let event = Event::new("cust_123", "call").property("team", "red");
    /// assert!(engine.track(&event)?.is_allowed());
    /// let unseen = engine.unseen_dimensions();
    /// assert_eq!((&*unseen[0].dimension, &*unseen[0].rules[0]), ("team_id", "Team calls"));
    /// # Ok::<(), limitry::Error>(())
    /// ```
    #[must_use]
    pub fn unseen_dimensions(&self) -> Vec<UnseenDimension> {
        let snapshot = self.core.snapshot.load();
        let mut unseen: BTreeMap<&Dimension, Vec<String>> = BTreeMap::new();
        for rule in snapshot.listed().iter().filter(|rule| rule.rule.enabled()) {
            let counted = rule.marks.iter().flat_map(|marks| &marks.seen);
            let counted =
                counted.filter(|(new, _)| rule.seen.iter().all(|(known, _)| known != new));
            let named = rule.seen.iter().chain(counted);
            for (dimension, _) in named.filter(|(_, seen)| !seen.load(Ordering::Relaxed)) {
                unseen.entry(dimension).or_default().push(rule.rule.name().to_owned());
            }
        }
        let named = |(dimension, rules): (&Dimension, _)| UnseenDimension {
            dimension: dimension.to_string(),
            rules,
        };
        unseen.into_iter().map(named).collect()
    }

    /// Explains how every rule looks at an event; takes nothing.
    ///
    /// Goes through all rules: O(rules), for people and not for the hot path. The rules are
    /// looked at right after the decision is made, so a change in between may show.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub fn explain(&self, event: &Event<'_>) -> Result<Explanation, TrackError> {
        self.core.with_attributes(event, |event| self.explain_as_it_is(event))
    }

    fn explain_as_it_is(&self, event: &Event<'_>) -> Result<Explanation, TrackError> {
        let decision = self.check(event)?;
        let snapshot = self.core.snapshot.load();
        let own = event.attributes().map(|(name, value)| (name.to_owned(), value.to_string()));
        let rules = (0..).zip(snapshot.listed());
        let rules = rules.filter(|(_, rule)| !rule.rule.is_archived());
        let rules = rules.filter_map(|rule| explain_rule(&snapshot, rule, event, &decision));
        let rules = rules.collect();
        Ok(Explanation { decision, rules, attributes: own.collect() })
    }
}

fn explain_rule(
    snapshot: &Snapshot,
    (place, compiled): (u32, &Arc<CompiledRule>),
    event: &Event<'_>,
    decision: &Decision,
) -> Option<RuleExplanation> {
    let mut misses = misses(compiled, event);
    let outcome = match (misses.next(), misses.next()) {
        (Some(miss), None) => miss,
        (Some(_), Some(_)) => return None,
        (None, _) if !compiled.rule.enabled() => RuleOutcome::Disabled,
        (None, _) => {
            let applies = applies(compiled, decision);
            let otherwise =
                || out_of_time(compiled, decision).or_else(|| replaced(snapshot, place, decision));
            applies.or_else(otherwise)?
        }
    };
    Some(RuleExplanation {
        id: compiled.id().to_owned(),
        kind: compiled.rule.kind().as_str(),
        name: compiled.rule.name().to_owned(),
        outcome,
    })
}

/// The dimensions that keep a rule from matching, each once.
pub(super) fn misses<'r>(
    compiled: &'r CompiledRule,
    event: &'r Event<'_>,
) -> impl Iterator<Item = RuleOutcome> + 'r {
    let own: Vec<Dimension> = compiled.own_filter().collect();
    let filtered = compiled.filter.iter().filter_map(move |(dimension, wanted)| {
        let fallback = compiled.fallback().filter(|_| own.contains(dimension));
        let found = dimension.of(event).or(fallback);
        (!wanted.is_met_by(found)).then(|| RuleOutcome::Missed {
            dimension: dimension.to_string(),
            wanted: Some(wanted.clone()),
            found: found.map(str::to_owned),
            instead: dimension.instead(event),
        })
    });
    let lacking = compiled.partition.iter().filter(|dimension| {
        let filtered = compiled.filter.iter().any(|(other, _)| other == *dimension);
        !filtered && dimension.of(event).is_none() && compiled.fallback().is_none()
    });
    filtered.chain(lacking.map(|dimension| RuleOutcome::Missed {
        dimension: dimension.to_string(),
        wanted: None,
        found: None,
        instead: dimension.instead(event),
    }))
}

fn out_of_time(compiled: &CompiledRule, decision: &Decision) -> Option<RuleOutcome> {
    compiled.span.filter(|span| !span.holds(&decision.at()))?;
    let (starts_at, ends_at) = compiled.rule.times();
    Some(RuleOutcome::OutOfTime { starts_at, ends_at })
}

/// Nothing of a rule that the decision does not know, because it came later, and of one whose
/// winner is gone meanwhile.
fn replaced(snapshot: &Snapshot, place: u32, decision: &Decision) -> Option<RuleOutcome> {
    let policy = snapshot.rule(place)?.rule.policy()?;
    let mut applied = decision.judged().map(|(rule, _)| rule);
    let winner = applied.find(|rule| rule.rule.policy() == Some(policy))?;
    let places = (0..).zip(snapshot.listed());
    let mut places = places.filter(|(_, rule)| rule.id() == winner.id()).map(|(place, _)| place);
    let ranks = snapshot.index.rank(places.next()?).zip(snapshot.index.rank(place));
    let (winner_rank, rank) = ranks?;
    Some(RuleOutcome::Replaced {
        policy: policy.to_owned(),
        by: winner.id().to_owned(),
        because: Precedence::between(winner_rank, rank),
    })
}

fn applies(compiled: &CompiledRule, decision: &Decision) -> Option<RuleOutcome> {
    let id = compiled.id();
    match &compiled.rule {
        Rule::RateLimit(_) => {
            let status = decision.rate_limits().find(|status| status.id == id)?;
            Some(RuleOutcome::Applies {
                limit: status.limit,
                remaining: status.limit.map(|_| status.remaining),
                held: status.held,
                adjusted: Amount::ZERO,
                reset: Some(status.reset),
                exceeded: status.exceeded,
            })
        }
        Rule::Quota(_) => {
            let status = decision.quotas().find(|status| status.id == id)?;
            Some(RuleOutcome::Applies {
                limit: status.limit,
                remaining: status.limit.map(|_| status.remaining),
                held: status.held,
                adjusted: status.adjusted,
                reset: status.reset,
                exceeded: status.exceeded,
            })
        }
    }
}

fn is_nothing(amount: &Amount) -> bool {
    *amount == Amount::ZERO
}

#[expect(clippy::ref_option, reason = "serde passes a reference")]
fn as_unix_second<S: Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    at.map(Timestamp::unix_seconds).serialize(serializer)
}

impl fmt::Display for Explanation {
    /// The verdict, a line an attribute of the customer, and a line a rule.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.decision)?;
        for (dimension, value) in &self.attributes {
            writeln!(f, "  {dimension} is {value:?}, an attribute of the customer")?;
        }
        self.rules.iter().try_for_each(|rule| writeln!(f, "  {rule}"))
    }
}

impl fmt::Display for RuleExplanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?} ({}): ", self.kind, self.name, self.id)?;
        match &self.outcome {
            RuleOutcome::Applies { limit, remaining, held, exceeded, .. } => {
                let verdict = if *exceeded { "does not fit" } else { "fits" };
                match limit.zip(*remaining) {
                    Some((limit, left)) => write!(f, "{verdict}, {left} of {limit} left")?,
                    None => write!(f, "{verdict}, without a limit")?,
                }
                if *held == Amount::ZERO { Ok(()) } else { write!(f, ", {held} held") }
            }
            RuleOutcome::Replaced { policy, by, because } => {
                write!(f, "replaced by rule {by} of policy {policy:?}, which {because}")
            }
            RuleOutcome::OutOfTime { starts_at, ends_at } => {
                f.write_str("not in its time")?;
                if let Some(start) = starts_at {
                    write!(f, ", from {start}")?;
                }
                ends_at.map_or(Ok(()), |end| write!(f, ", until {end}"))
            }
            RuleOutcome::Disabled => f.write_str("turned off"),
            RuleOutcome::Missed { dimension, instead: Some(instead), .. } => {
                write!(f, "does not match: {dimension} is {instead}, and not a string")
            }
            RuleOutcome::Missed { dimension, wanted: Some(wanted), found: Some(found), .. } => {
                match wanted {
                    Condition::Is(wanted) => {
                        write!(f, "does not match: {dimension} is {found:?}, not {wanted:?}")
                    }
                    _ => write!(f, "does not match: {dimension} is {found:?}, wanted {wanted}"),
                }
            }
            RuleOutcome::Missed { dimension, wanted: Some(wanted), found: None, .. } => {
                write!(f, "does not match: the event has no {dimension}, wanted {wanted}")
            }
            RuleOutcome::Missed { dimension, .. } => {
                write!(f, "does not match: the event has no {dimension} to count by")
            }
        }
    }
}

impl fmt::Display for Dimension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CustomerId => "customer_id",
            Self::EventType => "event_type",
            Self::Model => "model",
            Self::Provider => "provider",
            Self::Property(key) => key,
        })
    }
}
