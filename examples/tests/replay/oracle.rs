//! The rules of the replay once more, as plainly as they can be said.
//!
//! Knows nothing of the engine, and of the example only the names of the rules. Periods are sums
//! over what was let through in them; a bucket's level is an exact fraction, counted in parts of
//! one token that are as many as its window has nanoseconds.

use std::collections::HashMap;

use chrono::{DateTime, Datelike, NaiveDate};

use crate::rules;

const SECOND: i128 = 1_000_000_000;
const MINUTE: i128 = 60 * SECOND;
const HOUR: i128 = 60 * MINUTE;
const DAY: i128 = 24 * HOUR;

/// A call, as the oracle sees it.
#[derive(Debug)]
pub struct Seen<'a> {
    /// Nanoseconds since 1970.
    pub now: i128,
    pub customer: &'a str,
    pub is_enterprise: bool,
    pub team: &'a str,
    pub model: &'a str,
    pub tokens: u64,
    pub cost_cents: u64,
}

/// What a rule says to a call that it applies to.
#[derive(Debug, PartialEq, Eq)]
pub struct Opinion {
    pub rule: &'static str,
    pub exceeded: bool,
    /// After the call when it was let through, without it when not.
    pub remaining: u64,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Verdict {
    pub is_allowed: bool,
    pub opinions: Vec<Opinion>,
    /// Nanoseconds until the call would pass: 0 when it does now, `None` when it never will.
    pub wait: Option<i128>,
}

/// Calls and tokens by rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub matched_calls: u64,
    pub refused_calls: u64,
    pub admitted_calls: u64,
    pub admitted_tokens: u64,
}

pub struct Oracle {
    rules: Vec<Rule>,
}

impl Oracle {
    pub fn new() -> Self {
        let events = |_: &Seen<'_>| 1;
        let tokens = |seen: &Seen<'_>| seen.tokens;
        let cents = |seen: &Seen<'_>| seen.cost_cents;
        let customer = |seen: &Seen<'_>| Some(seen.customer.to_owned());
        let standard = |seen: &Seen<'_>| (!seen.is_enterprise).then(|| seen.customer.to_owned());
        let enterprise = |seen: &Seen<'_>| seen.is_enterprise.then(|| seen.customer.to_owned());
        let gpt_4 = |seen: &Seen<'_>| (seen.model == "gpt-4").then(|| seen.customer.to_owned());
        let model = |seen: &Seen<'_>| Some(seen.model.to_owned());
        let team = |seen: &Seen<'_>| Some(seen.team.to_owned());
        let a_minute = bucket(20, MINUTE, 20);
        let a_minute_enterprise = bucket(50, MINUTE, 50);
        let trial = Rule::new(rules::TRIAL, customer, events, sum(15, |now| spans(now, MINUTE)));
        let hourly = sum(250_000, |now| spans(now, HOUR));
        let daily = sum(12_000_000, |now| spans(now, DAY));
        let rules = vec![
            Rule::new(rules::REQUESTS, standard, events, a_minute),
            Rule::new(rules::REQUESTS_ENTERPRISE, enterprise, events, a_minute_enterprise),
            Rule::new(rules::MODEL_TOKENS, model, tokens, bucket(300_000, MINUTE, 20_000)),
            Rule::new(rules::GPT_4_BURST, gpt_4, events, bucket(1, 5 * SECOND, 8)),
            Rule { is_hard: false, ..trial },
            Rule::new(rules::HOURLY_TOKENS, standard, tokens, hourly),
            Rule::new(rules::DAILY_TOKENS_ENTERPRISE, enterprise, tokens, daily),
            Rule::new(rules::TEAM_BUDGET, team, cents, sum(80_000, month)),
        ];
        Self { rules }
    }

    /// Decides a call: what fits everywhere is taken everywhere, all else nowhere.
    pub fn decide(&mut self, seen: &Seen<'_>) -> Verdict {
        let mut is_allowed = true;
        let mut wait = Some(0);
        for rule in &self.rules {
            if let Some(key) = (rule.key)(seen) {
                let own = rule.wait(&key, seen);
                if rule.is_hard && own != Some(0) {
                    is_allowed = false;
                    wait = wait.zip(own).map(|(all, own): (i128, i128)| all.max(own));
                }
            }
        }
        let mut opinions = Vec::new();
        for rule in &mut self.rules {
            if let Some(key) = (rule.key)(seen) {
                let exceeded = rule.wait(&key, seen) != Some(0);
                rule.count(&key, seen, exceeded, is_allowed);
                let remaining = rule.remaining(&key, seen.now);
                opinions.push(Opinion { rule: rule.name, exceeded, remaining });
            }
        }
        Verdict { is_allowed, opinions, wait }
    }

