//! The record of a correction.

use super::{Kind, RecordedDecision, part, put_prefix, put_uncharged};
use crate::base::codec::{Codec, Malformed, Reader, put_text, put_varint};
use crate::log::Stored;

/// That an event was voided, or amended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CorrectionRecord<'r> {
    /// The ordinal of the event, and that of the entry that has it as it was.
    pub(crate) target: u64,
    pub(crate) counted: u64,
    pub(crate) is_void: bool,
    pub(crate) reason: &'r str,
    before: &'r [u8],
    /// What it did to counters and to holds; its event is what the log has of it.
    pub(crate) decision: RecordedDecision<'r>,
}

impl<'r> CorrectionRecord<'r> {
    pub(super) fn read(from: &mut Reader<'r>, times: (u64, u64, u64)) -> Result<Self, Malformed> {
        let what = part(from, "what is corrected")?;
        let decision = RecordedDecision::read(from, times)?;
        let mut from = Reader::new(from.version(), what);
        let (target, counted) = (from.varint()?, from.varint()?);
        let (is_void, reason) = (bool::decode(&mut from)?, from.text()?);
        let before = from.take_rest();
        Ok(Self { target, counted, is_void, reason, before, decision })
    }

    /// The event as it was, and what the entry of the log has.
    pub(crate) fn events(&self) -> Result<(Stored<'r>, Stored<'r>), Malformed> {
        let read = |bytes| Stored::decode_all(Reader::new(self.decision.version, bytes));
        let before = if self.is_void { self.decision.event } else { self.before };
        Ok((read(before)?, read(self.decision.event)?))
    }

    /// The same record about events that are erased, without the reason.
    pub(in crate::journal) fn put_erased(
        &self,
        before: &Stored<'_>,
        now: &Stored<'_>,
        out: &mut Vec<u8>,
    ) {
        put_prefix(Kind::Correction, self.decision.ordinal, out);
        self.decision.now.encode(out);
        put_varint(out, self.decision.shift);
        let mut what = Vec::new();
        self.put_what("", &mut what);
        if !self.is_void {
            before.encode(&mut what);
        }
        u32::try_from(what.len()).unwrap_or(u32::MAX).encode(out);
        out.extend_from_slice(&what);
        put_uncharged(self.decision.is_explicit, now, out);
    }

    fn put_what(&self, reason: &str, out: &mut Vec<u8>) {
        put_corrected((self.target, self.counted), self.is_void, reason, out);
    }
}

/// Appends what is corrected, without the event as it was: its ordinal, and the one that has it.
pub(crate) fn put_corrected(
    (target, counted): (u64, u64),
    is_void: bool,
    reason: &str,
    out: &mut Vec<u8>,
) {
    put_varint(out, target);
    put_varint(out, counted);
    is_void.encode(out);
    put_text(out, reason);
}
