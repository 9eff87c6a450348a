//! Goal: one file defines an engine, and what is wrong in it is named by field, value and rule.
//!
//! Method: configurations in TOML and JSON, there and back; the words of every choice; bad ones.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use limitry::config::EngineConfig;
use limitry::errors::BuildError;
use limitry::events::Recording;
use limitry::rules::{Aggregation, Algorithm, Enforcement, OnMissing, Overflow};
use limitry::store::{BadLines, Durability, OnFailure};
use limitry::wire::HeaderDialect;
use limitry::{Engine, Event};
use serde::Serialize;
use serde::de::DeserializeOwned;

const WHOLE: &str = r#"
    recording = { newest = 5_000 }
    eventBytes = 1_000_000
    eventRetention = "30d"
    maxKeys = 1_000
    idempotencyRetention = "48h"
    idempotencyMaxKeys = 10_000
    late_events = "90m"

    [rollups]
    dimensions = ["customer_id", "team_id"]
    values = ["images"]
    maxValues = 1_000
    maxCombinations = 2_000
    maxRows = 3_000
    keepMinutes = "2d"
    keepHours = "30 days"

    [store]
    path = "limitry.redb"
    durability = "synced"
    onFailure = "memory_only"
    maxDelay = "5ms"

    [[rules.meters]]
    id = "agents"
    name = "Agents"
    aggregation = "latest"
    field = "agents"

    [[rules.rateLimits]]
    name = "Calls"
    limitValue = 2
    window = "minute"
    per = "customer_id"

    [[rules.quotas]]
    name = "Agents"
    metric = "meter.agents"
    limitValue = 5
    period = "month"
"#;

#[test]
fn a_whole_engine_is_read_and_printed() {
    let config: EngineConfig = toml::from_str(WHOLE).expect("reads");
    let store = config.store.as_ref().expect("there is one");
    assert_eq!((store.durability, store.on_failure), (Durability::Synced, OnFailure::MemoryOnly));
    assert_eq!(config.late_events, Some(std::time::Duration::from_secs(5_400)));
    let text = toml::to_string(&config).expect("prints");
    assert_eq!(toml::from_str::<EngineConfig>(&text).expect("reads"), config, "{text}");
    let text = serde_json::to_string(&config).expect("prints");
    assert!(text.contains(r#""eventRetention":"30d""#), "{text}");
    assert_eq!(serde_json::from_str::<EngineConfig>(&text).expect("reads"), config, "{text}");
}

#[test]
fn an_engine_is_what_its_configuration_says() {
    let mut config: EngineConfig = toml::from_str(WHOLE).expect("reads");
    config.store = None;
    let engine = Engine::from_config(config).expect("valid");
    let event = Event::new("c", "call");
    for expected in [true, true, false] {
        assert_eq!(engine.track(&event).expect("a good event").is_allowed(), expected);
    }
    let empty: EngineConfig = toml::from_str("").expect("reads");
    assert_eq!(empty, EngineConfig::default());
    assert!(Engine::from_config(empty).expect("valid").rules().list().is_empty());
}

#[cfg(feature = "durable")]
#[test]
fn the_store_of_a_configuration_is_opened() {
    let path = std::env::temp_dir().join(format!("limitry-config-{}.redb", std::process::id()));
    let text = format!("[store]\npath = {path:?}\ndurability = \"memory\"");
    for known in 0..2 {
        let config: EngineConfig = toml::from_str(&text).expect("reads");
        let engine = Engine::from_config(config).expect("valid");
        assert_eq!(engine.store().health().durability, Some(Durability::Memory));
        assert_eq!(engine.events().len(), known);
        assert!(engine.track(&Event::new("c", "call")).expect("a good event").is_allowed());
        engine.store().close().expect("it is written");
    }
    std::fs::remove_file(path).expect("it was made");
}

#[test]
fn bad_configurations_say_where_and_why() {
    for (text, told) in [
        ("maxKey = 1", "maxKey"),
        ("maxKeys = \"many\"", "maxKeys: \"many\""),
        ("lateEvents = \"1 month\"", "lateEvents: \"1 month\" must be a whole number with a unit"),
        ("recording = \"of\"", "recording"),
        ("[store]\ndurability = \"sync\"\npath = \"x\"", "store.durability"),
        ("[store]\n", "path"),
        ("[rollups]\nkeepDay = \"1d\"", "keepDay"),
        ("[[rules.rateLimits]]\nname = 7", "rules.rateLimits[0].name: 7 must be a string"),
    ] {
        let why = toml::from_str::<EngineConfig>(text).expect_err(text).to_string();
        assert!(why.contains(told), "{text}: {why}");
    }
    let config: EngineConfig = toml::from_str("maxKeys = 0\neventBytes = 0").expect("reads");
    let why = Engine::from_config(config).expect_err("not valid");
    assert!(matches!(why, BuildError::Invalid(_)));
    let fields: Vec<_> = why.problems().iter().map(|problem| &*problem.field).collect();
    assert_eq!(fields, ["eventBytes", "maxKeys"]);
}

fn there_and_back<T>(all: &[T])
where
    T: Copy + Debug + PartialEq + Display + FromStr<Err: Debug> + Serialize + DeserializeOwned,
{
    for one in all {
        let word = one.to_string();
        assert_eq!(&word.parse::<T>().expect("its own word"), one);
        let text = serde_json::to_string(one).expect("prints");
        assert_eq!(text, format!("{word:?}"));
        assert_eq!(&serde_json::from_str::<T>(&text).expect("reads"), one);
    }
}

#[test]
fn every_choice_has_a_word() {
    there_and_back(&[Algorithm::TokenBucket, Algorithm::FixedWindow, Algorithm::SlidingWindow]);
    there_and_back(&[Enforcement::Hard, Enforcement::Soft, Enforcement::Shadow]);
    there_and_back(&[Overflow::Share, Overflow::Deny, Overflow::Allow]);
    there_and_back(&[Durability::Memory, Durability::Buffered, Durability::Synced]);
    there_and_back(&[OnFailure::Refuse, OnFailure::MemoryOnly]);
    there_and_back(&[HeaderDialect::XRateLimit, HeaderDialect::Draft10]);
    there_and_back(&[BadLines::Stop, BadLines::Skip]);
    there_and_back(&[Aggregation::Count, Aggregation::Sum, Aggregation::Max, Aggregation::Latest]);
    there_and_back(&[Aggregation::Min, Aggregation::Avg, Aggregation::Unique]);
    for one in [OnMissing::Skip, OnMissing::Refuse, OnMissing::Value("none".to_owned())] {
        assert_eq!(one.to_string().parse(), Ok(one));
    }
    for one in [Recording::Off, Recording::Newest(7)] {
        assert_eq!(one.to_string().parse(), Ok(one));
    }
    let why = "sharing".parse::<Overflow>().expect_err("no word").to_string();
    assert!(why.starts_with("overflow: \"sharing\" must be one of `share`, `deny`"), "{why}");
}
