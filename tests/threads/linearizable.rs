//! Goal: decisions are linearizable. Whatever threads do at the same time, there is an order of
//! single calls, each between its call and its return, that explains every answer in full:
//! verdicts, all figures, waits, errors, and the rules that were in force.
//!
//! Method: many small runs of two or three threads on a few overlapping rules. Each call is
//! stamped before and after; then a search in the manner of Wing and Gong (`support/history.rs`)
//! looks for an order that the oracle accepts. The seed is printed.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::support::history::{Call, Stamps, linearize};
use crate::support::oracle::{
    Answer, Committed, Enforce, Fault, Figure, HOUR, Kind, MINUTE, Measure, Nanos, Oracle,
    PlainDecision, PlainEvent, PlainReserved, PlainStanding, PlainStatus, Rule, SECOND, Span,
    Verdict,
};
use crate::support::{
    Dice, START, answer, cases, change, committed, duration, engine, event, fault, instant,
    plain_decision, plain_standing, plain_status, reserved, rule_set, seed,
};
use limitry::events::Recording;
use limitry::reservations::ReservationId;
use limitry::time::{Clock, ManualClock};
use limitry::{Engine, Hold};

/// What a thread asks for.
#[derive(Clone, Debug)]
enum Request {
    Track(PlainEvent),
    Check(PlainEvent),
    Record(PlainEvent),
    Standing(PlainEvent),
    Reserve(PlainEvent, Nanos),
    /// One of the reservations that there are then, and what is done with it.
    With(usize, Act),
    /// The rule before, as far as the update must name differences, and after.
    Change(Box<(Rule, Rule)>),
    Advance(Nanos),
}

/// What is done with a reservation.
#[derive(Clone, Debug)]
enum Act {
    /// So many tokens happened.
    Commit(u64),
    Grow(u64),
    Extend(Nanos),
    Release,
}

#[derive(Clone, Debug)]
enum Response {
    Decision(Answer),
    Standing(PlainStanding),
    Reserved(Result<PlainReserved, Fault>),
    Committed(String, PlainEvent, Committed),
    Grown(String, PlainEvent, Answer),
    Extended(String, Result<Nanos, Fault>),
    Released(String, Result<PlainStatus, Fault>),
    Done,
}

/// The reservations of a run.
type Reservations = Mutex<Vec<(ReservationId, PlainEvent)>>;

/// A call as it was made: what, what came of it, and where the clock's hands were before it.
type Exchange = (Request, Response, Nanos);

fn ask(
    engine: &Engine,
    clock: &ManualClock,
    reservations: &Reservations,
    what: &Request,
) -> Response {
    match what {
        Request::Track(plain) => Response::Decision(answer(engine.track(&event(plain)))),
        Request::Check(plain) => Response::Decision(answer(engine.check(&event(plain)))),
        Request::Record(plain) => Response::Decision(answer(engine.record(&event(plain)))),
        Request::Standing(plain) => Response::Standing(plain_standing(
            &engine.standing(&event(plain)).expect("a valid event"),
        )),
        Request::Reserve(plain, lasting) => {
            let hold = Hold::lasting(duration(*lasting));
            let (answer, guard) = reserved(engine.reserve(&event(plain), hold));
            if let Some(guard) = guard {
                reservations.lock().expect("no panic").push((guard.id(), plain.clone()));
                std::mem::forget(guard);
            }
            Response::Reserved(answer)
        }
        Request::With(which, act) => {
            let reservation = {
                let all = reservations.lock().expect("no panic");
                which.checked_rem(all.len()).map(|place| all[place].clone())
            };
            reservation.map_or(Response::Done, |(id, plain)| go_on(engine, id, plain, act))
        }
        Request::Change(rules) => {
            let (old, new) = &**rules;
            change(engine, old, new).expect("a valid change of a rule that stays");
            Response::Done
        }
        Request::Advance(length) => {
            clock.advance(duration(*length));
            Response::Done
        }
    }
}

fn go_on(engine: &Engine, id: ReservationId, reserved: PlainEvent, act: &Act) -> Response {
    let name = id.to_string();
    let of = |total| PlainEvent { total: Some(total), key: None, ..reserved };
    match *act {
        Act::Commit(total) => {
            let actual = of(total);
            let answer = committed(engine.commit(id, &event(&actual)));
            Response::Committed(name, actual, answer)
        }
        Act::Grow(total) => {
            let more = of(total);
            let grown = engine.grow(id, &event(&more));
            let answer = grown.map(|seen| plain_decision(&seen)).map_err(|why| fault(&why));
            Response::Grown(name, more, answer)
        }
        Act::Extend(by) => {
            let extended = engine.extend(id, duration(by));
            Response::Extended(name, extended.map(instant).map_err(|why| fault(&why)))
        }
        Act::Release => {
            let released = engine.release(id);
            let status = released.map(|status| plain_status(&status));
            Response::Released(name, status.map_err(|why| fault(&why)))
        }
    }
}

