//! Goal: each command that `docs` shows does what it shows there.
//!
//! Method: the blocks marked `console` are run line by line in a shell, in one folder a document;
//! `...` in what they show stands for anything. `cat` of a file that is not there makes it, as it
//! is shown; a server that is started in the background listens on a free port, which takes the
//! place of the one that is shown.

use std::path::Path;
use std::process::Command;

use crate::program::{Folder, Server, program, text};

const ADDRESS: &str = "127.0.0.1:8700";

/// A command, and what it shows.
struct Shown<'d> {
    command: &'d str,
    output: String,
}

fn shown(document: &str) -> Vec<Shown<'_>> {
    let mut shown: Vec<Shown<'_>> = Vec::new();
    for block in document.split("```console\n").skip(1) {
        let block = block.split("```").next().expect("a part");
        for line in block.lines() {
            match (line.strip_prefix("$ "), shown.last_mut()) {
                (Some(command), _) => shown.push(Shown { command, output: String::new() }),
                (None, Some(last)) => last.output.extend([line, "\n"]),
                (None, None) => panic!("{line:?} before a command"),
            }
        }
    }
    shown
}

/// Whether a text is what a pattern shows.
fn is_like(text: &str, pattern: &str) -> bool {
    let mut parts = pattern.split("...");
    let mut rest = match text.strip_prefix(parts.next().unwrap_or_default()) {
        Some(rest) => rest,
        None => return false,
    };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some((_, behind)) = rest.split_once(part) else { return false };
        rest = behind;
    }
    rest.ends_with(last)
}

/// Whether what was said is what is shown, line by line.
fn is_shown(said: &str, shown: &str) -> bool {
    let lines = said.trim_end_matches('\n').split('\n');
    let shown = shown.trim_end_matches('\n').split('\n');
    lines.clone().count() == shown.clone().count()
        && lines.zip(shown).all(|(line, pattern)| is_like(line, pattern))
}

/// Runs a line as a shell would that has the program and its key: that of the file, or the one that
/// a server has made for itself.
fn run(folder: &Folder, command: &str, fresh: Option<&str>) -> String {
    let path = Path::new(program().get_program()).parent().expect("a folder").to_owned();
    let path = format!("{}:{}", text(&path), std::env::var("PATH").expect("a path"));
    let key = "[ -f new-key ] && export LIMITRY_KEY=$(sed -n 's/^key //p' new-key)";
    let key = fresh.map_or_else(|| key.to_owned(), |fresh| format!("export LIMITRY_KEY={fresh}"));
    let output = Command::new("sh")
        .args(["-c", &format!("exec 2>&1\n{key}\n{command}")])
        .env("PATH", path)
        .current_dir(folder.path(""))
        .output()
        .expect("a shell");
    String::from_utf8(output.stdout).expect("text")
}

/// Starts the server of a command, whose key is that of the file, or printed.
fn serve(folder: &Folder, command: &str) -> Server {
    let command = command.trim_end_matches('&').trim();
    let arguments: Vec<String> = command
        .split_whitespace()
        .skip(2)
        .map(|word| match word {
            word if word.starts_with("--") => word.to_owned(),
            file => text(&folder.path(file)).to_owned(),
        })
        .collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let key = arguments.contains(&"--keys").then_some("the file has it");
    Server::start(&arguments, key)
}

fn check(name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name);
    let document = std::fs::read_to_string(path).expect("a document");
    let (folder, mut server) = (Folder::new(name), None::<Server>);
    let (mut count, mut fresh) = (0, None);
    for Shown { command, output } in shown(&document) {
        count += 1;
        let file = command.strip_prefix("cat ").filter(|file| !folder.path(file).exists());
        if let Some(file) = file {
            folder.write(file, &output);
        } else if command.starts_with("limitry serve ") {
            let started = serve(&folder, command);
            let said = started.said.replace(&started.address, ADDRESS);
            assert!(is_shown(&said, &output), "{name}: $ {command}\n{said}\nis shown as\n{output}");
            fresh = (!command.contains("--keys")).then(|| started.key.clone());
            server = Some(started);
        } else if command == "kill %1" {
            let server = server.take().expect("it runs");
            server.signal("TERM");
            assert!(server.wait().success());
        } else if !command.starts_with("export ") {
            let address = server.as_ref().map_or(ADDRESS, |server| &server.address);
            let command = command.replace(ADDRESS, address);
            let said = run(&folder, &command, fresh.as_deref()).replace(address, ADDRESS);
            assert!(is_shown(&said, &output), "{name}: $ {command}\n{said}\nis shown as\n{output}");
        }
    }
    assert!(count > 3, "{name} has commands");
}

