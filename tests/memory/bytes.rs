//! The promise "bounded memory that is not a bypass", in bytes.
//!
//! The allocator counts by thread what the engine asks of the heap. The formula is the one of the
//! crate's front page; the floods are a million fresh keys each.

use std::time::Duration;

use allocation_counter::measure;
use chrono::{TimeZone, Utc};
use limitry::Window;
use limitry::balances::{Credit, Debit, LEDGER_ENTRIES, NewBalance};
use limitry::events::Recording;
use limitry::rules::{SyncOptions, Threshold};
use limitry::time::ManualClock;
use limitry::{
    Customer, Engine, EngineBuilder, Event, Hold, Metric, Period, Quota, RateLimit, Reserved,
    RuleSet,
};

const MILLION: u64 = 1_000_000;
/// What an engine needs without any key, and the shards of its table at their smallest.
const BASE_BYTES: u64 = 200_000;

/// The crate's formula for keys with `rules` rules of one partition.
fn documented_bytes(keys: u64, id_bytes: u64, rules: u64) -> u64 {
    let key_words = id_bytes / 8 + 1;
    // Whole lines; at most an eighth of all holds no rows.
    let row = (8 * (2 + key_words) + 24 * rules).next_multiple_of(64);
    let lines = (row * 8).div_ceil(7);
    // A slot of the hash table has 5 bytes; a table is at least 7/16 full after it grew.
    let table = 12;
    keys * (lines + table) + BASE_BYTES
}

/// Two rate limits and two quotas a customer.
fn four(builder: EngineBuilder) -> EngineBuilder {
    let quota = |name, metric, period| Quota::new(name, metric, 100_000, period);
    builder
        .recording(Recording::Off)
        .rate_limit(RateLimit::new("Calls a minute", 100, Window::Minute).per("customer_id"))
        .rate_limit(RateLimit::new("Calls an hour", 1_000, Window::Hour).per("customer_id"))
        .quota(quota("Tokens a day", Metric::TotalTokens, Period::Day).per("customer_id"))
        .quota(quota("Cents a month", Metric::TotalCostCents, Period::Month).per("customer_id"))
}

fn model_call(customer: &str) -> Event<'_> {
    Event::new(customer, "model_call").input_tokens(150).output_tokens(50).cost_cents(25)
}

fn clock() -> ManualClock {
    let noon = Utc.with_ymd_and_hms(2026, 3, 10, 12, 0, 0);
    ManualClock::new(noon.single().expect("an instant").into())
}

/// Calls once as each of `count` customers that nobody has seen; every id has 12 bytes.
fn flood(engine: &Engine, count: u64) {
    let mut name = String::with_capacity(12);
    for number in 0..count {
        name.clear();
        name.push_str("key_");
        let digits = number.to_string();
        name.extend(std::iter::repeat_n('0', 8_usize.saturating_sub(digits.len())));
        name.push_str(&digits);
        let _ = engine.track(&model_call(&name)).expect("a valid event");
    }
}

#[test]
fn a_million_customers_with_four_rules_take_200_bytes_each_at_most() {
    let mut engine = None;
    let memory = measure(|| {
        let built = four(Engine::builder()).clock(clock()).build().expect("valid rules");
        flood(&built, MILLION);
        engine = Some(built);
    });
    let engine = engine.expect("the engine was built");
    assert_eq!(engine.live_keys(), MILLION);
    let bytes = memory.bytes_current.unsigned_abs();
    println!("{} bytes a customer", bytes / MILLION);
    assert!(bytes <= 200 * MILLION, "{} bytes a customer", bytes / MILLION);
    assert!(bytes <= documented_bytes(MILLION, 12, 4), "{bytes} bytes in all");
}

