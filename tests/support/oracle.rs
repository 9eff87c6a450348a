//! A naive and exact model of the engine, to judge it by.
//!
//! It knows nothing of the crate: it shares no type and no line with it. It keeps every use ever
//! counted and decides each question by adding the history up again, in whole numbers, from the
//! definition of the algorithm. It is slow, and simple enough to be believed.
//!
//! Two places of the contract leave the engine a choice: which uses a sliding window merges once
//! there are more than it keeps apart, and how a fractional bucket is rounded when it becomes
//! another kind of counter. There every figure is an interval from the least to the most that the
//! contract allows, and the engine's answer has to lie inside. Everywhere else both ends are equal
//! and the comparison is exact.

use chrono::{DateTime, Datelike, NaiveDate, Utc};
use std::collections::BTreeMap;

/// Nanoseconds since the Unix epoch, or a length of time.
pub type Nanos = i128;
/// Thousandths of a unit: every amount in these tests is a whole number of them.
pub type Milli = i128;

pub const MILLISECOND: Nanos = 1_000_000;
pub const SECOND: Nanos = 1_000 * MILLISECOND;
pub const MINUTE: Nanos = 60 * SECOND;
pub const HOUR: Nanos = 60 * MINUTE;
pub const DAY: Nanos = 24 * HOUR;

/// A use may leave a sliding window late by less than this part of its length.
const SLOTS: Nanos = 60;
/// As many instants of use a sliding window tells apart.
const APART: usize = 62;
/// How far ahead of now an event may be stamped.
const AHEAD: Nanos = DAY;

/// A calendar period, in UTC, weeks from Monday.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    Hour,
    Day,
    Week,
    Month,
    Year,
    AllTime,
}

/// How a rule counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Bucket { window: Nanos, burst: Option<u64> },
    Fixed { window: Nanos },
    Sliding { window: Nanos },
    Rolling { window: Nanos },
    Calendar(Span),
}

impl Kind {
    pub fn is_rate(self) -> bool {
        matches!(self, Self::Bucket { .. } | Self::Fixed { .. } | Self::Sliding { .. })
    }

    /// The kind without what may change while the counter stays as it is.
    fn family(self) -> Self {
        match self {
            Self::Bucket { window, .. } => Self::Bucket { window, burst: None },
            other => other,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enforce {
    Hard,
    Soft,
    Shadow,
}

/// What a rule counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Measure {
    Events,
    Tokens,
    Cost,
    Value(String),
}

impl Measure {
    /// Whether it has no fractions.
    pub fn is_whole(&self) -> bool {
        match self {
            Self::Events | Self::Tokens => true,
            Self::Cost => false,
            Self::Value(name) => matches!(name.as_str(), "input_tokens" | "output_tokens"),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub id: String,
    pub name: String,
    pub limit: u64,
    pub kind: Kind,
    pub measure: Measure,
    pub filter: Vec<(String, String)>,
    pub per: Vec<String>,
    pub enforce: Enforce,
    pub policy: Option<String>,
    pub enabled: bool,
    /// How far below empty a record may take a bucket; without a bound where none is given.
    pub max_debt: Option<u64>,
    pub missing: Missing,
}

/// What a rule makes of a dimension that an event lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    Skip,
    Refuse,
    Stated(String),
}

impl Rule {
    pub fn new(id: &str, limit: u64, kind: Kind) -> Self {
        Self {
            id: id.into(),
            name: format!("rule {id}"),
            limit,
            kind,
            measure: Measure::Events,
            filter: Vec::new(),
            per: Vec::new(),
            enforce: Enforce::Hard,
            policy: None,
            enabled: true,
            max_debt: None,
            missing: Missing::Skip,
        }
    }

    pub fn measure(mut self, measure: Measure) -> Self {
        self.measure = measure;
        self
    }

    pub fn filter(mut self, key: &str, value: &str) -> Self {
        self.filter.push((key.into(), value.into()));
        self
    }

    pub fn per(mut self, key: &str) -> Self {
        self.per.push(key.into());
        self
    }

    pub fn enforce(mut self, enforce: Enforce) -> Self {
        self.enforce = enforce;
        self
    }

    pub fn policy(mut self, name: &str) -> Self {
        self.policy = Some(name.into());
        self
    }

    pub fn max_debt(mut self, most: u64) -> Self {
        self.max_debt = Some(most);
        self
    }

    fn limit_milli(&self) -> Milli {
        i128::from(self.limit) * 1_000
    }

    fn debt_milli(&self) -> Option<Milli> {
        self.max_debt.map(|most| i128::from(most) * 1_000)
    }

    fn capacity_milli(&self) -> Milli {
        match self.kind {
            Kind::Bucket { burst: Some(burst), .. } => i128::from(burst) * 1_000,
            _ => self.limit_milli(),
        }
    }
}

/// A property of an event: only a string is a dimension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prop {
    Text(String),
    Number(i64),
    Flag(bool),
}

/// An event, as plain data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Act {
    pub customer: String,
    pub event_type: String,
    pub model: Option<String>,
    pub provider: Option<String>,
    pub props: Vec<(String, Prop)>,
    pub input: Option<u64>,
    pub output: Option<u64>,
    pub total: Option<u64>,
    pub cost: Option<Milli>,
    pub values: Vec<(String, Milli)>,
    pub key: Option<String>,
    pub stamp: Option<Nanos>,
}

impl Act {
    pub fn new(customer: &str, event_type: &str) -> Self {
        Self { customer: customer.into(), event_type: event_type.into(), ..Self::default() }
    }

    pub fn model(mut self, model: &str) -> Self {
        self.model = Some(model.into());
        self
    }

    pub fn text(mut self, key: &str, value: &str) -> Self {
        self.props.push((key.into(), Prop::Text(value.into())));
        self
    }

    pub fn tokens(mut self, total: u64) -> Self {
        self.total = Some(total);
        self
    }

    pub fn value(mut self, name: &str, milli: Milli) -> Self {
        self.values.push((name.into(), milli));
        self
    }

    pub fn key(mut self, key: &str) -> Self {
        self.key = Some(key.into());
        self
    }

    pub fn stamp(mut self, stamp: Nanos) -> Self {
        self.stamp = Some(stamp);
        self
    }

