//! Where files stand: a module with files of its own is a folder with a `mod.rs`, and every file
//! belongs to a module.

use std::path::Path;

use crate::sources::{report, rust};

/// The files that are a program or the library, and no module of another file.
fn is_root(name: &str) -> bool {
    let place =
        name.strip_prefix("tests/").map_or(name, |rest| rest.split_once('/').map_or("", |it| it.1));
    ["src/lib.rs", "src/main.rs", "src/bin/limitry/main.rs", "main.rs"].contains(&place)
}

#[test]
fn every_file_belongs_to_a_module() {
    let files: Vec<_> = ["src", "tests"].into_iter().flat_map(rust).collect();
    let mut findings = Vec::new();
    // Each area takes in `tests/support` by its path.
    let is_module = |name: &str| !is_root(name) && name != "tests/support/mod.rs";
    for (name, _) in files.iter().filter(|(name, _)| is_module(name)) {
        let path = Path::new(name);
        let stem = path.file_stem().expect("a file").to_string_lossy().into_owned();
        let folder = path.parent().expect("in a folder");
        let (module, of) =
            if stem == "mod" { (name_in(folder), folder.parent()) } else { (stem, Some(folder)) };
        let of = of.expect("in a folder").to_string_lossy().replace('\\', "/");
        let homes = ["mod", "lib", "main"].map(|file| format!("{of}/{file}.rs"));
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
fn a_module_with_files_of_its_own_is_a_folder() {
    let files: Vec<_> = ["src", "tests"].into_iter().flat_map(rust).collect();
    let has_folder = |name: &str| {
        let folder = name.strip_suffix(".rs").map(|folder| format!("{folder}/"));
        folder.is_some_and(|folder| files.iter().any(|(file, _)| file.starts_with(&folder)))
    };
    let beside = files.iter().filter(|(name, _)| has_folder(name));
    let findings: Vec<_> = beside.map(|(name, _)| format!("{name}: make it `mod.rs`")).collect();
    report("one layout of modules", &findings);
}