/// The model is the oracle and all that the clock has shown.
type Model = (Oracle, Vec<Nanos>);

fn accept((oracle, shown): &mut Model, (ask, got, hands): &Exchange) -> Result<(), String> {
    oracle.may_have_read(shown.iter().copied().filter(|reading| reading >= hands).collect());
    match (ask, got) {
        (Request::Track(plain), Response::Decision(answer)) => oracle.track(plain, answer),
        (Request::Check(plain), Response::Decision(answer)) => oracle.check(plain, answer),
        (Request::Record(plain), Response::Decision(answer)) => oracle.record(plain, answer),
        (Request::Standing(plain), Response::Standing(stood)) => oracle.standing(plain, stood),
        (Request::Reserve(plain, lasting), Response::Reserved(answer)) => {
            oracle.reserve(plain, *lasting, answer)
        }
        (Request::With(..), Response::Committed(name, actual, answer)) => {
            oracle.commit(name, Some(actual), answer)
        }
        (Request::With(..), Response::Grown(name, more, answer)) => oracle.grow(name, more, answer),
        (Request::With(..), Response::Extended(name, answer)) => {
            let Request::With(_, Act::Extend(by)) = ask else { unreachable!("it is one") };
            oracle.extend(name, *by, answer)
        }
        (Request::With(..), Response::Released(name, answer)) => oracle.release(name, answer),
        // There was none yet.
        (Request::With(..), Response::Done) => Ok(()),
        (Request::Change(rules), Response::Done) => {
            oracle.change(rules.1.clone());
            Ok(())
        }
        (Request::Advance(length), Response::Done) => {
            shown.push(oracle.clock());
            oracle.set_clock(oracle.clock() + length);
            Ok(())
        }
        pair => unreachable!("an answer of another verb: {pair:?}"),
    }
}

/// Rules that overlap: a shared one, others split three ways, so that one event locks several
/// counters and two events share some of them.
fn rules(dice: &mut Dice, holds: bool) -> Vec<Rule> {
    let kinds = if holds { 4 } else { 3 };
    let kind = |dice: &mut Dice, quota: bool| match (quota, dice.below(kinds)) {
        (false, 0) => Kind::Bucket { window: SECOND, burst: None },
        (false, 1) => Kind::Fixed { window: SECOND },
        (false, _) => Kind::Sliding { window: SECOND },
        (true, 0) => Kind::Calendar(Span::Hour),
        (true, 1) => Kind::Calendar(Span::AllTime),
        (true, 2) if holds => Kind::Slots,
        (true, _) => Kind::Rolling { window: MINUTE },
    };
    let per = [&[][..], &["customer_id"], &["team"], &["customer_id", "team"]];
    let (count, timed) = (dice.range(2, 4), dice.chance(30));
    let mut rules: Vec<Rule> = (0..count)
        .map(|number| {
            let quota = dice.chance(50);
            let kind = kind(dice, quota);
            let mut rule = Rule::new(&format!("r{number}"), dice.range(2, 6), kind);
            rule.per = dice.pick(&per).iter().map(|&key| key.to_owned()).collect();
            if rule.kind != Kind::Slots && dice.chance(30) {
                rule.measure = Measure::Tokens;
            }
            if dice.chance(15) {
                rule.enforce = dice.pick(&[Enforce::Soft, Enforce::Shadow]);
            }
            // Clocks move by these.
            let edges = [1, SECOND / 2, SECOND, 61 * SECOND];
            match dice.below(4) {
                _ if !timed => {}
                0 => rule.starts = Some(START + dice.pick(&edges)),
                1 | 2 => rule.ends = Some(START + dice.pick(&edges)),
                _ => {}
            }
            if timed && dice.chance(50) {
                rule.policy = Some(format!("p {}", rule.kind.is_rate()));
            }
            rule
        })
        .collect();
    rules.sort_by_key(|rule| !rule.kind.is_rate());
    rules
}

