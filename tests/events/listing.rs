//! Goal: the log of events shows what was recorded, all of it that is kept and nothing else: page
//! by page while others write, filtered as a naive look at every event would, in the product's
//! shapes, and no longer than retention says.
//!
//! Method: worked cases; threads that write while one reads; and random events and questions,
//! answered also by a scan that knows nothing of segments. `LIMITRY_SEED` and `LIMITRY_CASES` vary
//! the random one.

use std::collections::HashSet;
use std::sync::Barrier;
use std::time::Duration;

use crate::support::oracle::{DAY, HOUR, SECOND};
use crate::support::{START, cases, date, engine, seed};
use limitry::errors::QueryError;
use limitry::events::{EventId, EventPage, EventQuery, RecordedEvent, Recording};
use limitry::time::ManualClock;
use limitry::usage::RollupOptions;
use limitry::{Engine, Event, RateLimit, Window};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use serde_json::{Value, json};

fn keeping(events: usize) -> (Engine, ManualClock) {
    engine(|builder| builder.recording(Recording::Newest(events)))
}

fn record(engine: &Engine, event: &Event<'_>) -> EventId {
    engine.record(event).expect("a valid event").event_id().expect("recorded")
}

fn list(engine: &Engine, query: &EventQuery) -> EventPage {
    engine.events().list(query).expect("a good question")
}

/// All pages, asked for one after the other, with something done in between.
fn pages(engine: &Engine, query: &EventQuery, mut between: impl FnMut()) -> Vec<RecordedEvent> {
    let mut found = Vec::new();
    let mut query = query.clone();
    loop {
        let page = list(engine, &query);
        assert!(page.data.len() <= 100);
        assert_eq!(page.has_more, page.next_cursor.is_some());
        found.extend(page.data);
        let Some(cursor) = page.next_cursor else { return found };
        query = query.cursor(cursor);
        between();
    }
}

fn ids(events: &[RecordedEvent]) -> Vec<EventId> {
    events.iter().map(|event| event.id).collect()
}

/// Fails unless every one of `due` was shown once, and nothing twice or out of order.
fn assert_each_once(shown: &[EventId], due: &[EventId]) {
    assert!(shown.is_sorted_by(|a, b| a > b), "the newest come first, and none twice");
    let set: HashSet<_> = shown.iter().collect();
    let missing = due.iter().filter(|id| !set.contains(id)).count();
    assert_eq!(missing, 0, "of {} that were there at the start", due.len());
}

/// What the roll-ups count together the log tells apart.
#[test]
fn filters_find_events_whose_values_have_no_sums_of_their_own() {
    for (values, combinations) in [(2, 100), (100, 2), (100, 100)] {
        let rollups = RollupOptions::new().max_values(values).max_combinations(combinations);
        let (engine, _) = engine(|builder| builder.rollups(rollups));
        let models: Vec<String> = (0..8).map(|number| format!("model {number}")).collect();
        for model in models.iter().cycle().take(24) {
            record(&engine, &Event::new("ann", "call").model(model.as_str()));
        }
        for model in &models {
            let found = list(&engine, &EventQuery::new().filter("model", model.as_str()));
            assert_eq!(found.data.len(), 3, "{model} of {values} and {combinations}");
        }
    }
}

#[test]
fn pages_show_what_was_there_at_the_start_once_while_events_come_in() {
    let event = |number: usize| Event::new(["cust_0", "cust_1", "cust_2"][number % 3], "call");
    for limit in [1, 7, 50, 100] {
        for (query, step) in [(EventQuery::new(), 1), (EventQuery::new().customer("cust_0"), 3)] {
            let (engine, _) = keeping(100_000);
            let all: Vec<_> = (0..2_600).map(|number| record(&engine, &event(number))).collect();
            let due: Vec<_> = all.into_iter().step_by(step).collect();
            let mut number = 0;
            // Enough a page that segments are filled and closed while the pages are read.
            let found = pages(&engine, &query.limit(limit), || {
                for _ in 0..limit {
                    number += 1;
                    record(&engine, &event(number));
                }
            });
            assert_eq!(found.len(), due.len(), "what came in later stands before the first page");
            assert_each_once(&ids(&found), &due);
        }
    }
}

