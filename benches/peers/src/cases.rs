//! The cases of the table, one function a case.

use std::hash::RandomState;

use limitry::events::Recording;
use limitry::{Engine, Event, Metric, Period, Quota, RateLimit, Window};

use crate::Options;
use crate::by_hand::{ByHand, governor_an_hour};
use crate::limitador_side::Limitador;
use crate::limitry_side::{Limits, builder, built, four, one, with_others};
use crate::measure::{Series, Threads, interleaved, round, round_of_threads};
use crate::report::{Row, Target, grouped};
use crate::{counting, durable_cases, same_work, traffic, usage_cases};

/// One rate limit's calls an hour: more than the rounds make, and slow enough to refill that the
/// buckets are in use.
const AN_HOUR: u32 = 1_000;

/// How much of everything: full for figures, quick to see that it all runs.
struct Size {
    customers: usize,
    rounds: usize,
    others_at_limitador: usize,
    calls_at_limitador: usize,
    others: usize,
    customers_for_bytes: usize,
    customers_compared: usize,
    customers_compared_at_limitador: usize,
    usage: usage_cases::Size,
    durable: durable_cases::Size,
}

const FULL: Size = Size {
    customers: 100_000,
    rounds: 41,
    others_at_limitador: 996,
    calls_at_limitador: 100,
    others: 99_996,
    customers_for_bytes: 1_000_000,
    customers_compared: 20_000,
    customers_compared_at_limitador: 300,
    usage: usage_cases::FULL,
    durable: durable_cases::FULL,
};

const QUICK: Size = Size {
    customers: 5_000,
    rounds: 3,
    others_at_limitador: 96,
    calls_at_limitador: 5,
    others: 996,
    customers_for_bytes: 20_000,
    customers_compared: 500,
    customers_compared_at_limitador: 20,
    usage: usage_cases::QUICK,
    durable: durable_cases::QUICK,
};

type Case = fn(&Size) -> Vec<Row>;

const CASES: [(&str, Case); 13] = [
    ("one", one_rate_limit),
    ("four", four_rules),
    ("limitador", among_a_thousand),
    ("definitions", among_many),
    ("refused", refused),
    ("threads", two_threads),
    ("recording", recording),
    ("allocations", allocations),
    ("bytes", bytes),
    ("batch", |size| usage_cases::batches(&size.usage)),
    ("usage", |size| usage_cases::questions(&size.usage)),
    ("log bytes", |size| usage_cases::bytes(&size.usage)),
    ("durable", |size| durable_cases::cases(&size.durable)),
];

pub fn run(options: &Options) -> Vec<Row> {
    let size = if options.quick { QUICK } else { FULL };
    let wanted = |name: &str| options.only.as_ref().is_none_or(|text| name.contains(text));
    let cases = CASES.iter().filter(|(name, _)| wanted(name));
    cases.flat_map(|(_, case)| case(&size)).collect()
}

fn one_rate_limit(size: &Size) -> Vec<Row> {
    same_work::one_rate_limit(size.customers_compared);
    let customers = traffic::shuffled_customers(size.customers);
    let engine = built(one(u64::from(AN_HOUR)));
    let mut rows = Vec::new();
    let peer = governor_an_hour::<RandomState>(AN_HOUR);
    rows.push(compare(
        "one rate limit a customer",
        ("governor, keyed by `String`", Some(Target::AtMost(1.0))),
        (size.rounds, &customers),
        |customer| allows(&engine, &traffic::plain(customer)),
        |customer| peer.check_key(customer).is_ok(),
    ));
    let peer = governor_an_hour::<ahash::RandomState>(AN_HOUR);
    rows.push(compare(
        "one rate limit a customer",
        ("governor, same, with `ahash`", None),
        (size.rounds, &customers),
        |customer| allows(&engine, &traffic::plain(customer)),
        |customer| peer.check_key(customer).is_ok(),
    ));
    rows
}

fn four_rules(size: &Size) -> Vec<Row> {
    same_work::four_rules(size.customers_compared);
    let customers = traffic::shuffled_customers(size.customers);
    let engine = built(four(builder(), Limits::GENEROUS));
    let mut rows = Vec::new();
    let peer: ByHand = ByHand::new(Limits::GENEROUS);
    rows.push(compare(
        "two rate limits and two quotas a customer",
        ("by hand", Some(Target::AtMost(0.35))),
        (size.rounds, &customers),
        |customer| allows(&engine, &traffic::model_call(customer)),
        |customer| peer.allows(customer, traffic::TOKENS, traffic::CENTS),
    ));
    let peer: ByHand<_, ahash::RandomState> = ByHand::new(Limits::GENEROUS);
    rows.push(compare(
        "two rate limits and two quotas a customer",
        ("by hand, with `ahash`", None),
        (size.rounds, &customers),
        |customer| allows(&engine, &traffic::model_call(customer)),
        |customer| peer.allows(customer, traffic::TOKENS, traffic::CENTS),
    ));
    rows
}

