//! Rules to try, and calls that are made up.
//!
//! The calls behave like the hour of two language models that the tests replay: one that writes
//! code (long requests, short answers) and one that talks (both of middle length), few customers
//! that send most of it, and bursts. They are the same for the same seed and clock.

use std::collections::VecDeque;
use std::time::Duration;

use limitry::events::Recording;
use limitry::reservations::ReservationId;
use limitry::rules::{Enforcement, Threshold};
use limitry::usage::RollupOptions;
use limitry::{
    Amount, Engine, Event, Hold, Metric, Period, Quota, RateLimit, Reserved, RuleSet, Window,
};

/// Two limits and two quotas for each customer.
pub(crate) fn rules() -> RuleSet {
    RuleSet::new()
        .rate_limit(RateLimit::new("Calls a second", 20, Window::Second).per("customer_id"))
        .rate_limit(RateLimit::new("Calls a minute", 300, Window::Minute).per("customer_id"))
        .quota(per_customer("Tokens a day", Metric::TotalTokens, 100_000, Period::Day))
        .quota(per_customer("Cents a month", Metric::TotalCostCents, 5_000, Period::Month))
}

fn per_customer(name: &str, metric: Metric, limit: u64, period: Period) -> Quota {
    Quota::new(name, metric, limit, period).per("customer_id")
}

/// Rules that the calls come near to.
pub(crate) fn busy_rules() -> RuleSet {
    let alerts = |quota: Quota| {
        [50, 80, 100].into_iter().fold(quota, |quota, at| quota.alert_at(Threshold::percent(at)))
    };
    let minute = |name, limit| RateLimit::new(name, limit, Window::Minute);
    RuleSet::new()
        .rate_limit(minute("Calls a minute", 50).per("customer_id"))
        .rate_limit(
            minute("Tokens a minute of gpt-4o", 600_000)
                .metric(Metric::TotalTokens)
                .filter("model", "gpt-4o"),
        )
        .quota(Quota::concurrent("Open calls", 6).per("customer_id"))
        .quota(alerts(per_customer("Tokens an hour", Metric::TotalTokens, 5_000_000, Period::Hour)))
        .quota(alerts(per_customer("Tokens a day", Metric::TotalTokens, 60_000_000, Period::Day)))
        .quota(alerts(
            Quota::new("Team budget", Metric::TotalCostCents, 13_000, Period::Month)
                .enforcement(Enforcement::Soft)
                .per("team_id"),
        ))
}

/// Refused calls are kept, so that a change can be tried on all that was asked for.
pub(crate) fn recording() -> Recording {
    Recording::Newest(100_000).refusals(10_000)
}

/// Sums by team lie ready.
pub(crate) fn rollups() -> RollupOptions {
    RollupOptions::new().dimension("team_id")
}

const SEED: u64 = 0x11AD_2023;
/// How often calls come.
const TICK: Duration = Duration::from_millis(250);
/// How long before the start there were calls, and about how many in an hour at the least.
const HISTORY_HOURS: u64 = 31 * 24;
const HOURLY: u64 = 40;

const CUSTOMERS: [&str; 24] = [
    "acme",
    "globex",
    "initech",
    "umbrella",
    "hooli",
    "stark",
    "wayne",
    "wonka",
    "cyberdyne",
    "tyrell",
    "soylent",
    "massive",
    "pied-piper",
    "vandelay",
    "dunder",
    "gringotts",
    "oscorp",
    "aperture",
    "black-mesa",
    "virtucon",
    "nakatomi",
    "monarch",
    "bluth",
    "sterling",
];
const TEAMS: [&str; 4] = ["research", "support", "growth", "platform"];
/// Models, with their prices of a token in millionths of a cent: read, and written.
const MODELS: [(&str, &str, u64, u64); 4] = [
    ("gpt-4o", "openai", 250, 1_000),
    ("gpt-4o-mini", "openai", 15, 60),
    ("claude-sonnet-4", "anthropic", 300, 1_500),
    ("gemini-2.5-flash", "google", 30, 250),
];

/// Numbers by chance: `SplitMix64`, which is public domain and four lines.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below another one.
    fn below(&mut self, end: u64) -> u64 {
        self.next().checked_rem(end).unwrap_or(0)
    }

    /// The same, small ones more often by far.
    fn low(&mut self, end: u64) -> u64 {
        const STEPS: u64 = 1_024;
        let product = self.below(STEPS).saturating_mul(self.below(STEPS));
        product.saturating_mul(end) >> 20
    }

    fn of<T: Copy>(&mut self, list: &[T], default: T) -> T {
        let place = self.low(list.len() as u64);
        usize::try_from(place).ok().and_then(|place| list.get(place)).copied().unwrap_or(default)
    }
}

