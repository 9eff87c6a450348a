//! A record of the journal: what is common to all kinds, and what an event has.
//!
//! ```text
//! format (1) | kind (1) | ordinal | engine's time (8) | shift | body
//! an event's body: flags (1) | key, where there is one | length (4) and holds, where there are
//! some | length (4) and alerts, where some fired | length (4) and charges | packed event
//! holds: flags (1) | the reservation that ends, if one does | how much of rules was held | a patch
//! ```
//!
//! A record of a reservation says what happened to it, and what that did to holds and counters. One
//! that is committed has no record of its own: that of the event ends the hold.
//!
//! ```text
//! a reservation's body: what (1) | its number | what follows
//! reserved: its engine (8) | expiry (8) | what was granted, where less was than was asked for
//! | a body as an event's, with what was asked for
//! grown: a body as an event's, with all that is reserved now
//! extended: expiry (8) | a patch
//! released: a patch
//! given back, of holds that had expired, of no one reservation: a patch
//! ```
//!
//! What a call did to a balance is a patch of its account. What a decision did to accounts is in
//! the patch of its holds.
//!
//! ```text
//! an adjustment's body: length (4) and what was adjusted | a body as an event's, without an event
//! ```
//!
//! A correction has an ordinal of its own, as an event has, and for an event that one again, where
//! it is void, or as it is amended.
//!
//! ```text
//! a correction's body: length (4) and what is corrected | a body as an event's
//! what is corrected: the event | the ordinal that has it as it was | is it void (1) | the reason
//! | the packed event as it was, where it is amended
//! ```
//!
//! Numbers without a size are in as many bytes as they need. Formats 1 and 2 have events alone,
//! each with its sequence number for an ordinal:
//!
//! ```text
//! flags (1) | engine's time (8) | shift (8), where it is flagged | length (2) and key, where there
//! is one | length (4) and charges | packed event
//! ```

use super::store::{Contents, StoreError};
use crate::adjustments::{self, Adjustment, CountsFor};
use crate::alerts::NotedAlert;
use crate::base::amount::Amount;
use crate::base::clock::Timestamp;
use crate::base::codec::{Codec, Malformed, Reader, put_text, put_varint, put_wide};
use crate::base::format::Version;
use crate::counters::{At, Moment, StoredCharges, Timeline};
use crate::decision::ReservationId;
use crate::log::{Stored, timestamp_of};
use crate::reservations::Grant;
use crate::rules::Units;

mod correction;
mod head;

pub(crate) use self::correction::{CorrectionRecord, put_corrected};
#[cfg(test)]
pub(super) use self::head::put_times;
pub(crate) use self::head::{Head, HoldsOut, ReservationOut};

/// The first byte of a record of format 3. Those of older formats begin with their flags, which
/// are below 16.
const FORMAT_3: u8 = 3 << 4;

/// The event brought its own timestamp.
const EXPLICIT: u8 = 1;
/// It has an idempotency key.
const KEYED: u8 = 1 << 1;
/// From format 3 on: it has a part about holds.
const HELD: u8 = 1 << 2;
/// The same: it has a part about alerts.
const ALERTS: u8 = 1 << 3;
/// In the older formats: it is of format 2.
const TWO: u8 = 1 << 2;
/// In format 2: the engine's time line was shifted against the calendar.
const SHIFTED: u8 = 1 << 3;

/// In a part about holds: the hold of a reservation ends.
const SETTLES: u8 = 1;
/// More was charged than was held.
const OVERRUN: u8 = 1 << 1;

/// What happened to reservations.
const RESERVED: u8 = 0;
const GROWN: u8 = 1;
const EXTENDED: u8 = 2;
const RELEASED: u8 = 3;
const GIVEN_BACK: u8 = 4;

/// What a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nothing: it takes a sequence number and has no effect.
    NoOp,
    /// An event that was let in.
    Event,
    /// A reservation, and what happened to it but for its commit.
    Reservation,
    /// What a call did to a balance.
    Balance,
    /// What an operator gave back or took.
    Adjustment,
    /// That an event was voided, or amended.
    Correction,
}

