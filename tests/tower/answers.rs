//! Goal: what is let in carries the limits' headers, what is refused is answered as HTTP says it,
//! and where the engine has no answer the application's choice holds.
//!
//! Method: routers of axum behind a layer, one request after the other, and the whole answers.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use http::{Response, StatusCode};
use limitry::store::MemoryStore;
use limitry::tower::{Extracted, LimitLayer, Source};
use limitry::wire::HeaderDialect;
use limitry::{Engine, Event, Metric, Period, Quota, RateLimit, Window};
use serde_json::json;

use crate::{answer, engine, hello, json, request, run, said, status};

fn calls(limit: u64) -> RateLimit {
    RateLimit::new("Calls", limit, Window::Minute).per("customer_id")
}

#[test]
fn what_is_let_in_carries_the_limits() {
    let (engine, _) = engine(|it| it.rate_limit(calls(3)));
    let (app, seen) = hello(LimitLayer::new(&engine, Source::header("x-user")));
    run(async {
        let (status, headers, body) = answer(&app, request("/", &[("x-user", "ann")])).await;
        assert_eq!((status, body.as_str()), (StatusCode::OK, "hello"));
        assert_eq!(said(&headers, "x-ratelimit-limit"), Some("3"));
        assert_eq!(said(&headers, "x-ratelimit-remaining"), Some("2"));
        assert_eq!(said(&headers, "x-ratelimit-reset"), Some("1705314620"));
        assert_eq!(said(&headers, "retry-after"), None);
        assert_eq!(said(&headers, "content-length"), Some("5"));
    });
    assert_eq!(seen.count(), 1);
}

#[test]
fn what_is_refused_says_why_and_how_long_to_wait() {
    let (engine, clock) = engine(|it| it.rate_limit(calls(1)));
    let (app, seen) = hello(LimitLayer::new(&engine, Source::header("x-user")));
    run(async {
        assert_eq!(status(&app, request("/", &[("x-user", "ann")])).await, 200);
        let (status, headers, body) = answer(&app, request("/", &[("x-user", "ann")])).await;
        assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(said(&headers, "content-type"), Some("application/problem+json"));
        assert_eq!(said(&headers, "retry-after"), Some("60"));
        assert_eq!(said(&headers, "x-ratelimit-remaining"), Some("0"));
        let expected = json!({
            "type": "https://iana.org/assignments/http-problem-types#quota-exceeded",
            "title": "Request cannot be satisfied as assigned quota has been exceeded",
            "status": 429,
            "detail": "refused by \"Calls\"; passes in 60s",
            "violated-policies": ["Calls"],
        });
        assert_eq!(json(&body), expected);
        // Rounded up, and never 0: who waits for so long passes.
        for (step, expected) in [(1, "60"), (58_999_999_999, "1"), (999_999_999, "1")] {
            clock.advance(Duration::from_nanos(step));
            let (_, headers, _) = answer(&app, request("/", &[("x-user", "ann")])).await;
            assert_eq!(said(&headers, "retry-after"), Some(expected), "{step} ns on");
        }
        clock.advance(Duration::from_nanos(1));
        assert_eq!(crate::status(&app, request("/", &[("x-user", "ann")])).await, 200);
    });
    assert_eq!(seen.count(), 2);
}

#[test]
fn what_never_passes_has_no_wait() {
    let bytes = Metric::value("bytes");
    let (engine, _) = engine(|it| it.quota(Quota::new("Bytes", bytes, 10, Period::Day)));
    let layer = LimitLayer::by(&engine, |_| Event::new("ann", "upload").value("bytes", 11).into());
    let (app, _) = hello(layer);
    run(async {
        let (status, headers, _) = answer(&app, request("/", &[])).await;
        assert_eq!((status.as_u16(), said(&headers, "retry-after")), (429, None));
        assert_eq!(said(&headers, "x-quota-metric"), Some("values.bytes"));
    });
}