#[test]
fn pages_show_what_was_there_at_the_start_once_while_threads_write() {
    let (engine, _) = keeping(1_000_000);
    let event = |number: usize| Event::new(["cust_0", "cust_1"][number % 2], "call");
    let all: Vec<_> = (0..5_000).map(|number| record(&engine, &event(number))).collect();
    let due: Vec<_> = all.into_iter().skip(1).step_by(2).collect();
    let query = EventQuery::new().customer("cust_1");
    let start = Barrier::new(4);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                start.wait();
                (0..30_000).for_each(|number| {
                    record(&engine, &event(number));
                });
            });
        }
        start.wait();
        for limit in [100, 33] {
            let query = query.clone().limit(limit);
            assert_each_once(&ids(&pages(&engine, &query, std::thread::yield_now)), &due);
        }
        let iter = engine.events().iter(query).expect("a good question");
        assert_each_once(&iter.map(|event| event.id).collect::<Vec<_>>(), &due);
    });
    assert_eq!(engine.events().len(), 95_000);
}

#[test]
fn an_iterator_shows_what_there_was_when_it_was_made() {
    let (engine, _) = keeping(10_000);
    let mut due: Vec<_> =
        (0..1_500).map(|_| record(&engine, &Event::new("cust_1", "call"))).collect();
    due.reverse();
    let mut iter = engine.events().iter(EventQuery::new().limit(10)).expect("a good question");
    let mut found = Vec::new();
    for event in iter.by_ref() {
        found.push(event.id);
        record(&engine, &Event::new("cust_2", "call"));
    }
    assert_eq!(found, due);
    assert!(iter.next().is_none(), "its end is its end");
    assert_eq!(ids(&engine.events().newest(usize::MAX)).len(), 3_000);
}

/// What a random event and a random question are made of.
#[derive(Clone, Debug)]
struct Parts {
    customer: &'static str,
    event_type: &'static str,
    model: Option<&'static str>,
    provider: Option<&'static str>,
    team: Option<&'static str>,
    odd: u8,
    second: i128,
}

fn parts() -> impl Strategy<Value = Parts> {
    let maybe = |values: &'static [&'static str]| prop::option::of(select(values));
    (
        select(&["cust_1", "cust_2", "cust_3"][..]),
        select(&["call", "embed"][..]),
        maybe(&["gpt-4", "small"]),
        maybe(&["openai", "other"]),
        maybe(&["eng", "sales"]),
        0_u8..6,
        0_i128..40,
    )
        .prop_map(|(customer, event_type, model, provider, team, odd, second)| Parts {
            customer,
            event_type,
            model,
            provider,
            team,
            odd,
            second,
        })
}

impl Parts {
    fn event(&self) -> Event<'static> {
        let mut event = Event::new(self.customer, self.event_type)
            .timestamp(date(START + self.second * SECOND))
            .total_tokens(u64::from(self.odd));
        event = self.model.into_iter().fold(event, Event::model);
        event = self.provider.into_iter().fold(event, Event::provider);
        event = self.team.into_iter().fold(event, |event, team| event.property("team", team));
        match self.odd {
            // Not a dimension: a built-in wins, whether the event has it or not.
            0 => event.property("model", "gpt-4").property("provider", "openai"),
            // Not a dimension: not a string.
            1 => event.property("region", json!({"name": "eu"})),
            2 => event.property("region", "eu").value("images", "0.5").value("gpu_seconds", 7),
            _ => event,
        }
    }

    fn dimension(&self, name: &str) -> Option<&str> {
        match name {
            "customer_id" => Some(self.customer),
            "event_type" => Some(self.event_type),
            "model" => self.model,
            "provider" => self.provider,
            "team" => self.team,
            "region" => (self.odd == 2).then_some("eu"),
            _ => None,
        }
    }
}

