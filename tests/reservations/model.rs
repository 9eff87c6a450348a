//! Goal: whatever is reserved, grown, committed, released, extended and left to expire, in any
//! order and beside other use, nothing is minted, and all that was reserved is accounted for.
//!
//! Method: random lives of customers' reservations against six rules at once, each answer judged by
//! the oracle (`support/oracle`). The bound of each rule is searched in all spans of the history.
//! Lives with changes of the rules, dates, keys and a clock that is set are in
//! `decisions::model`.

use std::time::Duration;

use crate::support::oracle::{
    HOUR, Kind, MINUTE, Measure, Nanos, PlainEvent, PlainReserved, Rule, SECOND, Span, State,
    Verdict,
};
use crate::support::{Dice, Pair, cases, duration, engine, seed};
use limitry::reservations::{ReservationId, ReservationQuery, ReservationState};
use limitry::{Event, Hold, Metric, RateLimit, Reserved, Window};

const NAMES: [&str; 2] = ["ann", "bob"];
const LIMIT_OF_SLIDING: i128 = 160;
const LIMIT_OF_FIXED: i128 = 150;

/// A reservation of a life.
struct Known {
    id: ReservationId,
    customer: usize,
    /// What it took, and when: it grows at later instants.
    takes: Vec<(Nanos, i128)>,
    end: Option<End>,
}

/// How one ended that was not left to its expiry.
#[derive(Clone, Copy, PartialEq)]
enum End {
    Released,
    Committed { units: i128, is_late: bool },
}

/// One engine with its oracle, and what was counted.
struct Life {
    dice: Dice,
    pair: Pair,
    burst: i128,
    known: Vec<Known>,
    /// What was committed in time, at the instant of its reserve, or taken, of each customer,
    /// without what was beyond a hold.
    history: [Vec<(Nanos, i128)>; 2],
    /// What was taken without a hold.
    taken: [i128; 2],
    records: bool,
}

fn rules(dice: &mut Dice, burst: u64) -> Vec<Rule> {
    let tokens = |id: &str, limit, kind| Rule::new(id, limit, kind).measure(Measure::Tokens);
    let own = |id: &str, limit, kind| tokens(id, limit, kind).per("customer_id");
    let bucket = |burst| Kind::Bucket { window: MINUTE, burst: Some(burst) };
    let [fixed, sliding] =
        [LIMIT_OF_FIXED, LIMIT_OF_SLIDING].map(|it| u64::try_from(it).expect("it"));
    vec![
        own("bucket", 60, bucket(burst)),
        own("fixed", fixed, Kind::Fixed { window: MINUTE }),
        own("sliding", sliding, Kind::Sliding { window: MINUTE }),
        tokens("shared", 120, bucket(300)),
        own("daily", 700, Kind::Calendar(Span::Day)),
        own("rolling", 600, Kind::Rolling { window: HOUR }),
        Rule::new("slots", dice.range(2, 6), Kind::Slots).per("customer_id"),
    ]
}

fn event(customer: usize, units: i128) -> PlainEvent {
    PlainEvent::new(NAMES[customer], "call").tokens(u64::try_from(units).expect("not below zero"))
}

impl Life {
    fn new(mut dice: Dice, records: bool) -> Self {
        let burst = dice.pick(&[60_u64, 100, 240]);
        let pair = Pair::new(&rules(&mut dice, burst));
        let (burst, known, history) = (burst.into(), Vec::new(), [Vec::new(), Vec::new()]);
        Self { dice, pair, burst, known, history, taken: [0; 2], records }
    }

    fn now(&self) -> Nanos {
        self.pair.now()
    }