fn among_a_thousand(size: &Size) -> Vec<Row> {
    let others = size.others_at_limitador;
    same_work::among_others(size.customers_compared_at_limitador, others);
    let customers = traffic::shuffled_customers(size.customers);
    let engine = built(with_others(four(builder(), Limits::GENEROUS), others));
    let peer = Limitador::new(Limits::GENEROUS, [1, 60], others);
    // A call takes limitador a millisecond: it gets few calls a round, and by customers that it
    // already knows.
    let (ours, peers) = interleaved(
        size.rounds,
        || round(&customers, |customer| allows(&engine, &traffic::model_call(customer))),
        || round(&customers[..size.calls_at_limitador], |customer| peer.allows(customer)),
    );
    let (ours, peers) = (ours.into_iter().collect(), peers.into_iter().collect());
    let case = format!("the same four among {} definitions", grouped(others + 4));
    vec![row(case, ("limitador", Some(Target::AtMost(0.001))), &ours, &peers)]
}

fn among_many(size: &Size) -> Vec<Row> {
    let customers = traffic::shuffled_customers(size.customers);
    let many = built(with_others(four(builder(), Limits::GENEROUS), size.others));
    let alone = built(four(builder(), Limits::GENEROUS));
    vec![compare(
        &format!("four matching among {} definitions", grouped(size.others + 4)),
        ("limitry, the four alone", Some(Target::AtMost(1.2))),
        (size.rounds, &customers),
        |customer| allows(&many, &traffic::model_call(customer)),
        |customer| allows(&alone, &traffic::model_call(customer)),
    )]
}

fn refused(size: &Size) -> Vec<Row> {
    let customers = traffic::shuffled_customers(size.customers);
    // Everybody's first call, in the warm-up, is admitted, so that each customer has counters.
    let one_call_a_month = Limits { cents_a_month: traffic::CENTS, ..Limits::GENEROUS };
    let often = 1_000_000;
    let tokens = Quota::new("Tokens a day", Metric::TotalTokens, often, Period::Day);
    let cents = Quota::new("Cents a month", Metric::TotalCostCents, often, Period::Month);
    let by_rate = builder()
        .rate_limit(RateLimit::new("Calls a second", often, Window::Second).per("customer_id"))
        .rate_limit(RateLimit::new("Calls an hour", 1, Window::Hour).per("customer_id"))
        .quota(tokens.per("customer_id"))
        .quota(cents.per("customer_id"));
    let refusing = [
        ("refused by a rate limit", by_rate),
        ("refused by a quota", four(builder(), one_call_a_month)),
    ];
    let allowing = built(four(builder(), Limits::GENEROUS));
    let row_of = |(case, refusing)| {
        let refusing = built(refusing);
        compare(
            case,
            ("limitry, allowed", Some(Target::AtMost(1.0))),
            (size.rounds, &customers),
            |customer| allows(&refusing, &traffic::model_call(customer)),
            |customer| allows(&allowing, &traffic::model_call(customer)),
        )
    };
    refusing.into_iter().map(row_of).collect()
}

fn two_threads(size: &Size) -> Vec<Row> {
    let customers = traffic::shuffled_customers(size.customers);
    let (first, second) = customers.split_at(size.customers / 2);
    let engine = built(four(builder(), Limits::GENEROUS));
    let decide = |customer: &String| allows(&engine, &traffic::model_call(customer));
    let passes = if size.rounds > 10 { 6 } else { 1 };
    let (both, alone) = interleaved(
        size.rounds,
        || round_of_threads(&[first, second], passes, decide),
        || round_of_threads(&[first], passes, decide),
    );
    let series = |rounds: &[Threads]| {
        let wall = rounds.iter().map(|round| round.wall).collect::<Series>();
        (wall, rounds.iter().map(|round| round.cpu).collect::<Series>())
    };
    let ((both, both_cpu), (alone, alone_cpu)) = (series(&both), series(&alone));
    let case = "two threads, different customers: throughput";
    let target = Some(Target::AtLeast(1.7));
    let mut wall = row(case.to_owned(), ("limitry, one thread", target), &both, &alone);
    wall.ratio = wall.ratio.recip();
    // Two threads spend two seconds of CPU time in one second.
    let case = "the same by the threads' own CPU time";
    let mut cpu = row(case.to_owned(), ("limitry, one thread", None), &both_cpu, &alone_cpu);
    cpu.ratio = 2.0 * cpu.ratio.recip();
    vec![wall, cpu]
}

