//! Goal: whatever the order, the retries, the late events and what had to be dropped, every answer
//! about usage is the sum of exactly those accepted events that it says it covers; nothing is lost
//! and nothing is counted twice.
//!
//! Method: random histories of tracked, recorded and repeated events, some late and some ahead,
//! under rules that refuse a part of them, with meters that come, change and go on the way. The
//! engine is asked at random moments, and each answer is compared with a naive fold over the
//! events that were accepted until then. Every history runs under every configuration below.

mod answers;
mod grouped;

use crate::support::fold::{ALWAYS, Aggregate, Selection, UsageEvent};
use crate::support::oracle::{DAY, HOUR, MINUTE, Nanos, SECOND};
use crate::support::usage::{
    DIMENSIONS, VALUES, covered, draw_fact, draw_pairs, event, instant, meter, meter_query,
    usage_query,
};
use crate::support::{Dice, START, cases, date, duration, engine, long, seed};
use chrono_tz::Tz;
use limitry::events::{BatchEvent, EventId, Recording};
use limitry::rules::MeterUpdate;
use limitry::time::ManualClock;
use limitry::usage::RollupOptions;
use limitry::{Engine, EngineBuilder, Event, Metric, Outcome, Period, Quota, RateLimit, Window};
use std::collections::HashSet;

const ZONES: [Tz; 6] = [
    Tz::UTC,
    Tz::America__New_York,
    Tz::Asia__Kolkata,
    Tz::Asia__Kathmandu,
    Tz::Australia__Lord_Howe,
    Tz::Pacific__Kiritimati,
];

/// An engine's configuration, and what may be expected of it.
struct Setup {
    name: &'static str,
    rollups: RollupOptions,
    recording: Recording,
    retention: Option<Nanos>,
    declared: Vec<&'static str>,
    customers: u64,
    /// Some values or combinations find no room.
    has_caps: bool,
    /// Some rows are dropped.
    forgets: bool,
}

impl Setup {
    fn new(name: &'static str) -> Self {
        Self {
            name,
            rollups: RollupOptions::new(),
            recording: Recording::default(),
            retention: None,
            declared: DIMENSIONS[..4].to_vec(),
            customers: 6,
            has_caps: false,
            forgets: false,
        }
    }

    fn declaring(mut self, declared: &[&'static str]) -> Self {
        self.declared = declared.to_vec();
        self.rollups = self.rollups.dimensions(self.declared.clone());
        self
    }

    fn keeping(mut self, events: usize) -> Self {
        self.recording = Recording::Newest(events);
        self
    }

    fn capped(mut self, values: usize, combinations: usize) -> Self {
        self.rollups = self.rollups.max_values(values).max_combinations(combinations);
        (self.has_caps, self.customers) = (true, 30);
        self
    }

    fn forgetting(mut self, rows: usize, minutes: Nanos, hours: Nanos, days: Nanos) -> Self {
        let [minutes, hours, days] = [minutes, hours, days].map(duration);
        let rollups = self.rollups.max_rows(rows).keep_minutes(minutes);
        self.rollups = rollups.keep_hours(hours).keep_days(days);
        self.forgets = true;
        self
    }

    fn retaining(mut self, retention: Nanos) -> Self {
        self.retention = Some(retention);
        self
    }

    fn build(&self, builder: EngineBuilder) -> EngineBuilder {
        let builder = builder.recording(self.recording).rollups(self.rollups.clone());
        match self.retention {
            Some(retention) => builder.event_retention(duration(retention)),
            None => builder,
        }
    }

    /// Whether the roll-ups alone know all about these pairs and this dimension.
    fn sums_up(&self, selection: &Selection, by: Option<&str>) -> bool {
        let mut names = selection.pairs.iter().map(|(name, _)| name.as_str()).chain(by);
        !self.has_caps && !self.forgets && names.all(|name| self.declared.contains(&name))
    }
}

fn setups() -> Vec<Setup> {
    let brief = (2 * HOUR, 6 * HOUR, 3 * DAY);
    vec![
        Setup::new("the defaults"),
        Setup::new("few events").keeping(40),
        Setup::new("one event").keeping(1),
        Setup::new("young events").keeping(200).retaining(HOUR),
        Setup::new("two dimensions more")
            .declaring(&["customer_id", "event_type", "model", "provider", "team_id", "tier"])
            .keeping(300),
        Setup::new("one dimension").declaring(&["customer_id"]).keeping(500),
        Setup::new("no dimensions").declaring(&[]).keeping(500),
        Setup::new("few values").capped(4, 200_000),
        Setup::new("few values and events").capped(3, 9).keeping(60),
        Setup::new("few combinations").capped(100_000, 12).keeping(400),
        Setup::new("few rows").forgetting(150, 7 * DAY, 90 * DAY, 90 * DAY),
        Setup::new("few rows and events").forgetting(60, DAY, 9 * DAY, 90 * DAY).keeping(100),
        Setup::new("a short memory").forgetting(1_000_000, brief.0, brief.1, brief.2).keeping(100),
        Setup::new("next to no memory").forgetting(9, MINUTE, HOUR, DAY).keeping(1),
        Setup::new("everything at once")
            .capped(5, 20)
            .forgetting(400, brief.0, brief.1, brief.2)
            .keeping(150)
            .retaining(2 * HOUR),
    ]
}

/// A meter of the engine, in the fold's words.
#[derive(Clone, Debug)]
struct KnownMeter {
    id: String,
    aggregate: Aggregate,
    of: &'static str,
    pairs: Vec<(String, String)>,
}

/// An event as it was sent, to be sent again.
#[derive(Clone, Debug)]
struct SentEvent {
    usage_event: UsageEvent,
    key: Option<String>,
    stamp: Option<Nanos>,
}

struct History<'s> {
    setup: &'s Setup,
    engine: Engine,
    clock: ManualClock,
    dice: Dice,
    /// The clock, which may be behind the engine's time.
    at: Nanos,
    accepted: Vec<UsageEvent>,
    ids: HashSet<EventId>,
    sent: Vec<SentEvent>,
    gauges: Vec<KnownMeter>,
    made: u32,
    refused: u32,
    repeated: u32,
    /// How many answers told of any events, in all and in part.
    complete: u32,
    partial: u32,
}

