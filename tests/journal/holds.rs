//! Goal: what reservations hold survives a restart and a crash: open ones hold what they did and
//! expire when they would have, finished ones stay finished, keys and names are known.
//!
//! Method: worked cases on a store in memory. Random forms are in `histories.rs` and `crash.rs`.

use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use limitry::errors::{ReservationError, TrackError};
use limitry::reservations::{KeyStatus, ReservationId, ReservationQuery, ReservationState};
use limitry::rules::{Algorithm, RateLimitUpdate};
use limitry::store::{Durability, MemoryStore};
use limitry::time::ManualClock;
use limitry::{
    Amount, Decision, Engine, Event, Hold, Metric, Outcome, Period, Quota, RateLimit, Reserved,
    Window,
};

use crate::support::{START, date};

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn tokens(tokens: u64) -> Event<'static> {
    Event::new("ann", "call").total_tokens(tokens)
}

/// An application, whose engine may be stopped.
struct App {
    store: MemoryStore,
    clock: ManualClock,
    engine: Engine,
}

fn open(store: &MemoryStore, clock: &ManualClock) -> Engine {
    let every = |name, algorithm| {
        let limit = RateLimit::new(name, 1_000, Window::every(secs(1_000))).algorithm(algorithm);
        limit.metric(Metric::TotalTokens).per("customer_id")
    };
    let store = store.open().expect("nobody has it").durability(Durability::Synced);
    Engine::builder()
        .clock(clock.clone())
        .rate_limit(every("bucket", Algorithm::TokenBucket))
        .rate_limit(every("fixed", Algorithm::FixedWindow))
        .rate_limit(every("sliding", Algorithm::SlidingWindow))
        .quota(Quota::new("daily", Metric::TotalTokens, 2_000, Period::Day).per("customer_id"))
        .quota(Quota::concurrent("at once", 3).per("customer_id"))
        .durable(store)
        .build()
        .expect("an engine")
}

/// Found by the search of `decisions::model`: what was held of a balance came back as used.
#[test]
fn an_answer_that_comes_back_says_what_is_held_of_a_balance() {
    let (store, clock) = (MemoryStore::new(), ManualClock::new(date(START)));
    let open = || {
        let store = store.open().expect("nobody has it").durability(Durability::Synced);
        let credits = Quota::balance("credits", Metric::TotalTokens).opening(100);
        let builder = Engine::builder().clock(clock.clone()).quota(credits.per("customer_id"));
        builder.durable(store).build().expect("an engine")
    };
    let figures = |decision: &Decision| {
        decision.quotas().map(|it| (it.used, it.held, it.remaining)).collect::<Vec<_>>()
    };
    let (engine, mut answers) = (open(), Vec::new());
    for (straight, key) in [(true, "straight"), (false, "step by step")] {
        engine.go_straight(straight);
        let reserved = engine.reserve(&tokens(7), Hold::lasting(secs(60))).expect("good");
        assert!(matches!(&reserved, Reserved::Held(_)), "{reserved:?}");
        let tracked = engine.track(&tokens(3).idempotency_key(key)).expect("good");
        assert!(tracked.quotas().all(|it| it.held == 7), "{tracked:?}");
        answers.push((key, figures(&tracked)));
    }
    engine.store().close().expect("it closes");
    drop(engine);
    let engine = open();
    for (key, expected) in answers {
        let again = engine.track(&tokens(3).idempotency_key(key)).expect("good");
        assert_eq!((again.outcome(), figures(&again)), (Outcome::Replayed, expected), "{key}");
    }
}

impl App {
    fn new() -> Self {
        let (store, clock) = (MemoryStore::new(), ManualClock::new(date(START)));
        let engine = open(&store, &clock);
        Self { store, clock, engine }
    }

    /// Ends in some way, and begins again.
    fn again(mut self, crash: bool) -> Self {
        let store = if crash { self.store.after_crash() } else { self.store.clone() };
        if !crash {
            self.engine.store().close().expect("it closes");
        }
        // One without a store takes the place of the one that ends.
        self.engine = Engine::builder().build().expect("no rules");
        self.engine = open(&store, &self.clock);
        self.store = store;
        self.engine.store().verify(|_| {}).expect("it is whole");
        self
    }