    /// Whether this asks for the same as an earlier act with its key. A client that tries again may
    /// say anew when it is, and may say the sum of its tokens or leave it to be made.
    fn is_retry_of(&self, first: &Self) -> bool {
        let said = |act: &Self| Self { total: act.sum(), stamp: None, ..act.clone() };
        said(self) == said(first)
    }

    /// The tokens in all, where any are said.
    pub fn sum(&self) -> Option<u64> {
        match (self.total, self.input, self.output) {
            (None, None, None) => None,
            (None, input, output) => Some(input.unwrap_or(0) + output.unwrap_or(0)),
            (total, _, _) => total,
        }
    }

    fn dimension(&self, name: &str) -> Option<&str> {
        match name {
            "customer_id" => Some(&self.customer),
            "event_type" => Some(&self.event_type),
            "model" => self.model.as_deref(),
            "provider" => self.provider.as_deref(),
            _ => self.props.iter().find_map(|(key, value)| match value {
                Prop::Text(text) if key == name => Some(text.as_str()),
                _ => None,
            }),
        }
    }

    fn amount(&self, measure: &Measure) -> Milli {
        let whole = |number: Option<u64>| i128::from(number.unwrap_or(0)) * 1_000;
        match measure {
            Measure::Events => 1_000,
            Measure::Tokens => whole(self.sum()),
            Measure::Cost => self.cost.unwrap_or(0),
            Measure::Value(name) => match name.as_str() {
                "input_tokens" => whole(self.input),
                "output_tokens" => whole(self.output),
                name => self.values.iter().find(|(key, _)| key == name).map_or(0, |(_, v)| *v),
            },
        }
    }
}

/// When a refused event would pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    After(Nanos),
    Never,
}

/// What the engine said of one rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figure {
    pub id: String,
    pub name: String,
    pub limit: u64,
    /// Quotas only.
    pub used: Option<Milli>,
    pub remaining: Milli,
    pub reset: Option<i64>,
    pub exceeded: bool,
}

/// What a call is told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Go ahead: this call counted.
    Admitted,
    /// An earlier call with this key counted, and was told to go ahead.
    Replayed,
    Refused,
}

/// What the engine answered: a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub verdict: Verdict,
    pub event_id: Option<String>,
    pub status_code: u16,
    pub rates: Vec<Figure>,
    pub quotas: Vec<Figure>,
    pub retry: Option<Wait>,
}

impl Seen {
    pub fn is_admitted(&self) -> bool {
        self.verdict == Verdict::Admitted
    }
}

/// What the engine answered: where the dimensions stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stood {
    pub allowed: bool,
    pub rates: Vec<Figure>,
    pub quotas: Vec<Figure>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Conflict,
    BadEvent,
    Other,
}

pub type Answer = Result<Seen, Fault>;

/// The least and the most that the contract allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range<T> {
    lo: T,
    hi: T,
}

impl<T: PartialOrd + Copy> Range<T> {
    fn new(lo: T, hi: T) -> Self {
        Self { lo, hi }
    }

    fn holds(&self, value: T) -> bool {
        self.lo <= value && value <= self.hi
    }
}

/// One line of a counter's history.
#[derive(Clone, Debug)]
enum Entry {
    /// A bucket's terms hold from here on.
    Terms { at: Nanos, limit: Milli, capacity: Milli, debt: Option<Milli>, window: Nanos },
    /// An amount was counted, at the engine's time or for a quota and some records at `stamp`.
    Use { at: Nanos, stamp: Nanos, lo: Milli, hi: Milli, verb: Verb },
    /// What another kind of counter had used when the rule changed.
    Lump { at: Nanos, lo: Milli, hi: Milli },
}

/// What a bucket misses, in thousandths times the window's length, after a replay.
struct Bucket {
    limit: Milli,
    capacity: Milli,
    debt: Option<Milli>,
    window: Nanos,
    lo: i128,
    hi: i128,
}

#[derive(Clone, Debug)]
struct Counted {
    rule: Rule,
    logs: BTreeMap<Vec<String>, Vec<Entry>>,
}

#[derive(Clone, Debug)]
struct First {
    act: Act,
    seen: Seen,
    at: Nanos,
}

/// Which verb a decision came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Track,
    Record,
}

/// The model. Clones are cheap enough for a search over histories.
#[derive(Clone, Debug)]
pub struct Oracle {
    clock: Nanos,
    /// Where the hands of the clock have been since a call began that is now judged.
    hands: Vec<Nanos>,
    now: Nanos,
    /// By how much time inside the engine is ahead of the clock, which was set back so far.
    back: Nanos,
    late: Nanos,
    retention: Nanos,
    rules: Vec<Counted>,
    /// By customer and key: nobody's key is anybody else's.
    keys: BTreeMap<(String, String), First>,
    recorded: Vec<String>,
    /// Whether the engine records events at all.
    records: bool,
}

impl Oracle {
    pub fn new(clock: Nanos) -> Self {
        Self {
            clock,
            hands: Vec::new(),
            now: clock,
            back: 0,
            late: HOUR,
            retention: DAY,
            rules: Vec::new(),
            keys: BTreeMap::new(),
            recorded: Vec::new(),
            records: true,
        }
    }

    /// The same of an engine that records nothing.
    pub fn without_a_record(mut self) -> Self {
        self.records = false;
        self
    }

    /// Moves the hands of the clock; time inside the engine moves when it next looks.
    pub fn set_clock(&mut self, clock: Nanos) {
        self.clock = clock;
    }

    /// Says where else the hands may have been when the call that is judged next read them, which
    /// it does before it is settled: a wait counts from the reading.
    pub fn may_have_read(&mut self, hands: Vec<Nanos>) {
        self.hands = hands;
    }

    pub fn clock(&self) -> Nanos {
        self.clock
    }

    /// Looks at the clock: time never runs back. A clock that is more than a second behind was set
    /// back, and time goes on from where it was as the clock does; one that is less behind is
    /// waited for.
    pub fn look(&mut self) -> Nanos {
        if self.clock + self.back + SECOND < self.now {
            self.back = self.now - self.clock;
        }
        self.now = self.now.max(self.clock + self.back);
        self.now
    }

