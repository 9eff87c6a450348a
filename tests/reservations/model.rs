//! Goal: whatever is reserved, grown, committed, released, extended and left to expire, in any
//! order and beside other use, each counter stands exactly where a naive model of it does; no wait
//! is too long or too short; nothing is minted; and all that was reserved is accounted for.
//!
//! Method: random lives of customers' reservations against five rules at once. The model knows of
//! each rule only its definition: a bucket is two exact levels, a window and a period are lists of
//! uses with their times. The bound of each rule is searched in all spans of the history.

use std::time::Duration;

use crate::support::{Dice, cases, engine, seed};
use limitry::reservations::{ReservationId, ReservationState};
use limitry::rules::Algorithm;
use limitry::time::ManualClock;
use limitry::{
    Decision, Engine, Event, Hold, Metric, Period, Quota, RateLimit, Reserved, RetryAfter, Window,
};

const SECOND: i128 = 1_000_000_000;
const MINUTE: i128 = 60 * SECOND;
/// The start of the engine's clock, into its minute and its day: 10:30:00.
const INTO_DAY: i128 = 10 * 3_600 * SECOND + 1_800 * SECOND;
const DAY: i128 = 86_400 * SECOND;

/// A hold of the model.
#[derive(Clone, Debug)]
struct Open {
    id: usize,
    until: i128,
    /// When it was reserved.
    at: i128,
    /// How much, by its takes.
    takes: Vec<(i128, i128)>,
}

impl Open {
    fn units(&self) -> i128 {
        self.takes.iter().map(|(_, units)| units).sum()
    }
}

/// What a rule says.
#[derive(Clone, Debug)]
enum Count {
    /// Two levels, in parts of which one token is a minute's nanoseconds.
    Bucket {
        rate: i128,
        burst: i128,
        level: i128,
        alone: i128,
        at: i128,
    },
    /// Uses with their times, and when a use is over.
    Uses {
        over: Over,
        uses: Vec<Use>,
    },
    Slots,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Over {
    Fixed,
    Sliding,
    Daily,
}

#[derive(Clone, Copy, Debug)]
struct Use {
    at: i128,
    units: i128,
    hold: Option<usize>,
}

/// A rule of the model, with its open holds.
#[derive(Clone, Debug)]
struct Counter {
    limit: i128,
    count: Count,
    open: Vec<Open>,
}

impl Counter {
    fn bucket(rate: i128, burst: i128) -> Self {
        let full = burst * MINUTE;
        let count = Count::Bucket { rate, burst, level: full, alone: full, at: 0 };
        Self { limit: burst, count, open: Vec::new() }
    }

    fn uses(limit: i128, over: Over) -> Self {
        Self { limit, count: Count::Uses { over, uses: Vec::new() }, open: Vec::new() }
    }

    fn slots(limit: i128) -> Self {
        Self { limit, count: Count::Slots, open: Vec::new() }
    }

    /// Goes on to an instant: holds that expire on the way are given back at theirs.
    fn go_to(&mut self, now: i128) {
        self.open.sort_by_key(|open| (open.until, open.id));
        while self.open.first().is_some_and(|open| open.until <= now) {
            let open = self.open.remove(0);
            self.refill(open.until);
            self.give_back(&open, open.units(), open.until);
        }
        self.refill(now);
    }

    fn refill(&mut self, now: i128) {
        if let Count::Bucket { rate, burst, level, alone, at } = &mut self.count {
            let more = *rate * (now - *at);
            *level = (*level + more).min(*burst * MINUTE);
            *alone = (*alone + more).min(*burst * MINUTE);
            *at = now;
        }
    }

