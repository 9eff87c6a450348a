//! An engine as plain data: one file defines it.

use std::path::PathBuf;
use std::time::Duration;

use super::{BuildError, Engine, EngineBuilder, Recording};
use crate::base::calendar::TimeZone;
use crate::base::reading;
use crate::journal::{Durability, Durable, OnFailure};
use crate::rules::RuleSet;
use crate::rules::duration_text::optional_length;
use crate::usage::RollupOptions;

reading::body! {
    /// An engine as plain serde data, for a file of TOML, JSON or YAML: settings, store and rules.
    /// What is left out is as the [builder](EngineBuilder) has it; the fields are those of its
    /// methods. Lengths of time are written `30s`, `5m`, `2h` or `7d`.
    ///
    /// ```
    /// use limitry::config::EngineConfig;
    /// use limitry::{Engine, Event};
    ///
    /// let config: EngineConfig = toml::from_str(
    ///     r#"
    ///     recording = { newest = 50_000 }
    ///     idempotencyRetention = "48h"
    ///
    ///     [rollups]
    ///     dimensions = ["customer_id", "team_id"]
    ///     keepMinutes = "2d"
    ///
    ///     [[rules.rateLimits]]
    ///     name = "Calls"
    ///     limitValue = 60
    ///     window = "minute"
    ///     per = "customer_id"
    ///     "#,
    /// )?;
    /// let engine = Engine::from_config(config)?;
    /// assert!(engine.track(&Event::new("cust_123", "model_call"))?.is_allowed());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    #[serde(rename_all = "camelCase", deny_unknown_fields, default)]
    #[non_exhaustive]
    pub struct EngineConfig {
        /// Which events are kept in memory: `"off"`, or `{ newest = 100_000 }`.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub recording: Option<Recording>,
        /// See [`EngineBuilder::event_bytes`].
        #[serde(skip_serializing_if = "Option::is_none", alias = "event_bytes")]
        pub event_bytes: Option<usize>,
        /// See [`EngineBuilder::event_retention`].
        #[serde(
            skip_serializing_if = "Option::is_none",
            alias = "event_retention",
            with = "optional_length"
        )]
        pub event_retention: Option<Duration>,
        /// See [`EngineBuilder::max_keys`].
        #[serde(skip_serializing_if = "Option::is_none", alias = "max_keys")]
        pub max_keys: Option<u64>,
        /// See [`EngineBuilder::idempotency_retention`].
        #[serde(
            skip_serializing_if = "Option::is_none",
            alias = "idempotency_retention",
            with = "optional_length"
        )]
        pub idempotency_retention: Option<Duration>,
        /// See [`EngineBuilder::idempotency_max_keys`].
        #[serde(skip_serializing_if = "Option::is_none", alias = "idempotency_max_keys")]
        pub idempotency_max_keys: Option<usize>,
        /// See [`EngineBuilder::max_reservations`].
        #[serde(skip_serializing_if = "Option::is_none", alias = "max_reservations")]
        pub max_reservations: Option<usize>,
        /// See [`EngineBuilder::max_waiters`].
        #[serde(skip_serializing_if = "Option::is_none", alias = "max_waiters")]
        pub max_waiters: Option<usize>,
        /// See [`EngineBuilder::late_events`].
        #[serde(
            skip_serializing_if = "Option::is_none",
            alias = "late_events",
            with = "optional_length"
        )]
        pub late_events: Option<Duration>,
        /// See [`EngineBuilder::time_zone`].
        #[serde(
            skip_serializing_if = "Option::is_none",
            alias = "time_zone",
            alias = "timezone"
        )]
        pub time_zone: Option<TimeZone>,
        /// What is summed up as events arrive.
        #[serde(
            skip_serializing_if = "Option::is_none",
            deserialize_with = "reading::optional_part"
        )]
        pub rollups: Option<RollupOptions>,
        /// Where the engine survives; nowhere where it is left out.
        #[serde(
            skip_serializing_if = "Option::is_none",
            deserialize_with = "reading::optional_part"
        )]
        pub store: Option<StoreConfig>,
        /// The rules and meters.
        #[serde(deserialize_with = "reading::part")]
        pub rules: RuleSet,
    }
}