#[derive(Clone, Debug)]
struct Question {
    pairs: Vec<(&'static str, &'static str)>,
    start: Option<i128>,
    length: Option<i128>,
    limit: u32,
}

fn question() -> impl Strategy<Value = Question> {
    let pairs = select(
        &[
            ("customer_id", "cust_1"),
            ("customer_id", "nobody"),
            ("event_type", "embed"),
            ("model", "gpt-4"),
            ("provider", "openai"),
            ("team", "eng"),
            ("region", "eu"),
            ("plan", "pro"),
        ][..],
    );
    let bound = || prop::option::of(1_i128..40);
    (vec(pairs, 0..4), bound(), bound(), 1_u32..=100)
        .prop_map(|(pairs, start, length, limit)| Question { pairs, start, length, limit })
}

impl Question {
    fn query(&self) -> EventQuery {
        let mut query = EventQuery::new().limit(self.limit);
        for (place, (name, value)) in self.pairs.iter().copied().enumerate() {
            query = match name {
                "customer_id" if place == 0 => query.customer(value),
                "event_type" if place == 0 => query.event_type(value),
                "model" if place == 0 => query.model(value),
                _ => query.filter(name, value),
            };
        }
        if let Some(start) = self.start {
            query = query.since(date(START + start * SECOND));
        }
        if let Some(end) = self.end() {
            query = query.until(date(START + end * SECOND));
        }
        query
    }

    fn end(&self) -> Option<i128> {
        self.length.map(|length| self.start.unwrap_or(0) + length)
    }

    fn wants(&self, event: &Parts) -> bool {
        let has = |(place, (name, value)): (usize, &(&str, &str))| {
            // A filter that is set again later is not this one.
            let again = self.pairs.iter().skip(place + 1).any(|(later, _)| later == name);
            let has_field = place == 0 && ["customer_id", "event_type", "model"].contains(name);
            (again && !has_field) || event.dimension(name) == Some(value)
        };
        self.pairs.iter().enumerate().all(has)
            && self.start.is_none_or(|start| event.second >= start)
            && self.end().is_none_or(|end| event.second < end)
    }
}

#[test]
fn filters_and_ranges_find_what_a_naive_scan_finds() {
    let seed = seed("filters_and_ranges_find_what_a_naive_scan_finds", 20_260_310);
    let config = Config { cases: cases(60), rng_seed: RngSeed::Fixed(seed), ..Config::default() };
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..config });
    let strategy = (vec(parts(), 0..3_000), vec(question(), 8));
    let outcome = runner.run(&strategy, |(events, questions)| {
        let (engine, _) = keeping(10_000);
        let recorded: Vec<_> =
            events.iter().map(|event| (record(&engine, &event.event()), event)).collect();
        for question in questions {
            let due = recorded.iter().rev().filter(|(_, event)| question.wants(event));
            let due: Vec<_> = due.map(|(id, event)| (*id, event.event())).collect();
            let plain = |found: RecordedEvent| (found.id, found.event.timestamp(found.timestamp));
            let query = question.query();
            let paged = pages(&engine, &query, || ()).into_iter().map(plain);
            prop_assert_eq!(&paged.collect::<Vec<_>>(), &due);
            let all = engine.events().iter(query).expect("a good question").map(plain);
            prop_assert_eq!(&all.collect::<Vec<_>>(), &due);
        }
        Ok(())
    });
    outcome.unwrap_or_else(|why| panic!("LIMITRY_SEED={seed}: {why}"));
}

fn invalid(engine: &Engine, query: &EventQuery) -> (String, String) {
    match engine.events().list(query) {
        Err(why @ QueryError::Invalid { .. }) => {
            assert_eq!(engine.events().iter(query.clone()).err(), Some(why.clone()));
            let text = why.to_string();
            let QueryError::Invalid { field, .. } = why else { unreachable!() };
            (field.into(), text)
        }
        other => panic!("{query:?}: {other:?}"),
    }
}