    /// Gives back so much of a hold that is out of the list, the newest first.
    fn give_back(&mut self, open: &Open, mut units: i128, now: i128) {
        let held: i128 = self.open.iter().map(Open::units).sum();
        match &mut self.count {
            Count::Bucket { level, alone, .. } => {
                let bound = *alone - held * MINUTE;
                *level = (*level).max((*level + units * MINUTE).min(bound));
            }
            Count::Uses { uses, .. } => {
                for at in (0..uses.len()).rev() {
                    if uses[at].hold == Some(open.id) {
                        let back = units.min(uses[at].units);
                        uses[at].units -= back;
                        units -= back;
                        uses[at].hold = None;
                    }
                }
                let _ = now;
            }
            Count::Slots => {}
        }
    }

    /// What is used of the window or period of an instant, seen at `now`.
    fn used(&self, at: i128, now: i128) -> i128 {
        let Count::Uses { over, uses } = &self.count else { return 0 };
        let counts = |it: &&Use| match over {
            Over::Fixed => it.at.div_euclid(MINUTE) == now.div_euclid(MINUTE),
            Over::Sliding => it.at + MINUTE > now,
            Over::Daily => (it.at + INTO_DAY).div_euclid(DAY) == (at + INTO_DAY).div_euclid(DAY),
        };
        uses.iter().filter(counts).map(|it| it.units).sum()
    }

    fn fits(&self, units: i128, at: i128, now: i128) -> bool {
        match &self.count {
            Count::Bucket { level, .. } => units <= 0 || units * MINUTE <= *level,
            Count::Uses { .. } => units <= 0 || self.used(at, now) + units <= self.limit,
            Count::Slots => i128::try_from(self.open.len()).expect("few") < self.limit,
        }
    }

    fn take(&mut self, units: i128, at: i128, now: i128, hold: Option<usize>) {
        match &mut self.count {
            Count::Bucket { level, alone, .. } => {
                *level -= units * MINUTE;
                if hold.is_none() {
                    *alone -= units * MINUTE;
                }
            }
            Count::Uses { over, uses } => {
                let at = if *over == Over::Daily { at } else { now };
                uses.push(Use { at, units, hold });
            }
            Count::Slots => {}
        }
    }

    fn hold(&mut self, id: usize, units: i128, at: i128, now: i128, until: i128) {
        if units == 0 && !matches!(self.count, Count::Slots) {
            return;
        }
        // A bucket without holds is an ordinary one: a hold that was used was taken at its instant.
        if let (true, Count::Bucket { level, alone, .. }) = (self.open.is_empty(), &mut self.count)
        {
            *alone = *level;
        }
        match self.open.iter_mut().find(|open| open.id == id) {
            Some(open) => open.takes.push((now, units)),
            None => self.open.push(Open { id, until, at, takes: vec![(now, units)] }),
        }
        self.take(units, at, now, Some(id));
    }

    fn settle(&mut self, id: usize, units: i128, at: i128, now: i128) {
        let open = self.open.iter().position(|open| open.id == id);
        let open = open.map(|place| self.open.remove(place));
        let held = open.as_ref().map_or(0, Open::units);
        self.take((units - held).max(0), at, now, None);
        let Some(open) = open else { return };
        let used = units.min(held);
        if let Count::Bucket { alone, .. } = &mut self.count {
            *alone -= used * MINUTE;
        }
        self.give_back(&open, held - used, now);
    }

