//! What an engine was set up with, kept in its store for whoever opens that as it is.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::engine::builder::EngineBuilder;
use crate::engine::config::EngineConfig;
use crate::journal::store::StoreError;
use crate::journal::{Durable, StoredSettings};
use crate::rules::duration_text::length;
use crate::usage::RollupOptions;

/// The settings as they are stored. Nothing is left out: defaults may be others some day.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kept {
    engine: EngineConfig,
    max_alerts: usize,
    #[serde(with = "length")]
    retention: Duration,
}

impl EngineBuilder {
    /// The settings to be kept in the store; `None` where they come from there.
    pub(super) fn settings_to_keep(&self, durable: &Durable) -> Option<Vec<u8>> {
        let engine = EngineConfig {
            recording: Some(self.recorded()),
            event_bytes: self.event_bytes,
            event_retention: self.event_retention,
            max_keys: Some(self.max_keys),
            idempotency_retention: Some(self.idempotency_retention),
            idempotency_max_keys: self.idempotency_max_keys,
            max_reservations: Some(self.max_reservations),
            late_events: Some(self.late_events),
            time_zone: Some(self.time_zone),
            rollups: Some(self.rollups.clone()),
            ..EngineConfig::default()
        };
        let kept = Kept { engine, max_alerts: self.max_alerts, retention: durable.retention };
        (!self.as_stored).then(|| serde_json::to_vec(&kept).unwrap_or_default())
    }

    /// Takes the settings of the store where they are to be as they are there.
    pub(in crate::engine) fn settings_of(
        &mut self,
        durable: &mut Durable,
    ) -> Result<(), StoreError> {
        if !self.as_stored {
            return Ok(());
        }
        let found = StoredSettings::read(&*durable.store)?;
        let Some(kept) = found.kept else {
            self.late_events = found.late_seconds.map_or(self.late_events, Duration::from_secs);
            self.time_zone = found.time_zone.into();
            if let Some(dimensions) = found.dimensions {
                self.rollups = RollupOptions::new().dimensions(dimensions);
            }
            durable.retention = Duration::MAX;
            return Ok(());
        };
        let unreadable = |why: serde_json::Error| {
            durable.store.damaged("what the engine was set up with", &why.to_string())
        };
        let Kept { engine, max_alerts, retention } =
            serde_json::from_slice(&kept).map_err(unreadable)?;
        (self.max_alerts, durable.retention) = (max_alerts, retention);
        self.event_bytes = engine.event_bytes;
        self.event_retention = engine.event_retention;
        self.idempotency_max_keys = engine.idempotency_max_keys;
        self.recording = self.recording.or(engine.recording);
        self.max_keys = engine.max_keys.unwrap_or(self.max_keys);
        self.idempotency_retention =
            engine.idempotency_retention.unwrap_or(self.idempotency_retention);
        self.max_reservations = engine.max_reservations.unwrap_or(self.max_reservations);
        self.late_events = engine.late_events.unwrap_or(self.late_events);
        self.time_zone = engine.time_zone.unwrap_or(self.time_zone);
        self.rollups = engine.rollups.unwrap_or_default();
        Ok(())
    }
}
