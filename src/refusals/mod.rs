//! Refused calls: how many, by rule, key and hour, and the newest of them.
//!
//! A refusal is noted when its decision is made and no lock of that is held any more: what is
//! counted here is told, and decides about nothing. All of it is behind one lock, which is held for
//! a few look-ups, or by a question for the rows that it is about.
//!
//! With a store what has changed is put into it as rows, which say what is counted and not what was
//! added: whoever reads a row knows the count, and so order and crashes are no matter. They are put
//! under the lock, so that no older row comes after a newer one; under it the journal's queue is
//! taken, and nothing else.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use smallvec::SmallVec;

use self::attempts::Attempts;
use self::counts::Counts;
use self::stored::{StoredRow, read_row};
use crate::base::clock::Timestamp;
use crate::base::codec::Malformed;
use crate::compiled::CompiledRule;
use crate::log::{Packed, QueryError};

mod attempts;
mod counts;
mod query;
mod stored;

pub(crate) use self::attempts::Kept;
pub use self::attempts::RefusedAttempt;
pub use self::query::{RefusalCount, RefusalHour, RefusalPage, RefusalQuery, RefusedAttemptPage};
pub(crate) use self::stored::{Row, first_key};

/// What is known of refused calls.
pub(crate) struct RefusalLog {
    known: Mutex<Known>,
    /// What values are hashed by.
    hasher: ahash::RandomState,
    /// The most attempts that are kept.
    most: usize,
}

struct Known {
    counts: Counts,
    attempts: Attempts,
}

/// A rule that refused, and the values of its key.
pub(crate) type Refusing<'r> = (&'r CompiledRule, SmallVec<[&'r str; 2]>);

impl RefusalLog {
    /// Keeps so many attempts; those of an engine with a store are to be [put](Self::put) there.
    pub(crate) fn new(most: usize, is_stored: bool, hasher: &ahash::RandomState) -> Self {
        let counts = Counts::new(is_stored, hasher.clone());
        let known = Known { counts, attempts: Attempts::new(most, is_stored) };
        Self { known: Mutex::new(known), hasher: hasher.clone(), most }
    }

    /// Whether attempts are kept, and not only counted.
    pub(crate) fn keeps_attempts(&self) -> bool {
        self.most > 0
    }

    /// Counts a refused call, and keeps it where it is packed. Returns whether it is the first
    /// since rows were put into the store.
    pub(crate) fn note(
        &self,
        at: Timestamp,
        refusing: &[Refusing<'_>],
        attempt: Option<&Packed>,
    ) -> bool {
        let hashes: SmallVec<[u64; 4]> =
            refusing.iter().map(|(_, values)| self.hasher.hash_one(&values[..])).collect();
        let mut known = self.known.lock();
        let Known { counts, attempts } = &mut *known;
        let was_clean = counts.is_clean() && attempts.is_clean();
        let hour = counts.count_call(at);
        for ((rule, values), hash) in refusing.iter().zip(hashes) {
            counts.count((at, hour), rule, values, hash);
        }
        if let Some(packed) = attempt {
            attempts.keep(packed, refusing.iter().map(|(rule, _)| rule.id()));
        }
        was_clean && !(counts.is_clean() && attempts.is_clean())
    }

    /// Puts the rows that have changed, where some have; runs under the lock.
    pub(crate) fn put(&self, put: impl FnOnce(Vec<Row>)) {
        let Known { counts, attempts } = &mut *self.known.lock();
        let mut rows = Vec::new();
        counts.take_rows(&mut rows);
        attempts.take_rows(&mut rows);
        if !rows.is_empty() {
            put(rows);
        }
    }

    /// Forgets the keys that have a value of a dimension, and the attempts whose events have it:
    /// the sums of rules and hours stay. Its rows are gone with those that are [put](Self::put)
    /// next.
    pub(crate) fn forget(&self, dimension: &str, value: &str) {
        let Known { counts, attempts } = &mut *self.known.lock();
        counts.forget(dimension, value);
        attempts.forget(dimension, value);
    }

    /// The attempts that are kept now, the oldest first.
    pub(crate) fn attempts(&self) -> Vec<Arc<Kept>> {
        self.known.lock().attempts.all()
    }

    /// When a rule refused a call the last time, by its id.
    pub(crate) fn last_of(&self, id: &str) -> Option<Timestamp> {
        self.known.lock().counts.last_of(id)
    }

    /// A page of how often keys were refused, the most first.
    pub(crate) fn page(&self, query: &RefusalQuery) -> Result<RefusalPage, QueryError> {
        let (range, most, after) = (query.range()?, query.page_limit()?, query.after()?);
        let known = self.known.lock();
        let (found, total) = known.counts.find(query, &range);
        Ok(RefusalPage::of(found, total, most, after.as_ref()))
    }

    /// How much was refused in each hour, the earliest first.
    pub(crate) fn hours(&self, query: &RefusalQuery) -> Result<Vec<RefusalHour>, QueryError> {
        let range = query.range()?;
        Ok(self.known.lock().counts.find_hours(query, &range))
    }

    /// A page of the attempts that are kept, the newest first.
    pub(crate) fn list(&self, query: &RefusalQuery) -> Result<RefusedAttemptPage, QueryError> {
        let (range, most, before) = (query.range()?, query.page_limit()?, query.before()?);
        Ok(self.known.lock().attempts.page(query, &range, (before, most)))
    }

    /// Takes what a row of the store says; nothing of a row that is of something else. Rows come in
    /// the order of their keys.
    pub(crate) fn load(&self, key: &[u8], value: &[u8]) -> Option<Result<(), Malformed>> {
        let known = &mut *self.known.lock();
        Some(read_row(key, value)?.map(|read| match read {
            StoredRow::Count(key, refused) => known.counts.load(key, refused),
            StoredRow::Last(name, last) => known.counts.load_last(name, last),
            StoredRow::Attempt(kept) => known.attempts.load(kept),
        }))
    }
}

/// Not what callers sent.
impl fmt::Debug for RefusalLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefusalLog").field("most", &self.most).finish_non_exhaustive()
    }
}
