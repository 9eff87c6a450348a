//! Goal: under any number of threads a decision takes from all its rules or from none, never a
//! unit over a limit and never one under it, and nothing ever waits for ever.
//!
//! Method: real threads, released together by a barrier, on a clock that stands still unless the
//! test moves it; thousands of rounds on fresh counters, then the books are added up. Nothing
//! sleeps and nothing is measured against a wall clock, but for the guard of the progress test.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use crate::support::oracle::{Kind, MINUTE, Nanos, PlainEvent, Rule, SECOND, Span};
use crate::support::{Dice, START, date, engine, engine_at, figures, long, rule_set, seed};
use limitry::decision::Standing;
use limitry::errors::TrackError;
use limitry::events::{EventId, Recording};
use limitry::rules::{Algorithm, Overflow, QuotaUpdate, RateLimitUpdate, SyncOptions, SyncReport};
use limitry::time::ManualClock;
use limitry::{
    Amount, Decision, Engine, EngineBuilder, Error, Event, Metric, Outcome, Period, Quota,
    RateLimit, RetryAfter, RuleSet, Timestamp, Window,
};

const THREADS: usize = 8;

/// Runs `body(thread, round)` on all threads at once, round after round.
fn race(rounds: usize, body: impl Fn(usize, usize) + Sync) {
    let barrier = Barrier::new(THREADS);
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (barrier, body) = (&barrier, &body);
            scope.spawn(move || {
                for round in 0..rounds {
                    barrier.wait();
                    body(thread, round);
                }
            });
        }
    });
}

fn admitted(decision: Result<Decision, TrackError>) -> bool {
    decision.expect("the event is valid").is_allowed()
}

/// Runs one race a round for an event that takes the whole of each rule, and returns how many
/// were admitted in each.
fn winners(
    engine: &Engine,
    rounds: usize,
    event: impl Fn(usize, usize) -> PlainEvent + Sync,
) -> Vec<u32> {
    let won: Vec<AtomicU32> = (0..rounds).map(|_| AtomicU32::new(0)).collect();
    race(rounds, |thread, round| {
        let event = crate::support::event(&event(thread, round));
        if admitted(engine.track(&event)) {
            won[round].fetch_add(1, Ordering::Relaxed);
        }
    });
    won.into_iter().map(AtomicU32::into_inner).collect()
}

fn assert_one_each(won: &[u32]) {
    let wrong: Vec<(usize, &u32)> = won.iter().enumerate().filter(|(_, won)| **won != 1).collect();
    assert!(wrong.is_empty(), "rounds and how many they admitted: {wrong:?}");
}

#[test]
fn of_a_race_for_the_whole_of_two_quotas_one_is_admitted() {
    let (engine, _clock) = engine(|builder| {
        builder
            .quota(Quota::new("tokens", Metric::TotalTokens, 100, Period::Day).per("customer_id"))
            .quota(Quota::new("again", Metric::TotalTokens, 100, Period::Month).per("customer_id"))
    });
    let won = winners(&engine, 10_000, |_, round| {
        PlainEvent::new(&format!("customer {round}"), "call").tokens(100)
    });
    assert_one_each(&won);
    for round in [0, 4_999, 9_999] {
        let customer = format!("customer {round}");
        let standing = engine.standing(&Event::new(customer, "call")).expect("valid");
        let used: Vec<u64> = standing.quotas().map(|status| status.used.to_u64_ceil()).collect();
        assert_eq!(used, [100, 100], "round {round}");
    }
}

#[test]
fn of_a_race_across_partitions_one_is_admitted() {
    let (engine, _clock) = engine(|builder| {
        builder
            .rate_limit(
                RateLimit::new("customer", 100, Window::Minute)
                    .metric(Metric::TotalTokens)
                    .per("customer_id"),
            )
            .quota(Quota::new("team", Metric::TotalTokens, 100, Period::Day).per("team"))
            .quota(
                Quota::new("both", Metric::TotalTokens, 100, Period::Day)
                    .per("team")
                    .per("customer_id"),
            )
    });
    let won = winners(&engine, 10_000, |_, round| {
        PlainEvent::new(&format!("customer {round}"), "call")
            .tokens(100)
            .text("team", &format!("team {round}"))
    });
    assert_one_each(&won);
}

