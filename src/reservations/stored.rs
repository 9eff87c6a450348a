//! Reservations as a checkpoint of the journal has them, and as they come back from a store.
//!
//! What is held of a counter comes back with it. Here is where a reservation has taken what: also
//! where that is no hold any more, because a rate limit took it over as use.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Entry, Estimate, Grant, Phase, ReservationMap, State};
use crate::base::clock::Timestamp;
use crate::base::codec::{Codec, Malformed, Reader, put_text, put_varint};
use crate::counters::{Held, HeldPlace, Moment};
use crate::decision::ReservationId;
use crate::log::Stored;

/// It was made for an act with a date of its own.
const DATED: u8 = 1;
/// It has an idempotency key.
const KEYED: u8 = 1 << 1;
const RELEASED: u8 = 1 << 2;
const COMMITTED: u8 = 1 << 3;

impl Entry {
    /// Appends the reservation as it stands.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let state = self.state.lock();
        let State { estimate, until, phase } = &*state;
        self.id.engine().encode(out);
        put_varint(out, self.id.number());
        self.made_at.0.encode(out);
        until.0.encode(out);
        let flag = |is: bool, bit: u8| if is { bit } else { 0 };
        let ended = match phase {
            Phase::Open(_) => 0,
            Phase::Released => RELEASED,
            Phase::Committed { .. } | Phase::Recorded { .. } => COMMITTED,
        };
        let key = estimate.key();
        out.push(flag(estimate.is_dated(), DATED) | flag(key.is_some(), KEYED) | ended);
        if let Some(key) = key {
            put_text(out, key);
        }
        if ended == COMMITTED {
            let (seq, record): (u64, &[u8]) = match phase {
                Phase::Recorded { seq, record } => (*seq, record),
                _ => (0, &[]),
            };
            debug_assert!(!record.is_empty(), "an engine whose store goes on has the record");
            put_varint(out, seq);
            put_bytes(out, record);
        }
        estimate.put_packed(self.timestamp, |packed| put_bytes(out, packed));
        if let Phase::Open(held) = phase {
            held.encode(out);
        }
    }
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Reservations that come back, by their numbers. Whatever is done twice is done once.
#[derive(Debug, Default)]
pub(crate) struct RestoredReservations {
    known: BTreeMap<u64, Restored>,
}

#[derive(Debug)]
struct Restored {
    id: ReservationId,
    made_at: Moment,
    timestamp: Timestamp,
    state: State,
}

/// One that was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MadeAgain<'r> {
    pub(crate) id: ReservationId,
    pub(crate) made_at: Moment,
    pub(crate) until: Moment,
    /// It was made for an act with a date of its own.
    pub(crate) is_dated: bool,
    pub(crate) key: Option<&'r str>,
    /// How much of a value was granted, where that may be less than was asked for.
    pub(crate) grant: Option<Grant<'r>>,
}

impl RestoredReservations {
    /// Adds those that [`Entry::encode`] appended, to the end.
    /// `hash` is the one that rows are found by.
    pub(crate) fn load(
        &mut self,
        mut from: Reader<'_>,
        hash: &impl Fn(u32, &[&str]) -> u64,
    ) -> Result<(), Malformed> {
        while !from.is_at_end() {
            let id = ReservationId::new(u64::decode(&mut from)?, from.varint()?);
            let (made_at, until) = (u64::decode(&mut from)?, u64::decode(&mut from)?);
            let (made_at, until) = (Moment(made_at), Moment(until));
            let flags = u8::decode(&mut from)?;
            let known = DATED | KEYED | RELEASED | COMMITTED;
            from.require(flags & !known == 0, "the flags of a reservation")?;
            let key = if flags & KEYED != 0 { Some(from.text()?) } else { None };
            let mut phase = match flags & (RELEASED | COMMITTED) {
                0 => Phase::Open(Held::default()),
                RELEASED => Phase::Released,
                COMMITTED => Phase::Recorded {
                    seq: from.varint()?,
                    record: bytes(&mut from, "the record of a commit")?.into(),
                },
                _ => return Err(from.malformed("the flags of a reservation")),
            };
            let packed = bytes(&mut from, "what is reserved")?;
            if let Phase::Open(held) = &mut phase {
                *held = Held::decode(&mut from, hash)?;
            }
            let is_dated = flags & DATED != 0;
            let made = MadeAgain { id, made_at, until, is_dated, key, grant: None };
            self.made(made, Reader::new(from.version(), packed))?;
            self.change(id.number(), |state| state.phase = phase);
        }
        Ok(())
    }

    /// One was made for what was asked for, packed.
    pub(crate) fn made(
        &mut self,
        made: MadeAgain<'_>,
        packed: Reader<'_>,
    ) -> Result<(), Malformed> {
        let MadeAgain { id, made_at, until, is_dated, key, grant } = made;
        let asked = Stored::decode_all(packed)?;
        let timestamp = asked.timestamp();
        let asked = Estimate::of_packed(packed.rest(), is_dated, key);
        let granted = grant.map(|grant| Estimate::new(&grant.lowered(&asked.event()), timestamp));
        let estimate = granted.unwrap_or(asked);
        let state = State { estimate, until, phase: Phase::Open(Held::default()) };
        self.known.insert(id.number(), Restored { id, made_at, timestamp, state });
        Ok(())
    }

