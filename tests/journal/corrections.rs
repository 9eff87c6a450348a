//! Goal: after any sequence of events, voids and amendments, late ones and of closed periods, among
//! reservations, adjustments and customers that move to other zones, over restarts and crashes,
//! usage, meters and quotas are what a fold over the corrected events says; a correction is there
//! whole or not at all; and what is corrected twice is corrected once.
//!
//! Method: random programs beside a list of events, which is folded naively for each question; by
//! default in memory, and on a store in memory that is closed, dropped and crashed between steps,
//! by random programs. Then a script whose store is cut off at each of its changes.

use std::collections::{BTreeMap, BTreeSet};

use chrono_tz::Tz;
use limitry::errors::CorrectError;
use limitry::events::{CorrectionQuery, EventId, EventQuery};
use limitry::keys::RuleKey;
use limitry::reservations::ReservationId;
use limitry::store::{Durability, MemoryStore};
use limitry::time::ManualClock;
use limitry::usage::{MeterQuery, UsageQuery};
use limitry::{
    Amount, Customer, Engine, EngineBuilder, Event, Hold, Meter, Metric, Period, Quota, RateLimit,
    Reserved, Window,
};

use crate::support::fold::BucketLength;
use crate::support::medium::{Medium, Unsynced};
use crate::support::oracle::{DAY, HOUR, MINUTE, Nanos, SECOND};
use crate::support::{Dice, START, cases, date, duration, long, seed};

const CUSTOMERS: [&str; 3] = ["ann", "bob", "cy"];
const MODELS: [&str; 3] = ["large", "small", "tiny"];

/// What an event brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Brings {
    input: u64,
    cents: i64,
    seats: Option<i64>,
}

#[derive(Clone, Debug)]
struct Known {
    id: EventId,
    customer: &'static str,
    model: &'static str,
    at: Nanos,
    /// What it is; nothing once it is void.
    brings: Option<Brings>,
    /// The place in the order in which what it is was recorded.
    order: usize,
}

fn event(customer: &'static str, model: &'static str, brings: Brings) -> Event<'static> {
    let event = Event::new(customer, "call").model(model).input_tokens(brings.input);
    let event = event.cost_cents(Amount::from(brings.cents));
    match brings.seats {
        Some(seats) => event.value("seats", seats),
        None => event,
    }
}

fn brings(dice: &mut Dice) -> Brings {
    let seats = dice.chance(60).then(|| dice.below(9) as i64 - 2);
    Brings { input: dice.below(50), cents: dice.below(40) as i64 - 5, seats }
}

fn rules(builder: EngineBuilder) -> EngineBuilder {
    let quota = |id: &str, metric, period| Quota::new(id, metric, 50_000, period).id(id);
    let per = |quota: Quota| quota.per("customer_id");
    builder
        .meter(Meter::max("most", "seats").id("most"))
        .meter(Meter::latest("last", "seats").id("last"))
        .meter(Meter::sum("seats", "seats").id("seats"))
        .meter(Meter::unique("models", "model").id("models"))
        .meter(Meter::count("calls").id("calls"))
        .quota(per(quota("tokens", Metric::TotalTokens, Period::Day)))
        .quota(per(quota("events", Metric::TotalEvents, Period::Hour)))
        .quota(quota("cost", Metric::TotalCostCents, Period::AllTime))
        .quota(per(quota("rolling", Metric::TotalTokens, Period::Rolling(duration(6 * HOUR)))))
        .quota(per(quota("most", Metric::meter("most"), Period::Day)))
        .quota(per(quota("last", Metric::meter("last"), Period::Day)))
        .quota(per(quota("models", Metric::meter("models"), Period::Day)))
        .quota(quota("large", Metric::TotalTokens, Period::Month).filter("model", "large"))
        .rate_limit(RateLimit::new("limit", 1_000_000, Window::Minute).id("limit"))
}

struct World {
    engine: Engine,
    clock: ManualClock,
    store: Option<MemoryStore>,
    known: Vec<Known>,
    now: Nanos,
    entries: usize,
    /// The open reservations: of whom, for which model, and since when.
    open: Vec<(ReservationId, &'static str, &'static str, Nanos)>,
    /// What was adjusted of which quota, of whom, and when.
    adjusted: Vec<(&'static str, &'static str, Nanos, Amount)>,
    zones: BTreeMap<&'static str, Tz>,
}

impl World {
    fn new(durable: bool) -> Self {
        let (store, clock) = (durable.then(MemoryStore::new), ManualClock::new(date(START)));
        let engine = Self::open(store.as_ref(), &clock);
        let (known, open, adjusted, zones) = Default::default();
        Self { engine, clock, store, known, now: START, entries: 0, open, adjusted, zones }
    }

