//! Reservations: what they hold of the rules, and what becomes of it.

use super::*;

/// A reservation, with all that was ever done to it.
#[derive(Clone, Debug)]
pub struct Reservation {
    pub name: String,
    /// What it was made for, and has grown by.
    pub estimate: PlainEvent,
    /// What was known of the customer then, by the names of dimensions.
    pub(super) attributes: Vec<(String, String)>,
    /// When the act happens.
    pub stamp: Nanos,
    pub until: Nanos,
    end: Option<Ended>,
    /// It was kept as long as keys are, and is not known any more.
    is_forgotten: bool,
}

#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "a test has few of them")]
enum Ended {
    Released,
    /// With which event, and what was said then.
    Committed(PlainEvent, PlainDecision, bool),
}

impl Reservation {
    pub fn state(&self, now: Nanos) -> State {
        match self.end {
            Some(Ended::Released) => State::Released,
            Some(Ended::Committed(..)) => State::Committed,
            None if now < self.until => State::Held,
            None => State::Expired,
        }
    }
}

impl CountedRule {
    /// Gives back what has expired by an instant.
    pub(super) fn expire(&mut self, now: Nanos) {
        let keys: Vec<Vec<String>> = self.logs.keys().cloned().collect();
        for key in keys {
            let ends: Vec<Entry> = self.expired(&key, now).collect();
            self.logs.entry(key).or_default().extend(ends);
        }
    }

    /// Keeps what is held as use that is not given back.
    pub(super) fn forget_holds(&mut self, at: Nanos) {
        let keys: Vec<Vec<String>> = self.logs.keys().cloned().collect();
        for key in keys {
            for (_, hold) in self.open(&key) {
                *self.as_use.entry((key.clone(), hold)).or_default() += self.held_by(&key, hold);
                self.logs.entry(key.clone()).or_default().push(Entry::Forgotten { at, hold });
            }
        }
    }
}

impl Oracle {
    /// The reservations, the oldest first.
    pub fn reservations(&self) -> &[Reservation] {
        &self.reservations
    }

    /// The reservation of this name, where it is known: the engine may forget it once its time is
    /// over, and has if it says so.
    fn reservation(&mut self, name: &str, is_known: bool) -> Option<usize> {
        let place = self.reservations.iter().position(|known| known.name == name)?;
        let over = self.now - self.retention;
        let known = &mut self.reservations[place];
        known.is_forgotten |= !is_known && known.until <= over;
        (!known.is_forgotten).then_some(place)
    }

    /// Judges the answer to `reserve_up_to`, with what was granted, and follows it.
    pub fn reserve_up_to(
        &mut self,
        plain: &PlainEvent,
        (measure, at_least): (&Measure, u64),
        lasting: Nanos,
        answer: &Result<PlainReserved, Fault>,
        granted: Option<u64>,
    ) -> Result<(), String> {
        self.read_clock();
        let asked = plain.units(measure);
        if asked == 0 || at_least > asked {
            return at_fault(answer, Fault::BadEvent, "nothing to grant");
        }
        let granted = match answer {
            Ok(PlainReserved::Held { .. }) => granted.ok_or("nothing was granted")?,
            // Of the least, unless the others refuse that no later than all.
            Ok(PlainReserved::Refused(_)) => {
                let least = plain.granted(measure, at_least);
                let is_of_least = !self.fits_for_sure(&least)
                    && self.clone().reserve_as(plain, &least, lasting, answer).is_ok();
                if is_of_least { at_least } else { asked }
            }
            _ => asked,
        };
        if granted < at_least || granted > asked {
            return Err(format!("{granted} of {asked} granted, at least {at_least}"));
        }
        if granted < asked
            && answer.as_ref().is_ok_and(|it| !matches!(it, PlainReserved::Refused(_)))
        {
            let more = plain.granted(measure, granted + 1);
            if self.fits_for_sure(&more) {
                return Err(format!("{granted} granted, and more would fit"));
            }
        }
        self.reserve_as(plain, &plain.granted(measure, granted), lasting, answer)
    }

