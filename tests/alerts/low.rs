//! Goal: a threshold of a balance fires once when the balance has fallen to it, and again after a
//! credit has raised it above: with the event that finds it there, whatever lies between.
//!
//! Method: worked cases on the straight path and step by step; random calls beside a naive
//! statement that keeps a balance and a flag for each threshold.

use limitry::alerts::AlertKind;
use limitry::balances::{Credit, Debit, Debited, NewBalance};
use limitry::events::Recording;
use limitry::rules::{Enforcement, Threshold};
use limitry::{Amount, Engine, Event, Hold, Metric, Period, Quota, Reserved};

use crate::fired;
use crate::support::{Dice, START, cases, date, engine, seed, track};

const NONE: [&str; 0] = [];

fn credits(thresholds: &[i64]) -> Quota {
    let quota = Quota::balance("credits", Metric::value("v")).id("spend").per("customer_id");
    let thresholds = thresholds.iter().map(|it| Threshold::amount(*it));
    thresholds.fold(quota, Quota::alert_at)
}

fn take(value: i64) -> Event<'static> {
    Event::new("ann", "call").value("v", value)
}

fn with(thresholds: &[i64], initial: u64) -> Engine {
    let (engine, _) = engine(|it| it.quota(credits(thresholds)).recording(Recording::Off));
    let account = NewBalance::new("ann", "credits").initial(initial).minimum(-100);
    engine.balances().create(&account).expect("a new one");
    engine
}

fn credit(engine: &Engine, amount: u64) {
    engine.balances().credit("ann", "credits", &Credit::new(amount)).expect("it is there");
}

#[test]
fn it_fires_when_the_balance_falls_to_it_and_again_after_a_credit() {
    for straight in [true, false] {
        let engine = with(&[100, 0], 1_000);
        engine.go_straight(straight);
        assert!(track(&engine, &take(899)).is_allowed());
        assert_eq!(fired(&engine), NONE);
        assert!(track(&engine, &take(1)).is_allowed());
        let low = engine.alerts().poll().expect("100 are left");
        assert_eq!((low.kind, low.threshold), (AlertKind::BalanceLow, Threshold::amount(100)));
        assert_eq!((low.used, low.remaining), (900.into(), Some(100.into())));
        assert_eq!((low.limit, low.percentage, low.period), (None, None, Period::AllTime));
        assert_eq!(low.key, [("customer_id".to_owned(), "ann".to_owned())]);
        assert_eq!((low.customer_id.as_deref(), low.at), (Some("ann"), date(START)));
        // Once; what an event gives back is a lowered use, and no credit.
        assert!(track(&engine, &take(50)).is_allowed());
        assert!(track(&engine, &take(-500)).is_allowed());
        assert!(track(&engine, &take(480)).is_allowed());
        assert_eq!(fired(&engine), NONE);
        // A credit that leaves it below changes nothing, and one that raises it lets it fire again.
        credit(&engine, 10);
        assert!(track(&engine, &take(1)).is_allowed());
        assert_eq!(fired(&engine), NONE);
        credit(&engine, 121);
        assert!(track(&engine, &take(50)).is_allowed());
        assert_eq!(fired(&engine), NONE);
        // One event that falls to both fires both, the highest first.
        assert!(track(&engine, &take(150)).is_allowed());
        let again = engine.alerts().poll().expect("it fell again");
        assert_eq!(again.threshold, Threshold::amount(100));
        assert_ne!(again.id, low.id);
        assert_eq!(fired(&engine), ["spend ann 0"]);
        let body = serde_json::to_value(&*again.alert).expect("it prints");
        assert_eq!(
            (&body["event"], &body["data"]["remaining"]),
            (&"balance.low".into(), &0.into())
        );
        let read = serde_json::from_value::<limitry::alerts::Alert>(body).expect("it reads");
        assert_eq!((read.kind, read), (AlertKind::BalanceLow, (*again.alert).clone()));
    }
}