    fn reserve(&self, event: &Event<'_>, seconds: u64) -> ReservationId {
        match self.engine.reserve(event, Hold::lasting(secs(seconds))).expect("a good event") {
            Reserved::Held(reservation) => reservation.into_id(),
            other => panic!("{other:?}"),
        }
    }

    /// What is left of each rate limit, used and held of the daily quota, and used at once.
    fn figures(&self) -> (Vec<u64>, (u64, u64), u64) {
        let standing = self.engine.standing(&tokens(0)).expect("good");
        let left = standing.rate_limits().map(|limit| limit.remaining.to_u64_floor()).collect();
        let quotas: Vec<_> = standing.quotas().collect();
        let [daily, at_once] = &quotas[..] else { panic!("two") };
        let (used, held) = (daily.used.to_u64_floor(), daily.held.to_u64_floor());
        (left, (used, held), at_once.used.to_u64_floor() + at_once.held.to_u64_floor())
    }

    fn state(&self, id: ReservationId) -> Option<ReservationState> {
        self.engine.reservation(id).map(|status| status.state)
    }
}

#[test]
fn an_open_hold_is_as_it_was_and_expires_when_it_would_have() {
    for crash in [false, true] {
        let app = App::new();
        assert!(app.engine.track(&tokens(100)).expect("good").is_allowed());
        let id = app.reserve(&tokens(400), 60);
        let before = app.figures();
        assert_eq!(before, (vec![500, 500, 500], (100, 400), 1));
        let shown = app.engine.reservation(id).expect("it is known");
        let app = app.again(crash);
        assert_eq!(app.figures(), before, "crash: {crash}");
        assert_eq!(app.engine.reservation(id).expect("it is known"), shown);
        app.clock.advance(Duration::from_nanos(59_999_999_999));
        assert_eq!(app.figures().1, (100, 400), "crash: {crash}");
        app.clock.advance(Duration::from_nanos(1));
        // The bucket has refilled meanwhile what was used, and nothing of the hold twice.
        assert_eq!(app.figures(), (vec![960, 900, 900], (100, 0), 0), "crash: {crash}");
        assert_eq!(app.state(id), Some(ReservationState::Expired));
        let app = app.again(crash).again(!crash);
        assert_eq!(app.figures(), (vec![960, 900, 900], (100, 0), 0), "crash: {crash}");
        assert_eq!(app.state(id), Some(ReservationState::Expired));
    }
}

#[test]
fn a_hold_that_expired_while_nobody_was_there_is_given_back() {
    for crash in [false, true] {
        let app = App::new();
        let id = app.reserve(&tokens(400), 60);
        app.clock.advance(secs(5_000));
        let app = app.again(crash);
        assert_eq!(app.state(id), Some(ReservationState::Expired));
        assert_eq!(app.figures(), (vec![1_000, 1_000, 1_000], (0, 0), 0), "crash: {crash}");
        // It can be committed still, once.
        let decision = app.engine.commit(id, &tokens(300)).expect("it happened");
        assert!(decision.is_allowed());
        let app = app.again(crash);
        assert_eq!(app.figures(), (vec![700, 700, 700], (300, 0), 0), "crash: {crash}");
        assert_eq!(app.state(id), Some(ReservationState::Committed));
    }
}