    fn open(store: Option<&MemoryStore>, clock: &ManualClock) -> Engine {
        let builder = rules(Engine::builder()).clock(clock.clone());
        let builder = match store {
            None => builder,
            Some(store) => {
                let durable = store.open().expect("nobody has it");
                builder.durable(durable.durability(Durability::Synced))
            }
        };
        builder.build().expect("an engine")
    }

    fn restart(&mut self, how: u64) {
        let Some(store) = &mut self.store else { return };
        match how {
            0 => self.engine.store().close().expect("it closes"),
            1 => *store = store.after_crash(),
            _ => self.engine.store().flush().expect("all is committed"),
        }
        self.engine = Engine::builder().build().expect("no rules");
        self.engine = Self::open(self.store.as_ref(), &self.clock);
        self.engine.store().verify(|_| {}).expect("it is whole");
    }

    fn record(&mut self, dice: &mut Dice) {
        let (customer, model, brings) = (dice.pick(&CUSTOMERS), dice.pick(&MODELS), brings(dice));
        let mut new = event(customer, model, brings);
        let mut at = self.now;
        if dice.chance(40) {
            let back = dice.pick(&[SECOND, 40 * SECOND, 20 * MINUTE, 5 * HOUR, 2 * DAY]);
            at = self.now - back + i128::from(dice.below(3)) * SECOND;
            new = new.timestamp(date(at));
        }
        let decision = self.engine.record(&new).expect("valid");
        let id = decision.event_id().expect("it is recorded");
        self.entries += 1;
        let brings = Some(brings);
        self.known.push(Known { id, customer, model, at, brings, order: self.entries });
    }

    fn correct(&mut self, dice: &mut Dice) {
        if self.known.is_empty() {
            return;
        }
        let place = dice.below(self.known.len() as u64) as usize;
        let of = &mut self.known[place];
        let how = if dice.chance(50) { Some(brings(dice)) } else { None };
        let answer = match how {
            None => self.engine.void(of.id, "void"),
            Some(brings) => {
                self.engine.amend(of.id, &event(of.customer, of.model, brings), "amended")
            }
        };
        match (of.brings, how) {
            (None, Some(_)) => {
                assert!(matches!(answer, Err(CorrectError::Voided { .. })), "{answer:?}");
                return;
            }
            _ => drop(answer.unwrap_or_else(|why| panic!("{of:?} {how:?}: {why}"))),
        }
        if of.brings != how {
            self.entries += 1;
            (of.brings, of.order) = (how, self.entries);
        }
    }

    fn reserve(&mut self, dice: &mut Dice) {
        let (customer, model, brings) = (dice.pick(&CUSTOMERS), dice.pick(&MODELS), brings(dice));
        let estimate = event(customer, model, Brings { cents: 3, seats: None, ..brings });
        let hold = Hold::lasting(duration(dice.pick(&[MINUTE, 3 * HOUR, 20 * HOUR])));
        let reserved = self.engine.reserve(&estimate, hold).expect("valid");
        let Reserved::Held(held) = reserved else { panic!("nothing is short: {reserved:?}") };
        self.open.push((held.into_id(), customer, model, self.now));
    }

    /// Commits a reservation, or releases it; also one that has expired.
    fn end_one(&mut self, dice: &mut Dice) {
        if self.open.is_empty() {
            return;
        }
        let place = dice.below(self.open.len() as u64) as usize;
        let (id, customer, model, at) = self.open.swap_remove(place);
        if self.now - at >= DAY {
            // It may not be known any more.
            return;
        }
        if dice.chance(30) {
            self.engine.release(id).expect("it is not committed");
            return;
        }
        let brings = brings(dice);
        let decision = self.engine.commit(id, &event(customer, model, brings)).expect("valid");
        let id = decision.event_id().expect("it is recorded");
        self.entries += 1;
        let brings = Some(brings);
        self.known.push(Known { id, customer, model, at, brings, order: self.entries });
    }

