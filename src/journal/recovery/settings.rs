//! What a store knows of the settings of its engine, before that is made.

use chrono_tz::Tz;

use super::KEYS;
use super::rows::EngineRows;
use crate::base::codec::Reader;
use crate::counters::Lateness;
use crate::journal::store::{Contents, StoreError};
use crate::usage::Rollups;

/// What the store says of how its engine was set up the last time.
#[derive(Debug, Default)]
pub(crate) struct StoredSettings {
    /// What the engine wrote down of itself; `None` where no version did that which has opened it.
    pub(crate) kept: Option<Vec<u8>>,
    /// For how many seconds late events are taken.
    pub(crate) late_seconds: Option<u64>,
    /// The zone of what has none of its own.
    pub(crate) time_zone: Tz,
    /// The dimensions that usage is summed up by; `None` where no checkpoint says it.
    pub(crate) dimensions: Option<Vec<String>>,
}

impl StoredSettings {
    /// Reads them. O(checkpoint) where the engine wrote nothing down.
    pub(crate) fn read(store: &dyn Contents) -> Result<Self, StoreError> {
        let rows = EngineRows::read(store)?;
        let mut found = Self {
            late_seconds: rows.late.map(Lateness::seconds),
            time_zone: rows.cut.zone(),
            kept: rows.settings,
            dimensions: None,
        };
        if found.kept.is_none() {
            store.pieces(&mut |piece| {
                if piece.kind == KEYS {
                    let from = &mut Reader::new(piece.version, piece.bytes);
                    // What is wrong with it is said when it is read as a whole.
                    found.dimensions = Rollups::saved_dimensions(from).ok();
                }
            })?;
        }
        Ok(found)
    }
}
