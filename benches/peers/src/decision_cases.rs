//! The cases about decisions, one function a case.

use std::hash::RandomState;

use limitry::events::Recording;
use limitry::{Engine, Event, Metric, Period, Quota, RateLimit, Window};

use crate::bucket_peers::{Quotas, Ratelimits};
use crate::by_hand::{self, ByHand, governor_an_hour};
use crate::cases::{Round, Size};
use crate::counting;
use crate::limitador_side::Limitador;
use crate::limitry_side::{self, Limits, builder, built, four, one, with_others};
use crate::measure::{Series, Threads, interleaved, round, round_of_threads};
use crate::peers::{
    BY_HAND, BY_HAND_AHASH, BY_HAND_UNRECORDED, GOVERNOR, GOVERNOR_AHASH, LIMITADOR, Peer, QUOTA,
    QUOTA_BARE, RATELIMIT,
};
use crate::report::{Row, Target, figure, grouped};
use crate::{same_work, traffic};

/// One rate limit; `reach` is the ratio to governor and to quota.
pub fn one_rule(size: &Size, of: &Round, reach: [f64; 2]) -> Vec<Row> {
    same_work::one_rule(size.customers_compared);
    let customers = traffic::shuffled_customers(of.customers);
    let engine = built(one(u64::from(of.an_hour)));
    let case = format!("one rule, {} customers", grouped(of.customers));
    let timed = |peer, reach: Option<f64>, decide: &mut dyn FnMut(&String) -> bool| {
        let ours = |customer: &String| allows(&engine, &traffic::plain(customer));
        compare(&case, (peer, reach.map(Target::AtMost)), (of, &customers), ours, decide)
    };
    let mut rows = Vec::new();
    {
        let peer = governor_an_hour::<RandomState>(of.an_hour);
        rows.push(timed(GOVERNOR, Some(reach[0]), &mut |it| peer.check_key(it).is_ok()));
    }
    {
        let peer = Quotas::an_hour(of.an_hour);
        rows.push(timed(QUOTA, Some(reach[1]), &mut |it| peer.allows(it)));
        rows.push(timed(QUOTA_BARE, None, &mut |it| peer.allows_barely(it)));
    }
    {
        let peer = governor_an_hour::<ahash::RandomState>(of.an_hour);
        rows.push(timed(GOVERNOR_AHASH, None, &mut |it| peer.check_key(it).is_ok()));
    }
    let peer = Ratelimits::an_hour(of.an_hour);
    rows.push(timed(RATELIMIT, None, &mut |it| peer.allows(it)));
    rows
}

/// Two rate limits and two quotas a customer; `reach` is the ratio to the chain by hand.
pub fn four_rules(size: &Size, of: &Round, reach: f64) -> Vec<Row> {
    same_work::four_rules(size.customers_compared, false);
    let customers = traffic::shuffled_customers(of.customers);
    let engine = built(four(builder(), Limits::GENEROUS));
    let case = format!("four rules, {} customers", grouped(of.customers));
    let ours = |customer: &String| allows(&engine, &traffic::model_call(customer));
    let mut rows = Vec::new();
    {
        let peer: ByHand = ByHand::new(Limits::GENEROUS);
        let peers = |customer: &String| peer.allows(by_hand_call(customer));
        let peer = (BY_HAND, Some(Target::AtMost(reach)));
        rows.push(compare(&case, peer, (of, &customers), ours, peers));
    }
    let peer: ByHand<_, ahash::RandomState> = ByHand::new(Limits::GENEROUS);
    let peers = |customer: &String| peer.allows(by_hand_call(customer));
    rows.push(compare(&case, (BY_HAND_AHASH, None), (of, &customers), ours, peers));
    rows
}

/// The four with the month's cost by customer and model, recorded and not.
pub fn two_rows(size: &Size) -> Vec<Row> {
    same_work::four_rules(size.customers_compared, true);
    let of = &size.usual;
    let customers = traffic::shuffled_customers(of.customers);
    let off = built(limitry_side::two_rows(builder(), Limits::GENEROUS));
    let newest = Engine::builder().recording(Recording::Newest(100_000));
    let newest = built(limitry_side::two_rows(newest, Limits::GENEROUS));
    let peer: ByHand = ByHand::new(Limits::GENEROUS);
    let peers = |customer: &String| {
        peer.allows(by_hand::Call { model: Some(traffic::MODEL), ..by_hand_call(customer) })
    };
    let row_of = |case: &str, engine: &Engine, peer, reach| {
        let ours = |customer: &String| allows(engine, &traffic::model_call(customer));
        compare(case, (peer, Some(Target::AtMost(reach))), (of, &customers), ours, peers)
    };
    vec![
        row_of("four rules in two rows", &off, BY_HAND, 0.35),
        row_of("the same, recorded", &newest, BY_HAND_UNRECORDED, 0.75),
    ]
}

