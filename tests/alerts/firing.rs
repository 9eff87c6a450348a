//! Goal: each threshold fires once for a rule, a key and a period, with the event that reaches it,
//! and with the figures of that step. What is held, refused, asked, on trial or of another period
//! fires nothing.
//!
//! Method: worked cases, on the straight path and step by step. The model (`model.rs`) draws what
//! these leave out.

use std::time::Duration;

use limitry::alerts::AlertKind;
use limitry::events::Recording;
use limitry::rules::{Enforcement, QuotaUpdate, Threshold};
use limitry::{
    Condition, Engine, EngineBuilder, Event, Hold, Meter, Metric, Period, Quota, Reserved,
};

use crate::support::oracle::{DAY, HOUR};
use crate::support::{START, date, engine, track};
use crate::{fired, percent};

const NONE: [&str; 0] = [];

/// So much of a value.
fn use_of(customer: &str, value: i64) -> Event<'_> {
    Event::new(customer, "call").value("credits", value)
}

fn tokens(customer: &str, tokens: u64) -> Event<'_> {
    Event::new(customer, "call").total_tokens(tokens)
}

/// A hundred tokens a month for each customer.
fn monthly(thresholds: impl IntoIterator<Item = u32>) -> Quota {
    let quota = Quota::new("Tokens", Metric::TotalTokens, 100, Period::Month);
    let quota = quota.id("tokens").per("customer_id");
    percent(thresholds).into_iter().fold(quota, Quota::alert_at)
}

/// Does the same on either path, with recording and without.
fn each_way(rules: impl Fn(EngineBuilder) -> EngineBuilder, check: impl Fn(&Engine)) {
    for recording in [Recording::Off, Recording::Newest(1_000)] {
        for straight in [true, false] {
            let (engine, _) = engine(|builder| rules(builder).recording(recording));
            engine.go_straight(straight);
            check(&engine);
        }
    }
}

/// The worked numbers of the product: 79, 2, 19, 5 of 100 with alerts at 80 and 100.
#[test]
fn eighty_and_a_hundred_fire_once_each() {
    each_way(
        |builder| builder.quota(monthly([80, 100]).enforcement(Enforcement::Soft)),
        |engine| {
            let alerts = engine.alerts();
            assert!(track(engine, &tokens("ann", 79)).is_allowed());
            assert_eq!(alerts.poll(), None);
            assert!(track(engine, &tokens("ann", 2)).is_allowed());
            let first = alerts.poll().expect("81 are used");
            assert_eq!((first.threshold, first.percentage), (Threshold::percent(80), Some(81)));
            assert_eq!((first.used, first.remaining), (81.into(), Some(19.into())));
            assert_eq!(first.kind, AlertKind::ThresholdReached);
            assert!(track(engine, &tokens("ann", 19)).is_allowed());
            let second = alerts.poll().expect("100 are used");
            assert_eq!((second.kind, second.percentage), (AlertKind::LimitExceeded, Some(100)));
            assert!(track(engine, &tokens("ann", 5)).is_allowed());
            assert_eq!(alerts.poll(), None);
            assert_ne!(first.id, second.id);
            assert_eq!(alerts.waiting(), 0);
        },
    );
}

#[test]
fn an_alert_says_what_the_deciding_step_knew() {
    let (engine, _) = engine(|builder| {
        let spent = Quota::new("Spent", Metric::TotalCostCents, 40, Period::Day).id("spent");
        builder
            .quota(spent.filter("customer_id", "ann").alert_at(Threshold::amount(10)))
            .quota(monthly([7]))
    });
    let event = tokens("ann", 7).cost_cents("12.5".parse::<limitry::Amount>().expect("an amount"));
    assert!(track(&engine, &event).is_allowed());
    let alerts = engine.alerts();
    let mut both = [alerts.poll().expect("one"), alerts.poll().expect("the other")];
    both.sort_by(|a, b| a.rule_id.cmp(&b.rule_id));
    let [spent, month] = both;
    assert_eq!((spent.rule_id.as_str(), spent.rule_name.as_str()), ("spent", "Spent"));
    assert_eq!((&spent.metric, spent.period), (&Metric::TotalCostCents, Period::Day));
    assert_eq!((spent.customer_id.as_deref(), spent.key.len()), (Some("ann"), 0));
    assert_eq!((spent.limit, spent.percentage), (Some(40.into()), Some(31)));
    assert_eq!(spent.used.to_string(), "12.5");
    assert_eq!(spent.at, date(START));
    let midnight = START - START % DAY;
    let window = (Some(date(midnight)), Some(date(midnight + DAY)));
    assert_eq!((spent.window_start, spent.window_end), window);
    assert_eq!(month.key, [("customer_id".to_owned(), "ann".to_owned())]);
    assert_eq!(month.customer_id.as_deref(), Some("ann"));
    let january = "2024-01-01T00:00:00Z".parse().ok();
    assert_eq!((month.window_start, month.percentage), (january, Some(7)));
}

