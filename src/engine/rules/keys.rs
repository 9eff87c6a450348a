//! Which keys have used the most of a rule.

use serde::{Serialize, Serializer};
use smallvec::SmallVec;

use super::Rules;
use crate::adjustments::UpTo;
use crate::base::amount::Amount;
use crate::base::clock::Timestamp;
use crate::base::reading;
use crate::compiled::CompiledRule;
use crate::counters::{FoundKey, History, KeysPass};
use crate::engine::Core;
use crate::log::{QueryError, page_limit};
use crate::rules::{Rule, RuleKey, Units};

const DEFAULT_LIMIT: u32 = 100;
const MAX_LIMIT: u32 = 1_000;

reading::body! {
    /// Which page of a rule's keys is asked for: [`Rules::keys`](crate::handles::Rules::keys).
    ///
    /// It is plain data, as a request's parameters: `limit` and `cursor`, both optional.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    #[serde(rename_all = "camelCase", deny_unknown_fields, default)]
    #[must_use]
    pub struct KeyQuery {
        #[serde(skip_serializing_if = "Option::is_none")]
        limit: Option<u32>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cursor: Option<String>,
    }
}

impl KeyQuery {
    /// Asks for the 100 keys that have used the most.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how many keys a page has at most: 1 to 1 000, 100 where it is not set.
    pub fn limit(mut self, limit: u32) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Begins after the page whose [`next_cursor`](KeyPage::next_cursor) this is.
    pub fn cursor(mut self, cursor: impl Into<String>) -> Self {
        self.cursor = Some(cursor.into());
        self
    }

    fn page_limit(&self) -> Result<usize, QueryError> {
        page_limit(self.limit, DEFAULT_LIMIT, (MAX_LIMIT, "must be 1 to 1000"))
    }
}

/// Where one key of a rule stands, as its [status](crate::decision::QuotaStatus) says it.
///
/// It serializes as `key`, `used`, `held`, `adjusted`, `limit`, `remaining` and `reset`, a Unix
/// second.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct KeyUse {
    /// The key.
    pub key: RuleKey,
    /// What is used of a quota in the period of now, without what is held. Of a rate limit what was
    /// taken in the window that ends now, or is missing in the bucket: with what reservations took.
    pub used: Amount,
    /// How much open reservations hold of it; of a rate limit also what they took before its
    /// window.
    pub held: Amount,
    /// How much of what is used of a quota was [adjusted](crate::handles::Rules::adjust).
    pub adjusted: Amount,
    /// The rule's limit; `None` of a rule without one.
    pub limit: Option<Amount>,
    /// What is left; `None` of a rule without a limit.
    pub remaining: Option<Amount>,
    /// When the figures start over, if they do; a Unix second in JSON.
    #[serde(serialize_with = "as_unix_second")]
    pub reset: Option<Timestamp>,
}

/// Some keys of a rule, those that have taken the most of it first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct KeyPage {
    /// The id of the rule.
    pub rule_id: String,
    /// The keys.
    pub items: Vec<KeyUse>,
    /// Where the keys stand together that found no room for counters of their own, where there are
    /// some; with the first page alone. Its key is that of no dimension.
    pub shared: Option<KeyUse>,
    /// What the next page is asked with, as [`KeyQuery::cursor`]; `None` on the last page.
    pub next_cursor: Option<String>,
}