    fn adjust(&mut self, dice: &mut Dice) {
        let (quota, customer) = (dice.pick(&["tokens", "events", "cost"]), dice.pick(&CUSTOMERS));
        let rules = self.engine.rules();
        let key = match quota {
            "cost" => RuleKey::default(),
            _ => ("customer_id", customer).into(),
        };
        let made = if dice.chance(40) {
            rules.reset(quota, key)
        } else {
            rules.adjust(
                quota,
                key,
                [dice.below(40) as i64 + 1, -9][dice.below(2) as usize],
                "a note",
            )
        };
        let made = made.expect("there is such a key");
        let is_reset = made.is_reset;
        self.adjusted.push((quota, customer, self.now, made.amount));
        if is_reset {
            let brings = Brings { input: 0, cents: 0, seats: None };
            let standing = self.engine.standing(&event(customer, "tiny", brings)).expect("valid");
            let used = standing.quotas().find(|it| it.name == quota).expect("it matches").used;
            assert_eq!(used, Amount::ZERO, "{quota} of {customer}");
        }
    }

    /// What was adjusted of a quota from an instant on and before another.
    fn adjusted(&self, quota: &str, customer: &str, from: Nanos, to: Nanos) -> Amount {
        let is_it = |it: &&(&str, &str, Nanos, Amount)| {
            it.0 == quota && (quota == "cost" || it.1 == customer) && from <= it.2 && it.2 < to
        };
        let all = self.adjusted.iter().filter(is_it).map(|(.., amount)| *amount);
        all.fold(Amount::ZERO, Amount::saturating_add)
    }

    fn move_customer(&mut self, dice: &mut Dice) {
        let customer = dice.pick(&CUSTOMERS);
        let zone = dice.pick(&[Tz::UTC, Tz::America__New_York, Tz::Asia__Tokyo]);
        self.engine.customers().upsert(Customer::new(customer).time_zone(zone)).expect("good");
        self.zones.insert(customer, zone);
    }

    /// The day of a customer, by its zone.
    fn day_of(&self, customer: &str) -> (Nanos, Nanos) {
        let zone = self.zones.get(customer).copied().unwrap_or(Tz::UTC);
        let days = BucketLength::Day.buckets(zone, None, &(self.now..self.now + 1));
        (days[0].start, days[0].end)
    }

    /// The events that count, from an instant on and before another.
    fn counting(&self, from: Nanos, to: Nanos) -> impl Iterator<Item = (&Known, Brings)> + Clone {
        let counting = self.known.iter().filter_map(|of| Some((of, of.brings?)));
        counting.filter(move |(of, _)| from <= of.at && of.at < to)
    }

    fn check(&self, what: &str) {
        let day = |at: Nanos| (at.div_euclid(DAY) * DAY, (at.div_euclid(DAY) + 1) * DAY);
        let all = (self.now - 9 * DAY, self.now + DAY);
        let spans = [
            all,
            day(self.now),
            day(self.now - DAY),
            (self.now.div_euclid(HOUR) * HOUR, (self.now.div_euclid(HOUR) + 1) * HOUR),
            (self.now - 7 * HOUR - 17 * SECOND, self.now - 30 * SECOND),
        ];
        for (from, to) in spans {
            self.check_usage(from, to, what);
            for customer in CUSTOMERS {
                self.check_meters(customer, from, to, what);
            }
        }
        for customer in CUSTOMERS {
            self.check_quotas(customer, self.day_of(customer), what);
        }
    }

    fn check_usage(&self, from: Nanos, to: Nanos, what: &str) {
        let query = UsageQuery::new(date(from), date(to));
        let breakdown = self.engine.usage().breakdown(&query, "model").expect("an answer");
        let mut rows: BTreeMap<String, (u64, u128, Amount)> = BTreeMap::new();
        for row in breakdown.rows {
            let totals = row.totals;
            let sums = (totals.total_events, totals.total_tokens, totals.total_cost_cents);
            rows.insert(row.dimension.expect("all have one"), sums);
        }
        let mut expected: BTreeMap<String, (u64, u128, Amount)> = BTreeMap::new();
        for (of, brings) in self.counting(from, to) {
            let row = expected.entry(of.model.to_owned()).or_default();
            row.0 += 1;
            row.1 += u128::from(brings.input);
            row.2 = row.2.saturating_add(brings.cents.into());
        }
        assert_eq!(rows, expected, "{what}");
        let totals = self.engine.usage().summary(&query).expect("an answer").totals;
        let sum = |of: fn(Brings) -> i64| -> i64 {
            self.counting(from, to).map(|(_, brings)| of(brings)).sum()
        };
        let seats = totals.values.get("seats").copied().unwrap_or(Amount::ZERO);
        assert_eq!(seats, Amount::from(sum(|brings| brings.seats.unwrap_or(0))), "{what}");
        assert_eq!(totals.total_events, self.counting(from, to).count() as u64, "{what}");
    }

