//! Goal: an event that is voided or amended is given back wherever it counts: to rate limits what
//! still counts in them, to the grants that paid for it, to meters and quotas whole; it is exported
//! as it is; and what cannot be corrected is told with field, value and rule, and changes nothing.
//!
//! Method: worked cases, and threads that correct the same and other events while others track,
//! whose sums are then those of a naive fold over the list of corrections. Random programs beside a
//! fold, restarts and crashes are in `tests/journal/corrections.rs`.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use crate::support::oracle::{DAY, MINUTE};
use crate::support::{Dice, START, date, engine, track};
use limitry::balances::{Credit, NewBalance};
use limitry::errors::{CorrectError, QueryError};
use limitry::events::{CorrectionQuery, EventId, EventQuery, Recording};
use limitry::rules::Algorithm;
use limitry::usage::{MeterQuery, UsageQuery};
use limitry::{
    Amount, Engine, EngineBuilder, Event, Meter, Metric, Outcome, Period, Quota, RateLimit, Window,
};

const ALGORITHMS: [Algorithm; 3] =
    [Algorithm::TokenBucket, Algorithm::FixedWindow, Algorithm::SlidingWindow];

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn tokens(tokens: u64) -> Event<'static> {
    Event::new("ann", "call").input_tokens(tokens)
}

fn record(engine: &Engine, event: &Event<'_>) -> EventId {
    engine.record(event).expect("valid").event_id().expect("it is recorded")
}

fn limit(algorithm: Algorithm) -> RateLimit {
    let limit = RateLimit::new("l", 100, Window::Minute).algorithm(algorithm);
    limit.per("customer_id").metric(Metric::TotalTokens)
}

/// 100 tokens a minute, by one of the algorithms.
fn limited(algorithm: Algorithm) -> (Engine, limitry::time::ManualClock) {
    engine(|it| it.rate_limit(limit(algorithm)))
}

fn left(engine: &Engine) -> Amount {
    let standing = engine.standing(&tokens(0)).expect("valid");
    standing.rate_limits().next().expect("it matches").remaining
}

/// What the quotas that match an event have used.
fn used(engine: &Engine, event: &Event<'_>) -> Vec<Amount> {
    engine.standing(event).expect("valid").quotas().map(|status| status.used).collect()
}

fn total(engine: &Engine) -> (u64, u128) {
    let summary = engine.usage().summary(&UsageQuery::all_time()).expect("an answer");
    (summary.totals.total_events, summary.totals.total_tokens)
}

fn meter(engine: &Engine, id: &str) -> Amount {
    engine.meters().query(id, &MeterQuery::new()).expect("an answer").value
}

/// All that a call may have changed.
fn figures(engine: &Engine) -> String {
    let standing = engine.standing(&tokens(1).property("team", "red")).expect("valid");
    let events = engine.events();
    let corrections = events.corrections(&CorrectionQuery::new());
    format!("{:?} {standing:?} {:?} {corrections:?}", total(engine), events.newest(usize::MAX))
}

// Rate limits.

#[test]
fn a_rate_limit_gets_back_all_at_once() {
    for algorithm in ALGORITHMS {
        let (engine, _) = limited(algorithm);
        let id = record(&engine, &tokens(80));
        assert_eq!(left(&engine), 20, "{algorithm:?}");
        engine.amend(id, &tokens(30), "less").expect("it is amended");
        assert_eq!(left(&engine), 70, "{algorithm:?}");
        engine.amend(id, &tokens(90), "more").expect("it is amended");
        assert_eq!(left(&engine), 10, "{algorithm:?}");
        // Whatever the rule says.
        engine.amend(id, &tokens(130), "too much").expect("it is amended");
        assert_eq!(left(&engine), 0, "{algorithm:?}");
        assert!(!track(&engine, &tokens(1)).is_allowed(), "{algorithm:?}");
        engine.void(id, "void").expect("it is voided");
        assert_eq!(left(&engine), 100, "{algorithm:?}");
        assert!(track(&engine, &tokens(100)).is_allowed(), "{algorithm:?}");
    }
}

