//! Goal: an hour of traffic through the server's handlers leaves memory flat, counts exact, and
//! fires each alert when it is due: once for a rule, a key, a threshold and a period, at the call
//! that reaches it.
//!
//! Method: calls in random order by a manual clock, each through the router as a server hands it
//! on, beside a tally that knows nothing of the engine: sums by rule, key and period. It says what
//! each call answers, what its hour has used then, and what it fires; each minute the API is asked
//! for the sums, and what fired is delivered to a webhook. The allocator counts what all of it
//! keeps, but for the refusals by key and hour, which are known for a month. The run goes over the
//! end of an hour, a day and a month. It has 2 calls a second, with limits for so many; with
//! `LIMITRY_LONG=1` it has 1 000 a second, for 24 hours, or as many as `LIMITRY_RATE` says.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use allocation_counter::measure;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use limitry::events::Recording;
use limitry::http::{ApiKey, ApiKeys, Options, router};
use limitry::rules::{Algorithm, Enforcement, Threshold};
use limitry::time::{Clock, ManualClock};
use limitry::usage::RollupOptions;
use limitry::webhooks::{Generation, NewEndpoint, Reply, WebhookOptions, Webhooks};
use limitry::{Engine, EngineBuilder, Metric, Period, Quota, RateLimit, Timestamp, Window};
use serde_json::{Value, json};
use tower_service::Service;

use crate::app::KEY;

/// A quarter of an hour before February.
const START: &str = "2024-01-31T23:45:00Z";
const CUSTOMERS: u64 = 40;
const TEAMS: u64 = 4;
const MODELS: [&str; 3] = ["gpt-4o", "o3", "claude"];
/// What the engine's costs say of a key that was refused in an hour, which is known for a month.
const REFUSED_KEY_BYTES: i64 = 130;
/// Of the limit: 100 is reached where a call takes exactly what is left.
const HOURLY_PERCENTS: [u32; 3] = [50, 80, 100];
const DAILY_PERCENTS: [u32; 3] = [10, 100, 150];

/// How much there is of it.
struct Size {
    minutes: u64,
    /// Calls a second: limits are for so many.
    rate: u64,
}

impl Size {
    fn of_this_run() -> Self {
        let is_long = std::env::var_os("LIMITRY_LONG").is_some_and(|value| value == "1");
        if !is_long {
            return Self { minutes: 60, rate: 2 };
        }
        let rate = std::env::var("LIMITRY_RATE").map(|rate| rate.parse().expect("a number"));
        Self { minutes: 24 * 60, rate: rate.unwrap_or(1_000) }
    }

    /// Calls of a customer a minute: those who call the most reach it.
    fn calls_a_minute(&self) -> u64 {
        5 * self.rate
    }

    /// Tokens of a customer an hour.
    fn tokens_an_hour(&self) -> u64 {
        20_000 * self.rate
    }

    /// Tokens of a team a day, which it may exceed.
    fn tokens_a_day(&self) -> u64 {
        80_000 * self.rate
    }

    fn rules(&self) -> EngineBuilder {
        let a_minute = RateLimit::new("Calls", self.calls_a_minute(), Window::Minute);
        let quota = |name, limit, period, percents: [u32; 3]| {
            let quota = Quota::new(name, Metric::TotalTokens, limit, period).id(name);
            percents.into_iter().fold(quota, |quota, at| quota.alert_at(Threshold::percent(at)))
        };
        let hourly = quota("hourly", self.tokens_an_hour(), Period::Hour, HOURLY_PERCENTS);
        let daily = quota("daily", self.tokens_a_day(), Period::Day, DAILY_PERCENTS);
        Engine::builder()
            .rate_limit(a_minute.algorithm(Algorithm::FixedWindow).per("customer_id"))
            .quota(hourly.per("customer_id"))
            .quota(daily.per("team").enforcement(Enforcement::Soft))
            .recording(Recording::Newest(1_000).refusals(100))
            .rollups(RollupOptions::new().keep_minutes(MINUTE * 5).keep_hours(MINUTE * 60))
            .late_events(MINUTE)
            .idempotency_max_keys(100)
            .max_alerts(20)
    }
}

const MINUTE: Duration = Duration::from_secs(60);

/// A call that is made.
struct Call {
    customer: u64,
    tokens: u64,
    body: String,
}