    pub fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter().map(|counted| &counted.rule)
    }

    /// The ids of the recorded events, oldest first.
    pub fn recorded(&self) -> &[String] {
        &self.recorded
    }

    pub fn add(&mut self, rule: Rule) {
        self.look();
        self.rules.push(Counted { rule, logs: BTreeMap::new() });
    }

    pub fn remove(&mut self, id: &str) {
        self.look();
        self.rules.retain(|counted| counted.rule.id != id);
    }

    /// Puts `rule` in the place of the rule with its id; what was used carries over.
    pub fn change(&mut self, rule: Rule) {
        let now = self.look();
        let Some(at) = self.rules.iter().position(|counted| counted.rule.id == rule.id) else {
            panic!("the test changes a rule that is not there: {}", rule.id);
        };
        let old = self.rules[at].rule.clone();
        if old.measure != rule.measure || old.per != rule.per {
            self.rules[at].logs.clear();
        } else if old.kind.family() != rule.kind.family() {
            let keys: Vec<Vec<String>> = self.rules[at].logs.keys().cloned().collect();
            for key in keys {
                let lump = self.rules[at].lump(&key, now, &rule);
                let mut log = vec![terms(&rule, now)];
                log.extend(lump);
                self.rules[at].logs.insert(key, log);
            }
        } else {
            for log in self.rules[at].logs.values_mut() {
                log.push(terms(&rule, now));
            }
        }
        self.rules[at].rule = rule;
    }

    /// Judges the answer to `track` and takes it over.
    pub fn track(&mut self, act: &Act, answer: &Answer) -> Result<(), String> {
        self.decide(Verb::Track, true, act, answer)
    }

    /// Judges the answer to `check`, which changes nothing.
    pub fn check(&mut self, act: &Act, answer: &Answer) -> Result<(), String> {
        self.decide(Verb::Track, false, act, answer)
    }

    /// Judges the answer to `record` and takes it over.
    pub fn record(&mut self, act: &Act, answer: &Answer) -> Result<(), String> {
        self.decide(Verb::Record, true, act, answer)
    }

    /// Judges the answer to `standing`, which changes nothing.
    pub fn standing(&mut self, act: &Act, stood: &Stood) -> Result<(), String> {
        let now = self.look();
        let live = self.live(act);
        self.listed(&live, &stood.rates, &stood.quotas)?;
        let mut full = false;
        for &at in &live {
            let counted = &self.rules[at];
            let figure = find(&stood.rates, &stood.quotas, &counted.rule.id)?;
            self.compare(at, act, figure)?;
            let left = counted.left(&self.key(at, act), now, act.stamp.unwrap_or(now));
            // A bucket's fraction of what is counted in wholes is no room for one; of what has
            // fractions it may be less than this model can say.
            let is_bucket = matches!(counted.rule.kind, Kind::Bucket { .. });
            let is_whole = counted.rule.measure.is_whole();
            let may = left.lo < if is_bucket && is_whole { 1_000 } else { 1 };
            let must = match (is_bucket, is_whole) {
                (true, true) => left.hi < 1_000,
                (true, false) => false,
                (false, _) => left.hi <= 0,
            };
            if figure.exceeded && !may || !figure.exceeded && must {
                return Err(format!("standing: {} left {left:?}: {figure:?}", counted.rule.id));
            }
            full |= figure.exceeded && counted.rule.enforce == Enforce::Hard;
        }
        if stood.allowed == full {
            return Err(format!("standing: allowed {} but full {full}", stood.allowed));
        }
        Ok(())
    }

    /// Whether every hard rule would let the event pass now, by the least use that is possible.
    pub fn could_pass(&mut self, act: &Act) -> bool {
        let now = self.look();
        let stamp = act.stamp.unwrap_or(now);
        self.live(act).into_iter().all(|at| {
            let counted = &self.rules[at];
            let amount = act.amount(&counted.rule.measure);
            counted.rule.enforce != Enforce::Hard
                || counted.fits(&self.key(at, act), now, stamp, amount, true)
        })
    }

    fn decide(
        &mut self,
        verb: Verb,
        takes: bool,
        act: &Act,
        answer: &Answer,
    ) -> Result<(), String> {
        let now = self.look();
        if let Some(first) = self.first(act) {
            if !act.is_retry_of(&first.act) {
                return match answer {
                    Err(Fault::Conflict) => Ok(()),
                    other => Err(format!("expected a conflict, not {other:?}")),
                };
            }
            let expected = Ok(Seen { verdict: Verdict::Replayed, ..first.seen.clone() });
            return if *answer == expected {
                Ok(())
            } else {
                Err(format!("expected the replay {expected:?}\n not {answer:?}"))
            };
        }
        let live = self.live(act);
        if let Some(reason) = self.bad(verb, act, &live) {
            return match answer {
                Err(Fault::BadEvent) => Ok(()),
                other => Err(format!("expected a bad event ({reason}), not {other:?}")),
            };
        }
        let seen = match answer {
            Ok(seen) => seen,
            Err(fault) => return Err(format!("expected a decision, not {fault:?}")),
        };
        self.shape(verb, takes, seen)?;
        let skipped = self.skipped(verb, act, &live);
        let counted: Vec<usize> = live.iter().copied().filter(|at| !skipped.contains(at)).collect();
        self.listed(&live, &seen.rates, &seen.quotas)?;
        let refused = self.verdicts(act, &counted, seen)?;
        let allowed = verb == Verb::Record || !refused;
        if seen.is_admitted() != allowed {
            return Err(format!("{:?} where the rules say allowed: {allowed}", seen.verdict));
        }
        let mut after = self.clone();
        if allowed {
            after.take(verb, act, &counted, seen)?;
            let beaten = self.beaten(act);
            let skipped = self.skipped(verb, act, &beaten);
            after.take_beaten(verb, act, beaten.iter().filter(|at| !skipped.contains(at)));
        } else {
            self.compare_retry(act, &counted, seen.retry)?;
        }
        for &at in &counted {
            let figure = find(&seen.rates, &seen.quotas, &self.rules[at].rule.id)?;
            after.compare(at, act, figure)?;
        }
        if takes && allowed {
            after.recorded.extend(seen.event_id.clone());
            if let Some(key) = &act.key {
                let first = First { act: act.clone(), seen: seen.clone(), at: now };
                after.keys.insert((act.customer.clone(), key.clone()), first);
            }
            *self = after;
        }
        Ok(())
    }

    /// The parts of an answer that follow from the verb and the verdict alone.
    fn shape(&self, verb: Verb, takes: bool, seen: &Seen) -> Result<(), String> {
        let allowed = seen.is_admitted();
        let code = if allowed { 201 } else { 429 };
        if seen.verdict == Verdict::Replayed {
            return Err("a first decision is marked as a replay".into());
        }
        if seen.status_code != code {
            return Err(format!("status code {} where {code} is due", seen.status_code));
        }
        if seen.event_id.is_some() != (takes && allowed && self.records) {
            return Err(format!("{verb:?}: event id {:?}", seen.event_id));
        }
        if let Some(id) = &seen.event_id
            && (!id.starts_with("evt_") || self.recorded.contains(id))
        {
            return Err(format!("event id {id} is malformed or given twice"));
        }
        if seen.retry.is_some() == allowed {
            return Err(format!("{:?} with retry {:?}", seen.verdict, seen.retry));
        }
        Ok(())
    }

    /// Compares each rule's own verdict; true when a hard rule refuses.
    fn verdicts(&self, act: &Act, live: &[usize], seen: &Seen) -> Result<bool, String> {
        let stamp = act.stamp.unwrap_or(self.now);
        let mut refused = false;
        for &at in live {
            let counted = &self.rules[at];
            let figure = find(&seen.rates, &seen.quotas, &counted.rule.id)?;
            let amount = act.amount(&counted.rule.measure);
            let key = self.key(at, act);
            let may = counted.fits(&key, self.now, stamp, amount, true);
            let must = counted.fits(&key, self.now, stamp, amount, false);
            if figure.exceeded && must {
                return Err(format!("{} refuses what fits: {figure:?}", counted.rule.id));
            }
            if !figure.exceeded && !may {
                return Err(format!("{} admits what does not fit: {figure:?}", counted.rule.id));
            }
            refused |= figure.exceeded && counted.rule.enforce == Enforce::Hard;
        }
        Ok(refused)
    }

    /// Counts the event on each rule that takes it.
    fn take(&mut self, verb: Verb, act: &Act, live: &[usize], seen: &Seen) -> Result<(), String> {
        let now = self.now;
        for &at in live {
            let rule = &self.rules[at].rule;
            let figure = find(&seen.rates, &seen.quotas, &rule.id)?;
            if rule.enforce == Enforce::Shadow && figure.exceeded {
                continue;
            }
            let amount = act.amount(&rule.measure);
            let key = self.key(at, act);
            let first = terms(rule, now);
            let log = self.rules[at].logs.entry(key).or_insert_with(|| vec![first]);
            let stamp = act.stamp.unwrap_or(now);
            log.push(Entry::Use { at: now, stamp, lo: amount, hi: amount, verb });
        }
        Ok(())
    }

    /// Counts the event on rules that another of their policy has beaten: they have no say, and
    /// know what was used when they get one. A quota counts all, over its limit or not; a rate
    /// limit no more than it has left. What they would refuse for its date they leave out.
    fn take_beaten<'b>(&mut self, verb: Verb, act: &Act, beaten: impl Iterator<Item = &'b usize>) {
        let (now, stamp) = (self.now, act.stamp.unwrap_or(self.now));
        for &at in beaten {
            let counted = &self.rules[at];
            let (rule, key) = (&counted.rule, self.key(at, act));
            if matches!(rule.kind, Kind::Calendar(span) if self.too_late(span, stamp)) {
                continue;
            }
            let amount = act.amount(&rule.measure);
            let (lo, hi) = match rule.kind {
                // A bucket goes no lower than empty by itself.
                Kind::Fixed { .. } | Kind::Sliding { .. } => {
                    let left = counted.left(&key, now, stamp);
                    (amount.min(left.lo), amount.min(left.hi))
                }
                _ => (amount, amount),
            };
            // Nothing is owed by a bucket that has no say.
            let is_bucket = matches!(rule.kind, Kind::Bucket { .. });
            let verb = if is_bucket { Verb::Track } else { verb };
            let first = terms(rule, now);
            let log = self.rules[at].logs.entry(key).or_insert_with(|| vec![first]);
            log.push(Entry::Use { at: now, stamp, lo, hi, verb });
        }
    }

    /// Compares a rule's figures with the state of this model.
    fn compare(&self, at: usize, act: &Act, figure: &Figure) -> Result<(), String> {
        let counted = &self.rules[at];
        let rule = &counted.rule;
        let stamp = act.stamp.unwrap_or(self.now);
        let key = self.key(at, act);
        let complain = |what: &str, range: String| {
            Err(format!("{} {what} should be {range}: {figure:?}", rule.id))
        };
        if figure.limit != rule.limit || figure.name != rule.name {
            return complain("limit and name", format!("{} {}", rule.limit, rule.name));
        }
        let left = counted.left(&key, self.now, stamp);
        // A bucket has no parts of what is counted in wholes.
        let unit = if rule.measure.is_whole() { 1_000 } else { 1 };
        let left = Range::new(left.lo.div_euclid(unit) * unit, left.hi.div_euclid(unit) * unit);
        if !left.holds(figure.remaining) {
            return complain("remaining", format!("{left:?}"));
        }
        if let Some(used) = figure.used {
            let expected = counted.used(&key, self.now, stamp);
            if !expected.holds(used) {
                return complain("used", format!("{expected:?}"));
            }
        }
        let resets = counted.reset(&key, self.now, stamp);
        if !resets.iter().any(|range| match (range, figure.reset) {
            (None, None) => true,
            (Some(range), Some(reset)) => range.holds(i128::from(reset)),
            _ => false,
        }) {
            return complain("reset", format!("{resets:?}"));
        }
        Ok(())
    }

    /// Compares the wait with the earliest instant at which every hard rule lets the event pass.
    fn compare_retry(&self, act: &Act, live: &[usize], wait: Option<Wait>) -> Result<(), String> {
        let least = self.earliest(act, live, true);
        let most = self.earliest(act, live, false);
        // By the clock that the caller sees, which may have been set back.
        let hands = || self.hands.iter().copied().chain([self.clock]);
        let readings = || hands().map(|reading| reading + self.back);
        let good = match wait {
            Some(Wait::Never) => most.is_none(),
            Some(Wait::After(wait)) => readings().any(|reading| {
                let instant = reading + wait;
                wait >= 1
                    && least.is_some_and(|least| least <= instant)
                    && most.is_none_or(|most| instant <= most)
            }),
            None => false,
        };
        if good {
            return Ok(());
        }
        let after =
            |instant: Option<Nanos>| instant.map(|instant| instant - self.clock - self.back);
        Err(format!("retry {wait:?}, should be {:?}..{:?}", after(least), after(most)))
    }

    /// The least instant from now on that every hard rule accepts, found as a fixed point.
    fn earliest(&self, act: &Act, live: &[usize], hopeful: bool) -> Option<Nanos> {
        let mut instant = self.now;
        loop {
            let mut next = instant;
            for &at in live {
                let counted = &self.rules[at];
                if counted.rule.enforce == Enforce::Hard {
                    let amount = act.amount(&counted.rule.measure);
                    let key = self.key(at, act);
                    next = match (counted.rule.kind, act.stamp) {
                        // Once it is older than the window it adds nothing.
                        (Kind::Rolling { window }, Some(stamp)) => {
                            let old = stamp + window;
                            let fits = |at: Nanos| counted.fits(&key, at, stamp, amount, hopeful);
                            let passes = counted.earliest(&key, next, amount, hopeful);
                            let passes = passes.map_or(old, |at| at.min(old));
                            if fits(next) { next } else { passes }
                        }
                        (Kind::Calendar(span), Some(stamp)) if amount > 0 => {
                            let end = period(span, stamp).1;
                            let late = end.is_some_and(|end| end + self.late <= next);
                            let fits = counted.fits(&key, next, stamp, amount, hopeful);
                            (fits && !late).then_some(next)?
                        }
                        _ if amount <= 0 => next,
                        _ => counted.earliest(&key, next, amount, hopeful)?,
                    };
                }
            }
            if next == instant {
                return Some(instant);
            }
            instant = next;
        }
    }

    /// Whether a rule that judges refuses events which lack a dimension that this one lacks.
    pub fn refuses_what_lacks(&self, act: &Act) -> bool {
        self.judging(act).into_iter().any(|at| self.rules[at].rule.refuses_what_lacks(act))
    }

    /// The rules that judge: enabled, matched, and not beaten within their policy.
    fn live(&self, act: &Act) -> Vec<usize> {
        self.judging(act).into_iter().filter(|at| self.rules[*at].rule.matches(act)).collect()
    }

    /// The same with those that refuse what lacks a dimension.
    fn judging(&self, act: &Act) -> Vec<usize> {
        let matching = self.matching(act);
        matching.iter().copied().filter(|at| !self.is_beaten(*at, &matching)).collect()
    }

    /// The rules that match, and have no say because another of their policy has.
    fn beaten(&self, act: &Act) -> Vec<usize> {
        let matching = self.matching(act);
        let beaten = matching.iter().copied().filter(|at| self.is_beaten(*at, &matching));
        beaten.filter(|at| self.rules[*at].rule.matches(act)).collect()
    }

    fn matching(&self, act: &Act) -> Vec<usize> {
        // One that refuses what lacks a dimension competes with the others of its policy.
        let is_asked = |rule: &Rule| rule.matches(act) || rule.refuses_what_lacks(act);
        (0..self.rules.len()).filter(|at| is_asked(&self.rules[*at].rule)).collect()
    }

    fn is_beaten(&self, at: usize, matching: &[usize]) -> bool {
        let beats = |other: usize| {
            let (a, b) = (&self.rules[other].rule, &self.rules[at].rule);
            a.policy.is_some()
                && a.policy == b.policy
                && (a.filter.len(), other) > (b.filter.len(), at)
        };
        matching.iter().any(|other| beats(*other))
    }

    /// What an event does not count on: periods that are long over, and of one that is recorded
    /// limits, too.
    fn skipped(&self, verb: Verb, act: &Act, live: &[usize]) -> Vec<usize> {
        let Some(stamp) = act.stamp else {
            return Vec::new();
        };
        let over = |at: &usize| match self.rules[*at].rule.kind {
            Kind::Bucket { window, .. } | Kind::Fixed { window } | Kind::Sliding { window } => {
                verb == Verb::Record && self.now - stamp >= window
            }
            Kind::Calendar(span) => self.too_late(span, stamp),
            Kind::Rolling { .. } => false,
        };
        live.iter().copied().filter(over).collect()
    }

    fn too_late(&self, span: Span, stamp: Nanos) -> bool {
        period(span, stamp).1.is_some_and(|end| self.now - end >= self.late)
    }

    /// Why the event itself is at fault, if it is.
    fn bad(&self, verb: Verb, act: &Act, live: &[usize]) -> Option<&'static str> {
        if verb == Verb::Track && self.refuses_what_lacks(act) {
            return Some("lacks a dimension");
        }
        let stamp = act.stamp?;
        if stamp > self.now + AHEAD {
            return Some("too far ahead");
        }
        // Only a rule that could refuse the event has to know what was used.
        let could_refuse =
            |rule: &Rule| rule.enforce == Enforce::Hard && act.amount(&rule.measure) > 0;
        let late = live.iter().any(|&at| match self.rules[at].rule.kind {
            Kind::Calendar(span) => {
                could_refuse(&self.rules[at].rule) && self.too_late(span, stamp)
            }
            _ => false,
        });
        (late && verb == Verb::Track).then_some("too late")
    }

    fn first(&self, act: &Act) -> Option<&First> {
        let first = self.keys.get(&(act.customer.clone(), act.key.clone()?))?;
        (self.now < first.at + self.retention).then_some(first)
    }

    fn key(&self, at: usize, act: &Act) -> Vec<String> {
        let per = &self.rules[at].rule.per;
        let rule = &self.rules[at].rule;
        per.iter().map(|name| rule.value(act, name).unwrap_or_default().to_owned()).collect()
    }

    /// Each rule that applies is listed once, in the order of definition, and no other.
    fn listed(&self, live: &[usize], rates: &[Figure], quotas: &[Figure]) -> Result<(), String> {
        for (is_rate, figures) in [(true, rates), (false, quotas)] {
            let expected: Vec<&str> = live
                .iter()
                .map(|&at| &self.rules[at].rule)
                .filter(|rule| rule.kind.is_rate() == is_rate)
                .map(|rule| rule.id.as_str())
                .collect();
            let listed: Vec<&str> = figures.iter().map(|figure| figure.id.as_str()).collect();
            if expected != listed {
                return Err(format!("lists {listed:?} where {expected:?} apply"));
            }
        }
        Ok(())
    }
}

