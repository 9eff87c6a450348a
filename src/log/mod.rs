//! The events that were let in, in the order in which they were.
//!
//! Events are [packed](packed) before anything is locked, and kept in [segments](segment) of at
//! most 1 024. Full segments never change: who reads them holds on to them and needs no lock. Each
//! event has a [signature], 64 bits that tell most events that a filter does not want without
//! unpacking them. [`MemoryLog`] keeps the newest segments, bounded by count, by
//! bytes and by age.

mod corrections;
mod error;
mod memory;
mod packed;
mod query;
mod recorded;
mod segment;
mod signature;
mod stored;
mod times;

pub(crate) use self::corrections::{Corrected, Corrections};
pub use self::corrections::{Correction, CorrectionPage, CorrectionQuery};
pub use self::error::QueryError;
pub(crate) use self::memory::{Bounds, MemoryLog};
pub(crate) use self::packed::Packed;
pub use self::query::EventQuery;
pub(crate) use self::query::{ScanFilter, page_limit};
pub use self::recorded::{EventPage, RecordedEvent};
pub(crate) use self::segment::{PackedEvent, Segment, index};
pub(crate) use self::signature::{PairFilter, signature_of_built_in, signature_of_properties};
pub(crate) use self::stored::{Erased, Stored, timestamp_of};
pub(crate) use self::times::Dropped;
pub(crate) use self::times::{GenerationTimes, RunTimes, StoredDropped};
pub use crate::event::{EventId, EventIdParseError};
