//! Who waits for room, in which order, and who is woken when there is some.
//!
//! This room knows numbers and tasks, and neither rules nor counters. A [`Key`] stands for a
//! counter; the waiters that it has no room for stand in its *line*, by their arrival.

mod lines;
mod room;

pub(crate) use self::lines::{Key, Keys};
pub(crate) use self::room::{NoPlace, Place, Settled, Turn, WaitingRoom};
