//! Goal: what was adjusted survives a restart and a crash with its counters, its list and its
//! idempotency keys, exactly once; and an adjustment is to a rule and a key what an event of the
//! same amount would be.
//!
//! Method: worked cases on a store in memory, cut off by crashes and closed; and random programs
//! (events, late ones, holds, adjustments, resets, changes of the rule, restarts, crashes) beside a
//! twin that records an event in place of each adjustment: after every step both say the same.

use std::time::Duration;

use limitry::keys::{Adjust, AdjustmentQuery, KeyQuery};
use limitry::rules::{Algorithm, QuotaUpdate, RateLimitUpdate};
use limitry::store::{Durability, MemoryStore};
use limitry::time::ManualClock;
use limitry::{
    Amount, Engine, Event, Hold, Metric, Period, Quota, RateLimit, Reserved, Rule, Window,
};

use crate::support::{Dice, START, cases, date, seed};

const ANN: (&str, &str) = ("customer_id", "ann");

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn event(amount: i64) -> Event<'static> {
    Event::new("ann", "call").value("v", amount)
}

/// An application, whose engine may be stopped.
struct App {
    store: MemoryStore,
    clock: ManualClock,
    engine: Engine,
    rule: Rule,
}

fn open(store: &MemoryStore, clock: &ManualClock, rule: &Rule) -> Engine {
    let store = store.open().expect("nobody has it").durability(Durability::Synced);
    let builder = Engine::builder().clock(clock.clone()).durable(store);
    builder.rule(rule.clone()).build().expect("an engine")
}

impl App {
    fn new(rule: impl Into<Rule>) -> Self {
        let (store, clock) = (MemoryStore::new(), ManualClock::new(date(START)));
        let rule = rule.into();
        let engine = open(&store, &clock, &rule);
        Self { store, clock, engine, rule }
    }

    /// Ends in some way, and begins again.
    fn again(mut self, crash: bool) -> Self {
        let store = if crash { self.store.after_crash() } else { self.store.clone() };
        if !crash {
            self.engine.store().close().expect("it closes");
        }
        // One without a store takes the place of the one that ends.
        self.engine = Engine::builder().build().expect("no rules");
        self.engine = open(&store, &self.clock, &self.rule);
        self.store = store;
        self.engine.store().verify(|_| {}).expect("it is whole");
        self
    }

    /// What is taken and left, and when that starts over, of either kind of rule; and what is
    /// adjusted.
    fn stands(&self) -> (Option<(String, Amount, Amount)>, Amount) {
        let standing = self.engine.standing(&event(0)).expect("valid");
        if let Some(limit) = standing.rate_limits().next() {
            let reset = limit.reset.to_string();
            return (Some((reset, limit.held, limit.remaining)), Amount::ZERO);
        }
        let Some(quota) = standing.quotas().next() else { return (None, Amount::ZERO) };
        // What was held before a change of the period may be shown as held or as used.
        let taken = quota.used.saturating_add(quota.held);
        // Events come back by the minute where a rolling quota starts from what is recorded.
        let is_rolling = matches!(quota.period, Period::Rolling(_));
        let reset = quota.reset.filter(|_| !is_rolling);
        (Some((format!("{reset:?}"), taken, quota.remaining)), quota.adjusted)
    }

    fn used(&self) -> Amount {
        let page = self.engine.rules().keys("r", &KeyQuery::new()).expect("a page");
        page.items.first().map_or(Amount::ZERO, |one| one.used)
    }
}

fn quota(period: Period) -> Quota {
    Quota::new("r", Metric::value("v"), 1_000, period).id("r").per("customer_id")
}

fn limit(algorithm: Algorithm) -> RateLimit {
    let limit = RateLimit::new("r", 1_000, Window::every(secs(1_000))).id("r");
    limit.algorithm(algorithm).metric(Metric::value("v")).per("customer_id")
}

fn rules() -> Vec<Rule> {
    vec![
        quota(Period::Hour).into(),
        quota(Period::Day).into(),
        quota(Period::AllTime).into(),
        quota(Period::Rolling(secs(3_600))).into(),
        limit(Algorithm::TokenBucket).into(),
        limit(Algorithm::FixedWindow).into(),
        limit(Algorithm::SlidingWindow).into(),
    ]
}

