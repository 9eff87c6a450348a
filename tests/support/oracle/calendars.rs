//! Customers whose own zones and dates cut the periods of their keys.

use chrono::{Datelike, NaiveDate, Weekday};
use limitry::time::Tz;

use super::counted::by_dates;
use super::*;

/// What a customer has of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OwnCalendar {
    /// One that skips no midnight, and is whole hours from UTC.
    pub zone: Option<Tz>,
    /// From which date its weeks, months and years run.
    pub anchor: Option<NaiveDate>,
}

impl OwnCalendar {
    /// The period of an instant, where the rule leaves it to the customer.
    fn period(&self, span: Span, instant: Nanos) -> (Nanos, Option<Nanos>) {
        let zone = self.zone.unwrap_or(Tz::UTC);
        let anchor = self.anchor.map(|date| (date.month(), date.day(), date.weekday()));
        let (month, day, weekday) = anchor.unwrap_or((1, 1, Weekday::Mon));
        // On a day of the month, or on its last.
        let begins = |date: NaiveDate, day: u32| {
            let is_last = date.succ_opt().is_none_or(|next| next.month() != date.month());
            date.day() == day || (is_last && day > date.day())
        };
        match span {
            Span::Hour | Span::SixHours | Span::AllTime | Span::NewYorkDay | Span::KolkataWeek => {
                period(span, instant)
            }
            Span::Day => by_dates(zone, instant, |_| true),
            Span::ThreeDays => by_dates(zone, instant, |date| {
                let epoch = NaiveDate::from_ymd_opt(1970, 1, 1).expect("a date");
                (date - self.anchor.unwrap_or(epoch)).num_days() % 3 == 0
            }),
            Span::Week => by_dates(zone, instant, |date| date.weekday() == weekday),
            Span::Month => by_dates(zone, instant, |date| begins(date, day)),
            Span::MonthFrom31 => by_dates(zone, instant, |date| begins(date, 31)),
            Span::Quarter => {
                by_dates(zone, instant, |date| begins(date, day) && date.month() % 3 == month % 3)
            }
            Span::Year => {
                by_dates(zone, instant, |date| begins(date, day) && date.month() == month)
            }
        }
    }
}

impl Rule {
    /// The customer that a key is of: the one that the filter wants, or that of the key.
    pub(super) fn customer_of<'a>(&'a self, key: &'a [String]) -> Option<&'a str> {
        let wanted = self.filter.iter().find_map(|(of, asked)| match asked {
            Asked::Is(value) if of == "customer_id" => Some(value.as_str()),
            Asked::OneOf(values) if of == "customer_id" && values.len() == 1 => {
                values.first().map(String::as_str)
            }
            _ => None,
        });
        let split = self.per.iter().position(|of| of == "customer_id");
        wanted.or_else(|| split.and_then(|at| key.get(at)).map(String::as_str))
    }
}

impl CountedRule {
    /// The period of an instant for a key.
    pub(super) fn period(
        &self,
        key: &[String],
        span: Span,
        instant: Nanos,
    ) -> (Nanos, Option<Nanos>) {
        let own = self.rule.customer_of(key).and_then(|customer| self.calendars.get(customer));
        own.map_or_else(|| period(span, instant), |own| own.period(span, instant))
    }

    /// Cuts the periods of a key anew: those that stay keep what they have, what is used of the
    /// period of now goes on as one lump, and of others nothing is known. Nothing where something
    /// is held of those.
    fn recut(&self, key: &[String], now: Nanos, to: &Self) -> Option<Vec<Entry>> {
        let Kind::Calendar(span) = self.rule.kind else { return Some(self.log(key).to_vec()) };
        let stays = |entry: &Entry| {
            let (start, end) = self.period(key, span, self.dated(entry));
            start == Nanos::MIN || to.period(key, span, start) == (start, end)
        };
        let of_now = |entry: &Entry| {
            self.period(key, span, self.dated(entry)) == self.period(key, span, now)
        };
        let open = self.open(key);
        let is_open = |entry: &&Entry| open.iter().any(|(_, hold)| entry.is_of(*hold));
        let mut log = self.log(key).to_vec();
        if log.iter().filter(is_open).any(|entry| !stays(entry) && !of_now(entry)) {
            return None;
        }
        let now_stays = self.period(key, span, now) == to.period(key, span, now);
        let moved: Vec<(Nanos, usize)> = open
            .iter()
            .copied()
            .filter(|(_, hold)| log.iter().any(|entry| entry.is_of(*hold) && !stays(entry)))
            .collect();
        let gone: Vec<usize> = log
            .iter()
            .filter(|entry| entry.is_use() && !stays(entry))
            .filter_map(|entry| match entry {
                Entry::Hold { hold, .. } => Some(*hold),
                _ => None,
            })
            .collect();
        let is_of_gone = |entry: &Entry| match entry {
            Entry::End { hold, .. } | Entry::Forgotten { hold, .. } => gone.contains(hold),
            _ => false,
        };
        let (used, held) = (self.used(key, now, now), self.held(key, now, now));
        log.retain(|entry| (!entry.is_use() || stays(entry)) && !is_of_gone(entry));
        if !now_stays {
            let (lo, hi) = (used.lo - held.hi, used.hi - held.lo);
            if (lo, hi) != (0, 0) {
                log.push(Entry::CarriedOver { at: now, lo, hi });
            }
        }
        for (until, hold) in moved {
            let hi = self.held_by(key, hold);
            log.push(Entry::Hold { at: now, stamp: now, hold, until, lo: hi, hi });
        }
        Some(log)
    }
}

impl Oracle {
    /// Gives a customer a zone and a date of its own, or neither. `false` where that cannot be said
    /// by this model, and nothing was changed.
    pub fn set_calendar(&mut self, customer: &str, own: OwnCalendar) -> bool {
        let now = self.read_clock();
        let mut calendars = self.calendars.clone();
        calendars.insert(customer.to_owned(), own);
        let mut rules = self.rules.clone();
        for (new, old) in rules.iter_mut().zip(&self.rules) {
            new.calendars.clone_from(&calendars);
            let keys: Vec<Vec<String>> = old.logs.keys().cloned().collect();
            for key in keys.iter().filter(|key| old.rule.customer_of(key) == Some(customer)) {
                let Some(log) = old.recut(key, now, new) else { return false };
                new.logs.insert(key.clone(), log);
            }
        }
        (self.rules, self.calendars) = (rules, calendars);
        true
    }
}