#[test]
fn a_bucket_gets_back_what_it_cannot_have_refilled() {
    // 100 a minute are 50 in 30 seconds.
    for (after, other, before, with) in [
        (30, 0, 70, 100),
        (30, 20, 50, 80),
        // By then it has refilled all 80.
        (48, 0, 100, 100),
        (48, 20, 80, 80),
        (600, 50, 50, 50),
    ] {
        let (engine, clock) = limited(Algorithm::TokenBucket);
        let id = record(&engine, &tokens(80));
        clock.advance(secs(after));
        let _ = record(&engine, &tokens(other));
        assert_eq!(left(&engine), before, "after {after} s, and {other}");
        engine.void(id, "void").expect("it is voided");
        assert_eq!(left(&engine), with, "after {after} s, and {other}");
    }
}

/// A burst is the most that there is.
#[test]
fn a_bucket_is_never_fuller_than_its_burst() {
    let (engine, clock) = engine(|it| it.rate_limit(limit(Algorithm::TokenBucket).burst(150_u64)));
    let first = record(&engine, &tokens(90));
    let second = record(&engine, &tokens(60));
    clock.advance(secs(45));
    assert_eq!(left(&engine), 75);
    for (id, due) in [(first, 90), (second, 90), (first, 90)] {
        engine.void(id, "void").expect("it is voided");
        assert_eq!(left(&engine), due);
    }
    clock.advance(secs(60));
    assert_eq!(left(&engine), 150);
}

#[test]
fn a_window_gets_back_only_what_was_taken_in_it() {
    for algorithm in [Algorithm::FixedWindow, Algorithm::SlidingWindow] {
        let (engine, clock) = limited(algorithm);
        let first = record(&engine, &tokens(40));
        clock.advance(secs(30));
        let second = record(&engine, &tokens(30));
        clock.advance(secs(29));
        assert_eq!(left(&engine), 30, "{algorithm:?}");
        engine.void(first, "in time").expect("it is voided");
        assert_eq!(left(&engine), 70, "{algorithm:?}");
        // It is the very use that is gone, and not the newest: that one counts on.
        clock.advance(secs(2));
        let due = if algorithm == Algorithm::SlidingWindow { 70 } else { 100 };
        assert_eq!(left(&engine), due, "{algorithm:?}");
        // What is over gives nothing back to what is.
        clock.advance(secs(30));
        let _ = record(&engine, &tokens(60));
        engine.void(second, "too late").expect("it is voided");
        assert_eq!(left(&engine), 40, "{algorithm:?}");
        assert_eq!(total(&engine), (1, 60), "{algorithm:?}");
    }
}

/// What was asked for was taken when it was asked; what was recorded when it happened where the
/// window keeps that, and not at all where it was over by then.
#[test]
fn a_late_event_gives_back_what_it_took_when_it_was_taken() {
    // 30 seconds, and 5 minutes: what is left with it, and once it is void.
    for (algorithm, recorded, tracked) in [
        (Algorithm::TokenBucket, [(20, 100), (100, 100)], [(20, 100), (20, 100)]),
        (Algorithm::FixedWindow, [(20, 100), (100, 100)], [(20, 100), (20, 100)]),
        (Algorithm::SlidingWindow, [(20, 100), (100, 100)], [(20, 100), (20, 100)]),
    ] {
        for (at, late) in [MINUTE / 2, 5 * MINUTE].into_iter().enumerate() {
            let event = tokens(80).timestamp(date(START - late));
            for (is_asked, due) in [(false, recorded[at]), (true, tracked[at])] {
                let (engine, _) = limited(algorithm);
                let id = match is_asked {
                    true => track(&engine, &event).event_id().expect("it is recorded"),
                    false => record(&engine, &event),
                };
                let with = left(&engine);
                engine.void(id, "void").expect("it is voided");
                let due = (Amount::from(due.0), Amount::from(due.1));
                assert_eq!((with, left(&engine)), due, "{algorithm:?} {late} {is_asked}");
            }
        }
    }
}

