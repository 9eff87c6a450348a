//! Goal: what `docs/operations/Containerfile` says makes a container that serves, and the unit for
//! systemd starts and stops what there is.
//!
//! Method: no engine is needed. The file is read; the last stage is made by hand in a folder, from
//! the program that the tests have, and what it starts is started there, with the file of
//! `docs/operations.md`. The command of the first stage is run by `.ci/run`, which does not wait
//! for a release build: it checks, as `cargo check`, the same package, program and feature.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::program::{Folder, Server, program, run, text};

/// The instructions of a stage, each with what it is given.
type Stage = Vec<(String, String)>;

fn docs(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name);
    fs::read_to_string(path).expect("a file")
}

fn stages() -> Vec<Stage> {
    let mut stages: Vec<Stage> = Vec::new();
    for line in docs("operations/Containerfile").lines() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (instruction, given) = line.split_once(' ').expect("an instruction");
        if instruction == "FROM" {
            stages.push(Stage::new());
        }
        let stage = stages.last_mut().expect("it begins with FROM");
        stage.push((instruction.to_owned(), given.to_owned()));
    }
    stages
}

/// What an instruction is given, which the stage has once.
fn of<'s>(stage: &'s Stage, instruction: &str) -> &'s str {
    let mut found = stage.iter().filter(|(name, _)| name == instruction);
    let (_, given) = found.next().unwrap_or_else(|| panic!("no {instruction}"));
    assert!(found.next().is_none(), "{instruction} stands there twice");
    given
}

/// What is written as a list of words.
fn words(list: &str) -> Vec<String> {
    serde_json::from_str(list).expect("a list of words: no shell is there to part them")
}

#[test]
fn the_first_stage_builds_the_program_that_the_second_takes() {
    let stages = stages();
    let [build, last] = stages.as_slice() else { panic!("two stages") };
    assert!(of(build, "FROM").ends_with(" AS build"));
    assert_eq!(of(build, "COPY"), ".".to_owned() + " .");
    let command: Vec<&str> = of(build, "RUN").split(' ').collect();
    assert_eq!(command[..4], ["cargo", "build", "--release", "--locked"]);
    assert_eq!(command[4..], ["-p", "limitry", "--bin", "limitry", "--features", "server"]);
    let (from, to) = of(last, "COPY").split_once(' ').map_or(("", ""), |(stage, paths)| {
        assert_eq!(stage, "--from=build");
        paths.split_once(' ').expect("from and to")
    });
    // Where cargo puts it, below the folder of the sources.
    assert_eq!(from, format!("{}/target/release/limitry", of(build, "WORKDIR")));
    assert_eq!(words(of(last, "ENTRYPOINT")), [to]);
    // Nobody is root there, and nothing is run that needs a shell.
    assert!(of(last, "FROM").ends_with(":nonroot"));
    assert!(last.iter().all(|(name, _)| name != "RUN"));
    // What is built here, and the history, are no sources.
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let left_out = fs::read_to_string(root.join(".dockerignore")).expect("a file");
    assert_eq!(left_out.lines().collect::<Vec<_>>(), ["/.git", "/target"]);
}

/// The base has the C library and the compiler's, and no more.
#[test]
#[cfg(target_os = "linux")]
fn the_program_needs_no_library_that_the_base_lacks() {
    let path = PathBuf::from(program().get_program());
    let output = Command::new("ldd").arg(&path).output().expect("ldd runs");
    let needed = String::from_utf8(output.stdout).expect("text");
    let there = ["linux-vdso.so", "ld-linux", "libc.so", "libm.so", "libgcc_s.so"];
    for library in needed.lines() {
        assert!(there.iter().any(|known| library.contains(known)), "{library}");
    }
    assert!(needed.contains("libc.so"), "{needed}");
}

