//! What the reader of traces makes of good lines, bad lines and arbitrary bytes.

#![allow(
    missing_docs,
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    reason = "a test that panics is a test that fails"
)]

use std::error::Error;

use chrono::DateTime;
use proptest::collection::vec;
use proptest::prelude::{any, proptest};
use proptest::test_runner::{Config, RngSeed};

use example_support::trace::{self, BadLine, Call, Reason, TraceError};

/// What a test gives back.
type Outcome = Result<(), Box<dyn Error>>;

/// The 100 ns ticks from 1970 to 2250.
const TICKS: i64 = 280 * 365 * 86_400 * 10_000_000;

fn read(bytes: &[u8]) -> (Result<Vec<Call>, TraceError>, Vec<BadLine>) {
    let mut bad_lines = Vec::new();
    (trace::read(bytes, |bad| bad_lines.push(bad)), bad_lines)
}

#[test]
fn lines_that_cannot_be_read_are_reported_and_skipped() -> Outcome {
    let trace = b"TIMESTAMP,ContextTokens,GeneratedTokens\r\n\
        2023-11-16 18:00:00.0000001,1,2\r\n\
        2023-11-16 18:00:01,1\n\
        2023-11-16 18:00:01,1,2,3\n\
        \n\
        2023-11-31 18:00:01,1,2\n\
        2023-11-16 18:00:01,-1,2\n\
        2023-11-16 18:00:01,1,4294967296\n\
        2023-11-16 18:00:01,\xff,2\n\
        2024-05-10 02:00:00.009930+02:00, 3 ,4294967295";
    let (calls, bad_lines) = read(trace);
    let reasons: Vec<_> = bad_lines.iter().map(|bad| (bad.line, bad.reason.to_string())).collect();
    let expected = [
        (3, "2 fields where the header has 3"),
        (4, "4 fields where the header has 3"),
        (6, "TIMESTAMP \"2023-11-31 18:00:01\" is not a time like 2023-11-16 18:15:46.6805900"),
        (7, "ContextTokens \"-1\" is not a whole number from 0 to 4294967295"),
        (8, "GeneratedTokens \"4294967296\" is not a whole number from 0 to 4294967295"),
        (9, "not UTF-8 text"),
    ];
    assert_eq!(reasons, expected.map(|(line, reason)| (line, reason.to_owned())));
    let first = "2023-11-16T18:00:00.0000001Z".parse()?;
    let last = "2024-05-10T00:00:00.00993Z".parse()?;
    let expected = [
        Call { at: first, input_tokens: 1, output_tokens: 2 },
        Call { at: last, input_tokens: 3, output_tokens: u32::MAX },
    ];
    assert_eq!(calls?, expected);
    Ok(())
}

#[test]
fn columns_are_found_by_name() -> Outcome {
    let (calls, bad_lines) = read(
        b"\xef\xbb\xbfuser,generatedtokens, TIMESTAMP,ContextTokens\na,2,2023-11-16 18:00:00,1",
    );
    let at = "2023-11-16T18:00:00Z".parse()?;
    assert_eq!(calls?, [Call { at, input_tokens: 1, output_tokens: 2 }]);
    assert_eq!(bad_lines, []);
    for header in [&b""[..], b"\n", b"TIMESTAMP,ContextTokens\n", b"2023-11-16 18:00:00,1,2"] {
        assert!(matches!(read(header).0, Err(TraceError::Header(_))));
    }
    Ok(())
}

// A line as long as may be is read, with an end or as the last of the file; one byte more is not,
// and the line after it is none the worse for it.
#[test]
fn long_lines_are_bounded() -> Outcome {
    let header = "TIMESTAMP,ContextTokens,GeneratedTokens\n";
    let line = |length: usize| format!("{:<length$}", "2023-11-16 18:00:00,1,2");
    for (length, end, calls_expected) in
        [(4_096, "", 1), (4_095, "\n", 1), (4_096, "\n", 0), (4_097, "", 0), (9_999, "\n", 0)]
    {
        let trace = format!("{header}{}{end}", line(length));
        let (calls, bad_lines) = read(trace.as_bytes());
        assert_eq!(calls?.len(), calls_expected, "{length} {end:?}");
        assert!(bad_lines.iter().all(|bad| *bad == BadLine { line: 2, reason: Reason::TooLong }));
    }
    let trace = format!("{header}{}\n{}", line(65_000), line(30));
    let (calls, bad_lines) = read(trace.as_bytes());
    assert_eq!((calls?.len(), bad_lines.len()), (1, 1));
    Ok(())
}

/// The same cases in every run.
fn same_cases() -> Config {
    Config { rng_seed: RngSeed::Fixed(42), failure_persistence: None, ..Config::default() }
}

proptest! {
    #![proptest_config(same_cases())]

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in vec(any::<u8>(), 0..512)) {
        let _ = read(&bytes);
        let header = b"TIMESTAMP,ContextTokens,GeneratedTokens\n";
        let (calls, bad_lines) = read(&[header, bytes.as_slice()].concat());
        let lines = bytes.split(|&byte| byte == b'\n').count();
        assert!(calls.unwrap().len() + bad_lines.len() <= lines);
    }

    #[test]
    fn no_fields_make_the_reader_panic(fields in vec("[-+0-9:. ]{0,30}|[0-9]{1,12}|\\PC*", 3)) {
        let line = fields.join(",");
        let (calls, bad_lines) =
            read(format!("TIMESTAMP,ContextTokens,GeneratedTokens\n{line}").as_bytes());
        assert!(calls.unwrap().len() + bad_lines.len() <= line.lines().count());
    }

    #[test]
    fn what_is_written_is_read(calls in vec((0..TICKS, any::<u32>(), any::<u32>()), 0..20)) {
        let header = "TIMESTAMP,ContextTokens,GeneratedTokens".to_owned();
        let lines = calls.iter().map(|&(tick, input_tokens, output_tokens)| {
            let at = DateTime::from_timestamp_nanos(tick * 100).format("%Y-%m-%d %H:%M:%S%.f");
            format!("{at},{input_tokens},{output_tokens}")
        });
        let text: Vec<String> = std::iter::once(header).chain(lines).collect();
        let (read, bad_lines) = read(text.join("\r\n").as_bytes());
        let read = read.unwrap().into_iter().map(|call| {
            let nanos = call.at.timestamp_nanos_opt().unwrap();
            (nanos / 100, call.input_tokens, call.output_tokens)
        });
        assert!(read.eq(calls));
        assert_eq!(bad_lines, []);
    }
}
