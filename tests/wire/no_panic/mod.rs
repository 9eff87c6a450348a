//! Goal: no call panics, on any input: the answer is a value or an error. And what is said is
//! never absurd: nothing left of a limit beyond the limit, no wait on an allowed call.
//!
//! Method: properties over texts, numbers, instants, rule sets, settings, clocks and histories of
//! all verbs, drawn from the ends of every type as well as from the middle, with every answer
//! printed in all its forms; and arbitrary and spoilt bodies through every decoder. The test
//! profile checks overflow and assertions, so that a sum that wraps is a panic.

mod decoders;
mod draw;
mod manage;

use self::draw::*;
use crate::support::config;
use chrono::{DateTime, Utc};
use limitry::alerts::AlertQuery;
use limitry::balances::{BalanceQuery, Credit, Debit, LedgerQuery, NewBalance};
use limitry::customer::Customer;
use limitry::decision::Standing;
use limitry::errors::{PriceError, ReservationError, TrackError};
use limitry::events::{CorrectionQuery, EventId, EventQuery, Recording};
use limitry::keys::{Adjust, AdjustmentQuery, KeyQuery, RuleKey};
use limitry::refusals::RefusalQuery;
use limitry::reservations::{ReservationQuery, ReservationState, ReservationStatus};
use limitry::rules::{Algorithm, Enforcement, QuotaUpdate, RateLimitUpdate, SyncOptions};
use limitry::time::{Clock, ManualClock};
use limitry::usage::MeterQuery;
use limitry::wire::HeaderDialect;
use limitry::{
    Amount, Decision, Engine, Event, Hold, Meter, Metric, Outcome, Period, Pricer, Quota,
    RateLimit, Reserved, RuleSet, Timestamp, Window,
};
use proptest::prelude::*;
use serde::Serialize;
use serde_json::{Value, json};
use std::fmt::{Debug, Display};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// A clock that shows what it was given, in turn, whatever it claims.
#[derive(Debug)]
struct Scripted {
    readings: Vec<Timestamp>,
    next: AtomicUsize,
    claims_monotonic: bool,
}

impl Clock for Scripted {
    fn now(&self) -> Timestamp {
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        self.readings[next % self.readings.len()]
    }

    fn is_monotonic(&self) -> bool {
        self.claims_monotonic
    }
}

/// Prices that change at every question; `None` is an error.
#[derive(Debug)]
struct Whims {
    millionths: Vec<Option<i128>>,
    next: AtomicUsize,
}

impl Pricer for Whims {
    fn price(&self, _: &Event<'_>, _: Timestamp) -> Result<Option<Amount>, PriceError> {
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        match self.millionths.get(next % (self.millionths.len() + 1)) {
            None => Ok(None),
            Some(None) => Err(PriceError::new("model", "any", "has no price today")),
            Some(Some(millionths)) => Ok(Some(Amount::from_millionths(*millionths))),
        }
    }
}

/// What somebody may do to an engine.
#[derive(Clone, Debug)]
enum Action {
    Track,
    Check,
    Record,
    Standing,
    Explain,
    Batch,
    Reserve(Duration, bool),
    ReserveUpTo(Amount),
    Settle(Duration),
    AddLimit(RateLimit),
    AddQuota(Quota),
    UpdateLimit(RateLimitUpdate),
    UpdateQuota(QuotaUpdate),
    Adjust(Option<Amount>, Option<String>),
    /// Voids or amends the newest events.
    Correct(String, bool),
    Remove,
    Sync(RuleSet, bool, bool),
    Advance(Duration),
    Set(DateTime<Utc>),
    LookAround,
    /// Does something to balances.
    Spend(String, i128, DateTime<Utc>),
    /// Archives all rules, and restores them.
    Archive,
    /// Does something to customers: erases one, or not.
    Customers(String, usize, bool),
    /// Asks for pages.
    Pages(String, usize),
    /// Tries rules out.
    WhatIf(RuleSet, i64),
}

