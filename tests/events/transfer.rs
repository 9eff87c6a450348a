//! Goal: events leave an engine and come into another one as lines of JSON without loss, count once
//! however often they are imported, and a line that is wrong is told with its number, field, value
//! and rule, and with how much was imported before it, or skipped and told in the report.
//!
//! Method: worked cases; and random events, exported from memory and from a store, imported in
//! pieces that overlap and as older versions wrote them, and compared by what is listed and by
//! usage. `LIMITRY_SEED` and `LIMITRY_CASES` vary the random one.

use std::io::{self, BufReader, Read, Write};

use crate::support::oracle::{DAY, SECOND};
use crate::support::{START, cases, date, engine, seed};
use limitry::errors::{ExportError, ImportError, QueryError};
use limitry::events::{EventQuery, Recording};
use limitry::store::{BadLines, ImportReport, Progress};
use limitry::time::ManualClock;
use limitry::usage::UsageQuery;
use limitry::{Engine, Event, Metric, Period, Quota};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng as StdRng;
use serde_json::{Value, json};

/// Half an hour before the start.
const AT: &str = r#""createdAt":"2024-01-15T10:00:00Z""#;

fn fresh() -> (Engine, ManualClock) {
    engine(|builder| builder)
}

fn export(engine: &Engine, query: &EventQuery) -> String {
    let mut lines = Vec::new();
    engine.store().export(&mut lines, query, |_| {}).expect("written");
    String::from_utf8(lines).expect("text")
}

fn import(engine: &Engine, lines: &str) -> (u64, u64) {
    let report =
        engine.store().import(lines.as_bytes(), BadLines::Stop, |_| {}).expect("good lines");
    (report.count, report.duplicates)
}

/// All recorded events as JSON without their names, the oldest first.
fn listed(engine: &Engine) -> Vec<Value> {
    let events = engine.events().newest(usize::MAX);
    let bare = |event| {
        let mut json = serde_json::to_value(&event).expect("JSON");
        json.as_object_mut().expect("an object").remove("id");
        json
    };
    events.into_iter().rev().map(bare).collect()
}

/// The lines of an export without the events' names and keys.
fn export_bare(engine: &Engine) -> Vec<Value> {
    let lines = export(engine, &EventQuery::new());
    let bare = |line| {
        let mut json: Value = serde_json::from_str(line).expect("JSON");
        json.as_object_mut().expect("an object").retain(|key, _| key != "id");
        json
    };
    lines.lines().map(bare).collect()
}

fn draw(rng: &mut StdRng) -> Event<'static> {
    let mut event = Event::new(format!("cust_{}", rng.random_range(0..9)), "model_call");
    if rng.random_bool(0.7) {
        event = event.model(["gpt-4", "h\u{e4}iku \"x\"", "o\\3"][rng.random_range(0..3)]);
    }
    if rng.random_bool(0.5) {
        event = event.provider("openai").latency_ms(rng.random_range(0..9_000));
    }
    if rng.random_bool(0.8) {
        event = event.input_tokens(rng.random_range(0..500)).output_tokens(7);
    }
    if rng.random_bool(0.1) {
        event = event.total_tokens(1_000_000_000_000_000).cost_cents(1_000_000_000_000_000_u64);
    }
    if rng.random_bool(0.4) {
        let json = json!({ "deep": [1, 2.5, null, "text"], "flag": true });
        event = event.property("team_id", "eng").property("context", json);
    }
    if rng.random_bool(0.3) {
        event = event.attach("note", "long\n".repeat(100)).attach("", json!([1.5, "text"]));
    }
    if rng.random_bool(0.4) {
        event = event.value(
            "gpu_seconds",
            ["0.25", "-3", "-999999999999999.999999"][rng.random_range(0..3)],
        );
    }
    if rng.random_bool(0.5) {
        let ago = rng.random_range(0..30 * DAY);
        event = event.timestamp(date(START - ago));
    }
    event
}