#[test]
fn of_a_race_of_many_customers_for_one_team_one_is_admitted() {
    let (engine, _clock) = engine(|builder| {
        builder
            .quota(Quota::new("customer", Metric::TotalTokens, 100, Period::Day).per("customer_id"))
            .quota(Quota::new("team", Metric::TotalTokens, 100, Period::Day).per("team"))
    });
    let plain = |thread: usize, round: usize| {
        PlainEvent::new(&format!("customer {thread} of {round}"), "call")
            .tokens(100)
            .text("team", &format!("team {round}"))
    };
    let won = winners(&engine, 10_000, plain);
    assert_one_each(&won);
    // Those who were refused by the team's quota have used nothing of their own.
    for round in [0, 5_000, 9_999] {
        let used: u64 = (0..THREADS)
            .map(|thread| {
                let standing = engine.standing(&crate::support::event(&plain(thread, round)));
                let standing = standing.expect("valid");
                let own = standing.quotas().find(|status| status.name == "customer");
                own.expect("the rule applies").used.to_u64_ceil()
            })
            .sum();
        assert_eq!(used, 100, "round {round}");
    }
}

/// An opposite order of keys on each thread, so that a careless lock order would deadlock.
#[test]
fn crossed_partitions_admit_exactly_the_limit() {
    let (engine, _clock) = engine(|builder| {
        builder
            .quota(Quota::new("from", Metric::TotalEvents, 300, Period::Day).per("from"))
            .quota(Quota::new("to", Metric::TotalEvents, 300, Period::Day).per("to"))
    });
    let names = ["a", "b", "c"];
    let counts = Mutex::new(BTreeMap::<(usize, usize), u64>::new());
    race(400, |thread, round| {
        let (from, to) = ((thread + round) % 3, (thread * 2 + round / 3) % 3);
        let event = Event::new("x", "call").property("from", names[from]).property("to", names[to]);
        if admitted(engine.track(&event)) {
            *counts.lock().expect("no panic").entry((from, to)).or_default() += 1;
        }
    });
    let counts = counts.into_inner().expect("no panic");
    for (index, name) in names.iter().enumerate() {
        let event = Event::new("x", "call").property("from", *name).property("to", *name);
        let standing = engine.standing(&event).expect("valid");
        for status in standing.quotas() {
            let touches = |(from, to): &(usize, usize)| {
                if status.name == "from" { *from == index } else { *to == index }
            };
            let due: u64 = counts.iter().filter(|(key, _)| touches(key)).map(|(_, n)| n).sum();
            assert_eq!(status.used, due, "{} {name}", status.name);
            assert!(status.used <= 300);
        }
    }
}

#[test]
fn units_from_eight_threads_admit_exactly_the_limit() {
    let kinds: [(&str, Kind); 6] = [
        ("bucket", Kind::Bucket { window: MINUTE, burst: None }),
        ("burst", Kind::Bucket { window: MINUTE, burst: Some(100) }),
        ("fixed", Kind::Fixed { window: MINUTE }),
        ("sliding", Kind::Sliding { window: MINUTE }),
        ("calendar", Kind::Calendar(Span::Month)),
        ("rolling", Kind::Rolling { window: MINUTE }),
    ];
    for (name, kind) in kinds {
        let rule = Rule::new(name, if name == "burst" { 7 } else { 100 }, kind).per("customer_id");
        let (engine, _clock) = engine(|builder| builder.rule_set(rule_set([&rule])));
        for customer in 0..20 {
            let customer = format!("customer {customer}");
            let won = AtomicU32::new(0);
            race(25, |_, _| {
                if admitted(engine.track(&Event::new(customer.as_str(), "call"))) {
                    won.fetch_add(1, Ordering::Relaxed);
                }
            });
            assert_eq!(won.into_inner(), 100, "{name}");
        }
    }
}