fn action() -> BoxedStrategy<Action> {
    let update = rate_limit().prop_map(|rule| {
        let mut update = RateLimitUpdate::new().window(rule.window);
        update.limit_value = Some(rule.limit_value);
        let update = update.burst(rule.burst).max_keys(rule.max_keys).algorithm(rule.algorithm);
        Action::UpdateLimit(update.enforcement(rule.enforcement).overflow(rule.overflow))
    });
    let quota_update = quota().prop_map(|rule| {
        let mut update = QuotaUpdate::new().period(rule.period);
        update.limit_value = Some(rule.limit_value);
        Action::UpdateQuota(
            update.metric(rule.metric).max_keys(rule.max_keys).first_use(rule.first_use),
        )
    });
    prop_oneof![
        6 => Just(Action::Track),
        1 => Just(Action::Check),
        2 => Just(Action::Record),
        1 => Just(Action::Standing),
        1 => Just(Action::Explain),
        1 => Just(Action::Batch),
        3 => (length(), any::<bool>()).prop_map(|(length, drop)| Action::Reserve(length, drop)),
        1 => number().prop_map(|least| Action::ReserveUpTo(least.into())),
        2 => length().prop_map(Action::Settle),
        1 => rate_limit().prop_map(Action::AddLimit),
        1 => quota().prop_map(Action::AddQuota),
        1 => update,
        1 => quota_update,
        2 => (proptest::option::of(amount()), proptest::option::of(".{0,8}"))
            .prop_map(|(amount, name)| Action::Adjust(amount, name)),
        2 => (".{0,8}", any::<bool>()).prop_map(|(reason, void)| Action::Correct(reason, void)),
        1 => Just(Action::Remove),
        1 => (rule_set(), any::<bool>(), any::<bool>())
            .prop_map(|(rules, write, keep)| Action::Sync(rules, write, keep)),
        3 => length().prop_map(Action::Advance),
        3 => instant().prop_map(Action::Set),
        1 => Just(Action::LookAround),
        2 => (text(), any::<i128>(), instant())
            .prop_map(|(text, units, at)| Action::Spend(text, units, at)),
        1 => Just(Action::Archive),
        1 => (text(), any::<usize>(), any::<bool>())
            .prop_map(|(text, limit, erase)| Action::Customers(text, limit, erase)),
        1 => (text(), prop_oneof![0_usize..3, any::<usize>()])
            .prop_map(|(text, limit)| Action::Pages(text, limit)),
        1 => (rule_set(), any::<i64>()).prop_map(|(rules, percent)| Action::WhatIf(rules, percent)),
    ]
    .boxed()
}

fn print(value: &(impl Debug + Display)) {
    assert!(!format!("{value:?}").is_empty());
    assert!(!value.to_string().is_empty());
}

fn json(value: &impl Serialize) -> Value {
    serde_json::to_value(value).expect("plain data")
}

/// Looks at a decision from all sides.
fn inspect(decision: &Decision, event: &Event<'_>) {
    print(decision);
    let body = json(decision);
    let passes = decision.outcome() != Outcome::Refused;
    assert_eq!(body["allowed"], json!(passes));
    assert_eq!(decision.status_code(), if passes { 201 } else { 429 });
    assert_eq!(decision.retry_after().is_none(), passes, "{decision:?}");
    if let Some(wait) = decision.retry_after() {
        print(&wait);
        assert!(wait.whole_seconds().is_none_or(|seconds| seconds >= 1));
        let hard = decision.rate_limits().any(|status| status.exceeded)
            || decision.has_too_many_reservations();
        assert!(hard || decision.quotas().any(|status| status.exceeded), "{decision:?}");
    }
    for dialect in [HeaderDialect::XRateLimit, HeaderDialect::Draft10] {
        for (name, value) in decision.headers_in(dialect) {
            let plain = |text: &str| text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
            assert!(plain(name) && plain(&value), "{name}: {value}");
        }
    }
    for status in decision.rate_limits() {
        assert!(!format!("{status:?} {}", json(&status)).is_empty());
        let bounded = status.limit.is_none() || status.remaining <= Amount::from(1_u64 << 62);
        assert!(bounded, "{status:?}");
    }
    for status in decision.quotas() {
        assert!(!format!("{status:?} {}", json(&status)).is_empty());
        assert!(status.limit.is_none_or(|limit| status.remaining <= limit), "{status:?}");
    }
    assert!(!format!("{:?}", decision.clone()).is_empty());
    let (id, printed) = (decision.event_id(), decision.event_id().map(|id| id.to_string()));
    assert_eq!(printed.map(|text| text.parse::<EventId>().expect("as printed")), id);
    assert!(!format!("{event:?} {}", json(event)).is_empty());
}

