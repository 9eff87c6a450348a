use std::io::ErrorKind;

use super::*;
use crate::base::clock::Timestamp;
use crate::engine::BatchProblem;
use crate::log::EventId;

/// What the predicates say, in the order of their definition: bad input, conflict, not found,
/// store, retryable.
const BAD_INPUT: [bool; 5] = [true, false, false, false, false];
const CONFLICT: [bool; 5] = [false, true, false, false, false];
const NOT_FOUND: [bool; 5] = [false, false, true, false, false];
const STORE: [bool; 5] = [false, false, false, true, false];
const STORE_AGAIN: [bool; 5] = [false, false, false, true, true];
const STREAM: [bool; 5] = [false, false, false, false, true];
const NONE: [bool; 5] = [false; 5];

fn answers(error: &Error) -> [bool; 5] {
    [
        error.is_bad_input(),
        error.is_conflict(),
        error.is_not_found(),
        error.is_store(),
        error.is_retryable(),
    ]
}

fn check(cases: impl IntoIterator<Item = (impl Into<Error>, [bool; 5])>) {
    for (error, expected) in cases {
        let error = error.into();
        assert_eq!(answers(&error), expected, "{error:?}");
    }
}

fn events() -> Vec<EventError> {
    let at = Timestamp::new(0, 0);
    let source = "x".parse::<crate::Amount>().expect_err("no amount");
    vec![
        EventError::invalid("model", "", "must be 1 to 256 bytes long"),
        EventError::Amount { field: "images".into(), source },
        EventError::TimestampAhead { timestamp: at, now: at },
        EventError::TooLate { quota: "q".into(), timestamp: at, now: at },
        EventError::MissingDimension { dimension: "team".into(), found: None, rule: "r".into() },
    ]
}

fn stores() -> Vec<(StoreError, [bool; 5])> {
    let file = || "f".into();
    let (action, kind) = ("cannot be read", ErrorKind::Other);
    let within = StoreError::WithinItself { file: file(), call: "flush", callback: "write" };
    vec![
        (StoreError::Locked { file: file() }, STORE_AGAIN),
        (StoreError::Newer { file: file(), found: 9, known: 2 }, STORE),
        (StoreError::Foreign { file: file(), detail: "d".into() }, STORE),
        (StoreError::Damaged { file: file(), what: "w".into(), detail: "d".into() }, STORE),
        (StoreError::Io { file: file(), action, kind, message: "m".into() }, STORE_AGAIN),
        (StoreError::Failed { file: file(), cause: "c".into() }, STORE),
        (StoreError::Batch { file: file(), rule: "r", detail: "d".into() }, STORE),
        (within, STORE),
        (StoreError::NoStore { file: file() }, STORE),
        (StoreError::Closed { file: file() }, STORE),
    ]
}

fn conflict() -> TrackError {
    TrackError::IdempotencyConflict { customer: "c".into(), key: "k".into() }
}

/// Every error of a verb.
fn tracks() -> Vec<(TrackError, [bool; 5])> {
    let events = events().into_iter().map(|why| (why.into(), BAD_INPUT));
    let stores = stores().into_iter().map(|(why, expected)| (why.into(), expected));
    events.chain(stores).chain([(conflict(), CONFLICT)]).collect()
}

fn batches() -> Vec<(BatchError, [bool; 5])> {
    let events = |sources: Vec<TrackError>| BatchError::Events {
        problems: (0..)
            .zip(sources)
            .map(|(index, source)| BatchProblem { index, source })
            .collect(),
    };
    let bad = || TrackError::Event(EventError::invalid("model", "", "must be"));
    let mut cases = vec![
        (BatchError::Empty, BAD_INPUT),
        (BatchError::TooMany { events: 1_001, max: 1_000 }, BAD_INPUT),
        (events(vec![bad()]), BAD_INPUT),
        (events(vec![conflict(), conflict()]), CONFLICT),
        (events(vec![conflict(), bad()]), BAD_INPUT),
    ];
    cases.extend(stores().into_iter().map(|(why, expected)| (BatchError::Store(why), expected)));
    cases
}

fn rules() -> Vec<(RulesError, [bool; 5])> {
    let invalid = RuleSetError::check(vec![crate::rules::RuleProblem {
        rule: "quota #1".into(),
        field: "name".into(),
        reason: "must be".into(),
    }]);
    let mut cases = vec![
        (RulesError::Invalid(invalid.expect_err("a problem")), BAD_INPUT),
        (RulesError::NotFound { kind: "rule", id: "x".into() }, NOT_FOUND),
        (RulesError::MeterInUse { id: "x".into(), rules: Vec::new() }, CONFLICT),
    ];
    cases.extend(stores().into_iter().map(|(why, expected)| (RulesError::Store(why), expected)));
    cases
}

