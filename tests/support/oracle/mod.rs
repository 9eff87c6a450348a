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

pub mod accounts;
mod alerts;
mod attributes;
mod calendars;
mod counted;
mod credits;
mod data;
mod first_use;
mod holds;
mod operated;
pub mod values;

use self::accounts::Account;
use self::alerts::{Due, Fired};
pub use self::alerts::{PlainAlert, PlainThreshold};
pub use self::calendars::OwnCalendar;
pub use self::counted::period;
use self::counted::*;
use self::credits::KeyedPost;
pub use self::credits::{AccountKey, PlainPost, PlainPosted};
pub use self::data::*;
pub use self::holds::Reservation;
use self::holds::at_fault;
use self::operated::Adjusted;
pub use self::operated::{AdjustAnswer, PlainAdjust, PlainAdjusted};
use std::collections::BTreeMap;

/// How far ahead of now an event may be stamped.
const AHEAD: Nanos = DAY;

#[derive(Clone, Debug)]
struct KeyedCall {
    plain: PlainEvent,
    seen: PlainDecision,
    at: Nanos,
    /// The reservation that it made.
    reservation: Option<usize>,
}

/// Which verb a decision came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Track,
    Record,
    Reserve,
    Grow,
    Commit,
    Adjust,
}

impl Verb {
    /// Whether rules may refuse it.
    fn asks(self) -> bool {
        matches!(self, Self::Track | Self::Reserve | Self::Grow)
    }

    /// Whether it is of an event that happened.
    fn records(self) -> bool {
        matches!(self, Self::Track | Self::Record | Self::Commit)
    }
}

/// What a call is about.
#[derive(Clone, Copy, Debug)]
struct Act<'a> {
    verb: Verb,
    plain: &'a PlainEvent,
    /// The reservation that it makes, lets grow or ends.
    hold: Option<usize>,
    /// When that expires.
    until: Nanos,
}

/// The model. Clones are cheap enough for a search over histories.
#[derive(Clone, Debug)]
pub struct Oracle {
    clock: Nanos,
    /// Where the hands of the clock have been since a call began that is now judged.
    other_readings: Vec<Nanos>,
    now: Nanos,
    /// By how much time inside the engine is ahead of the clock, which was set back so far.
    back: Nanos,
    late: Nanos,
    retention: Nanos,
    rules: Vec<CountedRule>,
    /// By customer and key: nobody's key is anybody else's.
    keys: BTreeMap<(String, String), KeyedCall>,
    recorded: Vec<String>,
    reservations: Vec<Reservation>,
    /// Whether the engine records events at all.
    records: bool,
    /// The zones and dates of customers.
    calendars: BTreeMap<String, OwnCalendar>,
    /// How many adjustments were made.
    adjustments: u64,
    /// Those with an idempotency key.
    once: BTreeMap<String, (PlainAdjust, PlainAdjusted)>,
    accounts: BTreeMap<AccountKey, Account>,
    /// The credits and debits with an idempotency key, by the balance and the key.
    posts: BTreeMap<(AccountKey, String), KeyedPost>,
    /// What is known of customers, by its key.
    attributes: BTreeMap<String, BTreeMap<String, String>>,
    fired: Vec<Fired>,
    /// What has fired since it was asked last.
    due: Vec<Due>,
}

impl Oracle {
    pub fn new(clock: Nanos) -> Self {
        Self {
            clock,
            other_readings: Vec::new(),
            now: clock,
            back: 0,
            late: HOUR,
            retention: DAY,
            rules: Vec::new(),
            keys: BTreeMap::new(),
            recorded: Vec::new(),
            reservations: Vec::new(),
            records: true,
            calendars: BTreeMap::new(),
            adjustments: 0,
            once: BTreeMap::new(),
            accounts: BTreeMap::new(),
            posts: BTreeMap::new(),
            attributes: BTreeMap::new(),
            fired: Vec::new(),
            due: Vec::new(),
        }
    }

