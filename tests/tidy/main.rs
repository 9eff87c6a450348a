//! Goal: the style of the sources holds because a test says so, not because somebody looks.
//!
//! Method: every rule goes over the text of the files. The heuristics lean on `rustfmt`, which
//! `.ci/run` checks first: an item ends at the first `}` that stands as far in as it began.
//! Exceptions are named below with their place, and one that is not needed any more fails too.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that panics is a test that fails"
)]

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

const COLUMNS: usize = 100;
const FILE_LINES: usize = 600;
const FUNCTION_LINES: usize = 70;

/// What `src` does without, and what it does instead.
const BANNED: [(&str, &str); 10] = [
    (".unwrap(", "handle the other case, or show that there is none"),
    (".expect(", "handle the other case, or show that there is none"),
    ("Instant::now", "ask the Clock"),
    ("SystemTime::now", "ask the Clock"),
    ("thread::sleep", "time is a clock that somebody holds"),
    ("todo!", "finish it"),
    ("unimplemented!", "finish it"),
    ("dbg!", "take it out"),
    (concat!("FIX", "ME"), "fix it, or open an issue"),
    (concat!("TO", "DO"), "do it, or open an issue"),
];

/// The places where something banned is right.
const ALLOWED: [(&str, &str); 2] =
    [("src/clock.rs", "Instant::now"), ("src/clock.rs", "SystemTime::now")];

/// Files that are longer than others may be, and how long.
const LONG_FILES: [(&str, usize); 0] = [];

