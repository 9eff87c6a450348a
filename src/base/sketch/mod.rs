//! How amounts are spread: a quantile sketch of bounded size, in integers.
//!
//! A bucket is what amounts have in common that begin with the same seven binary digits, of either
//! sign ([`key`]), so that a bucket is at most 1/64 wider than its lower bound, and amounts are in
//! the order of their buckets. What is kept is how many are in each bucket. So the amount of a rank
//! lies in a bucket that is known, and any figure that is within 1 % of both ends of the bucket is
//! within 1 % of the amount.
//!
//! Beyond [`MOST_BUCKETS`] buckets the sketch becomes coarser: buckets are joined in pairs, all
//! over, and the error doubles. How coarse a sketch is follows from the amounts that it has and
//! not from their order: the buckets of a part are never more than those of the whole. So merges
//! commute.
//!
//! Crates were looked at, and none goes by integers of 128 bits. `hdrhistogram` keeps whole numbers
//! of 64 bits below a highest one, in an array with a place for each bucket that there could be;
//! `sketches-ddsketch` takes floats and their logarithms, whose last digit is the machine's, gives
//! up the lowest amounts at its bound whatever is asked for, and takes nothing out.

mod key;
mod percentile;
#[cfg(test)]
mod tests;

pub(crate) use self::key::Key;
pub use self::percentile::{Percentile, PercentileError};

use std::cell::Cell;

use super::amount::Amount;
use super::codec::{Codec, Malformed, Reader, put_varint};

/// So many that amounts from 1 to 65 536 times as much have a bucket each at the finest.
const MOST_BUCKETS: usize = 1_200;
/// How often buckets are joined at the most: then fewer than [`MOST_BUCKETS`] hold all amounts.
const COARSEST: u8 = 4;
const _: () = assert!(2 * (Key::HIGHEST as usize >> COARSEST) < MOST_BUCKETS);

/// A bucket: its key above, and below how many amounts it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Bucket(u64);

impl Bucket {
    const COUNT_BITS: u32 = 48;
    const MOST: u64 = (1 << Self::COUNT_BITS) - 1;

    /// At most [`MOST`](Self::MOST) are counted: a thousand a second for 8 900 years.
    fn new(key: Key, count: u64) -> Self {
        Self((u64::from(key.ordered()) << Self::COUNT_BITS) | count.min(Self::MOST))
    }

    #[inline]
    fn key(self) -> Key {
        Key::of_ordered(self.ordered())
    }

    /// Its key as a number in the same order.
    #[inline]
    fn ordered(self) -> u16 {
        let [.., first, second] = (self.0 >> Self::COUNT_BITS).to_be_bytes();
        u16::from_be_bytes([first, second])
    }

    #[inline]
    fn count(self) -> u64 {
        self.0 & Self::MOST
    }

    #[inline]
    fn add_one(&mut self) {
        let is_full = self.count() == Self::MOST;
        // Of one that is not full the count takes no digit of the key.
        self.0 = self.0.wrapping_add(u64::from(!is_full));
    }

    fn add(&mut self, count: u64) {
        *self = Self::new(self.key(), self.count().saturating_add(count));
    }
}

/// How many amounts there are of each size, for percentiles: of bounded size, and exact to 1 %.
///
/// What [meters](crate::Meter::percentile) keep of a value, for applications that look at amounts
/// of their own. Adding, merging and taking out commute; there are no floats.
///
/// A sketch takes 8 bytes for each bucket that has an amount, and at most 1 200 of them, which is
/// enough for amounts from 1 to 65 536 times as much. Where there would be more, all buckets are
/// joined in pairs and the error doubles: to 8 % at the most for what events can have.
///
/// ```
/// use limitry::rules::Percentile;
/// use limitry::usage::Sketch;
///
/// let mut sketch = Sketch::new();
/// for millis in 1..=1_000 {
///     sketch.add(millis);
/// }
/// assert_eq!(sketch.count(), 1_000);
/// let p95 = sketch.percentile(Percentile::P95).expect("there are amounts");
/// assert!(p95 >= 941 && p95 <= 959); // 950, give or take 1 %
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sketch {
    /// In the order of their keys, each of which is there once.
    buckets: Vec<Bucket>,
    /// How often buckets were joined in pairs.
    level: u8,
}

impl Sketch {
    /// Makes a sketch of nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an amount. O(log of the buckets), and O(buckets) for one with a bucket of its own.
    pub fn add(&mut self, amount: impl Into<Amount>) {
        self.add_key(Key::of(amount.into().millionths()));
    }

    /// Takes out an amount that was added, and returns whether there was one of its bucket.
    pub fn remove(&mut self, amount: impl Into<Amount>) -> bool {
        self.remove_key(Key::of(amount.into().millionths()))
    }

    /// Adds what another one has. O(buckets of both).
    pub fn merge(&mut self, other: &Self) {
        while self.level < other.level {
            self.coarsen();
        }
        let (before, mut from) = (self.buckets.len(), 0_usize);
        for bucket in &other.buckets {
            let key = bucket.key().coarser(self.level.saturating_sub(other.level));
            let rest = self.buckets.get(from..before).unwrap_or_default();
            from = from.saturating_add(rest.partition_point(|known| known.key() < key));
            match self.buckets.get_mut(from).filter(|known| known.key() == key) {
                Some(known) if from < before => known.add(bucket.count()),
                _ => self.buckets.push(Bucket::new(key, bucket.count())),
            }
        }
        if self.buckets.len() > before {
            // Two runs that are in order, the second with keys that may come more than once.
            self.buckets.sort();
            self.join_equals();
            self.bound();
        }
    }