    /// Whether every hard rule lets the event pass now, by the most use that is possible.
    fn fits_for_sure(&self, plain: &PlainEvent) -> bool {
        let plain = &self.completed(plain);
        let stamp = plain.stamp.unwrap_or(self.now);
        let live = self.live(plain);
        let act = Act { verb: Verb::Reserve, plain, hold: None, until: 0 };
        self.are_covered(&act, &live, self.now)
            && live.into_iter().all(|at| {
                let counted = &self.rules[at];
                let (key, amount) = (self.key(at, plain), plain.amount(&counted.rule.measure));
                counted.rule.enforce != Enforce::Hard
                    || self.is_of_balance(at)
                    || counted.fits(&key, self.now, stamp, amount, false)
            })
    }

    /// Judges the answer to `reserve` and follows it.
    pub fn reserve(
        &mut self,
        plain: &PlainEvent,
        lasting: Nanos,
        answer: &Result<PlainReserved, Fault>,
    ) -> Result<(), String> {
        self.reserve_as(plain, plain, lasting, answer)
    }

    /// The same, where what is reserved is another event than the one with the key.
    fn reserve_as(
        &mut self,
        asked: &PlainEvent,
        plain: &PlainEvent,
        lasting: Nanos,
        answer: &Result<PlainReserved, Fault>,
    ) -> Result<(), String> {
        let now = self.read_clock();
        if asked.is_beyond() || plain.is_below_zero() || !(1..=DAY).contains(&lasting) {
            return at_fault(answer, Fault::BadEvent, "below zero, or not so long");
        }
        if let Some(first) = self.first(asked) {
            let decided = match answer {
                Ok(PlainReserved::Decided(seen)) if first.reservation.is_none() => Ok(seen.clone()),
                Ok(PlainReserved::Known(status)) => {
                    if first.reservation.is_none_or(|hold| self.status_of(hold) != *status) {
                        return Err(format!("another replay is due than {status:?}"));
                    }
                    Ok(PlainDecision { verdict: Verdict::Replayed, ..first.seen.clone() })
                }
                Ok(other) => return Err(format!("expected a replay, not {other:?}")),
                Err(fault) => Err(*fault),
            };
            return replayed(asked, first, &decided);
        }
        let (hold, until) = (self.reservations.len(), now + lasting);
        let (attributes, completed) = (self.attributes_of(plain), self.completed(plain));
        let act = Act { verb: Verb::Reserve, plain: &completed, hold: Some(hold), until };
        let decided = match answer {
            Ok(PlainReserved::Held { seen, .. } | PlainReserved::Refused(seen)) => Ok(seen.clone()),
            Ok(other) => return Err(format!("no key was here before: {other:?}")),
            Err(fault) => Err(*fault),
        };
        let Some((seen, after)) = self.judge(&act, true, &decided)? else { return Ok(()) };
        match (answer, after) {
            (Ok(PlainReserved::Held { name, until: told, .. }), Some(after)) => {
                if *told != until || self.reservations.iter().any(|known| known.name == *name) {
                    return Err(format!("{name} until {told}, not {until}"));
                }
                *self = after;
                let (name, estimate) = (name.clone(), plain.clone());
                let (end, is_forgotten) = (None, false);
                let stamp = plain.stamp.unwrap_or(now);
                self.reservations.push(Reservation {
                    name,
                    estimate,
                    attributes,
                    stamp,
                    until,
                    end,
                    is_forgotten,
                });
                self.keep_key(asked, seen, Some(hold));
                Ok(())
            }
            (Ok(PlainReserved::Refused(_)), None) => Ok(()),
            (answer, _) => Err(format!("the wrong kind of answer: {answer:?}")),
        }
    }

