//! Goal: the functions that are fuzzed hold what they promise for inputs that are the same each
//! time, on any compiler, so that they are right when a fuzzer runs them.
//!
//! Method: the seeds of each, as they are and spoilt by a generator with a fixed seed.
//! `LIMITRY_CASES` says how many of each, `LIMITRY_SEED` which.

use std::path::Path;

/// A generator of Marsaglia's: good enough to spoil bytes.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, most: usize) -> usize {
        (self.next() % most.max(1) as u64) as usize
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target);
    let mut paths: Vec<_> = std::fs::read_dir(&folder)
        .expect("a folder of seeds")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} has seeds", folder.display());
    paths.iter().map(|path| std::fs::read(path).expect("a seed")).collect()
}

/// Pieces that make more of a text than single bytes do.
const PIECES: [&str; 24] = [
    "null",
    "true",
    "-1",
    "0",
    "1e-400",
    "1e400",
    "18446744073709551616",
    "0.0000001",
    "\"\"",
    "\"\\u0000\"",
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
    "\"a\":",
    "\n",
    "1000000000000001",
    "-0",
    "\u{e9}",
    "\"2024-02-30T00:00:00Z\"",
    "{\"a\":1,\"a\":2}",
];

fn spoil(dice: &mut Dice, mut data: Vec<u8>) -> Vec<u8> {
    for _ in 0..=dice.below(4) {
        let at = dice.below(data.len() + 1);
        let end = (at + dice.below(12)).min(data.len());
        match dice.below(5) {
            0 => drop(data.drain(at..end)),
            1 => {
                let piece = PIECES[dice.below(PIECES.len())].bytes();
                data.splice(at..end, piece).for_each(drop);
            }
            2 => {
                let piece = PIECES[dice.below(PIECES.len())].bytes();
                data.splice(at..at, piece).for_each(drop);
            }
            3 => {
                let copy = data[at..end].to_vec();
                let to = dice.below(data.len() + 1);
                data.splice(to..to, copy).for_each(drop);
            }
            _ => {
                if let Some(byte) = data.get_mut(at) {
                    *byte = dice.next() as u8;
                }
            }
        }
    }
    data
}

fn run(target: &str, cases: u64, function: fn(&[u8])) {
    let seeds = seeds(target);
    seeds.iter().for_each(|seed| function(seed));
    let first = number("LIMITRY_SEED", 20_240_115);
    for case in 0..number("LIMITRY_CASES", cases) {
        let seed = first.wrapping_add(case).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut dice = Dice(seed);
        let data = seeds[dice.below(seeds.len())].clone();
        let data = spoil(&mut dice, data);
        let shown = String::from_utf8_lossy(&data).into_owned();
        let held = std::panic::catch_unwind(|| function(&data));
        assert!(held.is_ok(), "{target}, LIMITRY_SEED={} LIMITRY_CASES=1: {shown}", first + case);
    }
}

#[test]
fn bodies_of_events() {
    run("event_body", 2_000, limitry_fuzz::event_body);
}

#[test]
fn files_of_rules() {
    run("rule_file", 2_000, limitry_fuzz::rule_file);
}

#[test]
fn lines_of_an_import() {
    run("import_line", 1_000, limitry_fuzz::import_line);
}

#[test]
fn files_of_a_store() {
    run("store_file", 200, limitry_fuzz::store_file);
}