// Credits.

/// Ann has 30 credits for an hour, and 100 for good.
fn with_credits() -> (Engine, limitry::time::ManualClock) {
    let credits = Quota::balance("credits", Metric::TotalTokens).per("customer_id");
    let (engine, clock) = engine(|it| it.quota(credits));
    let balances = engine.balances();
    balances.create(&NewBalance::new("ann", "credits").initial(100)).expect("a good balance");
    let soon = Credit::new(30).expires_at(engine.now() + secs(3_600));
    balances.credit("ann", "credits", &soon).expect("a good credit");
    (engine, clock)
}

/// What the balance is, and what is left of each grant, the next that is spent first.
fn credits(engine: &Engine) -> (Amount, Vec<Amount>) {
    let balance = engine.balances().get("ann", "credits").expect("it is there");
    let grants = engine.balances().grants("ann", "credits").expect("it is there");
    (balance.current_balance, grants.iter().map(|grant| grant.remaining).collect())
}

fn amounts<const N: usize>(of: i64, amounts: [i64; N]) -> (Amount, Vec<Amount>) {
    (of.into(), amounts.map(Amount::from).to_vec())
}

#[test]
fn credits_return_to_the_grants_that_paid() {
    let (engine, _) = with_credits();
    let id = record(&engine, &tokens(50));
    assert_eq!(credits(&engine), amounts(80, [80]));
    // The last that was taken goes back first.
    engine.amend(id, &tokens(40), "less").expect("it is amended");
    assert_eq!(credits(&engine), amounts(90, [90]));
    engine.amend(id, &tokens(20), "less").expect("it is amended");
    assert_eq!(credits(&engine), amounts(110, [10, 100]));
    engine.amend(id, &tokens(70), "more").expect("it is amended");
    assert_eq!(credits(&engine), amounts(60, [60]));
    for _ in 0..2 {
        engine.void(id, "void").expect("it is voided");
        assert_eq!(credits(&engine), amounts(130, [30, 100]));
    }
    assert!(track(&engine, &tokens(130)).is_allowed());
}

#[test]
fn what_returns_to_an_expired_grant_is_worth_nothing() {
    let (engine, clock) = with_credits();
    let id = record(&engine, &tokens(50));
    clock.advance(secs(3_600));
    engine.void(id, "void").expect("it is voided");
    assert_eq!(credits(&engine), amounts(100, [100]));
    assert!(!track(&engine, &tokens(101)).is_allowed());
    assert_eq!(total(&engine), (0, 0));
}

#[test]
fn what_no_grant_paid_is_not_owed_any_more() {
    let (engine, _) = with_credits();
    let id = record(&engine, &tokens(200));
    assert_eq!(credits(&engine), amounts(-70, []));
    engine.amend(id, &tokens(180), "less").expect("it is amended");
    assert_eq!(credits(&engine), amounts(-50, []));
    engine.amend(id, &tokens(120), "less").expect("it is amended");
    assert_eq!(credits(&engine), amounts(10, [10]));
    engine.void(id, "void").expect("it is voided");
    assert_eq!(credits(&engine), amounts(130, [30, 100]));
}

// Events out of the engine.

