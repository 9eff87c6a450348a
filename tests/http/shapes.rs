//! Goal: what the documents say of bodies is all that is read, all that is printed, and no more.
//!
//! Method: a body with a field, or a word, that nobody knows is answered with those that there are:
//! they are compared with the document's. What is printed is compared with it everywhere
//! (`conform.rs`); here every field that the engine's document knows is printed at least once. An
//! object of which no document says the fields is on a list, with the reason.

use std::collections::BTreeSet;
use std::time::Duration;

use limitry::store::MemoryStore;
use limitry::{Customer, Engine, Event, Hold, Metric, Reserved};
use serde_json::{Value, json};

use super::app::{App, KEY, SECOND, THIRD};
use super::conform::{document, problems};

const ENGINE: usize = 4;

/// Objects of any fields, by the document, the schema and the field: what is an application's own.
const FREE: [(usize, &str); 16] = [
    // Properties of events: any JSON, kept as it came; what is attached, too.
    (1, "Event.properties"),
    (1, "Event.attached"),
    (1, "RecordedEvent.properties"),
    (1, "RecordedEvent.attached"),
    (2, "Event.properties"),
    (2, "NewEvent.properties"),
    (2, "EventBody.properties"),
    (2, "NewClientEvent.properties"),
    (4, "Event.properties"),
    (4, "Event.attached"),
    // What an application keeps with a customer, or hands to a browser.
    (2, "Customer.metadata"),
    (2, "CustomerChange.metadata"),
    (2, "NewCustomer.metadata"),
    (2, "NewClientToken.context"),
    (2, "NewClientToken.publicMetadata"),
    (2, "TokenContext.publicMetadata"),
];

/// The places at which a schema lets an object have any fields.
fn open_places(schema: &Value, at: &str, found: &mut BTreeSet<String>) {
    if !schema.is_object() {
        return;
    }
    let is_object = match &schema["type"] {
        Value::Array(kinds) => kinds.contains(&json!("object")),
        kind => kind == "object",
    };
    let others = &schema["additionalProperties"];
    let says_values = others.as_object().is_some_and(|others| !others.is_empty());
    if is_object && schema.get("properties").is_none() && !says_values {
        found.insert(at.to_owned());
    }
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        open_places(field, &format!("{at}.{name}"), found);
    }
    for within in ["additionalProperties", "items"] {
        open_places(&schema[within], at, found);
    }
    for within in ["allOf", "anyOf", "oneOf"] {
        let parts = schema[within].as_array().into_iter().flatten();
        parts.for_each(|part| open_places(part, at, found));
    }
}

#[test]
fn an_object_says_its_fields_or_is_an_applications_own() {
    let mut found = BTreeSet::new();
    for generation in 1..=4 {
        let document = document(generation);
        let mut open = BTreeSet::new();
        for (name, schema) in document["components"]["schemas"].as_object().expect("shapes") {
            open_places(schema, name, &mut open);
        }
        for item in document["paths"].as_object().expect("paths").values() {
            for operation in item.as_object().expect("an item").values() {
                let id = operation["operationId"].as_str().expect("an id");
                let body = operation.get("requestBody");
                let answers = operation["responses"].as_object().expect("answers").values();
                for one in answers.chain(body) {
                    let content = one["content"].as_object().into_iter().flatten();
                    content.for_each(|(_, said)| open_places(&said["schema"], id, &mut open));
                }
            }
        }
        found.extend(open.into_iter().map(|place| (generation, place)));
    }
    let known = FREE.into_iter().map(|(generation, place)| (generation, place.to_owned()));
    assert_eq!(found, known.collect());
}

/// The fields that a schema of the engine's document has, those of its parts with it.
fn fields_of(schema: &Value) -> BTreeSet<String> {
    let schema = match schema["$ref"].as_str() {
        Some(to) => document(ENGINE).pointer(&to[1..]).expect("it is there"),
        None => schema,
    };
    let own = schema["properties"].as_object().into_iter().flatten();
    let parts = schema["allOf"].as_array().into_iter().flatten();
    own.map(|(name, _)| name.clone()).chain(parts.flat_map(fields_of)).collect()
}

fn shape(name: &str) -> &'static Value {
    &document(ENGINE)["components"]["schemas"][name]
}