fn adjusts() -> Vec<(AdjustError, [bool; 5])> {
    let rule = || "rule".into();
    let (dimension, broken) = (rule(), "must be there");
    let mut cases = vec![
        (AdjustError::RuleNotFound { id: "x".into() }, NOT_FOUND),
        (AdjustError::Key { rule: rule(), dimension, value: "".into(), broken }, BAD_INPUT),
        (AdjustError::Invalid { field: "note", value: "".into(), rule: "must be" }, BAD_INPUT),
        (AdjustError::NotAdjustable { rule: rule(), reason: "it counts" }, BAD_INPUT),
        (AdjustError::NoRoom { rule: rule(), key: Box::default() }, STREAM),
        (AdjustError::IdempotencyConflict { key: "k".into(), first: 7 }, CONFLICT),
    ];
    cases.extend(stores().into_iter().map(|(why, expected)| (AdjustError::Store(why), expected)));
    cases
}

fn corrects() -> Vec<(CorrectError, [bool; 5])> {
    let id = EventId::new(1, 2);
    let (dimension, figure, rule) = ("model".into(), "seats".into(), "must be");
    let mut cases = vec![
        (CorrectError::RecordingOff, NONE),
        (CorrectError::NotFound { id }, NOT_FOUND),
        (CorrectError::Dropped { id }, NONE),
        (CorrectError::Erased { id }, NONE),
        (CorrectError::Voided { id }, CONFLICT),
        (CorrectError::Invalid { field: "reason", value: "".into(), rule }, BAD_INPUT),
        (CorrectError::OtherKey { rule: "rule".into() }, BAD_INPUT),
        (CorrectError::NotRecorded { id, figure }, NONE),
        (CorrectError::AmongOthers { id, dimension }, NONE),
    ];
    cases.extend(stores().into_iter().map(|(why, expected)| (CorrectError::Store(why), expected)));
    cases
}

fn queries() -> Vec<(QueryError, [bool; 5])> {
    let at = Timestamp::new(0, 0);
    vec![
        (QueryError::RecordingOff, NONE),
        (QueryError::invalid("limit", "0", "must be"), BAD_INPUT),
        (QueryError::EmptyRange { start: at, end: at }, BAD_INPUT),
        (QueryError::Unbounded, BAD_INPUT),
        (QueryError::TooManyPoints { max: 1 }, BAD_INPUT),
        (QueryError::Overflow { field: "images".into() }, NONE),
        (QueryError::CursorExpired { cursor: "evt_1".into() }, NOT_FOUND),
        (QueryError::MeterNotFound { id: "mtr".into() }, NOT_FOUND),
        (QueryError::RuleNotFound { id: "rl".into() }, NOT_FOUND),
    ]
}

#[test]
fn each_error_of_a_verb_and_of_a_batch_is_in_one_class() {
    check(events().into_iter().map(|why| (why, BAD_INPUT)));
    check(stores());
    check(tracks());
    check(batches());
    let amount = "x".parse::<crate::Amount>().expect_err("no amount");
    check([(amount, BAD_INPUT)]);
}

#[test]
fn each_error_of_rules_and_of_building_is_in_one_class() {
    check(rules());
    check(adjusts());
    check(corrects());
    check(rules().into_iter().map(|(why, expected)| (BuildError::Rules(why), expected)));
    check(rules().into_iter().filter_map(|(why, expected)| match why {
        RulesError::Invalid(why) => Some((BuildError::Invalid(why), expected)),
        RulesError::Store(why) => Some((BuildError::Store(why), expected)),
        _ => None,
    }));
}

#[test]
fn each_error_of_queries_and_of_transfer_is_in_one_class() {
    check(queries());
    check(queries().into_iter().map(|(why, expected)| (ExportError::Query(why), expected)));
    check(stores().into_iter().map(|(why, expected)| (ExportError::Store(why), expected)));
    let id = EventId::new(1, 2);
    check([
        (ExportError::Event { id, reason: "r".into() }, NONE),
        (ExportError::Write { written: 0, reason: "r".into() }, STREAM),
    ]);
    let (line, imported) = (1, 0);
    check([
        (ImportError::Read { line, imported, reason: "r".into() }, STREAM),
        (ImportError::Line { line, imported, reason: "r".into() }, BAD_INPUT),
    ]);
    let event = |source| ImportError::Event { line, imported, source };
    check(tracks().into_iter().map(|(source, expected)| (event(source), expected)));
    let batch = |source| ImportError::Batch { line, imported, source };
    check(batches().into_iter().map(|(source, expected)| (batch(source), expected)));
}
