//! Goal: the commands for a store do what they say on a good one, and on any other file they say
//! clearly what is wrong, end with the code for it, and change nothing.
//!
//! Method: the program is run on stores that an engine of the tests wrote, and on a damaged one, a
//! locked one, one of a newer format, none, a folder and a file that is no store; the bytes of all
//! files of the folder are compared before and after.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use limitry::store::Durable;
use limitry::usage::{RollupOptions, UsageQuery};
use limitry::{Engine, EngineBuilder, Event, Metric, Period, Quota, Timestamp};
use redb::ReadableTable;
use serde_json::Value;

use crate::program::{Folder, program, text};

fn application() -> EngineBuilder {
    Engine::builder()
        .quota(Quota::new("Tokens", Metric::TotalTokens, 5_000, Period::Day).per("customer_id"))
        .rollups(RollupOptions::new().dimension("team_id"))
}

/// A store with the calls of some customers in it, of an hour that is over.
fn stored(path: &Path) {
    let engine = application().durable(Durable::open(path).expect("a store")).build();
    let engine = engine.expect("an engine");
    let at: Timestamp = "2026-01-15T10:00:00Z".parse().expect("a time");
    for number in 0..60_u64 {
        let customer = ["ann", "bob", "<b>eve</b>"][(number % 3) as usize];
        let call = Event::new(customer, "model_call").model("gpt-4o").input_tokens(number);
        let call = call.property("team_id", "red").cost_cents(number);
        let at = at + std::time::Duration::from_secs(number);
        let _ = engine.record(&call.timestamp(at).idempotency_key(format!("call-{number}")));
    }
    engine.store().close().expect("closed");
}

/// What the program ended with, and what it said on stdout and stderr.
fn run(arguments: &[&str]) -> (i32, String, String) {
    let output = program().args(arguments).output().expect("it starts");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (output.status.code().expect("it ends"), text(output.stdout), text(output.stderr))
}

/// Runs it well: the object that it said.
fn said(arguments: &[&str]) -> Value {
    let (code, out, why) = run(arguments);
    assert_eq!((code, &*why), (0, ""), "{arguments:?}: {out}");
    serde_json::from_str(&out).expect("an object")
}

fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = fs::read_dir(folder).expect("a folder").map(|file| file.expect("a file").path());
    let files = files.filter(|path| path.is_file());
    files.map(|path| (path.clone(), fs::read(path).expect("read"))).collect()
}

fn usage(path: &Path) -> Vec<String> {
    let store = Durable::options().copy_on_write(true).open(path).expect("a store");
    let engine = Engine::builder().durable(store).as_stored().build().expect("an engine");
    let all = UsageQuery::all_time();
    let ways = ["customer_id", "team_id", "model"];
    let ways = ways.map(|by| engine.usage().breakdown(&all, by).expect("declared"));
    ways.iter().map(|rows| serde_json::to_string(rows).expect("data")).collect()
}

