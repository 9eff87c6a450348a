//! The lines that waiters stand in.
//!
//! A line and a waiter are found by a hash, and the first of a line is known: no step looks through
//! those who wait. To come into the middle of a line, and to leave it, costs the logarithm of its
//! length.

use std::collections::BTreeSet;
use std::task::Waker;

use hashbrown::HashTable;
use smallvec::SmallVec;

/// The keyed hash of a counter. Where those of two counters are the same they have one line, and
/// who is short of one waits for those who are short of the other.
pub(crate) type Key = u64;

/// A few counters.
pub(crate) type Keys = SmallVec<[Key; 4]>;

/// When a waiter came: the lower the earlier.
pub(super) type Ticket = u64;

/// Who is to be woken when the lock is free.
pub(super) type Wakers = SmallVec<[Waker; 4]>;

/// Tables of fewer places than this are kept as they are.
const SMALL: usize = 64;

/// All waiters, and of each counter those who are short of it, or behind one who is.
#[derive(Debug, Default)]
pub(super) struct Lines {
    last_ticket: Ticket,
    /// How often something was given back, or the rules changed, while somebody was here.
    pub(super) epoch: u64,
    pub(super) is_closed: bool,
    waiters: HashTable<Waiter>,
    by_key: HashTable<Line>,
}

#[derive(Debug)]
struct Waiter {
    ticket: Ticket,
    /// The lines that it stands in, each once: first those of counters that it is short of, then
    /// those where it only stands behind somebody.
    keys: SmallVec<[Key; 2]>,
    /// How many it is short of.
    short: u32,
    waker: Option<Waker>,
    /// It has cause to look again since it last did.
    is_called: bool,
}

/// Those who wait for a counter: one at least.
#[derive(Debug)]
struct Line {
    key: Key,
    first: Ticket,
    /// The others.
    behind: BTreeSet<Ticket>,
}