#[test]
fn the_service_is_as_it_is_shown() {
    check("service.md");
}

#[test]
fn the_drills_of_operations_go_as_they_are_shown() {
    check("operations.md");
}

/// Each file that the documents show is a good one.
#[test]
fn the_files_that_are_shown_are_good() {
    let (folder, mut count) = (Folder::new("shown"), 0);
    for name in ["operations.md", "service.md"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name);
        let document = std::fs::read_to_string(path).expect("a document");
        for block in document.split("```toml\n").skip(1) {
            let file = folder.write("shown.toml", block.split("```").next().expect("a part"));
            let (good, _, said) = crate::run(&["check", text(&file)]);
            assert!(good, "{name}: {block}\n{said}");
            count += 1;
        }
    }
    assert!(count > 1, "files are shown");
}

/// Every figure that the documents ask for is one of the server's.
#[test]
fn what_is_to_be_watched_is_there() {
    let server = Server::start(&[], None);
    let page = server.send("GET", "/metrics", "").body;
    let there = page.as_str().expect("text");
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let read = |name| std::fs::read_to_string(docs.join(name)).expect("a document");
    let board = read("operations/grafana.json");
    let parsed: serde_json::Value = serde_json::from_str(&board).expect("JSON");
    assert!(parsed["panels"].as_array().is_some_and(|panels| panels.len() > 5));
    let names = |text: &str| {
        let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
        let words = words.filter(|word| word.starts_with("limitry_"));
        words.map(str::to_owned).collect::<std::collections::BTreeSet<_>>()
    };
    let (asked, there) = (names(&(board + &read("operations.md"))), names(there));
    // A store's are there where there is one.
    let missing = asked.difference(&there).filter(|name| !name.starts_with("limitry_store_"));
    assert_eq!(missing.collect::<Vec<_>>(), Vec::<&String>::new());
}

#[test]
fn a_pattern_is_like_what_it_stands_for() {
    for (text, pattern, is) in [
        ("a b c", "a b c", true),
        ("a b c", "a ... c", true),
        ("a b c", "a ... d", false),
        ("a b c", "... b ...", true),
        ("a b c", "a b", false),
        ("a", "a...a", false),
    ] {
        assert_eq!(is_like(text, pattern), is, "{text:?} {pattern:?}");
    }
}

/// What figures are measured with is there: scripts, packages, benches and examples.
#[test]
fn what_measures_the_figures_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |name: &str| std::fs::read_to_string(root.join(name)).expect("a file");
    let manifests = ["benches", "benches/http", "benches/peers", "examples"];
    let manifests = manifests.map(|of| read(&format!("{of}/Cargo.toml"))).concat();
    let mut count = 0;
    for name in ["docs/figures.md", "docs/peers.md"] {
        let document = read(name);
        let blocks = document.split("```console\n").skip(1).filter_map(|it| it.split("```").next());
        for command in blocks.flat_map(str::lines) {
            let words: Vec<&str> = command.split_whitespace().collect();
            let is_tool = |it: &str| matches!(it, "cargo" | "valgrind") || root.join(it).exists();
            let is_there = words.first().is_some_and(|it| is_tool(it));
            assert!(is_there, "{name}: {command}");
            for pair in words.windows(2).filter(|pair| pair[0] != "cargo") {
                if let ["-p" | "--bench" | "--example", named] = pair {
                    let line = format!("name = \"{named}\"\n");
                    let is_there =
                        manifests.contains(&line) || root.join("examples").join(named).exists();
                    assert!(is_there, "{name}: {command}");
                }
            }
            count += 1;
        }
    }
    assert!(count > 3, "figures say how they are measured");
}