    /// What is left, and what is held.
    fn stands(&self, now: i128) -> (i128, i128) {
        let held: i128 = match &self.count {
            Count::Slots => i128::try_from(self.open.len()).expect("few"),
            Count::Uses { over: Over::Daily, .. } => {
                let day = |at: i128| (at + INTO_DAY).div_euclid(DAY);
                self.open.iter().filter(|open| day(open.at) == day(now)).map(Open::units).sum()
            }
            _ => self.open.iter().map(Open::units).sum(),
        };
        let left = match &self.count {
            Count::Bucket { level, .. } => level.div_euclid(MINUTE),
            Count::Uses { .. } => self.limit - self.used(now, now),
            Count::Slots => self.limit - held,
        };
        (left.max(0), held)
    }
}

/// A reservation of the test.
#[derive(Clone, Copy, Debug)]
struct Known {
    id: ReservationId,
    customer: usize,
    at: i128,
    until: i128,
    reserved: i128,
    end: Option<(ReservationState, i128)>,
    is_late: bool,
}

/// One engine, the model of it, and what it has counted.
struct Life {
    dice: Dice,
    engine: Engine,
    clock: ManualClock,
    now: i128,
    /// By customer, in the order of the rules; the last is the one that all share.
    counters: Vec<Vec<Counter>>,
    known: Vec<Known>,
    /// What was committed in time, at the instant of its reserve, or taken, of each customer,
    /// without what was beyond a hold.
    history: Vec<Vec<(i128, i128)>>,
    /// What each reservation took, and when: it grows at later instants.
    takes: Vec<Vec<(i128, i128)>>,
    records: bool,
}

const NAMES: [&str; 2] = ["ann", "bob"];

impl Life {
    fn new(mut dice: Dice, records: bool) -> Self {
        let burst = dice.pick(&[60_u64, 100, 240]);
        let slots = dice.range(2, 6);
        let rule = |name: &str, limit: u64| {
            let rule = RateLimit::new(name, limit, Window::Minute).metric(Metric::TotalTokens);
            rule.per("customer_id")
        };
        let shared = RateLimit::new("Shared", 120, Window::Minute).metric(Metric::TotalTokens);
        let (engine, clock) = engine(|builder| {
            let daily = Quota::new("Daily", Metric::TotalTokens, 700, Period::Day);
            builder
                .rate_limit(rule("Bucket", 60).burst(burst))
                .rate_limit(rule("Fixed", 150).algorithm(Algorithm::FixedWindow))
                .rate_limit(rule("Sliding", 160).algorithm(Algorithm::SlidingWindow))
                .rate_limit(shared.burst(300))
                .quota(daily.per("customer_id"))
                .quota(Quota::concurrent("Slots", slots).per("customer_id"))
        });
        let own = || {
            vec![
                Counter::bucket(60, burst.into()),
                Counter::uses(150, Over::Fixed),
                Counter::uses(160, Over::Sliding),
                Counter::uses(700, Over::Daily),
                Counter::slots(slots.into()),
            ]
        };
        let counters = vec![own(), own(), vec![Counter::bucket(120, 300)]];
        let (known, takes, history) = (Vec::new(), Vec::new(), vec![Vec::new(); 2]);
        Self { dice, engine, clock, now: 0, counters, known, history, takes, records }
    }

    /// The counters of a customer's event, in the order of the statuses.
    fn each(&mut self, customer: usize, mut visit: impl FnMut(&mut Counter)) {
        for at in [0, 1, 2] {
            visit(&mut self.counters[customer][at]);
        }
        visit(&mut self.counters[2][0]);
        for at in [3, 4] {
            visit(&mut self.counters[customer][at]);
        }
    }

    fn pass(&mut self, length: i128) {
        self.now += length;
        self.clock.advance(Duration::from_nanos(u64::try_from(length).expect("forward")));
        let now = self.now;
        self.counters.iter_mut().flatten().for_each(|counter| counter.go_to(now));
    }

    /// Whether all rules have room, for what is dated at `at`.
    fn fits(&mut self, customer: usize, units: i128, at: i128) -> bool {
        let (now, mut fits) = (self.now, true);
        self.each(customer, |counter| fits &= counter.fits(units, at, now));
        fits
    }

    fn event(customer: usize, units: i128) -> Event<'static> {
        let tokens = u64::try_from(units).expect("not below zero");
        Event::new(NAMES[customer], "call").total_tokens(tokens)
    }

