//! What a decision took, as the durable log keeps it: the state that each rule had.
//!
//! A record holds the state itself and not the way to it, so that redoing a log is writing cells,
//! twice as well as once. Instants are kept by their distance from the decision's: a token bucket
//! takes some 14 bytes, a calendar period some ten.

use std::ops::Deref;

use smallvec::SmallVec;

use super::cell::{Image, Wide};
use super::fixed_window::WindowUse;
use super::periods::Bounds;
use super::policy::Reading;
use super::sliding_window::SlidingUse;
use super::table::{Charge, Part, Start};
use super::time::{At, Moment};
use crate::base::bytes::{take, take_u8, take_u64};
use crate::base::format::Version;
use crate::base::varint;
use crate::rules::{Cost, Units};

/// The lower bits of the first byte: which algorithm's state follows.
const KIND: u8 = 0b0111;
/// The kind of a bucket that was allowed to go below empty.
const OWES: u8 = 6;
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
    /// Whether the rule judged, and whether the key had a counter of its own.
    pub(crate) part: Part,
    /// The rule's counter was written: of a crowded key the one that such keys share.
    pub(crate) written: bool,
    /// A bucket that was allowed to go below empty.
    pub(crate) owes: bool,
    /// Of a sliding window that counted in slots, as it did in format 1.
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
    pub(super) images: SmallVec<[Image; 1]>,
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
}

impl Deref for StoredCharges {
    type Target = [StoredCharge];

    fn deref(&self) -> &[StoredCharge] {
        &self.charges
    }
}

/// Appends the charges of a decision at `at`, and what new counters started from; `revision` says the
/// rule's of a place in the rule set. Allocates nothing where `out` has the room.
pub(crate) fn encode_charges(
    (charges, starts): (&[Charge], &[Start]),
    at: &At,
    revision: impl Fn(u32) -> u32,
    out: &mut Vec<u8>,
) {
    // What a rule without a say did not count is nothing to anybody.
    let said =
        |charge: &&Charge| charge.judges() || charge.is_written() || charge.part().found_no_room();
    varint::put(out, charges.iter().filter(said).count() as u64);
    for charge in charges.iter().filter(said) {
        StoredCharge::of(charge, revision(charge.rule), at).encode(at, out);
    }
    let written = |rule| charges.iter().any(|charge| charge.rule == rule && charge.is_written());
    for start in starts.iter().filter(|start| written(start.rule)) {
        varint::put(out, revision(start.rule).into());
        varint::put(out, start.images.len() as u64);
        start.images.iter().for_each(|image| encode_image(image, out));
    }
}

fn encode_image(image: &Image, out: &mut Vec<u8>) {
    varint::put(out, image.extra.into());
    out.push(u8::from(image.is_list));
    varint::put(out, image.words.len() as u64);
    image.words.iter().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
}

fn decode_image(bytes: &mut &[u8]) -> Option<Image> {
    let extra = varint::take_u32(bytes)?;
    let is_list = match take_u8(bytes)? {
        0 => false,
        1 => true,
        _ => return None,
    };
    let words = usize::try_from(varint::take(bytes)?).ok()?.checked_mul(size_of::<u64>())?;
    let words = take(bytes, words)?.as_chunks::<8>().0;
    let words: Vec<u64> = words.iter().map(|word| u64::from_le_bytes(*word)).collect();
    Some(Image { is_list, ..Image::of(extra, &words) })
}

/// Takes what [`encode_takes`] appended, to the end; `None` where it is something else.
pub(crate) fn decode_charges(
    version: Version,
    bytes: &mut &[u8],
    at: &At,
    charges: &mut StoredCharges,
) -> Option<()> {
    charges.charges.clear();
    charges.starts.clear();
    for _ in 0..varint::take(bytes)? {
        charges.charges.push(StoredCharge::decode(version, bytes, at)?);
    }
    while !bytes.is_empty() {
        let revision = varint::take_u32(bytes)?;
        let images = (0..varint::take(bytes)?).map(|_| decode_image(bytes));
        charges.starts.push(StoredStart { revision, images: images.collect::<Option<_>>()? });
    }
    Some(())
}