    fn figure(&self, meter: &str, customer: &str, from: Nanos, to: Nanos) -> Amount {
        let own = self.counting(from, to).filter(|(of, _)| of.customer == customer);
        let seats = own.clone_seats();
        match meter {
            "calls" => (own.count() as u64).into(),
            "models" => (own.map(|(of, _)| of.model).collect::<BTreeSet<_>>().len() as u64).into(),
            "seats" => seats.iter().map(|(_, seats)| *seats).sum::<i64>().into(),
            "most" => seats.iter().map(|(_, seats)| *seats).max().unwrap_or(0).into(),
            _ => seats.iter().max_by_key(|(order, _)| *order).map_or(0, |(_, it)| *it).into(),
        }
    }

    fn check_meters(&self, customer: &str, from: Nanos, to: Nanos, what: &str) {
        for meter in ["calls", "models", "seats", "most", "last"] {
            let query = MeterQuery::new().between(date(from), date(to)).customer(customer);
            let answer = self.engine.meters().query(meter, &query).expect("an answer");
            assert!(answer.covers.is_complete, "{what}: {meter}");
            let expected = self.figure(meter, customer, from, to);
            assert_eq!(answer.value, expected, "{what}: {meter} of {customer}");
        }
    }

    fn check_quotas(&self, customer: &'static str, day: (Nanos, Nanos), what: &str) {
        let hour = self.now.div_euclid(HOUR) * HOUR;
        let tokens = |from, to| -> u64 {
            let own = self.counting(from, to).filter(|(of, _)| of.customer == customer);
            own.map(|(_, brings)| brings.input).sum()
        };
        let brings = Brings { input: 0, cents: 0, seats: None };
        let standing = self.engine.standing(&event(customer, "large", brings)).expect("valid");
        let ever = self.now + 2 * DAY;
        for quota in standing.quotas() {
            let expected: Amount = match &*quota.name {
                "tokens" => tokens(day.0, day.1).into(),
                "events" => self.figure("calls", customer, hour, hour + HOUR),
                "cost" => {
                    self.counting(0, ever).map(|(_, brings)| brings.cents).sum::<i64>().into()
                }
                "rolling" => tokens(self.now - 6 * HOUR + 1, ever).into(),
                "large" => {
                    let large = self.counting(0, ever).filter(|(of, _)| of.model == "large");
                    large.map(|(_, brings)| brings.input).sum::<u64>().into()
                }
                meter => self.figure(meter, customer, day.0, day.1),
            };
            let period = match &*quota.name {
                "tokens" => day,
                "events" => (hour, hour + HOUR),
                _ => (0, ever),
            };
            let adjusted = self.adjusted(&quota.name, customer, period.0, period.1);
            let expected = expected.saturating_add(adjusted);
            assert_eq!(quota.used, expected, "{what}: {} of {customer}", quota.name);
            assert_eq!(quota.adjusted, adjusted, "{what}: {} of {customer}", quota.name);
        }
    }

    fn check_list(&self, what: &str) {
        let query = EventQuery::new().limit(100);
        let listed: Vec<_> = self.engine.events().iter(query).expect("good").collect();
        assert_eq!(listed.len(), self.known.len(), "{what}");
        assert_eq!(self.engine.events().len(), self.known.len(), "{what}");
        for (found, of) in listed.iter().rev().zip(&self.known) {
            assert_eq!(found.id, of.id, "{what}");
            let amended = found.correction.as_ref().map(|it| it.amended.as_deref().cloned());
            match (amended, of.brings) {
                (Some(None), None) => {}
                (Some(Some(amended)), Some(brings)) => {
                    assert_eq!(amended, event(of.customer, of.model, brings), "{what}");
                }
                (None, Some(brings)) => {
                    assert_eq!(found.event, event(of.customer, of.model, brings), "{what}");
                }
                (amended, brings) => panic!("{what}: {amended:?} of {brings:?}"),
            }
        }
        let mut count = 0;
        let mut query = CorrectionQuery::new().limit(7);
        loop {
            let page = self.engine.events().corrections(&query).expect("a page");
            count += page.data.len();
            let Some(cursor) = page.next_cursor else { break };
            query = query.cursor(cursor);
        }
        assert_eq!(count + self.known.len(), self.entries, "{what}");
    }
}

trait Seats {
    /// What they have of seats, with the order of the latest.
    fn clone_seats(&self) -> Vec<((Nanos, usize), i64)>;
}

impl<'k, I: Iterator<Item = (&'k Known, Brings)> + Clone> Seats for I {
    fn clone_seats(&self) -> Vec<((Nanos, usize), i64)> {
        self.clone().filter_map(|(of, brings)| Some(((of.at, of.order), brings.seats?))).collect()
    }
}