#[test]
fn a_limit_is_1_to_100_and_50_where_it_is_not_given() {
    let (engine, _) = keeping(1_000);
    for _ in 0..120 {
        record(&engine, &Event::new("cust_1", "call"));
    }
    let shown = |query: EventQuery| list(&engine, &query).data.len();
    assert_eq!(shown(EventQuery::new()), 50);
    assert_eq!(shown(EventQuery::new().limit(1)), 1);
    assert_eq!(shown(EventQuery::new().limit(100)), 100);
    for limit in [0, 101, u32::MAX] {
        let (field, text) = invalid(&engine, &EventQuery::new().limit(limit));
        assert_eq!(field, "limit");
        assert_eq!(text, format!("limit: \"{limit}\" must be 1 to 100"));
    }
}

#[test]
fn a_cursor_is_that_of_a_page_of_this_engine() {
    let (engine, _) = keeping(1_000);
    let (other, _) = keeping(1_000);
    let ids: Vec<_> = (0..3).map(|_| record(&engine, &Event::new("cust_1", "call"))).collect();
    let foreign = record(&other, &Event::new("cust_1", "call"));
    let cursor = |text: String| EventQuery::new().cursor(text);
    let good = list(&engine, &cursor(ids[1].to_string()));
    assert_eq!(
        good.data.iter().map(|it| it.id).collect::<Vec<_>>(),
        [ids[1], ids[0]],
        "a page begins with its cursor's event"
    );
    // Names that no event here has yet: of another log, and of the next place of this one.
    let next = format!("{}3", ids[2].to_string().strip_suffix('2').expect("the third place"));
    for text in [foreign.to_string(), next, String::new(), "evt_1".to_owned(), "x".repeat(500)] {
        let (field, text) = invalid(&engine, &cursor(text));
        assert_eq!(field, "cursor");
        assert!(text.contains("must be the next cursor of a page"), "{text}");
        assert!(text.len() < 200, "{text}");
    }
}

#[test]
fn filters_and_ranges_that_can_match_nothing_are_errors() {
    let (engine, _) = keeping(1_000);
    let query = EventQuery::new;
    assert_eq!(invalid(&engine, &query().customer("")).0, "customerId");
    assert_eq!(invalid(&engine, &query().event_type("a\nb")).0, "eventType");
    assert_eq!(invalid(&engine, &query().filter("team-id", "eng")).0, "filters");
    assert_eq!(invalid(&engine, &query().filter("team", "x".repeat(257))).0, "filters.team");
    let (start, end) = (date(START), date(START + SECOND));
    for (start, end) in [(start, start), (end, start)] {
        let why = engine.events().list(&query().between(start, end)).expect_err("no such range");
        assert_eq!(why, QueryError::EmptyRange { start, end });
    }
    assert!(engine.events().list(&query().between(start, end)).is_ok());
}

#[test]
fn without_recording_there_is_nothing_to_ask() {
    for recording in [Recording::Off, Recording::Newest(0)] {
        let (engine, _) = engine(|builder| builder.recording(recording));
        assert!(engine.record(&Event::new("c", "call")).expect("valid").event_id().is_none());
        let events = engine.events();
        assert_eq!((events.len(), events.newest(5).len()), (0, 0));
        assert_eq!(events.list(&EventQuery::new()), Err(QueryError::RecordingOff));
        assert_eq!(events.iter(EventQuery::new()).err(), Some(QueryError::RecordingOff));
    }
}

#[test]
fn an_empty_log_has_an_empty_page() {
    let (engine, _) = keeping(10);
    let page = list(&engine, &EventQuery::new());
    assert_eq!((page.data.len(), page.next_cursor, page.has_more), (0, None, false));
}

