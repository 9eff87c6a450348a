//! Goal: what is refused is counted by rule, key and hour, kept as far as the recording says, and
//! shown by page.
//!
//! Method: worked cases; random calls beside a naive count of the answers that were given; threads.

use std::collections::BTreeMap;

use limitry::errors::QueryError;
use limitry::events::Recording;
use limitry::refusals::{RefusalHour, RefusalQuery, RefusedAttempt};
use limitry::rules::{Enforcement, OnMissing};
use limitry::{Engine, Event, Hold, Metric, Outcome, Period, Quota, RateLimit, Reserved, Window};

use crate::support::oracle::{DAY, HOUR, Nanos, SECOND};
use crate::support::{Dice, START, cases, date, duration, engine, seed, track};

/// 2024-01-15T10:00:00Z.
const TEN: Nanos = START - 30 * 60 * SECOND;

fn calls(limit: u64) -> Quota {
    Quota::new("Calls", Metric::TotalEvents, limit, Period::Day).per("customer_id")
}

fn call(customer: &str) -> Event<'_> {
    Event::new(customer, "call")
}

fn all() -> RefusalQuery {
    RefusalQuery::new()
}

/// The keys of all pages, of two each, and how often they were refused.
fn counts(engine: &Engine, query: &RefusalQuery) -> Vec<(String, String, u64)> {
    let (mut found, mut query) = (Vec::new(), query.clone().limit(2));
    loop {
        let page = engine.refusals().counts(&query).expect("a page");
        let items = page.items.iter();
        found.extend(items.map(|it| (it.rule_id.clone(), it.key.to_string(), it.refused)));
        match page.next_cursor {
            Some(next) => query = query.cursor(next),
            None => return found,
        }
    }
}

fn hours(engine: &Engine, query: &RefusalQuery) -> Vec<(Nanos, u64)> {
    let hours = engine.refusals().hours(query).expect("hours");
    let of = |it: &RefusalHour| (i128::from(it.start.unix_seconds()) * SECOND, it.refused);
    hours.iter().map(of).collect()
}

#[test]
fn a_refusal_is_counted_by_rule_key_and_hour() {
    let burst = RateLimit::new("Burst", 2, Window::Hour).per("customer_id").per("model");
    let total = Quota::new("Total", Metric::TotalEvents, 6, Period::Day);
    let (engine, clock) = engine(|it| it.quota(calls(3)).quota(total).rate_limit(burst));
    let by = |customer, model| track(&engine, &call(customer).model(model)).is_allowed();
    assert!(by("ann", "o3") && by("ann", "o3") && !by("ann", "o3") && !by("ann", "o3"));
    assert!(by("ann", "o4") && !by("ann", "o4"));
    assert_eq!(hours(&engine, &all()), [(TEN, 3)]);
    clock.advance(duration(HOUR));
    // Refused by the day's quota, and by nothing else.
    assert!(!by("ann", "o5") && by("bob", "o3") && by("bob", "o4") && by("bob", "o5"));
    // Refused by all that there is but the burst.
    assert!(!by("bob", "o6"));
    assert_eq!(hours(&engine, &all()), [(TEN, 3), (TEN + HOUR, 2)]);
    let ann_o3 = "customer_id=ann, model=o3".to_owned();
    assert_eq!(
        counts(&engine, &all()),
        [
            ("qta_calls".to_owned(), "customer_id=ann".to_owned(), 2),
            ("rl_burst".to_owned(), ann_o3.clone(), 2),
            ("qta_calls".to_owned(), "customer_id=bob".to_owned(), 1),
            ("qta_total".to_owned(), "all".to_owned(), 1),
        ]
    );
    let page = engine.refusals().counts(&all().rule("qta_calls")).expect("a page");
    assert_eq!((page.items.len(), page.total, page.other, page.next_cursor), (2, 3, 0, None));
    let ann = all().key(("customer_id", "ann"));
    assert_eq!(counts(&engine, &ann).len(), 2);
    assert_eq!(hours(&engine, &ann), [(TEN, 3), (TEN + HOUR, 1)]);
    assert_eq!(hours(&engine, &ann.rule("qta_calls")), [(TEN, 1), (TEN + HOUR, 1)]);
    assert_eq!(hours(&engine, &all().rule("qta_total")), [(TEN + HOUR, 1)]);
    // A range is of the hours that start in it.
    let early = all().between(date(TEN), date(TEN + HOUR));
    assert_eq!(counts(&engine, &early)[0], ("rl_burst".to_owned(), ann_o3, 2));
    assert_eq!(hours(&engine, &all().between(date(TEN + 1), date(TEN + DAY))), [(TEN + HOUR, 2)]);
    let printed = serde_json::to_value(&page.items[0]).expect("it prints");
    let expected = r#"{"ruleId": "qta_calls", "key": {"customer_id": "ann"}, "refused": 2}"#;
    assert_eq!(printed, serde_json::from_str::<serde_json::Value>(expected).expect("good"));
}

