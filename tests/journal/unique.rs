//! Goal: a quota on different values has after a restart and after a crash exactly the values that
//! it had before, and what is held of it; the values of a rule that comes later, too.
//!
//! Method: random events, reservations and restarts on a store in memory, beside a set of values
//! for each key and day; a log that is verified after each.

use std::time::Duration;

use limitry::events::Recording;
use limitry::reservations::ReservationId;
use limitry::rules::QuotaUpdate;
use limitry::store::{Durability, MemoryStore};
use limitry::time::ManualClock;
use limitry::usage::{MeterQuery, RollupOptions};
use limitry::{Engine, EngineBuilder, Event, Hold, Meter, Metric, Period, Quota, Reserved};

use crate::support::oracle::values::Values;
use crate::support::oracle::{HOUR, MINUTE, Nanos};
use crate::support::{Dice, START, cases, date, duration, seed};

fn call<'a>(customer: &'a str, user: &'a str) -> Event<'a> {
    Event::new(customer, "call").property("user", user)
}

fn users(limit: u64) -> Quota {
    let users = Quota::new("Users", Metric::unique("user"), limit, Period::Day);
    users.per("customer_id").max_values(6)
}

struct History {
    store: MemoryStore,
    clock: ManualClock,
    engine: Engine,
    build: fn(EngineBuilder) -> EngineBuilder,
    now: Nanos,
    dice: Dice,
    model: Values,
    open: Vec<(usize, ReservationId, Event<'static>)>,
    made: usize,
}

fn open(
    store: &MemoryStore,
    clock: &ManualClock,
    build: fn(EngineBuilder) -> EngineBuilder,
) -> Engine {
    let store = store.open().expect("nobody has it").durability(Durability::Synced);
    let builder = Engine::builder().clock(clock.clone()).durable(store);
    build(builder).build().expect("an engine")
}

impl History {
    fn new(dice: Dice, limit: u64, build: fn(EngineBuilder) -> EngineBuilder) -> Self {
        let (store, clock) = (MemoryStore::new(), ManualClock::new(date(START)));
        let engine = open(&store, &clock, build);
        let model = Values::new(Some(limit), 6);
        let (open, made) = (Vec::new(), 0);
        Self { store, clock, engine, build, now: START, dice, model, open, made }
    }

    fn again(&mut self) {
        let crash = self.dice.chance(50);
        let store = if crash { self.store.after_crash() } else { self.store.clone() };
        if !crash {
            self.engine.store().close().expect("it closes");
        }
        // One without a store takes the place of the one that ends.
        self.engine = Engine::builder().build().expect("no rules");
        self.engine = open(&store, &self.clock, self.build);
        self.store = store;
        self.engine.store().verify(|_| {}).expect("it is whole");
    }

    fn step(&mut self) {
        if self.dice.chance(25) {
            let length = self.dice.pick(&[1, MINUTE, 3 * MINUTE, HOUR, 7 * HOUR]);
            self.now += length;
            self.clock.advance(duration(length));
        }
        let customer = self.dice.pick(&["a", "b"]);
        let user = format!("user_{}", self.dice.below(8));
        let event = call(customer, &user);
        let (now, model) = (self.now, &mut self.model);
        match self.dice.below(12) {
            0..=4 => {
                let fits = model.fits(customer, Some(&user), now, now);
                let decision = self.engine.track(&event).expect("valid");
                assert_eq!(decision.is_allowed(), fits, "{event:?}");
                if fits {
                    model.count(customer, Some(&user), now, now);
                }
            }
            5 => {
                model.count(customer, Some(&user), now, now);
                let _ = self.engine.record(&event).expect("valid");
            }
            6..=8 => {
                let fits = model.fits(customer, Some(&user), now, now);
                let hold = Hold::lasting(Duration::from_secs(600));
                let reserved = self.engine.reserve(&event, hold).expect("valid");
                assert_eq!(matches!(reserved, Reserved::Held(_)), fits, "{event:?}");
                if let Reserved::Held(reservation) = reserved {
                    self.made += 1;
                    let until = now + 600_000_000_000;
                    model.hold(self.made, (customer, Some(&user)), now, until);
                    self.open.push((self.made, reservation.into_id(), event.into_owned()));
                }
            }
            9 => self.again(),
            _ => self.end_one(),
        }
        for customer in ["a", "b"] {
            let standing = self.engine.standing(&Event::new(customer, "call")).expect("valid");
            let quota = standing.quotas().next().expect("it matches");
            let found = (quota.used.to_u64_ceil(), quota.held.to_u64_ceil());
            let held = self.model.held(customer, self.now, self.now);
            assert_eq!(found, (self.model.committed(customer, self.now), held), "{customer}");
        }
    }

