//! Limits: made, changed, listed, archived, synced, credited.

use std::time::Duration;

use serde_json::{Value, json};

use super::{check, error, id, left, limit, user};
use crate::app::{App, THIRD, keyed};

#[test]
fn a_limit_is_shown_as_it_was_made() {
    let app = App::new();
    let body = json!({
        "subject": {"kind": "api-key", "id": null}, "amount": 200, "window": "month", "every": 3,
        "action": "chat", "unit": "cents", "name": "Cents a quarter", "enabled": false,
        "failMode": "closed", "start": "calendar", "rolling": false,
    });
    let made = limit(&app, body);
    assert!(id(&made).starts_with("lmt_"), "{made}");
    let expected = json!({
        "id": made["id"], "name": "Cents a quarter", "subject": {"kind": "api-key", "id": null},
        "action": "chat", "amount": 200, "unit": "cents", "window": "month", "every": 3,
        "start": "calendar", "rolling": false, "enabled": false, "archivedAt": null,
        "failMode": "closed", "version": 1, "lastCheckedAt": null,
        "createdAt": "2024-01-15T10:30:00Z", "updatedAt": "2024-01-15T10:30:00Z",
    });
    assert_eq!(made, expected);
    let path = format!("/v1/limits/{}", id(&made));
    app.third("GET", &path, Value::Null).is(200, expected.clone());
    // The hour in which it was last asked, which it is not while it is turned off.
    app.third("PATCH", &path, json!({"enabled": true})).ok(200);
    app.clock.advance(Duration::from_secs(3_600));
    let body = json!({"subject": {"kind": "api-key", "id": "k"}, "action": "chat"});
    app.third("POST", "/v1/checks", body).ok(200);
    let asked = app.third("GET", &path, Value::Null).ok(200);
    assert_eq!(asked["lastCheckedAt"], "2024-01-15T11:00:00Z");
    let listed = app.third("GET", "/v1/limits", Value::Null).ok(200);
    assert_eq!(listed["items"][0], asked);
    // The least that one is made of.
    let least = limit(&app, json!({"subject": {"kind": "user"}, "amount": 0, "window": "total"}));
    let told = ["name", "action", "unit", "every", "start", "rolling", "enabled", "failMode"];
    let told: Vec<&Value> = told.iter().map(|name| &least[name]).collect();
    let name = json!("0 units in total for every user");
    assert_eq!(
        told,
        [
            &name,
            &json!("*"),
            &json!("units"),
            &json!(1),
            &json!("calendar"),
            &json!(false),
            &json!(true),
            &json!("open")
        ]
    );
}

#[test]
fn every_window_is_read_back_as_it_was_made() {
    let app = App::new();
    let mut made = Vec::new();
    for (window, every, start, rolling) in [
        ("minute", 1, "calendar", false),
        ("minute", 90, "calendar", false),
        ("hour", 1, "calendar", false),
        ("hour", 6, "calendar", false),
        ("hour", 6, "first_use", false),
        ("day", 1, "calendar", false),
        ("day", 1, "billing_date", false),
        ("day", 3, "calendar", false),
        ("day", 3, "billing_date", false),
        ("day", 1, "first_use", false),
        ("week", 1, "calendar", false),
        ("week", 1, "first_use", false),
        ("week", 2, "billing_date", false),
        ("month", 1, "calendar", false),
        ("month", 1, "billing_date", false),
        ("month", 3, "calendar", false),
        ("year", 1, "calendar", false),
        ("year", 2, "billing_date", false),
        ("minute", 1_440, "calendar", true),
        ("hour", 24, "calendar", true),
        ("day", 1, "calendar", true),
        ("total", 1, "calendar", false),
        ("concurrent", 1, "calendar", false),
    ] {
        for subject in [json!({"kind": "user"}), json!({"kind": "customer", "id": "c"})] {
            let body = json!({
                "subject": subject, "amount": 5, "window": window, "every": every, "start": start,
                "rolling": rolling,
            });
            let shown = limit(&app, body.clone());
            for (name, value) in body.as_object().expect("fields") {
                if name == "subject" {
                    assert_eq!(shown["subject"]["kind"], value["kind"]);
                    assert_eq!(
                        shown["subject"]["id"],
                        value.get("id").cloned().unwrap_or_default()
                    );
                } else {
                    assert_eq!(shown[name], *value, "{body}");
                }
            }
            made.push(shown);
        }
    }
    // All of them are in force at once.
    let customer = json!({"kind": "customer", "id": "c"});
    let both = json!({"subject": user("u"), "shared": [customer], "action": "a", "cost": 5});
    let decision = app.third("POST", "/v1/checks", both).ok(200);
    assert_eq!(decision["limits"].as_array().map(Vec::len), Some(made.len()));
}