#[test]
fn what_is_no_refused_attempt_is_not_counted() {
    let soft = Quota::new("Soft", Metric::TotalEvents, 0, Period::Day);
    let (engine, _) = engine(|it| it.quota(calls(1)).quota(soft.enforcement(Enforcement::Soft)));
    assert!(track(&engine, &call("ann").idempotency_key("a")).is_allowed());
    assert_eq!(hours(&engine, &all()), []);
    // A check, a record, a replay.
    assert!(!engine.check(&call("ann")).expect("valid").is_allowed());
    assert!(engine.record(&call("ann")).expect("valid").is_allowed());
    let replay = track(&engine, &call("ann").idempotency_key("a"));
    assert_eq!((replay.outcome(), hours(&engine, &all())), (Outcome::Replayed, vec![]));
    // Each of the verbs that attempt something.
    assert!(!track(&engine, &call("ann")).is_allowed());
    let _ = engine.track_batch(&[call("ann"), call("bob")]);
    let hold = Hold::default();
    assert!(matches!(engine.reserve(&call("ann"), hold), Ok(Reserved::Refused(_))));
    let waited = engine.wait_blocking_until(&call("ann"), date(START));
    assert!(!waited.expect("an answer").is_allowed());
    assert_eq!(counts(&engine, &all()), [("qta_calls".into(), "customer_id=ann".into(), 4)]);
}

#[test]
fn a_rule_without_the_dimension_counts_the_stated_value() {
    let by_team = Quota::new("Teams", Metric::TotalEvents, 0, Period::Day).per("team_id");
    let (engine, _) = engine(|it| it.quota(by_team.on_missing(OnMissing::Value("none".into()))));
    assert!(!track(&engine, &call("ann")).is_allowed());
    assert_eq!(counts(&engine, &all()), [("qta_teams".into(), "team_id=none".into(), 1)]);
}

#[test]
fn what_cannot_be_asked_is_an_error() {
    let (off, _) = engine(|it| it.recording(Recording::Off).quota(calls(0)));
    assert!(!track(&off, &call("ann")).is_allowed());
    assert_eq!(off.refusals().counts(&all()), Err(QueryError::RecordingOff));
    assert_eq!(off.refusals().hours(&all()), Err(QueryError::RecordingOff));
    let (engine, _) = engine(|it| it);
    let refusals = engine.refusals();
    let backwards = all().between(date(START), date(START));
    assert!(matches!(refusals.hours(&backwards), Err(QueryError::EmptyRange { .. })));
    for bad in [all().limit(0), all().limit(1_001), all().cursor("x")] {
        assert!(matches!(refusals.counts(&bad), Err(QueryError::Invalid { .. })), "{bad:?}");
        assert!(matches!(refusals.list(&bad), Err(QueryError::Invalid { .. })), "{bad:?}");
    }
    for (recording, reason) in [
        (Recording::Off.refusals(5), "newest must be at least 1"),
        (Recording::default().refusals(1_000_001), "must be at most 1000000"),
    ] {
        let why = Engine::builder().recording(recording).build().expect_err("a bad setting");
        assert!(why.to_string().contains(reason), "{why}");
    }
}