#[test]
fn what_is_exported_is_imported_once() {
    let first = seed("transfer", 20_240_131);
    for seed in first..first + u64::from(cases(20)) {
        let mut rng = StdRng::seed_from_u64(seed);
        let file = (seed % 5 == 0).then(|| crate::support::files::StoreFile::new("transfer"));
        let (source, clock) = engine(|builder| match &file {
            Some(file) => builder.durable(file.store()),
            None => builder,
        });
        for _ in 0..rng.random_range(1..4_000) {
            clock.advance(std::time::Duration::from_nanos(rng.random_range(0..2_000_000_000)));
            let _ = source.record(&draw(&mut rng)).expect("a valid event");
        }
        let lines = export(&source, &EventQuery::new());
        assert_eq!(lines.lines().count(), source.events().len());
        // A line is the event as it is listed, without what it has not got.
        let mut all = listed(&source);
        for event in &mut all {
            let fields = event.as_object_mut().expect("an object");
            fields.retain(|_, value| !value.is_null() && *value != json!({}));
        }
        assert_eq!(export_bare(&source), all, "seed {seed}");
        let (target, clock) = fresh();
        clock.advance(std::time::Duration::from_secs(9_000));
        // A part first, as where an import was interrupted.
        let count = lines.lines().count();
        let part = rng.random_range(0..=count);
        let some: String = lines.split_inclusive('\n').take(part).collect();
        assert_eq!(import(&target, &some), (part as u64, 0), "seed {seed}");
        assert_eq!(import(&target, &lines), ((count - part) as u64, part as u64), "seed {seed}");
        assert_eq!(import(&target, &lines), (0, count as u64), "seed {seed}");
        assert_eq!(listed(&target), listed(&source), "seed {seed}");
        let all = UsageQuery::new(date(START - 40 * DAY), date(START + DAY));
        let usage = |engine: &Engine| engine.usage().breakdown(&all, "model").expect("an answer");
        assert_eq!(usage(&target), usage(&source), "seed {seed}");
        if seed % 5 > 0 {
            continue;
        }
        // As older versions wrote lines, and from a reader that gives them piece by piece.
        let old: String =
            source.events().newest(usize::MAX).iter().rev().fold(String::new(), |lines, event| {
                lines + &serde_json::to_string(event).expect("JSON") + "\n"
            });
        let (by_old, clock) = fresh();
        clock.advance(std::time::Duration::from_secs(9_000));
        let old = BufReader::with_capacity(rng.random_range(1..5_000), old.as_bytes());
        let report = by_old.store().import(old, BadLines::Stop, |_| {}).expect("good lines");
        assert_eq!((report.count, report.duplicates), (count as u64, 0), "seed {seed}");
        assert_eq!(listed(&by_old), listed(&source), "seed {seed}");
        assert_eq!(export_bare(&by_old), export_bare(&source), "seed {seed}");
    }
}

#[test]
fn an_engine_knows_its_own_events() {
    let (engine, _) = fresh();
    for number in 0..2_500 {
        let _ = engine.track(&Event::new("cust_1", "call").input_tokens(number)).expect("valid");
    }
    let lines = export(&engine, &EventQuery::new());
    assert_eq!(import(&engine, &lines), (0, 2_500));
    assert_eq!(engine.events().len(), 2_500);
}

#[test]
fn a_query_says_which_events_leave() {
    let (engine, clock) = fresh();
    for number in 0..3_000_u64 {
        clock.advance(std::time::Duration::from_secs(1));
        let customer = if number % 3 == 0 { "cust_a" } else { "cust_b" };
        let _ = engine.track(&Event::new(customer, "call").input_tokens(number)).expect("valid");
    }
    let query = EventQuery::new().customer("cust_a").limit(5);
    let query = query.between(date(START + 31 * SECOND), date(START + 2_500 * SECOND));
    let lines = export(&engine, &query);
    let tokens =
        |line: &str| serde_json::from_str::<Value>(line).expect("JSON")["inputTokens"].as_u64();
    let found: Vec<_> = lines.lines().filter_map(tokens).collect();
    // Event n happened n + 1 seconds after the start.
    assert_eq!(found, (30..2_499).filter(|number| number % 3 == 0).collect::<Vec<_>>());
    let error =
        |query| engine.store().export(&mut io::sink(), &query, |_| {}).expect_err("no good");
    let why = error(EventQuery::new().cursor("evt_1")).to_string();
    assert_eq!(why, "cursor: \"evt_1\" must not be set");
    let why = error(EventQuery::new().filter("a b", "c"));
    assert!(matches!(why, ExportError::Query(QueryError::Invalid { .. })), "{why}");
    let (off, _) = crate::support::engine(|builder| builder.recording(Recording::Off));
    let why =
        off.store().export(&mut io::sink(), &EventQuery::new(), |_| {}).expect_err("nothing kept");
    assert_eq!(why, ExportError::Query(QueryError::RecordingOff));
}

