//! What a decision took, as the durable log keeps it: the state that each rule had.
//!
//! A record holds the state itself and not the way to it, so that redoing a log is writing cells,
//! twice as well as once. Instants are kept by their distance from the decision's: a token bucket
//! takes some 14 bytes, a calendar period some ten.

use std::ops::Deref;

use smallvec::SmallVec;

use super::algorithms::{Reading, stored};
use super::cell::CellState;
use super::table::{Charge, Committed, Role};
use super::time::At;
use crate::base::codec::{Codec, Malformed, Reader, put_varint};
use crate::base::format::Version;
use crate::rules::Cost;

/// The lower bits of the first byte: the number under which the reading is stored.
const CODE: u8 = 0b0111;
/// What stands there for a number that the bits have no room for: together with [`WRITTEN`], which
/// a reading of no counter never is, it says that the next byte has both.
const MORE: u8 = 5;
const FITS: u8 = 1 << 3;
const CROWDED: u8 = 1 << 4;
const COUNTS: u8 = 1 << 5;
const WRITTEN: u8 = 1 << 6;
const LOST: u8 = 1 << 7;

/// What one rule was asked for and what it said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "they are the bits of a byte")]
pub(crate) struct StoredCharge {
    /// The rule, as it was.
    pub(crate) revision: u32,
    pub(crate) cost: Cost,
    pub(crate) fits: bool,
    pub(crate) role: Role,
    /// The key found no room for the rule's counter.
    pub(crate) crowded: bool,
    /// The rule's counter was written: of a crowded key the one that such keys share.
    pub(crate) written: bool,
    /// A bucket that was allowed to go below empty.
    pub(crate) owes: bool,
    /// It is of format 1, in which sliding windows counted in slots.
    pub(crate) in_slots: bool,
    /// The counter's state after the event where it was counted, else without it.
    pub(crate) reading: Reading,
}

/// What a counter of a key's own started from, before the event, where the key may have shared one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredStart {
    /// The rule, as it was.
    pub(crate) revision: u32,
    /// A state for each period of a quota, or the one that there is.
    pub(super) images: SmallVec<[CellState; 1]>,
}

/// What a decision took.
#[derive(Debug, Default)]
pub(crate) struct StoredCharges {
    pub(crate) charges: SmallVec<[StoredCharge; 4]>,
    /// Almost always none.
    pub(crate) starts: Vec<StoredStart>,
}

impl StoredCharges {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Reads what [`encode_charges`] appended, to the end, in place of what is here.
    pub(crate) fn decode(&mut self, mut from: Reader<'_>, at: &At) -> Result<(), Malformed> {
        self.charges.clear();
        self.starts.clear();
        for _ in 0..from.length("charges")? {
            self.charges.push(StoredCharge::decode(&mut from, at)?);
        }
        while !from.is_at_end() {
            let revision = from.varint_u32()?;
            let images = (0..from.length("states")?).map(|_| CellState::decode(&mut from));
            let images = images.collect::<Result<_, _>>()?;
            self.starts.push(StoredStart { revision, images });
        }
        Ok(())
    }
}

impl Deref for StoredCharges {
    type Target = [StoredCharge];

    fn deref(&self) -> &[StoredCharge] {
        &self.charges
    }
}

/// Appends what a decision did to counters, and what new ones started from; `revision` says the
/// rule's of an index in the rule set. Allocates nothing where `out` has the room.
pub(crate) fn encode_charges(
    committed: &Committed<'_>,
    revision: impl Fn(u32) -> u32,
    out: &mut Vec<u8>,
) {
    let Committed { at, charges, starts, .. } = *committed;
    // What a rule without a say did not count is nothing to anybody.
    let said = |charge: &&Charge| charge.judges() || charge.is_written() || charge.found_no_room();
    put_varint(out, charges.iter().filter(said).count() as u64);
    for charge in charges.iter().filter(said) {
        StoredCharge::of(charge, revision(charge.rule), at).encode(at, out);
    }
    let written = |rule| charges.iter().any(|charge| charge.rule == rule && charge.is_written());
    for start in starts.iter().filter(|start| written(start.rule)) {
        put_varint(out, revision(start.rule).into());
        put_varint(out, start.images.len() as u64);
        start.images.iter().for_each(|image| image.encode(out));
    }
}

