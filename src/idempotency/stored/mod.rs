//! The idempotency keys of a durable engine: where the record of each key lies.
//!
//! A key is 12 bytes: 48 bits of a keyed hash of the customer and the key, and the sequence number
//! of the record that has both, the event and the answer. The record is the truth: a hash that fits
//! is looked up, and what is found there is another key, a use that is over, a conflict, or the
//! answer. Format 1 has the hash of the key alone: as long as keys of it are kept, they are looked
//! for, too.
//!
//! A key is claimed as in memory: the lock of its shard is held while the event is decided and
//! recorded, so of two calls at the same time one decides and the other finds its record. Of the
//! engine's locks it is the first: the key's shard, then those of counters, then the ledger.
//!
//! *No deadlock.* One call holds one shard of keys at a time, and waits for no commit while it
//! holds it: it asks for room before, and waits for its commit after. Reading a record under it
//! takes the queue's lock and the store's, none of which is held by somebody who waits for a key: a
//! store's own `Storage` must not use the engine. The lock of the marks is the last one, and is
//! taken when that of the shard is free.
//!
//! *The floor.* It only grows (`fetch_max`). Who still sees an old one looks up a record more, and
//! finds that its time is over, or that it answers although there are newer keys than are kept:
//! both are right answers, so nothing hangs on when a floor is seen.

use std::sync::atomic::{AtomicU64, Ordering};

use hashbrown::HashTable;
use parking_lot::Mutex;
use siphasher::sip::SipHasher13;
use smallvec::SmallVec;

use super::CustomerKey;
use super::marks::Marks;
use crate::counters::Moment;

/// As many as the first eight bits of a hash tell apart.
const SHARDS: usize = 256;
/// How many bits of a hash are kept, and how many of a sequence number: two keys have the same hash
/// once in 281 trillion.
const BITS: u32 = 48;
/// How many buckets a call that adds a key looks at, to drop a forgotten key from each: more than
/// two, so that forgotten keys go faster than new ones come.
const LOOKS: usize = 8;
/// How many keys wait to be put into a shard's table together.
const RECENT: usize = 8;
/// A shard with no more buckets is not worth shrinking.
const SMALL: usize = 64;

/// What the record of a sequence number is to a key.
#[derive(Debug)]
pub(crate) enum KeyMatch<A> {
    /// It has another key, or none: only the hash was the same.
    Other,
    /// It has the key, for the same event.
    Same {
        /// The time of the record: a key counts from there.
        since: Moment,
        /// The first answer.
        answer: A,
    },
    /// It has the key, for another event.
    Conflict { since: Moment },
}

/// What became of an event with a key.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum KeyOutcome<A> {
    /// It was decided now; where it was recorded, if it was.
    New(A, Option<KeyUse>),
    /// It was decided before: the answer, and the sequence number of its record. An answer is not
    /// given before that record is durable.
    Known(A, u64),
    /// Its key was used for another event.
    Conflict,
}

/// The record that uses a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyUse {
    pub(crate) seq: u64,
    /// The time of the record.
    pub(crate) since: Moment,
}

#[derive(Debug)]
pub(crate) struct StoredKeys {
    shards: Box<[Padded]>,
    marks: Mutex<Marks>,
    /// The sequence number before which no key is kept: a copy, to be read without a lock.
    floor: AtomicU64,
    /// The sequence number behind that of the last key of format 1.
    plain_end: u64,
    /// What keys are hashed with: random, the same for the life of a log, so that nobody who
    /// chooses keys can make them collide.
    secret: [u64; 2],
    /// The bits of hashes that are used; tests use few.
    mask: u64,
    retention: u64,
}

/// A shard on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Padded(Mutex<Shard>);

#[derive(Debug, Default)]
struct Shard {
    entries: HashTable<Entry>,
    /// The newest keys. Each lies somewhere else in the table, mostly in memory that no cache has:
    /// a lock that is let go waits for what was written before, and for several at once no longer
    /// than for one.
    recent: SmallVec<[Entry; RECENT]>,
    /// What is being loaded: the table is made at once, of the size that it needs.
    loading: Vec<Entry>,
    /// The bucket that is looked at next for what is over.
    cursor: usize,
    /// The floor before which no key is here, and what it was when the cursor began its round.
    clean: u64,
    began: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    hash: [u8; 6],
    seq: [u8; 6],
}