impl Rule {
    fn matches(&self, act: &Act) -> bool {
        self.enabled
            && self.filter.iter().all(|(key, value)| self.value(act, key) == Some(value))
            && self.per.iter().all(|key| self.value(act, key).is_some())
    }

    /// The value of a dimension, or what stands for one that the event lacks.
    fn value<'a>(&'a self, act: &'a Act, key: &str) -> Option<&'a str> {
        act.dimension(key).or(match &self.missing {
            Missing::Stated(value) => Some(value),
            Missing::Skip | Missing::Refuse => None,
        })
    }

    fn refuses_what_lacks(&self, act: &Act) -> bool {
        self.missing == Missing::Refuse && self.enforce == Enforce::Hard && self.lacks_for(act)
    }

    /// Whether the event would match if it had the dimensions that it lacks.
    fn lacks_for(&self, act: &Act) -> bool {
        let may_match =
            |(key, value): &(String, String)| act.dimension(key).is_none_or(|found| found == value);
        let mut named = self.filter.iter().map(|(key, _)| key).chain(&self.per);
        self.enabled
            && self.filter.iter().all(may_match)
            && named.any(|key| act.dimension(key).is_none())
    }
}

impl Counted {
    fn log(&self, key: &[String]) -> &[Entry] {
        self.logs.get(key).map_or(&[], Vec::as_slice)
    }