/// The numbers of kinds. Those that have a name here and are no [`Kind`] are set aside for what is
/// to come: whoever meets one does not read on, because what follows may depend on it.
const NO_OP: u8 = 0;
const EVENT: u8 = 1;
const RESERVATION: u8 = 2;
const BALANCE: u8 = 3;
const ADJUSTMENT: u8 = 7;
const CORRECTION: u8 = 8;
const NAMES: [&str; 11] = [
    "no-op",
    "event",
    "reservation",
    "balance entry",
    "customer",
    "alert",
    "refused attempt",
    "adjustment",
    "correction",
    "archived rule",
    "row of a space",
];

impl Kind {
    fn number(self) -> u8 {
        match self {
            Self::NoOp => NO_OP,
            Self::Event => EVENT,
            Self::Reservation => RESERVATION,
            Self::Balance => BALANCE,
            Self::Adjustment => ADJUSTMENT,
            Self::Correction => CORRECTION,
        }
    }

    /// Whether records of it are entries of the log, and have ordinals of their own.
    pub(super) fn is_in_log(self) -> bool {
        matches!(self, Self::Event | Self::Correction)
    }
}

/// Appends what stands before the head of a record; `ordinal` is the number of the event, or of the
/// next one where the record is none.
pub(super) fn put_prefix(kind: Kind, ordinal: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(&[FORMAT_3, kind.number()]);
    put_varint(out, ordinal);
}

/// Appends the record of an event that is erased: without its key, and without what its decision
/// did, which nobody redoes any more.
pub(super) fn put_erased_event(
    event: &RecordedDecision<'_>,
    erased: &Stored<'_>,
    out: &mut Vec<u8>,
) {
    put_prefix(Kind::Event, event.ordinal, out);
    event.now.encode(out);
    put_varint(out, event.shift);
    put_uncharged(event.is_explicit, erased, out);
}

/// Appends the body of an event that charges nothing.
fn put_uncharged(is_explicit: bool, event: &Stored<'_>, out: &mut Vec<u8>) {
    out.push(if is_explicit { EXPLICIT } else { 0 });
    // No charges.
    let mut charges = Vec::new();
    put_varint(&mut charges, 0);
    u32::try_from(charges.len()).unwrap_or(u32::MAX).encode(out);
    out.extend_from_slice(&charges);
    event.encode(out);
}

/// A record as it was read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record<'r> {
    /// How many events are before it: an event's own number.
    pub(crate) ordinal: u64,
    /// The engine's time, in nanoseconds on its time line, and how far that was ahead of the
    /// calendar.
    pub(crate) now: u64,
    pub(crate) shift: u64,
    pub(crate) entry: Entry<'r>,
}