fn plain_event(dice: &mut Dice) -> PlainEvent {
    let mut plain = PlainEvent::new(dice.pick(&["ann", "bob"]), "call");
    plain = plain.text("team", dice.pick(&["x", "y"]));
    plain.total = dice.chance(60).then(|| dice.range(0, 3));
    if dice.chance(15) {
        plain.key = Some(dice.pick(&["k1", "k2"]).to_owned());
    }
    plain
}

/// What a run may hold besides decisions.
#[derive(Clone, Copy)]
struct Mix {
    changes: bool,
    clock: bool,
    holds: bool,
}

fn request_of_holds(dice: &mut Dice) -> Request {
    let which = usize::try_from(dice.below(100)).expect("small");
    let lasting = dice.pick(&[1, SECOND / 2, SECOND, 61 * SECOND, HOUR]);
    match dice.below(10) {
        0..4 => Request::Reserve(plain_event(dice), lasting),
        4..7 => Request::With(which, Act::Commit(dice.range(0, 4))),
        7 => Request::With(which, Act::Grow(dice.range(0, 2))),
        8 => Request::With(which, Act::Release),
        _ => Request::With(which, Act::Extend(lasting)),
    }
}

fn script(dice: &mut Dice, rules: &[Rule], calls: u64, mix: Mix, changes: bool) -> Vec<Request> {
    // Only one thread changes rules: what an update names depends on the rule before it.
    let mut current = rules.to_vec();
    (0..calls)
        .map(|_| match dice.below(100) {
            0..10 => Request::Check(plain_event(dice)),
            10..20 => Request::Record(plain_event(dice)),
            20..32 => {
                let mut plain = plain_event(dice);
                plain.key = None;
                Request::Standing(plain)
            }
            32..50 if mix.changes && changes => {
                let old = dice.pick(&current);
                let mut new = old.clone();
                match dice.below(5) {
                    0..4 => new.limit = dice.range(1, 9),
                    _ => new.enabled = !new.enabled,
                }
                let place = current.iter().position(|rule| rule.id == old.id);
                current[place.expect("it was picked")] = new.clone();
                Request::Change(Box::new((old, new)))
            }
            32..50 if mix.clock => {
                Request::Advance(dice.pick(&[1, SECOND / 2, SECOND, 61 * SECOND, HOUR / 2]))
            }
            50..85 if mix.holds => request_of_holds(dice),
            _ => Request::Track(plain_event(dice)),
        })
        .collect()
}