#[test]
fn what_a_limit_counts_is_fixed() {
    let app = App::new();
    let made = limit(&app, json!({"subject": {"kind": "user"}, "amount": 10, "window": "day"}));
    check(&app, "u1", json!({"cost": 7}));
    let path = format!("/v1/limits/{}", id(&made));
    app.clock.advance(Duration::from_secs(60));
    let body = json!({
        "name": "Daily", "amount": 5, "enabled": true, "failMode": "closed", "window": "day",
        "unit": "units",
    });
    let changed = app.third("PATCH", &path, body).ok(200);
    assert_eq!(
        (&changed["name"], &changed["amount"], &changed["failMode"]),
        (&json!("Daily"), &json!(5), &json!("closed"))
    );
    assert_eq!(
        (&changed["version"], &changed["updatedAt"]),
        (&json!(2), &json!("2024-01-15T10:31:00Z"))
    );
    assert_eq!(changed["createdAt"], made["createdAt"]);
    // At once: less than was used is left.
    assert_eq!(left(&check(&app, "u1", json!({}))), (false, Some(0)));
    for (field, value) in [
        ("subject", json!({"kind": "team"})),
        ("subject", user("u1")),
        ("action", json!("chat")),
        ("unit", json!("cents")),
        ("window", json!("week")),
        ("every", json!(2)),
        ("start", json!("billing_date")),
        ("rolling", json!(true)),
    ] {
        let answer = app.third("PATCH", &path, json!({field: value, "amount": 99}));
        assert_eq!(error(&answer), (400, "invalid_request", vec![field]), "{}", answer.body);
    }
    assert_eq!(app.third("GET", &path, Value::Null).ok(200)["amount"], 5);
    let missing = app.third("PATCH", "/v1/limits/lmt_none", json!({"amount": 1}));
    assert_eq!(error(&missing), (404, "not_found", vec![]));
}

#[test]
fn an_archived_limit_keeps_what_is_known_of_it() {
    let app = App::new();
    let made = limit(&app, json!({"subject": {"kind": "user"}, "amount": 10, "window": "day"}));
    let path = format!("/v1/limits/{}", id(&made));
    check(&app, "u1", json!({"cost": 10}));
    assert_eq!(app.third("POST", &format!("{path}/archive"), Value::Null).ok(204), Value::Null);
    assert_eq!(check(&app, "u1", json!({}))["limits"], json!([]));
    assert_eq!(app.third("GET", "/v1/limits", Value::Null).ok(200)["items"], json!([]));
    let archived = app.third("GET", "/v1/limits?archived=true", Value::Null).ok(200);
    assert_eq!(
        (&archived["items"][0]["id"], &archived["items"][0]["archivedAt"]),
        (&made["id"], &json!("2024-01-15T10:30:00Z"))
    );
    // Its name is free, and while another has it, it stays where it is.
    let other =
        json!({"subject": {"kind": "team"}, "amount": 1, "window": "day", "name": made["name"]});
    let other = limit(&app, other);
    let restore = app.third("POST", &format!("{path}/restore"), Value::Null);
    assert_eq!(error(&restore), (409, "name_taken", vec![]));
    let renamed = json!({"name": "Of teams"});
    app.third("PATCH", &format!("/v1/limits/{}", id(&other)), renamed).ok(200);
    let restored = app.third("POST", &format!("{path}/restore"), Value::Null).ok(200);
    assert_eq!((&restored["archivedAt"], &restored["version"]), (&Value::Null, &json!(3)));
    assert_eq!(left(&check(&app, "u1", json!({}))), (false, Some(0)));
}

#[test]
fn names_are_unique_and_so_is_what_is_counted() {
    let app = App::new();
    let body = json!({"subject": {"kind": "user"}, "amount": 10, "window": "day", "name": "A"});
    limit(&app, body.clone());
    let mut same_name = body.clone();
    same_name["window"] = json!("week");
    let mut same_counts = body.clone();
    (same_counts["name"], same_counts["amount"]) = (json!("B"), json!(20));
    assert_eq!(error(&app.third("POST", "/v1/limits", same_name.clone())).1, "name_taken");
    assert_eq!(error(&app.third("POST", "/v1/limits", same_counts)).1, "limit_exists");
    same_name["name"] = json!("C");
    let other = limit(&app, same_name);
    let path = format!("/v1/limits/{}", id(&other));
    assert_eq!(
        error(&app.third("PATCH", &path, json!({"name": "A"}))),
        (409, "name_taken", vec![])
    );
}