#[test]
fn imported_events_count_whatever_the_rules_say() {
    let quota = Quota::new("tokens", Metric::value("input_tokens"), 100, Period::Day);
    let (engine, _) = engine(|builder| builder.quota(quota));
    let line = |id: u32| {
        format!(r#"{{"id":"ext-{id}","customerId":"c","eventType":"e","inputTokens":70,{AT}}}"#)
    };
    assert_eq!(import(&engine, &format!("{}\n\n  \r\n{}", line(1), line(2))), (2, 0));
    let refused = engine.track(&Event::new("c", "e").input_tokens(1)).expect("valid");
    assert!(!refused.is_allowed());
    let key = r#""idempotencyKey":"k","timestamp":"2024-01-15T10:00:00+00:00""#;
    let rest = r#""model":null,"dimensions":{"team":"x"},"properties":null"#;
    let line = format!(r#"{{"customerId":"c","eventType":"e",{key},{rest}}}"#);
    assert_eq!(import(&engine, &line), (1, 0));
    assert_eq!(import(&engine, &line), (0, 1));
    assert_eq!(engine.events().newest(1)[0].event.dimension("team"), Some("x"));
}

/// A line is counted as its body is by `record`: generic events have the model and the provider
/// among their dimensions.
#[test]
fn a_line_and_a_body_with_dimensions_are_the_same_event() {
    for own in ["", r#""model":"own","#, r#""model":null,"provider":"own","#] {
        let body = format!(
            r#"{{{own}"customerId":"a","eventType":"call","dimensions":{{"model":"gpt-4",
            "provider":"openai","team":"x"}},"idempotencyKey":"k",{AT}}}"#
        );
        let line = body.replace('\n', " ");
        let (imported, recorded) = (fresh().0, fresh().0);
        assert_eq!(import(&imported, &line), (1, 0));
        let body = body.replace("createdAt", "timestamp");
        let event: Event<'static> = serde_json::from_str(&body).expect("an event");
        let _ = recorded.record(&event).expect("valid");
        assert_eq!(listed(&imported), listed(&recorded), "{line}");
    }
}