/// Numbers by chance: splitmix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }

    /// A call of one of the customers, the first ones more often; one in ten has a key.
    fn call(&mut self, number: u64) -> Call {
        let customer = self.below(CUSTOMERS) * self.below(CUSTOMERS) / CUSTOMERS;
        let tokens = 50 * (1 + self.below(8));
        let model = MODELS[usize::try_from(self.below(3)).expect("it is small")];
        let mut body = json!({
            "customerId": format!("cust_{customer:02}"), "eventType": "model_call",
            "model": model, "inputTokens": tokens, "properties": {"team": team(customer)},
        });
        if self.below(10) == 0 {
            body["idempotencyKey"] = format!("req_{number}").into();
        }
        Call { customer, tokens, body: body.to_string() }
    }
}

fn team(customer: u64) -> String {
    format!("team_{}", customer % TEAMS)
}

/// What the rules have counted: by what they are split by, and the period.
#[derive(Default)]
struct Tally {
    calls: BTreeMap<(u64, i64), u64>,
    hourly: BTreeMap<(u64, i64), u64>,
    daily: BTreeMap<(u64, i64), u64>,
    admitted: u64,
    tokens: u64,
    refused: [u64; 2],
    /// Which rule refused whom, by hour.
    refused_keys: BTreeSet<(usize, u64, i64)>,
    alerts: u64,
}

/// What a call must answer: its status, what the customer has used of the hour, and which alerts it
/// fires, as rule, key and percent.
type Expected = (u16, u64, Vec<(String, String, u32)>);

impl Tally {
    fn call(&mut self, size: &Size, call: &Call, at: Timestamp) -> Expected {
        let (customer, second) = (call.customer, at.unix_seconds());
        let minute = self.calls.entry((customer, second.div_euclid(60))).or_default();
        let hour = self.hourly.entry((customer, second.div_euclid(3_600))).or_default();
        let day = self.daily.entry((customer % TEAMS, second.div_euclid(86_400))).or_default();
        let is_over =
            [*minute + 1 > size.calls_a_minute(), *hour + call.tokens > size.tokens_an_hour()];
        for rule in (0..2).filter(|rule| is_over[*rule]) {
            self.refused[rule] += 1;
            self.refused_keys.insert((rule, customer, second.div_euclid(3_600)));
        }
        if is_over.contains(&true) {
            return (429, *hour, Vec::new());
        }
        let mut fired = Vec::new();
        let mut count =
            |used: &mut u64, limit: u64, rule: &str, key: String, percents: [u32; 3]| {
                let reached = |used: u64, at: u32| used * 100 >= limit * u64::from(at);
                let (before, after) = (*used, *used + call.tokens);
                let new =
                    percents.into_iter().filter(|at| !reached(before, *at) && reached(after, *at));
                fired.extend(new.map(|at| (rule.to_owned(), key.clone(), at)));
                *used = after;
            };
        *minute += 1;
        let key = format!("cust_{customer:02}");
        count(hour, size.tokens_an_hour(), "hourly", key, HOURLY_PERCENTS);
        count(day, size.tokens_a_day(), "daily", team(customer), DAILY_PERCENTS);
        fired.sort();
        self.admitted += 1;
        self.tokens += call.tokens;
        self.alerts += u64::try_from(fired.len()).expect("a few");
        (201, *hour, fired)
    }
}

/// The server's handlers, in a runtime of this thread.
struct Served {
    engine: Engine,
    clock: ManualClock,
    hooks: Webhooks,
    router: Router,
    runtime: tokio::runtime::Runtime,
}

impl Served {
    fn new(size: &Size) -> Self {
        let clock = ManualClock::new(START.parse().expect("a time"));
        let engine = size.rules().clock(clock.clone()).build().expect("good rules");
        let hooks = Webhooks::open(&engine, WebhookOptions::new().max_deliveries(20));
        let hooks = hooks.expect("no store");
        let new = NewEndpoint::new("https://example.com/hooks", Generation::Third);
        hooks.create(new).expect("a good endpoint");
        let keys = ApiKeys::new().with(ApiKey::new(KEY, "proj_xyz").expect("a key"));
        let options = Options::new("proj_xyz", keys).webhooks("proj_xyz", hooks.clone());
        let router = router(engine.clone(), options);
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        Self { engine, clock, hooks, router, runtime }
    }

    fn send(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let request = Request::builder().method(method).uri(path);
        let request = request.header("authorization", format!("Bearer {KEY}"));
        let request = request.body(Body::from(body.to_owned())).expect("a request");
        self.runtime.block_on(async {
            let response = self.router.clone().call(request).await.expect("it never fails");
            let (parts, body) = response.into_parts();
            let bytes = to_bytes(body, usize::MAX).await.expect("it is whole");
            (parts.status.as_u16(), serde_json::from_slice(&bytes).expect("JSON"))
        })
    }

