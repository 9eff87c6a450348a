//! Goal: rules take from balances all or nothing with the limits, whoever has an account and
//! whoever has not, and answers say where they stand.
//!
//! Method: worked cases.

use std::time::Duration;

use limitry::balances::{Credit, LedgerQuery, NewBalance};
use limitry::events::EventQuery;
use limitry::rules::{Enforcement, OnMissing, QuotaUpdate};
use limitry::{
    Engine, Event, Hold, Metric, Period, Quota, RateLimit, Reserved, RetryAfter, RuleSet, Window,
};

use crate::support::{START, date, engine, track};

fn credits() -> Quota {
    Quota::balance("credits", Metric::TotalTokens).per("customer_id")
}

fn tokens(customer: &str, tokens: u64) -> Event<'_> {
    Event::new(customer, "call").total_tokens(tokens)
}

fn current(engine: &Engine, owner: &str) -> limitry::Amount {
    engine.balances().get(owner, "credits").expect("it is there").current_balance
}

#[test]
fn credits_are_taken_with_the_limits_or_not_at_all() {
    let (engine, _) = engine(|it| {
        it.quota(credits()).rate_limit(
            RateLimit::new("Calls", 2, Window::Hour)
                .per("customer_id")
                .algorithm(limitry::rules::Algorithm::FixedWindow),
        )
    });
    engine.balances().create(&NewBalance::new("ann", "credits").initial(100)).expect("good");
    assert!(track(&engine, &tokens("ann", 40)).is_allowed());
    let refused = track(&engine, &tokens("ann", 61));
    assert_eq!((refused.is_allowed(), refused.retry_after()), (false, Some(RetryAfter::Never)));
    assert!(track(&engine, &tokens("ann", 10)).is_allowed());
    // The rate limit refuses, and no credit is taken.
    assert!(!track(&engine, &tokens("ann", 10)).is_allowed());
    assert_eq!(current(&engine, "ann"), 50);
    let status = refused.quotas().next().expect("it matches");
    assert_eq!(
        (status.used, status.remaining, status.limit),
        (40.into(), 60.into(), Some(100.into()))
    );
    assert!(status.exceeded && status.reset.is_none());
    let page = engine.balances().ledger("ann", "credits", &LedgerQuery::new()).expect("there");
    let events: Vec<_> = engine
        .events()
        .iter(EventQuery::new())
        .expect("a good query")
        .map(|event| event.id)
        .collect();
    let of: Vec<_> = page.transactions.iter().filter_map(|entry| entry.event_id).collect();
    assert_eq!(of.len(), 2);
    assert!(of.iter().all(|id| events.contains(id)));
}

#[test]
fn an_owner_without_a_balance_is_refused_unless_the_rule_opens_one() {
    let (engine, _) = engine(|it| it.quota(credits()));
    let refused = track(&engine, &tokens("ann", 1));
    assert_eq!((refused.is_allowed(), refused.retry_after()), (false, Some(RetryAfter::Never)));
    assert!(track(&engine, &tokens("ann", 0)).is_allowed());
    let _ = engine.record(&tokens("ann", 5)).expect("a good event");
    assert!(engine.balances().get("ann", "credits").is_err());
    let update = QuotaUpdate::default().opening(limitry::Amount::from(30));
    engine.rules().update("qta_credits", update).expect("a good change");
    let checked = engine.check(&tokens("ann", 12)).expect("a good event");
    assert!(engine.balances().get("ann", "credits").is_err());
    let decision = track(&engine, &tokens("ann", 12));
    let remaining = |decision: &limitry::Decision| {
        decision.quotas().next().map(|status| (status.used, status.remaining))
    };
    assert_eq!(remaining(&decision), Some((12.into(), 18.into())));
    assert_eq!(remaining(&checked), remaining(&decision));
    assert!(!track(&engine, &tokens("ann", 19)).is_allowed());
    assert_eq!(current(&engine, "ann"), 18);
}

#[test]
fn rules_of_one_balance_see_each_other() {
    let (engine, _) = engine(|it| {
        it.quota(credits().id("tokens"))
            .quota(Quota::balance("credits", Metric::TotalEvents).id("calls").per("customer_id"))
            .quota(Quota::balance("credits", Metric::value("gb")).id("by_team").per("team"))
    });
    engine.balances().create(&NewBalance::new("ann", "credits").initial(10)).expect("good");
    assert!(!track(&engine, &tokens("ann", 10)).is_allowed());
    let standing = engine.standing(&tokens("ann", 10)).expect("a good event");
    assert!(standing.quotas().all(|status| !status.exceeded));
    // A team of the customer's name has the same balance.
    let with_team = tokens("ann", 4).property("team", "ann").value("gb", "5.5");
    assert!(!track(&engine, &with_team).is_allowed());
    let with_team = tokens("ann", 4).property("team", "ann").value("gb", 5);
    let decision = track(&engine, &with_team);
    assert!(decision.is_allowed());
    assert!(decision.quotas().all(|status| status.remaining == 0));
    assert_eq!(current(&engine, "ann"), 0);
    let standing = engine.standing(&tokens("ann", 10)).expect("a good event");
    assert!(standing.quotas().all(|status| status.exceeded));
}