/// The edge of a window, raced: no use is lost and no window is opened twice.
#[test]
fn threads_that_race_a_window_edge_share_one_new_budget() {
    let clocked = [Kind::Fixed { window: SECOND }, Kind::Calendar(Span::Hour)];
    for kind in clocked {
        let length: Nanos = if kind.is_rate() { SECOND } else { 60 * MINUTE };
        let rule = Rule::new("edge", 10, kind);
        let (engine, clock) = engine(|builder| builder.rule_set(rule_set([&rule])));
        let by_reset = Mutex::new(BTreeMap::<_, (u64, u64)>::new());
        race(2_000, |thread, _| {
            for turn in 0..3 {
                if thread == 0 && turn == 1 {
                    clock.advance(crate::support::duration(length));
                }
                let decision = engine.track(&Event::new("x", "call")).expect("valid");
                let rate = decision.rate_limits().map(|status| status.reset).next();
                let quota = decision.quotas().find_map(|status| status.reset);
                let reset = rate.or(quota).expect("one rule applies");
                let mut by_reset = by_reset.lock().expect("no panic");
                let (asked, admitted) = by_reset.entry(reset).or_default();
                *asked += 1;
                *admitted += u64::from(decision.is_allowed());
            }
        });
        let by_reset = by_reset.into_inner().expect("no panic");
        assert!(by_reset.len() >= 2_000, "{kind:?}: each round opens a window");
        for (reset, (asked, admitted)) in by_reset {
            assert_eq!(admitted, asked.min(10), "{kind:?}: {asked} asked, window until {reset}");
        }
    }
}

/// What is refused changes no figure of any rule, whichever rule refused it.
#[test]
fn a_refused_event_changes_nothing() {
    let rules = [
        Rule::new("bucket", 50, Kind::Bucket { window: MINUTE, burst: Some(80) })
            .per("customer_id"),
        Rule::new("fixed", 1_000, Kind::Fixed { window: MINUTE }),
        Rule::new("sliding", 1_000, Kind::Sliding { window: MINUTE }).per("team"),
        Rule::new("rolling", 1_000, Kind::Rolling { window: MINUTE })
            .per("customer_id")
            .per("team"),
        Rule::new("day", 1_000, Kind::Calendar(Span::Day)).per("team"),
        Rule::new("soft", 10, Kind::Calendar(Span::Day))
            .enforce(crate::support::oracle::Enforce::Soft),
        Rule::new("shadow", 10, Kind::Calendar(Span::Day))
            .enforce(crate::support::oracle::Enforce::Shadow),
        Rule::new("wall", 40, Kind::Calendar(Span::AllTime)).filter("event_type", "call"),
    ];
    let (engine, clock) = engine(|builder| builder.rule_set(rule_set(&rules)));
    let plain = PlainEvent::new("ann", "call").text("team", "red");
    let event = crate::support::event(&plain);
    for _ in 0..40 {
        assert!(admitted(engine.track(&event)));
        clock.advance(Duration::from_millis(333));
    }
    let other = PlainEvent::new("ann", "other").text("team", "red");
    let before = (figures(&engine, &plain), figures(&engine, &other));
    let logged = engine.events().len();
    race(200, |_, _| assert!(!admitted(engine.track(&event)), "the wall holds"));
    assert_eq!((figures(&engine, &plain), figures(&engine, &other)), before);
    assert_eq!(engine.events().len(), logged);
    // Nor a key that was never seen before, nor its counters.
    let live = engine.live_keys();
    let stranger = Event::new("a stranger", "call").property("team", "blue").idempotency_key("k");
    assert!(!admitted(engine.track(&stranger)));
    assert_eq!(engine.live_keys(), live, "a refusal leaves no counter behind");
}

