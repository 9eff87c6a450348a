//! The files of the repository, and what of them ships.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The text of one file.
pub(crate) fn source(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|why| panic!("{name}: {why}"))
}

/// The text files below a folder, by their path from the repository's root.
pub(crate) fn texts(folder: &str) -> Vec<(String, String)> {
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

pub(crate) fn rust(folder: &str) -> Vec<(String, String)> {
    let mut files = texts(folder);
    files.retain(|(name, _)| Path::new(name).extension().is_some_and(|kind| kind == "rs"));
    files
}

pub(crate) fn all_rust() -> Vec<(String, String)> {
    ["src", "tests", "examples", "benches"].into_iter().flat_map(rust).collect()
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// The line, from 0, at which the item that begins at `start` ends.
pub(crate) fn end_of_item(lines: &[&str], start: usize) -> usize {
    let column = indent(lines[start]);
    let end = lines.iter().enumerate().skip(start).find(|(_, line)| {
        let closes = line.trim_start().starts_with('}') || line.ends_with(['}', ';']);
        indent(line) == column && !line.trim_start().starts_with("#[") && closes
    });
    end.map_or(lines.len() - 1, |(place, _)| place)
}

/// The lines, numbered from 1, that are not in a `#[cfg(test)]` item.
pub(crate) fn shipped(text: &str) -> Vec<(usize, &str)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut kept = Vec::new();
    let mut place = 0;
    while place < lines.len() {
        let attribute = lines[place].trim();
        if attribute == "#[cfg(test)]" || attribute.starts_with("#[cfg(all(test,") {
            place = end_of_item(&lines, place + 1) + 1;
            continue;
        }
        kept.push((place + 1, lines[place]));
        place += 1;
    }
    kept
}

/// The files that ship; a file of tests and a folder of them are named so.
pub(crate) fn shipped_files() -> Vec<(String, String)> {
    rust("src").into_iter().filter(|(name, _)| !name.contains("/tests")).collect()
}

pub(crate) fn is_function(line: &str) -> bool {
    let mut words = line.split_whitespace().take_while(|word| !word.contains('"'));
    words.find(|word| {
        let is_modifier = word.starts_with("pub") || ["const", "async", "extern"].contains(word);
        !is_modifier && *word != "unsafe"
    }) == Some("fn")
}

/// Fails with all findings at once.
pub(crate) fn report(rule: &str, findings: &[String]) {
    let mut text = String::new();
    for finding in findings {
        let _ = writeln!(text, "  {finding}");
    }
    assert!(findings.is_empty(), "{rule}:\n{text}");
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
