//! The methods of `store.rs` for an engine that cannot have a store: they keep events in memory, or
//! do nothing.

#![expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "the same as with a store")]

use crate::counters::{At, Moment, Start, Take};
use crate::decision::{Decision, Kept};
use crate::engine::Engine;
use crate::error::{BatchError, RulesError, TrackError};
use crate::event::Event;
use crate::idempotency::CustomerKey;
use crate::log::Stored;
use crate::snapshot::{Compiler, Snapshot};

impl Engine {
    pub(in crate::engine) fn has_store(&self) -> bool {
        false
    }

    #[inline]
    pub(in crate::engine) fn admit(&self) -> Result<(), TrackError> {
        Ok(())
    }

    #[inline]
    pub(in crate::engine) fn unacknowledged(
        &self,
        _answer: &Result<Decision, TrackError>,
    ) -> Option<TrackError> {
        None
    }

    #[inline]
    pub(in crate::engine) fn all_acknowledged(
        &self,
        answers: Vec<Result<Decision, TrackError>>,
    ) -> Vec<Result<Decision, TrackError>> {
        answers
    }

    #[inline]
    pub(in crate::engine) fn by_key(
        &self,
        key: CustomerKey<'_>,
        event: &Event<'_>,
        now: Moment,
        decide: impl FnOnce() -> Result<Decision, TrackError>,
    ) -> Result<Decision, TrackError> {
        self.keys.once(key, event, now, decide)
    }

    #[inline]
    pub(in crate::engine) fn find_key(
        &self,
        key: CustomerKey<'_>,
        event: &Event<'_>,
        now: Moment,
    ) -> Result<Option<Decision>, TrackError> {
        self.keys.find(key, event, now)
    }

    #[inline]
    pub(in crate::engine) fn keep(
        &self,
        event: &Event<'_>,
        at: At,
        _: (&[Take], &[Start]),
        _rules: &Snapshot,
    ) -> Kept {
        self.keep_in_memory(event, at)
    }

    pub(in crate::engine) fn has_other(
        &self,
        _place: u64,
        _is_other: impl Fn(&Stored<'_>) -> bool,
    ) -> bool {
        false
    }

    pub(in crate::engine) fn admit_batch(&self) -> Result<(), BatchError> {
        Ok(())
    }

    #[inline]
    pub(in crate::engine) fn wait_for_room(&self) {}

    pub(in crate::engine) fn may_change(&self) -> Result<(), RulesError> {
        Ok(())
    }

    pub(in crate::engine) fn admit_rules(&self) -> Result<(), RulesError> {
        Ok(())
    }

    pub(in crate::engine) fn rules_change(&self) {}

    pub(in crate::engine) fn note_checkpoints(&self, _: &mut Compiler) {}

    pub(in crate::engine) fn put_rules(
        &self,
        _before: &Snapshot,
        _now: &Snapshot,
        _: &Compiler,
    ) -> Option<u64> {
        None
    }

    pub(in crate::engine) fn rules_are_stored(&self, _: Option<u64>) -> Result<(), RulesError> {
        Ok(())
    }

    pub(in crate::engine) fn is_cut_off(&self, _answer: &Result<Decision, TrackError>) -> bool {
        false
    }

    pub(in crate::engine) fn batch_is_stored(&self, _cut_off: bool) -> Result<(), BatchError> {
        Ok(())
    }
}