    /// The same of an engine that records nothing.
    pub fn without_a_record(mut self) -> Self {
        self.records = false;
        self
    }

    /// Moves the hands of the clock; time inside the engine moves when it next reads the clock.
    pub fn set_clock(&mut self, clock: Nanos) {
        self.clock = clock;
    }

    /// Says where else the hands may have been when the call that is judged next read them, which
    /// it does before it decides: a wait counts from the reading.
    pub fn may_have_read(&mut self, other_readings: Vec<Nanos>) {
        self.other_readings = other_readings;
    }

    pub fn clock(&self) -> Nanos {
        self.clock
    }

    /// Time inside the engine, as of the last look at the clock.
    pub fn now(&self) -> Nanos {
        self.now
    }

    /// By how much that is ahead of the clock.
    pub fn ahead(&self) -> Nanos {
        self.back
    }

    /// Whether the event's rules can tell of its time: of closed periods nothing is known.
    pub fn is_open(&mut self, plain: &PlainEvent) -> bool {
        let now = self.read_clock();
        let plain = &self.completed(plain);
        let act = Act { verb: Verb::Track, plain, hold: None, until: 0 };
        plain.stamp.is_none_or(|stamp| stamp <= now + AHEAD)
            && self.skipped(&act, &self.live(plain)).is_empty()
    }

    /// Looks at the clock: time never runs back. A clock that is more than a second behind was set
    /// back, and time goes on from where it was as the clock does; one that is less behind is
    /// waited for.
    pub fn read_clock(&mut self) -> Nanos {
        if self.clock + self.back + SECOND < self.now {
            self.back = self.now - self.clock;
        }
        self.now = self.now.max(self.clock + self.back);
        let now = self.now;
        self.rules.iter_mut().for_each(|counted| counted.expire(now));
        self.accounts.values_mut().for_each(|account| account.pass(now));
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
        self.read_clock();
        let (logs, as_use, adjusted) = Default::default();
        let calendars = self.calendars.clone();
        self.rules.push(CountedRule { rule, logs, as_use, calendars, adjusted });
    }

    pub fn remove(&mut self, id: &str) {
        self.read_clock();
        self.rules.retain(|counted| counted.rule.id != id);
    }

    /// Puts `rule` in the place of the rule with its id; what was used carries over.
    pub fn change(&mut self, rule: Rule) {
        let now = self.read_clock();
        let Some(at) = self.rules.iter().position(|counted| counted.rule.id == rule.id) else {
            panic!("the test changes a rule that is not there: {}", rule.id);
        };
        let old = self.rules[at].rule.clone();
        if old.measure != rule.measure || old.per != rule.per {
            self.rules[at].logs.clear();
            self.rules[at].as_use.clear();
            self.rules[at].adjusted.clear();
        } else if old.kind.family() != rule.kind.family() {
            if old.kind.is_rate() {
                self.rules[at].forget_holds(now);
            }
            let keys: Vec<Vec<String>> = self.rules[at].logs.keys().cloned().collect();
            for key in keys {
                let log = self.rules[at].log_as(&key, now, &rule);
                self.rules[at].logs.insert(key, log);
            }
        } else {
            // A bucket with another rate is another one.
            if matches!(rule.kind, Kind::Bucket { .. }) && old.limit != rule.limit {
                self.rules[at].forget_holds(now);
            }
            for log in self.rules[at].logs.values_mut() {
                log.push(terms(&rule, now));
            }
        }
        self.rules[at].rule = rule;
    }

    /// Judges the answer to `track` and follows it.
    pub fn track(&mut self, plain: &PlainEvent, answer: &Answer) -> Result<(), String> {
        self.decide(Verb::Track, true, plain, answer)
    }

    /// Judges the answer to `check`, which changes nothing.
    pub fn check(&mut self, plain: &PlainEvent, answer: &Answer) -> Result<(), String> {
        self.decide(Verb::Track, false, plain, answer)
    }