#[test]
fn adjustments_come_back_with_their_counters_and_their_keys() {
    for rule in rules() {
        for crash in [false, true] {
            let mut app = App::new(rule.clone());
            app.engine.track(&event(300)).map(|it| assert!(it.is_allowed())).expect("valid");
            let refund = || Adjust::by("r", ANN, -100).note("ticket 7").idempotency_key("t7");
            let first = app.engine.rules().apply(&refund()).expect("good");
            let before = app.stands();
            app = app.again(crash);
            assert_eq!(app.stands(), before, "{rule:?} {crash}");
            assert_eq!(app.engine.rules().apply(&refund()).expect("the same"), first);
            assert_eq!(app.stands(), before, "{rule:?} {crash}");
            let reset = app.engine.rules().reset("r", ANN).expect("good");
            assert_eq!((reset.number, reset.amount), (1, (-200).into()), "{rule:?}");
            app.clock.advance(secs(1));
            app = app.again(crash);
            assert_eq!(app.used(), Amount::ZERO, "{rule:?} {crash}");
            let listed = app.engine.rules().adjustments(&AdjustmentQuery::new()).expect("a page");
            assert_eq!((listed.items.len(), listed.total), (2, (-300).into()));
            assert_eq!((&listed.items[0], &listed.items[1]), (&reset, &first));
            // From a checkpoint, and from the log behind it.
            app.engine.rules().adjust("r", ANN, 40, "taken").expect("good");
            let before = app.stands();
            app = app.again(crash).again(true).again(false);
            assert_eq!(app.stands(), before, "{rule:?} {crash}");
            let made = app.engine.rules().adjust("r", ANN, 1, "one more").expect("good");
            assert_eq!(made.number, 3);
        }
    }
}

#[test]
fn a_hold_that_is_open_goes_through_with_a_reset() {
    for rule in rules() {
        for crash in [false, true] {
            let mut app = App::new(rule.clone());
            app.engine.track(&event(300)).map(|it| assert!(it.is_allowed())).expect("valid");
            let hold = Hold::lasting(secs(600));
            let Reserved::Held(held) = app.engine.reserve(&event(200), hold).expect("valid") else {
                unreachable!("it fits")
            };
            let id = held.into_id();
            app.engine.rules().reset("r", ANN).expect("good");
            let before = app.stands();
            assert_eq!(before.0.clone().map(|it| it.2), Some(800.into()), "{rule:?}");
            app = app.again(crash);
            assert_eq!(app.stands(), before, "{rule:?} {crash}");
            app.engine.release(id).expect("open");
            let left = app.stands().0.map(|it| it.2);
            assert_eq!(left, Some(1_000.into()), "{rule:?} {crash}");
        }
    }
}

/// Also where the rule is gone, which has no sums then: found by the search of `decisions::model`.
#[test]
fn a_replay_says_what_was_adjusted_before_it() {
    for (period, is_removed) in [
        (Period::Day, false),
        (Period::Day, true),
        (Period::rolling(secs(3_600)), false),
        (Period::rolling(secs(3_600)), true),
    ] {
        let mut app = App::new(quota(period));
        let keyed = || event(10).idempotency_key("first");
        let body = |app: &App| {
            serde_json::to_value(app.engine.track(&keyed()).expect("valid")).expect("a body")
        };
        app.engine.rules().adjust("r", ANN, -7, "before").expect("good");
        let first = body(&app);
        assert_eq!(first["quotas"][0]["adjusted"], -7);
        app.engine.rules().adjust("r", ANN, -9, "after").expect("good");
        app.engine.rules().adjust("r", ("customer_id", "bob"), -1, "another").expect("good");
        if is_removed {
            app.engine.rules().remove("r").expect("it is there");
        }
        for crash in [false, true] {
            assert_eq!(body(&app), first, "{period:?} {is_removed}");
            app = app.again(crash);
            // Of rules that are gone nothing is summed up once any have changed.
            app.engine.rules().add(limit(Algorithm::FixedWindow).id("l")).expect("good");
            assert_eq!(body(&app), first, "{period:?} {is_removed} {crash}");
            app.engine.rules().remove("l").expect("it is there");
        }
    }
}

#[test]
fn a_rule_that_is_gone_takes_what_was_adjusted_with_it() {
    let mut app = App::new(quota(Period::Day));
    app.engine.rules().adjust("r", ANN, -7, "before").expect("good");
    app.engine.rules().remove("r").expect("there");
    app.engine.rules().add(quota(Period::Day)).expect("good");
    for crash in [false, true] {
        assert_eq!(app.stands().1, Amount::ZERO);
        let listed = app.engine.rules().adjustments(&AdjustmentQuery::new()).expect("a page");
        assert_eq!(listed.items.len(), 1);
        app = app.again(crash);
    }
}

