//! A quota on different values, with every value that was ever counted.

use std::collections::{BTreeMap, BTreeSet};

use super::{DAY, Nanos};

/// A reservation that is open, or was.
#[derive(Clone, Debug)]
pub struct ValueHold {
    pub id: usize,
    key: String,
    value: Option<String>,
    /// The start of the period.
    period: Nanos,
    until: Nanos,
    units: u64,
}

/// A quota on the different values of a dimension a day of UTC, for each key.
#[derive(Clone, Debug)]
pub struct Values {
    pub limit: Option<u64>,
    /// How many values of a key are told apart.
    pub most: u64,
    known: BTreeMap<(String, Nanos), BTreeSet<String>>,
    holds: Vec<ValueHold>,
}

/// The day of an instant.
fn day(at: Nanos) -> Nanos {
    at.div_euclid(DAY)
}

impl Values {
    pub fn new(limit: Option<u64>, most: u64) -> Self {
        Self { limit, most, known: BTreeMap::new(), holds: Vec::new() }
    }

    /// How many values of a key are known in the day of an instant.
    pub fn committed(&self, key: &str, at: Nanos) -> u64 {
        let known = self.known.get(&(key.to_owned(), day(at)));
        known.map_or(0, |known| u64::try_from(known.len()).expect("a few"))
    }

    /// How much open reservations hold.
    pub fn held(&self, key: &str, at: Nanos, now: Nanos) -> u64 {
        let open = self.holds.iter().filter(|hold| hold.until > now);
        open.filter(|hold| hold.key == key && hold.period == day(at)).map(|hold| hold.units).sum()
    }

    fn used(&self, key: &str, at: Nanos, now: Nanos) -> u64 {
        self.committed(key, at) + self.held(key, at, now)
    }

    fn cost(&self, key: &str, value: Option<&str>, at: Nanos) -> u64 {
        let known = self.known.get(&(key.to_owned(), day(at)));
        let is_new = |value| known.is_none_or(|known| !known.contains(value));
        u64::from(value.is_some_and(is_new))
    }

    /// Whether an event is let in.
    pub fn fits(&self, key: &str, value: Option<&str>, at: Nanos, now: Nanos) -> bool {
        let cost = self.cost(key, value, at);
        let used = self.used(key, at, now);
        cost == 0 || self.limit.is_none_or(|limit| used + cost <= limit)
    }

    /// Counts an event. At the cap no new value is.
    pub fn count(&mut self, key: &str, value: Option<&str>, at: Nanos, now: Nanos) {
        if self.used(key, at, now) < self.most || self.cost(key, value, at) == 0 {
            self.know(key, value, at);
        }
    }

    fn know(&mut self, key: &str, value: Option<&str>, at: Nanos) {
        let known = self.known.entry((key.to_owned(), day(at))).or_default();
        known.extend(value.map(str::to_owned));
    }

    /// Holds what an event costs that is let in.
    pub fn hold(
        &mut self,
        id: usize,
        (key, value): (&str, Option<&str>),
        now: Nanos,
        until: Nanos,
    ) {
        let is_at_cap = self.used(key, now, now) >= self.most;
        let units = if is_at_cap { 0 } else { self.cost(key, value, now) };
        let (key, value) = (key.to_owned(), value.map(str::to_owned));
        self.holds.push(ValueHold { id, key, value, period: day(now), until, units });
    }

    /// Ends a hold; a commit counts the value in the day of the reservation.
    pub fn end(&mut self, id: usize, commits: bool, now: Nanos) {
        let place = self.holds.iter().position(|hold| hold.id == id).expect("it was made");
        let hold = self.holds.remove(place);
        if commits {
            let at = hold.period * DAY;
            if hold.units > 0 && hold.until > now {
                self.know(&hold.key, hold.value.as_deref(), at);
            } else {
                self.count(&hold.key, hold.value.as_deref(), at, now);
            }
        }
    }
}
