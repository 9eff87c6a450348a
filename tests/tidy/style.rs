//! How a file looks: its letters, its size, and what it does without.

use crate::sources::{
    all_rust, end_of_item, is_function, report, shipped, shipped_files, source, texts,
};

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
const ALLOWED: [(&str, &str); 4] = [
    ("src/base/clock/system.rs", "Instant::now"),
    ("src/base/clock/system.rs", "SystemTime::now"),
    // A thread that sleeps until then.
    ("src/base/clock/timer/thread.rs", "Instant::now"),
    // How long a request took is the program's own matter.
    ("src/bin/limitry/serve.rs", "Instant::now"),
];

/// Files that are longer than others may be, and how long.
const LONG_FILES: [(&str, usize); 0] = [];

/// Where somebody's own machine shows.
const MACHINE_PATHS: [&str; 4] =
    [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/t", "mp/"), concat!("/ho", "me/")];

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
fn every_dependency_says_what_it_is_for() {
    let manifest = source("Cargo.toml");
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
fn front_pages_point_on() {
    let mut findings = Vec::new();
    for (page, most) in [("README.md", 225), ("src/lib.rs", 400)] {
        let lines = source(page).lines().count();
        if lines > most {
            findings.push(format!("{page}: {lines} lines, {most} at most"));
        }
    }
    report("what is long has its place in the guide or in docs", &findings);
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