impl StoredCharge {
    pub(crate) fn of(charge: &Charge, revision: u32, at: &At) -> Self {
        let Charge { fits, reading, .. } = *charge;
        let (role, crowded, written) = (charge.role(), charge.found_no_room(), charge.is_written());
        let owes = at.owes && role == Role::Judges && reading.may_owe();
        let cost = charge.cost();
        Self { revision, cost, fits, role, crowded, written, owes, in_slots: false, reading }
    }

    #[inline]
    fn encode(&self, at: &At, out: &mut Vec<u8>) {
        let flag = |is: bool, bit: u8| if is { bit } else { 0 };
        let flags = flag(self.fits, FITS)
            | flag(self.crowded, CROWDED)
            | flag(self.cost.counts, COUNTS)
            | flag(self.written, WRITTEN)
            | flag(self.role == Role::Counts, LOST);
        let code = self.reading.code(self.owes);
        let mut bytes = stored::ChargeBytes::new();
        if code > CODE || (code == MORE && self.written) {
            bytes.byte(flags | WRITTEN | MORE);
            bytes.byte(code << 1 | u8::from(self.written));
        } else {
            bytes.byte(flags | code);
        }
        bytes.varint(self.revision.into());
        bytes.wide(self.cost.units);
        self.reading.encode(at, &mut bytes);
        bytes.append_to(out);
    }

    #[inline]
    fn decode(from: &mut Reader<'_>, at: &At) -> Result<Self, Malformed> {
        let flags = u8::decode(from)?;
        let is = |bit| flags & bit != 0;
        let (mut code, mut written) = (flags & CODE, is(WRITTEN));
        if code == MORE && written {
            let both = u8::decode(from)?;
            (code, written) = (both >> 1, both & 1 != 0);
        }
        let (revision, cost) = (from.varint_u32()?, stored::units(from)?);
        let (reading, owes) = Reading::decode(code, from, at)?;
        Ok(Self {
            revision,
            cost: Cost { units: cost, counts: is(COUNTS) },
            fits: is(FITS),
            role: if is(LOST) { Role::Counts } else { Role::Judges },
            crowded: is(CROWDED),
            written,
            owes,
            in_slots: from.version() == Version::One,
            reading,
        })
    }

