//! Goal: whatever comes, goes, is given back and changes: nobody sleeps who could be let in, and
//! nobody is let in before one that came earlier and is short of the same counter.
//!
//! Method: random programs on a manual clock. What each waiter is short of is asked of the engine
//! itself before and after each step, by `check`, and what follows for the order is worked out from
//! that, naively and for all pairs.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use limitry::errors::WaitError;
use limitry::rules::{Algorithm, QuotaUpdate};
use limitry::time::ManualClock;
use limitry::{
    Engine, Event, Metric, Outcome, Period, Quota, RateLimit, RetryAfter, Timestamp, Window,
};

use crate::executor::Executor;
use crate::support::{Dice, cases, engine, seed};

/// A counter: the rule and the value of its partition.
type Counter = (String, String);

/// A waiter as the test knows it.
struct Known {
    event: Event<'static>,
    deadline: Option<Timestamp>,
    /// What it has been short of at every look so far.
    always_short: Option<BTreeSet<Counter>>,
    /// What it was ever short of.
    ever_short: BTreeSet<Counter>,
    /// The earliest at which it was to be let in, and whether it was not.
    promise: Option<Timestamp>,
    /// The same before the tasks are run.
    earliest: Option<Timestamp>,
    was_passed_by: bool,
}

struct Program {
    engine: Engine,
    clock: ManualClock,
    dice: Dice,
    tasks: Executor,
    waiting: BTreeMap<usize, Known>,
    log: Vec<String>,
}

const CUSTOMERS: [&str; 3] = ["a", "b", "c"];
const SECOND: Duration = Duration::from_secs(1);

impl Program {
    fn new(seed: u64) -> Self {
        let (engine, clock) = engine(|it| {
            let tokens = RateLimit::new("tokens", 10, Window::every(SECOND * 5));
            let calls = RateLimit::new("calls", 3, Window::every(SECOND * 2));
            let minute = RateLimit::new("x a minute", 4, Window::Minute).filter("model", "x");
            it.rate_limit(tokens.metric(Metric::TotalTokens).per("customer_id"))
                .rate_limit(calls.algorithm(Algorithm::SlidingWindow))
                .rate_limit(minute.algorithm(Algorithm::FixedWindow).per("customer_id"))
                .quota(Quota::new("cents", Metric::TotalCostCents, 20, Period::Hour).id("q"))
        });
        let (tasks, waiting) = (Executor::default(), BTreeMap::new());
        let log = vec![format!("the dice begin with {seed}")];
        Self { engine, clock, dice: Dice::new(seed), tasks, waiting, log }
    }