fn recording(size: &Size) -> Vec<Row> {
    let customers = traffic::shuffled_customers(size.customers);
    let rules = |recording| four(Engine::builder().recording(recording), Limits::GENEROUS);
    let newest = built(rules(Recording::Newest(100_000)));
    let off = built(rules(Recording::Off));
    vec![compare(
        "the four rules with events and roll-ups on",
        ("limitry, `Recording::Off`", Some(Target::AtMost(3.0))),
        (size.rounds, &customers),
        |customer| allows(&newest, &traffic::model_call(customer)),
        |customer| allows(&off, &traffic::model_call(customer)),
    )]
}

fn allocations(size: &Size) -> Vec<Row> {
    let customers = traffic::shuffled_customers(size.customers);
    let engine = built(four(builder(), Limits::GENEROUS));
    let ours =
        warm_allocations(&customers, |customer| allows(&engine, &traffic::model_call(customer)));
    let peer: ByHand = ByHand::new(Limits::GENEROUS);
    let peers = warm_allocations(&customers, |customer| {
        peer.allows(customer, traffic::TOKENS, traffic::CENTS)
    });
    let case = "heap allocations a call, warm".to_owned();
    vec![plain_row(case, "allocations", (ours, peers), Some(Target::AtMost(0.0)))]
}

/// Allocations a call in a second pass over all customers.
fn warm_allocations(customers: &[String], mut decide: impl FnMut(&String) -> bool) -> f64 {
    round(customers, &mut decide);
    let (_, heap) = counting::during(|| round(customers, &mut decide));
    heap.allocations as f64 / customers.len() as f64
}

fn bytes(size: &Size) -> Vec<Row> {
    let customers = traffic::shuffled_customers(size.customers_for_bytes);
    let a_customer = |bytes: i64| bytes as f64 / customers.len() as f64;
    let (engine, ours) = counting::during(|| {
        let engine = built(four(builder(), Limits::GENEROUS));
        round(&customers, |customer| allows(&engine, &traffic::model_call(customer)));
        engine
    });
    drop(engine);
    let (peer, peers) = counting::during(|| {
        let peer: ByHand = ByHand::new(Limits::GENEROUS);
        round(&customers, |customer| peer.allows(customer, traffic::TOKENS, traffic::CENTS));
        peer
    });
    drop(peer);
    let case = format!("bytes a customer, {} customers", grouped(customers.len()));
    let values = (a_customer(ours.bytes), a_customer(peers.bytes));
    vec![plain_row(case, "bytes", values, Some(Target::AtMost(200.0)))]
}

/// One case: the same customers in the same order on both sides, in turn.
fn compare(
    case: &str,
    peer: (&'static str, Option<Target>),
    (rounds, customers): (usize, &[String]),
    mut ours: impl FnMut(&String) -> bool,
    mut peers: impl FnMut(&String) -> bool,
) -> Row {
    let (ours, peers) =
        interleaved(rounds, || round(customers, &mut ours), || round(customers, &mut peers));
    let (ours, peers) = (ours.into_iter().collect(), peers.into_iter().collect());
    row(case.to_owned(), peer, &ours, &peers)
}

fn row(case: String, peer: (&'static str, Option<Target>), ours: &Series, peers: &Series) -> Row {
    let (peer_name, target) = peer;
    println!(
        "timed     | {case}, {peer_name}: admitted {} of {} and {} of {}",
        ours.admitted, ours.calls, peers.admitted, peers.calls
    );
    let (limitry, peer) = (ours.median(), peers.median());
    let quartiles = [ours, peers].map(|side| [side.percentile(25), side.percentile(75)]);
    let [[ours_low, ours_high], [peers_low, peers_high]] = quartiles;
    Row {
        case,
        peer_name,
        unit: "ns",
        limitry,
        peer,
        ratio: limitry / peer,
        target,
        quartiles: Some([ours_low, ours_high, peers_low, peers_high]),
    }
}

/// A figure that is counted, not timed: its target is for the figure itself.
fn plain_row(
    case: String,
    unit: &'static str,
    (limitry, peer): (f64, f64),
    target: Option<Target>,
) -> Row {
    let peer_name = "by hand";
    Row { case, peer_name, unit, limitry, peer, ratio: f64::NAN, target, quartiles: None }
}

fn allows(engine: &Engine, event: &Event<'_>) -> bool {
    engine.track(event).expect("a valid event").is_allowed()
}