    /// Returns how many amounts there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.count()).fold(0, u64::saturating_add)
    }

    /// Returns the amount that so many of all are not above: of n amounts in ascending order the
    /// one of the rank n * percentile, rounded up, and of 0 % the first. `None` where there are
    /// none. O(buckets).
    ///
    /// The answer is within [so many percent](Self::error_percent) of that amount; of the numbers
    /// that are, one with few digits.
    #[must_use]
    pub fn percentile(&self, percentile: Percentile) -> Option<Amount> {
        let rank = percentile.rank(self.count());
        let mut seen = 0_u64;
        let found = self.buckets.iter().find(|bucket| {
            seen = seen.saturating_add(bucket.count());
            seen >= rank
        })?;
        Some(Amount::from_millionths(found.key().figure(self.level)))
    }

    /// Returns how far an answer is from the exact one at the most, in percent of that: 1, or
    /// more where there were more buckets than a sketch keeps.
    #[must_use]
    pub fn error_percent(&self) -> u32 {
        1_u32.unbounded_shl(self.level.into())
    }

    /// How much of its bound it takes.
    pub(crate) fn buckets(&self) -> usize {
        self.buckets.len()
    }

    /// Adds an amount of this key at the finest.
    #[inline]
    pub(crate) fn add_key(&mut self, key: Key) {
        self.add_key_near(key, &Cell::default());
    }

    /// The same, where the bucket may lie in this place; says where it lies. Sketches of much the
    /// same amounts have much the same buckets, so that who adds one amount to several finds its
    /// place in most of them where it was in the one before.
    #[inline]
    pub(crate) fn add_key_near(&mut self, key: Key, near: &Cell<usize>) {
        let key = key.coarser(self.level);
        if let Some(bucket) = self.buckets.get_mut(near.get())
            && bucket.ordered() == key.ordered()
        {
            return bucket.add_one();
        }
        let place = self.place(key);
        near.set(place);
        match self.buckets.get_mut(place) {
            Some(bucket) if bucket.ordered() == key.ordered() => bucket.add_one(),
            _ => self.insert(place, key),
        }
    }

    #[cold]
    fn insert(&mut self, place: usize, key: Key) {
        self.buckets.insert(place, Bucket::new(key, 1));
        self.bound();
    }

    /// Takes out an amount of this key at the finest, and returns whether there was one.
    pub(crate) fn remove_key(&mut self, key: Key) -> bool {
        let key = key.coarser(self.level);
        let place = self.place(key);
        let Some(bucket) = self.buckets.get_mut(place).filter(|bucket| bucket.key() == key) else {
            return false;
        };
        *bucket = Bucket::new(key, bucket.count().saturating_sub(1));
        if bucket.count() == 0 {
            self.buckets.remove(place);
        }
        true
    }

    /// Where the bucket of a key is, or would be. It is looked for only among as many as there are
    /// keys without a bucket between the first and the last: each key is there once, so no more
    /// are before it than there are keys from the first on, nor behind it than up to the last.
    #[inline]
    fn place(&self, key: Key) -> usize {
        let (Some(first), Some(last)) = (self.buckets.first(), self.buckets.last()) else {
            return 0;
        };
        let (count, key) = (self.buckets.len(), key.ordered());
        let before = usize::from(key.saturating_sub(first.ordered())).min(count);
        let behind = usize::from(last.ordered().saturating_sub(key)).saturating_add(1);
        let from = count.saturating_sub(behind);
        if from >= before {
            return from;
        }
        let unsure = self.buckets.get(from..before).unwrap_or_default();
        from.saturating_add(unsure.partition_point(|bucket| bucket.ordered() < key))
    }

    fn bound(&mut self) {
        while self.buckets.len() > MOST_BUCKETS {
            self.coarsen();
        }
    }

    /// Joins buckets in pairs.
    #[cold]
    fn coarsen(&mut self) {
        for bucket in &mut self.buckets {
            *bucket = Bucket::new(bucket.key().coarser(1), bucket.count());
        }
        self.level = self.level.saturating_add(1);
        self.join_equals();
    }

    fn join_equals(&mut self) {
        self.buckets.dedup_by(|next, known| {
            let is_same = next.key() == known.key();
            if is_same {
                known.add(next.count());
            }
            is_same
        });
    }
}

/// The level, and behind their number the buckets: how far each key is from the one before, and
/// how many amounts it has.
impl Codec<'_> for Sketch {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.level);
        put_varint(out, self.buckets.len() as u64);
        let mut before = 0_u16;
        for bucket in &self.buckets {
            let key = bucket.key().ordered();
            put_varint(out, u64::from(key.saturating_sub(before)));
            put_varint(out, bucket.count());
            before = key;
        }
    }

    fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let level = u8::decode(from)?;
        from.require(level <= COARSEST, "how coarse a sketch is")?;
        let count = from.length("buckets")?;
        from.require(count <= MOST_BUCKETS, "so many buckets")?;
        let mut buckets = Vec::with_capacity(count);
        let mut before = 0_u16;
        for _ in 0..count {
            let step = u16::try_from(from.varint()?).ok().filter(|step| *step > 0);
            let key = step.and_then(|step| before.checked_add(step));
            let key = key.filter(|key| Key::of_ordered(*key).is_at(level));
            let count = from.varint()?;
            from.require((1..=Bucket::MOST).contains(&count), "what is in a bucket")?;
            before = key.ok_or_else(|| from.malformed("the bucket of a sketch"))?;
            buckets.push(Bucket::new(Key::of_ordered(before), count));
        }
        Ok(Self { buckets, level })
    }
}
