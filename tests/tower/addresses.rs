//! Goal: of `X-Forwarded-For` and `Forwarded` the entry that a trusted proxy has added is read, as
//! their grammars write addresses, and nothing that a client wrote itself.
//!
//! Method: tables of headers and what is found in them; random bytes on the left of a good entry,
//! and random bytes alone.

use http::{HeaderValue, Request};
use limitry::tower::Source;
use proptest::prelude::*;

use crate::support;

/// What a source finds where a header has these lines.
fn found(source: &Source, name: &str, lines: &[&[u8]]) -> Option<String> {
    let mut request = Request::get("/");
    for line in lines {
        request = request.header(name, HeaderValue::from_bytes(line).expect("a good line"));
    }
    let (request, ()) = request.body(()).expect("a good request").into_parts();
    source.find(&request).map(|text| text.into_owned())
}

fn check(source: impl Fn(usize) -> Source, name: &str, table: &[(usize, &[&str], Option<&str>)]) {
    for (proxies, lines, expected) in table {
        let bytes: Vec<&[u8]> = lines.iter().map(|line| line.as_bytes()).collect();
        let found = found(&source(*proxies), name, &bytes);
        assert_eq!(found.as_deref(), *expected, "{proxies} proxies, {lines:?}");
    }
}

#[test]
fn x_forwarded_for_is_read_from_the_right() {
    let table: &[(usize, &[&str], Option<&str>)] = &[
        (1, &["192.0.2.1"], Some("192.0.2.1")),
        (1, &["1.1.1.1, 192.0.2.1"], Some("192.0.2.1")),
        (2, &["1.1.1.1, 192.0.2.1, 10.0.0.1"], Some("192.0.2.1")),
        (1, &["1.1.1.1", "192.0.2.1"], Some("192.0.2.1")),
        (2, &["1.1.1.1, 192.0.2.1", "10.0.0.1"], Some("192.0.2.1")),
        (3, &["192.0.2.1, 10.0.0.1"], None),
        (0, &["192.0.2.1"], None),
        (usize::MAX, &["192.0.2.1"], None),
        (1, &[], None),
        (1, &[""], None),
        (1, &[",, ,"], None),
        (1, &["192.0.2.1,"], Some("192.0.2.1")),
        (2, &["192.0.2.1,, \t,10.0.0.1"], Some("192.0.2.1")),
        (1, &["\t192.0.2.1 \t"], Some("192.0.2.1")),
        // With a port, and of IPv6 what one subscriber has.
        (1, &["192.0.2.1:443"], Some("192.0.2.1")),
        (1, &["2001:db8:1:2:3:4:5:6"], Some("2001:db8:1:2::/64")),
        (1, &["[2001:db8:1:2::9]"], Some("2001:db8:1:2::/64")),
        (1, &["[2001:db8:1:2::9]:443"], Some("2001:db8:1:2::/64")),
        (1, &["::1"], Some("::/64")),
        (1, &["::ffff:192.0.2.1"], Some("192.0.2.1")),
        // No address: nobody, and not the next one that is.
        (1, &["1.1.1.1, unknown"], None),
        (1, &["1.1.1.1, 192.0.2.256"], None),
        (1, &["192.0.2.1:"], None),
        (1, &["192.0.2.1:port"], None),
        (1, &["192.0.2.1:123456"], None),
        (1, &["192.0.2.1 10.0.0.1"], None),
        (1, &["0300.0.2.1"], None),
        (1, &["3221225985"], None),
        (1, &["[192.0.2.1]"], None),
        (1, &["[2001:db8::1"], None),
        (1, &["[2001:db8::1]x"], None),
        (1, &["fe80::1%eth0"], None),
        (1, &["\"192.0.2.1\""], None),
        (1, &["example.com"], None),
    ];
    check(Source::x_forwarded_for, "x-forwarded-for", table);
}

