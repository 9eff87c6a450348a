//! One case and nothing else, for `valgrind --tool=callgrind` and `perf`.
//!
//! All calls happen inside [`profiled_calls`], which is never inlined: callgrind can be told to
//! count only there. `.ci/instructions` does, so no case may hang on how fast this machine is:
//! buckets are in use or at rest from call to call however long a call takes.

use std::hash::RandomState;
use std::hint::black_box;
use std::process::ExitCode;

use limitry::balances::{Credit, Debit, NewBalance};
use limitry::events::{EventQuery, Recording};
use limitry::rules::Percentile;
use limitry::store::Durable;
use limitry::{
    Condition, Customer, Engine, EngineBuilder, Event, Meter, Metric, Period, Quota, RateLimit,
    RuleSet, Timestamp, Window,
};

use crate::bucket_peers::Quotas;
use crate::by_hand::{ByHand, Call, governor_an_hour};
use crate::limitador_side::Limitador;
use crate::limitry_side::{
    Limits, builder, built, four, one, reserves_and_commits, two_rows, with_others, zoned,
};
use crate::traffic;

pub const NAMES: [&str; 39] = [
    "one",
    "resting",
    "four",
    "refused",
    "refused-recorded",
    "refused-kept",
    "definitions",
    "two-rows",
    "zoned",
    "planned",
    "newest",
    "latency",
    "percentile",
    "reserve",
    "durable",
    "standing",
    "governor",
    "quota",
    "by-hand",
    "limitador",
    "tokens-quota",
    "tokens-balance",
    "four-quota",
    "four-balance",
    "debit-1",
    "debit-1000",
    "value",
    "value-many",
    "one-of",
    "one-of-many",
    "prefix",
    "prefix-many",
    "not",
    "not-many",
    "present",
    "present-many",
    "absent",
    "absent-many",
    "simulate",
];

/// So few that a bucket takes a minute to fill again, and more than any customer's calls.
const AN_HOUR: u32 = 60;

/// As many as `.ci/instructions` has customers call.
const CUSTOMERS_WITH_A_PLAN: usize = 20_000;

/// A limit that nothing reaches, and a balance that nothing spends.
const PLENTY: u64 = 1_000_000_000_000_000;

/// The events of a replay.
const REPLAYED: usize = 20_000;

/// Decides one call of a customer.
type Decider = Box<dyn FnMut(&String) -> bool>;

pub fn run(case: &str, calls: usize) -> ExitCode {
    let Some(mut decide) = decider(case) else {
        eprintln!("unknown case {case}; one of: {}", NAMES.join(", "));
        return ExitCode::from(2);
    };
    let customers = traffic::shuffled_customers(calls.clamp(1, 100_000));
    for customer in &customers {
        decide(customer);
    }
    let admitted = profiled_calls(&customers, calls, &mut *decide);
    println!("{case}: {calls} calls, {admitted} admitted");
    ExitCode::SUCCESS
}

#[inline(never)]
fn profiled_calls(
    customers: &[String],
    calls: usize,
    decide: &mut dyn FnMut(&String) -> bool,
) -> usize {
    customers.iter().cycle().take(calls).filter(|customer| decide(customer)).count()
}

/// Four rules, of which one lets a call of each customer in, and no more.
fn refused(builder: EngineBuilder) -> Decider {
    let limits = Limits { cents_a_month: traffic::CENTS, ..Limits::GENEROUS };
    tracking(built(four(builder, limits)), traffic::model_call)
}

/// Four rules, and calls that took from 1/16 s to 32 s, as many of each power of two.
fn with_latency(builder: EngineBuilder) -> Decider {
    let builder = builder.recording(Recording::Newest(100_000));
    let engine = built(four(builder, Limits::GENEROUS));
    let mut state = 1_u64;
    Box::new(move |customer| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let millis = (64 + (state >> 58)) << (state >> 40 & 7);
        let event = traffic::model_call(customer).latency_ms(millis);
        black_box(engine.track(&event).expect("a valid event")).is_allowed()
    })
}