#[test]
fn refused_and_repeated_events_are_not_listed() {
    let (engine, _) = engine(|builder| {
        builder.rate_limit(RateLimit::new("calls", 2, Window::Hour).per("customer_id"))
    });
    let call = |key: &'static str| Event::new("cust_1", "call").idempotency_key(key);
    for key in ["a", "a", "b", "c", "b"] {
        let _ = engine.track(&call(key)).expect("a valid event");
    }
    assert_eq!(list(&engine, &EventQuery::new()).data.len(), 2);
}

#[test]
fn by_count_the_newest_are_kept_and_a_page_of_others_is_an_error() {
    let (engine, _) = keeping(2_000);
    let old = record(&engine, &Event::new("cust_1", "call"));
    let mut all: Vec<_> =
        (0..9_999).map(|_| record(&engine, &Event::new("cust_1", "call"))).collect();
    all.reverse();
    let kept = ids(&pages(&engine, &EventQuery::new().limit(100), || ()));
    assert!((2_000..=3_024).contains(&kept.len()), "{} are kept", kept.len());
    assert_eq!(kept, all[..kept.len()]);
    let cursor = old.to_string();
    let page = engine.events().list(&EventQuery::new().cursor(cursor.clone()));
    assert_eq!(page, Err(QueryError::CursorExpired { cursor: cursor.into() }));
}

#[test]
fn by_age_events_go_when_their_whole_segment_is_older_than_the_retention() {
    let week = Duration::from_secs(7 * 24 * 60 * 60);
    let (engine, clock) = engine(|builder| builder.event_retention(week));
    let call = || Event::new("cust_1", "call");
    for _ in 0..2_048 {
        record(&engine, &call());
    }
    clock.advance(week);
    record(&engine, &call());
    assert_eq!(engine.events().len(), 2_049, "not older than a week yet");
    clock.advance(Duration::from_nanos(1));
    record(&engine, &call());
    assert_eq!(engine.events().len(), 2_050 - 1_024);
    record(&engine, &call());
    assert_eq!(engine.events().len(), 2_051 - 2_048);
    assert_eq!(list(&engine, &EventQuery::new()).data.len(), 3);
    // The timestamps say how old events are: a late one does not keep its segment.
    for _ in 0..2_048 {
        record(&engine, &call().timestamp(date(START - 100 * DAY)));
    }
    assert!(engine.events().len() >= 1_024, "the segment of the three recent ones stays");
}

#[test]
fn a_retention_of_nothing_is_an_error() {
    let why = Engine::builder().event_retention(Duration::ZERO).build().expect_err("invalid");
    assert_eq!(why.to_string(), "engine: eventRetention: 0 must be more than 0");
}

/// An event with everything that events have.
fn full() -> Event<'static> {
    Event::new("cust_123", "model_call")
        .model("gpt-4")
        .provider("openai")
        .input_tokens(150)
        .output_tokens(50)
        .latency_ms(1_200)
        .cost_cents(25)
        .property("team_id", "team_eng")
        .property("turns", 7)
        .property("model", "not a dimension")
        .value("images", 4)
        .value("gpu_seconds", "0.25")
        .attach("turns", json!(["a", 7]))
        .attach("note", "two\nlines")
        .idempotency_key("req_abc123")
        .timestamp(date(START - HOUR))
}

fn json_of(value: &impl serde::Serialize) -> Value {
    serde_json::to_value(value).expect("plain data")
}

#[test]
fn a_page_serializes_as_the_product_lists_events() {
    let (engine, _) = keeping(10);
    let plain = record(&engine, &Event::new("cust_1", "call"));
    let id = record(&engine, &full());
    let listed = json!({
        "id": id.to_string(), "customerId": "cust_123", "eventType": "model_call",
        "model": "gpt-4", "provider": "openai", "inputTokens": 150, "outputTokens": 50,
        "totalTokens": 200, "latencyMs": 1200, "costCents": 25,
        "properties": {"team_id": "team_eng", "turns": 7, "model": "not a dimension"},
        "attached": {"turns": ["a", 7], "note": "two\nlines"},
        "values": {"images": 4, "gpu_seconds": 0.25}, "createdAt": "2024-01-15T09:30:00Z"
    });
    let page = list(&engine, &EventQuery::new().limit(1));
    let cursor = plain.to_string();
    let expected = json!({"data": [listed], "nextCursor": cursor, "hasMore": true});
    assert_eq!(json_of(&page), expected);
    let nulls = json!({
        "id": plain.to_string(), "customerId": "cust_1", "eventType": "call",
        "model": null, "provider": null, "inputTokens": null, "outputTokens": null,
        "totalTokens": null, "latencyMs": null, "costCents": null,
        "properties": {}, "createdAt": "2024-01-15T10:30:00Z"
    });
    let page = list(&engine, &EventQuery::new().cursor(cursor));
    assert_eq!(json_of(&page), json!({"data": [nulls], "nextCursor": null, "hasMore": false}));
}

