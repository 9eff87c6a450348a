//! The program's one file: rules, and beside them what the engine and the server are.
//!
//! All that is wrong with it is found at once: each part and each rule is read by itself, and the
//! rules are then checked as a set.

use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use limitry::config::EngineConfig;
use limitry::{Meter, Quota, RateLimit, RuleSet};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use toml::{Spanned, Value};

use crate::webhooks::WebhooksConfig;

/// How long anything may take that the program waits for.
pub(crate) const SECONDS: RangeInclusive<u64> = 1..=86_400;

/// What is wrong with a time of a field, where something is.
pub(crate) fn time_problem(
    field: &'static str,
    seconds: Option<u64>,
) -> Option<(&'static str, String)> {
    let seconds = seconds.filter(|seconds| !SECONDS.contains(seconds))?;
    Some((field, format!("{field}: {seconds} must be 1 to 86400 seconds")))
}

/// A file that was read, and is good.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) set: RuleSet,
    pub(crate) server: ServerConfig,
    pub(crate) webhooks: WebhooksConfig,
    /// What `[engine]` says; its rules are empty.
    pub(crate) engine: EngineConfig,
    /// What holds from the start on: the tables as they stand there.
    pub(crate) fixed: Fixed,
    pub(crate) text: String,
}

/// What cannot change while the program runs, by the names of the tables.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Fixed(Vec<(&'static str, Value)>);

impl Fixed {
    /// The settings that stand here in another way, as `server.listen`.
    pub(crate) fn differing(&self, other: &Self) -> Vec<String> {
        let mut found = Vec::new();
        for name in ["server", "engine", "webhooks"] {
            let table = |of: &Self| {
                let table = of.0.iter().find(|(known, _)| *known == name);
                table.and_then(|(_, value)| value.as_table().cloned()).unwrap_or_default()
            };
            let (ours, theirs) = (table(self), table(other));
            let mut keys: Vec<&String> = ours.keys().chain(theirs.keys()).collect();
            keys.sort_unstable();
            keys.dedup();
            let keys = keys.into_iter().filter(|key| ours.get(*key) != theirs.get(*key));
            found.extend(keys.map(|key| format!("{name}.{key}")));
        }
        found
    }
}

/// The table `[server]`. What is left out is as the arguments have it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct ServerConfig {
    pub(crate) listen: Option<SocketAddr>,
    pub(crate) project: Option<String>,
    pub(crate) keys: Option<PathBuf>,
    pub(crate) backups: Option<PathBuf>,
    pub(crate) max_connections: Option<usize>,
    pub(crate) max_body_bytes: Option<usize>,
    pub(crate) head_timeout_seconds: Option<u64>,
    pub(crate) request_timeout_seconds: Option<u64>,
    pub(crate) stop_timeout_seconds: Option<u64>,
}

impl ServerConfig {
    /// The fields whose values may not be.
    fn problems(&self) -> Vec<(&'static str, String)> {
        let times = [
            ("headTimeoutSeconds", self.head_timeout_seconds),
            ("requestTimeoutSeconds", self.request_timeout_seconds),
            ("stopTimeoutSeconds", self.stop_timeout_seconds),
        ];
        let sizes =
            [("maxConnections", self.max_connections), ("maxBodyBytes", self.max_body_bytes)];
        let times = times.into_iter().filter_map(|(field, seconds)| time_problem(field, seconds));
        let sizes = sizes.into_iter().filter(|(_, size)| *size == Some(0));
        times
            .chain(sizes.map(|(field, _)| (field, format!("{field}: 0 must be 1 or more"))))
            .collect()
    }
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

/// The file as TOML has it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Parts {
    server: Option<Spanned<Value>>,
    engine: Option<Spanned<Value>>,
    webhooks: Option<Spanned<Value>>,
    #[serde(default)]
    meters: Vec<Spanned<Value>>,
    #[serde(default, alias = "rate_limits")]
    rate_limits: Vec<Spanned<Value>>,
    #[serde(default)]
    quotas: Vec<Spanned<Value>>,
}

/// Reads a file. Paths in it are those from its folder.
pub(crate) fn read(path: &Path) -> Result<Config, BadFile> {
    let bad = |problems| BadFile { path: path.to_owned(), problems };
    let text = std::fs::read_to_string(path).map_err(|why| bad(vec![why.to_string()]))?;
    let mut config = parse(text).map_err(bad)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let ServerConfig { keys, backups, .. } = &mut config.server;
    let store = config.engine.store.as_mut().map(|store| &mut store.path);
    for path in [keys.as_mut(), backups.as_mut(), store].into_iter().flatten() {
        *path = folder.join(&path);
    }
    Ok(config)
}