#[test]
fn the_headers_dialect_is_a_choice() {
    let (engine, _) = engine(|it| it.rate_limit(calls(1)));
    let layer = LimitLayer::new(&engine, Source::text("ann")).headers(HeaderDialect::Draft10);
    let (app, _) = hello(layer);
    run(async {
        let (_, headers, _) = answer(&app, request("/", &[])).await;
        assert_eq!(said(&headers, "ratelimit-policy"), Some("\"Calls\";q=1;w=60"));
        assert_eq!(said(&headers, "ratelimit"), Some("\"Calls\";r=0;t=60"));
        let (status, headers, _) = answer(&app, request("/", &[])).await;
        assert_eq!((status.as_u16(), said(&headers, "retry-after")), (429, Some("60")));
        assert_eq!(said(&headers, "ratelimit"), Some("\"Calls\";r=0;t=60"));
        assert_eq!(said(&headers, "x-ratelimit-limit"), None);
    });
}

#[test]
fn an_inner_layers_refusal_keeps_its_headers() {
    let (outer, _) = engine(|it| it.rate_limit(calls(100)));
    let (inner, _) = engine(|it| it.rate_limit(calls(1)));
    let (app, _) = hello(LimitLayer::new(&inner, Source::text("ann")));
    let app = app.layer(LimitLayer::new(&outer, Source::text("anybody")));
    run(async {
        assert_eq!(status(&app, request("/", &[])).await, 200);
        let (status, headers, _) = answer(&app, request("/", &[])).await;
        assert_eq!((status.as_u16(), said(&headers, "x-ratelimit-limit")), (429, Some("1")));
        assert_eq!(said(&headers, "x-ratelimit-remaining"), Some("0"));
        assert_eq!(said(&headers, "retry-after"), Some("60"));
    });
}

#[test]
fn a_request_that_names_nobody_is_told_so() {
    let (engine, _) = engine(|it| it.rate_limit(calls(1)));
    let source = Source::header("x-api-key").or(Source::bearer_token());
    let (app, seen) = hello(LimitLayer::new(&engine, source));
    run(async {
        let (status, headers, body) = answer(&app, request("/", &[])).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert_eq!(said(&headers, "content-type"), Some("application/problem+json"));
        let expected = json!({
            "type": "about:blank", "title": "Bad Request", "status": 400,
            "detail": "the request must have the header x-api-key, or a bearer token",
        });
        assert_eq!(json(&body), expected);
    });
    assert_eq!(seen.count(), 0);
}

#[test]
fn a_closure_says_what_counts_what_is_free_and_who_is_turned_away() {
    let uploads = Quota::new("Bytes", Metric::value("bytes"), 100, Period::Day);
    let (engine, _) = engine(|it| it.quota(uploads.per("customer_id")));
    let layer = LimitLayer::by(&engine, |request| match request.uri.path() {
        "/healthz" => Extracted::Exempt,
        "/secret" => Extracted::Rejected(StatusCode::FORBIDDEN, "not for you".into()),
        path => Event::new("ann", "upload").property("path", path).value("bytes", 60).into(),
    });
    let (app, seen) = hello(layer.dimension("method", Source::method()));
    run(async {
        for (path, expected) in
            [("/a", 200), ("/a", 429), ("/healthz", 200), ("/secret", 403), ("/healthz", 200)]
        {
            assert_eq!(status(&app, request(path, &[])).await, expected, "{path}");
        }
        let (_, headers, _) = answer(&app, request("/healthz", &[])).await;
        assert!(headers.keys().all(|name| !name.as_str().contains("limit")), "{headers:?}");
    });
    assert_eq!(seen.count(), 4);
}

#[test]
fn sources_add_dimensions_to_any_event() {
    let per_route = RateLimit::new("Uploads", 1, Window::Minute).filter("route", "/files/{id}");
    let define = |closure: bool| {
        let (engine, _) = engine(|it| it.rate_limit(per_route.clone()).rate_limit(calls(100)));
        let layer = match closure {
            true => LimitLayer::by_async(&engine, |_| async { Event::new("ann", "x").into() }),
            false => LimitLayer::new(&engine, Source::text("ann")).event_type("call"),
        };
        layer.dimension("route", Source::path(["/files/{id}"]))
    };
    for closure in [false, true] {
        let (app, _) = hello(define(closure));
        run(async {
            for (path, expected) in [("/files/1", 200), ("/files/2", 429), ("/other", 200)] {
                assert_eq!(status(&app, request(path, &[])).await, expected, "{closure} {path}");
            }
        });
    }
}

