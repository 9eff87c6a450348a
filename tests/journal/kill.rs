//! Goal: a process that is killed loses nothing that it answered with `Synced`, and with
//! `Buffered` no more than what had no commit yet, from the end of the log only. What is there is
//! whole: each event once, with its counts and its idempotency key.
//!
//! Method: this program runs itself as a child, whose threads track random requests, repeat their
//! own and each other's, and print every answer. It is killed (SIGKILL) while it opens, tracks or
//! closes, at a point that the seed chooses, and its store is opened here. Every request that was
//! printed is asked again and must get the answer that was printed; the answers of all events, in
//! the order of the log, are judged by the oracle (`support/oracle`), and so is where each
//! customer stands afterwards; usage is folded from the events. A store goes through several
//! deaths. `LIMITRY_LONG=1` has ten times as many.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::{env, fs, thread};

use crate::killed::{await_death, run_until_killed, say};
use crate::support::fold::{ALWAYS, Selection, UsageEvent, breakdown, summary};
use crate::support::oracle::{
    Enforce, HOUR, Kind, MINUTE, Measure, Nanos, Oracle, PlainDecision, PlainEvent, Rule, SECOND,
    Span, Verdict,
};
use crate::support::usage::{instant, sums, usage_query};
use crate::support::{
    Dice, START, date, duration, event, long, plain_decision, plain_standing, rule_set, seed,
};
use limitry::errors::TrackError;
use limitry::events::{EventId, EventQuery, RecordedEvent, Recording};
use limitry::store::{Durability, Durable};
use limitry::time::ManualClock;
use limitry::{Engine, Event, Outcome};

const CHILD: &str = "LIMITRY_KILL_CHILD";
const THREADS: u64 = 4;
/// How many deaths a store goes through.
const DEATHS: u64 = 5;
/// How far the clock goes from one life to the next; all of them are within a key's retention.
const LIFE: Nanos = 3 * HOUR;
/// How many requests a thread makes in a life.
const REQUESTS: u64 = 80;
const CUSTOMERS: u64 = 4;
/// Requests are named by life, thread and number; those that all threads make by a thread more.
const A_THREAD: u64 = 10_000;
const A_LIFE: u64 = 1_000_000;

/// A store and what is done with it, all of it drawn from the seed.
#[derive(Clone, Debug)]
struct World {
    level: Durability,
    seed: u64,
    path: PathBuf,
}

impl World {
    fn new(test: &str, level: Durability, seed: u64) -> Self {
        let name = format!("{test}-{}-{seed}.redb", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_file(&path);
        Self { level, seed, path }
    }

    /// Whether a rule counts all customers together, so that all events have one order and the
    /// clock may move while threads track.
    fn is_ordered(&self) -> bool {
        Dice::new(self.seed).chance(60)
    }

    fn rules(&self) -> Vec<Rule> {
        let mut dice = Dice::new(self.seed.wrapping_add(1));
        let each = |rule: Rule| rule.per("customer_id");
        let bucket = Kind::Bucket { window: MINUTE, burst: Some(dice.range(40, 200)) };
        let sliding = Kind::Sliding { window: HOUR };
        let fixed = Kind::Fixed { window: 10 * MINUTE };
        let mut rules = vec![
            each(Rule::new("tokens", 1 << 40, Kind::Calendar(Span::AllTime)))
                .measure(Measure::Tokens),
            each(Rule::new("cents", 1_000, Kind::Calendar(Span::Day))).measure(Measure::Cost),
            each(Rule::new("bucket", dice.range(60, 600), bucket)),
            each(Rule::new("sliding", dice.range(100, 400), sliding)).per("model"),
            each(Rule::new("soft", 500, fixed)).measure(Measure::Tokens).enforce(Enforce::Soft),
        ];
        if self.is_ordered() {
            let rolling = Kind::Rolling { window: HOUR };
            rules.push(Rule::new("all", 1_000, rolling).enforce(Enforce::Shadow));
        }
        rules
    }

    fn open(&self, now: Nanos) -> (Engine, ManualClock) {
        let clock = ManualClock::new(date(now));
        let mut dice = Dice::new(self.seed.wrapping_add(2));
        let mut store =
            Durable::open(&self.path).expect("a store that opens").durability(self.level);
        if dice.chance(50) {
            store = store.max_waiting(self.most_waiting()).max_batch(dice.range(1, 32) as usize);
        }
        let engine = Engine::builder()
            .clock(clock.clone())
            .recording(Recording::Newest(1_000_000))
            .rule_set(rule_set(&self.rules()))
            .durable(store)
            .build();
        (engine.expect("an engine that goes on"), clock)
    }

    fn most_waiting(&self) -> usize {
        64
    }

    /// The request of a name: the same in every process.
    fn request(&self, name: u64) -> PlainEvent {
        let mut dice = Dice::new(self.seed.wrapping_mul(0x9e37_79b9).wrapping_add(name));
        let key = format!("{:016x}", dice.next());
        let mut plain = PlainEvent::new(&format!("c{}", dice.below(CUSTOMERS)), "call");
        if dice.chance(80) {
            plain = plain.model(["large", "small"][usize::from(dice.chance(50))]);
        }
        plain = plain.tokens(dice.range(0, 40)).text("n", &name.to_string()).key(&key);
        plain.cost = dice.chance(50).then(|| i128::from(dice.below(9_000)));
        plain
    }
}

fn is_shared(name: u64) -> bool {
    name % A_LIFE / A_THREAD == THREADS
}

// The child.

/// Not a test of its own: what the tests below run, and kill.
#[test]
fn child() {
    let Ok(spec) = env::var(CHILD) else { return };
    let parts: Vec<&str> = spec.splitn(4, ' ').collect();
    let number = |at: usize| parts[at].parse::<u64>().expect("a number");
    let level = if parts[0] == "synced" { Durability::Synced } else { Durability::Buffered };
    let world = World { level, seed: number(1), path: parts[3].into() };
    let life = number(2);
    let (engine, clock) = world.open(START + Nanos::from(life) * LIFE);
    say("OPENED");
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (world, engine, clock) = (&world, &engine, &clock);
            scope.spawn(move || live(world, engine, clock, life, thread));
        }
    });
    await_death();
}