    /// The time of its decision for the rule.
    pub(super) fn at(&self, at: &At) -> At {
        self.reading.charged_at(self.written, At { owes: self.owes, ..*at })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Timestamp;
    use crate::counters::cell::StateWords;
    use crate::counters::{Match, Moment, Timeline};

    fn count(code: u8, extra: u32, first: u64, units: i128) -> Reading {
        Reading::of_parts(code, StateWords::count(extra, first, units))
    }

    fn words(code: u8, words: [u64; 4]) -> Reading {
        Reading::of_parts(code, StateWords { words, extra: 0 })
    }

    fn gauge(length: u32, start: i64, units: i128, latest: u64) -> Reading {
        let mut state = StateWords::count(length, start.cast_unsigned(), units);
        state.words[3] = latest;
        Reading::of_parts(4, state)
    }

    fn readings() -> Vec<Reading> {
        let start = 1_700_006_400;
        let window = |start| count(1, 0, start, 5);
        let sliding =
            |used, oldest_leaves, passes_at| words(2, [used, 0, oldest_leaves, passes_at]);
        let period = |length, start: i64, used| count(3, length, start.cast_unsigned(), used);
        let most = i128::MAX;
        vec![
            words(0, [3, u64::MAX, 0, 0]),
            words(0, [0; 4]),
            window(0),
            window(u64::MAX),
            sliding(9, 3_155_760_060_000_000_000, 3_155_760_000_000_000_000),
            sliding(0, u64::MAX, u64::MAX),
            period(86_400, start, 77),
            period(0, i64::MIN, most),
            period(0, start, i128::MIN),
            gauge(3_600, start, -1, 0),
            gauge(u32::MAX, i64::MAX, 77, u64::MAX),
            Reading::NONE,
        ]
    }

    fn charges() -> Vec<StoredCharge> {
        let charges = readings().into_iter().enumerate().flat_map(|(place, reading)| {
            (0_u32..32).map(move |bits| StoredCharge {
                revision: u32::try_from(place).expect("few") * 1_000,
                cost: Cost { units: (i128::MIN >> place) + 7, counts: bits & 1 > 0 },
                fits: bits & 2 > 0,
                role: if bits & 8 > 0 { Role::Counts } else { Role::Judges },
                crowded: bits & 16 > 0,
                written: bits & 4 > 0,
                owes: bits & 2 > 0 && reading.may_owe(),
                in_slots: false,
                reading,
            })
        });
        charges.collect()
    }

    #[test]
    fn charges_come_back_whatever_they_hold() {
        let timeline = Timeline::starting(Timestamp::new(1_700_000_000, 0));
        let ends = [Moment(0), Moment(3_155_766_500_000_000_001), Moment::MAX];
        let happened = [None, Some(Timestamp::new(-5, 3)), Some(Timestamp::MAX)];
        for (now, happened) in ends.iter().flat_map(|now| happened.map(|at| (*now, at))) {
            let at = timeline.at(now, happened);
            for charge in charges() {
                let mut bytes = Vec::new();
                charge.encode(&at, &mut bytes);
                let mut from = Reader::new(Version::NEWEST, &bytes);
                assert_eq!(StoredCharge::decode(&mut from, &at), Ok(charge), "{at:?}");
                assert!(from.is_at_end());
                for short in 0..bytes.len() {
                    let mut from = Reader::new(Version::NEWEST, &bytes[..short]);
                    assert!(StoredCharge::decode(&mut from, &at).is_err(), "{short}");
                }
            }
        }
    }

    #[test]
    fn the_everyday_charges_are_small() {
        let timeline = Timeline::starting(Timestamp::new(1_700_000_000, 0));
        let at = timeline.at(Moment(3_155_766_500_000_000_001), None);
        let length = |reading| {
            let cost = Cost { units: 1, counts: true };
            let role = Role::Judges;
            let charge = StoredCharge {
                revision: 100,
                cost,
                fits: true,
                role,
                crowded: false,
                written: true,
                owes: false,
                in_slots: false,
                reading,
            };
            let mut bytes = Vec::new();
            charge.encode(&at, &mut bytes);
            bytes.len()
        };
        assert_eq!(length(words(0, [1_000, 7, 0, 0])), 13);
        let start = (at.second - 1_000_000).cast_unsigned();
        assert_eq!(length(count(3, 2_592_000, start, 100_000)), 13);
    }

    #[test]
    fn other_bytes_are_no_charges() {
        let at = Timeline::starting(Timestamp::UNIX_EPOCH).at(Moment(0), None);
        let mut charges = StoredCharges::new();
        for bytes in [&[][..], &[1], &[1, 7, 0, 0], &[1, 6, 0, 0], &[0xff; 30]] {
            let from = Reader::new(Version::NEWEST, bytes);
            assert!(charges.decode(from, &at).is_err(), "{bytes:?}");
        }
        assert_eq!(charges.decode(Reader::new(Version::NEWEST, &[0]), &at), Ok(()));
        assert!(charges.is_empty() && charges.starts.is_empty());
    }

    #[test]
    fn what_a_counter_started_from_comes_back() {
        let at = Timeline::starting(Timestamp::UNIX_EPOCH).at(Moment(0), None);
        let found = Match { rule: 3, row: 0, judges: true };
        let mut charge = Charge::new(found, Cost { units: 1, counts: true });
        charge.write();
        let list = CellState { is_list: true, ..CellState::of(0, &[5; 62]) };
        let images = [CellState::of(7, &[u64::MAX, 1]), list];
        let start =
            |rule| crate::counters::table::Start { rule, images: images.iter().cloned().collect() };
        let mut bytes = Vec::new();
        // The second is of a rule that took nothing.
        let starts = [start(3), start(4)];
        let charges = [charge];
        let all = Committed {
            at: &at,
            charges: &charges,
            starts: &starts,
            held: None,
            crossings: &[],
            event: None,
        };
        encode_charges(&all, |rule| rule + 10, &mut bytes);
        let mut charges = StoredCharges::new();
        let decode = |bytes: &[u8], charges: &mut StoredCharges| {
            charges.decode(Reader::new(Version::NEWEST, bytes), &at)
        };
        decode(&bytes, &mut charges).expect("what was encoded");
        let images = images.iter().cloned().collect();
        assert_eq!(charges.starts, [StoredStart { revision: 13, images }]);
        assert_eq!(charges.len(), 1);
        let mut alone = Vec::new();
        encode_charges(&Committed { starts: &[], ..all }, |rule| rule + 10, &mut alone);
        for short in alone.len() + 1..bytes.len() {
            assert!(decode(&bytes[..short], &mut charges).is_err(), "{short}");
        }
    }
}
