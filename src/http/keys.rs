//! API keys, of which only hashes are kept.

use std::fmt;
use std::future::ready;

use axum::http::HeaderMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

use super::access::{Access, Authenticate, Authenticated, Generation, Scope, bearer};
use crate::Timestamp;

/// The most bytes of a key; a longer one is refused without a look at it.
const MAX_KEY_BYTES: usize = 256;

/// The keys of an API: plain data, as a file has it. Of a key there is only its hash, so that who
/// reads the file has none.
///
/// A key that was made at random cannot be found by its SHA-256; one that people thought up can.
/// Compared are hashes, each in the same time whatever it is, so that the time of a refusal tells
/// nothing of any key. O(keys).
///
/// ```
/// use limitry::http::{ApiKey, ApiKeys, Generation, Scope};
///
/// let key = ApiKey::new("lm_5Jx0hZ0b6Yd1", "proj_eng").ok_or("no generation")?;
/// let keys = ApiKeys::new().with(key.scope(Scope::Read));
/// let file = toml::to_string(&keys)?;
/// assert!(file.contains("sha256:") && !file.contains("5Jx0hZ"));
/// assert_eq!(toml::from_str::<ApiKeys>(&file)?, keys);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiKeys {
    #[serde(default)]
    keys: Vec<ApiKey>,
}

/// A key: what it opens, and the hash by which it is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "KeyForm", into = "KeyForm")]
pub struct ApiKey {
    hash: KeyHash,
    /// Made once, for each request takes a copy: also of who it is, where the key has no name.
    access: Access,
    name: Option<String>,
    ends_at: Option<Timestamp>,
}

/// A key as a file has it.
#[derive(Serialize, Deserialize)]
#[serde(rename = "ApiKey", deny_unknown_fields)]
struct KeyForm {
    hash: KeyHash,
    project: String,
    generation: Generation,
    #[serde(default)]
    scope: Scope,
    /// A name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ends_at: Option<Timestamp>,
}

impl ApiKey {
    /// Takes a key for all of a project, of the generation that its first letters say; `None` where
    /// they say none, or it is longer than 256 bytes.
    #[must_use]
    pub fn new(key: &str, project: impl Into<String>) -> Option<Self> {
        let generation = Generation::of_key(key)?;
        let hash = KeyHash::of(key)?;
        Some(Self::of(hash, Access::to(project, generation), None, None))
    }

    fn of(hash: KeyHash, access: Access, name: Option<String>, ends_at: Option<Timestamp>) -> Self {
        let access = access.who(name.clone().unwrap_or_else(|| hash.short()));
        Self { hash, access, name, ends_at }
    }

    /// Narrows it to a scope.
    #[must_use]
    pub fn scope(mut self, scope: Scope) -> Self {
        self.access.scope = scope;
        self
    }

    /// Gives it a name for people.
    #[must_use]
    pub fn name(self, name: impl Into<String>) -> Self {
        Self::of(self.hash, self.access, Some(name.into()), self.ends_at)
    }

    /// Lets it open nothing from an instant on.
    #[must_use]
    pub fn ends_at(mut self, end: impl Into<Timestamp>) -> Self {
        self.ends_at = Some(end.into());
        self
    }
}

impl From<KeyForm> for ApiKey {
    fn from(KeyForm { hash, project, generation, scope, name, ends_at }: KeyForm) -> Self {
        Self::of(hash, Access::to(project, generation).scope(scope), name, ends_at)
    }
}

impl From<ApiKey> for KeyForm {
    fn from(ApiKey { hash, access, name, ends_at }: ApiKey) -> Self {
        let Access { project, generation, scope, .. } = access;
        Self { hash, project, generation, scope, name, ends_at }
    }
}

impl ApiKeys {
    /// Makes a list of no keys, which lets nobody in.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a key.
    #[must_use]
    pub fn with(mut self, key: ApiKey) -> Self {
        self.keys.push(key);
        self
    }

    /// Returns the projects that keys open, each once.
    #[must_use]
    pub fn projects(&self) -> Vec<&str> {
        let mut projects: Vec<&str> = self.keys.iter().map(|key| &*key.access.project).collect();
        projects.sort_unstable();
        projects.dedup();
        projects
    }

    /// Returns what a key opens at an instant; `None` of one that is not in the list, and of one
    /// that has ended.
    #[must_use]
    pub fn open(&self, key: &str, now: Timestamp) -> Option<Access> {
        let hash = KeyHash::of(key)?;
        // All are compared, and each to its last byte.
        let mut found = None;
        for known in &self.keys {
            if known.hash.is(&hash) {
                found = Some(known);
            }
        }
        let found = found.filter(|known| known.ends_at.is_none_or(|end| now < end))?;
        Some(found.access.clone())
    }
}

impl Authenticate for ApiKeys {
    fn authenticate<'a>(&'a self, headers: &'a HeaderMap, now: Timestamp) -> Authenticated<'a> {
        Box::pin(ready(bearer(headers).and_then(|key| self.open(key, now))))
    }
}

/// The SHA-256 of a key.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct KeyHash([u8; 32]);

impl KeyHash {
    pub(super) fn of(key: &str) -> Option<Self> {
        (key.len() <= MAX_KEY_BYTES).then(|| Self(Sha256::digest(key).into()))
    }

    /// Its first eight digits: enough to tell the keys of a file apart, and what names a key that
    /// has no name.
    fn short(&self) -> String {
        let [a, b, c, d, ..] = self.0;
        format!("sha256:{:08x}", u32::from_be_bytes([a, b, c, d]))
    }

    /// Compares in the same time whatever the two are.
    pub(super) fn is(&self, other: &Self) -> bool {
        let differing =
            self.0.iter().zip(&other.0).fold(0, |differing, (a, b)| differing | (a ^ b));
        std::hint::black_box(differing) == 0
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for KeyHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for KeyHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let wrong = || {
            let rule =
                "must be `sha256:` and 64 hexadecimal digits: the hash of a key, not the key";
            serde::de::Error::custom(format_args!("hash: {rule}"))
        };
        let digits = text.strip_prefix("sha256:").ok_or_else(wrong)?.as_bytes();
        let mut hash = [0; 32];
        if digits.len() != 64 {
            return Err(wrong());
        }
        for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).ok().filter(|pair| !pair.contains('+'));
            *byte = pair.and_then(|pair| u8::from_str_radix(pair, 16).ok()).ok_or_else(wrong)?;
        }
        Ok(Self(hash))
    }
}