fn live(world: &World, engine: &Engine, clock: &ManualClock, life: u64, thread: u64) {
    let mut dice = Dice::new(world.seed.wrapping_mul(31).wrapping_add(life * THREADS + thread));
    let closes = (thread == 0 && dice.chance(40)).then(|| dice.below(REQUESTS));
    let first = life * A_LIFE + thread * A_THREAD;
    let mut next = first;
    for number in 0..REQUESTS {
        if closes == Some(number) {
            say("CLOSING");
            engine.store().close().expect("it closes");
            say("CLOSED");
            return;
        }
        let name = match dice.below(10) {
            0 if next > first => first + dice.below(next - first),
            1 | 2 => life * A_LIFE + THREADS * A_THREAD + dice.below(REQUESTS / 2),
            _ => {
                next += 1;
                next - 1
            }
        };
        if world.is_ordered() && dice.chance(10) {
            clock.advance(duration(Nanos::from(dice.below(20)) * SECOND + 1));
        }
        say(&format!("TRY {name}"));
        match engine.track(&event(&world.request(name))) {
            Ok(decision) if decision.outcome() != Outcome::Refused => {
                let id = decision.event_id().expect("events are recorded");
                let again = if decision.is_replay() { "again" } else { "new" };
                let body = serde_json::to_string(&decision).expect("plain data");
                say(&format!("ACK {name} {id} {again} {body}"));
            }
            Ok(_) => {}
            // Another thread has closed the engine.
            Err(TrackError::Store(_)) => return,
            Err(why) => say(&format!("BAD {name} {why}")),
        }
        if world.level == Durability::Buffered && dice.chance(5) {
            say(&format!("MARK {}", engine.store().health().recorded));
            if dice.chance(20) && engine.store().flush().is_ok() {
                say(&format!("FLUSHED {thread}"));
            }
        }
    }
}

// The parent.

/// When a child is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Death {
    AtOnce,
    AfterLine(&'static str),
    AfterAnswers(u64),
}

/// What a child has printed.
#[derive(Debug, Default)]
struct Printed {
    tried: BTreeSet<u64>,
    /// The id and the body of each request that was answered.
    answered: BTreeMap<u64, (EventId, String)>,
    /// Those that were durable by then, by the child's word.
    flushed: BTreeSet<u64>,
    /// So many records were durable.
    mark: u64,
    done: bool,
}