impl Rules {
    /// Returns the keys that have used the most of a rule, the most first, a page at a time: used
    /// and held together, of as much the one whose values come first. Keys that have used nothing
    /// are left out.
    ///
    /// A page is a pass over all counters of the engine, O(keys): some 512 at a time under one
    /// lock, so that decisions go on, and with memory for one page. For keys that have used nothing
    /// since the rule got another period it looks into what is recorded, 32 under one lock. Each
    /// key stands where it stood when the pass came by; one that came, or used more, meanwhile or
    /// since the page before may be missing, and none is on a page twice. Of a rule that came into
    /// being while the engine records, and of one whose filter was changed, a key is known from its
    /// next event on: [usage](crate::Engine::usage) tells of all.
    ///
    /// ```
    /// use limitry::keys::KeyQuery;
    /// use limitry::{Engine, Event, Metric, Period, Quota};
    ///
    /// let tokens = Quota::new("Tokens", Metric::TotalTokens, 1_000, Period::Day);
    /// let engine = Engine::builder().quota(tokens.per("customer_id")).build()?;
    /// for (customer, tokens) in [("ann", 300), ("bob", 900), ("cid", 20)] {
    ///     let _ = engine.record(&Event::new(customer, "call").input_tokens(tokens))?;
    /// }
    /// let page = engine.rules().keys("qta_tokens", &KeyQuery::new().limit(2))?;
    /// let used = page.items.iter().map(|one| (one.key.get("customer_id"), one.used.to_string()));
    /// assert!(used.eq([(Some("bob"), "900".to_owned()), (Some("ann"), "300".to_owned())]));
    /// let next = KeyQuery::new().cursor(page.next_cursor.unwrap_or_default());
    /// assert_eq!(engine.rules().keys("qta_tokens", &next)?.items.len(), 1);
    /// # Ok::<(), limitry::Error>(())
    /// ```
    ///
    /// # Errors
    /// No rule has the id; the limit is not 1 to 1 000; the cursor is none of this rule's keys.
    pub fn keys(&self, id: &str, query: &KeyQuery) -> Result<KeyPage, QueryError> {
        let limit = query.page_limit()?;
        let after = query.cursor.as_deref().map(read_cursor).transpose()?;
        let core = &*self.core;
        // The clock is the caller's code: it is read before anything is locked.
        let now = core.read_clock().moment;
        loop {
            let snapshot = core.snapshot.load_full();
            let not_found = || QueryError::RuleNotFound { id: id.into() };
            let mut places = (0..).zip(snapshot.listed()).filter(|(_, rule)| rule.id() == id);
            let (rule, compiled) = places.next().ok_or_else(not_found)?;
            let recorded = core.known_use(&snapshot);
            let pass = KeysPass {
                counters: &snapshot.counters,
                history: recorded.as_ref().map(|recorded| recorded as &dyn History),
                rule,
                group: compiled.group,
                most: limit.saturating_add(1),
                after: after.as_ref().map(|(taken, values)| (*taken, values.as_slice())),
            };
            let Ok(found) = core.table.keys(&pass, now) else {
                // The rules are being changed: look again.
                std::thread::yield_now();
                continue;
            };
            let shown = |key: &FoundKey| core.shown(compiled, key);
            let last = limit.checked_sub(1).and_then(|last| found.keys.get(last));
            let last = last.filter(|_| found.keys.len() > limit);
            return Ok(KeyPage {
                rule_id: id.to_owned(),
                items: found.keys.iter().take(limit).map(shown).collect(),
                shared: found.shared.as_ref().map(shown),
                next_cursor: last.map(cursor_of),
            });
        }
    }
}

impl Core {
    fn shown(&self, compiled: &CompiledRule, found: &FoundKey) -> KeyUse {
        let timeline = self.table.timeline();
        let values: SmallVec<[&str; 2]> = found.values.iter().map(|value| &**value).collect();
        let adjusted = if self.adjustments.is_empty() || values.len() < compiled.partition.len() {
            0
        } else {
            self.adjusted_in(compiled, &values, &found.reading, found.at.now, UpTo::Now)
        };
        let amount = |units| compiled.measure.amount_of(units);
        let figures = compiled.counter.policy.figures(&found.reading, found.at, timeline);
        // A bucket with a hold has taken it: what is missing of it is shown whole.
        let used = match &compiled.rule {
            Rule::RateLimit(_) => found.taken,
            Rule::Quota(_) => found.taken.saturating_sub(found.held),
        };
        let limit = compiled.rule.limit();
        // As a status says it of a rate limit that nothing is used of.
        let now = compiled.rule.is_rate_limit().then(|| timeline.second_rounded_up(found.at.now));
        KeyUse {
            key: compiled.key_of_values(values.iter().copied()),
            used: amount(used),
            held: amount(found.held),
            adjusted: amount(adjusted),
            limit,
            remaining: limit.map(|_| amount(figures.remaining)),
            reset: figures.reset.or(now).map(|second| Timestamp::new(second, 0)),
        }
    }
}

/// The place after a key: what it has taken, and its values.
fn cursor_of(key: &FoundKey) -> String {
    let taken = key.taken.to_string();
    let words = std::iter::once(&*taken).chain(key.values.iter().map(|value| &**value));
    words.collect::<serde_json::Value>().to_string()
}

fn read_cursor(text: &str) -> Result<(Units, Vec<Box<str>>), QueryError> {
    let invalid = || QueryError::invalid("cursor", text, "is the cursor of no page of keys");
    let words: Vec<Box<str>> = serde_json::from_str(text).map_err(|_| invalid())?;
    let (taken, values) = words.split_first().ok_or_else(invalid)?;
    Ok((taken.parse().map_err(|_| invalid())?, values.to_vec()))
}

#[expect(clippy::ref_option, reason = "serde passes a reference")]
fn as_unix_second<S: Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    at.map(Timestamp::unix_seconds).serialize(serializer)
}