/// Found by the search of `decisions::model`: one of one value is a value.
#[test]
fn an_alert_names_the_only_customer_that_its_rule_asks_for() {
    let (engine, _) = engine(|builder| {
        let calls = Quota::new("Calls", Metric::TotalEvents, 5, Period::Day);
        let calls = calls.filter("customer_id", Condition::one_of(["ann"]));
        builder.quota(calls.alert_at(Threshold::amount(1)))
    });
    assert!(track(&engine, &tokens("ann", 0)).is_allowed());
    let alert = engine.alerts().poll().expect("one call");
    assert_eq!(alert.customer_id.as_deref(), Some("ann"));
}

#[test]
fn one_event_fires_all_that_it_reaches_in_ascending_order() {
    each_way(
        |builder| {
            let quota = monthly([100, 50, 80]).alert_at(Threshold::amount(60));
            builder.quota(quota)
        },
        |engine| {
            assert!(track(engine, &tokens("ann", 100)).is_allowed());
            let expected = ["tokens ann 50%", "tokens ann 60", "tokens ann 80%", "tokens ann 100%"];
            assert_eq!(fired(engine), expected);
        },
    );
}

#[test]
fn what_takes_nothing_fires_nothing() {
    each_way(
        |builder| builder.quota(monthly([1])),
        |engine| {
            assert!(engine.check(&tokens("ann", 50)).expect("valid").is_allowed());
            assert!(!track(engine, &tokens("ann", 101)).is_allowed());
            assert!(track(engine, &tokens("ann", 0)).is_allowed());
            assert!(engine.standing(&tokens("ann", 50)).is_ok());
            assert_eq!(fired(engine), NONE);
            let once = tokens("ann", 5).idempotency_key("k");
            for _ in 0..2 {
                assert!(engine.track(&once).is_ok());
            }
            assert_eq!(fired(engine), ["tokens ann 1%"]);
        },
    );
}

#[test]
fn use_that_falls_and_rises_again_fires_no_more() {
    each_way(
        |builder| builder.quota(monthly([50]).metric_of("credits")),
        |engine| {
            let use_of = |value: i64| Event::new("ann", "call").value("credits", value);
            assert!(track(engine, &use_of(60)).is_allowed());
            assert_eq!(fired(engine), ["tokens ann 50%"]);
            for value in [-60, 60, -60, 70] {
                assert!(track(engine, &use_of(value)).is_allowed());
            }
            assert_eq!(fired(engine), NONE);
        },
    );
}

/// A counter that is back at nothing says no more than a fresh one, but that it has fired.
#[test]
fn a_key_that_has_fired_is_not_dropped_in_its_period() {
    let (engine, clock) = engine(|builder| {
        builder.quota(monthly([50]).metric_of("credits")).recording(Recording::Off)
    });
    for value in [60, -60] {
        assert!(track(&engine, &use_of("ann", value)).is_allowed());
    }
    assert_eq!(fired(&engine), ["tokens ann 50%"]);
    // Upkeep comes by the rows while others come.
    let many = |from: u32| {
        for other in from..from + 3_000 {
            assert!(track(&engine, &use_of(&format!("c{other}"), 1)).is_allowed());
        }
    };
    many(0);
    assert!(track(&engine, &use_of("ann", 60)).is_allowed());
    assert_eq!(fired(&engine), NONE);
    clock.advance(Duration::from_secs(40 * 24 * 60 * 60));
    many(10_000);
    many(20_000);
    let kept = engine.live_keys();
    assert!(kept < 7_000, "{kept} keys: those of the month before are dropped");
    assert!(track(&engine, &use_of("ann", 60)).is_allowed());
    assert_eq!(fired(&engine), ["tokens ann 50%"]);
}

#[test]
fn the_next_period_fires_again() {
    let (engine, clock) = engine(|builder| {
        builder.quota(monthly([50])).quota(
            Quota::unlimited("Ever", Metric::TotalEvents, Period::AllTime)
                .id("ever")
                .alert_at(Threshold::amount(2)),
        )
    });
    let mut ids = Vec::new();
    for month in 0..3 {
        assert!(track(&engine, &tokens("ann", 60)).is_allowed());
        let alerts = engine.alerts();
        ids.push(alerts.poll().expect("it fires each month").id);
        let ever = alerts.poll().map(|it| (it.rule_id.clone(), it.window_start, it.percentage));
        assert_eq!(ever, (month == 1).then_some(("ever".to_owned(), None, None)));
        clock.advance(Duration::from_secs(31 * 24 * 60 * 60));
    }
    ids.dedup();
    assert_eq!(ids.len(), 3, "another period is another alert");
}