#[test]
fn the_newest_refused_calls_are_kept_where_that_is_said() {
    let recording = Recording::default().refusals(3);
    let (engine, clock) = engine(|it| it.recording(recording).quota(calls(0)));
    let (none, _) = self::engine(|it| it.quota(calls(0)));
    for number in 0..5_u64 {
        let event = call(if number == 3 { "bob" } else { "ann" });
        let event = event.property("number", number.to_string());
        let late = date(START - 60 * SECOND);
        let event = if number == 4 { event.timestamp(late) } else { event };
        assert!(!track(&engine, &event).is_allowed());
        assert!(!track(&none, &event).is_allowed());
        clock.advance(duration(SECOND));
    }
    let list = |query: &RefusalQuery| engine.refusals().list(query).expect("a page");
    let page = list(&all().limit(2));
    let number = |it: &RefusedAttempt| it.event.dimension("number").map(str::to_owned);
    let numbers: Vec<_> = page.items.iter().filter_map(number).collect();
    assert_eq!(numbers, ["4", "3"]);
    let newest = &page.items[0];
    assert_eq!(
        (newest.decided_at, &newest.rules[..]),
        (date(START + 4 * SECOND), &["qta_calls".into()][..])
    );
    assert_eq!(newest.timestamp, date(START - 60 * SECOND));
    assert_eq!(page.items[1].timestamp, page.items[1].decided_at);
    let next = list(&all().limit(2).cursor(page.next_cursor.expect("one more")));
    assert_eq!((number(&next.items[0]).as_deref(), next.next_cursor), (Some("2"), None));
    assert_eq!(list(&all().key(("customer_id", "bob"))).items.len(), 1);
    assert_eq!(list(&all().rule("other")).items.len(), 0);
    let ranged = all().between(date(START + 3 * SECOND), date(START + 4 * SECOND));
    assert_eq!(number(&list(&ranged).items[0]).as_deref(), Some("3"));
    // All are counted, and none is kept where that is not said.
    assert_eq!(counts(&engine, &all()), counts(&none, &all()));
    assert_eq!(none.refusals().list(&all()).expect("a page").items, []);
}

#[test]
fn a_recording_is_plain_data() {
    let with = Recording::Newest(10).refusals(3);
    for (recording, json, text) in [
        (Recording::Off, r#""off""#, "off"),
        (Recording::Newest(7), r#"{"newest":7}"#, "7"),
        (with, r#"{"newest":10,"refusals":3}"#, "10+3"),
    ] {
        assert_eq!(serde_json::to_string(&recording).expect("it prints"), json);
        assert_eq!(serde_json::from_str::<Recording>(json).expect("it reads"), recording);
        assert_eq!((recording.to_string(), text.parse()), (text.to_owned(), Ok(recording)));
    }
    for bad in [r#""on""#, r#"{"refusals":3}"#, r#"{"newest":1,"x":2}"#, "7"] {
        assert!(serde_json::from_str::<Recording>(bad).is_err(), "{bad}");
    }
    assert!("7+".parse::<Recording>().is_err() && "+7".parse::<Recording>().is_err());
}

/// A call by chance: its rules refuse it or not, which the answer says.
#[test]
fn the_counts_are_those_of_the_answers() {
    let seed = seed("the_counts_are_those_of_the_answers", 15);
    for case in 0..u64::from(cases(30)) {
        let mut dice = Dice::new(seed + case);
        let burst = RateLimit::new("Burst", 3, Window::Minute).per("customer_id").per("model");
        let total = Quota::new("Total", Metric::TotalTokens, 300, Period::Hour);
        let most = dice.below(40) as usize;
        let recording = Recording::default().refusals(most);
        let (engine, clock) =
            engine(|it| it.recording(recording).quota(calls(20)).quota(total).rate_limit(burst));
        let mut naive: BTreeMap<(Nanos, String, String), u64> = BTreeMap::new();
        let (mut by_hour, mut kept) = (BTreeMap::<Nanos, u64>::new(), Vec::new());
        for number in 0..200_u64 {
            let at = START + i128::from(clock_of(&clock)) * SECOND;
            let customer = ["ann", "bob", "cid"][dice.below(3) as usize];
            let model = ["o3", "o4"][dice.below(2) as usize];
            let event = call(customer).model(model).input_tokens(dice.below(40));
            let event = event.property("number", number.to_string());
            let answer = track(&engine, &event);
            if !answer.is_allowed() {
                let hour = at - at.rem_euclid(HOUR);
                *by_hour.entry(hour).or_default() += 1;
                kept.push(number.to_string());
                let ids =
                    answer.rate_limits().filter(|it| it.exceeded).map(|it| it.id.into_owned());
                let quotas = answer.quotas().filter(|it| it.exceeded).map(|it| it.id.into_owned());
                for id in ids.chain(quotas) {
                    let key = match &*id {
                        "qta_calls" => format!("customer_id={customer}"),
                        "qta_total" => "all".to_owned(),
                        _ => format!("customer_id={customer}, model={model}"),
                    };
                    *naive.entry((hour, id.to_string(), key)).or_default() += 1;
                }
            }
            clock.advance(duration(i128::from(dice.below(90)) * SECOND));
        }
        let found = hours(&engine, &all());
        assert_eq!(found, by_hour.into_iter().collect::<Vec<_>>(), "case {case}");
        for (hour, _) in found {
            let mut expected: Vec<(String, String, u64)> = naive
                .iter()
                .filter(|((of, ..), _)| *of == hour)
                .map(|((_, id, key), count)| (id.clone(), key.clone(), *count))
                .collect();
            expected.sort_by(|a, b| b.2.cmp(&a.2).then_with(|| (&a.0, &a.1).cmp(&(&b.0, &b.1))));
            let of_hour = all().between(date(hour), date(hour + HOUR));
            assert_eq!(counts(&engine, &of_hour), expected, "case {case}");
        }
        let listed = engine.refusals().list(&all().limit(1_000)).expect("a page").items;
        let numbers: Vec<_> = listed.iter().map(|it| it.event.dimension("number")).collect();
        let expected: Vec<_> = kept.iter().rev().take(most).map(|it| Some(&**it)).collect();
        assert_eq!(numbers, expected, "case {case}");
    }
}

/// The seconds since the start.
fn clock_of(clock: &limitry::time::ManualClock) -> i64 {
    use limitry::time::Clock;
    clock.now().unix_seconds() - date(START).unix_seconds()
}

#[test]
fn no_refusal_is_lost_or_counted_twice_by_threads() {
    let recording = Recording::default().refusals(100);
    let (engine, _) = engine(|it| it.recording(recording).quota(calls(5)));
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let engine = &engine;
            scope.spawn(move || {
                for number in 0..500 {
                    let customer = ["ann", "bob", "cid"][(thread + number) % 3];
                    let _ = track(engine, &call(customer));
                    if number % 50 == 0 {
                        let _ = engine.refusals().counts(&all()).expect("a page");
                    }
                }
            });
        }
    });
    let total: u64 = counts(&engine, &all()).iter().map(|(.., refused)| refused).sum();
    assert_eq!(total, 4 * 500 - 3 * 5);
    assert_eq!(hours(&engine, &all()), [(TEN, total)]);
    assert_eq!(engine.refusals().list(&all().limit(1_000)).expect("a page").items.len(), 100);
}