/// Tickets are numbers in a row: this spreads them over all bits.
fn hash(ticket: Ticket) -> u64 {
    ticket.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl Lines {
    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.waiters.len()
    }

    /// Lets one in, behind all others.
    pub(super) fn enter(&mut self) -> Ticket {
        self.last_ticket = self.last_ticket.saturating_add(1);
        let ticket = self.last_ticket;
        let waiter =
            Waiter { ticket, keys: SmallVec::new(), short: 0, waker: None, is_called: false };
        self.waiters.insert_unique(hash(ticket), waiter, |waiter| hash(waiter.ticket));
        ticket
    }

    fn waiter(&self, ticket: Ticket) -> Option<&Waiter> {
        self.waiters.find(hash(ticket), |waiter| waiter.ticket == ticket)
    }

    fn waiter_mut(&mut self, ticket: Ticket) -> Option<&mut Waiter> {
        let waiter = self.waiters.find_mut(hash(ticket), |waiter| waiter.ticket == ticket);
        debug_assert!(waiter.is_some(), "who has a place is in the room");
        waiter
    }

    fn first(&self, key: Key) -> Option<Ticket> {
        self.by_key.find(key, |line| line.key == key).map(|line| line.first)
    }

    fn is_free(&self, waiter: &Waiter) -> bool {
        waiter.keys.iter().all(|key| self.first(*key) == Some(waiter.ticket))
    }

    /// Leaves a waker, and returns the one that was there.
    pub(super) fn sleep(&mut self, ticket: Ticket, waker: Waker) -> Option<Waker> {
        self.waiter_mut(ticket)?.waker.replace(waker)
    }

    /// Whether a waiter has cause to look again.
    pub(super) fn is_called(&self, ticket: Ticket) -> bool {
        self.waiter(ticket).is_some_and(|waiter| waiter.is_called)
    }

    /// It looks.
    pub(super) fn looks(&mut self, ticket: Ticket) {
        if let Some(waiter) = self.waiter_mut(ticket) {
            waiter.is_called = false;
        }
    }

    /// Has a waiter stand in the lines of the counters that it is short of, and of those that it
    /// touches where somebody earlier stands, and in no others. Says whether it is held up, and of
    /// which of those that it is short of it is the first.
    pub(super) fn stand(
        &mut self,
        ticket: Ticket,
        short: &[Key],
        touched: &[Key],
        wakers: &mut Wakers,
    ) -> (bool, SmallVec<[bool; 4]>) {
        let mut keys: SmallVec<[Key; 2]> = short.iter().copied().collect();
        let mut is_held_up = false;
        for key in touched {
            let is_behind = self.first(*key).is_some_and(|first| first < ticket);
            if is_behind && !keys.contains(key) {
                keys.push(*key);
            }
            is_held_up |= is_behind;
        }
        for key in &keys {
            self.join(*key, ticket);
        }
        let first = short.iter().map(|key| self.first(*key) == Some(ticket)).collect();
        let Some(waiter) = self.waiter_mut(ticket) else { return (is_held_up, first) };
        waiter.is_called = false;
        waiter.short = u32::try_from(short.len()).unwrap_or(u32::MAX);
        std::mem::swap(&mut waiter.keys, &mut keys);
        let kept: SmallVec<[Key; 2]> = waiter.keys.clone();
        for key in keys.into_iter().filter(|key| !kept.contains(key)) {
            self.leave_line(key, ticket, wakers);
        }
        (is_held_up, first)
    }

    /// Has a waiter stand in the lines of what it touches where somebody earlier stands, too. Says
    /// whether it is held up.
    pub(super) fn stand_behind(&mut self, ticket: Ticket, touched: &[Key]) -> bool {
        let mut is_held_up = false;
        for key in touched {
            if self.first(*key).is_none_or(|first| first >= ticket) {
                continue;
            }
            is_held_up = true;
            let waiter = self.waiter(ticket);
            if waiter.is_some_and(|waiter| !waiter.keys.contains(key)) {
                self.join(*key, ticket);
                if let Some(waiter) = self.waiter_mut(ticket) {
                    waiter.keys.push(*key);
                }
            }
        }
        is_held_up
    }

    /// The lines in which somebody stands before a waiter.
    pub(super) fn held_up_by(&self, ticket: Ticket) -> Keys {
        let Some(waiter) = self.waiter(ticket) else { return Keys::new() };
        let is_behind = |key: &Key| self.first(*key) != Some(ticket);
        waiter.keys.iter().copied().filter(is_behind).collect()
    }

    /// Takes a waiter out; what it leaves is to be dropped when the lock is free.
    pub(super) fn leave(&mut self, ticket: Ticket, wakers: &mut Wakers) -> Option<Waker> {
        let found = self.waiters.find_entry(hash(ticket), |waiter| waiter.ticket == ticket);
        let (waiter, _) = found.ok()?.remove();
        shrink(&mut self.waiters, |waiter| hash(waiter.ticket));
        for key in &waiter.keys {
            self.leave_line(*key, ticket, wakers);
        }
        waiter.waker
    }

    fn join(&mut self, key: Key, ticket: Ticket) {
        if let Some(line) = self.by_key.find_mut(key, |line| line.key == key) {
            return line.join(ticket);
        }
        let line = Line { key, first: ticket, behind: BTreeSet::new() };
        self.by_key.insert_unique(key, line, |line| line.key);
    }

    fn leave_line(&mut self, key: Key, ticket: Ticket, wakers: &mut Wakers) {
        let Some(line) = self.by_key.find_mut(key, |line| line.key == key) else { return };
        if line.first != ticket {
            line.behind.remove(&ticket);
            return;
        }
        match line.behind.pop_first() {
            Some(next) => line.first = next,
            None => return self.end_line(key),
        }
        self.call_first(key, wakers);
    }

    /// Calls the first of a line. One that only stood behind somebody there, and is held up by
    /// others elsewhere, has nothing to stand there for any more: it goes, and the next one is the
    /// first. Those are steps that were paid for when they came there.
    pub(super) fn call_first(&mut self, key: Key, wakers: &mut Wakers) {
        while let Some(line) = self.by_key.find(key, |line| line.key == key) {
            let first = line.first;
            let stands = self
                .waiter(first)
                .is_some_and(|waiter| waiter.is_short_of(key) || self.is_free(waiter));
            let Some(waiter) = self.waiter_mut(first) else { return };
            if stands {
                waiter.is_called = true;
                wakers.extend(waiter.waker.take());
                return;
            }
            waiter.keys.retain(|known| *known != key);
            let Some(line) = self.by_key.find_mut(key, |line| line.key == key) else { return };
            match line.behind.pop_first() {
                Some(next) => line.first = next,
                None => return self.end_line(key),
            }
        }
    }

    fn end_line(&mut self, key: Key) {
        if let Ok(entry) = self.by_key.find_entry(key, |line| line.key == key) {
            entry.remove();
            shrink(&mut self.by_key, |line| line.key);
        }
    }

    /// Calls all, the earliest first.
    pub(super) fn call_all(&mut self) -> impl Iterator<Item = Waker> + use<> {
        let called = self.waiters.iter_mut().filter_map(|waiter| {
            waiter.is_called = true;
            Some((waiter.ticket, waiter.waker.take()?))
        });
        let mut called: Vec<_> = called.collect();
        called.sort_unstable_by_key(|(ticket, _)| *ticket);
        called.into_iter().map(|(_, waker)| waker)
    }
}

impl Waiter {
    fn is_short_of(&self, key: Key) -> bool {
        self.keys.iter().take(self.short as usize).any(|known| *known == key)
    }
}

impl Line {
    fn join(&mut self, ticket: Ticket) {
        if ticket < self.first {
            self.behind.insert(self.first);
            self.first = ticket;
        } else if ticket > self.first {
            self.behind.insert(ticket);
        }
    }
}

/// Gives room back that many had who are gone.
fn shrink<T>(table: &mut HashTable<T>, hash: impl Fn(&T) -> u64) {
    let places = table.capacity();
    if places > SMALL && table.len() < places / 8 {
        table.shrink_to(places / 2, hash);
    }
}