#[test]
fn what_looks_at_a_store_says_what_is_in_it_and_changes_nothing() {
    let folder = Folder::new("upkeep");
    let store = folder.path("limitry.redb");
    stored(&store);
    let (store, before) = (text(&store), contents(&folder.path("")));
    let info = said(&["store", "info", store, "--json"]);
    assert_eq!((&info["recorded"], &info["quotas"]), (&60.into(), &1.into()), "{info}");
    assert_eq!((&info["format"], &info["tokens"]), (&3.into(), &1_770.into()), "{info}");
    let (code, out, _) = run(&["store", "info", store]);
    assert!(code == 0 && out.contains("rules       0 rate limits, 1 quotas, 0 meters"), "{out}");
    let verified = said(&["store", "verify", store, "--json"]);
    assert_eq!((&verified["good"], &verified["report"]["records"]), (&true.into(), &60.into()));
    let range = ["--start", "2026-01-15T00:00:00Z", "--end", "2026-01-16T00:00:00Z"];
    let asked = [&["store", "report", store, "--json"][..], &range].concat();
    let report = said(&asked);
    assert_eq!(report["totals"]["totalTokens"], 1_770, "{report}");
    let customers = &report["by"][0]["rows"];
    assert_eq!(
        (&customers[0]["name"], &customers[0]["totalTokens"]),
        (&"<b>eve</b>".into(), &610.into())
    );
    assert_eq!(said(&[&["report", "--store", store, "--json"][..], &range].concat()), report);
    let (code, out, _) = run(&[&["report", "--store", store][..], &range].concat());
    assert!(code == 0 && out.contains("ann                                      20"), "{out}");
    let (code, lines, why) = run(&["store", "export", store]);
    assert_eq!((code, lines.lines().count()), (0, 60));
    assert!(why.contains("60 events written"), "{why}");
    assert!(contents(&folder.path("")) == before);
    // What writes a file writes that one alone.
    let page = folder.path("page.html");
    said(&[&asked[..], &["--html", text(&page)]].concat());
    let page = fs::read_to_string(&page).expect("written");
    assert!(page.contains("&lt;b&gt;eve") && !page.contains("<b>eve"), "{page}");
    assert!(!page.contains("http:") && !page.contains("https:") && !page.contains("<script"));
    let copy = folder.path("copy.redb");
    let made = said(&["store", "backup", store, text(&copy), "--json"]);
    assert_eq!(made["bytes"], fs::metadata(&copy).expect("there").len());
    assert_eq!(usage(&copy), usage(Path::new(store)));
    let (code, _, why) = run(&["store", "backup", store, text(&copy)]);
    assert!(code == 1 && why.contains("there is something of this name already"), "{why}");
    assert_eq!(fs::read(store).expect("read"), before[Path::new(store)]);
}