/// An hour tells 10 000 keys apart, and all hours together have 100 000 numbers.
#[test]
fn beyond_the_bounds_the_sums_are_right() {
    let (engine, clock) = engine(|it| it.quota(calls(0)));
    let refuse = |customers: std::ops::Range<u64>| {
        for customer in customers {
            assert!(!track(&engine, &call(&format!("c{customer}"))).is_allowed());
        }
    };
    let page = |query: RefusalQuery| engine.refusals().counts(&query).expect("a page");
    refuse(0..10_003);
    let first = page(all());
    assert_eq!((first.total, first.other), (10_003, 3));
    refuse(0..1);
    assert_eq!((page(all()).items[0].refused, page(all()).other), (2, 3));
    // Ten hours more of as many: the first hours lose their keys, and no sum.
    for _ in 0..10 {
        clock.advance(duration(HOUR));
        refuse(0..9_990);
    }
    let whole = page(all());
    assert_eq!(whole.total, 10_004 + 10 * 9_990);
    let of_hour =
        |hour: i128| page(all().between(date(TEN + hour * HOUR), date(TEN + (hour + 1) * HOUR)));
    assert_eq!((of_hour(0).items.len(), of_hour(0).total, of_hour(0).other), (0, 10_004, 10_004));
    assert_eq!((of_hour(1).total, of_hour(1).other), (9_990, 0));
    assert_eq!((of_hour(10).total, of_hour(10).other), (9_990, 0));
    assert_eq!(hours(&engine, &all()).len(), 11);
    // After 31 days an hour is gone.
    clock.set(date(TEN + 31 * DAY));
    refuse(0..1);
    assert_eq!(hours(&engine, &all()).first(), Some(&(TEN + HOUR, 9_990)));
}