impl Printed {
    fn hear(&mut self, line: &str, life: u64) {
        // The test harness says something before.
        let Some((_, said)) = line.split_once('@') else { return };
        let (what, rest) = said.split_once(' ').unwrap_or((said, ""));
        match what {
            "TRY" => drop(self.tried.insert(rest.parse().expect("a name"))),
            "ACK" => {
                let parts: Vec<&str> = rest.splitn(4, ' ').collect();
                let name = parts[0].parse().expect("a name");
                let answer = (parts[1].parse().expect("an id"), parts[3].to_owned());
                let first = self.answered.entry(name).or_insert_with(|| answer.clone());
                assert_eq!(*first, answer, "request {name} got two answers");
            }
            "MARK" => self.mark = self.mark.max(rest.parse().expect("a number")),
            "FLUSHED" => {
                let thread: u64 = rest.parse().expect("a thread");
                let first = life * A_LIFE + thread * A_THREAD;
                let own = self.answered.range(first..first + A_THREAD);
                self.flushed.extend(own.map(|(name, _)| *name));
            }
            "DONE" => self.done = true,
            "OPENED" | "CLOSING" | "CLOSED" => {}
            _ => panic!("the child says {line}"),
        }
    }
}

/// Lets a child live until its death.
fn run(world: &World, life: u64, death: Death, mut spin: u64) -> Printed {
    let level = if world.level == Durability::Synced { "synced" } else { "buffered" };
    let spec = format!("{level} {} {life} {}", world.seed, world.path.display());
    let (mut said, mut answers) = (Printed::default(), 0);
    run_until_killed("kill::child", (CHILD, spec), |line| {
        let line = line.unwrap_or_default();
        if !line.is_empty() {
            said.hear(line, life);
            answers += u64::from(line.contains("@ACK"));
        }
        let answered = death == Death::AfterAnswers(answers);
        let reached = matches!(death, Death::AfterLine(what) if line.contains(what));
        let is_over = death == Death::AtOnce || answered || reached || said.done;
        if is_over {
            (0..std::mem::take(&mut spin)).for_each(|_| std::hint::spin_loop());
        }
        is_over
    });
    said
}

/// What is known of a store over all its lives.
struct Story {
    world: World,
    oracle: Oracle,
    /// The events, in the order of the log.
    known: Vec<EventId>,
    usage_events: Vec<UsageEvent>,
    /// The names of their requests.
    names: BTreeMap<u64, EventId>,
    lost: usize,
}

impl Story {
    fn new(world: World) -> Self {
        let mut oracle = Oracle::new(START);
        world.rules().into_iter().for_each(|rule| oracle.add(rule));
        let (known, usage_events, names) = (Vec::new(), Vec::new(), BTreeMap::new());
        Self { world, oracle, known, usage_events, names, lost: 0 }
    }

    fn context(&self, life: u64) -> String {
        format!("seed {}, life {life}", self.world.seed)
    }

    /// Opens the store after a death, and checks all that must be true of it.
    fn examine(&mut self, life: u64, said: &Printed, dice: &mut Dice) {
        let now = START + Nanos::from(life + 1) * LIFE - MINUTE;
        let (engine, _clock) = self.world.open(now);
        let events = self.events(&engine);
        self.check_loss(life, said, &events);
        self.judge(life, &engine, said, &events[self.known.len()..]);
        self.check_standing(life, &engine, now);
        let before = self.figures(&engine);
        // Once more without a word in between, and all is the same.
        if dice.chance(30) {
            if dice.chance(50) {
                engine.store().close().expect("it closes");
            }
            drop(engine);
            let (engine, _clock) = self.world.open(now);
            assert_eq!(self.figures(&engine), before, "{}", self.context(life));
            self.ask_again(life, &engine, said, now, dice);
            return;
        }
        self.ask_again(life, &engine, said, now, dice);
        if dice.chance(50) {
            engine.store().close().expect("it closes");
        }
    }

    fn events(&self, engine: &Engine) -> Vec<RecordedEvent> {
        let found = engine.events().iter(EventQuery::new()).expect("a good question");
        let mut events: Vec<_> = found.collect();
        events.reverse();
        assert_eq!(engine.events().len(), events.len());
        events
    }

