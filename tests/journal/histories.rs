//! Goal: with the feature `durable` an engine goes on after a restart where it was: rules, meters,
//! events, idempotency keys, counters and usage come back, and every answer from there on is the
//! one that an engine which never stopped would give.
//!
//! Method: a random history of calls and changes of the rules goes to an engine in memory and to
//! one that is closed, dropped or opened from a copy at random moments; all answers must be the
//! same to the letter, but for the names of events. Worked cases are in `restarts.rs`; what a kill
//! does is in `kill.rs`.

use super::restarts::{open, request, two_rules};
use crate::support::files::StoreFile;
use crate::support::oracle::{DAY, HOUR, MINUTE, Nanos, SECOND};
use crate::support::{Dice, START, cases, date, duration, long, seed};
use limitry::errors::{ReservationError, TrackError};
use limitry::events::{EventId, EventQuery};
use limitry::reservations::{KeyStatus, ReservationId, ReservationQuery, ReservationStatus};
use limitry::rules::{Algorithm, Enforcement, Overflow, QuotaUpdate, RateLimitUpdate};
use limitry::store::Durability;
use limitry::time::ManualClock;
use limitry::usage::{Interval, MeterQuery, UsageQuery};
use limitry::wire::HeaderDialect;
use limitry::{
    Decision, Engine, EngineBuilder, Event, Hold, Meter, Metric, Period, Quota, RateLimit,
    Reserved, Window,
};
use std::collections::BTreeMap;

/// The rules of the code have lower numbers, those that come later higher ones.
const DECLARED: u64 = 6;

/// Everything that an answer says, with the event's number in place of its name.
fn said(answer: &Result<Decision, TrackError>, ids: &BTreeMap<EventId, usize>) -> String {
    let decision = match answer {
        Ok(decision) => decision,
        Err(TrackError::Store(why)) => panic!("the store failed: {why}"),
        Err(why) => return why.to_string(),
    };
    let number = decision.event_id().map(|id| ids.get(&id).copied().unwrap_or(ids.len()));
    let mut body = serde_json::to_value(decision).expect("plain data");
    if let Some(id) = body.get_mut("id") {
        *id = serde_json::json!(number);
    }
    let headers = |dialect| decision.headers_in(dialect).collect::<Vec<_>>();
    format!(
        "{number:?} {body} {decision} {:?} {:?} {:?} {}",
        headers(HeaderDialect::XRateLimit),
        headers(HeaderDialect::Draft10),
        decision.retry_after(),
        decision.is_replay(),
    )
}

/// An engine with the numbers of its events, and its reservations.
struct Side {
    engine: Engine,
    clock: ManualClock,
    ids: BTreeMap<EventId, usize>,
    reservations: Vec<ReservationId>,
}

impl Side {
    fn ask(
        &mut self,
        call: impl FnOnce(&Engine) -> Result<Decision, TrackError>,
    ) -> (String, Option<EventId>) {
        let answer = call(&self.engine);
        let text = said(&answer, &self.ids);
        let id = answer.ok().and_then(|decision| decision.event_id());
        if let Some(id) = id {
            let next = self.ids.len();
            self.ids.entry(id).or_insert(next);
        }
        (text, id)
    }

    /// Does something about a reservation, and says what was answered.
    fn reserve(&mut self, step: &Reserving, now: Nanos) -> String {
        let Self { engine, reservations, .. } = self;
        let id = |one: usize| reservations[one % reservations.len()];
        let answer = match step {
            Reserving::Reserve(event, length, at_least) => {
                let hold = Hold::lasting(duration(*length));
                let answer = match at_least {
                    None => engine.reserve(event, hold),
                    Some(least) => engine.reserve_up_to(event, &Metric::TotalTokens, *least, hold),
                };
                return self.reserved(answer);
            }
            _ if reservations.is_empty() => return String::new(),
            Reserving::Release(one) => {
                let status = engine.release(id(*one));
                return status.map_or_else(|why| self.failed(&why), |it| self.status(&it));
            }
            Reserving::Extend(one, length) => {
                let until = engine.extend(id(*one), duration(*length));
                return until.map_or_else(|why| self.failed(&why), |until| until.to_string());
            }
            Reserving::Grow(one, event) => engine.grow(id(*one), event),
            Reserving::Commit(one, event) => engine.commit(id(*one), event),
        };
        let answer = match answer {
            Ok(decision) => Ok(decision),
            Err(ReservationError::Track(why)) => Err(why),
            Err(why) => return self.failed(&why),
        };
        let number = answer.as_ref().ok().and_then(Decision::reservation_id);
        let number = number.map(|id| self.number(id));
        let overrun = answer.as_ref().is_ok_and(Decision::is_overrun);
        let (text, _) = self.ask(|_| answer);
        format!("{number:?} {overrun} {text} {now}")
    }