const _: () = assert!(size_of::<Entry>() == 12);

/// The records whose key's hash fits; almost always one or none.
type Seqs = SmallVec<[u64; 4]>;

impl StoredKeys {
    /// Keys that count for `retention` nanoseconds, `max_keys` at most.
    pub(crate) fn new(secret: [u64; 2], retention: u64, max_keys: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Padded::default()).collect(),
            marks: Mutex::new(Marks::new(retention, u64::try_from(max_keys).unwrap_or(u64::MAX))),
            floor: AtomicU64::new(0),
            plain_end: 0,
            secret,
            mask: u64::MAX >> (u64::BITS.saturating_sub(BITS)),
            retention,
        }
    }

    /// The hash of a key, of 48 bits.
    pub(crate) fn hash(&self, key: CustomerKey<'_>) -> u64 {
        self.hash_bytes(&key.name())
    }

    fn hash_bytes(&self, bytes: &[u8]) -> u64 {
        let [first, second] = self.secret;
        SipHasher13::new_with_keys(first, second).hash(bytes) & self.mask
    }

    /// The answer that a key has at `now`, if it has one.
    pub(crate) fn find<A, E>(
        &self,
        key: CustomerKey<'_>,
        now: Moment,
        look_up: impl Fn(u64) -> Result<KeyMatch<A>, E>,
    ) -> Result<Option<KeyOutcome<A>>, E> {
        self.first_match(&self.seqs(key, self.hash(key)), now, look_up)
    }

    /// Answers with what a key has, or decides, which says where the event was recorded if it was;
    /// it is told the key's hash.
    ///
    /// `look_up` reads the record of a sequence number, and is called with and without the key's
    /// lock; it finds every record from the moment on at which `decide` has returned.
    pub(crate) fn once<A, E>(
        &self,
        key: CustomerKey<'_>,
        now: Moment,
        look_up: impl Fn(u64) -> Result<KeyMatch<A>, E>,
        decide: impl FnOnce(u64) -> Result<(A, Option<KeyUse>), E>,
    ) -> Result<KeyOutcome<A>, E> {
        let hash = self.hash(key);
        let Some(padded) = self.shard(hash) else { return decide(hash).map(made) };
        let mut shard = padded.lock();
        let mut floor = self.floor();
        if floor < self.plain_end || shard.has(hash) {
            // Without the lock: who reads what is stored lets others go on. What is found to be
            // another key's or over stays so, as records do not change and `now` is the call's.
            drop(shard);
            let seqs = self.seqs(key, hash);
            if let Some(known) = self.first_match(&seqs, now, &look_up)? {
                return Ok(known);
            }
            shard = padded.lock();
            // Under the lock only what came since is looked up, which is almost always nothing.
            // Keys of format 1 are none of it: there are no new ones.
            floor = self.floor();
            let new = shard.seqs(hash, floor);
            let new: Seqs = new.into_iter().filter(|seq| !seqs.contains(seq)).collect();
            if let Some(known) = self.first_match(&new, now, &look_up)? {
                return Ok(known);
            }
        }
        let (answer, recorded) = decide(hash)?;
        if let Some(recorded) = recorded {
            shard.insert(Entry::new(hash, recorded.seq), floor);
            // The key is found from here on. Calls may note theirs in another order.
            drop(shard);
            self.note(recorded, now);
        }
        Ok(KeyOutcome::New(answer, recorded))
    }

    /// Makes room for so many keys that are going to be loaded.
    pub(crate) fn reserve(&mut self, keys: usize) {
        // Shards differ by chance, and by a few in a hundred.
        let each = keys.div_euclid(SHARDS);
        let each = each.saturating_add(each / 32).saturating_add(8);
        for shard in &mut self.shards {
            shard.0.get_mut().loading.reserve_exact(each);
        }
    }

    /// Adds a key of format 1, whose hash is of the key alone, as [`load`](Self::load) does.
    pub(crate) fn load_plain(&mut self, hash: u64, seq: u64, since: Moment) {
        self.plain_end = self.plain_end.max(seq.saturating_add(1));
        self.load(hash, seq, since);
    }

    /// Adds the key of a durable record, in the order of sequence numbers; `since` is the time of
    /// the record, or one that is not before it. [`loaded`](Self::loaded) ends it.
    pub(crate) fn load(&mut self, hash: u64, seq: u64, since: Moment) {
        if let Some(shard) = self.shards.get_mut(shard_of(hash)) {
            shard.0.get_mut().loading.push(Entry::new(hash, seq));
            self.marks.get_mut().note(seq, since);
        }
    }

    /// Puts what was loaded into its tables, but for what is over by now.
    pub(crate) fn loaded(&mut self, now: Moment) {
        let floor = self.marks.get_mut().advance(now);
        *self.floor.get_mut() = floor;
        for shard in &mut self.shards {
            shard.0.get_mut().rebuild(floor);
        }
    }

    /// The sequence number before which no key is kept: records before it are needed for no retry.
    pub(crate) fn floor(&self) -> u64 {
        self.floor.load(Ordering::Acquire)
    }

    /// How many keys are kept.
    #[cfg(test)]
    pub(crate) fn len(&self) -> u64 {
        self.marks.lock().len()
    }

    /// How many bytes of memory the keys take.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        let tables = self.shards.iter().map(|shard| shard.0.lock().entries.allocation_size());
        tables.sum::<usize>().saturating_add(size_of_val(&*self.shards))
    }

    fn shard(&self, hash: u64) -> Option<&Mutex<Shard>> {
        self.shards.get(shard_of(hash)).map(|shard| &shard.0)
    }

    /// The records that may have a key, of this hash.
    fn seqs(&self, key: CustomerKey<'_>, hash: u64) -> Seqs {
        let floor = self.floor();
        let mut seqs = self.records_of_hash(hash, floor);
        if floor < self.plain_end {
            let plain = self.records_of_hash(self.hash_bytes(key.key.as_bytes()), floor);
            seqs.extend(plain.into_iter().filter(|seq| *seq < self.plain_end));
        }
        seqs
    }

    fn records_of_hash(&self, hash: u64, floor: u64) -> Seqs {
        let shard = self.shard(hash).map(Mutex::lock);
        shard.map(|shard| shard.seqs(hash, floor)).unwrap_or_default()
    }

    /// The first of these records that has the key and is not over.
    fn first_match<A, E>(
        &self,
        seqs: &[u64],
        now: Moment,
        look_up: impl Fn(u64) -> Result<KeyMatch<A>, E>,
    ) -> Result<Option<KeyOutcome<A>>, E> {
        let is_alive = |since: Moment| now.0 < since.0.saturating_add(self.retention);
        for seq in seqs {
            match look_up(*seq)? {
                KeyMatch::Same { since, answer } if is_alive(since) => {
                    return Ok(Some(KeyOutcome::Known(answer, *seq)));
                }
                KeyMatch::Conflict { since } if is_alive(since) => {
                    return Ok(Some(KeyOutcome::Conflict));
                }
                KeyMatch::Other | KeyMatch::Same { .. } | KeyMatch::Conflict { .. } => {}
            }
        }
        Ok(None)
    }

    /// Notes a key as the newest, and forgets the oldest where their time or their room is over.
    fn note(&self, KeyUse { seq, since }: KeyUse, now: Moment) {
        let mut marks = self.marks.lock();
        marks.note(seq, since);
        let floor = marks.advance(now);
        drop(marks);
        self.floor.fetch_max(floor, Ordering::AcqRel);
    }
}