#[test]
fn an_async_closure_may_look_the_customer_up() {
    let (engine, _) = engine(|it| it.rate_limit(calls(1)));
    let key = Source::bearer_token();
    let layer = LimitLayer::by_async(&engine, move |request| {
        let key = key.find(request).map(|key| key.into_owned());
        async move {
            tokio::task::yield_now().await;
            match key.as_deref() {
                Some("key_1" | "key_2") => Event::new("ann", "request").into(),
                Some(_) => Extracted::Rejected(StatusCode::UNAUTHORIZED, "no such key".into()),
                None => Extracted::Exempt,
            }
        }
    });
    let (app, seen) = hello(layer);
    run(async {
        let with = |key: &str| request("/", &[("authorization", &format!("Bearer {key}"))]);
        assert_eq!(status(&app, with("key_1")).await, 200);
        assert_eq!(status(&app, with("key_2")).await, 429, "both are hers");
        assert_eq!(status(&app, with("key_3")).await, 401);
        assert_eq!(status(&app, request("/", &[])).await, 200);
    });
    assert_eq!(seen.count(), 2);
}

#[test]
fn a_closure_may_answer_refusals() {
    let (engine, _) = engine(|it| it.rate_limit(calls(1)));
    let layer = LimitLayer::new(&engine, Source::text("ann")).on_refused(|request, decision| {
        let mut answer = Response::new(format!("{}: {decision}", request.uri.path()));
        *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        answer
    });
    let (app, _) = hello(layer);
    run(async {
        assert_eq!(status(&app, request("/", &[])).await, 200);
        let (status, headers, body) = answer(&app, request("/x", &[])).await;
        assert_eq!((status.as_u16(), said(&headers, "retry-after")), (503, Some("60")));
        assert_eq!(body, "/x: refused by \"Calls\"; passes in 60s");
    });
}

/// An engine whose store is closed: it takes nothing.
fn broken() -> Engine {
    let durable = MemoryStore::new().open().expect("a new store");
    let engine = Engine::builder().rate_limit(calls(1)).durable(durable).build().expect("good");
    engine.store().close().expect("nothing to write");
    engine
}

#[test]
fn where_the_engine_has_no_answer_a_choice_holds() {
    let engine = broken();
    for is_open in [false, true] {
        let told = Arc::new(Mutex::new(Vec::new()));
        let tell = Arc::clone(&told);
        let layer = LimitLayer::new(&engine, Source::text("ann"))
            .on_error(move |why| tell.lock().expect("no panic").push(why.is_store()));
        let layer = if is_open { layer.fail_open() } else { layer };
        let (app, seen) = hello(layer);
        run(async {
            let (status, headers, body) = answer(&app, request("/", &[])).await;
            assert_eq!(said(&headers, "x-ratelimit-limit"), None);
            if is_open {
                assert_eq!((status.as_u16(), body.as_str()), (200, "hello"));
            } else {
                assert_eq!(status.as_u16(), 503);
                assert_eq!(json(&body)["detail"], "the limits cannot be checked now");
            }
        });
        assert_eq!(
            (seen.count(), told.lock().expect("no panic").as_slice()),
            (u32::from(is_open), &[true][..])
        );
    }
}

#[test]
fn the_service_is_asked_once_ready_and_its_errors_pass() {
    // A service that fails is no router: the error is the service's own.
    let (engine, _) = engine(|it| it.rate_limit(calls(1)));
    let service = tower::service_fn(|_: http::Request<()>| async {
        Err::<Response<axum::body::Body>, _>("down")
    });
    let limited = tower::Layer::layer(&LimitLayer::new(&engine, Source::text("ann")), service);
    run(async {
        let request = || http::Request::new(());
        let answer = tower::ServiceExt::oneshot(limited.clone(), request()).await;
        assert_eq!(answer.expect_err("it fails"), "down");
        let answer = tower::ServiceExt::oneshot(limited, request()).await;
        assert_eq!(answer.expect("refused before it").status().as_u16(), 429);
    });
}

#[test]
fn a_layer_of_one_route_limits_it_alone() {
    let (engine, _) = engine(|it| it.rate_limit(calls(1)));
    let limited = get(|| async { "dear" }).layer(LimitLayer::new(&engine, Source::text("ann")));
    let app = Router::new().route("/dear", limited).route("/cheap", get(|| async { "cheap" }));
    run(async {
        for (path, expected) in [("/dear", 200), ("/dear", 429), ("/cheap", 200)] {
            assert_eq!(status(&app, request(path, &[])).await, expected, "{path}");
        }
    });
}