    /// One has grown, and reserves so much now, packed.
    pub(crate) fn grown(&mut self, number: u64, packed: Reader<'_>) -> Result<(), Malformed> {
        let _: Stored<'_> = Stored::decode_all(packed)?;
        self.change(number, |state| {
            let (is_dated, key) = (state.estimate.is_dated(), state.estimate.key());
            state.estimate = Estimate::of_packed(packed.rest(), is_dated, key);
        });
        Ok(())
    }

    pub(crate) fn extended(&mut self, number: u64, until: Moment) {
        self.change(number, |state| state.until = until);
    }

    pub(crate) fn released(&mut self, number: u64) {
        self.change(number, |state| state.phase = Phase::Released);
    }

    /// One was committed with the event of a record.
    pub(crate) fn committed(&mut self, number: u64, seq: u64, record: &[u8]) {
        let record = record.into();
        self.change(number, |state| state.phase = Phase::Recorded { seq, record });
    }

    /// One holds something, as a record says.
    pub(crate) fn holds(&mut self, number: u64, place: HeldPlace) {
        self.change(number, |state| {
            if let Phase::Open(held) = &mut state.phase {
                held.set(place);
            }
        });
    }

    /// Nothing of one that is known no more.
    fn change(&mut self, number: u64, change: impl FnOnce(&mut State)) {
        if let Some(restored) = self.known.get_mut(&number) {
            change(&mut restored.state);
        }
    }
}

fn bytes<'b>(from: &mut Reader<'b>, what: &'static str) -> Result<&'b [u8], Malformed> {
    let length = from.length(what)?;
    from.bytes(length, what)
}

impl ReservationMap {
    /// Goes on with those that come back, but for what is over by now.
    pub(crate) fn restore(&mut self, restored: RestoredReservations, now: Moment) {
        for (number, restored) in restored.known {
            let next = self.next.get_mut();
            *next = (*next).max(number.saturating_add(1));
            let Restored { id, made_at, timestamp, state } = restored;
            let (until, due) = (state.until, self.due(state.until));
            let is_open = matches!(state.phase, Phase::Open(_)) && now < until;
            if !is_open && due <= now {
                continue;
            }
            let customer = self.of_customer(state.estimate.customer_id(), now);
            let entry = Entry::new(id, (made_at, timestamp), &customer, state);
            if is_open {
                customer.opened(until, number);
            } else {
                drop(customer);
            }
            let forget = |entry: &Entry, crowded| self.forget(entry, now, crowded);
            self.known.keep(number, due, Arc::new(entry), now, forget);
        }
    }

    /// All that are known. Each that was being made when this was called is among them.
    pub(crate) fn all(&self) -> Vec<Arc<Entry>> {
        drop(self.making.write());
        self.known.all()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::base::format::Version;
    use crate::event::Event;

    fn reader(bytes: &[u8]) -> Reader<'_> {
        Reader::new(Version::NEWEST, bytes)
    }

    fn entries() -> Vec<Entry> {
        let timestamp = Timestamp::new(1_700_000_000, 7);
        let plain = Event::new("c", "call").total_tokens(7);
        let dated = plain.clone().timestamp(timestamp).idempotency_key("key");
        let phases = [
            || Phase::Open(Held::default()),
            || Phase::Released,
            || Phase::Recorded { seq: 9, record: [1, 2, 3].into() },
        ];
        let entry = |number: u64, event: &Event<'_>, phase: fn() -> Phase| {
            let estimate = Estimate::new(event, timestamp);
            let state = State { estimate, until: Moment(80 + number), phase: phase() };
            let id = ReservationId::new(u64::MAX - number, number);
            Entry { id, made_at: Moment(5), timestamp, customer: 0, state: state.into() }
        };
        let all =
            (0..).zip(phases.into_iter().flat_map(|phase| [(phase, &plain), (phase, &dated)]));
        all.map(|(number, (phase, event))| entry(number, event, phase)).collect()
    }

    #[test]
    fn reservations_come_back_as_they_were() {
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        for entry in entries() {
            entry.encode(&mut bytes);
            ends.push(bytes.len());
        }
        let mut restored = RestoredReservations::default();
        // Twice is once.
        for _ in 0..2 {
            restored.load(reader(&bytes), &|_, _| 7).expect("what was written");
        }
        let shown = restored.known.values().map(|it| (it.id, it.made_at, it.timestamp));
        let shown: Vec<_> = shown.collect();
        let due: Vec<_> = entries().iter().map(|it| (it.id, it.made_at, it.timestamp)).collect();
        assert_eq!(shown, due);
        for (restored, entry) in restored.known.values().zip(entries()) {
            let state = entry.state.lock();
            assert_eq!(format!("{:?}", restored.state), format!("{state:?}"));
        }
        for short in (0..bytes.len()).filter(|short| *short > 0 && !ends.contains(short)) {
            let mut restored = RestoredReservations::default();
            assert!(restored.load(reader(&bytes[..short]), &|_, _| 7).is_err(), "{short}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = RestoredReservations::default().load(reader(&bytes), &|_, _| 7);
        }
    }
}
