//! What a balance is, from first principles and as naive as can be: a list of grants, a list of
//! holds, and a list of entries whose sum it is. Whatever ends is looked for among all of them,
//! one instant after the other.

use limitry::Amount;

/// Nanoseconds since some instant.
pub(crate) type Nanos = i128;
/// Millionths.
pub(crate) type Units = i128;

/// A credit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    /// Which of the credits it is.
    pub(crate) number: usize,
    pub(crate) left: Units,
    pub(crate) expires: Option<Nanos>,
    pub(crate) priority: i32,
}

/// What a reservation holds, of which grants.
#[derive(Clone, Debug)]
pub(crate) struct Hold {
    pub(crate) id: usize,
    pub(crate) until: Nanos,
    pub(crate) lots: Vec<(Grant, Units)>,
    pub(crate) uncovered: Units,
}

/// What an entry says: what it adds, and from which grants it took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) at: Nanos,
    pub(crate) adds: Units,
    pub(crate) paid: Vec<(usize, Units)>,
    pub(crate) is_expiry: bool,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Account {
    pub(crate) minimum: Units,
    pub(crate) grants: Vec<Grant>,
    pub(crate) holds: Vec<Hold>,
    pub(crate) entries: Vec<Entry>,
}

impl Grant {
    fn has_expired(&self, now: Nanos) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

impl Hold {
    pub(crate) fn units(&self) -> Units {
        self.lots.iter().map(|(_, units)| units).sum::<Units>() + self.uncovered
    }
}

impl Account {
    pub(crate) fn current(&self) -> Units {
        self.entries.iter().map(|entry| entry.adds).sum()
    }

    pub(crate) fn held(&self) -> Units {
        self.holds.iter().map(Hold::units).sum()
    }

    pub(crate) fn available(&self) -> Units {
        self.current() - self.held() - self.minimum
    }

    /// The grants in the order in which they are spent.
    pub(crate) fn in_order(&self) -> Vec<Grant> {
        let mut grants: Vec<Grant> =
            self.grants.iter().filter(|grant| grant.left > 0).cloned().collect();
        grants.sort_by_key(|grant| {
            (grant.expires.unwrap_or(Nanos::MAX), -i64::from(grant.priority), grant.number)
        });
        grants
    }

    fn draw(&mut self, units: Units) -> Vec<(Grant, Units)> {
        let (mut rest, mut lots) = (units, Vec::new());
        for next in self.in_order() {
            let taken = next.left.min(rest);
            if taken > 0 {
                let grant = self.grants.iter_mut().find(|grant| grant.number == next.number);
                grant.expect("it is one of them").left -= taken;
                lots.push((next, taken));
                rest -= taken;
            }
        }
        lots
    }

    /// What was taken when no grant had anything left.
    fn debt(&self) -> Units {
        let lots = self.holds.iter().flat_map(|hold| &hold.lots);
        let there = self.grants.iter().map(|grant| grant.left).sum::<Units>()
            + lots.map(|(_, units)| units).sum::<Units>();
        there - self.current()
    }

    fn repay(&mut self) {
        let debt = self.debt();
        if debt > 0 {
            self.draw(debt);
        }
    }

    /// Ends what ends until an instant, one instant after the other.
    pub(crate) fn pass(&mut self, now: Nanos) {
        loop {
            let grants = self.grants.iter().filter(|grant| grant.left > 0);
            let grants = grants.filter_map(|grant| grant.expires);
            let ends = grants.chain(self.holds.iter().map(|hold| hold.until));
            let Some(next) = ends.filter(|end| *end <= now).min() else { return };
            for grant in self.in_order().into_iter().filter(|grant| grant.has_expired(next)) {
                let (number, units) = (grant.number, grant.left);
                self.grants.retain(|grant| grant.number != number);
                self.expire(number, units, next);
            }
            self.holds.sort_by_key(|hold| (hold.until, hold.id));
            while let Some(place) = self.holds.iter().position(|hold| hold.until <= next) {
                let hold = self.holds.remove(place);
                self.give_back(hold.lots, next);
            }
        }
    }

    fn expire(&mut self, number: usize, units: Units, at: Nanos) {
        let paid = vec![(number, units)];
        self.entries.push(Entry { at, adds: -units, paid, is_expiry: true });
    }

    fn give_back(&mut self, lots: Vec<(Grant, Units)>, at: Nanos) {
        for (grant, units) in lots {
            if grant.has_expired(at) {
                self.expire(grant.number, units, at);
            } else if let Some(known) =
                self.grants.iter_mut().find(|known| known.number == grant.number)
            {
                known.left += units;
            } else {
                self.grants.push(Grant { left: units, ..grant });
            }
        }
        self.repay();
    }

    /// Adds a credit, and returns the number of its entry.
    pub(crate) fn credit(
        &mut self,
        now: Nanos,
        units: Units,
        expires: Option<Nanos>,
        priority: i32,
    ) {
        let number = self.entries.len();
        self.entries.push(Entry { at: now, adds: units, paid: Vec::new(), is_expiry: false });
        self.grants.push(Grant { number, left: units, expires, priority });
        self.repay();
    }

    /// Gives back what an event says: to the last grant that lasts for ever.
    pub(crate) fn refund(&mut self, now: Nanos, units: Units) {
        let last = self.in_order().pop();
        let last = last.filter(|grant| grant.expires.is_none() && grant.priority == 0);
        let Some(last) = last else { return self.credit(now, units, None, 0) };
        self.entries.push(Entry { at: now, adds: units, paid: Vec::new(), is_expiry: false });
        let known = self.grants.iter_mut().find(|grant| grant.number == last.number);
        known.expect("it is one of them").left += units;
        self.repay();
    }

    /// Takes so much, whatever there is.
    pub(crate) fn take(&mut self, now: Nanos, units: Units, held: Vec<(Grant, Units)>) {
        let mut lots = held;
        let rest = units - lots.iter().map(|(_, units)| units).sum::<Units>();
        lots.extend(self.draw(rest));
        let paid = lots.into_iter().map(|(grant, units)| (grant.number, units)).collect();
        self.entries.push(Entry { at: now, adds: -units, paid, is_expiry: false });
    }

    pub(crate) fn hold(&mut self, id: usize, until: Nanos, units: Units) {
        let lots = self.draw(units);
        let uncovered = units - lots.iter().map(|(_, units)| units).sum::<Units>();
        match self.holds.iter_mut().find(|hold| hold.id == id) {
            Some(hold) => {
                hold.lots.extend(lots);
                hold.uncovered += uncovered;
            }
            None => self.holds.push(Hold { id, until, lots, uncovered }),
        }
    }

    /// Ends a hold of which so much was used.
    pub(crate) fn settle(&mut self, now: Nanos, id: usize, used: Units) {
        let place = self.holds.iter().position(|hold| hold.id == id);
        let hold = place.map(|place| self.holds.remove(place));
        let lots = hold.map(|hold| hold.lots).unwrap_or_default();
        let (mut paying, mut back, mut rest) = (Vec::new(), Vec::new(), used);
        for (grant, units) in lots {
            let pays = units.min(rest);
            rest -= pays;
            if pays > 0 {
                paying.push((grant.clone(), pays));
            }
            if units > pays {
                back.push((grant, units - pays));
            }
        }
        if used > 0 {
            self.take(now, used, paying);
        }
        self.give_back(back, now);
    }
}

pub(crate) fn amount(units: Units) -> Amount {
    Amount::from_millionths(units)
}