#[test]
fn lists_are_cut_into_pages_the_newest_first() {
    let app = App::new();
    for number in 0..30 {
        let kind = if number % 3 == 0 { "team" } else { "user" };
        let action = if number % 2 == 0 { "chat" } else { "*" };
        let body = json!({
            "subject": {"kind": kind, "id": format!("i{number}")}, "amount": 1, "window": "day",
            "action": action, "name": format!("n{number}"),
        });
        limit(&app, body);
        app.clock.advance(Duration::from_secs(1));
    }
    let names = |query: &str| -> (Vec<String>, Value) {
        let page = app.third("GET", &format!("/v1/limits{query}"), Value::Null).ok(200);
        let items = page["items"].as_array().expect("a list").iter();
        let names = items.map(|one| one["name"].as_str().expect("a name").to_owned());
        (names.collect(), page["nextCursor"].clone())
    };
    let (first, cursor) = names("");
    assert_eq!((first.len(), &*first[0], &*first[24]), (25, "n29", "n5"));
    let next = format!("?cursor={}", cursor.as_str().expect("there is more"));
    assert_eq!(
        names(&next),
        (vec!["n4", "n3", "n2", "n1", "n0"].into_iter().map(str::to_owned).collect(), Value::Null)
    );
    // What is out of bounds is the nearest that is not.
    assert_eq!(
        (names("?limit=0").0.len(), names("?limit=-3").0.len(), names("?limit=1000").0.len()),
        (1, 1, 30)
    );
    assert_eq!(names("?subjectKind=team&action=chat").0, ["n24", "n18", "n12", "n6", "n0"]);
    assert_eq!(names("?archived=true"), (vec![], Value::Null));
    for query in ["?limit=x", "?cursor=x", "?archived=maybe", "?order=up"] {
        let answer = app.third("GET", &format!("/v1/limits{query}"), Value::Null);
        assert_eq!(error(&answer), (400, "invalid_request", vec![]), "{query}");
    }
}

/// An entry of a list to sync.
fn entry(name: &str, amount: u64, window: &str) -> Value {
    json!({"name": name, "subject": {"kind": "user"}, "amount": amount, "window": window})
}

#[test]
fn a_sync_makes_all_match_or_changes_nothing() {
    let app = App::new();
    limit(&app, entry("same", 1, "day"));
    let differs = limit(&app, entry("differs", 10, "week"));
    limit(&app, entry("missing", 3, "month"));
    // A rule of the first generation is none of its business.
    let quota = json!({"name": "Q", "metric": "total_tokens", "limitValue": 3, "period": "day"});
    app.post("/v1/quotas", quota.to_string()).ok(201);
    check(&app, "u1", json!({}));
    let mut list = json!({
        "limits": [
            entry("same", 1, "day"), entry("differs", 20, "week"), entry("new", 5, "minute"),
        ],
        "archiveMissing": true, "preview": true,
    });
    let mut expected = json!({
        "preview": true, "created": ["new"],
        "updated": [{"name": "differs", "changes": {"amount": {"from": 10, "to": 20}}}],
        "archived": ["missing"], "unchanged": ["same"],
    });
    let send = |list: &Value| app.third("POST", "/v1/limits/sync", list.clone());
    let names = || {
        let page = app.third("GET", "/v1/limits", Value::Null).ok(200);
        let items = page["items"].as_array().expect("a list").iter();
        items.map(|one| one["name"].as_str().expect("a name").to_owned()).collect::<Vec<_>>()
    };
    send(&list).is(200, expected.clone());
    assert_eq!(names(), ["missing", "differs", "same"]);
    app.clock.advance(Duration::from_secs(1));
    (list["preview"], expected["preview"]) = (json!(false), json!(false));
    send(&list).is(200, expected);
    assert_eq!(names(), ["new", "differs", "same"]);
    let changed = app.third("GET", &format!("/v1/limits/{}", id(&differs)), Value::Null).ok(200);
    assert_eq!((&changed["amount"], &changed["version"]), (&json!(20), &json!(2)));
    let standing = app.third("GET", "/v1/usage/standing?subject=user:u1", Value::Null).ok(200);
    assert_eq!(standing["limits"][1]["used"], 1, "{standing}");
    assert_eq!(app.get("/v1/quotas").ok(200)["data"].as_array().map(Vec::len), Some(3));
    // A second run changes nothing.
    let again = json!({
        "preview": false, "created": [], "updated": [], "archived": [],
        "unchanged": ["same", "differs", "new"],
    });
    send(&list).is(200, again);
    // Without it, what is not named stays.
    let none =
        json!({"preview": false, "created": [], "updated": [], "archived": [], "unchanged": []});
    send(&json!({"limits": []})).is(200, none);

    // All that is wrong is said, and nothing is changed.
    let bad = json!({"limits": [
        entry("same", 1, "week"),
        {"name": "b", "subject": {"kind": "user"}, "window": "fortnight"},
        entry("c", 1, "total"), entry("c", 2, "hour"), entry("d", 9, "total"),
        {"name": "Q", "subject": {"kind": "user"}, "window": "year", "amount": -1, "color": "red"},
    ]});
    let answer = send(&bad);
    let wrong = ["limits[1].window", "limits[1].amount", "limits[5].amount", "limits[5].color"];
    assert_eq!(error(&answer), (400, "invalid_request", wrong.to_vec()), "{}", answer.body);
    let bad = json!({"limits": [
        entry("same", 1, "week"), entry("c", 1, "total"), entry("c", 2, "hour"),
        entry("d", 9, "total"), entry("Q", 9, "year"), entry("e", 9, "minute"),
    ]});
    let answer = send(&bad);
    let wrong = [
        "limits[0].window",
        "limits[0].subject",
        "limits[2].name",
        "limits[3].subject",
        "limits[4].name",
        "limits[5].subject",
    ];
    assert_eq!(error(&answer), (400, "invalid_request", wrong.to_vec()), "{}", answer.body);
    assert_eq!(names(), ["new", "differs", "same"]);
}

