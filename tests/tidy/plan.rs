//! The plan of the house: a room of `src` knows the rooms below it and no other.
//!
//! A room is a folder of `src`, or a file beside `lib.rs`. It knows another one when its code says
//! `crate::room`, or comes there with `super` out of its own. Tests may know everything, and so
//! may links in comments.

use std::collections::BTreeSet;

use crate::sources::{report, shipped, shipped_files, source};

/// The rooms, ground first. Each knows those before it only.
const ROOMS: [&str; 23] = [
    "base",
    "telemetry",
    "event",
    "rules",
    "balances",
    "customers",
    "counters",
    "log",
    "usage",
    "recording",
    "compiled",
    "decision",
    "idempotency",
    "reservations",
    "adjustments",
    "alerts",
    "refusals",
    "journal",
    "wire",
    "waiting",
    "engine",
    "error",
    "lib",
];

/// Rooms that stand outside: they use what every user of the crate can, and no other room knows
/// them.
const OUTER: [&str; 7] = ["guide", "http", "tower", "shared", "sinks", "llm", "webhooks"];

/// Who still knows what is above: a room, and what it knows. Take a line out with its reason.
const EXCEPTIONS: [(&str, &str); 0] = [];

/// A piece of code: a word, `::`, or one other character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Token<'t> {
    line: usize,
    text: &'t str,
}

/// The code of the lines, without comments and without what is quoted.
fn tokens<'t>(lines: &[(usize, &'t str)]) -> Vec<Token<'t>> {
    let mut found = Vec::new();
    // What ends the text that began on an earlier line.
    let mut quoted: Option<&str> = None;
    for &(line, mut rest) in lines {
        loop {
            if let Some(end) = quoted {
                let Some(place) = end_of_quoted(rest, end) else { break };
                rest = &rest[place..];
                quoted = None;
            }
            rest = rest.trim_start();
            let Some(first) = rest.chars().next() else { break };
            if rest.starts_with("//") {
                break;
            }
            let raw = ["r#\"", "br#\""].into_iter().find(|start| rest.starts_with(start));
            if let Some(start) = raw {
                rest = &rest[start.len()..];
                quoted = Some("\"#");
            } else if first == '"' {
                rest = &rest[1..];
                quoted = Some("\"");
            } else if let Some(length) = length_of_character(rest) {
                rest = &rest[length..];
            } else {
                let is_word = |letter: char| letter.is_alphanumeric() || letter == '_';
                let length = match rest.find(|letter| !is_word(letter)) {
                    Some(0) if rest.starts_with("::") => 2,
                    Some(0) => first.len_utf8(),
                    Some(length) => length,
                    None => rest.len(),
                };
                found.push(Token { line, text: &rest[..length] });
                rest = &rest[length..];
            }
        }
    }
    found
}

/// Where the quoted text ends that goes on at the start of `rest`.
fn end_of_quoted(rest: &str, end: &str) -> Option<usize> {
    let mut place = 0;
    while !rest[place..].starts_with(end) {
        let mut letters = rest[place..].chars();
        place += letters.next()?.len_utf8();
        // In a raw text a backslash is one.
        if end == "\"" && rest[..place].ends_with('\\') {
            place += letters.next()?.len_utf8();
        }
    }
    Some(place + end.len())
}

/// How long the character literal is at the start of the text; a lifetime is none.
fn length_of_character(rest: &str) -> Option<usize> {
    let body = rest.strip_prefix('\'')?;
    let from = if body.starts_with('\\') { 2 } else { body.chars().next()?.len_utf8() };
    let end = body.get(from..)?.find('\'')?;
    (end == 0 || body.starts_with('\\')).then_some(1 + from + end + 1)
}