/// Reads a file's text, or says all that is wrong with it.
pub(crate) fn parse(text: String) -> Result<Config, Vec<String>> {
    let parts: Parts = toml::from_str(&text).map_err(|why| vec![why.to_string()])?;
    let mut reading = Reading { text: &text, problems: Vec::new() };
    let mut fixed = Fixed::default();
    let (server, engine) = (parts.server, parts.engine.map(with_synced));
    let webhooks = parts.webhooks;
    for (name, table) in [("server", &server), ("engine", &engine), ("webhooks", &webhooks)] {
        fixed.0.extend(table.as_ref().map(|table| (name, table.get_ref().clone())));
    }
    let (server, server_line) = reading.table::<ServerConfig>("server", server);
    let (engine, engine_line) = reading.table::<EngineConfig>("engine", engine);
    let (webhooks, webhooks_line) = reading.table::<WebhooksConfig>("webhooks", webhooks);
    for (field, problem) in webhooks.problems() {
        reading.wrong(webhooks_line, field, &format!("webhooks: {problem}"));
    }
    for (field, problem) in server.problems() {
        reading.wrong(server_line, field, &format!("server: {problem}"));
    }
    if engine.rules != RuleSet::new() {
        let problem = "engine: rules: must stand beside `[engine]`, as `[[rateLimits]]` do";
        reading.wrong(engine_line, "rules", problem);
    }
    let count = [&parts.meters, &parts.rate_limits, &parts.quotas].map(Vec::len);
    let meters = reading.list::<Meter>("meter", parts.meters);
    let rate_limits = reading.list::<RateLimit>("rate limit", parts.rate_limits);
    let quotas = reading.list::<Quota>("quota", parts.quotas);
    let places = [places(&meters), places(&rate_limits), places(&quotas)];
    let mut set = RuleSet::new();
    set.meters = parts_of(meters);
    set.rate_limits = parts_of(rate_limits);
    set.quotas = parts_of(quotas);
    if places.each_ref().map(Vec::len) == count {
        reading.check(&set, &places);
    } else {
        reading.check_each(&set, &places);
    }
    let mut problems = reading.problems;
    if problems.is_empty() {
        return Ok(Config { set, server, webhooks, engine, fixed, text });
    }
    problems.sort_by_key(|(line, _)| *line);
    Err(problems.into_iter().map(|(line, problem)| format!("line {line}: {problem}")).collect())
}

/// A server has answered when the store has it, where the file says nothing else.
fn with_synced(mut engine: Spanned<Value>) -> Spanned<Value> {
    let store = engine.get_mut().as_table_mut().and_then(|engine| engine.get_mut("store"));
    if let Some(store) = store.and_then(Value::as_table_mut) {
        store.entry("durability").or_insert_with(|| "synced".into());
    }
    engine
}

/// Where a rule begins that a problem calls `quota "Name"` or `quota #3`.
fn line_of(rule: &str, set: &RuleSet, places: &[Vec<Place>; 3]) -> Option<usize> {
    let names: [Vec<&str>; 3] = [
        set.meters.iter().map(|meter| &*meter.name).collect(),
        set.rate_limits.iter().map(|rule| &*rule.name).collect(),
        set.quotas.iter().map(|rule| &*rule.name).collect(),
    ];
    let kinds = ["meter ", "rate limit ", "quota "];
    for ((kind, names), places) in kinds.into_iter().zip(names).zip(places) {
        let Some(called) = rule.strip_prefix(kind) else { continue };
        let place = match called.strip_prefix('#') {
            Some(number) => number.parse::<usize>().ok()?.checked_sub(1)?,
            None => names.iter().position(|name| format!("{name:?}") == called)?,
        };
        return places.get(place).map(|place| place.line);
    }
    None
}

/// Where a rule or a meter stands.
#[derive(Clone)]
struct Place {
    /// The line on which it begins.
    line: usize,
    /// What it is called: `quota "Name"`, or `quota #3`.
    what: String,
}

fn places<T>(read: &[(Place, T)]) -> Vec<Place> {
    read.iter().map(|(place, _)| place.clone()).collect()
}

fn parts_of<T>(read: Vec<(Place, T)>) -> Vec<T> {
    read.into_iter().map(|(_, part)| part).collect()
}

/// A file that is being read.
struct Reading<'t> {
    text: &'t str,
    /// Each with its line.
    problems: Vec<(usize, String)>,
}