#[test]
fn soft_takes_more_than_there_is_and_shadow_what_fits() {
    let (engine, _) = engine(|it| {
        it.quota(credits().id("soft").enforcement(Enforcement::Soft).filter("event_type", "soft"))
            .quota(
                credits()
                    .id("shadow")
                    .enforcement(Enforcement::Shadow)
                    .filter("event_type", "shadow"),
            )
    });
    engine.balances().create(&NewBalance::new("ann", "credits").initial(10)).expect("good");
    let event = |kind, tokens| Event::new("ann", kind).total_tokens(tokens);
    assert!(track(&engine, &event("shadow", 11)).is_allowed());
    assert_eq!(current(&engine, "ann"), 10);
    assert!(track(&engine, &event("shadow", 4)).is_allowed());
    assert!(track(&engine, &event("soft", 20)).is_allowed());
    assert_eq!(current(&engine, "ann"), -14);
    engine.balances().credit("ann", "credits", &Credit::new(20)).expect("a good credit");
    assert_eq!(current(&engine, "ann"), 6);
    let grants = engine.balances().grants("ann", "credits").expect("there");
    assert_eq!((grants.len(), grants[0].remaining), (1, 6.into()));
}

#[test]
fn a_rule_that_does_not_judge_takes_nothing() {
    let (engine, _) = engine(|it| {
        it.quota(credits().policy("plan")).quota(
            Quota::new("Free", Metric::TotalTokens, 100, Period::AllTime)
                .per("customer_id")
                .filter("customer_id", "ann")
                .policy("plan"),
        )
    });
    for owner in ["ann", "bob"] {
        engine.balances().create(&NewBalance::new(owner, "credits").initial(10)).expect("good");
        assert!(track(&engine, &tokens(owner, 6)).is_allowed());
    }
    assert_eq!((current(&engine, "ann"), current(&engine, "bob")), (10.into(), 4.into()));
}

#[test]
fn a_hold_that_outlives_its_rule_is_given_back() {
    let (engine, _) = engine(|it| it.quota(credits()));
    engine.balances().create(&NewBalance::new("ann", "credits").initial(10)).expect("good");
    let Ok(Reserved::Held(held)) = engine.reserve(&tokens("ann", 8), Hold::default()) else {
        panic!("there is enough")
    };
    let balance = engine.balances().get("ann", "credits").expect("it is there");
    assert_eq!((balance.held, balance.available_balance), (8.into(), 2.into()));
    engine.rules().remove("qta_credits").expect("it is there");
    let _ = held.commit(&tokens("ann", 5)).expect("it is open");
    let balance = engine.balances().get("ann", "credits").expect("it is there");
    assert_eq!((balance.held, balance.current_balance), (0.into(), 10.into()));
}

#[test]
fn a_simulation_leaves_balances_out() {
    let (engine, _) = engine(|it| it.quota(credits()));
    engine.balances().create(&NewBalance::new("ann", "credits").initial(10)).expect("good");
    assert!(track(&engine, &tokens("ann", 6)).is_allowed());
    let rules = RuleSet::new().quota(credits().id("tried"));
    let report = engine.simulate(rules, EventQuery::new()).expect("good rules");
    let rule = &report.rules[0];
    assert!(rule.left_out && rule.exceeded == 0, "{rule:?}");
    assert_eq!(current(&engine, "ann"), 4);
}

