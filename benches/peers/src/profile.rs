//! One case and nothing else, for `valgrind --tool=callgrind` and `perf`.
//!
//! All calls happen inside [`profiled_calls`], which is never inlined: callgrind can be told to
//! count only there. `.ci/instructions` does, so no case may hang on how fast this machine is:
//! buckets are in use or at rest from call to call however long a call takes.

use std::hash::RandomState;
use std::hint::black_box;
use std::process::ExitCode;

use limitry::events::Recording;
use limitry::rules::Percentile;
use limitry::store::Durable;
use limitry::{Customer, Engine, EngineBuilder, Event, Meter, RateLimit, Window};

use crate::bucket_peers::Quotas;
use crate::by_hand::{ByHand, Call, governor_an_hour};
use crate::limitador_side::Limitador;
use crate::limitry_side::{
    Limits, builder, built, four, one, reserves_and_commits, two_rows, with_others, zoned,
};
use crate::traffic;

pub const NAMES: [&str; 20] = [
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
];

/// So few that a bucket takes a minute to fill again, and more than any customer's calls.
const AN_HOUR: u32 = 60;

/// As many as `.ci/instructions` has customers call.
const CUSTOMERS_WITH_A_PLAN: usize = 20_000;

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
        _ => return None,
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
