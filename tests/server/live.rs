//! Goal: what an operator asks of a running server from a shell is what its API says.
//!
//! Method: the program is run beside a server of its own, on a store with a folder for backups.

use serde_json::{Value, json};

use crate::program::{Folder, Server, program, text};
use crate::{CALL, rules};

fn run(server: &Server, arguments: &[&str]) -> (i32, String, String) {
    let url = format!("http://{}", server.address);
    let mut command = program();
    command.args(arguments).args(["--url", &url]).env("LIMITRY_KEY", &server.key);
    let output = command.output().expect("it starts");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (output.status.code().expect("it ends"), text(output.stdout), text(output.stderr))
}

#[test]
fn a_running_server_is_asked_from_a_shell() {
    let folder = Folder::new("live");
    let path = folder.write("rules.toml", &rules(&[("Calls", 4)]));
    let (store, copies) = (folder.path("limitry.redb"), folder.path("copies"));
    let arguments = ["--rules", text(&path), "--store", text(&store), "--backups", text(&copies)];
    let server = Server::start(&arguments, None);
    for _ in 0..4 {
        assert_eq!(server.send("POST", "/v1/track", CALL).status, 201);
    }
    assert_eq!(server.send("POST", "/v1/track", CALL).status, 429);
    let (code, frame, why) = run(&server, &["top", "--once"]);
    assert_eq!((code, &*why), (0, ""));
    for line in ["admitted 4   refused 1   keys ", "100 %  4 of 4", "cust_123  ", "  up\n"] {
        assert!(frame.contains(line), "{line:?} in\n{frame}");
    }
    assert!(frame.lines().any(|it| it.starts_with("Calls ") && it.ends_with(" 1")), "{frame}");
    assert!(!frame.contains('\x1b'), "{frame}");
    let (code, out, why) = run(&server, &["report", "--json"]);
    let report: Value = serde_json::from_str(&out).expect("an object");
    assert_eq!((code, &*why, &report["totals"]["totalTokens"]), (0, "", &json!(600)));
    let (code, out, why) = run(&server, &["store", "verify", "--json"]);
    let verified: Value = serde_json::from_str(&out).expect("an object");
    assert_eq!((code, &*why, &verified["report"]["records"]), (0, "", &json!(4)));
    let (code, out, why) = run(&server, &["store", "backup", "--json"]);
    let made: Value = serde_json::from_str(&out).expect("an object");
    assert_eq!((code, &*why), (0, ""));
    let copy = copies.join(made["to"].as_str().expect("a name"));
    assert_eq!(made["bytes"], std::fs::metadata(&copy).expect("there").len());
    let checked = program().args(["store", "verify", text(&copy)]).output().expect("it runs");
    assert!(checked.status.success());
    let (code, _, why) = run(&server, &["top", "--once", "--key", "lm_wrong"]);
    assert!(code == 1 && why.contains("Invalid or missing API key"), "{why}");
    drop(server);
    let gone = ["top", "--once", "--url", "http://127.0.0.1:1", "--key", "lm_x"];
    let output = program().args(gone).output().expect("it runs");
    let why = String::from_utf8(output.stderr).expect("text");
    assert!(output.status.code() == Some(1) && why.contains("127.0.0.1:1"), "{why}");
}