#[test]
fn a_page_has_the_shape_of_generic_events_too() {
    let (engine, _) = keeping(10);
    let plain = record(&engine, &Event::new("cust_1", "call").total_tokens(7).input_tokens(1));
    let id = record(&engine, &full());
    let full = json!({
        "id": id.to_string(), "customerId": "cust_123", "eventType": "model_call",
        "values": {
            "input_tokens": 150, "output_tokens": 50, "total_tokens": 200, "latency_ms": 1200,
            "cost_cents": 25, "images": 4, "gpu_seconds": 0.25
        },
        "dimensions": {"model": "gpt-4", "provider": "openai", "team_id": "team_eng"},
        "properties": {"turns": ["a", 7], "note": "two\nlines", "model": "not a dimension"},
        "timestamp": "2024-01-15T09:30:00Z"
    });
    let plain = json!({
        "id": plain.to_string(), "customerId": "cust_1", "eventType": "call",
        "values": {"input_tokens": 1, "total_tokens": 7}, "dimensions": {}, "properties": {},
        "timestamp": "2024-01-15T10:30:00Z"
    });
    let page = list(&engine, &EventQuery::new());
    assert_eq!(json_of(&page.data[0].generic()), full);
    let expected = json!({"data": [full, plain], "nextCursor": null, "hasMore": false});
    assert_eq!(json_of(&page.generic()), expected);
}

#[test]
fn a_query_is_plain_data() {
    let text = json!({
        "customerId": "cust_1", "eventType": "call", "model": "gpt-4",
        "filters": {"team_id": "eng"}, "startDate": "2024-01-15T10:30:00Z",
        "endDate": "2024-01-15T10:30:01Z", "limit": 20, "cursor": "evt_x"
    });
    let query: EventQuery = serde_json::from_value(text.clone()).expect("a good body");
    let built = EventQuery::new()
        .customer("cust_1")
        .event_type("call")
        .model("gpt-4")
        .filter("team_id", "eng")
        .between(date(START), date(START + SECOND))
        .limit(20)
        .cursor("evt_x");
    assert_eq!(query, built);
    assert_eq!(json_of(&query), text);
    assert_eq!(json_of(&EventQuery::new()), json!({}));
    let read = |body| serde_json::from_value::<EventQuery>(body);
    assert_eq!(read(json!({"limit": "20"})).expect("text"), EventQuery::new().limit(20));
    assert_eq!(read(json!({"limit": null})).expect("not given"), EventQuery::new());
    for limit in [json!("many"), json!(-1), json!(2.5), json!("-1"), json!(1_u64 << 40)] {
        let why = read(json!({"limit": limit})).expect_err("no such limit").to_string();
        assert!(why.contains("a whole number from 1 to 100"), "{why}");
    }
    let why = read(json!({"custmer": "x"})).expect_err("unknown").to_string();
    assert!(why.contains("custmer"), "{why}");
    let (engine, _) = keeping(10);
    record(&engine, &Event::new("cust_1", "call").model("gpt-4"));
    record(&engine, &Event::new("cust_1", "call"));
    let by_model = read(json!({"model": "gpt-4"})).expect("a good body");
    assert_eq!(list(&engine, &by_model).data.len(), 1);
}