/// The books balance: each rule has used what the admitted events that touch it sum up to.
#[test]
fn every_admitted_unit_is_used_once() {
    const DAY: Duration = Duration::from_secs(86_400);
    const NAMES: [&str; 12] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];
    let seed = seed("threads::every_admitted_unit_is_used_once", 7);
    let (engine, _clock) = engine(|builder| {
        builder
            .quota(Quota::new("all", Metric::TotalTokens, 60_000, Period::Month))
            .quota(Quota::new("each", Metric::TotalTokens, 9_000, Period::Month).per("customer_id"))
            .quota(Quota::new("team", Metric::TotalTokens, 20_000, Period::Month).per("team"))
            .quota(
                Quota::new("rolling", Metric::TotalTokens, 8_500, Period::rolling(DAY))
                    .per("model"),
            )
    });
    let sums: BTreeMap<(&str, &str), AtomicU64> = ["customer", "team", "model", "all"]
        .into_iter()
        .flat_map(|kind| NAMES.map(|name| ((kind, name), AtomicU64::new(0))))
        .collect();
    race(1_500, |thread, round| {
        let mut dice = Dice::new(seed ^ ((thread as u64) << 32) ^ round as u64);
        let (customer, team) = (dice.pick(&NAMES), dice.pick(&NAMES[..4]));
        let (model, tokens) = (dice.pick(&NAMES), dice.range(0, 30));
        let event =
            Event::new(customer, "call").model(model).property("team", team).total_tokens(tokens);
        if admitted(engine.track(&event)) {
            for key in [("customer", customer), ("team", team), ("model", model), ("all", "a")] {
                sums[&key].fetch_add(tokens, Ordering::Relaxed);
            }
        }
    });
    for name in NAMES {
        let event = Event::new(name, "call").model(name).property("team", name);
        for status in engine.standing(&event).expect("valid").quotas() {
            let key = match &*status.name {
                "all" => ("all", "a"),
                "each" => ("customer", name),
                "team" => ("team", name),
                _ => ("model", name),
            };
            let due = sums[&key].load(Ordering::Relaxed);
            assert_eq!(status.used, due, "{} {name}", status.name);
            assert!(Some(status.used) <= status.limit, "{} {name}", status.name);
        }
    }
}

/// Copies of one request at the same time: one counts, all get its answer.
#[test]
fn duplicates_at_the_same_time_count_once_and_agree() {
    let (engine, _clock) = engine(|builder| {
        builder
            .quota(Quota::new("tokens", Metric::TotalTokens, 10, Period::Day).per("customer_id"))
            .rate_limit(RateLimit::new("events", 3, Window::Minute).per("customer_id"))
    });
    let rounds = 3_000;
    let answers: Vec<Mutex<Vec<(bool, String)>>> =
        (0..rounds).map(|_| Mutex::new(Vec::new())).collect();
    race(rounds, |_, round| {
        let event = Event::new(format!("customer {round}"), "call")
            .total_tokens(10)
            .idempotency_key(format!("key {round}"));
        let decision = engine.track(&event).expect("the same payload is no conflict");
        assert_ne!(decision.outcome(), Outcome::Refused, "only the first one counts");
        let body = serde_json::to_string(&decision).expect("a decision is plain data");
        answers[round].lock().expect("no panic").push((decision.is_replay(), body));
    });
    for (round, answers) in answers.into_iter().enumerate() {
        let answers = answers.into_inner().expect("no panic");
        assert_eq!(answers.len(), THREADS);
        let first = answers.iter().filter(|(replay, _)| !replay).count();
        assert_eq!(first, 1, "round {round}: one is the first: {answers:?}");
        assert!(
            answers.iter().all(|(_, body)| *body == answers[0].1),
            "round {round}: {answers:?}"
        );
    }
    assert_eq!(engine.events().len(), rounds);
}

/// Copies of a request that differ under one key: one counts, the others are conflicts.
#[test]
fn rivals_for_one_key_count_once() {
    let (engine, _clock) = engine(|builder| {
        builder.quota(Quota::new("q", Metric::TotalTokens, 1_u64 << 40, Period::Day))
    });
    let rounds = 2_000;
    let first: Vec<AtomicU32> = (0..rounds).map(|_| AtomicU32::new(0)).collect();
    let conflicts = AtomicU32::new(0);
    race(rounds, |thread, round| {
        let tokens = thread as u64 % 2 + 1;
        let event =
            Event::new("x", "call").total_tokens(tokens).idempotency_key(format!("key {round}"));
        match engine.track(&event) {
            Ok(decision) if decision.is_replay() => {}
            Ok(_) => {
                first[round].fetch_add(1, Ordering::Relaxed);
            }
            Err(TrackError::IdempotencyConflict { .. }) => {
                conflicts.fetch_add(1, Ordering::Relaxed);
            }
            Err(other) => panic!("{other}"),
        }
    });
    assert!(first.iter().all(|first| first.load(Ordering::Relaxed) == 1));
    assert_eq!(conflicts.into_inner() as usize, rounds * THREADS / 2);
    assert_eq!(engine.events().len(), rounds);
}