    /// Judges the answer to `record` and follows it.
    pub fn record(&mut self, plain: &PlainEvent, answer: &Answer) -> Result<(), String> {
        self.decide(Verb::Record, true, plain, answer)
    }

    /// Judges the answer to `standing`, which changes nothing.
    pub fn standing(&mut self, plain: &PlainEvent, stood: &PlainStanding) -> Result<(), String> {
        let now = self.read_clock();
        let plain = &self.completed(plain);
        let live = self.live(plain);
        self.listed(&live, &stood.rates, &stood.quotas)?;
        let mut full = false;
        for &at in &live {
            let counted = &self.rules[at];
            let figure = find(&stood.rates, &stood.quotas, &counted.rule.id)?;
            self.compare(at, plain, figure)?;
            if self.is_of_balance(at) {
                if figure.exceeded != (self.left_in_balance(at, plain) <= 0) {
                    return Err(format!("standing: {figure:?}"));
                }
                full |= figure.exceeded && counted.rule.enforce == Enforce::Hard;
                continue;
            }
            let left = counted.left(&self.key(at, plain), now, plain.stamp.unwrap_or(now));
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
    pub fn could_pass(&mut self, plain: &PlainEvent) -> bool {
        let now = self.read_clock();
        let plain = &self.completed(plain);
        let stamp = plain.stamp.unwrap_or(now);
        let live = self.live(plain);
        let act = Act { verb: Verb::Track, plain, hold: None, until: 0 };
        let counters_fit = live.iter().all(|&at| {
            let counted = &self.rules[at];
            let amount = plain.amount(&counted.rule.measure);
            counted.rule.enforce != Enforce::Hard
                || self.is_of_balance(at)
                || counted.fits(&self.key(at, plain), now, stamp, amount, true)
        });
        counters_fit && self.are_covered(&act, &live, now)
    }

    fn decide(
        &mut self,
        verb: Verb,
        takes: bool,
        plain: &PlainEvent,
        answer: &Answer,
    ) -> Result<(), String> {
        self.read_clock();
        if let Some(first) = self.first(plain) {
            return replayed(plain, first, answer);
        }
        let act = Act { verb, plain: &self.completed(plain), hold: None, until: 0 };
        let Some((seen, after)) = self.judge(&act, takes, answer)? else { return Ok(()) };
        if takes && let Some(after) = after {
            *self = after;
            self.keep_key(plain, seen, None);
        }
        Ok(())
    }

    /// Judges the answer to an act that is done for the first time, and returns what it is with
    /// what the model is after it, if it counts; nothing where the act itself is at fault.
    fn judge<'s>(
        &self,
        act: &Act<'_>,
        takes: bool,
        answer: &'s Answer,
    ) -> Result<Option<(&'s PlainDecision, Option<Self>)>, String> {
        let live = self.live(act.plain);
        if let Some(reason) = self.bad(act, &live) {
            return match answer {
                Err(Fault::BadEvent) => Ok(None),
                other => Err(format!("expected a bad event ({reason}), not {other:?}")),
            };
        }
        let seen = match answer {
            Ok(seen) => seen,
            Err(fault) => return Err(format!("expected a decision, not {fault:?}")),
        };
        self.shape(act.verb, takes, seen)?;
        let skipped = self.skipped(act, &live);
        let counted: Vec<usize> = live.iter().copied().filter(|at| !skipped.contains(at)).collect();
        self.listed(&live, &seen.rates, &seen.quotas)?;
        let refused = self.verdicts(act, &counted, seen)?;
        let allowed = !act.verb.asks() || !refused;
        if seen.is_admitted() != allowed {
            return Err(format!("{:?} where the rules say allowed: {allowed}", seen.verdict));
        }
        let mut after = self.clone();
        if allowed {
            after.count(act, &counted, seen)?;
            after.pay(act, &live);
            let overridden = self.overridden(act.plain);
            let skipped = self.skipped(act, &overridden);
            after.count_overridden(act, overridden.iter().filter(|at| !skipped.contains(at)));
            if act.verb == Verb::Commit {
                after.end_hold(self, act, &live, &overridden);
            }
            if act.verb.records() {
                after.note_alerts(act, &counted);
            }
        } else {
            self.compare_retry(act, &skipped, seen.retry)?;
        }
        for &at in &counted {
            let figure = find(&seen.rates, &seen.quotas, &self.rules[at].rule.id)?;
            after.compare(at, act.plain, figure)?;
        }
        if takes && act.verb.records() {
            after.recorded.extend(seen.event_id.clone());
        }
        Ok(Some((seen, allowed.then_some(after))))
    }

    /// Keeps what the first act with its key was told.
    fn keep_key(&mut self, plain: &PlainEvent, seen: &PlainDecision, reservation: Option<usize>) {
        if let Some(key) = &plain.key {
            let (plain, seen, at) = (plain.clone(), seen.clone(), self.now);
            let name = (plain.customer.clone(), key.clone());
            self.keys.insert(name, KeyedCall { plain, seen, at, reservation });
        }
    }

    /// What an act costs a rule.
    fn amount(&self, act: &Act<'_>, at: usize) -> Milli {
        let Act { verb, plain, hold, .. } = *act;
        let counted = &self.rules[at];
        let amount = plain.amount(&counted.rule.measure);
        match (verb, hold) {
            // Growth is of values: it is no event, and takes no slot.
            (Verb::Grow, _) if !counted.rule.measure.is_of_values() => 0,
            (Verb::Commit, Some(hold)) => {
                let (full, key) = (self.full(act, at), self.key(at, plain));
                let mut held = counted.held_by(&key, hold);
                if self.reservations[hold].state(self.now) == State::Held {
                    held += counted.as_use.get(&(key, hold)).copied().unwrap_or(0);
                }
                if held > 0 && full >= 0 { (full - held).max(0) } else { full }
            }
            _ => amount,
        }
    }

    /// What an event that happened costs a rule, held before or not.
    fn full(&self, act: &Act<'_>, at: usize) -> Milli {
        let stamp = act.plain.stamp.unwrap_or(self.now);
        match self.rules[at].rule.kind {
            Kind::Slots => 0,
            // Older than the window: it is over.
            Kind::Rolling { window } if self.now - stamp >= window => 0,
            _ => act.plain.amount(&self.rules[at].rule.measure),
        }
    }

    /// The parts of an answer that follow from the verb and the verdict alone.
    fn shape(&self, verb: Verb, takes: bool, seen: &PlainDecision) -> Result<(), String> {
        let allowed = seen.is_admitted();
        let code = if allowed { 201 } else { 429 };
        if seen.verdict == Verdict::Replayed {
            return Err("a first decision is marked as a replay".into());
        }
        if seen.status_code != code {
            return Err(format!("status code {} where {code} is due", seen.status_code));
        }
        if seen.event_id.is_some() != (takes && allowed && verb.records() && self.records) {
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
    fn verdicts(
        &self,
        act: &Act<'_>,
        live: &[usize],
        seen: &PlainDecision,
    ) -> Result<bool, String> {
        let stamp = act.plain.stamp.unwrap_or(self.now);
        let mut refused = false;
        let bills = self.bills(act, live, self.now);
        for &at in live {
            let counted = &self.rules[at];
            let figure = find(&seen.rates, &seen.quotas, &counted.rule.id)?;
            if let Some(bill) = bills.iter().find(|bill| bill.at == at) {
                if figure.exceeded == bill.fits {
                    return Err(format!("{bill:?} is not {figure:?}"));
                }
                refused |= figure.exceeded && counted.rule.enforce == Enforce::Hard;
                continue;
            }
            let (amount, key) = (self.amount(act, at), self.key(at, act.plain));
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

    /// Counts the act on each rule that takes it.
    fn count(&mut self, act: &Act<'_>, live: &[usize], seen: &PlainDecision) -> Result<(), String> {
        for &at in live {
            let rule = &self.rules[at].rule;
            let figure = find(&seen.rates, &seen.quotas, &rule.id)?;
            if self.is_of_balance(at) || rule.enforce == Enforce::Shadow && figure.exceeded {
                continue;
            }
            let amount = self.amount(act, at);
            self.enter(act, at, act.verb, amount, amount);
        }
        Ok(())
    }

    /// Notes that a rule counts an amount, or holds it.
    fn enter(&mut self, act: &Act<'_>, at: usize, verb: Verb, lo: Milli, hi: Milli) {
        let Act { plain, hold, until, .. } = *act;
        let (now, key) = (self.now, self.key(at, plain));
        let stamp = plain.stamp.unwrap_or(now);
        let holds = matches!(act.verb, Verb::Reserve | Verb::Grow);
        let counted = &mut self.rules[at];
        if (holds && hi == 0) || (!holds && counted.rule.kind == Kind::Slots) {
            return;
        }
        let entry = match hold.filter(|_| holds) {
            Some(hold) => Entry::Hold { at: now, stamp, hold, until, lo, hi },
            None => Entry::Use { at: now, stamp, lo, hi, verb },
        };
        let first = terms(&counted.rule, now);
        counted.logs.entry(key).or_insert_with(|| vec![first]).push(entry);
    }

    /// Counts the act on rules that another rule of their policy overrides: they have no say, and
    /// know what was used when they get one. A quota counts all, over its limit or not; a rate
    /// limit no more than it has left. What they would refuse for its date they leave out.
    fn count_overridden<'b>(&mut self, act: &Act<'_>, overridden: impl Iterator<Item = &'b usize>) {
        let (now, stamp) = (self.now, act.plain.stamp.unwrap_or(self.now));
        for &at in overridden {
            let counted = &self.rules[at];
            let (rule, key) = (&counted.rule, self.key(at, act.plain));
            let late = |span| self.too_late(at, act.plain, span, stamp);
            // Credits are taken by who judges alone.
            if self.is_of_balance(at) || matches!(rule.kind, Kind::Calendar(span) if late(span)) {
                continue;
            }
            let amount = self.amount(act, at);
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
            let verb = if is_bucket { Verb::Track } else { act.verb };
            self.enter(act, at, verb, lo, hi);
        }
    }

    /// Compares a rule's figures with the state of this model.
    fn compare(&self, at: usize, plain: &PlainEvent, figure: &Figure) -> Result<(), String> {
        if self.is_of_balance(at) {
            return self.compare_balance(at, plain, figure);
        }
        let counted = &self.rules[at];
        let rule = &counted.rule;
        let stamp = plain.stamp.unwrap_or(self.now);
        let key = self.key(at, plain);
        let complain = |what: &str, range: String| {
            Err(format!("{} {what} should be {range}: {figure:?}", rule.id))
        };
        if figure.limit != rule.limit_milli() || figure.name != rule.name {
            return complain("limit and name", format!("{} {}", rule.limit, rule.name));
        }
        let left = counted.left(&key, self.now, stamp);
        // A bucket has no parts of what is counted in wholes.
        let unit = if rule.measure.is_whole() { 1_000 } else { 1 };
        let left = Range::new(left.lo.div_euclid(unit) * unit, left.hi.div_euclid(unit) * unit);
        if !left.holds(figure.remaining) {
            return complain("remaining", format!("{left:?}"));
        }
        let held = counted.held(&key, self.now, stamp);
        if !held.holds(figure.held) {
            return complain("held", format!("{held:?}"));
        }
        if let Some(used) = figure.used {
            let both = counted.used(&key, self.now, stamp);
            let expected = Range::new(both.lo - held.hi, both.hi - held.lo);
            if !expected.holds(used) {
                return complain("used", format!("{expected:?}"));
            }
        }
        let adjusted = counted.adjusted(&key, self.now, stamp);
        if !adjusted.holds(figure.adjusted) {
            return complain("adjusted", format!("{adjusted:?}"));
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
    fn compare_retry(
        &self,
        act: &Act<'_>,
        skipped: &[usize],
        wait: Option<Wait>,
    ) -> Result<(), String> {
        let least = self.earliest(act, skipped, true);
        let most = self.earliest(act, skipped, false);
        // By the clock that the caller sees, which may have been set back.
        let other_readings = || self.other_readings.iter().copied().chain([self.clock]);
        let readings = || other_readings().map(|reading| reading + self.back);
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

    /// The least instant from now on at which the rules that judge then accept the event.
    fn earliest(&self, act: &Act<'_>, skipped: &[usize], best_case: bool) -> Option<Nanos> {
        let (plain, mut from) = (act.plain, self.now);
        loop {
            let live = self.live_at(plain, from);
            let live: Vec<usize> = live.into_iter().filter(|at| !skipped.contains(at)).collect();
            let rules = self.matching(plain).into_iter().map(|at| &self.rules[at].rule);
            let until = rules.filter_map(|rule| rule.next_change(plain, from)).min();
            // While a rule judges that refuses what the event lacks, it is an error.
            let mut judging = self.judging(plain, from).into_iter();
            let is_error = judging.any(|at| self.rules[at].rule.refuses_what_lacks(plain));
            let passes = self.earliest_of(act, &live, from, best_case).filter(|_| !is_error);
            if passes.is_some_and(|passes| until.is_none_or(|until| passes < until)) {
                return passes;
            }
            from = until?;
        }
    }

    /// The least instant from one on that every hard rule of these accepts, found as a fixed point.
    fn earliest_of(
        &self,
        act: &Act<'_>,
        live: &[usize],
        from: Nanos,
        best_case: bool,
    ) -> Option<Nanos> {
        let (plain, mut instant) = (act.plain, from);
        loop {
            let mut next = instant;
            for &at in live {
                let counted = &self.rules[at];
                if counted.rule.enforce == Enforce::Hard && !self.is_of_balance(at) {
                    let (amount, key) = (self.amount(act, at), self.key(at, plain));
                    next = match (counted.rule.kind, plain.stamp) {
                        // Once it is older than the window it adds nothing.
                        (Kind::Rolling { window }, Some(stamp)) => {
                            let old = stamp + window;
                            let fits = |at: Nanos| counted.fits(&key, at, stamp, amount, best_case);
                            let passes = counted.earliest(&key, next, amount, best_case);
                            let passes = passes.map_or(old, |at| at.min(old));
                            if fits(next) { next } else { passes }
                        }
                        (Kind::FirstUse { .. }, Some(stamp)) => {
                            counted.earliest_dated(&key, next, stamp, amount, best_case)
                        }
                        (Kind::Calendar(span), Some(stamp)) if amount > 0 => {
                            let end = counted.period(&key, span, stamp).1;
                            // Only what is held and expires makes room in a period.
                            let mut instants: Vec<_> = counted.expiries(&key, next).collect();
                            instants.push(next);
                            instants.retain(|at| {
                                let late = end.is_some_and(|end| end + self.late <= *at);
                                !late && counted.fits(&key, *at, stamp, amount, best_case)
                            });
                            instants.into_iter().min()?
                        }
                        _ if amount <= 0 => next,
                        _ => counted.earliest(&key, next, amount, best_case)?,
                    };
                }
            }
            // Of a balance only what is held and expires may be enough.
            if !self.are_covered(act, live, next) {
                next = self.next_end_of_hold(next)?;
            }
            if next == instant {
                return Some(instant);
            }
            instant = next;
        }
    }

    /// Whether a rule that judges now refuses events which lack a dimension that this one lacks.
    pub fn refuses_what_lacks(&mut self, plain: &PlainEvent) -> bool {
        self.read_clock();
        self.insists(&self.completed(plain))
    }

    fn insists(&self, plain: &PlainEvent) -> bool {
        self.judging(plain, self.now)
            .into_iter()
            .any(|at| self.rules[at].rule.refuses_what_lacks(plain))
    }

    /// The rules that judge: enabled, matched, and not overridden within their policy.
    fn live(&self, plain: &PlainEvent) -> Vec<usize> {
        self.live_at(plain, self.now)
    }

    fn live_at(&self, plain: &PlainEvent, now: Nanos) -> Vec<usize> {
        let judging = self.judging(plain, now).into_iter();
        judging.filter(|at| self.rules[*at].rule.matches(plain)).collect()
    }

    /// The same with those that refuse what lacks a dimension.
    fn judging(&self, plain: &PlainEvent, now: Nanos) -> Vec<usize> {
        let mut matching = self.matching(plain);
        matching.retain(|at| self.rules[*at].rule.is_in_time(plain, now));
        matching.iter().copied().filter(|at| !self.is_overridden(*at, &matching)).collect()
    }

    /// The rules that match, and have no say because another of their policy has, or because it is
    /// not their time.
    fn overridden(&self, plain: &PlainEvent) -> Vec<usize> {
        let judging = self.judging(plain, self.now);
        let overridden = self.matching(plain).into_iter().filter(|at| !judging.contains(at));
        overridden.filter(|at| self.rules[*at].rule.matches(plain)).collect()
    }

    fn matching(&self, plain: &PlainEvent) -> Vec<usize> {
        // One that refuses what lacks a dimension competes with the others of its policy.
        let is_asked = |rule: &Rule| rule.matches(plain) || rule.refuses_what_lacks(plain);
        (0..self.rules.len()).filter(|at| is_asked(&self.rules[*at].rule)).collect()
    }

    fn is_overridden(&self, at: usize, matching: &[usize]) -> bool {
        let of_policy = |other: &usize| {
            let (a, b) = (&self.rules[*other].rule, &self.rules[at].rule);
            a.policy.is_some() && a.policy == b.policy
        };
        let rank = |at: usize| {
            let rule = &self.rules[at].rule;
            (rule.priority, self.is_for_its_key(at), rule.filter.len(), at)
        };
        matching.iter().filter(|other| of_policy(other)).any(|other| rank(*other) > rank(at))
    }

    /// Whether a rule is for one key of those that it, or where it is not split those that another
    /// one of its policy, has a counter for.
    fn is_for_its_key(&self, at: usize) -> bool {
        let rule = &self.rules[at].rule;
        if !rule.per.is_empty() {
            return rule.fixes(&rule.per);
        }
        let others = self.rules.iter().map(|counted| &counted.rule);
        let mut rivals = others.filter(|other| other.is_on() && other.policy == rule.policy);
        rivals.any(|rival| !rival.per.is_empty() && rule.fixes(&rival.per))
    }

    /// What an event does not count on: periods that are long over, and of one that is recorded
    /// limits, too.
    fn skipped(&self, act: &Act<'_>, live: &[usize]) -> Vec<usize> {
        let Some(stamp) = act.plain.stamp else {
            return Vec::new();
        };
        let over = |at: &usize| match self.rules[*at].rule.kind {
            Kind::Bucket { window, .. } | Kind::Fixed { window } | Kind::Sliding { window } => {
                act.verb == Verb::Record && self.now - stamp >= window
            }
            Kind::Calendar(span) => self.too_late(*at, act.plain, span, stamp),
            Kind::Rolling { .. } | Kind::Slots | Kind::FirstUse { .. } | Kind::Balance { .. } => {
                false
            }
        };
        live.iter().copied().filter(over).collect()
    }

    fn too_late(&self, at: usize, plain: &PlainEvent, span: Span, stamp: Nanos) -> bool {
        let end = self.rules[at].period(&self.key(at, plain), span, stamp).1;
        end.is_some_and(|end| self.now - end >= self.late)
    }

    /// Why the event itself is at fault, if it is.
    fn bad(&self, act: &Act<'_>, live: &[usize]) -> Option<&'static str> {
        let Act { verb, plain, .. } = *act;
        if verb.asks() && self.insists(plain) {
            return Some("lacks a dimension");
        }
        let stamp = plain.stamp?;
        if stamp > self.now + AHEAD && !matches!(verb, Verb::Grow | Verb::Commit) {
            return Some("too far ahead");
        }
        // Only a rule that could refuse the event has to know what was used.
        let could_refuse =
            |at: usize| self.rules[at].rule.enforce == Enforce::Hard && self.amount(act, at) > 0;
        let late = live.iter().any(|&at| match self.rules[at].rule.kind {
            Kind::Calendar(span) => could_refuse(at) && self.too_late(at, plain, span, stamp),
            _ => false,
        });
        (late && verb.asks()).then_some("too late")
    }

    fn first(&self, plain: &PlainEvent) -> Option<&KeyedCall> {
        let first = self.keys.get(&(plain.customer.clone(), plain.key.clone()?))?;
        (self.now < first.at + self.retention).then_some(first)
    }

    fn key(&self, at: usize, plain: &PlainEvent) -> Vec<String> {
        let per = &self.rules[at].rule.per;
        let rule = &self.rules[at].rule;
        per.iter().map(|name| rule.value(plain, name).unwrap_or_default().to_owned()).collect()
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
    fn matches(&self, plain: &PlainEvent) -> bool {
        self.is_on()
            && self.filter.iter().all(|(key, asked)| match asked {
                Asked::Absent => plain.dimension(key).is_none(),
                asked => asked.is_met(self.value(plain, key)),
            })
            && self.per.iter().all(|key| self.value(plain, key).is_some())
    }

    /// The value of a dimension, or what stands for one that the event lacks.
    fn value<'a>(&'a self, plain: &'a PlainEvent, key: &str) -> Option<&'a str> {
        plain.dimension(key).or(match &self.missing {
            Missing::Stated(value) => Some(value),
            Missing::Skip | Missing::Refuse => None,
        })
    }

    fn refuses_what_lacks(&self, plain: &PlainEvent) -> bool {
        self.missing == Missing::Refuse && self.enforce == Enforce::Hard && self.lacks_for(plain)
    }

    /// Whether the event would match if it had the dimensions that it lacks.
    fn lacks_for(&self, plain: &PlainEvent) -> bool {
        let may_match = |(key, asked): &(String, Asked)| match plain.dimension(key) {
            None => true,
            found => asked.is_met(found),
        };
        let wanted = self.filter.iter().filter(|(_, asked)| *asked != Asked::Absent);
        let mut named = wanted.map(|(key, _)| key).chain(&self.per);
        self.is_on()
            && self.filter.iter().all(may_match)
            && named.any(|key| plain.dimension(key).is_none())
    }
}

fn find<'a>(rates: &'a [Figure], quotas: &'a [Figure], id: &str) -> Result<&'a Figure, String> {
    let found = rates.iter().chain(quotas).find(|figure| figure.id == id);
    found.ok_or_else(|| format!("{id} applies and is not listed"))
}

pub fn ceil_div(a: i128, b: i128) -> i128 {
    -(-a).div_euclid(b)
}

/// An instant in whole Unix seconds, rounded up.
pub fn seconds(instant: Nanos) -> i128 {
    ceil_div(instant, SECOND)
}

/// Judges the answer to an act whose key was used before.
fn replayed(plain: &PlainEvent, first: &KeyedCall, answer: &Answer) -> Result<(), String> {
    if !plain.is_retry_of(&first.plain) {
        return match answer {
            Err(Fault::Conflict) => Ok(()),
            other => Err(format!("expected a conflict, not {other:?}")),
        };
    }
    let expected = Ok(PlainDecision { verdict: Verdict::Replayed, ..first.seen.clone() });
    if *answer == expected {
        Ok(())
    } else {
        Err(format!("expected the replay {expected:?}\n not {answer:?}"))
    }
}