#[test]
fn a_rule_is_plain_data_and_says_what_is_wrong_with_it() {
    let set = RuleSet::new().quota(credits().opening("12.5"));
    let text = serde_json::to_string(&set).expect("plain data");
    assert!(text.contains(r#""balance":"credits","opening":12.5"#), "{text}");
    assert_eq!(serde_json::from_str::<RuleSet>(&text).expect("what was written"), set);
    let problems = |quota: Quota| {
        let why = Engine::builder().quota(quota).build().expect_err("it is wrong");
        why.to_string()
    };
    let plain = Quota::balance("credits", Metric::TotalTokens);
    let changed = |change: fn(&mut Quota)| {
        let mut quota = credits();
        change(&mut quota);
        quota
    };
    for (quota, due) in [
        (plain.clone(), "per: [] must be one dimension"),
        (plain.clone().per("a").per("b"), "must be one dimension"),
        (credits().max_keys(5), "maxKeys: 5 is set"),
        (credits().opening(-1), "opening: -1 must be at least 0"),
        (Quota::balance("", Metric::TotalTokens).per("a"), "balance: \"\" must be 1 to 256"),
        (changed(|it| it.limit_value = Some(5.into())), "limitValue: 5 must be none"),
        (changed(|it| it.period = Period::Day), "period: day must be all_time"),
        (changed(|it| (it.balance, it.opening) = (None, Some(5.into()))), "opening: 5 is set"),
    ] {
        let found = problems(quota);
        assert!(found.contains(due), "{found}");
    }
}

/// Found by the search of `decisions::model`: each rule judged by an opening amount of its own, and
/// the account was opened with the first.
#[test]
fn rules_of_one_balance_open_it_with_one_amount() {
    let rules = |second: Quota| {
        let (engine, _) = engine(|it| {
            let calls = Quota::balance("credits", Metric::TotalEvents).id("calls");
            it.quota(calls.per("customer_id").opening(10)).quota(second)
        });
        engine
    };
    let engine = rules(credits().opening(20));
    let checked = engine.check(&tokens("ann", 10)).expect("a good event");
    assert!(!checked.is_allowed(), "one is taken of the ten");
    assert!(checked.quotas().all(|status| status.remaining == 10));
    assert!(track(&engine, &tokens("ann", 9)).is_allowed());
    assert_eq!(current(&engine, "ann"), 0);
    // One that states none pays from what another one opens, as a check says, too.
    let engine = rules(credits().enforcement(Enforcement::Soft));
    let checked = engine.check(&tokens("ann", 4)).expect("a good event");
    let tracked = track(&engine, &tokens("ann", 4));
    let shown = |it: &limitry::Decision| it.quotas().map(|it| it.remaining).collect::<Vec<_>>();
    assert_eq!(shown(&checked), shown(&tracked));
    assert_eq!(current(&engine, "ann"), 5);
}

/// A soft or shadow rule changes no answer.
#[test]
fn what_a_soft_rule_takes_in_the_same_step_refuses_nobody() {
    for enforcement in [Enforcement::Soft, Enforcement::Shadow] {
        let (engine, _) = engine(|it| {
            let calls = Quota::balance("credits", Metric::TotalEvents).id("calls");
            it.quota(calls.per("customer_id").enforcement(enforcement)).quota(credits())
        });
        engine.balances().create(&NewBalance::new("ann", "credits").initial(10)).expect("good");
        assert!(!track(&engine, &tokens("ann", 11)).is_allowed());
        assert!(track(&engine, &tokens("ann", 10)).is_allowed());
        let due = if enforcement == Enforcement::Soft { -1 } else { 0 };
        assert_eq!(current(&engine, "ann"), due, "one on trial takes what fits");
    }
}

#[test]
fn a_commit_beyond_a_hold_leaves_a_shadow_rule_what_it_held() {
    let (engine, _) = engine(|it| it.quota(credits().enforcement(Enforcement::Shadow)));
    engine.balances().create(&NewBalance::new("ann", "credits").initial(10)).expect("good");
    let Ok(Reserved::Held(held)) = engine.reserve(&tokens("ann", 6), Hold::default()) else {
        panic!("it refuses nobody")
    };
    assert!(held.commit(&tokens("ann", 12)).expect("it is open").is_overrun());
    assert_eq!(current(&engine, "ann"), 4);
}

#[test]
fn a_commit_that_opens_a_balance_is_an_overrun() {
    let (engine, _) = engine(|it| it.quota(credits().opening(10)));
    let Ok(Reserved::Held(held)) = engine.reserve(&tokens("ann", 0), Hold::default()) else {
        panic!("it costs nothing")
    };
    assert!(held.commit(&tokens("ann", 4)).expect("it is open").is_overrun());
    assert_eq!(current(&engine, "ann"), 6);
}

/// Found by the search of `decisions::model`: what a rule took that would judge no more by then was
/// waited for as well.
#[test]
fn who_waits_for_a_rule_to_end_waits_for_what_is_asked_then() {
    let (engine, clock) = engine(|it| {
        let calls = Quota::balance("credits", Metric::TotalEvents).id("calls");
        let end = date(START) + Duration::from_secs(1);
        it.quota(credits().ends_at(end)).quota(calls.per("customer_id"))
    });
    engine.balances().create(&NewBalance::new("ann", "credits").initial(5)).expect("good");
    let refused = track(&engine, &tokens("ann", 5));
    let wait = Duration::from_secs(1);
    assert_eq!(refused.retry_after(), Some(RetryAfter::After(wait)));
    clock.advance(wait);
    assert!(track(&engine, &tokens("ann", 5)).is_allowed());
    assert_eq!(current(&engine, "ann"), 4);
}

/// Found by the search of `decisions::model`: rules whose rows are not of one kind came in another
/// order than they are defined in.
#[test]
fn rules_of_one_balance_come_in_the_order_of_their_definition() {
    let stated = Quota::balance("credits", Metric::TotalEvents).id("stated").per("team");
    let stated = stated.on_missing(OnMissing::Value("red".into())).opening(0);
    let plain = Quota::balance("credits", Metric::TotalEvents).id("plain").per("team").opening(1);
    let call = Event::new("ann", "call").property("team", "red");
    let (engine, _) = engine(|it| it.quota(stated).quota(plain));
    let refused = track(&engine, &call);
    assert!(!refused.is_allowed() && refused.quotas().all(|status| status.remaining == 0));
}
