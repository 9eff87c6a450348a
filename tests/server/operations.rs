//! What operators do with a server: they give it one file, ask what a change would do, look at its
//! figures, and copy its store.

use limitry::Engine;
use limitry::store::Durable;
use limitry::usage::UsageQuery;
use serde_json::{Value, json};

use crate::program::{Folder, Server, program, run, text};
use crate::{CALL, rules};

/// What `limitry plan` ends with, and what it says.
fn plan(server: &Server, file: &str, more: &[&str]) -> (i32, String) {
    let url = format!("http://{}", server.address);
    let mut command = program();
    command.args(["plan", file, "--url", &url, "--key", &server.key]).args(more);
    let output = command.output().expect("it starts");
    let said = [output.stdout, output.stderr].concat();
    (output.status.code().expect("it ends"), String::from_utf8(said).expect("text"))
}

#[test]
fn a_plan_says_what_would_change_and_changes_nothing() {
    let folder = Folder::new("plan");
    let path = folder.write("rules.toml", &rules(&[("A", 1), ("B", 2)]));
    let server = Server::start(&["--rules", text(&path)], None);
    let before = server.send("GET", "/engine/v1/rules", "").body;
    let same = folder.write("same.toml", &rules(&[("A", 1), ("B", 2)]));
    let (code, said) = plan(&server, text(&same), &[]);
    assert_eq!((code, &*said), (0, "0 to create, 0 to update, 0 to remove, 2 unchanged\n"));
    let other = folder.write("other.toml", &rules(&[("B", 3), ("C", 4)]));
    let (code, said) = plan(&server, text(&other), &[]);
    let change = "~ B\n    limitValue: 2 -> 3\n";
    let expected = format!("+ C\n{change}1 to create, 1 to update, 0 to remove, 1 unchanged\n");
    assert_eq!((code, said), (2, expected));
    let (code, said) = plan(&server, text(&other), &["--missing", "remove"]);
    assert!(code == 2 && said.contains("\n- A\n1 to create, 1 to update, 1 to remove"), "{said}");
    assert_eq!(server.send("GET", "/engine/v1/rules", "").body, before);
    // Who has changed a rule by the API is said where the file differs from it.
    let limit = |limit: u64| json!({"limitValue": limit}).to_string();
    assert_eq!(server.send("PUT", "/v1/rate-limits/rl_a", &limit(11)).status, 200);
    assert_eq!(server.send("PATCH", "/engine/v1/rules/rl_b", &limit(12)).status, 200);
    let (code, said) = plan(&server, text(&same), &[]);
    assert_eq!(code, 2, "{said}");
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[..2], ["~ A", "    limitValue: 11 -> 1"]);
    assert!(lines[2].starts_with("    by the API since 20"), "{said}");
    assert!(lines[2].contains(": PUT /v1/rate-limits/rl_a by "), "{said}");
    assert!(lines[5].ends_with(", limitValue: 2 -> 12") && lines[5].contains(": updated by "));
    // What cannot be said ends with why.
    let bad = folder.write("bad.toml", &rules(&[("", 3)]));
    let (code, said) = plan(&server, text(&bad), &[]);
    assert!(code == 8 && said.contains("line 2: rate limit #1: name"), "{said}");
    let stranger = ["plan", text(&same), "--url", "http://127.0.0.1:1", "--key", "lm_x"];
    let (good, _, said) = run(&stranger);
    assert!(!good && said.contains("127.0.0.1:1"), "{said}");
    let url = format!("http://{}", server.address);
    let (good, _, said) = run(&["plan", text(&same), "--url", &url, "--key", "lm_wrong"]);
    assert!(!good && said.contains("Invalid or missing API key"), "{said}");
    let (good, _, said) = run(&["plan", text(&same), "--url", "https://x", "--key", "lm_x"]);
    assert!(!good && said.contains("http://"), "{said}");
}

const CONFIG: &str = r#"
[server]
listen = "127.0.0.1:0"
project = "proj_file"
maxBodyBytes = 1000
backups = "copies"

[engine]
recording = { newest = 5_000 }

[engine.store]
path = "limitry.redb"
retention = "90d"

[[rateLimits]]
name = "A"
limitValue = 1000
window = "hour"
"#;

/// One file says all that the arguments say; paths are those from its folder.
#[test]
fn one_file_has_the_rules_the_engine_and_the_server() {
    let folder = Folder::new("config");
    let path = folder.write("limitry.toml", CONFIG);
    let mut server = Server::start(&["--config", text(&path)], None);
    assert_eq!(server.send("GET", "/v1/project", "").body["id"], "proj_file");
    let long = server.send("POST", "/v1/track", &" ".repeat(2_000));
    assert_eq!(long.status, 413);
    let store = server.send("GET", "/engine/v1/health", "").body["store"].clone();
    // What a server has answered is on the disk, where the file says nothing else.
    assert_eq!(store["durability"], "synced");
    assert!(folder.path("limitry.redb").exists());
    // Rules are read again; what holds from the start on is named in the log.
    let other = CONFIG.replace("1000", "2000").replace("5_000", "6_000").replace("proj_file", "p");
    folder.write("limitry.toml", &other);
    server.signal("HUP");
    let line = server.wait_for("hold from the next start on");
    let settings = r#""settings":"server.maxBodyBytes, server.project, engine.recording""#;
    assert!(line.contains(settings), "{line}");
    let rule = server.send("GET", "/engine/v1/rules/rl_a", "").body;
    assert_eq!(rule["rateLimit"]["limitValue"], 2_000);
    assert_eq!(server.send("GET", "/v1/project", "").body["id"], "proj_file");
}

