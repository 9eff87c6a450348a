//! Goal: a source finds what it says, one thing has one name however it is written, and what is not
//! there is not found.
//!
//! Method: tables of requests.

use std::net::{IpAddr, SocketAddr};

use axum::extract::ConnectInfo;
use limitry::tower::Source;

use crate::head;

#[test]
fn a_header_is_found_where_it_is_there_once() {
    let key = Source::header("X-Api-Key");
    let table: &[(&[_], Option<&str>)] = &[
        (&[("x-api-key", "key_1")], Some("key_1")),
        (&[("X-API-KEY", " key_1 ")], Some("key_1")),
        (&[], None),
        (&[("x-api-key", "")], None),
        (&[("x-api-key", "key_1"), ("x-api-key", "key_2")], None),
        (&[("x-api-key", "k\u{e9}y")], None),
    ];
    for (headers, expected) in table {
        assert_eq!(key.find(&head("/", headers)).as_deref(), *expected, "{headers:?}");
    }
    // A name that no header can have is in no request.
    assert_eq!(Source::header("not a name").find(&head("/", &[])), None);
}

#[test]
fn a_bearer_token_is_found_by_its_scheme() {
    let table = [
        ("Bearer abc", Some("abc")),
        ("bearer  abc", Some("abc")),
        ("Bearer", None),
        ("Bearer ", None),
        ("Basic abc", None),
        ("Bearerabc", None),
    ];
    for (value, expected) in table {
        let request = head("/", &[("authorization", value)]);
        assert_eq!(Source::bearer_token().find(&request).as_deref(), expected, "{value:?}");
    }
}

#[test]
fn a_peer_is_found_where_the_server_says_it() {
    let peer = Source::peer(|peer: &ConnectInfo<SocketAddr>| peer.0.ip());
    let mut request = head("/", &[]);
    assert_eq!(peer.find(&request), None);
    for (address, expected) in [
        ("192.0.2.1:9", "192.0.2.1"),
        ("[::ffff:192.0.2.1]:9", "192.0.2.1"),
        ("[2001:db8:1:2:3::]:9", "2001:db8:1:2::/64"),
    ] {
        let address: SocketAddr = address.parse().expect("an address");
        request.extensions.insert(ConnectInfo(address));
        assert_eq!(peer.find(&request).as_deref(), Some(expected));
    }
    let nobody = Source::peer(|_: &ConnectInfo<SocketAddr>| None::<IpAddr>);
    assert_eq!(nobody.find(&request), None);
}

#[test]
fn a_path_has_the_name_of_its_pattern() {
    let source = Source::path(["/", "/v1/files/{id}", "/v1/{kind}/{id}", "/static/{*rest}"]);
    let table = [
        ("/", Some("/")),
        ("/v1/files/7", Some("/v1/files/{id}")),
        ("/v1/files/7?x=/v1", Some("/v1/files/{id}")),
        ("/v1/jobs/7", Some("/v1/{kind}/{id}")),
        ("/v1/%66iles/7", Some("/v1/files/{id}")),
        ("/v1/files/", None),
        ("/v1/files", None),
        ("/v1/files/7/", None),
        ("/v1//7", None),
        ("//v1/files/7", None),
        ("/static/a/b/c", Some("/static/{*rest}")),
        ("/static/", None),
        ("/static", None),
        ("/other", None),
        ("/%", None),
        ("/%ff", None),
    ];
    for (path, expected) in table {
        assert_eq!(source.find(&head(path, &[])).as_deref(), expected, "{path}");
    }
    assert_eq!(Source::path([""; 0]).find(&head("/", &[])), None);
}

#[test]
fn a_part_of_a_path_is_one_however_it_is_written() {
    let source = Source::path_part("/t/{tenant}/{*rest}", "tenant");
    let table = [
        ("/t/acme/x", Some("acme")),
        ("/t/%61cm%65/x/y", Some("acme")),
        ("/t/a%2Fb/x", Some("a/b")),
        ("/t/%E2%82%AC/x", Some("\u{20ac}")),
        ("/t/%E2%82/x", None),
        ("/t/%4/x", None),
        ("/t/%zz/x", None),
        ("/t/%+1/x", None),
        ("/t//x", None),
        ("/t/acme", None),
        ("/u/acme/x", None),
    ];
    for (path, expected) in table {
        assert_eq!(source.find(&head(path, &[])).as_deref(), expected, "{path}");
    }
    let rest = Source::path_part("/t/{tenant}/{*rest}", "rest");
    assert_eq!(rest.find(&head("/t/acme/x/y%20z", &[])).as_deref(), Some("x/y z"));
    assert_eq!(Source::path_part("/t/{a}", "b").find(&head("/t/x", &[])), None);
}

#[test]
fn sources_stand_in_for_each_other() {
    let source = Source::header("x-user").or(Source::forwarded(1)).or(Source::text("anybody"));
    let found = |headers| source.find(&head("/", headers)).map(|text| text.into_owned());
    assert_eq!(found(&[("x-user", "ann"), ("forwarded", "for=192.0.2.1")]).as_deref(), Some("ann"));
    assert_eq!(found(&[("forwarded", "for=192.0.2.1")]).as_deref(), Some("192.0.2.1"));
    assert_eq!(found(&[]).as_deref(), Some("anybody"));
    let agent =
        Source::by(|request| request.headers.get("user-agent")?.to_str().ok().map(Into::into));
    assert_eq!(agent.find(&head("/", &[("user-agent", "curl")])).as_deref(), Some("curl"));
    assert_eq!(Source::method().find(&head("/", &[])).as_deref(), Some("GET"));
    assert_eq!(
        format!("{:?}", Source::header("x-user").or(Source::forwarded(1))),
        "Source(the header x-user, or an address in Forwarded)"
    );
}