    /// Judges the answer to `grow` and follows it.
    pub fn grow(&mut self, name: &str, more: &PlainEvent, answer: &Answer) -> Result<(), String> {
        let now = self.read_clock();
        let is_known = !matches!(answer, Err(Fault::Unknown));
        let Some(hold) = self.reservation(name, is_known) else {
            return at_fault(answer, Fault::Unknown, "no such reservation");
        };
        let known = &self.reservations[hold];
        let completed = known.completed();
        let Reservation { estimate, stamp, until, .. } = known.clone();
        let is_its = |key: &str| {
            more.dimension(key).is_none_or(|value| estimate.dimension(key) == Some(value))
        };
        let same = more.customer == estimate.customer
            && more.event_type == estimate.event_type
            && ["model", "provider"].into_iter().all(is_its)
            && more.props.iter().all(|prop| completed.props.contains(prop));
        let grown = estimate.with_more(more);
        let is_bad = more.is_below_zero() || more.is_beyond() || grown.is_beyond();
        if !same || more.key.is_some() || more.stamp.is_some() || is_bad {
            return at_fault(answer, Fault::BadEvent, "it grows by what is another one's");
        }
        if self.reservations[hold].state(now) != State::Held {
            return at_fault(answer, Fault::Ended, "it is over");
        }
        let plain = &completed.with_values_of(more, stamp);
        let act = Act { verb: Verb::Grow, plain, hold: Some(hold), until };
        if let Some((_, Some(after))) = self.judge(&act, true, answer)? {
            *self = after;
            self.reservations[hold].estimate = grown;
        }
        Ok(())
    }

    /// Judges the answer to `extend` and follows it.
    pub fn extend(
        &mut self,
        name: &str,
        by: Nanos,
        answer: &Result<Nanos, Fault>,
    ) -> Result<(), String> {
        let now = self.read_clock();
        if !(1..=DAY).contains(&by) {
            return at_fault(answer, Fault::BadEvent, "not so long");
        }
        let is_known = !matches!(answer, Err(Fault::Unknown));
        let Some(hold) = self.reservation(name, is_known) else {
            return at_fault(answer, Fault::Unknown, "no such reservation");
        };
        if self.reservations[hold].state(now) != State::Held {
            return at_fault(answer, Fault::Ended, "it is over");
        }
        let later = self.reservations[hold].until.max(now + by);
        if *answer != Ok(later) {
            return Err(format!("extended to {answer:?}, not {later}"));
        }
        self.reservations[hold].until = later;
        self.extend_in_accounts(hold, later);
        let logs = self.rules.iter_mut().flat_map(|counted| counted.logs.values_mut());
        for entry in logs.flatten() {
            if let Entry::Hold { hold: of, until, .. } = entry
                && *of == hold
            {
                *until = later;
            }
        }
        Ok(())
    }

    /// Judges the answer to `commit` and follows it; without an event what was reserved happened.
    pub fn commit(
        &mut self,
        name: &str,
        actual: Option<&PlainEvent>,
        answer: &Committed,
    ) -> Result<(), String> {
        let now = self.read_clock();
        if actual.is_some_and(PlainEvent::is_beyond) {
            return at_fault(answer, Fault::BadEvent, "too much");
        }
        let is_known = !matches!(answer, Err(Fault::Unknown));
        let Some(hold) = self.reservation(name, is_known) else {
            return at_fault(answer, Fault::Unknown, "no such reservation");
        };
        let known = self.reservations[hold].clone();
        let actual = actual.unwrap_or(&known.estimate);
        let same = actual.customer == known.estimate.customer
            && actual.stamp.is_none_or(|stamp| stamp == known.stamp)
            && (actual.key.is_none() || actual.key == known.estimate.key);
        if !same {
            return at_fault(answer, Fault::BadEvent, "what happened is another one's");
        }
        let said = PlainEvent { key: None, ..actual.clone() };
        match &known.end {
            Some(Ended::Released) => return at_fault(answer, Fault::Ended, "it was released"),
            Some(Ended::Committed(first, ..)) if !said.is_retry_of(first) => {
                return at_fault(answer, Fault::Conflict, "committed with another event");
            }
            Some(Ended::Committed(_, seen, is_overrun)) => {
                let seen = PlainDecision { verdict: Verdict::Replayed, ..seen.clone() };
                let expected = Ok((seen, *is_overrun));
                return if *answer == expected {
                    Ok(())
                } else {
                    Err(format!("expected the replay {expected:?}\n not {answer:?}"))
                };
            }
            None => {}
        }
        let completed = self.completed_by(&known, &said);
        let plain = &PlainEvent { stamp: Some(known.stamp), ..completed };
        let act = Act { verb: Verb::Commit, plain, hold: Some(hold), until: known.until };
        let decided = answer.clone().map(|(seen, _)| seen);
        let is_open = known.state(now) == State::Held;
        let is_beyond = |at: &usize| {
            let (counted, key) = (&self.rules[*at], self.key(*at, plain));
            // What is dated before the period is in none.
            !self.is_of_balance(*at)
                && self.amount(&act, *at) > 0
                && !counted.is_before_period(&key, now, known.stamp)
        };
        let live = self.live(plain);
        let overrun = is_open && (live.iter().any(is_beyond) || self.overruns(&act, &live));
        if let Some((seen, Some(after))) = self.judge(&act, true, &decided)? {
            if answer.as_ref().is_ok_and(|(_, said)| *said != overrun) {
                return Err(format!("an overrun is {overrun}: {answer:?}"));
            }
            *self = after;
            self.reservations[hold].end = Some(Ended::Committed(said, seen.clone(), overrun));
        }
        Ok(())
    }