#[test]
fn all_that_is_wrong_with_a_file_is_said_by_line() {
    let folder = Folder::new("lines");
    let bad = r#"[server]
listen = "nowhere"

[engine]
maxKeys = "many"

[[quotas]]
name = "Q"
metric = "total_tokens"
limitValue = 5
period = "fortnight"

[[rateLimits]]
name = "L"
limitValue = "x"
window = "hour"
"#;
    let path = folder.write("limitry.toml", bad);
    for arguments in [["check", text(&path)], ["serve", "--config"]] {
        let mut arguments = arguments.to_vec();
        if arguments[0] == "serve" {
            arguments.push(text(&path));
        }
        let (good, _, said) = run(&arguments);
        assert!(!good && said.contains("4 problems"), "{said}");
        for line in [
            "line 2: server: ",
            "line 5: engine: ",
            "line 11: quota \"Q\": ",
            "line 15: rate limit \"L\": ",
        ] {
            assert!(said.contains(line), "{line} is not in {said}");
        }
    }
    for (text_of, line) in [
        ("[sever]\n", "sever"),
        ("\n[server]\nmaxConnections = 0\n", "line 3: server: maxConnections: 0 must be"),
        ("[server]\n\nstopTimeoutSeconds = 0\n", "line 3: server: stopTimeoutSeconds: 0 must be"),
        ("[engine]\n[[engine.rules.quotas]]\nname = \"x\"\n", "line 1: engine: "),
        ("[[quotas]]\nname = \n", "line 2"),
    ] {
        let path = folder.write("other.toml", text_of);
        let (good, _, said) = run(&["check", text(&path)]);
        assert!(!good && said.contains(line), "{line} is not in {said}");
    }
}

#[test]
fn a_backup_is_a_store_of_all_that_was_answered() {
    let folder = Folder::new("backup");
    let (store, copies) = (folder.path("limitry.redb"), folder.path("copies"));
    let arguments =
        ["--store", text(&store), "--backups", text(&copies), "--project", "../a b/proj"];
    let server = Server::start(&arguments, None);
    for _ in 0..3 {
        assert_eq!(server.send("POST", "/v1/track", CALL).status, 201);
    }
    let made = server.send("POST", "/engine/v1/backup", "");
    assert_eq!(made.status, 201, "{}", made.body);
    let verified = server.send("POST", "/engine/v1/verify", "");
    assert_eq!((verified.status, &verified.body["good"]), (200, &json!(true)));
    assert_eq!(verified.body["report"]["records"], 3);
    // What comes later is not in it.
    assert_eq!(server.send("POST", "/v1/track", CALL).status, 201);
    let file = made.body["file"].as_str().expect("a name");
    assert!(file.starts_with("___a_b_proj-") && !file.contains(['/', ':', ' ']), "{file}");
    let copy = copies.join(file);
    let bytes = std::fs::metadata(&copy).expect("it is there").len();
    assert_eq!(made.body["bytes"], bytes);
    let engine = Engine::builder().durable(Durable::open(&copy).expect("a store"));
    let engine = engine.build().expect("a good one");
    let all = engine.usage().summary(&UsageQuery::all_time()).expect("it records");
    assert_eq!(all.totals.total_events, 3);
}

#[test]
fn the_figures_of_the_engine_and_of_its_rules_are_shown() {
    let folder = Folder::new("figures");
    let path = folder.write("rules.toml", &rules(&[("A", 2)]));
    let server = Server::start(&["--rules", text(&path)], None);
    let statuses: Vec<u16> =
        (0..3).map(|_| server.send("POST", "/v1/track", CALL).status).collect();
    assert_eq!(statuses, [201, 201, 429]);
    let answer = server.send("GET", "/metrics", "");
    let Value::String(page) = &answer.body else { panic!("{:?}", answer.body) };
    for line in [
        "limitry_up 1",
        "limitry_usage_tokens{kind=\"input\"} 300",
        "limitry_rule_used{rule=\"rl_a\",metric=\"total_events\",key=\"all\"} 2",
        "limitry_refusals_total{rule=\"rl_a\"} 1",
        "limitry_decisions_total{verb=\"track\",outcome=\"allowed\"} 2",
        "limitry_http_answers_total{api=\"first\",status=\"4xx\"} 1",
    ] {
        assert!(page.lines().any(|known| known == line), "{line} is not in {page}");
    }
}

/// Whoever scrapes sees a store that has failed, also where nothing is asked of it after that.
#[test]
fn a_store_that_has_failed_is_shown() {
    let folder = Folder::new("failed");
    let path = folder.path("limitry.redb");
    let server = Server::start(&["--store", text(&path)], None);
    let is_said = |line: &str| {
        let page = server.send("GET", "/metrics", "").body;
        page.as_str().expect("text").lines().any(|known| known == line)
    };
    assert_eq!(server.send("POST", "/v1/track", CALL).status, 201);
    assert!(is_said("limitry_up 1") && is_said("limitry_store_failed 0"));
    std::fs::remove_file(&path).expect("it is there");
    assert_eq!(server.send("POST", "/v1/track", CALL).status, 503);
    assert!(is_said("limitry_up 0") && is_said("limitry_store_failed 1"));
    assert_eq!(server.send("GET", "/readyz", "").status, 503);
}