    /// What is used, in thousandths, as the rule counts it at `now` for an event of `stamp`.
    fn used(&self, key: &[String], now: Nanos, stamp: Nanos) -> Range<Milli> {
        if let Kind::Bucket { .. } = self.rule.kind {
            let bucket = self.bucket(key, now);
            let (lo, hi) = (bucket.lo / bucket.window, ceil_div(bucket.hi, bucket.window));
            return Range::new(lo, hi);
        }
        let late = self.lateness(key, now);
        let (mut least, mut most) = (0, 0);
        for entry in self.refunded(key) {
            let (at, own, lo, hi) = match entry {
                Entry::Use { stamp, lo, hi, .. } => (self.counted_at(&entry), stamp, lo, hi),
                Entry::Lump { at, lo, hi } => (at, at, lo, hi),
                Entry::Terms { .. } => continue,
            };
            let (sure, maybe) = match self.rule.kind {
                Kind::Fixed { window } => {
                    let same = at.div_euclid(window) == now.div_euclid(window);
                    (same, same)
                }
                // What is below nothing may leave early, so that no use is said too low.
                Kind::Rolling { window } if hi < 0 => (at + window > now, at - late + window > now),
                Kind::Sliding { window } | Kind::Rolling { window } => {
                    (at + window > now, at + late + window > now)
                }
                Kind::Calendar(span) => {
                    let same = period(span, own).0 == period(span, stamp).0;
                    (same, same)
                }
                Kind::Bucket { .. } => unreachable!("answered above"),
            };
            least += if sure { lo } else { 0 };
            most += if maybe { hi } else { 0 };
        }
        Range::new(least, most)
    }