impl<'s> History<'s> {
    fn new(setup: &'s Setup, seed: u64) -> Self {
        let (engine, clock) = engine(|builder| rules(setup.build(builder)));
        Self {
            setup,
            engine,
            clock,
            dice: Dice::new(seed),
            at: START,
            accepted: Vec::new(),
            ids: HashSet::new(),
            sent: Vec::new(),
            gauges: Vec::new(),
            made: 0,
            refused: 0,
            repeated: 0,
            complete: 0,
            partial: 0,
        }
    }

    fn step(&mut self) {
        self.pass_time();
        match self.dice.below(100) {
            0..=5 if !self.sent.is_empty() => {
                let sent = self.dice.pick(&self.sent);
                self.send(sent);
            }
            6 => self.change_meters(),
            7 => self.send_batch(),
            _ => {
                let sent = self.draw();
                self.send(sent);
            }
        }
    }

    fn pass_time(&mut self) {
        let dice = &mut self.dice;
        let length = match dice.below(100) {
            0 => DAY * Nanos::from(dice.below(3)),
            1..=3 => HOUR * Nanos::from(dice.below(5)),
            4..=20 => Nanos::from(dice.below(600)) * SECOND,
            21..=22 => -Nanos::from(dice.below(90)) * SECOND,
            23..=60 => Nanos::from(dice.below(40_000_000_000)),
            _ => 0,
        };
        self.at += length;
        self.clock.set(date(self.at));
    }

    fn draw(&mut self) -> SentEvent {
        let dice = &mut self.dice;
        let usage_event = draw_fact(dice, self.setup.customers);
        let key = dice.chance(20).then(|| format!("key_{}", dice.below(1_000_000_000)));
        let back = |dice: &mut Dice, most: Nanos| {
            Nanos::from(dice.below(u64::try_from(most).expect("not so long")))
        };
        let stamp = match dice.below(100) {
            0..=2 => Some(self.at - back(dice, 30 * DAY)),
            3..=8 => Some(self.at - back(dice, 2 * DAY)),
            9..=16 => Some(self.at - back(dice, HOUR)),
            17..=19 => Some(self.at + back(dice, 23 * HOUR)),
            20..=24 => Some((self.at - back(dice, DAY)).div_euclid(MINUTE) * MINUTE),
            25 => Some(self.at + 2 * DAY),
            _ => None,
        };
        let sent = SentEvent { usage_event, key, stamp };
        if sent.key.is_some() {
            self.sent.push(sent.clone());
        }
        sent
    }