/// Runs the scripts at once and returns the history, ordered by the instants of the calls.
fn play(rules: &[Rule], scripts: &[Vec<Request>]) -> Vec<Call<Exchange>> {
    // What is recorded is not the model's matter: a rule that is added starts afresh.
    let (engine, clock) =
        engine(|builder| builder.recording(Recording::Off).rule_set(rule_set(rules)));
    let (stamps, ready) = (Stamps::default(), AtomicUsize::new(0));
    let reservations = Reservations::default();
    let mut calls: Vec<Call<Exchange>> = thread::scope(|scope| {
        let threads: Vec<_> = scripts
            .iter()
            .enumerate()
            .map(|(thread, script)| {
                let (engine, clock, stamps, ready) = (&engine, &clock, &stamps, &ready);
                let reservations = &reservations;
                let count = scripts.len();
                scope.spawn(move || {
                    // Spinning lets them start closer together than any wake-up would.
                    ready.fetch_add(1, Ordering::SeqCst);
                    let mut spins = 0_u32;
                    while ready.load(Ordering::SeqCst) < count {
                        spins += 1;
                        if spins.is_multiple_of(100) {
                            thread::yield_now();
                        }
                    }
                    let call = |what: &Request| {
                        let invoked = stamps.next();
                        let hands = hands(clock);
                        let got = ask(engine, clock, reservations, what);
                        let returned = stamps.next();
                        Call { thread, invoked, returned, what: (what.clone(), got, hands) }
                    };
                    script.iter().map(call).collect::<Vec<_>>()
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
    });
    calls.sort_by_key(|call| call.invoked);
    calls
}

fn hands(clock: &ManualClock) -> Nanos {
    let reading = clock.now();
    i128::from(reading.unix_seconds()) * SECOND + i128::from(reading.subsec_nanos())
}

fn start(rules: &[Rule]) -> Model {
    let mut oracle = Oracle::new(START);
    for rule in rules {
        oracle.add(rule.clone());
    }
    (oracle, Vec::new())
}

fn without_a_record((oracle, keys): Model) -> Model {
    (oracle.without_a_record(), keys)
}

/// Plays random runs and returns in how many of them calls truly overlapped.
fn search(test: &str, default_seed: u64, runs: u32, mix: Mix) -> u32 {
    let seed = seed(test, default_seed);
    let mut overlapped = 0;
    for run in 0..cases(runs) {
        let mut dice = Dice::new(seed.wrapping_add(u64::from(run)));
        let rules = rules(&mut dice, mix.holds);
        let (threads, calls) = dice.pick(&[(2, 4), (2, 5), (3, 3), (3, 4)]);
        let scripts: Vec<Vec<Request>> =
            (0..threads).map(|thread| script(&mut dice, &rules, calls, mix, thread == 0)).collect();
        let calls = play(&rules, &scripts);
        overlapped += u32::from(calls.windows(2).any(|pair| pair[1].invoked < pair[0].returned));
        if let Err(why) = linearize(&without_a_record(start(&rules)), &calls, accept) {
            let history: Vec<String> = calls
                .iter()
                .enumerate()
                .map(|(index, call)| {
                    let Call { thread, invoked, returned, what: (ask, got, _) } = call;
                    format!("{index}: thread {thread} {invoked}..{returned} {ask:?}\n   {got:?}")
                })
                .collect();
            panic!(
                "LIMITRY_SEED={} LIMITRY_CASES=1 ({test}): no order explains this: {why}\n\
                 {rules:#?}\n{}",
                seed.wrapping_add(u64::from(run)),
                history.join("\n")
            );
        }
    }
    overlapped
}

#[test]
fn decisions_have_an_order() {
    let mix = Mix { changes: false, clock: false, holds: false };
    let overlapped = search("linearizable::decisions_have_an_order", 1, 6_000, mix);
    println!("{overlapped} of the runs had calls that overlapped");
}

#[test]
fn decisions_and_rule_changes_have_an_order() {
    let mix = Mix { changes: true, clock: false, holds: false };
    search("linearizable::decisions_and_rule_changes_have_an_order", 2, 6_000, mix);
}

#[test]
fn decisions_and_a_moving_clock_have_an_order() {
    let mix = Mix { changes: false, clock: true, holds: false };
    search("linearizable::decisions_and_a_moving_clock_have_an_order", 3, 6_000, mix);
}

#[test]
fn all_of_it_together_has_an_order() {
    let mix = Mix { changes: true, clock: true, holds: false };
    search("linearizable::all_of_it_together_has_an_order", 4, 6_000, mix);
}

#[test]
fn reservations_and_decisions_have_an_order() {
    let mix = Mix { changes: false, clock: false, holds: true };
    search("linearizable::reservations_and_decisions_have_an_order", 5, 4_000, mix);
}

#[test]
fn reservations_that_expire_have_an_order() {
    let mix = Mix { changes: false, clock: true, holds: true };
    search("linearizable::reservations_that_expire_have_an_order", 6, 4_000, mix);
}

#[test]
fn reservations_and_rule_changes_have_an_order() {
    let mix = Mix { changes: true, clock: true, holds: true };
    search("linearizable::reservations_and_rule_changes_have_an_order", 7, 4_000, mix);
}

// The checker itself: it has to reject what is wrong, or all of the above says nothing.

fn quota_of(limit: u64) -> Rule {
    Rule::new("q", limit, Kind::Calendar(Span::AllTime))
}

fn tracked(limit: u64, used: u64, allowed: bool, id: &str) -> (Request, Response) {
    let quota = Figure {
        id: "q".into(),
        name: "rule q".into(),
        limit: i128::from(limit) * 1_000,
        used: Some(i128::from(used) * 1_000),
        held: 0,
        adjusted: 0,
        remaining: i128::from(limit.saturating_sub(used)) * 1_000,
        reset: None,
        exceeded: !allowed,
    };
    let seen = PlainDecision {
        verdict: if allowed { Verdict::Admitted } else { Verdict::Refused },
        event_id: allowed.then(|| format!("evt_{id}")),
        status_code: if allowed { 201 } else { 429 },
        rates: Vec::new(),
        quotas: vec![quota],
        retry: (!allowed).then_some(crate::support::oracle::Wait::Never),
    };
    (Request::Track(PlainEvent::new("ann", "call")), Response::Decision(Ok(seen)))
}

fn at(
    thread: usize,
    invoked: u64,
    returned: u64,
    (ask, got): (Request, Response),
) -> Call<Exchange> {
    Call { thread, invoked, returned, what: (ask, got, START) }
}

#[test]
fn the_checker_orders_what_overlaps() {
    let start = start(&[quota_of(2)]);
    // The second to be called is the first to have counted.
    let calls = [at(0, 0, 5, tracked(2, 2, true, "b")), at(1, 1, 4, tracked(2, 1, true, "a"))];
    assert_eq!(linearize(&start, &calls, accept), Ok(vec![1, 0]));
}

#[test]
fn the_checker_keeps_to_the_order_of_what_does_not_overlap() {
    let start = start(&[quota_of(2)]);
    let calls = [at(0, 0, 1, tracked(2, 2, true, "b")), at(1, 2, 3, tracked(2, 1, true, "a"))];
    linearize(&start, &calls, accept).expect_err("the second use came before the first");
}

#[test]
fn the_checker_rejects_an_admission_too_many() {
    let start = start(&[quota_of(1)]);
    let calls = [at(0, 0, 5, tracked(1, 1, true, "a")), at(1, 1, 4, tracked(1, 1, true, "b"))];
    linearize(&start, &calls, accept).expect_err("both took the whole of it");
}

#[test]
fn the_checker_rejects_a_refusal_that_no_order_explains() {
    let start = start(&[quota_of(3)]);
    // A take that was rolled back, seen by the other.
    let calls = [at(0, 0, 5, tracked(3, 1, true, "a")), at(1, 1, 4, tracked(3, 3, false, ""))];
    linearize(&start, &calls, accept).expect_err("three were never used");
}

#[test]
fn the_checker_rejects_a_decision_by_two_rule_sets() {
    let rules = [quota_of(5), Rule { id: "p".into(), ..quota_of(5) }];
    let start = start(&rules);
    let (ask, got) = tracked(5, 1, true, "a");
    let Response::Decision(Ok(mut seen)) = got else { unreachable!("a decision") };
    // One figure from before the change and one from after it.
    seen.quotas.push(Figure {
        id: "p".into(),
        limit: 9_000,
        remaining: 8_000,
        ..seen.quotas[0].clone()
    });
    seen.quotas[0] = Figure { limit: 9_000, remaining: 8_000, ..seen.quotas[0].clone() };
    let torn = at(0, 1, 8, (ask, Response::Decision(Ok(seen))));
    let raise = |rule: &Rule| {
        let rules = (rule.clone(), Rule { limit: 9, ..rule.clone() });
        (Request::Change(Box::new(rules)), Response::Done)
    };
    let first = at(1, 0, 3, raise(&rules[0]));
    let second = at(1, 5, 7, raise(&rules[1]));
    let calls = [first.clone(), torn.clone(), second];
    linearize(&start, &calls, accept).expect("after both changes all is well");
    let calls = [first, Call { returned: 4, ..torn }, at(1, 5, 7, raise(&rules[1]))];
    linearize(&start, &calls, accept).expect_err("the second change came after it");
}

#[test]
fn the_checker_rejects_a_stale_standing() {
    let start = start(&[quota_of(5)]);
    let (_, got) = tracked(5, 0, true, "");
    let Response::Decision(Ok(seen)) = got else { unreachable!("a decision") };
    let stale = PlainStanding { allowed: true, rates: Vec::new(), quotas: seen.quotas };
    let standing = (Request::Standing(PlainEvent::new("ann", "call")), Response::Standing(stale));
    let calls = [at(0, 0, 1, tracked(5, 1, true, "a")), at(1, 2, 3, standing)];
    linearize(&start, &calls, accept).expect_err("the use was there before the call");
}

#[test]
fn the_checker_rejects_a_hold_that_nobody_saw() {
    let start = start(&[quota_of(1)]);
    let held = |name: &str| {
        let (Request::Track(plain), Response::Decision(Ok(mut seen))) = tracked(1, 0, true, "")
        else {
            unreachable!("a decision")
        };
        seen.event_id = None;
        (seen.quotas[0].held, seen.quotas[0].remaining) = (1_000, 0);
        let answer = PlainReserved::Held { name: name.into(), seen, until: START + SECOND };
        (Request::Reserve(plain, SECOND), Response::Reserved(Ok(answer)))
    };
    let calls = [at(0, 0, 5, held("a"))];
    linearize(&start, &calls, accept).expect("it fits");
    let calls = [at(0, 0, 5, held("a")), at(1, 1, 4, held("b"))];
    linearize(&start, &calls, accept).expect_err("both hold the whole of it");
    let calls = [at(0, 0, 5, held("a")), at(1, 1, 4, tracked(1, 1, true, "b"))];
    linearize(&start, &calls, accept).expect_err("what is held counts as used");
}
