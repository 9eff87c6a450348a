//! Before anything is timed: both sides answer the same calls with tight limits, and every single
//! answer is compared. Where a peer lets its clock be set, time moves between the calls.

use std::hash::RandomState;
use std::time::Duration;

use chrono::{DateTime, TimeZone, Utc};
use governor::Quota;
use governor::clock::FakeRelativeClock;
use limitry::time::ManualClock;
use limitry::{Engine, Event, Metric, Period, RateLimit, Window};

use crate::bucket_peers::{Quotas, Ratelimits, Shown};
use crate::by_hand::{ByHand, Call, Governor, cells, governor};
use crate::limitador_side::Limitador;
use crate::limitry_side::{Limits, builder, built_at, four, one, two_rows, with_others};
use crate::traffic;

/// All clocks, moved together.
struct Clocks {
    limitry: ManualClock,
    governor: FakeRelativeClock,
    ratelimit: Shown,
    now: DateTime<Utc>,
}

impl Clocks {
    fn new() -> Self {
        let now = Utc.with_ymd_and_hms(2026, 3, 10, 12, 0, 0).single().expect("an instant");
        let limitry = ManualClock::new(now.into());
        Self { limitry, governor: FakeRelativeClock::default(), ratelimit: Shown::default(), now }
    }

    fn advance(&mut self, by: Duration) {
        self.limitry.advance(by);
        self.governor.advance(by);
        self.ratelimit.advance(by);
        self.now += by;
    }
}

/// Counts answers, and stops the run at the first that differs.
struct Compared<'a> {
    case: &'a str,
    calls: usize,
    admitted: usize,
}

impl<'a> Compared<'a> {
    fn new(case: &'a str) -> Self {
        Self { case, calls: 0, admitted: 0 }
    }

    fn answer(&mut self, customer: &str, ours: bool, peers: bool) {
        let Self { case, calls, .. } = self;
        assert_eq!(ours, peers, "{case}: the answers to call {calls}, by {customer}, differ");
        self.calls += 1;
        self.admitted += usize::from(ours);
    }

    fn print(self) {
        let Self { case, calls, admitted } = self;
        assert!(0 < admitted && admitted < calls, "{case}: the check must admit and refuse");
        eprintln!("same work | {case}: {calls} calls, {admitted} admitted by each, 0 differ");
    }
}

/// One limit a customer. Time moves by uneven steps where a peer's clock can be set: the bucket
/// refills on both sides.
pub fn one_rule(customers: usize) {
    const LIMIT: u32 = 6;
    let mut clocks = Clocks::new();
    let engine = built_at(one(LIMIT.into()), clocks.limitry.clone());
    let quota = Quota::per_hour(cells(LIMIT));
    let of_governor: Governor<_, RandomState> = governor(quota, clocks.governor.clone());
    let shown = clocks.ratelimit.clone();
    let of_ratelimit = Ratelimits::with_clock(LIMIT, move || shown.clone());
    let of_quota = Quotas::an_hour(LIMIT);
    let mut governor = Compared::new("one rule, governor");
    let mut ratelimit = Compared::new("one rule, ratelimit");
    let mut quota = Compared::new("one rule, quota");
    for step in 0..4 {
        for customer in traffic::drawn_customers(customers, customers * 5) {
            let ours = allows(&engine, &traffic::plain(&customer));
            governor.answer(&customer, ours, of_governor.check_key(&customer).is_ok());
            ratelimit.answer(&customer, ours, of_ratelimit.allows(&customer));
            // It lets nobody set its clock, and its buckets have no time to refill.
            if step == 0 {
                quota.answer(&customer, ours, of_quota.allows(&customer));
            }
        }
        clocks.advance(Duration::from_secs(611 * (step + 1)));
    }
    for compared in [governor, ratelimit, quota] {
        compared.print();
    }
}

/// The four a customer. Amounts differ by customer, so that each of the four refuses somebody;
/// models take turns, and the month's cost counts by them where it is asked for.
pub fn four_rules(customers: usize, in_two_rows: bool) {
    let mut clocks = Clocks::new();
    let rules = if in_two_rows { two_rows } else { four };
    let engine = built_at(rules(builder(), Limits::TIGHT), clocks.limitry.clone());
    let peer: ByHand<_> = ByHand::with_clock(Limits::TIGHT, clocks.governor.clone());
    let case = if in_two_rows { "four rules in two rows, by hand" } else { "four rules, by hand" };
    let mut compared = Compared::new(case);
    let names = traffic::shuffled_customers(customers);
    // Seconds apart, so that a token that the unatomic peer wasted is refilled by then.
    for pause in [0, 10, 10, 60, 86_400, 30] {
        clocks.advance(Duration::from_secs(pause));
        for (number, customer) in names.iter().enumerate().flat_map(|call| [call; 6]) {
            let (tokens, cents) = [(10, 1), (300, 1), (10, 40)][number % 3];
            let model = ["gpt-4", "haiku"][compared.calls % 2];
            let event = Event::new(customer, "model_call").model(model);
            let event = event.input_tokens(tokens).cost_cents(cents);
            let call = Call { customer, model: in_two_rows.then_some(model), tokens, cents };
            let peers = peer.allows_at(|| clocks.now, call);
            compared.answer(customer, allows(&engine, &event), peers);
        }
    }
    compared.print();
}

/// The four among others, on limitador's own clock: its windows are hours here, and limitry's
/// limits have no time to refill.
pub fn among_others(customers: usize, others: usize) {
    let limits = Limits { a_second: 5, a_minute: 4, tokens_a_day: 1_200, cents_a_month: 300 };
    let [first, second] = [3_600, 7_200];
    let rate_limit = |limit: u32, seconds| {
        let window = Window::every(Duration::from_secs(seconds));
        RateLimit::new(format!("A {seconds}"), u64::from(limit), window).per("customer_id")
    };
    let quota = |metric, limit, period| {
        limitry::Quota::new(format!("A {period}"), metric, limit, period).per("customer_id")
    };
    let builder = builder()
        .rate_limit(rate_limit(limits.a_second, first))
        .rate_limit(rate_limit(limits.a_minute, second))
        .quota(quota(Metric::TotalTokens, limits.tokens_a_day, Period::Day))
        .quota(quota(Metric::TotalCostCents, limits.cents_a_month, Period::Month));
    let engine = built_at(with_others(builder, others), Clocks::new().limitry);
    let peer = Limitador::new(limits, [first, second], others);
    let mut compared = Compared::new("four rules among others, limitador");
    for customer in traffic::drawn_customers(customers, customers * 4) {
        let ours = allows(&engine, &traffic::model_call(&customer));
        compared.answer(&customer, ours, peer.allows(&customer));
    }
    compared.print();
}

fn allows(engine: &Engine, event: &Event<'_>) -> bool {
    engine.track(event).expect("a valid event").is_allowed()
}