/// The value of a quota on different values is a key of its own, with one rule.
#[test]
fn a_value_that_counts_once_takes_what_a_key_takes() {
    let values = 200_000;
    let mut engine = None;
    let memory = measure(|| {
        let users = Quota::unlimited("Users", Metric::unique("user"), Period::Month);
        let users = users.per("customer_id").max_values(1_000_000);
        let built = Engine::builder().recording(Recording::Off).clock(clock()).quota(users);
        let built = built.build().expect("a valid rule");
        for number in 0..values {
            let user = format!("user_{number:07}");
            let event = model_call("cust_00000001").property("user", &*user);
            let _ = built.track(&event).expect("a valid event");
        }
        engine = Some(built);
    });
    let engine = engine.expect("the engine was built");
    assert_eq!(engine.live_keys(), values + 1);
    let standing = engine.standing(&model_call("cust_00000001")).expect("a valid event");
    assert_eq!(standing.quotas().next().expect("it matches").used, values);
    let bytes = memory.bytes_current.unsigned_abs();
    println!("{} bytes a value", bytes / values);
    assert!(bytes <= 160 * values, "{} bytes a value", bytes / values);
    // Two ids, each of whose texts has a word of its own.
    assert!(bytes <= documented_bytes(values, 34, 1), "{bytes} bytes in all");
}

#[test]
fn a_rule_that_has_lost_takes_what_a_rule_takes() {
    let calls = |name, limit| {
        let quota = Quota::new(name, Metric::TotalEvents, limit, Period::Month);
        quota.per("customer_id").policy("calls")
    };
    let keys = 100_000;
    let mut engine = None;
    let memory = measure(|| {
        let built = Engine::builder()
            .recording(Recording::Off)
            .clock(clock())
            .quota(calls("default", 10))
            .quota(calls("plan", 20).filter("event_type", "model_call"))
            .build()
            .expect("valid rules");
        flood(&built, keys);
        engine = Some(built);
    });
    assert_eq!(engine.expect("the engine was built").live_keys(), keys);
    let bytes = memory.bytes_current.unsigned_abs();
    assert!(bytes <= documented_bytes(keys, 12, 2), "{bytes} bytes in all");
}

#[test]
fn a_flood_at_the_cap_stays_within_the_formula_and_takes_nothing_from_a_customer_with_use() {
    let keys = 50_000;
    let mut used = None;
    let memory = measure(|| {
        let builder = four(Engine::builder()).clock(clock()).max_keys(keys);
        let engine = builder.build().expect("valid rules");
        let customer = model_call("cust_with_use");
        for _ in 0..60 {
            assert!(engine.track(&customer).expect("a valid event").is_allowed());
        }
        flood(&engine, MILLION);
        assert!(engine.live_keys() <= keys, "{} keys", engine.live_keys());
        let standing = engine.standing(&customer).expect("a valid event");
        used = Some((
            standing
                .rate_limits()
                .map(|status| status.remaining.to_u64_floor())
                .collect::<Vec<_>>(),
            standing.quotas().map(|status| status.used.to_u64_ceil()).collect::<Vec<_>>(),
        ));
    });
    assert_eq!(used, Some((vec![40, 940], vec![60 * 200, 60 * 25])));
    // At its largest: a shard that grows holds its old table beside the new one for a moment.
    let bound = documented_bytes(keys, 12, 4);
    assert!(memory.bytes_max <= bound, "{} bytes, {bound} at most", memory.bytes_max);
}

#[test]
fn keys_that_came_to_rest_are_dropped_in_passing_and_their_memory_with_them() {
    let clock = clock();
    let mut most = 0;
    let memory = measure(|| {
        let engine = Engine::builder()
            .recording(Recording::Off)
            .clock(clock.clone())
            .rate_limit(RateLimit::new("Calls a second", 10, Window::Second).per("customer_id"))
            .build()
            .expect("valid rules");
        // A bucket is full again a tenth of a second after its one call: 1 000 calls later.
        let mut name = String::with_capacity(12);
        for number in 0..MILLION {
            name.clear();
            name.push_str("key_");
            name.push_str(&(10_000_000 + number).to_string());
            clock.advance(Duration::from_micros(100));
            let _ = engine.track(&Event::new(name.as_str(), "call")).expect("a valid event");
            most = most.max(engine.live_keys());
        }
    });
    println!("{most} keys and {} bytes at most", memory.bytes_max);
    assert!(most <= 10_000, "{most} keys at a time, of which 1 000 matter");
    assert!(memory.bytes_max <= documented_bytes(most, 12, 1), "{} bytes", memory.bytes_max);
}