fn inspect_standing(standing: &Standing) {
    assert!(!format!("{standing:?} {}", json(standing)).is_empty());
    assert_eq!(json(standing)["allowed"], json!(standing.is_allowed()));
}

fn answer(outcome: Result<Decision, TrackError>, event: &Event<'_>) {
    match outcome {
        Ok(decision) => inspect(&decision, event),
        Err(error) => print(&error),
    }
}

/// Looks at what became of a reserve; without `drop` it is left to its expiry.
fn reserved(outcome: Result<Reserved, ReservationError>, event: &Event<'_>, drop: bool) {
    match outcome {
        Ok(Reserved::Held(reservation)) => {
            inspect(reservation.decision(), event);
            assert!(!format!("{reservation:?}").is_empty());
            if !drop {
                std::mem::forget(reservation);
            }
        }
        Ok(Reserved::Refused(decision)) => inspect(&decision, event),
        Ok(Reserved::Replayed(status)) => assert!(!format!("{status:?}").is_empty()),
        Err(error) => print(&error),
    }
}

fn is_printable(status: &ReservationStatus) -> bool {
    [status.timestamp, status.expires_at].iter().all(|it| serde_json::to_value(it).is_ok())
}

/// Does to the open reservations what can be done.
fn settle(engine: &Engine, event: &Event<'_>, length: Duration) {
    let open = ReservationQuery::new().state(ReservationState::Held).limit(4);
    for (turn, status) in engine.reservations().list(&open).iter().enumerate() {
        // It has no JSON where the calendar has no such year.
        let data = serde_json::to_value(status);
        assert!(data.is_ok_and(|data| data["state"] == "held") || !is_printable(status));
        match engine.grow(status.id, event) {
            Ok(decision) => inspect(&decision, event),
            Err(error) => print(&error),
        }
        engine.extend(status.id, length).err().iter().for_each(print);
        if turn % 2 == 0 {
            match engine.commit(status.id, event) {
                Ok(decision) => inspect(&decision, event),
                Err(error) => print(&error),
            }
        }
        engine.release(status.id).err().iter().for_each(print);
        assert!(engine.reservation(status.id).is_some());
    }
}

/// Does to balances what can be done, by good and by bad names.
fn spend(engine: &Engine, text: &str, units: i128, at: DateTime<Utc>) {
    let balances = engine.balances();
    let amount = Amount::from_millionths(units);
    for owner in ["c", text] {
        let new = NewBalance::new(owner, "credits").initial(5).unit(text).minimum(amount);
        balances.create(&new).err().iter().for_each(print);
        let new = NewBalance::new(owner, "credits").initial(500);
        balances.create(&new).err().iter().for_each(print);
        for amount in [amount, Amount::from(7)] {
            let credit = Credit::new(amount).description(text).priority(units as i32);
            let credit = if units % 3 == 0 { credit } else { credit.expires_at(at) };
            let credit = balances.credit(owner, "credits", &credit.idempotency_key(text));
            credit.err().iter().for_each(print);
            let debit = Debit::new(amount).reference(text).idempotency_key(text);
            balances.debit(owner, "credits", &debit).err().iter().for_each(print);
            balances.check(owner, text, amount).err().iter().for_each(print);
        }
        if let Ok(page) = balances.ledger(owner, "credits", &LedgerQuery::new().limit(3)) {
            assert!(page.transactions.len() <= 3);
            assert!(page.transactions.iter().all(|entry| entry.amount > Amount::ZERO));
        }
        assert!(!format!("{:?}", balances.grants(owner, "credits")).is_empty());
        if units % 5 == 0 {
            balances.remove(owner, "credits").err().iter().for_each(print);
        }
    }
    assert!(!format!("{:?}", balances.list(&BalanceQuery::new().limit(2))).is_empty());
}

