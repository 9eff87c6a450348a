//! How many calls were refused, by hour, rule and key.
//!
//! An hour has a number for all refused calls, one for each rule that refused some, and one for
//! each key of such a rule that is told apart. What there is no room for any more is in the sums
//! above it, which are there in any case: so bounds make an answer coarser, and never wrong.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;

use smallvec::SmallVec;

use super::query::{Found, RefusalHour, RefusalQuery};
use super::stored::{Row, StoredCount, StoredKey, last_row};
use crate::base::clock::Timestamp;
use crate::compiled::CompiledRule;
use crate::event::mix;

/// How many keys are told apart in an hour, over all rules.
const MOST_KEYS_AN_HOUR: usize = 10_000;
/// How many numbers of rules and keys are kept, over all hours.
const MOST_ROWS: usize = 100_000;
/// How many hours are kept: 31 days.
const MOST_HOURS: i64 = 31 * 24;
/// How many rules are told apart, in all the life of an engine.
const MOST_RULES: usize = 100_000;
/// How many revisions of rules are known by their numbers.
const MOST_REVISIONS: usize = 100_000;

const HOUR_SECONDS: i64 = 60 * 60;

/// A rule that refused, and by which dimensions it was split then.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct RuleName {
    pub(super) id: Box<str>,
    pub(super) dimensions: Box<[Box<str>]>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    refused: u64,
    /// It is to be put into the store.
    is_changed: bool,
}

#[derive(Debug)]
struct Key {
    rule: u32,
    values: Box<[Box<str>]>,
    count: Count,
}

#[derive(Debug, Default)]
struct Hour {
    calls: Count,
    rules: HashMap<u32, Count, ahash::RandomState>,
    /// By the hash of the rule's number and the values.
    keys: HashMap<u64, Key, ahash::RandomState>,
}

/// What of an hour has changed, or of a rule.
#[derive(Clone, Copy, Debug)]
enum Changed {
    Calls { hour: i64 },
    Rule { hour: i64, rule: u32 },
    Key { hour: i64, hash: u64 },
    Last { rule: u32 },
}

/// A rule, and when it refused a call the last time.
#[derive(Debug)]
struct KnownRule {
    name: Arc<RuleName>,
    last: Timestamp,
    /// The instant is to be put into the store.
    is_changed: bool,
}

#[derive(Debug)]
pub(super) struct Counts {
    hasher: ahash::RandomState,
    rules: Vec<KnownRule>,
    by_name: HashMap<Arc<RuleName>, u32>,
    by_revision: HashMap<u32, u32, ahash::RandomState>,
    /// By the number of the hour since 1970.
    hours: BTreeMap<i64, Hour>,
    /// How many numbers of rules and keys there are.
    rows: usize,
    is_stored: bool,
    changed: Vec<Changed>,
    /// Keys of rows that are to be removed from the store.
    gone: Vec<Row>,
}

impl Count {
    /// Counts one more; whether that is the first that is to be put into the store.
    fn add(&mut self) -> bool {
        self.refused = self.refused.saturating_add(1);
        !std::mem::replace(&mut self.is_changed, true)
    }

    fn of(refused: u64) -> Self {
        Self { refused, is_changed: false }
    }
}

/// The number of the hour that an instant is in.
fn hour_of(at: Timestamp) -> i64 {
    at.unix_seconds().div_euclid(HOUR_SECONDS)
}

fn start_of(hour: i64) -> Timestamp {
    Timestamp::new(hour.saturating_mul(HOUR_SECONDS), 0)
}

impl Counts {
    pub(super) fn new(is_stored: bool, hasher: ahash::RandomState) -> Self {
        Self {
            hasher,
            rules: Vec::new(),
            by_name: HashMap::new(),
            by_revision: HashMap::default(),
            hours: BTreeMap::new(),
            rows: 0,
            is_stored,
            changed: Vec::new(),
            gone: Vec::new(),
        }
    }

    /// Whether the store has all of it.
    pub(super) fn is_clean(&self) -> bool {
        self.changed.is_empty() && self.gone.is_empty()
    }