/// What a record says, by its kind.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Entry<'r> {
    NoOp,
    Event(RecordedDecision<'r>),
    Reservation(ReservationRecord<'r>),
    /// Of a balance: a patch of its account.
    Balance(Reader<'r>),
    Adjustment(AdjustmentRecord<'r>),
    Correction(CorrectionRecord<'r>),
}

/// What an operator gave back or took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AdjustmentRecord<'r> {
    adjusted: &'r [u8],
    /// What it did to the counter and to holds; it has no event.
    pub(crate) decision: RecordedDecision<'r>,
}

/// What happened to a reservation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReservationRecord<'r> {
    pub(crate) version: Version,
    /// Its number; of what was given back none.
    pub(crate) number: u64,
    pub(crate) what: ReservationChange<'r>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum ReservationChange<'r> {
    /// It was made; the decision has what was asked for as its event.
    Reserved {
        engine: u64,
        until: Moment,
        grant: Option<Grant<'r>>,
        decision: RecordedDecision<'r>,
    },
    /// It has grown; the decision has all that is reserved as its event.
    Grown(RecordedDecision<'r>),
    Extended {
        until: Moment,
        rows: &'r [u8],
    },
    Released {
        rows: &'r [u8],
    },
    /// Holds of any that had expired were given back.
    GivenBack {
        rows: &'r [u8],
    },
}

/// What a decision did to holds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RecordedHolds<'r> {
    /// The reservation whose hold ends.
    pub(crate) settles: Option<u64>,
    pub(crate) is_overrun: bool,
    figures: &'r [u8],
    /// A patch of rows.
    pub(crate) rows: &'r [u8],
}

/// An event that was let in, with the decision that let it in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RecordedDecision<'r> {
    /// The format of its charges and its event.
    pub(crate) version: Version,
    /// The number of the event.
    pub(crate) ordinal: u64,
    /// The engine's time, in nanoseconds on its time line.
    pub(crate) now: u64,
    /// How far the line was ahead of the calendar.
    pub(crate) shift: u64,
    /// The event brought its own timestamp.
    pub(crate) is_explicit: bool,
    pub(crate) key: Option<&'r str>,
    pub(crate) holds: RecordedHolds<'r>,
    /// The alerts that it fired: see [`RecordedDecision::read_alerts`].
    alerts: &'r [u8],
    pub(crate) charges: &'r [u8],
    pub(crate) event: &'r [u8],
}

/// Why a record cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    Malformed(Malformed),
    /// It is of a kind that this version does not know.
    Kind(u8),
    /// A revision of a rule counted it that is not there.
    Revision(u32),
}

impl From<Malformed> for Unreadable {
    fn from(why: Malformed) -> Self {
        Self::Malformed(why)
    }
}

impl Unreadable {
    /// The error for the record of a sequence number.
    pub(crate) fn of(self, store: &(impl Contents + ?Sized), seq: u64) -> StoreError {
        match self {
            Self::Malformed(why) => store.damaged(&format!("record {seq}"), &why.to_string()),
            Self::Revision(revision) => {
                let detail =
                    format!("it was counted by revision {revision} of a rule, which is not there");
                store.damaged(&format!("record {seq}"), &detail)
            }
            Self::Kind(kind) => {
                let name = NAMES.get(usize::from(kind)).copied().unwrap_or("unknown");
                let kind = format!("{kind} ({name})").into();
                StoreError::UnknownKind { file: store.file().into(), record: seq, kind }
            }
        }
    }
}

impl<'r> Record<'r> {
    /// Reads the record of a sequence number.
    pub(crate) fn read(seq: u64, bytes: &'r [u8]) -> Result<Self, Unreadable> {
        if bytes.first().is_some_and(|first| *first < FORMAT_3) {
            let event = RecordedDecision::read_old(seq, bytes)?;
            let (now, shift) = (event.now, event.shift);
            return Ok(Self { ordinal: seq, now, shift, entry: Entry::Event(event) });
        }
        let mut from = Reader::new(Version::Three, bytes);
        if u8::decode(&mut from)? != FORMAT_3 {
            return Err(from.malformed("the format of a record").into());
        }
        let kind = u8::decode(&mut from)?;
        if !matches!(kind, NO_OP | EVENT | RESERVATION | BALANCE | ADJUSTMENT | CORRECTION) {
            return Err(Unreadable::Kind(kind));
        }
        let ordinal = from.varint()?;
        let (now, shift) = (u64::decode(&mut from)?, from.varint()?);
        let times = (ordinal, now, shift);
        let entry = match kind {
            EVENT => Entry::Event(RecordedDecision::read(&mut from, times)?),
            RESERVATION => Entry::Reservation(ReservationRecord::read(&mut from, times)?),
            BALANCE => Entry::Balance(Reader::new(from.version(), from.take_rest())),
            ADJUSTMENT => {
                let adjusted = part(&mut from, "what was adjusted")?;
                let decision = RecordedDecision::read(&mut from, times)?;
                Entry::Adjustment(AdjustmentRecord { adjusted, decision })
            }
            CORRECTION => Entry::Correction(CorrectionRecord::read(&mut from, times)?),
            _ => {
                from.end()?;
                Entry::NoOp
            }
        };
        Ok(Self { ordinal, now, shift, entry })
    }

    /// Whether the bytes are of a correction, as far as their first ones say.
    pub(crate) fn is_correction(bytes: &[u8]) -> bool {
        matches!(bytes, [FORMAT_3, CORRECTION, ..])
    }

    /// The event, where it is one.
    pub(crate) fn event(self) -> Option<RecordedDecision<'r>> {
        match self.entry {
            Entry::Event(event) => Some(event),
            Entry::NoOp
            | Entry::Reservation(_)
            | Entry::Balance(_)
            | Entry::Adjustment(_)
            | Entry::Correction(_) => None,
        }
    }

    /// The decision that used an idempotency key, where one may have: about an event, or about a
    /// reservation that it made, with the reservation.
    pub(crate) fn keyed(self) -> Option<(RecordedDecision<'r>, Option<ReservationId>)> {
        match self.entry {
            Entry::Event(event) => Some((event, None)),
            Entry::Reservation(ReservationRecord {
                number,
                what: ReservationChange::Reserved { engine, decision, .. },
                ..
            }) => Some((decision, Some(ReservationId::new(engine, number)))),
            Entry::NoOp
            | Entry::Reservation(_)
            | Entry::Balance(_)
            | Entry::Adjustment(_)
            | Entry::Correction(_) => None,
        }
    }
}