#[test]
fn a_rolling_period_fires_again_when_its_length_has_passed() {
    let (engine, clock) = engine(|builder| {
        let day = Period::rolling(Duration::from_secs(86_400));
        let quota = Quota::new("Day", Metric::TotalEvents, 4, day).id("day");
        builder.quota(quota.enforcement(Enforcement::Soft).alert_at(Threshold::percent(50)))
    });
    let call = Event::new("ann", "call");
    let mut found = Vec::new();
    for _ in 0..12 {
        assert!(track(&engine, &call).is_allowed());
        found.push(fired(&engine).len());
        clock.advance(Duration::from_secs(6 * 60 * 60));
    }
    // Use is at two or more from the second call on: it fires once a day.
    assert_eq!(found, [0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0]);
}

#[test]
fn only_events_of_the_period_of_now_fire() {
    let (engine, _) = engine(|builder| builder.quota(monthly([10])));
    let dated = |tokens_used, at| tokens("ann", tokens_used).timestamp(date(at));
    // The month before, then tomorrow, which is of this month.
    assert!(engine.record(&dated(50, START - 16 * DAY)).is_ok());
    assert_eq!(fired(&engine), NONE);
    assert!(track(&engine, &dated(5, START + 20 * HOUR)).is_allowed());
    assert_eq!(fired(&engine), NONE);
    assert!(track(&engine, &dated(5, START - 10 * DAY)).is_allowed());
    assert_eq!(fired(&engine), ["tokens ann 10%"]);
}

/// Found by the search of `decisions::model`: what counts in usage alone fired for the period.
#[test]
fn what_is_dated_before_the_first_use_of_a_key_fires_nothing() {
    let quota = Quota::new("Trial", Metric::TotalTokens, 100, Period::Day).first_use();
    let quota = quota.id("trial").per("customer_id");
    each_way(
        |builder| builder.quota(quota.clone().alert_at(Threshold::percent(90))),
        |engine| {
            assert!(track(engine, &tokens("ann", 60)).is_allowed());
            // Set below what is used, it fires with the next use.
            let update = QuotaUpdate::new().alert_thresholds(vec![Threshold::percent(50)]);
            engine.rules().update("trial", update).expect("a valid change");
            let before = tokens("ann", 5).timestamp(date(START - 1));
            assert!(track(engine, &before).is_allowed());
            assert_eq!(fired(engine), NONE);
            assert!(track(engine, &tokens("ann", 5)).is_allowed());
            assert_eq!(fired(engine), ["trial ann 50%"]);
        },
    );
}

#[test]
fn what_is_dated_into_the_next_period_fires_with_its_first_use() {
    let (engine, clock) = engine(|builder| {
        builder.quota(
            Quota::new("Day", Metric::TotalEvents, 10, Period::Day)
                .id("day")
                .alert_at(Threshold::percent(30)),
        )
    });
    for _ in 0..3 {
        let tomorrow = Event::new("ann", "call").timestamp(date(START + 20 * HOUR));
        assert!(track(&engine, &tomorrow).is_allowed());
    }
    assert_eq!(fired(&engine), NONE);
    clock.set(date(START + 20 * HOUR));
    assert!(track(&engine, &Event::new("ann", "call")).is_allowed());
    assert_eq!(fired(&engine), ["day all 30%"]);
}

#[test]
fn rules_on_trial_and_rules_that_lost_fire_nothing() {
    each_way(
        |builder| {
            let shadow = monthly([10]).id("shadow").enforcement(Enforcement::Shadow);
            let plan = monthly([10]).id("plan").policy("p");
            let own = monthly([20]).id("own").policy("p").filter("customer_id", "ann");
            builder.quota(shadow).quota(plan).quota(own)
        },
        |engine| {
            assert!(track(engine, &tokens("ann", 30)).is_allowed());
            assert_eq!(fired(engine), ["own ann 20%"]);
            assert!(track(engine, &tokens("bob", 30)).is_allowed());
            assert_eq!(fired(engine), ["plan bob 10%"]);
            // Who judges now has counted all along: what it knows fires with its first use.
            assert!(engine.rules().remove("own").is_ok());
            assert!(track(engine, &tokens("ann", 1)).is_allowed());
            assert_eq!(fired(engine), ["plan ann 10%"]);
        },
    );
}