    /// Counts a refused call, and returns its hour.
    pub(super) fn count_call(&mut self, at: Timestamp) -> i64 {
        let hour = hour_of(at);
        let counted = self.hours.entry(hour).or_default();
        let is_new = counted.calls.refused == 0;
        if counted.calls.add() {
            self.changed(Changed::Calls { hour });
        }
        if is_new {
            self.drop_before(hour.saturating_sub(MOST_HOURS).saturating_add(1));
        }
        hour
    }

    /// Counts that a rule refused a call of the key of these values, which have this hash.
    pub(super) fn count(
        &mut self,
        (at, hour): (Timestamp, i64),
        rule: &CompiledRule,
        values: &[&str],
        hash: u64,
    ) {
        let Some(number) = self.number_of(rule) else { return };
        self.refused_at(number, at);
        let hash = mix(hash, number.into());
        if !self.has_room(hour, number, hash) {
            return;
        }
        let Some(counted) = self.hours.get_mut(&hour) else { return };
        let before = counted.rules.len().saturating_add(counted.keys.len());
        let of_rule = counted.rules.entry(number).or_default().add();
        let mut of_key = false;
        if let Some(key) = counted.keys.get_mut(&hash) {
            // Two keys of one hash are the first of them: the other is told apart no more.
            if key.rule == number && key.values.iter().map(|it| &**it).eq(values.iter().copied()) {
                of_key = key.count.add();
            }
        } else if counted.keys.len() < MOST_KEYS_AN_HOUR && !values.is_empty() {
            let values = values.iter().map(|value| (*value).into()).collect();
            let mut key = Key { rule: number, values, count: Count::default() };
            of_key = key.count.add();
            counted.keys.insert(hash, key);
        }
        let after = counted.rules.len().saturating_add(counted.keys.len());
        self.rows = self.rows.saturating_add(after.saturating_sub(before));
        if of_rule {
            self.changed(Changed::Rule { hour, rule: number });
        }
        if of_key {
            self.changed(Changed::Key { hour, hash });
        }
    }

    /// Notes when a rule refused a call.
    fn refused_at(&mut self, rule: u32, at: Timestamp) {
        let Some(known) = usize::try_from(rule).ok().and_then(|rule| self.rules.get_mut(rule))
        else {
            return;
        };
        known.last = known.last.max(at);
        if !std::mem::replace(&mut known.is_changed, true) {
            self.changed(Changed::Last { rule });
        }
    }

    /// When a rule refused a call the last time, by its id.
    pub(super) fn last_of(&self, id: &str) -> Option<Timestamp> {
        let of_id = self.rules.iter().filter(|known| *known.name.id == *id);
        of_id.map(|known| known.last).max()
    }

    fn changed(&mut self, what: Changed) {
        if self.is_stored {
            self.changed.push(what);
        }
    }

    /// The number of a rule; `None` where too many have had one.
    fn number_of(&mut self, rule: &CompiledRule) -> Option<u32> {
        if let Some(number) = self.by_revision.get(&rule.revision()) {
            return Some(*number);
        }
        let dimensions = rule.partition.iter().map(|of| of.as_str().into()).collect();
        let number = self.number_of_name(RuleName { id: rule.id().into(), dimensions })?;
        if self.by_revision.len() >= MOST_REVISIONS {
            self.by_revision.clear();
        }
        self.by_revision.insert(rule.revision(), number);
        Some(number)
    }

    fn number_of_name(&mut self, name: RuleName) -> Option<u32> {
        if let Some(number) = self.by_name.get(&name) {
            return Some(*number);
        }
        let number = u32::try_from(self.rules.len()).ok();
        let number = number.filter(|_| self.rules.len() < MOST_RULES)?;
        let name = Arc::new(name);
        let last = Timestamp::MIN;
        self.rules.push(KnownRule { name: Arc::clone(&name), last, is_changed: false });
        self.by_name.insert(name, number);
        Some(number)
    }

    /// Makes room for the numbers of a rule and a key in an hour, where there are too many; returns
    /// whether there is some.
    fn has_room(&mut self, hour: i64, rule: u32, hash: u64) -> bool {
        if self.rows.saturating_add(2) <= MOST_ROWS {
            return true;
        }
        let is_known = self.hours.get(&hour).is_some_and(|counted| {
            counted.rules.contains_key(&rule) && counted.keys.contains_key(&hash)
        });
        if is_known {
            return true;
        }
        // The keys of old hours go first, then what their rules refused, then the hours.
        let with_keys = self.hours.range(..hour).find(|(_, counted)| !counted.keys.is_empty());
        if let Some(oldest) = with_keys.map(|(oldest, _)| *oldest) {
            self.drop_keys(oldest, |_, _| true);
        } else if let Some(oldest) = self.hours.range(..hour).next().map(|(oldest, _)| *oldest) {
            self.drop_before(oldest.saturating_add(1));
        }
        self.rows.saturating_add(2) <= MOST_ROWS
    }