fn decider(case: &str) -> Option<Decider> {
    let generous = || four(builder(), Limits::GENEROUS);
    Some(match case {
        "one" => tracking(built(one(u64::from(AN_HOUR))), traffic::plain),
        // Buckets are full again at each call: rows at rest are dropped and made again.
        "resting" => tracking(built(one(1_000_000_000)), traffic::plain),
        "four" => tracking(built(generous()), traffic::model_call),
        "refused" => refused(builder()),
        "refused-recorded" => refused(Engine::builder()),
        "refused-kept" => {
            refused(Engine::builder().recording(Recording::default().refusals(10_000)))
        }
        "definitions" => tracking(built(with_others(generous(), 99_996)), traffic::model_call),
        "newest" => {
            let builder = Engine::builder().recording(Recording::Newest(100_000));
            tracking(built(four(builder, Limits::GENEROUS)), traffic::model_call)
        }
        // The same calls without a sketch of their latency, and with one.
        "latency" => with_latency(Engine::builder()),
        "percentile" => {
            let p95 = Meter::percentile("p95", "latency_ms", Percentile::P95);
            with_latency(Engine::builder().meter(p95))
        }
        "two-rows" => tracking(built(two_rows(builder(), Limits::GENEROUS)), traffic::model_call),
        "zoned" => tracking(built(zoned(builder(), Limits::GENEROUS)), traffic::model_call),
        "planned" => {
            let trial = RateLimit::new("Trial", 1, Window::Hour).filter("customer_plan", "trial");
            let engine = built(generous().rate_limit(trial));
            let customers = traffic::shuffled_customers(CUSTOMERS_WITH_A_PLAN).into_iter();
            let customers = customers.map(|id| Customer::new(id).metadata("plan", "pro"));
            engine.customers().upsert_all(customers).expect("good customers");
            tracking(engine, traffic::model_call)
        }
        "reserve" => {
            let engine = built(generous());
            Box::new(move |customer| reserves_and_commits(&engine, customer))
        }
        "durable" => durable(),
        "standing" => {
            let engine = built(generous());
            Box::new(move |customer| {
                let standing = engine.standing(&traffic::model_call(customer));
                black_box(standing.expect("a valid event")).is_allowed()
            })
        }
        "governor" => {
            let peer = governor_an_hour::<RandomState>(AN_HOUR);
            Box::new(move |customer| peer.check_key(customer).is_ok())
        }
        "quota" => {
            let peer = Quotas::an_hour(AN_HOUR);
            Box::new(move |customer| peer.allows(customer))
        }
        "by-hand" => {
            let peer: ByHand = ByHand::new(Limits::GENEROUS);
            let (tokens, cents) = (traffic::TOKENS, traffic::CENTS);
            Box::new(move |customer| peer.allows(Call { customer, model: None, tokens, cents }))
        }
        "limitador" => {
            let peer = Limitador::new(Limits::GENEROUS, [1, 60], 996);
            Box::new(move |customer| peer.allows(customer))
        }
        "tokens-quota" => credits(false, false),
        "tokens-balance" => credits(true, false),
        "four-quota" => credits(false, true),
        "four-balance" => credits(true, true),
        "debit-1" => debiting(1),
        "debit-1000" => debiting(1_000),
        "simulate" => simulating(),
        _ => match case.strip_suffix("-many") {
            Some(kind) => conditional(kind, 100_000)?,
            None => conditional(case, 4)?,
        },
    })
}

/// A customer's tokens, of a quota or of a balance, alone or beside three rate limits.
fn credits(has_balance: bool, others: bool) -> Decider {
    let quota = if has_balance {
        Quota::balance("credits", Metric::TotalTokens).opening(PLENTY)
    } else {
        Quota::new("Tokens", Metric::TotalTokens, PLENTY, Period::AllTime)
    };
    let mut builder = builder().quota(quota.per("customer_id"));
    for name in ["One", "Two", "Three"].into_iter().filter(|_| others) {
        let limit = RateLimit::new(name, u64::from(AN_HOUR), Window::Hour);
        builder = builder.rate_limit(limit.per("customer_id"));
    }
    tracking(built(builder), traffic::model_call)
}