impl Reading<'_> {
    /// The line on which something begins.
    fn line(&self, of: &Spanned<Value>) -> usize {
        let before = self.text.get(..of.span().start).unwrap_or_default();
        before.matches('\n').count().saturating_add(1)
    }

    /// Says what is wrong with a field of what begins on a line.
    fn wrong(&mut self, begin: usize, field: &str, problem: &str) {
        let first = field.split(['.', '[']).next().unwrap_or_default();
        let is_field = |line: &str| {
            let key = line.split_once('=').map_or("", |(key, _)| key.trim().trim_matches('"'));
            let key = key.split('.').next().unwrap_or_default();
            !first.is_empty() && plain(key) == plain(first)
        };
        let behind = (1_usize..).zip(self.text.lines()).skip(begin);
        let own = behind.take_while(|(_, line)| !line.trim_start().starts_with('['));
        let line = own.into_iter().find(|(_, line)| is_field(line)).map(|(line, _)| line);
        self.problems.push((line.unwrap_or(begin), problem.to_owned()));
    }

    /// Reads a table, its defaults where there is none or it is wrong; the line with it on which
    /// it begins.
    fn table<T: DeserializeOwned + Default>(
        &mut self,
        name: &str,
        table: Option<Spanned<Value>>,
    ) -> (T, usize) {
        let line = table.as_ref().map_or(1, |table| self.line(table));
        let read = table.and_then(|table| self.part(name, table));
        (read.unwrap_or_default(), line)
    }

    /// Reads a part by itself.
    fn part<T: DeserializeOwned>(&mut self, what: &str, part: Spanned<Value>) -> Option<T> {
        let line = self.line(&part);
        match part.into_inner().try_into() {
            Ok(part) => Some(part),
            Err(why) => {
                let why = why.to_string();
                let (message, path) = why.trim_end().split_once("\nin ").unwrap_or((&why, ""));
                let message = message.trim_end();
                let path = path.trim_matches('`');
                let field = if path.is_empty() { leading(message) } else { path };
                self.wrong(line, field, &format!("{what}: {message}"));
                None
            }
        }
    }

    /// Reads each of a list by itself; with where they stand.
    fn list<T: DeserializeOwned>(
        &mut self,
        kind: &str,
        items: Vec<Spanned<Value>>,
    ) -> Vec<(Place, T)> {
        let items = (1_usize..).zip(items);
        let items = items.filter_map(|(place, item)| {
            let name = item.get_ref().get("name").and_then(Value::as_str);
            let name = name.filter(|name| !name.is_empty());
            let what = name.map_or(format!("{kind} #{place}"), |name| format!("{kind} {name:?}"));
            let line = self.line(&item);
            self.part(&what, item).map(|part| (Place { line, what }, part))
        });
        items.collect()
    }

    /// Says what is wrong with a set of rules.
    fn check(&mut self, set: &RuleSet, places: &[Vec<Place>; 3]) {
        let Err(wrong) = set.validate() else { return };
        for problem in wrong.problems() {
            let line = line_of(&problem.rule, set, places);
            self.wrong(line.unwrap_or(1), &problem.field, &problem.to_string());
        }
    }

    /// The same of each rule by itself, where some could not be read: what the others say of those,
    /// and of what they count, is misleading.
    fn check_each(&mut self, set: &RuleSet, places: &[Vec<Place>; 3]) {
        let meters = set.meters.iter().map(|meter| RuleSet::new().meter(meter.clone()));
        let limits = set.rate_limits.iter().map(|rule| RuleSet::new().rate_limit(rule.clone()));
        let quotas = set.quotas.iter().map(|rule| RuleSet::new().quota(rule.clone()));
        let alone = meters.chain(limits).chain(quotas);
        for (Place { line, what }, alone) in places.iter().flatten().zip(alone) {
            let Err(wrong) = alone.validate() else { continue };
            for problem in wrong.problems().iter().filter(|problem| problem.field != "metric") {
                let said = format!("{what}: {}: {}", problem.field, problem.reason);
                self.wrong(*line, &problem.field, &said);
            }
        }
    }
}

/// The field that a message begins with.
fn leading(message: &str) -> &str {
    message.split_once(": ").map_or("", |(field, _)| field)
}

/// A key, however it is written: `limitValue` and `limit_value` are the same.
fn plain(key: &str) -> String {
    key.chars().filter(|it| *it != '_').map(|it| it.to_ascii_lowercase()).collect()
}