    /// Drops the hours before one.
    fn drop_before(&mut self, hour: i64) {
        while let Some(oldest) = self.hours.first_entry().filter(|oldest| *oldest.key() < hour) {
            let number = *oldest.key();
            self.drop_keys(number, |_, _| true);
            let Some(dropped) = self.hours.remove(&number) else { return };
            self.rows = self.rows.saturating_sub(dropped.rules.len());
            if self.is_stored {
                self.gone.push(StoredCount::Calls { hour: number }.removed());
                for name in dropped.rules.keys().filter_map(|rule| index(&self.rules, *rule)) {
                    self.gone.push(StoredCount::Rule { hour: number, name }.removed());
                }
            }
        }
    }

    /// Drops the keys of an hour that are to go.
    fn drop_keys(&mut self, hour: i64, is_to_go: impl Fn(&RuleName, &[Box<str>]) -> bool) {
        let Self { hours, rules, gone, rows, is_stored, .. } = self;
        let Some(counted) = hours.get_mut(&hour) else { return };
        let before = counted.keys.len();
        counted.keys.retain(|_, key| {
            let Some(name) = index(rules, key.rule) else { return false };
            let goes = is_to_go(name, &key.values);
            if goes && *is_stored {
                gone.push(StoredCount::Key { hour, name, values: &key.values }.removed());
            }
            !goes
        });
        *rows = rows.saturating_sub(before.saturating_sub(counted.keys.len()));
    }

    /// Drops the keys that have a value of a dimension.
    pub(super) fn forget(&mut self, dimension: &str, value: &str) {
        let hours: Vec<i64> = self.hours.keys().copied().collect();
        for hour in hours {
            self.drop_keys(hour, |name, values| {
                let mut pairs = name.dimensions.iter().zip(values);
                pairs.any(|(of, known)| &**of == dimension && &**known == value)
            });
        }
    }

    /// The rows that have changed since the last time.
    pub(super) fn take_rows(&mut self, out: &mut Vec<Row>) {
        out.append(&mut self.gone);
        for what in std::mem::take(&mut self.changed) {
            out.extend(self.row_of(what));
        }
    }

    /// The row of something that has changed; `None` of what was dropped since.
    fn row_of(&mut self, what: Changed) -> Option<Row> {
        let Self { rules, hours, .. } = self;
        let (of, count) = match what {
            Changed::Last { rule } => {
                let known = rules.get_mut(usize::try_from(rule).ok()?)?;
                known.is_changed = false;
                return Some(last_row(&known.name, known.last));
            }
            Changed::Calls { hour } => {
                (StoredCount::Calls { hour }, &mut hours.get_mut(&hour)?.calls)
            }
            Changed::Rule { hour, rule } => {
                let of = StoredCount::Rule { hour, name: index(rules, rule)? };
                (of, hours.get_mut(&hour)?.rules.get_mut(&rule)?)
            }
            Changed::Key { hour, hash } => {
                let Key { rule, values, count } = hours.get_mut(&hour)?.keys.get_mut(&hash)?;
                (StoredCount::Key { hour, name: index(rules, *rule)?, values }, count)
            }
        };
        count.is_changed = false;
        Some(of.row(count.refused))
    }

    /// Takes what a row of the store says of when a rule refused a call the last time.
    pub(super) fn load_last(&mut self, name: RuleName, last: Timestamp) {
        let number = self.number_of_name(name).and_then(|number| usize::try_from(number).ok());
        if let Some(known) = number.and_then(|number| self.rules.get_mut(number)) {
            known.last = known.last.max(last);
        }
    }

