//! Balances, by the documented examples and worked numbers.

use limitry::balances::NewBalance;
use limitry::{Event, Metric, Quota};
use serde_json::{Value, json};

use super::{get, pages, post};
use crate::app::{App, SECOND, keyed};

fn create(app: &App, initial: i64, minimum: i64) -> Value {
    let body = json!({"customerId": "cust_123", "name": "AI Credits", "initialBalance": initial,
        "minimumBalance": minimum});
    post(app, "/balances", body).ok(201)
}

fn change(amount: Value) -> Value {
    json!({"customerId": "cust_123", "name": "AI Credits", "amount": amount,
        "description": "an image", "reference": "inv_7"})
}

fn check(app: &App, amount: Value) -> Value {
    let body = json!({"customerId": "cust_123", "name": "AI Credits", "amount": amount,
        "dimensions": {"model": "gpt-4"}});
    post(app, "/balances/check", body).ok(200)
}

#[test]
fn a_balance_is_made_credited_and_debited() {
    let app = App::new();
    let made = create(&app, 1_000, 100);
    let id = made["id"].as_str().expect("a text").to_owned();
    assert!(id.starts_with("bal_"), "{id}");
    let at = "2024-01-15T10:30:00Z";
    let mut due = json!({
        "id": id, "projectId": "proj_xyz", "customerId": "cust_123", "name": "AI Credits",
        "unit": "credits", "currentBalance": 1000, "minimumBalance": 100, "availableBalance": 900,
        "dimensionFilters": {}, "createdAt": at, "updatedAt": at,
    });
    assert_eq!(made, due);
    get(&app, &format!("/balances/{id}")).is(200, due.clone());
    let checked = check(&app, json!(901));
    let expected = json!({
        "balanceId": id, "name": "AI Credits", "unit": "credits", "currentBalance": 1000,
        "minimumBalance": 100, "requestedAmount": 901, "sufficient": false,
        "availableBalance": 900,
    });
    assert_eq!(checked, expected);
    assert_eq!(check(&app, json!(900))["sufficient"], true);
    let credited = post(&app, "/balances/credit", change(json!(0.5))).ok(200);
    (due["currentBalance"], due["availableBalance"]) = (json!(1000.5), json!(900.5));
    let transaction = |of: &Value, kind: &str, amount: Value| {
        assert!(of["id"].as_str().is_some_and(|id| id.starts_with("txn_")), "{of}");
        json!({"id": of["id"], "balanceId": id, "type": kind, "amount": amount,
            "description": "an image", "reference": "inv_7", "createdAt": at})
    };
    let first = transaction(&credited["transaction"], "credit", json!(0.5));
    let expected = json!({"success": true, "transaction": first, "balance": due});
    assert_eq!(credited, expected);
    let debited = post(&app, "/balances/debit", change(json!(900))).ok(200);
    (due["currentBalance"], due["availableBalance"]) = (json!(100.5), json!(0.5));
    let second = transaction(&debited["transaction"], "debit", json!(900));
    assert_eq!(debited, json!({"success": true, "transaction": second, "balance": due}));
    let short = json!({"success": false, "error": "Insufficient balance"});
    post(&app, "/balances/debit", change(json!(1))).is(200, short);
    // The ledger has the opening credit, too.
    let ledger = pages(&app, &format!("/balances/{id}/transactions"), 2);
    assert_eq!(ledger[..2], [second, first]);
    assert_eq!((&ledger[2]["amount"], &ledger[2]["type"]), (&json!(1000), &json!("credit")));
    assert_eq!(ledger.len(), 3);
}

#[test]
fn an_overdraft_ends_at_its_minimum() {
    let app = App::new();
    create(&app, 1_000, -500);
    let debit = |amount: u64| post(&app, "/balances/debit", change(json!(amount))).ok(200);
    assert_eq!(debit(1_600)["success"], false);
    assert_eq!(debit(1_500)["balance"]["currentBalance"], -500);
    assert_eq!(debit(1)["success"], false);
}

#[test]
fn a_change_is_made_once_under_its_key() {
    let app = App::new();
    create(&app, 10, 0);
    for (path, left) in [("credit", 13), ("debit", 10)] {
        let body = change(json!(3)).to_string();
        let ask =
            || app.answer(keyed(SECOND, path, "POST", &format!("/v1/balances/{path}"), &body));
        let (first, again) = (ask(), ask());
        assert_eq!(again.header("idempotent-replayed"), Some("true"));
        assert_eq!(again.body, first.body);
        assert_eq!(first.ok(200)["balance"]["currentBalance"], left);
    }
    assert_eq!(check(&app, json!(1))["currentBalance"], 10);
}