    fn event(&mut self) -> Event<'static> {
        let mut event = Event::new(self.dice.pick(&CUSTOMERS), "call");
        if self.dice.chance(60) {
            event = event.total_tokens(self.dice.range(1, 10));
        }
        if self.dice.chance(40) {
            event = event.model("x");
        }
        if self.dice.chance(40) {
            event = event.cost_cents(self.dice.range(1, 8));
        }
        event
    }

    /// The counters that an event adds something to.
    fn touched(event: &Event<'_>) -> BTreeSet<Counter> {
        let customer = event.customer_id().to_owned();
        let has = |name| event.amount(name).is_some_and(|amount| amount > 0);
        let all = [
            (has("total_tokens"), "tokens", &*customer),
            (true, "calls", ""),
            (event.dimension("model") == Some("x"), "x a minute", &*customer),
            (has("cost_cents"), "cents", ""),
        ];
        let touched = all.into_iter().filter(|(touches, ..)| *touches);
        touched.map(|(_, rule, key)| (rule.to_owned(), key.to_owned())).collect()
    }

    /// The counters that refuse an event now, and when it passes.
    fn short(&self, event: &Event<'_>) -> (BTreeSet<Counter>, Option<Timestamp>) {
        let decision = self.engine.check(event).expect("a good event");
        let limits = decision.rate_limits().filter(|it| it.exceeded).map(|it| it.name.to_string());
        let quotas = decision.quotas().filter(|it| it.exceeded).map(|it| it.name.to_string());
        let refusing: BTreeSet<String> = limits.chain(quotas).collect();
        let passes_at = match decision.retry_after() {
            Some(RetryAfter::After(wait)) => Some(self.engine.now() + wait),
            _ => None,
        };
        let short = Self::touched(event).into_iter().filter(|(rule, _)| refusing.contains(rule));
        (short.collect(), passes_at)
    }

    /// What all are short of, the earliest first.
    fn all_short(&self) -> BTreeMap<usize, BTreeSet<Counter>> {
        let short = self.waiting.iter().map(|(number, it)| (*number, self.short(&it.event).0));
        short.collect()
    }

    fn step(&mut self) {
        match self.dice.below(12) {
            0..4 => {
                let event = self.event();
                let deadline = self.dice.chance(25).then(|| {
                    self.engine.now() + Duration::from_millis(100) * self.dice.range(0, 60) as u32
                });
                let number = match deadline {
                    None => self.tasks.wait(&self.engine, event.clone()),
                    Some(at) => self.tasks.wait_until(&self.engine, event.clone(), at),
                };
                self.log.push(format!("{number} waits until {deadline:?}: {event:?}"));
                let known = Known {
                    event,
                    deadline,
                    always_short: None,
                    ever_short: BTreeSet::new(),
                    promise: None,
                    earliest: None,
                    was_passed_by: false,
                };
                self.waiting.insert(number, known);
            }
            4..8 => {
                let wait = Duration::from_millis(100) * self.dice.range(1, 30) as u32;
                self.log.push(format!("{wait:?} later"));
                self.clock.advance(wait);
            }
            8 => {
                let waiting: Vec<_> = self.waiting.keys().copied().collect();
                if !waiting.is_empty() {
                    let number = self.dice.pick(&waiting);
                    self.log.push(format!("{number} gives up"));
                    self.tasks.cancel(number);
                    self.waiting.remove(&number);
                }
            }
            9 => {
                let refund =
                    Event::new("c", "refund").cost_cents(-self.dice.range(1, 5).cast_signed());
                self.log.push("a refund".to_owned());
                let _ = self.engine.record(&refund).expect("a good event");
            }
            10 => {
                let limit = self.dice.range(15, 25);
                self.log.push(format!("the quota is {limit}"));
                let update = QuotaUpdate::new().limit(limit);
                self.engine.rules().update("q", update).expect("a good rule");
            }
            _ => {
                let event = self.event();
                self.log.push(format!("overtakes, if it can: {event:?}"));
                let _ = self.engine.track(&event).expect("a good event");
            }
        }
        self.run();
    }

    /// Runs the tasks, and judges who was let in and who was not.
    fn run(&mut self) {
        let before = self.all_short();
        let now = self.engine.now();
        // What it may be promised while others are let in is no earlier than before they are.
        let promises: Vec<_> =
            self.waiting.values().map(|it| self.short(&it.event).1.unwrap_or(now)).collect();
        for ((number, short), promise) in before.iter().zip(promises) {
            let known = self.waiting.get_mut(number).expect("it waits");
            known.earliest = known.earliest.into_iter().chain([promise]).min();
            known.always_short.iter_mut().for_each(|always| always.retain(|it| short.contains(it)));
        }
        for (number, answer) in self.tasks.run() {
            let known = self.waiting.remove(&number).expect("it waited");
            let decision = match answer {
                Ok(decision) => decision,
                Err(WaitError::TooMany { .. }) => continue,
                Err(why) => panic!("{number}: {why}\n{}", self.log.join("\n")),
            };
            self.log.push(format!("    {number}: {decision}"));
            if decision.outcome() == Outcome::Refused {
                let never = decision.retry_after() == Some(RetryAfter::Never);
                let is_over = known.deadline.is_some_and(|deadline| deadline <= now);
                assert!(never || is_over, "{number} is refused\n{}", self.log.join("\n"));
                continue;
            }
            let touched = Self::touched(&known.event);
            for (earlier, it) in self.waiting.range(..number) {
                // A counter that it is short of, and was whenever it has looked.
                let always = it.always_short.iter().flatten();
                let passed_by: Vec<_> = always.filter(|it| touched.contains(*it)).collect();
                let log = self.log.join("\n");
                assert!(passed_by.is_empty(), "{number} before {earlier}: {passed_by:?}\n{log}");
            }
        }
        self.look();
        self.nobody_sleeps_who_could_be_let_in();
    }

    /// Notes what those who wait are short of.
    fn look(&mut self) {
        let now = self.engine.now();
        let looks: Vec<_> =
            self.waiting.iter().map(|(number, it)| (*number, self.short(&it.event))).collect();
        for (number, (short, passes_at)) in looks {
            let known = self.waiting.get_mut(&number).expect("it waits");
            known.was_passed_by |= known.promise.is_some_and(|promise| promise <= now);
            let promised = known.earliest.into_iter().chain(passes_at);
            known.promise = known.promise.into_iter().chain(promised).min();
            known.ever_short.extend(short.iter().cloned());
            let always = known.always_short.take().map_or_else(
                || short.clone(),
                |always| always.intersection(&short).cloned().collect(),
            );
            known.always_short = Some(always);
        }
    }

    fn nobody_sleeps_who_could_be_let_in(&self) {
        let short = self.all_short();
        // In which lines each stands at the most, and whether somebody is before it there.
        let mut standing: BTreeSet<Counter> = BTreeSet::new();
        for (number, known) in &self.waiting {
            let touched = Self::touched(&known.event);
            let is_behind = touched.iter().any(|counter| standing.contains(counter));
            let own = &short[number];
            let log = || self.log.join("\n");
            assert!(is_behind || !own.is_empty(), "{number} could be let in\n{}", log());
            standing.extend(own.iter().cloned());
            if known.was_passed_by {
                standing.extend(known.ever_short.iter().cloned());
            }
        }
    }
}

#[test]
fn random_programs_keep_the_order_and_wake_all() {
    let seed = seed("programs::random_programs_keep_the_order_and_wake_all", 12);
    for case in 0..cases(150) {
        let mut program = Program::new(seed.wrapping_mul(1_000_003).wrapping_add(case.into()));
        for _ in 0..150 {
            program.step();
        }
        // All who are left are let in when there is time enough.
        for _ in 0..2_000 {
            if program.waiting.is_empty() {
                break;
            }
            program.clock.advance(SECOND * 10);
            program.run();
        }
        assert!(program.waiting.is_empty(), "case {case}: {}", program.log.join("\n"));
        assert!(program.engine.waiting().is_empty());
    }
}