fn program(seed: u64, durable: bool) {
    let (mut dice, mut world) = (Dice::new(seed), World::new(durable));
    let what = |step: u64| format!("LIMITRY_SEED={seed} durable {durable} step {step}");
    for step in 0..70 {
        match dice.below(15) {
            0..=4 => world.record(&mut dice),
            5..=7 => world.correct(&mut dice),
            8 => world.reserve(&mut dice),
            9 | 10 => world.end_one(&mut dice),
            11 => world.adjust(&mut dice),
            12 => world.move_customer(&mut dice),
            13 => {
                let ahead = dice.pick(&[SECOND, 50 * SECOND, 10 * MINUTE, 3 * HOUR, 14 * HOUR]);
                world.now += ahead;
                world.clock.advance(duration(ahead));
            }
            _ => world.restart(dice.below(3)),
        }
        if step % 3 == 0 {
            world.check(&what(step));
        }
    }
    world.check_list(&what(70));
    world.restart(1);
    world.check(&what(71));
    world.check_list(&what(71));
}

#[test]
fn usage_meters_and_quotas_are_those_of_the_corrected_events() {
    let seed = seed("corrections", 1);
    for case in 0..u64::from(cases(25)) {
        program(seed.wrapping_add(case), false);
    }
}

#[test]
fn they_are_over_restarts_and_crashes() {
    let seed = seed("corrections over restarts", 1_000);
    for case in 0..u64::from(cases(25)) {
        program(seed.wrapping_add(case), true);
    }
}

fn on(medium: &Medium) -> Result<Engine, String> {
    let store = limitry::store::Durable::open_on(medium.clone()).map_err(|why| why.to_string())?;
    let clock = ManualClock::new(date(START));
    let builder = rules(Engine::builder()).clock(clock);
    let store = store.durability(Durability::Synced);
    builder.durable(store).build().map_err(|why| why.to_string())
}

/// Tokens of each step after it, of a life that was not cut off.
const AFTER: [u128; 6] = [100, 120, 20, 25, 33, 8];

/// Does the steps up to the first error, and returns how many were answered.
fn live(medium: &Medium) -> usize {
    let Ok(engine) = on(medium) else { return 0 };
    let (mut ids, mut done) = (Vec::new(), 0);
    let call = |tokens| Event::new("ann", "call").model("large").input_tokens(tokens);
    let mut step = |answer: bool| {
        done += usize::from(answer);
        answer
    };
    for tokens in [100, 20] {
        let Ok(decision) = engine.track(&call(tokens)) else { return done };
        ids.push(decision.event_id().expect("it is recorded"));
        step(true);
    }
    let all = step(engine.void(ids[0], "it failed").is_ok())
        && step(engine.amend(ids[1], &call(25), "as billed").is_ok())
        && step(engine.track(&call(8)).is_ok())
        && step(engine.void(ids[1], "it failed, too").is_ok());
    let _ = all;
    done
}

#[test]
fn whenever_the_machine_stops_a_correction_is_there_whole_or_not_at_all() {
    let medium = Medium::new();
    assert_eq!(live(&medium), AFTER.len());
    let mut seen = BTreeSet::new();
    for at in (0..medium.changes()).step_by(if long() { 1 } else { 3 }) {
        let medium = Medium::new().crash_at(at);
        let done = live(&medium);
        for unsynced in [Unsynced::Kept, Unsynced::Seed(at)] {
            let engine = on(&medium.after_crash(unsynced)).expect("it opens");
            engine.store().verify(|_| {}).expect("it is whole");
            let totals = engine.usage().summary(&UsageQuery::new(date(0), date(START + DAY)));
            let tokens = totals.expect("an answer").totals.total_tokens;
            let is_after = |steps: usize| match steps {
                0 => tokens == 0,
                steps => AFTER.get(steps - 1) == Some(&tokens),
            };
            assert!(is_after(done) || is_after(done + 1), "{at} {unsynced:?}: {tokens} of {done}");
            let event = Event::new("ann", "call").model("large");
            let standing = engine.standing(&event).expect("valid");
            let used = standing.quotas().find(|quota| quota.name == "tokens").expect("it matches");
            let tokens = u64::try_from(tokens).expect("few");
            assert_eq!(used.used, Amount::from(tokens), "{at} {unsynced:?}");
            seen.insert(tokens);
        }
    }
    assert!(seen.len() > AFTER.len() / 2, "{seen:?}");
}