    fn end_one(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let place = self.dice.below(u64::try_from(self.open.len()).expect("a few"));
        let place = usize::try_from(place).expect("a few");
        let (number, id, event) = self.open.remove(place);
        let commits = self.dice.chance(60);
        let is_done = if commits {
            self.engine.commit(id, &event).is_ok()
        } else {
            self.engine.release(id).is_ok()
        };
        self.model.end(number, commits && is_done, self.now);
    }
}

#[test]
fn values_come_back_as_they_were() {
    let first = seed("values_come_back_as_they_were", 73);
    let builds: [fn(EngineBuilder) -> EngineBuilder; 4] = [
        |builder| builder.quota(users(4)),
        |builder| builder.quota(users(4)).recording(Recording::Off),
        |builder| {
            let rollups = RollupOptions::new().dimension("user");
            builder.quota(users(4)).rollups(rollups)
        },
        |builder| {
            let meter = Meter::unique("Users", "user").id("users");
            let mut quota = users(4);
            quota.metric = Metric::meter("users");
            builder.meter(meter).quota(quota)
        },
    ];
    for case in 0..u64::from(cases(24)) {
        let build = builds[usize::try_from(case % 4).expect("a few")];
        let mut history = History::new(Dice::new(first + case), 4, build);
        for _ in 0..150 {
            history.step();
        }
    }
}

/// What a rule starts from is the recorded events, also after a restart before and after.
#[test]
fn a_rule_that_comes_later_has_its_values_after_a_restart() {
    let mut history = History::new(Dice::new(5), 4, |builder| builder);
    let events = [call("a", "ann"), call("a", "bob"), call("a", "ann")];
    for event in &events {
        let _ = history.engine.track(event).expect("valid");
    }
    history.again();
    history.engine.rules().add(users(3)).expect("a good rule");
    history.again();
    let used = |history: &History, user| {
        let decision = history.engine.track(&call("a", user)).expect("valid");
        let used = decision.quotas().next().expect("it matches").used.to_u64_ceil();
        (decision.is_allowed(), used)
    };
    assert_eq!(used(&history, "ann"), (true, 2));
    history.again();
    assert_eq!(used(&history, "cid"), (true, 3));
    assert_eq!(used(&history, "dan"), (false, 3));
    history.again();
    assert_eq!(used(&history, "bob"), (true, 3));
    let more = QuotaUpdate::new().limit(4);
    history.engine.rules().update("qta_users", more).expect("a good change");
    history.again();
    assert_eq!(used(&history, "dan"), (true, 4));
    assert_eq!(used(&history, "cid"), (true, 4));
    assert_eq!(history.engine.rules().list().len(), 1);
    // The figure is that of a meter.
    let meter = Meter::unique("Users", "user").id("users");
    history.engine.meters().add(meter).expect("a good meter");
    let value = history.engine.meters().query("users", &MeterQuery::new()).expect("a value");
    assert_eq!(value.value, 4_u64);
    history.engine.rules().remove("qta_users").expect("it is there");
    history.again();
    assert_eq!(history.engine.rules().list(), []);
}