#[test]
fn a_hold_is_committed_grown_extended_and_released_after_a_restart() {
    for crash in [false, true] {
        let app = App::new();
        let [one, two, three] = [100, 200, 300].map(|held| app.reserve(&tokens(held), 60));
        let app = app.again(crash);
        assert!(app.engine.grow(one, &tokens(50)).expect("it is open").is_allowed());
        assert_eq!(app.engine.extend(two, secs(600)).expect("it is open").to_string().len(), 20);
        let _ = app.engine.release(three).expect("it is open");
        let figures = app.figures();
        assert_eq!(figures, (vec![650, 650, 650], (0, 350), 2));
        let app = app.again(crash);
        assert_eq!(app.figures(), figures);
        let _ = app.engine.release(three).expect("twice is the same");
        app.clock.advance(secs(60));
        let app = app.again(crash);
        assert_eq!(app.state(one), Some(ReservationState::Expired));
        assert_eq!(app.state(two), Some(ReservationState::Held));
        assert_eq!(app.state(three), Some(ReservationState::Released));
        assert_eq!(app.figures(), (vec![800, 800, 800], (0, 200), 1));
        let decision = app.engine.commit(two, &tokens(120)).expect("it happened");
        let body = serde_json::to_string(&decision).expect("plain data");
        let figures = app.figures();
        assert_eq!(figures, (vec![880, 880, 880], (120, 0), 0));
        let app = app.again(crash);
        assert_eq!(app.figures(), figures);
        let again = app.engine.commit(two, &tokens(120)).expect("the same again");
        assert_eq!(again.outcome(), Outcome::Replayed);
        assert_eq!(again.reservation_id(), Some(two));
        assert_eq!(serde_json::to_string(&again).expect("plain data"), body);
        assert_eq!(app.figures(), figures, "it counts once");
        let other = app.engine.commit(two, &tokens(121)).expect_err("it was another one");
        let first = decision.event_id();
        assert!(first.is_some());
        assert_eq!(other, ReservationError::Conflict { id: two, first });
        let status = app.engine.reservation(two).expect("it is known");
        assert_eq!((status.state, status.event_id), (ReservationState::Committed, first));
        let why = app.engine.commit(three, &tokens(1)).expect_err("it was released");
        assert!(matches!(why, ReservationError::Ended { .. }), "{why}");
        assert_eq!(app.engine.events().len(), 1);
    }
}

#[test]
fn a_key_is_known_after_a_restart_with_what_became_of_its_reservation() {
    for crash in [false, true] {
        let app = App::new();
        let call = tokens(100).idempotency_key("call 1");
        let id = app.reserve(&call, 60);
        let replay = |app: &App| match app.engine.reserve(&call, Hold::default()) {
            Ok(Reserved::Replayed(KeyStatus::Reserved(status))) => *status,
            other => panic!("{other:?}"),
        };
        let app = app.again(crash);
        let status = replay(&app);
        assert_eq!((status.id, status.state), (id, ReservationState::Held));
        assert_eq!(status, app.engine.reservation(id).expect("it is known"));
        // Keys are shared with `track`, and another payload is a conflict.
        assert_eq!(app.engine.track(&call).expect("known").outcome(), Outcome::Replayed);
        let other = app.engine.track(&tokens(99).idempotency_key("call 1"));
        assert!(matches!(other, Err(TrackError::IdempotencyConflict { .. })), "{other:?}");
        assert_eq!(app.figures().1, (0, 100));
        let _ = app.engine.commit(id, &tokens(40)).expect("it happened");
        let app = app.again(crash);
        let status = replay(&app);
        assert_eq!((status.id, status.state), (id, ReservationState::Committed));
        assert!(status.event_id.is_some());
        assert_eq!(app.figures().1, (40, 0));
        let app = app.again(crash);
        let released = tokens(10).idempotency_key("call 2");
        let two = app.reserve(&released, 60);
        let _ = app.engine.release(two).expect("it is open");
        let app = app.again(crash);
        let Ok(Reserved::Replayed(KeyStatus::Reserved(status))) =
            app.engine.reserve(&released, Hold::default())
        else {
            panic!("a released key stays bound")
        };
        assert_eq!((status.id, status.state), (two, ReservationState::Released));
    }
}

#[test]
fn what_was_granted_is_held_after_a_restart_and_the_request_is_what_was_asked() {
    let app = App::new();
    let call = tokens(5_000).idempotency_key("up to");
    let reserve =
        |app: &App| app.engine.reserve_up_to(&call, &Metric::TotalTokens, 100, Hold::default());
    let Ok(Reserved::Held(held)) = reserve(&app) else { panic!("there is room") };
    assert_eq!(held.granted(), Some(1_000.into()));
    let id = held.into_id();
    let app = app.again(true);
    assert_eq!(app.figures().1, (0, 1_000));
    let Ok(Reserved::Replayed(KeyStatus::Reserved(status))) = reserve(&app) else {
        panic!("the same request")
    };
    assert_eq!(status.id, id);
    assert_eq!(status.estimate.amount("total_tokens"), Some(Amount::from(1_000)));
}