impl AdjustmentRecord<'_> {
    /// What was adjusted, and where it counts.
    pub(crate) fn adjustment(&self) -> Result<(Adjustment, CountsFor), Malformed> {
        adjustments::decode(&mut Reader::new(self.decision.version, self.adjusted))
    }

    /// The time of its decision.
    pub(crate) fn at(&self, timeline: Timeline) -> At {
        self.decision.timeline(timeline).at(Moment(self.decision.now), None)
    }
}

impl<'r> ReservationRecord<'r> {
    fn read(from: &mut Reader<'r>, times: (u64, u64, u64)) -> Result<Self, Malformed> {
        let (version, what, number) = (from.version(), u8::decode(from)?, from.varint()?);
        let until = |from: &mut Reader<'r>| u64::decode(from).map(Moment);
        let what = match what {
            RESERVED => ReservationChange::Reserved {
                engine: u64::decode(from)?,
                until: until(from)?,
                grant: Option::decode(from)?,
                decision: RecordedDecision::read(from, times)?,
            },
            GROWN => ReservationChange::Grown(RecordedDecision::read(from, times)?),
            EXTENDED => ReservationChange::Extended { until: until(from)?, rows: from.take_rest() },
            RELEASED => ReservationChange::Released { rows: from.take_rest() },
            GIVEN_BACK => ReservationChange::GivenBack { rows: from.take_rest() },
            _ => return Err(from.malformed("what happened to a reservation")),
        };
        Ok(Self { version, number, what })
    }

    /// The decision that it was made or has grown by.
    pub(crate) fn decision(&self) -> Option<&RecordedDecision<'r>> {
        match &self.what {
            ReservationChange::Reserved { decision, .. } | ReservationChange::Grown(decision) => {
                Some(decision)
            }
            ReservationChange::Extended { .. }
            | ReservationChange::Released { .. }
            | ReservationChange::GivenBack { .. } => None,
        }
    }

    /// What it did to holds: a patch of rows.
    pub(crate) fn rows(&self) -> Reader<'r> {
        let rows = match &self.what {
            ReservationChange::Reserved { decision, .. } | ReservationChange::Grown(decision) => {
                decision.holds.rows
            }
            ReservationChange::Extended { rows, .. }
            | ReservationChange::Released { rows }
            | ReservationChange::GivenBack { rows } => rows,
        };
        Reader::new(self.version, rows)
    }
}

impl<'r> Codec<'r> for Grant<'r> {
    fn encode(&self, out: &mut Vec<u8>) {
        put_text(out, self.name);
        put_wide(out, self.amount.millionths());
    }

    fn decode(from: &mut Reader<'r>) -> Result<Self, Malformed> {
        Ok(Self { name: from.text()?, amount: Amount::from_millionths(from.wide()?) })
    }
}

impl<'r> RecordedHolds<'r> {
    fn read(from: &mut Reader<'r>) -> Result<Self, Malformed> {
        let flags = u8::decode(from)?;
        from.require(flags & !(SETTLES | OVERRUN) == 0, "the flags of holds")?;
        let settles = (flags & SETTLES != 0).then(|| from.varint()).transpose()?;
        let all = from.rest();
        let _: Vec<(u32, Units)> = from.list("what rules hold", figure)?;
        let rows = from.take_rest();
        let figures = all.get(..all.len().saturating_sub(rows.len())).unwrap_or(&[]);
        Ok(Self { settles, is_overrun: flags & OVERRUN != 0, figures, rows })
    }

