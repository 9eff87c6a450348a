//! What happened, and what follows from it: sums over lists.

use std::collections::BTreeMap;
use std::ops::Range;

use chrono::{DateTime, Datelike};

/// An event.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Act {
    pub(super) customer: String,
    pub(super) kind: &'static str,
    pub(super) model: Option<&'static str>,
    pub(super) team: Option<&'static str>,
    /// A subject acts that is no customer.
    pub(super) is_acting: bool,
    pub(super) tokens: i64,
    pub(super) cost: i64,
    pub(super) units: i64,
    /// Where quotas and sums count it.
    pub(super) at: i64,
    /// Where rate limits count it, but for what was reserved before.
    pub(super) taken_at: i64,
    pub(super) reserved: Option<Reserved>,
    /// Nobody was asked: rate limits do not count what happened before their window.
    pub(super) is_recorded: bool,
    /// It is listed still, and counts nowhere.
    pub(super) is_void: bool,
    pub(super) id: String,
}

/// What was held of rules until it happened.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Reserved {
    pub(super) units: i64,
    pub(super) at: i64,
    pub(super) rules: Vec<String>,
}

impl Act {
    pub(super) fn dimension(&self, key: &str) -> Option<&str> {
        match key {
            "customer_id" => Some(&self.customer),
            "event_type" => Some(self.kind),
            "model" => self.model,
            "team" => self.team,
            other => panic!("no event has {other}"),
        }
    }

    /// Events, tokens, cents, units.
    fn sums(&self) -> [i64; 4] {
        [1, self.tokens, self.cost, self.units]
    }

    fn meets(&self, filter: &Filter) -> bool {
        !self.is_void && filter.iter().all(|(key, value)| self.dimension(key) == Some(value))
    }
}

/// What dimensions must be.
pub(super) type Filter = Vec<(&'static str, &'static str)>;

#[derive(Clone, Debug)]
pub(super) struct Meter {
    pub(super) id: String,
    /// It counts events, and else units.
    pub(super) counts: bool,
    pub(super) filter: Filter,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Measure {
    Events,
    Tokens,
    Cost,
    Units,
    Meter(usize),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Span {
    /// Of a rate limit with a fixed window.
    Minute,
    Hour,
    Day,
    Month,
    Always,
    /// What is open at once.
    Slots,
}

#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub(super) id: String,
    pub(super) filter: Filter,
    pub(super) per: Option<&'static str>,
    pub(super) measure: Measure,
    pub(super) span: Span,
    pub(super) limit: i64,
    pub(super) is_hard: bool,
    /// Only customers count, and no other subject that acts.
    pub(super) of_customers: bool,
    /// Of rules with the same one the own one alone judges.
    pub(super) policy: Option<String>,
    pub(super) is_own: bool,
    /// How many events there were when it was made, and when that was.
    pub(super) since: usize,
    pub(super) made_at: i64,
}

/// A reservation that is open.
#[derive(Clone, Debug)]
pub(super) struct Hold {
    pub(super) id: String,
    pub(super) act: Act,
    /// The rules that there were.
    pub(super) rules: Vec<String>,
    pub(super) expires_at: i64,
}

/// Where a key stands on a rule.
#[derive(Clone, Debug)]
pub(super) struct Status {
    pub(super) id: String,
    pub(super) span: Span,
    pub(super) limit: i64,
    pub(super) used: i64,
    pub(super) held: i64,
    pub(super) exceeded: bool,
}

impl Status {
    /// What is left; below zero of what went over.
    pub(super) fn left(&self) -> i64 {
        self.limit - self.used - self.held
    }