#[test]
fn a_bad_line_is_told_and_all_before_it_is_imported() {
    let good =
        |number: u32| format!(r#"{{"id":"x{number}","customerId":"c","eventType":"e",{AT}}}"#);
    let bad = || good(0).replace("x0", "bad");
    let with = |more: &str| bad().replace(r#""customerId":"c""#, more);
    let cases = [
        ("nonsense".to_owned(), "must be a JSON object: expected ident at column 2"),
        ("[1]".to_owned(), "a list must be an event as a JSON object"),
        (r#"{"customerId": "c""#.to_owned(), "must be a JSON object: EOF while parsing"),
        (with(r#""customerId":7"#), "customerId: 7 must be a string"),
        (with(r#""model":"m""#), "customerId: must be there"),
        (with(r#""customerId":"c","customerId":"c""#), "duplicate field `customerId`"),
        (with(r#""customerId":"c","timestamp":null"#), "duplicate field `createdAt`"),
        (with(r#""customerId":"c","custmer":1"#), "unknown field `custmer`, expected one of"),
        (
            with(r#""customerId":"c","inputTokens":-1"#),
            "inputTokens: -1 must be a whole number from 0 to 1000000000000000",
        ),
        (
            with(r#""customerId":"c","values":{"gpu":"a lot"}"#),
            "values.gpu: `a lot` is not a decimal number",
        ),
        (
            bad().replace("10:00:00Z", "noon"),
            "createdAt: \"2024-01-15Tnoon\" must be an instant such as",
        ),
        (r#"{"id":"x","customerId":"c","eventType":"e"}"#.to_owned(), "createdAt: must be there"),
        (bad().replace("\"id\":\"bad\",", ""), "idempotencyKey: must be there where no id is"),
        (with(r#""customerId":"""#), "customer_id: \"\" must be 1 to 256 bytes long"),
        (
            good(3).replace("\"e\"", "\"other\""),
            "idempotency_key: \"x3\" of customer \"c\" was used for another event: a retry must",
        ),
    ];
    for (bad, expected) in cases {
        for before in [5_u32, 1_500] {
            let (engine, _) = fresh();
            let mut lines: String = (0..before).map(|number| good(number) + "\n").collect();
            lines.push_str(&bad);
            lines.push('\n');
            lines.push_str(&good(before + 1));
            let error = engine
                .store()
                .import(lines.as_bytes(), BadLines::Stop, |_| {})
                .expect_err("a bad line");
            let told = error.to_string();
            let start = format!("line {}: {expected}", before + 1);
            assert!(told.starts_with(&start), "{told}, expected {start}");
            let end = format!("; {before} events before it are imported");
            assert!(told.ends_with(&end), "{told}");
            assert_eq!(engine.events().len(), before as usize, "{told}");
            let again: String = (0..before + 2).map(|number| good(number) + "\n").collect();
            assert_eq!(import(&engine, &again), (2, u64::from(before)));
        }
    }
}

fn skip(engine: &Engine, lines: &str) -> ImportReport {
    engine.store().import(lines.as_bytes(), BadLines::Skip, |_| {}).expect("bad lines are skipped")
}

/// A good line, or one of what can be bad about it, with its reason and whether that is a conflict.
fn any_line(rng: &mut StdRng, number: usize) -> (String, Option<(&'static str, bool)>) {
    let good = format!(r#"{{"id":"x{number}","customerId":"c","eventType":"e",{AT}}}"#);
    match rng.random_range(0..12) {
        0 => (format!("{{{good}"), Some(("must be a JSON object", false))),
        1 => (good.replace(r#""c""#, "\"\""), Some(("customer_id: \"\" must be", false))),
        2 => (good.replace(r#""e""#, "\"\""), Some(("event_type: \"\" must be", false))),
        3 => {
            let other = good.replace(&format!("x{number}"), "taken");
            (other, Some(("idempotency_key: \"taken\" of customer \"c\" was used", true)))
        }
        _ => (good, None),
    }
}

/// Each line counts as what it is, and the first thousand bad ones are told in their order; the
/// good ones are as if the bad ones had not been there.
#[test]
fn bad_lines_can_be_skipped_and_are_told() {
    for seed in 0..u64::from(cases(12)) {
        let mut rng = StdRng::seed_from_u64(seed);
        let count = [30, 900, 3_000, 8_000][rng.random_range(0..4)];
        let (engine, twin) = (fresh().0, fresh().0);
        let taken = format!(r#"{{"id":"taken","customerId":"c","eventType":"first",{AT}}}"#);
        assert_eq!((import(&engine, &taken), import(&twin, &taken)), ((1, 0), (1, 0)));
        let (mut text, mut good, mut bad) = (String::new(), String::new(), Vec::new());
        let mut repeats = 0;
        for number in 1..=count {
            let (line, reason) = any_line(&mut rng, number);
            text += &format!("{line}\n");
            match reason {
                Some((reason, conflict)) => bad.push((number as u64, reason, conflict)),
                None => good += &format!("{line}\n"),
            }
        }
        // The last of the good lines once more.
        if let Some(last) = good.lines().last() {
            text += last;
            repeats = 1;
        }
        let report = skip(&engine, &text);
        let conflicts = bad.iter().filter(|(_, _, conflict)| *conflict).count() as u64;
        let (all, context) = (bad.len(), format!("seed {seed}: {} of {count} are bad", bad.len()));
        assert_eq!(report.count, (count - all) as u64, "{context}");
        assert_eq!(report.duplicates, repeats, "{context}");
        assert_eq!(report.conflicts, conflicts, "{context}");
        assert_eq!(report.invalid, all as u64 - conflicts, "{context}");
        bad.truncate(ImportReport::MAX_SKIPPED);
        assert_eq!(report.skipped.len(), bad.len(), "{context}");
        for (skipped, (line, reason, _)) in report.skipped.iter().zip(&bad) {
            assert_eq!(skipped.line, *line, "{context}");
            assert!(skipped.reason.starts_with(reason), "{context}: {}", skipped.reason);
        }
        assert_eq!(import(&twin, &good).0, report.count);
        assert_eq!(listed(&engine), listed(&twin), "{context}");
        // Once more all that is good was imported before.
        let again = skip(&engine, &text);
        assert_eq!((again.count, again.duplicates), (0, report.count + repeats), "{context}");
        assert_eq!((again.conflicts, again.invalid), (report.conflicts, report.invalid));
        assert_eq!(again.skipped, report.skipped);
    }
}

/// Nothing but bad lines, more than a report or a batch holds.
#[test]
fn any_number_of_bad_lines_is_skipped_in_bounded_room() {
    let (engine, _) = fresh();
    let lines = "nonsense\n".repeat(25_000);
    let mut told = Vec::new();
    let report = engine.store().import(lines.as_bytes(), BadLines::Skip, |at| told.push(at.done));
    let report = report.expect("they are skipped");
    assert_eq!((report.count, report.invalid, report.skipped.len()), (0, 25_000, 1_000));
    assert!(told.len() > 20 && told.is_sorted() && told.last() == Some(&25_000), "{told:?}");
    let json = serde_json::to_value(&report).expect("data");
    assert_eq!(json["skipped"][1]["line"], 2);
    assert_eq!(json["invalid"], 25_000);
    let line = format!(r#"{{"id":"x","customerId":"c","eventType":"e",{AT}}}"#);
    let report = skip(&engine, &format!("{{\n{line}"));
    assert_eq!((report.count, report.invalid, report.skipped[0].line), (1, 1, 1));
}

/// Gives what it has, and then panics.
struct PanickingReader<'t>(&'t [u8]);

impl Read for PanickingReader<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.0.read(out)?;
        if read == 0 { std::panic::panic_any("the reader") } else { Ok(read) }
    }
}

/// What the caller's code does leaves no batch half imported.
#[test]
fn a_panic_of_the_callers_code_comes_between_two_batches() {
    let who = |work: &dyn Fn()| {
        let work = std::panic::AssertUnwindSafe(work);
        let panic = std::panic::catch_unwind(work).expect_err("it panics");
        *panic.downcast::<&str>().expect("a text")
    };
    let line =
        |number| format!(r#"{{"id":"x{number}","customerId":"c","eventType":"e",{AT}}}"#) + "\n";
    let lines: String = (0..2_500).map(line).collect();
    let (engine, _) = fresh();
    let reading = || {
        let reader = BufReader::new(PanickingReader(lines.as_bytes()));
        engine.store().import(reader, BadLines::Stop, |_| {}).map(drop).expect("it panics before");
    };
    assert_eq!(who(&reading), "the reader");
    assert_eq!(engine.events().len(), 2_000);
    let telling = || {
        let progress = |at: Progress| {
            if at.done == 2_000 {
                std::panic::panic_any("the progress");
            }
        };
        let other = lines.replace(r#""x"#, r#""y"#);
        engine
            .store()
            .import(other.as_bytes(), BadLines::Skip, progress)
            .map(drop)
            .expect("it panics");
    };
    assert_eq!(who(&telling), "the progress");
    assert_eq!(engine.events().len(), 4_000);
    assert_eq!(import(&engine, &lines), (500, 2_000));
}

#[test]
fn a_line_without_an_end_is_not_read_for_ever() {
    let (engine, _) = fresh();
    let endless = BufReader::new(io::repeat(b' ').take(1 << 30));
    let why =
        engine.store().import(endless, BadLines::Stop, |_| {}).expect_err("too long").to_string();
    assert!(why.starts_with("line 1: the line must be at most 16777216 bytes long"), "{why}");
}

#[test]
fn a_line_that_is_too_long_is_skipped_to_its_end() {
    let (engine, _) = fresh();
    let line = |id: &str| format!(r#"{{"id":"{id}","customerId":"c","eventType":"e",{AT}}}"#);
    // What is behind the bound would be a line of its own, and a good one.
    let long = " ".repeat(16 * 1_024 * 1_024 + 1) + &line("no");
    let report = skip(&engine, &format!("{}\n{long}\n{}\n{long}", line("a"), line("b")));
    assert_eq!((report.count, report.invalid), (2, 2));
    assert_eq!(report.skipped.iter().map(|it| it.line).collect::<Vec<_>>(), [2, 4]);
    let reason = &report.skipped[0].reason;
    assert!(reason.starts_with("the line must be at most 16777216 bytes"), "{reason}");
}

/// Gives what it has, and then fails; or takes so much, and then fails.
struct BrokenReader<'t>(&'t [u8]);

impl Read for BrokenReader<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.0.read(out)?;
        if read == 0 { Err(io::Error::other("the wire is cut")) } else { Ok(read) }
    }
}

impl Write for BrokenReader<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let taken = data.len().min(self.0.len());
        self.0 = &self.0[taken..];
        if taken == 0 { Err(io::Error::other("the disk is full")) } else { Ok(taken) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn readers_and_writers_that_fail_are_told() {
    let (source, _) = fresh();
    for number in 0..2_000 {
        let _ = source.track(&Event::new("cust_1", "call").input_tokens(number)).expect("valid");
    }
    let lines = export(&source, &EventQuery::new());
    let whole = lines.split_inclusive('\n').take(1_200).map(str::len).sum::<usize>();
    let (target, _) = fresh();
    let reader = BufReader::new(BrokenReader(&lines.as_bytes()[..whole + 9]));
    let error = target.store().import(reader, BadLines::Stop, |_| {}).expect_err("cut");
    let reason = "the wire is cut".into();
    assert_eq!(error, ImportError::Read { line: 1_201, imported: 1_200, reason });
    assert_eq!(target.events().len(), 1_200);

    let room = vec![0; 200_000];
    let error = source
        .store()
        .export(&mut BrokenReader(&room), &EventQuery::new(), |_| {})
        .expect_err("full");
    let ExportError::Write { written, reason } = error else { panic!("{error}") };
    assert_eq!(&*reason, "the disk is full");
    let bytes = lines.split_inclusive('\n').take(written as usize).map(str::len).sum::<usize>();
    assert!(written > 0 && bytes <= room.len(), "{written} events have {bytes} bytes");
}

#[test]
fn progress_is_told_from_the_start_to_the_end() {
    let (source, _) = fresh();
    for number in 0..5_000 {
        let _ = source.track(&Event::new("cust_1", "call").input_tokens(number)).expect("valid");
    }
    let mut told: Vec<Progress> = Vec::new();
    let mut lines = Vec::new();
    source.store().export(&mut lines, &EventQuery::new(), |at| told.push(at)).expect("written");
    assert_eq!(told[0].to_string(), "exporting events: 0 of 5000");
    assert_eq!(
        told.last().map(ToString::to_string).unwrap_or_default(),
        "exporting events: 5000 of 5000"
    );
    assert!(told.len() > 5 && told.is_sorted_by_key(|at| at.done), "{told:?}");
    told.clear();
    let (target, _) = fresh();
    let report =
        target.store().import(&lines[..], BadLines::Stop, |at| told.push(at)).expect("good lines");
    assert_eq!(report.count, 5_000);
    let done: Vec<_> = told.iter().map(|at| (at.done, at.total)).collect();
    let expected = [0, 1_000, 2_000, 3_000, 4_000, 5_000, 5_000].map(|done| (done, done));
    assert_eq!(done, expected);
}

/// An export is of what was there when it began, while more comes in and old events go.
#[test]
fn an_export_is_of_one_moment_while_events_come_in() {
    let (engine, _) = engine(|builder| builder.recording(Recording::Newest(4_000)));
    for number in 0..6_000 {
        let _ = engine.track(&Event::new("cust_1", "call").input_tokens(number)).expect("valid");
    }
    let (mut lines, mut calls) = (Vec::new(), 0);
    let report = engine.store().export(&mut lines, &EventQuery::new(), |_| {
        calls += 1;
        for number in 0..100 {
            let _ =
                engine.track(&Event::new("cust_2", "call").input_tokens(number)).expect("valid");
        }
    });
    let count = report.expect("written").count;
    let text = String::from_utf8(lines).expect("text");
    let found: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(found.len() as u64, count);
    assert!(found.iter().all(|event| event["customerId"] == "cust_1"));
    let tokens: Vec<_> = found.iter().filter_map(|event| event["inputTokens"].as_u64()).collect();
    assert!(tokens.is_sorted() && tokens.last() == Some(&5_999), "{count} of {calls} calls");
}

/// A store has more than memory keeps, and the keys.
#[cfg(feature = "durable")]
#[test]
fn an_export_is_of_all_that_a_store_has() {
    let file = crate::support::files::StoreFile::new("transfer");
    let store = file.store();
    let (source, _) = engine(|builder| builder.recording(Recording::Newest(100)).durable(store));
    let events: Vec<_> = (0..3_000)
        .map(|number| {
            let event = Event::new(format!("cust_{}", number % 2), "call").input_tokens(number);
            event.idempotency_key(format!("key-{number}"))
        })
        .collect();
    for batch in events.chunks(1_000) {
        source.record_batch(batch).expect("good events");
    }
    assert!(source.events().len() < 3_000);
    let lines = export(&source, &EventQuery::new());
    let (target, _) = fresh();
    assert_eq!(import(&target, &lines), (3_000, 0));
    assert_eq!(import(&source, &lines), (0, 3_000));
    let found: Vec<Value> =
        lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    for (number, event) in (0_u64..).zip(&found) {
        assert_eq!(event["inputTokens"], number);
        assert_eq!(event["idempotencyKey"], format!("key-{number}"));
    }
    let some = export(&source, &EventQuery::new().customer("cust_1"));
    assert_eq!(some.lines().count(), 1_500);
    drop(source);
}
