//! Rules from a file, which is read again while the engine runs.
//!
//! Rules may come from the API as well. So a file is compared with what it was, and not with what
//! the engine has: what is new or differs is added or changed, what is gone is removed, and what
//! stands as it stood is left as it is now, also where the API has changed it since.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use limitry::rules::{SyncOptions, SyncReport};
use limitry::store::Space;
use limitry::{Engine, Meter, Rule, RuleSet};

use crate::Failure;
use crate::config_file::{self, Config, Fixed};

/// The space of a store that has the file's text as it was.
const SPACE: &str = "rules-file";
/// The bytes of a row of it.
const ROW_BYTES: usize = 60 * 1_024;

/// What a file is to an engine.
#[derive(Debug)]
pub(crate) struct RulesFile {
    path: PathBuf,
    space: Option<Space>,
    /// What it said when it was last brought into the engine.
    known: RuleSet,
    text: String,
    /// What the program was started with, or was said to hold from the next start on.
    fixed: Fixed,
    /// What was wrong with it when it was read last.
    complaint: Option<String>,
}

/// What became of the rules.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Reloaded {
    pub(crate) created: Vec<String>,
    pub(crate) updated: Vec<String>,
    pub(crate) removed: Vec<String>,
    /// Those that the API has changed or removed, and the file has not since.
    pub(crate) left: Vec<String>,
    /// The settings that differ from those that the program runs with.
    pub(crate) fixed: Vec<String>,
}

impl RulesFile {
    /// The file of an engine, as the engine's store knows it; the program runs with what it says
    /// now of what cannot change.
    pub(crate) fn of(path: &Path, engine: &Engine, fixed: Fixed) -> Result<Self, Failure> {
        let space = engine.store().space(SPACE).ok();
        let text = space.as_ref().map_or(Ok(String::new()), stored)?;
        // What cannot be read any more is brought in whole.
        let known = config_file::parse(text.clone()).map_or_else(|_| RuleSet::new(), |it| it.set);
        Ok(Self { path: path.to_owned(), space, known, text, fixed, complaint: None })
    }

    /// Reads the file again; `None` where it says what it said.
    pub(crate) fn reload(&mut self, engine: &Engine) -> Result<Option<Reloaded>, Failure> {
        let Config { set, text, fixed, .. } = config_file::read(&self.path)?;
        if text == self.text {
            return Ok(None);
        }
        let mut reloaded = bring_in(engine, &self.known, &set)?;
        reloaded.fixed = self.fixed.differing(&fixed);
        if let Some(space) = &self.space {
            store(space, &text)?;
        }
        (self.known, self.text, self.fixed, self.complaint) = (set, text, fixed, None);
        Ok(Some(reloaded))
    }

    /// Says what is wrong with it, once: it is looked at every second.
    pub(crate) fn complain(&mut self, why: &Failure) {
        let why = why.to_string();
        if self.complaint.as_ref() != Some(&why) {
            tracing::error!(why, "the rules stay as they are");
            self.complaint = Some(why);
        }
    }
}

/// A rule or a meter of a file.
#[expect(clippy::large_enum_variant, reason = "there are few, and rules are most of them")]
#[derive(Clone, Debug, PartialEq)]
enum Item {
    Rule(Rule),
    Meter(Meter),
}

/// By their kinds and their ids, or where those are not given, their names.
fn items(set: &RuleSet) -> BTreeMap<(&'static str, String), Item> {
    let name = |id: &Option<String>, name: &str| id.clone().unwrap_or_else(|| name.to_owned());
    let meters = set.meters.iter();
    let meters = meters.map(|it| (("meter", name(&it.id, &it.name)), Item::Meter(it.clone())));
    let limits = set.rate_limits.iter();
    let limits =
        limits.map(|it| (("rate limit", name(&it.id, &it.name)), Item::Rule(it.clone().into())));
    let quotas = set.quotas.iter();
    let quotas =
        quotas.map(|it| (("quota", name(&it.id, &it.name)), Item::Rule(it.clone().into())));
    meters.chain(limits).chain(quotas).collect()
}

fn bring_in(engine: &Engine, known: &RuleSet, set: &RuleSet) -> Result<Reloaded, Failure> {
    let (before, after) = (items(known), items(set));
    let mut same = RuleSet::new();
    for (_, item) in after.iter().filter(|(key, item)| before.get(*key) == Some(*item)) {
        match item.clone() {
            Item::Rule(rule) => same.extend([rule]),
            Item::Meter(meter) => same.meters.push(meter),
        }
    }
    // What the engine has of these in another way came by the API.
    let left = engine.rules().sync(same, SyncOptions::preview().keep_missing());
    let left = left.map_or_else(
        |_| Vec::new(),
        |left| left.created.into_iter().chain(left.updated.into_iter().map(|it| it.name)).collect(),
    );
    // All in one step: no request is answered by some of it.
    let report = engine.rules().follow(known.clone(), set.clone())?;
    // A meter that rules of the API count stays.
    let is_there = |name: &String| {
        let meters = engine.rules().set().meters;
        meters.iter().any(|it| it.id.as_ref() == Some(name) || it.name == *name)
    };
    for (kind, name) in before.keys().filter(|key| !after.contains_key(*key)) {
        if *kind == "meter" && is_there(name) {
            tracing::warn!(%kind, %name, "gone from the file, and left: rules count it");
        }
    }
    let updated = report.updated.into_iter().map(|change| change.name).collect();
    let SyncReport { created, removed, .. } = report;
    Ok(Reloaded { created, updated, removed, left, fixed: Vec::new() })
}

/// The text that a space has.
fn stored(space: &Space) -> Result<String, Failure> {
    let page = space.list(b"text/", None, 1_000)?;
    let bytes: Vec<u8> = page.rows.into_iter().flat_map(|(_, bytes)| bytes).collect();
    Ok(String::from_utf8(bytes).unwrap_or_default())
}

fn store(space: &Space, text: &str) -> Result<(), Failure> {
    let mut rows = 0_usize;
    for (place, bytes) in text.as_bytes().chunks(ROW_BYTES).enumerate() {
        space.put(format!("text/{place:06}").as_bytes(), bytes)?;
        rows = place.saturating_add(1);
    }
    for (key, _) in space.list(b"text/", None, 1_000)?.rows.into_iter().skip(rows) {
        space.remove(&key)?;
    }
    Ok(())
}