    /// Ends a hold on all rules: what was committed of it was used. `before` is the model before
    /// the event was counted.
    pub(super) fn end_hold(
        &mut self,
        before: &Self,
        act: &Act<'_>,
        live: &[usize],
        overridden: &[usize],
    ) {
        let (at, Some(hold)) = (self.now, act.hold) else { return };
        for rule in 0..self.rules.len() {
            let keys: Vec<Vec<String>> = self.rules[rule].logs.keys().cloned().collect();
            for key in keys {
                let held = before.rules[rule].held_by(&key, hold);
                if held == 0 {
                    continue;
                }
                let judges = live.contains(&rule);
                let is_it =
                    (judges || overridden.contains(&rule)) && self.key(rule, act.plain) == key;
                let used = if is_it { before.full(act, rule).clamp(0, held) } else { 0 };
                let verb = if judges || !is_it { Verb::Commit } else { Verb::Track };
                let log = self.rules[rule].logs.entry(key).or_default();
                log.push(Entry::End { at, hold, used, verb });
            }
        }
    }

    /// Judges the answer to `release` and follows it.
    pub fn release(
        &mut self,
        name: &str,
        answer: &Result<PlainStatus, Fault>,
    ) -> Result<(), String> {
        let now = self.read_clock();
        let is_known = !matches!(answer, Err(Fault::Unknown));
        let Some(hold) = self.reservation(name, is_known) else {
            return at_fault(answer, Fault::Unknown, "no such reservation");
        };
        match self.reservations[hold].state(now) {
            State::Committed => return at_fault(answer, Fault::Ended, "it was committed"),
            State::Released | State::Expired => {}
            State::Held => {
                let plain = &PlainEvent::default();
                let act = Act { verb: Verb::Commit, plain, hold: Some(hold), until: now };
                let before = self.clone();
                self.end_hold(&before, &act, &[], &[]);
                self.pay(&act, &[]);
                self.reservations[hold].end = Some(Ended::Released);
            }
        }
        let status = self.status_of(hold);
        match answer {
            Ok(found) if *found == status => Ok(()),
            other => Err(format!("released as {status:?}, not {other:?}")),
        }
    }

    /// Judges how a reservation is said to stand.
    pub fn status(&mut self, name: &str, found: Option<&PlainStatus>) -> Result<(), String> {
        self.read_clock();
        let hold = self.reservation(name, found.is_some());
        let status = hold.map(|hold| self.status_of(hold));
        if status.as_ref() == found {
            Ok(())
        } else {
            Err(format!("it stands {status:?}, not {found:?}"))
        }
    }

    fn status_of(&self, hold: usize) -> PlainStatus {
        let known = &self.reservations[hold];
        let (name, stamp, until) = (known.name.clone(), known.stamp, known.until);
        PlainStatus { name, state: known.state(self.now), stamp, until }
    }
}

/// An error is due.
pub(super) fn at_fault<T: std::fmt::Debug>(
    answer: &Result<T, Fault>,
    due: Fault,
    why: &str,
) -> Result<(), String> {
    match answer {
        Err(fault) if *fault == due => Ok(()),
        other => Err(format!("expected {due:?} ({why}), not {other:?}")),
    }
}
