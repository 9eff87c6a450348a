//! New keys, and the file of those that are known.

use std::fmt::Write;
use std::path::Path;

use limitry::http::{ApiKey, ApiKeys, Generation};

use crate::Failure;

/// Letters that nobody takes for another one.
const LETTERS: &[u8; 32] = b"abcdefghjkmnpqrstuvwxyzACDEFGHJK";
const LENGTH: usize = 32;

/// A key that nobody can guess: 160 bits of the system's chance.
pub(crate) fn fresh(generation: Generation) -> Result<String, Failure> {
    let mut bytes = [0; LENGTH];
    getrandom::fill(&mut bytes).map_err(|why| format!("no random numbers: {why}"))?;
    let prefix = match generation {
        Generation::First => "lm_",
        Generation::Second => "limitry_sk_",
        _ => "lim_test_",
    };
    let mut key = prefix.to_owned();
    for byte in bytes {
        let letter = LETTERS.get(usize::from(byte & 31)).copied().unwrap_or(b'a');
        key.write_char(char::from(letter))?;
    }
    Ok(key)
}

/// A key of each generation for a project, which are printed: nobody else knows them.
pub(crate) fn print_fresh(project: &str) -> Result<ApiKeys, Failure> {
    let mut keys = ApiKeys::new();
    for generation in [Generation::First, Generation::Second, Generation::Third] {
        let key = fresh(generation)?;
        keys = keys.with(ApiKey::new(&key, project).ok_or("a fresh key is one")?);
        println!("key {key}");
    }
    Ok(keys)
}

/// Reads a file of keys.
pub(crate) fn read(path: &Path) -> Result<ApiKeys, Failure> {
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|why| format!("{}: {why}", path.display()))?;
    Ok(toml::from_str(&text).map_err(|why| format!("{}: {why}", path.display()))?)
}