/// Where somebody's own machine shows.
const MACHINE_PATHS: [&str; 4] =
    [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/t", "mp/"), concat!("/ho", "me/")];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The text files below a folder, by their path from the repository's root.
fn texts(folder: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        let entries =
            fs::read_dir(&folder).unwrap_or_else(|why| panic!("{}: {why}", folder.display()));
        for entry in entries {
            let path = entry.expect("an entry of a folder").path();
            // In a working tree beside the first, `.git` is a file that says where that one is.
            if path.ends_with("target") || path.ends_with(".git") {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else {
                found.extend(fs::read_to_string(&path).ok().map(|text| (name_of(&path), text)));
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "{folder} has files");
    found
}

fn name_of(path: &Path) -> String {
    let parts: PathBuf = path.strip_prefix(root()).expect("below the root").into();
    let parts: Vec<_> = parts.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    parts.join("/")
}

fn rust(folder: &str) -> Vec<(String, String)> {
    let mut files = texts(folder);
    files.retain(|(name, _)| Path::new(name).extension().is_some_and(|kind| kind == "rs"));
    files
}

fn all_rust() -> Vec<(String, String)> {
    ["src", "tests", "examples", "benches"].into_iter().flat_map(rust).collect()
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// The line, from 0, at which the item that begins at `start` ends.
fn end_of_item(lines: &[&str], start: usize) -> usize {
    let column = indent(lines[start]);
    let end = lines.iter().enumerate().skip(start).find(|(_, line)| {
        let closes = line.trim_start().starts_with('}') || line.ends_with(['}', ';']);
        indent(line) == column && !line.trim_start().starts_with("#[") && closes
    });
    end.map_or(lines.len() - 1, |(place, _)| place)
}

/// The lines, numbered from 1, that are not in a `#[cfg(test)]` item.
fn shipped(text: &str) -> Vec<(usize, &str)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut kept = Vec::new();
    let mut place = 0;
    while place < lines.len() {
        if lines[place].trim() == "#[cfg(test)]" {
            place = end_of_item(&lines, place + 1) + 1;
            continue;
        }
        kept.push((place + 1, lines[place]));
        place += 1;
    }
    kept
}

/// The files that ship; a file of tests and a folder of them are named so.
fn shipped_files() -> Vec<(String, String)> {
    rust("src").into_iter().filter(|(name, _)| !name.contains("/tests")).collect()
}

fn is_function(line: &str) -> bool {
    let mut words = line.split_whitespace().take_while(|word| !word.contains('"'));
    words.find(|word| {
        let is_modifier = word.starts_with("pub") || ["const", "async", "extern"].contains(word);
        !is_modifier && *word != "unsafe"
    }) == Some("fn")
}

/// Fails with all findings at once.
fn report(rule: &str, findings: &[String]) {
    let mut text = String::new();
    for finding in findings {
        let _ = writeln!(text, "  {finding}");
    }
    assert!(findings.is_empty(), "{rule}:\n{text}");
}

#[test]
fn sources_are_plain_ascii() {
    let odd = all_rust().into_iter().flat_map(|(name, text)| {
        let lines = text.lines().enumerate().filter(|(_, line)| !line.is_ascii());
        lines.map(|(place, line)| format!("{name}:{}: {line}", place + 1)).collect::<Vec<_>>()
    });
    report("write it with an escape, such as \\u{e9}", &odd.collect::<Vec<_>>());
}

#[test]
fn lines_fit_the_page() {
    let mut findings = Vec::new();
    for (name, text) in all_rust() {
        // What is in a test's macro is out of rustfmt's reach.
        let lines = shipped(&text).into_iter();
        let long = lines.filter(|(_, line)| line.chars().count() > COLUMNS);
        findings.extend(long.map(|(place, _)| format!("{name}:{place}")));
    }
    report("at most 100 columns", &findings);
}

#[test]
fn files_are_short_enough_to_be_read() {
    let mut findings = Vec::new();
    for (name, text) in shipped_files() {
        let lines = shipped(&text).len();
        let exception = LONG_FILES.iter().find(|(file, _)| *file == name);
        match exception {
            Some(_) if lines <= FILE_LINES => {
                findings.push(format!("{name}: {lines} lines, and needs its exception no more"));
            }
            _ if lines > exception.map_or(FILE_LINES, |(_, most)| *most) => {
                findings.push(format!("{name}: {lines} lines without its tests"));
            }
            _ => {}
        }
    }
    report("at most 600 lines outside tests", &findings);
}

#[test]
fn functions_fit_on_a_screen() {
    let mut findings = Vec::new();
    for (name, text) in shipped_files() {
        let lines: Vec<&str> = text.lines().collect();
        for (start, line) in lines.iter().enumerate().filter(|(_, line)| is_function(line)) {
            let length = end_of_item(&lines, start) - start + 1;
            if length > FUNCTION_LINES {
                findings.push(format!("{name}:{}: {length} lines: {}", start + 1, line.trim()));
            }
        }
    }
    report("at most 70 lines a function", &findings);
}

#[test]
fn what_is_banned_stays_out() {
    let mut findings = Vec::new();
    let mut needed = Vec::new();
    for (name, text) in shipped_files() {
        for (place, line) in shipped(&text) {
            let code = !line.trim_start().starts_with("//");
            let is_note = |word: &str| word.chars().all(|letter| letter.is_ascii_uppercase());
            for (word, instead) in BANNED {
                if !line.contains(word) || !(code || is_note(word)) {
                    continue;
                }
                if ALLOWED.contains(&(name.as_str(), word)) {
                    needed.push((name.clone(), word));
                } else {
                    findings.push(format!("{name}:{place}: {word} {instead}"));
                }
            }
        }
    }
    for (file, word) in ALLOWED {
        if !needed.contains(&(file.to_owned(), word)) {
            findings.push(format!("{file}: needs its exception for {word} no more"));
        }
    }
    report("found in src", &findings);
}

#[test]
fn every_file_of_src_belongs_to_a_module() {
    let files = rust("src");
    let mut findings = Vec::new();
    for (name, _) in files.iter().filter(|(name, _)| name != "src/lib.rs") {
        let path = Path::new(name);
        let stem = path.file_stem().expect("a file").to_string_lossy().into_owned();
        let folder = path.parent().expect("in a folder");
        let (module, of) =
            if stem == "mod" { (name_in(folder), folder.parent()) } else { (stem, Some(folder)) };
        let of = of.expect("in a folder").to_string_lossy().replace('\\', "/");
        let homes = [format!("{of}/mod.rs"), format!("{of}.rs"), format!("{of}/lib.rs")];
        let declaration = format!("mod {module};");
        let declares = |text: &str| text.lines().any(|line| line.ends_with(&declaration));
        if !files.iter().any(|(file, text)| homes.contains(file) && declares(text)) {
            findings.push(format!("{name}: nobody says `mod {module};`"));
        }
    }
    report("dead files", &findings);
}

fn name_in(folder: &Path) -> String {
    folder.file_name().expect("a folder").to_string_lossy().into_owned()
}

#[test]
fn every_dependency_says_what_it_is_for() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("the manifest");
    let mut findings = Vec::new();
    let (mut section, mut before) = ("", "");
    let mut dependencies = 0;
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line;
        } else if section == "[dependencies]" && line.contains('=') {
            dependencies += 1;
            if !before.starts_with('#') {
                findings.push(format!("Cargo.toml: {line}"));
            }
        }
        before = line;
    }
    assert!(dependencies > 0, "the section was found");
    report("a comment above each dependency: what for, and why this one", &findings);
}

#[test]
fn no_text_names_somebodys_machine() {
    let mut findings = Vec::new();
    for (name, text) in texts(".") {
        for (place, line) in text.lines().enumerate() {
            for path in MACHINE_PATHS.iter().filter(|path| line.contains(**path)) {
                findings.push(format!("{name}:{}: {path}", place + 1));
            }
        }
    }
    report("paths of one machine", &findings);
}

#[test]
fn the_heuristics_see_what_they_look_for() {
    let text = "fn a() {\n    1;\n}\n\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\nfn c() {}\n";
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(end_of_item(&lines, 0), 2);
    let kept: Vec<usize> = shipped(text).into_iter().map(|(place, _)| place).collect();
    assert_eq!(kept, [1, 2, 3, 4, 9]);
    assert!(is_function("    pub(crate) const fn name(&self) -> u64 {"));
    assert!(is_function("fn main() {"));
    assert!(!is_function("    // fn in a comment"));
    assert!(!is_function("    let text = \"fn\";"));
}