    /// What was answered is there, once; what is lost was at the end, and not yet durable.
    fn check_loss(&mut self, life: u64, said: &Printed, events: &[RecordedEvent]) {
        let context = self.context(life);
        let ids: Vec<EventId> = events.iter().map(|event| event.id).collect();
        assert!(ids.is_sorted() && ids.starts_with(&self.known), "{context}: the log has changed");
        let named = events.iter().map(|found| {
            let name = found.event.dimension("n").expect("every event has it");
            (name.parse().expect("a name"), found.id)
        });
        let names: BTreeMap<u64, EventId> = named.collect();
        assert_eq!(names.len(), ids.len(), "{context}: a request was counted twice");
        let mut lost = 0;
        for (name, (id, _)) in &said.answered {
            match names.get(name) {
                Some(found) => assert_eq!(found, id, "{context}: request {name} is another event"),
                None => {
                    let may = self.world.level == Durability::Buffered;
                    assert!(may, "{context}: request {name} was answered with {id}, and is lost");
                    assert!(!said.flushed.contains(name), "{context}: {name} was flushed");
                    let last = ids.last();
                    assert!(last.is_none_or(|last| last < id), "{context}: {name} is lost inside");
                    lost += 1;
                }
            }
        }
        assert!(ids.len() as u64 >= said.mark, "{context}: {} of {}", ids.len(), said.mark);
        // What waits, and the commit under way.
        assert!(lost <= 2 * self.world.most_waiting().max(4_096), "{context}: {lost} lost");
        self.lost += lost;
        self.names = names;
    }

    /// Asks for every new event again: what is answered was printed, and the oracle agrees.
    fn judge(&mut self, life: u64, engine: &Engine, said: &Printed, events: &[RecordedEvent]) {
        for found in events {
            let name = found.event.dimension("n").expect("every event has it");
            let name: u64 = name.parse().expect("a name");
            let context = format!("{}, request {name}", self.context(life));
            let plain = self.world.request(name);
            let again = engine.track(&event(&plain)).expect("a request that is known");
            assert!(again.is_replay(), "{context}: its event is there and its key is not");
            assert_eq!(again.event_id(), Some(found.id), "{context}");
            if let Some((_, body)) = said.answered.get(&name) {
                assert_eq!(*body, serde_json::to_string(&again).expect("plain"), "{context}");
            }
            let plain = PlainEvent { key: None, ..plain };
            assert_eq!(found.event, event(&plain), "{context}");
            self.oracle.set_clock(instant(found.timestamp));
            let first = PlainDecision { verdict: Verdict::Admitted, ..plain_decision(&again) };
            let judged = self.oracle.track(&plain, &Ok(first));
            judged.unwrap_or_else(|why| panic!("{context}: {why}"));
            self.keep(&plain, found.id, instant(found.timestamp));
        }
    }

    fn keep(&mut self, plain: &PlainEvent, id: EventId, at: Nanos) {
        self.known.push(id);
        self.usage_events.push(UsageEvent {
            at,
            customer: plain.customer.clone(),
            event_type: plain.event_type.clone(),
            model: plain.model.clone(),
            props: plain.props.clone(),
            total: plain.total,
            cost: plain.cost.map(|milli| milli * 1_000),
            ..UsageEvent::default()
        });
    }

    /// Counters are what the oracle makes of the events, and usage is their sum.
    fn check_standing(&mut self, life: u64, engine: &Engine, now: Nanos) {
        let context = self.context(life);
        self.oracle.set_clock(now);
        for plain in asked() {
            let standing =
                plain_standing(&engine.standing(&event(&plain)).expect("a good question"));
            let judged = self.oracle.standing(&plain, &standing);
            judged.unwrap_or_else(|why| panic!("{context}: {plain:?}: {why}"));
        }
        let customer = |number: u64| ("customer_id".to_owned(), format!("c{number}"));
        let pairs = (0..CUSTOMERS).map(|number| vec![customer(number)]).chain([Vec::new()]);
        for pairs in pairs {
            let asked = Selection { pairs, range: ALWAYS };
            let query = usage_query(&asked, chrono_tz::UTC, None);
            let total = engine.usage().summary(&query).expect("a good question");
            assert_eq!(
                sums(&total.totals),
                summary(&self.usage_events, &asked),
                "{context}: {asked:?}"
            );
            let models = engine.usage().breakdown(&query, "model").expect("a good question");
            for row in &models.rows {
                let due = &breakdown(&self.usage_events, &asked, "model")[&row.dimension];
                assert_eq!(sums(&row.totals), *due, "{context}: {asked:?} {row:?}");
            }
        }
    }

