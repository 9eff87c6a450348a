//! The waiting room of an engine.
//!
//! A waiter stands in the lines of the counters that it is *short of* (they refused it the last
//! time it looked), and in those of counters that it touches where somebody stands who came
//! earlier. One that is the first in all of its lines is *free*: it tries. Any other one is *held
//! up*, and only looks, when a counter that it is short of may have room: it leaves that line then.
//!
//! *Order.* Who settles stands behind those who came earlier in every counter that it touches,
//! whether that has room for it or not: who came first gets what comes first. It holds up nobody on
//! counters that it is not short of, unless somebody else holds it up there.
//!
//! *No deadlock.* A waiter is held up by earlier ones alone, and so the earliest of all by nobody.
//! The lock is the last that is taken: under it nothing else is locked, and no waker is called or
//! dropped.
//!
//! *No lost wake-up.* A free waiter decides, and then settles. What happens in between is counted:
//!
//! - It comes into the room, which counts it, before it decides. Whoever gives back changes the
//!   counter under the lock of its row, and asks after that whether somebody is here. If the waiter
//!   decided before, by that lock, then the count was up before, too, and is seen by whoever holds
//!   the lock after it; the relaxed load suffices. Then the give-back comes here: it finds the
//!   waiter in the line, or moves the *epoch* on before the waiter settles, who sees that and
//!   decides again. If the waiter decided after, it has seen what was given back.
//! - A change of the rules locks every shard once before it comes here: the same holds.
//! - Who leaves a line wakes the one who is the first there now: it may be free, or what was given
//!   back to the one that left may do for it. Being free changes only by lines that are left and by
//!   settling, each of which is one step under the lock; and one who settles behind somebody stands
//!   in that line by the same step.
//! - One that is not the first of a line need not know that the counter has room: the first sees
//!   to that, and holds it up or leaves.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Waker;

use parking_lot::Mutex;
use smallvec::SmallVec;

use super::lines::{Key, Keys, Lines, Ticket, Wakers};
use crate::base::clock::timer::wake_all;

/// The count of a room that lets nobody in.
const CLOSED: usize = usize::MAX;

/// The waiters of an engine.
#[derive(Debug)]
pub(crate) struct WaitingRoom {
    /// How many there are, or [`CLOSED`]: read without the lock by those who give something back,
    /// and by those who come.
    count: AtomicUsize,
    max: usize,
    lines: Mutex<Lines>,
}

/// A waiter's place in the room. It is not dropped, but [left](WaitingRoom::leave).
#[derive(Debug)]
pub(crate) struct Place {
    ticket: Ticket,
    epoch: u64,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoPlace {
    Closed,
    /// There are as many waiters as there may be.
    Full(usize),
}

/// What a waiter that was woken does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It is free, and has cause to look again.
    Decide,
    /// It has cause to look again, and somebody stands before it.
    Look,
    Sleep,
    Closed,
}

/// Where a waiter stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Settled {
    /// Nobody is before it in any line.
    Free,
    /// Somebody is, whose leaving wakes it. Of which of the counters that it is short of it is the
    /// first: of those it has to see itself when they have room.
    HeldUp(SmallVec<[bool; 4]>),
    /// Something was given back since it decided, or the rules have changed: it looks again.
    Again,
    Closed,
}

impl WaitingRoom {
    pub(crate) fn new(max: usize) -> Self {
        Self { count: AtomicUsize::new(0), max, lines: Mutex::default() }
    }