/// A key whose first request is refused stays free, also while copies of it race.
#[test]
fn duplicates_of_a_refused_request_are_all_refused_and_leave_the_key_free() {
    let (engine, clock) = engine(|builder| {
        builder.rate_limit(RateLimit::new("r", 1, Window::Second).per("customer_id"))
    });
    let won = AtomicU32::new(0);
    for round in 0..300 {
        let customer = format!("customer {round}");
        assert!(admitted(engine.track(&Event::new(customer.as_str(), "first"))));
        let event = Event::new(customer.as_str(), "call").idempotency_key(customer.clone());
        race(1, |_, _| assert!(!admitted(engine.track(&event))));
        clock.advance(Duration::from_secs(1));
        race(1, |_, _| {
            let decision = engine.track(&event).expect("valid");
            assert_ne!(decision.outcome(), Outcome::Refused);
            won.fetch_add(u32::from(decision.is_allowed()), Ordering::Relaxed);
        });
    }
    assert_eq!(won.into_inner(), 300);
}

/// Everything at once: decisions on crossed keys, checks, standings, rule changes, syncs, a clock
/// that moves, new keys that make the engine drop idle ones. It has to come to an end.
#[test]
fn nothing_waits_for_ever() {
    let seed = seed("threads::nothing_waits_for_ever", 11);
    let turns = if long() { 400_000 } else { 20_000 };
    let (engine, clock) = engine(|builder| {
        builder
            .rate_limit(RateLimit::new("customer", 50, Window::Second).per("customer_id").id("rl"))
            .rate_limit(
                RateLimit::new("sliding", 50, Window::Minute)
                    .algorithm(Algorithm::SlidingWindow)
                    .per("team"),
            )
            .quota(Quota::new("team", Metric::TotalEvents, 500, Period::Hour).per("team").id("qta"))
            .quota(
                Quota::new("capped", Metric::TotalEvents, 5, Period::Hour)
                    .per("customer_id")
                    .per("team")
                    .max_keys(50)
                    .overflow(Overflow::Share),
            )
    });
    let engine = Arc::new(engine);
    let over = Arc::new(AtomicBool::new(false));
    let (done, finished) = mpsc::channel();
    let workers: Vec<_> = (0..THREADS)
        .map(|thread| {
            let (engine, clock) = (Arc::clone(&engine), clock.clone());
            let (done, over) = (done.clone(), Arc::clone(&over));
            thread::spawn(move || {
                let mut dice = Dice::new(seed ^ thread as u64);
                for turn in 0..turns {
                    if over.load(Ordering::Relaxed) {
                        break;
                    }
                    one_turn(&engine, &clock, &mut dice, thread, turn);
                }
                done.send(()).expect("the test waits");
            })
        })
        .collect();
    // The only clock on a wall in these tests: a deadlock shall fail and not hang.
    let guard = Duration::from_secs(if long() { 1_200 } else { 240 });
    for _ in 0..THREADS {
        finished.recv_timeout(guard).expect("no thread waits for ever, none panics");
    }
    over.store(true, Ordering::Relaxed);
    for worker in workers {
        worker.join().expect("no thread panics");
    }
}

