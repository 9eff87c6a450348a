//! Periods that begin with the first use of a key, each use of which is kept with its second.

use super::*;

/// The second of an instant.
fn second(instant: Nanos) -> Nanos {
    instant.div_euclid(SECOND) * SECOND
}

impl Entry {
    /// When the periods begin with this, if it is the first.
    fn begins(&self) -> Option<Nanos> {
        match *self {
            Self::Use { at, stamp, lo, hi, verb } => {
                let counts = (lo, hi) != (0, 0) || verb == Verb::Adjust;
                counts.then(|| second(at.min(stamp)))
            }
            Self::Hold { at, stamp, .. } => Some(second(at.min(stamp))),
            Self::CarriedOver { at, .. } => Some(second(at)),
            Self::Terms { .. } | Self::End { .. } | Self::Forgotten { .. } => None,
        }
    }
}

impl CountedRule {
    fn first_length(&self) -> Nanos {
        match self.rule.kind {
            Kind::FirstUse { length } => length,
            other => panic!("{other:?} begins with no use"),
        }
    }

    /// The start of the period of an instant; of what was never used, as if it began with an event
    /// of `stamp`.
    pub(super) fn first_start(&self, key: &[String], now: Nanos, stamp: Nanos) -> Nanos {
        let (now, length) = (second(now), self.first_length());
        let first = self.log(key).iter().find_map(Entry::begins);
        let first = first.unwrap_or_else(|| now.min(second(stamp)));
        first + (now - first).div_euclid(length) * length
    }

    /// Whether something is in the period of now: what was dated before the period in which it came
    /// is in none.
    pub(super) fn counts_since_first(&self, key: &[String], entry: &Entry, now: Nanos) -> bool {
        let start = |at: Nanos| self.first_start(key, at, at);
        second(entry.at()) >= start(now) && second(self.dated(entry)) >= start(entry.at())
    }

    /// Whether an event would be dated before the period in which it comes.
    pub(super) fn is_before_period(&self, key: &[String], now: Nanos, stamp: Nanos) -> bool {
        matches!(self.rule.kind, Kind::FirstUse { .. })
            && second(stamp) < self.first_start(key, now, stamp)
    }

    /// The earliest instant at which an event of a time of its own passes: period after period goes
    /// by until it is before all that are to come.
    pub(super) fn earliest_dated(
        &self,
        key: &[String],
        from: Nanos,
        stamp: Nanos,
        amount: Milli,
        best_case: bool,
    ) -> Nanos {
        let begun = self.log(key).iter().any(|entry| entry.begins().is_some());
        if !begun && !self.fits(key, from, stamp, amount, best_case) {
            // It begins with the event.
            return from.max(second(stamp) + self.first_length());
        }
        let mut instant = from;
        while !self.fits(key, instant, stamp, amount, best_case) {
            let end = self.first_start(key, instant, stamp) + self.first_length();
            instant = self.expiries(key, instant).chain([end]).min().expect("it ends");
        }
        instant
    }
}
