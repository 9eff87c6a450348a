//! Goal: many holds in one counter are as exact as few: a thousand that expire at one instant, more
//! takes than a window tells apart, and keys that share a counter because there is no room.

use crate::lives::secs;
use crate::support::oracle::{
    DAY, HOUR, Kind, MILLISECOND, MINUTE, Measure, PlainEvent, Rule, SECOND, Span,
};
use crate::support::{Dice, Pair, cases, duration, engine, quota, rate_limit, seed};
use limitry::reservations::ReservationId;
use limitry::rules::{Algorithm, Overflow};
use limitry::{
    Amount, Event, Hold, Metric, Period, Quota, RateLimit, Reserved, RetryAfter, Window,
};

const MANY: u64 = 2_000;

#[test]
fn a_thousand_that_expire_at_one_instant() {
    let (engine, clock) = engine(|builder| {
        let limit_in =
            |name: &str, window| RateLimit::new(name, MANY, window).metric(Metric::TotalTokens);
        let limit = |name: &str| limit_in(name, Window::Hour);
        let rolling = Period::rolling(secs(3_600));
        builder
            .rate_limit(limit("Fixed").algorithm(Algorithm::FixedWindow))
            .rate_limit(limit("Sliding").algorithm(Algorithm::SlidingWindow))
            .rate_limit(limit_in("Bucket", Window::every(secs(86_400 * 365))))
            .quota(Quota::new("Daily", Metric::TotalTokens, MANY, Period::Day))
            .quota(Quota::new("Rolling", Metric::TotalTokens, MANY, rolling))
            .quota(Quota::concurrent("At once", MANY))
    });
    let end = engine.now().saturating_add(secs(600));
    for number in 0..MANY {
        let until = end.saturating_since(engine.now());
        let call = Event::new(format!("cust_{number}"), "call").total_tokens(1);
        match engine.reserve(&call, Hold::lasting(until)).expect("good") {
            Reserved::Held(guard) => std::mem::forget(guard),
            other => panic!("{number}: {other:?}"),
        }
        clock.advance(std::time::Duration::from_millis(100));
    }
    let wait = |tokens| {
        let call = Event::new("late", "call").total_tokens(tokens);
        engine.check(&call).expect("good").retry_after()
    };
    let left = end.saturating_since(engine.now());
    for tokens in [1, 2, MANY] {
        assert_eq!(wait(tokens), Some(RetryAfter::After(left)), "{tokens}");
    }
    clock.advance(left - std::time::Duration::from_nanos(1));
    assert_eq!(wait(1), Some(RetryAfter::After(std::time::Duration::from_nanos(1))));
    clock.advance(std::time::Duration::from_nanos(1));
    assert_eq!(wait(MANY), None);
    let standing = engine.standing(&Event::new("late", "call")).expect("good");
    let all = Amount::from(MANY);
    for limit in standing.rate_limits() {
        assert_eq!((limit.remaining, limit.held), (all, Amount::ZERO), "{}", limit.name);
    }
    for quota in standing.quotas() {
        assert_eq!((quota.remaining, quota.held), (all, Amount::ZERO), "{}", quota.name);
    }
}

/// The steps of a life that others have, too.
struct Life {
    dice: Dice,
    pair: Pair,
    open: Vec<(ReservationId, PlainEvent)>,
}

impl Life {
    fn step(&mut self, event: &PlainEvent, lasting: i128) -> Result<(), String> {
        let place = (!self.open.is_empty()).then(|| self.dice.below(self.open.len() as u64));
        let place = place.and_then(|place| usize::try_from(place).ok());
        match (self.dice.below(10), place) {
            (0..5, _) | (_, None) => {
                let hold = Hold::lasting(duration(lasting));
                let (_, guard) = self.pair.reserve(event, hold)?;
                if let Some(guard) = guard {
                    self.open.push((guard.id(), event.clone()));
                    std::mem::forget(guard);
                }
            }
            (5, _) => drop(self.pair.track(event)?),
            (6 | 7, Some(place)) => {
                let (id, mut actual) = self.open.swap_remove(place);
                actual.total = Some(self.dice.range(0, 12));
                drop(self.pair.commit(id, None, &actual)?);
            }
            (8, Some(place)) => {
                let (id, _) = self.open.swap_remove(place);
                self.pair.release(id, None)?;
            }
            (_, Some(place)) => {
                let (id, event) = self.open[place].clone();
                let more = PlainEvent { total: Some(1), ..event };
                drop(self.pair.grow(id, &more)?);
            }
        }
        self.pair.standing(event).map(drop)
    }
}

