//! Whatever is sent, the API answers, and does not panic.
//!
//! Method: every operation that a document has, and so every one that there is, is asked with
//! bodies that nobody would send: no JSON, deep and wide JSON, its own fields with values of other
//! types, out of all bounds (`LIMITRY_LONG=1` shifts them through all fields); and with ids and
//! queries of that kind. No answer is a fault of the server, and each is one that its document has
//! (`App::send` compares it).

use serde_json::{Value, json};

use super::app::{App, KEY, SECOND, THIRD};
use super::conform::document;

/// Values that a field may be given.
fn values() -> Vec<Value> {
    vec![
        Value::Null,
        json!(true),
        json!(-1),
        json!(1e300),
        json!(u64::MAX),
        json!(0.000_000_000_1),
        json!(""),
        json!("\u{0}\u{202e}\u{1f4a9}"),
        json!("x".repeat(5_000)),
        json!([]),
        json!([[[]], {}, null, "a", 1]),
        json!({"": {"": {"": null}}}),
    ]
}

const TEXTS: [&str; 7] =
    ["\u{fffd}", "{", "[", "nul", "{\"a\":1}{", "\"\\ud800\"", "123456789012345678901234567890"];

/// The names of the fields of a body, of any depth.
fn fields(document: &Value, schema: &Value, found: &mut Vec<String>, depth: usize) {
    let schema = match schema["$ref"].as_str() {
        Some(to) => document.pointer(&to[1..]).expect("it is there"),
        None => schema,
    };
    if depth == 0 {
        return;
    }
    for (name, part) in schema["properties"].as_object().into_iter().flatten() {
        if !found.contains(name) {
            found.push(name.clone());
        }
        fields(document, part, found, depth - 1);
    }
    for word in ["oneOf", "allOf", "anyOf"] {
        for part in schema[word].as_array().into_iter().flatten() {
            fields(document, part, found, depth - 1);
        }
    }
}

fn long() -> bool {
    std::env::var_os("LIMITRY_LONG").is_some_and(|value| value == "1")
}

fn send(app: &App, key: &str, method: &str, path: &str, body: String) {
    let answer = app.send(key, method, path, body.clone());
    let status = answer.status.as_u16();
    assert!(status < 500, "{method} {path} {body:.300}: {status} {}", answer.body);
}

#[test]
fn no_body_no_id_and_no_query_makes_the_server_fail() {
    let app = App::new();
    let token = json!({"publicMetadata": {"customerId": "c"}}).to_string();
    let token = app.send(SECOND, "POST", "/v1/client-tokens", token).ok(201);
    let token = token["token"].as_str().expect("a token");
    let values = values();
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    for generation in 1..=4 {
        let document = document(generation);
        for (path, item) in document["paths"].as_object().expect("paths") {
            let is_client = path.starts_with("/client/");
            let key = if is_client { token } else { [KEY, SECOND, THIRD, KEY][generation - 1] };
            for (method, operation) in item.as_object().expect("an item") {
                let method = method.to_uppercase();
                for (id, query) in [
                    ("x", ""),
                    ("%00", "?%00=%ff"),
                    ("%f0%9f%92%a9", "?limit=-1&limit=1&cursor=%22"),
                    ("..%2f..", "?limit=18446744073709551616"),
                ] {
                    let asked: String = path
                        .split('/')
                        .map(|part| if part.starts_with('{') { id } else { part })
                        .collect::<Vec<_>>()
                        .join("/");
                    send(&app, key, &method, &format!("{asked}{query}"), String::new());
                }
                let taken = &operation["requestBody"]["content"]["application/json"]["schema"];
                if taken.is_null() {
                    continue;
                }
                let asked = path.replace(['{', '}'], "x");
                for text in TEXTS.into_iter().chain([&*deep]) {
                    send(&app, key, &method, &asked, text.to_owned());
                }
                let mut names = Vec::new();
                fields(document, taken, &mut names, 4);
                // Each value once in all fields at once, shifted from one to the next.
                for first in (0..values.len()).step_by(if long() { 1 } else { 3 }) {
                    let body: Value = names
                        .iter()
                        .enumerate()
                        .map(|(place, name)| {
                            (name.clone(), values[(first + place) % values.len()].clone())
                        })
                        .collect();
                    send(&app, key, &method, &asked, body.to_string());
                    let one = names.get(first % names.len().max(1));
                    if let Some(name) = one {
                        send(&app, key, &method, &asked, json!({name: values[first]}).to_string());
                    }
                }
            }
        }
    }
}
