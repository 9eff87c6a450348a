//! Goal: who writes headers of a proxy itself gains nothing by it: no fresh limit, and not the one
//! of somebody else.
//!
//! Method: one address sends requests with everything that it can make up, through a proxy that
//! adds what it saw, and past it.

use limitry::tower::{LimitLayer, Source};
use limitry::{RateLimit, Window};

use crate::{engine, hello, request, run, status};

#[test]
fn a_forged_header_gains_nothing() {
    type Proxy = fn(&str) -> String;
    let ways: [(&str, Source, Proxy); 2] = [
        ("x-forwarded-for", Source::x_forwarded_for(1), |seen| seen.to_owned()),
        ("forwarded", Source::forwarded(1), |seen| format!("for={seen}")),
    ];
    for (name, source, entry) in ways {
        let (engine, _) = engine(|it| {
            it.rate_limit(RateLimit::new("calls", 2, Window::Minute).per("customer_id"))
        });
        let (app, calls) = hello(LimitLayer::new(&engine, source));
        let made_up = [
            "",
            "1.1.1.1",
            "1.1.1.2, 1.1.1.3",
            "for=1.1.1.4",
            "for=\"1.1.1.5",
            "\"",
            "\\",
            "[::1",
            "192.0.2.7,",
            "for=1.1.1.6;",
            ",,,",
            "for=\"[2001:db8::1]\", for=\"",
            "unknown",
        ];
        run(async {
            for (count, forged) in made_up.into_iter().enumerate() {
                // As a proxy joins what it got with what it saw; or with a line of its own.
                let joined = format!("{forged}, {}", entry("203.0.113.9"));
                let lines = [(name, forged), (name, &entry("203.0.113.9"))];
                let request = match count % 2 {
                    0 => request("/", &[(name, &joined)]),
                    _ => request("/", &lines),
                };
                let expected = if count < 2 { 200 } else { 429 };
                assert_eq!(status(&app, request).await, expected, "{name}: {forged:?}");
            }
            // Whom it named has all of its limit still.
            let named = request("/", &[(name, &entry("1.1.1.1"))]);
            assert_eq!(status(&app, named).await, 200);
        });
        assert_eq!((calls.count(), engine.live_keys()), (3, 2));
    }
}

#[test]
fn who_comes_past_the_proxies_has_no_name() {
    let (engine, _) = engine(|it| it);
    let (app, calls) = hello(LimitLayer::new(&engine, Source::x_forwarded_for(2)));
    run(async {
        assert_eq!(status(&app, request("/", &[])).await, 400);
        assert_eq!(status(&app, request("/", &[("x-forwarded-for", "1.1.1.1")])).await, 400);
    });
    assert_eq!(calls.count(), 0);
}

#[test]
fn one_subscriber_of_ipv6_is_one() {
    let (engine, _) =
        engine(|it| it.rate_limit(RateLimit::new("calls", 1, Window::Minute).per("customer_id")));
    let (app, _) = hello(LimitLayer::new(&engine, Source::x_forwarded_for(1)));
    run(async {
        let from = |address| request("/", &[("x-forwarded-for", address)]);
        assert_eq!(status(&app, from("2001:db8:1:2::1")).await, 200);
        assert_eq!(status(&app, from("2001:db8:1:2:ffff::9")).await, 429);
        assert_eq!(status(&app, from("2001:db8:1:3::1")).await, 200);
    });
}

#[test]
fn an_id_that_is_too_long_is_not_let_through() {
    let (engine, _) = engine(|it| it);
    let (app, calls) = hello(LimitLayer::new(&engine, Source::header("x-user")).fail_open());
    let (long, longest) = ("x".repeat(257), "x".repeat(256));
    run(async {
        assert_eq!(status(&app, request("/", &[("x-user", &long)])).await, 400);
        assert_eq!(status(&app, request("/", &[("x-user", &longest)])).await, 200);
    });
    assert_eq!(calls.count(), 1);
}