#[test]
fn credits_are_added_and_taken_back() {
    let app = App::new();
    let made = limit(&app, json!({"subject": {"kind": "user"}, "amount": 100, "window": "total"}));
    let path = format!("/v1/limits/{}/credits", id(&made));
    let credit = |amount: i64, note: &str| {
        let body = json!({"subject": user("u1"), "amount": amount, "note": note});
        app.third("POST", &path, body)
    };
    assert_eq!(left(&check(&app, "u1", json!({"cost": 100}))), (true, Some(0)));
    let added = credit(50, "promotion").ok(200);
    let expected = json!({
        "id": "crd_0", "limitId": made["id"], "subject": user("u1"), "amount": 50,
        "note": "promotion", "createdByUserId": null, "createdAt": "2024-01-15T10:30:00Z",
    });
    assert_eq!(added, expected);
    let refused = check(&app, "u1", json!({"cost": 60}));
    assert_eq!((left(&refused), &refused["retryAfterSeconds"]), ((false, Some(50)), &Value::Null));
    assert_eq!(left(&check(&app, "u1", json!({"cost": 40}))), (true, Some(10)));
    // Below zero, and only with a word about it.
    assert_eq!(error(&credit(-30, "")), (400, "invalid_request", vec!["note"]));
    credit(-30, "chargeback").ok(200);
    assert_eq!(left(&check(&app, "u1", json!({}))), (false, Some(-20)));
    assert_eq!(left(&check(&app, "u1", json!({"cost": 0}))), (true, Some(-20)));
    app.third("POST", &path, json!({"subject": user("u1"), "amount": 25})).ok(200);
    assert_eq!(left(&check(&app, "u1", json!({"cost": 5}))), (true, Some(0)));
    // Another subject has its own, and more than it began with.
    app.third("POST", &path, json!({"subject": user("u2"), "amount": 1})).ok(200);
    assert_eq!(left(&check(&app, "u2", json!({"mode": "preview", "cost": 0}))), (true, Some(101)));
    let page = app.third("GET", &format!("{path}?limit=3"), Value::Null).ok(200);
    let amounts: Vec<&Value> =
        page["items"].as_array().expect("a list").iter().map(|one| &one["amount"]).collect();
    assert_eq!(amounts, [&json!(1), &json!(25), &json!(-30)]);
    assert_eq!(
        (&page["items"][1]["note"], &page["items"][2]["note"]),
        (&json!(""), &json!("chargeback"))
    );
    let next = format!("{path}?cursor={}", page["nextCursor"].as_str().expect("there is more"));
    let page = app.third("GET", &next, Value::Null).ok(200);
    assert_eq!((&page["items"][0]["amount"], &page["nextCursor"]), (&json!(50), &Value::Null));
    // A retry adds once.
    let body = json!({"subject": user("u3"), "amount": 7}).to_string();
    for _ in 0..2 {
        app.answer(keyed(THIRD, "k", "POST", &path, &body)).ok(200);
    }
    assert_eq!(left(&check(&app, "u3", json!({"mode": "preview", "cost": 0}))), (true, Some(107)));
    // A limit of another window has none, nor has one for another subject.
    let daily = limit(&app, json!({"subject": user("u1"), "amount": 1, "window": "day"}));
    let body = json!({"subject": user("u1"), "amount": 7});
    let answer = app.third("POST", &format!("/v1/limits/{}/credits", id(&daily)), body);
    assert_eq!(error(&answer), (400, "not_a_balance", vec![]));
    let body = json!({"subject": {"kind": "team", "id": "t"}, "amount": 7});
    assert_eq!(app.third("POST", &path, body).status, 400);
    // A changed amount moves what is left with it.
    app.third("PATCH", &format!("/v1/limits/{}", id(&made)), json!({"amount": 110})).ok(200);
    assert_eq!(left(&check(&app, "u2", json!({"mode": "preview", "cost": 0}))), (true, Some(111)));
}
