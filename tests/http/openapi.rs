//! Goal: what an API says of itself is what it does: every path with every method, every status and
//! every shape; and each example is an answer.
//!
//! Method: the documents are asked for, and each of their paths is called with each method. The
//! examples are sent anew, in their order, and what comes back is compared, with ids that are made
//! by chance written as numbers. With `LIMITRY_BLESS=1` the examples are written anew. Beside this
//! every answer that any test here gets is compared with its document (`conform.rs`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use axum::body::Body;
use axum::http::Request;
use limitry::http::Options;
use limitry::{Engine, EngineBuilder, Event};
use serde_json::{Value, json};

use super::app::{App, KEY, SECOND, THIRD};
use super::conform::{document, problems, problems_of};

const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];
const KEYS: [&str; 4] = [KEY, SECOND, THIRD, KEY];
const NAMES: [&str; 4] = ["first", "second", "third", "engine"];

/// A key for a path: those of clients are opened by a token alone.
fn key_for(app: &App, generation: usize, path: &str) -> String {
    if !path.starts_with("/client/") {
        return KEYS[generation - 1].to_owned();
    }
    let body = json!({"publicMetadata": {"customerId": "cust_123"}});
    let made = app.send(SECOND, "POST", "/v1/client-tokens", body.to_string()).ok(201);
    made["token"].as_str().expect("a token").to_owned()
}

fn operations(
    generation: usize,
) -> impl Iterator<Item = (&'static str, &'static str, &'static Value)> {
    let paths = document(generation)["paths"].as_object().expect("paths").iter();
    paths.flat_map(|(path, item)| {
        let item = item.as_object().expect("an item").iter();
        item.map(|(method, operation)| (&**path, &**method, operation))
    })
}

#[test]
fn every_path_is_served_with_the_methods_that_are_said() {
    for generation in 1..=4 {
        let paths: BTreeSet<&str> = operations(generation).map(|(path, _, _)| path).collect();
        for path in paths {
            for method in METHODS {
                let app = App::new();
                let key = key_for(&app, generation, path);
                let asked = path.replace(['{', '}'], "x");
                let answer = app.send(&key, method, &asked, "");
                let is_said = operations(generation)
                    .any(|(known, of, _)| known == path && of == method.to_lowercase());
                // Where nothing is at a path, what it says has no id in it.
                let is_nothing = answer.status == 404 && !answer.body.to_string().contains("x");
                assert_eq!(
                    is_said,
                    answer.status != 405 && !is_nothing,
                    "{method} {path}: {} {}",
                    answer.status,
                    answer.body
                );
            }
        }
    }
}

#[test]
fn what_is_said_is_whole() {
    for generation in 1..=4 {
        let document = document(generation);
        assert_eq!(document["openapi"], "3.1.0");
        let mut ids = BTreeSet::new();
        for (path, method, operation) in operations(generation) {
            assert!(ids.insert(operation["operationId"].as_str().expect("an id")), "{path}");
            assert!(operation["summary"].as_str().is_some_and(|says| !says.is_empty()), "{path}");
            let responses = operation["responses"].as_object().expect("responses");
            assert!(responses.keys().any(|status| status.starts_with('2')), "{method} {path}");
            for status in ["401", "403", "500", "503"] {
                assert!(responses.contains_key(status), "{method} {path}: {status}");
            }
        }
        // Every shape that is meant is there.
        let text = document.to_string();
        let names = text.split("#/components/schemas/").skip(1);
        for name in names.map(|rest| rest.split('"').next().expect("it ends")) {
            assert!(document["components"]["schemas"].get(name).is_some(), "{name}");
        }
    }
}