/// What the code of a module says of the crate's root: the line, and the name right behind
/// `crate::`, however it comes there.
fn said_of_the_root(module: &[&str], lines: &[(usize, &str)]) -> Vec<(usize, String)> {
    let tokens = tokens(lines);
    let text = |place: usize| tokens.get(place).map_or("", |token| token.text);
    let mut found = Vec::new();
    let (mut depth, mut inner) = (0_usize, Vec::new());
    let mut place = 0;
    while place < tokens.len() {
        match text(place) {
            "mod" if text(place + 2) == "{" => inner.push(depth),
            "{" => depth += 1,
            "}" => {
                depth = depth.saturating_sub(1);
                inner.retain(|outside| *outside < depth);
            }
            "crate" | "self" | "super"
                if text(place + 1) == "::" && (place == 0 || text(place - 1) != "::") =>
            {
                let mut above = 0;
                let is_root = text(place) == "crate";
                while ["crate", "self", "super"].contains(&text(place)) && text(place + 1) == "::" {
                    above += usize::from(text(place) == "super");
                    place += 2;
                }
                if is_root || above >= module.len() + inner.len() && above > 0 {
                    found.extend(heads(&tokens[place..]));
                }
                continue;
            }
            _ => {}
        }
        place += 1;
    }
    found
}