    /// How much was held of rules, by their revisions.
    pub(crate) fn figures(&self) -> Vec<(u32, Units)> {
        let mut from = Reader::new(Version::NEWEST, self.figures);
        if self.figures.is_empty() {
            Vec::new()
        } else {
            from.list("what rules hold", figure).unwrap_or_default()
        }
    }
}

fn figure(from: &mut Reader<'_>) -> Result<(u32, Units), Malformed> {
    Ok((from.varint_u32()?, from.wide()?))
}

impl<'r> RecordedDecision<'r> {
    fn read(
        from: &mut Reader<'r>,
        (ordinal, now, shift): (u64, u64, u64),
    ) -> Result<Self, Malformed> {
        let flags = u8::decode(from)?;
        if flags & !(EXPLICIT | KEYED | HELD | ALERTS) != 0 {
            return Err(from.malformed("the flags of an event"));
        }
        let key = if flags & KEYED != 0 { Some(from.text()?) } else { None };
        let (version, is_explicit) = (from.version(), flags & EXPLICIT != 0);
        let mut holds = RecordedHolds::default();
        if flags & HELD != 0 {
            let bytes = part(from, "what an event did to holds")?;
            holds = RecordedHolds::read(&mut Reader::new(version, bytes))?;
        }
        let alerts = if flags & ALERTS != 0 { part(from, "the alerts of an event")? } else { &[] };
        let (charges, event) = Self::parts(from)?;
        Ok(Self { version, ordinal, now, shift, is_explicit, key, holds, alerts, charges, event })
    }

    fn read_old(ordinal: u64, bytes: &'r [u8]) -> Result<Self, Malformed> {
        let mut from = Reader::new(Version::Two, bytes);
        let flags = u8::decode(&mut from)?;
        let version = if flags & TWO != 0 { Version::Two } else { Version::One };
        let now = u64::decode(&mut from)?;
        let shift = if flags & SHIFTED != 0 { u64::decode(&mut from)? } else { 0 };
        let mut key = None;
        if flags & KEYED != 0 {
            let length = u16::decode(&mut from)?;
            key = Some(from.text_of(length.into())?);
        }
        let is_explicit = flags & EXPLICIT != 0;
        let holds = RecordedHolds::default();
        let (alerts, (charges, event)) = (&[][..], Self::parts(&mut from)?);
        Ok(Self { version, ordinal, now, shift, is_explicit, key, holds, alerts, charges, event })
    }

    /// The charges and the event, which is what is left.
    fn parts(from: &mut Reader<'r>) -> Result<(&'r [u8], &'r [u8]), Malformed> {
        Ok((part(from, "the charges of an event")?, from.take_rest()))
    }

    /// The time of the decision about its event, which happened at `timestamp`.
    pub(crate) fn at(&self, timeline: Timeline, timestamp: Timestamp) -> At {
        self.timeline(timeline).at(Moment(self.now), self.is_explicit.then_some(timestamp))
    }

    /// The engine's time line as it was when the record was made.
    pub(crate) fn timeline(&self, timeline: Timeline) -> Timeline {
        timeline.shifted(self.shift)
    }

    /// Its event, with the instant of the decision; `timeline` is the engine's.
    pub(crate) fn stored(&self, timeline: Timeline) -> Result<Stored<'r>, Malformed> {
        let stored = Stored::decode_all(Reader::new(self.version, self.event))?;
        Ok(stored.decided(self.timeline(timeline).timestamp(Moment(self.now))))
    }

    /// When its event happened.
    pub(crate) fn timestamp(&self) -> Result<Timestamp, Malformed> {
        timestamp_of(Reader::new(self.version, self.event))
    }

    /// The alerts that it fired.
    pub(crate) fn read_alerts(&self) -> Result<Vec<NotedAlert>, Malformed> {
        if self.alerts.is_empty() {
            return Ok(Vec::new());
        }
        let mut from = Reader::new(self.version, self.alerts);
        let alerts = from.list("alerts", NotedAlert::decode)?;
        from.end()?;
        Ok(alerts)
    }

    /// How each rule counted it, in the decision at `at`.
    pub(crate) fn read_charges(
        &self,
        at: &At,
        charges: &mut StoredCharges,
    ) -> Result<(), Malformed> {
        charges.decode(Reader::new(self.version, self.charges), at)
    }
}