#[test]
fn what_is_held_or_refused_or_debited_by_a_call_fires_nothing_yet() {
    let engine = with(&[100], 200);
    // What is held is in the balance still.
    let Ok(Reserved::Held(hold)) = engine.reserve(&take(150), Hold::default()) else {
        panic!("there are 200")
    };
    assert_eq!(fired(&engine), NONE);
    assert!(hold.commit(&take(120)).expect("it commits").is_allowed());
    assert_eq!(fired(&engine), ["spend ann 100"]);
    credit(&engine, 100);
    // A call debits: seen with the next event that takes something.
    let _ = engine.balances().debit("ann", "credits", &Debit::new(100)).expect("an answer");
    assert_eq!(fired(&engine), NONE);
    assert!(!track(&engine, &take(5_000)).is_allowed());
    assert!(!engine.check(&take(5_000)).expect("valid").is_allowed());
    assert!(track(&engine, &take(0)).is_allowed());
    assert_eq!(fired(&engine), NONE);
    assert!(track(&engine, &take(1)).is_allowed());
    assert_eq!(fired(&engine), ["spend ann 100"]);
    // An account that is removed and made again begins anew.
    engine.balances().remove("ann", "credits").expect("it is there");
    let account = NewBalance::new("ann", "credits").initial(101);
    engine.balances().create(&account).expect("a new one");
    assert!(track(&engine, &take(1)).is_allowed());
    assert_eq!(fired(&engine), ["spend ann 100"]);
}

#[test]
fn each_rule_of_a_balance_has_its_own_and_one_on_trial_has_none() {
    let soft = credits(&[50]).id("soft").enforcement(Enforcement::Soft);
    let shadow = credits(&[50]).id("shadow").enforcement(Enforcement::Shadow);
    let (engine, _) = engine(|it| it.quota(credits(&[50])).quota(soft).quota(shadow));
    engine.balances().create(&NewBalance::new("ann", "credits").initial(100)).expect("new");
    assert!(track(&engine, &take(20)).is_allowed());
    let mut both = fired(&engine);
    both.sort();
    assert_eq!(both, ["soft ann 50", "spend ann 50"]);
}

#[test]
fn what_no_balance_can_fall_to_is_an_error() {
    let of = |threshold| credits(&[]).alert_at(threshold);
    for (quota, reason) in [
        (of(Threshold::percent(80)), "80% is one of a limit"),
        (of(Threshold::Amount(Amount::MAX)), "must be -"),
        (of(Threshold::amount(5)).alert_at(Threshold::amount(5)), "5 is named twice"),
    ] {
        let why = Engine::builder().quota(quota).build().expect_err(reason).to_string();
        assert!(why.contains("alertThresholds") && why.contains(reason), "{why}");
    }
    assert!(Engine::builder().quota(of(Threshold::amount(-100))).build().is_ok());
}

#[test]
fn it_fires_as_a_naive_statement_says() {
    let seed = seed("it_fires_as_a_naive_statement_says", 4);
    for case in 0..u64::from(cases(60)) {
        let mut dice = Dice::new(seed + case);
        let thresholds = [60, 0, 30];
        let engine = with(&thresholds, 100);
        engine.go_straight(case % 2 == 0);
        let mut highest_first = thresholds;
        highest_first.sort_by_key(|it| -it);
        let (mut balance, mut armed) = (100_i64, highest_first.map(|_| true));
        for step in 0..150 {
            let amount = i64::try_from(dice.below(40)).expect("small");
            let mut expected: Vec<String> = Vec::new();
            match dice.below(8) {
                0 => {
                    let amount = amount + 1;
                    credit(&engine, u64::try_from(amount).expect("above 0"));
                    balance += amount;
                    let above = highest_first.map(|it| balance > it);
                    armed.iter_mut().zip(above).for_each(|(armed, above)| *armed |= above);
                }
                1 => {
                    let debit = Debit::new(u64::try_from(amount + 1).expect("above 0"));
                    let debited = engine.balances().debit("ann", "credits", &debit);
                    let fits = balance - amount > -100;
                    assert_eq!(matches!(debited, Ok(Debited::Posted(_))), fits, "{case}.{step}");
                    balance -= if fits { amount + 1 } else { 0 };
                }
                what => {
                    let cost = if what == 2 { -amount } else { amount };
                    let fits = cost <= 0 || balance - cost >= -100;
                    let answer = track(&engine, &take(cost));
                    assert_eq!(answer.is_allowed(), fits, "case {case}, step {step}");
                    balance -= if fits { cost } else { 0 };
                    for (threshold, armed) in highest_first.iter().zip(&mut armed) {
                        if fits && cost > 0 && balance <= *threshold && *armed {
                            expected.push(format!("spend ann {threshold}"));
                            *armed = false;
                        }
                    }
                }
            }
            assert_eq!(fired(&engine), expected, "case {case}, step {step}, balance {balance}");
        }
    }
}

#[test]
fn one_of_many_threads_fires_it() {
    for _ in 0..50 {
        let engine = with(&[100], 500);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..100).for_each(|_| drop(track(&engine, &take(1)))));
            }
        });
        assert_eq!(fired(&engine), ["spend ann 100"]);
    }
}
