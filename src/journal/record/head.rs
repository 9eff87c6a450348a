//! Writing a record: what stands between its ordinal and its event.

use std::cell::Cell;

use super::{
    ALERTS, EXPLICIT, EXTENDED, GIVEN_BACK, GROWN, HELD, KEYED, Kind, OVERRUN, RELEASED, RESERVED,
    SETTLES, put_prefix,
};
use crate::alerts::NotedAlert;
use crate::base::codec::{Codec, put_list, put_text, put_varint, put_wide};
use crate::counters::{At, HeldChange};
use crate::decision::ReservationId;
use crate::reservations::Grant;

/// The most memory that a thread keeps to write heads into, and what it begins with.
const BUFFER_BYTES: usize = 64 * 1_024;
const FIRST_BUFFER_BYTES: usize = 1_024;

thread_local! {
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A record between its ordinal, which it gets in the queue, and the packed event.
#[derive(Debug)]
pub(crate) struct Head(Vec<u8>);

/// What a record says of what a decision did to holds.
#[derive(Clone, Copy)]
pub(crate) struct HoldsOut<'h> {
    /// The reservation whose hold ends with an event.
    pub(crate) settles: Option<u64>,
    pub(crate) change: &'h HeldChange,
    /// The rule's revision of an index in the rule set.
    pub(crate) revision: &'h dyn Fn(u32) -> u32,
}

/// What happened to a reservation.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ReservationOut<'n> {
    Reserved { id: ReservationId, grant: Option<Grant<'n>> },
    Grown { number: u64 },
    Extended { number: u64 },
    Released { number: u64 },
}

