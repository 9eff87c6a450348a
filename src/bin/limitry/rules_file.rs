//! Rules from a file, which is read again while the engine runs.
//!
//! Rules may come from the API as well. So a file is compared with what it was, and not with what
//! the engine has: what is new or differs is added or changed, what is gone is removed, and what
//! stands as it stood is left as it is now, also where the API has changed it since.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use limitry::rules::SyncOptions;
use limitry::store::Space;
use limitry::{Engine, Meter, Rule, RuleSet};

use crate::Failure;

/// The space of a store that has the file's text as it was.
const SPACE: &str = "rules-file";
/// The bytes of a row of it.
const ROW_BYTES: usize = 60 * 1_024;

/// A file that was read, and is good.
#[derive(Debug)]
pub(crate) struct RulesText {
    pub(crate) set: RuleSet,
    text: String,
}

/// All that is wrong with a file.
#[derive(Debug)]
pub(crate) struct BadFile {
    path: PathBuf,
    problems: Vec<String>,
}

impl fmt::Display for BadFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.path.display())?;
        match &*self.problems {
            [only] => f.write_str(only),
            all => {
                write!(f, "{} problems", all.len())?;
                all.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
            }
        }
    }
}

impl std::error::Error for BadFile {}

/// Reads a file of rules.
pub(crate) fn read(path: &Path) -> Result<RulesText, BadFile> {
    let bad = |problems| BadFile { path: path.to_owned(), problems };
    let text = std::fs::read_to_string(path).map_err(|why| bad(vec![why.to_string()]))?;
    let set: RuleSet = toml::from_str(&text).map_err(|why| bad(vec![why.to_string()]))?;
    if let Err(wrong) = set.validate() {
        let problems = wrong.problems().iter();
        let problems = problems.map(|problem| match line_of(&problem.rule, &text) {
            Some(line) => format!("line {line}: {problem}"),
            None => problem.to_string(),
        });
        return Err(bad(problems.collect()));
    }
    Ok(RulesText { set, text })
}

/// The line on which a rule begins that a problem calls `quota "Name"` or `quota #3`.
fn line_of(rule: &str, text: &str) -> Option<usize> {
    let (kind, tables) = [
        ("rate limit ", ["[[rateLimits]]", "[[rate_limits]]"]),
        ("quota ", ["[[quotas]]", "[[quotas]]"]),
        ("meter ", ["[[meters]]", "[[meters]]"]),
    ]
    .into_iter()
    .find(|(kind, _)| rule.starts_with(kind))?;
    let named = rule.strip_prefix(kind)?;
    let lines = (1..).zip(text.lines());
    let mut begins = lines.filter(|(_, line)| tables.contains(&line.trim())).map(|(line, _)| line);
    if let Some(place) = named.strip_prefix('#') {
        let place: usize = place.parse().ok()?;
        return begins.nth(place.checked_sub(1)?);
    }
    let begins: Vec<usize> = begins.collect();
    let is_name = |line: &str| {
        let value = line.split_once('=').filter(|(key, _)| key.trim() == "name");
        value.is_some_and(|(_, value)| value.trim() == named)
    };
    begins.into_iter().find(|begin| {
        let rest = text.lines().skip(*begin);
        rest.take_while(|line| !line.trim_start().starts_with("[[")).any(is_name)
    })
}

/// What a file is to an engine.
#[derive(Debug)]
pub(crate) struct RulesFile {
    path: PathBuf,
    space: Option<Space>,
    /// What it said when it was last brought into the engine.
    known: RuleSet,
    text: String,
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
}

impl RulesFile {
    /// The file of an engine, as the engine's store knows it.
    pub(crate) fn of(path: &Path, engine: &Engine) -> Result<Self, Failure> {
        let space = engine.store().space(SPACE).ok();
        let text = space.as_ref().map_or(Ok(String::new()), stored)?;
        // What cannot be read any more is brought in whole.
        let known = toml::from_str(&text).unwrap_or_default();
        Ok(Self { path: path.to_owned(), space, known, text, complaint: None })
    }

    /// Reads the file again; `None` where it says what it said.
    pub(crate) fn reload(&mut self, engine: &Engine) -> Result<Option<Reloaded>, Failure> {
        let read = read(&self.path)?;
        if read.text == self.text {
            return Ok(None);
        }
        let reloaded = bring_in(engine, &self.known, &read.set)?;
        if let Some(space) = &self.space {
            store(space, &read.text)?;
        }
        (self.known, self.text, self.complaint) = (read.set, read.text, None);
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
    let (mut changed, mut same) = (RuleSet::new(), RuleSet::new());
    for (key, item) in &after {
        let to = if before.get(key) == Some(item) { &mut same } else { &mut changed };
        match item.clone() {
            Item::Rule(rule) => to.extend([rule]),
            Item::Meter(meter) => to.meters.push(meter),
        }
    }
    // What the engine has of these in another way came by the API.
    let left = engine.rules().sync(same, SyncOptions::preview().keep_missing());
    let left = left.map_or_else(
        |_| Vec::new(),
        |left| left.created.into_iter().chain(left.updated.into_iter().map(|it| it.name)).collect(),
    );
    let report = engine.rules().sync(changed, SyncOptions::apply().keep_missing())?;
    let mut removed = Vec::new();
    for (kind, name) in before.keys().filter(|key| !after.contains_key(*key)) {
        // A meter that rules of the API count stays, and the log says so.
        let gone = match (*kind, id_of(&engine.rules().set(), kind, name)) {
            (_, None) => continue,
            ("meter", Some(id)) => engine.meters().remove(&id),
            (_, Some(id)) => engine.rules().remove(&id),
        };
        match gone {
            Ok(()) => removed.push(name.clone()),
            Err(why) => tracing::warn!(%kind, %name, %why, "gone from the file, and left"),
        }
    }
    let updated = report.updated.into_iter().map(|change| change.name).collect();
    Ok(Reloaded { created: report.created, updated, removed, left })
}

fn id_of(set: &RuleSet, kind: &str, name: &str) -> Option<String> {
    let is_it = |id: &Option<String>, known: &str| id.as_deref() == Some(name) || known == name;
    let id = |id: &Option<String>, known: &str| is_it(id, known).then(|| id.clone()).flatten();
    match kind {
        "meter" => set.meters.iter().find_map(|it| id(&it.id, &it.name)),
        "quota" => set.quotas.iter().find_map(|it| id(&it.id, &it.name)),
        _ => set.rate_limits.iter().find_map(|it| id(&it.id, &it.name)),
    }
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