impl StoredCharge {
    pub(crate) fn of(charge: &Charge, revision: u32, at: &At) -> Self {
        let Charge { fits, reading, .. } = *charge;
        let (part, written) = (charge.part(), charge.is_written());
        let owes = at.recorded && part.judges() && matches!(reading, Reading::TokenBucket(_));
        let cost = charge.cost();
        Self { revision, cost, fits, part, written, owes, in_slots: false, reading }
    }

    #[inline]
    fn encode(&self, at: &At, out: &mut Vec<u8>) {
        let flag = |is: bool, bit: u8| if is { bit } else { 0 };
        let flags = flag(self.fits, FITS)
            | flag(self.part.found_no_room(), CROWDED)
            | flag(self.cost.counts, COUNTS)
            | flag(self.written, WRITTEN)
            | flag(!self.part.judges(), LOST);
        out.push(flags | self.kind());
        varint::put(out, self.revision.into());
        varint::put_wide(out, self.cost.units);
        // Distances wrap: whatever the instants are, they come back.
        let since_now = |moment: u64| moment.wrapping_sub(at.now.0).cast_signed();
        match self.reading {
            Reading::TokenBucket([high, low]) => {
                varint::put(out, high);
                out.extend_from_slice(&low.to_le_bytes());
            }
            Reading::FixedWindow(WindowUse { start, used }) => {
                varint::put_signed(out, since_now(start));
                varint::put_wide(out, used.get());
            }
            Reading::SlidingWindow(SlidingUse { used, oldest_leaves, passes_at }) => {
                varint::put_wide(out, used.get());
                varint::put_signed(out, since_now(oldest_leaves.0));
                varint::put_signed(out, since_now(passes_at.0));
            }
            Reading::CalendarPeriod { length, start, used } => {
                varint::put_signed(out, at.second.wrapping_sub(start));
                varint::put(out, length.into());
                varint::put_wide(out, used.get());
            }
            Reading::GaugePeriod { length, start, used, latest } => {
                varint::put_signed(out, at.second.wrapping_sub(start));
                varint::put(out, length.into());
                varint::put_wide(out, used.get());
                varint::put_signed(out, latest.0.wrapping_sub(at.dated().0).cast_signed());
            }
            Reading::NoRoom => {}
        }
    }

    #[inline]
    fn decode(version: Version, bytes: &mut &[u8], at: &At) -> Option<Self> {
        let flags = take_u8(bytes)?;
        let revision = varint::take_u32(bytes)?;
        let units = |bytes: &mut &[u8]| match version {
            Version::One => varint::take(bytes).map(Units::from),
            Version::Two | Version::Three => varint::take_wide(bytes),
        };
        let cost = units(bytes)?;
        let moment = |bytes: &mut &[u8]| {
            Some(at.now.0.wrapping_add(varint::take_signed(bytes)?.cast_unsigned()))
        };
        let bounds = |bytes: &mut &[u8]| {
            let start = at.second.wrapping_sub(varint::take_signed(bytes)?);
            Some(Bounds { start, length: varint::take_u32(bytes)? })
        };
        let wide = |bytes: &mut &[u8]| units(bytes).map(Wide::new);
        let reading = match flags & KIND {
            0 | OWES => {
                let high = varint::take(bytes)?;
                Reading::TokenBucket([high, take_u64(bytes)?])
            }
            1 => {
                let start = moment(bytes)?;
                Reading::FixedWindow(WindowUse { start, used: wide(bytes)? })
            }
            2 => {
                let used = wide(bytes)?;
                let oldest_leaves = Moment(moment(bytes)?);
                let passes_at = Moment(moment(bytes)?);
                Reading::SlidingWindow(SlidingUse { used, oldest_leaves, passes_at })
            }
            3 => {
                let Bounds { length, start } = bounds(bytes)?;
                Reading::CalendarPeriod { length, start, used: wide(bytes)? }
            }
            4 => {
                let Bounds { start, length } = bounds(bytes)?;
                let used = wide(bytes)?;
                let since = varint::take_signed(bytes)?.cast_unsigned();
                let latest = Moment(at.dated().0.wrapping_add(since));
                Reading::GaugePeriod { length, start, used, latest }
            }
            5 => Reading::NoRoom,
            _ => return None,
        };
        let is = |bit| flags & bit != 0;
        Some(Self {
            revision,
            cost: Cost { units: cost, counts: is(COUNTS) },
            fits: is(FITS),
            part: match (is(LOST), is(CROWDED)) {
                (false, false) => Part::Judges,
                (false, true) => Part::Crowded,
                (true, false) => Part::Loses,
                (true, true) => Part::Misses,
            },
            written: is(WRITTEN),
            owes: flags & KIND == OWES,
            in_slots: version == Version::One && flags & KIND == 2,
            reading,
        })
    }

