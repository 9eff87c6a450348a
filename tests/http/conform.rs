//! What an API says of itself, and whether an answer is what it says.
//!
//! A document is taken at its word: an answer may have no field that it does not name. Every answer
//! that a test of this program gets is compared.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use limitry::Timestamp;
use serde_json::{Map, Value};

use super::app::{Answer, App};

static DOCUMENTS: LazyLock<[Value; 4]> = LazyLock::new(|| {
    let app = App::new();
    ["1", "2", "3", "engine"].map(|name| app.open(&format!("/openapi/{name}.json")).ok(200))
});

/// The document of a generation, from 1 on; the fourth one is the engine's own.
pub(crate) fn document(generation: usize) -> &'static Value {
    &DOCUMENTS[generation - 1]
}

/// The generation that a key speaks.
pub(crate) fn generation_of(key: &str) -> Option<usize> {
    let prefixes = [("limitry_", 2), ("lmtry_sk_", 1), ("lm_", 1), ("lim_", 3)];
    prefixes.into_iter().find(|(prefix, _)| key.starts_with(prefix)).map(|(_, it)| it)
}

/// The path that a document has for one that was asked, and what is said of it.
pub(crate) fn path_of<'d>(document: &'d Value, path: &str) -> Option<(&'d str, &'d Value)> {
    let asked: Vec<&str> = path.split('?').next().unwrap_or_default().split('/').collect();
    let paths = document["paths"].as_object().expect("paths").iter();
    let fitting = paths.filter_map(|(template, item)| {
        let parts: Vec<&str> = template.split('/').collect();
        let named = parts.iter().filter(|part| part.starts_with('{')).count();
        let fits = parts.len() == asked.len()
            && parts.iter().zip(&asked).all(|(part, text)| part.starts_with('{') || part == text);
        fits.then_some((named, template, item))
    });
    let best = fitting.min_by_key(|(named, _, _)| *named);
    best.map(|(_, template, item)| (&**template, item))
}

/// The operations of a document that a table of methods and paths lacks; all of its paths are taken
/// for those of the document that they are nearest to.
pub(crate) fn lacking<'t>(
    generation: usize,
    table: impl IntoIterator<Item = (&'t str, &'t str)>,
) -> BTreeSet<String> {
    let document = document(generation);
    let paths = document["paths"].as_object().expect("paths").iter();
    let mut lacking: BTreeSet<String> = paths
        .flat_map(|(path, item)| {
            let methods = item.as_object().expect("an item").keys();
            methods.map(move |method| format!("{} {path}", method.to_uppercase()))
        })
        .collect();
    for (method, path) in table {
        if let Some((template, _)) = path_of(document, path) {
            lacking.remove(&format!("{method} {template}"));
        }
    }
    lacking
}

/// Compares an answer with what is said of its request.
#[track_caller]
pub(crate) fn check(key: &str, method: &str, path: &str, answer: &Answer) {
    check_headers(method, answer);
    let Some(generation) = generation_of(key) else { return };
    let generation = match path.split('/').nth(1) {
        Some("v1" | "client") => generation,
        Some("engine") => 4,
        // Where an API is nested it does not know.
        _ => return,
    };
    let status = answer.status.as_u16();
    let said = path_of(document(generation), path);
    let Some((_, operation)) =
        said.and_then(|(_, item)| Some((0, item.get(method.to_lowercase())?)))
    else {
        let expected: &[u16] =
            if said.is_some() { &[401, 403, 405] } else { &[401, 403, 404, 405] };
        assert!(expected.contains(&status), "{method} {path} is not said, and answers {status}");
        return;
    };
    let problems = problems_of(document(generation), operation, status, &answer.body);
    assert!(problems.is_empty(), "{method} {path}: {status} {}\n{problems:#?}", answer.body);
}

/// Checks the headers that go with a status (RFC 9110, sections 11.6.1 and 10.2.1).
#[track_caller]
pub(crate) fn check_headers(method: &str, answer: &Answer) {
    let header = |name| answer.headers.get(name).map(|value| value.to_str().expect("ASCII"));
    let is_refused = answer.status == 401;
    assert_eq!(header("www-authenticate"), is_refused.then_some("Bearer"), "{method}");
    let allowed = header("allow");
    assert_eq!(allowed.is_some(), answer.status == 405, "{method}: {allowed:?}");
    assert!(allowed.is_none_or(|allowed| !allowed.split(", ").any(|it| it == method)), "{method}");
}

/// What is wrong with an answer of an operation.
pub(crate) fn problems_of(
    document: &Value,
    operation: &Value,
    status: u16,
    body: &Value,
) -> Vec<String> {
    let Some(said) = operation["responses"].get(status.to_string()) else {
        return vec![format!("the status {status} is not said")];
    };
    let content = said["content"].as_object().and_then(|content| content.values().next());
    match content {
        Some(content) => problems(document, &content["schema"], body),
        None if body.is_null() => Vec::new(),
        None => vec!["a body is not said".to_owned()],
    }
}

