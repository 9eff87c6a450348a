//! Goal: the page is one file that needs no other, is served where that is asked for, without a
//! key, and may do no more than its own text: its policy names the hashes of its script and its
//! style.

use axum::body::Body;
use axum::http::Request;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use limitry::Engine;
use sha2::{Digest, Sha256};

use crate::app::App;

fn with_page() -> App {
    App::served("2024-01-15T10:30:00Z", Engine::builder(), limitry::http::Options::page)
}

/// What stands between two marks, which are there once.
fn between<'t>(text: &'t str, start: &str, end: &str) -> &'t str {
    assert_eq!((text.matches(start).count(), text.matches(end).count()), (1, 1), "{start}");
    text.split_once(start).and_then(|(_, rest)| rest.split_once(end)).expect("both").0
}

#[test]
fn the_page_is_one_file_and_its_policy_names_it() {
    let app = with_page();
    let (status, kind, page) = app.text("", "/");
    assert_eq!((status, &*kind), (200, "text/html; charset=utf-8"));
    let request = Request::builder().uri("/").body(Body::empty()).expect("a request");
    let headers = app.head(request);
    let policy = headers["content-security-policy"].to_str().expect("ASCII");
    for (directive, start, end) in
        [("script-src", "<script>", "</script>"), ("style-src", "<style>", "</style>")]
    {
        let hash = BASE64_STANDARD.encode(Sha256::digest(between(&page, start, end)));
        assert!(policy.contains(&format!("{directive} 'sha256-{hash}'")), "{policy}");
    }
    assert!(policy.starts_with("default-src 'none';") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(headers["x-content-type-options"], "nosniff");
    // Text goes in as text, and nothing is asked for elsewhere.
    for word in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("] {
        assert!(!page.contains(word), "{word}");
    }
    let links = page.matches("http").count() - page.matches("http://www.w3.org/2000/svg").count();
    assert_eq!(links, 0, "an address of elsewhere");
    for attribute in [" onclick=", " onload=", " style=", "src=", "@import", "url("] {
        assert!(!page.contains(attribute), "{attribute}");
    }
}

#[test]
fn there_is_no_page_where_none_is_asked_for() {
    assert_eq!(App::new().text("", "/").0, 401);
    // What is below needs a key as before.
    assert_eq!(with_page().text("", "/engine/v1/me").0, 401);
}
