//! Where the engine's calls meet its store. Without the feature `durable` there is no store, and
//! all of this compiles to nothing.

mod calls;
mod open;
mod settings;
mod space;
#[cfg(test)]
mod tests;
mod verbs;

pub(super) use self::calls::{Ending, RecordBytes};
pub use self::space::{Space, SpaceError, SpacePage};
pub use self::verbs::{Committed, Health, Store};

use crate::base::clock::Timestamp;
use crate::counters::Committed as Charged;
use crate::decision::Receipt;
use crate::engine::Core;
use crate::event::DimensionHashes;

impl Core {
    /// Records an event that is let in where it has no store.
    #[inline]
    fn keep_in_memory(&self, hashes: &DimensionHashes<'_, '_>, charged: &Charged<'_>) -> Receipt {
        let Some(ledger) = &self.ledger else { return Receipt::default() };
        let now = self.table.timeline().timestamp(charged.at.now);
        let timestamp = hashes.event().happened_at().map_or(now, Timestamp::from);
        let decided = (now, charged.at.how_counted());
        let (id, ()) = ledger.append(hashes, timestamp, decided, |_| ());
        charged.name(id.ordinal());
        Receipt { event_id: Some(id), seq: None }
    }
}
