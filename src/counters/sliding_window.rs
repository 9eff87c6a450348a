//! The sliding window: never more than the limit in any span of its length.
//!
//! Time is cut into slots of a sixtieth of the length, rounded up. A use counts until the last
//! nanosecond of its slot is a whole length old, so at most 61 slots are alive at once, a use
//! never leaves early, and a refusal is at most one slot early.

#[cfg(feature = "durable")]
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::cell::{Cell, Image, Lump, WIDE, Wide};
use super::time::{At, Moment};
use crate::rules::Units;

const SLOTS: u64 = 60;
const RING: u64 = SLOTS + 1;
const _: () = assert!(WIDE as u64 == RING + 1);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SlidingWindow {
    pub(super) limit: Units,
    length: u64,
    slot: u64,
}

/// What a sliding window said at the moment of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SlidingUse {
    pub(super) used: Wide,
    /// When the oldest use leaves; [`Moment::MAX`] without use.
    pub(super) oldest_leaves: Moment,
    /// When the cost of the decision fits; [`Moment::MAX`] for never.
    pub(super) passes_at: Moment,
}

impl SlidingWindow {
    /// A window of `length` nanoseconds, more than 0.
    pub(crate) fn new(limit: Units, length: u64) -> Self {
        Self { limit, length: length.max(1), slot: length.div_ceil(SLOTS).max(1) }
    }

    fn slot_of(&self, now: Moment) -> u64 {
        now.0.checked_div(self.slot).unwrap_or(0)
    }

    /// The oldest slot that still counts.
    fn oldest_alive(&self, now: Moment) -> u64 {
        let edge = now.0.saturating_add(1).saturating_sub(self.length);
        edge.checked_div(self.slot).unwrap_or(0)
    }

    /// The first moment at which a slot does not count any more.
    fn leaves(&self, slot: u64) -> Moment {
        let end = slot.saturating_add(1).saturating_mul(self.slot).saturating_sub(1);
        Moment(end.saturating_add(self.length))
    }

    /// The slots that count and hold a use, the oldest first.
    fn alive<'c>(&self, cell: Option<Cell<'c>>, now: Moment) -> impl Iterator<Item = (u64, u64)> {
        let (newest, ring): (u64, &'c [u64]) =
            cell.and_then(|cell| cell.words.split_first()).map_or((0, &[]), |(n, r)| (*n, r));
        let oldest = self.oldest_alive(now).max(newest.saturating_sub(SLOTS));
        (oldest..=newest).filter_map(move |slot| {
            let used = ring.get(position(slot)).copied().unwrap_or(0);
            (used > 0).then_some((slot, used))
        })
    }

    pub(super) fn read(&self, cell: Option<Cell<'_>>, at: At) -> SlidingUse {
        let (mut used, mut oldest_leaves): (Units, _) = (0, Moment::MAX);
        for (slot, of_slot) in self.alive(cell, at.now) {
            used = used.saturating_add(of_slot.into());
            oldest_leaves = oldest_leaves.min(self.leaves(slot));
        }
        SlidingUse { used: used.into(), oldest_leaves, passes_at: at.now }
    }

    /// Returns the window, with the moment at which the cost fits, and whether it fits now.
    pub(super) fn judge(&self, cell: Option<Cell<'_>>, at: At, cost: Units) -> (SlidingUse, bool) {
        let mut read = self.read(cell, at);
        let fits = cost <= 0 || read.used.get().saturating_add(cost) <= self.limit;
        if !fits {
            let room = Some(self.limit.saturating_sub(cost)).filter(|room| *room >= 0);
            let freed = room.and_then(|room| {
                let mut used = read.used.get();
                self.alive(cell, at.now).find(|(_, leaving)| {
                    used = used.saturating_sub(Units::from(*leaving));
                    used <= room
                })
            });
            read.passes_at = freed.map_or(Moment::MAX, |(slot, _)| self.leaves(slot));
        }
        (read, fits)
    }

    /// The window after a cost was added.
    pub(super) fn after(&self, read: SlidingUse, at: At, cost: Units) -> SlidingUse {
        SlidingUse {
            used: read.used.get().saturating_add(cost.max(0)).into(),
            oldest_leaves: read.oldest_leaves.min(self.leaves(self.slot_of(at.now))),
            passes_at: at.now,
        }
    }

    /// Adds a cost to the slot of now; slots that time passed over become empty.
    pub(super) fn add(&self, words: &mut [u64], at: At, cost: Units) {
        let Some((newest, ring)) = words.split_first_mut() else { return };
        let slot = self.slot_of(at.now).max(*newest);
        let passed = slot.saturating_sub(*newest).min(RING);
        for emptied in slot.saturating_sub(passed).saturating_add(1)..=slot {
            if let Some(used) = ring.get_mut(position(emptied)) {
                *used = 0;
            }
        }
        *newest = slot;
        if let Some(used) = ring.get_mut(position(slot)) {
            *used = used.saturating_add(u64::try_from(cost.max(0)).unwrap_or(u64::MAX));
        }
    }

    /// Whether a use of so long ago counts no more.
    #[cfg(feature = "durable")]
    pub(super) fn is_within(&self, time: Duration) -> bool {
        time.as_nanos() >= u128::from(self.length.saturating_add(self.slot))
    }

    pub(super) fn remaining(&self, read: SlidingUse) -> Units {
        self.limit.saturating_sub(read.used.get()).max(0)
    }

    /// The state means the same for both; only the limits may differ.
    pub(super) fn counts_like(&self, other: &Self) -> bool {
        self.length == other.length
    }

    pub(super) fn adopt(&self, lump: Lump, at: At) -> Image {
        let mut image = Image::zero(WIDE);
        self.add(&mut image.words, at, lump.rounded_up());
        image
    }
}

fn position(slot: u64) -> usize {
    (slot % RING) as usize
}
