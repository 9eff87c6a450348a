//! What an engine has in rows of its own.

use super::calendars::CutRows;
use super::{Settings, damaged};
use crate::base::clock::Timestamp;
use crate::counters::{Lateness, Moment, Timeline};
use crate::journal::store::{Contents, StateTable, StoreError};

/// The key of the row with the engine's identity.
pub(super) const ENGINE: u64 = 1_000;
/// The key of the row with the rules that the application's code defined.
pub(crate) const DECLARED: u64 = 1_001;
/// The key of the row with how long late events are taken.
pub(super) const LATE: u64 = 1_002;
/// The key of the row with how far the engine's time line is ahead of the calendar.
pub(super) const SHIFT: u64 = 1_003;
/// The key of the row with the number up to which all alerts were acknowledged.
pub(in crate::journal) const ACKNOWLEDGED: u64 = 1_004;
/// The key of the row with the number up to which records were rewritten when somebody was erased:
/// they do not say any more what they did to counters.
pub(in crate::journal) const ERASED: u64 = 1_005;

/// The key of the row with what the application's code said of the engine the last time, beside its
/// rules.
pub(super) const SETTINGS: u64 = 1_006;

/// What an engine keeps from its first opening on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Identity {
    /// The Unix second at which its time line starts.
    pub(super) origin: i64,
    /// The name of its log, in the names of all events.
    pub(super) name: u64,
    /// What idempotency keys are hashed with.
    pub(super) secret: [u64; 2],
}

impl Identity {
    pub(super) fn new(now: Timestamp) -> Self {
        let random = |what| ahash::RandomState::new().hash_one(what);
        let (name, secret) = (random("log"), [random("first"), random("second")]);
        Self { origin: Timeline::starting(now).origin_second(), name, secret }
    }

    pub(super) fn to_bytes(self) -> Vec<u8> {
        let [first, second] = self.secret;
        let numbers = [self.origin.cast_unsigned(), self.name, first, second];
        numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
    }

    pub(super) fn of_bytes(bytes: &[u8]) -> Option<Self> {
        let (numbers, []) = bytes.as_chunks::<8>() else { return None };
        let [origin, name, first, second] = *numbers else { return None };
        let number = u64::from_le_bytes;
        Some(Self {
            origin: number(origin).cast_signed(),
            name: number(name),
            secret: [number(first), number(second)],
        })
    }
}

/// The engine's own rows, as far as they are there.
#[derive(Debug, Default)]
pub(super) struct EngineRows {
    pub(super) identity: Option<Identity>,
    /// The rules that the application's code defined the last time.
    pub(super) declared: Option<Vec<u8>>,
    pub(super) late: Option<Lateness>,
    /// How far the time line was ahead of the calendar when the store was opened the last time.
    pub(super) shift: u64,
    /// The number up to which all alerts were acknowledged.
    pub(super) acknowledged: u64,
    pub(super) erased: u64,
    /// What the application's code said of the engine the last time, beside its rules.
    pub(super) settings: Option<Vec<u8>>,
    pub(super) cut: CutRows,
}

impl EngineRows {
    pub(super) fn read(store: &dyn Contents) -> Result<Self, StoreError> {
        let (mut rows, mut wrong) = (Self::default(), None);
        store.state(StateTable::Meta, &mut |key, bytes| match key {
            ENGINE => {
                rows.identity = Identity::of_bytes(bytes);
                wrong = wrong.or(rows.identity.is_none().then_some("the engine's identity"));
            }
            DECLARED => rows.declared = Some(bytes.to_vec()),
            LATE => {
                rows.late = Lateness::of_bytes(bytes);
                wrong = wrong.or(rows.late.is_none().then_some("the time for late events"));
            }
            SHIFT => match <[u8; 8]>::try_from(bytes) {
                Ok(shift) => rows.shift = u64::from_le_bytes(shift),
                Err(_) => wrong = wrong.or(Some("the shift of the time line")),
            },
            ACKNOWLEDGED => match <[u8; 8]>::try_from(bytes) {
                Ok(number) => rows.acknowledged = u64::from_le_bytes(number),
                Err(_) => wrong = wrong.or(Some("which alerts were acknowledged")),
            },
            ERASED => match <[u8; 8]>::try_from(bytes) {
                Ok(number) => rows.erased = u64::from_le_bytes(number),
                Err(_) => wrong = wrong.or(Some("which records were rewritten")),
            },
            SETTINGS => rows.settings = Some(bytes.to_vec()),
            key if CutRows::takes(key) => {
                let is_read = rows.cut.read(key, bytes).is_some();
                wrong = wrong.or((!is_read).then_some("how periods were cut"));
            }
            _ => {}
        })?;
        wrong.map_or(Ok(rows), |what| Err(damaged(store, what)))
    }

    /// How far the time line of an engine that goes on with a store is ahead of the calendar: where
    /// the clock is behind the store's last instant, the line goes on from there, at the clock's
    /// pace and for good.
    pub(super) fn shift(&self, line: Timeline, settings: &Settings, now: u64) -> u64 {
        self.shift.max(now.saturating_sub(line.moment(settings.now).0))
    }

    /// Until when late events are taken; `timeline` is the one of the store's last records.
    pub(super) fn late_events(
        &self,
        settings: &Settings,
        timeline: Timeline,
        now: u64,
    ) -> Lateness {
        let (seconds, timeline) = (settings.late_seconds, timeline.shifted(self.shift));
        // No counter was dropped by a later time than the store knows of.
        let now = timeline.second(Moment(now));
        self.late.map_or_else(|| seconds.into(), |was| was.followed_by(seconds, now))
    }
}