reading::body! {
    /// A store, and how it is used, as plain data: see [`Durable`].
    #[derive(Clone, Debug, PartialEq, Eq)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    #[non_exhaustive]
    pub struct StoreConfig {
        /// The file; made where it is not there.
        pub path: PathBuf,
        /// What has happened to an event when a call returns.
        #[serde(default)]
        pub durability: Durability,
        /// What the engine does when the store fails.
        #[serde(default, alias = "on_failure")]
        pub on_failure: OnFailure,
        /// See [`Durable::max_batch`].
        #[serde(default, skip_serializing_if = "Option::is_none", alias = "max_batch")]
        pub max_batch: Option<usize>,
        /// See [`Durable::max_delay`].
        #[serde(
            default,
            skip_serializing_if = "Option::is_none",
            alias = "max_delay",
            with = "optional_length"
        )]
        pub max_delay: Option<Duration>,
        /// See [`Durable::max_waiting`].
        #[serde(default, skip_serializing_if = "Option::is_none", alias = "max_waiting")]
        pub max_waiting: Option<usize>,
        /// See [`Durable::max_waiting_bytes`].
        #[serde(default, skip_serializing_if = "Option::is_none", alias = "max_waiting_bytes")]
        pub max_waiting_bytes: Option<usize>,
        /// See [`Durable::retention`].
        #[serde(default, skip_serializing_if = "Option::is_none", with = "optional_length")]
        pub retention: Option<Duration>,
    }
}

impl Engine {
    /// Makes the engine of a configuration.
    ///
    /// # Errors
    /// As [`EngineBuilder::build`]; the store cannot be opened.
    pub fn from_config(config: EngineConfig) -> Result<Self, BuildError> {
        EngineBuilder::from_config(config)?.build()
    }
}

/// Hands on what is given.
macro_rules! apply {
    ($to:ident: $($method:ident = $value:expr),* $(,)?) => {
        $(let $to = match $value {
            Some(value) => $to.$method(value),
            None => $to,
        };)*
    };
}

impl EngineBuilder {
    /// Starts the definition of an engine with a configuration: for what a file cannot say, such as
    /// a clock. Opens the store.
    ///
    /// # Errors
    /// The store cannot be opened, or the crate was built without the feature `durable`.
    pub fn from_config(config: EngineConfig) -> Result<Self, BuildError> {
        let builder = Self::new().rule_set(config.rules);
        apply! {
            builder:
            recording = config.recording,
            event_bytes = config.event_bytes,
            event_retention = config.event_retention,
            max_keys = config.max_keys,
            idempotency_retention = config.idempotency_retention,
            idempotency_max_keys = config.idempotency_max_keys,
            max_reservations = config.max_reservations,
            max_waiters = config.max_waiters,
            late_events = config.late_events,
            time_zone = config.time_zone,
            rollups = config.rollups,
        }
        match config.store {
            Some(store) => Ok(builder.durable(store.open()?)),
            None => Ok(builder),
        }
    }
}

impl StoreConfig {
    fn open(self) -> Result<Durable, BuildError> {
        let store = open(&self.path)?.durability(self.durability).on_failure(self.on_failure);
        apply! {
            store:
            max_batch = self.max_batch,
            max_delay = self.max_delay,
            max_waiting = self.max_waiting,
            max_waiting_bytes = self.max_waiting_bytes,
            retention = self.retention,
        }
        Ok(store)
    }
}

#[cfg(feature = "durable")]
fn open(path: &std::path::Path) -> Result<Durable, BuildError> {
    Ok(Durable::open(path)?)
}

#[cfg(not(feature = "durable"))]
fn open(path: &std::path::Path) -> Result<Durable, BuildError> {
    use crate::rules::{RuleProblem, RuleSetError};

    let (rule, field) = ("engine".to_owned(), "store".to_owned());
    let reason = format!("{} needs the feature `durable` of the crate", path.display());
    RuleSetError::check(vec![RuleProblem { rule, field, reason }])?;
    let file = path.display().to_string().into();
    Err(crate::journal::store::StoreError::NoStore { file }.into())
}