fn made<A>((answer, recorded): (A, Option<KeyUse>)) -> KeyOutcome<A> {
    KeyOutcome::New(answer, recorded)
}

fn shard_of(hash: u64) -> usize {
    usize::try_from(hash >> 40).unwrap_or(usize::MAX)
}

impl Shard {
    /// Whether there may be records of keys of this hash.
    #[inline]
    fn has(&self, hash: u64) -> bool {
        let wanted = Entry::new(hash, 0);
        let is_it = |entry: &Entry| entry.hash == wanted.hash;
        self.entries.find(wanted.table_hash(), is_it).is_some() || self.recent.iter().any(is_it)
    }

    /// The records of keys of this hash from the floor on.
    fn seqs(&self, hash: u64, floor: u64) -> Seqs {
        let wanted = Entry::new(hash, 0);
        let found = self.entries.iter_hash(Entry::table_hash(&wanted)).chain(&self.recent);
        let found = found.filter(|entry| entry.hash == wanted.hash).map(Entry::seq);
        found.filter(|seq| *seq >= floor).collect()
    }

    fn insert(&mut self, entry: Entry, floor: u64) {
        if self.clean < floor {
            (0..LOOKS).for_each(|_| self.look_at_next(floor));
        }
        if self.recent.len() == RECENT {
            self.file_recent(floor);
        }
        self.recent.push(entry);
    }