/// The first name of a path, or of each path of a group.
fn heads(tokens: &[Token<'_>]) -> Vec<(usize, String)> {
    let Some(first) = tokens.first() else { return Vec::new() };
    let is_name = |text: &str| text == "*" || text.starts_with(|it: char| it.is_alphabetic());
    if first.text != "{" {
        let name = Some(first).filter(|token| is_name(token.text));
        return name.map(|token| (token.line, token.text.to_owned())).into_iter().collect();
    }
    let mut found = Vec::new();
    let mut depth = 0_usize;
    for (place, token) in tokens.iter().enumerate() {
        match token.text {
            "{" => depth += 1,
            "}" => depth -= 1,
            text if depth == 1 && is_name(text) && ["{", ","].contains(&tokens[place - 1].text) => {
                found.push((token.line, text.to_owned()));
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    found
}

/// Whether the plan lets a room know what the crate's root calls `name`. What is no room is the
/// public API, which `lib.rs` makes; `public` are the modules that it gives away whole.
fn may_know(room: &str, name: &str, public: &BTreeSet<String>) -> bool {
    let level = |room: &str| ROOMS.iter().position(|known| *known == room);
    let (below, own) = (level(name), level(room));
    if room == name {
        return true;
    }
    if OUTER.contains(&room) {
        return public.contains(name) || (below.is_none() && name != "*");
    }
    match (below, own) {
        (Some(below), Some(own)) => below < own,
        (None, Some(_)) => room == "lib",
        (_, None) => false,
    }
}

/// The room of a file of `src`, and the path of its module.
fn module_of(file: &str) -> Vec<&str> {
    let path = file.strip_prefix("src/").unwrap_or(file);
    let path = path.strip_suffix(".rs").unwrap_or(path);
    let path = path.strip_suffix("/mod").unwrap_or(path);
    path.split('/').collect()
}

/// The name in `lib.rs` of every module that users see.
fn public_modules(lib: &str) -> BTreeSet<String> {
    let names = lib.lines().filter_map(|line| {
        line.strip_prefix("pub mod ").map(|name| name.trim_end_matches([';', ' ', '{']))
    });
    names.map(str::to_owned).collect()
}

#[test]
fn rooms_know_only_the_rooms_below() {
    let public = public_modules(&source("src/lib.rs"));
    let mut findings = Vec::new();
    let mut needed = BTreeSet::new();
    for (file, text) in shipped_files() {
        let module = module_of(&file);
        let room = module[0];
        if room == "bin" {
            // A program: another crate, which is given what users are.
            continue;
        }
        if !ROOMS.contains(&room) && !OUTER.contains(&room) {
            findings.push(format!("{file}: `{room}` has no place in the plan"));
            continue;
        }
        let depth = if room == "lib" { &[][..] } else { &module[..] };
        for (line, name) in said_of_the_root(depth, &shipped(&text)) {
            if may_know(room, &name, &public) {
                continue;
            }
            match EXCEPTIONS.iter().find(|known| **known == (room, &*name)) {
                Some(exception) => drop(needed.insert(*exception)),
                None => findings.push(format!("{file}:{line}: `{room}` may not know `{name}`")),
            }
        }
    }
    let spare = EXCEPTIONS.iter().filter(|exception| !needed.contains(*exception));
    findings.extend(
        spare.map(|(room, name)| format!("`{room}` needs its exception for `{name}` no more")),
    );
    report("rooms know the rooms below them", &findings);
}

#[test]
fn the_plan_is_seen_however_a_path_is_written() {
    let said = |module: &[&str], text: &str| -> Vec<(usize, String)> {
        let lines: Vec<_> = text.lines().enumerate().map(|(at, line)| (at + 1, line)).collect();
        said_of_the_root(module, &lines)
    };
    let names = |module: &[&str], text: &str| -> Vec<String> {
        said(module, text).into_iter().map(|(_, name)| name).collect()
    };
    let here = &["counters", "table"][..];
    assert_eq!(names(here, "use crate::base::clock::Clock;"), ["base"]);
    assert_eq!(
        said(here, "use crate::{\n    base::{amount, clock},\n    event::Event,\n};"),
        [(2, "base".to_owned()), (3, "event".to_owned())],
    );
    assert_eq!(names(here, "let x = crate::engine::Engine::new();"), ["engine"]);
    assert_eq!(names(here, "use super::row::Row; use self::room::Room;"), [""; 0]);
    assert_eq!(names(here, "use super::super::{usage, log::EventId};"), ["usage", "log"]);
    assert_eq!(names(&["error"], "use super::engine::Engine;"), ["engine"]);
    assert_eq!(names(here, "mod inner {\n    use super::super::row::Row;\n}"), [""; 0]);
    assert_eq!(names(here, "mod inner {}\nuse super::super::row::Row;"), ["row"]);
    assert_eq!(names(here, "pub(crate) fn f() {} pub(in crate::counters) fn g() {}"), ["counters"]);
    assert_eq!(names(here, "/// [`crate::engine`]\n// crate::engine\nf(); // crate::log"), [""; 0]);
    assert_eq!(names(here, r#"f("a \" crate::log", 'x', '"', crate::base::ONE);"#), ["base"]);
    assert_eq!(names(here, "f(\"crate::log\n crate::usage\", crate::base::ONE);"), ["base"]);
    assert_eq!(names(here, "fn f<'a>(x: &'a crate::event::Event<'_>) {}"), ["event"]);
    assert_eq!(names(here, "$crate::base::macros::x!();"), ["base"]);
}

#[test]
fn the_plan_says_who_may_know_whom() {
    let public = public_modules("mod base;\npub mod rules;\npub mod http;\npub mod units {\n}\n");
    let may = |room, name| may_know(room, name, &public);
    assert!(may("usage", "base") && may("usage", "usage") && may("engine", "wire"));
    assert!(!may("base", "usage") && !may("counters", "engine") && !may("wire", "error"));
    // The names at the root are for users, who are above the house; and for the outer rooms.
    assert!(!may("engine", "Engine") && !may("counters", "*") && may("lib", "engine"));
    assert!(may("http", "Engine") && may("http", "rules") && may("tower", "http"));
    assert!(!may("http", "engine") && !may("tower", "journal") && !may("llm", "*"));
    assert!(!may("engine", "http") && !may("usage", "sinks") && may("http", "units"));
    assert!(!may("attic", "base"));
}

#[test]
fn a_file_has_its_module_from_its_path() {
    assert_eq!(module_of("src/lib.rs"), ["lib"]);
    assert_eq!(module_of("src/error.rs"), ["error"]);
    assert_eq!(module_of("src/counters/mod.rs"), ["counters"]);
    assert_eq!(module_of("src/counters/table/check.rs"), ["counters", "table", "check"]);
}