#[test]
fn balances_are_listed_and_shared_with_rules() {
    let app = App::new();
    for (customer, name) in [("b", "x"), ("a", "y"), ("a", "x"), ("\u{e4}:1", "z")] {
        let new = NewBalance::new(customer, name).initial(5);
        app.engine.balances().create(&new).expect("good");
    }
    let names = |path: &str| {
        let found = pages(&app, path, 1);
        let text = |it: &Value, key: &str| it[key].as_str().expect("a text").to_owned();
        found.iter().map(|it| text(it, "customerId") + "/" + &text(it, "name")).collect::<Vec<_>>()
    };
    assert_eq!(names("/balances"), ["a/x", "a/y", "b/x", "\u{e4}:1/z"]);
    assert_eq!(names("/balances?customerId=a"), ["a/x", "a/y"]);
    assert_eq!(names("/balances?name=x"), ["a/x", "b/x"]);
    // An event of the first generation takes from it by a rule.
    let credits = Quota::balance("x", Metric::TotalTokens).per("customer_id");
    app.engine.rules().add(credits).expect("good");
    let track = |tokens: u64| {
        let body = json!({"customerId": "a", "eventType": "e", "totalTokens": tokens});
        app.post("/v1/track", body.to_string()).status.as_u16()
    };
    assert_eq!((track(4), track(4)), (201, 429));
    let of_a = get(&app, "/balances?customerId=a&name=x").ok(200);
    assert_eq!(of_a["data"][0]["currentBalance"], 1);
    let id = of_a["data"][0]["id"].as_str().expect("a text");
    let ledger = get(&app, &format!("/balances/{id}/transactions")).ok(200);
    let description = ledger["data"][0]["description"].as_str().expect("a text");
    assert!(description.starts_with("Event evt_"), "{description}");
    let _ = app.engine.record(&Event::new("a", "e")).expect("good");
    let of_customer = get(&app, "/customers/a/balances").ok(200);
    let first = &of_customer["balances"][0];
    let expected = json!({"id": id, "name": "x", "unit": "credits", "currentBalance": 1,
        "minimumBalance": 0, "availableBalance": 1});
    assert_eq!((first, of_customer["balances"].as_array().map(Vec::len)), (&expected, Some(2)));
}

#[test]
fn a_bad_call_says_what_is_wrong_and_changes_nothing() {
    let app = App::new();
    create(&app, 10, 0);
    let new = json!({"customerId": "c", "name": "n"});
    let with = |body: &Value, key: &str, value: Value| {
        let mut body = body.clone();
        body[key] = value;
        body
    };
    for lacking in ["customerId", "name"] {
        post(&app, "/balances", with(&new, lacking, Value::Null)).fails(
            400,
            "missing_required_field",
            lacking,
        );
    }
    for (key, value, named) in [
        ("customerId", json!(""), "owner"),
        ("name", json!(""), "name"),
        ("unit", json!(""), "unit"),
        ("initialBalance", json!(-1), "initial"),
        ("initialBalance", json!("many"), "initialBalance"),
        ("minimumBalance", json!(1e16), "minimum"),
        ("dimensionFilters", json!({"model": "gpt-4"}), "dimensionFilters"),
        ("currency", json!("eur"), "currency"),
    ] {
        post(&app, "/balances", with(&new, key, value)).fails(400, "invalid_field_value", named);
    }
    let again = json!({"customerId": "cust_123", "name": "AI Credits"});
    post(&app, "/balances", again).fails(409, "conflict", "AI Credits");
    for path in ["/balances/credit", "/balances/debit", "/balances/check"] {
        let mut good = change(json!(1));
        if path == "/balances/check" {
            let fields = good.as_object_mut().expect("an object");
            fields.retain(|key, _| key != "description" && key != "reference");
        }
        for (lacking, _) in good.as_object().expect("an object") {
            if lacking == "reference" {
                continue;
            }
            post(&app, path, with(&good, lacking, Value::Null)).fails(
                400,
                "missing_required_field",
                lacking,
            );
        }
        for amount in [json!(0), json!(-1), json!(2e15), json!("x"), json!(0.000_000_1)] {
            post(&app, path, with(&good, "amount", amount)).fails(
                400,
                "invalid_field_value",
                "amount",
            );
        }
        // Names are compared exactly.
        post(&app, path, with(&good, "name", json!("ai credits"))).fails(
            404,
            "balance_not_found",
            "ai credits",
        );
        post(&app, path, with(&good, "currency", json!("eur"))).fails(
            400,
            "invalid_field_value",
            "currency",
        );
    }
    for id in ["bal_", "bal_61", "bal_6", "bal_zz", "bal_610062", "x", "bal_ff00ff"] {
        get(&app, &format!("/balances/{id}")).fails(404, "balance_not_found", "");
        get(&app, &format!("/balances/{id}/transactions")).fails(404, "balance_not_found", "");
    }
    for bad in ["limit=0", "cursor=x", "unit=x"] {
        let name = bad.split('=').next().expect("a name");
        get(&app, &format!("/balances?{bad}")).fails(400, "invalid_field_value", name);
    }
    assert_eq!(check(&app, json!(1))["currentBalance"], 10);
    assert_eq!(pages(&app, "/balances", 9).len(), 1);
}
