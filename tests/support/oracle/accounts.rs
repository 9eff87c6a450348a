//! What a balance is, from first principles and as naive as can be: a list of grants, a list of
//! holds, and a list of entries whose sum it is. Whatever ends is looked for among all of them,
//! one instant after the other.

use super::Nanos;

/// Parts of a credit: as many to one as the test says.
pub type Units = i128;

/// A credit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Which of the credits it is.
    pub number: usize,
    pub left: Units,
    pub expires: Option<Nanos>,
    pub priority: i32,
}

/// What a reservation holds, of which grants.
#[derive(Clone, Debug)]
pub struct Hold {
    pub id: usize,
    pub until: Nanos,
    pub lots: Vec<(Grant, Units)>,
    pub uncovered: Units,
}

/// What an entry says: what it adds, and from which grants it took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub at: Nanos,
    pub adds: Units,
    pub paid: Vec<(usize, Units)>,
    pub by: By,
}

/// What made an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// Somebody who credits or debits.
    Call,
    Event,
    /// A grant expired.
    Time,
}

#[derive(Clone, Debug, Default)]
pub struct Account {
    pub minimum: Units,
    pub grants: Vec<Grant>,
    pub holds: Vec<Hold>,
    pub entries: Vec<Entry>,
}

impl Grant {
    fn has_expired(&self, now: Nanos) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

impl Hold {
    pub fn units(&self) -> Units {
        self.lots.iter().map(|(_, units)| units).sum::<Units>() + self.uncovered
    }
}

impl Account {
    pub fn current(&self) -> Units {
        self.entries.iter().map(|entry| entry.adds).sum()
    }

    /// What was ever taken and not given back; what expires is no use.
    pub fn used(&self) -> Units {
        let is_use = |entry: &&Entry| match entry.by {
            By::Time => false,
            By::Event => true,
            By::Call => entry.adds < 0,
        };
        self.entries.iter().filter(is_use).map(|entry| -entry.adds).sum()
    }

    pub fn held(&self) -> Units {
        self.holds.iter().map(Hold::units).sum()
    }

    pub fn available(&self) -> Units {
        self.current() - self.held() - self.minimum
    }

    /// The grants in the order in which they are spent.
    pub fn in_order(&self) -> Vec<Grant> {
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
    pub fn pass(&mut self, now: Nanos) {
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
        self.entries.push(Entry { at, adds: -units, paid, by: By::Time });
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

    /// Adds a credit.
    pub fn credit(
        &mut self,
        now: Nanos,
        units: Units,
        expires: Option<Nanos>,
        priority: i32,
        by: By,
    ) {
        let number = self.entries.len();
        self.entries.push(Entry { at: now, adds: units, paid: Vec::new(), by });
        self.grants.push(Grant { number, left: units, expires, priority });
        self.repay();
    }

    /// Gives back what an event says: to the last grant that lasts for ever.
    pub fn refund(&mut self, now: Nanos, units: Units) {
        let last = self.in_order().pop();
        let last = last.filter(|grant| grant.expires.is_none() && grant.priority == 0);
        let Some(last) = last else { return self.credit(now, units, None, 0, By::Event) };
        self.entries.push(Entry { at: now, adds: units, paid: Vec::new(), by: By::Event });
        let known = self.grants.iter_mut().find(|grant| grant.number == last.number);
        known.expect("it is one of them").left += units;
        self.repay();
    }

    /// Takes so much, whatever there is.
    pub fn take(&mut self, now: Nanos, units: Units, held: Vec<(Grant, Units)>, by: By) {
        let mut lots = held;
        let rest = units - lots.iter().map(|(_, units)| units).sum::<Units>();
        lots.extend(self.draw(rest));
        let paid = lots.into_iter().map(|(grant, units)| (grant.number, units)).collect();
        self.entries.push(Entry { at: now, adds: -units, paid, by });
    }

    pub fn hold(&mut self, id: usize, until: Nanos, units: Units) {
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

    /// Ends a hold of which so much was used; less than nothing was given back.
    pub fn settle(&mut self, now: Nanos, id: usize, used: Units) {
        let place = self.holds.iter().position(|hold| hold.id == id);
        let hold = place.map(|place| self.holds.remove(place));
        let lots = hold.map(|hold| hold.lots).unwrap_or_default();
        let (mut paying, mut back, mut rest) = (Vec::new(), Vec::new(), used.max(0));
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
            self.take(now, used, paying, By::Event);
        }
        self.give_back(back, now);
        if used < 0 {
            self.refund(now, -used);
        }
    }
}