#[test]
fn the_second_stage_serves_what_is_mounted() {
    let stages = stages();
    let last = stages.last().expect("a stage");
    let folder = Folder::new("container");
    let root = folder.path("");
    // Paths of the container are those below the folder.
    let below = |path: &str| root.join(path.trim_start_matches('/'));
    let entry = words(of(last, "ENTRYPOINT"));
    let at = below(&entry[0]);
    fs::create_dir_all(at.parent().expect("a folder")).expect("made");
    fs::copy(program().get_program(), &at).expect("copied");
    fs::create_dir_all(below(of(last, "VOLUME"))).expect("made");
    fs::create_dir_all(below("/etc/limitry")).expect("made");
    let document = docs("operations.md");
    let file = document.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next());
    let file = file.expect("a file").replace("\"/", &format!("\"{}/", text(&root)));
    let (good, key, _) = run(&["key", "new", "--project", "proj_a"]);
    let (key, hash) = key.split_once('\n').expect("lines");
    assert!(good);
    fs::write(below("/etc/limitry/limitry.toml"), file).expect("written");
    fs::write(below("/etc/limitry/keys.toml"), hash).expect("written");
    // As it stands there, but for the paths and the port.
    let arguments: Vec<String> = words(of(last, "CMD"))
        .into_iter()
        .map(|word| match word.strip_prefix('/') {
            Some(path) => text(&root.join(path)).to_owned(),
            None => word.replace(&format!(":{}", of(last, "EXPOSE")), ":0"),
        })
        .collect();
    assert_eq!(arguments[0], "serve");
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut command = Command::new(&at);
    command.args(arguments).env_clear().current_dir(&root);
    let key = key.strip_prefix("key ").expect("a key");
    let mut server = Server::of(command, Some(key));
    // It listens at all addresses, so that the engine can lead to it.
    server.address = server.address.replace("0.0.0.0", "127.0.0.1");
    assert_eq!(server.send("GET", "/readyz", "").status, 200);
    assert_eq!(server.send("POST", "/v1/track", crate::CALL).status, 201);
    assert!(below("/var/lib/limitry/limitry.redb").exists());
    server.signal("TERM");
    assert!(server.wait().success());
}

/// What the unit starts are commands of the program, and it waits for as long as a stop may take.
#[test]
fn the_unit_starts_and_stops_what_there_is() {
    let unit = docs("operations/limitry.service");
    let of = |key: &str| -> &str {
        let mut found = unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        found.next().unwrap_or_else(|| panic!("no {key}"))
    };
    let folder = Folder::new("unit");
    let document = docs("operations.md");
    let file = document.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next());
    let file = file.expect("a file").replace("\"/", &format!("\"{}/", text(&folder.path(""))));
    let file = folder.write("limitry.toml", &file);
    let (_, lines, _) = run(&["key", "new", "--project", "proj_a"]);
    fs::create_dir_all(folder.path("etc/limitry")).expect("made");
    fs::create_dir_all(folder.path("var/lib/limitry")).expect("made");
    fs::write(folder.path("etc/limitry/keys.toml"), lines.split_once('\n').expect("lines").1)
        .expect("written");
    let given = |key| -> Vec<&str> {
        let command = of(key).strip_prefix("/usr/local/bin/limitry ").expect("the program");
        let words = command.split(' ');
        words.map(|it| if it == "/etc/limitry/limitry.toml" { text(&file) } else { it }).collect()
    };
    let (good, _, why) = run(&given("ExecStartPre"));
    assert!(good, "{why}");
    let started = [&given("ExecStart")[..], &["--listen", "127.0.0.1:0"]].concat();
    let mut command = program();
    command.args(started);
    let server = Server::of(command, Some("the file has its hash"));
    let signal = of("ExecReload").strip_prefix("/bin/kill -HUP ").expect("a signal");
    assert_eq!(signal, "$MAINPID");
    server.signal("HUP");
    assert_eq!(server.send("GET", "/healthz", "").status, 200);
    server.signal("TERM");
    assert!(server.wait().success());
    // Requests have 20 seconds for their end, webhooks as many, and then the store is closed.
    assert!(of("TimeoutStopSec").parse::<u64>().expect("seconds") >= 60);
    // What the file says of folders is what the unit gives.
    assert!(document.contains(&format!("/var/lib/{}", of("StateDirectory"))));
}
