//! The program `limitry`, started and called as users do.
#![cfg(unix)]

use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

mod container;
mod docs;
mod live;
mod operations;
mod program;
mod upkeep;
mod webhooks;
mod webhooks_kill;

use program::{Answer, Folder, Server, program, run, text};

const CALL: &str = r#"{"customerId": "cust_123", "eventType": "model_call", "inputTokens": 150}"#;

fn rules(limits: &[(&str, u64)]) -> String {
    let rule = |(name, limit): &(&str, u64)| {
        format!("[[rateLimits]]\nname = \"{name}\"\nlimitValue = {limit}\nwindow = \"hour\"\n")
    };
    limits.iter().map(rule).collect()
}

/// The names and limits of what the server has, the newest first.
fn limits_of(server: &Server) -> Vec<(String, u64)> {
    let listed = server.send("GET", "/v1/rate-limits", "");
    let rules = listed.body["data"].as_array().expect("a list").iter();
    let rules = rules.map(|rule| {
        let name = rule["name"].as_str().expect("a name").to_owned();
        (name, rule["limitValue"].as_u64().expect("a number"))
    });
    rules.collect()
}

fn is(found: &[(String, u64)], expected: &[(&str, u64)]) {
    let expected: Vec<_> =
        expected.iter().map(|(name, limit)| ((*name).to_owned(), *limit)).collect();
    assert_eq!(found, expected);
}

#[test]
fn keys_of_several_projects_are_told_of_and_not_served() {
    let folder = Folder::new("projects");
    let mut file = String::new();
    for project in ["proj_a", "proj_b"] {
        let made = program().args(["key", "new", "--project", project]).output().expect("it runs");
        let made = String::from_utf8(made.stdout).expect("text");
        // The first line is the key, the rest its lines of the file.
        file.extend(made.split_inclusive('\n').skip(1));
    }
    let keys = folder.write("keys.toml", &file);
    let store = folder.path("limitry.redb");
    let mut serve = program();
    serve.args(["serve", "--listen", "127.0.0.1:0", "--keys"]).arg(keys);
    let ended = serve.arg("--store").arg(&store).output().expect("it runs");
    let said = String::from_utf8(ended.stderr).expect("text");
    assert!(!ended.status.success(), "{said}");
    assert!(said.contains("2 projects (proj_a, proj_b), and a server serves one"), "{said}");
    // It said so before it made anything.
    assert!(!store.exists());
}

#[test]
fn without_arguments_there_is_something_to_try() {
    let mut server = Server::start(&[], None);
    let answer = server.send("POST", "/v1/track", CALL);
    assert_eq!(answer.status, 201, "{}", answer.body);
    assert_eq!(answer.body["quotas"][0]["used"], 150);
    let id = answer.head.lines().find_map(|line| line.strip_prefix("x-request-id: "));
    let id = id.filter(|id| id.starts_with("req_")).expect("an id");
    // The log has a line of JSON for it, under the same id.
    let line: serde_json::Value = serde_json::from_str(&server.wait_for(id)).expect("JSON");
    let said = ["request", "path", "status"].map(|name| line["fields"][name].clone());
    assert_eq!(said, [json!(id), json!("/v1/track"), json!(201)]);
    let refused = server.send("POST", "/v1/track", &CALL.replace("150", "100000"));
    assert_eq!((refused.status, &refused.body["error"]), (429, &json!("Quota exceeded")));
    let bad = server.send("POST", "/v1/track", "{}");
    assert_eq!((bad.status, &bad.body["error"]), (400, &json!("Invalid request")));
    let stranger = Server::start(&[], Some("lm_wrong"));
    let body = json!({"error": "Invalid or missing API key"});
    let answer = stranger.send("POST", "/v1/track", CALL);
    assert_eq!((answer.status, answer.body), (401, body));
}