    fn reserved(&mut self, answer: Result<Reserved, ReservationError>) -> String {
        let (kind, decision) = match answer {
            Ok(Reserved::Held(held)) => {
                self.reservations.push(held.id());
                let kind = format!("held until {} of {:?}", held.expires_at(), held.granted());
                let decision = held.decision().clone();
                let _ = held.into_id();
                (kind, decision)
            }
            Ok(Reserved::Refused(decision)) => ("refused".into(), decision),
            Ok(Reserved::Replayed(KeyStatus::Reserved(status))) => {
                return format!("replayed {}", self.status(&status));
            }
            Ok(Reserved::Replayed(KeyStatus::Decided(decision))) => ("decided".into(), decision),
            Err(ReservationError::Track(why)) => return why.to_string(),
            Err(why) => return self.failed(&why),
        };
        format!("{kind} {}", self.ask(|_| Ok(decision)).0)
    }

    fn failed(&self, why: &ReservationError) -> String {
        match why {
            ReservationError::Conflict { id, first } => {
                let first = first.and_then(|first| self.ids.get(&first));
                format!("another than {first:?} of {}", self.number(*id))
            }
            ReservationError::Ended { id, state, verb } => {
                format!("{} is {state}, not {verb}", self.number(*id))
            }
            ReservationError::Track(TrackError::Store(why)) => panic!("the store failed: {why}"),
            why => why.to_string(),
        }
    }

    fn number(&self, id: ReservationId) -> usize {
        self.reservations.iter().position(|known| *known == id).expect("it was made here")
    }

    fn status(&self, status: &ReservationStatus) -> String {
        let number = self.number(status.id);
        let event = status.event_id.and_then(|id| self.ids.get(&id));
        let ReservationStatus { state, estimate, timestamp, expires_at, .. } = status;
        format!("{number} {event:?} {state} {timestamp} until {expires_at}: {estimate:?}")
    }

    /// The reservations, but for those that may be forgotten soon.
    fn open(&self) -> Vec<String> {
        let all = self.engine.reservations().list(&ReservationQuery::new());
        let now = self.engine.now().unix_seconds();
        let recent = |status: &&ReservationStatus| status.expires_at.unix_seconds() + 80_000 > now;
        all.iter().filter(recent).map(|status| self.status(status)).collect()
    }

    /// What can be asked of the whole engine.
    fn portrait(&self) -> String {
        let mut all = self.open();
        let set = self.engine.rules().set();
        all.push(serde_json::to_string_pretty(&set).expect("plain data"));
        let events = self.engine.events();
        all.push(events.len().to_string());
        for found in events.iter(EventQuery::new()).expect("a good question") {
            let number = self.ids.get(&found.id);
            all.push(format!("{number:?} {} {:?}", found.timestamp, found.event));
        }
        let queries = [
            UsageQuery::all_time(),
            UsageQuery::all_time().customer("c1"),
            UsageQuery::all_time().filter("model", "a"),
            UsageQuery::new(date(START - DAY + 7 * MINUTE), date(START + 3 * HOUR + SECOND)),
        ];
        for query in &queries {
            all.push(format!("{:?}", self.engine.usage().summary(query)));
            for by in ["customer_id", "model", "team"] {
                all.push(format!("{:?}", self.engine.usage().breakdown(query, by)));
            }
        }
        let day = UsageQuery::new(date(START - DAY), date(START + 2 * DAY));
        all.push(format!("{:?}", self.engine.usage().timeseries(&day, Interval::Hour)));
        for meter in ["peak", "level", "units"] {
            for query in [MeterQuery::new(), MeterQuery::new().customer("c2")] {
                all.push(format!("{:?}", self.engine.meters().query(meter, &query)));
            }
        }
        for customer in 0..4 {
            for model in ["a", "b"] {
                let event = Event::new(format!("c{customer}"), "call").model(model);
                all.push(format!("{:?}", self.engine.standing(&event)));
            }
        }
        all.join("\n")
    }
}