    /// The same, as it is shown: no less than nothing, and no more than the limit.
    pub(super) fn remaining(&self) -> i64 {
        self.left().clamp(0, self.limit)
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Balance {
    pub(super) current: i64,
    pub(super) minimum: i64,
    /// What was added and taken, the oldest first.
    pub(super) ledger: Vec<i64>,
}

#[derive(Default)]
pub(super) struct Account {
    pub(super) now: i64,
    pub(super) acts: Vec<Act>,
    pub(super) meters: Vec<Meter>,
    pub(super) rules: Vec<Rule>,
    pub(super) holds: Vec<Hold>,
    /// What was added to the use of a rule's key in a window.
    pub(super) adjusted: BTreeMap<(String, String, i64), i64>,
    /// When a rule's key began anew the last time.
    pub(super) begun: BTreeMap<(String, String), i64>,
    /// Who is known, and the day of the month that its months begin at.
    pub(super) customers: BTreeMap<String, Option<u32>>,
    pub(super) balances: BTreeMap<(&'static str, &'static str), Balance>,
}

impl Account {
    /// The key of a rule that an event is of, where it counts it.
    pub(super) fn key(&self, rule: &Rule, act: &Act) -> Option<String> {
        let is_metered = match rule.measure {
            Measure::Meter(place) => act.meets(&self.meters[place].filter),
            _ => true,
        };
        let fits = is_metered && act.meets(&rule.filter) && !(rule.of_customers && act.is_acting);
        let key = rule.per.map_or(Some(""), |per| act.dimension(per))?;
        fits.then(|| key.to_owned())
    }

    pub(super) fn amount(&self, rule: &Rule, act: &Act) -> i64 {
        match rule.measure {
            Measure::Events => 1,
            Measure::Tokens => act.tokens,
            Measure::Cost => act.cost,
            Measure::Units => act.units,
            Measure::Meter(place) if self.meters[place].counts => 1,
            Measure::Meter(_) => act.units,
        }
    }

    /// The window of a rule that an instant is in; a customer's own months are its own.
    fn window(&self, rule: &Rule, key: &str, at: i64) -> i64 {
        match rule.span {
            Span::Minute => at.div_euclid(60),
            Span::Hour => at.div_euclid(3_600),
            Span::Day => at.div_euclid(86_400),
            Span::Always | Span::Slots => 0,
            Span::Month => {
                let own = rule.filter.iter().find(|(filtered, _)| *filtered == "customer_id");
                let customer = match (rule.per, own) {
                    (Some("customer_id"), _) => Some(key),
                    (_, own) => own.map(|(_, id)| *id),
                };
                let known = customer.and_then(|id| *self.customers.get(id)?);
                month(at, known.unwrap_or(1))
            }
        }
    }

    fn used(&self, rule: &Rule, key: &str, window: i64) -> i64 {
        if rule.span == Span::Slots {
            return 0;
        }
        let of = (rule.id.clone(), key.to_owned(), window);
        let adjusted = self.adjusted.get(&of).unwrap_or(&0);
        let is_rate = rule.span == Span::Minute;
        let counted = self.acts.iter().enumerate().filter(|(place, act)| {
            (!is_rate || *place >= rule.since) && self.key(rule, act).as_deref() == Some(key)
        });
        let used = counted.map(|(_, act)| {
            let is_in = |at: i64| i64::from(self.window(rule, key, at) == window);
            let amount = self.amount(rule, act);
            let held = act.reserved.as_ref().filter(|held| held.rules.contains(&rule.id));
            match held {
                _ if !is_rate => amount * is_in(act.at),
                None if act.is_recorded && act.taken_at - act.at >= 60 => 0,
                None => amount * is_in(act.taken_at),
                Some(held) => {
                    let is_units = rule.measure == Measure::Units;
                    let within = if is_units { amount.min(held.units) } else { amount };
                    within * is_in(held.at) + (amount - within) * is_in(act.taken_at)
                }
            }
        });
        adjusted + used.sum::<i64>()
    }

    fn held(&self, rule: &Rule, key: &str, window: i64) -> i64 {
        let of = self.holds.iter().filter(|hold| {
            hold.rules.contains(&rule.id)
                && self.key(rule, &hold.act).as_deref() == Some(key)
                && self.window(rule, key, hold.act.at) == window
        });
        match rule.span {
            Span::Slots => of.count() as i64,
            _ => of.map(|hold| self.amount(rule, &hold.act)).sum(),
        }
    }

    /// Where a key stands at an instant.
    pub(super) fn status(&self, rule: &Rule, key: &str, at: i64) -> Status {
        let at = if rule.span == Span::Minute { self.now } else { at };
        let window = self.window(rule, key, at);
        let (used, held) = (self.used(rule, key, window), self.held(rule, key, window));
        let (id, span, limit) = (rule.id.clone(), rule.span, rule.limit);
        let mut status = Status { id, span, limit, used, held, exceeded: false };
        status.exceeded = status.remaining() == 0;
        status
    }

    /// Whether an event of a key has brought something since the rule was made.
    pub(super) fn has_seen(&self, rule: &Rule, key: &str) -> bool {
        let mut acts = self.acts.iter().skip(rule.since);
        acts.any(|act| self.key(rule, act).as_deref() == Some(key) && self.amount(rule, act) > 0)
    }

    /// The rules that have a say about an event.
    pub(super) fn judging(&self, act: &Act) -> Vec<&Rule> {
        let counting = self.rules.iter().filter(|rule| self.key(rule, act).is_some());
        let counting: Vec<_> = counting.collect();
        let is_replaced = |rule: &Rule| {
            let mut others = counting.iter();
            !rule.is_own
                && rule.policy.is_some()
                && others.any(|other| other.is_own && other.policy == rule.policy)
        };
        counting.iter().copied().filter(|rule| !is_replaced(rule)).collect()
    }

    /// Where an event's dimensions stand on the rules.
    pub(super) fn standing(&self, act: &Act) -> Vec<Status> {
        let judging = self.judging(act).into_iter();
        judging
            .map(|rule| self.status(rule, &self.key(rule, act).expect("it counts"), act.at))
            .collect()
    }

    /// Whether an event is let in, and which rules it is too much for.
    pub(super) fn verdict(&self, act: &Act) -> (bool, Vec<String>) {
        let mut allowed = true;
        let mut over = Vec::new();
        for (rule, status) in self.judging(act).into_iter().zip(self.standing(act)) {
            let amount = self.amount(rule, act);
            let is_over = match rule.span {
                Span::Slots => status.left() <= 0,
                _ => amount > 0 && status.left() < amount,
            };
            if is_over {
                over.push(rule.id.clone());
                allowed &= !rule.is_hard;
            }
        }
        (allowed, over)
    }

    /// Counts an event.
    pub(super) fn happen(&mut self, act: Act) {
        println!("{} {act:?}", self.now);
        self.customers.entry(act.customer.clone()).or_default();
        self.acts.push(act);
    }

    /// Lets a rule begin anew for a key.
    pub(super) fn reset(&mut self, id: &str, key: &str) {
        let rule = self.rules.iter().find(|rule| rule.id == id).expect("a rule").clone();
        let window = self.window(&rule, key, self.now);
        let used = self.used(&rule, key, window);
        self.begun.insert((rule.id.clone(), key.to_owned()), self.now);
        *self.adjusted.entry((rule.id, key.to_owned(), window)).or_default() -= used;
    }

    /// Voids an event. Rate limits give back what they have of it still: nothing where its key has
    /// begun anew since, or where it was held before the window of now.
    pub(super) fn void(&mut self, place: usize) {
        let act = self.acts[place].clone();
        let taken_at = act.reserved.as_ref().map_or(act.taken_at, |held| held.at);
        let rates = self.rules.iter().filter(|rule| rule.span == Span::Minute);
        let rates = rates.filter_map(|rule| Some((rule.clone(), self.key(rule, &act)?)));
        let rates: Vec<_> = rates.collect();
        let used = |account: &Self| -> Vec<i64> {
            let window = account.now.div_euclid(60);
            rates.iter().map(|(rule, key)| account.used(rule, key, window)).collect()
        };
        let before = used(self);
        self.acts[place].is_void = true;
        let after = used(self);
        for (((rule, key), before), after) in rates.iter().zip(before).zip(after) {
            let window = self.window(rule, key, self.now);
            let begun = self.begun.get(&(rule.id.clone(), key.clone()));
            let is_gone = begun.is_some_and(|begun| *begun >= taken_at);
            if is_gone || self.window(rule, key, taken_at) != window {
                let of = (rule.id.clone(), key.clone(), window);
                *self.adjusted.entry(of).or_default() += before - after;
            }
        }
    }

    /// What all customers together have used of a rule, by the calendar.
    pub(super) fn used_by_all(&self, rule: &Rule) -> i64 {
        let whole = Rule { per: None, id: String::new(), ..rule.clone() };
        let window = self.window(&whole, "", self.now);
        self.used(&whole, "", window)
    }

    /// The sums over a range: events, tokens, cents, units.
    pub(super) fn sums(&self, range: Range<i64>, filter: &Filter) -> [i64; 4] {
        self.sums_where(range, filter, |_| true)
    }

    pub(super) fn sums_where(
        &self,
        range: Range<i64>,
        filter: &Filter,
        is_wanted: impl Fn(&Act) -> bool,
    ) -> [i64; 4] {
        let of = self.acts.iter().filter(|act| range.contains(&act.at) && act.meets(filter));
        of.filter(|act| is_wanted(act)).fold([0; 4], |sums, act| plus(sums, act.sums()))
    }
}

pub(super) fn plus(one: [i64; 4], other: [i64; 4]) -> [i64; 4] {
    std::array::from_fn(|place| one[place] + other[place])
}

/// The month that an instant is in, of those that begin at a day.
fn month(at: i64, begins: u32) -> i64 {
    let date = DateTime::from_timestamp(at, 0).expect("a time").date_naive();
    let last = |year: i32, month: u32| {
        let next = date.with_day(1).and_then(|first| {
            first.with_year(year)?.with_month(month)?.checked_add_months(chrono::Months::new(1))
        });
        next.and_then(|next| next.pred_opt()).expect("a day").day()
    };
    let begins = begins.min(last(date.year(), date.month()));
    let months = i64::from(date.year()) * 12 + i64::from(date.month());
    if date.day() < begins { months - 1 } else { months }
}