/// Debits of one balance with so many grants.
fn debiting(grants: u32) -> Decider {
    let balances = built(builder()).balances();
    balances.create(&NewBalance::new("cust_1", "credits")).expect("a new balance");
    for number in 0..grants {
        let expires = Timestamp::new(4_000_000_000, number);
        let credit = Credit::new(PLENTY / 1_000).expires_at(expires);
        balances.credit("cust_1", "credits", &credit).expect("a good credit");
    }
    let debit = Debit::new("0.000001");
    Box::new(move |_| black_box(balances.debit("cust_1", "credits", &debit)).is_ok())
}

/// Four rules that match, by a kind of condition, among so many that have it.
fn conditional(kind: &str, rules: usize) -> Option<Decider> {
    let team = |rule: RateLimit, other: Option<usize>| match other {
        None => rule.filter("team_id", "team_eng"),
        Some(number) => rule.filter("team_id", format!("team_{number}")),
    };
    let asked = |rule: RateLimit, other: Option<usize>| {
        Some(match (kind, other) {
            ("value", None) => rule.filter("model", "gpt-4"),
            ("value", Some(number)) => rule.filter("model", format!("model-{number}")),
            ("one-of", None) => rule.filter("model", ["gpt-3", "gpt-4"]),
            ("one-of", Some(n)) => rule.filter("model", [format!("a-{n}"), format!("b-{n}")]),
            ("prefix", None) => rule.filter("model", Condition::prefix("gpt")),
            ("prefix", Some(number)) => {
                rule.filter("model", Condition::prefix(format!("model-{number}")))
            }
            ("not", other) => team(rule.filter("model", Condition::not("o3")), other),
            ("present", other) => team(rule.filter("model", Condition::Present), other),
            ("absent", other) => team(rule.filter("trace", Condition::Absent), other),
            _ => return None,
        })
    };
    let mut builder = builder();
    for number in 0..rules {
        let rule = RateLimit::new(format!("Rule {number}"), u64::from(AN_HOUR), Window::Hour);
        let rule = asked(rule, (number >= 4).then_some(number))?;
        builder = builder.rate_limit(rule.per("customer_id"));
    }
    Some(tracking(built(builder), |customer| {
        traffic::model_call(customer).property("team_id", "team_eng")
    }))
}

/// Each call replays the events of [`REPLAYED`] calls against the four rules.
fn simulating() -> Decider {
    let recording = Recording::Newest(REPLAYED);
    let engine = built(four(Engine::builder().recording(recording), Limits::GENEROUS));
    let customers = traffic::shuffled_customers(1_000);
    for customer in customers.iter().cycle().take(REPLAYED) {
        let decision = engine.track(&traffic::model_call(customer));
        assert!(decision.expect("a valid event").is_allowed());
    }
    let quota = |name, metric, period| Quota::new(name, metric, PLENTY, period).per("customer_id");
    let limit = |name, window| RateLimit::new(name, 1_000_000_000, window).per("customer_id");
    let rules = RuleSet::new()
        .rate_limit(limit("Calls a second", Window::Second))
        .rate_limit(limit("Calls a minute", Window::Minute))
        .quota(quota("Tokens a day", Metric::TotalTokens, Period::Day))
        .quota(quota("Cents a month", Metric::TotalCostCents, Period::Month));
    Box::new(move |_| {
        let report = engine.simulate(rules.clone(), EventQuery::new());
        black_box(report.expect("valid rules")).calls.refused == 0
    })
}

/// Events with keys of their own, in a file that is gone afterwards.
fn durable() -> Decider {
    let folder = tempfile::tempdir().expect("a folder for files");
    let store = Durable::open(folder.path().join("limitry.redb")).expect("a new store");
    let builder = Engine::builder().recording(Recording::Newest(1_000)).durable(store);
    let engine = built(four(builder, Limits::GENEROUS));
    let mut number = 0_u64;
    Box::new(move |customer| {
        // The folder goes with the engine, and after it.
        let _ = &folder;
        number += 1;
        let key = number.to_string();
        let decision = engine.track(&traffic::model_call(customer).idempotency_key(&key));
        black_box(decision.expect("a valid event")).is_allowed()
    })
}

fn tracking(engine: Engine, event: impl for<'a> Fn(&'a str) -> Event<'a> + 'static) -> Decider {
    Box::new(move |customer| {
        let decision = engine.track(&event(customer));
        black_box(decision.expect("a valid event")).is_allowed()
    })
}