pub fn among_a_thousand(size: &Size) -> Vec<Row> {
    let others = size.others_at_limitador;
    same_work::among_others(size.customers_compared_at_limitador, others);
    let customers = traffic::shuffled_customers(size.usual.customers);
    let engine = built(with_others(four(builder(), Limits::GENEROUS), others));
    let peer = Limitador::new(Limits::GENEROUS, [1, 60], others);
    // A call takes limitador a millisecond: it gets few calls a round, and by customers that it
    // already knows.
    let few = &customers[..size.calls_at_limitador];
    let (ours, peers) = interleaved(
        size.usual.rounds,
        || round(&customers, 1, |customer| allows(&engine, &traffic::model_call(customer))),
        || round(few, 1, |customer| peer.allows(customer)),
    );
    let (ours, peers) = (ours.into_iter().collect(), peers.into_iter().collect());
    let case = format!("four rules among {} definitions", grouped(others + 4));
    vec![row(case, (LIMITADOR, Some(Target::AtMost(0.0003))), &ours, &peers)]
}

pub fn among_many(size: &Size) -> Vec<Row> {
    let customers = traffic::shuffled_customers(size.usual.customers);
    let many = built(with_others(four(builder(), Limits::GENEROUS), size.others));
    let alone = built(four(builder(), Limits::GENEROUS));
    vec![compare(
        &format!("four rules among {} definitions", grouped(size.others + 4)),
        (Peer::limitry("limitry, the four alone"), Some(Target::AtMost(1.2))),
        (&size.usual, &customers),
        |customer| allows(&many, &traffic::model_call(customer)),
        |customer| allows(&alone, &traffic::model_call(customer)),
    )]
}

pub fn refused(size: &Size) -> Vec<Row> {
    let customers = traffic::shuffled_customers(size.usual.customers);
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
            (Peer::limitry("limitry, allowed"), Some(Target::AtMost(1.0))),
            (&size.usual, &customers),
            |customer| allows(&refusing, &traffic::model_call(customer)),
            |customer| allows(&allowing, &traffic::model_call(customer)),
        )
    };
    refusing.into_iter().map(row_of).collect()
}

pub fn two_threads(size: &Size) -> Vec<Row> {
    let Round { customers, rounds, .. } = size.usual;
    let customers = traffic::shuffled_customers(customers);
    let (first, second) = customers.split_at(customers.len() / 2);
    let engine = built(four(builder(), Limits::GENEROUS));
    let decide = |customer: &String| allows(&engine, &traffic::model_call(customer));
    let passes = if rounds > 10 { 6 } else { 1 };
    let (both, alone) = interleaved(
        rounds,
        || round_of_threads(&[first, second], passes, decide),
        || round_of_threads(&[first], passes, decide),
    );
    let series = |rounds: &[Threads]| {
        let wall = rounds.iter().map(|round| round.wall).collect::<Series>();
        (wall, rounds.iter().map(|round| round.cpu).collect::<Series>())
    };
    let ((both, both_cpu), (alone, alone_cpu)) = (series(&both), series(&alone));
    let peer = Peer::limitry("limitry, one thread");
    let case = "two threads, different customers: throughput";
    let mut wall = row(case.to_owned(), (peer, Some(Target::AtLeast(1.9))), &both, &alone);
    wall.ratio = wall.ratio.recip();
    // Two threads spend two seconds of CPU time in one second.
    let case = "the same by the threads' own CPU time";
    let mut cpu = row(case.to_owned(), (peer, None), &both_cpu, &alone_cpu);
    cpu.ratio = 2.0 * cpu.ratio.recip();
    vec![wall, cpu]
}

pub fn recording(size: &Size) -> Vec<Row> {
    let rules = |recording| four(Engine::builder().recording(recording), Limits::GENEROUS);
    let mut rows = Vec::new();
    for of in [&size.hot, &size.usual] {
        let customers = traffic::shuffled_customers(of.customers);
        let newest = built(rules(Recording::Newest(100_000)));
        let off = built(rules(Recording::Off));
        rows.push(compare(
            &format!("recording on, {} customers", grouped(of.customers)),
            (Peer::limitry("limitry, `Recording::Off`"), Some(Target::AtMost(3.5))),
            (of, &customers),
            |customer| allows(&newest, &traffic::model_call(customer)),
            |customer| allows(&off, &traffic::model_call(customer)),
        ));
    }
    if let Some(hot) = rows.first() {
        let case = format!("{}, by itself", hot.case);
        rows.insert(1, figure(&case, "ns", hot.limitry, Some(Target::AtMost(250.0))));
    }
    rows
}