    /// Whether nobody waits, and all may come. Who has just locked a row sees all that have decided
    /// by it before.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.lines.lock().len()
    }

    /// Takes a place behind all others.
    pub(crate) fn enter(&self) -> Result<Place, NoPlace> {
        let mut lines = self.lines.lock();
        if lines.is_closed {
            return Err(NoPlace::Closed);
        }
        if lines.len() >= self.max {
            return Err(NoPlace::Full(self.max));
        }
        let (ticket, epoch) = (lines.enter(), lines.epoch);
        self.recount(&lines);
        Ok(Place { ticket, epoch })
    }

    /// Has a waiter stand in the lines of the counters that it is short of, and of those that it
    /// touches where somebody earlier stands, and in no others; it sleeps then, and this waker
    /// wakes it. Nothing is changed where it is to look [again](Settled::Again).
    pub(crate) fn settle(
        &self,
        place: &mut Place,
        short: &[Key],
        touched: &[Key],
        waker: &Waker,
    ) -> Settled {
        let mut wakers = Wakers::new();
        // Made and dropped outside of the lock: it is the caller's code.
        let (waker, mut before) = (waker.clone(), None);
        let settled = {
            let mut lines = self.lines.lock();
            if lines.is_closed {
                Settled::Closed
            } else if lines.epoch != place.epoch {
                place.epoch = lines.epoch;
                Settled::Again
            } else {
                before = lines.sleep(place.ticket, waker);
                match lines.stand(place.ticket, short, touched, &mut wakers) {
                    (true, first) => Settled::HeldUp(first),
                    (false, _) => Settled::Free,
                }
            }
        };
        drop(before);
        wake_all(wakers);
        settled
    }

    /// What a waiter does now. Where somebody has come to stand before it, it stands in that line,
    /// too. It sleeps where nobody has called it, unless it `is_due`.
    pub(crate) fn take_turn(
        &self,
        place: &mut Place,
        touched: &[Key],
        is_due: bool,
        waker: &Waker,
    ) -> Turn {
        // One that does not sleep needs no waker: it settles with one, or is gone.
        match self.take_turn_with(place, touched, is_due, None) {
            Turn::Sleep => self.take_turn_with(place, touched, is_due, Some(waker.clone())),
            turn => turn,
        }
    }

    fn take_turn_with(
        &self,
        place: &mut Place,
        touched: &[Key],
        is_due: bool,
        waker: Option<Waker>,
    ) -> Turn {
        let mut lines = self.lines.lock();
        if lines.is_closed {
            return Turn::Closed;
        }
        let is_held_up = lines.stand_behind(place.ticket, touched);
        if is_due || lines.is_called(place.ticket) {
            lines.looks(place.ticket);
            place.epoch = lines.epoch;
            return if is_held_up { Turn::Look } else { Turn::Decide };
        }
        let before = waker.and_then(|waker| lines.sleep(place.ticket, waker));
        drop(lines);
        drop(before);
        Turn::Sleep
    }

    /// The lines in which somebody stands before a waiter.
    pub(crate) fn held_up_by(&self, place: &Place) -> Keys {
        self.lines.lock().held_up_by(place.ticket)
    }

    /// Gives a place up, and wakes whom it has held up.
    pub(crate) fn leave(&self, place: &Place) {
        let mut wakers = Wakers::new();
        let left = {
            let mut lines = self.lines.lock();
            let left = lines.leave(place.ticket, &mut wakers);
            self.recount(&lines);
            left
        };
        drop(left);
        wake_all(wakers);
    }

    /// Wakes who waits for these counters: something of them was given back. To be called after
    /// they were changed, and only where somebody [is here](Self::is_empty).
    pub(crate) fn gave_back(&self, keys: impl IntoIterator<Item = Key>) {
        let mut wakers = Wakers::new();
        {
            let mut lines = self.lines.lock();
            lines.epoch = lines.epoch.wrapping_add(1);
            for key in keys {
                lines.call_first(key, &mut wakers);
            }
        }
        wake_all(wakers);
    }

    /// Wakes all, the earliest first: their rules may be others now.
    pub(crate) fn call_all(&self) {
        let wakers = {
            let mut lines = self.lines.lock();
            lines.epoch = lines.epoch.wrapping_add(1);
            lines.call_all()
        };
        wake_all(wakers);
    }

    /// Wakes all, and lets nobody in any more.
    pub(crate) fn close(&self) {
        let wakers = {
            let mut lines = self.lines.lock();
            lines.is_closed = true;
            self.recount(&lines);
            lines.call_all()
        };
        wake_all(wakers);
    }

    fn recount(&self, lines: &Lines) {
        let count = if lines.is_closed { CLOSED } else { lines.len() };
        self.count.store(count, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::Wake;

    use super::*;

    /// Counts how often it was woken.
    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    impl Count {
        fn waker() -> (Arc<Self>, Waker) {
            let count = Arc::new(Self::default());
            (Arc::clone(&count), Waker::from(count))
        }

        fn get(&self) -> usize {
            self.0.load(Ordering::SeqCst)
        }
    }

    fn held_up(first: &[bool]) -> Settled {
        Settled::HeldUp(first.iter().copied().collect())
    }

    #[test]
    fn what_is_given_back_between_deciding_and_settling_is_seen() {
        let room = WaitingRoom::new(10);
        let mut place = room.enter().expect("a place");
        let (count, waker) = Count::waker();
        // It decides here, and is in no line yet.
        room.gave_back([1]);
        assert_eq!(room.settle(&mut place, &[1], &[1], &waker), Settled::Again);
        assert_eq!(room.settle(&mut place, &[1], &[1], &waker), Settled::Free);
        // So it is when it was woken and decides again.
        assert_eq!(room.take_turn(&mut place, &[1], true, &waker), Turn::Decide);
        room.call_all();
        assert_eq!(room.settle(&mut place, &[1], &[1], &waker), Settled::Again);
        assert_eq!(room.settle(&mut place, &[1], &[1], &waker), Settled::Free);
        let before = count.get();
        room.gave_back([2]);
        assert_eq!(count.get(), before);
        room.gave_back([1]);
        assert_eq!(count.get(), before + 1);
        room.leave(&place);
        assert!(room.is_empty());
    }

    #[test]
    fn one_that_only_stands_behind_leaves_the_line_with_whom_it_stood_behind() {
        let room = WaitingRoom::new(10);
        let mut places = [(); 4].map(|()| room.enter().expect("a place"));
        let wakers = [(); 4].map(|()| Count::waker());
        let mut settle = |number: usize, short: &[Key], touched: &[Key]| {
            room.settle(&mut places[number], short, touched, &wakers[number].1)
        };
        assert_eq!(settle(0, &[1, 2], &[1, 2]), Settled::Free);
        assert_eq!(settle(1, &[], &[1, 2]), held_up(&[]));
        assert_eq!(settle(2, &[2], &[1, 2]), held_up(&[false]));
        assert_eq!(settle(3, &[], &[2]), held_up(&[]));
        let woken = || wakers.each_ref().map(|(count, _)| count.get());
        // The first has room in 2: the next there is the third, who is short of it.
        assert_eq!(settle(0, &[1], &[1, 2]), Settled::Free);
        assert_eq!(woken(), [0, 0, 1, 0]);
        assert_eq!(settle(2, &[2], &[1, 2]), held_up(&[true]));
        assert_eq!(settle(2, &[], &[1, 2]), held_up(&[]));
        assert_eq!(woken(), [0, 0, 1, 1], "the last is free");
        room.leave(&places[0]);
        assert_eq!(woken(), [0, 1, 1, 1]);
    }

    #[test]
    fn a_room_that_is_closed_takes_nobody_and_calls_all() {
        let room = WaitingRoom::new(2);
        let mut places = [room.enter(), room.enter()].map(|it| it.expect("a place"));
        assert_eq!(room.enter().err(), Some(NoPlace::Full(2)));
        let (count, waker) = Count::waker();
        for place in &mut places {
            let _ = room.settle(place, &[7], &[7], &waker);
        }
        room.close();
        assert_eq!(count.get(), 2);
        assert_eq!(room.enter().err(), Some(NoPlace::Closed));
        for place in &mut places {
            assert_eq!(room.take_turn(place, &[7], false, &waker), Turn::Closed);
            assert_eq!(room.settle(place, &[7], &[7], &waker), Settled::Closed);
        }
        places.iter().for_each(|place| room.leave(place));
        assert!(!room.is_empty(), "who comes is to see that it is closed");
    }
}