    fn step(&mut self) -> Result<(), String> {
        let customer = usize::try_from(self.dice.below(2)).expect("small");
        let units = i128::from(self.dice.pick(&[0, 1, 5, 20, 40, 90]));
        let open: Vec<usize> =
            (0..self.known.len()).filter(|at| self.known[*at].end.is_none()).collect();
        match self.dice.below(12) {
            0..3 => {
                let longest = self.dice.pick(&[1, 30, 60, 300]) * 1_000_000_000;
                self.pair.advance(self.dice.range(1, longest).into());
            }
            3..6 => self.reserve(customer, units)?,
            6 => {
                let seen = self.pair.track(&event(customer, units))?.expect("a good event");
                if seen.is_admitted() {
                    self.take(customer, units);
                }
            }
            7 if self.records => {
                let _ = self.pair.record(&event(customer, units))?.expect("a good event");
                self.take(customer, units);
            }
            _ if open.is_empty() => self.reserve(customer, units)?,
            7 | 8 => {
                let at = self.dice.pick(&open);
                self.commit(at, units)?;
            }
            9 => {
                let known = &mut self.known[self.dice.pick(&open)];
                for _ in 0..2 {
                    self.pair.release(known.id, None)?;
                }
                if state(&self.pair, known.id) == State::Released {
                    known.end = Some(End::Released);
                }
            }
            10 => {
                let at = self.dice.pick(&open);
                self.grow(at, units)?;
            }
            _ => {
                let id = self.known[self.dice.pick(&open)].id;
                self.pair.extend(id, i128::from(self.dice.range(1, 200)) * SECOND)?;
            }
        }
        self.pair.standing(&PlainEvent::new(NAMES[customer], "call")).map(drop)
    }

    fn take(&mut self, customer: usize, units: i128) {
        let now = self.now();
        self.history[customer].push((now, units));
        self.taken[customer] += units;
    }

    fn reserve(&mut self, customer: usize, units: i128) -> Result<(), String> {
        let lasting = i128::from(self.dice.range(1, 200)) * SECOND;
        let hold = Hold::lasting(duration(lasting));
        let (answer, guard) = self.pair.reserve(&event(customer, units), hold)?;
        if let Some(guard) = guard {
            let (id, takes, end) = (guard.id(), vec![(self.now(), units)], None);
            self.known.push(Known { id, customer, takes, end });
            std::mem::forget(guard);
        } else {
            assert!(matches!(answer, Ok(PlainReserved::Refused(_))), "{answer:?}");
        }
        Ok(())
    }

    fn commit(&mut self, at: usize, units: i128) -> Result<(), String> {
        let Known { id, customer, ref takes, .. } = self.known[at];
        let is_late = state(&self.pair, id) == State::Expired;
        let actual = event(customer, units);
        let _ = self.pair.commit(id, None, &actual)?.expect("a good event");
        if !is_late {
            // The oldest takes are those that were used.
            let mut left = units;
            for (at, taken) in takes {
                self.history[customer].push((*at, left.min(*taken)));
                left -= left.min(*taken);
            }
        }
        self.known[at].end = Some(End::Committed { units, is_late });
        let again = self.pair.commit(id, None, &actual)?.expect("the same");
        assert_eq!(again.0.verdict, Verdict::Replayed);
        Ok(())
    }

    fn grow(&mut self, at: usize, units: i128) -> Result<(), String> {
        let Known { id, customer, .. } = self.known[at];
        let answer = self.pair.grow(id, &event(customer, units))?;
        if answer.is_ok_and(|seen| seen.is_admitted()) {
            let now = self.now();
            self.known[at].takes.push((now, units));
        }
        Ok(())
    }

    /// What was committed in any span stays within the worst case of each rule.
    fn check_spans(&self) {
        for (customer, history) in self.history.iter().enumerate() {
            let mut uses = history.clone();
            uses.sort_unstable();
            for from in 0..uses.len() {
                let mut sum = 0;
                for (at, units) in &uses[from..] {
                    sum += units;
                    let span = at - uses[from].0;
                    let most = self.burst * MINUTE + 60 * span;
                    assert!(sum * MINUTE <= most, "bucket of {customer}: {sum}");
                    let (fixed, sliding) = (2 * LIMIT_OF_FIXED, LIMIT_OF_SLIDING);
                    assert!(span >= MINUTE || sum <= sliding, "sliding of {customer}: {sum}");
                    assert!(span >= MINUTE || sum <= fixed, "fixed of {customer}: {sum}");
                    assert!(span >= HOUR || sum <= 600, "rolling of {customer}: {sum}");
                }
            }
        }
    }