fn export(engine: &Engine) -> Vec<serde_json::Value> {
    let mut lines = Vec::new();
    engine.store().export(&mut lines, &EventQuery::new(), |_| {}).expect("written");
    let text = String::from_utf8(lines).expect("text");
    text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

fn assert_exported_as_corrected(engine: &Engine) {
    let at = date(START - MINUTE);
    let ids = [1, 2, 3, 4].map(|number| record(engine, &tokens(number).timestamp(at)));
    engine.void(ids[1], "void").expect("it is voided");
    let amended = tokens(50).property("note", "billed");
    engine.amend(ids[2], &amended, "amended").expect("it is amended");
    engine.amend(ids[3], &tokens(70), "amended").expect("it is amended");
    engine.void(ids[3], "and voided").expect("it is voided");
    let exported = export(engine);
    let brought: Vec<_> = exported
        .iter()
        .map(|line| (line["id"].clone(), line["inputTokens"].clone(), line["createdAt"].clone()))
        .collect();
    let due = |id: EventId, number: u64| {
        let at = serde_json::to_value(at).expect("JSON");
        (id.to_string().into(), number.into(), at)
    };
    let mut expected = vec![due(ids[0], 1), due(ids[2], 50)];
    let order = |line: &(serde_json::Value, _, _)| line.0.to_string();
    let mut brought = brought;
    expected.sort_by_key(order);
    brought.sort_by_key(order);
    assert_eq!(brought, expected, "{exported:?}");
    assert!(exported.iter().any(|line| line["properties"]["note"] == "billed"), "{exported:?}");
}

#[test]
fn export_writes_events_as_they_are() {
    let (engine, _) = engine(|it| it);
    assert_exported_as_corrected(&engine);
}

#[cfg(feature = "durable")]
#[test]
fn export_of_a_store_writes_events_as_they_are() {
    let store = limitry::store::MemoryStore::new();
    let (engine, _) = engine(|it| it.durable(store.open().expect("nobody has it")));
    assert_exported_as_corrected(&engine);
}

#[test]
fn the_log_lists_an_event_once_and_says_what_it_is() {
    let (engine, clock) = engine(|it| it);
    let [first, second, third] = [1, 2, 3].map(|number| record(&engine, &tokens(number)));
    clock.advance(secs(5));
    engine.void(first, "by jo").expect("it is voided");
    let made = engine.amend(second, &tokens(20), "by al").expect("it is amended");
    let listed = engine.events().list(&EventQuery::new()).expect("a page").data;
    assert_eq!(listed.iter().map(|it| it.id).collect::<Vec<_>>(), [third, second, first]);
    assert!(listed[0].correction.is_none());
    assert_eq!(listed[1].correction.as_deref(), Some(&made));
    assert_eq!((listed[1].event.clone(), listed[2].event.clone()), (tokens(2), tokens(1)));
    assert_eq!(made.amended.as_deref(), Some(&tokens(20)));
    let voided = listed[2].correction.clone().expect("it is voided");
    assert_eq!((voided.event_id, voided.reason.as_str()), (first, "by jo"));
    assert_eq!((voided.at, voided.amended), (engine.now(), None));
    // It happened when it did, whatever the correction's time.
    assert!(listed.iter().all(|it| it.timestamp == date(START)));
}

// Meters, quotas and keys.

#[test]
fn highest_and_latest_amounts_are_folded_anew() {
    let highest = || Quota::new("Peak", Metric::meter("peak"), 100, Period::Day).per("customer_id");
    let latest = || Quota::new("Seats", Metric::meter("seats"), 100, Period::Day);
    let (engine, clock) = engine(|it| {
        it.meter(Meter::max("Peak", "load").id("peak"))
            .meter(Meter::latest("Seats", "load").id("seats"))
            .quota(highest())
            .quota(latest().per("customer_id"))
    });
    let load = |load: i64| Event::new("ann", "call").value("load", load);
    let ids = [5, 9, 7, 8].map(|of| {
        clock.advance(secs(60));
        record(&engine, &load(of))
    });
    let assert_are = |peak: i64, seats: i64, what: &str| {
        assert_eq!((meter(&engine, "peak"), meter(&engine, "seats")), (peak.into(), seats.into()));
        assert_eq!(used(&engine, &load(0)), [Amount::from(peak), seats.into()], "{what}");
    };
    assert_are(9, 8, "at first");
    engine.void(ids[1], "void").expect("it is voided");
    assert_are(8, 8, "without the highest");
    engine.void(ids[3], "void").expect("it is voided");
    assert_are(7, 7, "without the latest");
    engine.amend(ids[0], &load(12), "more").expect("it is amended");
    assert_are(12, 7, "the first is higher");
    engine.amend(ids[2], &load(3), "less").expect("it is amended");
    assert_are(12, 3, "the latest is less");
    engine.amend(ids[0], &load(1), "less").expect("it is amended");
    assert_are(3, 3, "the highest is less");
    // One that was amended without the value brings none.
    engine.amend(ids[2], &Event::new("ann", "call"), "none").expect("it is amended");
    assert_are(1, 1, "the latest brings none");
}

#[test]
fn a_value_is_unknown_again_once_its_only_event_is_void() {
    let users = Quota::new("Users", Metric::unique("user"), 2, Period::Day);
    let (engine, _) = engine(|it| it.quota(users.per("customer_id")));
    let by = |user: &str| Event::new("ann", "call").property("user", user.to_owned());
    let [first, again, other] = ["jo", "jo", "al"].map(|user| record(&engine, &by(user)));
    assert_eq!(used(&engine, &by("jo")), [2]);
    assert!(!track(&engine, &by("cy")).is_allowed());
    // There is another event of the value.
    engine.void(first, "void").expect("it is voided");
    assert_eq!(used(&engine, &by("jo")), [2]);
    engine.void(again, "void").expect("it is voided");
    assert_eq!(used(&engine, &by("jo")), [1]);
    assert!(track(&engine, &by("cy")).is_allowed());
    assert!(!track(&engine, &by("jo")).is_allowed());
    engine.void(other, "void").expect("it is voided");
    assert!(track(&engine, &by("jo")).is_allowed());
    assert_eq!(used(&engine, &by("jo")), [2]);
}

#[test]
fn a_key_stays_bound_to_its_first_answer() {
    let (engine, _) = engine(|it| it);
    let call = tokens(80).idempotency_key("k");
    let first = track(&engine, &call);
    let id = first.event_id().expect("it is recorded");
    engine.void(id, "void").expect("it is voided");
    let again = track(&engine, &call);
    assert_eq!((again.outcome(), again.event_id()), (Outcome::Replayed, Some(id)));
    assert_eq!(total(&engine), (0, 0));
    let other = tokens(80).idempotency_key("l");
    let id = track(&engine, &other).event_id().expect("it is recorded");
    // The key of an amendment is not looked at, and binds nothing.
    engine.amend(id, &tokens(8).idempotency_key("m"), "less").expect("it is amended");
    assert_eq!(track(&engine, &other).outcome(), Outcome::Replayed);
    assert_eq!(total(&engine), (1, 8));
    assert_eq!(track(&engine, &tokens(1).idempotency_key("m")).outcome(), Outcome::Admitted);
}

#[test]
fn what_is_corrected_twice_is_corrected_once() {
    let (engine, clock) = engine(|it| it.rate_limit(limit(Algorithm::FixedWindow)));
    let id = record(&engine, &tokens(60));
    let amended = engine.amend(id, &tokens(40), "first").expect("it is amended");
    clock.advance(secs(1));
    assert_eq!(engine.amend(id, &tokens(40), "second"), Ok(amended));
    let voided = engine.void(id, "first").expect("it is voided");
    clock.advance(secs(1));
    let before = figures(&engine);
    assert_eq!(engine.void(id, "second"), Ok(voided));
    assert_eq!(figures(&engine), before);
    assert_eq!(left(&engine), 100);
}

// The list.

#[test]
fn corrections_are_listed_by_page() {
    let (engine, _) = engine(|it| it);
    let ids = [1, 2, 3, 4].map(|number| record(&engine, &tokens(number)));
    for (event, tokens_of) in [(0, Some(9)), (1, None), (0, Some(8)), (2, None), (0, None)] {
        let reason = format!("{event} {tokens_of:?}");
        let made = match tokens_of {
            Some(number) => engine.amend(ids[event], &tokens(number), &reason),
            None => engine.void(ids[event], &reason),
        };
        assert_eq!(made.expect("it is corrected").reason, reason);
    }
    let of = |query: CorrectionQuery| {
        let (mut pages, mut query) = (Vec::new(), query);
        loop {
            let page = engine.events().corrections(&query).expect("a page");
            pages.push(page.data.into_iter().map(|it| it.reason).collect::<Vec<_>>().join(", "));
            match page.next_cursor {
                Some(next) => query = query.cursor(next),
                None => return pages,
            }
        }
    };
    let all = "0 None, 2 None, 0 Some(8), 1 None, 0 Some(9)";
    assert_eq!(of(CorrectionQuery::new()), [all]);
    assert_eq!(of(CorrectionQuery::new().limit(5)), [all]);
    let by_two = ["0 None, 2 None", "0 Some(8), 1 None", "0 Some(9)"];
    assert_eq!(of(CorrectionQuery::new().limit(2)), by_two);
    let of_first = CorrectionQuery::new().event(ids[0]).limit(2);
    assert_eq!(of(of_first), ["0 None, 0 Some(8)", "0 Some(9)"]);
    assert_eq!(of(CorrectionQuery::new().event(ids[3])), [""]);
    for (bad, field) in [
        (CorrectionQuery::new().limit(0), "limit: \"0\""),
        (CorrectionQuery::new().limit(101), "limit: \"101\""),
        (CorrectionQuery::new().cursor("x"), "cursor: \"x\""),
    ] {
        let why = engine.events().corrections(&bad).expect_err("a bad question");
        assert!(matches!(why, QueryError::Invalid { .. }), "{why:?}");
        assert!(why.to_string().contains(field), "{why}");
    }
    let (off, _) = self::engine(|it| it.recording(Recording::Off));
    let none = off.events().corrections(&CorrectionQuery::new());
    assert!(matches!(none, Err(QueryError::RecordingOff)), "{none:?}");
}

// Errors.

fn rules(builder: EngineBuilder) -> EngineBuilder {
    let quota = |name: &str| Quota::new(name, Metric::TotalTokens, 1_000, Period::Day).id(name);
    builder
        .quota(quota("own").per("customer_id"))
        .quota(quota("team").per("team"))
        .quota(quota("large").filter("model", "large"))
        .rate_limit(limit(Algorithm::SlidingWindow))
}

/// Checks that a correction is refused, and changes nothing.
#[track_caller]
fn assert_refused<T: std::fmt::Debug>(
    engine: &Engine,
    correct: impl FnOnce() -> Result<T, CorrectError>,
) -> CorrectError {
    let before = figures(engine);
    let why = correct().expect_err("it is refused");
    assert_eq!(figures(engine), before, "{why}");
    why
}

#[test]
fn what_is_not_there_is_not_corrected() {
    let (off, _) = engine(|it| it.recording(Recording::Off));
    let (engine, _) = engine(|it| rules(it).recording(Recording::Newest(1_024)));
    let id = record(&engine, &tokens(5));
    assert_eq!(off.void(id, "void"), Err(CorrectError::RecordingOff));
    assert_eq!(off.amend(id, &tokens(1), "less"), Err(CorrectError::RecordingOff));

    let (other, _) = self::engine(rules);
    let foreign = record(&other, &tokens(1));
    let unknown = CorrectError::NotFound { id: foreign };
    assert_eq!(assert_refused(&engine, || engine.void(foreign, "void")), unknown);
    assert_eq!(assert_refused(&engine, || engine.amend(foreign, &tokens(1), "less")), unknown);
    assert!(unknown.to_string().contains(&foreign.to_string()), "{unknown}");

    // The name of a correction is not that of an event.
    engine.amend(id, &tokens(6), "more").expect("it is amended");
    engine.amend(id, &tokens(7), "more").expect("it is amended");
    let page = engine.events().corrections(&CorrectionQuery::new().limit(1)).expect("a page");
    let entry: EventId = page.next_cursor.expect("there is another").parse().expect("an id");
    let why = assert_refused(&engine, || engine.void(entry, "void"));
    assert_eq!(why, CorrectError::NotFound { id: entry });

    (0..3_000).for_each(|_| {
        let _ = record(&engine, &Event::new("bob", "call"));
    });
    let why = assert_refused(&engine, || engine.void(id, "void"));
    assert_eq!(why, CorrectError::Dropped { id });
    let why = assert_refused(&engine, || engine.amend(id, &tokens(1), "less"));
    assert_eq!(why, CorrectError::Dropped { id });
}

#[test]
fn an_erased_event_is_nobodys() {
    let (engine, _) = engine(rules);
    let [plain, amended] = [5, 6].map(|number| record(&engine, &tokens(number)));
    engine.amend(amended, &tokens(7), "names ann").expect("it is amended");
    engine.customers().erase("ann").expect("it is erased");
    for id in [plain, amended] {
        let why = assert_refused(&engine, || engine.void(id, "void"));
        assert_eq!(why, CorrectError::Erased { id });
        let why = assert_refused(&engine, || engine.amend(id, &tokens(1), "less"));
        assert_eq!(why, CorrectError::Erased { id });
    }
    let listed = engine.events().corrections(&CorrectionQuery::new()).expect("a page").data;
    assert_eq!(listed, []);
    assert_eq!(total(&engine), (2, 12));
}

#[test]
fn what_breaks_a_rule_is_told_with_field_value_and_rule() {
    let (engine, _) = engine(rules);
    let call = || tokens(50).property("team", "red").model("small");
    let id = record(&engine, &call().timestamp(date(START - MINUTE)));
    let amend = |event: Event<'_>, reason: &str| {
        assert_refused(&engine, || engine.amend(id, &event, reason)).to_string()
    };
    let less = || call().input_tokens(1);
    assert_eq!(
        amend(Event::new("bob", "call").property("team", "red"), "of bob"),
        "customer_id: \"bob\" must be that of the event: void it, and record another"
    );
    let moved = amend(less().timestamp(date(START - 2 * MINUTE)), "moved");
    assert_eq!(
        moved,
        "timestamp: \"2024-01-15T10:28:00Z\" must be that of the event, or not be set"
    );
    for (other, rule) in [
        (less().property("team", "blue"), "team"),
        (tokens(1).model("small"), "team"),
        (less().model("large"), "large"),
    ] {
        assert_eq!(
            amend(other, "another key"),
            format!(
                "rule {rule:?} would count it under another key: void the event, and record another"
            )
        );
    }
    let bad = amend(Event::new("ann", ""), "no type");
    assert!(bad.contains("event_type") || bad.contains("eventType"), "{bad}");

    let long = "x".repeat(1_025);
    let too_long = amend(less(), &long);
    assert!(too_long.starts_with("reason: \"xxx"), "{too_long}");
    assert!(too_long.ends_with("must be at most 1024 bytes long"), "{too_long}");
    assert!(too_long.len() < 400, "it is cut short: {too_long}");
    assert_eq!(assert_refused(&engine, || engine.void(id, &long)).to_string(), too_long);
    for control in ["two\nlines", "\u{7f}", "a\u{85}b", "\0"] {
        let why = assert_refused(&engine, || engine.void(id, control));
        assert!(matches!(&why, CorrectError::Invalid { field: "reason", .. }), "{why:?}");
        assert!(why.to_string().ends_with("must not hold control characters"), "{why}");
    }

    // Up to the bounds, with the very timestamp, it is amended; voided it is not any more.
    let exact = less().timestamp(date(START - MINUTE));
    engine.amend(id, &exact, &long[..1_024]).expect("it is amended");
    engine.void(id, "").expect("it is voided");
    let voided = amend(less(), "again");
    assert_eq!(voided, format!("event {id} is voided: record another"));
}