    fn compare(&mut self, customer: usize, what: &str) {
        let standing = self.engine.standing(&Self::event(customer, 0)).expect("good");
        let rates = standing.rate_limits().map(|it| (it.remaining, it.held));
        let quotas = standing.quotas().map(|it| (it.remaining, it.held));
        let found: Vec<_> = rates.chain(quotas).collect();
        let (now, mut expected) = (self.now, Vec::new());
        self.each(customer, |counter| expected.push(counter.stands(now)));
        let as_amounts = |(left, held): (i128, i128)| {
            [left, held].map(|of| limitry::Amount::from(u64::try_from(of).expect("not below zero")))
        };
        let expected: Vec<_> =
            expected.into_iter().map(as_amounts).map(|[left, held]| (left, held)).collect();
        assert_eq!(found, expected, "{what} at {now}");
    }

    /// At the end of the wait the event passes, and a nanosecond before it does not.
    fn check_wait(&mut self, customer: usize, units: i128, decision: &Decision) {
        let Some(RetryAfter::After(wait)) = decision.retry_after() else {
            return;
        };
        let wait = i128::try_from(wait.as_nanos()).expect("a wait");
        for (ahead, passes) in [(wait, true), (wait - 1, false)] {
            let mut later = self.counters.clone();
            let now = self.now + ahead;
            later.iter_mut().flatten().for_each(|counter| counter.go_to(now));
            let mut own = later[customer].iter().chain(&later[2]);
            let fits = own.all(|counter| counter.fits(units, now, now));
            assert_eq!(fits, passes, "{units} of {customer} after {ahead} at {}", self.now);
        }
    }

    fn step(&mut self) {
        let customer = usize::try_from(self.dice.below(2)).expect("small");
        let units = i128::from(self.dice.pick(&[0, 1, 5, 20, 40, 90]));
        let open: Vec<usize> =
            (0..self.known.len()).filter(|at| self.known[*at].end.is_none()).collect();
        match self.dice.below(12) {
            0..3 => {
                let longest =
                    self.dice.pick(&[1, 30, 60, 300]) * u64::try_from(SECOND).expect("it");
                let length = self.dice.range(1, longest);
                self.pass(length.into());
            }
            3..6 => self.reserve(customer, units),
            6 => {
                let fits = self.fits(customer, units, self.now);
                let decision = self.engine.track(&Self::event(customer, units)).expect("good");
                assert_eq!(decision.is_allowed(), fits, "track {units} at {}", self.now);
                if fits {
                    self.take(customer, units);
                } else {
                    self.check_wait(customer, units, &decision);
                }
            }
            7 if self.records => {
                let _ = self.engine.record(&Self::event(customer, units)).expect("good");
                self.take(customer, units);
            }
            _ if open.is_empty() => self.reserve(customer, units),
            7 | 8 => {
                let at = self.dice.pick(&open);
                self.commit(at, units);
            }
            9 => {
                let at = self.dice.pick(&open);
                self.release(at);
            }
            10 => {
                let at = self.dice.pick(&open);
                self.grow(at, units);
            }
            _ => {
                let at = self.dice.pick(&open);
                self.extend(at);
            }
        }
        self.compare(customer, "a step");
    }

    fn take(&mut self, customer: usize, units: i128) {
        let now = self.now;
        self.each(customer, |counter| counter.take(units, now, now, None));
        self.history[customer].push((now, units));
    }

    fn reserve(&mut self, customer: usize, units: i128) {
        let seconds = self.dice.range(1, 200);
        let lasting = Duration::from_secs(seconds);
        let fits = self.fits(customer, units, self.now);
        let event = Self::event(customer, units);
        match self.engine.reserve(&event, Hold::lasting(lasting)).expect("good") {
            Reserved::Held(guard) => {
                assert!(fits, "reserve {units} at {}", self.now);
                let (now, number) = (self.now, self.known.len());
                let until = now + i128::from(seconds) * SECOND;
                self.each(customer, |counter| counter.hold(number, units, now, now, until));
                let (id, at, end) = (guard.id(), now, None);
                let reserved = units;
                self.known.push(Known { id, customer, at, until, reserved, end, is_late: false });
                self.takes.push(vec![(now, units)]);
                std::mem::forget(guard);
            }
            Reserved::Refused(decision) => {
                assert!(!fits, "reserve {units} at {}: {decision}", self.now);
                self.check_wait(customer, units, &decision);
            }
            Reserved::Replayed(status) => panic!("{status:?}"),
        }
    }