/// A reservation and its commit, and a decision while others have holds.
pub fn reserving(size: &Size) -> Vec<Row> {
    let of = &size.usual;
    let customers = traffic::shuffled_customers(of.customers);
    let mut rows = Vec::new();
    {
        let [reserving, tracking] = [(); 2].map(|()| built(four(builder(), Limits::GENEROUS)));
        rows.push(compare(
            "reserve and commit",
            (Peer::limitry("limitry, one `track`"), Some(Target::AtMost(2.5))),
            (of, &customers),
            |customer| limitry_side::reserves_and_commits(&reserving, customer),
            |customer| allows(&tracking, &traffic::model_call(customer)),
        ));
    }
    let others: Vec<_> = (0..size.holds).map(|number| format!("other_{number:07}")).collect();
    let [holding, without] = [(); 2].map(|()| built(four(builder(), Limits::GENEROUS)));
    for other in &others {
        let engines = [&holding, &without];
        assert!(engines.iter().all(|it| allows(it, &traffic::model_call(other))), "admitted");
        std::mem::forget(limitry_side::held(&holding, other));
    }
    rows.push(compare(
        &format!("four rules beside {} open holds of others", grouped(size.holds)),
        (Peer::limitry("limitry, no holds"), Some(Target::AtMost(1.05))),
        (of, &customers),
        |customer| allows(&holding, &traffic::model_call(customer)),
        |customer| allows(&without, &traffic::model_call(customer)),
    ));
    rows
}

pub fn allocations(size: &Size) -> Vec<Row> {
    let customers = traffic::shuffled_customers(size.usual.customers);
    let engine = built(four(builder(), Limits::GENEROUS));
    let ours =
        warm_allocations(&customers, |customer| allows(&engine, &traffic::model_call(customer)));
    let peer: ByHand = ByHand::new(Limits::GENEROUS);
    let peers = warm_allocations(&customers, |customer| peer.allows(by_hand_call(customer)));
    let case = "heap allocations a call, warm";
    let ours = figure(case, "allocations", ours, Some(Target::AtMost(0.0)));
    vec![Row { peer: BY_HAND, peers, ..ours }]
}

/// Allocations a call in a second pass over all customers.
fn warm_allocations(customers: &[String], mut decide: impl FnMut(&String) -> bool) -> f64 {
    round(customers, 1, &mut decide);
    let (_, heap) = counting::during(|| round(customers, 1, &mut decide));
    heap.allocations as f64 / customers.len() as f64
}

pub fn bytes(size: &Size) -> Vec<Row> {
    let customers = traffic::shuffled_customers(size.customers_for_bytes);
    let a_customer = |bytes: i64| bytes as f64 / customers.len() as f64;
    let (engine, ours) = counting::during(|| {
        let engine = built(four(builder(), Limits::GENEROUS));
        round(&customers, 1, |customer| allows(&engine, &traffic::model_call(customer)));
        engine
    });
    drop(engine);
    let (peer, peers) = counting::during(|| {
        let peer: ByHand = ByHand::new(Limits::GENEROUS);
        round(&customers, 1, |customer| peer.allows(by_hand_call(customer)));
        peer
    });
    drop(peer);
    let case = format!("bytes a customer, {} customers", grouped(customers.len()));
    let ours = figure(&case, "bytes", a_customer(ours.bytes), Some(Target::AtMost(200.0)));
    vec![Row { peer: BY_HAND, peers: a_customer(peers.bytes), ..ours }]
}

/// One case: the same customers in the same order on both sides, in turn.
fn compare(
    case: &str,
    peer: (Peer, Option<Target>),
    (of, customers): (&Round, &[String]),
    mut ours: impl FnMut(&String) -> bool,
    mut peers: impl FnMut(&String) -> bool,
) -> Row {
    let (ours, peers) = interleaved(
        of.rounds,
        || round(customers, of.passes, &mut ours),
        || round(customers, of.passes, &mut peers),
    );
    let (ours, peers) = (ours.into_iter().collect(), peers.into_iter().collect());
    row(case.to_owned(), peer, &ours, &peers)
}

fn row(
    case: String,
    (peer, target): (Peer, Option<Target>),
    ours: &Series,
    theirs: &Series,
) -> Row {
    eprintln!(
        "timed     | {case}, {}: admitted {} of {} and {} of {}",
        peer.name, ours.admitted, ours.calls, theirs.admitted, theirs.calls
    );
    let (limitry, peers) = (ours.median(), theirs.median());
    let quartiles = [ours, theirs].map(|side| [side.percentile(25), side.percentile(75)]);
    let [[ours_low, ours_high], [peers_low, peers_high]] = quartiles;
    let quartiles = Some([ours_low, ours_high, peers_low, peers_high]);
    Row { case, peer, unit: "ns", limitry, peers, ratio: limitry / peers, target, quartiles }
}

/// The call that [`traffic::model_call`] describes, for the chain by hand.
fn by_hand_call(customer: &String) -> by_hand::Call<'_> {
    let (tokens, cents) = (traffic::TOKENS, traffic::CENTS);
    by_hand::Call { customer, model: None, tokens, cents }
}

fn allows(engine: &Engine, event: &Event<'_>) -> bool {
    engine.track(event).expect("a valid event").is_allowed()
}