    /// The history of a counter with what refunds took back: of a rate limit's window they cancel
    /// the newest uses, and nothing where there are none. A quota counts them as what they are.
    fn refunded(&self, key: &[String]) -> Vec<Entry> {
        let (Kind::Fixed { window } | Kind::Sliding { window }) = self.rule.kind else {
            return self.log(key).to_vec();
        };
        let mut kept: Vec<Entry> = Vec::new();
        for entry in self.log(key) {
            let Entry::Use { at: now, lo: amount @ ..0, .. } = *entry else {
                kept.push(entry.clone());
                continue;
            };
            let late = self.lateness(key, now);
            let (mut sure, mut maybe) = (-amount, -amount);
            let mut newest: Vec<&mut Entry> = kept.iter_mut().collect();
            newest.sort_by_key(|entry| self.counted_at(entry));
            for entry in newest.into_iter().rev() {
                let at = self.counted_at(entry);
                let (Entry::Use { lo, hi, .. } | Entry::Lump { lo, hi, .. }) = entry else {
                    continue;
                };
                let counts = match self.rule.kind {
                    Kind::Fixed { .. } => at.div_euclid(window) == now.div_euclid(window),
                    _ => at + late + window > now,
                };
                if counts {
                    let (of_lo, of_hi) = (sure.min(*lo), maybe.min(*hi));
                    (*lo, *hi) = (*lo - of_lo, *hi - of_hi);
                    (sure, maybe) = (sure - of_lo, maybe - of_hi);
                }
            }
        }
        kept
    }

    /// The instant at which a use counts in a window that slides.
    fn counted_at(&self, entry: &Entry) -> Nanos {
        match (entry, self.rule.kind) {
            (Entry::Use { stamp, .. }, Kind::Rolling { .. }) => *stamp,
            (Entry::Use { at, stamp, verb: Verb::Record, .. }, Kind::Sliding { .. }) => {
                *stamp.min(at)
            }
            (Entry::Use { at, .. } | Entry::Lump { at, .. } | Entry::Terms { at, .. }, _) => *at,
        }
    }

    /// How late a use may leave a window that slides: not at all while there were no more instants
    /// of use than are told apart. Uses that are dated ahead wait for longer than a window, and
    /// many of those may wait until the last of them.
    fn lateness(&self, key: &[String], now: Nanos) -> Nanos {
        let (Kind::Sliding { window } | Kind::Rolling { window }) = self.rule.kind else {
            return 0;
        };
        let slot = slot(window);
        let ahead = |entry: &Entry| matches!(*entry, Entry::Use { at, stamp, .. } if stamp > at);
        // What was merged may be there for as long as it may have been late.
        let ahead = if self.log(key).iter().any(ahead) { AHEAD } else { 0 };
        let since = now - 2 * (window + slot) - ahead;
        let uses = self.log(key).iter().filter(|entry| !matches!(entry, Entry::Terms { .. }));
        let mut instants: Vec<Nanos> = uses.map(|entry| self.counted_at(entry)).collect();
        instants.retain(|at| *at > since);
        instants.sort_unstable();
        instants.dedup();
        if instants.len() > APART { slot - 1 + ahead } else { 0 }
    }