#[test]
fn names_are_not_given_twice_and_one_that_was_lost_is_nobodys() {
    let app = App::new();
    let known = app.reserve(&tokens(10), 60);
    let before = app.store.after_crash();
    let lost = app.reserve(&tokens(10), 60);
    let App { clock, .. } = app;
    let engine = open(&before, &clock);
    let app = App { store: before, clock, engine };
    assert_eq!(app.state(known), Some(ReservationState::Held));
    assert_eq!(app.state(lost), None);
    let new = app.reserve(&tokens(10), 60);
    assert!(![known, lost].contains(&new));
    let why = app.engine.commit(lost, &tokens(1)).expect_err("it is unknown");
    assert_eq!(why, ReservationError::NotFound { id: lost });
    let all = app.engine.reservations().list(&ReservationQuery::new());
    assert_eq!(all.iter().map(|status| status.id).collect::<Vec<_>>(), [known, new]);
}

#[test]
fn the_most_reservations_of_a_customer_count_those_of_before() {
    let app = App::new();
    for _ in 0..3 {
        app.reserve(&tokens(1), 60);
    }
    let app = app.again(true);
    let refused = app.engine.reserve(&tokens(1), Hold::default()).expect("good");
    let Reserved::Refused(decision) = refused else { panic!("all slots are taken") };
    assert_eq!(decision.retry_after().expect("refused").to_string(), "60s");
    app.clock.advance(secs(60));
    app.reserve(&tokens(1), 60);
}

#[test]
fn a_clock_that_is_set_back_lengthens_nothing_and_shortens_nothing() {
    let app = App::new();
    app.clock.advance(secs(600));
    let id = app.reserve(&tokens(400), 60);
    app.clock.advance(secs(20));
    let _ = app.engine.track(&tokens(1)).expect("good");
    // An hour back: the engine's time goes on from where it was.
    app.clock.set(date(START - 3_600_000_000_000));
    let app = app.again(true);
    assert_eq!(app.state(id), Some(ReservationState::Held));
    app.clock.advance(Duration::from_nanos(39_999_999_999));
    assert_eq!(app.state(id), Some(ReservationState::Held));
    app.clock.advance(Duration::from_nanos(1));
    assert_eq!(app.state(id), Some(ReservationState::Expired));
    assert_eq!(app.figures().2, 0);
}

#[test]
fn who_waits_for_a_reservation_has_it_once_it_is_durable() {
    let app = App::new();
    let ids = [1, 2, 3].map(|_| app.reserve(&tokens(1), 600));
    let event = tokens(10);
    let mut task = Context::from_waker(Waker::noop());
    let mut wait = pin!(app.engine.wait_reserve(&event, Hold::lasting(secs(300))));
    assert!(wait.as_mut().poll(&mut task).is_pending(), "all slots are taken");
    let _ = app.engine.release(ids[0]).expect("it is open");
    let held = loop {
        match wait.as_mut().poll(&mut task) {
            Poll::Ready(answer) => break answer.expect("there is room"),
            Poll::Pending => std::thread::yield_now(),
        }
    };
    let Reserved::Held(held) = held else { panic!("there is room") };
    let id = held.into_id();
    // A future that is dropped gives back what it was about to answer.
    let _ = app.engine.release(ids[1]).expect("it is open");
    let mut dropped = Box::pin(app.engine.wait_reserve(&event, Hold::lasting(secs(300))));
    let was_ready = dropped.as_mut().poll(&mut task).is_ready();
    drop(dropped);
    assert!(was_ready || app.figures().2 == 2, "{:?}", app.figures());
    let blocking = app.engine.wait_reserve_blocking(&event, Hold::lasting(secs(300)));
    let Ok(Reserved::Held(second)) = blocking else { panic!("there is room") };
    let second = second.into_id();
    let figures = app.figures();
    let app = app.again(true);
    assert_eq!(app.figures(), figures);
    for id in [id, second, ids[2]] {
        assert_eq!(app.state(id), Some(ReservationState::Held));
    }
}