#[test]
fn forwarded_is_read_from_the_right() {
    let table: &[(usize, &[&str], Option<&str>)] = &[
        // Those of RFC 7239, section 4.
        (1, &["for=\"_gazonk\""], None),
        (1, &["For=\"[2001:db8:cafe::17]:4711\""], Some("2001:db8:cafe::/64")),
        (1, &["for=192.0.2.60;proto=http;by=203.0.113.43"], Some("192.0.2.60")),
        (1, &["for=192.0.2.43, for=198.51.100.17"], Some("198.51.100.17")),
        (2, &["for=192.0.2.43, for=198.51.100.17"], Some("192.0.2.43")),
        (2, &["for=192.0.2.43", "for=198.51.100.17;by=203.0.113.60"], Some("192.0.2.43")),
        (3, &["for=192.0.2.43, for=198.51.100.17"], None),
        (0, &["for=192.0.2.43"], None),
        (1, &[], None),
        (1, &[" , ,"], None),
        (1, &["for=192.0.2.43,"], Some("192.0.2.43")),
        (1, &["for=\"192.0.2.43:47011\""], Some("192.0.2.43")),
        (1, &["for=\"192.0.2.43:_port\""], Some("192.0.2.43")),
        (1, &["for=\"192.0.2.43:_\""], None),
        (1, &["FOR=192.0.2.43"], Some("192.0.2.43")),
        (1, &["by=1.1.1.1; for=192.0.2.43 ;proto=https"], Some("192.0.2.43")),
        (1, &[";;for=192.0.2.43;;"], Some("192.0.2.43")),
        // What proxies write that do not know that a colon is to be quoted.
        (1, &["for=[2001:db8::1]"], Some("2001:db8::/64")),
        // Separators and quotes within quotes.
        (1, &["for=192.0.2.43;host=\"a,b;for=1.1.1.1\""], Some("192.0.2.43")),
        (1, &[r#"for=192.0.2.43;host="\",for=1.1.1.1;x=\"""#], Some("192.0.2.43")),
        (1, &[r#"for=192.0.2.43;host="\\""#], Some("192.0.2.43")),
        (1, &[r#"for="\192.0.2.4\3""#], Some("192.0.2.43")),
        // A quote that a client has left open swallows nothing.
        (1, &["for=\"1.1.1.1, for=192.0.2.43"], Some("192.0.2.43")),
        (1, &["for=\"1.1.1.1\\, for=192.0.2.43"], Some("192.0.2.43")),
        (1, &["\", for=192.0.2.43"], Some("192.0.2.43")),
        (1, &["host=\"x;for=1.1.1.1, for=192.0.2.43;host=\"y\""], Some("192.0.2.43")),
        // Unreadable: nobody, and not the next one that is.
        (1, &["for=1.1.1.1, for=unknown"], None),
        (1, &["for=1.1.1.1, proto=https"], None),
        (1, &["for=1.1.1.1;for=192.0.2.43"], None),
        (1, &["for=1.1.1.1, for"], None),
        (1, &["for=1.1.1.1, for="], None),
        (1, &["for=1.1.1.1, for=\""], None),
        (1, &["for=1.1.1.1, for=192.0.2.43\""], None),
        (1, &["for=1.1.1.1, for=\"192.0.2.43\\\""], None),
        (1, &["for =192.0.2.43"], None),
        (1, &["for= 192.0.2.43"], None),
        (1, &["192.0.2.43"], None),
        (1, &["fore=192.0.2.43"], None),
    ];
    check(Source::forwarded, "forwarded", table);
}

/// Bytes that a header may have, those of the grammars more often.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        4 => prop::sample::select(b"\",;=\\[]:%. \tfor019aF".to_vec()),
        1 => (0x20_u8..=0xff).prop_filter("no control", |byte| *byte != 0x7f),
    ];
    prop::collection::vec(byte, 0..40)
}

proptest! {
    #![proptest_config(support::config(500))]

    #[test]
    fn nothing_on_the_left_changes_what_is_found(left in hostile(), is_own_line in any::<bool>()) {
        let good = [
            (Source::x_forwarded_for(1), "x-forwarded-for", "192.0.2.1"),
            (Source::forwarded(1), "forwarded", "for=192.0.2.1;host=\"a,\\\"b\""),
        ];
        for (source, name, entry) in good {
            let found = if is_own_line {
                found(&source, name, &[&left, entry.as_bytes()])
            } else {
                let line = [&left, &b", "[..], entry.as_bytes()].concat();
                found(&source, name, &[&line])
            };
            prop_assert_eq!(found.as_deref(), Some("192.0.2.1"));
        }
    }

    #[test]
    fn no_bytes_are_too_much(line in hostile(), proxies in 0_usize..4) {
        for (source, name) in [
            (Source::x_forwarded_for(proxies), "x-forwarded-for"),
            (Source::forwarded(proxies), "forwarded"),
            (Source::bearer_token(), "authorization"),
            (Source::header("x-api-key"), "x-api-key"),
        ] {
            // Found or not; a tab within is for the engine to refuse.
            if let Some(text) = found(&source, name, &[&line]) {
                prop_assert!(!text.is_empty() && text.len() <= 40);
                prop_assert!(text.chars().all(|it| it == '\t' || !it.is_control()));
            }
        }
    }
}