    fn kind(&self) -> u8 {
        match self.reading {
            Reading::TokenBucket(_) if self.owes => OWES,
            Reading::TokenBucket(_) => 0,
            Reading::FixedWindow(_) => 1,
            Reading::SlidingWindow(_) => 2,
            Reading::CalendarPeriod { .. } => 3,
            Reading::GaugePeriod { .. } => 4,
            Reading::NoRoom => 5,
        }
    }

    /// The time of its decision for the rule: a sliding window says itself when it counted.
    pub(super) fn at(&self, at: &At) -> At {
        let at = At { owes: self.owes, ..*at };
        match self.reading {
            Reading::SlidingWindow(read) if self.written && read.passes_at == at.now => {
                At { event: at.now, explicit: false, ..at }
            }
            Reading::SlidingWindow(_) => At { recorded: self.written, ..at },
            _ => at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::Timestamp;
    use crate::counters::{Match, Timeline};

    fn readings() -> Vec<Reading> {
        let (start, used) = (1_700_006_400, Wide::new(77));
        let window = |start| Reading::FixedWindow(WindowUse { start, used: Wide::new(5) });
        let sliding = |used, oldest_leaves, passes_at| {
            let used = Wide::new(used);
            Reading::SlidingWindow(SlidingUse { used, oldest_leaves, passes_at })
        };
        let most = Wide::new(i128::MAX);
        vec![
            Reading::TokenBucket([3, u64::MAX]),
            Reading::TokenBucket([0, 0]),
            window(0),
            window(u64::MAX),
            sliding(9, Moment(3_155_760_060_000_000_000), Moment(3_155_760_000_000_000_000)),
            sliding(0, Moment::MAX, Moment::MAX),
            Reading::CalendarPeriod { length: 86_400, start, used },
            Reading::CalendarPeriod { length: 0, start: i64::MIN, used: most },
            Reading::CalendarPeriod { length: 0, start, used: Wide::new(i128::MIN) },
            Reading::GaugePeriod { length: 3_600, start, used: Wide::new(-1), latest: Moment(0) },
            Reading::GaugePeriod { length: u32::MAX, start: i64::MAX, used, latest: Moment::MAX },
            Reading::NoRoom,
        ]
    }

    fn charges() -> Vec<StoredCharge> {
        let charges = readings().into_iter().enumerate().flat_map(|(place, reading)| {
            (0_u32..32).map(move |bits| StoredCharge {
                revision: u32::try_from(place).expect("few") * 1_000,
                cost: Cost { units: (i128::MIN >> place) + 7, counts: bits & 1 > 0 },
                fits: bits & 2 > 0,
                part: match bits / 8 {
                    0 => Part::Judges,
                    1 => Part::Crowded,
                    2 => Part::Loses,
                    _ => Part::Misses,
                },
                written: bits & 4 > 0,
                owes: bits & 2 > 0 && matches!(reading, Reading::TokenBucket(_)),
                in_slots: false,
                reading,
            })
        });
        charges.collect()
    }

    #[test]
    fn takes_come_back_whatever_they_hold() {
        let timeline = Timeline::starting(Timestamp::new(1_700_000_000, 0));
        let ends = [Moment(0), Moment(3_155_766_500_000_000_001), Moment::MAX];
        let happened = [None, Some(Timestamp::new(-5, 3)), Some(Timestamp::MAX)];
        for (now, happened) in ends.iter().flat_map(|now| happened.map(|at| (*now, at))) {
            let at = timeline.at(now, happened);
            for charge in charges() {
                let mut bytes = Vec::new();
                charge.encode(&at, &mut bytes);
                let mut rest = &*bytes;
                assert_eq!(
                    StoredCharge::decode(Version::NEWEST, &mut rest, &at),
                    Some(charge),
                    "{at:?}"
                );
                assert!(rest.is_empty());
                for short in 0..bytes.len() {
                    assert_eq!(
                        StoredCharge::decode(
                            Version::NEWEST,
                            &mut bytes.get(..short).expect("short"),
                            &at
                        ),
                        None
                    );
                }
            }
        }
    }

    #[test]
    fn the_everyday_takes_are_small() {
        let timeline = Timeline::starting(Timestamp::new(1_700_000_000, 0));
        let at = timeline.at(Moment(3_155_766_500_000_000_001), None);
        let length = |reading| {
            let cost = Cost { units: 1, counts: true };
            let (fits, part, written, owes, in_slots) = (true, Part::Judges, true, false, false);
            let charge =
                StoredCharge { revision: 100, cost, fits, part, written, owes, in_slots, reading };
            let mut bytes = Vec::new();
            charge.encode(&at, &mut bytes);
            bytes.len()
        };
        assert_eq!(length(Reading::TokenBucket([1_000, 7])), 13);
        let (start, used) = (at.second - 1_000_000, Wide::new(100_000));
        assert_eq!(length(Reading::CalendarPeriod { length: 2_592_000, start, used }), 13);
    }

    #[test]
    fn other_bytes_are_no_takes() {
        let at = Timeline::starting(Timestamp::UNIX_EPOCH).at(Moment(0), None);
        let mut charges = StoredCharges::new();
        for bytes in [&[][..], &[1], &[1, 7, 0, 0], &[1, 6, 0, 0], &[0xff; 30]] {
            assert_eq!(
                decode_charges(Version::NEWEST, &mut &*bytes, &at, &mut charges),
                None,
                "{bytes:?}"
            );
        }
        let mut empty = &[0_u8][..];
        assert_eq!(decode_charges(Version::NEWEST, &mut empty, &at, &mut charges), Some(()));
        assert!(empty.is_empty() && charges.is_empty() && charges.starts.is_empty());
    }

    #[test]
    fn what_a_counter_started_from_comes_back() {
        let at = Timeline::starting(Timestamp::UNIX_EPOCH).at(Moment(0), None);
        let found = Match { rule: 3, row: 0, judges: true };
        let mut charge = Charge::new(found, Cost { units: 1, counts: true });
        charge.write();
        let list = Image { is_list: true, ..Image::of(0, &[5; 62]) };
        let images = [Image::narrow(7, u64::MAX, 1), list];
        let start = |rule| Start { rule, images: images.iter().cloned().collect() };
        let mut bytes = Vec::new();
        // The second is of a rule that took nothing.
        let starts = [start(3), start(4)];
        encode_charges((&[charge], &starts), &at, |rule| rule + 10, &mut bytes);
        let mut charges = StoredCharges::new();
        let decode = |bytes: &[u8], charges: &mut StoredCharges| {
            decode_charges(Version::NEWEST, &mut &*bytes, &at, charges)
        };
        decode(&bytes, &mut charges).expect("what was encoded");
        let images = images.iter().cloned().collect();
        assert_eq!(charges.starts, [StoredStart { revision: 13, images }]);
        assert_eq!(charges.len(), 1);
        let mut alone = Vec::new();
        encode_charges((&[charge], &[]), &at, |rule| rule + 10, &mut alone);
        for short in alone.len() + 1..bytes.len() {
            assert_eq!(decode(&bytes[..short], &mut charges), None, "{short}");
        }
    }
}