/// The bytes a key that sliding windows and rolling quotas take with so many uses, a second apart,
/// beside the row's two words, the id's two and the table.
fn list_bytes(uses: u64) -> u64 {
    const KEYS: u64 = 1_000;
    let mut kept = None;
    let memory = measure(|| {
        let clock = clock();
        let engine = Engine::builder().recording(Recording::Off).clock(clock.clone());
        let period = Period::rolling(Duration::from_secs(3_600));
        let quota = Quota::new("Calls in an hour", Metric::TotalEvents, 1_000_000, period);
        let engine = engine.quota(quota.per("customer_id")).build().expect("valid rules");
        for _ in 0..uses {
            flood(&engine, KEYS);
            clock.advance(Duration::from_secs(1));
        }
        kept = Some(engine);
    });
    assert_eq!(kept.expect("the engine was built").live_keys(), KEYS);
    let all = u64::try_from(memory.bytes_current).expect("what is kept is not negative");
    all / KEYS - 8 * 4
}

/// The formula of the front page.
#[test]
fn a_list_of_uses_takes_16_bytes_each_and_a_kilobyte_at_most() {
    for (uses, least, most) in [(1, 32, 32), (3, 80, 80), (20, 528, 528), (80, 1_024, 1_024)] {
        let bytes = list_bytes(uses);
        println!("{bytes} bytes a key with {uses} uses");
        let others = 39 + BASE_BYTES / 1_000;
        assert!((least..=most + others).contains(&bytes), "{bytes} bytes with {uses} uses");
    }
}

/// The bytes an event in a log of many, all of one customer: the roll-ups have a few rows only.
fn log_bytes(event: impl Fn(u64) -> Event<'static>) -> u64 {
    const EVENTS: u64 = 250_000;
    let mut kept = None;
    let memory = measure(|| {
        let builder = Engine::builder().recording(Recording::Newest(1_000_000)).clock(clock());
        let engine = builder.build().expect("valid settings");
        for number in 0..EVENTS {
            let _ = engine.record(&event(number)).expect("a valid event");
        }
        kept = Some(engine);
    });
    assert_eq!(kept.expect("the engine was built").events().len() as u64, EVENTS);
    memory.bytes_current.unsigned_abs().saturating_sub(BASE_BYTES).div_ceil(EVENTS)
}

/// The documentation of `Recording` says these.
#[test]
fn a_recorded_event_takes_little_more_than_its_strings_and_numbers() {
    let short = log_bytes(|_| Event::new("cust_0000001", "call"));
    let call = log_bytes(|_| model_call("cust_0000001").model("gpt-4").provider("openai"));
    let long = log_bytes(|number| {
        let at = Utc.timestamp_nanos(1_773_000_000_123_456_789 + (number % 9).cast_signed());
        model_call("cust_0000001")
            .model("gpt-4")
            .provider("openai")
            .latency_ms(1_200)
            .property("team_id", "team_eng")
            .value("gpu_seconds", "0.25")
            .timestamp(at)
    });
    println!("{short}, {call} and {long} bytes an event");
    // One with a timestamp of its own also has the instant of its decision, up to eight bytes, and
    // two that say that no rule was asked about it.
    assert!(short <= 46 && call <= 70 && long <= 119, "{short}, {call}, {long} bytes an event");
}

/// The bytes that the roll-ups take for `customers` that each have an event in each of `minutes`.
fn rollup_bytes(customers: u64, minutes: u64) -> u64 {
    let mut kept = None;
    let memory = measure(|| {
        let clock = clock();
        // The log keeps next to nothing: what grows is the roll-ups.
        let recording = Recording::Newest(1);
        let engine = Engine::builder().recording(recording).clock(clock.clone());
        let engine = engine.build().expect("no rules");
        for _ in 0..minutes {
            flood(&engine, customers);
            clock.advance(Duration::from_secs(60));
        }
        kept = Some(engine);
    });
    u64::try_from(memory.bytes_current).expect("what is kept is not negative")
}

#[test]
fn a_row_of_the_roll_ups_takes_little_more_than_a_cache_line() {
    const CUSTOMERS: u64 = 1_000;
    // A customer's event has six rows: by minute, hour and day, of the customer and of the tuple.
    let first = rollup_bytes(CUSTOMERS, 1) / CUSTOMERS;
    assert!(first <= 900, "{first} bytes a customer with its series and first rows");
    // The next minute of the same hour brings two.
    let (some, more) = (rollup_bytes(CUSTOMERS, 10), rollup_bytes(CUSTOMERS, 50));
    let row = (more - some) / (CUSTOMERS * 40 * 2);
    println!("{first} bytes a customer, {row} bytes a row");
    assert!(row <= 90, "{row} bytes a row");
}