    fn commit(&mut self, at: usize, units: i128) {
        let Known { id, customer, at: reserved_at, until, reserved, .. } = self.known[at];
        let now = self.now;
        let is_late = now >= until;
        let decision = self.engine.commit(id, &Self::event(customer, units)).expect("good");
        assert_eq!(decision.is_overrun(), !is_late && units > reserved);
        self.each(customer, |counter| counter.settle(at, units, reserved_at, now));
        if !is_late {
            // The oldest takes are those that were used.
            let mut left = units.min(reserved);
            for (at, taken) in &self.takes[at] {
                self.history[customer].push((*at, left.min(*taken)));
                left -= left.min(*taken);
            }
        }
        self.known[at].end = Some((ReservationState::Committed, units));
        self.known[at].is_late = is_late;
        let again = self.engine.commit(id, &Self::event(customer, units)).expect("the same");
        assert!(again.is_replay());
    }

    fn release(&mut self, at: usize) {
        let Known { id, customer, at: reserved_at, until, .. } = self.known[at];
        let now = self.now;
        let expected =
            if now >= until { ReservationState::Expired } else { ReservationState::Released };
        for _ in 0..2 {
            assert_eq!(self.engine.release(id).expect("not committed").state, expected);
        }
        if expected == ReservationState::Released {
            self.each(customer, |counter| counter.settle(at, 0, reserved_at, now));
            self.known[at].end = Some((expected, 0));
        }
    }

    fn grow(&mut self, at: usize, units: i128) {
        let Known { id, customer, at: reserved_at, until, .. } = self.known[at];
        let now = self.now;
        let grown = self.engine.grow(id, &Self::event(customer, units));
        if now >= until {
            assert!(grown.is_err(), "it has expired");
            return;
        }
        let decision = grown.expect("it is open");
        // It takes no slot: the last counter is not asked.
        let mut place = 0;
        let mut fits = true;
        self.each(customer, |counter| {
            fits &= place == 5 || counter.fits(units, reserved_at, now);
            place += 1;
        });
        assert_eq!(decision.is_allowed(), fits, "grow {units} at {now}");
        if fits {
            let mut place = 0;
            self.each(customer, |counter| {
                if place < 5 {
                    counter.hold(at, units, reserved_at, now, until);
                }
                place += 1;
            });
            self.known[at].reserved += units;
            self.takes[at].push((now, units));
        }
    }

    fn extend(&mut self, at: usize) {
        let Known { id, customer, until, .. } = self.known[at];
        let seconds = self.dice.range(1, 200);
        let extended = self.engine.extend(id, Duration::from_secs(seconds));
        if self.now >= until {
            assert!(extended.is_err(), "it has expired");
            return;
        }
        extended.expect("it is open");
        let later = (self.now + i128::from(seconds) * SECOND).max(until);
        self.known[at].until = later;
        self.each(customer, |counter| {
            if let Some(open) = counter.open.iter_mut().find(|open| open.id == at) {
                open.until = later;
            }
        });
    }

    /// What was committed in any span stays within the worst case of each rule.
    fn check_spans(&self) {
        for (customer, history) in self.history.iter().enumerate() {
            let mut uses = history.clone();
            uses.sort_unstable();
            let Count::Bucket { rate, burst, .. } = self.counters[customer][0].count else {
                panic!("the first is a bucket")
            };
            for from in 0..uses.len() {
                let mut sum = 0;
                for (at, units) in &uses[from..] {
                    sum += units;
                    let span = at - uses[from].0;
                    assert!(sum * MINUTE <= burst * MINUTE + rate * span, "bucket of {customer}");
                    assert!(span >= MINUTE || sum <= 160, "sliding window of {customer}: {sum}");
                    assert!(span >= MINUTE || sum <= 300, "fixed window of {customer}: {sum}");
                }
            }
        }
    }