/// What is wrong with a value.
pub(crate) fn problems(document: &Value, schema: &Value, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    Checks { document, found: &mut found }.value(schema, value, "");
    found
}

struct Checks<'c> {
    document: &'c Value,
    found: &'c mut Vec<String>,
}

/// The fields of an object, put together of all that it is made of.
#[derive(Default)]
struct Fields<'d> {
    known: BTreeMap<&'d str, &'d Value>,
    needed: BTreeSet<&'d str>,
    others: Option<&'d Value>,
}

impl<'c> Checks<'c> {
    fn wrong(&mut self, at: &str, what: &str, value: &Value) {
        self.found.push(format!("{at}: {value} {what}"));
    }

    fn resolve<'d>(&self, schema: &'d Value) -> &'d Value
    where
        'c: 'd,
    {
        match schema["$ref"].as_str() {
            Some(to) => self.document.pointer(&to[1..]).expect("it is there"),
            None => schema,
        }
    }

    fn alone(&self, schema: &Value, value: &Value) -> bool {
        problems(self.document, schema, value).is_empty()
    }

    fn value(&mut self, schema: &Value, value: &Value, at: &str) {
        let document = self.document;
        let schema = match schema["$ref"].as_str() {
            Some(to) => document.pointer(&to[1..]).expect("it is there"),
            None => schema,
        };
        for word in ["oneOf", "anyOf"] {
            let Some(list) = schema[word].as_array() else { continue };
            let fitting = list.iter().filter(|one| self.alone(one, value)).count();
            if fitting == 0 || (word == "oneOf" && fitting > 1) {
                self.wrong(at, &format!("fits {fitting} of {word}"), value);
            }
        }
        let types: Vec<&str> = match &schema["type"] {
            Value::String(one) => vec![one],
            Value::Array(list) => list.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        if !types.is_empty() && !types.iter().any(|kind| is_of(kind, value)) {
            self.wrong(at, &format!("is not of {types:?}"), value);
        }
        if let Some(words) = schema["enum"].as_array()
            && !words.contains(value)
        {
            self.wrong(at, "is none of the words", value);
        }
        for (bound, is_below) in [("minimum", true), ("maximum", false)] {
            if let (Some(bound), Some(number)) = (schema[bound].as_f64(), value.as_f64())
                && (if is_below { number < bound } else { number > bound })
            {
                self.wrong(at, "is out of bounds", value);
            }
        }
        match value {
            Value::String(text) => self.text(schema, text, at),
            Value::Array(items) => {
                for (place, item) in items.iter().enumerate() {
                    self.value(&schema["items"], item, &format!("{at}[{place}]"));
                }
            }
            Value::Object(fields) => self.object(schema, fields, at),
            _ => {}
        }
    }

    fn text(&mut self, schema: &Value, text: &str, at: &str) {
        if schema["format"] == "date-time" && text.parse::<Timestamp>().is_err() {
            self.wrong(at, "is no date and time", &text.into());
        }
        let length = text.chars().count() as u64;
        let fits = |bound: &str, other: u64| schema[bound].as_u64().unwrap_or(other);
        if !(fits("minLength", 0)..=fits("maxLength", u64::MAX)).contains(&length) {
            self.wrong(at, "is too short or too long", &text.into());
        }
    }

    fn object(&mut self, schema: &Value, fields: &Map<String, Value>, at: &str) {
        let mut of = Fields::default();
        self.gather(schema, &mut of);
        for name in &of.needed {
            if !fields.contains_key(*name) {
                self.wrong(at, &format!("lacks {name}"), &Value::Object(fields.clone()));
            }
        }
        for (name, value) in fields {
            match of.known.get(&**name).copied().or(of.others) {
                Some(schema) => self.value(schema, value, &format!("{at}.{name}")),
                None if of.known.is_empty() => {}
                None => self.wrong(at, &format!("has {name}, which is not said"), value),
            }
        }
    }

    fn gather<'d>(&self, schema: &'d Value, of: &mut Fields<'d>)
    where
        'c: 'd,
    {
        let schema = self.resolve(schema);
        for part in schema["allOf"].as_array().into_iter().flatten() {
            self.gather(part, of);
        }
        of.known
            .extend(schema["properties"].as_object().into_iter().flatten().map(|(k, v)| (&**k, v)));
        of.needed
            .extend(schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str));
        of.others = of.others.or(schema.get("additionalProperties").filter(|it| it.is_object()));
    }
}

fn is_of(kind: &str, value: &Value) -> bool {
    match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    }
}