/// The guide's table of costs says this.
#[test]
fn an_idempotency_key_takes_its_answer_and_little_more() {
    const KEYS: u64 = 50_000;
    let of_rules = |rules: u32| {
        let mut builder = Engine::builder().recording(Recording::Off).clock(clock());
        for number in 0..rules {
            let name = format!("Rule {number}");
            builder = builder.rate_limit(RateLimit::new(name, MILLION, Window::Hour));
        }
        let engine = builder.build().expect("valid rules");
        let memory = measure(|| {
            for number in 0..KEYS {
                let key = format!("req_{number:012}");
                let call = model_call("cust_0000001");
                let decision = engine.track(&call.idempotency_key(&key)).expect("a valid event");
                assert!(decision.is_allowed());
            }
        });
        memory.bytes_current.unsigned_abs() / KEYS
    };
    let (one, eight) = (of_rules(1), of_rules(8));
    println!("{one} and {eight} bytes a key with an answer of one rule and of eight");
    assert!(one <= 480 && eight <= 1_050, "{one} and {eight} bytes a key");
}

/// What a reservation takes while it is open, and what is known of it after that.
#[test]
fn an_open_reservation_takes_so_much_and_one_that_ended_less() {
    const HOLDS: u64 = 5_000;
    let clock = clock();
    let engine = four(Engine::builder()).clock(clock).build().expect("good rules");
    flood(&engine, HOLDS);
    let names: Vec<String> = (0..HOLDS).map(|number| format!("key_{number:08}")).collect();
    let mut open = Vec::with_capacity(names.len());
    let hold = Hold::lasting(Duration::from_secs(60));
    let while_open = measure(|| {
        for name in &names {
            match engine.reserve(&model_call(name), hold).expect("good") {
                Reserved::Held(reservation) => {
                    open.push(reservation.id());
                    std::mem::forget(reservation);
                }
                other => panic!("{other:?}"),
            }
        }
    });
    let ended = measure(|| {
        for (id, name) in open.iter().zip(&names) {
            let _ = engine.commit(*id, &model_call(name)).expect("open");
        }
    });
    let count = i64::try_from(HOLDS).expect("few");
    let open = while_open.bytes_current / count;
    let known = open + ended.bytes_current / count;
    println!("open {open}, known {known}");
    assert!(open <= 1_850 && known <= 1_400, "open {open}, known {known}");
}

/// What an alert takes while it is kept, and what a key takes for having fired until the period is
/// over.
#[test]
fn an_alert_takes_so_much_and_a_key_that_has_fired_less() {
    const KEYS: u64 = 20_000;
    let of = |percent: &[u32], max_alerts: usize| {
        let quota = Quota::new("Tokens", Metric::TotalTokens, 200, Period::Day);
        let quota = percent.iter().fold(quota.per("customer_id"), |quota, percent| {
            quota.alert_at(Threshold::percent(*percent))
        });
        let builder = Engine::builder().recording(Recording::Off).clock(clock()).quota(quota);
        let engine = builder.max_alerts(max_alerts).build().expect("valid rules");
        let memory = measure(|| flood(&engine, KEYS));
        memory.bytes_current / i64::try_from(KEYS).expect("few")
    };
    let none = of(&[], 1);
    let (one, three) = (of(&[50], 1) - none, of(&[50, 80, 100], 1) - none);
    let alert = of(&[50], 20_000) - one - none;
    println!("a key that fired one {one}, three {three}; an alert {alert}");
    assert!(one <= 220 && three <= 350, "a key that has fired: {one}, {three}");
    assert!(alert <= 600, "an alert: {alert}");
}