    /// Takes what a row of the store says.
    pub(super) fn load(&mut self, key: StoredKey, refused: u64) {
        let StoredKey { hour, name, values } = key;
        let rule = name.map(|name| self.number_of_name(name));
        let counted = self.hours.entry(hour).or_default();
        match (rule, values) {
            (None, _) => counted.calls = Count::of(refused),
            (Some(None), _) => {}
            (Some(Some(rule)), None) => {
                counted.rules.insert(rule, Count::of(refused));
                self.rows = self.rows.saturating_add(1);
            }
            (Some(Some(rule)), Some(values)) => {
                let texts = values.iter().map(|value| &**value).collect::<SmallVec<[&str; 2]>>();
                let hash = mix(self.hasher.hash_one(&texts[..]), rule.into());
                drop(texts);
                counted.keys.insert(hash, Key { rule, values, count: Count::of(refused) });
                self.rows = self.rows.saturating_add(1);
            }
        }
    }

    fn hours_in(&self, range: &Range<Timestamp>) -> impl Iterator<Item = (i64, &Hour)> {
        let hours = self.hours.iter().map(|(hour, counted)| (*hour, counted));
        let range = range.clone();
        hours.filter(move |(hour, _)| range.contains(&start_of(*hour)))
    }

    /// The keys that a query asks for, and how often each was refused; and how often what it asks
    /// for was refused in all.
    pub(super) fn find(
        &self,
        query: &RefusalQuery,
        range: &Range<Timestamp>,
    ) -> (Vec<Found<'_>>, u64) {
        let mut sums: HashMap<(u32, &[Box<str>]), u64, ahash::RandomState> = HashMap::default();
        let mut all = 0_u64;
        for (_, counted) in self.hours_in(range) {
            for (rule, name, refused) in self.rules_of(counted, query) {
                all = all.saturating_add(refused);
                if name.dimensions.is_empty() && !query.asks_for_key() {
                    let sum = sums.entry((rule, &[])).or_default();
                    *sum = sum.saturating_add(refused);
                }
            }
            for key in self.keys_of(counted, query) {
                let sum = sums.entry((key.rule, &key.values)).or_default();
                *sum = sum.saturating_add(key.count.refused);
            }
        }
        let found = sums.into_iter().filter_map(|((rule, values), refused)| {
            Some(Found { refused, rule: index(&self.rules, rule)?, values })
        });
        let found: Vec<_> = found.collect();
        if query.asks_for_key() {
            all = found.iter().map(|one| one.refused).fold(0, u64::saturating_add);
        }
        (found, all)
    }

    /// The hours in which something was refused of what a query asks for.
    pub(super) fn find_hours(
        &self,
        query: &RefusalQuery,
        range: &Range<Timestamp>,
    ) -> Vec<RefusalHour> {
        let hours = self.hours_in(range).map(|(hour, counted)| {
            let refused = if query.asks_for_key() {
                let keys = self.keys_of(counted, query);
                keys.map(|key| key.count.refused).fold(0, u64::saturating_add)
            } else if query.asks_for_rule() {
                let rules = self.rules_of(counted, query);
                rules.map(|(.., refused)| refused).fold(0, u64::saturating_add)
            } else {
                counted.calls.refused
            };
            RefusalHour { start: start_of(hour), refused }
        });
        hours.filter(|hour| hour.refused > 0).collect()
    }

    /// The rules that a query asks for, and how much each refused in an hour.
    fn rules_of<'c, 'q>(
        &'c self,
        counted: &'c Hour,
        query: &'q RefusalQuery,
    ) -> impl Iterator<Item = (u32, &'c RuleName, u64)> + use<'c, 'q> {
        counted.rules.iter().filter_map(|(rule, count)| {
            let name = index(&self.rules, *rule).filter(|name| query.wants_rule(&name.id))?;
            Some((*rule, name, count.refused))
        })
    }

    /// The keys of an hour that a query asks for.
    fn keys_of<'c, 'q>(
        &'c self,
        counted: &'c Hour,
        query: &'q RefusalQuery,
    ) -> impl Iterator<Item = &'c Key> + use<'c, 'q> {
        counted.keys.values().filter(|key| {
            let name = index(&self.rules, key.rule);
            name.is_some_and(|name| {
                query.wants_rule(&name.id) && query.wants_key(&name.dimensions, &key.values)
            })
        })
    }
}

fn index(rules: &[KnownRule], rule: u32) -> Option<&RuleName> {
    usize::try_from(rule).ok().and_then(|rule| rules.get(rule)).map(|known| &*known.name)
}