/// A part behind its length.
fn part<'r>(from: &mut Reader<'r>, what: &'static str) -> Result<&'r [u8], Malformed> {
    let length = usize::try_from(u32::decode(from)?).unwrap_or(usize::MAX);
    from.bytes(length, what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::HeldChange;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_record_reads_as_what_was_written(
            now: u64,
            shift in proptest::option::of(1..u64::MAX),
            ordinal: u64,
            explicit: bool,
            key in proptest::option::of(".{0,80}"),
            charges: Vec<u8>,
            event: Vec<u8>,
        ) {
            let charges_out = |out: &mut Vec<u8>| out.extend_from_slice(&charges);
            let shift = shift.unwrap_or(0);
            let timeline = Timeline::starting(Timestamp::UNIX_EPOCH).shifted(shift);
            let happened = explicit.then_some(Timestamp::UNIX_EPOCH);
            let at = timeline.at(Moment(now), happened);
            let head = Head::new(&at, key.as_deref(), (None, &[]), charges_out);
            let mut bytes = Vec::new();
            put_prefix(Kind::Event, ordinal, &mut bytes);
            bytes.extend_from_slice(head.bytes());
            bytes.extend_from_slice(&event);
            let record = Record::read(7, &bytes).expect("a record");
            prop_assert_eq!(record.ordinal, ordinal);
            let found = record.event().expect("an event");
            prop_assert_eq!(
                (found.version, found.now, found.shift, found.is_explicit, found.key),
                (Version::NEWEST, now, shift, explicit, key.as_deref())
            );
            prop_assert_eq!((found.charges, found.event), (&charges[..], &event[..]));
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, kind in NO_OP..=RESERVATION, what: u8) {
            let _ = Record::read(0, &bytes);
            let mut framed = vec![FORMAT_3, kind, 9];
            framed.extend_from_slice(&[0; 9]);
            framed.push(what % 8);
            framed.extend_from_slice(&bytes);
            if let Ok(record) = Record::read(0, &framed) {
                let decision = record.keyed().map(|(decision, _)| decision);
                let _ = decision.map(|decision| decision.holds.figures());
            }
        }
    }

    fn change() -> HeldChange {
        HeldChange {
            rows: vec![1, 2, 3],
            figures: [(0, 7), (3, -1)].into_iter().collect(),
            until: Moment(99),
            is_overrun: true,
            has_expired: false,
        }
    }

    fn whole(kind: Kind, head: &Head, event: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        put_prefix(kind, 12, &mut bytes);
        bytes.extend_from_slice(head.bytes());
        bytes.extend_from_slice(event);
        bytes
    }

    #[test]
    fn an_event_says_which_hold_it_ends() {
        let at = Timeline::starting(Timestamp::UNIX_EPOCH).at(Moment(5), None);
        let (change, revision) = (change(), |rule| rule + 40);
        for settles in [None, Some(0), Some(u64::MAX)] {
            let holds = HoldsOut { settles, change: &change, revision: &revision };
            let head = Head::new(&at, Some("key"), (Some(holds), &[]), |out| out.push(8));
            let bytes = whole(Kind::Event, &head, b"event");
            assert_eq!(*head.record_of(12, b"event"), bytes);
            let event = Record::read(1, &bytes).expect("a record").event().expect("an event");
            assert_eq!(
                (event.key, event.charges, event.event),
                (Some("key"), &[8][..], &b"event"[..])
            );
            let holds = event.holds;
            assert_eq!(
                (holds.settles, holds.is_overrun, holds.rows),
                (settles, true, &[1, 2, 3][..])
            );
            assert_eq!(holds.figures(), [(40, 7), (43, -1)]);
            for short in 0..bytes.len() - b"event".len() {
                assert!(Record::read(1, &bytes[..short]).is_err(), "{short}");
            }
        }
    }

    #[test]
    fn what_happened_to_a_reservation_reads_as_it_was_written() {
        let at = Timeline::starting(Timestamp::UNIX_EPOCH).at(Moment(5), None);
        let (change, revision) = (change(), |rule| rule);
        let holds = || HoldsOut { settles: None, change: &change, revision: &revision };
        let read = |what, event: &[u8]| {
            let head = Head::of_reservation(&at, what, Some("key"), holds(), |out| out.push(8));
            whole(Kind::Reservation, &head, event)
        };
        let of = |bytes: &[u8]| match Record::read(1, bytes).expect("a record").entry {
            Entry::Reservation(record) => format!("{record:?}"),
            other => panic!("{other:?}"),
        };
        let id = ReservationId::new(77, 5);
        for grant in [None, Some(Grant { name: "total_tokens", amount: 9.into() })] {
            let bytes = read(ReservationOut::Reserved { id, grant }, b"event");
            let record = Record::read(1, &bytes).expect("a record");
            let (decision, made) = record.keyed().expect("it used a key");
            assert_eq!(
                (decision.key, decision.event, made),
                (Some("key"), &b"event"[..], Some(id))
            );
            assert!(record.event().is_none() && of(&bytes).contains(&format!("grant: {grant:?}")));
            for short in 0..bytes.len() - b"event".len() {
                assert!(Record::read(1, &bytes[..short]).is_err(), "{short}");
            }
        }
        let number = 5;
        assert!(of(&read(ReservationOut::Grown { number }, b"event")).contains("Grown"));
        let extended = of(&read(ReservationOut::Extended { number }, &[]));
        assert!(extended.contains("until: Moment(99)") && extended.contains("[1, 2, 3]"));
        assert!(of(&read(ReservationOut::Released { number }, &[])).contains("Released"));
        let given_back = whole(Kind::Reservation, &Head::of_given_back(&at, &[4]), &[]);
        assert!(of(&given_back).contains("GivenBack { rows: [4] }"));
    }

    /// A kind that a later version writes is an error that names it.
    #[test]
    fn no_kind_is_skipped_that_is_not_known() {
        let at = Timeline::starting(Timestamp::UNIX_EPOCH).at(Moment(5), None);
        let of_kind = |kind| {
            let mut bytes = vec![FORMAT_3, kind, 9];
            put_times(&at, &mut bytes);
            bytes
        };
        let no_op = of_kind(NO_OP);
        let no_op = Record::read(0, &no_op).expect("it is known");
        assert!(matches!(no_op, Record { ordinal: 9, entry: Entry::NoOp, .. }));
        for kind in (4..=u8::MAX).filter(|kind| !matches!(*kind, ADJUSTMENT | CORRECTION)) {
            let why = Record::read(0, &of_kind(kind)).expect_err("it is not known");
            assert_eq!(why, Unreadable::Kind(kind));
        }
    }

    #[test]
    fn records_of_formats_1_and_2_have_their_sequence_number() {
        for (flags, version, shift) in [(0, Version::One, 0), (TWO | SHIFTED, Version::Two, 8)] {
            let mut bytes = vec![flags | EXPLICIT | KEYED];
            bytes.extend_from_slice(&77_u64.to_le_bytes());
            if shift > 0 {
                bytes.extend_from_slice(&8_u64.to_le_bytes());
            }
            bytes.extend_from_slice(&[2, 0]);
            bytes.extend_from_slice(b"k1");
            bytes.extend_from_slice(&[3, 0, 0, 0]);
            bytes.extend_from_slice(b"abcevent");
            let record = Record::read(41, &bytes).expect("a record");
            let found = record.event().expect("an event");
            assert_eq!((record.ordinal, found.ordinal, found.version), (41, 41, version));
            assert_eq!((found.now, found.shift, found.is_explicit), (77, shift, true));
            assert_eq!(
                (found.key, found.charges, found.event),
                (Some("k1"), &b"abc"[..], &b"event"[..])
            );
        }
    }
}