#[test]
fn an_export_that_is_imported_gives_the_same_usage() {
    let folder = Folder::new("transfer");
    let [store, lines, other] =
        ["limitry.redb", "events.jsonl", "other.redb"].map(|name| folder.path(name));
    stored(&store);
    let exported = said(&["store", "export", text(&store), "--to", text(&lines), "--json"]);
    assert_eq!(exported["count"], 60);
    // The other store has its application's rules and dimensions, and no event.
    let engine = application().durable(Durable::open(&other).expect("a store")).build();
    engine.expect("an engine").store().close().expect("closed");
    let import = ["store", "import", text(&other), text(&lines), "--json"];
    let imported = said(&import);
    assert_eq!((&imported["count"], &imported["duplicates"]), (&60.into(), &0.into()));
    assert_eq!(usage(&other), usage(&store));
    let again = said(&import);
    assert_eq!((&again["count"], &again["duplicates"]), (&0.into(), &60.into()), "{again}");
    assert_eq!(usage(&other), usage(&store));
    let info = said(&["store", "info", text(&other), "--json"]);
    assert_eq!((&info["quotas"], &info["recorded"]), (&1.into(), &60.into()));
    // A part of them, and a bad line among them.
    let part = ["store", "export", text(&store), "--customer", "ann"];
    let ann = run(&[&part[..], &["--start", "2026-01-15T10:00:30Z"]].concat()).1;
    assert_eq!(ann.lines().count(), 10);
    let bad = folder.write("bad.jsonl", &format!("{{}}\n{ann}"));
    let made = folder.path("made.redb");
    let (code, _, why) = run(&["store", "import", text(&made), text(&bad)]);
    assert!(code == 6 && !made.exists(), "{why}");
    let import = ["store", "import", text(&made), text(&bad), "--create", "--json"];
    let (code, out, why) = run(&import);
    assert_eq!(code, 8, "{why}");
    assert!(
        out.contains(r#""error":"bad_input""#) && why.contains("line 1: customer"),
        "{out}{why}"
    );
    let (code, out, why) = run(&[&import[..], &["--skip-bad"]].concat());
    let body: Value = serde_json::from_str(&out).expect("an object");
    assert_eq!((code, &body["count"], &body["invalid"]), (0, &10.into(), &1.into()));
    assert!(why.contains("line 1: "), "{why}");
    let before = fs::metadata(&made).expect("there").len();
    let compacted = said(&["store", "compact", text(&made), "--json"]);
    assert_eq!(compacted["bytesBefore"], before);
    assert_eq!(compacted["bytesAfter"], fs::metadata(&made).expect("there").len());
    assert_eq!(said(&["store", "info", text(&made), "--json"])["events"], 10);
    let (code, _, why) = run(&["store", "export", text(&store), "--to", text(&lines)]);
    assert!(code == 1 && why.contains("there is something of this name already"), "{why}");
}

/// Each command on a file: it must end with the code, and name the file.
fn all_end_with(folder: &Folder, file: &Path, code: i32, what: &str) {
    let lines = folder.path("events.jsonl");
    let (file, copy) = (text(file), folder.path("never.redb"));
    let commands: [&[&str]; 7] = [
        &["info", file],
        &["verify", file],
        &["compact", file],
        &["backup", file, text(&copy)],
        &["export", file],
        &["import", file, text(&lines)],
        &["report", file],
    ];
    let before = contents(&folder.path(""));
    for command in commands {
        let arguments = [&["store"], command, &["--json"]].concat();
        let (found, out, why) = run(&arguments);
        assert_eq!(found, code, "{arguments:?}: {out}{why}");
        let said: Value = serde_json::from_str(&out).expect("an object");
        let message = said["message"].as_str().expect("a text");
        assert!(message.contains(file) && message.contains(what), "{arguments:?}: {message}");
        assert_eq!(why, format!("limitry: {message}\n"), "{arguments:?}");
        assert!(contents(&folder.path("")) == before, "{arguments:?}");
    }
}

#[test]
fn what_is_no_store_to_use_is_said_and_left_alone() {
    let folder = Folder::new("unusable");
    folder.write("events.jsonl", "");
    all_end_with(&folder, &folder.path("none.redb"), 6, "opening to read");
    all_end_with(&folder, &folder.write("text.redb", "no store"), 7, "is not a store of limitry");
    all_end_with(&folder, &folder.write("empty.redb", ""), 7, "is not a store of limitry");
    fs::create_dir(folder.path("folder")).expect("made");
    all_end_with(&folder, &folder.path("folder"), 7, "is no plain file");
    let store = folder.path("limitry.redb");
    stored(&store);
    let newer = folder.path("newer.redb");
    fs::copy(&store, &newer).expect("copied");
    make_newer(&newer);
    all_end_with(&folder, &newer, 5, "is newer than 3");
    let before = contents(&folder.path(""));
    let (code, _, why) = run(&["serve", "--listen", "127.0.0.1:0", "--store", text(&newer)]);
    assert!(code == 5 && why.contains("is newer than 3"), "{why}");
    assert!(contents(&folder.path("")) == before);
    // Another process has it open.
    let rules = folder.write("rules.toml", "");
    let server = crate::Server::start(&["--rules", text(&rules), "--store", text(&store)], None);
    all_end_with(&folder, &store, 4, "is open in another engine");
    drop(server);
    let (code, _, why) = run(&["store", "verify"]);
    assert!(code == 2 && why.contains("Usage: "), "{why}");
}

/// Gives the row that names a store's format the number of a later one.
fn make_newer(path: &Path) {
    let db = redb::Database::open(path).expect("a file of redb");
    let table: redb::TableDefinition<'_, u64, &[u8]> = redb::TableDefinition::new("limitry");
    let txn = db.begin_write().expect("begun");
    {
        let mut rows = txn.open_table(table).expect("a table");
        let mut row = rows.get(0).expect("read").expect("a row").value().to_vec();
        row[8..12].copy_from_slice(&99_u32.to_le_bytes());
        rows.insert(0, row.as_slice()).expect("written");
    }
    txn.commit().expect("committed");
}

/// Wherever a byte is flipped, a check finds it or nothing of the store is in it; and no command
/// says something else than the undamaged store or ends in another way than for damage.
#[test]
fn damage_is_found_wherever_it_is() {
    let folder = Folder::new("damage");
    let store = folder.path("limitry.redb");
    stored(&store);
    // Little of it is free then.
    said(&["store", "compact", text(&store), "--json"]);
    let whole = fs::read(&store).expect("read");
    let good = run(&["store", "export", text(&store)]).1;
    let damaged = folder.path("damaged.redb");
    let mut found = 0;
    let (pages, places) = (whole.len() / 4_096, 12);
    for place in 0..=places {
        let mut bytes = whole.clone();
        // A run of bytes in the middle of a page, and in the end of every page.
        let first = 1 + (pages - 1) * place / places;
        let hit = if place < places { first..first + 1 } else { 1..pages };
        for page in hit {
            bytes[page * 4_096 + 700..][..64].iter_mut().for_each(|byte| *byte ^= 0x5A);
        }
        fs::write(&damaged, &bytes).expect("written");
        let (code, out, why) = run(&["store", "verify", text(&damaged), "--json"]);
        assert!(code == 0 || code == 3, "{place}: {code} {out}{why}");
        found += usize::from(code == 3);
        let (exported, lines, _) = run(&["store", "export", text(&damaged)]);
        assert!(exported == 3 || (exported == 0 && lines == good), "{place}");
        assert!(code == 3 || exported == 0, "{place}");
        if code == 3 {
            assert!(out.contains(r#""error":"damaged""#), "{out}");
            // Neither do those touch it that write.
            let written = run(&["store", "compact", text(&damaged)]).0;
            assert!(written == 3 || (written == 0 && exported == 0), "{place}");
            if written == 0 {
                continue;
            }
            assert!(why.starts_with("limitry: ") && why.lines().count() == 1, "{why}");
        }
        assert!(fs::read(&damaged).expect("read") == bytes);
    }
    assert!(found > 0, "no damage was found");
    let cut = &whole[..whole.len() / 2];
    fs::write(&damaged, cut).expect("written");
    let (code, _, why) = run(&["store", "verify", text(&damaged)]);
    assert!(code == 3 && fs::read(&damaged).expect("read") == cut, "{why}");
}

#[test]
fn rules_are_tried_on_what_was_exported() {
    let folder = Folder::new("simulate");
    let store = folder.path("limitry.redb");
    stored(&store);
    let lines = folder.path("events.jsonl");
    said(&["store", "export", text(&store), "--to", text(&lines), "--json"]);
    let rules = "[[quotas]]\nname = \"Tokens\"\nmetric = \"total_tokens\"\nlimitValue = 300\n\
                 period = \"day\"\nper = \"customer_id\"\n";
    let rules = folder.write("rules.toml", rules);
    let asked = ["simulate", text(&rules), "--events", text(&lines)];
    let report = said(&[&asked[..], &["--json"]].concat());
    assert_eq!(report["calls"]["calls"], 60, "{report}");
    let (code, out, _) = run(&asked);
    assert!(code == 0 && out.starts_with("60 calls, 2026-01-15T10:00:00Z to "), "{out}");
    assert!(out.contains("3 of 3 customers would have been refused a call"), "{out}");
    let bad = folder.write("bad.jsonl", "\n{\"customerId\": 3}\n");
    let (code, _, why) = run(&["simulate", text(&rules), "--events", text(&bad)]);
    assert!(code == 8 && why.contains("bad.jsonl: line 2: customerId: "), "{why}");
    let (code, _, _) = run(&["simulate", text(&rules), "--events", "none.jsonl"]);
    assert_eq!(code, 6);
    let piped = program()
        .args(["simulate", text(&rules), "--events", "-"])
        .stdin(fs::File::open(&lines).expect("there"))
        .stdout(Stdio::piped())
        .output()
        .expect("it runs");
    assert!(String::from_utf8(piped.stdout).expect("text") == out);
}