/// What a body may have where `zz` stands in it, as its refusal says.
fn expected(app: &App, method: &str, path: &str, body: &Value) -> BTreeSet<String> {
    let answer = app.send(KEY, method, &format!("/engine/v1{path}"), body.to_string()).ok(400);
    let detail = answer["detail"].as_str().expect("a reason");
    let (_, listed) = detail.split_once("expected one of ").unwrap_or_else(|| panic!("{detail}"));
    let listed = listed.split("; did you mean").next().expect("a part");
    listed.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn bodies_have_the_fields_that_are_read() {
    let calls = limitry::RateLimit::new("Calls", 5, limitry::Window::Minute);
    let day = limitry::Quota::new("Day", Metric::TotalEvents, 5, limitry::Period::Day);
    let app = App::with(Engine::builder().rate_limit(calls).quota(day));
    let id = app.engine.record(&Event::new("c", "e")).expect("a good event").event_id();
    let amend = format!("/events/{}/amend", id.expect("it is recorded"));
    let void = amend.replace("amend", "void");
    let z = || json!({"zz": 1});
    for (method, path, body, name) in [
        ("POST", "/rules", json!({"rateLimit": z()}), "NewRateLimit"),
        ("POST", "/rules", json!({"quota": z()}), "NewQuota"),
        ("PATCH", "/rules/rl_calls", z(), "RateLimitChange"),
        ("PATCH", "/rules/qta_day", z(), "QuotaChange"),
        ("POST", "/sync", z(), "Sync"),
        ("POST", "/sync", json!({"rules": z()}), "RuleSet"),
        ("POST", "/sync", json!({"rules": {"meters": [z()]}}), "NewMeter"),
        ("POST", "/sync", json!({"rules": {"rateLimits": [z()]}}), "NewRateLimit"),
        ("POST", "/sync", json!({"rules": {"quotas": [z()]}}), "NewQuota"),
        ("POST", "/sync", json!({"rules": {"meters": [{"eventFilter": z()}]}}), "EventFilter"),
        ("POST", "/simulate", z(), "Simulation"),
        ("POST", "/simulate", json!({"rules": z()}), "RuleSet"),
        ("POST", "/simulate", json!({"rules": {}, "calls": z()}), "EventQuery"),
        ("POST", "/usage", z(), "UsageQuestion"),
        ("POST", "/usage", json!({"query": z()}), "UsageQuery"),
        ("POST", "/explain", z(), "Event"),
        ("POST", "/standing", z(), "Event"),
        ("POST", &*amend, z(), "Amend"),
        ("POST", &*amend, json!({"event": z()}), "Event"),
        ("POST", "/webhook-endpoints", z(), "NewWebhookEndpoint"),
    ] {
        let expected = expected(&app, method, path, &body);
        assert_eq!(expected, fields_of(shape(name)), "{method} {path} {body}");
    }
    // Of one field there is no list.
    let answer = app.send(KEY, "POST", &format!("/engine/v1{void}"), z().to_string()).ok(400);
    assert!(answer["detail"].as_str().is_some_and(|it| it.contains("reason")), "{answer}");
    assert_eq!(fields_of(shape("Void")), BTreeSet::from(["reason".to_owned()]));
}

/// The fields of a schema of a document that may be null.
fn nullable(document: &Value, schema: &Value) -> BTreeSet<String> {
    let schema = match schema["$ref"].as_str() {
        Some(to) => document.pointer(&to[1..]).expect("it is there"),
        None => schema,
    };
    let may_be_null = |field: &Value| problems(document, field, &Value::Null).is_empty();
    let own = schema["properties"].as_object().into_iter().flatten();
    let own = own.filter(|(_, field)| may_be_null(field)).map(|(name, _)| name.clone());
    let parts = schema["allOf"].as_array().into_iter().flatten();
    own.chain(parts.flat_map(|part| nullable(document, part))).collect()
}

#[test]
fn what_may_be_null_is_taken() {
    let event = json!({"customerId": "c", "eventType": "e"});
    let limit = json!({"name": "L", "limitValue": 500, "window": "minute"});
    let quota = json!({"name": "Q", "metric": "total_events", "limitValue": 500, "period": "day"});
    let rules = json!({"rules": {}, "preview": true});
    let meters = json!({"rules": {"meters": [{"name": "M", "aggregation": "count"}]}});
    let subject = json!({"kind": "user", "id": "u"});
    let check = json!({"subject": subject, "action": "chat"});
    let other = json!({"subject": {"kind": "user"}, "amount": 500, "window": "day"});
    let url = json!({"url": "https://example.com/hooks"});
    let mut refused = Vec::new();
    let calls = limitry::RateLimit::new("Calls", 500, limitry::Window::Minute);
    let day = limitry::Quota::new("Day", Metric::TotalEvents, 500, limitry::Period::Day);
    let app = App::with(Engine::builder().rate_limit(calls).quota(day));
    for (generation, method, path, body, at, name) in [
        (4, "POST", "/engine/v1/explain", &event, "", "Event"),
        (4, "POST", "/engine/v1/rules", &json!({"rateLimit": limit}), "/rateLimit", "NewRateLimit"),
        (4, "POST", "/engine/v1/rules", &json!({"quota": quota}), "/quota", "NewQuota"),
        (4, "PATCH", "/engine/v1/rules/rl_calls", &json!({}), "", "RateLimitChange"),
        (4, "PATCH", "/engine/v1/rules/qta_day", &json!({}), "", "QuotaChange"),
        (4, "POST", "/engine/v1/sync", &rules, "", "Sync"),
        (4, "POST", "/engine/v1/sync", &meters, "/rules/meters/0", "NewMeter"),
        (4, "POST", "/engine/v1/simulate", &json!({"rules": {}}), "", "Simulation"),
        (
            4,
            "POST",
            "/engine/v1/simulate",
            &json!({"rules": {}, "calls": {}}),
            "/calls",
            "EventQuery",
        ),
        (4, "POST", "/engine/v1/usage", &json!({}), "", "UsageQuestion"),
        (4, "POST", "/engine/v1/usage", &json!({"query": {}}), "/query", "UsageQuery"),
        (4, "POST", "/engine/v1/webhook-endpoints", &url, "", "NewWebhookEndpoint"),
        (1, "POST", "/v1/track", &event, "", "Event"),
        (1, "POST", "/v1/quotas", &quota, "", "NewQuota"),
        (1, "POST", "/v1/rate-limits", &limit, "", "NewRateLimit"),
        (1, "PUT", "/v1/quotas/qta_day", &json!({}), "", "QuotaChange"),
        (1, "PUT", "/v1/rate-limits/rl_calls", &json!({}), "", "RateLimitChange"),
        (2, "POST", "/v1/events/record", &event, "", "NewEvent"),
        (2, "POST", "/v1/customers", &json!({"externalId": "x"}), "", "NewCustomer"),
        (3, "POST", "/v1/checks", &check, "", "Check"),
        (3, "POST", "/v1/limits", &other, "", "NewLimit"),
    ] {
        let document = document(generation);
        let fields = nullable(document, &document["components"]["schemas"][name]);
        let key = [KEY, SECOND, THIRD, KEY][generation - 1];
        for field in fields {
            let mut body = body.clone();
            if path == "/v1/limits" {
                // Two limits that count the same are a conflict.
                body["action"] = field.clone().into();
            }
            body.pointer_mut(at).expect("an object")[&field] = Value::Null;
            let answer = app.send(key, method, path, body.to_string());
            if !answer.status.is_success() {
                refused.push(format!("{method} {path} {body}: {}", answer.body));
            }
        }
    }
    assert!(refused.is_empty(), "{refused:#?}");
}

#[test]
fn words_are_those_that_are_read() {
    let app = App::new();
    let limit = |field: &str| {
        let mut limit = json!({"name": "Calls", "limitValue": 5, "window": "minute"});
        limit[field] = json!("zz");
        json!({"rateLimit": limit})
    };
    for (path, body, name) in [
        ("/rules", limit("algorithm"), "Algorithm"),
        ("/rules", limit("enforcement"), "Enforcement"),
        ("/rules", limit("overflow"), "Overflow"),
        ("/sync", json!({"rules": {}, "missing": "zz"}), "Missing"),
    ] {
        let words = shape(name)["enum"].as_array().expect("words");
        let words: BTreeSet<_> =
            words.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        assert_eq!(expected(&app, "POST", path, &body), words, "{name}");
    }
    let words = shape("Interval")["enum"].as_array().expect("words");
    for word in words {
        let range = json!({"startDate": "2024-01-15T10:00:00Z", "endDate": "2024-01-15T10:30:00Z"});
        let body = json!({"query": range, "interval": word});
        app.post("/engine/v1/usage", body.to_string()).ok(200);
    }
    assert_eq!(words.len(), 5);
    for state in shape("ReservationState")["enum"].as_array().expect("words") {
        let state = state.as_str().expect("a word");
        app.get(&format!("/engine/v1/reservations?state={state}")).ok(200);
    }
}

/// Which fields of which schemas a value has.
fn seen(schema: &Value, value: &Value, name: &str, found: &mut BTreeSet<String>) {
    if let Some(to) = schema["$ref"].as_str() {
        let name = to.rsplit('/').next().expect("a name");
        return seen(shape(name), value, name, found);
    }
    for within in ["allOf", "anyOf", "oneOf"] {
        for part in schema[within].as_array().into_iter().flatten() {
            if within == "allOf" || problems(document(ENGINE), part, value).is_empty() {
                seen(part, value, name, found);
            }
        }
    }
    for item in value.as_array().into_iter().flatten() {
        seen(&schema["items"], item, name, found);
    }
    for (key, value) in value.as_object().into_iter().flatten() {
        match schema["properties"].get(key) {
            Some(field) => {
                found.insert(format!("{name}.{key}"));
                seen(field, value, name, found);
            }
            None => seen(&schema["additionalProperties"], value, name, found),
        }
    }
}

/// All fields of the schemas that a schema means.
fn meant(schema: &Value, name: &str, known: &mut BTreeSet<String>, fields: &mut BTreeSet<String>) {
    if !schema.is_object() {
        return;
    }
    if let Some(to) = schema["$ref"].as_str() {
        let name = to.rsplit('/').next().expect("a name");
        if known.insert(name.to_owned()) {
            meant(shape(name), name, known, fields);
        }
        return;
    }
    for within in ["allOf", "anyOf", "oneOf"] {
        let parts = schema[within].as_array().into_iter().flatten();
        parts.for_each(|part| meant(part, name, known, fields));
    }
    for (key, field) in schema["properties"].as_object().into_iter().flatten() {
        fields.insert(format!("{name}.{key}"));
        meant(field, name, known, fields);
    }
    for within in ["additionalProperties", "items"] {
        meant(&schema[within], name, known, fields);
    }
}

/// Fields that no answer here has: more names of values, sums, keys and time are needed than a test
/// makes, or a store in a file. The dimensions of an event are read, and printed as properties.
const RARE: [&str; 14] = [
    "Backup.at",
    "Backup.bytes",
    "Backup.file",
    "Coverage.endDate",
    "Coverage.startDate",
    "Event.dimensions",
    "TimeseriesBreakdown.covers",
    "TimeseriesPoint.partial",
    "UsageBreakdown.covers",
    "UsageBreakdown.other",
    "UsageSummary.covers",
    "UsageTimeseries.covers",
    "UsageTotals.otherValues",
    "UsageTotals.outOfRange",
];

/// Calls the engine's own API, and notes which fields its answers have.
struct Noting {
    app: App,
    found: BTreeSet<String>,
}

impl Noting {
    fn ask(&mut self, method: &str, path: &str, body: Value) -> Value {
        let text = if body.is_null() { String::new() } else { body.to_string() };
        let answer = self.app.send(KEY, method, &format!("/engine/v1{path}"), text);
        let status = answer.status.as_u16();
        assert!(status < 300, "{method} {path}: {}", answer.body);
        let path = path.split('?').next().expect("a path");
        let (_, item) =
            super::conform::path_of(document(ENGINE), &format!("/engine/v1{path}")).expect("said");
        let said = &item[method.to_lowercase()]["responses"][status.to_string()]["content"];
        if let Some(content) = said["application/json"].get("schema") {
            seen(content, &answer.body, path, &mut self.found);
        }
        answer.body
    }

    fn post(&mut self, path: &str, body: Value) -> Value {
        self.ask("POST", path, body)
    }

    fn get(&mut self, path: &str) -> Value {
        self.ask("GET", path, Value::Null)
    }
}

/// What both kinds of rule may have beside a limit.
fn options(rule: Value) -> Value {
    let mut whole = json!({
        "projectId": "proj_xyz", "enabled": false, "per": ["customer_id"], "enforcement": "soft",
        "policy": "plans", "priority": 3, "startsAt": "2024-01-01T00:00:00Z",
        "endsAt": "2024-12-31T00:00:00Z", "maxKeys": 100, "overflow": "deny",
        "onMissing": {"value": "none"}, "metadata": {"owner": "jo"},
        "dimensionFilters": {
            "model": "gpt-4", "provider": ["a", "b"], "region": {"prefix": "eu"},
            "team_id": {"not": ["x", "y"]}, "user_id": {"present": true}, "feature": {"not": "z"}
        }
    });
    for (name, value) in rule.as_object().expect("an object") {
        whole[name] = value.clone();
    }
    whole
}

/// Rules with each of the fields.
fn made(noting: &mut Noting) {
    let bucket = json!({"name": "Bucket", "limitValue": 10, "window": "minute", "burst": 20,
        "maxDebt": 5, "metric": "total_tokens"});
    noting.post("/rules", json!({"rateLimit": options(bucket)}));
    let sliding = json!({"name": "Sliding", "limitValue": 1, "window": "hour",
        "algorithm": "sliding_window", "per": ["customer_id"], "policy": "calls"});
    noting.post("/rules", json!({"rateLimit": sliding}));
    let monthly = json!({"name": "Monthly", "metric": "total_cost_cents", "limitValue": 0.5,
        "period": "month", "timeZone": "Europe/Berlin", "anchor": "2024-01-15", "every": 3,
        "policy": "budgets",
        "alertThresholds": [80, {"amount": 0.25}]});
    noting.post("/rules", json!({"quota": options(monthly)}));
    let trial = json!({"name": "Trial", "metric": "total_tokens", "limitValue": 900,
        "period": "day", "firstUse": true, "every": 14, "per": ["customer_id"]});
    noting.post("/rules", json!({"quota": trial}));
    let models = json!({"name": "Models", "metric": "unique.model", "limitValue": 9,
        "period": "day", "maxValues": 50, "per": ["customer_id"]});
    noting.post("/rules", json!({"quota": models}));
    let credits = json!({"name": "Credits", "metric": "total_tokens", "limitValue": null,
        "period": "all_time", "balance": "credits", "opening": 100, "per": ["customer_id"]});
    noting.post("/rules", json!({"quota": credits}));
    let tokens = json!({"name": "Tokens", "metric": "total_tokens", "limitValue": 100,
        "period": "day", "alertThresholds": [1], "per": ["customer_id"]});
    noting.post("/rules", json!({"quota": tokens}));
    for (name, more) in [
        ("Replaced", json!({"policy": "calls", "priority": -1})),
        ("Later", json!({"startsAt": "2024-02-01T00:00:00Z"})),
        ("Missed", json!({"dimensionFilters": {"region": {"prefix": "eu"}}})),
        ("Plan", json!({"per": ["customer_plan"]})),
    ] {
        let mut rule = json!({"name": name, "limitValue": 9, "window": "hour"});
        more.as_object().into_iter().flatten().for_each(|(name, it)| rule[name] = it.clone());
        noting.post("/rules", json!({"rateLimit": rule}));
    }
    noting.ask("PATCH", "/rules/rl_later?note=soon", json!({"limitValue": 8}));
    noting.get("/rules");
}

/// Rules are archived, and made to match a list.
fn changed(noting: &mut Noting) {
    let later = noting.post("/rules/rl_later/archive", Value::Null);
    assert!(!later["rateLimit"]["archivedAt"].is_null());
    noting.post("/rules/qta_monthly/archive", Value::Null);
    noting.post("/rules/qta_monthly/restore", Value::Null);
    let few = json!({"name": "Tokens", "metric": "total_tokens", "limitValue": 4, "period": "day",
        "per": ["customer_id"]});
    let rules = json!({"quotas": [few]});
    noting.post("/simulate", json!({"rules": rules, "keys": 1}));
    noting.post("/sync", json!({"rules": rules, "missing": "archive"}));
    noting.get("/changes");
}

/// Calls that are let in, refused, held, given back and corrected.
fn used(noting: &mut Noting) {
    let engine = noting.app.engine.clone();
    let ann = Customer::new("ann").metadata("plan", "pro");
    engine.customers().upsert(ann).expect("good");
    let event = |customer: &'static str| Event::new(customer, "call").input_tokens(3).model("m");
    for customer in ["ann", "bob"] {
        for _ in 0..2 {
            let _ = engine.track(&event(customer)).expect("a good event");
        }
    }
    noting.app.clock.advance(Duration::from_secs(7_200));
    let hold = Hold::lasting(Duration::from_secs(60));
    let at: limitry::Timestamp = "2024-01-15T12:30:00Z".parse().expect("a time");
    let estimate = event("ann").idempotency_key("hold_1").timestamp(at);
    let Reserved::Held(first) = engine.reserve(&estimate, hold).expect("good") else {
        panic!("there is room")
    };
    let body = json!({"customerId": "ann", "eventType": "call", "inputTokens": 3, "model": "m",
        "properties": {"region": 7}});
    let _ =
        engine.rules().adjust("qta_tokens", ("customer_id", "ann"), 5, "a gift").expect("a rule");
    noting.post("/explain", body.clone());
    noting.post("/standing", body);
    let held = noting.get("/reservations");
    let id = held["data"][0]["id"].as_str().expect("it is held").to_owned();
    let done = first.commit(&event("ann")).expect("good");
    noting.get(&format!("/reservations/{id}"));
    let whole = json!({"customerId": "ann", "eventType": "call", "model": "m", "provider": "p",
        "inputTokens": 1, "outputTokens": 2, "totalTokens": 4, "latencyMs": 5,
        "costCents": "1234567890.123456", "properties": {"team_id": "eng", "turns": 7},
        "attached": {"note": [1]}, "values": {"images": 4}, "idempotencyKey": "req_1",
        "timestamp": "2024-01-15T12:30:00Z"});
    let path = format!("/events/{}/amend", done.event_id().expect("it is recorded"));
    noting.post(&path, json!({"event": whole, "reason": "as billed"}));
}

/// Who used what, what was refused, what fired.
fn told(noting: &mut Noting) {
    let range = json!({"startDate": "2024-01-15T10:00:00Z", "endDate": "2024-01-15T13:00:00Z"});
    let summary = noting.post("/usage", json!({"query": range}));
    // A float would round it.
    assert_eq!(summary["totalCostCents"], "1234567890.123456");
    noting.post("/usage", json!({"query": range, "groupBy": "customer_id"}));
    noting.post("/usage", json!({"query": range, "interval": "hour"}));
    let both = json!({"query": range, "groupBy": "customer_id", "interval": "hour", "most": 1});
    noting.post("/usage", both);
    noting.post("/usage", json!({}));
    for path in ["/refusals", "/refusals/hours", "/alerts", "/corrections", "/me", "/health"] {
        noting.get(path);
    }
    noting.get("/rules/qta_tokens/keys");
    noting.get("/unseen-dimensions");
    noting.post("/verify", Value::Null);
    noting.get("/webhook-event-types");
    let made = json!({"url": "https://example.com/hooks", "generation": 2});
    let made = noting.post("/webhook-endpoints", made);
    let path = format!("/webhook-endpoints/{}", made["endpoint"]["id"].as_str().expect("an id"));
    noting.get("/webhook-endpoints");
    noting.post(&format!("{path}/test"), Value::Null);
    noting.get(&format!("{path}/deliveries"));
    noting.post(&format!("{path}/rotate"), Value::Null);
}

#[test]
fn every_field_that_is_said_is_answered_somewhere() {
    let memory = MemoryStore::new();
    let app = App::with(Engine::builder().durable(memory.open().expect("opens")));
    let mut noting = Noting { app, found: BTreeSet::new() };
    made(&mut noting);
    used(&mut noting);
    told(&mut noting);
    changed(&mut noting);
    let (mut known, mut fields) = (BTreeSet::new(), BTreeSet::new());
    for (path, item) in document(ENGINE)["paths"].as_object().expect("paths") {
        for operation in item.as_object().expect("an item").values() {
            let answers = operation["responses"].as_object().expect("answers").iter();
            for (_, said) in answers.filter(|(status, _)| status.starts_with('2')) {
                let schema = &said["content"]["application/json"]["schema"];
                meant(schema, path, &mut known, &mut fields);
            }
        }
    }
    let missing: Vec<_> = fields.difference(&noting.found).map(String::as_str).collect();
    assert_eq!(missing, RARE);
}