    fn send(&mut self, sent: SentEvent) {
        let event = sent.event();
        let is_tracked = self.dice.chance(60);
        // The engine's time, which does not step back.
        let now = instant(self.engine.now());
        let answer =
            if is_tracked { self.engine.track(&event) } else { self.engine.record(&event) };
        match answer.as_ref().map(|decision| (decision.outcome(), decision.event_id())) {
            Err(_) | Ok((Outcome::Refused, _)) => self.refused += 1,
            // The answer to a repeated key names the event that was counted.
            Ok((Outcome::Replayed, _)) => self.repeated += 1,
            Ok((Outcome::Admitted, id)) => {
                assert!(self.ids.insert(id.expect("a name")), "each event has a name of its own");
                self.accepted.push(sent.usage_event(now));
            }
        }
    }

    /// A batch is recorded whole, but for what is in it twice, or not at all.
    fn send_batch(&mut self) {
        let mut batch: Vec<SentEvent> = (0..self.dice.range(1, 20)).map(|_| self.draw()).collect();
        let again = self.dice.pick(&batch);
        batch.extend(again.key.is_some().then_some(again));
        let events: Vec<Event<'_>> = batch.iter().map(SentEvent::event).collect();
        let now = instant(self.engine.now());
        let Ok(report) = self.engine.record_batch(&events) else {
            self.refused += 1;
            return;
        };
        let mut keys = HashSet::new();
        batch.retain(|sent| sent.key.as_ref().is_none_or(|key| keys.insert(key.clone())));
        assert_eq!(report.count, batch.len());
        assert_eq!(report.events.len(), events.len());
        for event in &report.events {
            if let BatchEvent::New { id } = event {
                let id = id.expect("a name");
                assert!(self.ids.insert(id), "each event has a name of its own");
            }
        }
        assert_eq!(report.count + report.duplicates, events.len());
        let usage_events = batch.into_iter().map(|sent| sent.usage_event(now));
        self.accepted.extend(usage_events);
    }

    fn change_meters(&mut self) {
        let aggregate = self.dice.pick(&Aggregate::ALL);
        let of = match aggregate {
            Aggregate::Unique => self.dice.pick(&DIMENSIONS),
            _ => self.dice.pick(&VALUES),
        };
        let mut pairs = draw_pairs(&mut self.dice, self.setup.customers);
        pairs.truncate(2);
        pairs.dedup_by(|a, b| a.0 == b.0);
        let known = self.gauges.len();
        match self.dice.below(4) {
            0 if known > 2 => {
                let place = self.place();
                let gone = self.gauges.swap_remove(place);
                self.engine.meters().remove(&gone.id).expect("nobody counts it");
            }
            1 if known > 0 => {
                let place = self.place();
                let id = self.gauges[place].id.clone();
                let like = meter(aggregate, of, &pairs);
                let mut update = MeterUpdate::new().aggregation(like.aggregation).field(like.field);
                update.event_filter = Some(like.event_filter);
                self.engine.meters().update(&id, update).expect("a good change");
                self.gauges[place] = KnownMeter { id, aggregate, of, pairs };
            }
            _ if known < 12 => {
                self.made += 1;
                let id = format!("mtr_{}", self.made);
                let new = meter(aggregate, of, &pairs).id(id.as_str());
                self.engine.meters().add(new).expect("a good meter");
                self.gauges.push(KnownMeter { id, aggregate, of, pairs });
            }
            _ => {}
        }
    }

    fn place(&mut self) -> usize {
        let known = u64::try_from(self.gauges.len()).expect("a few");
        usize::try_from(self.dice.below(known)).expect("a few")
    }
}

/// Rules under which a part of what is drawn is refused, and some of it is an error.
fn rules(builder: EngineBuilder) -> EngineBuilder {
    let images = Metric::value("images");
    builder
        .rate_limit(RateLimit::new("burst", 6, Window::Minute).per("customer_id"))
        .quota(Quota::new("tokens", Metric::TotalTokens, 90_000, Period::Day).per("customer_id"))
        .quota(Quota::new("images", images, 60, Period::Hour).filter("model", "model_1"))
        .quota(
            Quota::new("balance", Metric::value("balance"), 9, Period::Week)
                .filter("event_type", "tool_call")
                .per("team_id"),
        )
}

impl SentEvent {
    /// What is counted where the engine takes it at this time of its own.
    fn usage_event(self, now: Nanos) -> UsageEvent {
        UsageEvent { at: self.stamp.unwrap_or(now), ..self.usage_event }
    }