    fn figures(&self, engine: &Engine) -> String {
        let all = asked().map(|plain| crate::support::figures(engine, &plain));
        format!("{} {:?}", engine.events().len(), all.collect::<Vec<_>>())
    }

    /// Asks for what was tried and is not there: it is new, counts once and then is known. And a
    /// key that is used is not free for another request.
    fn ask_again(
        &mut self,
        life: u64,
        engine: &Engine,
        said: &Printed,
        now: Nanos,
        dice: &mut Dice,
    ) {
        let missing = said.tried.iter().filter(|name| !self.names.contains_key(name));
        let missing: Vec<u64> = missing.copied().take(40).collect();
        for name in missing {
            let context = format!("{}, request {name}", self.context(life));
            let plain = self.world.request(name);
            let unkeyed = PlainEvent { key: None, ..plain.clone() };
            let decision = engine.track(&event(&plain)).expect("a good event");
            assert!(!decision.is_replay(), "{context}: its key is used and there is no event");
            self.oracle.set_clock(now);
            let judged = self.oracle.track(&unkeyed, &Ok(plain_decision(&decision)));
            judged.unwrap_or_else(|why| panic!("{context}: {why}"));
            if decision.is_allowed() {
                let id = decision.event_id().expect("events are recorded");
                let again = engine.track(&event(&plain)).expect("a good event");
                assert_eq!((again.is_replay(), again.event_id()), (true, Some(id)), "{context}");
                self.keep(&unkeyed, id, now);
                self.names.insert(name, id);
            }
        }
        for _ in 0..self.names.len().min(5) {
            let names: Vec<u64> = self.names.keys().copied().collect();
            let name = dice.pick(&names);
            let plain = self.world.request(name);
            let again = engine.track(&event(&plain)).expect("a request that is known");
            assert_eq!(again.event_id(), self.names.get(&name).copied(), "request {name}");
            let other: Event<'_> = event(&plain).latency_ms(1);
            let other = engine.track(&other);
            assert!(matches!(other, Err(TrackError::IdempotencyConflict { .. })), "{name}");
        }
        assert_eq!(self.events(engine).len(), self.known.len(), "{}", self.context(life));
        self.check_standing(life, engine, now);
    }
}

/// The keys of all counters.
fn asked() -> impl Iterator<Item = PlainEvent> {
    (0..CUSTOMERS).flat_map(|number| {
        let plain = PlainEvent::new(&format!("c{number}"), "call");
        [plain.clone(), plain.clone().model("large"), plain.model("small")]
    })
}

fn death(dice: &mut Dice) -> Death {
    match dice.below(20) {
        0 => Death::AtOnce,
        1 => Death::AfterLine("@OPENED"),
        2 | 3 => Death::AfterLine("@CLOSING"),
        4 => Death::AfterLine("@CLOSED"),
        _ => Death::AfterAnswers(1 + dice.below(THREADS * REQUESTS)),
    }
}

/// So many stores, each with several deaths.
fn stores(test: &str, level: Durability, default_seed: u64, deaths: u64) {
    let first = seed(test, default_seed);
    let (mut events, mut lost, mut shared) = (0, 0, 0);
    for seed in first..first + deaths / DEATHS {
        let mut dice = Dice::new(seed);
        let mut story = Story::new(World::new(test, level, seed));
        for life in 0..DEATHS {
            let (death, spin) = (death(&mut dice), dice.below(300_000));
            let said = run(&story.world, life, death, spin);
            story.examine(life, &said, &mut dice);
        }
        (events, lost) = (events + story.known.len(), lost + story.lost);
        shared += story.names.keys().filter(|name| is_shared(**name)).count();
        let _ = fs::remove_file(&story.world.path);
    }
    println!("{test}: {deaths} deaths, {events} events, {lost} answered and lost");
    assert!(shared > 0, "no two threads made the same request");
}

#[test]
fn nothing_that_was_answered_is_lost() {
    let deaths = if long() { 200 } else { 20 };
    stores("synced", Durability::Synced, 4_000, deaths);
}

#[test]
fn only_the_end_is_lost_where_answers_do_not_wait() {
    let deaths = if long() { 100 } else { 10 };
    stores("buffered", Durability::Buffered, 5_000, deaths);
}