    pub fn totals(&self) -> impl Iterator<Item = (&'static str, Totals)> {
        self.rules.iter().map(|rule| (rule.name, rule.totals))
    }
}

struct Rule {
    name: &'static str,
    is_hard: bool,
    /// Whose counter it is; `None` where the rule does not apply.
    key: fn(&Seen<'_>) -> Option<String>,
    amount: fn(&Seen<'_>) -> u64,
    kind: Kind,
    totals: Totals,
}

enum Kind {
    Bucket {
        rate: i128,
        window: i128,
        capacity: i128,
        /// When a bucket was last taken from, and the parts of a token that it then held.
        levels: HashMap<String, (i128, i128)>,
    },
    Sum {
        limit: u64,
        /// Start and end of the period that an instant lies in.
        period: fn(i128) -> (i128, i128),
        /// What was let through, by key and start of the period.
        used: HashMap<(String, i128), u64>,
    },
}

impl Rule {
    fn new(
        name: &'static str,
        key: fn(&Seen<'_>) -> Option<String>,
        amount: fn(&Seen<'_>) -> u64,
        kind: Kind,
    ) -> Self {
        Self { name, is_hard: true, key, amount, kind, totals: Totals::default() }
    }

    /// How long until the call fits: 0 when it does now, `None` when it never will.
    fn wait(&self, key: &str, seen: &Seen<'_>) -> Option<i128> {
        let amount = (self.amount)(seen);
        match &self.kind {
            Kind::Bucket { rate, window, capacity, .. } => {
                let missing = i128::from(amount) * window - self.level(key, seen.now);
                let nanos = (missing.max(0) + rate - 1) / rate;
                (i128::from(amount) <= *capacity).then_some(nanos)
            }
            Kind::Sum { limit, period, .. } => {
                let fits_now = self.used(key, seen.now) + amount <= *limit;
                let until_end = period(seen.now).1 - seen.now;
                (amount <= *limit).then_some(if fits_now { 0 } else { until_end })
            }
        }
    }

    fn count(&mut self, key: &str, seen: &Seen<'_>, exceeded: bool, is_allowed: bool) {
        self.totals.matched_calls += 1;
        self.totals.refused_calls += u64::from(exceeded);
        if exceeded || !is_allowed {
            return;
        }
        self.totals.admitted_calls += 1;
        self.totals.admitted_tokens += seen.tokens;
        let amount = (self.amount)(seen);
        let level = self.level(key, seen.now);
        match &mut self.kind {
            Kind::Bucket { window, levels, .. } => {
                let level = level - i128::from(amount) * *window;
                levels.insert(key.to_owned(), (seen.now, level));
            }
            Kind::Sum { period, used, .. } => {
                *used.entry((key.to_owned(), period(seen.now).0)).or_default() += amount;
            }
        }
    }

    fn remaining(&self, key: &str, now: i128) -> u64 {
        match &self.kind {
            Kind::Bucket { window, .. } => u64::try_from(self.level(key, now) / window).unwrap(),
            Kind::Sum { limit, .. } => limit - self.used(key, now),
        }
    }

    /// The parts of a token in a bucket; 0 for a rule that has none.
    fn level(&self, key: &str, now: i128) -> i128 {
        let Kind::Bucket { rate, window, capacity, levels } = &self.kind else { return 0 };
        let full = capacity * window;
        levels.get(key).map_or(full, |(then, level)| full.min(level + (now - then) * rate))
    }

    /// What a period has let through so far; 0 for a rule that has none.
    fn used(&self, key: &str, now: i128) -> u64 {
        let Kind::Sum { period, used, .. } = &self.kind else { return 0 };
        used.get(&(key.to_owned(), period(now).0)).copied().unwrap_or(0)
    }
}

fn bucket(rate: i128, window: i128, capacity: i128) -> Kind {
    Kind::Bucket { rate, window, capacity, levels: HashMap::new() }
}

fn sum(limit: u64, period: fn(i128) -> (i128, i128)) -> Kind {
    Kind::Sum { limit, period, used: HashMap::new() }
}

/// Spans of one length, counted from 1970.
fn spans(now: i128, length: i128) -> (i128, i128) {
    let start = now.div_euclid(length) * length;
    (start, start + length)
}

/// The month of the calendar, in UTC.
fn month(now: i128) -> (i128, i128) {
    let at = DateTime::from_timestamp_nanos(i64::try_from(now).unwrap());
    let first_of = |year, month| {
        let midnight = NaiveDate::from_ymd_opt(year, month, 1).unwrap().and_hms_opt(0, 0, 0);
        i128::from(midnight.unwrap().and_utc().timestamp()) * SECOND
    };
    let end = match at.month() {
        12 => first_of(at.year() + 1, 1),
        month => first_of(at.year(), month + 1),
    };
    (first_of(at.year(), at.month()), end)
}