#[test]
fn rules_follow_their_file_and_leave_the_others() {
    let folder = Folder::new("rules");
    let path = folder.write("rules.toml", &rules(&[("A", 1), ("B", 2), ("C", 3)]));
    let store = folder.path("limitry.redb");
    let arguments = ["--rules", text(&path), "--store", text(&store)];
    let mut server = Server::start(&arguments, None);
    assert!(server.wait_for("rules read from the file").contains(r#""created":"A, B, C""#));
    is(&limits_of(&server), &[("C", 3), ("B", 2), ("A", 1)]);
    let own = r#"{"name": "Own", "limitValue": 9, "window": "hour"}"#;
    assert_eq!(server.send("POST", "/v1/rate-limits", own).status, 201);
    assert_eq!(server.send("PUT", "/v1/rate-limits/rl_a", r#"{"limitValue": 11}"#).status, 200);
    assert_eq!(server.send("PUT", "/v1/rate-limits/rl_b", r#"{"limitValue": 12}"#).status, 200);
    // The file changes one of those that the API has changed, takes one out and brings one.
    folder.write("rules.toml", &rules(&[("A", 1), ("B", 22), ("D", 4)]));
    server.signal("HUP");
    let line = server.wait_for("rules read from the file");
    assert!(line.contains(r#""left":"A""#) && line.contains(r#""removed":"C""#), "{line}");
    is(&limits_of(&server), &[("D", 4), ("Own", 9), ("B", 22), ("A", 11)]);
    // A bad file changes nothing, and says all that is wrong.
    let bad = rules(&[("A", 5), ("", 2)]) + "[[quotas]]\nname = \"Q\"\nlimitValue = -1\n";
    folder.write("rules.toml", &bad);
    server.signal("HUP");
    assert!(server.wait_for("the rules stay as they are").contains("rules.toml"));
    is(&limits_of(&server), &[("D", 4), ("Own", 9), ("B", 22), ("A", 11)]);
    // What the file said is known after a restart, too.
    folder.write("rules.toml", &rules(&[("A", 1), ("D", 44)]));
    server.signal("TERM");
    server.wait_for("stopping");
    assert!(server.wait().success());
    let server = Server::start(&arguments, None);
    is(&limits_of(&server), &[("D", 44), ("Own", 9), ("A", 11)]);
}

/// Each answer lists the rules that decided: they are those of one file or of the other.
#[test]
fn no_request_is_answered_by_half_a_file() {
    let folder = Folder::new("reload");
    // Of the first "A" and "B" go and "C" changes with each reading; of the other "D" goes.
    let files = [rules(&[("A", 900), ("B", 900), ("C", 901)]), rules(&[("C", 902), ("D", 900)])];
    let said: [&[(&str, u64)]; 2] =
        [&[("A", 900), ("B", 900), ("C", 901)], &[("C", 902), ("D", 900)]];
    let path = folder.write("rules.toml", &files[0]);
    let mut server = Server::start(&["--rules", text(&path)], None);
    server.wait_for("rules read from the file");
    let (address, key) = (server.address.clone(), server.key.clone());
    let stop = AtomicBool::new(false);
    let seen = std::thread::scope(|scope| {
        let call = || {
            let mut seen = [0_usize; 2];
            while !stop.load(Ordering::Acquire) {
                let answer = program::send(&address, &key, "POST", "/v1/track", CALL);
                let limits = answer.body["rateLimits"].as_array().expect("a list").iter();
                let limits = limits.map(|it| (it["name"].as_str(), it["limit"].as_u64()));
                let mut limits: Vec<_> = limits.collect();
                limits.sort_unstable();
                let is_of = |file: &&[(&str, u64)]| {
                    file.iter().map(|(name, limit)| (Some(*name), Some(*limit))).eq(limits.clone())
                };
                let place = said.iter().position(is_of);
                seen[place.unwrap_or_else(|| panic!("{limits:?} is of no file"))] += 1;
            }
            seen
        };
        let callers = [scope.spawn(call), scope.spawn(call)];
        for file in files.iter().cycle().skip(1).take(11) {
            folder.write("next.toml", file);
            std::fs::rename(folder.path("next.toml"), &path).expect("it is moved");
            server.signal("HUP");
            server.wait_for("rules read from the file");
        }
        stop.store(true, Ordering::Release);
        callers.map(|caller| caller.join().expect("every answer is of one file"))
    });
    assert!(seen.iter().flatten().all(|seen| *seen > 0), "{seen:?}");
}

/// The file is looked at, also where nobody says so.
#[test]
fn a_file_that_changes_is_read_again_by_itself() {
    let folder = Folder::new("watched");
    let path = folder.write("rules.toml", &rules(&[("A", 1)]));
    let mut server = Server::start(&["--rules", text(&path)], None);
    server.wait_for("rules read from the file");
    folder.write("rules.toml", &rules(&[("A", 2)]));
    assert!(server.wait_for("rules read from the file").contains(r#""updated":"A""#));
    is(&limits_of(&server), &[("A", 2)]);
}

#[test]
fn a_file_that_is_bad_at_the_start_is_said() {
    let folder = Folder::new("bad");
    let bad = rules(&[("A", 5), ("", 2)])
        + "[[quotas]]\nname = \"Q\"\nlimitValue = 1.5\n\
        metric = \"total_tokens\"\nperiod = \"day\"\n";
    let path = folder.write("rules.toml", &bad);
    for arguments in [vec!["check", text(&path)], vec!["serve", "--rules", text(&path)]] {
        let (good, _, said) = run(&arguments);
        assert!(!good, "{arguments:?}");
        assert!(said.contains("line 6: rate limit #2: name"), "{said}");
        assert!(said.contains("line 11: quota \"Q\": limitValue: 1.5"), "{said}");
    }
    // What could not be read hides nothing of what could.
    let worse = bad + "[[quotas]]\nname = \"R\"\nmetric = \"meter.none\"\n";
    let (good, _, said) = run(&["check", text(&folder.write("worse.toml", &worse))]);
    assert!(!good && said.contains("3 problems"), "{said}");
    assert!(said.contains("line 6: rate limit #2: name"), "{said}");
    assert!(said.contains("line 11: quota \"Q\": limitValue: 1.5"), "{said}");
    assert!(said.contains("line 14: quota \"R\": missing field"), "{said}");
    let (good, said, _) = run(&["check", text(&folder.write("good.toml", &rules(&[("A", 5)])))]);
    assert!(good && said.contains("1 rate limits and 0 quotas"), "{said}");
    let (good, _, said) = run(&["serve", "--keys", text(&folder.path("none.toml"))]);
    assert!(!good && said.contains("none.toml"), "{said}");
}

#[test]
fn a_key_is_printed_once_and_its_lines_open_the_server() {
    let folder = Folder::new("keys");
    let (good, said, _) = run(&["key", "new", "--project", "proj_a", "--scope", "record"]);
    assert!(good);
    let (key, lines) = said.split_once('\n').expect("lines");
    let key = key.strip_prefix("key ").expect("a key");
    assert!(!lines.contains(key));
    let keys = folder.write("keys.toml", lines);
    let server = Server::start(&["--keys", text(&keys)], Some(key));
    assert_eq!(server.send("GET", "/v1/project", "").body["id"], "proj_a");
    assert_eq!(server.send("POST", "/v1/track", CALL).status, 201);
    assert_eq!(server.send("GET", "/v1/events", "").status, 403);
}

/// Calls with keys of their own as long as somebody answers; how many were answered 201.
fn call_until_it_ends(server: &Server, caller: usize, stop: &AtomicBool) -> usize {
    let mut answered = 0;
    while !stop.load(Ordering::Acquire) {
        let call =
            CALL.replace("150}", &format!("1, \"idempotencyKey\": \"{caller}-{answered}\"}}"));
        let (key, length) = (&server.key, call.len());
        let Ok(mut stream) = std::net::TcpStream::connect(&server.address) else { break };
        let request = format!(
            "POST /v1/track HTTP/1.1\r\nhost: test\r\nauthorization: Bearer {key}\r\n\
             content-length: {length}\r\nconnection: close\r\n\r\n{call}"
        );
        if stream.write_all(request.as_bytes()).is_err() {
            break;
        }
        match Answer::read(stream) {
            Some(answer) => assert_eq!(answer.status, 201, "{}", answer.body),
            None => break,
        }
        answered += 1;
    }
    answered
}

/// Sends a call once more under the key that it had.
fn retry(server: &Server, caller: usize, call: usize) {
    let call = CALL.replace("150}", &format!("1, \"idempotencyKey\": \"{caller}-{call}\"}}"));
    let again = server.send("POST", "/v1/track", &call);
    assert_eq!(again.status, 201, "{}", again.body);
}

/// Stops a server under load by a signal; every answer must be in its store, once.
fn stop_under_load(signal: &str) {
    let folder = Folder::new(signal);
    let rules = folder.write("rules.toml", "");
    let store = folder.path("limitry.redb");
    let arguments = ["--rules", text(&rules), "--store", text(&store)];
    let server = Server::start(&arguments, None);
    let stop = AtomicBool::new(false);
    let by_caller: Vec<usize> = std::thread::scope(|scope| {
        let (server, stop) = (&server, &stop);
        let callers: Vec<_> =
            (0..4).map(|it| scope.spawn(move || call_until_it_ends(server, it, stop))).collect();
        // So many calls of another one, that the four have begun.
        assert!(call_a_few(server) > 0);
        server.signal(signal);
        callers.into_iter().map(|it| it.join().expect("it ends well")).collect()
    });
    let answered: usize = by_caller.iter().sum();
    server.wait();
    let server = Server::start(&arguments, None);
    let range = "startDate=2020-01-01T00:00:00Z&endDate=2100-01-01T00:00:00Z";
    let path = format!("/v1/usage/summary?{range}&eventType=model_call");
    let counted_now = || {
        let sums = server.send("GET", &path, "");
        sums.body["totalEvents"].as_u64().expect("a number") as usize
    };
    let counted = counted_now();
    // A call that was under way may have been counted and not answered: at most one a caller.
    assert!((answered..=answered + 4).contains(&counted), "{answered} answered, {counted} counted");
    // A retry counts nothing that is there, and the one that no answer came of counts once.
    for (caller, calls) in by_caller.iter().enumerate() {
        (0..*calls).rev().take(20).for_each(|call| retry(&server, caller, call));
    }
    assert_eq!(counted_now(), counted);
    by_caller.iter().enumerate().for_each(|(caller, calls)| retry(&server, caller, *calls));
    assert_eq!(counted_now(), answered + by_caller.len());
}

fn call_a_few(server: &Server) -> usize {
    let call = CALL.replace("model_call", "other");
    (0..20).filter(|_| server.send("POST", "/v1/track", &call).status == 201).count()
}

#[test]
fn what_was_answered_is_there_after_a_kill() {
    stop_under_load("KILL");
}

#[test]
fn a_stop_answers_what_was_begun() {
    stop_under_load("TERM");
}

#[test]
fn bad_clients_are_bounded() {
    let times = ["--head-timeout", "1", "--request-timeout", "1"];
    let server = Server::start(&[&["--max-body-bytes", "1000"][..], &times].concat(), None);
    let long = server.send("POST", "/v1/track", &" ".repeat(2_000));
    assert_eq!(long.status, 413);
    // Heads that are too large, or no heads at all.
    let heads = [
        format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(10_000)),
        format!("GET / HTTP/1.1\r\na: {}\r\n\r\n", "b".repeat(1_000_000)),
    ];
    for head in heads {
        let mut stream = server.connect();
        let _sent = stream.write_all(head.as_bytes());
        let answer = Answer::read(stream);
        let status = answer.map_or(431, |answer| answer.status);
        assert_eq!(status, 431, "{} bytes", head.len());
    }
    // One that never ends is closed, and so are those that say nothing.
    let mut slow = server.connect();
    slow.write_all(b"GET /healthz HTTP/1.1\r\nhost: ").expect("sent");
    let mut endless = server.connect();
    let key = &server.key;
    let head = format!("POST /v1/track HTTP/1.1\r\nhost: t\r\nauthorization: Bearer {key}\r\n");
    let body = "connection: close\r\ncontent-length: 900\r\n\r\n{";
    endless.write_all(format!("{head}{body}").as_bytes()).expect("sent");
    let idle: Vec<_> = (0..200).map(|_| server.connect()).collect();
    assert_eq!(server.send("POST", "/v1/track", CALL).status, 201);
    for stream in idle.into_iter().chain([slow]) {
        let answer = Answer::read(stream);
        assert!(answer.is_none_or(|answer| answer.status == 408));
    }
    // A body that does not come is waited for as long as any request may take.
    assert_eq!(Answer::read(endless).map(|answer| answer.status), Some(408));
    // One that goes away in the middle of a body takes nothing with it.
    let mut gone = server.connect();
    gone.write_all(b"POST /v1/track HTTP/1.1\r\nhost: t\r\ncontent-length: 900\r\n\r\n{")
        .expect("sent");
    drop(gone);
    assert_eq!(server.send("POST", "/v1/track", CALL).status, 201);
}

/// As many clients who say nothing, and bodies as long as they may come.
#[cfg(target_os = "linux")]
#[test]
fn memory_stays_bounded_whatever_clients_do() {
    const MEGABYTE: u64 = 1_048_576;
    let server = Server::start(&["--max-connections", "6000"], None);
    assert_eq!(server.send("POST", "/v1/track", CALL).status, 201);
    let before = server.most_memory();
    let idle: Vec<_> = (0..5_000).map(|_| server.connect()).collect();
    assert_eq!(server.send("POST", "/v1/track", CALL).status, 201);
    let with_idle = server.most_memory();
    // 100 MB each: with a length, in chunks, and one who never says that it is over.
    let key = &server.key;
    let head = format!("POST /v1/track HTTP/1.1\r\nhost: t\r\nauthorization: Bearer {key}\r\n");
    let (length, chunked) = ("content-length: 104857600", "transfer-encoding: chunked");
    let (piece, chunk) = ("x".repeat(65_536), format!("10000\r\n{}\r\n", "x".repeat(65_536)));
    for (kind, piece) in [(length, &piece), (chunked, &chunk), (length, &piece)] {
        let mut stream = server.connect();
        stream.write_all(format!("{head}{kind}\r\n\r\n").as_bytes()).expect("sent");
        // It is cut off long before its end.
        let sent = (0..1_600).take_while(|_| stream.write_all(piece.as_bytes()).is_ok()).count();
        assert!(sent < 1_600, "{kind}");
        assert!(Answer::read(stream).is_none_or(|answer| answer.status == 413));
    }
    assert_eq!(server.send("POST", "/v1/track", CALL).status, 201);
    drop(idle);
    let after = server.most_memory();
    assert!(with_idle - before < 100 * MEGABYTE, "{before} {with_idle}");
    assert!(after - with_idle < 40 * MEGABYTE, "{with_idle} {after}");
}

/// A stream does not end by itself, and keeps no server from stopping.
#[test]
fn the_page_is_served_and_a_stream_ends_with_the_server() {
    let server = Server::start(&[], None);
    let mut stream = server.connect();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n").expect("sent");
    let mut page = String::new();
    stream.read_to_string(&mut page).expect("text");
    assert!(page.starts_with("HTTP/1.1 200") && page.ends_with("</html>\n"));
    let mut stream = server.connect();
    let key = &server.key;
    let request =
        format!("GET /engine/v1/stream HTTP/1.1\r\nhost: t\r\nauthorization: Bearer {key}\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut begun = Vec::new();
    while !String::from_utf8_lossy(&begun).contains("event: figures\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("figures come");
        begun.extend(byte);
    }
    server.signal("TERM");
    let mut rest = String::new();
    stream.read_to_string(&mut rest).expect("text");
    // The chunk that says that it is whole.
    assert!(rest.ends_with("\r\n0\r\n\r\n"), "{rest}");
    assert!(server.wait().success());
}