/// A call as it is made.
#[derive(Clone, Copy)]
struct Made {
    customer: &'static str,
    team: &'static str,
    kind: &'static str,
    model: (&'static str, &'static str, u64, u64),
    input: u64,
    output: u64,
}

impl Made {
    fn by_chance(chance: &mut Chance) -> Self {
        let customer = chance.of(&CUSTOMERS, "acme");
        Self::of(customer, chance)
    }

    fn of(customer: &'static str, chance: &mut Chance) -> Self {
        let place = CUSTOMERS.iter().position(|known| *known == customer).unwrap_or(0);
        let team = TEAMS.get(place & 3).copied().unwrap_or("research");
        let model = chance.of(&MODELS, ("gpt-4o", "openai", 250, 1_000));
        let is_code = chance.below(3) == 0;
        let (kind, input, output) = if is_code {
            ("code", chance.below(1_500).saturating_add(chance.low(6_000)), chance.low(110))
        } else {
            ("chat", chance.low(4_000), chance.low(780))
        };
        let (input, output) = (input.saturating_add(3), output.saturating_add(1));
        Self { customer, team, kind, model, input, output }
    }

    fn event(&self) -> Event<'static> {
        let (model, provider, read, written) = self.model;
        let cost = self.input.saturating_mul(read);
        let cost = cost.saturating_add(self.output.saturating_mul(written));
        Event::new(self.customer, self.kind)
            .model(model)
            .provider(provider)
            .input_tokens(self.input)
            .output_tokens(self.output)
            .cost_cents(Amount::from_millionths(cost.into()))
            .property("team_id", self.team)
    }
}

/// Calls that come for as long as the server runs.
pub(crate) struct Traffic {
    chance: Chance,
    /// Who sends many calls at once, and for how many ticks more.
    burst: Option<(&'static str, u64)>,
    /// Calls that are under way, each with how many ticks it takes.
    open: VecDeque<(ReservationId, Made, u64)>,
}

impl Traffic {
    pub(crate) fn new() -> Self {
        Self { chance: Chance(SEED), burst: None, open: VecDeque::new() }
    }

    /// Records what there was before the start: more by day than by night.
    pub(crate) fn recall(mut self, engine: &Engine) -> Self {
        let now = engine.now();
        for hours in (1..=HISTORY_HOURS).rev() {
            let start = now.saturating_sub(Duration::from_secs(hours.saturating_mul(3_600)));
            let of_day = start.unix_seconds().div_euclid(3_600).rem_euclid(24);
            let from_noon = of_day.abs_diff(13);
            let calls = HOURLY.saturating_add(12_u64.saturating_sub(from_noon).saturating_mul(12));
            for _ in 0..calls.saturating_add(self.chance.below(HOURLY)) {
                let at = start.saturating_add(Duration::from_secs(self.chance.below(3_600)));
                let made = Made::by_chance(&mut self.chance);
                let _recorded = engine.record(&made.event().timestamp(at));
            }
        }
        self
    }

    /// Lets calls come until it is dropped.
    pub(crate) async fn run(mut self, engine: Engine) {
        let mut ticks = tokio::time::interval(TICK);
        loop {
            ticks.tick().await;
            self.tick(&engine);
        }
    }

    fn tick(&mut self, engine: &Engine) {
        self.end_some(engine);
        for _ in 0..self.chance.below(3) {
            let made = Made::by_chance(&mut self.chance);
            self.call(engine, made);
        }
        self.burst = match self.burst {
            Some((_, 0)) => None,
            Some((customer, ticks)) => {
                for _ in 0..self.chance.below(8) {
                    let made = Made::of(customer, &mut self.chance);
                    self.call(engine, made);
                }
                Some((customer, ticks.saturating_sub(1)))
            }
            None if self.chance.below(60) == 0 => {
                Some((self.chance.of(&CUSTOMERS, "acme"), self.chance.below(40)))
            }
            None => None,
        };
    }

    /// One of four calls is reserved first, and told of when it has ended.
    fn call(&mut self, engine: &Engine, made: Made) {
        let event = made.event();
        if self.chance.below(4) > 0 {
            let _decision = engine.track(&event);
        } else if let Ok(Reserved::Held(open)) = engine.reserve(&event, Hold::default()) {
            let ticks = self.chance.below(24);
            self.open.push_back((open.into_id(), made, ticks));
        }
    }

    fn end_some(&mut self, engine: &Engine) {
        for _ in 0..self.open.len() {
            let Some((id, made, ticks)) = self.open.pop_front() else { return };
            match ticks.checked_sub(1) {
                Some(left) => self.open.push_back((id, made, left)),
                None => drop(engine.commit(id, &made.event())),
            }
        }
    }
}
