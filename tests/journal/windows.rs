//! Goal: windows that keep uses with their own times, and buckets in debt, are after a restart what
//! they were before it, whatever was counted late, ahead of time, or given back; and a log of them
//! is verified.
//!
//! Method: two engines with the same rules and clock are told the same; one of them has a store in
//! memory and is closed, or crashes, and is opened again. Their answers have to be the same.

use limitry::rules::Algorithm;
use limitry::store::{Durability, Durable};
use limitry::time::ManualClock;
use limitry::{Engine, Event, Metric, Period, Quota, RateLimit, RuleSet, Window};

use crate::support::medium::Medium;
use crate::support::oracle::{DAY, HOUR, MINUTE, Nanos, SECOND};
use crate::support::{Dice, START, cases, clock, date, duration, seed};

fn rules(dice: &mut Dice) -> RuleSet {
    let length = dice.pick(&[61, MINUTE, HOUR, 3 * DAY]);
    let window = Window::every(duration(length));
    let images = || Metric::value("images");
    RuleSet::new()
        .rate_limit(
            RateLimit::new("sliding", dice.range(20, 5_000), window)
                .algorithm(Algorithm::SlidingWindow)
                .metric(images())
                .per("customer_id"),
        )
        .rate_limit(
            RateLimit::new("bucket", dice.range(20, 500), window).metric(images()).max_debt(900),
        )
        .rate_limit(RateLimit::new("free", 40, window).metric(images()).per("customer_id"))
        .quota(
            Quota::new(
                "rolling",
                images(),
                dice.range(50, 5_000),
                Period::rolling(duration(length)),
            )
            .per("customer_id"),
        )
}

fn engine(rules: &RuleSet, clock: &ManualClock, medium: Option<&Medium>) -> Engine {
    let builder = Engine::builder().clock(clock.clone()).rule_set(rules.clone());
    let Some(medium) = medium else { return builder.build().expect("valid rules") };
    let store = Durable::open_on(medium.clone()).expect("a store");
    builder.durable(store.durability(Durability::Synced)).build().expect("a good store")
}

fn event(dice: &mut Dice, now: Nanos) -> Event<'static> {
    let amount = i64::try_from(dice.range(1, 60)).expect("small");
    let amount = if dice.chance(15) { -amount } else { amount };
    let event = Event::new(dice.pick(&["ann", "bob"]), "call").value("images", amount);
    let apart = Nanos::from(dice.below(90)) * dice.pick(&[1, SECOND, MINUTE, HOUR]);
    match dice.below(4) {
        0 => event.timestamp(date(now - apart)),
        1 => event.timestamp(date(now + apart.min(DAY))),
        _ => event,
    }
}

#[test]
fn windows_and_debts_are_the_same_after_a_restart() {
    let seed = seed("durable_windows::windows_and_debts", 3);
    for case in 0..cases(30) {
        let mut dice = Dice::new(seed.wrapping_add(case.into()));
        let rules = rules(&mut dice);
        let clock = clock();
        let medium = Medium::new();
        let plain = engine(&rules, &clock, None);
        let mut durable = engine(&rules, &clock, Some(&medium));
        let mut now = START;
        for step in 0..200 {
            let event = event(&mut dice, now);
            let verb = if dice.chance(40) { Engine::record } else { Engine::track };
            let [one, other] = [&plain, &durable].map(|engine| {
                let decision = verb(engine, &event).expect("valid");
                let rates: Vec<String> =
                    decision.rate_limits().map(|status| format!("{status:?}")).collect();
                let quotas: Vec<String> =
                    decision.quotas().map(|status| format!("{status:?}")).collect();
                (rates, quotas, decision.retry_after(), decision.is_allowed())
            });
            assert_eq!(one, other, "LIMITRY_SEED={} step {step}", seed + u64::from(case));
            let apart = dice.pick(&[0, 0, 1, 17, SECOND, MINUTE, HOUR / 3]);
            clock.advance(duration(apart));
            now += apart;
            if dice.chance(4) {
                if dice.chance(50) {
                    durable.store().close().expect("a working store");
                }
                drop(durable);
                durable = engine(&rules, &clock, Some(&medium));
                durable.store().verify(|_| {}).expect("it is whole");
            }
        }
    }
}

/// A rolling quota that came after events of its period knows them after a restart, too.
#[test]
fn a_rolling_quota_that_came_late_knows_what_was_before_it_after_a_restart() {
    for closes in [true, false] {
        let (clock, medium, none) = (clock(), Medium::new(), RuleSet::new());
        let call = || Event::new("ann", "call").value("images", 10);
        let open = || {
            let store = Durable::open_on(medium.clone()).expect("a store");
            let builder = Engine::builder().clock(clock.clone());
            let builder = builder.durable(store.durability(Durability::Synced));
            builder.build().expect("a good store")
        };
        let used = |engine: &Engine| {
            let standing = engine.standing(&call()).expect("valid");
            standing.quotas().next().expect("it applies").used.to_u64_floor()
        };
        let mut durable = engine(&none, &clock, Some(&medium));
        for _ in 0..20 {
            let _ = durable.record(&call()).expect("valid");
            clock.advance(duration(HOUR));
        }
        let quota =
            Quota::new("rolling", Metric::value("images"), 260, Period::rolling(duration(DAY)));
        durable.rules().add(quota.per("customer_id").id("q")).expect("valid");
        for expected in [210, 220, 230] {
            assert!(durable.track(&call()).expect("valid").is_allowed());
            assert_eq!(used(&durable), expected);
            if closes {
                durable.store().close().expect("a working store");
            }
            drop(durable);
            durable = open();
            assert_eq!(used(&durable), expected, "closed: {closes}");
            durable.store().verify(|_| {}).expect("it is whole");
            clock.advance(duration(MINUTE));
        }
        for allowed in [true, true, true, false] {
            assert_eq!(durable.track(&call()).expect("valid").is_allowed(), allowed);
        }
        clock.advance(duration(25 * HOUR));
        assert_eq!(used(&durable), 0);
        assert!(durable.track(&call()).expect("valid").is_allowed());
        durable.store().verify(|_| {}).expect("it is whole");
    }
}