/// Lists events, and prints what is found: in no shape where the calendar has no such year.
fn list(engine: &Engine, query: &EventQuery) {
    match engine.events().list(query) {
        Ok(page) => {
            // Only the own shape has the instants of corrections, which may have no JSON.
            let is_corrected = page.data.iter().any(|event| event.correction.is_some());
            let own = serde_json::to_value(&page).is_ok();
            let generic = serde_json::to_value(page.generic()).is_ok();
            assert!(own == generic || (is_corrected && generic));
            let next = page.next_cursor.unwrap_or_default();
            assert_eq!(engine.events().list(&query.clone().cursor(next)).is_ok(), page.has_more);
        }
        Err(error) => print(&error),
    }
}

/// Does to an engine what `actions` say; `hands` move its clock, if it has any.
fn live(
    engine: &Engine,
    hands: Option<&ManualClock>,
    actions: &[Action],
    events: &[Event<'static>],
) {
    for (turn, act) in actions.iter().enumerate() {
        let event = &events[turn % events.len()];
        let ids = || {
            let rules = engine.rules().set();
            let limits = rules.rate_limits.into_iter().filter_map(|rule| rule.id);
            limits.chain(rules.quotas.into_iter().filter_map(|rule| rule.id)).collect::<Vec<_>>()
        };
        match act.clone() {
            Action::Track => answer(engine.track(event), event),
            Action::Check => answer(engine.check(event), event),
            Action::Record => answer(engine.record(event), event),
            Action::Standing => match engine.standing(event) {
                Ok(standing) => inspect_standing(&standing),
                Err(error) => print(&error),
            },
            Action::Explain => match engine.explain(event) {
                Ok(explanation) => {
                    print(&explanation);
                    json(&explanation);
                }
                Err(error) => print(&error),
            },
            Action::Batch => {
                let answers = engine.track_batch(events);
                assert_eq!(answers.len(), events.len());
                answers.into_iter().zip(events).for_each(|(one, event)| answer(one, event));
                match engine.record_batch(events) {
                    Ok(report) => assert_eq!(report.count + report.duplicates, events.len()),
                    Err(error) => print(&error),
                }
            }
            Action::Reserve(length, drop) => {
                reserved(engine.reserve(event, Hold::lasting(length)), event, drop);
            }
            Action::ReserveUpTo(least) => {
                let tokens = Metric::TotalTokens;
                reserved(engine.reserve_up_to(event, &tokens, least, Hold::default()), event, true);
                for metric in ["output_tokens", "cost_cents", "images", "", "a b"] {
                    let metric = Metric::value(metric);
                    let held = engine.reserve_amount(event, &metric, least, Hold::default());
                    reserved(held, event, true);
                }
            }
            Action::Settle(length) => settle(engine, event, length),
            Action::AddLimit(rule) => engine.rules().add(rule).err().iter().for_each(print),
            Action::AddQuota(rule) => engine.rules().add(rule).err().iter().for_each(print),
            Action::UpdateLimit(update) => ids().iter().for_each(|id| {
                engine.rules().update(id, update.clone()).err().iter().for_each(print);
            }),
            Action::UpdateQuota(update) => ids().iter().for_each(|id| {
                engine.rules().update(id, update.clone()).err().iter().for_each(print);
            }),
            Action::Remove => {
                let first = ids().into_iter().next().unwrap_or_default();
                engine.rules().remove(&first).err().iter().for_each(print);
            }
            Action::Sync(rules, write, keep) => {
                let options = if write { SyncOptions::apply() } else { SyncOptions::preview() };
                let options = if keep { options.keep_missing() } else { options };
                match engine.rules().sync(rules, options) {
                    Ok(report) => assert!(!format!("{report:?} {}", json(&report)).is_empty()),
                    Err(error) => print(&error),
                }
            }
            Action::Advance(by) => hands.iter().for_each(|clock| clock.advance(by)),
            Action::Set(to) => hands.iter().for_each(|clock| clock.set(to.into())),
            Action::Adjust(amount, name) => {
                let customer = event.customer_id().to_owned();
                let known = name.iter().fold(Customer::new(&*customer), |known, name| {
                    known.metadata("plan", &**name).metadata(&**name, amount.is_some())
                });
                engine.customers().upsert(known).err().iter().for_each(print);
                for rule in engine.rules().list() {
                    let id = rule.id().expect("made").to_owned();
                    for key in [RuleKey::new(), ("customer_id", &*customer).into()] {
                        let made = match amount {
                            Some(amount) => Adjust::by(&*id, key, amount),
                            None => Adjust::reset(&*id, key),
                        };
                        let made = match &name {
                            Some(name) => made.note(&**name).idempotency_key(&**name),
                            None => made,
                        };
                        match engine.rules().apply(&made) {
                            Ok(made) => assert!(!format!("{made:?}").is_empty()),
                            Err(why) => print(&why),
                        }
                    }
                }
                let all = engine.rules().adjustments(&AdjustmentQuery::new()).expect("a page");
                assert!(!format!("{all:?}").is_empty());
            }
            Action::Archive => manage::archive(engine),
            Action::Customers(text, limit, erase) => {
                manage::customers(engine, event, &text, limit, erase);
            }
            Action::Pages(text, limit) => manage::pages(engine, &text, limit),
            Action::WhatIf(rules, percent) => manage::what_if(engine, event, rules, percent),
            Action::Correct(reason, void) => correct(engine, event, &reason, void),
            Action::Spend(text, units, at) => spend(engine, &text, units, at),
            Action::LookAround => {
                print(&engine.now());
                assert!(!format!("{engine:?} {:?}", engine.events()).is_empty());
                let alerts = engine.alerts();
                while let Some(alert) = alerts.poll() {
                    // It has no JSON where the calendar has no such year.
                    let data = serde_json::to_value(&*alert.alert);
                    assert!(!format!("{alert:?} {data:?}").is_empty());
                    assert_eq!(alerts.acknowledge(&alert), Ok(()));
                }
                assert!(alerts.list(&AlertQuery::new()).alerts.len() <= 50);
                let newest = engine.events().newest(3);
                assert!(newest.len() <= 3 && engine.live_keys() < 1_000);
                assert!(newest.iter().all(|found| !format!("{found:?}").is_empty()));
                list(engine, &EventQuery::new());
                average(engine, event);
                look_at_refusals(engine);
                for rule in engine.rules().list() {
                    let id = rule.id().expect("made");
                    let mut query = KeyQuery::new().limit(2);
                    while let Some(next) =
                        engine.rules().keys(id, &query).expect("good").next_cursor
                    {
                        query = query.cursor(next);
                    }
                }
                for rule in engine.rules().rate_limits() {
                    let id = rule.id.clone().expect("made");
                    assert_eq!(engine.rules().get::<RateLimit>(&id).as_ref(), Some(&rule));
                    assert!(rule.worst_case().is_none_or(|most| most >= Amount::ZERO));
                }
            }
        }
    }
}

/// Voids each of the newest events, or lets it be as another.
fn correct(engine: &Engine, event: &Event<'_>, reason: &str, void: bool) {
    for found in engine.events().newest(3) {
        let made = if void {
            engine.void(found.id, reason)
        } else {
            engine.amend(found.id, event, reason)
        };
        let as_it_is = engine.amend_with(found.id, reason, |now| Some(now.event.clone()));
        let left = engine.amend_with(found.id, reason, |_| None);
        let other = engine.amend_with(found.id, reason, |_| Some(event.clone().into_owned()));
        assert!(!matches!(left, Ok(Some(_))), "nothing is asked for");
        for made in [as_it_is, other] {
            made.err().iter().for_each(print);
        }
        match made {
            Ok(made) => assert!(!format!("{made:?}").is_empty()),
            Err(why) => print(&why),
        }
    }
    let listed = engine.events().corrections(&CorrectionQuery::new());
    assert!(!format!("{listed:?}").is_empty());
}

/// Asks for averages over time, of ranges with every end; not every engine has the meter.
fn average(engine: &Engine, event: &Event<'_>) {
    let ends = [Timestamp::MIN, Timestamp::UNIX_EPOCH, engine.now(), Timestamp::MAX];
    for (from, to) in ends.iter().flat_map(|from| ends.iter().map(move |to| (*from, *to))) {
        let query = MeterQuery::new().between(from, to);
        for query in [query.clone().customer(event.customer_id()), query] {
            match engine.meters().query("avg", &query) {
                Ok(value) => assert!(!format!("{value:?}").is_empty()),
                Err(why) => print(&why),
            }
        }
    }
}

/// Of so many events, and of refused calls in every second one.
fn recording(newest: usize) -> Recording {
    let recording = Recording::Newest(newest);
    if newest.is_multiple_of(2) { recording.refusals(5) } else { recording }
}

/// Asks for what was refused, page by page, and when rules judged.
fn look_at_refusals(engine: &Engine) {
    let refusals = engine.refusals();
    let mut query = RefusalQuery::new().limit(3);
    loop {
        match refusals.counts(&query) {
            Ok(page) => {
                assert!(!json(&page).is_null() && page.other <= page.total);
                let Some(next) = page.next_cursor else { break };
                query = query.cursor(next);
            }
            Err(why) => return print(&why),
        }
    }
    let hours = refusals.hours(&RefusalQuery::new()).expect("it records");
    assert!(!format!("{hours:?}").is_empty());
    let mut query = RefusalQuery::new().limit(3);
    while let Some(next) = refusals.list(&query).expect("it records").next_cursor {
        query = query.cursor(next);
    }
    for bad in ["", "x", "-1", "[1]", "[1,\"a\",[],[]]"] {
        let _ = (
            refusals.counts(&query.clone().cursor(bad)),
            refusals.list(&query.clone().cursor(bad)),
        );
    }
    for rule in engine.rules().list() {
        let last = engine.rules().last_judged(rule.id().expect("made"));
        assert!(!format!("{last:?}").is_empty());
    }
}

/// What a price list says, in millionths; `None` is an error.
fn cents() -> impl Strategy<Value = Option<i128>> {
    prop::option::weighted(0.9, any::<i128>().prop_map(|units| units >> 70))
}

proptest! {
    #![proptest_config(config(2_000))]

    #[test]
    fn no_history_on_a_clock_that_is_set_both_ways_panics(
        rules in rule_set(),
        start in instant(),
        actions in prop::collection::vec(action(), 1..40),
        events in prop::collection::vec(event(), 1..6),
    ) {
        let clock = ManualClock::new(start.into());
        match Engine::builder().clock(clock.clone()).rule_set(rules).build() {
            Ok(engine) => live(&engine, Some(&clock), &actions, &events),
            Err(error) => print(&error),
        }
    }

    #[test]
    fn no_clock_makes_an_engine_panic(
        rules in rule_set(),
        readings in prop::collection::vec(timestamp(), 1..12),
        claims_monotonic: bool,
        actions in prop::collection::vec(action(), 1..40),
        events in prop::collection::vec(event(), 1..6),
    ) {
        let clock = Scripted { readings, next: AtomicUsize::new(0), claims_monotonic };
        if let Ok(engine) = Engine::builder().clock(clock).rule_set(rules).build() {
            live(&engine, None, &actions, &events);
        }
    }

    #[test]
    fn no_setting_makes_an_engine_panic(
        max_keys in number(),
        idempotency_max_keys in number(),
        retention in length(),
        late in length(),
        newest in prop::option::of(number()),
        actions in prop::collection::vec(action(), 1..30),
        events in prop::collection::vec(event(), 1..6),
        start in instant(),
        cents in prop::collection::vec(cents(), 0..6),
    ) {
        let size = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let clock = ManualClock::new(start.into());
        let builder = Engine::builder()
            .clock(clock.clone())
            .max_keys(max_keys)
            .idempotency_max_keys(size(idempotency_max_keys))
            .idempotency_retention(retention)
            .late_events(late)
            .prices(Whims { millionths: cents, next: AtomicUsize::new(0) })
            .recording(newest.map_or(Recording::Off, |newest| recording(size(newest))))
            .quota(Quota::new("day", Metric::TotalTokens, 100, Period::Day).per("customer_id"))
            .meter(Meter::time_avg("avg", "latency_ms"))
            .quota(Quota::new("cents", Metric::TotalCostCents, 100, Period::Month));
        assert!(!format!("{builder:?}").is_empty());
        match builder.build() {
            Ok(engine) => live(&engine, Some(&clock), &actions, &events),
            Err(error) => print(&error),
        }
    }
}

/// Every numeric edge of a rule against every numeric edge of an event, exhaustively.
#[test]
fn the_ends_of_every_number_meet() {
    let limits = [0, 1, 2, (1 << 31) + 1, 1_u64 << 32, (1 << 62) - 1, 1 << 62];
    let costs = [0, 1, 2, 1 << 31, (1 << 31) + 1, 1 << 32, LARGEST - 1, LARGEST];
    let lengths = [1, 59, 60, 61, 1_000_000_007, 3_155_760_000_000_000_000];
    for limit in limits {
        for length in lengths.map(Duration::from_nanos) {
            let clock = ManualClock::new(Timestamp::UNIX_EPOCH);
            let rule = |algorithm| {
                let rule = RateLimit::new("r", limit, Window::every(length));
                rule.algorithm(algorithm).metric(Metric::TotalTokens)
            };
            let bucket = |burst: u64| match rule(Algorithm::TokenBucket) {
                blocks if limit == 0 => blocks,
                rule => rule.burst(burst),
            };
            let quota = |period| Quota::new("q", Metric::TotalTokens, limit, period);
            let soft = Enforcement::Soft;
            let builder = Engine::builder()
                .clock(clock.clone())
                .rate_limit(bucket(1 << 62).enforcement(soft))
                .rate_limit(bucket(1).enforcement(Enforcement::Shadow))
                .rate_limit(rule(Algorithm::FixedWindow).enforcement(soft))
                .rate_limit(rule(Algorithm::SlidingWindow).enforcement(soft))
                .quota(quota(Period::rolling(length)).enforcement(soft))
                .quota(quota(Period::Day).enforcement(soft))
                .quota(quota(Period::AllTime));
            let engine = builder.build().expect("valid");
            for cost in costs {
                let event = Event::new("c", "call").total_tokens(cost);
                answer(engine.track(&event), &event);
                answer(engine.record(&event), &event);
                answer(engine.check(&event), &event);
                inspect_standing(&engine.standing(&event).expect("a valid event"));
                clock.advance(length / 3);
            }
            clock.advance(Duration::MAX);
            let event = Event::new("c", "call").total_tokens(1);
            answer(engine.track(&event), &event);
        }
    }
}

#[test]
fn the_ends_of_every_clock_are_lived_through() {
    let event = Event::new("c", "call").total_tokens(1);
    let ends = [
        Timestamp::MIN,
        Timestamp::new(i64::MIN, 1),
        Timestamp::from(DateTime::<Utc>::MIN_UTC),
        Timestamp::new(-1, 999_999_999),
        Timestamp::UNIX_EPOCH,
        Timestamp::from(DateTime::<Utc>::MAX_UTC),
        Timestamp::new(i64::MAX, 0),
        Timestamp::MAX,
    ];
    for first in ends {
        for second in ends {
            for claims_monotonic in [false, true] {
                let readings = vec![first, first, first, first, second];
                let next = AtomicUsize::new(0);
                let mut builder =
                    Engine::builder().clock(Scripted { readings, next, claims_monotonic });
                for period in [
                    Period::Hour,
                    Period::Week,
                    Period::Month,
                    Period::Year,
                    Period::AllTime,
                    Period::rolling(Duration::from_secs(1)),
                ] {
                    builder = builder.quota(Quota::new("q", Metric::TotalTokens, 3, period));
                }
                for algorithm in
                    [Algorithm::TokenBucket, Algorithm::FixedWindow, Algorithm::SlidingWindow]
                {
                    let rule = RateLimit::new("r", 4, Window::Second).algorithm(algorithm);
                    builder = builder.rate_limit(rule);
                }
                let engine = builder.build().expect("valid");
                for _ in 0..8 {
                    answer(engine.track(&event), &event);
                    print(&engine.now());
                    for instant in [DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC] {
                        let dated = event.clone().timestamp(instant);
                        answer(engine.track(&dated), &dated);
                        answer(engine.record(&dated), &dated);
                    }
                }
            }
        }
    }
}