#[test]
fn what_is_held_fires_when_it_is_committed() {
    each_way(
        |builder| builder.quota(monthly([50, 80])),
        |engine| {
            let hold = Hold::lasting(Duration::from_secs(60));
            let held = |tokens_held| match engine.reserve(&tokens("ann", tokens_held), hold) {
                Ok(Reserved::Held(reservation)) => reservation,
                other => panic!("{other:?}"),
            };
            let (first, second) = (held(40), held(45));
            assert_eq!(fired(engine), NONE);
            // 40 are used and 45 held.
            assert!(first.commit(&tokens("ann", 40)).is_ok());
            assert_eq!(fired(engine), NONE);
            assert!(track(engine, &tokens("ann", 10)).is_allowed());
            let alert = engine.alerts().poll().expect("50 are used");
            assert_eq!((alert.used, alert.threshold), (50.into(), Threshold::percent(50)));
            assert!(second.release().is_ok());
            assert_eq!(fired(engine), NONE);
            // A commit of more than was held is use, too.
            assert!(held(5).commit(&tokens("ann", 30)).is_ok());
            assert_eq!(fired(engine), ["tokens ann 80%"]);
        },
    );
}

#[test]
fn a_gauge_fires_at_its_figure() {
    let (engine, _) = engine(|builder| {
        let seats = Meter::latest("seats", "seats").id("seats");
        let quota = Quota::new("Seats", Metric::Meter("seats".into()), 10, Period::Month);
        builder
            .meter(seats)
            .quota(quota.id("seats").per("customer_id").alert_at(Threshold::percent(90)))
    });
    let seats = |seats: u64| Event::new("ann", "seats").value("seats", seats);
    for (figure, fires) in [(8, 0), (9, 1), (3, 0), (10, 0)] {
        assert!(track(&engine, &seats(figure)).is_allowed());
        assert_eq!(fired(&engine).len(), fires, "{figure}");
    }
}

#[test]
fn a_quota_of_distinct_values_fires_when_there_are_so_many() {
    let (engine, _) = engine(|builder| {
        let models = Quota::new("Models", Metric::unique("model"), 4, Period::Day).id("models");
        let models = models.per("customer_id").alert_at(Threshold::percent(50));
        builder.quota(models.alert_at(Threshold::percent(100)))
    });
    let mut found = Vec::new();
    for model in ["a", "a", "b", "a", "b", "c", "d", "d"] {
        assert!(track(&engine, &Event::new("ann", "call").model(model)).is_allowed());
        found.push(fired(&engine).len());
    }
    assert_eq!(found, [0, 0, 1, 0, 0, 0, 1, 0]);
}

#[test]
fn a_meter_without_a_limit_is_watched_by_amounts() {
    let (engine, _) = engine(|builder| {
        let images = Meter::sum("images", "images").id("images");
        let quota = Quota::unlimited("Images", Metric::Meter("images".into()), Period::Day);
        let quota = quota.id("images").per("customer_id");
        builder.meter(images).quota(quota.alert_at(Threshold::amount(100)))
    });
    for _ in 0..4 {
        assert!(track(&engine, &Event::new("ann", "draw").value("images", 30)).is_allowed());
    }
    let alert = engine.alerts().poll().expect("120 images");
    assert_eq!((alert.used, alert.limit, alert.remaining), (120.into(), None, None));
    assert_eq!(alert.percentage, None);
}

#[test]
fn a_limit_of_nothing_that_refuses_nobody_fires_with_the_first_use() {
    let (engine, _) = engine(|builder| {
        let none = Quota::new("None", Metric::TotalTokens, 0, Period::Day).id("none");
        builder.quota(none.enforcement(Enforcement::Soft).alert_at(Threshold::percent(80)))
    });
    assert!(track(&engine, &tokens("ann", 3)).is_allowed());
    let alert = engine.alerts().poll().expect("it is used");
    assert_eq!((alert.used, alert.remaining), (3.into(), Some(0.into())));
    assert_eq!(alert.percentage, None);
}

#[test]
fn batches_records_and_waits_fire_as_calls_do() {
    let (engine, _) = engine(|builder| builder.quota(monthly([30, 60, 90])));
    let answers = engine.track_batch(&[tokens("ann", 20), tokens("ann", 20)]);
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(fired(&engine), ["tokens ann 30%"]);
    assert!(engine.record(&tokens("ann", 20)).is_ok());
    assert_eq!(fired(&engine), ["tokens ann 60%"]);
    assert!(engine.wait_blocking(&tokens("ann", 30)).is_ok());
    assert_eq!(fired(&engine), ["tokens ann 90%"]);
}

#[test]
fn an_engine_takes_the_straight_path_where_rules_are_watched() {
    let (engine, _) = engine(|builder| builder.quota(monthly([50, 90])).recording(Recording::Off));
    engine.go_straight(true);
    for _ in 0..95 {
        assert!(track(&engine, &tokens("ann", 1)).is_allowed());
    }
    assert_eq!(engine.paths(), (95, 0));
    assert_eq!(fired(&engine), ["tokens ann 50%", "tokens ann 90%"]);
}

trait MetricOf {
    fn metric_of(self, value: &str) -> Self;
}

impl MetricOf for Quota {
    /// The same quota of a value.
    fn metric_of(mut self, value: &str) -> Self {
        self.metric = Metric::value(value);
        self
    }
}