#[test]
fn more_takes_than_a_window_tells_apart() {
    let mut dice = Dice::new(seed("many takes", 12_005));
    for life in 0..cases(2) {
        let tokens = |id: &str, kind| Rule::new(id, 900, kind).measure(Measure::Tokens);
        let pair = Pair::new(&[
            tokens("sliding", Kind::Sliding { window: MINUTE }),
            tokens("rolling", Kind::Rolling { window: 2 * MINUTE }),
        ]);
        let mut own = Life { dice: Dice::new(dice.next()), pair, open: Vec::new() };
        for step in 0..170 {
            let tokens = own.dice.range(0, 9);
            let event = PlainEvent::new("ann", "call").tokens(tokens);
            let lasting = i128::from(own.dice.range(1, 200)) * SECOND;
            let done = own.step(&event, lasting);
            done.unwrap_or_else(|why| panic!("life {life}, step {step}: {why}"));
            let pause = own.dice.pick(&[1, 5, 300, 700, 700, 2_000]);
            own.pair.advance(i128::from(pause) * MILLISECOND);
        }
    }
}

/// The engine splits by customers and has room for two of them. The oracle splits by what stands
/// for them: the first two, and all others.
#[test]
fn keys_that_find_no_room_share_what_is_held() {
    let mut dice = Dice::new(seed("shared holds", 12_006));
    let kinds = [
        Kind::Fixed { window: 30 * DAY },
        Kind::Sliding { window: 30 * DAY },
        Kind::Bucket { window: 30 * DAY, burst: Some(120) },
        Kind::Calendar(Span::AllTime),
        Kind::Rolling { window: 30 * DAY },
    ];
    for life in 0..cases(3) {
        let rule = |(number, kind): (usize, &Kind)| {
            let rule = Rule::new(&format!("r{number}"), 100, *kind).measure(Measure::Tokens);
            rule.per("row")
        };
        let rules: Vec<Rule> = kinds.iter().enumerate().map(rule).collect();
        let mut pair = Pair::new(&rules);
        let (shared, clock) = engine(|mut builder| {
            for rule in &rules {
                let rule = Rule { per: vec!["customer_id".into()], ..rule.clone() };
                builder = if rule.kind.is_rate() {
                    builder.rate_limit(rate_limit(&rule).max_keys(2).overflow(Overflow::Share))
                } else {
                    builder.quota(quota(&rule).max_keys(2).overflow(Overflow::Share))
                };
            }
            builder
        });
        (pair.engine, pair.clock) = (shared, clock);
        let mut own = Life { dice: Dice::new(dice.next()), pair, open: Vec::new() };
        let event = |customer: &str, tokens| {
            let row = if matches!(customer, "ann" | "bob") { customer } else { "others" };
            PlainEvent::new(customer, "call").text("row", row).tokens(tokens)
        };
        for first in ["ann", "bob"] {
            let seen = own.pair.track(&event(first, 1)).expect("as the oracle says");
            assert!(seen.is_ok_and(|seen| seen.is_admitted()));
        }
        for step in 0..150 {
            let customer = own.dice.pick(&["ann", "bob", "carl", "dora", "emil"]);
            let event = event(customer, own.dice.range(0, 30));
            let lasting = i128::from(own.dice.range(1, 300)) * MINUTE;
            let done = own.step(&event, lasting);
            done.unwrap_or_else(|why| panic!("life {life}, step {step}: {why}"));
            let pause = i128::from(own.dice.range(0, 2)) * HOUR / 3;
            own.pair.advance(pause);
        }
    }
}