    /// Puts the newest keys into the table.
    #[inline(never)]
    fn file_recent(&mut self, floor: u64) {
        let room = self.entries.capacity().saturating_sub(self.entries.len());
        if room < self.recent.len() {
            return self.rebuild(floor);
        }
        for entry in self.recent.drain(..).filter(|entry| entry.seq() >= floor) {
            self.entries.insert_unique(Entry::table_hash(&entry), entry, Entry::table_hash);
        }
    }

    /// Drops the key of the next bucket if its record is before the floor.
    fn look_at_next(&mut self, floor: u64) {
        let buckets = self.entries.num_buckets();
        let is_round = self.cursor >= buckets;
        let bucket = if is_round { 0 } else { self.cursor };
        if is_round {
            // What the round began with is gone; what came since is not before that floor.
            self.clean = self.clean.max(self.began);
            self.began = floor;
        }
        self.cursor = bucket.saturating_add(1);
        let Ok(entry) = self.entries.get_bucket_entry(bucket) else { return };
        if entry.get().seq() < floor {
            entry.remove();
            self.shrink(floor);
        }
    }

    /// Moves what is not over to a table with room for a sixteenth more, with the newest keys and
    /// what is being loaded. Left to itself the table would double where keys have gone and left
    /// holes.
    fn rebuild(&mut self, floor: u64) {
        let is_kept = |entry: &Entry| entry.seq() >= floor;
        let (old, new) = (std::mem::take(&mut self.entries), std::mem::take(&mut self.loading));
        let recent = std::mem::take(&mut self.recent);
        let all = old.iter().chain(&new).chain(&recent);
        let count = all.filter(|entry| is_kept(entry)).count();
        let room = count.saturating_add(count / 16).saturating_add(8);
        let mut entries = HashTable::with_capacity(room);
        for entry in old.into_iter().chain(new).chain(recent).filter(is_kept) {
            entries.insert_unique(Entry::table_hash(&entry), entry, Entry::table_hash);
        }
        self.entries = entries;
        // Buckets lie otherwise now: the round begins again.
        (self.cursor, self.clean, self.began) = (0, floor, floor);
    }

    fn shrink(&mut self, floor: u64) {
        let (buckets, keys) = (self.entries.num_buckets(), self.entries.len());
        if buckets > SMALL && keys < buckets.div_euclid(8) {
            self.entries.shrink_to(keys.saturating_mul(2), Entry::table_hash);
            (self.cursor, self.began) = (0, floor);
        }
    }
}

impl Entry {
    /// A sequence number of more than 48 bits is that of no record.
    fn new(hash: u64, seq: u64) -> Self {
        Self { hash: low(hash), seq: low(seq) }
    }

    fn seq(&self) -> u64 {
        whole(self.seq)
    }

    /// Spreads the hash over the bits that the table goes by, the lowest and the highest seven:
    /// those that its shard was chosen by are the same for all of them.
    fn table_hash(&self) -> u64 {
        let hash = whole(self.hash);
        hash ^ hash.wrapping_shl(24)
    }
}

/// The lowest 48 bits of a number.
fn low(number: u64) -> [u8; 6] {
    number.to_le_bytes().first_chunk().copied().unwrap_or_default()
}

fn whole(low: [u8; 6]) -> u64 {
    let mut bytes = [0; 8];
    if let Some(to) = bytes.first_chunk_mut() {
        *to = low;
    }
    u64::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests;