    /// Everything that was reserved was committed, given back, has expired, or is open.
    fn check_conservation(&self) {
        let mut sums = [[0_i128; 5]; 2];
        for Known { id, customer, takes, end } in &self.known {
            let [reserved, committed, given_back, expired, open] = &mut sums[*customer];
            let all: i128 = takes.iter().map(|(_, units)| units).sum();
            *reserved += all;
            let found = self.pair.engine.reservation(*id).expect("known").state;
            let (expected, sum) = match end {
                Some(End::Committed { units, is_late: false }) => {
                    *given_back += all - all.min(*units);
                    *committed += all.min(*units);
                    (ReservationState::Committed, None)
                }
                Some(End::Committed { .. }) => (ReservationState::Committed, Some(expired)),
                Some(End::Released) => (ReservationState::Released, Some(given_back)),
                None if state(&self.pair, *id) == State::Held => {
                    (ReservationState::Held, Some(open))
                }
                None => (ReservationState::Expired, Some(expired)),
            };
            assert_eq!(found, expected);
            sum.into_iter().for_each(|sum| *sum += all);
        }
        for (customer, name) in NAMES.iter().enumerate() {
            let [reserved, committed, given_back, expired, open] = sums[customer];
            assert_eq!(reserved, committed + given_back + expired + open);
            let standing = self.pair.engine.standing(&Event::new(*name, "call")).expect("good");
            let slots = standing.quotas().last().expect("it matches").held.to_u64_floor();
            let held = ReservationQuery::new().customer(*name).state(ReservationState::Held);
            let listed = self.pair.engine.reservations().list(&held);
            assert_eq!(listed.len() as u64, slots, "{name}");
            let tokens =
                |it: &Event<'_>| it.amount("total_tokens").map_or(0, |of| of.to_u64_floor());
            assert_eq!(
                listed.iter().map(|it| i128::from(tokens(&it.estimate))).sum::<i128>(),
                open
            );
            let ended = self.known.iter().filter(|known| known.customer == customer);
            let ended = ended.map(|known| match known.end {
                Some(End::Committed { units, .. }) => units,
                _ => 0,
            });
            let recorded = self.pair.engine.events().newest(1_000_000);
            let own = recorded.iter().filter(|it| it.event.customer_id() == *name);
            let sum: i128 = own.map(|it| i128::from(tokens(&it.event))).sum();
            assert_eq!(sum, ended.sum::<i128>() + self.taken[customer], "{name}");
        }
    }
}

/// How a reservation stands, by the oracle.
fn state(pair: &Pair, id: ReservationId) -> State {
    let mut known = pair.oracle.reservations().iter();
    let known = known.find(|known| known.name == id.to_string()).expect("it was made");
    known.state(pair.now())
}

fn live(test: &str, default_seed: u64, lives: u32, records: bool) {
    let mut dice = Dice::new(seed(test, default_seed));
    for number in 0..cases(lives) {
        let mut life = Life::new(Dice::new(dice.next()), records);
        for step in 0..250 {
            life.step().unwrap_or_else(|why| panic!("life {number}, step {step}: {why}"));
        }
        if !records {
            life.check_spans();
        }
        life.check_conservation();
    }
}

#[test]
fn every_life_of_reservations_is_as_the_model_says() {
    live("reservations", 12_001, 8, false);
}

#[test]
fn so_is_one_with_metering_in_between() {
    live("reservations with records", 12_002, 4, true);
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