impl Head {
    /// Writes the head of an event; `charges` appends how each rule counted it. Allocates nothing
    /// on a thread that wrote one before.
    pub(crate) fn new(
        at: &At,
        key: Option<&str>,
        (holds, alerts): (Option<HoldsOut<'_>>, &[NotedAlert]),
        charges: impl FnOnce(&mut Vec<u8>),
    ) -> Self {
        let mut head = Self::begin(at);
        head.put_decision(at, key, (holds, alerts), charges);
        head
    }

    /// Writes the head of what happened to a reservation by a decision; `charges` appends how each
    /// rule counted what it reserves.
    pub(crate) fn of_reservation(
        at: &At,
        what: ReservationOut<'_>,
        key: Option<&str>,
        holds: HoldsOut<'_>,
        charges: impl FnOnce(&mut Vec<u8>),
    ) -> Self {
        let mut head = Self::begin(at);
        let mut begin = |kind: u8, number: u64| {
            head.0.push(kind);
            put_varint(&mut head.0, number);
        };
        match what {
            ReservationOut::Reserved { id, grant } => {
                begin(RESERVED, id.number());
                id.engine().encode(&mut head.0);
                holds.change.until.0.encode(&mut head.0);
                grant.encode(&mut head.0);
                head.put_decision(at, key, (Some(holds), &[]), charges);
            }
            ReservationOut::Grown { number } => {
                begin(GROWN, number);
                head.put_decision(at, key, (Some(holds), &[]), charges);
            }
            ReservationOut::Extended { number } => {
                begin(EXTENDED, number);
                holds.change.until.0.encode(&mut head.0);
                head.0.extend_from_slice(&holds.change.rows);
            }
            ReservationOut::Released { number } => {
                begin(RELEASED, number);
                head.0.extend_from_slice(&holds.change.rows);
            }
        }
        head
    }

    /// Writes the head of an adjustment, which is all of the record; `adjusted` appends what was
    /// adjusted, and `charges` how the rule counted it.
    pub(crate) fn of_adjustment(
        at: &At,
        adjusted: impl FnOnce(&mut Vec<u8>),
        holds: Option<HoldsOut<'_>>,
        charges: impl FnOnce(&mut Vec<u8>),
    ) -> Self {
        let mut head = Self::begin(at);
        head.put_part(adjusted);
        head.put_decision(at, None, (holds, &[]), charges);
        head
    }

    /// Writes the head of a correction; `corrected` appends what is corrected, and `charges` how
    /// each rule counted the difference.
    pub(crate) fn of_correction(
        at: &At,
        corrected: impl FnOnce(&mut Vec<u8>),
        holds: Option<HoldsOut<'_>>,
        charges: impl FnOnce(&mut Vec<u8>),
    ) -> Self {
        Self::of_adjustment(at, corrected, holds, charges)
    }

    /// Writes the head of what was given back of holds that had expired, which is all of the
    /// record.
    pub(in crate::journal) fn of_given_back(at: &At, rows: &[u8]) -> Self {
        let mut head = Self::begin(at);
        head.0.extend_from_slice(&[GIVEN_BACK, 0]);
        head.0.extend_from_slice(rows);
        head
    }

    /// Writes the head of what happened to a balance, which is all of the record.
    pub(in crate::journal) fn of_balance(at: &At, rows: &[u8]) -> Self {
        let mut head = Self::begin(at);
        head.0.extend_from_slice(rows);
        head
    }

    fn begin(at: &At) -> Self {
        let mut buffer = BUFFER.try_with(Cell::take).unwrap_or_default();
        buffer.clear();
        buffer.reserve(FIRST_BUFFER_BYTES);
        put_times(at, &mut buffer);
        Self(buffer)
    }

    fn put_decision(
        &mut self,
        at: &At,
        key: Option<&str>,
        (holds, alerts): (Option<HoldsOut<'_>>, &[NotedAlert]),
        charges: impl FnOnce(&mut Vec<u8>),
    ) {
        let explicit = if at.explicit { EXPLICIT } else { 0 };
        let held = if holds.is_some() { HELD } else { 0 };
        let fired = if alerts.is_empty() { 0 } else { ALERTS };
        self.0.push(explicit | held | fired | key.map_or(0, |_| KEYED));
        if let Some(key) = key {
            put_text(&mut self.0, key);
        }
        if let Some(holds) = holds {
            self.put_part(|out| holds.put(out));
        }
        if !alerts.is_empty() {
            self.put_part(|out| put_list(out, alerts.iter(), NotedAlert::encode));
        }
        self.put_part(charges);
    }

    /// Appends a part behind its length.
    fn put_part(&mut self, put: impl FnOnce(&mut Vec<u8>)) {
        let buffer = &mut self.0;
        let mark = buffer.len();
        buffer.extend_from_slice(&[0; 4]);
        let start = buffer.len();
        put(buffer);
        let length = buffer.len().saturating_sub(start);
        if let Some(length_bytes) = buffer.get_mut(mark..start) {
            length_bytes.copy_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
        }
    }

    pub(in crate::journal) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The whole record of an event with this head.
    pub(crate) fn record_of(&self, ordinal: u64, event: &[u8]) -> Box<[u8]> {
        let mut record = Vec::with_capacity(self.0.len().saturating_add(event.len()));
        put_prefix(Kind::Event, ordinal, &mut record);
        record.extend_from_slice(&self.0);
        record.extend_from_slice(event);
        record.into()
    }
}

impl HoldsOut<'_> {
    #[cold]
    fn put(&self, out: &mut Vec<u8>) {
        let overrun = if self.change.is_overrun { OVERRUN } else { 0 };
        out.push(overrun | self.settles.map_or(0, |_| SETTLES));
        if let Some(number) = self.settles {
            put_varint(out, number);
        }
        put_list(out, self.change.figures.iter(), |(rule, units), out| {
            put_varint(out, (self.revision)(*rule).into());
            put_wide(out, *units);
        });
        out.extend_from_slice(&self.change.rows);
    }
}

/// Appends the engine's time and how far its line is ahead of the calendar.
pub(in crate::journal) fn put_times(at: &At, out: &mut Vec<u8>) {
    at.now.0.encode(out);
    put_varint(out, at.shift);
}

impl Drop for Head {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.0);
        if buffer.capacity() <= BUFFER_BYTES {
            let _ = BUFFER.try_with(|spare| spare.set(buffer));
        }
    }
}
