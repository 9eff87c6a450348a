//! Adjustments as the journal and checkpoints have them.
//!
//! ```text
//! an adjustment: number | age of the rule | its id | what it counts | key | amount | reset (1)
//! | note, where there is one | idempotency key, where there is one | instant
//! in a checkpoint: 0, the next number | 1, the earlier ones of a rule and a key
//! | 2, the sequence number of the record, where there is one, and the adjustment
//! ```

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Adjustment, Adjustments, Counted, CountsFor, Earlier};
use crate::base::amount::Amount;
use crate::base::clock::Timestamp;
use crate::base::codec::{Codec, Malformed, Reader, put_text, put_varint, put_wide};
use crate::rules::RuleKey;

const NEXT: u8 = 0;
const EARLIER: u8 = 1;
const LISTED: u8 = 2;

/// Appends an adjustment and where it counts.
pub(crate) fn encode(adjustment: &Adjustment, of: &CountsFor, out: &mut Vec<u8>) {
    put_varint(out, adjustment.number);
    put_text(out, &adjustment.rule_id);
    of.encode(out);
    put_wide(out, adjustment.amount.millionths());
    adjustment.is_reset.encode(out);
    adjustment.note.as_deref().encode(out);
    adjustment.idempotency_key.as_deref().encode(out);
    put_wide(out, adjustment.at.unix_nanos());
}

/// Takes what [`encode`] appended.
pub(crate) fn decode(from: &mut Reader<'_>) -> Result<(Adjustment, CountsFor), Malformed> {
    let (number, rule_id) = (from.varint()?, from.text()?.to_owned());
    let of = CountsFor::decode(from)?;
    let amount = Amount::from_millionths(from.wide()?);
    let (is_reset, note) = (bool::decode(from)?, Option::<&str>::decode(from)?);
    let (note, idempotency_key) =
        (note.map(str::to_owned), Option::<&str>::decode(from)?.map(str::to_owned));
    let (key, at) = (of.key.clone(), Timestamp::from_unix_nanos(from.wide()?));
    let adjustment =
        Adjustment { number, rule_id, key, amount, is_reset, note, idempotency_key, at };
    Ok((adjustment, of))
}

impl Codec<'_> for CountsFor {
    fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.age);
        put_text(out, &self.metric);
        put_varint(out, self.key.iter().count() as u64);
        for (dimension, value) in self.key.iter() {
            put_text(out, dimension);
            put_text(out, value);
        }
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (age, metric) = (from.varint()?, from.text()?.into());
        let mut key = RuleKey::new();
        for _ in 0..from.length("the dimensions of a key")? {
            key = key.and(from.text()?, from.text()?);
        }
        Ok(Self { age, metric, key })
    }
}

/// What a checkpoint copies.
#[derive(Debug)]
pub(crate) struct Copied {
    next: u64,
    earlier: Vec<(CountsFor, Earlier)>,
    listed: Vec<Arc<Counted>>,
}

impl Copied {
    /// Whether there was never one.
    pub(crate) fn is_empty(&self) -> bool {
        self.next == 0
    }

    /// Appends some of what is left of it, and returns whether there is more.
    pub(crate) fn put(&mut self, most: usize, out: &mut Vec<u8>) -> bool {
        out.push(NEXT);
        put_varint(out, self.next);
        let some = self.earlier.len().saturating_sub(most);
        for (of, Earlier { first, last, amount }) in self.earlier.drain(some..) {
            out.push(EARLIER);
            of.encode(out);
            put_wide(out, first.unix_nanos());
            put_wide(out, last.unix_nanos());
            put_wide(out, amount.millionths());
        }
        let some = most.min(self.listed.len());
        for one in self.listed.drain(..some) {
            out.push(LISTED);
            one.seq.encode(out);
            encode(&one.adjustment, &one.of, out);
        }
        !self.earlier.is_empty() || !self.listed.is_empty()
    }
}

impl Adjustments {
    /// Copies what is known, and says where the journal ended then: `end` is asked under the lock.
    pub(crate) fn copy(&self, end: impl FnOnce() -> u64) -> (u64, Copied) {
        let known = self.known.read();
        let earlier = known.sums.iter();
        let earlier = earlier.filter_map(|(of, sums)| Some((of.clone(), sums.earlier?))).collect();
        let listed = known.listed.iter().cloned().collect();
        (end(), Copied { next: known.next, earlier, listed })
    }

    /// Takes what a checkpoint has.
    pub(crate) fn load(&self, mut from: Reader<'_>) -> Result<(), Malformed> {
        let mut known = self.known.write();
        while !from.is_at_end() {
            match u8::decode(&mut from)? {
                NEXT => known.next = from.varint()?,
                EARLIER => {
                    let of = CountsFor::decode(&mut from)?;
                    let [first, last] =
                        [from.wide()?, from.wide()?].map(Timestamp::from_unix_nanos);
                    let amount = Amount::from_millionths(from.wide()?);
                    known.sums.entry(of).or_default().earlier =
                        Some(Earlier { first, last, amount });
                }
                LISTED => {
                    let seq = Option::<u64>::decode(&mut from)?;
                    let (adjustment, of) = decode(&mut from)?;
                    let next = known.next;
                    known.add(Arc::new(Counted { adjustment, of, seq }));
                    known.next = known.next.max(next);
                }
                _ => return Err(from.malformed("a part of the adjustments")),
            }
        }
        self.any.store(known.next > 0, Ordering::Relaxed);
        Ok(())
    }

    /// Adds the adjustment of a record, where it is not known yet.
    pub(crate) fn redo(&self, seq: u64, adjustment: Adjustment, of: CountsFor) {
        let mut known = self.known.write();
        if adjustment.number >= known.next {
            known.add(Arc::new(Counted { adjustment, of, seq: Some(seq) }));
            self.any.store(true, Ordering::Relaxed);
        }
    }
}