/// Changes the rule of both.
fn change(twins: &[App; 2], dice: &mut Dice) {
    let choice = dice.below(4);
    let number = 500 + dice.below(1_000);
    for app in twins {
        let rules = app.engine.rules();
        let quota = |update: QuotaUpdate| rules.update("r", update).map(drop);
        let limit = |update: RateLimitUpdate| rules.update("r", update).map(drop);
        let changed = match (&app.rule, choice) {
            (Rule::RateLimit(_), _) => limit(RateLimitUpdate::new().limit(number)),
            (Rule::Quota(_), 0) => quota(QuotaUpdate::new().limit(number)),
            (Rule::Quota(_), 1) => quota(QuotaUpdate::new().period(Period::Day)),
            (Rule::Quota(_), 2) => quota(QuotaUpdate::new().period(Period::Hour)),
            // What is recorded seeds the counter anew.
            _ => {
                let off = quota(QuotaUpdate::new().enabled(false));
                off.and_then(|()| quota(QuotaUpdate::new().enabled(true)))
            }
        };
        changed.expect("good");
    }
}

#[test]
fn an_adjustment_is_what_an_event_of_its_amount_is_to_its_rule() {
    let mut dice = Dice::new(seed("an_adjustment_is_what_an_event_of_its_amount_is", 13));
    for case in 0..cases(14) {
        let rules = rules();
        let rule = &rules[case as usize % rules.len()];
        let is_rolling = |app: &App| match app.engine.rules().get::<Rule>("r") {
            Some(Rule::Quota(quota)) => matches!(quota.period, Period::Rolling(_)),
            _ => false,
        };
        let mut twins = [App::new(rule.clone()), App::new(rule.clone())];
        let (mut held, mut total) = (Vec::new(), Amount::ZERO);
        for step in 0..40 {
            let amount = i64::try_from(dice.below(300)).expect("small");
            match dice.below(12) {
                0..=3 => {
                    let answers = twins
                        .each_ref()
                        .map(|app| app.engine.track(&event(amount)).expect("valid"));
                    assert_eq!(answers[0].is_allowed(), answers[1].is_allowed());
                    assert_eq!(answers[0].retry_after(), answers[1].retry_after());
                }
                4 | 5 => {
                    let amount = if dice.below(2) == 0 { 1 + amount } else { -1 - amount };
                    let [adjusted, recorded] = &twins;
                    adjusted.engine.rules().adjust("r", ANN, amount, "a note").expect("good");
                    let _ = recorded.engine.record(&event(amount)).expect("valid");
                    total = total.saturating_add(amount.into());
                }
                6 if !is_rolling(&twins[0]) => {
                    let [adjusted, recorded] = &twins;
                    let made = adjusted.engine.rules().reset("r", ANN).expect("good");
                    if made.amount != Amount::ZERO {
                        let undone = Event::new("ann", "call").value("v", made.amount);
                        let _ = recorded.engine.record(&undone).expect("valid");
                    }
                    total = total.saturating_add(made.amount);
                }
                7 => {
                    let hold = Hold::lasting(secs(1 + dice.below(2_000)));
                    let ids = twins.each_ref().map(|app| {
                        match app.engine.reserve(&event(amount), hold).expect("valid") {
                            Reserved::Held(reservation) => Some(reservation.into_id()),
                            _ => None,
                        }
                    });
                    held.push(ids);
                }
                8 if !held.is_empty() => {
                    let ids = held.swap_remove(dice.below(held.len() as u64) as usize);
                    let commits = dice.below(2) == 0;
                    for (app, id) in twins.iter().zip(ids) {
                        let Some(id) = id else { continue };
                        if commits {
                            let _ = app.engine.commit(id, &event(amount));
                        } else {
                            let _ = app.engine.release(id);
                        }
                    }
                }
                9 => {
                    let by = secs(dice.below(1_200));
                    twins.iter().for_each(|app| app.clock.advance(by));
                }
                10 => change(&twins, &mut dice),
                _ => {
                    let crash = dice.below(2) == 0;
                    twins = twins.map(|app| app.again(crash));
                }
            }
            let [adjusted, recorded] = twins.each_ref().map(App::stands);
            assert_eq!(adjusted.0, recorded.0, "case {case}, step {step}: {rule:?}");
            let listed = twins[0].engine.rules().adjustments(&AdjustmentQuery::new());
            assert_eq!(listed.expect("a page").total, total);
        }
    }
}