#[test]
fn who_comes_without_a_key_is_answered_as_is_said() {
    let app = App::new();
    for generation in 1..=4 {
        for (path, method, operation) in operations(generation) {
            let method = method.to_uppercase();
            let request = Request::builder().method(&*method).uri(path.replace(['{', '}'], ""));
            let answer = app.answer(request.body(Body::empty()).expect("a request"));
            assert_eq!(answer.status, 401, "{method} {path}");
            let found = problems_of(document(generation), operation, 401, &answer.body);
            assert!(found.is_empty(), "{method} {path}: {found:#?}");
        }
    }
    // The document itself is open: that of the key's generation.
    for (key, generation) in [("", 1), (KEY, 1), (SECOND, 2), ("lim_wrong", 3)] {
        let request = Request::builder().uri("/openapi.json");
        let request = request.header("authorization", format!("Bearer {key}"));
        let answer = app.answer(request.body(Body::empty()).expect("a request"));
        assert_eq!(&answer.body, document(generation), "{key}");
    }
}

/// Ids that are made by chance, as they are written in examples, and as they are.
#[derive(Default)]
struct Ids {
    known: Vec<(String, String)>,
    counts: BTreeMap<&'static str, usize>,
}

impl Ids {
    const PREFIXES: [&'static str; 13] = [
        "evt_",
        "qa_",
        "qal_",
        "lmt_",
        "mtr_",
        "chk_",
        "res_",
        "txn_",
        "limitry_ct_",
        "ct_",
        "req_",
        "whe_",
        "dlv_",
    ];

    /// Writes what was answered as an example has it.
    fn written(&mut self, value: &Value) -> Value {
        match value {
            Value::String(text) => self.text(text).into(),
            Value::Array(list) => list.iter().map(|one| self.written(one)).collect(),
            Value::Object(fields) => {
                let fields = fields.iter().map(|(name, value)| (name.clone(), self.written(value)));
                Value::Object(fields.collect())
            }
            other => other.clone(),
        }
    }

    fn text(&mut self, text: &str) -> String {
        if let Some((written, _)) = self.known.iter().find(|(_, known)| known == text) {
            return written.clone();
        }
        if text.starts_with("whsec_") {
            return "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=".to_owned();
        }
        let by_chance = |prefix: &&str| {
            text.strip_prefix(*prefix).is_some_and(|rest| {
                rest.len() >= 16 && rest.bytes().all(|byte| byte.is_ascii_alphanumeric())
            })
        };
        let Some(prefix) = Self::PREFIXES.into_iter().find(by_chance) else {
            // It may speak of one.
            let known = self.known.iter();
            return known
                .fold(text.to_owned(), |text, (written, known)| text.replace(known, written));
        };
        let count = self.counts.entry(prefix).or_default();
        *count += 1;
        let written = format!("{prefix}{count:016}");
        self.known.push((written.clone(), text.to_owned()));
        // One may be the end of another.
        self.known.sort_by_key(|(written, _)| std::cmp::Reverse(written.len()));
        written
    }

    /// Writes what is to be sent with the ids that there are.
    fn sent(&self, text: &str) -> String {
        let known = self.known.iter();
        known.fold(text.to_owned(), |text, (written, known)| text.replace(written, known))
    }
}

/// An engine with a store and a folder for backups, and a call in it.
struct Stored {
    app: App,
    folder: Folder,
}

impl Stored {
    fn new() -> Self {
        let folder = Folder::new("examples");
        let builder = with_store(&folder);
        let backups = |options: Options| options.backups(&folder.0);
        let app = App::served("2024-01-15T10:30:00Z", builder, backups);
        let call = Event::new("cust_123", "model_call").model("gpt-4").input_tokens(900);
        let _ = app.engine.record(&call).expect("a good event");
        app.engine.store().flush().expect("it is written");
        Self { app, folder }
    }

    /// Checks how many bytes a file has, and says those of the example: another version of the
    /// store's format has others.
    fn settle(&self, answer: &mut Value, example: &Value) {
        let Some(file) = answer["file"].as_str() else { return };
        let bytes = std::fs::metadata(self.folder.path(file)).expect("it is there").len();
        assert_eq!(answer["bytes"], bytes);
        if let Some(bytes) = example.get("bytes") {
            answer["bytes"] = bytes.clone();
        }
    }
}

#[cfg(feature = "durable")]
fn with_store(folder: &Folder) -> EngineBuilder {
    let store = limitry::store::Durable::open(folder.path("limitry.redb")).expect("it opens");
    Engine::builder().durable(store)
}