    /// What is left, in thousandths, never below zero and never more than the limit.
    fn left(&self, key: &[String], now: Nanos, stamp: Nanos) -> Range<Milli> {
        if let Kind::Bucket { .. } = self.rule.kind {
            let bucket = self.bucket(key, now);
            let level =
                |missing: i128| (bucket.capacity * bucket.window - missing).max(0) / bucket.window;
            return Range::new(level(bucket.hi), level(bucket.lo));
        }
        let used = self.used(key, now, stamp);
        let limit = self.rule.limit_milli();
        Range::new((limit - used.hi).clamp(0, limit), (limit - used.lo).clamp(0, limit))
    }

    /// Whether the amount fits, by the least use (`hopeful`) or the most that is possible. What
    /// adds nothing is never refused.
    fn fits(&self, key: &[String], now: Nanos, stamp: Nanos, amount: Milli, hopeful: bool) -> bool {
        if amount <= 0 {
            return true;
        }
        if let Kind::Bucket { .. } = self.rule.kind {
            let bucket = self.bucket(key, now);
            let missing = if hopeful { bucket.lo } else { bucket.hi };
            return missing + amount * bucket.window <= bucket.capacity * bucket.window;
        }
        if let Kind::Rolling { window } = self.rule.kind
            && stamp + window <= now
        {
            // It is older than the window: it adds nothing.
            return true;
        }
        let used = self.used(key, now, stamp);
        let used = if hopeful { used.lo } else { used.hi };
        used + amount <= self.rule.limit_milli()
    }

    /// The earliest instant from `from` on at which an event stamped then would pass.
    fn earliest(&self, key: &[String], from: Nanos, amount: Milli, hopeful: bool) -> Option<Nanos> {
        let mut instant = from;
        while !self.fits(key, instant, instant, amount, hopeful) {
            // More than the limit fits only where a quota has been given back more than was used.
            if amount > self.rule.capacity_milli() && !self.may_be_below_nothing(key, instant) {
                return None;
            }
            instant = match self.rule.kind {
                Kind::Bucket { .. } => {
                    let bucket = self.bucket(key, instant);
                    let missing = if hopeful { bucket.lo } else { bucket.hi };
                    let target = (bucket.capacity - amount) * bucket.window;
                    instant + ceil_div(missing - target, bucket.limit)
                }
                Kind::Fixed { window } => (instant.div_euclid(window) + 1) * window,
                Kind::Sliding { window } | Kind::Rolling { window } => {
                    let extra = if hopeful { 0 } else { self.lateness(key, from) };
                    let leaves = self.uses(key, false).map(|at| at + extra + window);
                    leaves.filter(|&at| at > instant).min()?
                }
                Kind::Calendar(span) => period(span, instant).1?,
            };
        }
        Some(instant)
    }

    /// Whether less than nothing may be used of a quota, at an instant or later.
    fn may_be_below_nothing(&self, key: &[String], instant: Nanos) -> bool {
        self.log(key).iter().any(|entry| {
            let (Entry::Use { lo, .. } | Entry::Lump { lo, .. }) = *entry else { return false };
            lo < 0
                && match self.rule.kind {
                    Kind::Rolling { window } => self.counted_at(entry) + window > instant,
                    Kind::Calendar(span) => {
                        let at = match *entry {
                            Entry::Use { stamp, .. } => stamp,
                            Entry::Terms { at, .. } | Entry::Lump { at, .. } => at,
                        };
                        period(span, at).1.is_none_or(|end| end > instant)
                    }
                    _ => false,
                }
        })
    }

    /// The instants at which something was counted, for sure or perhaps.
    fn uses(&self, key: &[String], sure: bool) -> impl Iterator<Item = Nanos> + Clone {
        self.refunded(key).into_iter().filter_map(move |entry| match entry {
            Entry::Use { lo, hi, .. } | Entry::Lump { lo, hi, .. } => {
                (if sure { lo != 0 } else { hi != 0 }).then_some(self.counted_at(&entry))
            }
            Entry::Terms { .. } => None,
        })
    }

    /// The ranges, in whole Unix seconds, that `reset` may lie in.
    fn reset(&self, key: &[String], now: Nanos, stamp: Nanos) -> Vec<Option<Range<i128>>> {
        let one = |instant: Nanos| vec![Some(Range::new(seconds(instant), seconds(instant)))];
        match self.rule.kind {
            Kind::Bucket { .. } => {
                let bucket = self.bucket(key, now);
                // A bucket that is never filled stays as it is.
                let filled = |missing: i128| match (missing, bucket.limit) {
                    (0, _) | (_, 0) => now,
                    (missing, limit) => now + ceil_div(missing, limit),
                };
                let full = |missing: i128| seconds(filled(missing));
                vec![Some(Range::new(full(bucket.lo), full(bucket.hi)))]
            }
            Kind::Fixed { window } => one((now.div_euclid(window) + 1) * window),
            Kind::Calendar(span) => match period(span, stamp).1 {
                Some(end) => one(end),
                None => vec![None],
            },
            Kind::Sliding { window } | Kind::Rolling { window } => {
                let unused = match self.rule.kind {
                    Kind::Sliding { .. } => Some(Range::new(seconds(now), seconds(now))),
                    _ => None,
                };
                let extra = self.lateness(key, now);
                let sure = self.uses(key, true).map(|at| at + window).filter(|&at| at > now).min();
                let most = |at: Nanos| at + window + extra;
                let mut maybe = self.uses(key, false).map(most).filter(|&at| at > now);
                match (sure, maybe.clone().max()) {
                    (None, None) => vec![unused],
                    // The slots of the last uses may be over or not.
                    (None, Some(last)) => {
                        vec![unused, Some(Range::new(seconds(now), seconds(last)))]
                    }
                    // An older use than the first sure one may still be counted.
                    (Some(sure), _) => {
                        let older = maybe.any(|at| at < sure + extra);
                        let from = if older { now } else { sure };
                        vec![Some(Range::new(seconds(from), seconds(sure + extra)))]
                    }
                }
            }
        }
    }