    /// What a call fired, which becomes a webhook that is sent and taken.
    fn fired(&self) -> Vec<(String, String, u32)> {
        let mut fired = Vec::new();
        while let Some(taken) = self.engine.alerts().poll() {
            let Threshold::Percent(at) = taken.threshold else { panic!("in percent") };
            fired.push((taken.rule_id.clone(), taken.key[0].1.clone(), at));
            self.hooks.accept(taken).expect("no store");
        }
        if !fired.is_empty() {
            let due = self.hooks.due();
            due.into_iter().for_each(|it| it.done(&Ok(Reply::new(200))).expect("no store"));
        }
        fired.sort();
        fired
    }

    /// Makes a call, and one in so many a second time where it has a key: that counts nothing.
    fn call(&self, call: &Call, (status, hour, fired): &Expected) {
        let (answered, body) = self.send("POST", "/v1/track", &call.body);
        assert_eq!((answered, self.fired()), (*status, fired.clone()), "{body}");
        let quotas = body["quotas"].as_array().expect("a list");
        let used = quotas.iter().find(|it| it["id"] == "hourly").map(|it| &it["used"]);
        assert_eq!(used, Some(&json!(hour)), "{body}");
        if *status == 201 && call.body.contains("idempotencyKey") {
            assert_eq!(self.send("POST", "/v1/track", &call.body), (201, body));
            assert_eq!(self.fired(), []);
        }
    }

    /// Asks for the sums, which have all since the start.
    fn ask(&self, tally: &Tally) {
        let range = "startDate=2024-01-31T00:00:00Z&endDate=2024-02-03T00:00:00Z";
        let (_, sums) = self.send("GET", &format!("/v1/usage/summary?{range}"), "");
        let expected = (Some(tally.admitted), Some(tally.tokens));
        let of = |name: &str| sums[name].as_u64();
        assert_eq!((of("totalEvents"), of("totalTokens")), expected, "{sums}");
        let listed = self.send("GET", "/v1/events?limit=10", "").1;
        assert_eq!(listed["data"].as_array().map(Vec::len), Some(10));
        let figures = self.hooks.figures();
        assert_eq!((figures.delivered, figures.waiting), (tally.alerts, 0));
    }
}

#[test]
fn an_hour_of_traffic_leaves_memory_flat_and_counts_exact() {
    let (size, mut dice, mut tally) = (Size::of_this_run(), Dice(7), Tally::default());
    let (mut served, mut kept) = (None, Vec::new());
    let mut bytes = measure(|| served = Some(Served::new(&size))).bytes_current;
    let served = served.expect("it was built");
    let step = Duration::from_secs(1) / u32::try_from(size.rate).expect("a rate");
    for minute in 0..size.minutes {
        let mut calls = Vec::new();
        let mut at = served.clock.now();
        for number in 0..60 * size.rate {
            let call = dice.call(minute * 60 * size.rate + number);
            let expected = tally.call(&size, &call, at);
            calls.push((call, expected));
            at = at.saturating_add(step);
        }
        let used = measure(|| {
            for (call, expected) in &calls {
                served.call(call, expected);
                served.clock.advance(step);
            }
            // As a server does now and then.
            served.hooks.upkeep().expect("no store");
        });
        // What is asked is answered by other threads: what they allocate is not counted here.
        served.ask(&tally);
        bytes += used.bytes_current;
        let keys = i64::try_from(tally.refused_keys.len()).expect("a few");
        kept.push(bytes - keys * REFUSED_KEY_BYTES);
    }
    let most = |minutes: &[i64]| minutes.iter().copied().max().expect("some minutes");
    // After a third all that has a bound is at it.
    let warm = kept.len() / 3;
    let (before, after) = (most(&kept[warm..2 * warm]), most(&kept[2 * warm..]));
    println!("{} let in, {:?} refused", tally.admitted, tally.refused);
    println!("{} alerts, {before} bytes, then {after}", tally.alerts);
    assert!(after <= before + before / 20, "{before} bytes became {after}: {kept:?}");
    // All of it happened.
    assert!(tally.refused.iter().all(|refused| *refused > 100), "{:?}", tally.refused);
    assert!(tally.alerts > 50, "{}", tally.alerts);
}