/// What a key takes that was refused in an hour, and a refused call that is kept.
#[test]
fn a_refused_key_takes_so_much_and_a_refused_call_that_is_kept() {
    const KEYS: u64 = 8_000;
    let of = |recording: Recording| {
        let calls = RateLimit::new("Calls a minute", 0, Window::Minute).per("customer_id");
        let builder = Engine::builder().recording(recording).clock(clock()).rate_limit(calls);
        let engine = builder.build().expect("valid rules");
        // Threads keep a few things from their first call on.
        flood(&engine, 1);
        let memory = measure(|| flood(&engine, KEYS));
        memory.bytes_current / i64::try_from(KEYS).expect("few")
    };
    let off = of(Recording::Off);
    let counted = of(Recording::default()) - off;
    let kept = of(Recording::default().refusals(100_000)) - off - counted;
    println!("a refused key {counted}, a refused call that is kept {kept}");
    assert!(counted <= 200, "a refused key: {counted}");
    assert!(kept <= 200, "a refused call that is kept: {kept}");
}

/// What an account takes, a grant of it, and an entry of its ledger.
#[test]
fn a_balance_takes_so_much_and_a_grant_and_an_entry() {
    const OWNERS: u64 = 2_000;
    let name = |number: u64| format!("key_{number:08}");
    let engine = Engine::builder().clock(clock()).build().expect("valid rules");
    let balances = engine.balances();
    let account = measure(|| {
        for number in 0..OWNERS {
            let new = NewBalance::new(name(number), "credits");
            balances.create(&new).expect("a good balance");
        }
    });
    let credit = Credit::new(100);
    let grants = measure(|| {
        for _ in 0..LEDGER_ENTRIES {
            balances.credit("key_00000000", "credits", &credit).expect("a good credit");
        }
    });
    let debit = Debit::new(1);
    let entries = measure(|| {
        for _ in 0..LEDGER_ENTRIES {
            let debited = balances.debit("key_00000001", "credits", &debit);
            assert!(!debited.expect("good").is_posted());
            let opened = balances.credit("key_00000001", "credits", &Credit::new(1));
            opened.expect("a good credit");
            let debited = balances.debit("key_00000001", "credits", &debit);
            assert!(debited.expect("good").is_posted());
        }
    });
    let most = i64::try_from(LEDGER_ENTRIES).expect("few");
    let account = account.bytes_current / i64::try_from(OWNERS).expect("few");
    let (grant, entry) = (grants.bytes_current / most, entries.bytes_current / most);
    println!("an account {account}, a grant with its entry {grant}, an entry {entry}");
    assert!(account <= 900, "an account {account}");
    assert!(grant <= 500 && entry <= 350, "a grant with its entry {grant}, an entry {entry}");
}

/// What of a customer is looked up is kept beside what is known of it, while something names it.
#[test]
fn an_attribute_takes_what_is_stated_and_only_where_a_rule_names_it() {
    let customers = 100_000;
    let bytes_of = |engine: &mut Option<Engine>, rule: &str| {
        let memory = measure(|| {
            let calls = RateLimit::new("Calls", 10, Window::Minute).filter(rule, "pro");
            let builder = Engine::builder().recording(Recording::Off).clock(clock());
            let built = builder.rate_limit(calls).build().expect("a valid rule");
            let known = (0..customers)
                .map(|number| Customer::new(format!("cust_{number:07}")).metadata("plan", "pro"));
            built.customers().upsert_all(known).expect("good customers");
            *engine = Some(built);
        });
        memory.bytes_current.unsigned_abs() / customers
    };
    let [mut first, mut second] = [None, None];
    let (unnamed, named) = (bytes_of(&mut first, "plan"), bytes_of(&mut second, "customer_plan"));
    println!("{unnamed} bytes a customer, {named} with an attribute that is looked up");
    assert!(unnamed <= 900, "{unnamed} bytes a customer");
    // The id of 12 bytes, the key and the value.
    assert!(named <= unnamed + 150 + 12 + 7, "{named} bytes, and {unnamed} without");
    let engine = second.expect("it was built");
    let unplanned = RateLimit::new("Calls", 10, Window::Minute);
    let all = measure(|| {
        let set = RuleSet::new().rate_limit(unplanned);
        engine.rules().sync(set, SyncOptions::apply()).expect("a valid rule");
    });
    let freed = all.bytes_current.unsigned_abs() / customers;
    assert!(all.bytes_current < 0 && freed + 20 >= named - unnamed, "{freed} bytes are freed");
}