/// There are no files of stores: what is shown of one is not asked.
#[cfg(not(feature = "durable"))]
fn with_store(_: &Folder) -> EngineBuilder {
    Engine::builder()
}

/// A folder that goes with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let name = format!("{name}-{}", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _gone = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn every_example_is_an_answer() {
    for generation in 1..=4 {
        let name = NAMES[generation - 1];
        let path = format!("src/http/openapi/examples/{name}.json");
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        let text = std::fs::read_to_string(&path).expect("they are there");
        let examples: Vec<Value> = serde_json::from_str(&text).expect("a list");
        let (app, mut ids) = (App::new(), Ids::default());
        let stored = Stored::new();
        if generation == 4 {
            // What is held, and was used, by others.
            let subject = json!({"kind": "user", "id": "usr_123"});
            let body = json!({"subject": subject, "action": "chat", "mode": "reserve"});
            app.third("POST", "/v1/checks", body).ok(200);
            let call = Event::new("cust_123", "model_call").model("gpt-4").input_tokens(900);
            let call = app.engine.record(&call).expect("a good event").event_id();
            let _ = ids.text(&call.expect("it is recorded").to_string());
        }
        let mut answered = Vec::new();
        for example in &examples {
            let (method, asked) = (&example["method"], example["path"].as_str().expect("a path"));
            let (method, asked) = (method.as_str().expect("a method"), ids.sent(asked));
            let body =
                example.get("body").map_or(String::new(), |body| ids.sent(&body.to_string()));
            let key = match example["key"].as_str() {
                Some(key) => ids.sent(key),
                None => KEYS[generation - 1].to_owned(),
            };
            let is_stored = example["stored"] == true;
            if is_stored && !cfg!(feature = "durable") {
                answered.push(example.clone());
                continue;
            }
            let app = if is_stored { &stored.app } else { &app };
            let mut answer = app.send(&key, method, &asked, body);
            if is_stored {
                stored.settle(&mut answer.body, &example["answer"]);
            }
            let mut whole = example.clone();
            whole["status"] = answer.status.as_u16().into();
            whole["answer"] = ids.written(&answer.body);
            answered.push(whole);
        }
        if std::env::var_os("LIMITRY_BLESS").is_some() {
            let text = serde_json::to_string_pretty(&answered).expect("JSON") + "\n";
            std::fs::write(&path, text).expect("it is written");
            continue;
        }
        for (example, answered) in examples.iter().zip(&answered) {
            assert_eq!(example, answered, "{name}: LIMITRY_BLESS=1 writes them anew");
        }
        shown(generation, &examples);
    }
}

/// Checks that examples stand in the document, and are what it says.
fn shown(generation: usize, examples: &[Value]) {
    let document = document(generation);
    for example in examples {
        let (route, says) = (&example["route"], example["says"].as_str().expect("a text"));
        let method = example["method"].as_str().expect("a method").to_lowercase();
        let operation = &document["paths"][route.as_str().expect("a path")][&method];
        let status = example["status"].as_u64().expect("a status");
        let content = operation["responses"][status.to_string()]["content"].as_object();
        let content = content.and_then(|content| content.values().next());
        let found = content.map_or(&Value::Null, |content| &content["examples"][says]["value"]);
        assert_eq!(found, &example["answer"], "{method} {route}: {says}");
        let found = problems_of(document, operation, status as u16, &example["answer"]);
        assert!(found.is_empty(), "{method} {route}: {says}: {found:#?}");
        let Some(body) = example.get("body").filter(|_| status < 400) else { continue };
        let content = &operation["requestBody"]["content"]["application/json"];
        assert_eq!(&content["examples"][says]["value"], body, "{method} {route}: {says}");
        let found = problems(document, &content["schema"], body);
        assert!(found.is_empty(), "{method} {route}: {says}: {found:#?}");
    }
    // Of each operation there is one.
    for (path, method, _) in operations(generation) {
        let is_shown = |example: &&Value| {
            example["route"] == path && example["method"] == method.to_uppercase()
        };
        assert!(examples.iter().any(|example| is_shown(&example)), "{method} {path}");
    }
}