#[test]
fn what_became_of_a_reservation_does_not_hang_on_how_long_records_are_kept() {
    let (store, clock) = (MemoryStore::new(), ManualClock::new(date(START)));
    let open = || {
        let store = store.open().expect("nobody has it").retention(secs(86_400));
        let daily = Quota::new("daily", Metric::TotalTokens, 100_000, Period::AllTime);
        let engine = Engine::builder().clock(clock.clone()).quota(daily.per("customer_id"));
        let engine = engine.idempotency_retention(secs(86_400)).durable(store);
        engine.build().expect("an engine")
    };
    let reserve = |engine: &Engine, seconds| {
        let hold = Hold::lasting(secs(seconds));
        match engine.reserve(&tokens(100), hold).expect("good") {
            Reserved::Held(held) => held.into_id(),
            other => panic!("{other:?}"),
        }
    };
    let engine = open();
    let (held, committed, released) =
        (reserve(&engine, 86_400), reserve(&engine, 86_400), reserve(&engine, 86_400));
    let first = engine.commit(committed, &tokens(40)).expect("it happened");
    let _ = engine.release(released).expect("it is open");
    let mut engine = engine;
    // Their records are dropped, and they are known until a day after they would have expired.
    for turn in 0..15 {
        if turn == 10 {
            engine.extend(held, secs(86_400)).expect("it is open");
        }
        clock.advance(secs(7_000));
        for _ in 0..20 {
            let _ = engine.track(&tokens(1)).expect("good");
            clock.advance(secs(10));
        }
        engine.store().close().expect("it closes");
        drop(engine);
        engine = open();
    }
    let report = engine.store().verify(|_| ()).expect("it is whole");
    assert!(report.records < 300, "records were dropped: {report:?}");
    let state = |id| engine.reservation(id).map(|status| status.state);
    assert_eq!(state(held), Some(ReservationState::Held));
    assert_eq!(state(released), Some(ReservationState::Released));
    assert_eq!(state(committed), Some(ReservationState::Committed));
    let again = engine.commit(committed, &tokens(40)).expect("once more");
    assert_eq!((again.outcome(), again.event_id()), (Outcome::Replayed, first.event_id()));
    let decision = engine.commit(held, &tokens(60)).expect("it happened");
    let quota = decision.quotas().next().expect("a quota");
    assert_eq!((quota.used.to_u64_floor(), quota.held), (40 + 60 + 300, 0.into()));
}

/// What a rate limit took over is use that is not given back; a commit is charged beyond it.
#[test]
fn what_was_held_of_a_rate_limit_that_changed_is_known_after_a_restart() {
    let mut found = Vec::new();
    for restarts in 0..3 {
        let mut app = App::new();
        let id = app.reserve(&tokens(400), 5_000);
        let other = RateLimitUpdate::new().algorithm(Algorithm::FixedWindow);
        app.engine.rules().update("rl_bucket", other).expect("a good rule");
        for crash in [false, true].into_iter().cycle().take(restarts) {
            app = app.again(crash);
        }
        let decision = app.engine.commit(id, &tokens(500)).expect("it happened");
        found.push((app.figures(), decision.is_overrun()));
    }
    assert_eq!(found[0], ((vec![500, 500, 500], (500, 0), 0), true));
    assert!(found.iter().all(|one| *one == found[0]), "{found:?}");
}

/// Found by the programs of `corrections.rs`: such a store was said to be damaged.
#[test]
fn a_commit_that_gives_something_back_is_whole() {
    let (store, clock) = (MemoryStore::new(), ManualClock::new(date(START)));
    let open = || {
        let store = store.open().expect("nobody has it").durability(Durability::Synced);
        let cost = Quota::new("cost", Metric::TotalCostCents, 100, Period::AllTime);
        let cost = cost.per("customer_id");
        Engine::builder().clock(clock.clone()).quota(cost).durable(store).build().expect("good")
    };
    let cents = |cents: i64| Event::new("ann", "call").cost_cents(cents);
    let engine = open();
    let Reserved::Held(held) = engine.reserve(&cents(3), Hold::default()).expect("good") else {
        panic!("there is room");
    };
    let _ = engine.record(&cents(20)).expect("good");
    let _ = held.commit(&cents(-1)).expect("it is open");
    let _ = engine.record(&cents(5)).expect("good");
    let used = |engine: &Engine| {
        let standing = engine.standing(&cents(0)).expect("good");
        standing.quotas().next().expect("it matches").used
    };
    assert_eq!(used(&engine), 24);
    engine.store().verify(|_| {}).expect("it is whole");
    drop(engine);
    let engine = open();
    assert_eq!(used(&engine), 24);
    engine.store().verify(|_| {}).expect("it is whole");
}
