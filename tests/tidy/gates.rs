//! Features stand at doors: few places ask which are on, and the rest of the code is the same.

use std::collections::BTreeMap;

use crate::sources::{report, shipped, shipped_files};

/// Every place of `src` that asks for a feature: the file, the feature, how often.
const DOORS: [(&str, &str, usize); 18] = [
    // What is told with each feature, and the facades that it is told to.
    ("src/telemetry/mod.rs", "metrics", 2),
    ("src/telemetry/recorder.rs", "metrics", 2),
    // A recorder of an engine's own, and one to be asked over HTTP.
    ("src/engine/builder.rs", "metrics", 1),
    ("src/http/figures/mod.rs", "metrics", 2),
    ("src/http/mod.rs", "metrics", 1),
    ("src/telemetry/spans.rs", "tracing", 2),
    // The timer of tokio's runtime.
    ("src/base/clock/timer/mod.rs", "tokio", 2),
    // Alerts as a stream, and signatures of webhooks.
    ("src/alerts/mod.rs", "tokio", 2),
    ("src/engine/alerts.rs", "tokio", 1),
    ("src/alerts/mod.rs", "webhooks", 2),
    // The store on disk, and the way to it.
    ("src/journal/mod.rs", "durable", 1),
    ("src/lib.rs", "durable", 1),
    ("src/engine/config.rs", "durable", 2),
    // Webhooks, which stand outside.
    ("src/lib.rs", "webhooks", 1),
    ("src/webhooks/mod.rs", "webhook-client", 2),
    // The HTTP API.
    ("src/lib.rs", "http", 1),
    // The layer, which stands outside.
    ("src/lib.rs", "tower", 1),
    // Usage and prices of models.
    ("src/lib.rs", "llm", 1),
];

/// The most that a feature may have in all.
const MOST: [(&str, usize); 1] = [("durable", 10)];

/// The features that a line asks for. What documentation says of them is no question.
fn asked(line: &str) -> Vec<&str> {
    let code = line.trim_start();
    let asks = ["cfg(", "cfg!(", "cfg_attr("].iter().any(|asked| code.contains(asked));
    if code.starts_with("//") || !asks {
        return Vec::new();
    }
    if code.contains("doc(cfg(") { Vec::new() } else { named(code) }
}

fn named(code: &str) -> Vec<&str> {
    let behind = code.split("feature = \"").skip(1);
    behind.filter_map(|rest| rest.split('"').next()).collect()
}

#[test]
fn features_are_asked_for_at_doors_only() {
    let mut found: BTreeMap<(String, String), Vec<usize>> = BTreeMap::new();
    for (file, text) in shipped_files() {
        for (place, line) in shipped(&text) {
            for feature in asked(line) {
                found.entry((file.clone(), feature.to_owned())).or_default().push(place);
            }
        }
    }
    let mut findings = Vec::new();
    for (file, feature, count) in DOORS {
        let places = found.remove(&(file.to_owned(), feature.to_owned())).unwrap_or_default();
        if places.len() != count {
            findings.push(format!("{file}: {feature}: {count} doors are planned, at {places:?}"));
        }
    }
    findings.extend(
        found.into_iter().map(|((file, feature), places)| format!("{file}: {feature}: {places:?}")),
    );
    for (feature, most) in MOST {
        let all: usize =
            DOORS.iter().filter(|(_, name, _)| *name == feature).map(|(.., count)| count).sum();
        if all > most {
            findings.push(format!("{feature}: {all} doors, and at most {most} may be"));
        }
    }
    report("features are asked for at doors", &findings);
}

#[test]
fn a_question_for_a_feature_is_seen() {
    assert_eq!(asked("#[cfg(feature = \"durable\")]"), ["durable"]);
    assert_eq!(asked("    #[cfg(not(feature = \"metrics\"))]"), ["metrics"]);
    assert_eq!(asked("#[cfg(any(feature = \"a\", feature = \"b\"))]"), ["a", "b"]);
    assert_eq!(asked("    if cfg!(feature = \"durable\") {"), ["durable"]);
    assert_eq!(asked("#[cfg_attr(not(feature = \"durable\"), expect(dead_code))]"), ["durable"]);
    assert_eq!(asked("#[cfg_attr(docsrs, doc(cfg(feature = \"durable\")))]"), [""; 0]);
    assert_eq!(asked("//! # #[cfg(feature = \"durable\")]"), [""; 0]);
}