    /// Replays a bucket from its first use.
    fn bucket(&self, key: &[String], now: Nanos) -> Bucket {
        let mut bucket = Bucket {
            limit: self.rule.limit_milli(),
            capacity: self.rule.capacity_milli(),
            debt: self.rule.debt_milli(),
            window: match self.rule.kind {
                Kind::Bucket { window, .. } => window,
                _ => unreachable!("only a bucket is replayed"),
            },
            lo: 0,
            hi: 0,
        };
        let mut last = None;
        for entry in self.log(key) {
            let at = match *entry {
                Entry::Terms { at, .. } | Entry::Use { at, .. } | Entry::Lump { at, .. } => at,
            };
            bucket.refill(at - last.unwrap_or(at));
            last = Some(at);
            match *entry {
                Entry::Terms { limit, capacity, debt, window, .. } => {
                    bucket.debt = debt;
                    bucket.limit = limit;
                    bucket.capacity = capacity;
                    bucket.window = window;
                }
                Entry::Use { lo, hi, verb, .. } => {
                    bucket.lo = bucket.taken(bucket.lo, lo, verb);
                    bucket.hi = bucket.taken(bucket.hi, hi, verb);
                }
                Entry::Lump { lo, hi, .. } => {
                    bucket.lo = lo * bucket.window;
                    bucket.hi = hi * bucket.window;
                }
            }
        }
        bucket.refill(now - last.unwrap_or(now));
        bucket
    }

    /// What carries over when the counter becomes one of another kind.
    fn lump(&self, key: &[String], now: Nanos, to: &Rule) -> Option<Entry> {
        let used = self.used(key, now, now);
        let from_bucket = matches!(self.rule.kind, Kind::Bucket { .. });
        let to_bucket = matches!(to.kind, Kind::Bucket { .. });
        let up = |milli: Milli| ceil_div(milli, 1_000) * 1_000;
        let (lo, hi) = match (from_bucket, to_bucket) {
            // Another window of the same bucket: exact, or rounded up to whole tokens.
            (true, true) => (used.lo, up(used.hi)),
            // The least part of what has fractions is a millionth, which may be its "whole".
            (true, false) if !self.rule.measure.is_whole() => (used.lo, up(used.hi)),
            (true, false) => {
                let bucket = self.bucket(key, now);
                (up(ceil_div(bucket.lo, bucket.window)), up(used.hi))
            }
            // More than the bucket holds: owed in full, or an empty bucket.
            (false, true) => (used.lo.min(to.capacity_milli()), used.hi),
            (false, false) => (used.lo, used.hi),
        };
        ((lo, hi) != (0, 0)).then_some(Entry::Lump { at: now, lo, hi })
    }
}

impl Bucket {
    fn refill(&mut self, passed: Nanos) {
        let gain = passed * self.limit;
        self.lo = (self.lo - gain).max(0);
        self.hi = (self.hi - gain).max(0);
    }

    /// Never below empty: what is owed already, or at most the whole capacity. What is recorded
    /// may be owed. A refund gives back what is missing, and no more.
    fn taken(&self, missing: i128, amount: Milli, verb: Verb) -> i128 {
        let after = missing + amount * self.window;
        if amount < 0 {
            return after.max(0);
        }
        let most = match (verb, self.debt) {
            (Verb::Track, _) => self.capacity * self.window,
            // What nothing refills owes nothing.
            _ if self.limit == 0 => self.capacity * self.window,
            (Verb::Record, Some(debt)) => (self.capacity + debt) * self.window,
            (Verb::Record, None) => after,
        };
        missing.max(most.min(after))
    }
}

fn terms(rule: &Rule, at: Nanos) -> Entry {
    let window = match rule.kind {
        Kind::Bucket { window, .. } => window,
        _ => 1,
    };
    let (limit, capacity) = (rule.limit_milli(), rule.capacity_milli());
    Entry::Terms { at, limit, capacity, debt: rule.debt_milli(), window }
}

fn find<'a>(rates: &'a [Figure], quotas: &'a [Figure], id: &str) -> Result<&'a Figure, String> {
    let found = rates.iter().chain(quotas).find(|figure| figure.id == id);
    found.ok_or_else(|| format!("{id} applies and is not listed"))
}

/// The length of a sliding window's slot.
pub fn slot(window: Nanos) -> Nanos {
    ceil_div(window, SLOTS)
}

pub fn ceil_div(a: i128, b: i128) -> i128 {
    -(-a).div_euclid(b)
}

/// An instant in whole Unix seconds, rounded up.
pub fn seconds(instant: Nanos) -> i128 {
    ceil_div(instant, SECOND)
}

/// The start of a calendar period and its end, which all time has not.
pub fn period(span: Span, instant: Nanos) -> (Nanos, Option<Nanos>) {
    let even = |length: Nanos, phase: Nanos| {
        let start = (instant - phase).div_euclid(length) * length + phase;
        (start, Some(start + length))
    };
    let whole = i64::try_from(instant.div_euclid(SECOND)).expect("an instant of this era");
    let date = DateTime::<Utc>::from_timestamp(whole, 0).expect("an instant of this era");
    let midnight = |year: i32, month: u32| {
        let day = NaiveDate::from_ymd_opt(year, month, 1).expect("the first of a month");
        let start = day.and_hms_opt(0, 0, 0).expect("midnight").and_utc();
        i128::from(start.timestamp()) * SECOND
    };
    let (year, month) = (date.year(), date.month());
    match span {
        Span::Hour => even(HOUR, 0),
        Span::Day => even(DAY, 0),
        // The epoch was a Thursday, so the first Monday was its fifth day.
        Span::Week => even(7 * DAY, 4 * DAY),
        Span::Month => {
            let end = if month == 12 { midnight(year + 1, 1) } else { midnight(year, month + 1) };
            (midnight(year, month), Some(end))
        }
        Span::Year => (midnight(year, 1), Some(midnight(year + 1, 1))),
        Span::AllTime => (Nanos::MIN, None),
    }
}