#[test]
fn a_highest_amount_that_is_not_recorded_any_more_stays() {
    let (engine, _) = engine(|it| {
        it.recording(Recording::Newest(1_024)).meter(Meter::max("Peak", "load").id("peak"))
    });
    let load = |load: u64| Event::new("ann", "call").value("load", load);
    (0..3_000).for_each(|_| {
        let _ = record(&engine, &load(1));
    });
    let [low, highest] = [2, 9].map(|of| record(&engine, &load(of)));
    let why = assert_refused(&engine, || engine.void(highest, "void"));
    assert_eq!(why, CorrectError::NotRecorded { id: highest, figure: "load".into() });
    let why = assert_refused(&engine, || engine.amend(highest, &load(3), "less"));
    assert!(matches!(why, CorrectError::NotRecorded { .. }), "{why}");
    assert_eq!(meter(&engine, "peak"), 9);
    engine.amend(low, &load(10), "more").expect("it is amended");
    assert_eq!(meter(&engine, "peak"), 10);
}

// Threads.

#[test]
fn threads_correct_the_same_and_other_events() {
    const THREADS: u64 = 4;
    let quota = |id: &str| Quota::new(id, Metric::TotalTokens, 1_000_000_000, Period::Day).id(id);
    let (engine, _) = engine(|it| {
        it.meter(Meter::max("Peak", "load").id("peak"))
            .quota(quota("own").per("customer_id"))
            .quota(quota("all"))
            .quota(Quota::new("p", Metric::meter("peak"), 1_000_000, Period::Day))
            .rate_limit(RateLimit::new("l", 1_000_000_000, Window::Day).per("customer_id"))
    });
    let event = |number: u64| tokens(number).value("load", number);
    let known = Mutex::new(BTreeMap::new());
    let tracked = |number| {
        let id = record(&engine, &event(number));
        known.lock().expect("no panic").insert(id, number);
        id
    };
    let shared: Vec<_> = (1..=40).map(tracked).collect();
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (engine, shared, tracked) = (&engine, &shared, &tracked);
            scope.spawn(move || {
                let mut dice = Dice::new(thread);
                let mut own = Vec::new();
                for _ in 0..250 {
                    let number = dice.range(1, 500);
                    own.push(tracked(number));
                    let id = if dice.chance(50) { dice.pick(shared) } else { dice.pick(&own) };
                    let answer = if dice.chance(15) {
                        engine.void(id, "void")
                    } else {
                        engine.amend(id, &event(dice.range(1, 500)), "amended")
                    };
                    match answer {
                        Ok(correction) => assert_eq!(correction.event_id, id),
                        Err(why) => assert_eq!(why, CorrectError::Voided { id }),
                    }
                }
            });
        }
    });
    // The naive fold: each event as its last correction says.
    let mut brings: BTreeMap<EventId, Option<u64>> = BTreeMap::new();
    for (id, number) in known.into_inner().expect("no panic") {
        brings.insert(id, Some(number));
    }
    let (mut query, mut corrections) = (CorrectionQuery::new().limit(100), Vec::new());
    loop {
        let page = engine.events().corrections(&query).expect("a page");
        corrections.extend(page.data);
        match page.next_cursor {
            Some(next) => query = query.cursor(next),
            None => break,
        }
    }
    assert!(corrections.len() > 100, "{}", corrections.len());
    for correction in corrections.into_iter().rev() {
        let now = correction.amended.as_deref().map(|event| {
            u64::try_from(event.amount("load").expect("it is set")).expect("a whole one")
        });
        let before = brings.insert(correction.event_id, now).expect("it was tracked");
        assert!(before.is_some(), "what is void stays void, and is voided once");
    }
    let counting: Vec<u64> = brings.into_values().flatten().collect();
    let (sum, most) = (counting.iter().sum::<u64>(), counting.iter().max());
    assert_eq!(total(&engine), (counting.len() as u64, u128::from(sum)));
    let most = Amount::from(*most.expect("some count"));
    assert_eq!(meter(&engine, "peak"), most);
    assert_eq!(used(&engine, &event(0)), [Amount::from(sum), sum.into(), most]);
    let (start, end) = (date(START.div_euclid(DAY) * DAY), date(START + DAY));
    let by_day = engine.usage().summary(&UsageQuery::new(start, end)).expect("an answer");
    assert_eq!(by_day.totals.total_tokens, u128::from(sum));
    let exported: u64 =
        export(&engine).iter().map(|line| line["inputTokens"].as_u64().expect("a number")).sum();
    assert_eq!(exported, sum);
    let status = engine.standing(&event(0)).expect("valid");
    let calls = status.rate_limits().next().expect("it matches").remaining;
    assert_eq!(calls, 1_000_000_000 - counting.len() as i64);
}