/// Something that is done about a reservation.
#[derive(Debug)]
enum Reserving {
    Reserve(Event<'static>, Nanos, Option<u64>),
    Commit(usize, Event<'static>),
    Grow(usize, Event<'static>),
    Extend(usize, Nanos),
    Release(usize),
}

fn reserving(
    dice: &mut Dice,
    side: &Side,
    now: Nanos,
    keys: &mut Vec<Event<'static>>,
) -> Reserving {
    let length = dice.pick(&[1, SECOND, 40 * SECOND, 8 * MINUTE, HOUR, DAY]);
    let count = side.reservations.len();
    // Mostly one of the newest, which is open.
    let back = if dice.chance(80) { 6 } else { 60 };
    let back = usize::try_from(dice.below(back)).expect("small");
    let one = count.saturating_sub(1).saturating_sub(back);
    // What happens is of the customer and mostly of the model that was reserved for.
    let of = side.reservations.get(one).and_then(|id| side.engine.reservation(*id));
    let mut event = random_event(dice, now, &mut Vec::new());
    if let Some(status) = of.as_ref().filter(|_| dice.chance(90)) {
        let customer = status.estimate.customer_id().to_owned();
        event = Event::new(customer, "call").total_tokens(dice.below(50));
        if let Some(model) = status.estimate.dimension("model").filter(|_| dice.chance(90)) {
            event = event.model(model.to_owned());
        }
        if dice.chance(50) {
            event = event.value("units", i64::try_from(dice.below(9)).expect("small") - 1);
        }
    }
    // One that is over for long may be forgotten here and not there.
    let is_old = |status: &ReservationStatus| {
        status.expires_at.unix_seconds() + 80_000 < side.engine.now().unix_seconds()
    };
    let is_old = of.is_none_or(|status| is_old(&status));
    match dice.below(if is_old { 9 } else { 20 }) {
        0..9 => {
            let event = if dice.chance(15) && !keys.is_empty() {
                dice.pick(keys)
            } else {
                reserved_event(dice, now, keys)
            };
            let least = dice.chance(15).then(|| dice.below(20));
            Reserving::Reserve(event, length, least)
        }
        9..14 => Reserving::Commit(one, event),
        14..16 => Reserving::Grow(one, event),
        16..18 => Reserving::Extend(one, length),
        _ => Reserving::Release(one),
    }
}

fn rate_limit(dice: &mut Dice, number: u64) -> RateLimit {
    let windows = [Window::Second, Window::Minute, Window::every(duration(7_200 * SECOND + 1))];
    let metrics = [Metric::TotalEvents, Metric::TotalTokens, Metric::value("units")];
    let algorithms = [Algorithm::TokenBucket, Algorithm::FixedWindow, Algorithm::SlidingWindow];
    let limit = if dice.chance(50) { dice.range(1, 10) } else { dice.range(20, 2_000) };
    let mut rule = RateLimit::new(format!("limit {number}"), limit, dice.pick(&windows))
        .id(format!("rl_{number}"))
        .metric(dice.pick(&metrics))
        .algorithm(dice.pick(&algorithms))
        .enforcement(enforcement(dice));
    if dice.chance(60) {
        rule = rule.per("customer_id");
    }
    if dice.chance(20) {
        rule = rule.per("model").filter("event_type", "call");
    }
    rule
}

fn enforcement(dice: &mut Dice) -> Enforcement {
    dice.pick(&[Enforcement::Hard, Enforcement::Hard, Enforcement::Soft, Enforcement::Shadow])
}

/// What quotas on different values count.
const UNIQUE: [&str; 3] = ["unique.model", "unique.event_type", "unique.customer_id"];

fn quota(dice: &mut Dice, number: u64) -> Quota {
    // Rolling quotas that came late are told again after a restart, in pieces of a sixtieth, and
    // are not the same to the nanosecond: `windows` tries those.
    if dice.chance(10) {
        return Quota::concurrent(format!("slots {number}"), dice.range(2, 8))
            .id(format!("q_{number}"))
            .per("customer_id");
    }
    if dice.chance(15) {
        let (period, of) = (dice.pick(&[Period::Day, Period::AllTime]), dice.pick(&UNIQUE));
        let quota =
            Quota::new(format!("values {number}"), of.parse().expect("a metric"), 2, period);
        let quota = quota.id(format!("q_{number}")).max_values(3);
        return if dice.chance(60) { quota.per("customer_id") } else { quota };
    }
    let (period, metric) = match dice.below(5) {
        0 => (dice.pick(&[Period::Hour, Period::AllTime]), Metric::meter("peak")),
        1 => (dice.pick(&[Period::Day, Period::Month]), Metric::meter("level")),
        2 => (dice.pick(&[Period::Day, Period::Week]), Metric::meter("units")),
        3 => (dice.pick(&[Period::Week, Period::AllTime]), Metric::TotalEvents),
        _ => (dice.pick(&[Period::Hour, Period::Week, Period::Month]), Metric::TotalTokens),
    };
    let limit = if dice.chance(50) { dice.range(1, 60) } else { dice.range(100, 5_000) };
    let capped = period == Period::AllTime && metric == Metric::TotalEvents;
    // What no event has written is made again from what is recorded: a quota on trial then shows
    // also what it had not let in, and one with a cap finds room for other keys. So neither here,
    // but caps from the start.
    let enforcement = dice.pick(&[Enforcement::Hard, Enforcement::Hard, Enforcement::Soft]);
    let mut rule = Quota::new(format!("quota {number}"), metric, limit, period)
        .id(format!("q_{number}"))
        .enforcement(enforcement);
    if dice.chance(60) || capped {
        rule = rule.per("customer_id");
    }
    // Where counters fall idle, it is a matter of upkeep which keys find room: these do not.
    if capped && number < DECLARED {
        let overflow = dice.pick(&[Overflow::Share, Overflow::Deny, Overflow::Allow]);
        rule = rule.max_keys(2).overflow(overflow);
    }
    rule
}

fn random_event(dice: &mut Dice, now: Nanos, keys: &mut Vec<Event<'static>>) -> Event<'static> {
    if dice.chance(15) && !keys.is_empty() {
        let known = dice.pick(keys);
        // A retry as it was, with another payload, stamped anew, with its total left out or said
        // where it had been left out, or the same key of another customer.
        return match dice.below(10) {
            0 | 1 => known.latency_ms(dice.below(3)),
            2 => known.timestamp(date(now - Nanos::from(dice.below(90)) * MINUTE)),
            3 => match known.amount("input_tokens") {
                Some(_) => known.total_tokens(30),
                None => known.input_tokens(30),
            },
            4 => {
                let customer = format!("c{}", dice.below(4));
                let key = format!("key {}", dice.below(keys.len() as u64));
                Event::new(customer, "call").total_tokens(7).idempotency_key(key)
            }
            _ => known,
        };
    }
    let sign = if dice.chance(15) { "-" } else { "" };
    let mut event = Event::new(format!("c{}", dice.below(4)), dice.pick(&["call", "embed"]))
        .value("units", format!("{sign}{}.25", dice.below(20)).as_str());
    event = match dice.below(4) {
        0 => event.input_tokens(20).output_tokens(10),
        _ => event.total_tokens(dice.below(60)),
    };
    if dice.chance(70) {
        event = event.model(dice.pick(&["a", "b"]));
    }
    if dice.chance(40) {
        event = event.value("agents", i64::try_from(dice.below(40)).expect("small") - 5);
    }
    if dice.chance(20) {
        event = event.property("team", "t").property("share", 0.1);
        event = event.cost_cents(i64::try_from(dice.below(12)).expect("small") - 3);
    }
    if dice.chance(20) {
        let back = if dice.chance(50) { HOUR } else { 40 * HOUR };
        let ahead = Nanos::from(dice.below(40)) * MINUTE;
        let at = now + ahead - back + Nanos::from(dice.below(3_600)) * SECOND + 7;
        // A few are too far ahead.
        event = event.timestamp(date(if dice.chance(10) { now + 2 * DAY } else { at }));
    }
    if dice.chance(30) {
        event = event.idempotency_key(format!("key {}", keys.len()));
        keys.push(event.clone());
    }
    event
}

/// The same with nothing below zero.
fn reserved_event(dice: &mut Dice, now: Nanos, keys: &mut Vec<Event<'static>>) -> Event<'static> {
    let event = random_event(dice, now, &mut Vec::new());
    let mut event = event.value("units", dice.below(20)).value("agents", dice.below(40));
    if event.amount("cost_cents").is_some() {
        event = event.cost_cents(dice.below(12));
    }
    if dice.chance(30) {
        event = event.idempotency_key(format!("key {}", keys.len()));
        keys.push(event.clone());
    }
    event
}

/// A change of the rules, the same for every engine.
fn change(dice: &mut Dice, engine: &Engine, number: u64) -> String {
    let ids: Vec<u64> = (0..number).collect();
    let one = if ids.is_empty() { 0 } else { dice.pick(&ids) };
    match dice.below(7) {
        0 => {
            let update = RateLimitUpdate::new().limit(dice.range(1, 100));
            format!("{:?}", engine.rules().update(&format!("rl_{one}"), update))
        }
        1 => {
            let algorithm = dice.pick(&[Algorithm::TokenBucket, Algorithm::SlidingWindow]);
            let update = RateLimitUpdate::new().algorithm(algorithm);
            format!("{:?}", engine.rules().update(&format!("rl_{one}"), update))
        }
        2 => {
            let period = dice.pick(&[Period::Hour, Period::Day, Period::AllTime]);
            let id = format!("q_{one}");
            let mut update = QuotaUpdate::new().limit(dice.range(1, 500));
            if engine.rules().get::<Quota>(&id).is_some_and(|quota| quota.max_keys.is_none()) {
                update = update.period(period);
            }
            format!("{:?}", engine.rules().update(&id, update))
        }
        3 => {
            let update = QuotaUpdate::new().enabled(dice.chance(50));
            format!("{:?}", engine.rules().update(&format!("q_{one}"), update))
        }
        4 => {
            let kind = dice.pick(&["rl", "q"]);
            format!("{:?}", engine.rules().remove(&format!("{kind}_{one}")))
        }
        5 => format!("{:?}", engine.rules().add(rate_limit(dice, number))),
        _ => format!("{:?}", engine.rules().add(quota(dice, number))),
    }
}

fn meters(builder: EngineBuilder) -> EngineBuilder {
    builder
        .meter(Meter::max("peak of agents", "agents").id("peak"))
        .meter(Meter::latest("agents now", "agents").id("level"))
        .meter(Meter::sum("units of calls", "units").id("units").filter("event_type", "call"))
}

/// One history, told to both.
struct Twins {
    memory: Side,
    stored: Side,
    file: StoreFile,
    files: usize,
    now: Nanos,
    declared: Vec<(bool, u64)>,
    seed: u64,
    /// How often each kind of answer was given.
    met: BTreeMap<&'static str, u32>,
}

impl Twins {
    fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let declared: Vec<(bool, u64)> =
            (0..dice.below(DECLARED)).map(|number| (dice.chance(50), number)).collect();
        let file = StoreFile::new(&format!("twins-{seed}-0"));
        let (now, clock) = (START, ManualClock::new(date(START)));
        let builder = Engine::builder().clock(clock.clone());
        let engine = Self::declare(seed, &declared, builder).build().expect("good rules");
        let memory = Side { engine, clock, ids: BTreeMap::new(), reservations: Vec::new() };
        let (engine, clock) = open(&file, now, |builder| Self::declare(seed, &declared, builder));
        let stored = Side { engine, clock, ids: BTreeMap::new(), reservations: Vec::new() };
        Self { memory, stored, file, files: 0, now, declared, seed, met: BTreeMap::new() }
    }

    /// What the code says: the same at every start.
    fn declare(seed: u64, declared: &[(bool, u64)], mut builder: EngineBuilder) -> EngineBuilder {
        let mut dice = Dice::new(seed.wrapping_add(99));
        builder = meters(builder);
        for (is_rate, number) in declared {
            builder = if *is_rate {
                builder.rate_limit(rate_limit(&mut dice, *number))
            } else {
                builder.quota(quota(&mut dice, *number))
            };
        }
        builder
    }

    fn advance(&mut self, length: Nanos) {
        self.now += length;
        self.memory.clock.advance(duration(length));
        self.stored.clock.advance(duration(length));
    }

    fn ask(&mut self, context: &str, call: impl Fn(&Engine) -> Result<Decision, TrackError>) {
        let (memory, first) = self.memory.ask(&call);
        let (stored, second) = self.stored.ask(&call);
        assert_eq!(stored, memory, "{context}");
        assert_eq!(first.is_some(), second.is_some(), "{context}");
        let kind = match &memory {
            text if text.ends_with("true") => "replay",
            text if text.contains("\"allowed\":true") => "allowed",
            text if text.contains("\"allowed\":false") => "refused",
            text if text.contains("idempotency") => "conflict",
            _ => "bad event",
        };
        *self.met.entry(kind).or_default() += 1;
    }

    fn restart(&mut self, dice: &mut Dice) {
        let times = if dice.chance(20) { 2 } else { 1 };
        for _ in 0..times {
            // An engine without a store takes the place of the one that ends.
            let idle = Engine::builder().build().expect("no rules");
            let engine = std::mem::replace(&mut self.stored.engine, idle);
            let kind = dice.below(3);
            match kind {
                0 => engine.store().close().expect("it closes"),
                1 => {}
                _ => {
                    self.files += 1;
                    let copy = StoreFile::new(&format!("twins-{}-{}", self.seed, self.files));
                    engine.store().backup(&copy.path, |_| {}).expect("a copy");
                    self.file = copy;
                }
            }
            drop(engine);
            let level = dice.pick(&[Durability::Memory, Durability::Buffered, Durability::Synced]);
            let clock = ManualClock::new(date(self.now));
            let store = self.file.store().durability(level);
            let builder = Engine::builder().clock(clock.clone()).durable(store);
            let builder = Self::declare(self.seed, &self.declared, builder);
            self.stored.engine = builder.build().expect("an engine that goes on");
            self.stored.clock = clock;
        }
    }

    fn run(&mut self, steps: u64) {
        let mut dice = Dice::new(self.seed.wrapping_add(1));
        let (mut keys, mut number) = (Vec::new(), DECLARED);
        for step in 0..steps {
            let context = format!("seed {}, step {step}", self.seed);
            match dice.below(100) {
                0..20 => {
                    let length = dice.pick(&[1, SECOND, 20 * SECOND, 7 * MINUTE, HOUR, 5 * HOUR]);
                    self.advance(length + Nanos::from(dice.below(1_000)));
                }
                20..22 => self.advance(DAY),
                22..28 => {
                    let draw = dice.next();
                    let changed = |side: &Side| change(&mut Dice::new(draw), &side.engine, number);
                    assert_eq!(changed(&self.stored), changed(&self.memory), "{context}");
                    number += 1;
                }
                28..31 => self.restart(&mut dice),
                31 => {
                    assert_eq!(self.stored.portrait(), self.memory.portrait(), "{context}");
                }
                80..96 => {
                    let reserving = reserving(&mut dice, &self.memory, self.now, &mut keys);
                    let memory = self.memory.reserve(&reserving, self.now);
                    let stored = self.stored.reserve(&reserving, self.now);
                    assert_eq!(stored, memory, "{context}: {reserving:?}");
                    let word = memory.split([' ', '{']).next().unwrap_or_default();
                    for known in ["held", "refused", "replayed", "decided"] {
                        *self.met.entry(known).or_default() += u32::from(word == known);
                    }
                }
                kind => {
                    let event = random_event(&mut dice, self.now, &mut keys);
                    let context = format!("{context}: {event:?}");
                    self.ask(&context, |engine| match kind {
                        32..64 => engine.track(&event),
                        64..76 => engine.record(&event),
                        _ => engine.check(&event),
                    });
                }
            }
        }
        self.restart(&mut dice);
        assert_eq!(self.stored.portrait(), self.memory.portrait(), "seed {}, the end", self.seed);
    }
}

#[test]
fn an_engine_that_was_stopped_answers_as_one_that_was_not() {
    let first = seed("durable", 7_000);
    let count = u64::from(cases(if long() { 400 } else { 16 }));
    let mut met: BTreeMap<_, u32> = BTreeMap::new();
    for seed in first..first + count {
        let mut twins = Twins::new(seed);
        twins.run(400);
        twins.met.into_iter().for_each(|(kind, times)| *met.entry(kind).or_default() += times);
    }
    println!("durable: {met:?}");
    for kind in ["replayed", "decided"] {
        assert!(count < 10 || met.get(kind).is_some_and(|times| *times > 2), "{kind}: {met:?}");
    }
    for kind in ["held", "refused", "replay", "allowed", "conflict", "bad event"] {
        assert!(count < 10 || met.get(kind).is_some_and(|times| *times > 10), "{kind}: {met:?}");
    }
}

#[test]
fn opening_changes_nothing() {
    let file = StoreFile::new("twice");
    let (engine, _clock) = open(&file, START, two_rules);
    for number in 0..3 {
        let _ = engine.track(&request(number)).expect("good");
    }
    let _ = engine.record(&Event::new("late", "call").timestamp(date(START - HOUR))).expect("good");
    drop(engine);
    let mut portraits = Vec::new();
    for turn in 0..5 {
        let (engine, clock) = open(&file, START, two_rules);
        let ids = engine.events().iter(EventQuery::new()).expect("a good question");
        let ids = ids.enumerate().map(|(number, found)| (found.id, number)).collect();
        let side = Side { engine, clock, ids, reservations: Vec::new() };
        portraits.push(side.portrait());
        if turn == 2 {
            side.engine.store().close().expect("it closes");
        }
    }
    assert!(portraits.iter().all(|portrait| *portrait == portraits[0]));
}
