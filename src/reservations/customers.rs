//! Which reservations each customer has open.

use std::collections::BTreeSet;
use std::ptr;

use hashbrown::HashTable;
use parking_lot::{Mutex, MutexGuard};
use smallvec::SmallVec;

use crate::counters::Moment;

/// How many locks there are, by the bits of the hash above those that a table goes by.
const LOCKS: usize = 64;
const SHIFT: u32 = 40;

/// By the keyed hash of the customer's id, 64 bits: two customers that share one would share how
/// many may be open, and nothing else.
#[derive(Debug)]
pub(super) struct Customers {
    locks: Box<[Mutex<HashTable<Customer>>]>,
    /// For a hash that is nobody's lock: none is.
    rest: Mutex<HashTable<Customer>>,
}

#[derive(Debug)]
struct Customer {
    hash: u64,
    open: Open,
}

/// Open reservations by when they expire. Those that have expired may be among them. Side by side
/// where they are few.
#[derive(Debug)]
enum Open {
    Few(SmallVec<[(Moment, u64); 2]>),
    Many(BTreeSet<(Moment, u64)>),
}

/// More than this are many.
const FEW: usize = 16;

impl Open {
    fn first(&self) -> Option<(Moment, u64)> {
        match self {
            Self::Few(few) => few.first().copied(),
            Self::Many(many) => many.first().copied(),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Few(few) => few.len(),
            Self::Many(many) => many.len(),
        }
    }

    fn numbers(&self) -> Vec<u64> {
        match self {
            Self::Few(few) => few.iter().map(|(_, number)| *number).collect(),
            Self::Many(many) => many.iter().map(|(_, number)| *number).collect(),
        }
    }

    fn insert(&mut self, one: (Moment, u64)) {
        match self {
            Self::Few(few) if few.len() < FEW => {
                few.insert(few.partition_point(|known| *known < one), one);
            }
            Self::Few(few) => *self = Self::Many(few.drain(..).chain([one]).collect()),
            Self::Many(many) => {
                many.insert(one);
            }
        }
    }

    fn remove(&mut self, one: (Moment, u64)) {
        match self {
            Self::Few(few) => few.retain(|known| *known != one),
            Self::Many(many) => {
                many.remove(&one);
            }
        }
    }
}

/// A customer who makes no other reservation while this is held.
pub(crate) struct CustomerLock<'m> {
    hash: u64,
    now: Moment,
    /// It was looked for, and has none open.
    is_new: bool,
    customers: MutexGuard<'m, HashTable<Customer>>,
}

impl Customers {
    pub(super) fn new() -> Self {
        Self { locks: (0..LOCKS).map(|_| Mutex::default()).collect(), rest: Mutex::default() }
    }

    fn of(&self, hash: u64) -> &Mutex<HashTable<Customer>> {
        let index = usize::try_from(hash >> SHIFT).unwrap_or(0) & LOCKS.saturating_sub(1);
        self.locks.get(index).unwrap_or(&self.rest)
    }

    pub(super) fn lock(&self, hash: u64, now: Moment) -> CustomerLock<'_> {
        CustomerLock { hash, now, is_new: false, customers: self.of(hash).lock() }
    }

    /// Notes that a reservation is over, or expires at another time.
    pub(super) fn moved(&self, hash: u64, (from, number): (Moment, u64), to: Option<Moment>) {
        let mut customers = self.of(hash).lock();
        let Ok(mut found) = customers.find_entry(hash, |it| it.hash == hash) else {
            // All that the customer had has expired, but for one that is put off.
            if let Some(to) = to {
                note(&mut customers, hash, (to, number));
            }
            return;
        };
        let open = &mut found.get_mut().open;
        open.remove((from, number));
        match to {
            Some(to) => open.insert((to, number)),
            None if open.first().is_none() => drop(found.remove()),
            None => {}
        }
    }

    /// The open reservations from a number on, of the customers that share a lock with this hash,
    /// or of all; `None` while somebody is making one. It waits for nobody.
    pub(super) fn open_from(&self, hash: Option<u64>, number: u64) -> Option<Vec<u64>> {
        let mut found = Vec::new();
        for lock in self.locks.iter().filter(|it| hash.is_none_or(|of| ptr::eq(*it, self.of(of)))) {
            for customer in lock.try_lock()?.iter() {
                let open = customer.open.numbers();
                found.extend(open.into_iter().filter(|open| *open >= number));
            }
        }
        Some(found)
    }

    /// The numbers of a customer's open reservations.
    pub(super) fn open_of(&self, hash: u64) -> Vec<u64> {
        let customers = self.of(hash).lock();
        let found = customers.find(hash, |it| it.hash == hash).map(|found| &found.open);
        found.map(Open::numbers).unwrap_or_default()
    }
}

impl CustomerLock<'_> {
    /// The hash of the customer's id.
    pub(super) fn hash(&self) -> u64 {
        self.hash
    }

    /// How many reservations are open, and when the first of them expires.
    pub(crate) fn open(&mut self) -> Option<(usize, Moment)> {
        let (hash, now) = (self.hash, self.now);
        let Some(found) = self.customers.find_mut(hash, |it| it.hash == hash) else {
            self.is_new = true;
            return None;
        };
        while let Some(first) = found.open.first() {
            if first.0 > now {
                return Some((found.open.len(), first.0));
            }
            found.open.remove(first);
        }
        None
    }

    /// Notes one more.
    pub(crate) fn opened(mut self, until: Moment, number: u64) {
        let one = (until, number);
        if self.is_new {
            insert(&mut self.customers, self.hash, one);
        } else {
            note(&mut self.customers, self.hash, one);
        }
    }
}

fn note(customers: &mut HashTable<Customer>, hash: u64, one: (Moment, u64)) {
    if let Some(found) = customers.find_mut(hash, |it| it.hash == hash) {
        found.open.insert(one);
    } else {
        insert(customers, hash, one);
    }
}

fn insert(customers: &mut HashTable<Customer>, hash: u64, one: (Moment, u64)) {
    let open = Open::Few(SmallVec::from_buf_and_len([one; 2], 1));
    customers.insert_unique(hash, Customer { hash, open }, |it| it.hash);
}