fn one_turn(engine: &Engine, clock: &ManualClock, dice: &mut Dice, thread: usize, turn: u32) {
    let names = ["a", "b", "c", "d"];
    // Half of the threads meet the keys in the opposite order.
    let (first, second) = (dice.pick(&names), dice.pick(&names));
    let (customer, team) = if thread.is_multiple_of(2) { (first, second) } else { (second, first) };
    let fresh = format!("fresh {thread} {turn}");
    let customer = if dice.chance(20) { fresh.as_str() } else { customer };
    let event = Event::new(customer, "call").property("team", team);
    match dice.below(100) {
        0..60 => drop(engine.track(&event).expect("valid")),
        60..70 => drop(engine.track(&event.idempotency_key(fresh.clone())).expect("valid")),
        70..80 => drop(engine.check(&event).expect("valid")),
        80..88 => drop(engine.standing(&event).expect("valid")),
        88..92 => drop(engine.record(&event).expect("valid")),
        92..94 => clock.advance(Duration::from_millis(dice.range(0, 900))),
        94..95 => clock.advance(Duration::from_secs(3_600)),
        95 => {
            let update = RateLimitUpdate::new().limit(dice.range(1, 80));
            engine.rules().update("rl", update).expect("the rule stays");
        }
        96 => {
            let update = QuotaUpdate::new().limit(dice.range(1, 800));
            engine.rules().update("qta", update).expect("the rule stays");
        }
        97 => {
            let name = format!("extra {thread}");
            let rule = Quota::new(name, Metric::TotalEvents, 9, Period::Day).per("team");
            let rule = engine.rules().add(rule).expect("valid");
            drop(engine.track(&event).expect("valid"));
            engine
                .rules()
                .remove(rule.id.as_deref().expect("a rule has an id"))
                .expect("it is there");
        }
        98 => {
            // Without the rules that come and go: one that another thread removes meanwhile would
            // be brought back, and stay.
            let mut rules = engine.rules().set();
            rules.quotas.retain(|quota| !quota.name.starts_with("extra"));
            engine.rules().sync(rules, SyncOptions::apply().keep_missing()).expect("valid");
        }
        _ => drop(engine.rules().rate_limits()),
    }
}

/// A sweep of idle counters never drops one that is in use, nor brings an old one back.
#[test]
fn counters_in_use_survive_the_sweeping_of_idle_ones() {
    let (engine, clock) = engine(|builder| {
        builder
            .rate_limit(RateLimit::new("brief", 5, Window::Second).per("customer_id"))
            .quota(Quota::new("kept", Metric::TotalEvents, 1_000_000, Period::AllTime).per("team"))
    });
    let counts: [AtomicU64; 4] = std::array::from_fn(|_| AtomicU64::new(0));
    let teams = ["a", "b", "c", "d"];
    race(3_000, |thread, round| {
        if thread == 0 {
            clock.advance(Duration::from_millis(400));
        }
        let team = (thread + round) % 4;
        // A new customer each time: its bucket is full again two rounds later, and swept.
        let customer = format!("{thread} {round}");
        let event = Event::new(customer, "call").property("team", teams[team]);
        assert!(admitted(engine.track(&event)));
        counts[team].fetch_add(1, Ordering::Relaxed);
    });
    for (team, count) in teams.iter().zip(&counts) {
        let event = Event::new("x", "call").property("team", *team);
        let standing = engine.standing(&event).expect("valid");
        let used = standing.quotas().next().expect("the quota applies").used;
        assert_eq!(used, count.load(Ordering::Relaxed), "{team}");
    }
}

/// A clock that threads see out of order mints nothing.
#[test]
fn a_clock_moved_back_and_forth_under_threads_mints_nothing() {
    let (engine, clock) =
        engine_at(START, |builder| builder.rate_limit(RateLimit::new("r", 10, Window::Second)));
    let won = AtomicU64::new(0);
    let highest = START + 5 * SECOND;
    race(2_000, |thread, round| {
        if thread == 0 && round > 0 {
            // No further than a clock may flutter that was not set back.
            let back = if round % 2 == 0 { SECOND } else { 0 };
            clock.set(date(highest - back));
        }
        won.fetch_add(
            u64::from(admitted(engine.track(&Event::new("x", "call")))),
            Ordering::Relaxed,
        );
    });
    // Eight of the first ten, perhaps the other two before the clock is set, and ten once more.
    let won = won.into_inner();
    assert!((18..=20).contains(&won), "{won}: a bucket of ten that was filled once more");
}

#[test]
fn the_public_types_go_between_threads() {
    fn send_sync<T: Send + Sync + 'static>() {}
    send_sync::<Engine>();
    send_sync::<EngineBuilder>();
    send_sync::<Event<'static>>();
    send_sync::<Decision>();
    send_sync::<Standing>();
    send_sync::<RetryAfter>();
    send_sync::<EventId>();
    send_sync::<RateLimit>();
    send_sync::<Quota>();
    send_sync::<RuleSet>();
    send_sync::<SyncReport>();
    send_sync::<Recording>();
    send_sync::<ManualClock>();
    send_sync::<Timestamp>();
    send_sync::<Amount>();
    send_sync::<TrackError>();
    send_sync::<Error>();
}