    /// Everything that was reserved was committed, given back, has expired, or is open.
    fn check_conservation(&self) {
        for known in &self.known {
            let status = self.engine.reservation(known.id).expect("known");
            let expected = match known.end {
                Some((state, _)) => state,
                None if self.now >= known.until => ReservationState::Expired,
                None => ReservationState::Held,
            };
            assert_eq!(status.state, expected);
            let reserved = u64::try_from(known.reserved).expect("not below zero");
            assert_eq!(status.estimate.amount("total_tokens"), Some(reserved.into()));
        }
        let committed = |customer: usize| {
            let ended = self.known.iter().filter(|known| known.customer == customer);
            ended.filter_map(|it| it.end).map(|(_, units)| units).sum::<i128>()
        };
        let recorded = self.engine.events().newest(1_000_000);
        for (customer, name) in NAMES.iter().enumerate() {
            let own = recorded.iter().filter(|it| it.event.customer_id() == *name);
            let sum: u64 = own
                .filter_map(|it| it.event.amount("total_tokens"))
                .map(|it| it.to_u64_floor())
                .sum();
            let out_of_holds: i128 = committed(customer);
            let taken: i128 = self.taken(customer);
            assert_eq!(i128::from(sum), out_of_holds + taken, "{name}");
        }
    }

    /// What was taken without a hold.
    fn taken(&self, customer: usize) -> i128 {
        let all: i128 = self.history[customer].iter().map(|(_, units)| units).sum();
        let of_holds = self.known.iter().filter(|it| it.customer == customer && !it.is_late);
        let of_holds = of_holds.filter_map(|it| match it.end {
            Some((ReservationState::Committed, units)) => Some(units.min(it.reserved)),
            _ => None,
        });
        all - of_holds.sum::<i128>()
    }
}

#[test]
fn every_life_of_reservations_is_as_the_model_says() {
    let mut dice = Dice::new(seed("reservations", 12_001));
    for _ in 0..cases(60) {
        let mut life = Life::new(Dice::new(dice.next()), false);
        for _ in 0..250 {
            life.step();
        }
        life.check_spans();
        life.check_conservation();
    }
}

#[test]
fn so_is_one_with_metering_in_between() {
    let mut dice = Dice::new(seed("reservations with records", 12_002));
    for _ in 0..cases(30) {
        let mut life = Life::new(Dice::new(dice.next()), true);
        for _ in 0..250 {
            life.step();
        }
        life.check_conservation();
    }
}

/// Saturated traffic of estimates four times the use, its open holds together below the capacity,
/// reaches nine tenths of what exact estimates reach.
#[test]
fn estimates_that_are_too_high_cost_little_throughput() {
    let rate = |estimate: u64| {
        let bucket = RateLimit::new("Tokens", 6_000, Window::Minute).metric(Metric::TotalTokens);
        let (engine, clock) = engine(|builder| builder.rate_limit(bucket));
        let mut open: Vec<(u64, ReservationId)> = Vec::new();
        let mut used = 0_u64;
        for tick in 0..6_000_u64 {
            open.retain(|(until, id)| {
                let is_over = *until <= tick;
                if is_over {
                    let actual = Event::new("ann", "call").total_tokens(100);
                    let _ = engine.commit(*id, &actual).expect("open");
                    used += 100;
                }
                !is_over
            });
            while (open.len() as u64 + 1) * estimate < 6_000 {
                let event = Event::new("ann", "call").total_tokens(estimate);
                match engine.reserve(&event, Hold::lasting(Duration::from_secs(60))) {
                    Ok(Reserved::Held(guard)) => {
                        open.push((tick + 20, guard.id()));
                        std::mem::forget(guard);
                    }
                    _ => break,
                }
            }
            clock.advance(Duration::from_millis(100));
        }
        used
    };
    let (exact, high) = (rate(100), rate(400));
    assert!(high * 10 >= exact * 9, "{high} of {exact}");
}