    fn event(&self) -> Event<'static> {
        let mut event = event(&self.usage_event);
        if let Some(key) = &self.key {
            event = event.idempotency_key(key.clone());
        }
        match self.stamp {
            Some(stamp) => event.timestamp(date(stamp)),
            None => event,
        }
    }
}

/// How often something was met: a search that meets nothing proves nothing.
#[derive(Default)]
struct Met {
    accepted: usize,
    refused: u32,
    repeated: u32,
    answers: u32,
}

fn run(setup: &Setup, seed: u64, steps: u32, met: &mut Met) {
    let name = setup.name;
    println!("{name}: LIMITRY_SEED={seed}");
    let mut history = History::new(setup, seed);
    for _ in 0..steps {
        history.step();
        if history.dice.chance(25) {
            history.ask();
        }
    }
    for _ in 0..40 {
        history.ask();
    }
    let all = Selection { pairs: Vec::new(), range: ALWAYS };
    history.ask_for_a_summary(&all);
    history.ask_the_meters(&all);
    for by in DIMENSIONS {
        history.ask_for_a_breakdown(&all, by);
    }
    let (accepted, refused) = (history.accepted.len(), history.refused);
    let (complete, partial) = (history.complete, history.partial);
    println!("{name}: {accepted} in, {refused} not; answers: {complete} whole, {partial} in part");
    met.accepted += accepted;
    met.refused += refused;
    met.repeated += history.repeated;
    met.answers += complete + partial;
}

#[test]
fn every_answer_is_the_fold_of_the_accepted_events() {
    let seed = seed("every_answer_is_the_fold_of_the_accepted_events", 1);
    let (histories, steps) = if long() { (20, 3_000) } else { (6, 900) };
    let (mut met, mut runs) = (Met::default(), 0);
    for case in 0..cases(histories) {
        for setup in setups() {
            run(&setup, seed.wrapping_add(case.into()), steps, &mut met);
            runs += 1;
        }
    }
    assert!(met.accepted > 100 * runs, "most are accepted");
    let runs = u32::try_from(runs).expect("few runs");
    assert!(met.refused > 20 * runs, "the rules refuse some");
    assert!(met.repeated > 5 * runs, "some are retries");
    assert!(met.answers > 5 * runs, "most answers tell of something");
}

/// Sums by name have room for 1 000 names. What comes beyond is counted as what it is: values that
/// are in no sum.
#[test]
fn values_of_names_beyond_the_cap_are_counted() {
    let (engine, clock) = engine(|builder| builder.recording(Recording::Newest(700)));
    let (named, steps) = (1_000, 1_100);
    for number in 0..2 * steps {
        let (name, customer) = (format!("value_{}", number % steps), number % steps / 64);
        let event = Event::new(format!("c_{customer}"), "e").value(name, 2);
        let _ = engine.record(&event).expect("a good event");
        clock.advance(duration(7 * SECOND));
    }
    for range in [ALWAYS, START + 1..START + 30 * MINUTE + 1] {
        let selection = Selection { pairs: Vec::new(), range };
        let query = usage_query(&selection, Tz::UTC, None);
        let totals = engine.usage().summary(&query).expect("a summary").totals;
        let beyond = totals.total_events - u64::try_from(totals.values.len()).expect("few");
        let is_all = selection.range == ALWAYS;
        let expected = if is_all { 2 * (steps - named) } else { 0 };
        assert_eq!(totals.other_values, expected);
        assert_eq!(beyond, if is_all { 2 * steps - named } else { 0 });
        let sum = if is_all { 4_u64 } else { 2 };
        assert!(totals.values.values().all(|value| *value == sum));
    }
    // A meter has room for its name always, and says from when on it knows it.
    let late = meter(Aggregate::Sum, "value_1050", &[]).id("mtr_late");
    engine.meters().add(late).expect("a good meter");
    let query = meter_query(&Selection { pairs: Vec::new(), range: ALWAYS });
    for more in 0..3_i128 {
        let answer = engine.meters().query("mtr_late", &query).expect("it is there");
        let known = covered(&answer.covers);
        let before = [1_050, 2_150].map(|number| START + number * 7 * SECOND);
        let before = before.into_iter().filter(|at| known.contains(at)).count();
        assert!(before > 0, "the log has the last");
        let values = i128::try_from(before).expect("few") + more;
        assert_eq!(answer.value.millionths(), 2_000_000 * values);
        let _ = engine.record(&Event::new("c", "e").value("value_1050", 2)).expect("a good event");
    }
}
